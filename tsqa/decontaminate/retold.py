"""Which evaluated documents a text tells again: with some other words or in another order.

A document is known by its pairs of neighbouring words, but for those that more than ten documents
of its task hold. A word of a pair that stands in the text, within a window of twice the document's
length, counts by its rarity in the task; numbers and names only where the others do not identify
the document. The score is their share of the document, more where they weigh more.

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
from tsqa.decontaminate.similarity import Questions, Weights, weigh
from tsqa.text.hashing import Hashes, Numbers, RunTable, changes, hash_runs

_MOST = 50
"""Documents of all tasks; a pair of more identifies none and would cost time."""
_LEAST_PAIRS = 4
_LEAST_UNITS = 6
"""Less is too little to identify a document by its words in any order."""
_FLOOR = 0.7
"""Score that every task asks for."""
_MARGIN = 0.25
_QUANTILE = 0.985
_HEAVY = 32
"""Units from which on more weight does not raise a score."""
_SAMPLE = 1000
"""Documents of a task, at most, that are read against the others."""
_ROOM = 16
_BATCH = 256


class Retelling(NamedTuple):
    """Where a text tells a document: its words from `start` to `end`."""

    text: int
    document: int
    score: float
    start: int
    end: int


class _Hits(NamedTuple):
    """Pairs of an evaluated document that stand in a text, in order of text and document."""

    texts: Numbers
    documents: Numbers
    positions: Numbers
    """In the text."""
    places: Numbers
    """In the documents' words."""

    def take(self, chosen: NDArray[np.bool_] | Numbers) -> _Hits:
        return _Hits(*(part[chosen] for part in self))


class RetoldDocuments:
    """Evaluated documents (question, options and answer, end to end) by their pairs of words."""

    def __init__(
        self, documents: Questions, swappable: NDArray[np.bool_], word_hashes: Hashes
    ) -> None:
        self._words, self._word_hashes = documents.words, word_hashes
        self._owners, self._spans = documents.owners, 2 * np.diff(documents.starts) + _ROOM
        shares, totals = weigh(documents, swappable)
        self._weights: Weights = shares * totals[self._owners]
        self._totals = np.maximum(totals, 1e-9)
        self._table = self._index_pairs(documents.tasks)
        self._least = np.full(len(self._totals), _FLOOR)
        self._least = self._measure_least(documents)

    def find(self, texts: Sequence[Numbers]) -> list[Retelling]:
        """Find, per text and document, the window that tells most of it, if that is enough."""
        best: dict[tuple[int, int], Retelling] = {}
        for one in self._score(texts):
            if one.score < self._least[one.document]:
                continue
            known = best.get((one.text, one.document))
            if known is None or (one.score, -one.start) > (known.score, -known.start):
                best[one.text, one.document] = one
        return sorted(best.values(), key=lambda one: (one.text, -one.score, one.document))

    def _score(self, texts: Sequence[Numbers]) -> list[Retelling]:
        hits = self._hits(texts)
        if not len(hits.texts):
            return []
        found: list[Retelling] = []
        for shift in (0, 1):
            span = self._spans[hits.documents]
            windows = (hits.positions + shift * (span // 2)) // span
            found += self._score_windows(hits, windows)
        return found

    def _hits(self, texts: Sequence[Numbers]) -> _Hits:
        flat = np.concatenate([*texts, np.zeros(2, dtype=np.int64)])
        bounds = np.cumsum([0, *map(len, texts)])
        rows = np.repeat(np.arange(len(texts) + 1), np.diff(bounds, append=len(flat)))
        *_, pairs = hash_runs(self._word_hashes[flat], 2)
        positions, places = self._table.find(pairs)
        is_real = rows[positions] == rows[positions + 1]
        for offset in (0, 1):
            is_real &= flat[positions + offset] == self._words[places + offset]
        positions, places = positions[is_real], places[is_real]
        owners = self._owners[places]
        order = np.lexsort((owners, rows[positions]))
        positions, places, owners = positions[order], places[order], owners[order]
        of = rows[positions]
        hits = _Hits(of, owners, positions - bounds[of], places)
        is_new = changes(of) | changes(owners)
        counts = np.diff(np.flatnonzero(is_new), append=len(of))
        return hits.take(np.repeat(counts >= _LEAST_PAIRS, counts))

    def _score_windows(self, hits: _Hits, windows: Numbers) -> list[Retelling]:
        places = np.concatenate([hits.places, hits.places + 1])
        texts, documents, windows, positions = (
            np.tile(part, 2) for part in (hits.texts, hits.documents, windows, hits.positions)
        )
        order = np.lexsort((positions, places, windows, documents, texts))
        texts, documents, windows, places, positions = (
            part[order] for part in (texts, documents, windows, places, positions)
        )
        is_window = changes(texts) | changes(documents) | changes(windows)
        starts = np.flatnonzero(is_window)
        is_word = is_window | changes(places)
        units = np.add.reduceat(np.where(is_word, self._weights[places], 0.0), starts)
        first, last = (
            np.minimum.reduceat(positions, starts),
            np.maximum.reduceat(positions, starts),
        )
        of = documents[starts]
        scores = units / self._totals[of] * np.clip(units, 1, _HEAVY) ** 0.2
        chosen = np.flatnonzero((units >= _LEAST_UNITS - 1e-9) & (scores >= _FLOOR / 2))
        columns = (texts[starts], of, scores, first, last + 2)
        rows = zip(*(column[chosen].tolist() for column in columns), strict=True)
        return [Retelling(*row) for row in rows]

    def _index_pairs(self, tasks: Numbers) -> RunTable:
        places = np.flatnonzero(~changes(self._owners)[1:])
        if not len(places):
            return RunTable(np.zeros(0, dtype=np.uint64), places)
        *_, pairs = hash_runs(self._word_hashes[self._words], 2)
        pairs = pairs[places]
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

    def _measure_least(self, documents: Questions) -> Weights:
        """Per document the score of its task that all but 1.5% of the others do not reach."""
        least = self._least.copy()
        for task in np.unique(documents.tasks):
            own = np.flatnonzero(documents.tasks == task)
            sample = own[:: -(-len(own) // _SAMPLE)]
            best = np.zeros(len(sample))
            for start in range(0, len(sample), _BATCH):
                readers = sample[start : start + _BATCH]
                bounds = (documents.starts[readers], documents.starts[readers + 1])
                texts = [self._words[a:b] for a, b in zip(*bounds, strict=True)]
                for one in self._score(texts):
                    other = documents.tasks[one.document] == task
                    if other and one.document != readers[one.text]:
                        place = start + one.text
                        best[place] = max(best[place], one.score)
            least[own] = max(_FLOOR, float(np.quantile(best, _QUANTILE)) + _MARGIN)
        return least
