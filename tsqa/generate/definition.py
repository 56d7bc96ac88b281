"""The stage `generate`: seeds -> candidates, written and answered by its models."""

from __future__ import annotations

from collections.abc import Mapping

from tsqa.prompts import load_prompts
from tsqa.recipe import GenerateSection, ModelSection, Recipe, SolverSection, needed
from tsqa.store.artifact import Artifact
from tsqa.store.identity import Json
from tsqa.store.roles import Role
from tsqa.store.stage import Stage
from tsqa.teachers.config import teacher_config, teachers_of
from tsqa.teachers.failures import refuse_unanswered

STYLES = "generate.rephrase.styles"


def _config(recipe: Recipe) -> dict[str, Json]:
    section = needed(recipe.generate, "generate")
    config: dict[str, Json] = {**section.data_config(), "prompts": _prompts(recipe, section)}
    if section.rephrase:  # a path is none of the data: its name and its file are
        config["rephrase"] = {**section.rephrase.shares}
    for name in ("teacher", "writer"):
        if model := getattr(section, name):
            config[name] = teacher_config(model)
    if section.solvers:
        config["solvers"] = [_solver_config(*each) for each in enumerate(section.solvers)]
    if section.cascade:
        teacher = teacher_config(section.cascade.teacher)
        config["cascade"] = {**section.cascade.data_config(), "teacher": teacher}
    return config


def _prompts(recipe: Recipe, section: GenerateSection) -> dict[str, Json]:
    if section.rephrase:
        return {
            name: [*load_prompts(style, "rephrase", STYLES).identity]
            for name, style in section.rephrase.files.items()
        }
    question = load_prompts(section.prompts.question, "question", "generate.prompts.question")
    if section.attributes:
        question.check_attributes()
    answer = load_prompts(section.prompts.answer, "answer", "generate.prompts.answer")
    prompts: dict[str, Json] = {"question": [*question.identity], "answer": [*answer.identity]}
    if recipe.seeds and recipe.seeds.documents:
        passage = load_prompts(section.prompts.passage, "passage", "generate.prompts.passage")
        prompts["passage"] = [*passage.identity]
    return prompts


def _solver_config(number: int, solver: SolverSection) -> dict[str, Json]:
    config = {**solver.data_config(), "teacher": teacher_config(solver.teacher)}
    if solver.prompt:
        key = f"generate.solvers.{number}.prompt"
        config["prompt"] = [*load_prompts(solver.prompt, "answer", key).identity]
    return config


def _models(recipe: Recipe) -> dict[str, ModelSection]:
    teachers = teachers_of(needed(recipe.generate, "generate"))
    return {role: teacher.model for role, teacher in teachers.items()}


def _recheck(recipe: Recipe, made: Artifact, inputs: Mapping[Role, Artifact]) -> None:
    section = needed(recipe.generate, "generate")
    allowed = (section.allow_failed, "generate.allow_failed")
    refuse_unanswered(made, dict.fromkeys(teachers_of(section), allowed))


GENERATE = Stage(
    "generate",
    13,
    _config,
    "tsqa.generate.stage",
    sections=("generate",),
    inputs=lambda recipe: ("seeds", "data"),
    wanted=lambda recipe: recipe.seeds is not None and recipe.generate is not None,
    models=_models,
    recheck=_recheck,
)
