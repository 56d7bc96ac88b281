"""The embedded data set: six small task families a tiny model can learn in minutes on a CPU.

Guarantees: the same section gives the same bytes; training, test and teacher questions are disjoint
(by normalised question); the artifact holds an oracle, so that a report can state how much of the
synthetic data is true. Human text is the documentation of the installed Python standard library:
real prose, present on every machine.
"""

from __future__ import annotations

import ast
import random
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

import yaml

from tsqa.errors import DataError, RecipeError
from tsqa.recipe import DataSection, Recipe, needed
from tsqa.store.identity import Json
from tsqa.store.jsonl import write_jsonl
from tsqa.store.stage import StageContext
from tsqa.tasks.oracle import write_oracle
from tsqa.tasks.toy_families import FAMILIES, PREFIX, Family, ToyItem, draw_item
from tsqa.text.normalise import normalise

_TASKS, _DOCS, _TEACHER = "tasks", "docs.jsonl", "teacher.jsonl"
_SKIPPED_FOLDERS = {"test", "tests", "site-packages", "idlelib", "lib2to3", "__pycache__"}
_MIN_DOC_CHARS = 60
_BLOCKS_PER_DOCUMENT = 4


def toy_tasks() -> list[str]:
    """The tasks that `{data}/tasks` will hold."""
    return [PREFIX + name for name in FAMILIES]


def check_built(recipe: Recipe) -> None:
    """Refuse what a recipe names below `{data}` and the stage `data` does not make.

    Raises RecipeError, before that stage has run.
    """
    for key, path in _texts(recipe.model_dump(), ""):
        if not path.startswith("{data}"):
            continue
        if recipe.data is None:
            raise RecipeError(f"{key} = {path}: the recipe has no section `data`", "add one")
        below = path.removeprefix("{data}").rstrip("/")
        if below not in (f"/{_DOCS}", f"/{_TEACHER}") and below.split("/")[:2] != ["", _TASKS]:
            made = ", ".join("{data}/" + name for name in (_TASKS, _DOCS, _TEACHER))
            raise RecipeError(f"{key} = {path}: `data` makes no such file", f"use one of: {made}")
    for name, section in (("seeds", recipe.seeds), ("eval", recipe.eval)):
        if section is None or not (section.include or "").startswith("{data}"):
            continue
        if PurePosixPath(str(section.include)) != PurePosixPath("{data}", _TASKS):
            raise RecipeError(
                f"{name}.include = {section.include}: the tasks are in another folder",
                f"use {{data}}/{_TASKS}",
            )
        for task in section.tasks:
            if task not in toy_tasks():
                near = get_close_matches(task, toy_tasks(), n=3, cutoff=0.4) or toy_tasks()
                raise RecipeError(
                    f"{name}.tasks: unknown task {task!r} in {section.include}",
                    f"did you mean one of {', '.join(near)}?",
                )


def _texts(value: object, key: str) -> Iterator[tuple[str, str]]:
    """Key -> text, of every text in nested values."""
    if isinstance(value, str):
        yield key, value
    items = enumerate(value) if isinstance(value, (list, tuple)) else ()
    for name, one in value.items() if isinstance(value, dict) else items:
        yield from _texts(one, f"{key}.{name}" if key else str(name))


@contextmanager
def task_yamls(include: str | None) -> Iterator[Path | None]:
    """The folder of tasks that a section names, for what needs their YAML files alone.

    Of `{data}/tasks`, which the stage `data` has perhaps not made yet: one that is like it.
    """
    if not (include or "").startswith("{data}"):
        yield Path(include) if include else None
        return
    with tempfile.TemporaryDirectory(prefix="tsqa-") as folder:
        _write_configs(Path(folder), Path(folder))
        yield Path(folder)


def run(context: StageContext) -> dict[str, Json]:
    """Write docs.jsonl, teacher.jsonl, tasks/*.yaml, tasks/data/*.jsonl and the oracle."""
    section = needed(context.recipe.data, "data")
    final = Path(str(context.out.absolute()).removesuffix(".partial"))
    tasks = context.out / _TASKS
    (tasks / "data").mkdir(parents=True, exist_ok=True)
    _write_configs(tasks, final / _TASKS / "data")
    taken: set[str] = set()
    for family in FAMILIES.values():
        rng = random.Random(f"{section.seed}:{family.name}")
        for split in ("train", "test"):
            count = getattr(section, f"{split}_per_family")
            items = [_draw_new(family, rng, taken) for _ in range(count)]
            write_jsonl(tasks / "data" / f"{PREFIX}{family.name}.{split}.jsonl", _rows(items))
    files = {name: tasks / "data" / f"{name}.train.jsonl" for name in toy_tasks()}
    write_oracle(context.out, files)
    teacher = write_jsonl(context.out / _TEACHER, _teacher_documents(section, taken))
    docs = write_jsonl(context.out / _DOCS, ({"text": t} for t in standard_library_docs()))
    return {
        "families": len(FAMILIES),
        "train_documents": section.train_per_family * len(FAMILIES),
        "test_documents": section.test_per_family * len(FAMILIES),
        "teacher_documents": teacher,
        "docs": docs,
    }


def standard_library_docs() -> Iterator[str]:
    """Docstrings of the standard library, modules in sorted order, each text once."""
    root = Path(sysconfig.get_path("stdlib"))
    seen: set[str] = set()
    for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
        if _SKIPPED_FOLDERS & set(path.relative_to(root).parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if not isinstance(
                node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            ):
                continue
            text = ast.get_docstring(node) or ""
            if len(text) >= _MIN_DOC_CHARS and text not in seen:
                seen.add(text)
                yield text


def _teacher_documents(section: DataSection, taken: set[str]) -> Iterator[dict[str, str]]:
    rng = random.Random(f"{section.seed}:teacher")
    families = list(FAMILIES.values())
    for _ in range(section.teacher_documents):
        family = rng.choice(families)
        items = [_draw_new(family, rng, taken) for _ in range(_BLOCKS_PER_DOCUMENT)]
        yield {"text": "\n\n".join(item.block() for item in items)}


def _draw_new(family: Family, rng: random.Random, taken: set[str]) -> ToyItem:
    for _ in range(1000):
        item = draw_item(family, rng)
        key = normalise(item.question)
        if key not in taken:
            taken.add(key)
            return item
    raise DataError(
        f"the family `{family.name}` has no more distinct questions",
        "lower data.train_per_family, data.test_per_family or data.teacher_documents",
    )


def _rows(items: list[ToyItem]) -> Iterator[dict[str, Json]]:
    for item in items:
        row: dict[str, Json] = {
            "question": item.question,
            "answer": item.answer,
            "explanation": item.explanation,
        }
        if item.choices:
            row |= {"choices": list(item.choices), "label": item.choices.index(item.answer)}
        yield row


def _write_configs(folder: Path, data: Path) -> None:
    """Write the tasks' YAML files; `data` is where their documents are."""
    for family in FAMILIES.values():
        config = yaml.safe_dump(_task_config(family, data), sort_keys=False)
        (folder / f"{PREFIX}{family.name}.yaml").write_text(config, encoding="utf-8")


def _task_config(family: Family, data: Path) -> dict[str, Json]:
    name = PREFIX + family.name
    config: dict[str, Json] = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {split: str(data / f"{name}.{split}.jsonl") for split in _SPLITS}
        },
        "training_split": "train",
        "test_split": "test",
        "num_fewshot": 0,
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "target_delimiter": " ",
        "metadata": {"version": 1.0},
    }
    if family.is_choice:
        return config | {
            "output_type": "multiple_choice",
            "doc_to_choice": "choices",
            "doc_to_target": "label",
            "metric_list": [
                {"metric": metric, "aggregation": "mean", "higher_is_better": True}
                for metric in ("acc", "acc_norm")
            ],
        }
    return config | {
        "output_type": "generate_until",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8, "do_sample": False},
        "metric_list": [
            {
                "metric": "exact_match",
                "aggregation": "mean",
                "higher_is_better": True,
                "ignore_case": True,
            }
        ],
    }


_SPLITS = ("train", "test")
