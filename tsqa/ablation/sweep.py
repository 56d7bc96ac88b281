"""An ablation as a W&B sweep: the YAML of the sweep, and what each run of an agent does.

Promises: an agent's run trains and evaluates one arm (and the control of its seed, unless that is
done), shares every finished stage with `tsqa ablate`, and logs its scores and deltas to the run
that the agent opened; agents side by side wait for each other's stages.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import yaml

from tsqa.ablation.plan import ArmWork, arm_works
from tsqa.errors import RecipeError
from tsqa.pipeline.node import Node, upstream_of
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import Arm, Recipe, arm_config, arms_of, control_of, load_recipe, needed
from tsqa.store.atomic import write_text
from tsqa.store.tracking import resolve_mode

CONDITION = "condition"
_AGENT = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH")
"""What an agent sets for its own run; the runs of the stages have ids of their own."""


def write_sweep(recipe: Recipe, origin: Path, out: Path) -> None:
    """Write the sweep's YAML: `wandb sweep FILE`, then `wandb agent ID`."""
    arms = list(arms_of(recipe).values())
    section = needed(recipe.ablation, "ablation")
    values = [value for axis in section.axes.values() for value in axis]
    if section.arms or section.controls or any(isinstance(v, (list, dict)) for v in values):
        parameters: dict[str, object] = {
            CONDITION: {"values": list(dict.fromkeys(arm.condition for arm in arms))}
        }
    else:
        parameters = {key: {"values": axis} for key, axis in section.axes.items()}
    parameters["seed"] = {"values": sorted({arm.seed for arm in arms})}
    sweep = {
        "name": recipe.name,
        "project": recipe.tracking.project,
        "program": "tsqa.cli.app",
        "method": "grid",
        "metric": {"name": "macro", "goal": "maximize"},
        "parameters": parameters,
        "command": [
            *("${env}", "${interpreter}", "-m", "tsqa.cli.app", "sweep-run", str(origin)),
            "${args_no_hyphens}",
        ],
    }
    write_text(out, yaml.safe_dump(sweep, sort_keys=False))


def run_sweep_arm(origin: Path, overrides: Sequence[str]) -> dict[str, object]:
    """Build the arm that the overrides name, log it to the agent's run; return what was logged."""
    plain = load_recipe(origin)
    needed(plain.ablation, "ablation")
    axes = {key for arm in arms_of(plain).values() for key in arm.values} | {CONDITION, "seed"}
    chosen, others = {}, []
    for override in overrides:
        key, _, text = override.partition("=")
        if key in axes:
            chosen[key] = yaml.safe_load(text) if key != CONDITION else text
        else:
            others.append(override)
    pipeline = Pipeline(load_recipe(origin, others), origin, others)
    arm = find_arm(pipeline.recipe, chosen)
    with _without_agent():
        error: Exception | None = None
        logged: dict[str, object] = {}
        try:
            logged = _build_and_compare(pipeline, arm)
        except Exception as problem:  # noqa: BLE001 - the run must say that it failed
            error = problem
    _log_to_agent(pipeline.recipe, arm, logged, failed=error is not None)
    if error is not None:
        raise error
    return logged


def find_arm(recipe: Recipe, chosen: Mapping[str, object]) -> Arm:
    """The arm with these values of its condition and seed; RecipeError unless it is one."""
    found = [
        arm
        for arm in arms_of(recipe).values()
        if all(
            {**arm.values, CONDITION: arm.condition, "seed": arm.seed}.get(key) == value
            for key, value in chosen.items()
        )
    ]
    if len(found) != 1:
        shown = ", ".join(f"{key}={value}" for key, value in chosen.items())
        raise RecipeError(
            f"{shown or 'no values'}: {len(found)} arms of the ablation have these",
            "write the sweep again: tsqa ablate RECIPE --write-sweep FILE",
        )
    return found[0]


def _build_and_compare(pipeline: Pipeline, arm: Arm) -> dict[str, object]:
    from eval.compare.scores import read, weigh_macro
    from eval.compare.stage import compare_arms
    from eval.statistics.stats import MACRO

    works = {work.arm.name: work for work in arm_works(pipeline)}
    control = control_of(pipeline.recipe)
    reference = next(
        work
        for work in works.values()
        if (work.arm.condition, work.arm.seed) == (control, arm.seed)
    )
    evaluated = {}
    for work in (reference, works[arm.name]):
        evaluated[work.arm.name] = pipeline.find(_build(pipeline, work))
    found = {name: artifact for name, artifact in evaluated.items() if artifact is not None}
    models = {
        name: read(name, artifact, works[name].arm.condition, works[name].arm.seed)
        for name, artifact in found.items()
    }
    own = models[arm.name]
    scores = {f"score/{task}": result.score for task, result in own.tasks.items()}
    by_documents = needed(pipeline.recipe.eval, "eval").macro == "documents"
    macro = weigh_macro(own).macro if by_documents else own.macro
    logged: dict[str, object] = {"macro": macro, **scores}
    if arm.condition == control:
        return logged
    deltas = compare_arms(pipeline.recipe, [*models.values()], [*found.values()])
    for row in deltas.rows:
        logged[f"delta/{row.task}"] = row.delta
        if row.task == MACRO:
            logged |= {"delta_low": row.low, "delta_high": row.high, "verdict": row.verdict}
    return logged


def _build(pipeline: Pipeline, work: ArmWork) -> Node:
    """Build all that an arm is made from; its last evaluation."""
    evaluation = [node for node in work.own if node.stage == "evaluate" and node.point is None]
    if not evaluation:
        raise RecipeError("a sweep needs scores, and the recipe has no `eval`", "add the section")
    upstream = upstream_of(evaluation[-1])
    pipeline.refuse_missing_models([n for n in pipeline.nodes if n.fingerprint in upstream])
    for node in pipeline.nodes:
        if node.fingerprint in upstream:
            pipeline.ensure(node)
    return evaluation[-1]


@contextmanager
def _without_agent() -> Iterator[None]:
    """Hide the agent's run from the runs of the stages."""
    hidden = {name: os.environ.pop(name) for name in _AGENT if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _log_to_agent(recipe: Recipe, arm: Arm, logged: Mapping[str, object], failed: bool) -> None:
    mode = resolve_mode(recipe.tracking.mode)
    if mode == "disabled":
        return
    import wandb

    folder = Path(recipe.runs)
    folder.mkdir(parents=True, exist_ok=True)
    wandb.teardown()  # it read the environment for the runs of the stages, and would not again
    run = wandb.init(  # its id, sweep and parameters come from the agent's environment
        project=recipe.tracking.project,
        entity=recipe.tracking.entity,
        group=recipe.name,
        job_type="arm",
        name=arm.name,
        config=arm_config(arm),
        dir=str(folder),
        mode=cast(Any, mode),
        settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
    )
    if logged:
        run.log(dict(logged))
        run.summary.update(dict(logged))
    run.finish(exit_code=int(failed))
    wandb.teardown()
