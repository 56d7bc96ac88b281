"""Does memory stay flat? Seeds -> requests -> filter over N own documents with a dummy engine.

    python -m tests.benchmarks.million_seeds --seeds 1000000

Each stage runs in a process of its own; its peak resident memory and its seconds are printed for
N / 10 and N seeds. The dummy engine answers at once, so the time is all ours.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.support.generation import artifact, make_context
from tsqa.recipe import (
    ColumnsSection,
    DataSection,
    DatasetSection,
    EvalSection,
    FilterSection,
    GenerateSection,
    ModelSection,
    PromptsSection,
    SeedsSection,
    TeacherSection,
)
from tsqa.tasks import toy as miniature
from tsqa.tasks import toy_families
from tsqa.teachers import Completion, Request

STAGES = ("benchmarks", "seeds", "generate", "filter")
_WORDS = [f"{a}{b}" for a in "bcdfglmnprst" for b in ("ale", "ind", "ost", "urn", "elt", "amp")]


class DummyEngine:
    """Writes a new question or an answer from the request's own seed, at once."""

    capacity = 256

    def __init__(self) -> None:
        self._waiting: list[Request] = []

    def submit(self, requests: Sequence[Request]) -> None:
        self._waiting += requests

    def collect(self) -> list[Completion]:
        done, self._waiting = self._waiting, []
        return [self._answer(request) for request in done]

    def _answer(self, request: Request) -> Completion:
        rng = random.Random(request.seed)
        text = f" {sentence(rng)}?"
        if not request.prompt.endswith("Question:"):
            text = f" {rng.choice('ab')}lpha\nBecause: {sentence(rng)}."
        return Completion(request.id, text, 100, 20, "stop")


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choices(_WORDS, k=14))


def prepare(folder: Path, count: int) -> None:
    """N documents of an own dataset, and miniature tasks to decontaminate against."""
    rng = random.Random(0)
    with (folder / "documents.jsonl").open("w", encoding="utf-8") as handle:
        for number in range(count):
            record = {"question": f"{sentence(rng)} {number}?", "answer": rng.choice(_WORDS)}
            handle.write(json.dumps(record) + "\n")
    section = DataSection(builder="miniature", test_per_family=100, teacher_documents=0)
    miniature.run(make_context(folder / "data", {}, data=section))


def run_stage(
    stage: str, folder: Path, count: int, pipe: Any, processes: int | None = None
) -> None:
    started = time.monotonic()
    columns = ColumnsSection(question="question", answer="answer")
    source = DatasetSection(
        name="own", path=str(folder / "documents.jsonl"), columns=columns, kind="short_text"
    )
    teacher = TeacherSection(
        engine="openai", model=ModelSection(path="dummy"), urls=["http://unused"], form="completion"
    )
    tasks = [f"mini_{name}" for name in toy_families.FAMILIES]
    context = make_context(
        folder / stage,
        {name: artifact(folder / name) for name in ("data", *STAGES)},
        seeds=SeedsSection(datasets=[source], max_per_task=count),
        generate=GenerateSection(
            teacher=teacher,
            per_seed=1,
            shots=2,
            votes=3,
            prompts=PromptsSection(question="plain", answer="plain"),
        ),
        filter=FilterSection(agreement=0.6, processes=processes),
        eval=EvalSection(tasks=tasks, include="{data}/tasks"),
    )
    summary = _function(stage)(context)
    # Not ru_maxrss: a child process starts with its parent's.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(status.split("VmHWM:")[1].split()[0]) / 2**20
    pipe.send((time.monotonic() - started, peak, summary))


def _function(stage: str) -> Any:
    if stage == "benchmarks":
        from tsqa.seeds import benchmarks

        return benchmarks.run
    if stage == "seeds":
        from tsqa.seeds import stage as seeds

        return seeds.run
    if stage == "filter":
        from tsqa.filters import stage as filters

        return filters.run
    from tsqa.generate import stage as generate
    from tsqa.teachers import client as asker

    @contextmanager
    def dummy(*_: Any) -> Iterator[DummyEngine]:
        yield DummyEngine()

    asker.open_engine = dummy  # type: ignore[assignment]
    return generate.run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="for the data; default: a temporary folder")
    arguments = parser.parse_args()
    table = Table(title="peak resident memory (GiB) and seconds per stage")
    for column in ("seeds", *STAGES, "curated", "rejected"):
        table.add_column(column, justify="right")
    for count in (arguments.seeds // 10, arguments.seeds):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            prepare(Path(name), count)
            cells, summary = [], {}
            for stage in STAGES:
                ours, theirs = multiprocessing.Pipe()
                process = multiprocessing.get_context("spawn").Process(
                    target=run_stage, args=(stage, Path(name), count, theirs)
                )
                process.start()
                theirs.close()
                seconds, peak, summary = ours.recv()
                process.join()
                cells.append(f"{peak:.2f} GiB, {seconds:.0f} s")
            assert summary["candidates"] == summary["curated"] + summary["rejected"] == count
            row = (f"{count:,}", *cells, f"{summary['curated']:,}", f"{summary['rejected']:,}")
            table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
