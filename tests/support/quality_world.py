"""Invented seeds and items of which it is known how they differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tsqa.quality.sample import AuditedText, QualityPair, QualitySample

_WORDS = np.array([f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"])
_SHARES = 1 / np.arange(3, len(_WORDS) + 3)
Change = Callable[[AuditedText, AuditedText, np.random.Generator], AuditedText]
"""(item, its seed, what draws) -> another item."""
OPTIONS = ("red stone", "green hill", "blue lake", "dry sand")


def real_text(
    rng: np.random.Generator, name: str, task: str = "toy", length: int = 14
) -> AuditedText:
    """Words drawn as in English, by their ranks; the options in a random order."""
    count = int(rng.integers(length - 4, length + 5))
    drawn = rng.choice(_WORDS, count, p=_SHARES / _SHARES.sum())
    place = int(rng.integers(len(OPTIONS)))
    options = tuple(OPTIONS[i] for i in rng.permutation(len(OPTIONS)))
    return AuditedText(
        id=name,
        task=task,
        language="en",
        kind="choice",
        context="",
        question=f"{' '.join(drawn)}?",
        choices=options,
        answer=options[place],
        answer_index=place,
        explanations="",
    )


def sample_of(
    change: Change | None = None,
    count: int = 120,
    seed: int = 0,
    tasks: tuple[str, ...] = ("toy", "own"),
) -> QualitySample:
    """Items are drawn as their seeds are; `change` makes others of them."""
    rng = np.random.default_rng(seed)
    pairs = []
    for number in range(count):
        task = tasks[number % len(tasks)]
        real = real_text(rng, f"{task}-{number}", task)
        item = real_text(rng, f"{task}-{number}.q0", task)
        pairs.append(QualityPair(real, change(item, real, rng) if change else item))
    return sample_of_pairs(pairs)


def sample_of_pairs(pairs: list[QualityPair]) -> QualitySample:
    return QualitySample(
        pairs=pairs,
        items=[(pair.seed.id, pair.item) for pair in pairs],
        seeds={pair.seed.id: pair.seed for pair in pairs},
        others=[pair.seed for pair in pairs],
        seed_count=len(pairs),
        used_count=len(pairs),
        item_count=len(pairs),
        without_real=[],
    )


def with_words(text: AuditedText, added: str) -> AuditedText:
    return replace(text, question=f"{added} {text.question}")
