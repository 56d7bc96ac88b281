"""The evaluated documents that nothing may repeat."""

from __future__ import annotations

from tsqa.recipe import needed
from tsqa.seeds import Seed, evaluated_tasks, load_split
from tsqa.store.stage import StageContext


def load_evaluated(context: StageContext) -> list[Seed]:
    """Load every document of the evaluated split of every task in recipe.eval.tasks."""
    section = needed(context.recipe.eval, "eval")
    include = context.task_folder(section)
    names = evaluated_tasks(context.recipe, include)
    return [document for name in names for document in load_split(name, include, "test")]
