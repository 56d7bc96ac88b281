"""Which documents of a template task a text is: those that fill the template's slots alike.

The template of a document is learnt from those of its task that are most like it: a word counts the
less, the more of them hold it beside the same neighbour. What is left fills the slots. A text is
the document as far as it holds these words, sentence by sentence and in their order, and no other
fillers between them; a word that no document has, such as a synonym or a slip, is no filler.
Numbers count by value, in digits or English words.

Guarantees: what a task asks for is measured on at most 100 of its documents, read as texts against
the others; nothing depends on the batch, nor on other tasks; memory is linear in the words of the
documents, and in the vocabulary for each task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tsqa.decontaminate.similarity import Questions, Weights
from tsqa.text.hashing import Hashes, Numbers, RunTable, changes, expand_ranges, hash_runs
from tsqa.text.numbers import NUMBER_WORDS, read_cardinal

_POOL = 300
"""Documents of a task among which the most alike are looked for."""
_BLOCK = 1000
"""Documents that are compared with these at once."""
_ALIKE = 20
_PART = 5
_FEWEST = 10
"""Documents with words of their own, below which they show no template."""
_SLOT = 0.05
"""Weight below which a word belongs to the template."""
_MISSING = 0.35
"""How much a word counts against a document that the text lacks; another filler counts whole."""
_RUN = 4
"""Words in a row without which a text is not read as one of a template."""
_FLOOR = 0.6
_FLOOR_BESIDE = 0.72
"""Where other rules find the documents too. Of questions in one frame those that differ in one of
six slots score 0.8, in two 0.65; with synonyms for a fifth of their words most score 0.8 or more.
"""
_MARGIN = 0.06
_WHOLE = 1 - 1e-9
_QUANTILE = 0.99
_SAMPLE = 100
_MOST = 4
"""Documents that are compared with one window in full."""
_LONGEST_NUMBER = 16
"""Words, as `nine hundred and ninety-nine thousand nine hundred and ninety-nine` has ten."""


class SlotText(NamedTuple):
    """A text to be read: its words, 0 for unknown ones and -1 for unknown numbers."""

    words: Numbers
    sentences: Numbers
    """The number of the sentence of each word."""
    begins: Numbers
    """Where each word begins among those that were read, and the last ends."""


class Filled(NamedTuple):
    """A document that a text is, or may be."""

    document: int
    score: float
    is_enough: bool
    """Whether this score identifies it; else the text must have the whole question."""
    start: int
    end: int


class _Held(NamedTuple):
    """The distinct words, or pairs of them, of each document, end to end."""

    starts: Numbers
    things: Numbers

    def of(self, place: int) -> Numbers:
        return self.things[self.starts[place] : self.starts[place + 1]]

    def count_holders(self, documents: Numbers, asked: Numbers) -> Numbers:
        """Count for each thing that is asked for how many of the documents hold it."""
        starts = self.starts[documents]
        places = expand_ranges(starts, self.starts[documents + 1] - starts)
        distinct, numbers = np.unique(asked, return_inverse=True)
        found = self.things[places]
        at = np.minimum(np.searchsorted(distinct, found), len(distinct) - 1)
        at = at[distinct[at] == found]
        counts: Numbers = np.bincount(at, minlength=len(distinct))[numbers]
        return counts


class _Slots(NamedTuple):
    """What fills the slots of a document."""

    fillers: frozenset[int]
    template: frozenset[int]
    """Its other words."""
    sentences: list[list[tuple[int, float]]]
    """(filler, weight), in order, of each sentence that has any, the heaviest first."""
    wholes: list[frozenset[int]]
    """All words of each of these."""


class _Task(NamedTuple):
    """The documents of one task, end to end."""

    documents: Numbers
    words: Numbers
    sentences: Numbers
    starts: Numbers
    weights: Weights
    totals: Weights
    rarity: Weights
    """Of each word of the vocabulary; the last, of an unknown number."""
    spread: Numbers
    """Of each word of the vocabulary, how many of the documents hold it."""
    is_number: NDArray[np.bool_]
    holds: _Held
    alike: Numbers
    distinct: Numbers
    """The pairs of neighbouring words, in order."""
    pairs: Numbers
    """Of each word: the place in `distinct` of it and the next."""
    pair_weights: Weights
    slots: list[_Slots]
    is_alone: bool
    """Whether its documents are found by this rule alone; else all their sentences with fillers
    must be there, for another task may have the same frame."""


class SlotDocuments:
    """The documents of template tasks, by what fills their slots."""

    def __init__(
        self,
        parts: Sequence[Questions],
        readers: Questions,
        vocabulary: Sequence[str],
        number: Callable[[Sequence[str]], Numbers],
        word_hashes: Hashes,
        alone: NDArray[np.bool_],
    ) -> None:
        """`parts`: their questions, and their options, without words for all other documents.

        `readers`: the documents, whole; `vocabulary`: the words from number 1 on, which `number`
        numbers, with 0 for others; `alone`: whether a document is found by this rule alone.
        """
        self._word_hashes, self._number = word_hashes, number
        self._vocabulary = 1 + len(vocabulary)
        self._values: dict[str, int] = {}
        """Numbers that no document writes so -> their number, behind the vocabulary."""
        values = [self._read_questions(part, vocabulary) for part in (*parts, readers)]
        spelled = [False, *(any(map(str.isdigit, word)) for word in vocabulary)]
        is_number = np.array(spelled + [True] * len(self._values), dtype=bool)
        found = [
            (task, *both)
            for both in zip(parts, values, strict=False)
            for task, count in _count_documents(both[0])
            if count >= _FEWEST
        ]
        self._tasks = [_learn(read, is_number, task, alone) for task, _, read in found]
        self._least = [_measure_least(task, values[-1]) for task in self._tasks]
        self._within = {
            task: _neighbours(part.of(part.tasks == task), self._vocabulary)
            for task, part, _ in found
            if part is parts[0]
        }
        runs, tasks = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int64)]
        for place, (task, part, _) in enumerate(found):
            *shorter, longest = hash_runs(word_hashes[part.of(part.tasks == task).words], _RUN)
            own = np.unique(longest) if len(shorter) == _RUN - 1 else longest[:0]
            runs.append(own)
            tasks.append(np.full(len(own), place))
        self._table = RunTable(np.concatenate(runs), np.concatenate(tasks))

    def propose(self, texts: Sequence[Numbers]) -> list[tuple[int, int]]:
        """(text, task) where the text has four words in a row of a document of the task."""
        flat = np.concatenate([*texts, np.zeros(_RUN, dtype=np.int64)])
        bounds = np.cumsum([0, *map(len, texts)])
        *_, runs = hash_runs(self._word_hashes[flat], _RUN)
        positions, tasks = self._table.find(runs)
        rows = np.searchsorted(bounds, positions, side="right") - 1
        inside = positions + _RUN <= bounds[np.minimum(rows + 1, len(texts))]
        pairs = np.unique(rows[inside] * max(1, len(self._tasks)) + tasks[inside])
        return [divmod(pair, max(1, len(self._tasks))) for pair in pairs.tolist()]

    def read(self, found: Sequence[str], sentences: Numbers, apart: Numbers) -> SlotText:
        """Read the words of a text; a number in words has one number of `apart`."""
        read, begins = read_numbers(found, apart.tolist())
        known = zip(read, self._number(read).tolist(), strict=True)
        words = np.array([self._values.get(word, number) for word, number in known], dtype=np.int64)
        has_digit = np.array([any(map(str.isdigit, word)) for word in read], dtype=bool)
        words[(words == 0) & has_digit] = -1
        bounds = np.array([*begins, len(found)], dtype=np.int64)
        return SlotText(words, sentences[bounds[:-1]], bounds)

    def _read_questions(self, questions: Questions, vocabulary: Sequence[str]) -> Questions:
        found = [vocabulary[number - 1] for number in questions.words.tolist()]
        read, begins = read_numbers(found, questions.sentences.tolist())
        words = [
            int(known) or self._values.setdefault(word, self._vocabulary + len(self._values))
            for word, known in zip(read, self._number(read), strict=True)
        ]
        return Questions(
            words=np.array(words, dtype=np.int64),
            starts=np.searchsorted(begins, questions.starts),
            tasks=questions.tasks,
            sentences=questions.sentences[begins],
        )

    def is_within(self, task: int, word: int, following: int) -> bool:
        """Whether a question of the task has these words side by side."""
        own = self._within.get(task, np.zeros(0, dtype=np.int64))
        pair = word * self._vocabulary + following
        place = int(np.searchsorted(own, pair))
        return word > 0 and place < len(own) and int(own[place]) == pair

    def find(self, task: int, text: SlotText) -> list[Filled]:
        """Find the documents of a task that the text may be, the most alike first."""
        least = self._least[task]
        found = _read(self._tasks[task], text, least)
        return [one for one in found if one.score >= min(least, _WHOLE)]


def read_numbers(found: Sequence[str], apart: Sequence[int]) -> tuple[list[str], list[int]]:
    """(words, where each begins), numbers in digits; words of one have one number of `apart`."""
    read: list[str] = []
    begins: list[int] = []
    place = 0
    while place < len(found):
        word, end = found[place], place + 1
        if word in NUMBER_WORDS:
            near = range(place, min(len(found), place + _LONGEST_NUMBER))
            own = [found[each] for each in near if apart[each] == apart[place]]
            size, value = read_cardinal(own, 0)
            if value is not None:
                word, end = str(value), place + size
        elif word.isdecimal():
            word = word.lstrip("0") or "0"
        read.append(word)
        begins.append(place)
        place = end
    return read, begins


def _neighbours(questions: Questions, vocabulary: int) -> Numbers:
    """The pairs of words that stand side by side in one of them, as numbers, in order."""
    pairs = questions.words[:-1] * vocabulary + questions.words[1:]
    found: Numbers = np.unique(pairs[questions.owners[:-1] == questions.owners[1:]])
    return found


def _count_documents(part: Questions) -> list[tuple[int, int]]:
    """(task, its documents that have words there)."""
    tasks, counts = np.unique(part.tasks[np.diff(part.starts) > 0], return_counts=True)
    return [*zip(tasks.tolist(), counts.tolist(), strict=True)]


def _learn(
    documents: Questions, is_number: NDArray[np.bool_], task: int, alone: NDArray[np.bool_]
) -> _Task:
    own = np.flatnonzero((documents.tasks == task) & (np.diff(documents.starts) > 0))
    counts = np.diff(documents.starts)[own]
    kept = np.isin(documents.owners, own)
    words, sentences = documents.words[kept], documents.sentences[kept]
    starts = np.concatenate(([0], np.cumsum(counts)))
    owners = np.repeat(np.arange(len(own)), counts)
    pairs = _pairs(words, sentences, owners, len(is_number))
    begins = changes(sentences) | changes(owners)
    weights, alike = _weigh(pairs, begins, owners, len(own))
    distinct, numbered = np.unique(pairs, return_inverse=True)
    pair_weights = np.log((len(own) + 1) / np.bincount(numbered))[numbered]
    holds = _hold(owners, words, len(own))
    spread = np.bincount(holds.things, minlength=len(is_number))
    rarity = np.zeros(len(is_number) + 1)
    known = spread > 0
    rarity[:-1][known] = np.log((len(own) + 1) / spread[known]) / np.log(len(own) + 1)
    if is_number[words[weights >= _SLOT]].any():
        rarity[-1] = 1.0
        rarity[:-1][is_number & ~known] = 1.0  # unknown to this task, whatever others hold
    totals = np.maximum(np.add.reduceat(weights, starts[:-1]), 1e-9)
    return _Task(
        own,
        words,
        sentences,
        starts,
        weights,
        totals,
        rarity,
        spread,
        is_number,
        holds,
        alike,
        distinct,
        numbered,
        pair_weights,
        [
            _find_slots(words[start:end], weights[start:end], sentences[start:end])
            for start, end in pairwise(starts.tolist())
        ],
        bool(alone[own].all()),
    )


def _find_slots(words: Numbers, weights: Weights, sentences: Numbers) -> _Slots:
    fillers = frozenset(words[weights >= _SLOT].tolist())
    found: dict[int, list[tuple[int, float]]] = {}
    wholes: dict[int, set[int]] = {}
    for word, weight, sentence in zip(
        words.tolist(), weights.tolist(), sentences.tolist(), strict=True
    ):
        wholes.setdefault(sentence, set()).add(word)
        if word in fillers:
            found.setdefault(sentence, []).append((word, weight))
    heaviest = sorted(found, key=lambda one: -sum(weight for _, weight in found[one]))
    return _Slots(
        fillers,
        frozenset(words.tolist()) - fillers,
        [found[one] for one in heaviest],
        [frozenset(wholes[one]) for one in heaviest],
    )


def _hold(owners: Numbers, things: Numbers, count: int) -> _Held:
    size = int(things.max()) + 1
    distinct = np.unique(owners * size + things)
    starts = np.concatenate(([0], np.cumsum(np.bincount(distinct // size, minlength=count))))
    return _Held(starts, distinct % size)


def _pairs(words: Numbers, sentences: Numbers, owners: Numbers, vocabulary: int) -> Numbers:
    """For each word, it and the next one of its sentence, or its end, as a number."""
    following = np.append(words[1:], 0)
    ends = np.append((sentences[1:] != sentences[:-1]) | (owners[1:] != owners[:-1]), True)
    pairs: Numbers = words * vocabulary + np.where(ends, 0, following)
    return pairs


def _weigh(
    pairs: Numbers, begins: NDArray[np.bool_], owners: Numbers, count: int
) -> tuple[Weights, Numbers]:
    """(how much each word tells, the documents that are most like each).

    A word tells the less, the more of these hold it beside the same neighbour.
    """
    _, numbers = np.unique(pairs, return_inverse=True)
    held = _hold(owners, numbers, count)
    alike = _find_alike(held)
    weights = np.zeros(len(pairs))
    bounds = np.flatnonzero(np.diff(owners, prepend=-1, append=count))
    for document in range(count):
        start, end = bounds[document], bounds[document + 1]
        counts = held.count_holders(alike[document], numbers[start:end])
        before = np.where(begins[start:end], 0, np.append(0, counts[:-1]))
        counts = np.maximum(counts, before)
        weights[start:end] = np.log((alike.shape[1] + 1) / (counts + 0.5))
    return weights / np.log((alike.shape[1] + 1) / 0.5), alike


def _find_alike(held: _Held) -> Numbers:
    """Find the documents of a sample that share most with each, by rarity."""
    count = len(held.starts) - 1
    spread = np.bincount(held.things)
    rare = np.where(spread > 1, np.log((count + 1) / np.maximum(1, spread)), 0.0)
    shape = (count, len(spread))
    weighted = csr_array((rare[held.things], held.things, held.starts), shape=shape)
    pool = np.arange(count)[:: -(-count // _POOL)]
    sample = csr_array((np.ones(len(held.things)), held.things, held.starts), shape=shape)[pool].T
    most = min(max(_ALIKE, len(pool) // _PART), max(1, len(pool) - 1))
    found = []
    for start in range(0, count, _BLOCK):
        shared = (weighted[start : start + _BLOCK] @ sample).toarray()
        own = (pool >= start) & (pool < start + _BLOCK)
        shared[pool[own] - start, np.flatnonzero(own)] = -1
        found.append(pool[np.argsort(-shared, axis=1, kind="stable")[:, :most]])
    return np.concatenate(found)


def _read(task: _Task, text: SlotText, enough: float, without: int = -1) -> list[Filled]:
    """Score the documents, but for one `without`, that a window of the text may be."""
    found: dict[int, Filled] = {}
    least = min(enough, _WHOLE)
    longest = int(np.diff(task.starts).max())
    counts = task.documents != without
    for start, end in _windows(text, longest, 0 if task.is_alone else longest):
        held = np.zeros(len(task.rarity), dtype=bool)
        held[text.words[start:end]] = True
        held[0] = False
        hits = np.add.reduceat(np.where(held[task.words], task.weights, 0.0), task.starts[:-1])
        bound = hits / (hits + _MISSING * (task.totals - hits) + 1e-12)
        likely = np.flatnonzero((bound >= least) & counts)
        if not len(likely):
            continue
        part = SlotText(text.words[start:end], text.sentences[start:end], text.begins[start:])
        told = _told_pairs(task, part)[likely]
        likely = likely[np.argsort(-told, kind="stable")[:_MOST]]
        wholes = _words_of_sentences(part)
        for place in likely.tolist():
            score, first, last = _score(task, place, part, wholes, least - _MARGIN)
            document = int(task.documents[place])
            known = found.get(document)
            if score > 0 and (known is None or score > known.score):
                bounds = int(part.begins[first]), int(part.begins[last])
                found[document] = Filled(document, score, score >= enough, *bounds)
    return sorted(found.values(), key=lambda one: (-one.score, one.document))


def _told_pairs(task: _Task, text: SlotText) -> Weights:
    """How much of each document stands in the text as pairs of neighbouring words."""
    asked = _pairs(text.words, text.sentences, np.zeros_like(text.words), len(task.rarity) - 1)
    held = np.zeros(len(task.distinct), dtype=bool)
    places = np.minimum(np.searchsorted(task.distinct, asked), len(held) - 1)
    held[places[task.distinct[places] == asked]] = True
    told: Weights = np.add.reduceat(
        np.where(held[task.pairs], task.pair_weights, 0.0), task.starts[:-1]
    )
    return told


def _windows(text: SlotText, longest: int, reach: int) -> list[tuple[int, int]]:
    """Stretches of the text in which a document fits, to the ends of sentences within `reach`.

    A sentence that is cut lacks what would make it another document's.
    """
    size = longest + longest // 2
    step = max(1, longest // 2)
    count = len(text.words)
    bounds = np.append(np.flatnonzero(changes(text.sentences)), count)
    found = []
    for start in range(0, max(1, count - size + step), step):
        end = min(count, start + size)
        first = int(bounds[np.searchsorted(bounds, start, side="right") - 1])
        last = int(bounds[np.searchsorted(bounds, end)])
        found.append((max(first, start - reach), min(last, end + reach)))
    return found


def _words_of_sentences(text: SlotText) -> list[set[int]]:
    bounds = np.append(np.flatnonzero(changes(text.sentences)), len(text.words)).tolist()
    words = text.words.tolist()
    return [set(words[start:end]) for start, end in pairwise(bounds)]


def _score(
    task: _Task, place: int, text: SlotText, wholes: Sequence[set[int]], least: float
) -> tuple[float, int, int]:
    """(how much of the document the text is, its first word, the one after its last).

    0 where that is less than `least`, whatever else the text says. `wholes`: the words of each of
    its sentences.
    """
    slots = task.slots[place]
    theirs: dict[int, list[tuple[int, int]]] = {}
    for position, word in enumerate(text.words.tolist()):
        if word in slots.fillers:
            theirs.setdefault(int(text.sentences[position]), []).append((word, position))
    used: set[int] = set()
    held = missing = 0.0
    lacking = 0
    for sentence, whole in zip(slots.sentences, slots.wholes, strict=True):
        best: tuple[float, list[int]] = (0.0, [])
        for there in theirs.values():
            free = [one for one in there if one[1] not in used]
            match = _common(sentence, free)
            if match[0] > best[0] + 1e-9:
                best = match
        held += best[0]
        missing += sum(weight for _, weight in sentence) - best[0]
        is_there = best[0] or any(2 * len(whole & own) + (0 in own) >= len(whole) for own in wholes)
        lacking += 0 if task.is_alone or is_there else len(whole)
        used.update(best[1])
    told = held + _MISSING * max(0.0, missing)
    kept = 1 - lacking / max(1, sum(map(len, slots.wholes)))
    if not used or kept * held < least * told:
        return 0.0, 0, 0
    # The sentences that are the document's, whole: what they add makes another document.
    held_in = np.flatnonzero(np.isin(text.sentences, text.sentences[sorted(used)]))
    first, last = int(held_in[0]), int(held_in[-1]) + 1
    words = text.words[first:last]
    counts, most = task.holds.count_holders(task.alike[place], words), task.alike.shape[1]
    against = np.log((most + 1) / (counts + 0.5)) / np.log(2 * (most + 1))
    against = np.minimum(against, task.rarity[words])
    others = sum(
        weight
        for position, (word, weight) in enumerate(
            zip(words.tolist(), against.tolist(), strict=True), start=first
        )
        if position not in used and word not in slots.template
    )
    return kept * held / (told + others), first, last


def _common(
    own: Sequence[tuple[int, float]], theirs: Sequence[tuple[int, int]]
) -> tuple[float, list[int]]:
    """The heaviest common subsequence: its weight and its positions in the text."""
    rows: list[list[float]] = [[0.0] * (len(theirs) + 1)]
    for word, weight in own:
        above, row = rows[-1], [0.0]
        for column, (other, _) in enumerate(theirs):
            best = above[column] + weight if other == word else 0.0
            row.append(max(best, above[column + 1], row[column]))
        rows.append(row)
    found: list[int] = []
    line, column = len(own), len(theirs)
    while line and column and rows[line][column] > 0:
        if rows[line][column] == rows[line - 1][column]:
            line -= 1
        elif rows[line][column] == rows[line][column - 1]:
            column -= 1
        else:
            line, column = line - 1, column - 1
            found.append(theirs[column][1])
    return rows[-1][-1], found


def _measure_least(task: _Task, whole: Questions) -> float:
    """The score of its task that all but 1% of the other documents do not reach."""
    places = range(0, len(task.documents), -(-len(task.documents) // _SAMPLE))
    least = float(np.quantile([_score_best(task, whole, own) for own in places], _QUANTILE))
    if least >= _WHOLE:  # documents fill their slots alike: only a whole question is one
        return 2.0
    floor = _FLOOR if task.is_alone else _FLOOR_BESIDE
    return min(_WHOLE, max(floor, least + _MARGIN))


def _score_best(task: _Task, whole: Questions, place: int) -> float:
    """The score of the document that a text, which is another one, is taken for.

    Words that it alone has are unknown, as those of a text that is none of the task.
    """
    document = int(task.documents[place])
    start, end = whole.starts[document : document + 2]
    words = whole.words[start:end]
    is_own = (task.spread[words] == 1) & np.isin(words, task.holds.of(place))
    words = np.where(is_own, np.where(task.is_number[words], -1, 0), words)
    text = SlotText(words, whole.sentences[start:end], np.arange(end - start + 1))
    found = _read(task, text, _FLOOR, without=document)
    return found[0].score if found else 0.0
