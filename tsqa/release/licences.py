"""Licences that tsqa knows, and what those of seeds and teachers imply for what is made of both.

Guarantees: a licence that is not in the table, or that nobody stated, is named and never taken for
a permissive one. This is a reading aid, not legal advice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from tsqa.plain_yaml import read_yaml

Flag = Literal["attribution", "share-alike", "non-commercial", "no-derivatives"]
_TABLE = Path(__file__).with_name("licences.yaml")


@dataclass(frozen=True)
class Licence:
    """An entry of the table."""

    flags: tuple[Flag, ...]
    terms: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LicensedPart:
    """A source of seeds, or a teacher, with its licence."""

    kind: Literal["seeds", "teacher"]
    name: str
    stated: str
    """As its origin or the recipe has it; empty where nobody says."""
    id: str
    """In the table; empty where it is not there."""
    flags: list[Flag]
    terms: str
    said_by: str
    items: int

    @property
    def shown(self) -> str:
        return self.id or self.stated or "not stated"


@cache
def known_licences() -> dict[str, Licence]:
    """Name -> what it asks."""
    values = read_yaml(_TABLE).values
    return TypeAdapter(dict[str, Licence]).validate_python(values)


def find_licence(stated: str) -> tuple[str, Licence] | None:
    """The entry of a licence as people spell it; None where it is unknown."""
    return _spellings().get(_plain(stated))


def licensed(
    kind: Literal["seeds", "teacher"], name: str, stated: str, said_by: str, items: int
) -> LicensedPart:
    """A part with what the table says of its licence."""
    found = find_licence(stated)
    key, entry = found if found else ("", Licence(()))
    return LicensedPart(
        kind=kind,
        name=name,
        stated=stated,
        id=key,
        flags=[*entry.flags],
        terms=entry.terms,
        said_by=said_by,
        items=items,
    )


def implied(parts: Sequence[LicensedPart]) -> list[str]:
    """What the licences of all parts ask of the whole, one sentence each; unknown ones first."""
    said = []
    unknown = [part for part in parts if not part.id]
    if unknown:
        said.append(
            f"Not known: {_named(unknown)}. Until each is found out, nobody can say under which "
            "terms the whole may be shared."
        )
    if bound := _with(parts, "no-derivatives"):
        said.append(f"No derivatives: {_named(bound)}. What is derived may not be shared at all.")
    if bound := _with(parts, "non-commercial"):
        said.append(f"Non-commercial: {_named(bound)}. The whole may not be used commercially.")
    shared = _with(parts, "share-alike")
    if shared:
        said.append(f"Share-alike: {_named(shared)}. What is derived keeps that licence.")
    if len({part.id for part in shared}) > 1:
        said.append(
            "Several share-alike licences: no one licence fits the whole; keep the items apart by "
            "the column `licence`, or leave all but one out."
        )
    said += [f"{part.name} ({part.shown}): {part.terms}." for part in parts if part.terms]
    if credited := _with(parts, "attribution"):
        said.append(f"Attribution: name {', '.join(_unique(part.name for part in credited))}.")
    return said or ["Nothing: every part is in the public domain or free of conditions."]


def _with(parts: Sequence[LicensedPart], flag: Flag) -> list[LicensedPart]:
    return [part for part in parts if flag in part.flags]


def _named(parts: Sequence[LicensedPart]) -> str:
    return ", ".join(_unique(f"{part.name} ({part.shown})" for part in parts))


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


@cache
def _spellings() -> dict[str, tuple[str, Licence]]:
    found = {}
    for name, entry in known_licences().items():
        for spelling in (name, *entry.also):
            found[_plain(spelling)] = (name, entry)
    return found


def _plain(licence: str) -> str:
    """`CC BY-SA 4.0` and `cc_by_sa_4.0` -> `cc-by-sa-4.0`."""
    return "-".join(licence.lower().replace("_", " ").replace("-", " ").split())
