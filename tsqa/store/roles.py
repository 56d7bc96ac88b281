"""How inputs and stages are named: typed in code, as text in manifests, stages.json and W&B.

Guarantee: this is the one module that writes and reads these texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

BASE = "base"
"""The untrained model, where an arm's name could stand."""


@dataclass(frozen=True)
class ArmRole:
    """The evaluation of an arm."""

    arm: str


@dataclass(frozen=True)
class PointRole:
    """A trained model as it was after so many tokens."""

    tokens: int


@dataclass(frozen=True)
class CheckedRole:
    """A stage that looked for evaluated documents; of several, each has a number."""

    stage: str
    number: int


@dataclass(frozen=True)
class SourceRole:
    """The tokens of a source of the mixture."""

    source: str


Role: TypeAlias = str | ArmRole | PointRole | CheckedRole | SourceRole
"""Text: the name of a stage, of a teacher, `model`, or `base`."""
_CHECKED = {"filter": "filter", "decontaminate": "documents"}


def is_exact(role: Role) -> bool:
    """Whether an input counts as the very artifact that it is, not as the first of its content."""
    return isinstance(role, (CheckedRole, PointRole))


def format_role(role: Role) -> str:
    """The role as a manifest holds it."""
    match role:
        case ArmRole(arm):
            return f"arm:{arm}"
        case PointRole(tokens):
            return f"model@{tokens}"
        case CheckedRole(stage, number):
            return f"{_CHECKED[stage]}:{number}"
        case SourceRole(source):
            return f"tokens:{source}"
    return role


def parse_role(text: str) -> Role:
    """The role that `format_role` wrote."""
    kind, colon, rest = text.partition(":")
    if colon and kind == "arm":
        return ArmRole(rest)
    if colon and kind == "tokens":
        return SourceRole(rest)
    for stage, named in _CHECKED.items():
        if colon and kind == named:
            return CheckedRole(stage, int(rest))
    model, at, tokens = text.partition("@")
    return PointRole(int(tokens)) if at and model == "model" and tokens.isdigit() else text


def trained_model(roles: Iterable[Role]) -> Role | None:
    """The role of the trained model among the inputs of an evaluation."""
    return next((r for r in roles if r == "model" or isinstance(r, PointRole)), None)


@dataclass(frozen=True)
class Label:
    """A stage as a person and stages.json name it."""

    stage: str
    arm: str = ""
    """Or what tells the artifacts of a stage apart that several arms share."""
    point: int | None = None
    """Tokens of training."""
    recipe: str = ""
    """Where it is not the run's own."""

    @property
    def detail(self) -> str:
        """Which of the artifacts of its stage it is."""
        return self.arm if self.point is None else f"{self.arm}@{self.point}"

    def __str__(self) -> str:
        if self.recipe:
            return f"{self.recipe}/{self.stage}"
        return f"{self.stage}:{self.detail}" if self.arm else self.stage


def parse_label(text: str) -> Label:
    """The label that was written as this text."""
    head, _, detail = text.partition(":")
    recipe, _, stage = head.rpartition("/")
    arm, _, point = detail.rpartition("@")
    if arm and point.isdigit():
        return Label(stage, arm, int(point), recipe)
    return Label(stage, detail, None, recipe)
