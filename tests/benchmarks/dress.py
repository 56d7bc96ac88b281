"""Dress of documents in files, mail and on the web: their words stay, their characters do not.

Each kind is written over the question, the options, the answer and the passage alike. They were
thought up after the rules were made, and some rules were made after they had been measured.
"""

from __future__ import annotations

import html
import json
import quopri
import re
import textwrap
from collections.abc import Callable
from functools import partial
from urllib.parse import quote, quote_plus

from tsqa.decontaminate.planted_leaks import as_candidate, respell
from tsqa.records.candidate import Candidate
from tsqa.records.seed import Seed

_WORD = re.compile(r"[A-Za-z]+")
_LONG_NUMBER = re.compile(r"(?<![\d.,])\d{4,6}(?![\d.,])")
_WHOLE_NUMBER = re.compile(r"(?<![\d.,/$])\d{1,6}(?![\d.,/%])")
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}\b)")
_FRACTIONS = {"1/2": "\u00bd", "1/4": "\u00bc", "3/4": "\u00be", "1/3": "\u2153", "2/3": "\u2154"}


def _each(write: Callable[[str], str]) -> Callable[[Seed], Candidate | None]:
    """A disguise that writes every part; none where that changes nothing."""

    def plant(document: Seed) -> Candidate | None:
        found = respell(document, write)
        return found if found.full_text != as_candidate(document).full_text else None

    return plant


def _every(text: str, size: int, write: Callable[[str], str]) -> str:
    """Write every so manieth of the longer words."""
    count = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal count
        if len(match[0]) < 4:
            return match[0]
        count += 1
        return match[0] if count % size else write(match[0])

    return _WORD.sub(replace, text)


def _table(document: Seed) -> Candidate:
    """A row of a Markdown table, the options in its cells."""
    cells = [document.question.replace("\n", "<br>"), *document.choices]
    head = f"| question | {' | '.join('ABCDEFGHIJ'[: len(document.choices)])} |"
    line = "|" + " --- |" * len(cells)
    text = f"{head}\n{line}\n| {' | '.join(f'**{cell}**' for cell in cells)} |"
    return as_candidate(document, text, [], document.answer)


def _bullets(document: Seed) -> Candidate | None:
    if not document.choices:
        return None
    options = "\n".join(f"  * ({'abcdefghij'[n]}) {one}" for n, one in enumerate(document.choices))
    text = f"{document.question}\n\nThe candidates were these:\n{options}\n"
    return as_candidate(document, text, [], document.answer)


def _latex(text: str) -> str:
    text = re.sub(r"(?<![\w.$])(\d+(?:\.\d+)?)(?![\w.])", r"$\1$", text.replace("%", "\\%"))
    parts = re.split(r"(?<=[.?!,]) ", text)
    return " ".join(f"\\text{{{part}}}" for part in parts)


def _latex_spaces(text: str) -> str:
    """As a formula spells words."""
    return "\\[\\mathrm{" + text.replace(" ", "~") + "}\\]"


def _joined(text: str) -> str:
    return re.sub(r"(?<=\w)(?=\w)", "\u200d", text)


def _marked(text: str) -> str:
    return " ".join(f"\u200f\u202b{word}\u202c\u200e" for word in text.split(" "))


def _mathematical(text: str) -> str:
    """Bold letters of the mathematical alphabet."""
    return "".join(
        chr(0x1D400 + ord(c) - ord("A")) if "A" <= c <= "Z"
        else chr(0x1D41A + ord(c) - ord("a")) if "a" <= c <= "z" else c
        for c in text
    )  # fmt: skip


def _wide(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def _grouped(text: str) -> str:
    return _LONG_NUMBER.sub(lambda match: f"{int(match[0]):,}", _GROUPED.sub("", text))


def _swapped_groups(text: str) -> str:
    """1,000 -> 1000, and the other way round."""
    plain = _GROUPED.sub("", text)
    return plain if plain != text else _grouped(text)


def _with_decimals(text: str) -> str:
    return _WHOLE_NUMBER.sub(lambda match: f"{match[0]}.00", text)


def _fractions(text: str) -> str:
    for plain, one in _FRACTIONS.items():
        text = re.sub(rf"(?<![\d/]){plain}(?![\d/])", one, text)
    return text


def _json(text: str) -> str:
    """As the value of a JSON string within a JSON string."""
    lines = "\n".join(textwrap.wrap(text, 60)).replace("e", "\u00e9")
    return json.dumps(json.dumps({"q": lines})[1:-1])[1:-1]


def _csv(text: str) -> str:
    quoted = re.sub(r"\b(\w{7,})\b", r'""\1""', text.replace('"', '""'))
    return f'17,"{quoted}",true'


def _mail(text: str) -> str:
    """Quoted-printable, with the lines that it cuts within words."""
    spelled = text.replace("e", "\u00e9", 3)
    return quopri.encodestring(spelled.encode()).decode("ascii")


def _comment(text: str) -> str:
    return "\n".join(f" * {line}" for line in textwrap.wrap(text, 32))


def _numbered(text: str) -> str:
    lines = textwrap.wrap(text, 32)
    return "\n" + "\n".join(f"{n:4d}: {line}" for n, line in enumerate(lines, 11))


def _cited(text: str) -> str:
    """Marks of footnotes."""
    count = 0

    def write(word: str) -> str:
        nonlocal count
        count += 1
        return f"{word}[{count}]"

    return _every(text, 5, write)


def _linked(text: str) -> str:
    return _every(text, 5, lambda word: f"[{word}](https://example.org/wiki/{word}?id=7)")


def _wiki(text: str) -> str:
    return _every(text, 5, lambda word: f"[[{word.capitalize()} (term)|'''{word}''']]")


def _bbcode(text: str) -> str:
    return _every(text, 4, lambda word: f"[b]{word[:2]}[/b][color=#ff0000]{word[2:]}[/color]")


def _xml(text: str) -> str:
    return _every(text, 4, lambda word: f'<hi rend="it">{word[:2]}</hi><w:t>{word[2:]}</w:t>')


def _subtitles(text: str) -> str:
    return "\n".join(
        f"{n}\n00:0{n % 10}:01,000 --> 00:0{n % 10}:04,500\n{line}\n"
        for n, line in enumerate(textwrap.wrap(text, 40), 1)
    )


def _spaced(text: str) -> str:
    return "   ".join(" ".join(word) for word in text.split())


def _backwards(text: str) -> str:
    """Shown as the text, by a mark that turns the direction."""
    return f"\u202e{text[::-1]}\u202c"


def _terminal(text: str) -> str:
    return " ".join(f"\x1b[1;3{n % 8}m{word}\x1b[0m" for n, word in enumerate(text.split(" ")))


def _printed(text: str) -> str:
    """Bold as a line printer has it: each letter twice."""
    return re.sub(r"\w", r"\g<0>\b\g<0>", text)


def _json_page(text: str) -> str:
    """Tags within words, in a JSON string that hides them."""
    page = (
        "<p>" + _every(html.escape(text), 2, lambda word: f"{word[:2]}<i>{word[2:]}</i>") + "</p>"
    )
    written = json.dumps({"html": page})
    return written.translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&"})


def _misread(text: str) -> str:
    """Hard spaces and quote marks in UTF-8 that was read as Windows-1252."""
    typed = text.replace(" ", "\xa0").replace("'", "\u2019")
    return typed.encode().decode("cp1252", "replace")


def _tokens(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text)


def _classed(text: str) -> str:
    """As the Brown corpus has it."""
    return " ".join(f"{word}/{('NN', 'DT', 'IN', 'VB')[len(word) % 4]}" for word in _tokens(text))


def _conll(text: str) -> str:
    lines = (f"{n}\t{word}\t{word.lower()}\tNN" for n, word in enumerate(_tokens(text), 1))
    return "\n" + "\n".join(lines) + "\n"


def _sung(text: str) -> str:
    """Each word with its time (WebVTT)."""
    words = text.split()
    return "".join(f"<00:00:{n % 60:02d}.439><c> {word}</c>" for n, word in enumerate(words))


def _rich_text(text: str) -> str:
    bold = _every(text.replace("'", "\\'92"), 3, lambda word: f"{{\\b {word}}}")
    return f"{{\\rtf1\\ansi {bold}\\par}}"


def _logged(text: str) -> str:
    lines = textwrap.wrap(text, 40)
    times = (f"2024-05-01 12:00:{n:02d},123 INFO quiz.py:{n} - " for n in range(len(lines)))
    return "\n" + "\n".join(map(str.__add__, times, lines)) + "\n"


def _patch(text: str) -> str:
    """Lines that a patch adds."""
    return "\n".join(f"+{line}" for line in textwrap.wrap(text, 50))


def _attributes(document: Seed) -> Candidate:
    """All that is said, in attributes of tags."""
    options = "".join(f'<o text="{html.escape(one)}"/>' for one in document.choices)
    said = html.escape(f"{document.context} {document.question}")
    text = f'<p title="{said}">{options}</p><img alt="{html.escape(document.answer)}"/>'
    return as_candidate(document, text, [], document.answer)


def _as_pieces(text: str) -> str:
    """Pieces of SentencePiece."""
    return " ".join("\u2581" + re.sub(r"(\w{4})(?=\w\w)", r"\1 ", word) for word in text.split())


def _in_any_case(text: str) -> str:
    return "".join(c.upper() if n % 2 else c.lower() for n, c in enumerate(text))


def _letters(first: int) -> Callable[[str], str]:
    """Capital letters of a block of Unicode."""
    table = {n: first + n - (65 if n < 97 else 97) for n in (*range(65, 91), *range(97, 123))}
    return lambda text: text.translate(table)


def _parted(mark: str) -> Callable[[str], str]:
    return partial(re.sub, r"(\w{3})(?=\w)", rf"\1{mark}")


def _cut(mark: str) -> Callable[[str], str]:
    return partial(re.sub, r"(\w{4})(\w{3,})", rf"\1{mark}\2")


DRESSES: dict[str, Callable[[Seed], Candidate | None]] = {
    "markdown_table": _table,
    "bullets_in_prose": _bullets,
    "latex_text": _each(_latex),
    "latex_formula": _each(_latex_spaces),
    "joiners_between_letters": _each(_joined),
    "direction_marks": _each(_marked),
    "mathematical_letters": _each(_mathematical),
    "full_width": _each(_wide),
    "numbers_grouped": _each(_swapped_groups),
    "numbers_with_decimals": _each(_with_decimals),
    "fraction_characters": _each(_fractions),
    "json_in_json": _each(_json),
    "csv": _each(_csv),
    "url": _each(partial(quote, safe="")),
    "url_form": _each(quote_plus),
    "quoted_printable": _each(_mail),
    "comment_lines": _each(_comment),
    "line_numbers": _each(_numbered),
    "footnote_marks": _each(_cited),
    "markdown_links": _each(_linked),
    "wiki_links": _each(_wiki),
    "bbcode": _each(_bbcode),
    "xml": _each(_xml),
    "subtitles": _each(_subtitles),
    "struck_through": _each(lambda text: "".join(f"{c}\u0336" for c in text)),
    "squared_letters": _each(_letters(0x1F170)),
    "hangul_fillers": _each(_parted("\u3164")),
    "invisible_spaces": _each(lambda text: text.replace(" ", "\u200b")),
    "control_characters": _each(_parted("\x07")),
    "backwards": _each(_backwards),
    "terminal_colours": _each(_terminal),
    "overstruck": _each(_printed),
    "json_page": _each(_json_page),
    "url_twice": _each(lambda text: quote(quote(text, safe=""), safe="")),
    "misread_utf8": _each(_misread),
    "rich_text": _each(_rich_text),
    "letters_apart": _each(_spaced),
    "no_spaces": _each(lambda text: text.replace(" ", "")),
    "pieces_of_a_tokenizer": _each(lambda text: "\u0120".join(text.split())),
    "word_pieces": _each(_cut(" ##")),
    "syllables": _each(_parted("\u00b7")),
    "bold_halves": _each(partial(re.sub, r"\b(\w\w)(\w+)", r"**\1**\2")),
    "tex_accents": _each(partial(re.sub, "[aeou]", r"\\'{\g<0>}")),
    "cut_with_a_space": _each(_cut("- ")),
    "cut_by_soft_hyphens": _each(_cut("\u00ad\n")),
    "word_classes": _each(_classed),
    "table_of_words": _each(_conll),
    "word_times": _each(_sung),
    "log_lines": _each(_logged),
    "letters_doubled": _each(partial(re.sub, r"\b([A-Za-z])(?=[a-z]{3})", r"\1\1")),
    "vowels_stretched": _each(partial(re.sub, "([aeiou])(?=[a-z])", r"\1\1\1")),
    "hashtags": _each(lambda text: " ".join(f"#{word}" for word in text.split())),
    "lines_of_a_patch": _each(_patch),
    "long_words_apart": _each(partial(re.sub, "[A-Za-z]{4,}", lambda match: " ".join(match[0]))),
    "letters_dotted": _each(lambda text: " ".join(".".join(word) for word in text.split())),
    "letters_underscored": _each(lambda text: " ".join("_".join(word) for word in text.split())),
    "digits_for_letters": _each(lambda text: text.translate(str.maketrans("aeios", "43105"))),
    "pieces_of_words": _each(_as_pieces),
    "attributes": _attributes,
    "arrows": _each(lambda text: text.replace(" ", " -> ")),
    "pipes": _each(lambda text: text.replace(" ", "|")),
    "any_case": _each(_in_any_case),
    "roff": _each(partial(re.sub, r"\b(\w{6,})\b", r"\\fB\1\\fR")),
}
