"""How much of an evaluated question a candidate's question holds, in order.

Guarantee: exact. An item is compared in full unless the candidate lacks so many of its words that
it cannot reach the threshold, so no pair at or above the threshold is missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsqa.text.hashing import Numbers, expand_ranges

Weights = NDArray[np.float64]

_IDENTIFYING = 3
"""Weight of the words that identify a question, in words that no other question holds."""


@dataclass(frozen=True)
class Questions:
    """Questions as word numbers from 1, end to end; `starts` has one element more than there are
    questions. One without words cannot be found."""

    words: Numbers
    starts: Numbers
    tasks: Numbers
    """Of each question: its rarities are counted within its task."""
    sentences: Numbers
    """Of each word: the number of its sentence."""

    @property
    def owners(self) -> Numbers:
        """Of each word: the number of its question."""
        return np.repeat(np.arange(len(self.tasks)), np.diff(self.starts))

    def of(self, chosen: NDArray[np.bool_]) -> Questions:
        """The same, where those that are not chosen have no words."""
        kept, counts = chosen[self.owners], np.diff(self.starts) * chosen
        starts = np.concatenate(([0], np.cumsum(counts)))
        return Questions(self.words[kept], starts, self.tasks, self.sentences[kept])


class SimilarQuestions:
    """The evaluated questions, indexed by the words without which none is similar."""

    def __init__(
        self, questions: Questions, swappable: NDArray[np.bool_], threshold: float
    ) -> None:
        """`swappable`: for each word number, whether it is a number or a name."""
        self.threshold = threshold - 1e-9
        """Below what was asked for by less than any two coverages differ, for sums in floats."""
        self._spans = 2 * np.diff(questions.starts)
        weights, totals = weigh(questions, swappable)
        self.is_light = totals < _IDENTIFYING
        """Of each item: too few rare words to identify it."""
        counted = weights > 0
        owners = questions.owners[counted]
        self._words, self._weights = questions.words[counted], weights[counted]
        self._starts = np.searchsorted(owners, np.arange(len(questions.tasks) + 1))
        key_words, key_owners = self._key_words(owners, len(swappable))
        self._postings = key_owners
        self._posting_starts = np.searchsorted(key_words, np.arange(len(swappable) + 1))

    def suspects(self, questions: Sequence[Numbers]) -> list[tuple[int, int]]:
        """Yield (question, item) of pairs that can reach the threshold: enough words, in any order.

        Words of the questions that no evaluated question has are 0.
        """
        asked = np.concatenate(questions)
        known = np.unique(np.append(asked, 0))
        # Column of each word among those asked; 0, the unknown word's, for all others.
        columns = np.zeros(len(self._posting_starts), dtype=np.int64)
        columns[known] = np.arange(len(known))
        holds = np.zeros((len(questions), len(known)), dtype=bool)
        askers = np.repeat(np.arange(len(questions)), [len(question) for question in questions])
        holds[askers, columns[asked]] = True
        holds[:, 0] = False
        rows, places = np.nonzero(holds)
        starts = self._posting_starts[known[places]]
        counts = self._posting_starts[known[places] + 1] - starts
        items = self._postings[expand_ranges(starts, counts)]
        pairs = np.unique(np.repeat(rows, counts) * len(self._spans) + items)
        if not len(pairs):
            return []
        rows, items = np.divmod(pairs, len(self._spans))
        counts = self._starts[items + 1] - self._starts[items]
        occurrences = expand_ranges(self._starts[items], counts)
        held = holds[np.repeat(rows, counts), columns[self._words[occurrences]]]
        overlaps = np.add.reduceat(held * self._weights[occurrences], np.cumsum(counts) - counts)
        enough = overlaps >= self.threshold
        return list(zip(rows[enough].tolist(), items[enough].tolist(), strict=True))

    def coverage(self, item: int, question: Numbers) -> float:
        """Weigh the share of an item's words found in order in one window of the question."""
        words = self._words[self._starts[item] : self._starts[item + 1]]
        weights = self._weights[self._starts[item] : self._starts[item + 1]]
        return window_weight(words, weights, question, int(self._spans[item]))

    def _key_words(self, owners: Numbers, vocabulary: int) -> tuple[Numbers, Numbers]:
        """(words, items), sorted: whoever has none of an item's key words is below the threshold.

        The rarest words of an item, as many as weigh more than 1 - threshold together.
        """
        spread = np.bincount(self._words, minlength=vocabulary)
        order = np.lexsort((spread[self._words], owners))
        words, weights = self._words[order], self._weights[order]
        total = np.concatenate(([0.0], np.cumsum(weights)))
        before = total[:-1] - np.repeat(total[self._starts[:-1]], np.diff(self._starts))
        chosen = before <= 1 - self.threshold
        words, owners = words[chosen], owners[chosen]
        order = np.lexsort((owners, words))
        return words[order], owners[order]


def window_weight(item: Numbers, weights: Weights, question: Numbers, span: int) -> float:
    """Weigh the heaviest common subsequence of the item and a window of `span` words."""
    starts = range(0, max(1, len(question) - span // 2), max(1, span // 2))
    return max(common_weight(item, weights, question[s : s + span]) for s in starts)


def common_weight(item: Numbers, weights: Weights, question: Numbers) -> float:
    """Weigh the heaviest common subsequence of two word lists, by the weights of the item."""
    heaviest = np.zeros(len(question) + 1)
    for word, weight in zip(item, weights, strict=True):
        here = np.flatnonzero(question == word)
        if len(here):
            heaviest[here + 1] = np.maximum(heaviest[here + 1], heaviest[here] + weight)
            heaviest = np.maximum.accumulate(heaviest)
    return float(heaviest[-1])


def kept_share(item: Numbers, text: Numbers) -> float:
    """Measure the share of an item's words that is left of it in a part of the text: 1 less the
    word error rate against the part that is nearest, where words are exchanged, left out or put
    in."""
    places = np.arange(len(text) + 1)
    errors = np.zeros(len(text) + 1, dtype=np.int64)
    for count, word in enumerate(item.tolist(), start=1):
        left = np.minimum(errors[:-1] + (text != word), errors[1:] + 1)
        errors = np.minimum.accumulate(np.concatenate(([count], left)) - places) + places
    return 1 - float(errors.min()) / max(1, len(item))


def weigh(questions: Questions, swappable: NDArray[np.bool_]) -> tuple[Weights, Weights]:
    """(weight of every word in its question, summing to 1 there; what each question weighs).

    A word weighs log((questions + 1) / questions that hold it), counted within the task; a
    question, the sum of its words in units of a word that no other question holds.
    """
    owners, count = questions.owners, len(questions.tasks)
    keys = questions.tasks[owners] * len(swappable) + questions.words
    held = np.unique(keys * count + owners) // max(1, count)
    distinct, spread = np.unique(held, return_counts=True)
    sizes = np.bincount(questions.tasks)[questions.tasks]
    weights = np.log((sizes[owners] + 1) / spread[np.searchsorted(distinct, keys)])
    weights /= np.log(sizes[owners] + 1)
    fixed = ~swappable[questions.words]
    identified = np.bincount(owners, weights * fixed, minlength=count) >= _IDENTIFYING
    weights[identified[owners] & ~fixed] = 0.0
    totals = np.bincount(owners, weights, minlength=count).astype(np.float64)
    return weights / totals[owners], totals
