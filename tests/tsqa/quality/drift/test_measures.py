"""Drift moves with what is planted in the newer set, and not between two halves of one set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.quality_world import OPTIONS, real_text, with_words
from tsqa.quality.drift.measures import change_of_mean, measure_drift
from tsqa.quality.drift.sides import DriftSide, side_of_texts
from tsqa.quality.sample import AuditedText
from tsqa.records.quality import QualityMeasure

TASKS = ("toy", "own")


def texts(count: int, seed: int, prefix: str = "n") -> list[AuditedText]:
    rng = np.random.default_rng(seed)
    return [real_text(rng, f"{prefix}{i}", TASKS[i % 2]) for i in range(count)]


def sides(new: list[AuditedText], old: list[AuditedText]) -> tuple[DriftSide, DriftSide]:
    return side_of_texts("new", new, 0), side_of_texts("old", old, 0)


def drift(
    new: list[AuditedText], old: list[AuditedText], permutations: int = 0
) -> dict[str, QualityMeasure]:
    """Without permutations the classifier says nothing: they take most of the time."""
    found = measure_drift(*sides(new, old), seed=1, permutations=permutations)
    return {each.name: each for each in found}


def apart(found: dict[str, QualityMeasure]) -> set[str]:
    return {name for name, each in found.items() if each.apart}


OLD = texts(160, 1, "o")


def test_nothing_moves_between_two_halves_of_one_set() -> None:
    whole = [
        with_words(each, "She saw China:") if number % 5 == 0 else each
        for number, each in enumerate(texts(320, 2))
    ]
    order = np.random.default_rng(3).permutation(len(whole))
    found = drift([whole[i] for i in order[::2]], [whole[i] for i in order[1::2]], 19)
    assert "pronouns: she (share)" in found and apart(found) == set()


def test_a_set_against_itself_has_not_moved_at_all() -> None:
    found = drift(OLD, OLD)
    assert apart(found) == set()
    assert found["words of the question"].high == 0 and found["share of a task"].value == 0


def test_shares_that_are_whole_on_both_sides_are_still_in_doubt() -> None:
    def first(text: AuditedText) -> AuditedText:
        return replace(text, task="toy", choices=(text.answer, *OPTIONS[:3]), answer_index=0)

    new, old = [*map(first, texts(40, 5))], [*map(first, texts(40, 6, "o"))]
    for name in ("right option's position", "share of a task"):
        each = drift(new, old)[name]
        assert each.value == 0 and not each.apart and each.low and each.high, name
        assert each.high == pytest.approx(1 - 0.025 ** (1 / 40)) == -each.low
        assert drift(old, old)[name].high == 0


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        (lambda t, i: with_words(t, "Tell me now"), {"told apart (AUC)", "words of the question"}),
        (
            lambda t, i: with_words(t, "She saw China:") if i % 3 == 0 else t,
            {"pronouns: she (share)", "countries: China (share)"},
        ),
        (
            lambda t, i: replace(t, choices=(t.answer, *OPTIONS[:3]), answer_index=0),
            {"right option's position"},
        ),
        (
            lambda t, i: replace(t, answer=OPTIONS[0]) if i % 2 else t,
            {"balance of labels"},
        ),
        (lambda t, i: replace(t, task="toy" if i % 4 else "own"), {"share of a task"}),
    ],
)  # fmt: skip
def test_planted_drift_moves_what_it_is_about(change: object, moved: set[str]) -> None:
    new = [change(each, i) for i, each in enumerate(texts(160, 5))]  # type: ignore[operator]
    found = drift(new, OLD, 19 if "told apart (AUC)" in moved else 0)
    assert moved <= apart(found)
    for name in moved:
        each = found[name]
        assert each.low is not None and each.high is not None and each.reference is not None
        assert not each.low <= each.reference <= each.high, f"{name}: the interval shows it too"
    if moved == {"share of a task"}:
        assert found["share of a task"].value == pytest.approx(-0.25) or (
            found["share of a task"].value == pytest.approx(0.25)
        )


def test_a_collapsed_set_leaves_ground_of_the_old() -> None:
    few = texts(10, 7)
    new = [replace(few[i % 10], id=f"n{i}") for i in range(160)]
    found = drift(new, OLD)
    lost = found["the old's neighbourhoods, hit by the new"]
    assert lost.apart and lost.high is not None and lost.high < 0


def test_what_is_of_one_seed_is_one_draw() -> None:
    """Ten copies of each item make no interval narrower, and shared seeds do."""
    new, old = sides(texts(80, 8), texts(80, 9, "o"))

    def length(text: AuditedText) -> float:
        return float(len(text.question))

    once = change_of_mean(new, old, length)
    copied = replace(new, groups={name: found * 10 for name, found in new.groups.items()})
    tenfold = change_of_mean(copied, old, length)
    assert once and tenfold and once.change == pytest.approx(tenfold.change)
    longer = {n: [with_words(found[0], "so")] for n, found in new.groups.items()}
    paired = change_of_mean(replace(new, groups=longer), new, length)
    assert paired and (paired.change.low, paired.change.high) == pytest.approx((3, 3))


def test_few_seeds_and_tasks_of_one_side_are_said() -> None:
    few = drift(texts(12, 1), OLD)
    assert all(each.value is None for each in few.values())
    other = [replace(each, task="new") for each in texts(60, 1)]
    found = drift(other, OLD)
    assert found["told apart (AUC)"].missing.startswith("0 and 0 seeds of common tasks")
    assert "share of a task" in apart(found)
