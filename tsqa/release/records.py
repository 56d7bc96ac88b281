"""What a release holds beside its dataset: the manifest, and a line for each seed and candidate.

Guarantee: a manifest that is returned has every field with its declared type, and is as written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tsqa.errors import DataError
from tsqa.plain_json import parse_json
from tsqa.records.kept_seeds import LINEAGE
from tsqa.release.licences import LicensedPart
from tsqa.store.manifest import MANIFEST
from tsqa.store.own_files import read_own_lines

RELEASES = "releases"
"""Folder of the runs: `releases/<recipe>/<version>`."""
CANDIDATES, SEEDS = f"{LINEAGE}/candidates.jsonl", f"{LINEAGE}/seeds.jsonl"
_KEEP = "keep the folder for evidence, and take the release again from a copy of it"


@dataclass(frozen=True)
class ReleasedFile:
    bytes: int
    sha256: str


@dataclass(frozen=True)
class MadeFrom:
    """An artifact that the release was made from."""

    stage: str
    fingerprint: str
    created: str


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What a source of the mixture is, and its share of the stream."""

    source: str
    made_by: str
    """`people`, names of models, or empty where the recipe does not say."""
    generation: int | None
    """0 is people's; None where the recipe does not say."""
    family: str
    share: float
    """Of the stream's tokens."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """The manifest of a release."""

    name: str
    version: str
    created: str
    """UTC, `2026-01-31T12:00:00Z`."""
    tsqa: str
    """Version that made the release."""
    origin: str
    """Name of the recipe's file."""
    overrides: list[str]
    made_from: list[MadeFrom]
    since: str
    """The version that it continues; empty where none was named."""
    seeds: int
    candidates: int
    items: int
    licences: list[LicensedPart]
    implied: list[str]
    """What the licences ask of the whole."""
    generations: list[Generation]
    """Of the recipe's mixture; empty where it has none."""
    gaps: list[str]
    """What the release does not say, in words."""
    files: dict[str, ReleasedFile]
    seal: str = ""
    """sha256 of everything else."""


@dataclass(frozen=True, kw_only=True)
class CandidateLine:
    """What became of a candidate."""

    id: str
    task: str
    seed_id: str
    seed_hash: str
    number: int
    """Which of the questions that were asked for after its seed."""
    step: str = ""
    """The filter that rejected it; empty where it was accepted."""
    reason: str = ""
    asked: str = ""
    """Hash of its passage, question and options."""
    answer: str = ""
    """Hash of its answer."""
    text: str = ""
    """Hash of its document; empty where it was rejected."""


def read_release(folder: Path) -> Release:
    """The manifest of a release; DataError unless it is whole and as written."""
    path = folder / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
        parse_json(text)  # which refuses what JSON readers take differently
        release = TypeAdapter(Release).validate_json(text, strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(map(str, problem["loc"]))
        raise DataError(f"{path}: no release: {key}: {problem['msg']}", _KEEP) from error
    except OSError as error:
        raise DataError(f"{path}: no release here: {error.strerror}", "correct the path") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: no release: {error}", _KEEP) from error
    if release.seal != seal_of(release):
        raise DataError(f"{path}: changed since it was written", _KEEP)
    return release


def seal_of(release: Release) -> str:
    """The hash that a manifest must name."""
    plain = asdict(replace(release, seal=""))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def read_lines(path: Path) -> Iterator[CandidateLine]:
    """The candidates of a release, as they were written."""
    return read_own_lines(path, CandidateLine, _KEEP)


def hash_parts(*parts: str) -> str:
    """16 hexadecimal digits of texts."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
