"""Which evaluated documents a text tells again: with some other words or in another order.

A document is known by its pairs of words, neighbours or with one word between (another one may
stand there), but for those that more than ten documents of its task hold. A word of a pair that
stands in the text, within a window of twice the document's length, counts by its rarity in the
task, however often the document repeats it; numbers and names only where the others do not identify
the document. The score is their share of the document, more where they weigh more. What it lacks
may be made up for by order: a copy with other words keeps the rest where it was, common words too,
while what two documents on one subject share stands in another order. So it is raised where over
`_KEPT` of the document's words stand in the text in their order, and more is asked of it then.

Guarantees: what a task asks for is measured on its documents, each read as a text against the
others, so that a task of templates asks for nearly everything; a hash only proposes a pair, its
words decide; memory is linear in the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsqa.decontaminate.passages import TEMPLATE
from tsqa.decontaminate.similarity import Questions, Weights, kept_share, weigh
from tsqa.text.hashing import Hashes, Numbers, RunTable, changes

_MOST = 50
"""Documents of all tasks; a pair of more identifies none and would cost time."""
_GAPS = (1, 2)
"""From the first word of a pair to the second. With 3, as many synonyms are found, more slowly."""
_LEAST_PAIRS = 4
_LEAST_UNITS, _LEAST_WITH_NUMBERS = 3.5, 6.0
"""Less is too little to identify a document by its words in any order, or by its numbers too."""
_FLOOR, _FLOOR_IN_ORDER, _SLOPE, _MARGIN = 1.1, 1.5, 1 / 3, 0.25
"""Set on four real benchmarks: where 1.5% of a task's documents reach u on another one, it asks for
1.1 + u / 3 and at least u + 0.25, and of scores raised by order for 1.5 + u / 3."""
_QUANTILE = 0.985
_POWER = 0.5
_HEAVY = 32
"""Units from which on more weight does not raise a score."""
_KEPT, _RAISE = 0.55, 3
"""A score is raised to (share of the words kept in order / `_KEPT`) ** `_RAISE` times itself."""
_SAMPLE = 1000
"""Documents of a task, at most, that are read against the others."""
_ROOM = 16
_BATCH = 256
_BUCKETS = 2**20


class Retelling(NamedTuple):
    """Where a text tells a document: its words from `start` to `end`."""

    text: int
    document: int
    score: float
    start: int
    end: int
    in_order: float
    """The score, raised if the words stand in their order."""


class _Hits(NamedTuple):
    """Pairs of an evaluated document that stand in a text, in order of text and document."""

    texts: Numbers
    documents: Numbers
    positions: Numbers
    """In the text."""
    places: Numbers
    """In the documents' words."""
    gaps: Numbers
    """From the first word of the pair to the second."""

    def take(self, chosen: NDArray[np.bool_] | Numbers) -> _Hits:
        return _Hits(*(part[chosen] for part in self))


class RetoldDocuments:
    """Evaluated documents (question, options and answer, end to end) by their pairs of words."""

    def __init__(
        self, documents: Questions, swappable: NDArray[np.bool_], word_hashes: Hashes
    ) -> None:
        self._words, self._word_hashes = documents.words, word_hashes
        self._owners, self._starts = documents.owners, documents.starts
        self._spans = 2 * np.diff(documents.starts) + _ROOM
        shares, totals = weigh(documents, swappable)
        self._firsts = _find_firsts(self._words, self._owners)
        self._weights: Weights = shares * totals[self._owners]
        first = np.flatnonzero(self._firsts == np.arange(len(self._words)))
        own = np.bincount(self._owners[first], self._weights[first], minlength=len(totals))
        self._totals: Weights = np.maximum(own, 1e-9)
        lettered = first[~swappable[self._words[first]]]
        fixed = np.bincount(self._owners[lettered], self._weights[lettered], minlength=len(totals))
        self._units = np.where(fixed < _LEAST_UNITS, _LEAST_WITH_NUMBERS, _LEAST_UNITS) - 1e-9
        """That identify each document."""
        self._tables = {gap: self._index_pairs(documents.tasks, gap) for gap in _GAPS}
        self._least, self._least_in_order = self._measure_least(documents)

    def find(self, texts: Sequence[Numbers]) -> list[Retelling]:
        """Find, per text and document, the window that tells most of it, if that is enough."""
        found = [
            one
            for one in self._score(texts)
            if one.score >= self._least[one.document]
            or one.in_order >= self._least_in_order[one.document]
        ]
        return sorted(found, key=lambda one: (one.text, -one.in_order, one.document))

    def _score(self, texts: Sequence[Numbers]) -> list[Retelling]:
        """Score, per text and document, the window that tells most of it."""
        hits = self._hits(texts)
        best: dict[tuple[int, int], Retelling] = {}
        for shift in (0, 1) if len(hits.texts) else ():
            span = self._spans[hits.documents]
            windows = (hits.positions + shift * (span // 2)) // span
            for one in self._score_windows(hits, windows):
                known = best.get((one.text, one.document))
                if known is None or (one.score, -one.start) > (known.score, -known.start):
                    best[one.text, one.document] = one
        return [self._see_order(one, texts[one.text]) for one in best.values()]

    def _see_order(self, found: Retelling, text: Numbers) -> Retelling:
        document = self._words[self._starts[found.document] : self._starts[found.document + 1]]
        around = text[max(0, found.start - len(document)) : found.end + len(document)]
        raised = max(1.0, kept_share(document, around) / _KEPT) ** _RAISE
        return found._replace(in_order=found.score * raised)

    def _hits(self, texts: Sequence[Numbers]) -> _Hits:
        flat = np.concatenate([*texts, np.zeros(max(_GAPS), dtype=np.int64)])
        bounds = np.cumsum([0, *map(len, texts)])
        rows = np.repeat(np.arange(len(texts) + 1), np.diff(bounds, append=len(flat)))
        found = [self._find_pairs(flat, rows, gap) for gap in _GAPS]
        positions, places, gaps = (np.concatenate(part) for part in zip(*found, strict=True))
        keys = rows[positions] * len(self._totals) + self._owners[places]
        # Most hold too little of a document: leave them out before sorting.
        buckets, worth = keys % _BUCKETS, self._weights[places] + self._weights[places + gaps]
        enough = np.bincount(buckets, worth, minlength=1) >= _LEAST_UNITS - 1e-9
        chosen = np.flatnonzero(enough[buckets])
        order = chosen[np.argsort(keys[chosen], kind="stable")]
        positions, places, gaps = positions[order], places[order], gaps[order]
        of = rows[positions]
        hits = _Hits(of, self._owners[places], positions - bounds[of], places, gaps)
        starts = np.flatnonzero(changes(keys[order]))
        if not len(starts):
            return hits
        counts = np.diff(starts, append=len(order))
        kept = (counts >= _LEAST_PAIRS) & (
            np.add.reduceat(worth[order], starts) >= _LEAST_UNITS - 1e-9
        )
        return hits.take(np.repeat(kept, counts))

    def _find_pairs(
        self, flat: Numbers, rows: Numbers, gap: int
    ) -> tuple[Numbers, Numbers, Numbers]:
        """(positions, places, gaps) of the pairs of this gap that stand within one text."""
        positions, places = self._tables[gap].find(_hash_pairs(self._word_hashes[flat], gap))
        is_real = rows[positions] == rows[positions + gap]
        for offset in (0, gap):
            is_real &= flat[positions + offset] == self._words[places + offset]
        positions, places = positions[is_real], places[is_real]
        return positions, places, np.full(len(positions), gap)

    def _score_windows(self, hits: _Hits, windows: Numbers) -> list[Retelling]:
        places = self._firsts[np.concatenate([hits.places, hits.places + hits.gaps])]
        keys = np.cumsum(changes(hits.texts) | changes(hits.documents)) * (windows.max() + 1)
        keys += windows
        order = np.lexsort((places, np.tile(keys, 2)))
        keys, places, hit = np.tile(keys, 2)[order], places[order], order % len(windows)
        is_window = changes(keys)
        starts = np.flatnonzero(is_window)
        is_word = is_window | changes(places)
        units = np.add.reduceat(np.where(is_word, self._weights[places], 0.0), starts)
        first = np.minimum.reduceat(hits.positions[hit], starts)
        last = np.maximum.reduceat((hits.positions + hits.gaps)[hit], starts)
        of = hits.documents[hit[starts]]
        scores = units / self._totals[of] * np.clip(units, 1, _HEAVY) ** _POWER
        chosen = np.flatnonzero((units >= self._units[of]) & (scores >= _FLOOR / 2))
        columns = (hits.texts[hit[starts]], of, scores, first, last + 1, scores)
        rows = zip(*(column[chosen].tolist() for column in columns), strict=True)
        return [Retelling(*row) for row in rows]

    def _index_pairs(self, tasks: Numbers, gap: int) -> RunTable:
        places = np.flatnonzero(self._owners[:-gap] == self._owners[gap:])
        if not len(places):
            return RunTable(np.zeros(0, dtype=np.uint64), places)
        pairs = _hash_pairs(self._word_hashes[self._words], gap)[places]
        owners = self._owners[places]
        order = np.lexsort((owners, tasks[owners], pairs))
        hashes, owners = pairs[order], owners[order]
        is_task = changes(hashes) | changes(tasks[owners])
        held_by = np.add.reduceat(is_task | changes(owners), np.flatnonzero(is_task), dtype=int)
        sizes = np.diff(np.flatnonzero(is_task), append=len(order))
        kept = np.repeat(held_by <= TEMPLATE, sizes)
        starts = np.flatnonzero(changes(hashes))
        many = np.add.reduceat(kept, starts, dtype=int) > _MOST
        kept &= ~np.repeat(many, np.diff(starts, append=len(order)))
        return RunTable(hashes[kept], places[order[kept]])

    def _measure_least(self, documents: Questions) -> tuple[Weights, Weights]:
        """Per document the score, and the one raised by order, that its task asks for: more than
        all but 1.5% of its documents reach on another one."""
        least = np.full(len(self._totals), _FLOOR)
        in_order = np.full(len(self._totals), _FLOOR_IN_ORDER)
        for task in np.unique(documents.tasks):
            own = np.flatnonzero(documents.tasks == task)
            sample = own[:: -(-len(own) // _SAMPLE)]
            best = np.zeros((2, len(sample)))
            for start in range(0, len(sample), _BATCH):
                readers = sample[start : start + _BATCH]
                bounds = (documents.starts[readers], documents.starts[readers + 1])
                texts = [self._words[a:b] for a, b in zip(*bounds, strict=True)]
                for one in self._score(texts):
                    other = documents.tasks[one.document] == task
                    if other and one.document != readers[one.text]:
                        known = best[:, start + one.text]
                        np.maximum(known, (one.score, one.in_order), out=known)
            for asked, usual in zip(
                (least, in_order), np.quantile(best, _QUANTILE, 1), strict=True
            ):
                asked[own] = np.maximum(asked[own] + usual * _SLOPE, usual + _MARGIN)
        return least, in_order


def _hash_pairs(hashes: Hashes, gap: int) -> Hashes:
    """A hash for each word and the one so far after it; as many fewer as the gap."""
    return hashes[:-gap] * np.uint64(0x9E3779B97F4A7C15) + hashes[gap:]


def _find_firsts(words: Numbers, owners: Numbers) -> Numbers:
    """For each word, where its document has it first."""
    order = np.lexsort((words, owners))
    begins = changes(words[order]) | changes(owners[order])
    firsts: Numbers = np.empty_like(order)
    firsts[order] = order[begins][np.cumsum(begins) - 1]
    return firsts
