"""Which capability a task trains, and in which language its questions are.

Guarantees: the shipped map knows every lm-eval task with a training split; a recipe's own map has
the same form and its entries come first; a task that no map knows is `other`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from re import split
from typing import Any

from tsqa.errors import DataError, RecipeError
from tsqa.recipe import read_yaml

SHIPPED = Path(__file__).with_name("taxonomy.yaml")
UNKNOWN = "other"
_FROM_NAME = "name"


@dataclass(frozen=True)
class Taxonomy:
    """Maps of patterns, the most specific map first."""

    maps: tuple[Mapping[str, Any], ...]

    def capability(self, task: str, tags: Sequence[str], family: str) -> str:
        """Return the capability of a task, such as `math`."""
        for one in self.maps:
            groups = one.get("capabilities", {})
            patterns = {n: p for group in groups.values() for n, p in group.items()}
            found = _look_up(patterns, task, tags, family)
            if found:
                return found
        return UNKNOWN

    def language(self, task: str, tags: Sequence[str], family: str) -> str:
        """Return the language of a task's questions, ISO 639-1."""
        for one in self.maps:
            found = _look_up(one.get("languages", {}), task, tags, family)
            if found == _FROM_NAME:
                return self._language_in_name(task)
            if found:
                return found
        return "en"

    def group_of(self, capability: str) -> str:
        """Return `knowledge-intensive` or `reasoning-intensive`; `other` where no map knows it."""
        for one in self.maps:
            for group, members in one.get("capabilities", {}).items():
                if capability in members:
                    return str(group)
        return UNKNOWN

    def _language_in_name(self, task: str) -> str:
        longer = {k: v for one in self.maps for k, v in one.get("iso_639_3", {}).items()}
        for part in reversed(split("[_-]", task)):
            if part in longer:
                return str(longer[part])
            if len(part) == 2 and part.isalpha() and part.islower():
                return part
        return "en"


@lru_cache(maxsize=8)
def load_taxonomy(path: Path | None = None) -> Taxonomy:
    """Load the shipped map, after the one at `path`; raise DataError where it is malformed."""
    maps = [_read(SHIPPED)]
    if path is not None:
        maps.insert(0, _read(path))
    return Taxonomy(tuple(maps))


def stated_family(task: str, families: Mapping[str, str]) -> str | None:
    """What `seeds.families` says of a task or dataset: under its name, else the longest glob."""
    fits = [name for name in families if fnmatchcase(task, name)]
    return families[max(fits, key=lambda name: (name == task, len(name)))] if fits else None


def _read(path: Path) -> Mapping[str, object]:
    form = "use `capabilities: {group: {capability: [pattern, ...]}}`"
    try:
        found = read_yaml(path).values
    except RecipeError as error:
        raise DataError(f"no readable taxonomy: {error}", form) from error
    if set(found) - {"capabilities", "languages", "iso_639_3"}:
        raise DataError(f"{path}: a taxonomy holds capabilities, languages, iso_639_3", form)
    groups = found.get("capabilities", {})
    lists = [found.get("languages", {}), *(groups.values() if isinstance(groups, dict) else [None])]
    for one in lists:
        if not isinstance(one, dict) or not all(
            isinstance(patterns, list) and all(isinstance(p, str) for p in patterns)
            for patterns in one.values()
        ):
            raise DataError(f"{path}: expected lists of patterns, found {one!r:.80}", form)
    return found


def _look_up(
    patterns: Mapping[str, Sequence[str]], task: str, tags: Sequence[str], family: str
) -> str | None:
    """The name whose pattern fits the task, else a tag, else the family; the longest wins."""
    for keys in ([task], tags, [family]):
        fits = [
            (len(pattern), name)
            for name, those in patterns.items()
            for pattern in those
            if any(fnmatchcase(key, pattern) for key in keys)
        ]
        if fits:
            return max(fits)[1]
    return None
