"""A file of ours that is damaged is an error that names it and its stage, and never a traceback."""

from __future__ import annotations

import copy
import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eval.compare.scores import read
from eval.compare.stage import read_deltas
from eval.report import serve as view
from tests.support.page_world import evaluation
from tests.support.sealed import invented_artifact, seal_artifact
from train.checkpoints.checkpoint import verify
from train.data.stream import TokenStore
from train.trainer.run_log import drop_lines_after
from tsqa.curated.lineage import find_candidates
from tsqa.errors import CheckpointError, DataError
from tsqa.generate.stage import SeedFile
from tsqa.store.own_files import Stages, read_own

RESULTS = {
    "tasks": {
        "day": {"metric": "acc", "n": 2, "score": 0.5, "version": 1, "num_fewshot": 0, "kind": "x"}
        | {"stderr": 0.1, "backend": "hf"}
    },
    "groups": {"day": ["day"]},
    "backend": "hf",
    "macro": 0.5,
}
DELTAS = {
    "control": "a",
    "arms": ["b"],
    "has_base": False,
    "comparisons": ["b - a"],
    "confidence": 0.95,
    "bootstrap": 100,
    "tasks": {
        "day": {"metric": "acc", "n": 2, "version": 1, "num_fewshot": 0, "kind": "x"},
    },
    "macros": {},
    "seeds": {"a": [1], "b": [1]},
    "scores": {"a": {"day": 0.5}},
    "scores_by_seed": {"a": {"day": {"day": 0.5}}},
    "rows": [
        {"comparison": "b - a", "arm": "b", "against": "a", "task": "day", "verdict": "better"}
        | {"delta": 0.1, "low": 0.0, "high": 0.2, "n": 2, "reference": 0.5, "score": 0.6}
        | {"p": 0.1, "p_holm": 0.1, "mde": 0.2, "stderr": 0.1, "seeds": 1, "p_mcnemar": None}
        | {"method": "bootstrap", "covers_seeds": False}
    ],
    "fit": None,
    "gaps": {},
    "caveat": "",
    "conclusion": "",
    "contamination": {},
}
SOURCES = {
    "sequence_length": 8,
    "dtype": "uint16",
    "vocab_size": 9,
    "eos_token_id": 1,
    "sources": {"docs": {"rows": 1, "padding": 0, "answers_only": False}},
}
CHECKPOINT = {
    "step": 5,
    "plan": {},
    "processes": 1,
    "sharding": "zero 1",
    "state": {
        "books": {
            "window": [[1.5], [8.0]],
            "tail": [[0.0], [0.0]],
            "valid": [8.0],
            "padding": [0.0],
            "mean": None,
        },
        "routers": {"biases": {}, "window": {}},
        "seconds": 1.25,
        "seed": 0,
        "run": "f00",
        "fp32": ["norm.weight"],
    },
    "files": {},
}


def read_results(folder: Path) -> Any:
    return read("x", invented_artifact(folder))


def read_sources(folder: Path) -> Any:
    (folder / "docs.bin").write_bytes(bytes(16))
    return TokenStore(folder)


FILES: dict[str, tuple[str, Any, Callable[[Path], Any]]] = {
    "results.json": ("evaluate", RESULTS, read_results),
    "deltas.json": ("compare", DELTAS, lambda folder: read_deltas(invented_artifact(folder))),
    "sources.json": ("tokenize", SOURCES, read_sources),
    "checkpoint.json": ("train", CHECKPOINT, verify),
}


def damaged_forms(value: dict[str, Any]) -> Iterator[str]:
    """The text of a file that is not what it was: torn, of another type, or without a key."""
    text = json.dumps(value)
    yield from ("", text[: len(text) // 2], "[]", "null", '"x"', "[" * 100_000, "\x00" * 20)
    for other in _changed(value):
        yield json.dumps(other)


def _changed(value: Any) -> Iterator[Any]:
    """With one key less, or one value of another type."""
    for key in value if isinstance(value, dict) else range(len(value)):
        if isinstance(value, dict) and key not in ("day", "docs", "b", "a"):
            yield {name: inner for name, inner in value.items() if name != key}
        other = copy.deepcopy(value)
        if key not in ("version", "num_fewshot", "plan"):  # may be anything
            other[key] = [[None]]
            yield other
        if isinstance(value[key], (dict, list)):
            for inner in _changed(value[key]):
                changed = copy.deepcopy(value)
                changed[key] = inner
                yield changed


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_with_its_stage(name: str, tmp_path: Path) -> None:
    stage, value, reader = FILES[name]
    folder = tmp_path / "artifacts" / stage / "f00"
    evaluation(folder, {"day": [0, 1]})
    (folder / name).write_text(json.dumps(value))
    reader(folder)
    tried = 0
    for text in damaged_forms(value):
        (folder / name).write_text(text)
        with pytest.raises((DataError, CheckpointError)) as caught:
            reader(folder)
        assert name in str(caught.value), text[:200]
        assert stage in str(caught.value)
        tried += 1
    assert tried >= 15


def test_a_missing_file_is_named_with_its_stage(tmp_path: Path) -> None:
    for name, (stage, _, reader) in FILES.items():
        folder = tmp_path / "artifacts" / stage / "f00"
        folder.mkdir(parents=True)
        with pytest.raises((DataError, CheckpointError), match=name.replace(".", r"\.")):
            reader(folder)


@pytest.mark.parametrize("kind", ["torn", "text", "column", "type", "rows", "empty"])
def test_damaged_documents_are_named_with_their_stage(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "artifacts" / "evaluate" / "f00"
    evaluation(folder, {"day": [0, 1]})
    path = folder / "documents.parquet"
    content, table = path.read_bytes(), pq.read_table(path)
    if kind in ("torn", "text", "empty"):
        path.write_bytes({"torn": content[:-9], "text": b"PAR1x", "empty": b""}[kind])
    elif kind == "column":
        pq.write_table(table.drop_columns(["score"]), path)
    elif kind == "type":
        scores = pa.array(["1", "0"])
        pq.write_table(table.drop_columns(["score"]).append_column("score", scores), path)
    else:
        pq.write_table(table.slice(1), path)
    with pytest.raises(DataError, match=r"(?s)documents\.parquet: .*stage `evaluate` again"):
        read("x", invented_artifact(folder))


@pytest.mark.parametrize("text", ["{torn", "[]", "7", '{"a": 1}', '{"a": null}', ""])
def test_a_damaged_list_of_stages_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "stages.json").write_text(text)
    with pytest.raises(DataError, match=r"(?s)stages\.json: .*run the recipe again"):
        read_own(tmp_path / "stages.json", Stages)


@pytest.mark.parametrize("line", ["{torn", "[]", "7", "{}", '{"id": "a"}', "null"])
def test_a_seed_that_is_none_is_named_by_its_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "artifacts" / "seeds" / "f00" / "seeds.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=r"(?s)seeds\.jsonl: line 1: no seed.*stage `seeds` again"):
        SeedFile(path)


@pytest.mark.parametrize("line", ['{"id": "a", ', '["a"]', '"a"', '{"name": "a"}', '{"id": "a"}'])
def test_a_candidate_that_cannot_be_read_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "candidates.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=r"candidates\.jsonl: "):
        find_candidates(invented_artifact(tmp_path), ["a"])


@pytest.mark.parametrize("line", ["{torn", "[]", "{}", '{"step": "2"}', '{"step": null}'])
def test_metrics_forgive_a_torn_end_and_nothing_before_it(line: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = [f'{{"step": {step}, "name": "a\u2028b"}}\n' for step in range(1, 5)]
    path.write_text("".join(whole) + '{"step": 5, "na', encoding="utf-8")
    drop_lines_after(path, 3)
    assert path.read_text(encoding="utf-8") == "".join(whole[:3])
    path.write_text(whole[0] + line + "\n" + whole[2], encoding="utf-8")
    with pytest.raises(DataError, match=r"metrics\.jsonl: line 2 is no record of a step"):
        drop_lines_after(path, 3)


@pytest.mark.parametrize("damage", ["stages", "torn stages", "manifest", "summary", "deltas"])
def test_the_pages_of_a_damaged_run_are_served_and_say_so(damage: str, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "report.html").write_text("<title>page</title>")
    (folder / "stages.json").write_text('{"compare": "f00"}')
    compared = tmp_path / "artifacts" / "compare" / "f00"
    compared.mkdir(parents=True)
    (compared / "deltas.json").write_text("{}")
    seal_artifact(compared, summary={"conclusion": "better"})
    if damage.endswith("stages"):
        (folder / "stages.json").write_text('["x"]' if damage == "stages" else "{")
    elif damage == "deltas":
        (compared / "deltas.json").write_text("[]")
    else:
        text = "[1]" if damage == "manifest" else '{"summary": []}'
        (compared / "manifest.json").write_text(text)
    with view.ReportServer(tmp_path, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            index = urllib.request.urlopen(address, timeout=10).read().decode()
            page = urllib.request.urlopen(f"{address}/one/", timeout=10).read().decode()
        finally:
            server.shutdown()
            thread.join()
    assert "damaged: " in index and ".json" in index and "better" not in index
    assert page == "<title>page</title>"
