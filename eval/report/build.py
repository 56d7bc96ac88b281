"""One self-contained HTML page: conclusion, set-up, deltas, training, data, cost, items.

Guarantees: the page loads nothing from the network, and its policy forbids it; every text that came
from data is escaped; a section whose artifact is absent says so, a condition without results is a
marked gap; its size is bounded; equal artifacts give an equal page. Scores and deltas come from
deltas.json alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from eval.compare.stage import looks_notes
from eval.compare.tables import bits_caption, bits_lines
from eval.deltas import DeltaTable
from eval.report import about, comparison, dataset, mixture
from eval.report.about import PageOrigin
from eval.report.figures import task_rows
from eval.report.plots import MATRIX_ARMS, page_plots
from eval.report.share import Share
from eval.statistics import stats
from tsqa.curated.card import allowed_leaks
from tsqa.pages import packed_plotly, page_environment
from tsqa.recipe import Arm, Recipe, arms_of
from tsqa.recipe.sections.ablation import AblationSection
from tsqa.records.quality import QualityReport, shown_costs
from tsqa.records.summaries import merge_leaks
from tsqa.store.artifact import Artifact
from tsqa.store.atomic import write_text

_HERE = Path(__file__).parent
_TEMPLATE = "page.html.jinja"


@dataclass(frozen=True)
class StageRow:
    """One line of the table of stages."""

    stage: str
    arm: str
    fingerprint: str
    seconds: float
    cached: bool
    path: str
    finished: str
    """UTC, `2026-01-31T12:00:00Z`."""


def build(
    out_html: Path,
    recipe: Recipe,
    stages: Sequence[StageRow],
    deltas: DeltaTable | None,
    *,
    train: Mapping[str, Artifact] | None = None,
    evaluations: Mapping[str, Artifact] | None = None,
    checkpoints: Mapping[str, Sequence[Artifact]] | None = None,
    datasets: Mapping[str, Artifact] | None = None,
    seeds: Artifact | None = None,
    generate: Artifact | None = None,
    audit: QualityReport | None = None,
    tokenized: Mapping[str, Artifact] | None = None,
    origin: PageOrigin | None = None,
    share: Share | None = None,
) -> Path:
    """Write the page; what a recipe does not have may be None: artifacts, or a comparison.

    `train` and `evaluations` are by arm name, `evaluations` also holds `base`; `checkpoints` holds
    the evaluations of an arm's intermediate checkpoints. `datasets` are filter artifacts by label:
    the first, whose `seeds` and `generate` these are, is shown in full, the others by their counts.
    `audit` is of the first dataset. `tokenized` are tokenize artifacts by label. `share`: what a
    page for others leaves out.
    """
    train, evaluations, datasets = train or {}, evaluations or {}, datasets or {}
    filtered, tokenized = next(iter(datasets.values()), None), tokenized or {}
    arms = arms_of(recipe) if recipe.train else {}
    styles = comparison.condition_styles(deltas, arms)
    shown = comparison.changed_documents(deltas, arms, evaluations) if deltas else None
    items = dataset.draw_items(filtered, generate, recipe.seed)
    if share and not share.rejected:
        items = [item for item in items if item.accepted]
    plots = page_plots(
        recipe, deltas, arms, styles, train, checkpoints or {}, evaluations, filtered
    )
    page = (
        _environment(share)
        .get_template(_TEMPLATE)
        .render(
            share=share,
            styles=styles,
            gaps=list(comparison.missing_arms(deltas, arms)) if deltas else [],
            disagreements=_shared_pairs(asdict(shown), share) if shown else None,
            plots=share.tree(plots) if share else plots,
            filtered=filtered.summary if filtered else None,
            datasets={label: artifact.summary for label, artifact in datasets.items()},
            cost=dataset.teacher_costs(recipe, generate, filtered, tokenized),
            items=items,
            **_of_recipe(recipe, origin, stages, deltas, train),
            **_of_mixture(arms, train, tokenized),
            **_of_table(deltas),
            **_of_seeds(seeds, filtered, audit),
            leaks=_leaks([seeds, *datasets.values(), *train.values(), *evaluations.values()]),
            **_page_files(),
        )
    )
    write_text(out_html, page)
    return out_html


def _of_recipe(
    recipe: Recipe,
    origin: PageOrigin | None,
    stages: Sequence[StageRow],
    deltas: DeltaTable | None,
    train: Mapping[str, Artifact],
) -> dict[str, object]:
    """What the template needs to show what ran, and what its words mean."""
    finished = max((row.finished for row in stages), default="")
    return {
        "recipe": recipe,
        "recipe_text": about.recipe_text(recipe),
        "setup": list(about.setup_facts(recipe, origin, finished, deltas, train)),
        "varied": _varied(recipe.ablation) if recipe.ablation else [],
        "terms": about.TERMS,
        "looks": looks_notes(recipe) if recipe.eval and recipe.train else [],
        "stages": stages,
        "seconds": sum(row.seconds for row in stages),
    }


def _shared_pairs(pairs: dict[str, Any], share: Share | None) -> dict[str, Any]:
    """The pairs with their names as the shared page spells them; documents stay as they are."""
    if share is None:
        return pairs
    named = [
        {k: v if k == "items" else share.tree(v) for k, v in pair.items()}
        for pair in pairs["comparisons"]
    ]
    return {**pairs, "comparisons": named}


def _of_table(deltas: DeltaTable | None) -> dict[str, object]:
    """What the template needs to show the table of deltas."""
    return {
        "deltas": deltas,
        "macro": stats.MACRO,
        "rows": {(row.arm, row.task): row for row in deltas.rows} if deltas else {},
        "task_rows": task_rows(deltas) if deltas else [],
        "chosen": comparison.chosen_arms(deltas) if deltas else [],
        "matrix": deltas is not None and len(deltas.arms) <= MATRIX_ARMS,
        "contamination": deltas.contamination if deltas else {},
        "words": {
            stats.BETTER: "better",
            stats.WORSE: "worse",
            stats.DIFFERS: "differs",
            stats.UNCHANGED: "same",
        },
        "verdicts": stats.VERDICTS,
        "bits_lines": bits_lines(deltas) if deltas else [],
        "bits_caption": bits_caption(deltas) if deltas else "",
    }


def _of_mixture(
    arms: Mapping[str, Arm], train: Mapping[str, Artifact], tokenized: Mapping[str, Artifact]
) -> dict[str, object]:
    """What the template needs to show what the arms read."""
    return {
        "mixture": list(mixture.mixture_rows(arms, train)),
        "generations": list(mixture.generation_rows(train)),
        "training": {arm: artifact.summary for arm, artifact in train.items()},
        "twice_drawn": mixture.twice_drawn(arms),
        "at_hand": list(mixture.tokenized_sources(tokenized)),
    }


def _of_seeds(
    seeds: Artifact | None, filtered: Artifact | None, audit: QualityReport | None
) -> dict[str, object]:
    """What the template needs to show seeds, coverage and what an audit found."""
    coverage = list(dataset.coverage_rows(seeds, filtered))
    return {
        "seeds": seeds.summary if seeds else None,
        "coverage": {"capability": list(dataset.sum_by_capability(coverage)), "task": coverage},
        "kinds": dataset.count_kinds(filtered),
        "audit": dataset.audit_rows(audit) if audit else [],
        "audited": audit,
        "audit_costs": shown_costs(audit) if audit else [],
    }


def _leaks(artifacts: Iterable[Artifact | None]) -> list[str]:
    """What `seeds.allow_leaks` let into any of these, the data of bases and teachers included."""
    merged = merge_leaks(artifact.summary for artifact in artifacts if artifact)
    return allowed_leaks({"allowed_leaks": merged})


def _page_files() -> dict[str, str]:
    return {
        "style": Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        "script": Markup((_HERE / "page.js").read_text(encoding="utf-8")),
        "plotly": packed_plotly(),
    }


def duration(seconds: float) -> str:
    """1.5 s, 2 min 05 s, 3 h 07 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _environment(share: Share | None) -> jinja2.Environment:
    """`share` sees every text of the page but that which the template escapes itself."""

    def finalize(value: object) -> object:
        return share.text(value) if share and type(value) is str else value

    environment = page_environment(_HERE, finalize)
    environment.filters["points"] = stats.points
    environment.filters["detectable"] = stats.detectable_points
    environment.filters["interval"] = lambda row: stats.interval(row.low, row.high)
    environment.filters["bits"] = stats.bits_change
    environment.filters["change"] = stats.change
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}%"
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["duration"] = duration
    environment.filters["probability"] = lambda p: f"{p:.4f}" if p >= 1e-4 else "< 0.0001"
    environment.tests["macro"] = stats.is_macro
    return environment


def _varied(section: AblationSection) -> list[str]:
    """The keys in which arms differ."""
    keys = dict.fromkeys(key for each in section.combinations for key in each if key != "name")
    return [*keys, *(["ablation.controls"] if section.controls else [])]
