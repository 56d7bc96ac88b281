"""How a recipe asks and scores one task, where that differs from the task's own YAML.

Guarantees: what a task does not offer is refused by its configuration, with what it offers; a
loaded task is changed before its first request, and what it is asked is what its results say.

Several samples of a document are scored one by one, and its score is their mean: the mean over
documents is then pass@1, and its spread over documents holds that between samples too. Tasks whose
last filter keeps all answers (humaneval) average them themselves. Sampled answers depend on the
machine, the batch size and the number of processes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, SupportsFloat

from tsqa.errors import RecipeError
from tsqa.recipe import EvalSection, ProtocolSection
from tsqa.tasks.identity import count_documents
from tsqa.tasks.library import TaskLibrary

if TYPE_CHECKING:
    from lm_eval.api.task import Task

_TAKE_FIRST = "take_first"
_KEEP_ALL = "custom"
"""A filter of the task's own, before a metric of all answers."""
Process = Callable[[Mapping[str, object], Sequence[Any]], Mapping[str, object]]


def protocols_of(section: EvalSection, library: TaskLibrary) -> dict[str, ProtocolSection]:
    """Leaf task -> its protocol, for the tasks that have one."""
    found: dict[str, tuple[str, ProtocolSection]] = {}
    for name in section.tasks:
        protocol = section.protocols.get(name, ProtocolSection())
        for leaf in library.expand([name]):
            before, known = found.setdefault(leaf, (name, protocol))
            if known != protocol:
                raise RecipeError(
                    f"eval.protocols: {leaf} is in {before} and in {name}, which are asked "
                    "differently",
                    "give both one protocol, or leave one out of eval.tasks",
                )
    return {leaf: one for leaf, (_, one) in found.items() if one != ProtocolSection()}


def protocol_problem(config: Mapping[str, object], protocol: ProtocolSection) -> str:
    """What of a protocol the task does not offer, the metric aside; empty where all is well."""
    kind = str(config.get("output_type") or "generate_until")
    if protocol.generates and kind != "generate_until":
        return f"it is {kind}, which has no {', '.join(protocol.generates)}"
    filters = filters_of(config)
    if protocol.filter is not None and protocol.filter not in filters:
        return f"it has no filter {protocol.filter}, only {', '.join(filters)}"
    if (protocol.samples or 1) > 1 and not _scores_samples(config, list(filters.values())):
        return f"its filters ({', '.join(filters)}) make one answer of several: no samples"
    shown = config.get("fewshot_config")
    examples = shown.get("samples") if isinstance(shown, Mapping) else None
    if isinstance(examples, list) and (protocol.num_fewshot or 0) > len(examples):
        return f"it has {len(examples)} examples, fewer than num_fewshot: {protocol.num_fewshot}"
    return ""


def examples_problem(config: Mapping[str, object], shots: int | None) -> str:
    """Why lm-eval could not load a task, or show it so many examples; empty where all is well, or
    where only its data will tell. `shots`: of the recipe; None: as the task says.

    lm-eval reads the examples' split even where it shows none.
    """
    shown = config.get("fewshot_config")
    given = shown if isinstance(shown, Mapping) else {}
    scored = "test_split" if config.get("test_split") else "validation_split"
    pools = ("training_split", "validation_split", "test_split")
    pool = "fewshot_split"
    if not config.get(pool):
        pool = next((key for key in pools if config.get(key)), scored)
    split = str(given.get("split") or config.get(pool))
    read = {scored: str(config.get(scored))}
    if not given.get("samples"):
        read[pool] = split
    for key, name in read.items():
        if {*"[]+"} & {*name} and not config.get("custom_dataset"):
            return f"its {key} is {name}, and lm-eval reads whole splits alone"
    wanted = shots or 0
    changes = given.get("process_docs") or config.get("process_docs")
    if wanted == 0 or given.get("samples") or changes:
        return ""
    count = count_documents(config, split)
    # A document is no example of itself.
    count = count - 1 if count is not None and split == config.get(scored) else count
    if count is not None and count < wanted:
        return f"its split {split} has {count} examples, fewer than num_fewshot: {wanted}"
    return ""


def filters_of(config: Mapping[str, object]) -> dict[str, list[str]]:
    """Name of each filter of generated text -> its steps."""
    listed = config.get("filter_list")
    if not isinstance(listed, list):
        return {"none": [_TAKE_FIRST]}
    return {
        str(entry["name"]): [str(step["function"]) for step in entry["filter"]] for entry in listed
    }


def apply_protocol(task: Task, protocol: ProtocolSection) -> None:
    """Change a loaded task."""
    from lm_eval.filters.selection import TakeFirstFilter

    if protocol.num_fewshot is not None:
        # lm-eval itself passes over another number where the task says 0.
        task.set_config("num_fewshot", protocol.num_fewshot)
    generation: dict[str, float | bool | list[str]] = {}
    if protocol.temperature is not None:
        generation |= {"temperature": protocol.temperature, "do_sample": protocol.temperature > 0}
    if protocol.top_p is not None:
        generation["top_p"] = protocol.top_p
    if protocol.max_tokens is not None:
        generation["max_gen_toks"] = protocol.max_tokens
    if protocol.stop is not None:
        generation["until"] = protocol.stop
    if generation:
        task.set_config("generation_kwargs", generation, update=True)
    if protocol.samples is not None:
        task.set_config("repeats", protocol.samples)
    first_alone = [e for e in task._filters if e.filters[-1].func is TakeFirstFilter]
    if (protocol.samples or 1) > 1 and first_alone:
        for ensemble in first_alone:
            ensemble.filters = ensemble.filters[:-1]
        task.process_results = partial(_mean_over_samples, task.process_results)


def _scores_samples(config: Mapping[str, object], filters: Sequence[Sequence[str]]) -> bool:
    """Whether answers can be scored one by one, or the task itself averages over all."""
    lasts = {steps[-1] for steps in filters}
    if {"majority_vote", "take_first_k"} & {step for steps in filters for step in steps}:
        return False
    if lasts == {_KEEP_ALL}:
        listed = config.get("metric_list")
        return isinstance(listed, list) and all("pass_at_k" in str(e["metric"]) for e in listed)
    return lasts == {_TAKE_FIRST}


def _mean_over_samples(
    process: Process, document: Mapping[str, object], results: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Score the answers to a document one by one; metrics that are no number are left out."""
    scored = [process(document, [answer]) for answer in results[0]]
    means = {}
    for name in scored[0]:
        values = [value for one in scored if isinstance(value := one[name], SupportsFloat)]
        if len(values) == len(scored):
            means[name] = math.fsum(map(float, values)) / len(values)
    return means
