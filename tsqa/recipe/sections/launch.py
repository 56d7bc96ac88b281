"""The section `launch`: where the jobs that train run, and who starts them.

Guarantees: a key that the chosen way does not read is refused; nothing here changes a result.
"""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from tsqa.recipe.sections.base import Section

PLACEHOLDERS = ("training", "arguments", "log")
"""What a command may name in braces."""
_NAMED = re.compile(r"\{([a-z_]*)\}")
_OURS = re.compile(r"-[JoaM]|--(job-name|output|parsable|wrap|array|clusters?)\b")
"""Options of sbatch by which a job and its log are found again."""
_MACHINES = re.compile(r"-N|--nodes\b")


class LaunchSection(Section):
    """How the training of each arm is started; the other stages run where the command runs."""

    kind: Literal["local", "slurm", "command"] = "local"
    """local: processes on this machine. slurm: a job for each arm, by `launch/slurm/train.sbatch`.
    command: your own command."""
    machines: int = Field(1, ge=1)
    """slurm: machines of a job; `train.processes` are spread evenly over them."""
    options: list[str] = []
    """slurm: options of sbatch, such as --partition=gpu or --time=24:00:00; they win over ours."""
    command: str | None = None
    """command: a shell command that trains an arm, and ends when it is trained, or with the exit
    code of its training. In it {training} stands for the command that trains on one machine,
    {arguments} for what comes after `-m train` in it, and {log} for the file of its log."""
    at_once: int = Field(4, ge=1)
    """Of slurm and command: jobs of an ablation at a time, where `--parallel` does not say."""
    patience_minutes: float = Field(60.0, gt=0)
    """slurm: how long its controller may be out of reach until the command ends; the job goes
    on."""

    @model_validator(mode="after")
    def _is_read(self) -> Self:
        fields = type(self).model_fields
        for key, kind in (("machines", "slurm"), ("options", "slurm"), ("command", "command")):
            is_given = getattr(self, key) != fields[key].default
            if is_given and self.kind != kind:
                raise ValueError(f"{key} is of kind {kind}, and kind is {self.kind}")
        if self.kind == "command" and self.command is None:
            raise ValueError("kind command needs `command`, such as \"ssh gpu1 '{training}'\"")
        for name in _NAMED.findall(self.command or ""):
            if name not in PLACEHOLDERS:
                known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
                raise ValueError(f"command: {{{name}}} stands for nothing; use {known}")
        if self.command and not {"training", "arguments"} & {*_NAMED.findall(self.command)}:
            raise ValueError("command names neither {training} nor {arguments}: it trains no arm")
        for option in self.options:
            if not option.startswith("-"):
                raise ValueError(f"options: {option!r} is no option; write --key=value as one")
            if _OURS.match(option):
                raise ValueError(f"options: {option}: by this a job is found again; leave it out")
            if _MACHINES.match(option):
                raise ValueError(f"options: {option}: give launch.machines instead")
        return self
