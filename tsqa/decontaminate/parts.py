"""Parts that give a document away: half of its question, and its options without it.

A half of a question, its first or its last, counts as it stands, in a row, if it stands in no other
question of its task, and if its words are rare: `_RARE` nats of surprise, by the task's evaluated
questions. Where a text holds little else, or a candidate asks nothing else, it need not be rare.
Either does not count in a task where more than 1% of the documents would be found by it, by halves
of the others.
Options count only there, if no other question of the task has them; few words only in their order.
Where nothing else stands than what asks to choose, up to ten questions may have them, in any order;
numbers and formulas count only there, in their order.
Elsewhere a common half, or a set of four short options, stands in many texts that are no leak.

Guarantee: a hash only proposes a half, its words decide; memory is linear in the words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsqa.decontaminate.documents import EvaluatedTexts
from tsqa.decontaminate.keys import CHOOSING, asks_to_choose
from tsqa.decontaminate.similarity import Questions, Weights
from tsqa.text.hashing import Hashes, Numbers, RunTable, changes, expand_ranges, hash_runs

LITTLE = 10
"""Words of a text, besides the part, that are little else."""
SHARING = 10
"""Questions of a task, at most, whose options are told where nothing else stands; what more have
is a template's."""
_AROUND = 20
"""Words of labels and of what asks to choose, at most."""
_SHORTEST = 5
_RARE = 25.0
"""Set on arc_easy: 20 rejects 0.2% more of its training documents. Of fewer documents, which do not
show which words are rare, it asks for more words."""
_MANY = 9
"""Words of options from which on their order does not matter."""
_MOST_TAKEN = 0.01
"""Share of a task's documents: four real benchmarks have 0 to 0.8%, those of a template 2 to 8%."""
_FEWEST_OPTIONS = 3
_FEWEST_WORDS = 3
"""Distinct words with letters, or else of those that do not ask to choose: numbers from 1 to 8 are
the options of many questions, and stand before many lines."""


class Half(NamedTuple):
    """Half of an evaluated question: its words from `start` to `end`."""

    document: int
    start: int
    end: int
    is_rare: bool
    """It counts in any text."""
    is_enough: bool
    """It counts in a text that holds little else."""


class Halves:
    """Halves of questions, of fewer words than a run that counts by itself."""

    def __init__(self, texts: EvaluatedTexts, word_hashes: Hashes, ngram: int) -> None:
        documents, starts, ends = _bounds(texts, ngram)
        weights = np.concatenate(([0.0], np.cumsum(surprises(texts, texts.own_questions()))))
        rare = weights[ends] - weights[starts] >= _RARE
        self.tables: dict[int, RunTable] = {}
        """Size -> halves of that many words, as numbers for `half`."""
        holders, shared = [documents[:0]], [documents[:0]]
        for size, runs in enumerate(hash_runs(word_hashes[texts.words], ngram - 1), start=1):
            own = np.flatnonzero(ends - starts == size)
            if len(own):
                groups, some = _group_alike(runs[starts[own]], documents[own], texts)
                found = RunTable(runs[starts[own[some]]], own[some]).find(runs)
                held = _find_shared(found, documents, texts)
                holders.append(held[0])
                shared.append(held[1])
                taken = groups[np.isin(own, held[1])]
                kept = own[~np.isin(groups, taken)]
                self.tables[size] = RunTable(runs[starts[kept]], kept)
        by, what = np.concatenate(holders), np.concatenate(shared)
        sizes = texts.whole_lengths()[by] - (ends - starts)[what]
        rare &= _are_few(by[rare[what]], texts)[documents]
        enough = _are_few(by[sizes <= LITTLE], texts)[documents]
        columns = (documents, starts, ends, rare, enough)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        self._halves = [Half(*row) for row in rows]

    def half(self, entry: int) -> Half:
        return self._halves[entry]


class _Options(NamedTuple):
    document: int
    words: list[int]
    counts: Counter[int]
    answer: list[int]
    is_own: bool
    """Whether no other question of its task has them."""
    is_spelled: bool
    """Whether they have words; else they count in their order, where nothing else stands."""

    def stand_in(
        self, numbers: list[int], spelled: Callable[[], list[str]], is_question: bool
    ) -> bool:
        """Whether a text has them and little else; few words only in their order, but where the
        rest only asks to choose, as it must of a question."""
        if not self.counts <= Counter(numbers):
            return False
        left = iter(numbers)
        are_in_order = all(word in left for word in self.words)
        if not self.is_spelled:
            return are_in_order and asks_to_choose(self._rest(numbers, spelled()))
        rest = len(numbers) - len(self.words) - len(self.answer)
        is_known = len(self.words) >= _MANY or are_in_order
        if is_known and self.is_own and rest <= LITTLE and not is_question:
            return True
        return asks_to_choose(self._rest(numbers, spelled()))

    def _rest(self, numbers: list[int], spelled: list[str]) -> Iterator[str]:
        """Yield the words besides: neither of the options nor of an answer, whichever it is."""
        own = {*self.words, *self.answer}
        return (word for number, word in zip(numbers, spelled, strict=True) if number not in own)


class OptionSets:
    """Options of evaluated questions, looked for where a text holds little else."""

    def __init__(self, texts: EvaluatedTexts, common: NDArray[np.bool_]) -> None:
        """`common`: the documents whose options count only where nothing else stands."""
        self._sets: list[_Options] = []
        choosing = texts.number(sorted(CHOOSING))
        for document, is_own in texts.option_holders(SHARING):
            found = texts.options(document)
            flat = np.concatenate(found)
            distinct = np.unique(flat)
            is_spelled = bool(texts.is_spelled[distinct].sum() >= _FEWEST_WORDS)
            telling = len(np.setdiff1d(distinct, choosing))
            if len(found) >= _FEWEST_OPTIONS and (is_spelled or telling >= _FEWEST_WORDS):
                own, answer = flat.tolist(), texts.answer(document).tolist()
                is_own = is_own and not common[document]
                self._sets.append(_Options(document, own, Counter(own), answer, is_own, is_spelled))
        self._of = {one.document: one for one in self._sets}
        sizes = [(len(one.words), len(one.answer)) for one in self._sets]
        bounds = np.array(sizes, dtype=np.int64).reshape(-1, 2)
        self._shortest, self._longest = bounds[:, 0], bounds.sum(axis=1) + _AROUND
        spread = Counter(word for one in self._sets for word in one.counts)
        keys = [min(one.counts, key=lambda word: (spread[word], word)) for one in self._sets]
        self._postings = np.argsort(keys, kind="stable")
        numbers = np.array(keys, dtype=np.int64)[self._postings]
        self._starts = np.searchsorted(numbers, np.arange(texts.vocabulary_size + 1))

    def identify(self, document: int, options: Numbers) -> bool:
        """Whether the options of a document give it away, asked in this order."""
        own = self._of.get(document)
        return own is not None and (own.is_spelled or own.words == options.tolist())

    def find(
        self, texts: Sequence[Numbers], spelled: Callable[[int], list[str]], are_questions: bool
    ) -> Iterator[tuple[int, int]]:
        """Yield (text, document) of texts that hold the options and little else.

        `spelled`: the words of a text; `are_questions`: they are what candidates ask.
        """
        lengths = np.array([len(text) for text in texts])
        short = np.flatnonzero(lengths <= self._longest.max(initial=0))
        if not len(short) or not self._sets:
            return
        flat = np.concatenate([texts[number] for number in short])
        counts = self._starts[flat + 1] - self._starts[flat]
        found = self._postings[expand_ranges(self._starts[flat], counts)]
        owners = np.repeat(np.repeat(short, lengths[short]), counts)
        of = lengths[owners]
        fits = (of >= self._shortest[found]) & (of <= self._longest[found])
        pairs = np.unique(owners[fits] * len(self._sets) + found[fits])
        for text, place in (divmod(pair, len(self._sets)) for pair in pairs.tolist()):
            if self._sets[place].stand_in(
                texts[text].tolist(), partial(spelled, text), are_questions
            ):
                yield text, self._sets[place].document


def _bounds(texts: EvaluatedTexts, ngram: int) -> tuple[Numbers, Numbers, Numbers]:
    """(documents, starts, ends) in `texts.words` of both halves of each question that has them."""
    found = []
    for document in range(len(texts)):
        start, end = texts.question_bounds(document)
        half = (end - start) // 2
        is_own = not texts.is_shared(document) and not texts.is_of_passage(document)
        if is_own and _SHORTEST <= half < ngram:
            found += [(document, start, start + half), (document, end - half, end)]
    rows: Numbers = np.array(found, dtype=np.int64).reshape(-1, 3)
    return rows[:, 0], rows[:, 1], rows[:, 2]


def surprises(texts: EvaluatedTexts, questions: Questions) -> Weights:
    """Of each word of each question log((questions + 1) / those of its task that hold it).

    `questions`: or stretches of words that begin with them; of other words 0.
    """
    weights = np.zeros(len(texts.words))
    owners, size = questions.owners, texts.vocabulary_size
    keys = questions.tasks[owners] * size + questions.words
    held = np.unique(keys * max(1, len(texts)) + owners) // max(1, len(texts))
    distinct, spread = np.unique(held, return_counts=True)
    sizes = np.bincount(questions.tasks, minlength=1)[questions.tasks][owners]
    counts = np.diff(questions.starts)
    begins = np.array([texts.question_bounds(n)[0] for n in range(len(texts))], dtype=np.int64)
    places = expand_ranges(begins, counts)
    weights[places] = np.log((sizes + 1) / spread[np.searchsorted(distinct, keys)])
    return weights


def _group_alike(
    hashes: Hashes, documents: Numbers, texts: EvaluatedTexts
) -> tuple[Numbers, Numbers]:
    """(group of each half: those of one task that are alike; the first halves of up to two
    questions of each group).

    Two show whether another question has it: a half that all of a task have would be found in each
    as often as there are documents.
    """
    tasks, askers = texts.tasks[documents], texts.first_askers[documents]
    order = np.lexsort((askers, tasks, hashes))
    begins = changes(hashes[order]) | changes(tasks[order])
    asks = begins | changes(askers[order])
    group, asked = np.cumsum(begins) - 1, np.cumsum(asks)
    rank = asked - asked[begins][group]
    groups = np.empty_like(order)
    groups[order] = group
    return groups, order[asks & (rank < 2)]


def _find_shared(
    found: tuple[Numbers, Numbers], documents: Numbers, texts: EvaluatedTexts
) -> tuple[Numbers, Numbers]:
    """(documents that hold a half of another question of their task, these halves).

    `found`: (position in `texts.words`, half); `documents`: of each half.
    """
    positions, halves = found
    holders = texts.documents_at(positions)
    of = documents[halves]
    is_other = texts.first_askers[holders] != texts.first_askers[of]
    is_other &= texts.tasks[holders] == texts.tasks[of]
    return holders[is_other], halves[is_other]


def _are_few(taken: Numbers, texts: EvaluatedTexts) -> NDArray[np.bool_]:
    """For each document, whether few enough of its task are among those."""
    tasks = texts.tasks
    counts = np.bincount(tasks[np.unique(taken)], minlength=tasks.max(initial=0) + 1)
    few: NDArray[np.bool_] = counts <= _MOST_TAKEN * np.bincount(tasks, minlength=len(counts))
    return few[tasks]
