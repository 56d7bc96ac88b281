"""Coverage of 95% intervals and false findings per table, by simulation; prints two tables.

    python -m tests.benchmarks.coverage --rounds 1000

Scores are binary: a document is answered when ability + difficulty + noise > 0 on a logit-like
scale, where the noise belongs to the arm's seed, to the document in that arm (what training
taught), to the document's group, and to document and seed. There is no true effect.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import t

from eval.statistics import crossed, stats

Floats = NDArray[np.float64]
DIFFICULTY_SD = 1.5


@dataclass(frozen=True)
class Design:
    """Arms that are all alike; standard deviations on the latent scale."""

    arms: int = 2
    tasks: int = 1
    seeds: int = 3
    documents: int = 100
    seed_sd: float = 0.0
    document_sd: float = 0.5
    residual_sd: float = 0.5
    group_size: int = 1
    group_sd: float = 0.0
    uneven: tuple[int, float] = (0, 1.0)
    """An arm whose seeds differ more, and how many times more."""


def simulate(design: Design, rng: np.random.Generator) -> Floats:
    """Scores of one task: arms x seeds x documents, 0 or 1."""
    arms, seeds, n = design.arms, design.seeds, design.documents
    groups = -(-n // design.group_size)
    seed_sd = np.full((arms, 1, 1), float(design.seed_sd))
    seed_sd[design.uneven[0]] *= design.uneven[1]
    by_group = rng.normal(0, design.group_sd, (arms, 1, groups)).repeat(design.group_size, 2)
    latent = (
        rng.normal(0, DIFFICULTY_SD, n)
        + rng.normal(0, 1, (arms, seeds, 1)) * seed_sd
        + rng.normal(0, design.document_sd, (arms, 1, n))
        + by_group[..., :n]
        + rng.normal(0, design.residual_sd, (arms, seeds, n))
    )
    scores: Floats = (latent > 0).astype(np.float64)
    return scores


def satterthwaite(differences: Floats) -> float:
    """Half-width of the crossed interval with one t for the whole variance (Baayen et al. 2008)."""
    seeds, n = differences.shape
    by_document, by_seed = differences.mean(0), differences.mean(1, keepdims=True)
    a = n * float(np.var(by_seed, ddof=1))
    b = seeds * float(np.var(by_document, ddof=1))
    df = (seeds - 1) * (n - 1)
    e = float(np.sum((differences - by_seed - by_document + differences.mean()) ** 2)) / df
    total = max(a + b - e, 1e-12)
    effective = total**2 / max(a**2 / (seeds - 1) + b**2 / (n - 1) + e**2 / df, 1e-300)
    return float(np.sqrt(total / (n * seeds)) * t.ppf(0.975, max(effective, 1)))


def hierarchical(differences: Floats, rng: np.random.Generator, count: int) -> tuple[float, float]:
    """Percentile interval: draw seeds, then documents (Owen and Eckles 2012)."""
    seeds, n = differences.shape
    seed_weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=count) / seeds
    document_weights = rng.multinomial(n, np.full(n, 1 / n), size=count) / n
    draws = np.einsum("bs,sd,bd->b", seed_weights, differences, document_weights, optimize=True)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def coverage(design: Design, rounds: int, rng: np.random.Generator) -> dict[str, float]:
    """Share of intervals that hold the true difference 0."""
    hits = {"hierarchical bootstrap": 0, "Satterthwaite": 0, "ours": 0, "ours, mean width": 0.0}
    for _ in range(rounds):
        scores = simulate(design, rng)
        differences = scores[1] - scores[0]
        delta = float(differences.mean())
        low, high = hierarchical(differences, rng, 300)
        hits["hierarchical bootstrap"] += low <= 0 <= high
        hits["Satterthwaite"] += abs(delta) <= satterthwaite(differences) + 1e-12
        one = crossed.estimate(differences.mean(axis=1), [crossed.of_documents(differences)])
        low, high = one.interval(0.95)
        hits["ours"] += low <= 0 <= high
        hits["ours, mean width"] += high - low
    return {name: count / rounds for name, count in hits.items()}


def one_seed_coverage(
    documents: int, changed: float, effect: float, rounds: int, rng: np.random.Generator
) -> dict[str, float]:
    """Share of bootstrap intervals that hold a true effect; `changed` documents of all change."""
    chances = [(changed - effect) / 2, 1 - changed, (changed + effect) / 2]
    hits = {"plain bootstrap": 0, "ours": 0}
    for _ in range(rounds):
        differences = rng.choice([-1.0, 0.0, 1.0], documents, p=chances)
        samples = {"plain bootstrap": differences, "ours": stats.with_imaginary(differences)}
        for name, values in samples.items():
            low, high = np.quantile(stats.bootstrap_means(values, 1000, rng), [0.025, 0.975])
            hits[name] += low - 1e-12 <= effect <= high + 1e-12
    return {name: count / rounds for name, count in hits.items()}


def false_findings(design: Design, rounds: int, rng: np.random.Generator) -> dict[str, float]:
    """Share of tables (arms x tasks and macro rows) with a false finding, by Holm family."""
    counts = {"one family, weighted": 0, "two families": 0}
    for _ in range(rounds):
        scores = [simulate(design, rng) for _ in range(design.tasks)]
        p_values, is_macro, arms_of = [], [], []
        for arm in range(1, design.arms):
            parts, means = [], []
            for k, values in enumerate((*scores, None)):
                if values is None:
                    mean, documents = np.mean(means, axis=0), parts
                    arms = np.mean([v.mean(axis=2) for v in scores], axis=0)
                else:
                    differences = values[arm] - values[0]
                    mean, documents = differences.mean(axis=1), [crossed.of_documents(differences)]
                    parts += documents
                    means.append(mean)
                    arms = values.mean(axis=2)
                p_values.append(crossed.estimate(mean, documents, crossed.pool(arms)).p_value())
                is_macro.append(k == design.tasks)
                arms_of.append(str(arm))
        one = stats.holm(p_values, stats.table_shares(arms_of, is_macro))
        flags = np.array(is_macro)
        two = [stats.holm(np.array(p_values)[f].tolist()) for f in (flags, ~flags)]
        counts["one family, weighted"] += min(one) <= 0.05
        counts["two families"] += min(map(min, two)) <= 0.05
    return {name: count / rounds for name, count in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    console = Console(width=140)
    spreads = [(0.0, 0.0, 0.7), (0.0, 0.7, 0.2), (0.03, 0.5, 0.5), (0.1, 0.5, 0.5), (0.3, 0.5, 0.5)]
    rows: list[tuple[str, dict[str, Any]]] = []
    for seeds in (2, 3, 5):
        for documents in (100, 400):
            for by_seed, by_document, residual in spreads:
                design = Design(
                    seeds=seeds,
                    documents=documents,
                    seed_sd=by_seed,
                    document_sd=by_document,
                    residual_sd=residual,
                )
                name = (
                    f"{seeds} seeds, {documents} documents, sd {by_seed}/{by_document}/{residual}"
                )
                rows.append((name, coverage(design, rounds, rng)))
    _show(console, f"coverage of 95% intervals, {rounds} rounds", rows)
    cases = [
        (50, 0.05, 0.03),
        (50, 0.1, 0.05),
        (100, 0.05, 0.03),
        (300, 0.1, 0.05),
        (1000, 0.3, 0.15),
    ]
    rows = [
        (
            f"{documents} documents, {changed:.0%} change, effect {100 * effect:g} points",
            one_seed_coverage(documents, changed, effect, rounds, rng),
        )
        for documents, changed, effect in cases
    ]
    _show(console, "one seed: coverage of 95% intervals", rows)
    designs = [
        Design(arms=a, tasks=6, seeds=3, documents=100, seed_sd=sd)
        for a in (2, 5)
        for sd in (0, 0.3)
    ]
    designs += [
        Design(arms=5, tasks=6, seeds=3, documents=100, seed_sd=0.2, uneven=(arm, 3.0))
        for arm in (0, 1)
    ]
    rows = []
    for d in designs:
        name = f"{d.arms - 1} comparisons x 6 tasks, seed sd {d.seed_sd}"
        if d.uneven[1] > 1:
            name += f", {d.uneven[1]:g} times in {'an arm' if d.uneven[0] else 'the control'}"
        rows.append((name, false_findings(d, rounds, rng)))
    _show(console, "share of tables with a false finding, 3 seeds", rows)


def _show(console: Console, title: str, rows: list[tuple[str, dict[str, Any]]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in ("", *rows[0][1]):
        table.add_column(column, justify="right" if column else "left")
    for name, values in rows:
        table.add_row(name, *(f"{value:.3f}" for value in values.values()))
    console.print(table)


if __name__ == "__main__":
    main()
