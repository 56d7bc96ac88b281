"""The key `mixture.<source>`, for overrides and arms alike: one ratio set, the others scaled.

Guarantees: the ratios still sum to exactly 1, in whole basis points; each of the others keeps its
proportion to less than a basis point, and none is rounded away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tsqa.errors import RecipeError
from tsqa.recipe.sections.mixture import BASIS_POINTS, MixtureSection


def is_ratio(key: str, mixture: Mapping[str, object] | None) -> bool:
    """Whether `mixture.<source>` is meant; a source may not shadow a key of the section."""
    head, _, tail = key.partition(".")
    if head != "mixture" or mixture is None or tail in MixtureSection.model_fields:
        return False
    sources = mixture["sources"]
    return isinstance(sources, Mapping) and tail in sources


def set_ratio(phases: Sequence[dict[str, Any]], key: str, value: Any) -> None:
    """Set the ratio that the key means, in every phase."""
    for phase in phases:
        phase["ratios"] = rescale_ratios(phase["ratios"], key.partition(".")[2], value)


def rescale_ratios(ratios: Mapping[str, float], source: str, share: float) -> dict[str, float]:
    """Set one ratio and keep the others' proportions, in whole basis points.

    What rounding down leaves goes to the largest remainders, one basis point each. RecipeError for
    a share that is none, and where a source that had one is left without any.
    """
    try:
        if isinstance(share, bool):
            raise TypeError(share)
        wanted = float(share) * BASIS_POINTS
    except (TypeError, ValueError) as error:
        raise RecipeError(f"mixture.{source}={share}: expected a number from 0 to 1") from error
    if not 0 <= wanted <= BASIS_POINTS or abs(wanted - round(wanted)) > 1e-6:
        raise RecipeError(
            f"mixture.{source}={share}: expected a share from 0 to 1 in whole basis points (0.0001)"
        )
    # Integers throughout: 0.1 / (0.1 + 0.2) in floats would move a basis point.
    others = {n: round(ratio * BASIS_POINTS) for n, ratio in ratios.items() if n != source}
    total = sum(others.values())
    left = BASIS_POINTS - round(wanted)
    if total == 0:
        if left:
            raise RecipeError(f"mixture.{source}={share}: no other source takes the rest")
        return {**dict.fromkeys(others, 0.0), source: 1.0}
    points = {name: left * ratio // total for name, ratio in others.items()}
    remainders = {name: left * ratio % total for name, ratio in others.items()}
    by_remainder = sorted(others, key=lambda name: (-remainders[name], -others[name]))
    for name in by_remainder[: left - sum(points.values())]:
        points[name] += 1
    gone = next((name for name in others if left and others[name] and not points[name]), None)
    if gone is not None:
        raise RecipeError(
            f"mixture.{source}={share}: leaves {gone} less than a basis point (0.0001)",
            "set mixture.phases, with a ratio for each source",
        )
    points[source] = BASIS_POINTS - left
    return {name: value / BASIS_POINTS for name, value in points.items()}
