"""The loss on rows of each source that are never trained on, also of sources that are not drawn.

Guarantees: measuring changes nothing in training; a document that began in a trained row is left
out; the result does not depend on the number of processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import Accelerator

from train.data.stream import IGNORED, MicroBatch, TokenStore, collate
from train.model.loss import TokenLosses

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine


@dataclass(frozen=True)
class HeldOut:
    """The held-out rows of a store: the last `rows` of every source."""

    store: TokenStore
    sources: tuple[str, ...]
    rows: int

    @torch.no_grad()
    def measure(
        self,
        accelerator: Accelerator,
        engine: DeepSpeedEngine,
        losses_of: TokenLosses,
        size: int,
    ) -> dict[str, float]:
        """Measure the mean loss per valid token of each source, in nats.

        Every rank must call this, and runs as many forward passes of `size` rows as the others,
        as ZeRO-3 requires.
        """
        cells = [(s, r) for s in range(len(self.sources)) for r in range(self.rows)]
        turn = size * accelerator.num_processes
        sums = torch.zeros(2, len(self.sources), dtype=torch.float64, device=accelerator.device)
        engine.eval()
        for start in range(0, len(cells), turn):
            first = start + accelerator.process_index * size
            chosen = cells[first : first + size]
            # Past the end, the first row fills in and does not count.
            batch = self._batch(chosen or cells[:1]).to(accelerator.device)
            _, losses = losses_of(batch)
            if chosen:
                valid = (batch.targets != IGNORED).sum(1).double()
                sums[0].index_add_(0, batch.sources, losses.double().sum(1))
                sums[1].index_add_(0, batch.sources, valid)
        engine.train()
        losses, valid = accelerator.reduce(sums, "sum").tolist()
        return {
            name: loss / tokens
            for name, loss, tokens in zip(self.sources, losses, valid, strict=True)
            if tokens
        }

    @torch.no_grad()
    def score_rows(self, losses_of: TokenLosses, size: int, device: torch.device) -> list[float]:
        """The mean loss per valid token of each row, source by source, in nats; not of a row
        without one."""
        cells = [(s, r) for s in range(len(self.sources)) for r in range(self.rows)]
        scores: list[float] = []
        for start in range(0, len(cells), size):
            batch = self._batch(cells[start : start + size]).to(device)
            _, losses = losses_of(batch)
            valid = (batch.targets != IGNORED).sum(1)
            scores += (losses.sum(1)[valid > 0] / valid[valid > 0]).tolist()
        return scores

    def _batch(self, cells: list[tuple[int, int]]) -> MicroBatch:
        names = [self.sources[source] for source, _ in cells]
        rows = [
            self.store.rows[name] - self.rows + row
            for name, (_, row) in zip(names, cells, strict=True)
        ]
        pairs = list(zip(names, rows, strict=True))
        batch = collate(
            [self.store.row(*pair) for pair in pairs],
            [source for source, _ in cells],
            self.store.eos,
            [self.store.loss(*pair) for pair in pairs],
        )
        for number, (name, (_, row)) in enumerate(zip(names, cells, strict=True)):
            begun_before = self._begun_before[name] - row * self.store.length
            batch.targets[number, : max(0, begun_before)] = IGNORED
        return batch

    @cached_property
    def _begun_before(self) -> dict[str, int]:
        """For each source the tokens, from its first held-out row on, of a document that began in
        a trained row: a long one goes on for several rows."""
        return {name: self._rest_of_document(name) for name in self.sources}

    def _rest_of_document(self, name: str) -> int:
        rows = self.store.rows[name]
        begin = rows - self.rows
        if begin == 0 or self.store.row(name, begin - 1)[-1] == self.store.eos:
            return 0
        for row in range(begin, rows):
            ends = np.flatnonzero(self.store.row(name, row) == self.store.eos)
            if len(ends):
                return int((row - begin) * self.store.length + ends[0] + 1)
        return self.rows * self.store.length
