"""The stage `filter`: candidates -> the dataset, and what was rejected."""

from __future__ import annotations

from collections.abc import Mapping

from tsqa.filters.language import check_codes
from tsqa.hub.identify import identify_model
from tsqa.prompts import Role as PromptRole
from tsqa.prompts import load_prompts
from tsqa.recipe import LeakJudgeSection, ModelSection, Recipe, needed
from tsqa.store.artifact import Artifact
from tsqa.store.identity import Json
from tsqa.store.roles import Role
from tsqa.store.stage import Stage
from tsqa.teachers.config import teacher_config, teachers_of
from tsqa.teachers.failures import refuse_unanswered

LEAK_JUDGE = "filter.decontaminate.semantic.judge"


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
    if section.review:
        from tsqa.review.apply import identify_decisions  # it imports pyarrow

        config["review"] = identify_decisions(recipe)
        if config["review"] is None:  # as without the key
            del config["review"]
    if section.dedup.semantic:
        semantic = section.dedup.semantic
        config["dedup"] = {
            **section.dedup.data_config(),
            "semantic": {**semantic.data_config(), "model": identify_model(semantic.model)},
        }
    leaks = section.semantic_leaks
    if leaks and not needed(recipe.generate, "generate").rephrase:
        config["decontaminate"] = {
            **section.decontaminate.data_config(),
            "semantic": {
                **leaks.measured_config(),
                "model": identify_model(leaks.model),
                **({"judge": _identify_leak_judge(leaks.judge)} if leaks.judge else {}),
            },
        }
    return config


def _identify_leak_judge(section: LeakJudgeSection) -> Json:
    return {
        **section.data_config(),
        "teacher": teacher_config(section.teacher),
        "prompt": _identify_prompts(section.prompt, "leak", f"{LEAK_JUDGE}.prompt"),
    }


def _identify_prompts(name: str, role: PromptRole, key: str) -> list[Json]:
    return [*load_prompts(name, role, key).identity]


def _models(recipe: Recipe) -> dict[str, ModelSection]:
    section = needed(recipe.filter, "filter")
    found = {role: teacher.model for role, teacher in teachers_of(section).items()}
    if section.triviality:  # it may ask the teacher itself
        teacher = needed(recipe.generate, "generate").teacher
        found |= {"teacher": teacher.model} if teacher else {}
    return found


def _recheck(recipe: Recipe, made: Artifact, inputs: Mapping[Role, Artifact]) -> None:
    section = needed(recipe.filter, "filter")
    allowed = {}
    if section.judge:
        allowed["judge"] = (section.judge.allow_failed, "filter.judge.allow_failed")
    if section.triviality:
        trial = (section.triviality.allow_failed, "filter.triviality.allow_failed")
        allowed |= {"weak": trial, "teacher": trial}  # it asks one or the other
    if section.leak_judge:
        allowed["leak_judge"] = (section.leak_judge.allow_failed, f"{LEAK_JUDGE}.allow_failed")
    refuse_unanswered(made, allowed)


FILTER = Stage(
    "filter",
    20,
    _config,
    "tsqa.filters.stage",
    sections=("filter",),
    inputs=lambda recipe: ("benchmarks", "seeds", "generate", "data", "guard"),
    wanted=lambda recipe: bool(recipe.seeds and recipe.generate and recipe.filter),
    models=_models,
    recheck=_recheck,
    content=("dataset/data/*",),
)
