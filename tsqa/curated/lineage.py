"""Trace an item back to its row, candidate, seeds and prompts.

Guarantees: everything is read from the artifacts; what is gone is None or absent, never an error;
large files are read once, line by line.
"""

from __future__ import annotations

import difflib
import heapq
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from tsqa.curated.files import CURATED, REJECTED, find_curated, find_rejected, read_rows
from tsqa.errors import DataError
from tsqa.prompts import Prompt, Role, load_prompts, shipped_prompts
from tsqa.prompts.variables import (
    AnswerVariables,
    Asking,
    PassageVariables,
    QuestionVariables,
    RephraseVariables,
)
from tsqa.recipe import Enrichment
from tsqa.records.candidate_file import CandidateRecord, Vote, parse_record
from tsqa.records.rows import CuratedRow, RejectedRow
from tsqa.records.seed import Seed
from tsqa.store.artifact import Artifact, Store
from tsqa.store.own_files import damaged

_NEAR_POOL = 200


@dataclass(frozen=True)
class FoundItem:
    """A row, its artifact, and the other artifacts that hold the id."""

    artifact: Artifact
    row: CuratedRow | RejectedRow
    others: list[Artifact]


def find_item(runs: Path, item_id: str) -> FoundItem:
    """Look an id up in every filter artifact, the newest first."""
    artifacts = _filter_artifacts(runs)
    found = [item for artifact in artifacts if (item := _look_up(artifact, item_id))]
    if not found:
        near = nearest_ids(item_id, itertools.chain.from_iterable(map(_ids, artifacts)))
        raise DataError(
            f"{item_id}: no item of that id in {len(artifacts)} filter artifacts below {runs}",
            f"did you mean {', '.join(near)}?" if near else "see the column `id` of the dataset",
        )
    artifact, row = found[0]
    return FoundItem(artifact, row, [other for other, _ in found[1:]])


def find_upstream(runs: Path, artifact: Artifact, stage: str) -> Artifact | None:
    """The artifact of an earlier stage that was the input of this one."""
    return Store(runs / "artifacts").find(stage, artifact.manifest.inputs[stage])


def find_candidate(found: FoundItem, generate: Artifact | None) -> CandidateRecord | None:
    """The candidate as generate wrote it; None when it is gone, or was never readable."""
    row = found.row
    if isinstance(row, CuratedRow):
        return find_candidates(generate, [row.id]).get(row.id)
    try:
        return parse_record(row.record)
    except ValueError:
        return None


def find_candidates(generate: Artifact | None, ids: Sequence[str]) -> dict[str, CandidateRecord]:
    """Candidates by id; one that cannot be found is absent."""
    found = {}
    for path, name, line in _find_lines(generate, "candidates.jsonl", ids):
        try:
            found[name] = parse_record(line)
        except ValueError as error:
            raise damaged(path, f"{name}: not a candidate: {error}") from error
    return found


def find_seeds(seeds: Artifact | None, ids: Sequence[str]) -> dict[str, Seed]:
    """Seeds by id; one that cannot be found is absent."""
    found = {}
    for path, name, line in _find_lines(seeds, "seeds.jsonl", ids):
        try:
            found[name] = Seed(**json.loads(line))
        except TypeError as error:
            raise damaged(path, f"{name}: no seed: {error}") from error
    return found


def _find_lines(
    artifact: Artifact | None, name: str, ids: Sequence[str]
) -> Iterator[tuple[Path, str, bytes]]:
    """(file, id, line) of the records with these ids; only lines that hold one are parsed."""
    path = artifact.path / name if artifact else None
    if path is None or not path.is_file():
        return
    needles = {json.dumps(i, ensure_ascii=ascii).encode() for i in ids for ascii in (True, False)}
    with path.open("rb") as lines:
        for line in lines:
            if any(needle in line for needle in needles):
                found = _id_of(path, line)
                if found in ids:
                    yield path, found, line


def _id_of(path: Path, line: bytes) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"not JSON: {error}") from error
    found = record.get("id") if isinstance(record, dict) else None
    if not isinstance(found, str):
        raise damaged(path, f"a record without its id: {record!r:.60}")
    return found


def nearest_ids(wanted: str, ids: Iterable[str]) -> list[str]:
    """Up to 3 ids like the one wanted, out of those that begin most like it."""
    pool = heapq.nlargest(_NEAR_POOL, ids, key=lambda name: (_shared_beginning(wanted, name), name))
    return difflib.get_close_matches(wanted, dict.fromkeys(pool))


def rebuild_prompts(
    candidate: CandidateRecord, shots: Mapping[str, Seed], enrichment: Sequence[Enrichment]
) -> dict[str, str | None]:
    """Role -> the prompt as its model got it (of the first vote, for answers).

    None where the prompt is no longer a shipped one, or a seed that it shows is missing.
    """
    if not all(name in shots for name in candidate.seed_ids):
        return dict.fromkeys(candidate.prompts)
    shown = [shots[name] for name in candidate.seed_ids]
    asked: dict[Asking, dict[str, object]] = {
        "question": asdict(QuestionVariables(shown, candidate.kind, candidate.attributes)),
        "passage": asdict(PassageVariables(shown[-1].context, candidate.kind)),
        "rephrase": asdict(RephraseVariables(shown[-1].context)),
    }
    texts: dict[str, str | None] = {}
    for role, used in candidate.prompts.items():
        asker = next((each for each in asked if each == role), None)
        if asker is not None:
            prompt = _shipped_prompt(asker, used.sha256)
            texts[role] = _filled(prompt, candidate.form, asked[asker]) if prompt else None
            continue
        prompt = _shipped_prompt("answer", used.sha256)
        vote = _first_vote(candidate, role)
        if prompt is None or vote is None:
            texts[role] = None
            continue
        answered = AnswerVariables(
            question=candidate.question,
            context=candidate.passage,
            choices=[candidate.choices[n] for n in vote.order or range(len(candidate.choices))],
            shots=[shot for shot in shown if not shot.is_passage],
            kind=candidate.kind,
            enrichment=enrichment,
        )
        form = candidate.model_of(vote.teacher).form
        texts[role] = _filled(prompt, form, asdict(answered))
    return texts


def _first_vote(candidate: CandidateRecord, role: str) -> Vote | None:
    """That was asked for by the prompt of a role: a solver's own, or the one of all others."""
    own = candidate.prompts.keys() - {*get_args(Asking), "answer"}
    found = (
        vote
        for vote in candidate.votes
        if vote.teacher == role or (role == "answer" and vote.teacher not in own)
    )
    return next(found, None)


def _shared_beginning(left: str, right: str) -> int:
    pairs = zip(left, right, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _filled(prompt: Prompt, form: str, variables: Mapping[str, object]) -> str:
    if form == "completion":
        return prompt.completion(**variables)
    return "\n\n".join(
        f"[{turn['role']}]\n{turn['content']}" for turn in prompt.messages(**variables)
    )


def _shipped_prompt(role: Role, sha256: str) -> Prompt | None:
    for name in shipped_prompts(role):
        for prompt in load_prompts(name, role, role).prompts.values():
            if prompt.sha256 == sha256:
                return prompt
    return None


def _filter_artifacts(runs: Path) -> list[Artifact]:
    """Those that hold a dataset, the newest first."""
    store = Store(runs / "artifacts")
    folders = [path.parent.parent for path in (store.root / "filter").glob(f"*/{CURATED}")]
    finished = sorted(folder.name for folder in folders if folder.suffix != ".partial")
    found = [artifact for name in finished if (artifact := store.find("filter", name))]
    if not found:
        raise DataError(f"no curated dataset below {runs}", "name the folder of the runs: --runs")
    return sorted(found, key=lambda artifact: artifact.manifest.created, reverse=True)


def _look_up(artifact: Artifact, item_id: str) -> tuple[Artifact, CuratedRow | RejectedRow] | None:
    row = find_curated(artifact.path, item_id) or find_rejected(artifact.path, item_id)
    return (artifact, row) if row is not None else None


@dataclass(frozen=True)
class _Id:
    id: str


def _ids(artifact: Artifact) -> Iterator[str]:
    for folder in (CURATED, REJECTED):
        yield from (row.id for row in read_rows(artifact.path / folder, _Id))
