"""False findings and coverage in tables of other shapes than the other benchmarks'; prints them.

    python -m tests.benchmarks.other_tables --rounds 200 "2 seeds" "noisy10"

No arm has an effect. Noises are standard deviations: of a run (`shared`) and of a task apart in a
run in points, of documents (what training taught of one, and anew in each run) and of groups of
documents latent. An exact binomial interval stands beside each share; rows of one table go
together, so that of rows is too narrow.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import binomtest, norm

from eval.compare import comparison
from eval.compare.comparison import compare
from eval.compare.scores import Evaluated
from eval.deltas import DeltaRow, DeltaTable
from eval.results import TaskResult
from eval.statistics import joint, paired, stats
from eval.statistics.crossed import Floats
from eval.statistics.paired import Scored
from tsqa.store.roles import BASE

_ANEW = _TAUGHT = 0.5
_DENSITY = float(norm.pdf(0) / math.sqrt(1 + _ANEW**2 + _TAUGHT**2))
"""Change of a score with the ability, where half of the documents are answered."""


@dataclass(frozen=True)
class Shape:
    """Of a table; arms are numbered, the control is the first."""

    arms: int = 4
    seeds: int = 3
    sizes: tuple[int, ...] = (100,) * 6
    shared: float = 0.7
    apart: float = 0.0
    noisy: Mapping[int, float] = field(default_factory=dict)
    """Arm -> how many times as much its runs move."""
    group: int = 1
    """Documents of a group."""
    group_sd: float = 0.0
    is_continuous: bool = False
    lost: Mapping[int, int] = field(default_factory=dict)
    """Arm -> seeds that it kept."""
    equal: tuple[int, ...] = ()
    """Arms that answer as the control does."""
    by_documents: bool = False
    stated: float | None = None
    """As `eval.seed_spread`."""
    names: Mapping[int, str] = field(default_factory=dict)
    macros: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ability: float = 0.0
    has_base: bool = False
    is_one_sample: bool = False
    """Whether all tasks ask about the same documents."""

    def name(self, arm: int) -> str:
        return self.names.get(arm, f"a{arm}" if arm else "c")


_UNEVEN = (20, 500, 500, 20)
SHAPES: dict[str, Shape] = {
    "2x1": Shape(arms=2, sizes=(100,)),
    "2x1 noise4": Shape(arms=2, sizes=(100,), shared=4),
    "12x30": Shape(arms=12, sizes=(100,) * 30),
    "20, 500 noise2 apart2": Shape(sizes=_UNEVEN, shared=2, apart=2),
    "20, 500 by docs noise2 apart2": Shape(sizes=_UNEVEN, by_documents=True, shared=2, apart=2),
    "2 seeds": Shape(seeds=2),
    "3 arms 2 seeds noise3 apart3": Shape(seeds=2, arms=3, shared=3, apart=3),
    "12 arms 2 seeds noise2": Shape(arms=12, sizes=(100,) * 4, seeds=2, shared=2),
    "4 seeds noise3 apart2": Shape(seeds=4, shared=3, apart=2),
    "3 arms noise2": Shape(arms=3, shared=2),
    "groups10": Shape(sizes=(200,) * 6, group=10, group_sd=0.7),
    "groups10 1seed": Shape(sizes=(200,) * 6, group=10, group_sd=0.7, seeds=1, shared=0),
    "cont 1 seed": Shape(is_continuous=True, seeds=1, shared=0),
    "rare": Shape(ability=-3.5),
    "stated 1 seed noise2": Shape(seeds=1, shared=2, stated=2),
    "equal arm": Shape(equal=(2,), shared=2),
    "equal two of four": Shape(equal=(2, 3), shared=2),
    "noisy10": Shape(noisy={1: 10}),
    "noisy3": Shape(noisy={1: 3}, shared=2),
    "noisy control 4": Shape(noisy={0: 4}, shared=2),
    "noisy10 cont": Shape(noisy={1: 10}, is_continuous=True, shared=1),
    "noisy10 2s": Shape(noisy={1: 10}, seeds=2, shared=1),
    "lost2 + noisy": Shape(noisy={1: 10}, lost={2: 2}, shared=1),
    "noisy lost": Shape(noisy={1: 10}, lost={1: 2}),
    "noisy lost two": Shape(noisy={1: 10}, lost={1: 1}),
    "noisy lost two of five": Shape(noisy={1: 10}, lost={1: 3}, seeds=5),
    "noisy lost of eight arms": Shape(noisy={1: 10}, lost={1: 2}, arms=8),
    "control lost2 5s": Shape(lost={0: 2}, shared=2, seeds=5),
    "placebos": Shape(
        arms=5,
        names={2: "a1,format_matched", 4: "a3,repeat_matched"},
        shared=2,
    ),
    "macros": Shape(macros={"x": ["t0", "t1"], "y": ["t2", "t3", "t4"]}, shared=2, apart=2),
    "two prompts": Shape(sizes=(100,) * 2, is_one_sample=True, shared=1),
    "base": Shape(has_base=True, shared=2),
    "docs few": Shape(sizes=(10, 10, 10)),
    "docs few 1 seed": Shape(sizes=(10, 10, 10), seeds=1, shared=0),
    "uneven sizes apart": Shape(sizes=(30, 50, 100, 300, 1000), shared=1, apart=3),
}


def simulated(shape: Shape, rng: np.random.Generator) -> list[Evaluated]:
    difficulty = _per_task(shape, 1.0, rng)
    found: dict[tuple[int, int], list[Floats]] = {}
    for arm in range(shape.arms):
        taught = _per_task(shape, _TAUGHT, rng)
        by_group = [rng.normal(0, shape.group_sd, -(-n // shape.group)) for n in shape.sizes]
        for seed in range(shape.lost.get(arm, shape.seeds)):
            run, scores = rng.normal(0, shape.shared), list[Floats]()
            for task, n in enumerate(shape.sizes):
                moved = shape.noisy.get(arm, 1.0) * (run + rng.normal(0, shape.apart))
                latent = shape.ability + moved / 100 / _DENSITY - difficulty[task] + taught[task]
                latent = latent + rng.normal(0, _ANEW, n)
                latent += np.repeat(by_group[task], shape.group)[:n]
                own: Floats = norm.cdf(latent)
                scores.append(own if shape.is_continuous else (latent > 0).astype(np.float64))
            found[arm, seed] = found[0, seed] if arm in shape.equal else scores
    models = [_evaluated(shape, shape.name(arm), seed, own) for (arm, seed), own in found.items()]
    return models + ([_evaluated(shape, BASE, 0, found[0, 0])] if shape.has_base else [])


def _per_task(shape: Shape, deviation: float, rng: np.random.Generator) -> list[Floats]:
    drawn = [rng.normal(0, deviation, n) for n in shape.sizes]
    return drawn[:1] * len(drawn) if shape.is_one_sample else drawn


def _evaluated(shape: Shape, name: str, seed: int, scores: Sequence[Floats]) -> Evaluated:
    tasks, scored = {}, {}
    for number, own in enumerate(scores):
        task, sample = f"t{number}", "s" if shape.is_one_sample else f"t{number}"
        keys = [(i, f"{sample}{i}") for i in range(len(own))]
        groups = [f"{sample}g{i // shape.group}" for i in range(len(own))]
        scored[task] = Scored(keys, own, groups if shape.group > 1 else None)
        tasks[task] = TaskResult("acc", len(own), float(own.mean()), 0.0, 1, 0, "k", "hf")
    macro = float(np.mean([task.score for task in tasks.values()]))
    return Evaluated(f"{name},{seed}", name, seed, tasks, macro, scored)


def table(shape: Shape, rng: np.random.Generator) -> DeltaTable:
    return compare(
        simulated(shape, rng),
        control="c",
        bootstrap=300,
        confidence=0.95,
        seed=0,
        macros=shape.macros,
        seed_spread=None if shape.stated is None else shape.stated / 100,
        by_documents=shape.by_documents,
    )


def kind_of(row: DeltaRow, shape: Shape) -> str:
    """Rows that are told apart: of which arms, and tasks of which size."""
    if row.against == BASE:
        return BASE
    kind = ["macro" if stats.is_macro(row.task) else "tasks"]
    if len({*shape.sizes}) > 1 and kind == ["tasks"]:
        kind.append(f"of {row.n} documents")
    for what, arms in (("noisy", shape.noisy), ("lost", shape.lost)):
        if {row.arm, row.against} & {shape.name(arm) for arm in arms}:
            kind.append(what)
    return " ".join(kind)


def print_shape(name: str, rounds: int, seed: int) -> None:
    shape, rng = SHAPES[name], np.random.default_rng([seed, len(name)])
    differ = false = 0
    held: dict[str, list[bool]] = {}
    widths: dict[str, list[float]] = {}
    for _ in range(rounds):
        rows = table(shape, rng).all_rows
        said = {row.verdict for row in rows if row.against != BASE}
        differ += said != {stats.UNCHANGED}
        false += bool(said & {stats.BETTER, stats.WORSE})
        for row in rows:
            kind = kind_of(row, shape)
            held.setdefault(kind, []).append(row.low <= 0 <= row.high)
            widths.setdefault(kind, []).append(100 * (row.high - row.low))
    print(f"{name}: {rounds} tables, a row differs in {_share(differ, rounds)}", end="")
    print(f", better or worse in {_share(false, rounds)}", flush=True)
    for kind, own in held.items():
        covered = _share(sum(own), len(own))
        print(f"  {kind}: covers {covered}, {np.mean(widths[kind]):.1f} points wide", flush=True)


def _share(count: int, of: int) -> str:
    known = binomtest(count, of).proportion_ci(0.95)
    return f"{count / of:.1%} [{known.low:.1%}, {known.high:.1%}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", default=[*SHAPES])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--flips", type=int, default=1000)
    given = parser.parse_args()
    joint.FLIPS, paired._SIGN_FLIPS = given.flips, 4 * given.flips
    comparison._detectable = lambda *_: math.nan  # no verdict reads it
    for name in given.shapes:
        print_shape(name, given.rounds, given.seed)


if __name__ == "__main__":
    main()
