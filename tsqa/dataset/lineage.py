"""From an item back to all that made it: row, candidate, seeds, prompts.

Promises: everything is read from the artifacts; what is gone is None or absent, never an error;
large files are read once, line by line.
"""

from __future__ import annotations

import difflib
import heapq
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tsqa.dataset.files import CURATED, find_curated, find_rejected, read_curated, read_rejected
from tsqa.errors import DataError
from tsqa.prompts import Prompt, load_prompts, shipped_prompts
from tsqa.records.candidate import CandidateRecord
from tsqa.store.artifact import Artifact, Store
from tsqa.store.own_files import damaged

_NEAR_POOL = 200
_ROLES: tuple[Literal["question", "answer"], ...] = ("question", "answer")


@dataclass(frozen=True)
class Item:
    """A row, the artifact that it is from, and the other artifacts that hold the id."""

    artifact: Artifact
    row: dict[str, Any]
    accepted: bool
    others: list[Artifact]


def find_item(runs: Path, item_id: str) -> Item:
    """Look an id up in every filter artifact, the newest first."""
    artifacts = _filter_artifacts(runs)
    found = [item for artifact in artifacts if (item := _look_up(artifact, item_id))]
    if not found:
        near = nearest_ids(item_id, itertools.chain.from_iterable(map(_ids, artifacts)))
        raise DataError(
            f"{item_id}: no item of that id in {len(artifacts)} filter artifacts below {runs}",
            f"did you mean {', '.join(near)}?" if near else "see the column `id` of the dataset",
        )
    artifact, row, accepted = found[0]
    return Item(artifact, row, accepted, [other for other, _, _ in found[1:]])


def find_upstream(runs: Path, artifact: Artifact, stage: str) -> Artifact | None:
    """The artifact of an earlier stage that this one is made from."""
    return Store(runs / "artifacts").find(stage, artifact.manifest.inputs[stage])


def find_candidate(found: Item, generate: Artifact | None) -> dict[str, Any] | None:
    """The candidate as generate wrote it; None when it is gone, or was never readable."""
    if not found.accepted:
        try:
            record: dict[str, Any] = json.loads(found.row["record"])
            CandidateRecord.model_validate(record)
        except ValueError:
            return None
        return record
    return find_lines(generate, "candidates.jsonl", [found.row["id"]]).get(found.row["id"])


def find_lines(
    artifact: Artifact | None, name: str, ids: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Records of a JSONL file by id; only lines that hold a wanted id are parsed."""
    path = artifact.path / name if artifact else None
    if path is None or not path.is_file():
        return {}
    needles = {json.dumps(i, ensure_ascii=ascii).encode() for i in ids for ascii in (True, False)}
    found: dict[str, dict[str, Any]] = {}
    with path.open("rb") as lines:
        for line in lines:
            if any(needle in line for needle in needles):
                record = _record(path, line)
                if record["id"] in ids:
                    found[record["id"]] = record
    return found


def _record(path: Path, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"not JSON: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get("id"), str):
        raise damaged(path, f"a record without its id: {record!r:.60}")
    return record


def nearest_ids(wanted: str, ids: Iterable[str]) -> list[str]:
    """Up to 3 ids like the one wanted, out of those that begin most like it."""
    pool = heapq.nlargest(_NEAR_POOL, ids, key=lambda name: (_shared_beginning(wanted, name), name))
    return difflib.get_close_matches(wanted, dict.fromkeys(pool))


def rebuild_prompts(
    candidate: Mapping[str, Any],
    shots: Mapping[str, Mapping[str, Any]],
    enrichment: Sequence[str],
) -> dict[str, str | None]:
    """Role -> the prompt as the teacher got it (of the first vote, for answers).

    None where the prompt is not a shipped one any more, or a seed that it shows is missing.
    """
    roles = [role for role in _ROLES if role in candidate["prompts"]]
    if not all(name in shots for name in candidate["seed_ids"]):
        return dict.fromkeys(roles)
    item = {key: candidate[key] for key in ("question", "context", "choices")}
    if candidate["votes"] and candidate["votes"][0]["order"]:
        item["choices"] = [item["choices"][place] for place in candidate["votes"][0]["order"]]
    shared = {
        "shots": [shots[name] for name in candidate["seed_ids"]],
        "kind": candidate["kind"],
    }
    variables = {"question": shared, "answer": {**shared, **item, "enrichment": list(enrichment)}}
    texts: dict[str, str | None] = {}
    for role in roles:
        prompt = _shipped_prompt(role, candidate["prompts"][role]["sha256"])
        texts[role] = _filled(prompt, candidate["form"], variables[role]) if prompt else None
    return texts


def _shared_beginning(left: str, right: str) -> int:
    pairs = zip(left, right, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _filled(prompt: Prompt, form: str, variables: Mapping[str, Any]) -> str:
    if form == "completion":
        return prompt.completion(**variables)
    return "\n\n".join(
        f"[{turn['role']}]\n{turn['content']}" for turn in prompt.messages(**variables)
    )


def _shipped_prompt(role: Literal["question", "answer"], sha256: str) -> Prompt | None:
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


def _look_up(artifact: Artifact, item_id: str) -> tuple[Artifact, dict[str, Any], bool] | None:
    row = find_curated(artifact.path, item_id)
    if row is not None:
        return artifact, row, True
    row = find_rejected(artifact.path, item_id)
    return (artifact, row, False) if row is not None else None


def _ids(artifact: Artifact) -> Iterator[str]:
    for read in (read_curated, read_rejected):
        yield from (row["id"] for row in read(artifact.path, ["id"]))
