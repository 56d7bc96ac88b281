"""The stream: the same rows for any number of ranks, from any place, read ahead."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from train.data.mixture import plan
from train.data.plan import MixturePlan
from train.data.stream import IGNORED, MicroBatch, TokenStore, TokenStream, collate, read_batch
from tsqa.errors import DataError
from tsqa.recipe import MixtureSection, TrainSection

LENGTH = 8
EOS = 0
ROWS = {"qa": 24, "web": 56}


def write_store(folder: Path) -> TokenStore:
    """Each row begins with its source and number; `qa` bears a loss on the second half only."""
    sources = {}
    for number, (name, rows) in enumerate(ROWS.items()):
        tokens = np.full((rows, LENGTH), 9, np.uint16)
        tokens[:, 0], tokens[:, 1] = number + 1, np.arange(rows) + 1
        tokens[:, 4] = EOS
        tokens[-1, 5:] = EOS
        tokens.tofile(folder / f"{name}.bin")
        sources[name] = {"rows": rows, "padding": 3, "answers_only": name == "qa"}
    np.tile(np.arange(LENGTH) >= LENGTH // 2, (ROWS["qa"], 1)).tofile(folder / "qa.loss")
    meta = {"sequence_length": LENGTH, "eos_token_id": EOS, "dtype": "uint16", "sources": sources}
    meta["vocab_size"] = 32
    (folder / "sources.json").write_text(json.dumps(meta))
    return TokenStore(folder)


def make_plan() -> MixturePlan:
    """Two phases; the first ends, and an epoch of `qa` with it, after 48 rows."""
    section = MixtureSection.model_validate(
        {
            "sources": {name: {"path": "x"} for name in ROWS},
            "phases": [
                {"tokens": 48 * LENGTH, "ratios": {"qa": 0.5, "web": 0.5}},
                {"tokens": 80 * LENGTH, "ratios": {"qa": 0.3, "web": 0.7}},
            ],
        }
    )
    train = TrainSection(sequence_length=LENGTH, global_batch_tokens=16 * LENGTH, lr=1e-3)
    return plan(section, train, ROWS, seed=3)


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    return write_store(tmp_path)


def rows_of(batches: list[MicroBatch]) -> dict[int, list[int]]:
    """Place in the stream -> tokens."""
    return {
        batch.first_row + offset: row
        for batch in batches
        for offset, row in enumerate(batch.tokens.tolist())
    }


def read_all(store: TokenStore, world: int, size: int, start: int = 0) -> dict[int, list[int]]:
    made = make_plan()
    ranks = [
        list(TokenStream(made, store, rank, world, size).batches(start)) for rank in range(world)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    rows = [rows_of(batches) for batches in ranks]
    assert sum(map(len, rows)) == len({place for read in rows for place in read})
    return {place: row for read in rows for place, row in read.items()}


@pytest.mark.parametrize(("world", "size"), [(1, 2), (1, 16), (2, 4), (4, 2), (4, 4), (8, 1)])
def test_the_row_order_is_the_same_for_any_number_of_ranks(
    store: TokenStore, world: int, size: int
) -> None:
    made = make_plan()
    expected = {
        k: store.row(made.sources[row.source], row.index).tolist()
        for k, row in ((k, made.row(k)) for k in range(made.total_rows))
    }
    assert read_all(store, world, size) == expected
    assert len(expected) == 128


@pytest.mark.parametrize("start", [0, 16, 48, 112, 128])
def test_a_resume_on_other_ranks_reads_what_is_left(store: TokenStore, start: int) -> None:
    """48 is a phase boundary and an epoch boundary at once."""
    whole = read_all(store, 1, 4)
    left = {place: row for place, row in whole.items() if place >= start}
    assert read_all(store, 2, 4, start) == left
    assert read_all(store, 8, 2, start) == left


def test_only_answers_bear_a_loss_where_the_source_says_so(store: TokenStore) -> None:
    batch = read_batch(store, make_plan(), 0, 16)
    valid = (batch.targets != IGNORED).tolist()
    for source, row in zip(batch.sources.tolist(), valid, strict=True):
        # Position 4 ends the first document; the targets of 3, 5 and 6 are in the second half.
        expected = [False] * 3 if source == 0 else [True] * 3
        assert row == [*expected, True, False, True, True, False]
    assert batch.valid == sum(map(sum, valid))


def test_documents_are_told_apart_in_every_form_a_kernel_wants() -> None:
    rows = [np.array([5, 5, EOS, 5, EOS, EOS, EOS, EOS]), np.array([EOS, 5, 5, 5, 5, 5, EOS, 5])]
    batch = collate(rows, [1, 0], EOS)
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1, 0, 0, 0], [0, 0, 1, 2, 3, 4, 5, 0]]
    assert batch.documents.tolist() == [[0, 0, 0, 1, 1, 2, 3, 4], [0, 1, 1, 1, 1, 1, 1, 2]]
    assert batch.documents.dtype == batch.cu_seqlens.dtype == torch.int32
    assert batch.cu_seqlens.tolist() == [0, 3, 5, 6, 7, 8, 9, 15, 16]
    assert batch.max_seqlen == 6
    # A row that begins with an end is no padding there: its document began in the row before.
    assert batch.padding.int().tolist() == [[0] * 5 + [1] * 3, [0] * 8]


def test_padding_is_counted_as_it_is_drawn(store: TokenStore) -> None:
    batches = list(TokenStream(make_plan(), store, 0, 1, 4).batches())
    drawn = torch.zeros(2, dtype=torch.int64)
    for batch in batches:
        drawn.index_add_(0, batch.sources, batch.padding.sum(1))
    made = make_plan()
    rows = [made.row(k) for k in range(made.total_rows)]
    padded = [sum((r.source, r.index) == row for r in rows) for row in ((0, 23), (1, 55))]
    assert drawn.tolist() == [3 * count for count in padded]
    assert all(drawn.tolist())


class SlowStore(TokenStore):
    """Takes 3 ms for a row, or fails at one."""

    broken: Any = None
    read = 0

    def row(self, source: str, index: int) -> Any:
        time.sleep(0.003)
        self.read += 1
        if (source, index) == self.broken:
            raise DataError("the disk is gone")
        return super().row(source, index)


def test_rows_are_read_while_the_step_runs_and_waiting_is_counted(tmp_path: Path) -> None:
    write_store(tmp_path)
    plan, store = make_plan(), SlowStore(tmp_path)
    stream = TokenStream(plan, store, 0, 1, 4)
    for number, _ in enumerate(stream.batches(), 1):
        while store.read < min(4 * (number + 4), plan.total_rows):  # four batches ahead
            time.sleep(0.001)
    assert stream.wait_seconds > 0


def test_an_error_of_the_reader_reaches_the_loop(tmp_path: Path) -> None:
    write_store(tmp_path)
    made = make_plan()
    store = SlowStore(tmp_path)
    row = made.row(41)
    store.broken = (made.sources[row.source], row.index)
    read = []
    with pytest.raises(DataError, match="the disk is gone"):
        for batch in TokenStream(made, store, 0, 1, 4).batches():
            read.append(batch.first_row)
    assert read == list(range(0, 40, 4))


def test_a_stream_that_is_left_early_ends_its_thread(store: TokenStore) -> None:
    batches = TokenStream(make_plan(), store, 0, 1, 4).batches()
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("token-rows")]


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    write_store(tmp_path)
    (tmp_path / "qa.loss").write_bytes(b"1")
    with pytest.raises(DataError, match=r"qa\.loss: 1 bytes, expected 192"):
        TokenStore(tmp_path)
