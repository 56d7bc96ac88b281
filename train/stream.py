"""Token rows from disk -> the micro-batches of one rank.

Promises: what a rank reads follows from the step alone; a target is never in another document
than its context, and padding is never a target. (One rule does both: nothing is predicted from
an end-of-sequence token, and padding is end-of-sequence tokens.)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.mixture import MixturePlan
from tsqa.errors import DataError

IGNORED = -100


@dataclass(frozen=True)
class MicroBatch:
    """Rows of one forward pass; all tensors are (rows, length) but `sources` (rows)."""

    tokens: torch.Tensor
    targets: torch.Tensor
    """The next token at each position, `IGNORED` where there is none."""
    positions: torch.Tensor
    """Position within the document: restarts at each."""
    documents: torch.Tensor
    """Number of the document within the row."""
    sources: torch.Tensor

    @property
    def valid(self) -> int:
        return int((self.targets != IGNORED).sum())

    def to(self, device: torch.device) -> MicroBatch:
        moved = {name: value.to(device) for name, value in vars(self).items()}
        return MicroBatch(**moved)


class TokenStore:
    """The memory-mapped rows of a tokenize artifact."""

    def __init__(self, folder: Path) -> None:
        meta: dict[str, Any] = json.loads((folder / "sources.json").read_text(encoding="utf-8"))
        self.length: int = meta["sequence_length"]
        self.eos: int = meta["eos_token_id"]
        self.rows: dict[str, int] = {n: s["rows"] for n, s in meta["sources"].items()}
        self.padding: dict[str, int] = {n: s["padding"] for n, s in meta["sources"].items()}
        self._maps: dict[str, np.ndarray[Any, Any]] = {}
        dtype = np.dtype(meta["dtype"])
        for name, rows in self.rows.items():
            path = folder / f"{name}.bin"
            expected = rows * self.length * dtype.itemsize
            if path.stat().st_size != expected:
                raise DataError(
                    f"{path}: {path.stat().st_size:,} bytes, expected {expected:,}",
                    f"delete {folder}; it will be rebuilt",
                )
            if rows:
                self._maps[name] = np.memmap(path, dtype, "r", shape=(rows, self.length))

    def row(self, source: str, index: int) -> np.ndarray[Any, Any]:
        row: np.ndarray[Any, Any] = self._maps[source][index].astype(np.int64)
        return row


def micro_batches(
    store: TokenStore, plan: MixturePlan, step: int, rank: int, world: int, size: int
) -> list[MicroBatch]:
    """The micro-batches of one rank in one step; together the ranks read each row once."""
    batches = []
    for first in range(step * plan.batch_rows + rank * size, (step + 1) * plan.batch_rows,
                       world * size):  # fmt: skip
        chosen = [plan.row(k) for k in range(first, first + size)]
        rows = [store.row(plan.sources[row.source], row.index) for row in chosen]
        batches.append(collate(rows, [row.source for row in chosen], store.eos))
    return batches


def collate(rows: Sequence[np.ndarray[Any, Any]], sources: Sequence[int], eos: int) -> MicroBatch:
    """Stack rows; derive targets, positions and document numbers from the eos tokens."""
    tokens = torch.from_numpy(np.stack(rows))
    ends = tokens == eos
    targets = tokens.roll(-1, 1)
    targets[:, -1] = IGNORED
    targets[ends] = IGNORED
    begins = ends.roll(1, 1)
    begins[:, 0] = True
    place = torch.arange(tokens.shape[1]).expand_as(tokens)
    positions = place - torch.where(begins, place, 0).cummax(1).values
    documents = begins.cumsum(1) - 1
    return MicroBatch(tokens, targets, positions, documents, torch.tensor(sources))
