"""No evaluated document may reach the student: three rules against every one of them.

- `question`: the candidate asks an evaluated question (same words; case and punctuation aside).
- `ngram`: a run of n words of an evaluated question + answer stands in the candidate's text; an
  item shorter than n is matched whole.
- `similarity`: the candidate's question holds too much of an evaluated question's words, in order,
  within a window of twice its length. A word counts by its rarity among the task's evaluated
  questions, so that a template they all share weighs almost nothing.

Promise: the search for similar items is exact. A word-overlap upper bound picks the pairs that
are compared in full, so no pair above the threshold is missed.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from tsqa.filters.candidate import Candidate, Rejection
from tsqa.filters.text import normalise, words
from tsqa.recipe import DecontaminateSection
from tsqa.seeds import Seed

_BATCH = 256
RULES = ("question", "ngram", "similarity")


class EvaluatedIndex:
    """Every evaluated document, indexed for the three rules."""

    def __init__(self, documents: Sequence[Seed], section: DecontaminateSection) -> None:
        self._section = section
        self._documents = list(documents)
        self._questions: dict[str, int] = {}
        self._grams: dict[int, dict[tuple[str, ...], int]] = defaultdict(dict)
        for number, document in enumerate(self._documents):
            self._questions.setdefault(normalise(document.question), number)
            item = words(f"{document.question} {document.answer}")
            size = min(section.ngram, len(item))
            for gram in _windows(item, size):
                self._grams[size].setdefault(gram, number)
        self._words = [words(document.question) for document in self._documents]
        self._weights = self._rarity()
        self._totals = [
            sum(weights[word] for word in found)
            for found, weights in zip(self._words, self._weights, strict=True)
        ]
        self._vocabulary, self._matrix = self._overlap_matrix()

    def find_leaks(self, candidates: Sequence[Candidate]) -> dict[str, Rejection]:
        """Candidate id -> the rule that caught it, its score and the evaluated document."""
        rejected: dict[str, Rejection] = {}
        for start in range(0, len(candidates), _BATCH):
            batch = candidates[start : start + _BATCH]
            suspects = self._suspects([words(c.question) for c in batch])
            for candidate, near in zip(batch, suspects, strict=True):
                rejection = self._check(candidate, near)
                if rejection:
                    rejected[candidate.id] = rejection
        return rejected

    def _check(self, candidate: Candidate, suspects: Sequence[int]) -> Rejection | None:
        number = self._questions.get(normalise(candidate.question))
        if number is not None:
            return Rejection("question", 1.0, self._documents[number].id)
        document = f"{candidate.question} {candidate.answer} {candidate.explanation}"
        text = words(document)
        for size in sorted(self._grams):
            grams = self._grams[size]
            for gram in _windows(text, size):
                if gram in grams:
                    return Rejection("ngram", float(size), self._documents[grams[gram]].id)
        mine = words(candidate.question)
        best = max(((self._coverage(mine, n), -n) for n in suspects), default=(0.0, 0))
        if best[0] >= self._section.similarity:
            return Rejection("similarity", round(best[0], 4), self._documents[-best[1]].id)
        return None

    def _coverage(self, candidate: Sequence[str], number: int) -> float:
        """Weighted share of an evaluated question's words found in order in one window."""
        item, weights, total = self._words[number], self._weights[number], self._totals[number]
        span = 2 * len(item)
        starts = range(0, max(1, len(candidate) - len(item)), len(item))
        return max(
            (common_weight(item, candidate[s : s + span], weights) / total for s in starts),
            default=0.0,
        )

    def _rarity(self) -> list[dict[str, float]]:
        """Per document, the weights of its task's words: log((documents + 1) / holding it)."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        sizes: Counter[str] = Counter()
        for document, found in zip(self._documents, self._words, strict=True):
            sizes[document.task] += 1
            counts[document.task].update(set(found))
        by_task = {
            task: {word: math.log((sizes[task] + 1) / n) for word, n in count.items()}
            for task, count in counts.items()
        }
        return [by_task[document.task] for document in self._documents]

    def _overlap_matrix(self) -> tuple[dict[str, int], Any]:
        from scipy.sparse import csr_matrix

        vocabulary: dict[str, int] = {}
        rows, columns, values = [], [], []
        for number, found in enumerate(self._words):
            for word, count in Counter(found).items():
                rows.append(number)
                columns.append(vocabulary.setdefault(word, len(vocabulary)))
                weight = self._weights[number][word] * count
                values.append(weight / self._totals[number])
        shape = (max(1, len(self._words)), max(1, len(vocabulary)))
        return vocabulary, csr_matrix((values, (rows, columns)), shape=shape)

    def _suspects(self, questions: Sequence[Sequence[str]]) -> list[list[int]]:
        """Per question, the items whose overlap regardless of order reaches the threshold."""
        from scipy.sparse import csc_matrix

        known = [
            sorted({self._vocabulary[w] for w in found if w in self._vocabulary})
            for found in questions
        ]
        columns = [number for number, found in enumerate(known) for _ in found]
        rows = [row for found in known for row in found]
        shape = (self._matrix.shape[1], len(questions))
        chosen = csc_matrix(([1.0] * len(rows), (rows, columns)), shape=shape)
        overlap = (self._matrix @ chosen).tocoo()
        found_items: list[list[int]] = [[] for _ in questions]
        limit = self._section.similarity - 1e-9
        for row, column, value in zip(overlap.row, overlap.col, overlap.data, strict=True):
            if value >= limit:
                found_items[int(column)].append(int(row))
        return found_items


def common_weight(left: Sequence[str], right: Sequence[str], weights: dict[str, float]) -> float:
    """The heaviest common subsequence of two word lists."""
    row = [0.0] * (len(right) + 1)
    for word in left:
        previous, weight = row, weights.get(word, 0.0)
        row = [0.0]
        for column, other in enumerate(right):
            skip = max(previous[column + 1], row[column])
            row.append(max(skip, previous[column] + weight) if word == other else skip)
    return row[-1]


def measure_recall(
    documents: Sequence[Seed], section: DecontaminateSection, sample: int = 200
) -> dict[str, float]:
    """Plant leaks made from evaluated documents; the share of each kind that is caught."""
    index = EvaluatedIndex(documents, section)
    step = max(1, len(documents) // sample)
    chosen = list(documents)[::step][:sample]
    shares = {}
    for kind in ("verbatim", "case_and_punctuation", "embedded", "numbers_changed"):
        planted = [plant_leak(document, kind) for document in chosen]
        caught = index.find_leaks(planted)
        shares[kind] = round(len(caught) / len(planted), 4) if planted else 1.0
    return shares


def plant_leak(document: Seed, kind: str) -> Candidate:
    """A candidate that leaks an evaluated document in one of four disguises."""
    question, answer = document.question, document.answer
    if kind == "case_and_punctuation":
        question, answer = re.sub(r"[^\w\s]", " ", question).upper(), answer.upper()
    elif kind == "embedded":
        question = f"My teacher asked me this in class today. {question} I could not tell her"
    elif kind == "numbers_changed":
        question = re.sub(r"\d+", lambda match: str(int(match[0]) + 7), question)
    return Candidate(document.id, document.task, question, "", answer, "", "planted", 1, False, {})


def _windows(text: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    for start in range(len(text) - size + 1):
        yield tuple(text[start : start + size])
