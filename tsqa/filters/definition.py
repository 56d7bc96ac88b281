"""The stage `filter`: candidates -> the dataset, and what was rejected."""

from __future__ import annotations

from tsqa.filters.language import check_codes
from tsqa.hub.identify import identify_model
from tsqa.prompts import Role, load_prompts
from tsqa.recipe import ModelSection, Recipe, needed
from tsqa.store.identity import Json
from tsqa.store.stage import Stage
from tsqa.teachers.config import teacher_config, teachers_of


def _config(recipe: Recipe) -> dict[str, Json]:
    section = needed(recipe.filter, "filter")
    if section.languages is not None:
        check_codes(section.languages)
    config: dict[str, Json] = {
        **section.data_config(),
        "renderings": [
            _identify_prompts(name, "document", "filter.renderings") for name in section.renderings
        ],
    }
    if section.judge:
        config["judge"] = {
            **section.judge.data_config(),
            "teacher": teacher_config(section.judge.teacher),
            "prompt": _identify_prompts(section.judge.prompt, "judge", "filter.judge.prompt"),
        }
    if section.triviality and section.triviality.teacher:
        teacher = teacher_config(section.triviality.teacher)
        config["triviality"] = {**section.triviality.data_config(), "teacher": teacher}
    if section.reward:
        reward = identify_model(section.reward.model)
        config["reward"] = {**section.reward.data_config(), "model": reward}
    if section.dedup.semantic:
        semantic = section.dedup.semantic
        config["dedup"] = {
            **section.dedup.data_config(),
            "semantic": {**semantic.data_config(), "model": identify_model(semantic.model)},
        }
    return config


def _identify_prompts(name: str, role: Role, key: str) -> list[Json]:
    return [*load_prompts(name, role, key).identity]


def _models(recipe: Recipe) -> dict[str, ModelSection]:
    section = needed(recipe.filter, "filter")
    found = {role: teacher.model for role, teacher in teachers_of(section).items()}
    if section.triviality:  # it may ask the teacher itself
        found["teacher"] = needed(recipe.generate, "generate").teacher.model
    return found


FILTER = Stage(
    "filter",
    4,
    _config,
    "tsqa.filters.stage",
    inputs=lambda recipe: ("benchmarks", "seeds", "generate", "data"),
    wanted=lambda recipe: bool(recipe.seeds and recipe.generate and recipe.filter),
    models=_models,
)
