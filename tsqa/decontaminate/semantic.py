"""Which evaluated documents a candidate asks in other words: cosine of sentence embeddings.

It stands beside the rules that compare words, for what they lose: synonyms and cut questions. The
question is compared with evaluated questions, and the item (question, options and passage) with
evaluated items, each with a threshold of its own.

A threshold is set for each task, at a stated share of false positives: so many of its training
documents are expected above it. Then all are raised until no more than that share of all training
documents is above that of any task. Those that the other rules reject do not count, for they may be
leaks. A task with too few training documents to show that share is measured on its evaluated
documents among each other; one with few of these has a default.

Texts that are read in several windows have more chances to be above: for them, thresholds are
raised until no more than that share of evaluated documents is, read as such texts against the
others.

Where a task's documents are so alike that nothing above the threshold is left, as in a template,
the rule cannot tell, and says so.

Guarantees: the search is exact; verdicts do not depend on order, nor on batches but for what a
model's rounding moves (similarities count to 4 digits); memory is linear in the evaluated
documents and independent of the candidates.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsqa.decontaminate.undress import undress
from tsqa.dedup.semantic import KEY as DEDUP_KEY
from tsqa.dedup.semantic import SentenceEncoder, load_model
from tsqa.hub.identify import identify_model
from tsqa.recipe import FilterSection
from tsqa.records.candidate import Candidate, Rejection, seed_as_candidate
from tsqa.records.seed import read_seeds
from tsqa.records.summaries import SemanticTask
from tsqa.store.digests import hash_bytes
from tsqa.store.identity import Json
from tsqa.text.hashing import Numbers

Vectors = NDArray[np.float32]
Scores = NDArray[np.float64]

KEY = "filter.decontaminate.semantic"
_DEFAULT = 0.8
"""Threshold where nothing was measured: that of published work."""
_FLOOR = 0.6
"""Lowest threshold: what is less alike shares a subject."""
_CEILING = 0.97
"""From here on nothing is left: a document with one word in ten changed is less alike."""
_SAMPLE = 1000
"""Training documents of a task that set its threshold."""
_BATCH = 512
_SHOWN = 3
"""Documents just below a threshold, at most, that are told of a candidate."""


@dataclass(frozen=True)
class Near:
    """An evaluated document that a candidate is much like, and how much; not enough for a leak."""

    document: str
    similarity: float


class Embedder:
    """A model's unit vectors of texts; those that are kept lie in files named by their content."""

    def __init__(
        self, model: SentenceEncoder, identity: Json, folder: Path, inputs: Sequence[Path] = ()
    ) -> None:
        """`identity`: of the model; `folder`: of the stage's artifact, beside earlier ones;
        `inputs`: other artifacts that may keep some."""
        self._model, self._identity, self._folder = model, identity, folder
        self._inputs = inputs

    def embed(self, texts: Sequence[str]) -> Vectors:
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        vectors = self._model.encode([*places], normalize_embeddings=True)
        return np.asarray(vectors, dtype=np.float32)[[places[text] for text in texts]]

    def keep(self, texts: Sequence[str]) -> Vectors:
        """The same, from the file of an earlier artifact where there is one."""
        key = hash_bytes(json.dumps([self._identity, list(texts)]).encode())[:24]
        name = f"vectors-{key}.npy"
        kept = [path / name for path in self._inputs if (path / name).exists()]
        for known in [*kept, *sorted(self._folder.parent.glob(f"*/{name}"))]:
            with suppress(OSError, ValueError, EOFError):  # deleted meanwhile, or damaged
                vectors: Vectors = np.load(known)
                if len(vectors) == len(texts):
                    return vectors
        vectors = self.embed(texts)
        unfinished = self._folder / f"{name}.tmp"
        with unfinished.open("wb") as file:
            np.save(file, vectors)
        unfinished.replace(self._folder / name)
        return vectors


def open_embedder(section: FilterSection, folder: Path, inputs: Sequence[Path] = ()) -> Embedder:
    """Load the model of a recipe that compares by meaning; see `Embedder`.

    Raises EngineError when it cannot be loaded.
    """
    wanted = section.semantic_leaks
    assert wanted is not None
    return Embedder(load_encoder(section), identify_model(wanted.model), folder, inputs)


def load_encoder(section: FilterSection) -> SentenceEncoder:
    """The model of `open_embedder` without what it keeps; EngineError when it cannot be loaded."""
    wanted = section.semantic_leaks
    assert wanted is not None
    is_own = section.decontaminate.semantic is not None
    return load_model(wanted.model, KEY if is_own else DEDUP_KEY)


def _question(candidate: Candidate) -> str:
    return undress(candidate.question)


def item_text(question: str, choices: Sequence[str], context: str) -> str:
    """The passage is last, for a model reads the beginning of a long text."""
    return undress("\n".join(part for part in (question, *choices, context) if part))


def _item(candidate: Candidate) -> str:
    return item_text(candidate.question, candidate.choices, candidate.context)


VIEWS: tuple[Callable[[Candidate], str], ...] = (_question, _item)


def _views_of(candidates: Sequence[Candidate]) -> list[str]:
    return [view(one) for view in VIEWS for one in candidates]


def _split(vectors: Vectors) -> list[Vectors]:
    return np.split(vectors, len(VIEWS))


@dataclass(frozen=True)
class _Level:
    """What the documents of a task, or those of its training split, tell about it."""

    set_on: str
    compared: int
    thresholds: list[float]
    """One per view."""


class SemanticDocuments:
    """Every evaluated document by its meaning."""

    def __init__(
        self,
        embedder: Embedder,
        documents: Sequence[Candidate],
        training: Sequence[Candidate] | None,
        false_positives: float,
        windows: Sequence[tuple[int, str]] = (),
    ) -> None:
        """`training`: documents of training splits that no other rule rejects; None where they are
        not to be trusted: evaluated documents among each other stand for them. `windows`: for
        `check_texts`, (number, text) of those in which evaluated documents would be read."""
        self._embedder = embedder
        self._ids = [document.id for document in documents]
        names = [document.task for document in documents]
        self._tasks = {task: np.flatnonzero(np.array(names) == task) for task in sorted({*names})}
        self._vectors = _split(embedder.keep(_views_of(documents)))
        allowed = false_positives / len(VIEWS)
        if training is None:
            owners, others = np.array([""] * len(documents)), self._vectors
        else:
            owners = np.array([one.task for one in training])
            others = _split(embedder.keep(_views_of(training)))
        found = zip(self._vectors, others, strict=True)
        nearest = [self._nearest_by_task(vectors, other) for vectors, other in found]
        levels = [
            self._measure(own, [each[:, n][owners == task] for each in nearest], allowed)
            for n, (task, own) in enumerate(self._tasks.items())
        ]
        thresholds = [level.thresholds for level in levels]
        margin = _margin(nearest, thresholds, false_positives)
        if windows:
            margin = max(margin, _margin(self._nearest_read(windows), thresholds, false_positives))
        self.tasks = [
            SemanticTask(
                task=task,
                documents=len(own),
                set_on=level.set_on,
                compared=level.compared,
                question=_raise(level.thresholds[0], margin),
                item=_raise(level.thresholds[1], margin),
            )
            for (task, own), level in zip(self._tasks.items(), levels, strict=True)
        ]
        """How each task is decided."""
        self._thresholds = [self._per_document(view) for view in range(len(VIEWS))]
        """Per view and document; 2, which nothing reaches, where the rule cannot tell."""

    def check(self, candidates: Sequence[Candidate]) -> list[Rejection | None]:
        """Find, per candidate, the document that is farthest above its task's threshold."""
        if not self._ids:
            return [None] * len(candidates)
        return [verdict for asked in self._embed(candidates) for verdict in self._decide(asked)]

    def check_nearly(
        self, candidates: Sequence[Candidate], band: float
    ) -> list[tuple[Rejection | None, list[Near]]]:
        """Find the same, and per candidate that passes the documents at most `band` below their
        task's threshold, the nearest first; where the rule cannot tell, below `_CEILING`."""
        found: list[tuple[Rejection | None, list[Near]]] = []
        if not self._ids:
            return [(None, []) for _ in candidates]
        for asked in self._embed(candidates):
            pairs = zip(self._decide(asked), self._find_near(asked, band), strict=True)
            found += [(leak, [] if leak else near) for leak, near in pairs]
        return found

    def check_texts(self, texts: Sequence[str]) -> list[Rejection | None]:
        """Find the same of texts in plain letters, each taken for a question and for an item."""
        verdicts: list[Rejection | None] = []
        if not self._ids:
            return [None] * len(texts)
        for start in range(0, len(texts), _BATCH):
            vectors = self._embedder.embed(texts[start : start + _BATCH])
            verdicts += self._decide([vectors] * len(VIEWS))
        return verdicts

    def _embed(self, candidates: Sequence[Candidate]) -> Iterator[list[Vectors]]:
        for start in range(0, len(candidates), _BATCH):
            batch = _views_of(candidates[start : start + _BATCH])
            yield _split(self._embedder.embed(batch))

    def _find_near(self, asked: Sequence[Vectors], band: float) -> Iterator[list[Near]]:
        views = zip(asked, self._vectors, self._thresholds, strict=True)
        above = np.full((len(asked[0]), len(self._ids)), -1.0)
        highest = np.zeros_like(above)
        for own, vectors, thresholds in views:
            similar = _compare(own, vectors)
            above = np.maximum(above, similar - np.minimum(thresholds, _CEILING))
            highest = np.maximum(highest, similar)
        # Of documents that are alike, such as those of two forms of a task, the first.
        firsts = np.sort(self._distinct(np.arange(len(self._ids))))
        for row, similar in zip(above[:, firsts], highest[:, firsts], strict=True):
            nearest = np.argsort(-row, kind="stable")[:_SHOWN]
            yield [
                Near(self._ids[firsts[one]], float(similar[one]))
                for one in nearest
                if row[one] >= -band
            ]

    def _decide(self, asked: Sequence[Vectors]) -> Iterator[Rejection | None]:
        """`asked`: per view, the vectors of what is checked."""
        count = len(asked[0])
        best = np.zeros(count)
        found = np.full(count, -1)
        scores = np.zeros(count)
        for own, vectors, thresholds in zip(asked, self._vectors, self._thresholds, strict=True):
            similar = _compare(own, vectors)
            above = similar - thresholds
            nearest = np.argmax(above, axis=1)
            rows = np.arange(count)
            better = above[rows, nearest] > best
            best[better] = above[rows, nearest][better]
            scores[better] = similar[rows, nearest][better]
            found[better] = nearest[better]
        for score, document in zip(scores.tolist(), found.tolist(), strict=True):
            yield Rejection("semantic", score, self._ids[document]) if document >= 0 else None

    def _nearest_by_task(self, vectors: Vectors, others: Vectors) -> Scores:
        """(others, tasks): the similarity of each to the nearest document of each task."""
        owners = np.arange(len(vectors)) if others is vectors else None
        return self._nearest_but_own(vectors, others, owners)

    def _nearest_but_own(self, vectors: Vectors, others: Vectors, owners: Numbers | None) -> Scores:
        """The same; `owners`: the document that each is of, where it is of one."""
        found = np.zeros((len(others), len(self._tasks)))
        # A document that two tasks share does not tell how alike different ones are either.
        same = np.unique(self._vectors[-1], axis=0, return_inverse=True)[1].reshape(-1)
        for start in range(0, len(others), _BATCH):
            similar = _compare(others[start : start + _BATCH], vectors)
            if owners is not None:
                similar[same[owners[start : start + _BATCH], None] == same] = 0
            for number, own in enumerate(self._tasks.values()):
                found[start : start + _BATCH, number] = similar[:, own].max(axis=1)
        return found

    def _nearest_read(self, windows: Sequence[tuple[int, str]]) -> list[Scores]:
        """Per view, (documents, tasks): how alike the nearest window of each read document is."""
        vectors = self._embedder.keep([text for _, text in windows])
        owners = np.array([number for number, _ in windows])
        _, rows = np.unique(owners, return_inverse=True)
        nearest = []
        for own in self._vectors:
            best = np.zeros((rows.max() + 1, len(self._tasks)))
            np.maximum.at(best, rows, self._nearest_but_own(own, vectors, owners))
            nearest.append(best)
        return nearest

    def _measure(self, documents: Numbers, nearest: Sequence[Scores], allowed: float) -> _Level:
        """`nearest`: per view, the similarity of each training document of the task to it."""
        set_on, count, least = "training documents", len(nearest[0]), _FLOOR
        if (count + 1) * allowed < 1:
            documents = self._distinct(documents)
            set_on, count = "evaluated documents", len(documents)
            nearest = [_among_each_other(vectors[documents]) for vectors in self._vectors]
        if (count + 1) * allowed < 1:
            set_on, count, least = "default", 0, _DEFAULT
        return _Level(set_on, count, [max(least, _quantile(own, allowed)) for own in nearest])

    def _distinct(self, documents: Numbers) -> Numbers:
        """The first of each item: a repeated one does not tell how alike different ones are."""
        return documents[np.unique(self._vectors[-1][documents], axis=0, return_index=True)[1]]

    def _per_document(self, view: int) -> Scores:
        thresholds = np.full(len(self._ids), 2.0)
        for measured, own in zip(self.tasks, self._tasks.values(), strict=True):
            threshold = (measured.question, measured.item)[view]
            if threshold is not None:
                thresholds[own] = threshold
        return thresholds


def sample_training(path: Path) -> list[Candidate]:
    """Choose documents of each task, evenly from all of a `seeds.jsonl`, to set thresholds on."""
    by_task: dict[str, list[Candidate]] = {}
    for seed in read_seeds(path):
        if not seed.is_passage:
            by_task.setdefault(seed.task, []).append(seed_as_candidate(seed))
    return [one for own in by_task.values() for one in own[:: -(-len(own) // _SAMPLE)]]


def _margin(nearest: Sequence[Scores], levels: Sequence[Sequence[float]], allowed: float) -> float:
    """By how much to raise all thresholds, so that this share of all training documents is above.

    `nearest`: per view, (documents, tasks); `levels`: the thresholds of each task.
    """
    above = np.full(len(nearest[0]), -1.0)
    for view, similar in enumerate(nearest):
        for task, thresholds in enumerate(levels):
            if thresholds[view] < _CEILING:
                above = np.maximum(above, similar[:, task] - thresholds[view])
    return max(0.0, _quantile(above, allowed))


def _raise(threshold: float, margin: float) -> float | None:
    raised = round(threshold + margin, 4)
    return raised if raised < _CEILING else None


def _compare(vectors: Vectors, others: Vectors) -> Scores:
    if not len(vectors) or not len(others):  # a model gives no dimensions of no texts
        return np.zeros((len(vectors), len(others)))
    similar: Scores = (vectors @ others.T).astype(np.float64)
    return similar.round(4)


def _among_each_other(vectors: Vectors) -> Scores:
    """The similarity of each to the nearest other one."""
    nearest = np.zeros(len(vectors))
    for start in range(0, len(vectors), _BATCH):
        similar = _compare(vectors[start : start + _BATCH], vectors)
        similar[np.arange(len(similar)), start + np.arange(len(similar))] = -1
        nearest[start : start + len(similar)] = similar.max(axis=1)
    return nearest


def _quantile(scores: Scores, allowed: float) -> float:
    """The similarity above which another one like them is with this chance at most; 0 of none.

    The chance to be above the k-th largest of n is k / (n + 1); above the largest where n is small.
    """
    if not len(scores):
        return 0.0
    rank = max(1, int(allowed * (len(scores) + 1)))
    return float(np.sort(scores)[-rank])
