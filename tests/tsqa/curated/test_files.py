"""Promises of tsqa.curated.files: whole shards, bounded buffers, equal bytes, nothing lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.curated_rows import curated_row, rejected_row
from tsqa.curated import files
from tsqa.curated.files import (
    CURATED,
    DatasetWriter,
    draw_rows,
    find_curated,
    find_rejected,
    pack_rows,
    read_curated,
    read_rejected,
    read_rows,
)
from tsqa.errors import DataError
from tsqa.records.rows import CuratedRow, RejectedRow

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def write(
    folder: Path,
    curated: list[CuratedRow],
    rejected: list[RejectedRow],
    rows_per_shard: int = 50_000,
) -> Path:
    with DatasetWriter(folder, rows_per_shard) as writer:
        for row in curated:
            writer.curated(row)
        for row in rejected:
            writer.rejected(row)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "question": TEXT,
                "choices": st.lists(TEXT, max_size=4),
                "answer_index": st.none() | st.integers(0, 9),
                "agreement": st.floats(0, 1),
            }
        ),
        max_size=12,
    ),
    st.lists(
        st.fixed_dictionaries({"score": st.none() | st.floats(-9, 9), "record": TEXT}), max_size=9
    ),
    st.integers(1, 5),
)
def test_every_row_comes_back_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    curated: list[dict[str, Any]],
    rejected: list[dict[str, Any]],
    rows_per_shard: int,
) -> None:
    accepted = [curated_row(i, **values) for i, values in enumerate(curated)]
    losers = [rejected_row(i, **values) for i, values in enumerate(rejected)]
    folder = write(tmp_path_factory.mktemp("d"), accepted, losers, rows_per_shard)
    assert list(read_curated(folder)) == accepted
    assert list(read_rejected(folder)) == losers
    shards = sorted((folder / "dataset" / "data").iterdir())
    assert [s.name for s in shards] == [f"train-{n:05d}.parquet" for n in range(len(shards))]
    assert len(shards) == max(1, -(-len(accepted) // rows_per_shard))
    assert all(pq.read_metadata(shard).num_rows <= rows_per_shard for shard in shards)


def test_datasets_opens_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import load_dataset

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = [curated_row(i, answer_index=i % 2 or None) for i in range(5)]
    write(tmp_path, rows, [rejected_row(0)], rows_per_shard=2)
    cache = str(tmp_path / "cache")
    loaded = load_dataset(str(tmp_path / "dataset"), cache_dir=cache)
    assert list(loaded) == ["train"]
    assert loaded["train"].to_list() == list(map(asdict, rows))


def test_an_empty_dataset_is_one_valid_shard(tmp_path: Path) -> None:
    from datasets import load_dataset

    write(tmp_path, [], [])
    assert len(files_of(tmp_path)) == 2
    assert list(read_curated(tmp_path)) == list(read_rejected(tmp_path)) == []
    # Only streamed: `datasets` refuses to materialise any split without rows.
    streamed = load_dataset(str(tmp_path / "dataset"), streaming=True, split="train")
    assert list(streamed) == []
    assert streamed.column_names == [field.name for field in fields(CuratedRow)]


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    rows = [curated_row(i) for i in range(2500)]
    one, two = (write(tmp_path / name, rows, [rejected_row(1)], 2000) for name in "ab")
    assert files_of(one) == files_of(two)


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from tests.support.curated_rows import curated_row, rejected_row
from tsqa.curated.files import DatasetWriter
with DatasetWriter(Path(sys.argv[1]), rows_per_shard=1500) as writer:
    for i in range(2700):
        writer.curated(curated_row(i))
    writer.rejected(rejected_row(0))
    os.kill(os.getpid(), 9)
"""
    killed = tmp_path / "killed"
    process = subprocess.run([sys.executable, "-c", code, str(killed)], env=os.environ)
    assert process.returncode == -9
    assert sorted(files_of(killed)) == [
        "dataset/data/train-00000.parquet",
        "dataset/data/train-00001.parquet.tmp",
    ]
    rows = [curated_row(i) for i in range(4)]
    fresh = write(tmp_path / "fresh", rows, [rejected_row(0)], 3)
    assert files_of(write(killed, rows, [rejected_row(0)], 3)) == files_of(fresh)


def test_an_error_inside_publishes_no_half_shard(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="bug"), DatasetWriter(tmp_path) as writer:
        for i in range(1500):
            writer.curated(curated_row(i))
        raise RuntimeError("bug")
    assert files_of(tmp_path) == {}


def test_long_rows_are_flushed_before_they_add_up(tmp_path: Path) -> None:
    long = "x" * (3 << 20)
    write(tmp_path, [], [rejected_row(i, record=long) for i in range(7)])
    file = pq.ParquetFile(tmp_path / "rejected" / "part-00000.parquet")
    assert [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)] == [3, 3, 1]


def test_a_lone_surrogate_is_replaced_and_its_row_kept(tmp_path: Path) -> None:
    rows = [curated_row(0), curated_row(1, question="a\ud800b", choices=["\udfff", "fine"])]
    read = list(read_curated(write(tmp_path, rows, [])))
    assert read[0] == rows[0]
    assert read[1] == replace(rows[1], question="a\ufffdb", choices=["\ufffd", "fine"])


COLUMNS = (
    "id task family capability subject language kind licence dataset revision split seed_id "
    "question context choices answer answer_index reasoning knowledge item_context distractors "
    "tests text rendering agreement scores lineage"
)


def test_the_published_columns_and_types_stay(tmp_path: Path) -> None:
    write(tmp_path, [curated_row(0)], [])
    schema = pq.read_schema(tmp_path / "dataset" / "data" / "train-00000.parquet")
    assert schema.names == COLUMNS.split()
    others = {name: str(schema.field(name).type) for name in ("answer_index", "agreement")}
    assert others == {"answer_index": "int64", "agreement": "double"}
    assert str(schema.field("choices").type) == "list<element: string>"
    texts = set(schema.names) - {"choices", *others}
    assert {str(schema.field(name).type) for name in texts} == {"string"}


@dataclass(frozen=True)
class Text:
    id: str
    text: str


@dataclass(frozen=True)
class Wrong:
    id: int


def test_the_columns_of_a_smaller_class_are_read(tmp_path: Path) -> None:
    row = curated_row(0)
    write(tmp_path, [row], [])
    assert list(read_rows(tmp_path / CURATED, Text)) == [Text(row.id, row.text)]
    with pytest.raises(DataError, match=r"train-00000\.parquet: no column `id` of type int64"):
        list(read_rows(tmp_path / CURATED, Wrong))


def test_an_item_is_found_in_any_shard(tmp_path: Path) -> None:
    rows = [curated_row(number) for number in range(7)]
    write(tmp_path, rows, [rejected_row(9)], rows_per_shard=3)
    assert [find_curated(tmp_path, row.id) for row in rows] == rows
    assert find_rejected(tmp_path, rejected_row(9).id) == rejected_row(9)
    assert find_curated(tmp_path, "toy:9.q0") is None


@given(st.integers(0, 30), st.integers(0, 12), st.text(max_size=3))
def test_rows_are_drawn_without_repeats_in_their_order(total: int, count: int, key: str) -> None:
    rows = [{"n": number} for number in range(total)]
    drawn = draw_rows(rows, count, key)
    assert len(drawn) == min(total, count)
    assert [row["n"] for row in drawn] == sorted({row["n"] for row in drawn})
    assert draw_rows(iter(rows), count, key) == drawn


def test_every_row_can_be_drawn() -> None:
    rows = [{"n": number} for number in range(20)]
    counts = Counter(row["n"] for key in range(600) for row in draw_rows(rows, 5, str(key)))
    assert sum(counts.values()) == 3000
    assert all(100 < counts[number] < 200 for number in range(20))


def test_absent_and_broken_shards_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset/data: no parquet shards\n  fix: .*tsqa filter"):
        list(read_curated(tmp_path))
    write(tmp_path, [curated_row(0)], [])
    shard = tmp_path / "dataset" / "data" / "train-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(DataError, match=r"train-00000\.parquet: unreadable"):
        list(read_curated(tmp_path))


def test_rows_that_others_packed_give_the_bytes_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_ROWS_PER_GROUP", 7)
    monkeypatch.setattr(files, "_CHARACTERS_PER_GROUP", 4000)
    curated = [curated_row(n, question="Why? " * (n % 11)) for n in range(50)]
    rejected = [rejected_row(n) for n in range(23)]
    one_by_one = files_of(write(tmp_path / "rows", curated, rejected, 20))
    for size in (1, 9, 50):
        folder = tmp_path / str(size)
        with DatasetWriter(folder, 20) as writer:
            writer.rejected(rejected[0])  # then packs, as a step that asks a model does it
            for start in range(0, 50, size):
                stop = start + size
                writer.add_packed(
                    pack_rows(curated[start:stop], CuratedRow),
                    pack_rows(rejected[1 + start : 1 + stop], RejectedRow),
                )
        assert files_of(folder) == one_by_one
