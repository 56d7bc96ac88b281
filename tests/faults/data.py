"""Tries on the user's data: own datasets, sources of the mixture, tasks, prompts."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eval.harness.metrics import check_metrics
from tests.faults.damage import BYTES, PAGE, POINTER
from tests.faults.table import End, Try
from tests.support.generation import make_context
from tests.support.token_context import token_context
from train.tokens import tokenize
from tsqa.errors import TsqaError
from tsqa.prompts import load_prompts
from tsqa.recipe import DatasetSection, EvalSection, SeedsSection
from tsqa.seeds import stage as seeds
from tsqa.store.jsonl import read_jsonl

OPTIONS = ["iron", "wood", "salt"]
COLUMNS = {"question": "q", "answer": "a", "choices": "options"}
GOOD = [
    {"q": f"Which of these is thing number {n}?", "a": OPTIONS[n % 3], "options": OPTIONS}
    for n in range(6)
]
TEXTS = [{"id": f"d{n}", "text": f"text {n} of a few words, 1 2 3"} for n in range(12)]


def _lines(records: list[Any]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def _parquet(records: list[Any]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), out)
    return out.getvalue()


def _csv(records: list[Any]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(records[0]))
    writer.writeheader()
    for record in records:
        shown = {k: json.dumps(v) if isinstance(v, list) else v for k, v in record.items()}
        writer.writerow(shown)
    return out.getvalue().encode()


FORMATS: dict[str, Callable[[list[Any]], bytes]] = {
    "jsonl": _lines,
    "jsonl.gz": lambda records: gzip.compress(_lines(records), mtime=0),
    "json": lambda records: json.dumps(records).encode(),
    "parquet": _parquet,
    "csv": _csv,
}
"""Of own datasets."""
SOURCES: dict[str, Callable[[list[Any]], bytes]] = {
    "jsonl": _lines,
    "jsonl.gz": lambda records: gzip.compress(_lines(records), mtime=0),
    "jsonl.zst": lambda records: pa.compress(_lines(records), "zstd", asbytes=True),
    "parquet": _parquet,
}
"""Of the mixture."""


def read_seeds(folder: Path, path: Path, **changes: Any) -> int:
    """The seeds stage over one own dataset; how many documents it rejected."""
    section = DatasetSection(**{"name": "own", "path": str(path), "columns": COLUMNS} | changes)
    context = make_context(folder / "out", {}, seeds=SeedsSection(datasets=[section]))
    try:
        summary = seeds.run(context)
    except TsqaError:
        assert not (context.out / "seeds.jsonl").exists(), "a failed stage left its seeds"
        raise
    written = list(read_jsonl(context.out / "seeds.jsonl"))
    assert summary["seeds"] == len(written)
    known = {good["q"] for good in GOOD}
    assert all(seed["question"] in known for seed in written), "text that nobody wrote"
    rejected = sum(summary["rejected_by_reason"].values())
    assert rejected == summary["rejected_seeds"]
    return int(rejected)


def tokenize_source(folder: Path, path: Path, **changes: Any) -> int:
    """The tokenize stage over one source; how many records it left out."""
    text = folder / "plain.jsonl"
    text.write_bytes(_lines(TEXTS))
    source = {"path": str(path), **changes}
    context = token_context(folder, {"web": source}, train_on=text)
    try:
        summary = tokenize.run(context)
    except TsqaError:
        assert not (context.out / "sources.json").exists(), "a failed stage left its index"
        raise
    found = summary["sources"]["web"]
    index = pq.read_table(context.out / "web.docs.parquet").num_rows
    assert found["documents"] == index
    return int(found["bad"])


CSV_ENDS = {
    "torn": End.REJECTED, "a block of zeros": End.REJECTED, "short of 3 bytes": End.REJECTED,
}  # fmt: skip
"""A CSV has no end: a row that is cut, or whose quote does not close, is rejected."""


def container_tries() -> Iterator[Try]:
    """Files that are damaged as a whole: every format x damage."""
    for form, write in FORMATS.items():
        for how, damage in BYTES.items():
            content = damage(write(GOOD))
            end = CSV_ENDS.get(how, End.STAGE) if form == "csv" else End.STAGE
            yield Try("data", f"own {form}", how, end, _own_file(form, content))
        yield Try("data", f"own {form}", "as it is", End.FINE, _own_file(form, write(GOOD)))
        yield Try("data", f"own {form}", "missing", End.STAGE, _own_missing(form))
        other = "parquet" if form != "parquet" else "jsonl"
        content = FORMATS[other](GOOD)
        yield Try("data", f"own {form}", f"is {other}", End.STAGE, _own_file(form, content))
    for form, write in SOURCES.items():
        for how, damage in BYTES.items():
            content = damage(write(TEXTS))
            yield Try("data", f"source {form}", how, End.STAGE, _source_file(form, content))
        yield Try("data", f"source {form}", "as it is", End.FINE, _source_file(form, write(TEXTS)))
        yield Try("data", f"source {form}", "missing", End.STAGE, _source_missing(form))
        other = "parquet" if form != "parquet" else "jsonl"
        content = SOURCES[other](TEXTS)
        yield Try("data", f"source {form}", f"is {other}", End.STAGE, _source_file(form, content))
    for how, content in {
        "empty": b"", "blank": b" \n\n", "noise": bytes(range(128, 256)), "an LFS pointer": POINTER,
        "utf-16": "some text".encode("utf-16"), "NUL": b"a\x00" * 50,
    }.items():  # fmt: skip
        yield Try("data", "source txt", how, End.STAGE, _source_file("txt", content))
    yield Try("data", "source txt", "a page of HTML", End.FINE, _source_file("txt", PAGE))


def _own_file(form: str, content: bytes) -> Callable[[Path], int]:
    def act(folder: Path) -> int:
        path = folder / f"own.{form}"
        path.write_bytes(content)
        return read_seeds(folder, path)

    return act


def _own_missing(form: str) -> Callable[[Path], int]:
    return lambda folder: read_seeds(folder, folder / f"own.{form}")


def _source_file(form: str, content: bytes) -> Callable[[Path], int]:
    def act(folder: Path) -> int:
        path = folder / f"web.{form}"
        path.write_bytes(content)
        return tokenize_source(folder, path)

    return act


def _source_missing(form: str) -> Callable[[Path], int]:
    return lambda folder: tokenize_source(folder, folder / f"web.{form}")


FIELDS: dict[str, dict[str, Any]] = {
    "q": {
        "null": None, "empty": "", "blank": " \n\t", "a number": 7, "a list": ["x"], "true": True,
        "a mapping": {"x": "y"}, "a surrogate": "Which \ud800 is it?", "nan": float("nan"),
        "a replaced character": "Which \ufffd is it?", "huge": "long " * 300_000, "gone": ...,
    },
    "a": {
        "null": None, "empty": "", "too large": 4, "negative": -1, "a late letter": "Z",
        "another text": "gold", "several": ["A", "B"], "a mapping": {"x": 1}, "a fraction": 1.5,
        "nan": float("nan"), "inf": float("inf"), "a surrogate": "\ud800", "huge": 10**30,
        "gone": ..., "an empty list": [],
    },
    "options": {
        "null": None, "empty": [], "one": ["iron"], "twice the same": ["iron", "iron", "salt"],
        "a blank one": ["iron", " ", "salt"], "one of null": ["iron", None, "salt"],
        "a list in it": [["iron"], "wood"], "a number": 7, "true": True, "text": "iron",
        "an empty mapping": {}, "a surrogate": ["iron", "\ud800"], "gone": ...,
        "a replaced character": ["iron", "\ufffd"],
    },
}  # fmt: skip
RECORDS: dict[str, Any] = {
    "a list": [1, 2], "a number": 7, "text": "x", "null": None, "true": True, "empty": {},
}  # fmt: skip


def record_tries() -> Iterator[Try]:
    """One bad record among good ones: every field x value, in JSON Lines and as a JSON list."""
    for form, (field, values) in itertools.product(("jsonl", "json"), FIELDS.items()):
        for how, value in values.items():
            bad = {**GOOD[0], field: value}
            if value is ...:
                del bad[field]
            what = f"own {form} record, {field}"
            yield Try("data", what, how, End.REJECTED, _own_record(form, bad))
    for form, (how, bad) in itertools.product(("jsonl", "json"), RECORDS.items()):
        yield Try("data", f"own {form} record", how, End.REJECTED, _own_record(form, bad))
    texts: dict[str, Any] = {
        "null": {"text": None}, "a number": {"text": 7}, "a list": {"text": ["a"]}, "true":
        {"text": True}, "a mapping": {"text": {}}, "another field": {"body": "a"}, **RECORDS,
    }  # fmt: skip
    for form, (how, bad) in itertools.product(("jsonl", "jsonl.gz", "jsonl.zst"), texts.items()):
        what, content = f"source {form} record", SOURCES[form]([*TEXTS, bad])
        yield Try("data", what, how, End.STAGE, _source_file(form, content), (f"web.{form}:13",))
        act = _source_skipping(form, content)
        yield Try("data", f"{what}, on_bad: skip", how, End.REJECTED, act)
    for how, line in {
        "not JSON": b'{"text": \n', "deep": b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
        "latin-1": '{"text": "größe"}\n'.encode("latin-1"), "NUL": b"\x00\x00\n",
        "a long number": b'{"text": ' + b"9" * 5000 + b"}\n",
        "a key twice": b'{"text": "one", "text": "two"}\n',
        "a key twice below": b'{"text": "one", "meta": {"x": 1, "x": 2}}\n',
    }.items():  # fmt: skip
        content = _lines(TEXTS) + line
        yield Try("data", "source line", how, End.STAGE, _source_file("jsonl", content), (":13",))
        act = _source_skipping("jsonl", content)
        yield Try("data", "source line, on_bad: skip", how, End.REJECTED, act)
    for how, raw in {
        "deep": b'{"q": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
        "a key twice": b'{"q": "What?", "a": 0, "a": 1, "options": ["x", "y"]}\n',
        "a label twice": b'{"q": "Why?", "a": "A", "options": {"A": "x", "A": "y"}}\n',
        "an infinite answer": b'{"q": "How many?", "a": 1e400, "options": ["1", "2"]}\n',
        "an infinite option": b'{"q": "How many?", "a": 0, "options": [1e400, 2]}\n',
        "options that look the same": _lines(
            [{"q": "Which?", "a": 0, "options": ["cafe\u0301", "caf\u00e9", "tea"]}]
        ),
        "options that differ invisibly": _lines(
            [{"q": "Which?", "a": 2, "options": ["so\u200bap", "soap", "tea"]}]
        ),
        "a label twice in text": _lines(
            [{"q": "Why?", "a": "A", "options": "{'A': 'x', 'A': 'y', 'B': 'z'}"}]
        ),
        "latin-1": '{"q": "größe?", "a": 0, "options": ["x", "y"]}\n'.encode("latin-1"),
        "a long number": b'{"q": "What?", "a": ' + b"9" * 5000 + b', "options": ["x", "y"]}\n',
    }.items():
        act = _own_file("jsonl", _lines(GOOD) + raw)
        end = End.STAGE if how == "a long number" else End.REJECTED
        yield Try("data", "own jsonl line", how, end, act)
    act = _own_file("json", json.dumps(GOOD).encode()[:-1] + b', {"q": "x", "q": "y"}]')
    yield Try("data", "own json", "a key twice", End.STAGE, act, ("own.json: the key `q`",))
    act = _own_file("jsonl", _lines(GOOD) + b'{"q": \n')
    yield Try("data", "own jsonl line", "not JSON", End.STAGE, act, ("own.jsonl:7",))


def _own_record(form: str, bad: Any) -> Callable[[Path], int]:
    def act(folder: Path) -> int:
        path = folder / f"own.{form}"
        path.write_bytes(FORMATS[form]([*GOOD, bad]))
        rejected = read_seeds(folder, path)
        assert rejected == 1
        return rejected

    return act


def _source_skipping(form: str, content: bytes) -> Callable[[Path], int]:
    def act(folder: Path) -> int:
        path = folder / f"web.{form}"
        path.write_bytes(content)
        skipped = tokenize_source(folder, path, on_bad="skip")
        assert skipped == 1
        return skipped

    return act


COLUMN_CHANGES: dict[str, dict[str, Any]] = {
    "no such question": {"columns": {**COLUMNS, "question": "nowhere"}},
    "no such answer": {"columns": {**COLUMNS, "answer": "nowhere"}},
    "no such choices": {"columns": {**COLUMNS, "choices": "nowhere"}},
    "no such list of choices": {"columns": {**COLUMNS, "choices": ["x", "y"]}},
    "no such context": {"columns": {**COLUMNS, "context": "nowhere"}},
    "no such id": {"columns": {**COLUMNS, "id": "nowhere"}},
    "below a text": {"columns": {**COLUMNS, "question": "q.x"}},
    "kind choice without choices": {"columns": {"question": "q", "answer": "a"}, "kind": "choice"},
    "index of texts": {"answer": "index"},
    "the question is the answer": {"columns": {"question": "q", "answer": "options"}},
}


def column_tries() -> Iterator[Try]:
    for form in FORMATS:
        for how, changes in COLUMN_CHANGES.items():

            def act(folder: Path, form: str = form, changes: Any = changes) -> int:
                path = folder / f"own.{form}"
                path.write_bytes(FORMATS[form](GOOD))
                return read_seeds(folder, path, **changes)

            if how == "the question is the answer":
                continue
            yield Try("data", f"own {form}, columns", how, End.STAGE, act, ("own",))


LOOP, DONE = "{% for a in range(99999) %}", "{% endfor %}"
TASK = {
    "task": "bad",
    "dataset_path": "json",
    "dataset_kwargs": {
        "data_files": {"train": "{folder}/data.jsonl", "test": "{folder}/data.jsonl"}
    },
    "training_split": "train",
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{q}}",
    "doc_to_choice": "{{options}}",
    "doc_to_target": "{{options.index(a)}}",
    "metric_list": [{"metric": "acc"}],
    "metadata": {"version": 1},
}
TASK_CHANGES: dict[str, dict[str, Any]] = {
    "no dataset": {"dataset_path": None},
    "a file that is not there": {
        "dataset_kwargs": {"data_files": {"train": "/no/such.jsonl", "test": "/no/such.jsonl"}}
    },
    "no training split": {"training_split": None},
    "another training split": {"training_split": "nowhere"},
    "an unknown field": {"doc_to_text": "{{nowhere}}", "doc_to_target": "{{nowhere}}"},
    "a broken template": {"doc_to_text": "{{q"},
    "a template that runs for ever": {"doc_to_text": f"{LOOP}{LOOP}x{DONE}{DONE}"},
    "a template that opens a shell": {
        "doc_to_text": "{{ cycler.__init__.__globals__.os.popen('true').read() }}"
    },
    "a template of lipsum": {"doc_to_text": "{{ lipsum.__globals__['os'].getcwd() }}"},
    "targets out of range": {"doc_to_target": "{{7}}"},
    "a function that is not there": {"doc_to_text": "!function nowhere.f"},
    "a group of nothing": {"task": [], "group": "bad"},
    "a group of itself": {"task": ["bad"], "group": "bad"},
    "an unknown metric": {"metric_list": [{"metric": "no_such_metric"}]},
    "no metric": {"metric_list": []},
    "an unknown type": {"output_type": "guessing"},
    "includes nothing": {"include": "nowhere.yaml"},
    "includes itself": {"include": "bad.yaml"},
}


def task_tries() -> Iterator[Try]:
    """Tasks that cannot be read or compared: as seeds, and as evaluated."""
    import yaml

    not_seeds = {"an unknown metric", "no metric"}
    for how, changes in TASK_CHANGES.items():

        def write(folder: Path, changes: Any = changes) -> Path:
            tasks = folder / "tasks"
            tasks.mkdir()
            (tasks / "data.jsonl").write_bytes(_lines(GOOD))
            values = {k: v for k, v in {**TASK, **changes}.items() if v is not None}
            text = yaml.safe_dump(values).replace("{folder}", str(tasks))
            (tasks / "bad.yaml").write_text(text.replace("'!function nowhere.f'", "!function x.f"))
            return tasks

        def as_seeds(folder: Path, write: Any = write) -> int:
            section = SeedsSection(tasks=["bad"], include=str(write(folder)))
            context = make_context(folder / "out", {}, seeds=section)
            summary = seeds.run(context)
            return int(sum(summary["rejected_by_reason"].values()))

        def as_evaluated(folder: Path, write: Any = write) -> int:
            tasks = write(folder)
            check_metrics(EvalSection(tasks=["bad"], include=str(tasks)), tasks)
            return 0

        if how not in not_seeds:
            yield Try("data", "task, seeds", how, End.STAGE, as_seeds)
        if how in not_seeds or how.startswith(("a group", "includes", "an unknown type")):
            yield Try("data", "task, eval", how, End.STAGE, as_evaluated)
    for how, content in {
        "empty": b"", "a list": b"- a\n", "torn": b"task: bad\ndoc_to_text: {a", "binary":
        bytes(range(256)), "a python tag": b"task: !!python/object/apply:os.system ['true']\n",
        "NUL": b"task: bad\x00\n", "deep": b"task: " + b"[" * 3000 + b"]" * 3000,
    }.items():  # fmt: skip

        def act(folder: Path, content: bytes = content) -> int:
            (folder / "bad.yaml").write_bytes(content)
            section = SeedsSection(tasks=["bad"], include=str(folder))
            seeds.run(make_context(folder / "out", {}, seeds=section))
            return 0

        yield Try("data", "task file", how, End.STAGE, act)


HEADER = "---\nid: mine\nversion: 1\nkind: any\n---\n"
WHOLE = HEADER + "{% block completion %}Question:{% endblock %}"
PROMPTS: dict[str, bytes] = {
    "empty": b"",
    "no header": b"hello",
    "an open header": b"---\nid: mine\n",
    "a header that is a list": b"---\n- a\n---\nx",
    "a header without an id": b"---\nversion: 1\nkind: any\n---\nx",
    "an unknown key": b"---\nid: a\nversion: 1\nkind: any\nmood: gay\n---\nx",
    "an unknown kind": b"---\nid: a\nversion: 1\nkind: poem\n---\nx",
    "a python tag": b"---\nid: !!python/object/apply:os.system ['true']\n---\nx",
    "another block": (HEADER + "{% block poem %}x{% endblock %}").encode(),
    "an open block": (HEADER + "{% block completion %}").encode(),
    "an unknown variable": (HEADER + "{% block completion %}{{ nowhere }}{% endblock %}").encode(),
    "an unknown filter": (HEADER + "{% block completion %}{{ 1|nope }}{% endblock %}").encode(),
    "includes nothing": (HEADER + "{% include 'no' %}").encode(),
    "includes a file outside": (HEADER + "{% include '/etc/passwd' %}").encode(),
    "extends itself": (HEADER + "{% extends 'mine.jinja' %}").encode(),
    "binary": bytes(range(256)),
    "utf-16": WHOLE.encode("utf-16"),
    "a shell by cycler": (
        HEADER + "{% block completion %}{{ cycler.__init__.__globals__.os.popen('true').read() }}"
        "{% endblock %}"
    ).encode(),
    "a shell by lipsum": (
        HEADER + "{% block completion %}{{ lipsum.__globals__.os.getcwd() }}{% endblock %}"
    ).encode(),
    "classes": (
        HEADER
        + "{% block completion %}{{ ''.__class__.__mro__[1].__subclasses__() }}{% endblock %}"
    ).encode(),
    "loops for ever": (
        HEADER + "{% block completion %}{% for a in range(99999) %}{% for b in range(99999) %}"
        "{% endfor %}{% endfor %}{% endblock %}"
    ).encode(),
    "a huge text": (HEADER + "{% block completion %}{{ 'x' * 10**10 }}{% endblock %}").encode(),
    "a huge power": (HEADER + "{% block completion %}{{ 9**(9**(9**9)) }}{% endblock %}").encode(),
}


def prompt_tries() -> Iterator[Try]:
    for how, content in PROMPTS.items():

        def act(folder: Path, content: bytes = content) -> int:
            prompts = folder / "prompts"
            prompts.mkdir()
            (prompts / "mine.jinja").write_bytes(content)
            load_prompts(str(prompts), "question", "generate.prompts.question")
            return 0

        yield Try("data", "prompts", how, End.STAGE, act, ("mine.jinja",))
    for how, name in {"no such folder": "./nowhere", "an empty folder": "."}.items():

        def missing(folder: Path, name: str = name) -> int:
            load_prompts(str(folder / name), "question", "generate.prompts.question")
            return 0

        yield Try("data", "prompts", how, End.BEFORE, missing, ("generate.prompts.question",))


def tries() -> list[Try]:
    made = [*container_tries(), *record_tries(), *column_tries(), *task_tries(), *prompt_tries()]
    return made
