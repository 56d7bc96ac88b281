"""Several looks at one training: what a claim along the curve costs.

Only the last point is tested. A difference that is read off where a curve shows one is a choice
among its points: each of k has its own chance of being false, and together at most k times as much
(Bonferroni, which holds however alike the points are; tests/benchmarks/looks.py measures how much).
"""

from __future__ import annotations

from scipy.stats import norm


def confidence_of_any(looks: int, confidence: float) -> float:
    """Of the interval at each of so many looks, for a claim at any one of them."""
    return 1 - (1 - confidence) / looks


def looks_note(looks: int, confidence: float) -> str:
    """What several looks cost; `looks` are the points of a curve, the last one among them."""
    asked = confidence_of_any(looks, confidence)
    wider = float(norm.ppf(0.5 + asked / 2) / norm.ppf(0.5 + confidence / 2))
    return (
        f"Of the {looks} points of the curve of scores over tokens the last alone is tested: the "
        f"table is not corrected for the others. Read at whichever point shows a difference, "
        f"a {confidence:.4g} interval is wrong in up to {min(1.0, looks * (1 - confidence)):.0%} "
        f"of curves; a claim at any point needs one of {asked:.4g}, at least {wider:.2f} times as "
        "wide."
    )
