"""Evaluate one checkpoint with lm-eval: one score per document, one primary metric per task.

Guarantees: the primary metric is fixed by the task alone (see eval/harness/metrics.py), and it is
the plain mean of its documents' scores, since the statistics resample documents. A killed run goes
on with the first task that was not finished; finished scores do not change. What another evaluation
scored with the same checkpoint, settings and backend is not scored again.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.text import Text

from eval.harness.documents import read_result
from eval.harness.groups import SHARED_STEMS, rules_of, stems_note
from eval.harness.metrics import check_metrics
from eval.results import (
    DOCUMENTS,
    RESULTS,
    Document,
    Exported,
    Part,
    Results,
    read_documents,
)
from tsqa.console import console, progress_bar
from tsqa.errors import CheckpointError, DataError
from tsqa.hub.pins import pinned_folder
from tsqa.recipe import EvalSection, file_name, needed
from tsqa.store.artifact import EXPORTED, Artifact, Store
from tsqa.store.jsonl import write_json
from tsqa.store.own_files import read_own
from tsqa.store.own_tables import schema_of
from tsqa.store.roles import PointRole, format_role, is_exact, trained_model
from tsqa.store.stage import StageContext
from tsqa.store.tracking import Tracker
from tsqa.tasks.library import TaskLibrary, task_library

ENGINE_LOG = "engine.log"
TRACKED_DOCUMENTS = 10_000
"""Rows that W&B shows of one table."""
_TRACKED = ("task", "doc_id", "score", "bits", "question", "answer", "prediction")


def run(context: StageContext) -> dict[str, object]:
    """Score `inputs["model"]`, or else the recipe's own model, on every task of the recipe.

    A `PointRole` is the model after so many training tokens.
    """
    section = needed(context.recipe.eval, "eval")
    checkpoint = find_checkpoint(context)
    include = context.task_folder(section)
    if include is not None and not include.is_dir():
        raise DataError(f"eval.include: {include}: no such folder")
    parts = context.out / "parts"
    parts.mkdir(exist_ok=True)
    with contextlib.redirect_stdout(sys.stderr):
        backend, groups, done = _evaluate(section, checkpoint, include, parts, context)
    tasks = {name: part.result for name, part in done.items()}
    macro = math.fsum(task.score for task in tasks.values()) / len(tasks)
    _write_documents(context.out / DOCUMENTS, (d for part in done.values() for d in part.documents))
    results = replace(_training(context), tasks=tasks, groups=groups, backend=backend, macro=macro)
    write_json(context.out / RESULTS, results.to_json())
    shutil.rmtree(parts)
    stems = {name: part.shared_stems for name, part in done.items() if part.shared_stems}
    for name, found in stems.items():
        console.print(Text(f"  {stems_note(name, found)}", style="yellow"))
    scores = {name: task.score for name, task in tasks.items()}
    logged = {f"eval/{name}": score for name, score in scores.items()}
    context.tracker.summary({**logged, "eval/macro": macro})
    _log_documents(context.tracker, [d for part in done.values() for d in part.documents])
    return {
        "tasks": len(tasks),
        "documents": sum(task.n for task in tasks.values()),
        "macro": macro,
        "backend": backend,
        "scores": scores,
        **({SHARED_STEMS: stems} if stems else {}),
    }


def read_curve(evaluations: Iterable[Artifact]) -> list[Results]:
    """The results in the order of the tokens that their models were trained on; others left out.

    The evaluations of one arm along its training are the nodes `evaluate:<arm>@<tokens>`, and its
    last point is `evaluate:<arm>`.
    """
    found = [read_own(artifact.path / RESULTS, Results) for artifact in evaluations]
    return sorted((r for r in found if r.tokens is not None), key=lambda r: r.tokens or 0)


def expand_macros(
    macros: Mapping[str, Sequence[str]], evaluations: Iterable[Artifact]
) -> dict[str, list[str]]:
    """Macro -> its tasks, each once: a group is replaced by its own, as an evaluation found them.

    Artifacts that are no evaluation are passed over.
    """
    files = [artifact.path / RESULTS for artifact in evaluations]
    found = [read_own(file, Results) for file in files if file.is_file()]
    groups = {name: leaves for one in found for name, leaves in one.groups.items()}
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
            trust = context.recipe.model.trust_remote_code
            return pinned_folder(str(folder), trust_remote_code=trust)  # a hub id
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


def _training(context: StageContext) -> Results:
    """What the training run says of the evaluated model: tokens seen and held-out losses."""
    nothing = Results(tasks={}, groups={}, backend="", macro=0.0)
    role = trained_model(context.inputs)
    if role is None:
        return nothing
    artifact = context.inputs[role]
    if role == "model":
        summary = artifact.summary
        # Of a mean of models no held-out loss was measured.
        heldout = None if "averaged" in summary else summary.get("heldout")
        return replace(nothing, tokens=summary.get("tokens"), heldout=heldout)
    exported = read_own(Path(find_checkpoint(context)) / EXPORTED, Exported)
    return replace(nothing, **vars(exported))


def _evaluate(
    section: EvalSection,
    checkpoint: str,
    include: Path | None,
    parts: Path,
    context: StageContext,
) -> tuple[str, dict[str, list[str]], dict[str, Part]]:
    """Score the tasks that are not yet scored: the backend, the tasks by name, and all parts."""
    # lm-eval and torch take seconds to import, which readers of results need not wait for.
    from eval.harness import backend
    from eval.harness.engines import ModelSettings, known_difference, resolve_backend, scored_by
    from eval.harness.protocol import protocols_of

    library = task_library(include)
    loaded = backend.load_tasks(section, include)
    groups = {name: library.expand([name]) for name in section.tasks}
    protocols, rules = protocols_of(section, library), rules_of(section, library)
    if protocols:  # of tasks that the data stage built, nothing was checked before
        check_metrics(section, include)
    tasks = {name: task for leaves in loaded.values() for name, task in leaves.items()}
    names = list(tasks)
    chosen, reason = resolve_backend(section.backend, checkpoint)
    console.print(f"  evaluating by {chosen}: {reason}", style="dim")
    done = {name: part for name in names if (part := _read_part(parts, name, scored_by(chosen)))}
    known = _known_parts(context, library, tasks.keys() - done.keys(), scored_by(chosen))
    if known:
        console.print(f"  scored before: {', '.join(sorted(known))}", style="dim")
    done |= known
    missing = [name for name in names if name not in done]
    if missing:
        _warn(known_difference(checkpoint) if chosen == "vllm" else None)
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
                    protocol = protocols.get(name)
                    raw = backend.evaluate_task(model, tasks.pop(name), include, section, protocol)
                    done[name] = read_result(
                        name, raw, scored_by(chosen), protocol, rules.get(name), section.limit
                    )
                    write_json(parts / f"{file_name(name)}.json", asdict(done[name]))
                    bar.update(row, advance=1)
    return scored_by(chosen), groups, {name: done[name] for name in names}


def _warn(difference: str | None) -> None:
    if difference:
        warning = ("  vLLM and transformers differ on this model:", "yellow")
        console.print(Text.assemble(warning, f" {difference}"))


def _read_part(parts: Path, name: str, backend: str) -> Part | None:
    """A finished task of a killed run; one by another backend does not count."""
    path = parts / f"{file_name(name)}.json"
    if not path.is_file():
        return None
    part = read_own(path, Part)
    return part if part.result.backend == backend else None


def _known_parts(
    context: StageContext, library: TaskLibrary, names: Collection[str], backend: str
) -> dict[str, Part]:
    """Of these tasks those that a finished evaluation of the same checkpoint holds.

    A task counts only where the groups through which both name it set the same.
    """
    wanted = library.group_settings(needed(context.recipe.eval, "eval").tasks)
    inputs = {
        format_role(role): artifact.fingerprint if is_exact(role) else artifact.identity
        for role, artifact in context.inputs.items()
    }
    found: dict[str, Part] = {}
    stage = context.out.parent
    store = Store(stage.parent)
    for artifact in store.finished(stage.name) if context.config else ():
        same = _same_but_for_tasks(artifact.manifest.config, context.config)
        if not same or artifact.manifest.inputs != inputs:
            continue
        try:
            store.find(stage.name, artifact.fingerprint)
        except DataError:  # damaged: what it says is scored again
            continue
        results = read_own(artifact.path / RESULTS, Results)
        settings = library.group_settings([*results.groups])
        shared = [n for n in names if n in results.tasks and settings.get(n) == wanted[n]]
        if results.backend != backend or not shared:
            continue
        path = artifact.path / DOCUMENTS
        rows = read_documents(path, schema_of(Document), shared).to_pylist()
        documents = [Document(**row) for row in rows]
        for name in shared:
            own = [document for document in documents if document.task == name]
            stems = artifact.summary.get(SHARED_STEMS, {}).get(name, "")
            found[name] = Part(results.tasks[name], own, stems)
    return found


def _same_but_for_tasks(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether a task has the same scores under both; datasets of both must be at one commit."""
    first, second = dict(one), dict(other)
    commits = []
    for config in (first, second):
        del config["tasks"]
        found = config.pop("hub", {})
        commits.append(found if isinstance(found, Mapping) else {})
    shared = commits[0].keys() & commits[1].keys()
    return first == second and all(commits[0][name] == commits[1][name] for name in shared)


def _log_documents(tracker: Tracker, documents: Sequence[Document]) -> None:
    """A table of the documents; of very many the same choice for every model, by their hash."""
    shown = sorted(documents, key=lambda document: document.doc_hash)[:TRACKED_DOCUMENTS]
    rows = [[getattr(document, name) for name in _TRACKED] for document in shown]
    tracker.table("eval/documents", _TRACKED, rows)
    tracker.summary({"eval/documents_logged": len(shown), "eval/documents_scored": len(documents)})


def _write_documents(path: Path, documents: Iterable[Document]) -> None:
    rows = [vars(document) for document in documents]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema_of(Document)), path)
