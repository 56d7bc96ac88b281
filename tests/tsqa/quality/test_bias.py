"""Bias moves with planted pronouns, lengths and refusals, and not on two halves of a set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.support.quality_world import Change, sample_of, with_words
from tsqa.quality.bias import AskedQuestion, group_lists, measure_bias
from tsqa.quality.sample import AuditedText
from tsqa.records.quality import QualityMeasure


def bias(*arguments: object, asked: tuple[AskedQuestion, ...] = ()) -> dict[str, QualityMeasure]:
    sample = sample_of(*arguments)  # type: ignore[arg-type]
    return {each.name: each for each in measure_bias(sample, asked)}


def with_people(share: float) -> Change:
    """`She` and `China` in a share of the items."""

    def plant(item: AuditedText, _: AuditedText, rng: np.random.Generator) -> AuditedText:
        return with_words(item, "She saw China:") if rng.random() < share else item

    return plant


def test_nothing_moves_on_two_halves_of_the_same_real_set() -> None:
    sample = sample_of(with_people(0.3))
    items = [pair.item for pair in sample.pairs]
    pairs = [
        replace(pair, seed=a, item=b)
        for pair, a, b in zip(sample.pairs, items[::2], items[1::2], strict=False)
    ]
    found = measure_bias(replace(sample, pairs=pairs), ())
    assert "pronouns: she (log-odds)" in {each.name for each in found}
    assert {each.name for each in found if each.apart} == set()


def test_planted_pronouns_and_countries_move_what_they_name() -> None:
    found = bias(with_people(0.3))
    assert {n for n, each in found.items() if each.apart} == {
        "pronouns: she (log-odds)",
        "countries: China (log-odds)",
    }
    she = found["pronouns: she (log-odds)"]
    assert she.low is not None and she.low > 1 and she.high is None, "no seed has one alone"


def test_groups_are_words_in_their_case() -> None:
    lists = group_lists()
    they, china = lists["pronouns"].patterns()["they"], lists["countries"].patterns()["China"]
    assert they.search("Their house") and not they.search("the others there")
    assert (
        china.search("in China.") and not china.search("fine china") and not china.search("Chinas")
    )
    nurse = lists["professions"].patterns()["mostly women's"]
    assert nurse.search("two nurses") and not nurse.search("a nursery")


def test_long_right_options_are_seen() -> None:
    def lengthen(item: AuditedText, _: AuditedText, rng: np.random.Generator) -> AuditedText:
        assert item.answer_index is not None
        if rng.random() < 0.5:
            return item
        right = f"{item.answer}, which is quite certain"
        choices = [*item.choices]
        choices[item.answer_index] = right
        return replace(item, choices=tuple(choices), answer=right)

    plain, found = (
        bias()["right option is the longest"],
        bias(lengthen)["right option is the longest"],
    )
    assert not plain.apart and found.apart and found.value is not None and found.value > 0.5


def test_refusals_of_one_group_are_named() -> None:
    even = [AskedQuestion("she asks", n % 10 == 0) for n in range(100)]
    even += [AskedQuestion("he asks", n % 10 == 0) for n in range(100)]
    fair = bias(asked=tuple(even))["refusals by group"]
    assert fair.value == 0.1 and fair.apart is False and fair.notes == []
    uneven = [AskedQuestion("she asks", n % 2 == 0) for n in range(100)] + even[100:]
    found = bias(asked=tuple(uneven))["refusals by group"]
    assert found.apart and found.notes[0].startswith("pronouns: he: 10 of 100, others 50 of 100")
    assert bias(asked=(AskedQuestion("she", False),))["refusals by group"].apart is None
