"""Diversity falls where a set collapses, and stays on two halves of the same real set."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from tests.support.quality_world import real_text, sample_of, with_words
from tsqa.quality.diversity import TOPICS, distinct_n, measure_diversity, vendi_score
from tsqa.quality.measure import Spanned, share_of_groups, widen_shares
from tsqa.quality.sample import AuditedText
from tsqa.records.quality import QualityMeasure


def diversity(*arguments: object, **changes: object) -> dict[str, QualityMeasure]:
    sample = sample_of(*arguments, **changes)  # type: ignore[arg-type]
    return {each.name: each for each in measure_diversity(sample, 1)}


def collapse(item: AuditedText, _: AuditedText, rng: np.random.Generator) -> AuditedText:
    """One of three questions, whatever the seed."""
    same = real_text(np.random.default_rng(int(rng.integers(3))), item.id, item.task)
    return replace(same, id=item.id)


def test_nothing_moves_on_two_halves_of_the_same_real_set() -> None:
    assert {name for name, each in diversity().items() if each.apart} == set()
    few = diversity(count=60).values()
    ends = [end for each in few for end in (each.low, each.high) if end is not None]
    assert min(ends) == 0 and max(ends) <= 1, "shares, also in the tail of 12 seeds"


def test_a_collapsed_set_is_less_diverse_by_every_measure() -> None:
    found = diversity(collapse)
    for name in ("neighbourhoods of seeds hit", "of those in the tail", "distinct-1", "distinct-3"):
        each = found[name]
        assert each.value is not None and each.reference is not None, name
        assert each.value < 0.7 * each.reference, name
        assert each.apart or name == "of those in the tail", "12 seeds are too few"
    vendi = found["Vendi score, per item"]
    assert vendi.apart and vendi.value is not None and vendi.value < 6 / 120
    assert found["most frequent opening"].apart


def test_openings_move_with_what_a_teacher_begins_with() -> None:
    found = diversity(lambda item, seed, rng: with_words(item, "Let us consider"))
    opening = found["most frequent opening"]
    assert opening.value == 1.0 and opening.apart and opening.notes == ["'let us consider': 120"]
    assert opening.low == pytest.approx(0.025 ** (1 / 120)) and opening.high == 1, "exact"
    assert opening.gap and opening.gap[1] < opening.gap[0] < 1


def test_openings_that_all_differ_are_as_much_in_doubt() -> None:
    found = diversity(lambda item, seed, rng: with_words(item, f"Number {item.id}"), count=50)
    opening = found["most frequent opening"]
    assert opening.value == 1 / 50 and opening.low and opening.high
    assert opening.low < 0.01 and opening.high > 0.1


def test_no_line_of_a_set_of_one_text_is_beyond_doubt() -> None:
    """No block that is left out changes anything, so that the jackknife sees no spread."""
    one = real_text(np.random.default_rng(5), "one")

    def same(item: AuditedText, _: AuditedText, __: np.random.Generator) -> AuditedText:
        return replace(one, id=item.id, task=item.task)

    for name, each in diversity(same, count=60).items():
        if name != "seeds with an item":
            assert each.low is not None and each.high is not None and each.gap, name
            least = 0 if name.startswith("distinct") else 0.03  # those fall with every text
            assert each.high - each.low > least and each.gap[2] - each.gap[1] > least, name


def test_two_shares_without_spread_are_apart_where_their_intervals_say_so() -> None:
    def gap(ours: float, theirs: float, count: int) -> Spanned:
        spans = [Spanned(value, value, value) for value in (ours, theirs, ours - theirs)]
        return widen_shares(spans, count)[2]

    assert gap(1, 1, 20).low < 0 < gap(1, 1, 20).high
    assert gap(1, 0, 20).low > 0.7 and gap(1, 0, 2).low < gap(1, 0, 20).low
    spread = [Spanned(0.5, 0.4, 0.6), Spanned(0.3, 0.2, 0.4), Spanned(0.2, 0.1, 0.3)]
    assert [*widen_shares(spread, 20)] == spread


@pytest.mark.parametrize(
    ("vectors", "score"),
    [
        (np.eye(4), 4.0),
        (np.ones((4, 1)), 1.0),
        (np.kron(np.eye(2), np.ones((2, 1))), 2.0),
        (np.kron(np.eye(2, 9), np.ones((2, 1))), 2.0),
    ],
)
def test_the_vendi_score_counts_what_differs(vectors: np.ndarray, score: float) -> None:
    assert vendi_score(csr_matrix(vectors)) == pytest.approx(score)


def test_distinct_n_stops_at_the_bound() -> None:
    texts = [["a", "b", "a"], ["a", "c"]]
    assert distinct_n(texts, 5) == [3 / 5, 3 / 3, 1.0]
    assert distinct_n(texts, 3) == [2 / 3, 2 / 2, 1.0]


def test_a_share_that_is_the_same_in_every_group_has_an_interval() -> None:
    rng = np.random.default_rng(0)
    for flags in ([True, False], [True, True], [False, False]):
        span = share_of_groups(flags * 15, [str(n // 2) for n in range(30)], rng)
        assert span.value == sum(flags) / 2 and span.high - span.low > 0.2


def test_seeds_without_items_are_counted() -> None:
    sample = replace(sample_of(count=40), seed_count=80)
    found = measure_diversity(sample, 1)[0]
    assert found.value == 0.5 and found.reference == 1.0


def test_texts_without_words_have_no_distinct_ones() -> None:
    """As many words of the seeds are none, of which no share is distinct."""
    mute = {"question": "?!", "choices": (), "answer": "..."}
    found = measure_diversity(sample_of(lambda item, seed, rng: replace(item, **mute)), 0)
    lines = [each for each in found if each.name.startswith("distinct")]
    assert [each.missing for each in lines] == ["the items hold no word"] * 3


def test_topics_that_items_leave_out_are_missed_capability_by_capability() -> None:
    """Seeds of one capability are about three things, and items about one of them."""
    subjects = ("rope knot sail mast", "cell gene seed leaf", "tax coin bank loan")

    def about(text: AuditedText, number: int) -> AuditedText:
        kind = "law" if number % 2 else "trade"
        return replace(with_words(text, f"{subjects[number % 3]} "), capability=kind)

    sample = sample_of(count=160)
    pairs = [
        replace(p, seed=about(p.seed, n), item=about(p.item, 0 if n % 2 else n))
        for n, p in enumerate(sample.pairs)
    ]
    moved = replace(sample, pairs=pairs, others=[pair.seed for pair in pairs])
    (line,) = (each for each in measure_diversity(moved, 0) if each.name == TOPICS)
    assert line.apart and line.gap is not None and line.gap[2] < 0
    law, trade = line.notes
    ours, count, theirs = (float(n) for n in re.findall(r"[0-9.]+", law))
    assert law.startswith("law") and count == 4 and ours < theirs - 0.5
    ours, _, theirs = (float(n) for n in re.findall(r"[0-9.]+", trade))
    assert ours == pytest.approx(theirs, abs=0.6)
