"""The end of a run: the delta table in the terminal and `report.html`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tsqa.console import console
from tsqa.errors import TsqaError
from tsqa.pipeline.run import Pipeline
from tsqa.records.quality import QualityReport, read_report
from tsqa.store.artifact import Artifact
from tsqa.store.roles import Label

if TYPE_CHECKING:
    from eval.deltas import DeltaTable
    from eval.report.build import StageRow


@dataclass(frozen=True)
class SharedPage:
    """A page for others: where it goes, and whether it shows rejected items."""

    file: Path
    rejected: bool


def write_report(
    pipeline: Pipeline, failed: Mapping[str, str] = {}, shared: SharedPage | None = None
) -> Path:
    """Print the table of deltas, where there is one, and write the page.

    `failed`: arm -> why it has no result. `shared`: instead of the run's own page, one without
    paths and host names.
    """
    from eval.compare.tables import print_table
    from eval.report.about import origin_of
    from eval.report.build import build
    from eval.report.share import Share

    own, rows = _finished(pipeline)
    datasets = _of_stage(own, "filter")
    compared = own.get(Label("compare"))
    if compared is None and not datasets:
        console.print("This recipe makes no dataset and compares nothing: no report.")
        return pipeline.folder
    deltas = _read_deltas(compared, failed) if compared else None
    page = shared.file if shared else pipeline.folder / "report.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    evaluations, checkpoints = _evaluations(own)
    seeds = _upstream(own, datasets, "seeds")
    build(
        page,
        pipeline.recipe,
        rows,
        deltas,
        train={label.arm: a for label, a in own.items() if label.stage == "train"},
        evaluations=evaluations,
        checkpoints=checkpoints,
        datasets=datasets,
        seeds=seeds,
        generate=_upstream(own, datasets, "generate"),
        audit=_audit(pipeline, datasets, seeds),
        tokenized=_of_stage(own, "tokenize"),
        origin=origin_of(pipeline.origin, pipeline.overrides),
        share=Share(pipeline.recipe, pipeline.origin.parent, shared.rejected) if shared else None,
    )
    if deltas:
        print_table(deltas, console)
    console.print(f"report  {page}")
    return page


def _finished(pipeline: Pipeline) -> tuple[dict[Label, Artifact], list[StageRow]]:
    """The recipe's own artifacts, and a row of the page for each stage."""
    from eval.report.build import StageRow

    own: dict[Label, Artifact] = {}
    rows = []
    for node in pipeline.nodes:
        artifact = pipeline.find(node)
        if artifact is None:
            raise TsqaError(f"{pipeline.label(node)} is not built", f"tsqa run {pipeline.told()}")
        if node.recipe.name == pipeline.recipe.name:
            own[node.labelled] = artifact
        rows.append(
            StageRow(
                stage=pipeline.label(node),
                arm=node.labelled.detail,
                fingerprint=node.fingerprint,
                seconds=float(artifact.summary.get("seconds", 0.0)),
                cached=node.fingerprint not in pipeline.ran,
                path=str(artifact.path),
                finished=artifact.manifest.created,
            )
        )
    return own, rows


def _read_deltas(compared: Artifact, failed: Mapping[str, str]) -> DeltaTable:
    """The table, its gaps with the reasons of this run."""
    from eval.compare.stage import read_deltas

    deltas = read_deltas(compared)
    gaps = {
        arm: replace(gap, reason=failed.get(arm, gap.reason)) for arm, gap in deltas.gaps.items()
    }
    return replace(deltas, gaps=gaps)


def _audit(
    pipeline: Pipeline, datasets: Mapping[str, Artifact], seeds: Artifact | None
) -> QualityReport | None:
    """Of the first dataset, which the page shows in full; None where nobody audited it."""
    first = next(iter(datasets.values()), None)
    if first is None or seeds is None:
        return None
    return read_report(Path(pipeline.recipe.runs), first, seeds)


def _of_stage(own: Mapping[Label, Artifact], stage: str) -> dict[str, Artifact]:
    """By label, which tells them apart where there are several of the stage."""
    return {str(label): a for label, a in own.items() if label.stage == stage}


def _upstream(
    own: Mapping[Label, Artifact], datasets: Mapping[str, Artifact], stage: str
) -> Artifact | None:
    """What the first dataset is made from; without a dataset, the recipe's one artifact."""
    for dataset in datasets.values():
        wanted = dataset.manifest.inputs[stage]
        return next((a for a in own.values() if a.identity == wanted), None)
    return own.get(Label(stage))


def _evaluations(
    own: Mapping[Label, Artifact],
) -> tuple[dict[str, Artifact], dict[str, list[Artifact]]]:
    """Final ones by arm (or `base`), and those along the training by arm."""
    final: dict[str, Artifact] = {}
    checkpoints: dict[str, list[Artifact]] = {}
    for label, artifact in own.items():
        if label.stage == "evaluate" and label.point is None:
            final[label.arm] = artifact
        elif label.stage == "evaluate":
            checkpoints.setdefault(label.arm, []).append(artifact)
    return final, checkpoints
