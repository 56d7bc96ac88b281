"""Invented seeds and items of which it is known how they differ."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.released import accepted, build, rejected, seed, write_recipe
from tests.support.sealed import reseal
from tsqa.pipeline.run import Pipeline
from tsqa.quality.sample import AuditedText, QualityPair, QualitySample
from tsqa.records.rows import CuratedRow

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


MAIL = "ann.lee@mail.org"


@dataclass(frozen=True)
class AuditedDataset:
    recipe: Path
    pipeline: Pipeline


def audited_dataset(folder: Path, **sections: Any) -> AuditedDataset:
    """30 seeds, 25 documents that are none; 25 seeds have items, two of them two, one with an
    e-mail address; each item names the number of its seed."""
    path = write_recipe(folder, **sections)
    lines = [{"q": f"What does thing {n} weigh?", "a": f"{n} grams"} for n in range(55)]
    (folder / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    seeds = [
        replace(seed(n), id=f"toy-{n}", question=lines[n]["q"], answer=lines[n]["a"])
        for n in range(30)
    ]
    rows = [_row(n) for n in range(25)]
    rows += [replace(_row(n), id=f"toy-{n}.q1") for n in (3, 4)]
    lost = replace(rejected(29), reason="refusal")
    pipeline = build(path, seeds, rows, [lost])
    there = pipeline.finished("seeds").path
    (there / "rejected_seeds.jsonl").write_text('{"id": "toy-39"}\n')
    reseal(there)
    return AuditedDataset(path, pipeline)


def _row(number: int) -> CuratedRow:
    made = replace(accepted(number), id=f"toy-{number}.q0", seed_id=f"toy-{number}")
    question = f"How heavy is thing {number}?" + f" Ask {MAIL}." * (number == 7)
    return replace(made, question=question, choices=[], answer=f"{number} grams", answer_index=None)
