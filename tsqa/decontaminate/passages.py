"""Which evaluated passages a text holds, whole or lightly edited.

Guarantee: memory is linear in the words of the passages.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tsqa.text.hashing import Hashes, Numbers, RunTable, expand_ranges, hash_runs

RUN = 3
"""Words in a run: with one word in four changed, two fifths of them are left."""
TEMPLATE = 10
"""A run of words that more documents of a task than this hold is a template and identifies none."""
_FEWEST = 10
"""Runs that are more than a common phrase."""
_FEWEST_PASSAGES = 50
"""Of a task, from which on they show whether they fill a template."""
_SAMPLE = 200
_QUANTILE, _MARGIN = 0.985, 0.1
"""More of a passage is asked for than all but 1.5% of its task's share with another one."""


class Passages:
    """Distinct passages, by their runs of three words; what more than `TEMPLATE` of them hold tells
    none."""

    def __init__(self, bounds: Numbers, runs: Hashes, tasks: Numbers) -> None:
        """`bounds`: (start, end) of each passage in the words of which these are the runs; `tasks`:
        the number of its task."""
        counts = np.maximum(0, bounds[:, 1] - bounds[:, 0] - RUN + 1)
        owners = np.repeat(np.arange(len(bounds)), counts)
        held = runs[expand_ranges(bounds[:, 0], counts)]
        order = np.lexsort((held, owners))
        held, owners = held[order], owners[order]
        is_new = np.ones(len(held), dtype=bool)
        is_new[1:] = (held[1:] != held[:-1]) | (owners[1:] != owners[:-1])
        held, owners = held[is_new], owners[is_new]
        _, numbers, counts = np.unique(held, return_inverse=True, return_counts=True)
        is_telling = counts[numbers] <= TEMPLATE
        self._owners = owners[is_telling]
        self._runs = held[is_telling]
        self._table = RunTable(self._runs, np.arange(len(self._owners)))
        self._sizes = np.maximum(1, np.bincount(self._owners, minlength=len(bounds)))
        self._least = self._measure_least(tasks)

    def __len__(self) -> int:
        return len(self._sizes)

    def find(self, texts: Sequence[Hashes], share: float) -> list[list[int]]:
        """Find, per text, the passages of whose runs it holds at least this share, or what the
        passages of a template ask for."""
        rows, passages, counts = self._common_runs(texts)
        least = np.maximum(share, self._least[passages]) * self._sizes[passages]
        return _by_text(len(texts), rows, passages, counts >= least)

    def find_parts(self, texts: Sequence[Hashes], share: float) -> list[list[int]]:
        """Find, per text, the passages with which it has this share of the shorter one's runs.

        So a part of a long passage is found too; a few common words are none.
        """
        rows, passages, counts = self._common_runs(texts)
        own = np.array([max(1, len(text) - RUN + 1) for text in texts])
        least = np.maximum(_FEWEST, share * np.minimum(own[rows], self._sizes[passages]))
        return _by_text(len(texts), rows, passages, counts >= least)

    def _common_runs(self, texts: Sequence[Hashes]) -> tuple[Numbers, Numbers, Numbers]:
        """(text, passage, how many distinct runs of the passage the text holds), where any."""
        none: Numbers = np.zeros(0, dtype=np.int64)
        bounds = np.cumsum([0, *map(len, texts)])
        if not len(self._owners) or not bounds[-1]:
            return none, none, none
        *_, runs = hash_runs(np.concatenate(texts), RUN)
        if bounds[-1] < RUN:
            return none, none, none
        rows = np.repeat(np.arange(len(texts)), np.diff(bounds))
        positions, entries = self._table.find(runs)
        inside = rows[positions] == rows[positions + RUN - 1]
        return self._count(rows[positions[inside]], entries[inside])

    def _count(self, rows: Numbers, entries: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        pairs = np.unique(rows * len(self._owners) + entries)
        rows, entries = np.divmod(pairs, len(self._owners))
        keys, counts = np.unique(rows * len(self) + self._owners[entries], return_counts=True)
        rows, passages = np.divmod(keys, len(self))
        return rows, passages, counts

    def _measure_least(self, tasks: Numbers) -> NDArray[np.float64]:
        """Per passage, the share of its runs that its task asks for at least."""
        least = np.zeros(len(self._sizes))
        for task in np.unique(tasks):
            own = np.flatnonzero(tasks == task)
            if len(own) < _FEWEST_PASSAGES:
                continue
            sample = own[:: -(-len(own) // _SAMPLE)]
            held = np.isin(self._owners, sample)
            positions, entries = self._table.find(self._runs[held])
            rows, passages, counts = self._count(self._owners[held][positions], entries)
            is_other = (rows != passages) & (tasks[passages] == task)
            best = np.zeros(len(self._sizes))
            shares = counts / self._sizes[passages]
            np.maximum.at(best, rows[is_other], shares[is_other])
            least[own] = min(1.0, float(np.quantile(best[sample], _QUANTILE)) + _MARGIN)
        return least


def _by_text(
    count: int, rows: Numbers, passages: Numbers, enough: NDArray[np.bool_]
) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in range(count)]
    for row, passage in zip(rows[enough].tolist(), passages[enough].tolist(), strict=True):
        found[row].append(passage)
    return found
