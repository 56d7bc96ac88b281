"""Audits of the datasets of a pipeline: made, found again, tracked, held against limits.

Guarantee: an audit is of the very data of a filter artifact, or there is none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tsqa.console import console
from tsqa.errors import TsqaError
from tsqa.hub.identify import identify_model
from tsqa.locks import hold_folder
from tsqa.names import file_name
from tsqa.pipeline.node import Node, reached_from
from tsqa.quality.gate import breaches, limits_of, refuse_audited
from tsqa.recipe import AuditSection, GradientsSection, ModelSection, Recipe, needed
from tsqa.records.quality import (
    NOT_ASKED,
    PAGE,
    QualityMeasure,
    QualityReport,
    SwapsReport,
    keep_report,
    read_report,
    shown_reference,
    shown_value,
)
from tsqa.spending import has_gpu
from tsqa.store.artifact import Artifact
from tsqa.store.digests import hash_bytes
from tsqa.store.roles import Role, format_role
from tsqa.store.stage import StageContext
from tsqa.store.tracking import Tracker
from tsqa.teachers.config import is_teacher
from tsqa.trackers import TrackedRun, tags_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tsqa.dedup.semantic import SentenceEncoder
    from tsqa.pipeline.run import Pipeline
    from tsqa.quality.diversity import GradientProxy
    from tsqa.quality.privacy import NameFinder

AUDIT = "audit"
"""Folder in that of a run."""
SWAPS = "swaps"
"""Folder in that of an audit: what models said, by the hash of what they were asked."""
GRADIENTS = "gradients"
"""Folder beside it: those of texts, by the hash of the model and the text."""
_ASKED_WITH = ("seeds", "generate", "data")
"""Inputs that asking needs besides models."""
_COLUMNS = ("dimension", "measure", "value", "reference", "p", "differs")


def audit_folder(node: Node) -> Path:
    """Of the page of a filter artifact's audit; arms with filters of their own have one each."""
    folder = Path(node.recipe.runs) / node.recipe.name / AUDIT
    return folder / file_name(node.labelled.detail) if node.labelled.detail else folder


def find_audit(pipeline: Pipeline, node: Node) -> QualityReport | None:
    """The audit of a filter node's artifact; None where that is not built, or nobody audited it."""
    filtered = pipeline.find(node)
    seeds = pipeline.find(node.inputs["seeds"])
    if filtered is None or seeds is None:
        return None
    return read_report(Path(node.recipe.runs), filtered, seeds)


def make_audit(
    pipeline: Pipeline, node: Node, effect: Sequence[QualityMeasure] = ()
) -> QualityReport:
    """Audit a filter node's artifact: keep the report, write its page, track it.

    `effect`: what training on it did, where that is known.
    """
    from tsqa.quality.report import write_report  # they import sklearn
    from tsqa.quality.run import audit

    made_of = node.inputs["seeds"]
    filtered, seeds = (
        pipeline.store.find(each.stage, each.fingerprint, "whole") for each in (node, made_of)
    )
    if filtered is None or seeds is None:
        missing = node if filtered is None else made_of
        raise TsqaError(f"{missing.label} is not built", f"tsqa filter {pipeline.told(node)}")
    folder = audit_folder(node)
    context = StageContext(made_of.recipe, pipeline.inputs_of(made_of), folder, Tracker.silent())
    seed = needed(node.recipe.generate, "generate").seed
    swapped = _swaps(pipeline, node, filtered, seed)
    with _proxy_of(pipeline, node) as proxy:
        models = (_encoder_of(node), proxy, _finder_of(pipeline, node))
        report = audit(context, seeds, filtered, seed, effect, swapped, *models)
    page = write_report(folder, report)
    keep_report(Path(node.recipe.runs), report)
    _track(pipeline, node, report, page)
    return report


def _encoder_of(node: Node) -> Callable[[], SentenceEncoder] | None:
    """What loads the model of meanings that a dataset was filtered with; None without one."""
    from tsqa.decontaminate.semantic import load_encoder

    section = needed(node.recipe.filter, "filter")
    if section.semantic_leaks is None:
        return None
    return partial(load_encoder, section)


@contextmanager
def _proxy_of(pipeline: Pipeline, node: Node) -> Iterator[GradientProxy | None]:
    """The small model whose gradients are compared, with the folder where they are kept locked;
    None where the recipe names none."""
    section = node.recipe.audit.gradients if node.recipe.audit else None
    if section is None:
        yield None
        return
    from tsqa.quality.diversity import GradientProxy  # it imports sklearn

    folder = audit_folder(node) / GRADIENTS
    folder.mkdir(parents=True, exist_ok=True)
    with hold_folder(folder, folder / "lock", f"audit of {node.recipe.name}"):
        yield GradientProxy(
            items=section.items,
            name=ModelSection(path=section.model).called,
            gradients=partial(_gradients, pipeline, node, section.model, folder),
            wanted=_wanted(section),
        )


def _finder_of(pipeline: Pipeline, node: Node) -> NameFinder | None:
    """What marks names of persons; None where the recipe names no model for it."""
    section = node.recipe.audit.names if node.recipe.audit else None
    if section is None:
        return None
    from tsqa.quality.privacy import NameFinder  # it imports sklearn

    return NameFinder(
        name=ModelSection(path=section.model).called,
        names=partial(_names, pipeline, node, section.model),
        wanted=_identity(section.model),
    )


def _names(pipeline: Pipeline, node: Node, model: str, texts: Sequence[str]) -> list[set[str]]:
    from tsqa.quality.names.tagger import names_in  # it imports torch

    with _charged(pipeline, node):
        return names_in(model, texts)


@contextmanager
def _charged(pipeline: Pipeline, node: Node) -> Iterator[None]:
    """A GPU's time counts as spent."""
    begun = time.monotonic()
    yield
    if has_gpu():
        hours = (time.monotonic() - begun) / 3600
        pipeline.spending.add(hours * node.recipe.dollars_per_gpu_hour)


def _gradients(
    pipeline: Pipeline, node: Node, model: str, folder: Path, texts: Sequence[str]
) -> list[NDArray[np.float32] | None]:
    from tsqa.quality.gradients.proxy import text_gradients  # it imports torch

    with _charged(pipeline, node):
        return text_gradients(model, folder, texts)


def _wanted(section: GradientsSection) -> str:
    """Of which model, by its content, and of how many items gradients are wanted."""
    return f"{_identity(section.model)}, {section.items} items"


def _identity(model: str) -> str:
    return hash_bytes(json.dumps(identify_model(model), sort_keys=True).encode())[:12]


def _swaps(pipeline: Pipeline, node: Node, filtered: Artifact, seed: int) -> SwapsReport:
    """Ask the models of a dataset about its items with others in them, where the recipe says so."""
    from tsqa.quality.swaps.run import run_swaps

    section = node.recipe.audit.swaps if node.recipe.audit else None
    if section is None:
        return NOT_ASKED
    folder = audit_folder(node) / SWAPS
    folder.mkdir(parents=True, exist_ok=True)
    with hold_folder(folder, folder / "lock", f"audit of {node.recipe.name}"):
        filtering, generating = (
            asking_context(pipeline, each, folder) for each in (node, node.inputs["generate"])
        )
        return run_swaps(section, filtering, generating, filtered.path, seed)


def asking_context(pipeline: Pipeline, node: Node, folder: Path) -> StageContext:
    """Of a stage that is finished, whose models are asked more: what they say goes to `folder`."""
    inputs: dict[Role, Artifact] = {}
    for role, upstream in node.inputs.items():
        if role in _ASKED_WITH or is_teacher(format_role(role)):
            made = pipeline.find(upstream)
            if made is None:
                raise TsqaError(
                    f"audit.swaps needs {upstream.label}, which is not there any more",
                    f"run it again (tsqa run {pipeline.told(node)}), or leave audit.swaps out",
                )
            inputs[role] = made
    silent = Tracker.silent()
    return StageContext(
        *(node.recipe, inputs, folder, silent, node.config), spending=pipeline.spending
    )


def audit_where_asked(pipeline: Pipeline, node: Node) -> None:
    """Audit a finished dataset whose recipe has the section `audit`, where nobody has yet, or
    nobody asked as many models."""
    section = node.recipe.audit
    if node.stage != "filter" or section is None:
        return
    if _is_whole(section, find_audit(pipeline, node)):
        return
    asked = "models are asked" if section.swaps else "no model is asked"
    console.print(f"  auditing {pipeline.label(node)} (section audit); {asked}")
    make_audit(pipeline, node)
    console.print(f"  {audit_folder(node) / PAGE}")


def audits_to_make(pipeline: Pipeline, nodes: Sequence[Node] | None = None) -> list[Node]:
    """Finished datasets that a run (of these nodes) audits: their sections ask for what no audit
    has yet."""
    return [
        node
        for node in _audited(pipeline.nodes if nodes is None else nodes)
        if pipeline.find(node)
        and not _is_whole(needed(node.recipe.audit, "audit"), find_audit(pipeline, node))
    ]


def _is_whole(section: AuditSection, report: QualityReport | None) -> bool:
    """Whether an audit asked as many models as the section says."""
    if report is None or (section.swaps and report.swaps != section.swaps.wanted):
        return False
    if section.names and report.names != _identity(section.names.model):
        return False
    return section.gradients is None or report.gradients == _wanted(section.gradients)


def refuse_unaudited(pipeline: Pipeline, node: Node) -> None:
    """Refuse to train on a dataset whose audit exceeds a limit of its recipe, or is not made."""
    for upstream in _audited([node]) if node.stage == "train" else ():
        refuse_audited(
            needed(upstream.recipe.audit, "audit"),
            find_audit(pipeline, upstream),
            f"tsqa filter {pipeline.told(upstream)}",
            audit_folder(upstream) / PAGE,
        )


def audit_states(pipeline: Pipeline) -> list[tuple[Node, str, list[str]]]:
    """Each filter node with limits: what they are and whether they are checked, and what refuses to
    train by the audit that is there."""
    found = []
    for node in _audited(pipeline.nodes):
        section = needed(node.recipe.audit, "audit")
        limits = ", ".join(f"{key} {limit:g}" for key, limit in limits_of(section).items())
        if section.swaps:
            limits = f"{limits}; " if limits else ""
            limits += f"swaps ask {_asked(node.recipe)} up to {section.swaps.requests:,} times each"
        if section.gradients:
            limits = f"{limits}; " if limits else ""
            limits += f"gradients of up to {section.gradients.items:,} items and their seeds"
        if section.names:
            limits = f"{limits}; " if limits else ""
            limits += "names of persons in items and seeds"
        report = find_audit(pipeline, node)
        beyond = [*breaches(section, report)] if report else []
        state = (
            "not made yet"
            if report is None
            else "refuses to train"
            if beyond
            else "refuses nothing"
        )
        found.append((node, f"{limits or 'no limits'}; {state}", beyond))
    return found


def _asked(recipe: Recipe) -> str:
    """Whom the swaps of a recipe ask."""
    judging = ["judge"] if recipe.filter and recipe.filter.judge else []
    solving = [each.role for each in recipe.generate.solving] if recipe.generate else []
    return " and ".join([*judging, *solving]) or "nobody"


def _audited(nodes: Sequence[Node]) -> list[Node]:
    """The filters that these are made from and whose recipes have the section."""
    filters = [n for n in reached_from(nodes) if n.stage == "filter" and n.recipe.audit]
    return [*{node.fingerprint: node for node in filters}.values()]


def _track(pipeline: Pipeline, node: Node, report: QualityReport, page: Path) -> None:
    """A run of its own, `audit-FINGERPRINT`: the run of the filter ended before."""
    run = TrackedRun(
        experiment=pipeline.recipe.name,
        stage=AUDIT,
        subject=node.labelled.detail or node.recipe.name,
        fingerprint=node.fingerprint,
        config={"recipe": node.recipe.model_dump(mode="json", by_alias=True)},
        tags=tags_of(node.recipe, shares=False),
    )
    tracker, failed = Tracker(pipeline.recipe.tracking, run, Path(pipeline.recipe.runs)), True
    try:
        rows = [
            (m.dimension, m.name, shown_value(m), shown_reference(m), m.p, m.apart)
            for m in report.measures
        ]
        tracker.table("measures", _COLUMNS, rows)
        tracker.page("quality", page)
        values = {
            f"{AUDIT}/{m.dimension}/{m.name}": m.value
            for m in report.measures
            if m.value is not None
        }
        costs = {
            f"{AUDIT}/{SWAPS}/{row.teacher}/{key}": getattr(row, key)
            for row in report.ledger
            for key in ("requests", "dollars")
        }
        tracker.summary(values | costs)
        failed = False
    finally:
        tracker.finish(failed)
