"""How near the nearest training document is to each evaluated one.

Nearness is the share of an evaluated document's runs of three words, in plain letters, that stand
in one curated document that the model was trained on. A run that many documents of the task share
is a template's and does not count. Where the recipe gives an embedding model, nearness by meaning
stands beside it: the cosine of both items (question, options, passage).

Guarantee: every curated document is looked at; a document without runs of its own is far from all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from eval.deltas import By
from eval.lineage.sources import data_reader, evaluated_benchmarks
from tsqa.curated.files import CURATED, read_rows
from tsqa.decontaminate.passages import RUN, TEMPLATE
from tsqa.decontaminate.semantic import Embedder, item_text
from tsqa.decontaminate.undress import undress
from tsqa.records.seed import Seed, read_seeds
from tsqa.store.artifact import Artifact
from tsqa.text.normalise import words

Key = tuple[str, int]
"""Task and doc_id."""
Run = tuple[str, ...]
DOCUMENTS = "documents.jsonl"
_BATCH = 512


@dataclass(frozen=True)
class Nearness:
    """Condition -> evaluated document -> nearness; a condition without curated data has none."""

    of: Mapping[str, Mapping[Key, float]] = field(default_factory=dict)
    meant: Mapping[str, Mapping[Key, float]] = field(default_factory=dict)
    """The same by meaning; empty without a model."""

    def between(self, arm: str, against: str) -> dict[By, dict[Key, float]]:
        """Of the nearest document on either side; empty where neither has curated data."""
        found: dict[By, dict[Key, float]] = {}
        every: dict[By, Mapping[str, Mapping[Key, float]]]
        every = {"words": self.of, "meaning": self.meant}
        for by, known in every.items():
            one, other = (known.get(name, {}) for name in (arm, against))
            if one or other:
                keys = {*one, *other}
                found[by] = {key: max(one.get(key, 0.0), other.get(key, 0.0)) for key in keys}
        return found


@dataclass(frozen=True)
class _Curated:
    text: str
    question: str
    context: str
    choices: list[str]

    @property
    def item(self) -> str:
        """As evaluated documents are compared; a rephrasing is all its text."""
        if not self.question:
            return undress(self.text)
        return item_text(self.question, self.choices, self.context)


def nearness(
    conditions: Mapping[str, Sequence[Artifact]], embedder: Embedder | None = None
) -> Nearness:
    """From the evaluations of each condition."""
    evaluations = [one for several in conditions.values() for one in several]
    made = evaluated_benchmarks(evaluations)
    documents = {(d.task, d.doc_id): d for one in made for d in read_seeds(one.path / DOCUMENTS)}
    runs = _own_runs({key: _runs_of(document) for key, document in documents.items()})
    holders: dict[Run, list[Key]] = defaultdict(list)
    for key, own in runs.items():
        for run in own:
            holders[run].append(key)
    found = _of_conditions(conditions, runs, lambda data: _nearest(data, runs, holders))
    if embedder is None or not documents:
        return Nearness(found)
    meant = [item_text(d.question, d.choices, d.context) for d in documents.values()]
    vectors = embedder.keep(meant)

    def nearest_meant(data: Artifact) -> dict[Key, float]:
        best = np.zeros(len(vectors), dtype=np.float32)
        rows = read_rows(data.path / CURATED, _Curated)
        while batch := list(islice(rows, _BATCH)):
            similar = embedder.embed([row.item for row in batch]) @ vectors.T
            best = np.maximum(best, similar.max(axis=0))
        return dict(zip(documents, best.round(4).tolist(), strict=True))

    return Nearness(found, _of_conditions(conditions, documents, nearest_meant))


def _of_conditions(
    conditions: Mapping[str, Sequence[Artifact]],
    keys: Iterable[Key],
    nearest: Callable[[Artifact], Mapping[Key, float]],
) -> dict[str, dict[Key, float]]:
    """Of each condition's nearest document; data that several have are read once."""
    by_data: dict[str, Mapping[Key, float]] = {}
    found: dict[str, dict[Key, float]] = {}
    data = data_reader(conditions)
    for condition, several in conditions.items():
        filtered = {a.fingerprint: a for one in several for a in data(one).filtered}
        for fingerprint, artifact in filtered.items():
            if fingerprint not in by_data:
                by_data[fingerprint] = nearest(artifact)
            here = found.setdefault(condition, dict.fromkeys(keys, 0.0))
            for key, near in by_data[fingerprint].items():
                here[key] = max(here[key], near)
    return found


def _nearest(
    filtered: Artifact, runs: Mapping[Key, set[Run]], holders: Mapping[Run, Sequence[Key]]
) -> dict[Key, float]:
    best: dict[Key, float] = {}
    for row in read_rows(filtered.path / CURATED, _Curated):
        shared = Counter(key for run in _runs(row.text) for key in holders.get(run, ()))
        for key, count in shared.items():
            best[key] = max(best.get(key, 0.0), count / len(runs[key]))
    return best


def _runs_of(document: Seed) -> set[Run]:
    parts = [document.context, document.question, *document.choices, document.answer]
    return _runs("\n".join(parts))


def _own_runs(runs: Mapping[Key, set[Run]]) -> dict[Key, set[Run]]:
    """Without those of templates."""
    counts = Counter((task, run) for (task, _), own in runs.items() for run in own)
    return {
        (task, doc_id): {run for run in own if counts[task, run] <= TEMPLATE}
        for (task, doc_id), own in runs.items()
    }


def _runs(text: str) -> set[Run]:
    found = words(undress(text))
    return {tuple(found[i : i + RUN]) for i in range(len(found) - RUN + 1)}
