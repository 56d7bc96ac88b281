"""Which evaluated documents a text tells, in other words, in another order or in part.

A document is known by its pairs of words, those left out that more than ten documents of its task
hold. A window of twice its length holds the words of the pairs that stand in it; each word counts
by its rarity in the task. Two sums decide: their share of the document, and their weight, in units
of a word that no other document of the task holds.

Guarantees: what is needed of each sum is measured on the documents themselves, each read as a text
against the others of its task, so that a task made of templates asks for nearly everything; memory
is linear in the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsqa.text.hashing import Hashes, Numbers, RunTable, expand_ranges, hash_runs

_TEMPLATE = 10
_MOST = 50


class Told:
    def __init__(self, words, starts, ends, tasks, weights, hashes):
        """weights: flat per word of the items (concatenated), in units."""
        self.lengths = ends - starts
        self.item_starts = np.concatenate(([0], np.cumsum(self.lengths)))
        self.weights = weights
        self.totals = np.bincount(np.repeat(np.arange(len(starts)), self.lengths), weights, minlength=len(starts))
        self.hashes = hashes
        self.words = words[expand_ranges(starts, self.lengths)]
        self.tasks = tasks
        flat = hashes[self.words]
        pairs = flat[:-1] * np.uint64(0x9E3779B97F4A7C15) + flat[1:]
        owners = np.repeat(np.arange(len(starts)), self.lengths)
        self.owners = owners
        inside = owners[:-1] == owners[1:]
        places = np.flatnonzero(inside)
        h = pairs[places]
        t = tasks[owners[places]]
        o = owners[places]
        order = np.lexsort((o, t, h))
        h2, t2, o2 = h[order], t[order], o[order]
        newkey = np.concatenate(([True], (h2[1:] != h2[:-1]) | (t2[1:] != t2[:-1])))
        newown = newkey | np.concatenate(([True], o2[1:] != o2[:-1]))
        df = np.add.reduceat(newown, np.flatnonzero(newkey), dtype=int)
        ok = np.repeat(df <= _TEMPLATE, np.diff(np.append(np.flatnonzero(newkey), len(h2))))
        # total cap
        newh = np.concatenate(([True], h2[1:] != h2[:-1]))
        cs = np.add.reduceat(ok, np.flatnonzero(newh), dtype=int)
        ok &= np.repeat(cs <= _MOST, np.diff(np.append(np.flatnonzero(newh), len(h2))))
        keep = order[ok]
        self.table = RunTable(h[keep], places[keep])

    def find(self, texts, least=3):
        """(text, item, share, units) of every window."""
        flat = np.concatenate(texts)
        bounds = np.cumsum([0, *map(len, texts)])
        rows = np.repeat(np.arange(len(texts)), np.diff(bounds))
        hs = self.hashes[flat]
        pairs = hs[:-1] * np.uint64(0x9E3779B97F4A7C15) + hs[1:]
        pos, places = self.table.find(pairs)
        inside = rows[pos] == rows[pos + 1]
        pos, places = pos[inside], places[inside]
        items = self.owners[places]
        key = rows[pos] * len(self.lengths) + items
        # at least distinct pairs
        order = np.argsort(key, kind="stable")
        key, pos, places, items = key[order], pos[order], places[order], items[order]
        if not len(key):
            return [np.zeros(0)] * 4
        new = np.concatenate(([True], key[1:] != key[:-1]))
        size = np.diff(np.append(np.flatnonzero(new), len(key)))
        ok = np.repeat(size >= least, size)
        key, pos, places, items = key[ok], pos[ok], places[ok], items[ok]
        if not len(key):
            return [np.zeros(0)] * 4
        out = []
        span = 2 * self.lengths[items]
        local = pos - bounds[rows[pos]]
        best = {}
        res = []
        for shift in (0, 1):
            win = (local + shift * (span // 2)) // span
            # covered words: place and place+1
            k2 = np.concatenate([np.stack([key, win, places], 1), np.stack([key, win, places + 1], 1)])
            k2 = k2[np.lexsort((k2[:, 2], k2[:, 1], k2[:, 0]))]
            d = np.concatenate(([True], (k2[1:] != k2[:-1]).any(1)))
            k2 = k2[d]
            g = np.flatnonzero(np.concatenate(([True], (k2[1:, :2] != k2[:-1, :2]).any(1))))
            units = np.add.reduceat(self.weights[k2[:, 2]], g)
            kk = k2[g, 0]
            res.append((kk, units))
        kk = np.concatenate([r[0] for r in res]); units = np.concatenate([r[1] for r in res])
        r, it = np.divmod(kk, len(self.lengths))
        return r, it, units / self.totals[it], units
