"""Accuracy, bits or the right choice: which finds a known effect with fewer documents?

    python -m tests.benchmarks.bits runs/quickstart --rounds 60
    python -m tests.benchmarks.bits --rounds 200

Draws documents of each task of a finished run, and compares its arms on them, by both. Found is a
row whose word is not `no detectable change`. Without an effect: of each document the conditions
change places at random. Without a run: no effect, and one of all arms, by simulation.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from eval.compare import comparison
from eval.compare.comparison import compare
from eval.compare.runs import find_runs, load
from eval.compare.scores import Evaluated
from eval.deltas import DeltaRow
from eval.statistics import joint, paired, stats
from eval.statistics.crossed import Floats
from eval.statistics.paired import Scored
from tests.support.invented_arms import of_scores

KINDS = ("accuracy", "bits", "right choice")
Change = Callable[[str, Scored, int], Scored]
"""Task, scores of the model of this number -> other scores."""


def changed(models: Sequence[Evaluated], change: Change) -> list[Evaluated]:
    """Every model with other scores, and the same change of its bits."""
    found = []
    for number, model in enumerate(models):
        scores = {task: change(task, one, number) for task, one in model.scores.items()}
        bits = {task: change(task, one, number) for task, one in model.bits.items()}
        tasks = {
            task: replace(model.tasks[task], n=len(one.keys), score=float(one.values.mean()))
            for task, one in scores.items()
        }
        macro = float(np.mean([one.score for one in tasks.values()]))
        chosen = {task: change(task, one, number) for task, one in model.right_choice.items()}
        own = replace(model, scores=scores, bits=bits, right_choice=chosen)
        found.append(replace(own, tasks=tasks, macro=macro))
    return found


def drawn(models: Sequence[Evaluated], n: int, rng: np.random.Generator) -> list[Evaluated]:
    """The models on `n` documents of each task, drawn without replacement."""
    kept = {
        task: np.sort(rng.permutation(len(one.keys))[:n]) for task, one in models[0].scores.items()
    }

    def keep(task: str, one: Scored, number: int) -> Scored:
        return Scored([one.keys[i] for i in kept[task]], one.values[kept[task]])

    return changed(models, keep)


def shuffled(models: Sequence[Evaluated], rng: np.random.Generator) -> list[Evaluated]:
    """The models, their conditions changing places from document to document: no effect."""
    every = range(len(models))
    places = {
        task: np.array([rng.permutation(len(models)) for _ in one.keys]).T
        for task, one in models[0].scores.items()
    }
    values = [
        {task: np.array([own[number][task].values for number in every]) for task in own[0]}
        for own in (
            [m.scores for m in models],
            [m.bits for m in models],
            [m.right_choice for m in models],
        )
    ]

    def move(task: str, one: Scored, number: int) -> Scored:
        model = models[number]
        kind = (one is model.bits.get(task)) + 2 * (one is model.right_choice.get(task))
        columns = np.arange(len(one.keys))
        return replace(one, values=values[kind][task][places[task][number], columns])

    return changed(models, move)


def compared(models: Sequence[Evaluated], control: str) -> list[list[DeltaRow]]:
    """Rows of scores, bits and the right choice, of arms against the control."""
    table = compare(models, control=control, bootstrap=400, confidence=0.95, seed=0)
    kinds = (table.rows, table.bits, table.right_choice)
    return [[row for row in rows if row.against == control] for rows in kinds]


def found(rows: Sequence[DeltaRow], *, macro: bool) -> float:
    """The share of the macro rows, or of the task rows, with a finding."""
    chosen = [row for row in rows if stats.is_macro(row.task) == macro]
    return float(np.mean([row.verdict != stats.UNCHANGED for row in chosen]))


def ratios(one: Evaluated, other: Evaluated) -> list[float]:
    """Mean difference by its standard error, over the documents of all tasks: of scores, bits and
    the right choice; better is above 0. Documents needed go with 1 / its square."""
    found = []
    for sign, own, theirs in (
        (1, one.scores, other.scores),
        (-1, one.bits, other.bits),
        (1, one.right_choice, other.right_choice),
    ):
        moved = np.concatenate(
            [own[task].values - theirs[task].values for task in one.right_choice]
        )
        found.append(sign * float(moved.mean() / moved.std(ddof=1)) * len(moved) ** 0.5)
    return found


def simulated(
    seeds: int, effect: float, documents: int, rng: np.random.Generator, noise: float = 0.1
) -> list[Evaluated]:
    """Three arms on four tasks of documents with four choices; `effect`: of the arms, in nats.

    Each run adds a normal noise to all its right choices, and another one to each choice. Answers
    have 2 to some hundred bytes.
    """
    difficulty = rng.normal(0, 2, (4, documents, 4))
    size = np.maximum(2, np.round(rng.lognormal(np.log(8), 0.8, (4, documents))))
    models = []
    for arm in ("c", "x", "y"):
        for seed in range(seeds):
            likely = difficulty + rng.normal(0, 1, difficulty.shape)
            likely[..., 0] += rng.normal(0, noise) + (effect if arm != "c" else 0.0)
            correct = (likely.argmax(axis=-1) == 0).astype(float)
            shares = 1 / np.exp(likely - likely[..., :1]).sum(axis=-1)
            bits = (12 - likely[..., 0]) / np.log(2) / size
            model = of_scores(arm, seed, {f"t{k}": own for k, own in enumerate(correct)})

            def by_task(values: Floats, model: Evaluated = model) -> dict[str, Scored]:
                pairs = zip(model.scores.items(), values, strict=True)
                return {task: replace(one, values=own) for (task, one), own in pairs}

            models.append(replace(model, bits=by_task(bits), right_choice=by_task(shares)))
    return models


def print_simulated(
    rounds: int, numbers: Sequence[int], effects: Sequence[float], seed: int
) -> None:
    comparison._detectable = lambda *_: math.nan  # a third of the time
    for seeds in numbers:
        rng = np.random.default_rng([seeds, seed])
        # What documents without number would show, of runs without noise of their own.
        noise = 0.0 if seeds == 1 else 0.1
        for effect in effects:
            true = dict.fromkeys(KINDS, 0.0)
            if effect:
                large = simulated(1, effect, 50_000, rng, noise=0.0)
                true = dict(zip(KINDS, _true(large), strict=True))
            false = dict.fromkeys(KINDS, 0)
            held: dict[str, list[bool]] = {}
            found: dict[str, list[bool]] = {}
            for _ in range(rounds):
                tables = compared(simulated(seeds, effect, 100, rng, noise), "c")
                for kind, rows in zip(KINDS, tables, strict=True):
                    false[kind] += any(row.verdict != stats.UNCHANGED for row in rows)
                    for row in rows:
                        name = f"{kind}, {'macro' if stats.is_macro(row.task) else 'tasks'}"
                        held.setdefault(name, []).append(row.low <= true[kind] <= row.high)
                        found.setdefault(name, []).append(row.verdict != stats.UNCHANGED)
            print(f"{seeds} seed(s), {effect} nats, {rounds} tables:", flush=True)
            for name, one in held.items():
                kind = name.split(",")[0]
                print(
                    f"  {name}: true {true[kind]:+.4f}, held in {np.mean(one):.1%} of {len(one)} "
                    f"rows, found {np.mean(found[name]):.1%}; tables with a finding "
                    f"{false[kind] / rounds:.1%}",
                    flush=True,
                )


def _true(models: Sequence[Evaluated]) -> list[float]:
    """The difference of `x` and `c`, by kind; the same in every task."""
    means = [
        [
            float(np.mean([one.values.mean() for one in own.values()]))
            for own in (model.scores, model.bits, model.right_choice)
        ]
        for model in models
    ]
    return [after - before for before, after in zip(means[0], means[1], strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 3], help="without a run")
    parser.add_argument("--effects", nargs="*", type=float, default=[0.0, 0.4], help="the same")
    parser.add_argument("--flips", type=int, default=joint.FLIPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--documents", nargs="*", type=int, default=[12, 25, 50, 100])
    given = parser.parse_args()
    joint.FLIPS = paired._SIGN_FLIPS = given.flips
    if given.run is None:
        print_simulated(given.rounds, given.seeds, given.effects, given.seed)
        return
    runs = find_runs([str(given.run)], given.run.parent)
    models, _ = load(runs, frozenset())
    tasks = [
        task for task in models[0].tasks if all(task in model.right_choice for model in models)
    ]
    models = [
        replace(
            model,
            tasks={task: model.tasks[task] for task in tasks},
            scores={task: model.scores[task] for task in tasks},
            bits={task: model.bits[task] for task in tasks},
            right_choice={task: model.right_choice[task] for task in tasks},
        )
        for model in models
    ]
    control = next(model.condition for model in models if model.seed is not None)
    for other, one in itertools.combinations(models, 2):
        shown = ", ".join(
            f"{kind} {ratio:.1f}" for kind, ratio in zip(KINDS, ratios(one, other), strict=True)
        )
        print(f"{one.name} - {other.name}, mean / standard error: {shown}", flush=True)
    rng = np.random.default_rng(0)
    for n in given.documents:
        rounds = 1 if n >= min(len(one.keys) for one in models[0].scores.values()) else given.rounds
        tables = [compared(drawn(models, n, rng), control) for _ in range(rounds)]
        empty = [
            compared(drawn(shuffled(models, rng), n, rng), control) for _ in range(given.rounds)
        ]
        for kind, name in enumerate(KINDS):
            macro, task = (
                float(np.mean([found(pair[kind], macro=one) for pair in tables]))
                for one in (True, False)
            )
            false = np.mean([any(r.verdict != stats.UNCHANGED for r in p[kind]) for p in empty])
            rows = [row for pair in tables for row in pair[kind] if row.task == stats.MACRO]
            reach = np.mean([abs(row.delta) for row in rows]) / np.mean([row.mde for row in rows])
            print(
                f"{n} documents, {name}: macro rows found {macro:.2f}, task rows {task:.2f}, "
                f"delta / MDE of the macro {reach:.2f}, tables with a false finding "
                f"{false:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
