"""Take a task's rendered prompt apart: frame, passage, options, final answer.

Guarantees: pure text in, text out; nothing is invented, only labels and cues are dropped; lines
stay lines where they carry structure (code, lists, paragraphs).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tsqa.text.boxes import boxed_contents
from tsqa.text.latex import has_remains

QUESTION_FIELDS = ("question", "query", "problem", "qtext", "question_stem", "goal", "pregunta")
PASSAGE_FIELDS = (
    *("passage", "context", "article", "story", "paragraph", "support", "background", "abstract"),
    *("document", "content", "fact", "text"),
)
BLANK = "____"
_MIN_QUESTION_CHARS = 8
_MIN_PASSAGE_CHARS = 40
_LABEL = r"[^\n:\uff1a.?!]{1,30}[:\uff1a]"
_OPEN_LABEL = re.compile(rf"\s*(?:{_LABEL}\s*)?")
_LAST_LABEL = re.compile(rf"(?:^|(?<=[\s.?!])){_LABEL}\s*$")
_CUE = re.compile(rf"([?\uff1f.!]?)\s*(?:{_LABEL}\s*)?(?:Let's think step by step\.?\s*)?")
_QUESTION_LABEL = re.compile(r"^\s*(?:Question|Q|Problem):\s*")
_ANSWER_WORDS = (
    "Answer|A|Antwort|Erantzuna|Jawaban|R\u00e9ponse|Resposta|Respuesta|Risposta|Svar|Odpowied\u017a|"
    "\u041e\u0442\u0432\u0435\u0442|\u7b54\u6848|\u56de\u7b54|\u5fdc\u7b54|\ub2f5\ubcc0"
)
_ANSWER_CUE = re.compile(
    rf"(?:#{{1,6}} )?\b(?:Step-by-Step )?(?:{_ANSWER_WORDS})[:\uff1a]\s*"
    r"(?:Let's think step by step\.?\s*)?$"
)
_STRUCTURE = re.compile(r"\n[ \t]*\n|```|\n(?: {4}|\t)|\n[ \t]*(?:[-*]|\(?\w{1,2}[.):])\s")
_OPTION = re.compile(
    r"(?:^|(?<=\s))\(?([A-J])(?:[).:\uff1a]|\s-)\s*(.+?)(?=\s\(?[A-J](?:[).:\uff1a]|\s-)\s|\n|$)"
)
_LETTER = re.compile(r"\(?([A-Za-z])\)?\.?")
_ANSWER_IS = re.compile(r"\b[Tt]he (?:final )?answer is:?")


def tidy(text: str) -> str:
    """Collapse white space to single spaces, unless the lines carry structure.

    White space that was a command of LaTeX stays, so that `make_seed` refuses it.
    """
    text = text.strip()
    if has_remains(text):
        return text
    if not _STRUCTURE.search(text):
        return " ".join(text.split())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in text.splitlines()))


def bare_question(text: str) -> str:
    """Drop the `Question:` and `Answer:` frame of a rendered prompt."""
    return tidy(_ANSWER_CUE.sub("", _QUESTION_LABEL.sub("", text)))


def split_prompt(
    text: str, document: Mapping[str, object], had_options: bool = False
) -> tuple[str, str]:
    """Split a rendered prompt into (context, question) by the document's own fields.

    A question field that only a label and a cue surround is the question, as is any around which
    options stood: the rest says how to choose. A passage field that the text holds is the
    context. Without either, the whole text is the question.
    """
    fields = {key.casefold(): value for key, value in document.items() if isinstance(value, str)}
    passage = _field_within(text, fields, PASSAGE_FIELDS, _MIN_PASSAGE_CHARS)
    question = _field_within(text, fields, QUESTION_FIELDS, _MIN_QUESTION_CHARS)
    if question and question != passage:
        head, _, tail = text.rpartition(question)
        cue = _CUE.fullmatch(tail)
        if had_options and not (passage and passage in head):
            return "", bare_question(question)
        if cue or had_options:
            mark = cue[1] if cue and question[-1] not in "?\uff1f.!:" else ""
            asked = question + mark
            if _OPEN_LABEL.fullmatch(head):
                return "", bare_question(asked)
            if passage and passage in head:
                return tidy(_without_label(head, passage)), bare_question(asked)
    if passage:
        head, _, tail = text.partition(passage)
        rest = bare_question(_LAST_LABEL.sub("", head).rstrip() + "\n" + tail.lstrip())
        if re.search(r"\w", rest):
            return tidy(passage), rest
    return "", bare_question(text)


def split_options(text: str) -> tuple[str, list[str]]:
    """Split into (text without lettered options, the options; [] without at least A and B).

    The last list counts: statements that the question letters itself come before its options.
    """
    block: list[re.Match[str]] = []
    run: list[re.Match[str]] = []
    for match in _OPTION.finditer(text):
        if match[1] == "A":
            run = []
        elif not run or ord(match[1]) - ord("A") != len(run):
            run = []
            continue
        run.append(match)
        block = run if len(run) > 1 else block
    if not block:
        return text, []
    start, end = block[0].start(), block[-1].end()
    head = re.sub(r"\s*\b(?:Choices|Options|Answer choices):\s*$", "", text[:start].rstrip())
    return f"{head}\n{text[end:].lstrip()}".strip(), [match[2].strip() for match in block]


def letter_index(text: str) -> int | None:
    """Return 0 for `A`, `(a)` or `A.`; None when the text is no letter."""
    match = _LETTER.fullmatch(text.strip())
    return ord(match[1].upper()) - ord("A") if match else None


def are_letters(choices: Sequence[str]) -> bool:
    """Whether the choices are bare option letters, `A` onwards."""
    return [letter_index(choice) for choice in choices] == list(range(len(choices)))


def cloze(sentences: Sequence[str]) -> tuple[str, list[str]]:
    """Turn sentences that differ in one part into (the sentence with a blank, its fillings).

    Words shared at both ends are the question; every filling keeps at least one word. The
    question is empty when nothing is shared.
    """
    rows = [sentence.split() for sentence in sentences]
    room = min(len(row) for row in rows) - 1
    ends = _shared(rows, room)
    starts = _shared([row[::-1] for row in rows], room - ends)
    fillings = [" ".join(row[ends : len(row) - starts]) for row in rows]
    if ends + starts == 0:
        return "", fillings
    marks = {filling[-1] for filling in fillings}
    mark = marks.pop() if len(marks) == 1 and marks <= set(",;:.!?") else ""
    rest = rows[0][len(rows[0]) - starts :]
    fillings = [filling.removesuffix(mark) for filling in fillings]
    return " ".join([*rows[0][:ends], BLANK + mark, *rest]), fillings


def split_answer(target: str) -> tuple[str, str]:
    """Split a target into (answer: boxed, after `####` or `The answer is`; explanation).

    Raises ValueError where boxes hold different answers: no one of them is the key.
    """
    boxes = boxed_contents(target)
    if boxes:
        contents = {re.sub(r"\s+", "", content) for _, _, content in boxes}
        if len(contents) > 1:
            raise ValueError("several boxed answers")
        return boxes[-1][2], _unboxed(target, boxes)
    working, marker, final = target.rpartition("####")
    if marker and "\n" not in final.strip():  # elsewhere it is a heading
        clean = re.sub(r"<<[^<>]*>>", "", working)
        return final.strip(), " ".join(clean.split())
    said = _ANSWER_IS.search(target)
    answer = target[said.end() :].strip().removesuffix(".").strip() if said else ""
    if said and answer and target[: said.start()].strip():
        return answer, " ".join(target[: said.start()].split())
    return tidy(re.sub(r"^\s*(?:Answer|A):\s*", "", target)), ""


def _unboxed(target: str, boxes: Sequence[tuple[int, int, str]]) -> str:
    """A solution with its boxes opened; empty where it is a box alone."""
    pieces, place = [], 0
    for begin, end, content in boxes:
        pieces += [target[place:begin], content]
        place = end
    text = tidy("".join([*pieces, target[place:]]))
    return "" if text.strip("$. ") == boxes[-1][2].strip() else text


def _field_within(
    text: str, fields: Mapping[str, str], names: Sequence[str], least: int
) -> str | None:
    for name in names:
        value = fields.get(name, "").strip()
        if len(value) >= least and value in text:
            return value
    return None


def _without_label(head: str, passage: str) -> str:
    """The passage with what stands around it, less the labels of passage and question."""
    before, _, after = head.partition(passage)
    return _LAST_LABEL.sub("", before) + passage + _LAST_LABEL.sub("", after)


def _shared(rows: Sequence[Sequence[str]], room: int) -> int:
    """How many leading words all rows share, at most `room`."""
    for position in range(max(0, room)):
        if len({row[position] for row in rows}) > 1:
            return position
    return max(0, room)
