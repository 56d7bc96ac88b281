"""A recipe before it is validated: mappings, lists and values, merged and changed by key.

Guarantees: nothing is shared between two places, so that a change of one is none of the other; a
mapping is never put on a reference (`${...}`), whose keys it would drop without a word.
"""

from __future__ import annotations

import re
from typing import cast

Tree = dict[str, object]


def copy_tree(tree: Tree) -> Tree:
    """A copy in which what YAML's aliases stand for is written out."""
    return cast(Tree, _copied(tree))


def merge_trees(base: Tree, over: Tree, prefix: str = "") -> Tree:
    """The tree with `over` on top: mappings merge, all else replaces. Raises ValueError."""
    merged = dict(base)
    for key, value in over.items():
        before = base.get(key)
        if isinstance(value, dict):
            _refuse_reference(before, f"{prefix}{key}")
            if isinstance(before, dict):
                value = merge_trees(before, value, f"{prefix}{key}.")
        merged[key] = value
    return merged


def set_key(tree: Tree, key: str, value: object, merge: bool) -> None:
    """Set `a.b.0.c` in the tree; a mapping is merged into one that is there if `merge` says so.

    What is missing on the way is made. Raises ValueError or LookupError.
    """
    *parents, last = key_parts(key)
    place: Tree | list[object] = tree
    for part in parents:
        inner = _entry(place, part)
        _refuse_reference(inner, part)
        if not isinstance(inner, (dict, list)):
            inner = _put(place, part, {})
        place = cast(Tree | list[object], inner)
    before = _entry(place, last)
    if merge and isinstance(value, dict):
        _refuse_reference(before, last)
        if isinstance(before, dict):
            value = merge_trees(before, value)
    _put(place, last, _copied(value))


def key_parts(key: str) -> list[str]:
    """`a.b[0].c` -> a, b, 0, c."""
    return [part for part in re.split(r"[.\[\]]", key) if part]


def _copied(value: object) -> object:
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _entry(place: Tree | list[object], part: str) -> object:
    return place.get(part) if isinstance(place, dict) else place[_number(place, part)]


def _put(place: Tree | list[object], part: str, value: object) -> object:
    if isinstance(place, dict):
        place[part] = value
    else:
        place[_number(place, part)] = value
    return value


def _number(entries: list[object], part: str) -> int:
    if not part.isdecimal():
        raise ValueError(f"{part} is no number of an entry")
    if int(part) >= len(entries):
        raise IndexError(f"no entry {part}: there are {len(entries)}, counted from 0")
    return int(part)


def _refuse_reference(value: object, key: str) -> None:
    if isinstance(value, str) and "${" in value:
        raise ValueError(f"{key} is the reference {value}: name the key that it stands for")
