"""Text of data for a terminal, a table or a spreadsheet, where it must stay text.

Guarantees: nothing that is printed moves the cursor, changes colours, reverses the direction of
writing or fails to encode; no cell of an export is taken for a formula.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_KEPT = "\n\t\u200c\u200d"
"""Joiners are part of words in Persian, Hindi and emoji."""
_HIDDEN = frozenset({"Cc", "Cf", "Cs"})
"""Unicode categories: control, format (such as a change of direction), lone surrogates."""
_FORMULA = re.compile(r"\s*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[-+]?(\d[\d,]*\.?\d*|\.\d+)([eE][-+]?\d+)?%?")


def printable(text: str) -> str:
    """The same, with escapes such as `\\x1b` for what is no visible character."""
    if text.isprintable():
        return text
    return "".join(map(_shown, text))


def neutral_cell(text: str) -> str:
    """The same, behind an apostrophe where a spreadsheet would take it for a formula."""
    is_formula = _FORMULA.match(text) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text


class PrintableConsole(Console):
    """A console on which texts stay texts, wherever they come from."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)


def _shown(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) not in _HIDDEN:
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
