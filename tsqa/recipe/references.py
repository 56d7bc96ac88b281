"""References between keys of a recipe: `${train.lr}` is the value of that key.

Guarantees: a reference reads the recipe and nothing else, least of all the environment, whose
secrets would be written into artifacts; references to no key of it, that go in a circle, or would
grow without bounds, are refused before they are followed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

from tsqa.errors import RecipeError

_REFERENCE = re.compile(r"(?<!\\)\$\{([^{}]*)\}")
_LONGEST = 1_000_000
"""Characters and values that one value may come to."""
_LONGEST_CHAIN = 32
_UNSAID = "this recipe sets no such key"
"""A default is no value of the recipe: it is filled in later."""
_NOTHING = object()

Place = tuple[str | int, ...]


def check_references(values: Mapping[str, object], origin: str, origins: Mapping[str, str]) -> bool:
    """Whether there are references; refuse what is missing (`???`) and what one may not be.

    `origins`: key -> `file:line`; what is not in it is of `origin`.
    """
    known: dict[Place, int | None] = {}
    found = False
    for place, text in _leaves(values, ()):
        if not isinstance(text, str):
            continue
        key = ".".join(map(str, place))
        where = f"{_origin(place, origin, origins)}: {key} = {text}"
        if text == "???":
            raise RecipeError(f"{where}: has no value", "give it one")
        if "${" not in text:
            continue
        found = True
        problem, fix = _problem(text)
        if problem:
            raise RecipeError(f"{where}: {problem}", fix)
        try:
            _size(values, place, known, 0)
        except _UnusableError as error:
            raise RecipeError(f"{where}: {error}", error.fix) from error
    return found


class _UnusableError(Exception):
    """A reference that cannot be followed."""

    def __init__(self, message: str, fix: str = "write the value itself") -> None:
        super().__init__(message)
        self.fix = fix


def _problem(text: str) -> tuple[str, str]:
    """What is wrong with the references of a text, and the fix."""
    depth = 0
    for position, character in enumerate(text):
        if text.startswith("${", position):
            depth += 1
            if depth > 1:
                return "a reference within a reference", "name the key itself"
        elif character == "}" and depth:
            depth -= 1
        elif character == ":" and depth:
            return (
                "only keys of the recipe can be referred to, not the environment or functions",
                "give the value as an override, KEY=VALUE; of an API key, api_key_env names the "
                "variable",
            )
    if depth:
        return "a reference without its end", "close it: }"
    return "", ""


def _size(values: object, place: Place, known: dict[Place, int | None], chain: int) -> int:
    """Characters and values at a place once its references are followed."""
    if place in known:
        found = known[place]
        if found is None:
            raise _UnusableError("the reference goes in a circle")
        return found
    if chain > _LONGEST_CHAIN:
        raise _UnusableError(f"more than {_LONGEST_CHAIN} references in a chain")
    known[place] = None
    value, size = _at(values, place), 1
    if isinstance(value, str):
        size += len(value)
        for match in _REFERENCE.finditer(value):
            target = _target(match[1].strip(), place)
            if target is None or _at(values, target) is _NOTHING:
                fix = _nearest(values, match[1].strip(), place)
                raise _UnusableError(f"{match[0]}: {_UNSAID}", fix)
            size += _size(values, target, known, chain + 1)
    else:
        inner: Iterable[str | int] = ()
        if isinstance(value, Mapping):
            inner = value
        elif isinstance(value, list):
            inner = range(len(value))
        for name in inner:
            size += _size(values, (*place, name), known, chain)
    if size > _LONGEST:
        raise _UnusableError("what the references come to is too large")
    known[place] = size
    return size


def _target(reference: str, place: Place) -> Place | None:
    """The place that a reference names: from the top, or with leading dots from its section."""
    name = reference.lstrip(".")
    dots = len(reference) - len(name)
    if dots > len(place):
        return None
    parts = [part for part in re.split(r"[.\[\]]", name) if part]
    start: Place = place[: len(place) - dots] if dots else ()
    return (*start, *(int(part) if part.lstrip("-").isdigit() else part for part in parts))


def _nearest(values: object, reference: str, own: Place) -> str:
    """How to name a key that is there, where a reference at the place `own` names none."""
    keys = [".".join(map(str, place)) for place, _ in _leaves(values, ()) if place != own]
    name = reference.lstrip(".")
    near = difflib.get_close_matches(name, keys, n=1, cutoff=0.8) or [
        key for key in keys if name and key.endswith(f".{name}")
    ]
    return f"did you mean ${{{near[0]}}}?" if near else "write the value itself, or that key too"


def _at(values: object, place: Place) -> object:
    for part in place:
        if isinstance(values, Mapping):
            values = values.get(part, values.get(str(part), _NOTHING))
        elif (
            isinstance(values, list)
            and isinstance(part, int)
            and -len(values) <= part < len(values)
        ):
            values = values[part]
        else:
            return _NOTHING
    return values


def _leaves(value: object, place: Place) -> Iterator[tuple[Place, object]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, (*place, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, (*place, number))
    else:
        yield place, value


def _origin(place: Place, origin: str, origins: Mapping[str, str]) -> str:
    for end in range(len(place), 0, -1):
        key = ".".join(map(str, place[:end]))
        if key in origins:
            return origins[key]
    return origin
