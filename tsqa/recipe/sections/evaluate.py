"""The section `eval`: the tasks, how they are scored, and the suites that name them.

Guarantees: a key of the recipe wins over the suite's; a macro average is over tasks that are
evaluated, under a name that no task has.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tsqa.errors import RecipeError
from tsqa.names import LocalPath, TaskName
from tsqa.plain_yaml import read_yaml
from tsqa.recipe.sections.base import RUNTIME, Section, Seed, Tokens, refuse_unread
from tsqa.shipped import SUITES


class ProtocolSection(Section):
    """How one task is asked and scored, where that is not as the task's own YAML says."""

    num_fewshot: int | None = Field(None, ge=0)
    """Examples in each prompt; null: `eval.num_fewshot`."""
    metric: str | None = None
    """A metric that the task reports, such as acc_norm; null: see eval/README.md."""
    filter: str | None = None
    """The filter of the task under which generated text is scored, such as flexible-extract."""
    samples: int | None = Field(None, ge=1)
    """Answers to each document, whose scores are averaged: pass@1 over so many."""
    temperature: float | None = Field(None, ge=0)
    """Of generated text; 0 is greedy."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Of generated text; needs a temperature."""
    max_tokens: int | None = Field(None, ge=1)
    """Longest generated text, in tokens."""
    stop: list[str] | None = Field(None, min_length=1)
    """Texts that end generated text, in place of the task's own."""

    @model_validator(mode="after")
    def _samples_differ(self) -> Self:
        if (self.samples or 1) > 1 and not self.temperature:
            raise ValueError(
                f"samples: {self.samples} needs a temperature above 0: greedy answers are all alike"
            )
        if self.top_p is not None and not self.temperature:
            raise ValueError("top_p needs a temperature above 0: a greedy answer ignores it")
        return self

    @property
    def generates(self) -> list[str]:
        """The keys set here that only generated text has."""
        keys = ("filter", "samples", "temperature", "top_p", "max_tokens", "stop")
        return [key for key in keys if getattr(self, key) is not None]


class EvalSection(Section):
    """The evaluation with lm-eval, and how deltas are computed from it."""

    suite: str | None = Field(None, json_schema_extra=RUNTIME)
    """A shipped suite, such as published, or the path of a YAML; keys set here win over it."""
    tasks: list[TaskName] = Field(min_length=1)
    """lm-eval tasks to evaluate, each once."""
    include: LocalPath | None = None
    """Folder of lm-eval task YAMLs, in place of lm-eval's own tasks."""
    check_removed: bool = Field(True, json_schema_extra=RUNTIME)
    """Keep out what a task had dropped that is evaluated no more; false brings it back."""
    macros: dict[TaskName, list[str]] = {}
    """Name -> tasks whose scores are averaged as a further row of the table."""
    num_fewshot: int | None = Field(None, ge=0)
    """Examples in each prompt; null: as each task is configured."""
    protocols: dict[TaskName, ProtocolSection] = {}
    """Name in `tasks` -> how it is asked and scored; a group's holds for each of its tasks."""
    limit: int | None = Field(None, ge=1)
    """Evaluate only the first documents of each task, for trials; null: all."""
    seed: Seed = 1234
    """Random seed of the few-shot examples."""
    chat_template: bool = False
    """Wrap each prompt in the tokenizer's chat template."""
    system_instruction: str | None = None
    """System message of each prompt; needs `chat_template`."""
    allow_code: bool = Field(False, json_schema_extra=RUNTIME)
    """Let tasks such as humaneval execute what the model writes, in a sandbox."""
    unguarded_code: bool = Field(False, json_schema_extra=RUNTIME)
    """Let tasks execute it without a sandbox, with their own code; risky."""
    every_tokens: Tokens | None = None
    """Also evaluate each arm at every multiple of this many training tokens; null: at the end."""
    backend: Literal["auto", "hf", "vllm"] = "auto"
    """Engine of the evaluation. auto: vllm on a GPU if it serves the model, hf otherwise."""
    max_length: int | None = Field(None, ge=32)
    """Tokens of a prompt with its answer; null: as many as the model allows."""
    batch_size: int = Field(32, ge=1, json_schema_extra=RUNTIME)
    """hf: requests at once per process; lower it if memory is short."""
    processes: int = Field(1, ge=1, json_schema_extra=RUNTIME)
    """Copies of the model that share the requests, each on separate GPUs."""
    tensor_parallel: int = Field(1, ge=1, json_schema_extra=RUNTIME)
    """vllm: GPUs that share one copy of the model."""
    kv_cache_gib: int = Field(2, ge=1, json_schema_extra=RUNTIME)
    """vllm on a CPU: GiB of memory for the KV cache (VLLM_CPU_KVCACHE_SPACE)."""
    bootstrap: int = Field(10_000, ge=100)
    """Bootstrap resamples behind each confidence interval."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Level of the confidence intervals."""
    seed_spread: float | None = Field(None, gt=0, le=50)
    """Standard deviation of a score between training seeds, in points, as an earlier ablation
    measured it: where no arm has several seeds, intervals are widened by it. null: one seed gives
    no verdict."""
    macro: Literal["tasks", "documents"] = "tasks"
    """Macro averages weigh all tasks alike, or by their documents."""
    groups: dict[TaskName, str] = {}
    """Task -> what its documents share, as those with one story do: a field of the document, or a
    regular expression on the question, between slashes. Letter case and numbers do not count."""

    @model_validator(mode="before")
    @classmethod
    def _from_suite(cls, values: object) -> object:
        if not isinstance(values, dict) or not isinstance(values.get("suite"), str):
            return values
        try:
            return {**read_suite(values["suite"]), **values}
        except RecipeError as error:
            raise ValueError(str(error)) from error  # pydantic adds the place

    @model_validator(mode="after")
    def _is_read(self) -> Self:
        # Not the keys of the other backend: `eval.backend=hf` on a command line leaves them there.
        if not self.allow_code:
            refuse_unread(self, ["unguarded_code"], "needs `allow_code: true`")
        return self

    @model_validator(mode="after")
    def _tasks_once(self) -> Self:
        twice = sorted({task for task in self.tasks if self.tasks.count(task) > 1})
        if twice:
            raise ValueError(f"tasks names {', '.join(twice)} twice; name each task once")
        return self

    @model_validator(mode="after")
    def _protocols_fit(self) -> Self:
        for name in self.protocols:
            if name not in self.tasks:
                raise ValueError(f"protocols.{name} is not in eval.tasks ({', '.join(self.tasks)})")
        return self

    @model_validator(mode="after")
    def _macros_fit(self) -> Self:
        for name, members in self.macros.items():
            if name in self.tasks:
                raise ValueError(f"macros.{name} has the name of another row; choose another")
            if not members:
                raise ValueError(f"macros.{name} has no tasks")
            for task in members:
                if task not in self.tasks:
                    raise ValueError(
                        f"macros.{name} names `{task}`, which is not in eval.tasks "
                        f"({', '.join(self.tasks)})"
                    )
        for task, rule in self.groups.items():
            if task not in self.tasks:
                raise ValueError(f"groups.{task}: `{task}` is not in eval.tasks")
            if problem := _rule_problem(rule):
                raise ValueError(f"groups.{task} = {rule!r}: {problem}")
        if self.system_instruction is not None and not self.chat_template:
            raise ValueError("eval.system_instruction needs eval.chat_template: true")
        return self


def _rule_problem(rule: str) -> str:
    if not rule.startswith("/"):
        return ""
    if len(rule) < 3 or not rule.endswith("/"):
        return "a regular expression stands between two slashes"
    try:
        re.compile(rule[1:-1])
    except re.error as error:
        return f"not a regular expression: {error}"
    return ""


def read_suite(name: str) -> dict[str, Any]:
    """The `eval` section of a suite: a name from recipes/suites, or the path of a YAML file."""
    shipped = {file.stem: file for file in sorted(SUITES.glob("*.yaml"))}
    path = Path(name) if name.endswith((".yaml", ".yml")) else shipped.get(name)
    if path is None or not path.is_file():
        raise RecipeError(f"no suite `{name}`", f"known: {', '.join(shipped)}; or give a path")
    section = read_yaml(path).values.get("eval")
    if not isinstance(section, dict) or "suite" in section:
        raise RecipeError(
            f"{path}: a suite is a YAML file with one section `eval`, no `suite` in it"
        )
    return section
