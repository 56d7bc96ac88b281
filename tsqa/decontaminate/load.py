"""The evaluated documents that nothing may repeat."""

from __future__ import annotations

from tsqa.recipe import needed
from tsqa.records.seed import Seed
from tsqa.seeds.sources import load_split
from tsqa.seeds.stage import evaluated_tasks
from tsqa.store.stage import StageContext


def load_evaluated(context: StageContext) -> list[Seed]:
    """Every document of the evaluated split of every task in recipe.eval.tasks."""
    section = needed(context.recipe.eval, "eval")
    include = context.task_folder(section)
    names = evaluated_tasks(context.recipe, include)
    return [document for name in names for document in load_split(name, include, "test")]
