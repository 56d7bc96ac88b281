"""Programs in the fences of a text: which of several blocks, and the others that it needs.

Guarantees: a fence in a string or a docstring of a program ends no block; a program keeps the
imports, constants and functions that other blocks give it; work is linear in the text.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from tsqa.programs.names import DEFINED, Names, compiles, names_of

_FENCE = re.compile(
    r"(?:^(?P<indent>[ \t]*))?(?P<fence>`{3,}|(?(indent)~{3,}|(?!)))[ \t]*"
    r"(?P<language>[\w+-]*)[ \t]*(?P<line>\n)?(?P<body>.*?)"
    r"(?P<end>(?(line)(?:^ {0,3}(?P=fence)|^(?P=indent)(?P=fence)"
    r"|(?(indent)(?!)|^[ \t]+(?P=fence)[ \t]*$)"
    r"|(?<=\S)(?P=fence)(?=[ \t]*$))|(?P=fence))|\Z)",
    re.DOTALL | re.MULTILINE,
)
"""Of a block, fences within a line are the program's, as in its docstrings."""
_RESULT = re.compile(r"\b(?:return|yield|print|raise|write)\b")
_QUOTES = ('"""', "'''")
_MOST_INNER, _LONGEST_INNER = 20, 5_000
"""Lines with a fence that one string of a program may hold, and characters behind the first."""
_MOST_BLOCKS = 100
"""In a text with more, the one that is chosen stands for itself."""


@dataclass(frozen=True)
class Block:
    start: int
    end: int
    indent: str | None
    """Before its fence; None where the fence does not begin a line."""
    language: str
    body: str
    is_closed: bool


def blocks_of(text: str) -> Iterator[Block]:
    """Find what stands in fences, in order."""
    position = 0
    while found := _FENCE.search(text, position):
        begin, end, is_closed = found.start("body"), found.end("body"), bool(found["end"])
        position = found.end()
        if found["line"] and is_closed and _is_in_string(found["body"]):
            outer = _outer_end(text, begin, found)
            end, position = outer or (end, position)
        position = max(position, found.start() + 1)
        yield Block(
            found.start(), position, found["indent"], found["language"], text[begin:end], is_closed
        )


def mask_fences(text: str) -> str:
    """A text of the same length in which nothing that stands in a fence is left."""
    kept, done = [], 0
    for block in blocks_of(text):
        kept += [text[done : block.start], "`" * (block.end - block.start)]
        done = block.end
    return "".join([*kept, text[done:]])


def fenced_code(text: str, begin: int = 0, end: int | None = None) -> tuple[str, bool] | None:
    """Find (the fenced program, whether its fences are closed), or None.

    Of several blocks, those from `begin` to `end` first, it is the longest that defines something,
    or the last one that defines the same again; with those around it that it needs or that build on
    it.
    """
    blocks = list(blocks_of(text))
    stop = len(text) if end is None else end
    within = [block for block in blocks if begin <= block.start < stop] or blocks
    if not within or _is_of_program(within[0], text, begin) or compiles(text[begin:stop].strip()):
        return None
    chosen = _chosen(within)
    inner = fenced_code(chosen.body) if chosen.language in ("markdown", "md") else None
    if inner:
        return inner
    parts = _connected(blocks, blocks.index(chosen))
    return "\n\n".join(map(_body, parts)), all(block.is_closed for block in parts)


def _chosen(blocks: Sequence[Block]) -> Block:
    defining = [block for block in blocks if DEFINED.search(block.body)] or blocks
    chosen = max(defining, key=lambda block: len(block.body))
    names = set(DEFINED.findall(chosen.body))
    if names:
        gives = bool(_RESULT.search(chosen.body))
        *_, chosen = (
            block
            for block in defining
            if names <= set(DEFINED.findall(block.body))
            and bool(_RESULT.search(block.body)) >= gives
        )
    return chosen


def _connected(blocks: Sequence[Block], chosen: int) -> list[Block]:
    """The chosen block with what it needs, in the order of the text.

    Blocks before it that give a name which is missing, and those that only define where a name is
    missing still, or where they use what it gives.
    """
    if len(blocks) > _MOST_BLOCKS:
        return [blocks[chosen]]
    names = [names_of(_body(block)) for block in blocks]
    kept = {chosen}
    for place, other in enumerate(names):
        own = names[chosen].given & other.taken
        if other.helps and own and not names[chosen].given & other.given:
            kept.add(place)
    is_grown = True
    while is_grown:
        missing = _missing(names, kept)
        before = {n for n in range(chosen) if n not in kept and names[n].given & missing}
        known = missing - {name for n in before for name in names[n].given}
        after = {
            n
            for n in range(chosen + 1, len(blocks))
            if n not in kept and names[n].helps and names[n].given & known
        }
        is_grown = bool(before | after)
        kept |= before | after
    return [blocks[place] for place in sorted(kept)]


def _missing(names: Sequence[Names], kept: set[int]) -> set[str]:
    given = {name for place in kept for name in names[place].given}
    return {name for place in kept for name in names[place].taken} - given


def _is_in_string(body: str) -> bool:
    return any(body.count(quotes) % 2 for quotes in _QUOTES)


def _outer_end(text: str, begin: int, found: re.Match[str]) -> tuple[int, int] | None:
    """(end of the body, end of the block) where a fence within a string closed it too early."""
    line = re.compile(rf"^ {{0,3}}{re.escape(found['fence'])}[ \t]*$", re.MULTILINE)
    counts = [text.count(quotes, begin, found.end("body")) for quotes in _QUOTES]
    done = found.end("body")
    marks = line.finditer(text, found.end(), found.end() + _LONGEST_INNER)
    for mark in islice(marks, _MOST_INNER):
        counts = [
            count + text.count(quotes, done, mark.start())
            for count, quotes in zip(counts, _QUOTES, strict=True)
        ]
        done = mark.start()
        if not any(count % 2 for count in counts):
            return mark.start(), mark.end()
    return None


def _is_of_program(block: Block, text: str, begin: int) -> bool:
    """Whether a fence stands in a docstring of a program that is not fenced itself."""
    is_within = block.indent is None or len(block.indent) > 3
    return is_within and bool(DEFINED.search(text, begin, block.start))


def _body(block: Block) -> str:
    """What a fence holds, without the indentation of a fence in a list."""
    body = block.body.strip("\n")
    return textwrap.dedent(body) if body[:1] in (" ", "\t") else body
