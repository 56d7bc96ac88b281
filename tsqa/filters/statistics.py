"""Counts and distributions of the filter stage, gathered while candidates pass."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from tsqa.records.candidate import Candidate, Rejection
from tsqa.records.summaries import AttributeRow, FilterCounts
from tsqa.records.votes import same_answer
from tsqa.tasks.oracle import Oracle

K = TypeVar("K", bound=Hashable)

_BINS = 10
_NGRAMS_COUNTED = 1_000_000
_EXACT_DUPLICATE = "exact duplicate"
_EXAMPLES = 200


class Measures:
    """Memory does not grow with the number of candidates."""

    def __init__(self, oracle: Oracle | None = None) -> None:
        self._oracle = oracle
        self.entered = 0
        self.curated = 0
        self.rejected = 0
        self.traces = 0
        """Curated items with thoughts."""
        self._tasks: dict[str, Counter[str]] = defaultdict(Counter)
        self._capabilities: dict[str, Counter[str]] = defaultdict(Counter)
        self._attributes: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._difficulties: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self.examples: dict[str, tuple[Candidate, Rejection]] = {}
        """The first candidate that was rejected, by step and reason."""
        self._leaks: dict[str, Counter[str]] = defaultdict(Counter)
        self._near_duplicates = 0
        self._agreement = [0] * _BINS
        self._distance = [0] * _BINS
        self._truth: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, later: Measures) -> None:
        """Count also what these, of later candidates, have counted."""
        self.entered += later.entered
        self.curated += later.curated
        self.rejected += later.rejected
        self.traces += later.traces
        self._near_duplicates += later._near_duplicates
        for counts, more in (
            *((self._tasks, later._tasks), (self._capabilities, later._capabilities)),
            *((self._leaks, later._leaks), (self._truth, later._truth)),
        ):
            _add_each(counts, more)
        _add_each(self._attributes, later._attributes)
        self._difficulties.update(later._difficulties)
        self._reasons.update(later._reasons)
        for named, example in later.examples.items():
            self._keep_example(named, example)
        self._agreement = _sum(self._agreement, later._agreement)
        self._distance = _sum(self._distance, later._distance)

    def enter(self, candidate: Candidate) -> None:
        self.entered += 1
        self._tasks[candidate.task]["candidates"] += 1
        self._capabilities[candidate.capability]["candidates"] += 1
        for drawn in candidate.attributes.items():
            self._attributes[drawn]["candidates"] += 1

    def reject(self, candidate: Candidate, step: str, rejection: Rejection) -> None:
        self.rejected += 1
        named = f"{step}: {rejection.reason}"
        self._reasons[named] += 1
        self._keep_example(named, (candidate, rejection))
        if step in ("decontamination", "meaning"):
            self._leaks[candidate.task][rejection.reason] += 1
        if step == "dedup" and rejection.reason != _EXACT_DUPLICATE:
            self._near_duplicates += 1

    def accept(self, candidate: Candidate) -> None:
        self.curated += 1
        self.traces += bool(candidate.trace)
        self._tasks[candidate.task]["curated"] += 1
        self._capabilities[candidate.capability]["curated"] += 1
        for drawn in candidate.attributes.items():
            self._attributes[drawn]["curated"] += 1
        if "difficulty" in candidate.scores:
            self._difficulties[str(candidate.scores["difficulty"])] += 1
        if candidate.voted is not None:
            self._agreement[_bin(candidate.voted)] += 1
        if not candidate.is_of_document:
            self._distance[_bin(1 - _similarity(candidate))] += 1
        revision = candidate.record.revision if candidate.record else ""
        if self._oracle and self._oracle.knows(candidate.task, revision):
            self._compare_with_truth(candidate, self._oracle)

    def counts(self, deduplicated: int, distinct_n: dict[str, float]) -> FilterCounts:
        """`deduplicated`: how many candidates entered the step `dedup`."""
        assert self.entered == self.curated + self.rejected, "a candidate was lost"
        return FilterCounts(
            candidates=self.entered,
            curated=self.curated,
            rejected=self.rejected,
            by_task=_both(self._tasks),
            by_capability=_both(self._capabilities),
            rejected_by_reason=dict(self._reasons.most_common()),
            decontamination_by_task={task: dict(found) for task, found in self._leaks.items()},
            truth_by_task={
                task: {key: found[key] for key in ("curated", "well_formed", "true")}
                for task, found in self._truth.items()
            },
            agreement_histogram=self._agreement,
            distance_to_seed=self._distance,
            distinct_n=distinct_n,
            near_duplicate_rate=round(self._near_duplicates / max(1, deduplicated), 4),
            by_attribute=[
                AttributeRow(name, value, found["candidates"], found["curated"])
                for (name, value), found in sorted(self._attributes.items())
            ]
            or None,
            by_difficulty=dict(sorted(self._difficulties.items())) or None,
        )

    def _keep_example(self, named: str, example: tuple[Candidate, Rejection]) -> None:
        if len(self.examples) < _EXAMPLES:
            self.examples.setdefault(named, example)

    def _compare_with_truth(self, candidate: Candidate, oracle: Oracle) -> None:
        truth = oracle.answer(candidate.task, candidate.question)
        counts = self._truth[candidate.task]
        counts["curated"] += 1
        if truth is not None:
            counts["well_formed"] += 1
            counts["true"] += same_answer(truth, candidate.answer, "short_text")


class DistinctNgrams:
    """Distinct-n (Li et al. 2016, arXiv:1510.03055): distinct n-grams over all n-grams, n = 1..3.

    Counted exactly over the first million n-grams of each size: the share falls with the size of
    a corpus, so two datasets compare only when both reach that bound.
    """

    def __init__(self) -> None:
        self._hashes = {size: array("q") for size in (1, 2, 3)}

    @property
    def is_full(self) -> bool:
        return all(len(hashes) == _NGRAMS_COUNTED for hashes in self._hashes.values())

    def add(self, text: Sequence[str]) -> None:
        """Count those of a text, given as its words."""
        for size, hashes in self._hashes.items():
            room = _NGRAMS_COUNTED - len(hashes)
            starts = range(min(room, len(text) - size + 1))
            hashes.extend(hash(tuple(text[start : start + size])) for start in starts)

    def shares(self) -> dict[str, float]:
        return {
            str(size): round(len(set(hashes)) / max(1, len(hashes)), 4)
            for size, hashes in self._hashes.items()
        }


def _similarity(candidate: Candidate) -> float:
    """To the nearest seed it was shown; the step `copy` measures it, of a passage's seed aside."""
    found = candidate.scores["seed_similarity"]
    assert isinstance(found, float), candidate.id
    return found


def _add_each(counts: dict[K, Counter[str]], more: Mapping[K, Counter[str]]) -> None:
    for key, found in more.items():
        counts[key].update(found)


def _sum(counts: list[int], more: list[int]) -> list[int]:
    return [one + other for one, other in zip(counts, more, strict=True)]


def _bin(share: float) -> int:
    return min(_BINS - 1, int(share * _BINS + 1e-9))


def _both(counts: dict[str, Counter[str]]) -> dict[str, dict[str, int]]:
    return {
        name: {key: found[key] for key in ("candidates", "curated")}
        for name, found in counts.items()
    }
