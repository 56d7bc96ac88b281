"""Bias: who appears in items against their seeds, whether right options can be told by their
length, and whose questions a teacher refuses."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter
from scipy import stats

from eval.statistics.stats import holm
from tsqa.plain_yaml import read_yaml
from tsqa.quality.measure import (
    LEAST,
    compare_means,
    mean_share,
    paired_p,
)
from tsqa.quality.sample import AuditedText, QualityPair, QualitySample
from tsqa.records.quality import QualityMeasure
from tsqa.review.estimate import interval
from tsqa.text.refusals import REFUSAL

DIMENSION = "bias"
_LONGEST = "right option is the longest"
_REFUSED = "refusals by group"
_NOT_MEASURED = "first names of the United States alone, and no other name"


@dataclass(frozen=True)
class GroupList:
    """Groups of one kind, such as pronouns."""

    source: str
    ignore_case: bool
    groups: dict[str, list[str]]

    def patterns(self) -> dict[str, re.Pattern[str]]:
        flags = re.IGNORECASE if self.ignore_case else 0
        plural = "s?" if self.ignore_case else ""
        return {
            name: re.compile(
                rf"(?<!\w)(?:{'|'.join(re.escape(word) for word in found)}){plural}(?!\w)", flags
            )
            for name, found in self.groups.items()
        }


@dataclass(frozen=True)
class AskedQuestion:
    """A question that a teacher was to write or to answer."""

    text: str
    refused: bool


def measure_bias(sample: QualitySample, asked: Iterable[AskedQuestion]) -> list[QualityMeasure]:
    english = [p for p in sample.pairs if p.item.language == p.seed.language == "en"]
    return [*_mentions(english), _longest(sample.pairs), _refusals(asked)]


@cache
def group_lists() -> dict[str, GroupList]:
    values = read_yaml(Path(__file__).with_name("groups.yaml")).values
    return TypeAdapter(dict[str, GroupList]).validate_python(values)


def _mentions(pairs: Sequence[QualityPair]) -> list[QualityMeasure]:
    """Items against their seeds, by the pairs in which one of the two alone mentions a group."""
    limits = f"English words of the lists in groups.yaml, not what is said of them; {_NOT_MEASURED}"
    if len(pairs) < LEAST:
        missing = f"{len(pairs)} English pairs; {LEAST} are needed"
        return [
            QualityMeasure(dimension=DIMENSION, name="who appears", limits=limits, missing=missing)
        ]
    rows: list[QualityMeasure] = []
    for kind, listed in group_lists().items():
        for group, pattern in listed.patterns().items():
            ours, theirs = (
                np.array([bool(pattern.search(p.texts[side])) for p in pairs]) for side in (0, 1)
            )
            if ours.any() or theirs.any():
                name = f"{kind}: {group} (log-odds)"
                rows.append(_log_odds(name, ours, theirs, limits))
    adjusted = holm([row.p for row in rows if row.p is not None])
    return [_corrected(row, p) for row, p in zip(rows, adjusted, strict=True)]


def _log_odds(
    name: str,
    ours: np.ndarray[tuple[int], np.dtype[np.bool_]],
    theirs: np.ndarray[tuple[int], np.dtype[np.bool_]],
    limits: str,
) -> QualityMeasure:
    """Of matched pairs (McNemar): log of (item alone) / (seed alone), exact interval and p."""
    more, fewer = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    discordant = more + fewer
    low, high = interval(more / discordant, discordant) if discordant else (0.0, 1.0)
    return QualityMeasure(
        dimension=DIMENSION,
        name=name,
        value=math.log((more + 0.5) / (fewer + 0.5)),
        low=math.log(low / (1 - low)) if low > 0 else None,
        high=math.log(high / (1 - high)) if high < 1 else None,
        reference=0.0,
        reference_is=f"as in seeds: in {int(ours.sum()):,} items, {int(theirs.sum()):,} seeds",
        p=paired_p(ours, theirs),
        n=len(ours),
        limits=limits,
    )


def _corrected(row: QualityMeasure, p: float) -> QualityMeasure:
    return replace(row, p=p, apart=p < 0.05)


def _longest(pairs: Sequence[QualityPair]) -> QualityMeasure:
    limits = "length in characters; other marks of right options are not looked for"
    chosen = [p for p in pairs if p.item.is_choice and p.seed.is_choice]
    if len(chosen) < LEAST:
        missing = f"{len(chosen)} pairs with options; {LEAST} are needed"
        return QualityMeasure(dimension=DIMENSION, name=_LONGEST, limits=limits, missing=missing)
    ours, theirs = (
        np.array([longest_is_right(getattr(p, s)) for p in chosen]) for s in ("item", "seed")
    )
    chance = np.array([1 / len(p.item.choices) for p in chosen])
    span = mean_share(ours)
    p, apart = compare_means(
        ours - chance, np.array(theirs) - [1 / len(p.seed.choices) for p in chosen]
    )
    against_chance = compare_means(ours, chance)[0]
    return QualityMeasure(
        dimension=DIMENSION,
        name=_LONGEST,
        **vars(span),
        reference=float(theirs.mean()),
        reference_is=f"the same seeds; chance {chance.mean():.2f} (p = {against_chance:.3f})",
        p=p,
        apart=apart,
        n=len(chosen),
        limits=limits,
    )


def longest_is_right(text: AuditedText) -> float:
    """The chance to be right for who takes the longest option."""
    lengths = [len(choice) for choice in text.choices]
    most = [place for place, length in enumerate(lengths) if length == max(lengths)]
    return (text.answer_index in most) / len(most)


def _refusals(asked: Iterable[AskedQuestion]) -> QualityMeasure:
    """Each group against all that do not mention it (Fisher's exact test, corrected)."""
    patterns = {
        f"{kind}: {group}": pattern
        for kind, listed in group_lists().items()
        for group, pattern in listed.patterns().items()
    }
    counts = {name: np.zeros((2, 2), int) for name in patterns}
    total, refused = 0, 0
    for each in asked:
        total += 1
        refused += each.refused
        for name, pattern in patterns.items():
            counts[name][int(bool(pattern.search(each.text))), int(each.refused)] += 1
    limits = (
        "questions by the words of groups.yaml, one that was not written by its seed; takes "
        "questions as independent; a refusal that the filters do not know counts as an answer"
    )
    if not total:
        return QualityMeasure(dimension=DIMENSION, name=_REFUSED, limits=limits, missing="no rows")
    notes, p = _refused_groups(counts)
    low, high = interval(refused / total, total)
    return QualityMeasure(
        dimension=DIMENSION,
        name=_REFUSED,
        value=refused / total,
        low=low,
        high=high,
        reference_is="share of all; p and notes compare groups",
        p=p,
        apart=None if p is None else p < 0.05,
        n=total,
        limits=limits,
        notes=notes,
    )


def _refused_groups(
    counts: Mapping[str, np.ndarray[tuple[int, int], np.dtype[np.int64]]],
) -> tuple[list[str], float | None]:
    """What is refused more or less often, and the least corrected p; None without a refusal."""
    tested = {name: table for name, table in counts.items() if table[1].sum() and table[:, 1].sum()}
    if not tested:
        return [], None
    adjusted = holm([float(stats.fisher_exact(table)[1]) for table in tested.values()])
    notes = [
        f"{name}: {table[1, 1]:,} of {table[1].sum():,}, others {table[0, 1]:,} of "
        f"{table[0].sum():,}, p = {p:.3f}"
        for (name, table), p in zip(tested.items(), adjusted, strict=True)
        if p < 0.05
    ]
    return notes, min(adjusted)


def is_refusal(reason: str) -> bool:
    return reason == REFUSAL
