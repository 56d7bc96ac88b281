"""Documents on which an arm and its reference differ: what was fixed, what was broken.

Promises: documents are paired by (task, doc_id, doc_hash) and by seed, as the deltas are, so that
(fixed - broken) / (documents x seeds) of a 0/1 task is its delta; counts cover every document, the
items shown are limited and say so; a comparison that cannot be paired gives its reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from eval.harness.stage import DOCUMENTS
from eval.shapes import columns_of
from eval.statistics import stats
from tsqa.errors import DataError
from tsqa.store.artifact import Artifact
from tsqa.store.own_files import read_own_table

PER_COMPARISON = 200
PER_PAGE = 3000
FIXED, BROKEN, MIXED = "fixed", "broken", "both ways"
_KEY = ["task", "doc_id", "doc_hash"]
_LONGEST_QUESTION, _LONGEST_ANSWER = 1200, 240


@dataclass(frozen=True)
class Counts:
    """Documents of one task by what became of them over the seeds.

    `fixed` counts documents fixed in more seeds than broken, `fixed_always` those fixed in every
    seed; `told` is the mean change over documents and seeds in points.
    """

    task: str
    n: int
    fixed: int
    fixed_always: int
    broken: int
    broken_always: int
    mixed: int
    told: str


@dataclass(frozen=True)
class Evaluations:
    """The evaluate artifacts of one side by seed; the base model has one for every seed."""

    name: str
    by_seed: Mapping[int, Artifact]


def disagreements(
    pairs: Sequence[tuple[str, Evaluations, Evaluations]],
) -> dict[str, Any]:
    """The page's JSON: per comparison (label, reference, arm) its counts and items.

    `documents` holds each question once; an item points into it. An item is
    {document, kind, fixed, broken, before, after}: `fixed` and `broken` count seeds, `before` and
    `after` are [prediction, score] per seed.
    """
    most = min(PER_COMPARISON, max(10, PER_PAGE // max(1, len(pairs))))
    documents: dict[tuple[Any, ...], dict[str, Any]] = {}
    comparisons = []
    for label, reference, arm in pairs:
        try:
            comparisons.append(_compare(label, reference, arm, most, documents))
        except (DataError, OSError, pa.ArrowException) as error:
            comparisons.append({"name": label, "arm": arm.name, "gap": str(error)})
    return {"limit": most, "comparisons": comparisons, "documents": list(documents.values())}


def _compare(
    label: str,
    reference: Evaluations,
    arm: Evaluations,
    most: int,
    documents: dict[tuple[Any, ...], dict[str, Any]],
) -> dict[str, Any]:
    seeds = [seed for seed in arm.by_seed if seed in reference.by_seed]
    if not seeds:
        raise DataError(f"{label}: no seed was evaluated on both sides")
    keys, before, after = _scores(label, reference, arm, seeds)
    ups, downs = (after > before).sum(axis=0), (after < before).sum(axis=0)
    tasks = np.array(keys.column("task").to_pylist())
    chosen = sorted(_choose(tasks, ups, downs, most))
    texts = [[_texts(side.by_seed[seed], chosen) for seed in seeds] for side in (reference, arm)]
    items = []
    for place, index in enumerate(chosen):
        whole = texts[1][0][place]
        key = tuple(whole[name] for name in _KEY)
        if key not in documents:
            documents[key] = {
                "index": len(documents),
                "task": whole["task"],
                "doc_id": whole["doc_id"],
                "question": shorten(whole["question"], _LONGEST_QUESTION),
                "answer": shorten(whole["answer"], _LONGEST_ANSWER),
            }
        up, down = int(ups[index]), int(downs[index])
        sides = [
            [
                [
                    shorten(texts[side][s][place]["prediction"], _LONGEST_ANSWER),
                    float(scores[s, index]),
                ]
                for s in range(len(seeds))
            ]
            for side, scores in enumerate((before, after))
        ]
        items.append(
            {
                "document": documents[key]["index"],
                "kind": FIXED if up > down else BROKEN if down > up else MIXED,
                "fixed": up,
                "broken": down,
                "before": sides[0],
                "after": sides[1],
            }
        )
    items.sort(key=lambda item: -abs(item["fixed"] - item["broken"]))
    return {
        "name": label,
        "arm": arm.name,
        "against": reference.name,
        "seeds": seeds,
        "changed": int(np.count_nonzero(ups + downs)),
        "counts": [asdict(row) for row in _counts(tasks, before, after, ups, downs)],
        "items": items,
    }


def _scores(
    label: str, reference: Evaluations, arm: Evaluations, seeds: Sequence[int]
) -> tuple[pa.Table, NDArray[np.float64], NDArray[np.float64]]:
    """The documents, and (seeds, documents) of scores of either side; DataError if they differ."""
    keys: pa.Table | None = None
    sides: list[list[NDArray[np.float64]]] = [[], []]
    for side, evaluations in enumerate((reference, arm)):
        for seed in seeds:
            table = _sorted(evaluations.by_seed[seed], [*_KEY, "score"])
            own = table.select(_KEY)
            if keys is not None and not own.equals(keys):
                raise DataError(
                    f"{label}: seed {seed} of {evaluations.name} was scored on other documents "
                    f"({own.num_rows} and {keys.num_rows})"
                )
            keys = own
            sides[side].append(table.column("score").to_numpy())
    assert keys is not None
    return keys, np.stack(sides[0]), np.stack(sides[1])


def _counts(
    tasks: NDArray[np.str_],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    ups: NDArray[np.int64],
    downs: NDArray[np.int64],
) -> Iterator[Counts]:
    seeds = len(before)
    for task in np.unique(tasks):
        own = tasks == task
        up, down = ups[own], downs[own]
        yield Counts(
            task=str(task),
            n=int(own.sum()),
            fixed=int((up > down).sum()),
            fixed_always=int((up == seeds).sum()),
            broken=int((down > up).sum()),
            broken_always=int((down == seeds).sum()),
            mixed=int(((up == down) & (up > 0)).sum()),
            told=stats.points(float((after[:, own] - before[:, own]).mean())),
        )


def _choose(
    tasks: NDArray[np.str_], ups: NDArray[np.int64], downs: NDArray[np.int64], most: int
) -> list[int]:
    """The clearest changes first: of each task and direction one, then another of each."""
    queues: dict[tuple[str, int], list[int]] = {}
    changed = np.flatnonzero(ups + downs)
    net = ups - downs
    for index in changed[np.argsort(-np.abs(net[changed]), kind="stable")]:
        queues.setdefault((str(tasks[index]), int(np.sign(net[index]))), []).append(int(index))
    chosen: list[int] = []
    turn = 0
    while len(chosen) < min(most, len(changed)):
        layer = [queue[turn] for _, queue in sorted(queues.items()) if turn < len(queue)]
        layer.sort(key=lambda index: -abs(int(net[index])))
        chosen += layer[: most - len(chosen)]
        turn += 1
    return chosen


def _texts(artifact: Artifact, rows: Sequence[int]) -> list[dict[str, Any]]:
    columns = [*_KEY, "question", "answer", "prediction"]
    found: list[dict[str, Any]] = _sorted(artifact, columns).take(list(rows)).to_pylist()
    return found


def _sorted(artifact: Artifact, columns: list[str]) -> pa.Table:
    table = read_own_table(artifact.path / DOCUMENTS, columns_of(*columns))
    return table.sort_by([(name, "ascending") for name in _KEY]).combine_chunks()


def shorten(text: Any, most: int) -> str:
    """The text, cut and marked where it is longer; None is empty."""
    whole = "" if text is None else str(text)
    return whole if len(whole) <= most else whole[:most].rstrip() + " [...]"
