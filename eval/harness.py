"""Evaluate one checkpoint with lm-eval: one score per document, one primary metric per task.

Promises: the primary metric is fixed by the task alone -
  multiple_choice: `acc`, or `acc_norm` where the task has no `acc`;
  generate_until:  `exact_match` under the filter `flexible-extract`, or else the first filter;
  anything else:   `acc`;
and it must be the plain mean of its documents' scores, since the statistics resample documents.
A killed run goes on with the first task that was not finished; finished scores do not change.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tsqa.artifact import write_json
from tsqa.errors import CheckpointError, DataError
from tsqa.progress import progress_bar
from tsqa.recipe import EvalSection, needed
from tsqa.stage import StageContext

DOCUMENTS, RESULTS = "documents.parquet", "results.json"
_COLUMNS = ["task", "doc_id", "doc_hash", "metric", "score", "question", "answer", "prediction"]
_PREFERRED_FILTER = "flexible-extract"
_SEED = 1234


def run(context: StageContext) -> dict[str, Any]:
    """Score `inputs["model"]`, or else the recipe's own model, on every task of the recipe."""
    section = needed(context.recipe.eval, "eval")
    checkpoint = find_checkpoint(context)
    include = context.task_folder(section)
    if include is not None and not include.is_dir():
        raise DataError(f"eval.include: {include}: no such folder")
    parts = context.out / "parts"
    parts.mkdir(exist_ok=True)
    with contextlib.redirect_stdout(sys.stderr):
        done = _evaluate(section, checkpoint, include, parts, context)
    tasks = {name: part["result"] for name, part in done.items()}
    macro = math.fsum(task["score"] for task in tasks.values()) / len(tasks)
    _write_documents(context.out / DOCUMENTS, done)
    write_json(context.out / RESULTS, {"tasks": tasks, "macro": macro})
    shutil.rmtree(parts)
    scores = {f"eval/{name}": task["score"] for name, task in tasks.items()}
    context.tracker.summary({**scores, "eval/macro": macro})
    return {
        "tasks": len(tasks),
        "documents": sum(task["n"] for task in tasks.values()),
        "macro": macro,
        "scores": {name: task["score"] for name, task in tasks.items()},
    }


def find_checkpoint(context: StageContext) -> str:
    """The folder (or hub id) to evaluate; a folder that is not a model is a CheckpointError."""
    if "model" in context.inputs:
        folder = context.inputs["model"].path / "hf"
    elif context.recipe.model is not None and context.recipe.model.path is not None:
        folder = context.resolve(context.recipe.model.path)
        if not folder.exists() and not folder.is_absolute() and folder.parts[0] not in (".", ".."):
            return str(folder)  # a hub id
    else:
        raise CheckpointError(
            "evaluate: no trained model among the inputs, and the recipe has no model.path",
            "train first",
        )
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder}: no model here (config.json is missing)", "train again, or fix model.path"
        )
    return str(folder.resolve())


def pick_metric(task: str, kind: str, samples: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The primary metric and the filter under which it is read; see the module docstring."""
    filters = list(dict.fromkeys(str(sample["filter"]) for sample in samples))
    chosen = _PREFERRED_FILTER if _PREFERRED_FILTER in filters else filters[0]
    available = {str(metric) for sample in samples for metric in sample["metrics"]}
    wanted = {"multiple_choice": ["acc", "acc_norm"], "generate_until": ["exact_match"]}
    for metric in wanted.get(kind, ["acc"]):
        if metric in available:
            return metric, chosen
    raise DataError(
        f"eval.tasks: {task} ({kind}) has none of {wanted.get(kind, ['acc'])}; it reports "
        f"{', '.join(sorted(available)) or 'nothing'}",
        "leave the task out, or give it one of these metrics",
    )


def _evaluate(
    section: EvalSection,
    checkpoint: str,
    include: Path | None,
    parts: Path,
    context: StageContext,
) -> dict[str, dict[str, Any]]:
    # lm-eval and torch take seconds to import, which readers of results need not wait for.
    from eval import backend

    names = backend.leaf_tasks(section.tasks, include)
    done: dict[str, dict[str, Any]] = {}
    for name in names:
        path = parts / f"{name}.json"
        if path.is_file():
            done[name] = json.loads(path.read_text(encoding="utf-8"))
    missing = [name for name in names if name not in done]
    if not missing:
        return done
    with progress_bar() as bar:
        row = bar.add_task("evaluate", total=len(names), completed=len(done), note="loading")
        model = backend.load(
            checkpoint,
            batch_size=section.batch_size,
            trust_remote_code=needed(context.recipe.model, "model").trust_remote_code,
            on_progress=lambda note: bar.update(row, note=note),
        )
        for name in missing:
            raw = backend.evaluate_task(
                model,
                name,
                include,
                num_fewshot=section.num_fewshot,
                limit=section.limit,
                seed=_SEED,
            )
            done[name] = read_result(name, raw)
            write_json(parts / f"{name}.json", done[name])
            bar.update(row, advance=1)
    return {name: done[name] for name in names}


def read_result(task: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Turn lm-eval's answer for one task into `{result, documents}`."""
    config = raw["configs"][task]
    kind = str(config.get("output_type", "unknown"))
    samples: list[dict[str, Any]] = raw["samples"].get(task) or []
    if not samples:
        raise DataError(f"eval.tasks: {task} has no documents")
    metric, chosen = pick_metric(task, kind, samples)
    documents = [
        _document(task, kind, metric, sample)
        for sample in sorted(samples, key=lambda s: int(s["doc_id"]))
        if sample["filter"] == chosen
    ]
    n = len(documents)
    score = math.fsum(document["score"] for document in documents) / n
    reported = raw["results"][task].get(f"{metric},{chosen}")
    if reported is None or abs(float(reported) - score) > 1e-6:
        raise DataError(
            f"eval.tasks: {task}: {metric} is {reported}, but its documents average {score:.6f}",
            "use a task whose metric averages documents; the statistics resample them",
        )
    spread = math.fsum((d["score"] - score) ** 2 for d in documents) / max(n - 1, 1)
    result = {
        "metric": metric if chosen == "none" else f"{metric},{chosen}",
        "n": n,
        "score": score,
        "stderr": math.sqrt(spread / n),
        "version": raw["versions"].get(task),
        "num_fewshot": raw["n-shot"].get(task),
        "kind": kind,
    }
    return {"result": result, "documents": documents}


def _document(task: str, kind: str, metric: str, sample: Mapping[str, Any]) -> dict[str, Any]:
    where = f"eval.tasks: {task}: doc_id {sample['doc_id']}"
    try:
        score = float(sample[metric])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where} has no single number under {metric}") from error
    likelihoods = [r[0] for r in sample["filtered_resps"]] if kind == "multiple_choice" else []
    if not math.isfinite(score) or not all(math.isfinite(value) for value in likelihoods):
        raise DataError(f"{where} scores NaN or infinity", "the model has diverged; check its loss")
    prompt = str(sample["arguments"][0][0])
    question = sample["doc"].get("question")
    answer, prediction = _answers(kind, metric, sample)
    return {
        "task": task,
        "doc_id": int(sample["doc_id"]),
        "doc_hash": str(sample["doc_hash"]),
        "metric": metric,
        "score": score,
        "question": question if isinstance(question, str) else prompt,
        "answer": answer,
        "prediction": prediction,
    }


def _answers(kind: str, metric: str, sample: Mapping[str, Any]) -> tuple[str, str]:
    """The right answer and the model's, as text."""
    target = sample["target"]
    if kind != "multiple_choice":
        return str(target), str(sample["filtered_resps"][0])
    arguments = sample["arguments"]
    # Where the choices sit in the context (winogrande), every continuation is the same.
    varying = 1 if len({pair[1] for pair in arguments}) > 1 else 0
    choices = [str(pair[varying]).strip() for pair in arguments]
    scores = [float(response[0]) for response in sample["filtered_resps"]]
    if metric == "acc_norm":
        scores = [s / max(len(c), 1) for s, c in zip(scores, choices, strict=False)]
    best = choices[max(range(len(choices)), key=lambda i: scores[i])]
    is_index = isinstance(target, int) and 0 <= target < len(choices)
    return (choices[target] if is_index else str(target)), best


def _write_documents(path: Path, done: Mapping[str, Mapping[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    types: dict[str, pyarrow.DataType] = {"doc_id": pyarrow.int64(), "score": pyarrow.float64()}
    schema = pyarrow.schema({name: types.get(name, pyarrow.string()) for name in _COLUMNS})
    rows = [document for part in done.values() for document in part["documents"]]
    table = pyarrow.Table.from_pylist(rows, schema=schema)
    pyarrow.parquet.write_table(table, path)
