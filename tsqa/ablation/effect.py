"""What training on a dataset did, by the recipe's finished ablation; else what would find out."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from tsqa.console import console
from tsqa.errors import RecipeError
from tsqa.pipeline.node import Node, trained_node
from tsqa.pipeline.run import Pipeline
from tsqa.preview.dry_run import shown_count, shown_dollars, shown_seconds
from tsqa.preview.estimate import Estimates
from tsqa.quality.effectiveness import SyntheticArm, measure_effect, not_measured
from tsqa.recipe import Arm, Recipe, load_recipe, needed, origins_of
from tsqa.records.quality import QualityMeasure
from tsqa.secrets import redact
from tsqa.store.roles import SourceRole


def effect_of(pipeline: Pipeline, dataset: Node) -> list[QualityMeasure]:
    """Of training on the artifact of a filter node; one line that says why where nothing shows."""
    from eval.compare.stage import read_deltas

    compared = [node for node in pipeline.nodes if node.stage == "compare"]
    made = pipeline.find(compared[-1]) if compared and pipeline.recipe.ablation else None
    if made is None:
        return [not_measured(_why_not(pipeline.recipe))]
    found = measure_effect(read_deltas(made), [*_arms(pipeline, dataset)])
    why = (
        "no arm of the ablation read this dataset where another read as many tokens without it and "
        "was trained alike"
    )
    return found or [not_measured(why)]


@dataclass(frozen=True)
class ProxyRun:
    """An ablation that would show the effect."""

    pipeline: Pipeline
    command: str


def proxy_run(pipeline: Pipeline) -> ProxyRun | None:
    """The recipe's ablation, or of a recipe without one the arms with and without its dataset.

    None where the recipe trains nothing, or on nothing else, or has no such arms.
    """
    recipe, origin = pipeline.recipe, pipeline.origin
    overrides = [*pipeline.overrides]
    if recipe.ablation is None:
        source = _only_dataset(recipe)
        if source is None:
            return None
        key = f"mixture.{source}"
        share = next(each.share for each in origins_of(recipe) if each.source == source)
        arms = f"ablation={{axes: {{{key}: [0, {share:.6g}]}}, control: {{{key}: 0}}}}"
        overrides.append(arms)
        try:
            pipeline = Pipeline(load_recipe(origin, overrides), origin, overrides)
        except RecipeError:  # such as a ratio that no phase can take
            return None
    words = ["tsqa", "ablate", str(origin), *map(redact, overrides)]
    return ProxyRun(pipeline, shlex.join(words))


def print_proxy(pipeline: Pipeline) -> None:
    """Say what the missing effect would cost and how to find it, by the dry run's estimates."""
    proxy = proxy_run(pipeline)
    if proxy is None:
        console.print(f"  training effectiveness: {_why_not(pipeline.recipe)}", markup=False)
        return
    missing = [node for node in proxy.pipeline.nodes if proxy.pipeline.find(node) is None]
    whole = Estimates(proxy.pipeline).total(missing)
    tokens = sum(needed(n.recipe.mixture, "mixture").tokens for n in missing if n.trains)
    arms = sum(node.trains for node in missing)
    cost = (
        f"{arms} trainings of {shown_count(tokens)} tokens in all, {shown_seconds(whole.seconds)}"
    )
    dollars = shown_dollars(whole.dollars)
    console.print(
        f"  training effectiveness would take {cost}{f', {dollars}' if dollars else ''}: "
        f"{proxy.command} --dry-run, then without --dry-run, then audit again",
        markup=False,
    )


def _arms(pipeline: Pipeline, dataset: Node) -> list[SyntheticArm]:
    """The conditions that read the dataset, with those to which they compare."""
    arms = {arm.condition: arm for arm in pipeline.arms.values()}
    read = {name: _tokens_of(pipeline, arm, dataset.fingerprint) for name, arm in arms.items()}
    return [
        SyntheticArm(
            name,
            tokens,
            {
                other: _instead(arm.recipe, arms[other].recipe)
                for other in arms
                if not _generated(arms[other].recipe) and _alike(arm.recipe, arms[other].recipe)
            },
        )
        for name, arm in arms.items()
        if (tokens := read[name]) and tokens == _generated(arm.recipe)
    ]


def _tokens_of(pipeline: Pipeline, arm: Arm, fingerprint: str) -> float:
    """Of the arm's stream, those from a filter artifact."""
    inputs = trained_node(pipeline.nodes, arm.name).inputs
    drawn = _drawn(arm.recipe)
    return sum(
        drawn.get(role.source, 0.0)
        for role, tokens in inputs.items()
        if isinstance(role, SourceRole)
        and "filter" in tokens.inputs
        and tokens.inputs["filter"].fingerprint == fingerprint
        and needed(arm.recipe.mixture, "mixture").sources[role.source].permute is None
    )


def _generated(recipe: Recipe) -> float:
    """Tokens of the stream from any generated dataset."""
    sources = needed(recipe.mixture, "mixture").sources
    return sum(n for name, n in _drawn(recipe).items() if sources[name].stage == "filter")


def _drawn(recipe: Recipe) -> dict[str, float]:
    """Source -> tokens that the plan draws from it, where it draws any."""
    mixture = needed(recipe.mixture, "mixture")
    names = dict.fromkeys(n for p in mixture.phases for n, ratio in p.ratios.items() if ratio)
    return {name: mixture.tokens_of(name) for name in names}


def _alike(ours: Recipe, theirs: Recipe) -> bool:
    """Whether two arms are trained alike on as many tokens."""
    ours_is, theirs_is = (
        (each.train, each.model, each.tokenizer, needed(each.mixture, "mixture").tokens)
        for each in (ours, theirs)
    )
    return ours_is == theirs_is


def _instead(ours: Recipe, theirs: Recipe) -> str:
    """The sources that the other draws more from, and who made them."""
    own, made_by = _drawn(ours), {each.source: each.shown for each in origins_of(theirs)}
    more = [name for name, tokens in _drawn(theirs).items() if tokens > own.get(name, 0.0) + 0.5]
    return ", ".join(f"{name} (made by: {made_by[name]})" for name in more) or "no other source"


def _only_dataset(recipe: Recipe) -> str | None:
    """The source of the mixture that is the dataset, where others are drawn too."""
    if recipe.train is None or recipe.eval is None or recipe.train.elsewhere:
        return None
    sources, drawn = needed(recipe.mixture, "mixture").sources, _drawn(recipe)
    ours = [name for name in drawn if sources[name].stage == "filter"]
    return ours[0] if len(ours) == 1 and len(drawn) > 1 else None


def _why_not(recipe: Recipe) -> str:
    if recipe.ablation is not None:
        return "its ablation is not finished: tsqa ablate RECIPE, then audit again"
    if _only_dataset(recipe) is not None:
        return (
            "it needs a control without the dataset: tsqa ablate RECIPE with an `ablation`, then "
            "audit again"
        )
    return (
        "the recipe trains no student on this and other text: extend it with `model`, `mixture`, "
        "`train` and `ablation`, as recipes/quickstart does, then tsqa ablate"
    )
