"""The scoring of allenai/decon 0.3, written again after its documentation, on the same plants.

    python -m tests.benchmarks.decon_rule [--evaluated 100] [--training 250]

Not decon itself, which is Rust: a re-implementation of `doc/simple-details.md` and the default
configuration, for documents of question and answer. It differs in that it reads words instead of
cl100k tokens, looks at every n-gram instead of every tenth, and keeps all evaluated documents
instead of those from 20 tokens on, so recall is of the rule rather than of the tool; speed is not
compared. A document is the question alone and its answer, as decon's own list of benchmarks has it.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import log

from tests.benchmarks.disguises import DISGUISES
from tests.benchmarks.dress import DRESSES
from tests.benchmarks.questions import TASKS, load_real
from tsqa.decontaminate.index import EvaluatedIndex
from tsqa.decontaminate.planted_leaks import KINDS
from tsqa.recipe import DecontaminateSection
from tsqa.records.candidate import Candidate, seed_as_candidate
from tsqa.records.seed import Seed
from tsqa.text.normalise import words

_NGRAM, _ANSWER_NGRAM = 5, 3
_MISSES = 11
_THRESHOLD, _PERFECT_UNTIL, _USUAL_FROM = 0.8, 20, 50
_SHORT_ANSWER, _SHORT_WINDOW, _LONG_WINDOW = 3, 50, 100
_INFORMATIVE = 20
_QUESTION_WEIGHT = 0.75


class DeconRule:
    """Evaluated documents by the inverse document frequency of their n-grams."""

    def __init__(self, documents: Sequence[Seed]) -> None:
        queries = [words(document.question) for document in documents]
        self._answers = [words(d.answer) for d in documents]
        self._lengths = [len(q) + len(a) for q, a in zip(queries, self._answers, strict=True)]
        self._grams = [set(_grams(query, _NGRAM)) for query in queries]
        self._holders: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, grams in enumerate(self._grams):
            for gram in grams:
                self._holders[gram].append(number)
        count = len(documents)
        self._idf = {gram: log(count / len(own)) for gram, own in self._holders.items()}
        self._totals = [sum(self._idf[gram] for gram in grams) for grams in self._grams]
        held = Counter(g for a in self._answers for g in set(_grams(a, _ANSWER_NGRAM)))
        self._answer_idf = {gram: log(count / own) for gram, own in held.items()}

    def finds(self, text: str) -> bool:
        """Whether it calls a text contaminated."""
        found = words(text)
        places: defaultdict[int, list[int]] = defaultdict(list)
        grams = _grams(found, _NGRAM)
        for place, gram in enumerate(grams):
            for number in self._holders.get(gram, ()):
                places[number].append(place)
        return any(
            self._score(number, found, grams, cluster) >= self._enough(number)
            for number, own in places.items()
            for cluster in _clusters(own)
        )

    def _enough(self, number: int) -> float:
        length = self._lengths[number]
        share = (length - _PERFECT_UNTIL) / (_USUAL_FROM - _PERFECT_UNTIL)
        return 1 - (1 - _THRESHOLD) * min(1.0, max(0.0, share)) - 1e-9

    def _score(
        self,
        number: int,
        found: Sequence[str],
        grams: Sequence[tuple[str, ...]],
        cluster: Sequence[int],
    ) -> float:
        matched = {grams[place] for place in cluster} & self._grams[number]
        question = sum(self._idf[gram] for gram in matched) / (self._totals[number] or 1)
        if not self._answers[number]:
            return question
        informative = min(1.0, len(self._grams[number]) / _INFORMATIVE)
        weight = _QUESTION_WEIGHT * (0.5 + 0.5 * informative)
        answer = self._score_answer(number, found, cluster[0], cluster[-1] + _NGRAM)
        return weight * question + (1 - weight) * answer

    def _score_answer(self, number: int, found: Sequence[str], start: int, end: int) -> float:
        answer = self._answers[number]
        if len(answer) <= _SHORT_ANSWER:
            near = found[max(0, start - _SHORT_WINDOW) : end + _SHORT_WINDOW]
            return float(tuple(answer) in _grams(near, len(answer)))
        window = max(_LONG_WINDOW, 2 * len(answer))
        near = found[max(0, start - window) : end + window]
        own, held = set(_grams(answer, _ANSWER_NGRAM)), set(_grams(near, _ANSWER_NGRAM))
        total = sum(self._answer_idf[gram] for gram in own)
        return sum(self._answer_idf[gram] for gram in own & held) / total if total else 0.0


def _grams(found: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(found[n : n + size]) for n in range(len(found) - size + 1)]


def _clusters(places: Sequence[int]) -> list[list[int]]:
    clusters = [[places[0]]]
    for before, place in pairwise(places):
        if place - before > _MISSES:
            clusters.append([])
        clusters[-1].append(place)
    return clusters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluated", type=int, default=100, help="of each task")
    parser.add_argument("--training", type=int, default=250, help="of each task")
    arguments = parser.parse_args()
    documents = [d for task in TASKS for d in _spread(load_real(task, "test"), arguments.evaluated)]
    index, rule = EvaluatedIndex(documents, DecontaminateSection()), DeconRule(documents)

    def show(name: str, found: Sequence[Candidate]) -> None:
        texts = [f"It is known that: {one.full_text} So it is." for one in found]
        ours = sum(verdict is not None for verdict in index.check_texts(texts)) / len(texts)
        theirs = sum(map(rule.finds, texts)) / len(texts)
        print(f"{name} (n = {len(texts)}): token stream {ours:.1%}, decon's rule {theirs:.1%}")

    kinds: dict[str, Callable[[Seed], Candidate | None]] = {**KINDS, **DISGUISES, **DRESSES}
    for kind, plant in kinds.items():
        if planted := [leak for leak in map(plant, documents) if leak]:
            show(kind, planted)
    for task in TASKS:
        own = _spread(load_real(task, "train"), arguments.training)
        show(f"training documents of {task}", [seed_as_candidate(seed) for seed in own])


def _spread(seeds: Sequence[Seed], count: int) -> list[Seed]:
    return [seeds[n * len(seeds) // count] for n in range(min(count, len(seeds)))]


if __name__ == "__main__":
    main()
