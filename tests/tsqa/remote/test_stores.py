"""Data in a bucket is the data that was on the disk: the same documents and the same identity."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.buckets import Bucket, MemoryBucket, fill, memory_bucket, moto_bucket
from tests.support.token_context import token_context
from train.data.sources import find_pieces, read_documents
from train.tokens import tokenize
from tsqa.errors import DataError, RecipeError
from tsqa.hub.identify import identify, identify_data
from tsqa.pipeline.node import forget_files
from tsqa.recipe import DatasetSection, SourceSection
from tsqa.remote import RemotePath, data_path, stores
from tsqa.remote.failures import failed, may_pass
from tsqa.remote.paths import PART
from tsqa.secrets import redact
from tsqa.seeds.dataset_files import find_files
from tsqa.store.digests import REMEMBERED, Digests, hash_bytes

RECORDS = [{"id": f"d{n}", "text": f"the text number {n} is ä"} for n in range(400)]
LINES = b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in RECORDS)
KEY = "mixture.sources.web"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Every format, in folders whose order by name and by path differ."""
    made = tmp_path / "web"
    (made / "a").mkdir(parents=True)
    (made / "a-b.jsonl").write_bytes(LINES)
    (made / "a" / "lines.jsonl.gz").write_bytes(gzip.compress(LINES[: LINES.index(b"\n") + 1]))
    with pa.output_stream(str(made / "z.jsonl.zst"), compression="zstd") as out:
        out.write(LINES)
    columns = {name: [one[name] for one in RECORDS] for name in ("id", "text")}
    pq.write_table(pa.table(columns), made / "rows.parquet", row_group_size=90)
    (made / ".cache").mkdir()
    (made / ".cache" / "left.jsonl").write_text("of a tool")
    (made / "README.md").write_text("not read where there are data")
    return made


def documents(path: str) -> list[Any]:
    section = SourceSection(path=path)
    pieces = find_pieces(section, data_path(path), KEY)
    return [one for piece in pieces for one in read_documents(piece, section, KEY)]


def test_documents_and_identity_of_a_folder_stay_when_it_is_moved_to_a_bucket(
    bucket: Bucket, folder: Path
) -> None:
    url = fill(bucket, folder, "some/web")
    assert documents(url) == documents(str(folder))
    assert len(documents(url)) == 3 * len(RECORDS) + 1
    assert identify(url) == identify(f"{url}/") == identify(str(folder))
    for file in ("a-b.jsonl", "a/lines.jsonl.gz"):
        assert identify(f"{url}/{file}") == identify(str(folder / file))
        assert documents(f"{url}/{file}") == documents(str(folder / file))


def test_tokens_of_a_bucket_are_those_of_the_folder(
    bucket: Bucket, folder: Path, tmp_path: Path
) -> None:
    made = []
    for name, path in {"here": str(folder), "there": fill(bucket, folder, "web")}.items():
        context = token_context(tmp_path / name, {"web": {"path": path}}, train_on=folder)
        tokenize.run(context)
        made.append({f.name: f.read_bytes() for f in sorted(context.out.iterdir()) if f.is_file()})
    assert made[0] == made[1]


@pytest.mark.parametrize("name", ["own.jsonl", "own.csv", "own.json", "own.parquet"])
def test_records_of_seeds_are_those_of_the_file(bucket: Bucket, tmp_path: Path, name: str) -> None:
    rows = [{"q": f"Why {n}?", "a": f"so {n}"} for n in range(5)]
    file = tmp_path / "train" / name
    file.parent.mkdir()
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif name.endswith(".csv"):
        file.write_text("q,a\n" + "".join(f"{one['q']},{one['a']}\n" for one in rows))
    else:
        lines = [json.dumps(one) for one in rows]
        file.write_text("\n".join(lines) if name.endswith("l") else f"[{','.join(lines)}]")
    url = fill(bucket, file.parent, "own")
    for path in (url, f"{url}/{name}"):
        columns = {"question": "q", "answer": "a"}
        section = DatasetSection.model_validate({"name": "x", "path": path, "columns": columns})
        files = find_files(section, data_path(path))
        assert files is not None and list(files) == rows and files.columns() == ["q", "a"]
        assert files.revision == hash_bytes(file.read_bytes())[:12]


@pytest.mark.parametrize("path", ["none", "web/none.jsonl", "we"])
def test_what_is_not_there_is_refused_by_the_key(bucket: Bucket, folder: Path, path: str) -> None:
    fill(bucket, folder, "web")
    url = f"{bucket.url}/{path}"
    with pytest.raises(RecipeError, match=rf"{KEY}.path = {url}: no such object.*\n.*fix: correct"):
        identify_data(url, f"{KEY}.path")
    with pytest.raises(DataError, match=rf"{KEY}: {url}: no such object"):
        documents(url)


def test_an_object_that_changes_is_refused_and_read_again(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("web.jsonl", LINES)
    url = f"{bucket.url}/web.jsonl"
    before = identify(url)
    section = SourceSection(path=url)
    pieces = find_pieces(section, data_path(url), KEY)
    bucket.put("web.jsonl", LINES.replace(b"text number", b"TEXT number"))
    with pytest.raises(DataError, match=f"{url}: changed since it was looked at"):
        list(read_documents(pieces[0], section, KEY))
    forget_files()
    assert identify(url) != before


def test_an_object_is_hashed_once_and_remembered_by_its_version(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("x.jsonl", LINES)
    path = RemotePath(f"{bucket.url}/x.jsonl")
    read: list[str] = []
    whole = RemotePath.open

    def counted(self: RemotePath, *given: Any, **named: Any) -> Any:
        read.append(self.url)
        return whole(self, *given, **named)

    monkeypatch.setattr(RemotePath, "open", counted)
    for _ in range(2):  # a later process finds it in the file
        digests = Digests()
        digests.remember_below(tmp_path)
        assert digests.of(path) == hash_bytes(LINES)
    assert read == [path.url]
    assert "never-to-be-seen" not in (tmp_path / REMEMBERED).read_text()
    bucket.put("x.jsonl", LINES[:-9])
    assert digests.of(path) == hash_bytes(LINES[:-9])


def test_a_large_object_is_read_in_parts(bucket: Bucket) -> None:
    content = bytes(range(251)) * (2 * PART // 251 + 1)
    bucket.put("large", content)
    path = RemotePath(f"{bucket.url}/large")
    assert path.read_bytes() == content
    with path.open("rb") as handle:
        handle.seek(-7, 2)
        assert handle.read() == content[-7:]
        handle.seek(PART - 3)
        assert handle.read(6) == content[PART - 3 : PART + 3]


def test_a_part_that_is_cut_off_is_asked_for_again_and_then_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with memory_bucket(monkeypatch) as bucket:
        bucket.put("x", LINES)
        monkeypatch.setattr(stores.time, "sleep", lambda seconds: None)
        opened = MemoryBucket.open
        left = [2]

        def cut(self: MemoryBucket, url: str) -> Any:
            state, handle = opened(self, url)
            real = handle.read_at

            def read_at(size: int, start: int) -> bytes:
                left[0] -= 1
                return real(size, start)[: -5 if left[0] >= 0 else None]

            handle.read_at = read_at  # type: ignore[method-assign]
            return state, handle

        monkeypatch.setattr(MemoryBucket, "open", cut)
        assert RemotePath(f"{bucket.url}/x").read_bytes() == LINES
        left[0] = 1000
        with pytest.raises(DataError, match=r"cannot be read \(.* bytes came, .* were asked for"):
            RemotePath(f"{bucket.url}/x").read_bytes()


def test_s3_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    with moto_bucket(monkeypatch) as bucket:
        assert not RemotePath(f"{bucket.url}/x").exists()
        assert redact("key: never-to-be-seen") == "key: ***"
        with pytest.raises(DataError, match="s3://no-such-bucket/x: no such bucket"):
            RemotePath("s3://no-such-bucket/x").below()
        with pytest.raises(DataError, match=f"{bucket.url}/x: no such object"):
            RemotePath(f"{bucket.url}/x").read_bytes()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    stores._system.cache_clear()
    with pytest.raises(DataError, match=r"(?s)s3://bucket/x: the store cannot be reached.*network"):
        RemotePath("s3://bucket/x").exists()
    stores._system.cache_clear()


@pytest.mark.parametrize(
    ("said", "cause", "fix", "again"),
    [
        ("AWS Error ACCESS_DENIED during HeadObject: No response body.", "denied", "AWS_", False),
        ("AWS Error SLOW_DOWN during GetObject: reduce your rate", "busy", "again", True),
        ("AWS Error UNKNOWN (HTTP status 301) during HeadObject", "region", "AWS_REGION", False),
        ("AWS Error INTERNAL_FAILURE during GetObject", "cannot be read", "again", True),
    ],
)
def test_a_refusal_is_told_with_its_fix(said: str, cause: str, fix: str, again: bool) -> None:
    error = OSError(said)
    told = failed("s3://bucket/x", error)
    assert cause in str(told).partition("(")[0] and fix in told.fix
    assert may_pass(error) == again


def test_1_200_objects_are_all_found(bucket: Bucket) -> None:
    """More than a store lists at once."""
    for number in range(1200):
        bucket.put(f"many/{number}.txt", b"x")
    found = RemotePath(f"{bucket.url}/many").below()
    assert [one.name for one in found] == sorted(f"{number}.txt" for number in range(1200))


def test_sizes_take_no_request_for_each_object(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("few/a b/ä.txt", b"xy")
    bucket.put("few/c", b"")
    monkeypatch.setattr(stores._S3, "_open", None)
    assert RemotePath(f"{bucket.url}/few").sizes_below() == {"a b/ä.txt": 2, "c": 0}
    assert RemotePath(f"{bucket.url}/none").sizes_below() == {}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("s3://AKIA:wordpass@bucket/x", "a login, which is a secret"),
        ("https://host/x.jsonl?token=wordpass", "`\\?` or `#`"),
        ("http://elsewhere/x", "from this machine alone"),
        ("ftp://host/x", "not read: use s3://"),
        ("s3://", "names no place: write what follows s3://"),
        ("s3:/bucket/x", "not read"),
        ("s3://bucket/*.jsonl", "patterns are not read"),
        ("s3://bucket/a/../b.jsonl", "no folders to step over"),
        ("s3://bucket//b.jsonl", "no folders to step over"),
    ],
)
def test_an_address_that_is_no_data_or_holds_a_secret_is_refused(path: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SourceSection(path=path)
