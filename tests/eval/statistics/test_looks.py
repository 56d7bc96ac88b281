"""Several looks at one training: the last point is tested, a claim at any point asks for more."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import norm

from eval.compare.stage import looks_notes
from eval.statistics.looks import confidence_of_any, looks_note
from tests.support.page_world import make_recipe


def test_a_claim_at_any_point_of_a_curve_is_false_in_at_most_five_percent() -> None:
    rng, curves = np.random.default_rng(0), 4000
    steps = rng.normal(0, 1, (curves, 6))
    apart, walk = steps, np.cumsum(steps, axis=1) / np.sqrt(np.arange(1, 7))
    asked = norm.ppf(0.5 + confidence_of_any(6, 0.95) / 2)
    for scores in (apart, walk):
        most = np.abs(scores).max(axis=1)
        assert np.mean(most > norm.ppf(0.975)) > 0.12, "uncorrected, it is"
        assert np.mean(most > asked) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / curves)


def test_the_note_says_how_many_points_and_how_much_wider() -> None:
    note = looks_note(6, 0.95)
    assert "Of the 6 points" in note and "up to 30% of curves" in note
    assert "needs one of 0.9917, at least 1.35 times as wide" in note
    assert "up to 100%" in looks_note(40, 0.95)


def test_only_a_recipe_with_points_along_its_training_has_the_note() -> None:
    plain = make_recipe([0.0, 0.1], [])
    assert looks_notes(plain) == [] and plain.eval is not None
    along = plain.eval.model_copy(update={"every_tokens": 300_000})
    (note,) = looks_notes(plain.model_copy(update={"eval": along}))
    assert note.startswith("Of the 4 points")
