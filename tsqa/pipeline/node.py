"""One stage of one arm: what decides it, and what it is made from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from tsqa.errors import RecipeError
from tsqa.hub.identify import identify
from tsqa.recipe import Recipe
from tsqa.store.artifact import Artifact, Store, differing_keys, fingerprint_of
from tsqa.store.identity import Json
from tsqa.store.roles import Label, Role, format_role, is_exact
from tsqa.store.stage import Stage
from tsqa.tasks.fingerprint import forget_tasks


@dataclass(frozen=True)
class Node:
    """Two nodes with one fingerprint are one artifact."""

    definition: Stage
    recipe: Recipe
    origin: Path
    """The YAML file, for `accelerate launch -m train`."""
    store: Store
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
    def trains(self) -> bool:
        """Whether it is a training job; not where a model that was trained elsewhere is taken."""
        return self.stage == "train" and self.definition.module is None

    @property
    def labelled(self) -> Label:
        part = self.definition.part
        shared = f"{part} {self.variant}".strip() if part else self.variant
        return Label(self.stage, self.arm or shared, self.point)

    @property
    def label(self) -> str:
        return str(self.labelled)

    @cached_property
    def config(self) -> dict[str, Json]:
        return _config_of(self)

    @cached_property
    def fingerprint(self) -> str:
        own = fingerprint_of(self.stage, self.config, self.input_fingerprints)
        if not self.definition.more or self.store.path_of(self.stage, own).is_dir():
            return own
        return _with_more(self) or own

    @cached_property
    def identity(self) -> str:
        """By which fingerprint later stages know it: of the first artifact with its content."""
        return self.store.identity(self.stage, self.fingerprint)

    @property
    def input_fingerprints(self) -> dict[str, str]:
        """Role -> the identity of its artifact, or which very artifact it is where that matters."""
        return {
            format_role(role): node.fingerprint if is_exact(role) else node.identity
            for role, node in self.inputs.items()
        }

    @property
    def key(self) -> tuple[str, str, str | None, int | None]:
        """Arms whose artifacts come out as one still have a node each."""
        return self.stage, self.fingerprint, self.arm, self.point


def changed_since(node: Node) -> list[str]:
    """How the files that a stage reads itself differ from when its graph was built."""
    forget_files()
    return differing_keys(node.config, _config_of(node))


def forget_files() -> None:
    """Look at the recipe's files afresh."""
    identify.cache_clear()
    forget_tasks()


def forget_identities(nodes: Iterable[Node]) -> None:
    """Compute fingerprints afresh: something was finished with the content of another artifact."""
    for node in reached_from(nodes):
        vars(node).pop("fingerprint", None)
        vars(node).pop("identity", None)


def upstream_of(node: Node) -> dict[str, Node]:
    """Fingerprint -> node, of the node itself and all that it is made from."""
    return {found.fingerprint: found for found in reached_from([node])}


def reached_from(nodes: Iterable[Node]) -> list[Node]:
    """These nodes and all that they are made from, each once."""
    found: dict[int, Node] = {}
    todo = [*nodes][::-1]
    while todo:
        node = todo.pop()
        if id(node) not in found:
            found[id(node)] = node
            todo += node.inputs.values()
    return [*found.values()]


def _with_more(node: Node) -> str | None:
    """The first finished artifact that differs only by what else was made with it."""
    key = node.definition.more
    wanted = set(cast(Sequence[Json], node.config[key]))
    serving = [
        artifact.manifest
        for artifact in alike_but_for_more(node)
        if wanted <= set(artifact.manifest.config.get(key, ()))
    ]
    first = min(serving, key=lambda m: (m.created, m.fingerprint), default=None)
    return first.fingerprint if first else None


def alike_but_for_more(node: Node) -> list[Artifact]:
    """The finished artifacts that differ by nothing but what else was made with them."""
    key = node.definition.more
    rest = _without(node.config, key)
    return [
        artifact
        for artifact in (node.store.finished(node.stage) if key else ())
        if _without(artifact.manifest.config, key) == rest
        and artifact.manifest.inputs == node.input_fingerprints
    ]


def _without(config: Mapping[str, Any], key: str) -> object:
    """The rest of a config, as JSON gives it back."""
    return json.loads(json.dumps({name: value for name, value in config.items() if name != key}))


def guards_of(node: Node, nodes: Iterable[Node]) -> list[Node]:
    """The guards that must pass before a teacher is asked about their seeds."""
    if node.stage != "generate":
        return []
    return [n for n in nodes if n.stage == "guard" and n.inputs["seeds"] is node.inputs["seeds"]]


def trained_node(nodes: Sequence[Node], arm: str) -> Node:
    """The train node of one arm of the recipe itself (the last of that name)."""
    found = [node for node in nodes if node.stage == "train" and node.arm == arm]
    if not found:
        known = sorted({node.arm or "" for node in nodes if node.stage == "train"})
        raise RecipeError(f"no arm `{arm}`", f"use one of: {', '.join(known)}")
    return found[-1]


def _config_of(node: Node) -> dict[str, Json]:
    return {"version": node.definition.version, **node.definition.config(node.recipe)}
