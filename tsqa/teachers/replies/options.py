"""The options of a question, as teachers write them: lettered, numbered, listed, marked.

Guarantees: options are the last block of their kind in a text; statements that the question itself
letters stay in it; a block whose letters skip is none, since two options would be one; an option
that names others is found, whatever the language.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tsqa.programs.fences import fenced_code
from tsqa.programs.names import compiles
from tsqa.teachers.replies.fields import as_text

_NAMED = re.compile(r"^(?:OPTION|CHOICE|ANSWER) ?(?=(?:[A-J]|\d{1,2})$)")
_ROMANS = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x")
_CIRCLED = "\u2460\u2461\u2462\u2463\u2464\u2465\u2466\u2467\u2468\u2469"
_LABEL = (
    rf"[A-Za-z\uff21-\uff3a\uff41-\uff5a]|\d{{1,2}}|[ivx]{{2,4}}|[IVX]{{2,4}}|[{_CIRCLED}]"
    r"|[\u0623\u0628\u062c\u062f\u0647]"
)
_LINE = re.compile(
    r"^[ \t]{0,8}(?:[-*+>\u2022\u25e6\u25aa][ \t]{1,4})?[*_]{0,2}(?:(?:Option|Choice) )?(?:"
    rf"[(\[\uff08\u3010](?P<closed>{_LABEL})[)\]\uff09\u3011][.:\uff1a]?[*_]{{0,2}}[ \t]*"
    rf"|(?P<marked>{_LABEL})(?:[)\u3001\uff0e\uff09][*_]{{0,2}}[ \t]*|\.\)?[*_]{{0,2}}[ \t]+"
    r"|\.(?=[^\W\d_]{2}|[\u3040-\u9fff]))"
    # 1: 2 is a ratio, 1 - 0 a score, and A - B a difference.
    r"|(?P<letter>[A-Za-z\uff21-\uff3a])(?:[*_]{0,2}:[*_]{0,2}[ \t]+|[*_]{0,2}\uff1a[ \t]*"
    r"|[*_]{0,2} [-\u2013\u2014] (?=\w{2}))"
    rf"|(?P<circled>[{_CIRCLED}])[ \t]*)(?=\S)",
    re.MULTILINE,
)
_INLINE = (
    re.compile(r"(?:(?<=\s)|^)[(\uff08](?P<closed>[A-Za-z])[)\uff09]\s*(?=\S)"),
    re.compile(r"(?:(?<=\s)|^)(?P<closed>[A-Z])\)\s*(?=\S)"),
    re.compile(r"(?:(?<=\s)|^)(?P<closed>[A-Z])\.\s+(?=\S)"),
    re.compile(r"(?P<closed>(?<![A-Za-z.])[A-Z])\.(?=[\u3040-\u9fff])"),
    re.compile(rf"(?P<closed>[A-Z{_CIRCLED}])[\u3001\uff0e\uff1a]\s*(?=\S)"),
)
_GLUED = re.compile(
    r"^\W?A[.)] .*[\s,;]\(?B[.)] |^\W?B[.)] .*[\s,;]\(?C[.)] |^\W?C[.)] .*[\s,;]\(?D[.)] "
)
_BULLET = re.compile(r"^[-*+\u2022\u25e6\u25aa][ \t]+|^\[[ xX\u2713\u2714]?\][ \t]*")
_MARK_OF_RIGHT = re.compile(
    r"\s*(?:[(\[](?:the )?(?:(?:in)?correct|wrong|right)(?: answer| option| choice)?"
    r"(?:[)\]]|(?:[,;:.]| ?[-\u2013\u2014]| (?:because|since|as))\s[^()\n]*\))"
    r"|[(\uff08](?:\u6b63\u786e(?:\u7b54\u6848)?|richtig|falsch|correct[aoe]"
    r"|incorrect[aoe])[)\uff09]"
    r"|(?:<-{1,2}|\u2190|[-\u2013\u2014]) ?(?:correct|right)(?: answer)?"
    r"|[\u2713\u2714\u2705\u274c\u2717\u2718\u2611]\ufe0f?)\s*$",
    re.IGNORECASE,
)
_MARK_BEFORE = re.compile(
    r"^[\u2713\u2714\u2705\u274c\u2717\u2718\u2611]\ufe0f?\s*|^\*(?=\w[^*]*$)"
)
_BOLD = re.compile(r"^(\*\*|__|\*)(?=\S)(?P<inner>[^*_]+)(?<=\S)\1$")
_ROW = re.compile(r"[ \t]*\|.*\|[ \t]*")
_RULE = re.compile(r":?-+:?")
_OF_OPTIONS = re.compile(r"(?:options?|choices?|letters?|labels?|answers?|keys?|#|no\.?)?", re.I)
"""Above the letters of options; those of samples or points are what is asked about."""
_WHOLE_PARTS = re.compile(r" ?[;|] ?")


@dataclass(frozen=True)
class Options:
    texts: list[str]
    error: str = ""
    """Why they cannot be used; empty when they can, or when there are none."""


def split_options(text: str) -> tuple[str, list[str]]:
    """Split into (text before the options, options without their letters), or no options.

    They are the last block that begins at A (or 1, i), at the end of the text. Lettered
    statements before the question proper are part of it.
    """
    tabled = _from_table(text) if "|" in text else None
    # A table below options says which of them are right.
    return tabled if tabled and not _from_lines(tabled[0])[1] else _from_lines(text)


def _from_lines(text: str) -> tuple[str, list[str]]:
    """(text before them, options) of a block of lettered lines, or of a line."""
    for pattern in (_LINE, *_INLINE):
        marks, skips = _last_block(pattern, text)
        if skips:
            break
        if len(marks) < 2:
            continue
        ends = [mark.start() for mark in marks[1:]] + [len(text)]
        options = [text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]
        for sign in ";,":
            if all(option.endswith(sign) for option in options[:-1]):
                options = [option.removesuffix(sign).rstrip() for option in options]
        # Prose after a blank line is no part of the last option.
        options[-1], *rest = re.split(r"\n[ \t]*\n", options[-1], maxsplit=1)
        if not _goes_on(options, rest):
            return text[: marks[0].start()], options
    return text, []


def _from_table(text: str) -> tuple[str, list[str]] | None:
    """(text before it, options) of a table at the end: a row for each, or a column for each."""
    lines = text.rstrip().split("\n")
    begin = len(lines)
    while begin and _ROW.fullmatch(lines[begin - 1]):
        begin -= 1
    rows = [
        [cell.strip(" \t*") for cell in line.strip(" \t|").split("|")] for line in lines[begin:]
    ]
    rows = [row for row in rows if not all(map(_RULE.fullmatch, row))]
    before = "\n".join(lines[:begin])
    if (
        len(rows) == 2
        and len(rows[0]) > 1
        and _are_lettered(rows[0])
        and len(rows[1]) == len(rows[0])
    ):
        return before, rows[1]
    has_heading = bool(rows) and _OF_OPTIONS.fullmatch(rows[0][0]) is not None
    for listed in (rows, rows[1:] if has_heading else []):
        is_listed = len(listed) > 1 and all(len(row) == 2 for row in listed)
        if is_listed and _are_lettered([label for label, _ in listed]):
            return before, [option for _, option in listed]
    return None


def _are_lettered(labels: Sequence[str]) -> bool:
    """Whether labels are A, B, C ... in order."""
    bare = [label.strip(" ().:").removeprefix("Option ") for label in labels]
    return bare == list("ABCDEFGHIJ"[: len(bare)])


def read_options(value: object) -> Options:
    """Read options as texts, without letters, bullets and marks of the right one."""
    if isinstance(value, str):
        _, options = split_options(value)
        value = options or _listed(value)
    if isinstance(value, dict):
        return _of_mapping(value)
    if not isinstance(value, list):
        return Options([])
    labels, texts = [], []
    for option in value:
        label, text = _label_and_text(option)
        labels.append(label)
        texts.append(text)
    error = "an option of several lines of code" if any(map(_is_program, texts)) else ""
    texts = list(map(_on_one_line, texts))
    if any(map(_GLUED.search, texts)) and not any(labels):
        return Options(texts, "two options in one")
    if not any(labels):
        texts, skips = _without_letters(texts)
        error = error or skips
    elif len(_places(labels)) != len(labels):
        error = "the letters of the options skip"
    return Options(_without_marks(texts), error)


def _on_one_line(text: str) -> str:
    """An option in one line, that of a program without its fence."""
    fenced = fenced_code(text)
    return " ".join((fenced[0] if fenced and text.strip().startswith("```") else text).split())


def _is_program(text: str) -> bool:
    """Whether a text is code whose lines say more than their words would on one line."""
    fenced = fenced_code(text)
    program = (fenced[0] if fenced else text).strip("\n")
    return "\n" in program.strip() and (fenced is not None or compiles(program))


def are_letters(options: Sequence[str]) -> bool:
    """Whether the options are nothing but their letters, `A` onwards, or `Option 1` onwards."""
    bare = [option.strip(" ().[]*<>").upper() for option in options]
    letters = list("ABCDEFGHIJ"[: len(bare)])
    if not all(map(_NAMED.match, bare)):
        return bare == letters
    named = [_NAMED.sub("", option) for option in bare]
    return named in (letters, [str(place + 1) for place in range(len(bare))])


def are_reordered(text: str, listed: Sequence[object], choices: Sequence[str]) -> bool:
    """Whether a reply, or a list in it, has the options under other letters than it was shown."""
    for value in listed:
        texts = [one.casefold() for one in read_options(value).texts]
        shown = [one.casefold() for one in choices]
        if texts != shown and sorted(texts) == sorted(shown):
            return True
    places = {choice.casefold(): place for place, choice in enumerate(choices)}
    longest_first = "|".join(map(re.escape, sorted(choices, key=len, reverse=True)))
    restated = re.compile(
        rf"(?:^|[\s(\[*])([A-J])[.):\]]+[*]{{0,2}}\s{{1,3}}({longest_first})(?!\w)", re.IGNORECASE
    )
    moved = set()
    for letter, choice in restated.findall(text):
        place = places.get(choice.casefold())  # None: `re` alone takes a dotless i for an i
        if place not in (None, "ABCDEFGHIJ".index(letter.upper())):
            moved.add(letter.upper())
    return len(moved) > 1


def _last_block(pattern: re.Pattern[str], text: str) -> tuple[list[re.Match[str]], bool]:
    """(the last run of labels from the first on, whether its labels skip)."""
    block: list[re.Match[str]] = []
    style, skips = "", False
    for mark in pattern.finditer(text):
        readings = dict(_readings(_label_of(mark)))
        place = readings.get(style)
        if block and place == len(block):
            block.append(mark)
        elif 0 in readings.values():
            style = next(name for name, at in readings.items() if at == 0)
            block, skips = [mark], False
        elif block and place is not None:
            # On one line another letter may be an initial; the one after the next is a gap.
            skips |= pattern is _LINE or len(block) < place <= len(block) + 2
    return block, skips


def _label_of(mark: re.Match[str]) -> str:
    return str(mark[mark.lastgroup or 0])


def _readings(label: str) -> list[tuple[str, int]]:
    """(style, place) of a label: `i` is the first roman number, or the ninth letter."""
    found = []
    if label.isdecimal():
        return [("number", int(label) - 1)]
    if label in _CIRCLED:
        return [("circled", _CIRCLED.index(label))]
    if label in "\u0623\u0628\u062c\u062f\u0647":
        return [("arabic", "\u0623\u0628\u062c\u062f\u0647".index(label))]
    case = "upper" if label.isupper() else "lower"
    if len(label) == 1:
        offset = 0xFEE0 if label > "\uff00" else 0
        found.append((case, ord(label) - offset - ord("A" if case == "upper" else "a")))
    if label.lower() in _ROMANS:
        found.append((f"roman {case}", _ROMANS.index(label.lower())))
    return found


def _goes_on(options: Sequence[str], rest: Sequence[str]) -> bool:
    """Whether the question comes only after what looks like its options."""
    last, others = options[-1], options[:-1]
    asks = any(mark in last for mark in "?\uff1f") and not any(
        mark in other for other in others for mark in "?\uff1f"
    )
    is_longer = "\n" in last and not any("\n" in other for other in others)
    later = any(mark in part for part in rest for mark in "?\uff1f")
    return asks or later or is_longer


def _listed(text: str) -> list[str]:
    """Options without letters: a line each, or parted by `;` or `|` on one line."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        return lines
    return [part for part in _WHOLE_PARTS.split(text) if part.strip()]


def _of_mapping(value: dict[object, object]) -> Options:
    """`{"B": ..., "A": ...}` in the order of its letters, `{"1": ...}` too; else as it comes."""
    keys = [str(key).strip(" ().") for key in value]
    texts = _without_marks([_on_one_line(_label_and_text(item)[1]) for item in value.values()])
    places = _places(keys)
    if len(places) == len(keys):
        return Options([text for _, text in sorted(zip(places, texts, strict=True))])
    is_lettered = all(len(key) <= 2 for key in keys)
    return Options(texts, "the letters of the options skip" if is_lettered and keys else "")


def _places(labels: Sequence[str]) -> list[int]:
    """The places of labels that are A, B, C ... in any order, or 1, 2, 3 ...; else none."""
    read = [dict(_readings(label)) if re.fullmatch(_LABEL, label) else {} for label in labels]
    for style in {name for readings in read for name in readings}:
        places = [readings.get(style, -1) for readings in read]
        if sorted(places) == list(range(len(labels))):
            return places
    numbers = [int(label) if label.isdecimal() else -1 for label in labels]
    return numbers if sorted(numbers) == list(range(len(labels))) else []


def _label_and_text(option: object) -> tuple[str, str]:
    """Of an option written as an object, such as {label: A, text: Paris}, both; else the text."""
    if not isinstance(option, dict):
        return "", as_text(option)
    if len(option) == 1:
        [(key, text)] = option.items()
        is_label = re.fullmatch(_LABEL, str(key).strip(" ()."))
        return (str(key).strip(" ().") if is_label else ""), as_text(text)
    named = {str(key).casefold(): as_text(item) for key, item in option.items()}
    label = next((named[key] for key in ("label", "letter", "key", "id") if key in named), "")
    text = next((named[key] for key in ("text", "option", "content", "value") if key in named), "")
    is_label = re.fullmatch(_LABEL, label.strip(" ()."))
    longest = max(named.values(), key=len, default="")
    return (label.strip(" ().") if is_label else ""), text or longest


def _without_letters(texts: list[str]) -> tuple[list[str], str]:
    """(the texts without the letters before them, what is wrong with the letters)."""
    marks = [_LINE.match(text) for text in texts]
    labels = [_label_of(mark) if mark else "" for mark in marks]
    if len(_places(labels)) == len(labels):
        return [text[mark.end() :] for text, mark in zip(texts, marks, strict=True) if mark], ""
    written = [mark[0] for mark in marks if mark]
    # `E. coli` is a name, `C) gold` and `(b) tin` are options of which letters are missing.
    is_lettered = any(re.match(r"\W*[A-Ja-j]\)", mark) for mark in written)
    is_begun = [label.upper() for label in labels[:2]] == ["A", "B"]
    is_numbered = all(label.isdecimal() for label in labels)
    is_wrong = is_lettered or is_begun or is_numbered
    return texts, "the letters of the options skip" if texts and is_wrong else ""


def _without_marks(texts: list[str]) -> list[str]:
    """The texts without bullets, bold and marks that tell the right one."""
    starred = [text for text in texts if text.endswith("*") and not text.startswith("*")]
    bare = []
    for text in texts:
        text = _BULLET.sub("", text.strip()).strip()
        if starred == [text] and text.count("*") == 1:
            text = text[:-1]
        before = ""
        while text != before:
            before = text
            text = _MARK_OF_RIGHT.sub("", text)
            text = _MARK_BEFORE.sub("", text)
            text = _BOLD.sub(lambda match: match["inner"], text).strip()
            if text.count("**") == 1:  # the other one stood before the letter
                text = text.removesuffix("**").rstrip()
        bare.append(text)
    return bare
