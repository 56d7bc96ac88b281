"""The limits of the section `audit`: which measure each is about, and what exceeds it.

A limit is exceeded where the whole interval lies beyond it, so that a small dataset is not refused
for what chance gives it; where nothing was measured nothing is known, and that is refused too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tsqa.errors import TsqaError
from tsqa.recipe import AuditSection
from tsqa.records.quality import (
    FLIPPED_ANSWERS,
    FLIPPED_VERDICTS,
    GRADIENTS,
    SEED_NAMES,
    TAIL,
    VENDI,
    QualityMeasure,
    QualityReport,
    shown_value,
)

Beyond = Callable[[QualityMeasure, float], bool]
GROUPS = "who appears"


def _above(measure: QualityMeasure, limit: float) -> bool:
    return measure.low is not None and measure.low > limit


def _below(measure: QualityMeasure, limit: float) -> bool:
    return measure.high is not None and measure.high < limit


def _beyond_chance(measure: QualityMeasure, limit: float) -> bool:
    return _above(measure, (measure.reference or 0.0) + limit)


def _off(measure: QualityMeasure, limit: float) -> bool:
    """To either side, among many lines, of which chance alone sets some apart."""
    return bool(measure.apart) and (_above(measure, limit) or _below(measure, -limit))


def _gap_above(measure: QualityMeasure, limit: float) -> bool:
    return measure.gap is not None and measure.gap[1] > limit


def _lost_above(measure: QualityMeasure, limit: float) -> bool:
    """Of what the reference has."""
    assert measure.gap is not None and measure.reference, "else nobody can tell"
    return -measure.gap[2] / measure.reference > limit


@dataclass(frozen=True)
class LimitedMeasure:
    """What a key of the section `audit` is about."""

    dimension: str
    name: str
    beyond: Beyond = _above
    begins: bool = False
    """Whether `name` is but the beginning of the names of several."""

    def is_of(self, measure: QualityMeasure) -> bool:
        if self.name == GROUPS and measure.name.endswith("(log-odds)"):
            return True
        is_named = measure.name == self.name or (self.begins and measure.name.startswith(self.name))
        return is_named and measure.dimension == self.dimension


LIMITED = {
    "max_told_apart": LimitedMeasure("realism", "told from seeds (AUC)"),
    "min_coverage": LimitedMeasure("diversity", "neighbourhoods of seeds hit", _below),
    "max_opening": LimitedMeasure("diversity", "most frequent opening"),
    "max_lost_tail": LimitedMeasure("diversity", TAIL, _lost_above),
    "max_lost_diversity": LimitedMeasure("diversity", VENDI, _lost_above),
    "max_lost_gradients": LimitedMeasure("diversity", GRADIENTS, _lost_above),
    "max_position": LimitedMeasure(
        "realism", "right option's position (largest share)", _beyond_chance
    ),
    "max_seeds_told": LimitedMeasure("privacy", "seeds told by nearest item (AUC)"),
    "max_copied": LimitedMeasure("privacy", "items with 13 words of their seed in a row"),
    "max_personal": LimitedMeasure("privacy", "items with personal data"),
    "max_seed_names": LimitedMeasure("privacy", SEED_NAMES),
    "max_canary_rate": LimitedMeasure("privacy", "canaries that came back"),
    "max_group_log_odds": LimitedMeasure("bias", GROUPS, _off),
    "max_longest": LimitedMeasure("bias", "right option is the longest"),
    "max_refused": LimitedMeasure("bias", "refusals by group"),
    "max_flipped_verdicts": LimitedMeasure("bias", FLIPPED_VERDICTS, _gap_above, begins=True),
    "max_flipped_answers": LimitedMeasure("bias", FLIPPED_ANSWERS, _gap_above, begins=True),
}


def limits_of(section: AuditSection) -> dict[str, float]:
    """Key -> limit, of those that are set."""
    return {key: limit for key in LIMITED if (limit := getattr(section, key)) is not None}


def breaches(section: AuditSection, report: QualityReport) -> Iterator[str]:
    """A line for each limit that is exceeded, or whose measure could not be made."""
    for key, limit in limits_of(section).items():
        limited = LIMITED[key]
        found = [each for each in report.measures if limited.is_of(each)]
        made = [each for each in found if each.value is not None]
        for each in made:
            if why := _unknown(each, limited):
                yield f"audit.{key} {limit:g}: {each.name} was not measured: {why}"
            elif limited.beyond(each, limit):
                yield f"audit.{key} {limit:g}: {each.name} is {shown_value(each)}{_against(each)}"
        if limited.begins and made:
            yield from (
                f"audit.{key} {limit:g}: {each.name} was not measured: {each.missing}"
                for each in found
                if each.value is None
            )
        if not made and not (limited.name == GROUPS and not found):  # else no group is mentioned
            why = _why(found, report, limited)
            yield f"audit.{key} {limit:g}: {limited.name} was not measured: {why}"


def refuse_audited(
    section: AuditSection, report: QualityReport | None, command: str, page: Path
) -> None:
    """Raise TsqaError where a limit is exceeded, or set and nothing was audited.

    `command`: what audits the dataset; `page`: what that writes.
    """
    limits = limits_of(section)
    if not limits:
        return
    if report is None:
        keys = ", ".join(f"audit.{key} {limit:g}" for key, limit in limits.items())
        raise TsqaError(f"{keys}: the dataset is not audited, or other data were", command)
    if found := [*breaches(section, report)]:
        raise TsqaError(
            "\n".join(found),
            f"look at the items ({command}, then {page}; tsqa inspect), change the filters or the "
            "prompts, or the limit; a measure that does not apply needs its limit removed",
        )


def _unknown(measure: QualityMeasure, limited: LimitedMeasure) -> str:
    """Why nothing can be said against a limit, though there is a value: no comparison would hold,
    and so none would be beyond."""
    gap = measure.gap or ()
    numbers = (measure.value, measure.low, measure.high, measure.reference, *gap)
    if any(each is not None and math.isnan(each) for each in numbers):
        return "it came out as no number"
    if limited.beyond in (_gap_above, _lost_above) and not gap:
        return "it has no difference from its reference"
    if limited.beyond is _lost_above and not measure.reference:
        return "its reference is 0, of which no share can be lost"
    return ""


def _against(measure: QualityMeasure) -> str:
    return "" if measure.reference is None else f", reference {measure.reference:.3g}"


def _why(found: Sequence[QualityMeasure], report: QualityReport, limited: LimitedMeasure) -> str:
    """Of the line itself, or of the whole dimension, which has one line where nothing was."""
    reasons = [each.missing for each in found if each.missing]
    reasons += [
        each.missing
        for each in report.measures
        if each.dimension == limited.dimension and each.name in ("all", "the rest")
    ]
    return reasons[0] if reasons else "the audit has no such line"
