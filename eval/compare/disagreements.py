"""Documents on which an arm and its reference differ: what was fixed, what was broken.

Guarantees: documents are paired by (task, doc_id, doc_hash) and by seed, as the deltas are, so that
(fixed - broken) / (documents x seeds) of a 0/1 task is its delta; counts cover every document, the
items shown are limited and say so; a comparison that cannot be paired gives its reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from eval.results import DOCUMENTS, columns_of
from eval.statistics import stats
from eval.statistics.crossed import Floats
from tsqa.errors import DataError
from tsqa.store.artifact import Artifact
from tsqa.store.own_files import read_own_table

PER_COMPARISON = 200
PER_PAGE = 3000
FIXED, BROKEN, MIXED = "fixed", "broken", "both ways"
_KEY = ["task", "doc_id", "doc_hash"]
_LONGEST_QUESTION, _LONGEST_ANSWER = 1200, 240


@dataclass(frozen=True)
class TaskChanges:
    """Documents of one task by what became of them over the seeds.

    `fixed` counts documents fixed in more seeds than broken, `fixed_always` those fixed in every
    seed; `change` is the mean change over documents and seeds in points.
    """

    task: str
    n: int
    fixed: int
    fixed_always: int
    broken: int
    broken_always: int
    mixed: int
    change: str


@dataclass(frozen=True)
class Evaluations:
    """The evaluate artifacts of one side by seed; the base model has one for every seed."""

    name: str
    by_seed: Mapping[int, Artifact]


@dataclass(frozen=True)
class Question:
    """A document that some item shows."""

    index: int
    task: str
    doc_id: int
    question: str
    answer: str


@dataclass(frozen=True)
class ChangedDocument:
    """One document in one comparison."""

    document: int
    """Index of its question."""
    kind: str
    fixed: int
    """Seeds in which it was fixed."""
    broken: int
    before: list[tuple[str, float]]
    """Prediction and score of the reference, per seed."""
    after: list[tuple[str, float]]


@dataclass(frozen=True)
class Pairing:
    """What an arm fixed and broke."""

    name: str
    arm: str
    against: str
    seeds: list[int]
    changed: int
    """Documents that differ in any seed."""
    counts: list[TaskChanges]
    items: list[ChangedDocument]


@dataclass(frozen=True)
class Unpaired:
    """A comparison whose documents cannot be paired, and why."""

    name: str
    arm: str
    gap: str


@dataclass(frozen=True)
class Disagreements:
    """The page's JSON; `limit` is the most items that one comparison shows."""

    limit: int
    comparisons: list[Pairing | Unpaired]
    documents: list[Question]


_Key = tuple[str, int, str]
"""task, doc_id, doc_hash"""


@dataclass(frozen=True)
class _Scores:
    """One comparison's scores, seeds x documents, and what became of each document."""

    keys: list[_Key]
    before: Floats
    after: Floats

    @cached_property
    def tasks(self) -> NDArray[np.str_]:
        return np.array([task for task, *_ in self.keys])

    @cached_property
    def ups(self) -> NDArray[np.int64]:
        """In how many seeds each document was fixed."""
        return np.asarray((self.after > self.before).sum(axis=0))

    @cached_property
    def downs(self) -> NDArray[np.int64]:
        return np.asarray((self.after < self.before).sum(axis=0))


def disagreements(pairs: Sequence[tuple[str, Evaluations, Evaluations]]) -> Disagreements:
    """Compare the documents of every pair: label, reference, arm."""
    most = min(PER_COMPARISON, max(10, PER_PAGE // max(1, len(pairs))))
    questions: dict[_Key, Question] = {}
    comparisons: list[Pairing | Unpaired] = []
    for label, reference, arm in pairs:
        try:
            comparisons.append(_compare(label, reference, arm, most, questions))
        except (DataError, OSError, pa.ArrowException) as error:
            comparisons.append(Unpaired(label, arm.name, str(error)))
    return Disagreements(most, comparisons, list(questions.values()))


def _compare(
    label: str,
    reference: Evaluations,
    arm: Evaluations,
    most: int,
    questions: dict[_Key, Question],
) -> Pairing:
    seeds = [seed for seed in arm.by_seed if seed in reference.by_seed]
    if not seeds:
        raise DataError(f"{label}: no seed was evaluated on both sides")
    scores = _scores(label, reference, arm, seeds)
    chosen = sorted(_choose(scores, most))
    before, after = (
        [_answers(side.by_seed[seed], chosen) for seed in seeds] for side in (reference, arm)
    )
    items = []
    for number, index in enumerate(chosen):
        question, answer, _ = after[0][number]
        task, doc_id, _ = key = scores.keys[index]
        questions.setdefault(
            key,
            Question(
                len(questions),
                task,
                doc_id,
                shorten(question, _LONGEST_QUESTION),
                shorten(answer, _LONGEST_ANSWER),
            ),
        )
        up, down = int(scores.ups[index]), int(scores.downs[index])
        items.append(
            ChangedDocument(
                document=questions[key].index,
                kind=FIXED if up > down else BROKEN if down > up else MIXED,
                fixed=up,
                broken=down,
                before=_shown([one[number] for one in before], scores.before[:, index]),
                after=_shown([one[number] for one in after], scores.after[:, index]),
            )
        )
    items.sort(key=lambda item: -abs(item.fixed - item.broken))
    changed = int(np.count_nonzero(scores.ups + scores.downs))
    counts = list(_counts(scores))
    return Pairing(label, arm.name, reference.name, seeds, changed, counts, items)


def _shown(answers: Sequence[_Answer], scores: Floats) -> list[tuple[str, float]]:
    """Prediction and score per seed."""
    return [
        (shorten(prediction, _LONGEST_ANSWER), float(score))
        for (_, _, prediction), score in zip(answers, scores, strict=True)
    ]


def _scores(label: str, reference: Evaluations, arm: Evaluations, seeds: Sequence[int]) -> _Scores:
    """The scores of either side; DataError if the documents differ."""
    keys: pa.Table | None = None
    sides: list[list[Floats]] = [[], []]
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
    rows = list(zip(*(keys.column(name).to_pylist() for name in _KEY), strict=True))
    return _Scores(rows, np.stack(sides[0]), np.stack(sides[1]))


def _counts(scores: _Scores) -> Iterator[TaskChanges]:
    seeds = len(scores.before)
    for task in np.unique(scores.tasks):
        own = scores.tasks == task
        up, down = scores.ups[own], scores.downs[own]
        yield TaskChanges(
            task=str(task),
            n=int(own.sum()),
            fixed=int((up > down).sum()),
            fixed_always=int((up == seeds).sum()),
            broken=int((down > up).sum()),
            broken_always=int((down == seeds).sum()),
            mixed=int(((up == down) & (up > 0)).sum()),
            change=stats.points(float((scores.after[:, own] - scores.before[:, own]).mean())),
        )


def _choose(scores: _Scores, most: int) -> list[int]:
    """The clearest changes first: of each task and direction one, then another of each."""
    queues: dict[tuple[str, int], list[int]] = {}
    changed = np.flatnonzero(scores.ups + scores.downs)
    net = scores.ups - scores.downs
    for index in changed[np.argsort(-np.abs(net[changed]), kind="stable")]:
        group = (scores.keys[index][0], int(np.sign(net[index])))
        queues.setdefault(group, []).append(int(index))
    chosen: list[int] = []
    turn = 0
    while len(chosen) < min(most, len(changed)):
        layer = [queue[turn] for _, queue in sorted(queues.items()) if turn < len(queue)]
        layer.sort(key=lambda index: -abs(int(net[index])))
        chosen += layer[: most - len(chosen)]
        turn += 1
    return chosen


_Answer = tuple[str | None, str | None, str | None]
"""question, right answer, prediction"""


def _answers(artifact: Artifact, rows: Sequence[int]) -> list[_Answer]:
    columns = ["question", "answer", "prediction"]
    found = _sorted(artifact, [*_KEY, *columns]).take(list(rows))
    return list(zip(*(found.column(name).to_pylist() for name in columns), strict=True))


def _sorted(artifact: Artifact, columns: list[str]) -> pa.Table:
    table = read_own_table(artifact.path / DOCUMENTS, columns_of(*columns))
    return table.sort_by([(name, "ascending") for name in _KEY]).combine_chunks()


def shorten(text: str | None, most: int) -> str:
    """The text, cut and marked where it is longer; None is empty."""
    whole = text or ""
    return whole if len(whole) <= most else whole[:most].rstrip() + " [...]"
