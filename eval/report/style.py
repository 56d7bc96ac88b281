"""How conditions are drawn in every figure, without colours of the page.

Guarantee: a condition has one colour, symbol and dash in every figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Distinguishable with the common colour blindnesses, on white and on near-black.
PALETTE = ["#3b82c4", "#e0793a", "#2fa37c", "#b565c9", "#c9a227", "#d1495b", "#5c7cfa", "#7a8b3a"]
GREY = "#8b8f98"
SYMBOLS = ["circle", "square", "diamond", "triangle-up", "pentagon", "hexagon", "star"]
DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"]

Figure = dict[str, object]
"""Plotly's JSON: `data` and `layout`."""
Trace = dict[str, object]


@dataclass(frozen=True)
class Style:
    """How one condition is drawn in every figure."""

    colour: str
    symbol: str
    dash: str


def styles(conditions: Sequence[str], control: str) -> dict[str, Style]:
    """Condition -> style; the control is grey, and a ninth condition differs by its symbol."""
    found = {control: Style(GREY, SYMBOLS[0], DASHES[0])}
    others = [name for name in dict.fromkeys(conditions) if name != control]
    for number, name in enumerate(others):
        turn, colour = divmod(number, len(PALETTE))
        symbol, dash = SYMBOLS[turn % len(SYMBOLS)], DASHES[turn % len(DASHES)]
        found[name] = Style(PALETTE[colour], symbol, dash)
    return found


def escape(text: str) -> str:
    """Escape a name: plotly reads a small subset of HTML in labels."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
