"""The section `launch`: where the jobs that train run, and who starts them.

Guarantees: a key that the chosen way does not read is refused; nothing here changes a result.
"""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from tsqa.recipe.sections.base import Section, refuse_unread

PLACEHOLDERS = ("training", "arguments", "log")
"""What a command may name in braces."""
SCHEDULERS = ("slurm", "sky", "k8s")
_NAMED = re.compile(r"\{([a-z_]*)\}")
_OURS = {
    "slurm": re.compile(r"-[JoaM]|--(job-name|output|parsable|wrap|array|clusters?)\b"),
    "sky": re.compile(
        r"-[ncdy]|--(name|cluster|detach-run|async|num-jobs|env=(ARGUMENTS|TSQA_))\b"
    ),
    "k8s": re.compile(r"(?!--(context|namespace|kubeconfig)=)"),
}
"""Options by which a job and its log are found again, or that would undo ours."""
_MACHINES = {"slurm": re.compile(r"-N|--nodes\b"), "sky": re.compile(r"--num-nodes\b")}
_SECRET = re.compile(r"--(?:secret=(\w+)|env=(\w*(?:KEY|TOKEN|SECRET|PASSW)\w*))=", re.IGNORECASE)


class LaunchSection(Section):
    """How the training of each arm is started; the other stages run where the command runs."""

    kind: Literal["local", "slurm", "sky", "k8s", "command"] = "local"
    """local: processes on this machine. slurm: a job for each arm, by `launch/slurm/train.sbatch`.
    sky: a managed job of SkyPilot. k8s: a Job on Kubernetes, by kubectl. command: your own command.
    """
    machines: int = Field(1, ge=1)
    """Of slurm, sky and k8s: machines of a job; `train.processes` are spread evenly over them."""
    options: list[str] = []
    """slurm: options of sbatch, such as --partition=gpu or --time=24:00:00; they win over ours.
    sky: of `sky jobs launch`, such as --infra=aws, --gpus=H100:8 or --secret=WANDB_API_KEY. k8s: of
    every kubectl: --context, --namespace, --kubeconfig."""
    template: str | None = None
    """sky: YAML of a task, `launch/sky/train.yaml` where none is given. k8s: YAML of a Job, your
    copy of `launch/k8s/job.yaml`."""
    command: str | None = None
    """command: a shell command that trains an arm, and ends when it is trained, or with the exit
    code of its training. In it {training} stands for the command that trains on one machine,
    {arguments} for what comes after `-m train` in it, and {log} for the file of its log."""
    at_once: int = Field(4, ge=1)
    """Of all but local: jobs of an ablation at a time, where `--parallel` does not say."""
    patience_minutes: float = Field(60.0, gt=0)
    """Of slurm, sky and k8s: how long the scheduler may be out of reach until the command ends; the
    job goes on."""

    @property
    def is_scheduled(self) -> bool:
        """Whether a scheduler takes the jobs."""
        return self.kind in SCHEDULERS

    @model_validator(mode="after")
    def _is_read(self) -> Self:
        fields = type(self).model_fields
        readers = {
            "machines": SCHEDULERS, "options": SCHEDULERS, "template": ("sky", "k8s"),
            "command": ("command",),
        }  # fmt: skip
        for key, kinds in readers.items():
            is_given = getattr(self, key) != fields[key].default
            if is_given and self.kind not in kinds:
                named = " or ".join(kinds)
                raise ValueError(f"{key} is of kind {named}, and kind is {self.kind}")
        if self.kind == "local":
            refuse_unread(self, ["at_once"], "is of jobs, and kind is local: say --parallel")
        if not self.is_scheduled:
            refuse_unread(self, ["patience_minutes"], f"is of a scheduler, and kind is {self.kind}")
        if self.kind == "k8s" and self.template is None:
            raise ValueError("kind k8s needs `template`: your copy of launch/k8s/job.yaml")
        self._check_command()
        for option in self.options:
            self._check_option(option)
        return self

    def _check_command(self) -> None:
        if self.kind == "command" and self.command is None:
            raise ValueError("kind command needs `command`, such as \"ssh gpu1 '{training}'\"")
        for name in _NAMED.findall(self.command or ""):
            if name not in PLACEHOLDERS:
                known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
                raise ValueError(f"command: {{{name}}} stands for nothing; use {known}")
        if self.command and not {"training", "arguments"} & {*_NAMED.findall(self.command)}:
            raise ValueError("command names neither {training} nor {arguments}: it trains no arm")

    def _check_option(self, option: str) -> None:
        if not option.startswith("-"):
            raise ValueError(f"options: {option!r} is no option; write --key=value as one")
        if secret := _SECRET.match(option):
            name = secret[1] or secret[2]
            raise ValueError(
                f"options: the value of {name} is in it, and a recipe is copied into artifacts; "
                f"write --secret={name}, and set it in the environment"
            )
        machines = _MACHINES.get(self.kind)
        if machines and machines.match(option):
            raise ValueError(f"options: {option}: give launch.machines instead")
        if self.kind == "k8s" and _OURS["k8s"].match(option):
            known = "--context=, --namespace= and --kubeconfig="
            name = option.partition("=")[0]  # without what may be a password
            raise ValueError(f"options: {name}: of kubectl, {known} are taken")
        if _OURS[self.kind].match(option):
            raise ValueError(f"options: {option}: by this a job is found again; leave it out")
