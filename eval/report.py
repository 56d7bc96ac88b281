"""One self-contained HTML page: conclusion, deltas, training, data, cost, samples.

Promises: the page loads nothing from the network; every text that came from data is escaped; a
section whose artifact is absent says so; equal artifacts give an equal page.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from eval import figures, stats
from tsqa.artifact import Artifact, read_jsonl
from tsqa.recipe import Recipe, arms_of

SAMPLES = 20
_TEMPLATE = "report.html.jinja"
_Record = dict[str, Any]


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
    deltas: Mapping[str, Any],
    *,
    train: Mapping[str, Artifact] | None = None,
    filtered: Artifact | None = None,
    seeds: Artifact | None = None,
    generate: Artifact | None = None,
    tokenize: Artifact | None = None,
) -> Path:
    """Write the page; artifacts that a recipe does not have may be None."""
    from plotly.offline import get_plotlyjs

    train = train or {}
    control = deltas["control"]
    curves = {arm: _curve(artifact) for arm, artifact in train.items()}
    curves = {arm: curve for arm, curve in curves.items() if curve}
    colour = figures.colours([*deltas["arms"], *train], control)
    plots = {"forest": figures.forest(deltas)}
    if curves:
        plots["loss"] = figures.loss_curves(curves, colour)
    accepted, rejected = _samples(filtered, generate, recipe.seed)
    page = (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            recipe=recipe,
            deltas=deltas,
            macro=stats.MACRO,
            rows={(row["arm"], row["task"]): row for row in deltas["rows"]},
            words={stats.BETTER: "better", stats.WORSE: "worse", stats.UNCHANGED: "same"},
            documents=sum(task["n"] for task in deltas["tasks"].values()),
            plots=plots,
            plotly=get_plotlyjs(),
            mixture=list(_mixture(recipe, train)),
            training={arm: artifact.summary for arm, artifact in train.items()},
            filtered=filtered.summary if filtered else None,
            seeds=seeds.summary if seeds else None,
            generate=generate.summary if generate else None,
            tokenize=tokenize.summary if tokenize else None,
            cost=_cost(recipe, generate, filtered),
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
        phases = arms[arm].mixture.phases if arm in arms else []
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


def _cost(recipe: Recipe, generate: Artifact | None, filtered: Artifact | None) -> _Record | None:
    """What the teacher took: tokens, engine time, dollars where a price is given."""
    if generate is None or recipe.generate is None:
        return None
    seconds = float(generate.summary.get("engine_seconds", 0.0))
    output = int(generate.summary.get("output_tokens", 0))
    dollars = seconds / 3600 * recipe.generate.teacher.dollars_per_hour
    curated = int(filtered.summary.get("curated", 0)) if filtered else 0
    return {
        "prompt_tokens": int(generate.summary.get("prompt_tokens", 0)),
        "output_tokens": output,
        "engine_seconds": seconds,
        "tokens_per_second": output / seconds if seconds else None,
        "dollars": dollars or None,
        "dollars_per_thousand": 1000 * dollars / curated if dollars and curated else None,
        "tokens_per_curated": output / curated if curated else None,
    }


def _samples(
    filtered: Artifact | None, generate: Artifact | None, seed: int
) -> tuple[list[_Record], list[_Record]]:
    """Some accepted and some rejected items, with their votes where they can be found."""
    if filtered is None:
        return [], []
    accepted = _choose(filtered.path / "curated.jsonl", seed)
    rejected = _choose(filtered.path / "rejected.jsonl", seed)
    votes: dict[str, Any] = {}
    if generate is not None:
        wanted = {record["id"] for record in [*accepted, *rejected]}
        for record in _records(generate.path / "candidates.jsonl"):
            if record.get("id") in wanted:
                votes[record["id"]] = record.get("votes") or []
    for record in [*accepted, *rejected]:
        record["votes"] = [_vote(vote) for vote in votes.get(record["id"], [])]
    return accepted, rejected


def _vote(vote: Any) -> str:
    if isinstance(vote, dict):
        return str(vote.get("answer") or vote.get("parse_error") or "no answer")
    return str(vote)


def _choose(path: Path, seed: int) -> list[_Record]:
    """A seeded choice in file order, in one pass (reservoir sampling)."""
    rng = random.Random(f"{seed}:{path.name}")
    kept: list[tuple[int, _Record]] = []
    for number, record in enumerate(_records(path)):
        if len(kept) < SAMPLES:
            kept.append((number, record))
        elif (place := rng.randrange(number + 1)) < SAMPLES:
            kept[place] = (number, record)
    return [record for _, record in sorted(kept, key=lambda pair: pair[0])]


def _records(path: Path) -> Iterator[_Record]:
    if path.is_file():
        yield from read_jsonl(path)
