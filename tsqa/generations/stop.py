"""Whether an arm may begin another generation.

Guarantee: a limit that is passed stops, and so does one whose measure could not be taken.
"""

from __future__ import annotations

from collections.abc import Sequence

from tsqa.generations.measure import GenerationMeasure
from tsqa.quality.measure import Spanned
from tsqa.recipe import StopSection


def passed(measures: Sequence[GenerationMeasure], limits: StopSection) -> dict[str, str]:
    """Measure -> why it forbids a further one, as `0.41 [0.38, 0.44] is above its limit 0.3`."""
    found = {}
    for measure in measures:
        limit = getattr(limits, measure.name)
        if limit is None:
            continue
        if measure.span is None:
            found[measure.name] = f"has a limit, and was not measured: {measure.missing}"
        elif measure.span.low > limit:
            found[measure.name] = f"{shown(measure)} is above its limit {limit:g}"
    return found


def is_above(measure: GenerationMeasure, limits: StopSection) -> bool:
    return bool(passed([measure], limits))


def shown(measure: GenerationMeasure) -> str:
    if measure.span is None:
        return f"not measured: {measure.missing}"
    return shown_span(measure.span)


def shown_span(span: Spanned) -> str:
    """`0.412 [0.380, 0.440]`."""
    return f"{span.value:.3f} [{span.low:.3f}, {span.high:.3f}]"
