"""How near the nearest training document is to each evaluated one.

Nearness is the share of an evaluated document's runs of three words, in plain letters, that stand
in one curated document that the model was trained on. A run that many documents of the task share
is a template's and does not count.

Guarantee: every curated document is looked at; a document without runs of its own is far from all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from eval.lineage.sources import evaluated_benchmarks, own_data
from tsqa.curated.files import CURATED, read_rows
from tsqa.decontaminate.passages import RUN, TEMPLATE
from tsqa.decontaminate.undress import undress
from tsqa.records.seed import read_seeds
from tsqa.store.artifact import Artifact
from tsqa.text.normalise import words

Key = tuple[str, int]
"""Task and doc_id."""
Run = tuple[str, ...]


@dataclass(frozen=True)
class Nearness:
    """Condition -> evaluated document -> nearness; a condition without curated data has none."""

    of: Mapping[str, Mapping[Key, float]] = field(default_factory=dict)

    def between(self, arm: str, against: str) -> dict[Key, float]:
        """Of the nearest document on either side; empty where neither has curated data."""
        sides = [self.of.get(name, {}) for name in (arm, against)]
        return {key: max(side.get(key, 0.0) for side in sides) for key in {*sides[0], *sides[1]}}


@dataclass(frozen=True)
class _Curated:
    text: str


def nearness(conditions: Mapping[str, Sequence[Artifact]]) -> Nearness:
    """From the evaluations of each condition."""
    evaluations = [one for several in conditions.values() for one in several]
    made = evaluated_benchmarks(evaluations)
    runs = _own_runs(dict(pair for benchmarks in made for pair in _evaluated(benchmarks)))
    holders: dict[Run, list[Key]] = defaultdict(list)
    for key, own in runs.items():
        for run in own:
            holders[run].append(key)
    by_data: dict[str, dict[Key, float]] = {}
    found: dict[str, dict[Key, float]] = {}
    for condition, several in conditions.items():
        filtered = {a.fingerprint: a for one in several for a in own_data(one).filtered}
        for fingerprint, artifact in filtered.items():
            if fingerprint not in by_data:
                by_data[fingerprint] = _nearest(artifact, runs, holders)
            here = found.setdefault(condition, dict.fromkeys(runs, 0.0))
            for key, near in by_data[fingerprint].items():
                here[key] = max(here[key], near)
    return Nearness(found)


def _nearest(
    filtered: Artifact, runs: Mapping[Key, set[Run]], holders: Mapping[Run, Sequence[Key]]
) -> dict[Key, float]:
    best: dict[Key, float] = {}
    for row in read_rows(filtered.path / CURATED, _Curated):
        shared = Counter(key for run in _runs(row.text) for key in holders.get(run, ()))
        for key, count in shared.items():
            best[key] = max(best.get(key, 0.0), count / len(runs[key]))
    return best


def _evaluated(benchmarks: Artifact) -> Iterator[tuple[Key, set[Run]]]:
    for one in read_seeds(benchmarks.path / "documents.jsonl"):
        text = "\n".join([one.context, one.question, *one.choices, one.answer])
        yield (one.task, one.doc_id), _runs(text)


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
