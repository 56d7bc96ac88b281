"""The seeds and candidates behind a dataset, line by line, from the artifacts that hold them.

Guarantees: every seed and every candidate has a line, in the order of the artifacts; memory does
not grow with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tsqa.curated.files import read_curated, read_rejected
from tsqa.curated.lineage import find_upstream
from tsqa.errors import DataError
from tsqa.pipeline.run import Pipeline
from tsqa.records.candidate_file import parse_record
from tsqa.records.kept_seeds import SeedLine
from tsqa.records.rows import CuratedRow, RejectedRow, read_lineage
from tsqa.records.seed import read_seeds
from tsqa.release.records import CandidateLine, hash_parts
from tsqa.store.artifact import Artifact

_NUMBER = re.compile(r"\.q(\d+)$")
UNKNOWN_NUMBER = -1


@dataclass(frozen=True)
class Behind:
    """The artifacts behind a dataset."""

    seeds: Artifact
    generate: Artifact
    filter: Artifact


def artifacts_behind(pipeline: Pipeline) -> Behind:
    """DataError where one of them is not there any more."""
    filtered = pipeline.finished("filter")
    runs = Path(pipeline.recipe.runs)
    found = {stage: find_upstream(runs, filtered, stage) for stage in ("seeds", "generate")}
    for stage, artifact in found.items():
        if artifact is None:
            raise DataError(
                f"{filtered.path}: its {stage} artifact {filtered.manifest.inputs[stage]} is gone",
                f"make it again: delete {filtered.path} and run `tsqa filter {pipeline.told()}`",
            )
    seeds, generate = found["seeds"], found["generate"]
    assert seeds and generate
    return Behind(seeds, generate, filtered)


def seed_lines(seeds: Artifact) -> Iterator[SeedLine]:
    """The seeds of an artifact."""
    for seed in read_seeds(seeds.path / "seeds.jsonl"):
        yield SeedLine(
            id=seed.id,
            task=seed.task,
            content_hash=seed.content_hash,
            dataset=seed.dataset,
            revision=seed.revision,
            split=seed.split,
            licence=seed.licence,
        )


def candidate_lines(filtered: Artifact) -> Iterator[CandidateLine]:
    """What became of each candidate: first those that were accepted."""
    yield from map(_accepted, read_curated(filtered.path))
    yield from map(_rejected, read_rejected(filtered.path))


def _accepted(row: CuratedRow) -> CandidateLine:
    return CandidateLine(
        id=row.id,
        task=row.task,
        seed_id=row.seed_id,
        seed_hash=read_lineage(row.lineage).seed_hash,
        number=_number_of(row.id),
        asked=hash_parts(row.context, row.question, *row.choices),
        answer=hash_parts(row.answer),
        text=hash_parts(row.text),
    )


def _rejected(row: RejectedRow) -> CandidateLine:
    try:
        record = parse_record(row.record)
        behind = {"seed_id": record.seed_id, "seed_hash": record.seed_hash}
        asked = hash_parts(record.context, record.question, *record.choices)
    except ValueError:  # the step `format` rejects what is no candidate
        behind, asked = {"seed_id": "", "seed_hash": ""}, hash_parts(row.record)
    return CandidateLine(
        id=row.id,
        task=row.task,
        **behind,
        number=_number_of(row.id),
        step=row.step,
        reason=row.reason,
        asked=asked,
        answer=hash_parts(row.answer),
    )


def _number_of(item_id: str) -> int:
    found = _NUMBER.search(item_id)
    return int(found[1]) if found else UNKNOWN_NUMBER
