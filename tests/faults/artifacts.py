"""Tries on our own files: every file of a finished run, and of an unfinished one, x damage."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

from tests.faults.damage import BYTES, flip_bit
from tests.faults.table import End, Try
from tests.faults.world import (
    fake_teacher,
    finished_run,
    open_pipeline,
    recipe_of,
)
from tests.support.generation import artifact, generate_section, make_context, make_seed
from tsqa.cli import app as cli
from tsqa.errors import RecipeError, TsqaError
from tsqa.generate import stage as generate
from tsqa.recipe import ModelSection, TeacherSection
from tsqa.store import manifest
from tsqa.store.artifact import Store
from tsqa.store.jsonl import write_jsonl
from tsqa.store.verify import verify_runs

FAMILIES = ("day", "month", "opposite", "sequence", "unit", "young")
FILES: dict[str, tuple[str, ...]] = {
    "data": (
        "docs.jsonl",
        "oracle.json",
        "teacher.jsonl",
        *(f"tasks/mini_{name}.yaml" for name in FAMILIES),
        *(f"tasks/data/mini_{name}.{s}.jsonl" for name in FAMILIES for s in ("test", "train")),
    ),
    "benchmarks": ("documents.jsonl",),
    "seeds": ("seeds.jsonl", "rejected_seeds.jsonl", "training_keys.jsonl"),
    "guard": ("dropped.jsonl",),
    "generate": ("candidates.jsonl", "teacher-completions.jsonl"),
    "filter": (
        "dataset/README.md", "dataset/data/train-00000.parquet", "rejected/part-00000.parquet"
    ),
    "tokenizer": ("tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"),
    "decontaminate": ("dropped.jsonl", "dropped.txt"),
    "nearest": ("nearest.jsonl", "dropped.jsonl"),
    "tokenize": (
        "sources.json",
        *(f"docs.{end}" for end in ("bin", "idx", "json", "docs.parquet", "dropped.jsonl")),
    ),
    "train": ("metrics.jsonl", "heldout.jsonl"),
    "evaluate": ("results.json", "documents.parquet"),
    "compare": ("deltas.json", "deltas.csv"),
}  # fmt: skip
"""Stage -> the files that it writes, beside its manifest."""
EMPTY = ("rejected_seeds.jsonl", "docs.dropped.jsonl", "dropped.jsonl", "dropped.txt")
"""Of them, those without content: nothing was rejected or dropped."""


def damages() -> dict[str, Callable[[bytes], bytes | None]]:
    """Ways to damage a file; None takes it away."""
    return {
        **BYTES,
        "missing": lambda content: None,
        "a bit at the begin": lambda content: flip_bit(content, 0.02),
        "a bit in the middle": lambda content: flip_bit(content, 0.5),
        "a bit at the end": lambda content: flip_bit(content, 0.99),
        "a line more": lambda content: content + b'{"id": "extra"}\n',
        "short of a line": lambda content: b"".join(content.splitlines(keepends=True)[:-1]),
        "two lines exchanged": _exchange,
    }


def _exchange(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    if len(lines) < 2:
        return content + content
    return b"".join([lines[1], lines[0], *lines[2:]])


def folder_of(runs: Path, stage: str) -> Path:
    """The first artifact of a stage; of tokens, that of the source docs."""
    found = sorted(p for p in (runs / "artifacts" / stage).iterdir() if p.is_dir())
    return next((p for p in found if (p / "docs.bin").exists()), found[0])


@contextlib.contextmanager
def changed(path: Path, content: bytes | None, keep_time: bool = False) -> Iterator[None]:
    """The file with other content, or without the file, for a while."""
    before, times = path.read_bytes(), path.stat()
    assert content != before, "no damage"
    try:
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
            if keep_time:
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        yield
    finally:
        path.write_bytes(before)


def use(folder: Path) -> None:
    """What a stage does before it reads an input, in a fresh process."""
    manifest._READ.clear()
    manifest._PARSED.clear()
    Store(folder.parent.parent).find(folder.parent.name, folder.name, "whole")


def file_tries() -> Iterator[Try]:
    for stage, names in FILES.items():
        for name in names:
            for how, damage in damages().items():
                if name in EMPTY and how not in ("missing", "a line more", "a page of HTML"):
                    continue

                def act(
                    folder: Path, stage: str = stage, name: str = name, do: Any = damage
                ) -> int:
                    made = folder_of(finished_run(), stage)
                    with changed(made / name, do((made / name).read_bytes())):
                        verdicts = {v.folder: v for v in verify_runs(finished_run())}
                        told = [found.file for found in verdicts[made].damage]
                        assert told == [name], f"verify names {told}"
                        use(made)
                    return 0

                short = name.rpartition("/")[2]
                yield Try("artifact", f"{stage}/{name}", how, End.STAGE, act, (short, stage))

        def hidden(folder: Path, stage: str = stage, name: str = names[0]) -> int:
            made = folder_of(finished_run(), stage)
            content = flip_bit((made / name).read_bytes())
            with changed(made / name, content, keep_time=True):
                verdicts = {v.folder: v for v in verify_runs(finished_run())}
                assert [found.file for found in verdicts[made].damage] == [name]
                use(made)
            return 0

        if names[0] not in EMPTY:  # which has no bit
            what = f"{stage}/{names[0]}"
            yield Try("artifact", what, "a bit, its time kept", End.STAGE, hidden, (stage,))
        for extra in ("extra.jsonl", "dataset/data/train-00001.parquet", "zz.bin", "model.py"):

            def more(folder: Path, stage: str = stage, extra: str = extra) -> int:
                made = folder_of(finished_run(), stage)
                path = made / extra
                had = path.parent.exists()
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    path.write_bytes(b"{}\n")
                    use(made)
                finally:
                    path.unlink()
                    if not had:
                        shutil.rmtree(made / extra.partition("/")[0])
                return 0

            yield Try("artifact", stage, f"{extra} too many", End.STAGE, more, (Path(extra).name,))

        def untouched(folder: Path, stage: str = stage) -> int:
            use(folder_of(finished_run(), stage))
            return 0

        yield Try("artifact", stage, "as it is", End.FINE, untouched)


FIELDS = ("stage", "fingerprint", "config", "inputs", "summary", "created", "files", "seal")
WRONG: dict[str, Any] = {
    "null": None, "a number": 7, "text": "x", "a list": [1], "a mapping": {"x": "y"}, "gone": ...,
    "nan": float("nan"),
}  # fmt: skip


def manifest_tries() -> Iterator[Try]:
    """Every field of every stage's manifest x another type, and the file itself."""
    for stage in FILES:
        for field in FIELDS:
            for how, value in WRONG.items():
                act = _edited_manifest(stage, field, value)
                what = f"{stage}/manifest.json, {field}"
                yield Try("artifact", what, how, End.STAGE, act, ("manifest.json", stage))
        for how, damage in damages().items():
            if how in ("a line more", "short of a line", "two lines exchanged"):
                continue

            def act(folder: Path, stage: str = stage, do: Any = damage) -> int:
                made = folder_of(finished_run(), stage)
                path = made / "manifest.json"
                with changed(path, do(path.read_bytes())):
                    use(made)
                return 0

            what = f"{stage}/manifest.json"
            yield Try("artifact", what, how, End.STAGE, act, ("manifest.json", stage))


def _edited_manifest(stage: str, field: str, value: Any) -> Callable[[Path], int]:
    def act(folder: Path) -> int:
        made = folder_of(finished_run(), stage)
        path = made / "manifest.json"
        values = json.loads(path.read_text())
        if value is ...:
            del values[field]
        else:
            values[field] = value
        with changed(path, json.dumps(values, indent=1, ensure_ascii=False).encode()):
            use(made)
        return 0

    return act


def command(*arguments: str) -> str:
    """`tsqa ...` in this process; its exit code becomes the error that it stands for."""
    out, printed = io.StringIO(), io.StringIO()
    manifest._READ.clear()
    manifest._PARSED.clear()
    with (
        mock.patch.object(sys, "argv", ["tsqa", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(printed),
    ):
        try:
            cli.main()
        except SystemExit as end:
            text = out.getvalue() + printed.getvalue()
            assert "Traceback" not in text
            if end.code == cli.USER_ERROR:
                raise RecipeError(text) from end
            if end.code:
                raise TsqaError(text) from end
    return out.getvalue() + printed.getvalue()


READERS: dict[str, tuple[str, ...]] = {
    "report": ("compare", "filter", "train"),
    "inspect": ("filter",),
    "export": ("filter",),
    "show": ("filter", "generate", "seeds"),
    "compare": ("evaluate",),
    "run --dry-run": ("data", "tokenize"),
    "filter": ("benchmarks", "generate", "seeds"),
    "tokenize": ("benchmarks", "filter", "data"),
}
"""Command -> the stages whose files it reads."""


def reader_tries() -> Iterator[Try]:
    """Every command that reads a run x damage to what it reads: an error, no traceback."""
    for name, stages in READERS.items():
        for stage in stages:
            for how in ("torn", "a bit in the middle", "missing", "empty", "noise"):
                act = _reading(name, stage, damages()[how])
                yield Try("artifact", f"tsqa {name}, {stage}", how, End.STAGE, act)
        act = _reading(name, None, lambda content: content)
        yield Try("artifact", f"tsqa {name}", "as it is", End.FINE, act)


def _reading(name: str, stage: str | None, damage: Any) -> Callable[[Path], int]:
    def act(folder: Path) -> int:
        runs = finished_run()
        recipe = str(recipe_of(runs))
        [row] = _first_rows(runs)
        arguments: dict[str, list[str]] = {
            "report": ["report", recipe],
            "inspect": ["inspect", recipe],
            "export": ["export", recipe, str(folder / "out.jsonl")],
            "show": ["show", row, "--runs", str(runs)],
            "compare": ["compare", *_evaluations(runs), "--allow", "tokens"],
            "run --dry-run": ["run", recipe, "--dry-run"],
            "filter": ["filter", recipe],
            "tokenize": ["tokenize", recipe],
        }
        if stage is None:
            command(*arguments[name])
            return 0
        made = folder_of(runs, stage)
        first = FILES[stage][0] if stage != "filter" else FILES[stage][1]
        with changed(made / first, damage((made / first).read_bytes())):
            command(*arguments[name])
        return 0

    return act


def _first_rows(runs: Path) -> list[str]:
    import pyarrow.parquet as pq

    table = pq.read_table(folder_of(runs, "filter") / FILES["filter"][1], columns=["id"])
    return [str(table["id"][0].as_py())]


def _evaluations(runs: Path) -> list[str]:
    folders = sorted(p for p in (runs / "artifacts" / "evaluate").iterdir() if p.is_dir())
    return [str(folder) for folder in folders]


SEEDS = [make_seed(number) for number in range(9)]
LOG = "teacher-completions.jsonl"


def unfinished_tries() -> Iterator[Try]:
    """The log of a killed generate stage x damage: what is whole is kept, the rest asked again."""
    torn: dict[str, Callable[[bytes], bytes]] = {
        "torn at the end": lambda content: content[:-7],
        "half": lambda content: content[: len(content) // 2],
        "empty": lambda content: b"",
        "zeros at the end": lambda content: content[:-200] + bytes(200),
        "a line of zeros more": lambda content: content + bytes(300),
        "a line twice": lambda content: content + content.splitlines(keepends=True)[0],
        "lines exchanged": _exchange,
        "a line less": lambda content: b"".join(content.splitlines(keepends=True)[1:]),
        "a line without a field": lambda content: b'{"id": "x"}\n' + content,
        "a line that is a list": lambda content: b"[1]\n" + content,
        "a line of another type": lambda content: (
            content + b'{"id": 7, "text": null, "prompt_tokens": "x"}\n'
        ),
        "noise between": lambda content: b"\xff\xfe\x00\n" + content,
        "a line torn in the middle": lambda content: content[:40] + b"\n" + content,
    }
    for how, damage in torn.items():

        def act(folder: Path, damage: Any = damage) -> int:
            _generate(folder, folder / "whole")
            (folder / "killed").mkdir()
            log = (folder / "whole" / LOG).read_bytes()
            (folder / "killed" / LOG).write_bytes(damage(log))
            _generate(folder, folder / "killed")
            same = [(folder / n / "candidates.jsonl").read_bytes() for n in ("whole", "killed")]
            assert same[0] == same[1], "another dataset"
            return 0

        yield Try("artifact", f"generate.partial/{LOG}", how, End.FINE, act)


def _generate(folder: Path, out: Path) -> None:
    source = folder / "seeds"
    source.mkdir(exist_ok=True)
    write_jsonl(source / "seeds.jsonl", (asdict(seed) for seed in SEEDS))
    teacher = TeacherSection(
        engine="openai", model=ModelSection(path="m"), urls=["http://x/v1"], form="completion"
    )
    section = generate_section(teacher=teacher)
    with fake_teacher():
        generate.run(make_context(out, {"seeds": artifact(source)}, generate=section))


def run_tries() -> Iterator[Try]:
    """Notes beside the artifacts: they only serve to say what changed, or are written again."""
    for how, content in {
        "empty": b"", "torn": b'{"data": "x', "a list": b"[]", "binary": bytes(range(256)),
        "of another type": b'{"data": 7}', "deep": b"[" * 100_000,
    }.items():  # fmt: skip

        def act(folder: Path, content: bytes = content) -> int:
            runs = finished_run()
            with changed(runs / "tiny" / "stages.json", content):
                open_pipeline(recipe_of(runs)).run(until="compare")
            return 0

        yield Try("artifact", "stages.json", how, End.FINE, act)


def tries() -> list[Try]:
    return [
        *file_tries(), *manifest_tries(), *reader_tries(), *unfinished_tries(), *run_tries()
    ]  # fmt: skip
