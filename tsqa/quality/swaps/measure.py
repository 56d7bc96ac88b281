"""What swaps change, against what asking again changes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from tsqa.quality.measure import CONFIDENCE, LEAST, mean_of, mean_share
from tsqa.quality.swaps.ask import JUDGE, AskedModel, SwapReply
from tsqa.quality.swaps.words import swapper
from tsqa.records.quality import FLIPPED_ANSWERS, FLIPPED_VERDICTS, QualityMeasure

DIMENSION = "bias"
_LIMITS = {
    "pronouns": "he and she, nouns and 40 first names each; other names stay",
    "professions": "17 pairs of professions; another one may change what is true",
    "countries": "11 pairs of countries; another one often changes what is true",
}
_GOOD = {True: "pass", False: "right"}


def measure_swaps(asked: Sequence[AskedModel]) -> list[QualityMeasure]:
    """A line for each model and kind, and one that says so where there is no such model."""
    found = [_line(each) for each in asked]
    for name, who in ((FLIPPED_VERDICTS, "no judge"), (FLIPPED_ANSWERS, "no model that answers")):
        if not any(each.name.startswith(name) for each in found):
            missing = f"the recipe has {who}"
            found.append(QualityMeasure(dimension=DIMENSION, name=name, limits="", missing=missing))
    return found


def _line(asked: AskedModel) -> QualityMeasure:
    start = FLIPPED_VERDICTS if asked.role == JUDGE else FLIPPED_ANSWERS
    name = f"{start}: {asked.kind} ({asked.role})"
    limits = (
        f"{_LIMITS[asked.kind]}; English; items that passed the filters; what other words alone "
        "change counts too, so see the notes for who fares better"
    )
    replies, count = asked.replies, len(asked.replies)
    if count < LEAST:
        missing = f"{count} items in which {asked.kind} swap were answered; {LEAST} are needed"
        return QualityMeasure(dimension=DIMENSION, name=name, limits=limits, missing=missing)
    changed = mean_share(np.array([_change(each) for each in replies]))
    gap, p = beyond_noise(replies)
    other = "" if asked.role == JUDGE else "other examples, another order of options and "
    told = f"asked again with {other}another random seed; difference {gap[0]:+.3f} "
    told += f"[{gap[1]:+.3f}, {gap[2]:+.3f}]"
    if asked.greedy:
        told += f"; the model says the same again ({asked.greedy})"
    return QualityMeasure(
        dimension=DIMENSION,
        name=name,
        **vars(changed),
        reference=changed.value - gap[0],
        reference_is=told,
        p=p,
        apart=p < 0.05,
        n=count,
        gap=gap,
        limits=limits,
        notes=[*_direction(asked), *_unanswered(asked)],
    )


def _change(reply: SwapReply) -> float:
    """Share of the pairs of an own and a swapped text of which the model says unlike things."""
    own, swapped = sum(reply.own) / 2, sum(reply.swapped) / 2
    return own * (1 - swapped) + swapped * (1 - own)


def beyond_noise(replies: Sequence[SwapReply]) -> tuple[tuple[float, float, float], float]:
    """Share changed by swaps less share changed by asking again, with the ends of its interval; p.

    An item counts 1 where both replies to one text differ from both to the other, and -1/2 where
    the two differ within each text: on average the square of how much the swap changes the
    probability of a reply, and 0 where it changes none, however noisy the model is. Given that two
    of the four replies agree against the others, a fair model has the first with probability 1/3,
    which gives p. The interval is Wald's with three such items more, which change nothing.
    """
    two = [each for each in replies if sum(each.own) + sum(each.swapped) == 2]
    apart = sum(each.own[0] == each.own[1] for each in two)
    value = (apart - (len(two) - apart) / 2) / len(replies)
    more, fewer, count = apart + 1, len(two) - apart + 2, len(replies) + 3
    middle = (more - fewer / 2) / count
    spread = math.sqrt((more + fewer / 4) / count - middle**2) / math.sqrt(count)
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    p = 1.0
    if two:
        p = float(stats.binomtest(apart, len(two), 1 / 3, alternative="greater").pvalue)
    return (value, min(value, middle - z * spread), max(value, middle + z * spread)), p


def _direction(asked: AskedModel) -> list[str]:
    """Who fares better, by the items in which one side alone appears."""
    swaps = swapper(asked.kind)
    if not swaps.sides:
        return []
    one, other = swaps.sides
    gains: list[float] = []
    shares: list[tuple[float, float]] = []
    for each in asked.replies:
        side = swaps.side("\n".join((each.pair.item.context, each.pair.item.question)))
        if side:
            own, swapped = sum(each.own) / 2, sum(each.swapped) / 2
            shares.append((own, swapped) if side == one else (swapped, own))
            gains.append(shares[-1][0] - shares[-1][1])
    if len(gains) < LEAST:
        return []
    found, (left, right) = mean_of(np.array(gains)), np.mean(shares, axis=0)
    return [
        f"{_GOOD[asked.role == JUDGE]} {left:.3f} with {one}, {right:.3f} with {other} in the same "
        f"{len(gains):,} items: {found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    ]


def _unanswered(asked: AskedModel) -> list[str]:
    return [f"{asked.unanswered:,} without a reply, left out"] if asked.unanswered else []
