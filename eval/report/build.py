"""One self-contained HTML page: conclusion, deltas, training, data, cost, disagreements, items.

Promises: the page loads nothing from the network, and its policy forbids it; every text that came
from data is escaped; a section whose artifact is absent says so, a condition without results is a
marked gap; its size is bounded; equal artifacts give an equal page. Scores and deltas come from
deltas.json alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from eval.compare.disagreements import Evaluations, disagreements, shorten
from eval.harness.stage import RESULTS, read_curve
from eval.report import figures
from eval.shapes import Results
from eval.statistics import stats
from tsqa.dataset.card import allowed_leaks, cost_rows
from tsqa.dataset.files import draw_rows, read_curated, read_rejected
from tsqa.dataset.lineage import find_lines
from tsqa.recipe import Arm, Recipe, arms_of, needed
from tsqa.store.artifact import Artifact
from tsqa.store.atomic import write_text
from tsqa.store.jsonl import read_jsonl
from tsqa.store.own_files import read_own

SAMPLES = 100
"""Accepted items, and as many rejected ones, drawn at random."""
MATRIX_ARMS = 6
"""Up to so many arms the scores stand in one table; more are drawn as a map."""
CHOSEN_ARMS = 6
_HERE = Path(__file__).parent
_TEMPLATE = "page.html.jinja"
_LONGEST_TEXT = 4000
_Record = dict[str, Any]
_Figures = list[tuple[str, figures.Figure]]
"""Label -> figure: the page offers the labels where there are several."""
_ORIGIN = (
    *("seed_id", "seed_question", "dataset", "revision", "split", "licence"),
    *("prompts", "sampling", "teacher"),
)
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
    evaluations: Mapping[str, Artifact] | None = None,
    checkpoints: Mapping[str, Sequence[Artifact]] | None = None,
    datasets: Mapping[str, Artifact] | None = None,
    seeds: Artifact | None = None,
    generate: Artifact | None = None,
    tokenized: Mapping[str, Artifact] | None = None,
) -> Path:
    """Write the page; what a recipe does not have may be None: artifacts, or a comparison.

    `train` and `evaluations` are by arm name, `evaluations` also holds `base`; `checkpoints` holds
    the evaluations of an arm's intermediate checkpoints. `datasets` are filter artifacts by label:
    the first, whose `seeds` and `generate` these are, is shown in full, the others by their counts.
    `tokenized` are tokenize artifacts by label.
    """
    from plotly.offline import get_plotlyjs

    train, evaluations, datasets = train or {}, evaluations or {}, datasets or {}
    filtered, tokenized = next(iter(datasets.values()), None), tokenized or {}
    arms = arms_of(recipe) if recipe.train else {}
    coverage = list(_coverage(seeds, filtered))
    page = (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            recipe=recipe,
            deltas=deltas,
            macro=stats.MACRO,
            rows={(row["arm"], row["task"]): row for row in deltas["rows"]} if deltas else {},
            task_rows=figures.task_rows(deltas) if deltas else [],
            styles=_styles(deltas, arms),
            chosen=_chosen(deltas) if deltas else [],
            matrix=deltas is not None and len(deltas["arms"]) <= MATRIX_ARMS,
            contamination=(deltas or {}).get("contamination") or {},
            gaps=list(_gaps(deltas, arms)) if deltas else [],
            words={stats.BETTER: "better", stats.WORSE: "worse", stats.UNCHANGED: "same"},
            verdicts=[stats.BETTER, stats.WORSE, stats.UNCHANGED],
            plots=_plots(recipe, deltas, arms, train, checkpoints or {}, evaluations, filtered),
            disagreements=_disagreements(deltas, arms, evaluations) if deltas else None,
            style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
            script=Markup((_HERE / "page.js").read_text(encoding="utf-8")),
            plotly=get_plotlyjs(),
            mixture=list(_mixture(arms, train)),
            training={arm: artifact.summary for arm, artifact in train.items()},
            filtered=filtered.summary if filtered else None,
            datasets={label: artifact.summary for label, artifact in datasets.items()},
            seeds=seeds.summary if seeds else None,
            generate=generate.summary if generate else None,
            at_hand=list(_at_hand(tokenized)),
            leaks=allowed_leaks(seeds.summary) if seeds else [],
            coverage={"capability": list(_by_capability(coverage)), "task": coverage},
            kinds=_kinds(filtered),
            cost=_cost(recipe, generate, filtered, tokenized),
            stages=stages,
            seconds=sum(row.seconds for row in stages),
            items=_samples(filtered, generate, recipe.seed),
        )
    )
    write_text(out_html, page)
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
        loader=jinja2.FileSystemLoader(_HERE),
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
    environment.tests["macro"] = stats.is_macro
    return environment


def _styles(deltas: Mapping[str, Any] | None, arms: Mapping[str, Arm]) -> dict[str, figures.Style]:
    conditions = [*(deltas["arms"] if deltas else ()), *(arm.condition for arm in arms.values())]
    if not conditions:
        return {}
    return figures.styles(conditions, deltas["control"] if deltas else conditions[0])


def _plots(
    recipe: Recipe,
    deltas: Mapping[str, Any] | None,
    arms: Mapping[str, Arm],
    train: Mapping[str, Artifact],
    checkpoints: Mapping[str, Sequence[Artifact]],
    evaluations: Mapping[str, Artifact],
    filtered: Artifact | None,
) -> dict[str, _Figures]:
    """Id -> its figures; a plot without data is left out."""
    style = _styles(deltas, arms)
    plots: dict[str, _Figures] = {"loss": list(_losses(arms, train, style))}
    plots["tokens"] = list(_over_tokens(arms, checkpoints, evaluations, style))
    if deltas:
        plots["forest"] = [("", figures.forest(deltas))]
        if len(deltas["arms"]) > MATRIX_ARMS:
            plots["map"] = [("", figures.delta_map(deltas))]
        title, ratios = _ratios(recipe, arms)
        shares = [ratios[condition] for condition in ratios if condition in deltas["scores"]]
        # With and without is no axis, where the conditions differ in something else.
        if len(set(shares)) > 2 or len(set(shares)) == len(shares) == 2:
            rows = figures.task_rows(deltas)
            plots["ratio"] = [
                (task, figures.score_by_ratio(deltas, ratios, task, title)) for task in rows[::-1]
            ]
    for name, title in _HISTOGRAMS.items():
        if filtered is not None and name in filtered.summary:
            plots[name] = [("", figures.histogram(filtered.summary[name], title))]
    return {name: found for name, found in plots.items() if found}


def _losses(
    arms: Mapping[str, Arm], train: Mapping[str, Artifact], style: Mapping[str, figures.Style]
) -> Iterator[tuple[str, figures.Figure]]:
    """The training loss of all sources and of each, then the held-out loss of each."""
    for file, prefix, name in (
        ("metrics.jsonl", "train/loss", "training"),
        ("heldout.jsonl", "heldout/loss", "held out"),
    ):
        records = {arm: _curve(artifact.path / file) for arm, artifact in train.items()}
        keys = {key for curve in records.values() for record in curve for key in record}
        for key in sorted(key for key in keys if key == prefix or key.startswith(prefix + "/")):
            source = key.removeprefix(prefix).removeprefix("/") or "all sources"
            lines = {
                arm: [(r["train/tokens"], r[key]) for r in curve if r.get(key) is not None]
                for arm, curve in records.items()
            }
            lines = {arm: line for arm, line in lines.items() if line}
            yield f"{name}, {source}", figures.curves(lines, arms, style, label="loss")


def _curve(path: Path) -> list[_Record]:
    """Records by step; after a resume a step may be logged twice, and the later one counts."""
    if not path.is_file():
        return []
    records = {r["step"]: r for r in read_jsonl(path, tolerate_torn_tail=True) if "step" in r}
    return [records[step] for step in sorted(records)]


def _over_tokens(
    arms: Mapping[str, Arm],
    checkpoints: Mapping[str, Sequence[Artifact]],
    evaluations: Mapping[str, Artifact],
    style: Mapping[str, figures.Style],
) -> Iterator[tuple[str, figures.Figure]]:
    """Score over tokens, where intermediate checkpoints were evaluated: base at 0, final at end."""
    scored: dict[str, list[tuple[int, dict[str, float]]]] = {}
    for arm, artifacts in checkpoints.items():
        final = [evaluations[arm]] if arm in evaluations else []
        scored[arm] = [(int(r["tokens"]), _scores(r)) for r in read_curve([*artifacts, *final])]
        if "base" in evaluations:
            base = read_own(evaluations["base"].path / RESULTS, Results)
            scored[arm].insert(0, (0, _scores(base)))
    tasks = {task for points in scored.values() for _, scores in points for task in scores}
    for task in sorted(tasks, key=lambda name: (name != stats.MACRO, name)):
        lines = {
            arm: [(tokens, scores[task]) for tokens, scores in points if task in scores]
            for arm, points in scored.items()
        }
        label = f"{figures.escape(task)}, score"
        yield task, figures.curves(lines, arms, style, label=label, percent=True)


def _scores(results: Mapping[str, Any]) -> dict[str, float]:
    scores = {task: float(result["score"]) for task, result in results["tasks"].items()}
    return {**scores, stats.MACRO: float(results["macro"])}


def _ratios(recipe: Recipe, arms: Mapping[str, Arm]) -> tuple[str, dict[str, float]]:
    """Title and condition -> planned share of what the ablation varies, or of the synthetic data.

    The varied source is that of the one axis `mixture.<source>`; otherwise all sources from the
    filter count. Shares are over the tokens of all phases.
    """
    if recipe.mixture is None or recipe.ablation is None:
        return "", {}
    sources = recipe.mixture.sources
    varied = [key.partition(".")[2] for key in recipe.ablation.axes if key.startswith("mixture.")]
    varied = [name for name in varied if name in sources]
    made = [name for name, source in sources.items() if source.stage == "filter"]
    counted = varied if len(varied) == 1 else made
    title = f"planned share of {', '.join(map(figures.escape, counted))} in the mixture"
    shares = {}
    for arm in arms.values():
        planned = _planned(arm)
        shares[arm.condition] = sum(planned.get(name, 0.0) for name in counted)
    return title, shares if counted else {}


def _planned(arm: Arm) -> dict[str, float]:
    """Source -> its share of the tokens of all phases."""
    phases = needed(arm.recipe.mixture, "mixture").phases
    budget = sum(phase.tokens for phase in phases)
    names = dict.fromkeys(name for phase in phases for name in phase.ratios)
    return {
        name: sum(phase.tokens * phase.ratios.get(name, 0.0) for phase in phases) / budget
        for name in names
    }


def _chosen(deltas: Mapping[str, Any]) -> list[str]:
    """The arms that are shown first: all, or of many some from the worst to the best macro."""
    arms: list[str] = list(deltas["arms"])
    if len(arms) <= CHOSEN_ARMS:
        return [*arms, deltas["control"]]
    moved = {row["arm"]: row["delta"] for row in deltas["rows"] if row["task"] == stats.MACRO}
    ranked = sorted(arms, key=lambda arm: moved.get(arm, 0.0))
    steps = CHOSEN_ARMS - 1
    return [ranked[round(place * (len(arms) - 1) / steps)] for place in range(CHOSEN_ARMS)]


def _gaps(deltas: Mapping[str, Any], arms: Mapping[str, Arm]) -> Iterator[_Record]:
    """Arms that have no result in the comparison, with the reason where it is given."""
    told = deltas.get("gaps") or {}
    for name, gap in told.items():
        yield {"arm": name, "reason": gap.get("reason")}
    seeds = deltas.get("seeds") or {}
    for name, arm in arms.items():
        known = arm.condition in deltas["scores"]
        if known and arm.condition in seeds:
            known = arm.seed in seeds[arm.condition]
        if not known and name not in told:
            yield {"arm": name, "reason": None}


def _disagreements(
    deltas: Mapping[str, Any], arms: Mapping[str, Arm], evaluations: Mapping[str, Artifact]
) -> _Record | None:
    """What each arm fixed and broke against its reference; None where nothing was evaluated."""
    if not evaluations:
        return None
    sides: dict[str, dict[int, Artifact]] = {}
    for name, artifact in evaluations.items():
        if name in arms:
            sides.setdefault(arms[name].condition, {})[arms[name].seed] = artifact
    pairs = []
    compared = {row["comparison"]: (row["arm"], row["against"]) for row in deltas["rows"]}
    for label, (arm, against) in compared.items():
        after = sides.get(arm, {})
        before = sides.get(against, {})
        if against not in sides and against in evaluations:
            before = dict.fromkeys(after, evaluations[against])
        pairs.append((label, Evaluations(against, before), Evaluations(arm, after)))
    pairs.sort(key=lambda pair: pair[2].name == deltas["control"])  # the arms are the question
    return disagreements(pairs)


def _mixture(arms: Mapping[str, Arm], train: Mapping[str, Artifact]) -> Iterator[_Record]:
    """Planned share against drawn tokens, per arm and source."""
    for arm, artifact in train.items():
        sources = artifact.summary.get("sources", {})
        total = sum(source.get("drawn", 0) for source in sources.values())
        planned = _planned(arms[arm]) if arm in arms else {}
        heldout = artifact.summary.get("heldout") or {}
        for name in sorted(sources):
            source = sources[name]
            yield {
                "arm": arm,
                "source": name,
                "planned": planned.get(name, 0.0) if planned else None,
                "share": source.get("drawn", 0) / total if total else 0.0,
                "heldout": heldout.get(name),
                **{key: source.get(key) for key in ("drawn", "padded", "loss", "epochs")},
            }


def _at_hand(tokenized: Mapping[str, Artifact]) -> Iterator[_Record]:
    """Every source of every tokenize artifact."""
    for label, artifact in tokenized.items():
        for name, source in sorted(artifact.summary["sources"].items()):
            yield {"label": label, "source": name, **source}


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
    tokenized: Mapping[str, Artifact],
) -> list[_Record]:
    """What each teacher took; accepted tokens are the student's where the filter knows none."""
    if generate is None:
        return []
    accepted = {"curated": 0, **(filtered.summary if filtered else {})}
    for artifact in tokenized.values():
        if filtered and artifact.manifest.inputs.get("filter") == filtered.fingerprint:
            for name, source in needed(recipe.mixture, "mixture").sources.items():
                if source.stage == "filter":
                    found = artifact.summary["sources"][name]["tokens"]
                    accepted.setdefault("curated_tokens", found)
    return cost_rows(generate.summary, accepted)


def _kinds(filtered: Artifact | None) -> _Record:
    """Curated items by capability and answer kind: {kinds, rows: {capability: {kind: items}}}."""
    counts: Counter[tuple[str, str]] = Counter()
    if filtered is not None:
        rows = read_curated(filtered.path, ["capability", "kind"])
        counts.update((row["capability"] or "not stated", row["kind"]) for row in rows)
    kinds = sorted({kind for _, kind in counts})
    names = sorted({name for name, _ in counts})
    return {
        "kinds": kinds,
        "most": max(counts.values(), default=0),
        "rows": {name: {kind: counts[name, kind] for kind in kinds} for name in names},
    }


def _samples(filtered: Artifact | None, generate: Artifact | None, seed: int) -> list[_Record]:
    """Some accepted and some rejected items, with their votes where they can be found."""
    if filtered is None:
        return []
    accepted = draw_rows(read_curated(filtered.path), SAMPLES, f"{seed}:accepted")
    rejected = draw_rows(read_rejected(filtered.path), SAMPLES, f"{seed}:rejected")
    candidates = find_lines(generate, "candidates.jsonl", [row["id"] for row in accepted])
    for row in accepted:
        row |= {"accepted": True, "text": shorten(row["text"], _LONGEST_TEXT)}
        row["lineage"] = {
            **_origin(candidates.get(row["id"]) or row),
            "scores": json.loads(row["scores"]),
            **json.loads(row["lineage"]),
        }
        row["votes"] = _votes(candidates.get(row["id"]))
    for row in rejected:
        record = _parsed(row["record"])
        row |= {"accepted": False, "text": shorten(row["question"], _LONGEST_TEXT)}
        row["lineage"] = _origin(record)
        row["votes"] = _votes(record)
    return [*accepted, *rejected]


def _origin(candidate: Any) -> _Record:
    """Seed, dataset, prompts and teacher of a candidate, as far as it states them."""
    if not isinstance(candidate, dict):
        return {}
    return {key: candidate[key] for key in _ORIGIN if candidate.get(key)}


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
