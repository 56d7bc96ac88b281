"""How often the interval of the attack by nearest items holds the truth: `python -m
tests.benchmarks.attack_coverage --sets 400`.

Without planted copies seeds and other documents are halves of one set, and the truth is 0.5. With
them it is what the attack gives on average: the mean over all sets.
"""

from __future__ import annotations

import argparse

import numpy as np

from tests.support.quality_world import Change, real_text, sample_of
from tsqa.quality.privacy import UnusedDocuments, measure_privacy
from tsqa.quality.sample import AuditedText

ARMS = ((120, 120, 0.0), (120, 40, 0.0), (40, 120, 0.0), (20, 20, 0.0), (120, 120, 0.3))
"""Seeds, other documents, share of items that repeat the first half of their seed."""


def copying(share: float) -> Change:
    def change(item: AuditedText, seed: AuditedText, rng: np.random.Generator) -> AuditedText:
        if rng.random() >= share:
            return item
        taken = seed.question.split()
        words = [*taken[: len(taken) // 2], *item.question.split()[:5]]
        return AuditedText(**{**vars(item), "question": " ".join(words)})

    return change


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--sets", type=int, default=400)
    chosen = options.parse_args()
    for seeds, others, share in ARMS:
        found = []
        for number in range(chosen.sets):
            sample = sample_of(copying(share) if share else None, seeds, number)
            rng = np.random.default_rng([11, number])
            held = [
                real_text(rng, f"{t}-h{n}", t) for n in range(others // 2) for t in ("toy", "own")
            ]
            found.append(measure_privacy(sample, UnusedDocuments(held), number)[0])
        values = np.array([[each.value, each.low, each.high] for each in found])
        truth = values[:, 0].mean() if share else 0.5
        held_in = int(((values[:, 1] <= truth) & (truth <= values[:, 2])).sum())
        above, below = ((values[:, 1] > truth).sum(), (values[:, 2] < truth).sum())
        print(
            f"{seeds} seeds, {others} others, {share:.0%} copied: mean {values[:, 0].mean():.3f}, "
            f"truth {truth:.3f} in {held_in} of {chosen.sets}; above it {above}, below it {below}; "
            f"marked {sum(bool(each.apart) for each in found)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
