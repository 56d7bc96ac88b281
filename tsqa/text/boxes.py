r"""The results that a solution boxes: \boxed{...}, as LaTeX writes them.

Guarantee: linear in the text; only whole boxes count.
"""

from __future__ import annotations

import re

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")


def boxed_content(text: str) -> str:
    r"""Return the content of the last whole \boxed{...}."""
    boxes = boxed_contents(text)
    return boxes[-1][2] if boxes else ""


def boxed_contents(text: str) -> list[tuple[int, int, str]]:
    r"""List (begin, end, content) of every whole \boxed{...} or \fbox{...}, inner ones left out."""
    found: list[tuple[int, int, str]] = []
    begin, depth = -1, 0
    position = 0
    while position < len(text):
        character = text[position]
        if begin < 0:
            opened = _BOX.search(text, position)
            if opened is None:
                break
            begin, inside, depth, position = opened.start(), opened.end(), 1, opened.end()
            continue
        if character == "\\":
            position += 2
            continue
        depth += {"{": 1, "}": -1}.get(character, 0)
        position += 1
        if depth == 0:
            content = text[inside : position - 1].strip()
            if content:
                found.append((begin, position, content))
            begin = -1
    return found
