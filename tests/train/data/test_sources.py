"""Every kind of source gives the same documents, whatever way it is read."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.generation import with_benchmarks
from tests.support.sealed import invented_artifact
from tests.support.tiny_eval import make_tasks
from tests.support.token_context import read_megatron, read_origins, token_context
from train.data import shards, sources
from train.data.encoder import TokenEncoder
from train.data.stream import TokenStore
from train.data.tokenizer import train_tokenizer
from train.tokens import decontaminate as check
from train.tokens import shard_work, tokenize
from tsqa.console import console
from tsqa.errors import DataError, EngineError, RecipeError
from tsqa.recipe import EvalSection, SourceSection
from tsqa.store.jsonl import read_jsonl
from tsqa.store.stage import StageContext

TEXTS = [
    " ".join(random.Random(n).choices(["one", "two", "three", "4", "5", "6"], k=n % 9 + 1))
    for n in range(90)
]
RECORDS = [{"id": f"d{n}", "text": text, "other": n} for n, text in enumerate(TEXTS)]


def as_lines(records: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def write_jsonl(path: Path) -> Path:
    path.write_bytes(as_lines(RECORDS))
    return path


def write_gzip(folder: Path) -> Path:
    path = folder / "web.json.gz"
    path.write_bytes(gzip.compress(as_lines(RECORDS)))
    return path


def write_zstd(folder: Path) -> Path:
    """Two frames, as a parallel compressor writes them."""
    path = folder / "web.jsonl.zst"
    frames = [pa.compress(as_lines(r), "zstd", asbytes=True) for r in (RECORDS[:50], RECORDS[50:])]
    path.write_bytes(b"".join(frames))
    return path


def write_parquet(folder: Path) -> Path:
    path = folder / "web.parquet"
    pq.write_table(pa.Table.from_pylist(RECORDS), path, row_group_size=7)
    return path


def write_folder(folder: Path) -> Path:
    path = folder / "corpus"
    (path / "b" / ".cache").mkdir(parents=True)
    (path / "a.jsonl").write_bytes(as_lines(RECORDS[:20]))
    pq.write_table(pa.Table.from_pylist(RECORDS[20:45]), path / "b" / "1.parquet")
    (path / "b" / "2.jsonl.gz").write_bytes(gzip.compress(as_lines(RECORDS[45:])))
    (path / "b" / ".cache" / "3.jsonl").write_text("not read")
    (path / "README.md").write_text("no document, since there is data")
    return path


def write_texts(folder: Path) -> Path:
    path = folder / "books"
    for number, text in enumerate(TEXTS):
        file = path / f"{number // 10}" / f"d{number:02d}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


def write_saved(folder: Path) -> Path:
    from datasets import Dataset, DatasetDict

    path = folder / "saved"
    DatasetDict({"train": Dataset.from_list(RECORDS)}).save_to_disk(str(path))
    return path


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 600 bytes, so that little data makes many."""
    for module in (sources, shard_work):
        monkeypatch.setattr(module, "SHARD_BYTES", 600)


def tokens_of(context: StageContext) -> list[npt.NDArray[Any]]:
    tokenize.run(context)
    return read_megatron(context.out / "web")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("corpus") / "web.jsonl")


def web(folder: Path, corpus: Path, processes: int = 1, **source: Any) -> StageContext:
    source = {"path": str(corpus), **source}
    return token_context(folder, {"web": source}, train_on=corpus, processes=processes)


@pytest.fixture(scope="module")
def expected(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    """The documents of the plain file, each encoded by itself."""
    tokenizer = train_tokenizer([corpus], 300)
    return [[*tokenizer.encode(text), tokenizer.eos_token_id] for text in TEXTS]


@pytest.mark.parametrize(
    "write", [write_gzip, write_zstd, write_parquet, write_folder, write_texts, write_saved]
)
def test_every_format_gives_the_same_documents(
    write: Callable[[Path], Path], tmp_path: Path, corpus: Path, expected: list[list[int]]
) -> None:
    context = token_context(tmp_path, {"web": {"path": str(write(tmp_path))}}, train_on=corpus)
    assert [document.tolist() for document in tokens_of(context)] == expected
    origins = read_origins(context.out, "web")
    lines: dict[str, int] = {}
    for number, origin in enumerate(origins):
        lines[origin["file"]] = lines.get(origin["file"], 0) + 1
        assert origin["line"] == lines[origin["file"]]
        name = f"{number // 10}/d{number:02d}.txt" if write is write_texts else f"d{number}"
        assert origin["id"] == name
    files = {write_folder: ["a.jsonl", "b/1.parquet", "b/2.jsonl.gz"], write_saved: ["train"]}
    if write in files:
        assert list(lines) == files[write]


@pytest.mark.parametrize("packing", ["split", "whole"])
def test_the_number_of_processes_changes_no_byte(
    tmp_path: Path, corpus: Path, packing: str
) -> None:
    outs = []
    for processes in (1, 2):
        context = web(tmp_path / str(processes), corpus, processes, packing=packing)
        tokenize.run(context)
        assert not list((context.out / "shards").iterdir())
        outs.append(context.out)
    for suffix in (".bin", ".idx", ".docs.parquet", ".dropped.jsonl", ".json"):
        single, double = ((out / f"web{suffix}").read_bytes() for out in outs)
        assert single == double, suffix


@pytest.mark.parametrize("size", [1, 3, 17, 50, 1000])
def test_ranges_of_bytes_give_every_line_once_with_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(sources, "SHARD_BYTES", size)
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"text": "a"}\n\n{"text": "' + "b" * 90 + '"}\n{"text": "c"}\n \n{"text": "d"}'
    )
    pieces = sources.find_pieces(SourceSection(path=str(path)), path, "k")
    found = []
    for piece in pieces:
        before = piece.lines_before()
        for number, document in enumerate(
            sources.read_documents(piece, SourceSection(path=str(path)), "k"), 1
        ):
            assert document is None or document.line == number
            found.append((before + number, document and document.text[0]))
    assert found == [(1, "a"), (2, None), (3, "b"), (4, "c"), (5, None), (6, "d")]


def test_a_broken_line_far_in_is_named_by_its_number_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(as_lines(RECORDS[:70]) + b"{broken\n" + as_lines(RECORDS[70:]))
    with pytest.raises(DataError, match=r"x\.jsonl:71: not JSON"):
        tokenize.run(web(tmp_path, path, processes=2))


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst", ".parquet", ".txt"])
def test_a_damaged_file_is_named(tmp_path: Path, corpus: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"\xff\xfe no such format" * 9)
    with pytest.raises(DataError, match=f"x{suffix}.*unreadable"):
        tokenize.run(web(tmp_path, corpus, path=str(path)))


def test_a_rerun_does_only_what_is_left(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = web(tmp_path, corpus)
    whole = tokenize.write_shard
    written = []

    def dies_at_the_fourth(shard: shards.Shard, *rest: Any) -> None:
        if len(written) == 3:
            (shard.stem.parent / f"{shard.stem.name}.bin").write_bytes(b"half")
            raise KeyboardInterrupt
        written.append(shard.stem.name)
        whole(shard, *rest)

    monkeypatch.setattr(tokenize, "write_shard", dies_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        tokenize.run(context)
    first, written[:] = list(written), [""] * 4
    tokenize.run(context)
    undisturbed = web(tmp_path / "again", corpus)
    monkeypatch.setattr(tokenize, "write_shard", whole)
    tokenize.run(undisturbed)
    assert first == ["000000", "000001", "000002"]
    assert not set(first) & set(written)
    for suffix in (".bin", ".idx", ".json"):
        found = [(c.out / f"web{suffix}").read_bytes() for c in (context, undisturbed)]
        assert found[0] == found[1]


def test_whole_documents_are_never_cut_and_padding_is_reported(
    tmp_path: Path, corpus: Path, expected: list[list[int]]
) -> None:
    context = web(tmp_path, corpus, packing="whole")
    summary = tokenize.run(context)["sources"]["web"]
    found = read_megatron(context.out / "web")
    lengths = [len(document) for document in found]
    assert sorted(lengths) == sorted(len(tokens) for tokens in expected if len(tokens) <= 16)
    assert max(lengths) == 16
    dropped = [json.loads(x) for x in (context.out / "web.dropped.jsonl").read_text().splitlines()]
    assert {record["reason"] for record in dropped} == {shards.TOO_LONG}
    assert len(dropped) == summary["dropped"] > 0
    assert len(found) + len(dropped) == summary["documents"] + len(dropped) == len(TEXTS)
    origins = read_origins(context.out, "web")
    assert all(o["start"] // 16 == (o["end"] - 1) // 16 for o in origins)
    assert [(o["start"], o["end"] - o["start"]) for o in origins] == [
        (start, length)
        for start, length in zip((o["start"] for o in origins), lengths, strict=True)
    ]
    for record in (*dropped, *origins):
        assert record["id"] == f"d{record['line'] - 1}"
    assert summary["padding"] == summary["rows"] * 16 - sum(lengths)
    store = TokenStore(context.out)
    for row in range(store.rows["web"]):
        inside = store.origins("web", row)
        assert inside == [o for o in origins if o["start"] // 16 == row]
        used = sum(o["end"] - o["start"] for o in inside)
        assert (store.row("web", row)[used:] == store.eos).all()


def test_a_row_leads_back_to_the_documents_that_it_cuts(tmp_path: Path, corpus: Path) -> None:
    context = web(tmp_path, corpus)
    tokenize.run(context)
    store = TokenStore(context.out)
    every = read_origins(context.out, "web")
    for row in (0, 5, store.rows["web"] - 1):
        expected = [o for o in every if o["start"] < 16 * (row + 1) and o["end"] > 16 * row]
        assert store.origins("web", row) == expected
        assert expected


@pytest.mark.parametrize("packing", ["split", "whole"])
def test_only_what_follows_the_marker_bears_a_loss(
    tmp_path: Path, corpus: Path, packing: str
) -> None:
    path = tmp_path / "qa.jsonl"
    texts = [f"Question: {n}? Answer: 4{n}. Answer: no" for n in range(30)]
    path.write_bytes(as_lines([{"id": str(n), "text": text} for n, text in enumerate(texts)]))
    source = {"path": str(path), "packing": packing, "answer_marker": "Answer:"}
    context = token_context(tmp_path, {"web": source}, train_on=path, length=64)
    summary = tokenize.run(context)["sources"]["web"]
    tokenizer = train_tokenizer([path], 300)
    tokens = np.fromfile(context.out / "web.bin", np.uint16)
    flags = np.fromfile(context.out / "web.loss", np.bool_)
    assert len(tokens) == len(flags) == summary["rows"] * 64
    bearing = 0
    for origin in read_origins(context.out, "web"):
        span = slice(origin["start"], origin["end"])
        first = int(flags[span].argmax())
        assert flags[span][first:].all()
        answer = tokenizer.decode(tokens[span][first:-1])
        assert answer == texts[int(origin["id"])].partition("Answer:")[2]
        bearing += int(flags[span].sum())
    assert bearing == flags.sum() == summary["loss_tokens"]


def test_a_document_without_the_marker_is_refused(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(DataError, match=r"web\.jsonl: d0: no `Answer:` in '"):
        tokenize.run(web(tmp_path, corpus, answer_marker="Answer:"))


def holds_a_six(texts: Sequence[str]) -> list[str | None]:
    return ["ngram: gsm8k/test/7" if "6" in text else None for text in texts]


@pytest.mark.parametrize("processes", [1, 2])
def test_documents_that_the_check_names_are_left_out_and_listed(
    tmp_path: Path, corpus: Path, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = web(tmp_path, corpus, processes=processes)
    monkeypatch.setattr(tokenize, "_dropped_check", lambda context: holds_a_six)
    summary = tokenize.run(context)["sources"]["web"]
    leaked = {f"d{n}": n + 1 for n, text in enumerate(TEXTS) if "6" in text}
    dropped = [json.loads(x) for x in (context.out / "web.dropped.jsonl").read_text().splitlines()]
    assert {record["id"]: record["line"] for record in dropped} == leaked
    assert {record["reason"] for record in dropped} == {"ngram: gsm8k/test/7"}
    assert summary["dropped"] == len(leaked) > 0
    kept = {origin["id"] for origin in read_origins(context.out, "web")}
    assert kept == {record["id"] for record in RECORDS} - set(leaked)


@pytest.mark.parametrize(("processes", "decontaminate"), [(1, True), (2, True), (1, False)])
def test_a_document_that_holds_an_evaluated_one_is_left_out(
    tmp_path: Path, processes: int, decontaminate: bool
) -> None:
    corpus = tmp_path / "leaky.jsonl"
    leaks = [
        "Found online. Question: What is warm 3?\nAnswer: cold, they say. What is warm 4? Hot.",
        "what is warm 3?",
    ]
    texts = [*TEXTS, *leaks]
    corpus.write_bytes(as_lines([{"id": f"d{n}", "text": text} for n, text in enumerate(texts)]))
    context = web(tmp_path, corpus, processes=processes)
    tasks = make_tasks(tmp_path / "tasks")
    evaluated = EvalSection(tasks=["tiny_choice"], include=str(tasks))
    inputs = with_benchmarks(tmp_path / "benchmarks", {}, evaluated)
    mixture = context.recipe.mixture.model_copy(update={"decontaminate": decontaminate})
    recipe = context.recipe.model_copy(update={"eval": evaluated, "mixture": mixture})
    context = replace(context, recipe=recipe)
    if decontaminate:
        (tmp_path / "checked").mkdir()
        checking = replace(context, inputs=inputs, out=tmp_path / "checked")
        assert check.run(checking) == {"documents": len(texts), "dropped": 1}
        [record] = read_jsonl(tmp_path / "checked" / "dropped.jsonl")
        assert record["documents"] == ["tiny_choice-3", "tiny_choice-4"]
        found_by = invented_artifact(tmp_path / "checked")
        context = replace(context, inputs={**context.inputs, "decontaminate": found_by})
    summary = tokenize.run(context)["sources"]["web"]
    dropped = [json.loads(x) for x in (context.out / "web.dropped.jsonl").read_text().splitlines()]
    found = [(record["id"], record["reason"]) for record in dropped]
    leaked = (f"d{len(TEXTS)}", "item of the evaluated tiny_choice-3")
    assert found == ([leaked] if decontaminate else [])
    assert summary["documents"] == len(TEXTS) + 2 - len(found)


def ends_the_process(texts: Sequence[str]) -> list[str | None]:
    os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does for its memory


def test_a_process_that_dies_is_an_error_with_a_fix(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenize, "_dropped_check", lambda context: ends_the_process)
    with pytest.raises(EngineError, match=r"lower mixture\.tokenize_processes"):
        tokenize.run(web(tmp_path, corpus, processes=2))


def test_a_hub_dataset_is_streamed_by_its_shards(
    tmp_path: Path, corpus: Path, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    asked = []

    def load(*path: Any, **options: Any) -> Any:
        asked.append((path, options))
        return datasets.Dataset.from_list(RECORDS).to_iterable_dataset(num_shards=4)

    monkeypatch.setattr(datasets, "load_dataset", load)
    sources.stream_hub.cache_clear()
    options = {"path": "org/web", "subset": "en", "split": "validation", "revision": "abc"}
    context = web(tmp_path, corpus, **options)
    assert [document.tolist() for document in tokens_of(context)] == expected
    assert asked[0] == (
        ("org/web", "en"),
        {"split": "validation", "revision": "abc", "streaming": True},
    )
    files = {origin["file"] for origin in read_origins(context.out, "web")}
    assert files == {f"validation-{n:05d}-of-00004" for n in range(4)}
    sources.stream_hub.cache_clear()


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("org/web", r"web\.revision to a commit"),
        ("./nowhere", "no such file or folder"),
        ("nowhere.parquet", "no such file or folder"),
    ],
)
def test_a_path_that_is_nothing_is_refused(
    tmp_path: Path, corpus: Path, path: str, problem: str
) -> None:
    with pytest.raises(DataError, match=rf"mixture\.sources\.web(.|\n)*{problem}"):
        tokenize.run(web(tmp_path, corpus, path=path))


@pytest.mark.parametrize("name", ["web.csv", "web.jsonl.bz2"])
def test_a_file_of_a_format_that_is_not_read_is_no_bad_record(tmp_path: Path, name: str) -> None:
    """`on_bad: skip` would leave out all of it."""
    (tmp_path / name).write_text("text\nhello\n")
    section = SourceSection(path=str(tmp_path / name), on_bad="skip")
    with pytest.raises(DataError, match=rf"sources\.web: .*{name}: \.\w+ is not read"):
        sources.find_pieces(section, tmp_path / name, "mixture.sources.web")


def test_a_folder_without_data_is_refused(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x.csv").write_text("a,b")
    with pytest.raises(DataError, match=r"empty holds no file that ends in \.jsonl"):
        tokenize.run(web(tmp_path, corpus, path=str(tmp_path / "empty")))


def test_a_lone_surrogate_is_mended(tmp_path: Path, corpus: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"id": "\\udc00", "text": "one \\ud800 two"}\n')
    (document,) = tokens_of(web(tmp_path, corpus, path=str(path)))
    tokenizer = train_tokenizer([corpus], 300)
    assert tokenizer.decode(document[:-1]) == "one \ufffd two"
    assert read_origins(tmp_path / "out", "web")[0]["id"] == "\ufffd"


class WideTokenizer:
    """Without a fast backend: a token for each character, from 70,000 on."""

    is_fast = False
    eos_token_id = 7

    def __len__(self) -> int:
        return 80_000

    def get_vocab(self) -> dict[str, int]:
        return {"x": 79_999}

    def encode(self, text: str, **_: Any) -> list[int]:
        return self([text])["input_ids"][0]

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[70_000 + ord(letter) for letter in text] for text in texts]}


def test_a_slow_tokenizer_with_many_tokens_is_written_in_four_bytes(
    tmp_path: Path, corpus: Path
) -> None:
    encoder = TokenEncoder(WideTokenizer())
    assert encoder.dtype == np.int32
    (found,) = encoder.encode(["ab"])
    assert found.tolist() == [70_097, 70_098, 7]
    with pytest.raises(RecipeError, match="answer_marker needs a tokenizer"):
        encoder.encode_answers(["ab"], [0])


BAD_RECORDS = [
    ('{"id": "x", "text": null}', "no text in the field `text`: it is null"),
    ('{"id": "x", "text": 7}', "no text in the field `text`: it is int"),
    ('{"id": "x", "text": ["a"]}', "no text in the field `text`: it is list"),
    ('{"id": "x", "body": "a"}', "no text in the field `text`: the record has id, body"),
    ("{}", "no text in the field `text`: the record has nothing"),
    ('{"text": "torn', "not JSON"),
    ("plain words", "not JSON"),
    ('["text"]', "expected an object"),
    ("null", "expected an object"),
    ("[" * 100_000, "nested too deeply|not JSON"),
    (b'{"text": "\xff"}', "not JSON"),
]


def write_with(path: Path, bad: Sequence[str | bytes]) -> Path:
    lines = as_lines(RECORDS).splitlines()
    for place, record in enumerate(bad):
        lines.insert(3 + 5 * place, record.encode() if isinstance(record, str) else record)
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


@pytest.mark.parametrize(("record", "reason"), BAD_RECORDS)
def test_a_bad_record_is_refused_with_its_line_and_the_key_that_skips_it(
    tmp_path: Path, corpus: Path, record: str | bytes, reason: str
) -> None:
    path = write_with(tmp_path / "x.jsonl", [record])
    with pytest.raises(DataError, match=rf"x\.jsonl:4: ({reason})") as caught:
        tokenize.run(web(tmp_path, corpus, path=str(path)))
    assert "mixture.sources.web.on_bad=skip" in str(caught.value)


@pytest.mark.parametrize("processes", [1, 2])
def test_bad_records_are_skipped_and_listed_where_the_recipe_says_so(
    tmp_path: Path, corpus: Path, expected: list[list[int]], processes: int
) -> None:
    path = write_with(tmp_path / "x.jsonl", [record for record, _ in BAD_RECORDS])
    context = web(tmp_path, corpus, processes, path=str(path), on_bad="skip")
    assert [document.tolist() for document in tokens_of(context)] == expected
    listed = list(read_jsonl(context.out / "web.dropped.jsonl"))
    assert [record["line"] for record in listed] == [4 + 5 * n for n in range(len(BAD_RECORDS))]
    for record, (_, reason) in zip(listed, BAD_RECORDS, strict=True):
        assert re.match(reason, record["reason"])
    counts = json.loads((context.out / "web.json").read_text())
    assert (counts["bad"], counts["dropped"]) == (len(BAD_RECORDS), 0)
    origins = read_origins(context.out, "web")
    assert [origin["id"] for origin in origins] == [record["id"] for record in RECORDS]


def test_a_column_that_holds_null_is_skipped_in_parquet_too(tmp_path: Path, corpus: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["one", None, "two"]}), path)
    summary = tokenize.run(web(tmp_path, corpus, path=str(path), on_bad="skip"))
    assert summary["sources"]["web"]["bad"] == 1
    assert summary["sources"]["web"]["documents"] == 2


def test_a_source_whose_records_are_all_bad_is_refused(tmp_path: Path, corpus: Path) -> None:
    context = web(tmp_path, corpus, on_bad="skip", text_field="body")
    with pytest.raises(DataError, match=rf"{len(RECORDS)} bad records were skipped"):
        tokenize.run(context)


def test_links_in_a_folder_are_followed(tmp_path: Path) -> None:
    web, elsewhere = tmp_path / "web", tmp_path / "elsewhere" / "deep"
    web.mkdir()
    elsewhere.mkdir(parents=True)
    (web / "a.jsonl").write_text('{"text": "a"}\n')
    (elsewhere / "b.jsonl").write_text('{"text": "b"}\n')
    (web / "2021").symlink_to(elsewhere.parent)
    (elsewhere / "up").symlink_to(web)
    found = [file.relative_to(web).as_posix() for file in sources.list_files(web)]
    assert found == ["2021/deep/b.jsonl", "a.jsonl"]


@pytest.mark.parametrize("name", ["b.jsonl", "deep/b.jsonl.gz", "b.parquet"])
def test_a_data_file_that_is_a_link_to_nowhere_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to(tmp_path / "annex")
    (tmp_path / ".#a.jsonl").symlink_to("user@host")  # an editor's lock
    with pytest.raises(DataError, match=rf"{name}: a link to nowhere"):
        sources.list_files(tmp_path)


def test_files_of_a_folder_that_are_not_read_are_named(tmp_path: Path) -> None:
    web = tmp_path / "web"
    web.mkdir()
    (web / "a.jsonl").write_text('{"text": "a b c"}\n')
    for name in ("b.jsonl.xz", "c.CSV", "d.txt", ".hidden", "_SUCCESS"):
        (web / name).write_text("x")
    context = token_context(tmp_path, {"web": {"path": str(web)}}, train_on=web / "a.jsonl")
    with console.capture() as captured:
        tokenize.run(context)
    shown = " ".join(captured.get().split())
    assert "3 files of" in shown and "are not read: b.jsonl.xz, c.CSV, d.txt" in shown


def test_a_document_that_nobody_can_see_is_none(tmp_path: Path) -> None:
    texts = ["", " \n", "\u200b\ufeff \u2060", "\u200ba"]
    path = tmp_path / "docs.jsonl"
    path.write_bytes(as_lines([{"text": text} for text in texts]))
    section = SourceSection(path=str(path))
    [piece] = sources.find_pieces(section, path, "k")
    found = list(sources.read_documents(piece, section, "k"))
    assert [document is None for document in found] == [True, True, True, False]
