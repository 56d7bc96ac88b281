"""The index that turns a token file into a Megatron dataset: `<name>.bin` + `<name>.idx`.

Guarantees: Megatron-LM reads the pair unchanged (`--data-path <folder>/<name>`), one sequence and
one document per document; memory does not grow with the documents.

Layout after Megatron-LM, megatron/core/datasets/{readme.md,indexed_dataset.py}; little-endian:
    9 bytes   "MMIDIDX", two zero bytes
    uint64    version, 1
    uint8     code of the tokens' dtype: int32 4, uint16 8
    uint64    sequences
    uint64    documents + 1
    int32     tokens of each sequence
    int64     byte in the .bin at which each sequence begins
    int64     first sequence of each document, and the number of sequences
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

Tokens = npt.NDArray[np.integer]
"""Token ids in the dtype of their file."""
TokenType = np.dtype[np.integer]
_CODES: dict[TokenType, int] = {np.dtype(np.int32): 4, np.dtype(np.uint16): 8}


def token_dtype(vocabulary: int) -> TokenType:
    """Return the smaller of the two types that holds every token id."""
    return np.dtype(np.uint16 if vocabulary <= 1 << 16 else np.int32)


def write_index(path: Path, documents: Path, dtype: TokenType) -> None:
    """Write the `.idx`; `documents` is parquet with `start` and `end` in tokens of the `.bin`."""
    count = pq.read_metadata(documents).num_rows
    with path.open("wb") as out:
        out.write(b"MMIDIDX\x00\x00")
        out.write(struct.pack("<QBQQ", 1, _CODES[dtype], count, count + 1))
        for start, end in _spans(documents):
            out.write((end - start).astype("<i4").tobytes())
        for start, _ in _spans(documents):
            out.write((start * dtype.itemsize).astype("<i8").tobytes())
        for first in range(0, count + 1, 1 << 20):
            last = min(first + (1 << 20), count + 1)
            out.write(np.arange(first, last, dtype="<i8").tobytes())


def _spans(documents: Path) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    with pq.ParquetFile(documents) as table:
        for batch in table.iter_batches(columns=["start", "end"]):
            yield batch.column("start").to_numpy(), batch.column("end").to_numpy()
