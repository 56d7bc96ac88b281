"""The section `eval`: the tasks, how they are scored, and the suites that name them.

Promises: a key of the recipe wins over the suite's; a macro average is over tasks that are
evaluated, under a name of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tsqa.errors import RecipeError
from tsqa.names import TaskName
from tsqa.plain_yaml import read_yaml
from tsqa.recipe.sections.base import RUNTIME, Section, Seed, Tokens
from tsqa.shipped import SUITES


class EvalSection(Section):
    suite: str | None = Field(None, json_schema_extra=RUNTIME)
    """A name from recipes/suites, or a path: its YAML gives what this section leaves out."""
    tasks: list[TaskName] = Field(min_length=1)
    include: str | None = None
    """Folder of lm-eval task YAMLs; None means lm-eval's own tasks."""
    macros: dict[TaskName, list[str]] = {}
    """Named macro averages over some of `tasks`."""
    num_fewshot: int | None = Field(None, ge=0)
    """None: as each task says."""
    limit: int | None = Field(None, ge=1)
    """Only the first documents of each task."""
    seed: Seed = 1234
    """Draws the few-shot examples."""
    chat_template: bool = False
    """Wrap each prompt in the tokenizer's chat template."""
    system_instruction: str | None = None
    allow_code: bool = Field(False, json_schema_extra=RUNTIME)
    """Let tasks execute the code that the model writes, within the boundary of this machine."""
    unguarded_code: bool = Field(False, json_schema_extra=RUNTIME)
    """Let them do so without one, and by means of their own."""
    every_tokens: Tokens | None = None
    """Evaluate each arm also at every multiple of this many training tokens."""
    backend: Literal["auto", "hf", "vllm"] = "auto"
    """auto: vllm on a GPU where it serves the model, hf otherwise."""
    max_length: int | None = Field(None, ge=32)
    """Tokens of a prompt with its answer; None: what the model allows."""
    batch_size: int = Field(32, ge=1, json_schema_extra=RUNTIME)
    """Of hf, per process."""
    processes: int = Field(1, ge=1, json_schema_extra=RUNTIME)
    """Copies of the model that share the requests, each on its own GPUs."""
    tensor_parallel: int = Field(1, ge=1, json_schema_extra=RUNTIME)
    """GPUs of each copy (vllm)."""
    kv_cache_gib: int = Field(2, ge=1, json_schema_extra=RUNTIME)
    """vllm on a CPU: VLLM_CPU_KVCACHE_SPACE."""
    bootstrap: int = Field(10_000, ge=100)
    """Resamples behind each confidence interval."""
    confidence: float = Field(0.95, gt=0.5, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _from_suite(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("suite"), str):
            return values
        try:
            return {**read_suite(values["suite"]), **values}
        except RecipeError as error:
            raise ValueError(str(error)) from error  # pydantic adds the place

    @model_validator(mode="after")
    def _tasks_once(self) -> Self:
        twice = sorted({task for task in self.tasks if self.tasks.count(task) > 1})
        if twice:
            raise ValueError(f"tasks names {', '.join(twice)} twice; name each task once")
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
        if self.system_instruction is not None and not self.chat_template:
            raise ValueError("eval.system_instruction needs eval.chat_template: true")
        return self


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
