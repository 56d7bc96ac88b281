"""Token rows from disk -> the micro-batches of one rank.

Promises: what a rank reads follows from the position in the stream alone; a target is never in
another document than its context, and padding is never a target. (One rule does both: nothing is
predicted from an end-of-sequence token, and padding is end-of-sequence tokens.)

    stream = TokenStream(plan, store, rank, world, micro_batch)
    for batch in stream.batches(start_row): ...

The state of a stream is the fingerprint of its plan and the number of rows consumed by all ranks.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch

from train.data.mixture import MixturePlan
from train.data.shapes import TokenSources
from train.data.shards import beside, stem_of
from tsqa.store.own_files import damaged, read_own

IGNORED = -100
_READ_AHEAD = 4


@dataclass(frozen=True)
class MicroBatch:
    """Rows of one forward pass."""

    tokens: torch.Tensor
    """(rows, length) int64"""
    targets: torch.Tensor
    """(rows, length) int64: the next token at each position, `IGNORED` where there is none."""
    positions: torch.Tensor
    """(rows, length) int64: position within the document; restarts at each."""
    documents: torch.Tensor
    """(rows, length) int32: number of the document within the row; Mamba's `seq_idx`."""
    cu_seqlens: torch.Tensor
    """(documents + 1) int32: where documents begin in the flattened rows, and the end."""
    sources: torch.Tensor
    """(rows) int64: number of the source in the plan."""
    padding: torch.Tensor
    """(rows) int64: padding tokens of the row."""
    max_seqlen: int
    """Tokens of the longest document."""
    first_row: int = 0
    """Position of the first row in the stream; the others follow."""

    @property
    def valid(self) -> int:
        """Tokens that bear a loss."""
        return int((self.targets != IGNORED).sum())

    def to(self, device: torch.device) -> MicroBatch:
        """The same on a device; asynchronously where the memory is pinned."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=True))

    def pin(self) -> MicroBatch:
        """The same in page-locked memory."""
        return self._with(torch.Tensor.pin_memory)

    def _with(self, change: Callable[[torch.Tensor], torch.Tensor]) -> MicroBatch:
        fields: dict[str, Any] = {
            name: change(value) if isinstance(value, torch.Tensor) else value
            for name, value in vars(self).items()
        }
        return MicroBatch(**fields)


class TokenStore:
    """The memory-mapped rows of a tokenize artifact."""

    def __init__(self, folder: Path) -> None:
        meta = read_own(folder / "sources.json", TokenSources)
        self.folder = folder
        self.length: int = meta["sequence_length"]
        self.eos: int = meta["eos_token_id"]
        self.rows: dict[str, int] = {n: s["rows"] for n, s in meta["sources"].items()}
        self.padding: dict[str, int] = {n: s["padding"] for n, s in meta["sources"].items()}
        self._tokens: dict[str, npt.NDArray[Any]] = {}
        self._losses: dict[str, npt.NDArray[Any]] = {}
        for name, source in meta["sources"].items():
            if not source["rows"]:
                continue
            self._tokens[name] = self._map(name, ".bin", np.dtype(meta["dtype"]), source["rows"])
            if source["answers_only"]:
                self._losses[name] = self._map(name, ".loss", np.dtype(np.bool_), source["rows"])

    def row(self, source: str, index: int) -> npt.NDArray[np.int64]:
        """The tokens of a row: (length)."""
        row: npt.NDArray[np.int64] = self._tokens[source][index].astype(np.int64)
        return row

    def loss(self, source: str, index: int) -> npt.NDArray[np.bool_] | None:
        """Which tokens of a row may be targets: (length); None means all."""
        losses = self._losses.get(source)
        return None if losses is None else np.array(losses[index])

    def origins(self, source: str, index: int) -> list[dict[str, Any]]:
        """The documents in a row: id, file, line, and their span of tokens in the source."""
        begin, end = index * self.length, (index + 1) * self.length
        table = pq.read_table(
            beside(stem_of(self.folder, source), ".docs.parquet"),
            filters=[("start", "<", end), ("end", ">", begin)],
        )
        found: list[dict[str, Any]] = table.to_pylist()
        return sorted(found, key=lambda document: document["start"])

    def _map(self, source: str, suffix: str, dtype: np.dtype[Any], rows: int) -> npt.NDArray[Any]:
        path = beside(stem_of(self.folder, source), suffix)
        expected = rows * self.length * dtype.itemsize
        size = path.stat().st_size if path.is_file() else 0
        if size != expected:
            raise damaged(path, f"{size:,} bytes, expected {expected:,}")
        return np.memmap(path, dtype, "r", shape=(rows, self.length))


class TokenStream:
    """The micro-batches of one rank, in order, read ahead by a thread.

    `micro_batch` rows of each of `world` ranks make one turn: a rank reads the rows
    `start + turn * world * micro_batch + rank * micro_batch` and the following.
    """

    def __init__(
        self, plan: MixturePlan, store: TokenStore, rank: int, world: int, micro_batch: int
    ) -> None:
        self._plan, self._store = plan, store
        self._rank, self._world, self._micro_batch = rank, world, micro_batch
        self._pin = torch.cuda.is_available()
        self.wait_seconds = 0.0
        """Time that readers of `batches` have waited for data: the cost of loading."""

    def batches(self, start_row: int = 0) -> Iterator[MicroBatch]:
        """Yield until the end of the plan; `start_row` is the rows that all ranks consumed."""
        turn = self._world * self._micro_batch
        first = start_row + self._rank * self._micro_batch
        starts = iter(range(first, self._plan.total_rows, turn))
        with ThreadPoolExecutor(1, "token-rows") as reader:
            ahead = deque(
                reader.submit(self._read, k) for k in itertools.islice(starts, _READ_AHEAD)
            )
            while ahead:
                begun = time.perf_counter()
                batch = ahead.popleft().result()
                self.wait_seconds += time.perf_counter() - begun
                ahead.extend(reader.submit(self._read, k) for k in itertools.islice(starts, 1))
                yield batch

    def _read(self, first_row: int) -> MicroBatch:
        batch = read_batch(self._store, self._plan, first_row, self._micro_batch)
        return batch.pin() if self._pin else batch


def read_batch(store: TokenStore, plan: MixturePlan, first_row: int, size: int) -> MicroBatch:
    """The rows `first_row` to `first_row + size - 1` of the stream."""
    chosen = [plan.row(k) for k in range(first_row, first_row + size)]
    places = [plan.place(row.source, row.index) for row in chosen]
    rows = [store.row(*place) for place in places]
    losses = [store.loss(*place) for place in places]
    return collate(rows, [row.source for row in chosen], store.eos, losses, first_row)


def collate(
    rows: Sequence[npt.NDArray[Any]],
    sources: Sequence[int],
    eos: int,
    losses: Sequence[npt.NDArray[np.bool_] | None] | None = None,
    first_row: int = 0,
) -> MicroBatch:
    """Stack rows; derive targets, positions and documents from the eos tokens.

    `losses` says per row which of its tokens may be targets; None means all.
    """
    tokens = torch.from_numpy(np.stack(rows))
    ends = tokens == eos
    targets = tokens.roll(-1, 1)
    targets[:, -1] = IGNORED
    targets[ends] = IGNORED
    for number, loss in enumerate(losses or ()):
        if loss is not None:
            targets[number, :-1][~torch.from_numpy(loss[1:])] = IGNORED
    begins = ends.roll(1, 1)
    begins[:, 0] = True
    place = torch.arange(tokens.shape[1]).expand_as(tokens)
    positions = place - torch.where(begins, place, 0).cummax(1).values
    documents = begins.cumsum(1, dtype=torch.int32) - 1
    # No document is empty, so an end after an end is padding; each is a document of one token.
    padding = (ends[:, 1:] & ends[:, :-1]).sum(1)
    starts = begins.flatten().nonzero().flatten()
    cu_seqlens = torch.cat([starts, torch.tensor([tokens.numel()])]).to(torch.int32)
    return MicroBatch(
        tokens,
        targets,
        positions,
        documents,
        cu_seqlens,
        torch.tensor(sources),
        padding,
        int(cu_seqlens.diff().max()),
        first_row,
    )
