"""One self-contained HTML page: conclusion, deltas, training, data, cost, samples.

Promises: the page loads nothing from the network; every text that came from data is escaped; a
section whose artifact is absent says so; equal artifacts give an equal page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from eval import figures, stats
from tsqa.artifact import Artifact, read_jsonl
from tsqa.card import allowed_leaks, cost_rows
from tsqa.dataset import draw_rows, read_curated, read_rejected
from tsqa.lineage import find_lines
from tsqa.recipe import Recipe, arms_of, needed

SAMPLES = 20
_TEMPLATE = "report.html.jinja"
_Record = dict[str, Any]
_PLANNED = ("available", "planned", "chosen")
_PRODUCED = ("candidates", "curated")
_HISTOGRAMS = {
    "agreement_histogram": "share of the votes that agree",
    "distance_to_seed": "distance to the nearest seed shown (1 - Jaccard)",
}


@dataclass(frozen=True)
class StageRow:
    """One line of the table of stages."""

    stage: str
    arm: str
    fingerprint: str
    seconds: float
    cached: bool
    path: str
    note: str


def build(
    out_html: Path,
    recipe: Recipe,
    stages: Sequence[StageRow],
    deltas: Mapping[str, Any] | None,
    *,
    train: Mapping[str, Artifact] | None = None,
    filtered: Artifact | None = None,
    seeds: Artifact | None = None,
    generate: Artifact | None = None,
    tokenize: Artifact | None = None,
) -> Path:
    """Write the page; what a recipe does not have may be None: artifacts, or a comparison."""
    from plotly.offline import get_plotlyjs

    train = train or {}
    curves = {arm: curve for arm, artifact in train.items() if (curve := _curve(artifact))}
    plots = {"forest": figures.forest(deltas)} if deltas else {}
    if curves:
        arms = [*(deltas["arms"] if deltas else ()), *train]
        control = deltas["control"] if deltas else arms[0]
        plots["loss"] = figures.loss_curves(curves, figures.colours(arms, control))
    if filtered is not None:
        for name, title in _HISTOGRAMS.items():
            if name in filtered.summary:
                plots[name] = figures.histogram(filtered.summary[name], title)
    coverage = list(_coverage(seeds, filtered))
    accepted, rejected = _samples(filtered, generate, recipe.seed)
    page = (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            recipe=recipe,
            deltas=deltas,
            macro=stats.MACRO,
            rows={(row["arm"], row["task"]): row for row in deltas["rows"]} if deltas else {},
            words={stats.BETTER: "better", stats.WORSE: "worse", stats.UNCHANGED: "same"},
            plots=plots,
            plotly=get_plotlyjs(),
            mixture=list(_mixture(recipe, train)),
            training={arm: artifact.summary for arm, artifact in train.items()},
            filtered=filtered.summary if filtered else None,
            seeds=seeds.summary if seeds else None,
            generate=generate.summary if generate else None,
            tokenize=tokenize.summary if tokenize else None,
            leaks=allowed_leaks(seeds.summary) if seeds else [],
            coverage={
                "capability": list(_by_capability(coverage)),
                "task": coverage,
            },
            cost=_cost(recipe, generate, filtered, tokenize),
            stages=stages,
            seconds=sum(row.seconds for row in stages),
            accepted=accepted,
            rejected=rejected,
        )
    )
    temporary = out_html.with_name(out_html.name + ".tmp")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(out_html)
    return out_html


def duration(seconds: float) -> str:
    """1.5 s, 2 min 05 s, 3 h 07 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["points"] = stats.points
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}%"
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["duration"] = duration
    environment.filters["probability"] = lambda p: f"{p:.4f}" if p >= 1e-4 else "< 0.0001"
    environment.filters["lineage"] = lambda value: json.dumps(value, indent=1, ensure_ascii=False)
    return environment


def _curve(artifact: Artifact) -> list[_Record]:
    """The loss by step; after a resume a step may be logged twice, and the later one counts."""
    path = artifact.path / "metrics.jsonl"
    if not path.is_file():
        return []
    records = {r["step"]: r for r in read_jsonl(path, tolerate_torn_tail=True) if "train/loss" in r}
    return [records[step] for step in sorted(records)]


def _mixture(recipe: Recipe, train: Mapping[str, Artifact]) -> Iterator[_Record]:
    """Planned share against drawn tokens, per arm and source."""
    arms = arms_of(recipe)
    for arm, artifact in train.items():
        sources = artifact.summary.get("sources", {})
        total = sum(source.get("drawn", 0) for source in sources.values())
        phases = needed(arms[arm].recipe.mixture, "mixture").phases if arm in arms else []
        budget = sum(phase.tokens for phase in phases)
        for name in sorted(sources):
            source = sources[name]
            planned = sum(p.tokens * p.ratios.get(name, 0.0) for p in phases)
            yield {
                "arm": arm,
                "source": name,
                "planned": planned / budget if budget else None,
                "share": source.get("drawn", 0) / total if total else 0.0,
                **{key: source.get(key) for key in ("drawn", "padded", "loss", "epochs")},
            }


def _coverage(seeds: Artifact | None, filtered: Artifact | None) -> Iterator[_Record]:
    """Per task: what the budget planned, and what came of it."""
    produced = filtered.summary["by_task"] if filtered else {}
    for row in seeds.summary.get("coverage", []) if seeds else []:
        yield {**row, **dict.fromkeys(_PRODUCED, 0), **produced.get(row["task"], {})}


def _by_capability(rows: Sequence[_Record]) -> Iterator[_Record]:
    for name in sorted({row["capability"] for row in rows}):
        own = [row for row in rows if row["capability"] == name]
        counted = (*_PLANNED, *_PRODUCED)
        yield {"capability": name, **{key: sum(row[key] for row in own) for key in counted}}


def _cost(
    recipe: Recipe,
    generate: Artifact | None,
    filtered: Artifact | None,
    tokenize: Artifact | None,
) -> list[_Record]:
    """What each teacher took; accepted tokens are the student's where the filter knows none."""
    if generate is None:
        return []
    accepted = {"curated": 0, **(filtered.summary if filtered else {})}
    if tokenize is not None and recipe.mixture is not None:
        for name, source in recipe.mixture.sources.items():
            if source.stage == "filter":
                accepted.setdefault("curated_tokens", tokenize.summary["sources"][name]["tokens"])
    return cost_rows(generate.summary, accepted)


def _samples(
    filtered: Artifact | None, generate: Artifact | None, seed: int
) -> tuple[list[_Record], list[_Record]]:
    """Some accepted and some rejected items, with their votes where they can be found."""
    if filtered is None:
        return [], []
    accepted = draw_rows(read_curated(filtered.path), SAMPLES, f"{seed}:accepted")
    rejected = draw_rows(read_rejected(filtered.path), SAMPLES, f"{seed}:rejected")
    candidates = find_lines(generate, "candidates.jsonl", [row["id"] for row in accepted])
    for row in accepted:
        row["votes"] = _votes(candidates.get(row["id"]))
        row["lineage"] = json.loads(row["lineage"])
    for row in rejected:
        row["votes"] = _votes(_parsed(row["record"]))
    return accepted, rejected


def _votes(candidate: Any) -> list[str]:
    votes = candidate.get("votes") if isinstance(candidate, dict) else None
    if not isinstance(votes, list):
        return []
    found = [vote for vote in votes if isinstance(vote, dict)]
    return [str(vote.get("answer") or vote.get("error") or "no answer") for vote in found]


def _parsed(record: str) -> Any:
    """A rejected record as it came; None where it was never JSON."""
    try:
        return json.loads(record)
    except ValueError:
        return None
