"""The runs of n words of the evaluated documents: which of them identify one.

A run that more than ten documents of a task hold is a template. Where more than a few documents of
a task share their other runs too, no run identifies one: each has one run, by which it is found and
then looked for whole.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsqa.decontaminate.documents import EvaluatedTexts
from tsqa.decontaminate.similarity import TEMPLATES
from tsqa.text.hashing import Hashes, Numbers, RunTable, changes, expand_ranges, hash_runs

_TEMPLATE = 10
"""A run that more documents of a task than this hold is a template."""
_LEAST_TASK = 50
"""Documents from which on a task shows whether it is one of templates."""


class Grams:
    """Every run of `size` words inside a sequence."""

    def __init__(self, texts: EvaluatedTexts, size: int) -> None:
        self._texts, self._size = texts, size
        self._of_templates: NDArray[np.bool_] = np.zeros(len(texts.tasks), dtype=bool)
        self._proposers: frozenset[int] = frozenset()

    def is_of_templates(self, document: int, place: int) -> bool:
        """Whether the run at this place only proposes its document."""
        return place in self._proposers and self.has_slots(document)

    def has_slots(self, document: int) -> bool:
        """Whether it is of a task of templates."""
        return bool(self._of_templates[document])

    def table(self, runs: Hashes) -> RunTable:
        """Run -> its first position with the same signs, without templates.

        Of equal runs, one that counts by itself comes before those that need their passage.
        """
        starts, ends, documents, general = self._texts.sequences.T
        counts = np.maximum(0, ends - starts - self._size + 1)
        places = expand_ranges(starts, counts)
        holders = np.repeat(np.arange(len(starts)), counts)
        hashes, tasks = runs[places], self._texts.tasks[documents[holders]]
        held_by = _count_holders(hashes, holders, tasks)
        self._of_templates = self._find_tasks(documents[holders], held_by, general[holders])
        # A passage is the document of nobody: it is looked for by its runs in any task.
        in_question = self._in_questions(places, documents[holders])
        is_slotted = self._of_templates[documents[holders]] & in_question
        proposed = self._propose(places, documents[holders], held_by, is_slotted)
        self._proposers = frozenset(proposed.tolist())
        templates = np.unique(hashes[held_by > _TEMPLATE])
        kept = ~is_slotted
        signs, general, places = self._sign_runs(places)[kept], general[holders][kept], places[kept]
        del holders, hashes
        order = np.lexsort((places, general, signs, runs[places]))
        signs, places = signs[order], places[order]
        hashes = runs[places]
        chosen = (changes(hashes) | changes(signs)) & ~np.isin(hashes, templates)
        places = np.concatenate([places[chosen], proposed])
        return RunTable(runs[places], places)

    def _find_tasks(
        self, documents: Numbers, held_by: Numbers, general: Numbers
    ) -> NDArray[np.bool_]:
        """Mark the documents of tasks of which too many share a run that is no template."""
        tasks = self._texts.tasks
        shares = np.zeros(len(tasks), dtype=bool)
        shares[documents[(held_by > 1) & (held_by <= _TEMPLATE) & (general == 0)]] = True
        sizes = np.bincount(tasks, minlength=1)
        found = np.bincount(tasks, shares, minlength=len(sizes))
        return ((found > TEMPLATES * sizes) & (sizes >= _LEAST_TASK))[tasks]

    def _in_questions(self, places: Numbers, documents: Numbers) -> NDArray[np.bool_]:
        """Whether a run of a document without passage is (its options' and answer's too)."""
        alone = np.array([not self._texts.is_of_passage(n) for n in range(len(self._texts.tasks))])
        return alone[documents] if len(alone) else np.zeros(len(places), dtype=bool)

    def _propose(
        self, places: Numbers, documents: Numbers, held_by: Numbers, is_slotted: NDArray[np.bool_]
    ) -> Numbers:
        """The place of the rarest run inside each of these documents' questions."""
        questions = [self._texts.item_bounds(n) for n in range(len(self._texts.tasks))]
        ends = np.array(questions, dtype=np.int64).reshape(-1, 2)[:, 1]
        inside = np.flatnonzero(is_slotted)
        inside = inside[places[inside] + self._size <= ends[documents[inside]]]
        order = inside[np.lexsort((places[inside], held_by[inside], documents[inside]))]
        return places[order[changes(documents[order])]]

    def _sign_runs(self, places: Numbers) -> Hashes:
        """A hash of the signs inside each of the runs of n words."""
        if self._size < 2:
            return np.zeros(len(places), dtype=np.uint64)
        before = self._texts.signs_before().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        *_, runs = hash_runs(before, self._size - 1)
        return runs[places + 1]


def _count_holders(hashes: Hashes, holders: Numbers, tasks: Numbers) -> Numbers:
    """Count, for each run, how many stretches of its task hold it; holders are in order."""
    order = np.lexsort((holders, tasks, hashes))
    hashes, holders, tasks = (array[order] for array in (hashes, holders, tasks))
    of_task = changes(hashes) | changes(tasks)
    starts = np.flatnonzero(of_task)
    held_by = np.zeros(len(order), dtype=np.int64)
    if len(starts):
        counts = np.add.reduceat(changes(holders) | of_task, starts, dtype=int)
        held_by[order] = np.repeat(counts, np.diff(starts, append=len(order)))
    return held_by
