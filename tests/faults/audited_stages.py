"""Runs stages over hostile names in one process and prints every write or deletion outside.

    python -m tests.faults.audited_stages INSIDE TEMPORARY STAGE...

INSIDE is the working folder, TEMPORARY the one for temporary files and caches.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

SOURCES = ["HuggingFaceFW/fineweb", "a/b/c", "x/shards", "manifest", "tokenizer", "Web", "web"]
TASKS = ["a/../../../victim", "x/../..", "t"]
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_FOLDERS = {"os.mkdir": 2, "os.remove": 1, "os.rmdir": 1}
"""Event -> which of its arguments is the open folder that its path is relative to."""


class Audit:
    """Collects what happens outside of some folders."""

    def __init__(self, *allowed: str) -> None:
        self._allowed = (*map(os.path.realpath, allowed), "/dev", "/proc")
        self.seen: list[str] = []

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        paths: tuple[Any, ...] = ()
        if event == "open":
            paths = args[:1] if isinstance(args[0], str | bytes) and args[2] & _WRITES else ()
        elif event in (*_FOLDERS, "os.truncate", "shutil.rmtree"):
            paths = args[:1]
        elif event in ("os.rename", "os.link", "os.symlink"):
            paths = args[:2]
        folder = args[_FOLDERS[event]] if event in _FOLDERS else -1
        for path in paths:
            start = Path(f"/proc/self/fd/{folder}").readlink() if folder >= 0 else Path.cwd()
            real = str((start / os.fsdecode(path)).resolve())
            if "__pycache__" not in real and not real.startswith(self._allowed):
                self.seen.append(f"{event} {real}")


def run_seeds(inside: Path) -> None:
    from tests.tsqa.seeds.test_stage import run_seeds, write_task

    for number, name in enumerate(TASKS):
        write_task(inside, f"t{number}", task=name)
    assert run_seeds(inside, TASKS, TASKS)["seeds"] > 0


def run_guard(inside: Path) -> None:
    from tests.support.generation import artifact, make_context, with_benchmarks
    from tests.tsqa.seeds.test_stage import run_seeds, write_task
    from tsqa.decontaminate import guard
    from tsqa.recipe import EvalSection, SeedsSection

    for number, name in enumerate(TASKS):
        write_task(inside, f"t{number}", task=name)
    run_seeds(inside, TASKS, [])
    scored = EvalSection(tasks=TASKS, include=str(inside))
    inputs = with_benchmarks(inside / "benchmarks", {"seeds": artifact(inside / "out")}, scored)
    # Training and test questions of `write_task` differ in one word: nearly the same.
    section = SeedsSection(tasks=TASKS, include=str(inside), allow_leaks=TASKS)
    found = guard.run(make_context(inside / "guard", inputs, seeds=section, eval=scored))
    assert found["seeds"] > 0


def run_generate(inside: Path) -> None:
    from tests.support.generation import FakeEngine, make_seed
    from tests.tsqa.generate.test_stage import run_generate

    seeds = [make_seed(number, task=name) for number, name in enumerate(TASKS)]
    assert run_generate(inside / "out", FakeEngine(), seeds)["candidates"] > 0


def run_filter(inside: Path) -> None:
    from tests.support.filter_records import record
    from tests.support.generation import (
        artifact,
        data_section,
        eval_section,
        make_context,
        seeds_section,
        with_benchmarks,
    )
    from tests.tsqa.filters.test_stage import filter_candidates
    from tsqa.store.jsonl import write_jsonl
    from tsqa.tasks import toy

    data = inside / "data"
    toy.run(make_context(inside / "data.partial", {}, data=data_section()))
    (inside / "data.partial").rename(data)
    seeds = make_context(inside / "seeds", {"data": artifact(data)}, seeds=seeds_section())
    for name in ("seeds.jsonl", "training_keys.jsonl"):
        write_jsonl(seeds.out / name, [])
    lines = [
        record(f"../{name}", f"Which thing is number {number}?", ["it"] * 3) | {"task": name}
        for number, name in enumerate([*TASKS, "/", "../../../victim"])
    ]
    inputs = {"data": artifact(data), "seeds": artifact(inside / "seeds")}
    inputs = with_benchmarks(inside / "benchmarks", inputs, eval_section())
    assert filter_candidates(inside, inputs, lines)["candidates"] == 5


def run_tokenizer(inside: Path) -> None:
    from tests.support.token_context import token_context

    data = inside / "data.jsonl"
    data.write_text('{"text": "one document of words"}\n' * 30)
    token_context(inside, {name: {"path": str(data)} for name in SOURCES}, train_on=data)
    assert (inside / "words" / "tokenizer").is_dir()


def run_decontaminate(inside: Path) -> None:
    from tests.support.generation import with_benchmarks
    from tests.support.token_context import token_context
    from tests.tsqa.seeds.test_stage import write_task
    from train.tokens import decontaminate
    from tsqa.recipe import EvalSection

    data = inside / "data.jsonl"
    data.write_text('{"text": "one document of words"}\n' * 30)
    for number, name in enumerate(TASKS):
        write_task(inside, f"t{number}", task=name)
    scored = EvalSection(tasks=TASKS, include=str(inside))
    inputs = with_benchmarks(inside / "benchmarks", {}, scored)
    context = token_context(inside, {name: {"path": str(data)} for name in SOURCES}, train_on=data)
    recipe = context.recipe.model_copy(update={"eval": scored})
    for number, name in enumerate(SOURCES):
        out = context.out / str(number)
        out.mkdir()
        checking = replace(context, recipe=recipe, inputs=inputs, part=name, out=out)
        assert decontaminate.run(checking)["documents"] == 30


def run_nearest(inside: Path) -> None:
    from tests.support.generation import make_seed
    from tests.support.sealed import invented_artifact
    from tests.support.token_context import token_context
    from train.tokens import nearest
    from tsqa.recipe import Recipe
    from tsqa.store.jsonl import write_jsonl
    from tsqa.store.roles import SourceRole

    data = inside / "data.jsonl"
    data.write_text("".join(f'{{"text": "document {n} of words"}}\n' for n in range(30)))
    sized = {name: {"path": str(data)} for name in SOURCES}
    context = token_context(inside, sized, train_on=data)
    tree = context.recipe.model_dump(mode="json", by_alias=True)
    (inside / "seeds").mkdir()
    write_jsonl(inside / "seeds" / "seeds.jsonl", [asdict(make_seed(0, "Which words?"))])
    for number, name in enumerate(SOURCES):
        near = {"nearest": {"pool": name}, "size_of": name}
        tree["mixture"]["sources"] = {**sized, f"{name}/near": near}
        recipe = Recipe.model_validate(tree | {"seeds": {"tasks": TASKS}})
        counted = {"sources": {name: {"rows": 2}}}
        inputs = context.inputs | {
            "seeds": invented_artifact(inside / "seeds"),
            SourceRole(name): invented_artifact(inside / "tokens", summary=counted),
        }
        out = context.out / str(number)
        out.mkdir()
        asked = replace(context, recipe=recipe, inputs=inputs, part=f"{name}/near", out=out)
        assert nearest.run(asked)["documents"] > 0


def run_tokenize(inside: Path) -> None:
    from tests.support.token_context import token_context, tokenize_all

    data = inside / "data.jsonl"
    data.write_text('{"text": "one document of words"}\n' * 30)
    sources = {name: {"path": str(data)} for name in SOURCES}
    tokenize_all(token_context(inside, sources, train_on=data))


def run_train(inside: Path) -> None:
    """`python -m train`, in this process."""
    from tests.support.train_runs import HYBRID, write_recipe
    from train import __main__ as train_process
    from tsqa.pipeline.run import Pipeline
    from tsqa.recipe import load_recipe

    path = write_recipe(inside, HYBRID)
    recipe = yaml.safe_load(path.read_text())
    web = inside / "web.jsonl"
    phase = {"tokens": 512, "ratios": {"HuggingFaceFW/fineweb": 0.5, "x/shards": 0.5}}
    recipe["mixture"] |= {"phases": [phase]}
    recipe["mixture"]["sources"] = {name: {"path": str(web)} for name in phase["ratios"]}  # type: ignore[attr-defined]
    path.write_text(yaml.safe_dump(recipe))
    Pipeline(load_recipe(path), path, []).run(until="tokenize")
    sys.argv = ["train", str(path)]
    assert train_process.main() == 0
    assert list(inside.glob("runs/artifacts/train/*/manifest.json"))


def run_evaluate(inside: Path) -> None:
    from eval.harness import backend
    from eval.harness import stage as harness
    from eval.results import Part, TaskResult
    from tests.tsqa.seeds.test_stage import write_task
    from tsqa.recipe import Recipe
    from tsqa.store.stage import StageContext
    from tsqa.store.tracking import Tracker

    replaced: dict[str, Any] = {
        "load_tasks": lambda section, include: {name: {name: name} for name in TASKS},
        "open_model": lambda *args: contextlib.nullcontext(),
        "evaluate_task": lambda model, task, *settings: task,
    }
    vars(backend).update(replaced)
    score = TaskResult(
        metric="acc",
        n=0,
        score=1.0,
        stderr=0.0,
        version=1,
        num_fewshot=0,
        kind="multiple_choice",
        backend="hf",
    )
    model = inside / "model"
    vars(harness).update(
        read_result=lambda *asked: Part(score, []),
        find_checkpoint=lambda context: str(model),
    )
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"x")
    (inside / "tasks").mkdir()
    for number, name in enumerate(TASKS):
        write_task(inside / "tasks", f"t{number}", task=name)
    section = {"tasks": TASKS, "backend": "hf", "include": str(inside / "tasks")}
    recipe = Recipe.model_validate({"name": "t", "model": {"path": str(model)}, "eval": section})
    out = inside / "evaluate"
    out.mkdir()
    harness.run(StageContext(recipe, {}, out, Tracker.silent()))


def run_compare(inside: Path) -> None:
    from eval.compare import stage as compare
    from tests.eval.compare.test_stage import save
    from tests.support.invented_arms import evaluated
    from tsqa.recipe import Recipe
    from tsqa.store.roles import BASE, ArmRole
    from tsqa.store.stage import StageContext
    from tsqa.store.tracking import Tracker

    scores = dict.fromkeys(TASKS, 0.2)
    names = {BASE: "base", ArmRole("x/shards=0.0"): "c", ArmRole("x/shards=0.5"): "x"}
    inputs = {role: save(evaluated(name, scores), inside / name) for role, name in names.items()}
    axes = {"mixture.x/shards": [0.0, 0.5]}
    recipe = Recipe.model_validate(
        {
            "name": "x",
            "model": {"path": "m"},
            "mixture": {
                "sources": {"HuggingFaceFW/fineweb": {"path": "a"}, "x/shards": {"path": "b"}},
                "phases": [
                    {"tokens": 64, "ratios": {"HuggingFaceFW/fineweb": 0.5, "x/shards": 0.5}}
                ],
            },
            "train": {"sequence_length": 8, "global_batch_tokens": 8, "lr": 0.1},
            "eval": {"tasks": TASKS, "bootstrap": 500},
            "ablation": {"axes": axes, "control": {"mixture.x/shards": 0.0}},
        }
    )
    out = inside / "compare"
    out.mkdir()
    compare.run(StageContext(recipe, inputs, out, Tracker.silent()))


STAGES: dict[str, Callable[[Path], None]] = {
    "seeds": run_seeds,
    "guard": run_guard,
    "generate": run_generate,
    "filter": run_filter,
    "tokenizer": run_tokenizer,
    "decontaminate": run_decontaminate,
    "nearest": run_nearest,
    "tokenize": run_tokenize,
    "train": run_train,
    "evaluate": run_evaluate,
    "compare": run_compare,
}


def main() -> None:
    inside, temporary, *stages = sys.argv[1:]
    import torch
    import transformers  # noqa: F401 - its first import writes caches

    audit = Audit(inside, temporary)
    sys.addaudithook(audit)
    assert torch.get_num_threads()
    for stage in stages:
        folder = Path(inside) / stage
        folder.mkdir()
        STAGES[stage](folder)
    print(json.dumps(audit.seen))


if __name__ == "__main__":
    main()
