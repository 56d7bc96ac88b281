"""Which stages are an arm's alone and which arms share, and the plan that `--dry-run` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from tsqa.console import console, make_console
from tsqa.errors import RecipeError
from tsqa.pipeline.node import Node, upstream_of
from tsqa.pipeline.run import Pipeline
from tsqa.preview.dry_run import print_estimates, shown_seconds
from tsqa.preview.estimate import Estimates
from tsqa.recipe import Arm, arms_of, control_of, needed
from tsqa.store.roles import BASE

_WIDE = 400
"""Characters: the name of an arm is never cut."""


@dataclass(frozen=True)
class ArmWork:
    """The stages of one arm, in the order in which they run."""

    arm: Arm
    shared: list[Node]
    """Also of another arm, or of the base."""
    data: list[Node]
    """Of this arm alone, before its training."""
    own: list[Node]
    """Training and evaluations."""

    @property
    def nodes(self) -> list[Node]:
        return [*self.shared, *self.data, *self.own]


def arm_works(pipeline: Pipeline) -> list[ArmWork]:
    """The work of each arm, in the order of the arms; RecipeError without an ablation."""
    if pipeline.recipe.ablation is None:
        raise RecipeError(
            f"{pipeline.origin}: the recipe has no section `ablation`",
            "add one, or use `tsqa run`",
        )
    arms = arms_of(pipeline.recipe)
    ends: dict[str, list[Node]] = {name: [] for name in arms}
    for node in own_nodes(pipeline):
        if node.arm in ends:
            ends[node.arm].append(node)
    needs = {name: _upstream(nodes) for name, nodes in ends.items()}
    base = [n for n in own_nodes(pipeline) if n.arm == BASE]
    users: dict[str, int] = dict.fromkeys(_upstream(base), 1)
    for nodes in needs.values():
        for fingerprint in nodes:
            users[fingerprint] = users.get(fingerprint, 0) + 1
    places = {node.fingerprint: place for place, node in enumerate(pipeline.nodes)}
    works = []
    for name, arm in arms.items():
        own = {node.fingerprint for node in ends[name]}
        places_before = sorted(places[key] for key in needs[name].keys() - own)
        before = [pipeline.nodes[place] for place in places_before]
        works.append(
            ArmWork(
                arm,
                [node for node in before if users[node.fingerprint] > 1],
                [node for node in before if users[node.fingerprint] == 1],
                ends[name],
            )
        )
    return works


def own_nodes(pipeline: Pipeline) -> list[Node]:
    """The nodes of the recipe itself, without those of the recipes of its models."""
    return [node for node in pipeline.nodes if node.recipe.name == pipeline.recipe.name]


def print_ablation(pipeline: Pipeline, parallel: int) -> None:
    """Print per arm what it shares and what is left to do, then tokens, dollars and time."""
    works, estimates = arm_works(pipeline), Estimates(pipeline)
    control = control_of(pipeline.recipe)
    title = f"{pipeline.recipe.name}: {len(works)} arms, control {control}"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("arm", no_wrap=True)
    for column in ("shared", "own", "cached", "to run", "tokens", "time"):
        table.add_column(column, no_wrap=True, justify="right")
    for work in works:
        cached = [node for node in work.nodes if pipeline.find(node)]
        left = [node for node in [*work.data, *work.own] if not pipeline.find(node)]
        table.add_row(
            work.arm.name,
            str(len(work.shared)),
            str(len(work.data) + len(work.own)),
            str(len(cached)),
            str(len(work.nodes) - len(cached)),
            f"{_trained_tokens(left):,}",
            shown_seconds(estimates.total(left).seconds),
        )
    make_console(stderr=True, width=_WIDE).print(table)
    own = {node.fingerprint for work in works for node in work.own}
    missing = [node for node in pipeline.nodes if not pipeline.find(node)]
    before = [node for node in missing if node.fingerprint not in own]
    after = [node for node in missing if node.fingerprint in own]
    console.print(
        f"{len(pipeline.nodes)} stages: {len(pipeline.nodes) - len(missing)} cached, "
        f"{len(before)} to run once, {len(after)} to run for single arms"
    )
    console.print(f"tokens to train on: {_trained_tokens(missing):,}")
    once, of_arms = (shown_seconds(estimates.total(nodes).seconds) for nodes in (before, after))
    console.print(
        f"time: {once or '0 s'} once, then {of_arms or '0 s'} of arms, {parallel} at a time"
    )
    print_estimates(pipeline)


def _upstream(nodes: Sequence[Node]) -> dict[str, Node]:
    return {key: node for end in nodes for key, node in upstream_of(end).items()}


def _trained_tokens(nodes: Sequence[Node]) -> int:
    return sum(needed(n.recipe.mixture, "mixture").tokens for n in nodes if n.trains)
