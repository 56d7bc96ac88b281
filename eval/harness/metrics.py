"""The primary metric of a task, and whether it can be compared at all.

Guarantees: the primary metric is fixed by the task alone -
  multiple_choice: `acc`, or `acc_norm` where the task has no `acc`, or `prob_per_byte`
                   (recipes/real/tasks/likelihood.py) where it has neither;
  generate_until:  `exact_match`, or pass@1 of code, under the filter `flexible-extract`, or else
                   the first filter;
  anything else:   `acc`;
  unless `eval.protocols` names another metric that the task reports, or another filter;
and it is the plain mean of its documents' scores, higher being better, since the statistics
resample documents. What the configurations show to be otherwise is refused before any work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import SupportsFloat, TypedDict

from eval.harness.protocol import examples_problem, protocol_problem, protocols_of
from tsqa.errors import DataError, RecipeError
from tsqa.recipe import EvalSection, ProtocolSection, task_problem
from tsqa.tasks.library import TaskLibrary, task_library

_PREFERRED_FILTER = "flexible-extract"
_METRICS = {
    "multiple_choice": ["acc", "acc_norm", "prob_per_byte"],
    "generate_until": ["exact_match", "pass@1", "pass_at_1"],
}
_EXPANDED = {"pass_at_k": "pass@1", "pass@k": "pass@1"}
"""Metrics that lm-eval reports under another name, by their `k`."""
_PROBES = ([0.0, 1.0, 1.0, 0.0, 1.0], [0.25, 1.0], [1.0, 0.5, 0.0, 0.0, 0.0, 0.75, 1.0])
_FIX = "leave the task out, or give it a metric that averages its documents, such as {}"


def check_metrics(section: EvalSection, include: Path | None) -> None:
    """Refuse tasks whose primary metric is not a mean over documents, by their configurations.

    Raises RecipeError that names every such task of `eval.tasks`, what it reports, and the fix.
    """
    try:
        library = task_library(include)
        leaves = library.group_settings(section.tasks)
    except DataError as error:
        raise RecipeError(f"eval.tasks: {error}") from error
    for leaf in leaves:
        if problem := task_problem(leaf):
            raise RecipeError(f"eval.tasks: the task {leaf!r}: {problem}", "rename it in its YAML")
    protocols = protocols_of(section, library)
    problems = {
        leaf: problem
        for leaf in leaves
        if (problem := metric_problem(library, leaf, protocols.get(leaf)))
    }
    for leaf, settings in leaves.items():
        config = {**library.config(leaf), **settings}
        shots = _shots(config, section, protocols.get(leaf))
        if leaf not in problems and (problem := examples_problem(config, shots)):
            raise RecipeError(
                f"eval.tasks: the task {leaf!r}: {problem}",
                "correct its YAML or its data, or set eval.num_fewshot or eval.protocols",
            )
    if problems:
        shown = "".join(f"\n    {leaf}: {problem}" for leaf, problem in problems.items())
        raise RecipeError(
            f"eval.tasks: no delta can be computed for {len(problems)} of the tasks, as documents "
            f"are resampled:{shown}",
            _FIX.format("acc or exact_match"),
        )


def metric_problem(library: TaskLibrary, task: str, protocol: ProtocolSection | None = None) -> str:
    """Why a task cannot be compared; empty where it can, or where only its data will tell."""
    from lm_eval.api.task import ALL_OUTPUT_TYPES

    config = library.config(task)
    if "class" in config or "unknown" in config:
        return "it is a Python class, which takes no protocol" if protocol else ""
    kind = str(config.get("output_type") or "generate_until")
    if kind not in ALL_OUTPUT_TYPES:
        return f"its output_type {kind!r} is none of {', '.join(ALL_OUTPUT_TYPES)}"
    if kind == "loglikelihood_rolling":
        return "it scores running text (perplexity), which has no score per document"
    if protocol and (problem := protocol_problem(config, protocol)):
        return problem
    entries = _metric_entries(config, kind)
    wanted = _wanted(kind, protocol)
    chosen = next((name for name in wanted if name in entries), None)
    if chosen is None:
        reported, none = ", ".join(entries) or "nothing", ", ".join(wanted)
        return f"it reports {reported}, and none of {none}{_chosen_by(library, task, entries)}"
    entry = entries[chosen]
    if entry.get("higher_is_better") is False:
        return f"its {chosen} is better when lower"
    if not _is_mean(library, task, chosen, entry.get("aggregation")):
        return f"its {chosen} is aggregated by {entry['aggregation']}, which is not a mean"
    return ""


def _shots(
    config: Mapping[str, object], section: EvalSection, protocol: ProtocolSection | None
) -> int | None:
    """The examples in a prompt; lm-eval passes over `eval.num_fewshot` where the task says 0."""
    own = config.get("num_fewshot")
    if protocol and protocol.num_fewshot is not None:
        return protocol.num_fewshot
    asked = section.num_fewshot if section.num_fewshot is not None and own != 0 else own
    return asked if isinstance(asked, int) else None


class Logged(TypedDict):
    """One document under one filter, as far as the metric depends on it."""

    filter: str
    metrics: list[str]


def pick_metric(
    task: str, kind: str, samples: Sequence[Logged], protocol: ProtocolSection | None = None
) -> tuple[str, str]:
    """The primary metric and the filter under which it is read; see the module docstring."""
    filters = list(dict.fromkeys(str(sample["filter"]) for sample in samples))
    preferred = (protocol and protocol.filter) or _PREFERRED_FILTER
    chosen = preferred if preferred in filters else filters[0]
    available = {str(metric) for sample in samples for metric in sample["metrics"]}
    wanted = _wanted(kind, protocol)
    for metric in wanted:
        if metric in available:
            return metric, chosen
    raise DataError(
        f"eval.tasks: {task} ({kind}) has none of {wanted}; it reports "
        f"{', '.join(sorted(available)) or 'nothing'}",
        _FIX.format(wanted[0]),
    )


def _wanted(kind: str, protocol: ProtocolSection | None) -> list[str]:
    """The metrics that may be the primary one, the best first."""
    return [protocol.metric] if protocol and protocol.metric else _METRICS.get(kind, ["acc"])


def _chosen_by(library: TaskLibrary, task: str, entries: Mapping[str, Mapping[str, object]]) -> str:
    """How to have a metric of the task's own compared; empty where none averages documents."""
    for name, entry in entries.items():
        given = entry.get("aggregation")
        if given and entry.get("higher_is_better") and _is_mean(library, task, name, given):
            return f"; to compare by it: eval.protocols: {{{task}: {{metric: {name}}}}}"
    return ""


def _metric_entries(config: Mapping[str, object], kind: str) -> dict[str, Mapping[str, object]]:
    """Metric -> its entry in `metric_list`, under the name that its scores will have."""
    from lm_eval.api.registry import DEFAULT_METRIC_REGISTRY

    listed = config.get("metric_list")
    if listed is None:
        return {name: {} for name in DEFAULT_METRIC_REGISTRY.get(kind, [])}
    if not isinstance(listed, list) or not all(isinstance(entry, Mapping) for entry in listed):
        return {}
    found: dict[str, Mapping[str, object]] = {}
    for entry in listed:
        # A reference to a function is kept as `<folder>/<module>.<function>`.
        name = str(entry.get("metric", "")).rpartition("/")[2].rpartition(".")[2]
        found[_EXPANDED.get(name, name)] = entry
    return found


def _is_mean(library: TaskLibrary, task: str, metric: str, aggregation: object) -> bool:
    """Whether an aggregation gives the mean; a function is asked, as its name says nothing."""
    from lm_eval.api.registry import get_aggregation, get_metric_aggregation

    if aggregation is None:
        # lm-eval takes the mean where neither the task nor its registry names one.
        function = get_metric_aggregation(metric)
        return function is None or _averages(function)
    if isinstance(aggregation, str) and "/" not in aggregation:
        return _averages(get_aggregation(aggregation))
    return _averages(library.imported(task, f"the aggregation of {metric}", aggregation))


def _averages(function: Callable[[list[float]], SupportsFloat] | None) -> bool:
    try:
        return function is not None and all(
            abs(float(function(list(probe))) - sum(probe) / len(probe)) < 1e-9 for probe in _PROBES
        )
    except Exception:  # noqa: BLE001 - an aggregation of other things than numbers may raise anything
        return False
