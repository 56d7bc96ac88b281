"""Evaluate one checkpoint with lm-eval: one score per document, one primary metric per task.

Promises: one primary metric per task, fixed by the task alone (see `eval.harness.metrics`), and it
is the plain mean of its documents' scores, since the statistics resample documents.
A killed run goes on with the first task that was not finished; finished scores do not change. What
another evaluation scored with the same checkpoint, settings and backend is not scored again.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from eval.harness.metrics import pick_metric
from eval.shapes import DOCUMENT_TYPES, Exported, Part, Results
from tsqa.console import console, progress_bar
from tsqa.errors import CheckpointError, DataError
from tsqa.hub.pins import pinned_folder
from tsqa.recipe import EvalSection, file_name, needed
from tsqa.store.artifact import EXPORTED, Artifact, Store
from tsqa.store.jsonl import write_json
from tsqa.store.own_files import read_own, read_own_table
from tsqa.store.roles import PointRole, format_role, trained_model
from tsqa.store.stage import StageContext

DOCUMENTS, RESULTS = "documents.parquet", "results.json"
ENGINE_LOG = "engine.log"
_GROUP_FIELDS = ("passage", "article", "paragraph", "story", "context")
"""Fields of a document that several questions share."""


def run(context: StageContext) -> dict[str, Any]:
    """Score `inputs["model"]`, or else the recipe's own model, on every task of the recipe.

    A `PointRole` is the model after so many training tokens. results.json holds `tasks`, `macro`
    (the mean over tasks), `groups` (name in eval.tasks -> its tasks), `backend`, and of a trained
    model `heldout` (source -> loss in nats) and `tokens`.
    """
    section = needed(context.recipe.eval, "eval")
    checkpoint = find_checkpoint(context)
    include = context.task_folder(section)
    if include is not None and not include.is_dir():
        raise DataError(f"eval.include: {include}: no such folder")
    parts = context.out / "parts"
    parts.mkdir(exist_ok=True)
    with contextlib.redirect_stdout(sys.stderr):
        results, done = _evaluate(section, checkpoint, include, parts, context)
    tasks = results["tasks"]
    macro = math.fsum(task["score"] for task in tasks.values()) / len(tasks)
    _write_documents(context.out / DOCUMENTS, done)
    write_json(context.out / RESULTS, {**results, "macro": macro, **_training(context)})
    shutil.rmtree(parts)
    scores = {f"eval/{name}": task["score"] for name, task in tasks.items()}
    context.tracker.summary({**scores, "eval/macro": macro})
    return {
        "tasks": len(tasks),
        "documents": sum(task["n"] for task in tasks.values()),
        "macro": macro,
        "backend": results["backend"],
        "scores": {name: task["score"] for name, task in tasks.items()},
    }


def read_curve(evaluations: Iterable[Artifact]) -> list[Results]:
    """What results.json of each says, by the tokens that its model was trained on; others left out.

    The evaluations of one arm along its training are the nodes `evaluate:<arm>@<tokens>`, and its
    last point is `evaluate:<arm>`.
    """
    found = [read_own(artifact.path / RESULTS, Results) for artifact in evaluations]
    return sorted((one for one in found if "tokens" in one), key=lambda one: one["tokens"])


def expand_macros(
    macros: Mapping[str, Sequence[str]], evaluations: Iterable[Artifact]
) -> dict[str, list[str]]:
    """Macro -> its tasks, each once: a group is replaced by its own, as an evaluation found them.

    Artifacts that are no evaluation are passed over.
    """
    files = [artifact.path / RESULTS for artifact in evaluations]
    found = [read_own(file, Results) for file in files if file.is_file()]
    groups = {name: leaves for one in found for name, leaves in one.get("groups", {}).items()}
    return {
        name: list(dict.fromkeys(t for member in members for t in groups.get(member, [member])))
        for name, members in macros.items()
    }


def find_checkpoint(context: StageContext) -> str:
    """The folder (or hub id) to evaluate; a folder that is not a model is a CheckpointError."""
    role = trained_model(context.inputs)
    if role is not None:
        export = f"hf-{role.tokens}" if isinstance(role, PointRole) else "hf"
        folder = context.inputs[role].path / export
    elif context.recipe.model is not None and context.recipe.model.path is not None:
        folder = context.resolve(context.recipe.model.path)
        if not folder.exists() and not folder.is_absolute() and folder.parts[0] not in (".", ".."):
            return pinned_folder(str(folder))  # a hub id
    else:
        raise CheckpointError(
            "evaluate: no trained model among the inputs, and the recipe has no model.path",
            "train first",
        )
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder}: no model here (config.json is missing)", "train again, or fix model.path"
        )
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise CheckpointError(
            f"{folder}: a config.json, but no weights (*.safetensors)",
            "train again, or fix model.path",
        )
    return str(folder.resolve())


def _training(context: StageContext) -> dict[str, Any]:
    """What the training run says of the evaluated model: tokens seen and held-out losses."""
    role = trained_model(context.inputs)
    if role is None:
        return {}
    artifact = context.inputs[role]
    if role == "model":
        summary = artifact.summary
        return {key: summary[key] for key in ("tokens", "heldout") if key in summary}
    return dict(read_own(Path(find_checkpoint(context)) / EXPORTED, Exported))


def _evaluate(
    section: EvalSection,
    checkpoint: str,
    include: Path | None,
    parts: Path,
    context: StageContext,
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What results.json says of the tasks, and each task's `{result, documents}`."""
    # lm-eval and torch take seconds to import, which readers of results need not wait for.
    from eval.harness import backend
    from eval.harness.engines import ModelSettings, known_difference, resolve_backend

    groups = backend.load_tasks(section, include)
    tasks = {name: task for leaves in groups.values() for name, task in leaves.items()}
    chosen, reason = resolve_backend(section.backend, checkpoint)
    console.print(f"  evaluating by {chosen}: {reason}", style="dim")
    done = {name: part for name in tasks if (part := _read_part(parts, name, chosen))}
    known = _known_parts(context, tasks.keys() - done.keys(), chosen)
    if known:
        console.print(f"  scored before: {', '.join(sorted(known))}", style="dim")
    done |= known
    missing = [name for name in tasks if name not in done]
    if missing:
        difference = known_difference(checkpoint)
        if chosen == "vllm" and difference:
            told = ("  vLLM and transformers differ on this model:", "yellow")
            console.print(Text.assemble(told, f" {difference}"))
        settings = ModelSettings(
            chosen,
            checkpoint,
            section.batch_size,
            section.max_length,
            section.tensor_parallel,
            needed(context.recipe.model, "model").trust_remote_code,
        )
        with progress_bar() as bar:
            row = bar.add_task("evaluate", total=len(tasks), completed=len(done), note="loading")

            def show(answered: int, asked: int) -> None:
                bar.update(row, note=f"{answered:,} / {asked:,} requests")

            with backend.open_model(settings, section, context.out / ENGINE_LOG, show) as model:
                for name in missing:
                    raw = backend.evaluate_task(model, tasks.pop(name), include, section)
                    done[name] = read_result(name, raw)
                    done[name]["result"]["backend"] = chosen
                    write_json(parts / f"{file_name(name)}.json", done[name])
                    bar.update(row, advance=1)
    names = [name for leaves in groups.values() for name in leaves]
    results = {
        "tasks": {name: done[name]["result"] for name in names},
        "groups": {name: list(leaves) for name, leaves in groups.items()},
        "backend": chosen,
    }
    return results, {name: done[name] for name in names}


def _read_part(parts: Path, name: str, backend: str) -> dict[str, Any] | None:
    """A finished task of a killed run; one by another backend does not count."""
    path = parts / f"{file_name(name)}.json"
    if not path.is_file():
        return None
    part = read_own(path, Part)
    return dict(part) if part["result"].get("backend") == backend else None


def _known_parts(
    context: StageContext, names: Collection[str], backend: str
) -> dict[str, dict[str, Any]]:
    """Of these tasks those that a finished evaluation of the same checkpoint holds."""
    inputs = {
        format_role(role): artifact.fingerprint for role, artifact in context.inputs.items()
    }
    found: dict[str, dict[str, Any]] = {}
    stage = context.out.parent
    store = Store(stage.parent)
    for artifact in store.finished(stage.name) if context.config else ():
        same = _without_tasks(artifact.manifest.config) == _without_tasks(context.config)
        if not same or artifact.manifest.inputs != inputs:
            continue
        try:
            store.find(stage.name, artifact.fingerprint)
        except DataError:  # damaged: what it says is scored again
            continue
        results = read_own(artifact.path / RESULTS, Results)
        shared = [name for name in names if name in results["tasks"]]
        if results.get("backend") != backend or not shared:
            continue
        rows = read_own_table(
            artifact.path / DOCUMENTS, DOCUMENT_TYPES, filters=[("task", "in", shared)]
        ).to_pylist()
        for name in shared:
            documents = [row for row in rows if row["task"] == name]
            found[name] = {"result": dict(results["tasks"][name]), "documents": documents}
    return found


def _without_tasks(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "tasks"}


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
    _mark_groups(documents)
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
    likelihoods = _likelihoods(kind, sample)
    if not math.isfinite(score) or not all(math.isfinite(value) for value in likelihoods):
        raise DataError(f"{where} scores NaN or infinity", "the model has diverged; check its loss")
    if kind == "multiple_choice" and not _has_right_choice(sample):
        raise DataError(
            f"{where}: its label {sample['target']!r:.40} is none of its "
            f"{len(sample['arguments'])} choices",
            "correct the task's doc_to_target or its data: every model would score 0 on it",
        )
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
        "loglikelihoods": likelihoods or None,
        "group": _group(sample["doc"]),
    }


def _has_right_choice(sample: Mapping[str, Any]) -> bool:
    """Whether the label of a choice names one; lm-eval only warns, and scores 0."""
    targets = sample["target"] if isinstance(sample["target"], list) else [sample["target"]]
    count = len(sample["arguments"])
    labels = [target for target in targets if isinstance(target, int)]
    return len(labels) < len(targets) or any(0 <= label < count for label in labels)


def _group(document: Mapping[str, Any]) -> str | None:
    """A mark of the passage that a document asks about; None where it has none."""
    texts = [document[key] for key in _GROUP_FIELDS if isinstance(document.get(key), str)]
    return hashlib.sha256(texts[0].encode()).hexdigest()[:16] if texts and texts[0] else None


def _mark_groups(documents: Sequence[dict[str, Any]]) -> None:
    """Each document its group, where any two of the task share one; otherwise none has any."""
    shared = [document["group"] for document in documents if document["group"] is not None]
    is_grouped = len(set(shared)) < len(shared)
    for document in documents:
        alone = f"document {document['doc_id']}"
        document["group"] = (document["group"] or alone) if is_grouped else None


def _likelihoods(kind: str, sample: Mapping[str, Any]) -> list[float]:
    """The log-probability of each choice, in nats, or of the target; none of generated text."""
    if kind not in ("multiple_choice", "loglikelihood"):
        return []
    return [float(response[0]) for response in sample["filtered_resps"]]


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

    schema = pyarrow.schema(DOCUMENT_TYPES)
    rows = [document for part in done.values() for document in part["documents"]]
    table = pyarrow.Table.from_pylist(rows, schema=schema)
    pyarrow.parquet.write_table(table, path)
