"""Realism moves where items differ from seeds in a known way, and not where they do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.embedding import BagOfWords
from tests.support.quality_world import OPTIONS, Change, sample_of, with_words
from tsqa.quality.features import frechet_distance
from tsqa.quality.measure import (
    compare_means,
    mean_share,
    weighted_auc,
)
from tsqa.quality.realism import grade_level, measure_distance, measure_realism
from tsqa.quality.sample import AuditedText
from tsqa.records.quality import QualityMeasure


def realism(
    *arguments: object, permutations: int = 19, **changes: object
) -> dict[str, QualityMeasure]:
    sample = sample_of(*arguments, **changes)  # type: ignore[arg-type]
    return {each.name: each for each in measure_realism(sample, 1, permutations)}


def test_nothing_moves_on_two_halves_of_the_same_real_set() -> None:
    found = realism()
    assert {name for name, each in found.items() if each.apart} == set()
    auc = found["told from seeds (AUC)"]
    assert auc.low is not None and auc.high is not None and auc.low < 0.5 < auc.high


def test_a_classifier_tells_what_a_teacher_says_too_often() -> None:
    def tell(item: AuditedText, _: AuditedText, rng: np.random.Generator) -> AuditedText:
        return with_words(item, "delve into:") if rng.random() < 0.7 else item

    auc = realism(tell)["told from seeds (AUC)"]
    assert auc.apart and auc.p == 0.05 and auc.low is not None and auc.low > 0.7
    real = [each for each in auc.examples if each.why == "most real"]
    assert real and not any("delve" in each.text for each in real)
    assert all("delve" in e.text for e in auc.examples if e.why == "least real")
    assert all(each.nearest and each.nearest_id.split("-")[0] in each.id for each in auc.examples)


def test_copies_of_the_seeds_are_as_real_as_can_be() -> None:
    found = realism(lambda item, seed, rng: replace(seed, id=item.id), permutations=1)
    assert found["told from seeds (AUC)"].value == 0.5


def distance(change: Change | None = None, permutations: int = 19) -> QualityMeasure:
    return measure_distance(sample_of(change), BagOfWords(), 0, permutations)


def test_meanings_of_two_halves_of_one_set_are_as_far_apart_as_chance_makes_them() -> None:
    found = distance()
    assert not found.apart and found.gap and found.gap[1] < 0 < found.gap[2]
    assert found.reference and found.reference > 0.05, "of few texts chance makes a distance"


@pytest.mark.parametrize("which", ["collapsed", "other domain"])
def test_meanings_are_far_apart_where_items_are_others(which: str) -> None:
    def change(item: AuditedText, _: AuditedText, rng: np.random.Generator) -> AuditedText:
        if which == "collapsed":
            return item if rng.random() < 0.5 else replace(item, question="bab bed gon?")
        return with_words(item, "lorem ipsum dolor:")

    found = distance(change)
    assert found.apart and found.gap and found.gap[1] > 0.02


def test_meanings_of_copies_are_as_near_as_can_be() -> None:
    found = distance(lambda item, seed, rng: replace(seed, id=item.id), 1)
    assert found.gap is not None and abs(found.gap[0]) < 1e-9 and not found.apart


def test_the_distance_is_that_of_normal_distributions() -> None:
    rng = np.random.default_rng(0)
    scales = np.array([1.0, 2.0, 0.5])
    left, right = rng.normal(size=(400, 3)), 1 + rng.normal(size=(400, 3)) * scales
    assert frechet_distance(left, right) == pytest.approx(3 + 1 + 0.25, abs=0.6)
    few = frechet_distance(left[:5, :2], left[5:10, :2])
    assert few > frechet_distance(left[:200, :2], left[200:400, :2]) >= 0


def test_options_that_only_seeds_have_are_not_what_tells_them_apart() -> None:
    found = realism(lambda item, seed, rng: replace(item, choices=()), permutations=1)
    auc = found["told from seeds (AUC)"].value
    assert auc is not None and auc < 0.6


def test_length_and_grade_move_with_longer_questions() -> None:
    found = realism(
        lambda item, seed, rng: with_words(item, "considerable verbosity"), permutations=1
    )
    words, grade = found["words of the question"], found["grade level (Flesch-Kincaid)"]
    assert words.apart and grade.apart
    assert words.value is not None and words.reference is not None and grade.value is not None
    assert words.value > words.reference + 1


def test_what_rounding_leaves_is_no_difference() -> None:
    alike = np.array([0.1 + 0.2, 0.3] * 10)
    assert compare_means(alike, np.full(20, 0.3)) == (1.0, False)
    assert compare_means(alike + 1, np.full(20, 0.3)) == (0.0, True), "one more in every pair"


def test_a_share_of_none_or_all_is_not_known_exactly() -> None:
    for value in (0.0, 1.0):
        span = mean_share(np.full(20, value))
        assert span.value == value and abs(span.low - span.high) == pytest.approx(0.168, abs=1e-3)
    few = mean_share(np.array([1.0] + [0.0] * 19))
    assert few.low == 0 and 0.1 < few.high < 0.2


def test_positions_and_labels_move_where_the_first_option_is_right_too_often() -> None:
    def first(item: AuditedText, _: AuditedText, rng: np.random.Generator) -> AuditedText:
        if rng.random() < 0.6:
            return item
        return replace(item, choices=OPTIONS, answer=OPTIONS[0], answer_index=0)

    found = realism(first, permutations=1)
    place, label = found["right option's position (largest share)"], found["balance of labels"]
    assert place.apart and place.reference == 0.25 and "position, A" in place.reference_is
    assert label.apart and "'red stone'" in label.reference_is


def test_a_label_with_a_full_stop_is_the_same_label() -> None:
    def stop(item: AuditedText, _: AuditedText, rng: np.random.Generator) -> AuditedText:
        return replace(item, answer=f"{item.answer.capitalize()}.")

    label = realism(stop, permutations=1)["balance of labels"]
    assert not label.apart and label.value == pytest.approx(label.reference, abs=0.15)


@pytest.mark.parametrize(
    ("text", "grade"),
    [("The cat sat on the mat.", 0.39 * 6 + 11.8 - 15.59), ("1 + 1 = 2", None)],
)
def test_grade_levels_are_those_of_the_formula(text: str, grade: float | None) -> None:
    assert grade_level(text) == pytest.approx(grade)


def test_the_auc_counts_pairs_within_strata_and_ties_by_half() -> None:
    scores, positive = np.array([3.0, 1.0, 2.0, 2.0]), np.array([True, False, True, False])
    assert weighted_auc(scores, positive, np.array([0, 0, 1, 1]), np.ones((1, 4)))[0] == 0.75
    weights = np.array([[1.0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]])
    assert [*weighted_auc(scores, positive, np.array([0, 0, 1, 1]), weights)] == [1.0, 0.5, 0.5]


def test_few_pairs_are_not_measured() -> None:
    (found,) = realism(count=10).values()
    assert found.value is None and "20 are needed" in found.missing
