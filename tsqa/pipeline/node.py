"""One stage of one arm: what decides it, and what it is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tsqa.errors import RecipeError
from tsqa.hub.identify import identify
from tsqa.recipe import Recipe
from tsqa.store.artifact import differing_keys, fingerprint_of
from tsqa.store.identity import Json
from tsqa.store.roles import Label, Role, format_role
from tsqa.store.stage import Stage
from tsqa.tasks.fingerprint import forget_tasks


@dataclass(frozen=True)
class Node:
    """Two nodes with one fingerprint are one artifact."""

    definition: Stage
    recipe: Recipe
    origin: Path
    """The YAML file, for `accelerate launch -m train`."""
    inputs: Mapping[Role, Node] = field(default_factory=dict)
    arm: str | None = None
    """`base` for the untrained model; None where arms may share it."""
    point: int | None = None
    """Tokens of training, of an evaluation along the way."""
    variant: str = ""
    """The settings that tell it apart from others of its stage, where arms share several."""

    @property
    def stage(self) -> str:
        return self.definition.name

    @property
    def labelled(self) -> Label:
        return Label(self.stage, self.arm or self.variant, self.point)

    @property
    def label(self) -> str:
        return str(self.labelled)

    @cached_property
    def config(self) -> dict[str, Json]:
        return _config_of(self)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint_of(self.stage, self.config, self.input_fingerprints)

    @property
    def input_fingerprints(self) -> dict[str, str]:
        return {format_role(role): node.fingerprint for role, node in self.inputs.items()}


def changed_since(node: Node) -> list[str]:
    """How the files that a stage reads itself differ from when its graph was built."""
    forget_files()
    return differing_keys(node.config, _config_of(node))


def forget_files() -> None:
    """Look at the recipe's files afresh."""
    identify.cache_clear()
    forget_tasks()


def upstream_of(node: Node) -> dict[str, Node]:
    """Fingerprint -> node, of the node itself and all that it is made from."""
    found = {node.fingerprint: node}
    for upstream in node.inputs.values():
        found |= upstream_of(upstream)
    return found


def trained_node(nodes: Sequence[Node], arm: str) -> Node:
    """The train node of one arm of the recipe itself (the last of that name)."""
    found = [node for node in nodes if node.stage == "train" and node.arm == arm]
    if not found:
        known = sorted({node.arm or "" for node in nodes if node.stage == "train"})
        raise RecipeError(f"no arm `{arm}`", f"use one of: {', '.join(known)}")
    return found[-1]


def _config_of(node: Node) -> dict[str, Json]:
    return {"version": node.definition.version, **node.definition.config(node.recipe)}
