"""Token rows from disk -> the micro-batches of one rank.

Guarantees: what a rank reads follows from the position in the stream alone; a target is never in
another document than its context, and padding is never a target. (One rule ensures both: nothing is
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
from typing import Any, TypedDict, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch

from train.data.megatron import Tokens, TokenType
from train.data.plan import MixturePlan
from train.data.shards import stem_of, with_suffix
from train.data.token_files import join_token_sources, read_sources_file
from tsqa.store.own_files import damaged

IGNORED = -100
_READ_AHEAD = 4
Scalar = TypeVar("Scalar", bound=np.generic)


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
    """(rows, length) bool: where a token is padding."""
    max_seqlen: int
    """Tokens of the longest document."""
    first_row: int = 0
    """Position of the first row in the stream; the others follow."""

    @property
    def valid(self) -> int:
        """Tokens that bear a loss."""
        return int((self.targets != IGNORED).sum())

    def to(self, device: torch.device) -> MicroBatch:
        """Copy to a device; asynchronously if the memory is pinned."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=True))

    def pin(self) -> MicroBatch:
        """Copy to page-locked memory."""
        return self._with(torch.Tensor.pin_memory)

    def _with(self, change: Callable[[torch.Tensor], torch.Tensor]) -> MicroBatch:
        fields: dict[str, Any] = {
            name: change(value) if isinstance(value, torch.Tensor) else value
            for name, value in vars(self).items()
        }
        return MicroBatch(**fields)


class DocumentSpan(TypedDict):
    """Where a document comes from, and its span of tokens in the source."""

    id: str
    file: str
    line: int
    start: int
    end: int


class TokenStore:
    """The memory-mapped rows of tokenize artifacts, one for each source."""

    def __init__(self, *folders: Path) -> None:
        found = {folder: read_sources_file(folder) for folder in folders}
        meta = join_token_sources(found)
        self._stems = {
            name: stem_of(folder, name) for folder in folders for name in found[folder]["sources"]
        }
        self.length: int = meta["sequence_length"]
        self.eos: int = meta["eos_token_id"]
        self.rows: dict[str, int] = {n: s["rows"] for n, s in meta["sources"].items()}
        self.padding: dict[str, int] = {n: s["padding"] for n, s in meta["sources"].items()}
        self._tokens: dict[str, Tokens] = {}
        self._losses: dict[str, npt.NDArray[np.bool_]] = {}
        for name, source in meta["sources"].items():
            if not source["rows"]:
                continue
            kind: TokenType = np.dtype(meta["dtype"])
            self._tokens[name] = self._map(name, ".bin", kind, source["rows"])
            if source["answers_only"]:
                flags = np.dtype(np.bool_)
                self._losses[name] = self._map(name, ".loss", flags, source["rows"])

    def row(self, source: str, index: int) -> npt.NDArray[np.int64]:
        """Return the tokens of a row: (length)."""
        row: npt.NDArray[np.int64] = self._tokens[source][index].astype(np.int64)
        return row

    def loss(self, source: str, index: int) -> npt.NDArray[np.bool_] | None:
        """Return which tokens of a row may be targets: (length); None means all."""
        losses = self._losses.get(source)
        return None if losses is None else np.array(losses[index])

    def origins(self, source: str, index: int) -> list[DocumentSpan]:
        """Return the documents in a row, in order."""
        begin, end = index * self.length, (index + 1) * self.length
        table = pq.read_table(
            with_suffix(self._stems[source], ".docs.parquet"),
            filters=[("start", "<", end), ("end", ">", begin)],
        )
        return sorted(
            cast(list[DocumentSpan], table.to_pylist()), key=lambda document: document["start"]
        )

    def _map(
        self, source: str, suffix: str, dtype: np.dtype[Scalar], rows: int
    ) -> npt.NDArray[Scalar]:
        path = with_suffix(self._stems[source], suffix)
        expected = rows * self.length * dtype.itemsize
        size = path.stat().st_size if path.is_file() else 0
        if size != expected:
            raise damaged(path, f"{size:,} bytes, expected {expected:,}")
        return np.memmap(path, dtype, "r", shape=(rows, self.length))


class TokenStream:
    """The micro-batches of one rank, in order, read ahead by a thread.

    In each turn every one of `world` ranks reads `micro_batch` rows: in turn t, rank r reads the
    rows from `start + (t * world + r) * micro_batch` on.
    """

    def __init__(
        self, plan: MixturePlan, store: TokenStore, rank: int, world: int, micro_batch: int
    ) -> None:
        self._plan, self._store = plan, store
        self._rank, self._world, self._micro_batch = rank, world, micro_batch
        self._pin = torch.cuda.is_available()
        self.wait_seconds = 0.0
        """Time that readers of `batches` have waited for data."""

    def batches(self, start_row: int = 0) -> Iterator[MicroBatch]:
        """Yield until the end of the plan; all ranks together have consumed `start_row` rows."""
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
    """Read the rows `first_row` to `first_row + size - 1` of the stream."""
    chosen = [plan.row(k) for k in range(first_row, first_row + size)]
    found = [plan.locate(row.source, row.index) for row in chosen]
    rows = [store.row(*where) for where in found]
    losses = [store.loss(*where) for where in found]
    return collate(rows, [row.source for row in chosen], store.eos, losses, first_row)


def collate(
    rows: Sequence[npt.NDArray[np.int64]],
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
    # A row may begin inside a document: what is left of it counts as a document here.
    begins = ends.roll(1, 1)
    begins[:, 0] = True
    column = torch.arange(tokens.shape[1]).expand_as(tokens)
    positions = column - torch.where(begins, column, 0).cummax(1).values
    documents = begins.cumsum(1, dtype=torch.int32) - 1
    # No document is empty, so an end after an end is padding; each is a document of one token.
    padding = ends & ends.roll(1, 1)
    padding[:, 0] = False
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
