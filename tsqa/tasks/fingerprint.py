"""What decides the documents of tasks: the content of their folder, or lm-eval's version."""

from __future__ import annotations

from functools import cache
from importlib.metadata import distribution, version
from importlib.util import find_spec
from pathlib import Path

from tsqa.errors import RecipeError
from tsqa.recipe import Recipe
from tsqa.store.identity import Json, folder_identity


@cache
def identify_tasks(include: str | None) -> Json:
    """A folder of tasks is identified by its content, lm-eval's own tasks by its version."""
    if include is None:
        return _own_tasks()
    if include.startswith("{data}"):
        return include
    if not Path(include).is_dir():
        raise RecipeError(f"{include}: no such folder of task YAMLs", "correct `include`")
    from tsqa.tasks.files import task_folder_identity  # lm-eval takes a while to import

    return task_folder_identity(Path(include))


def evaluated_config(recipe: Recipe) -> dict[str, Json]:
    """Which documents must not leak: those of the evaluated tasks, however they are asked."""
    if recipe.eval is None:
        return {}
    return {"tasks": [*recipe.eval.tasks], "include": identify_tasks(recipe.eval.include)}


@cache
def _own_tasks() -> Json:
    """lm-eval's own tasks: its version, and their content where it was installed to be edited."""
    named = f"lm_eval {version('lm_eval')}"
    installed = distribution("lm_eval").read_text("direct_url.json") or ""
    spec = find_spec("lm_eval")
    if '"editable": true' not in installed or spec is None or spec.origin is None:
        return named
    return {"version": named, "tasks": folder_identity(Path(spec.origin).parent / "tasks")}
