"""What the page tells someone who was not there: what ran, with what, and what its words mean."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

import tsqa
from eval.deltas import DeltaTable
from tsqa.recipe import GenerateSection, Recipe
from tsqa.recipe.sections.models import ModelSection
from tsqa.secrets import redact, redact_tree
from tsqa.store.artifact import Artifact

TERMS = {
    "arm": "One training run, or all runs that differ only in their training seed.",
    "control": "The arm that the others are compared with: it lacks what is being tested.",
    "base": "The model before any of this training.",
    "change": "Score minus the control's score, in percentage points, on the same documents.",
    "interval": "Made so that in 95 of 100 experiments like this one (or as many as the page says) "
    "such a range holds the true change.",
    "better, worse": "The change is detectable: its interval excludes 0, and it stays significant "
    "after the correction for the number of rows of the table.",
    "differs in this run": "These two checkpoints differ; with one training seed, and nothing "
    "known of the spread between seeds, that says nothing of their methods.",
    "no detectable change": "The data cannot tell the change from chance. It may still be there, "
    "if it is smaller than the smallest detectable effect.",
    "detectable": "Smallest detectable effect: the smallest true change, in points, that this "
    "row would reveal in 4 of 5 cases, corrected for the rows of this table.",
    "p": "The probability of a change at least this large if nothing had changed.",
    "corrected": "Of p, for all rows of the table at once: many rows mean many chances of a false "
    "finding.",
    "McNemar": "Exact test of the documents that only one of two models got right.",
    "macro": "The mean of the tasks' scores; each task weighs the same, or by its documents.",
    "touched": "Some source held documents of the task, and they were removed before training; "
    "trained on: they were not. The clean score is over the other documents. Not checked: nothing "
    "looked for them in these sources.",
    "fixed": "Wrong before, right after.",
    "broken": "Right before, wrong after.",
    "both ways": "Fixed with one training seed and broken with another: chance, most likely.",
    "candidate": "A question with its answers, as the teacher wrote them, before any filter.",
    "curated": "Accepted by every filter; also called accepted.",
    "yield": "Curated items as a share of the candidates.",
    "agreement": "The share of the teacher's answers (votes) that agree on the final one.",
    "distinct-n": "Different runs of n words, as a share of all runs of n words in the questions. "
    "Low means repetitive; it falls as a dataset grows.",
    "embedding spread": "Mean cosine distance between two questions; 0 means all the same.",
    "generation": "0: people's text; what a model wrote: one more than the newest text that it was "
    "trained on, as the recipes say.",
    "held-out loss": "Loss on rows of a source that are never trained on.",
    "epochs": "How often each row of a source was drawn.",
    "padded": "Positions without a token at the end of a row; they carry no loss.",
}
"""The words of the page, explained when a pointer rests on them and in the list at the end."""


@dataclass(frozen=True)
class PageOrigin:
    """Where the page comes from; what artifacts do not hold."""

    command: str
    harness: str
    machine: str


@dataclass(frozen=True)
class Fact:
    """One line of the set-up."""

    name: str
    value: str


def origin_of(recipe_file: Path, overrides: Sequence[str]) -> PageOrigin:
    """The command that makes everything on the page, and the harness that wrote the page."""
    command = shlex.join(["tsqa", "run", str(recipe_file), *overrides])
    commit = _commit(Path(tsqa.__file__).parent)
    return PageOrigin(redact(command), f"tsqa {tsqa.__version__}, {commit}", _machine())


def recipe_text(recipe: Recipe) -> str:
    """The whole recipe, defaults included."""
    tree = redact_tree(recipe.model_dump(mode="json", by_alias=True))
    return yaml.safe_dump(tree, sort_keys=False)


def setup_facts(
    recipe: Recipe,
    origin: PageOrigin | None,
    finished: str,
    deltas: DeltaTable | None,
    train: Mapping[str, Artifact],
) -> Iterator[Fact]:
    """What ran, with what and when; what is not known is left out."""
    if finished:
        yield Fact("Finished", f"{finished[:16].replace('T', ' ')} UTC")
    if origin:
        yield Fact("Harness", origin.harness)
        yield Fact("Command", origin.command)
    if recipe.model:
        yield Fact("Model", _named(recipe.model))
    summaries = [artifact.summary for artifact in train.values()]
    sizes = [f"{s['parameters']:,} parameters" for s in summaries if "parameters" in s]
    lengths = [f"{s['tokens']:,} tokens" for s in summaries if "tokens" in s]
    places = [_hardware(s["execution"]) for s in summaries if "device" in s.get("execution", {})]
    if recipe.generate:
        yield from _teachers(recipe.generate)
    seeds = sorted({seed for seeds in deltas.seeds.values() for seed in seeds}) if deltas else []
    for name, values in (
        ("Size", sizes),
        ("Training, each arm", lengths),
        ("Training seeds", map(str, seeds)),
        ("Trained on", places),
        ("Page written on", [origin.machine] if origin else []),
    ):
        if found := list(dict.fromkeys(values)):
            yield Fact(name, ", ".join(found))


def _teachers(section: GenerateSection) -> Iterator[Fact]:
    role, writer = section.writing
    others = [each for each in section.solving if each.role != role]
    is_alone = all(each.role == "cascade" for each in others)
    asked = [("Teacher" if is_alone else "Questions by", writer)]
    for each in others:
        asked.append(("Second teacher" if each.role == "cascade" else "Answers by", each.teacher))
    for name, teacher in asked:
        yield Fact(name, f"{_named(teacher.model)} ({teacher.engine})")


def _named(model: ModelSection) -> str:
    if model.path is not None:
        return redact(model.path)
    if model.recipe is not None:
        return f"trained by {model.recipe}"
    return f"{(model.config or {})['model_type']}, from scratch"


def _hardware(execution: Mapping[str, object]) -> str:
    device = execution["device"]
    threads = f", {execution['threads']} threads" if device == "CPU" else ""
    return f"{execution['processes']} x {device}{threads}"


def _commit(package: Path) -> str:
    """The commit of a checkout; an installed package has none."""
    command = ["git", "-C", str(package), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "commit unknown"
    return f"commit {found.stdout.strip()}" if found.returncode == 0 else "installed package"


def _machine() -> str:
    """Processor and GPUs, as the kernel names them."""
    processor = _values(Path("/proc/cpuinfo"), "model name") or ["unknown processor"]
    parts = [f"{os.cpu_count()} cores ({processor[0]})"]
    drivers = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    gpus = Counter(name for file in drivers for name in _values(file, "Model"))
    return ", ".join([*parts, *(f"{count} x {name}" for name, count in gpus.items())])


def _values(file: Path, key: str) -> list[str]:
    """The values of a key in a file of `key : value` lines; none where there is no such file."""
    try:
        lines = [line.partition(":") for line in file.read_text(errors="replace").splitlines()]
    except OSError:
        return []
    return [value.strip() for name, _, value in lines if name.strip() == key]
