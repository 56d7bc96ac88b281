"""How often each line of `tsqa audit --against` marks two halves of one set: `python -m
tests.benchmarks.drift_alarms --sets 400`; with `--permutations 39` the classifier too."""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from tests.support.quality_world import real_text, with_words
from tsqa.quality.drift.measures import measure_drift
from tsqa.quality.drift.sides import DriftSide
from tsqa.quality.sample import AuditedText


def half(title: str, rng: np.random.Generator, seeds: int) -> DriftSide:
    """Seeds of two tasks with one to four items, which share what they mention and are alike."""
    groups: dict[str, list[AuditedText]] = {}
    for number in range(seeds):
        task = "toy" if rng.random() < 0.6 else "own"
        name = f"{title}-{number}"
        first = real_text(rng, f"{name}.q0", task)
        if rng.random() < 0.2:
            first = with_words(first, "She saw China:")
        groups[name] = [first] * int(rng.integers(1, 5))
    return DriftSide(title, groups, seeds, sum(map(len, groups.values())))


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--sets", type=int, default=400)
    options.add_argument("--seeds", type=int, default=120)
    options.add_argument("--permutations", type=int, default=0)
    chosen = options.parse_args()
    marked: Counter[str] = Counter()
    tested: Counter[str] = Counter()
    for number in range(chosen.sets):
        rng = np.random.default_rng([7, number])
        new, old = (half(title, rng, chosen.seeds) for title in ("new", "old"))
        for each in measure_drift(new, old, number, chosen.permutations):
            tested[each.name] += each.apart is not None
            marked[each.name] += bool(each.apart)
    for name, count in tested.items():
        print(f"{marked[name]:4} of {count:4}  {name}")


if __name__ == "__main__":
    main()
