"""The mixture: exact ratios, whole epochs, any world size."""

from __future__ import annotations

import re
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rich.console import Console

from train.data.mixture import check_repeats, plan, plan_table
from train.data.plan import MixturePlan, period_table, permute
from tsqa.errors import CheckpointError, DataError, RecipeError
from tsqa.recipe import BASIS_POINTS, MixtureSection, Recipe, TrainSection, rescale_ratios

TRAIN = TrainSection(sequence_length=8, global_batch_tokens=32, lr=1e-3)


def make(
    phases: list[tuple[int, dict[str, float]]],
    rows: dict[str, int],
    max_repetition: float = 1e6,
    own: dict[str, float] | None = None,
) -> MixturePlan:
    """Phases are (tokens, ratios); `own` gives sources caps of their own."""
    sources = {n: {"path": "x", "max_repetition": (own or {}).get(n)} for n in rows}
    section = MixtureSection.model_validate(
        {
            "sources": sources,
            "phases": [{"tokens": t, "ratios": r} for t, r in phases],
            "max_repetition": max_repetition,
        }
    )
    return plan(section, TRAIN, rows, seed=7)


@st.composite
def basis_points(draw: st.DrawFn, most: int = 50) -> list[int]:
    """1 to `most` weights of at least one basis point; together all of them."""
    count = draw(st.integers(1, most))
    marks = st.integers(1, BASIS_POINTS - 1)
    cuts = draw(st.lists(marks, min_size=count - 1, max_size=count - 1, unique=True))
    return np.diff([0, *sorted(cuts), BASIS_POINTS]).tolist()


@st.composite
def plans(draw: st.DrawFn) -> MixturePlan:
    """Up to 3 phases over up to 5 sources, small enough to walk through."""
    count = draw(st.integers(1, 5))
    rows = {f"s{n}": draw(st.integers(1, 60)) for n in range(count)}
    phases = []
    for _ in range(draw(st.integers(1, 3))):
        weights = draw(st.lists(st.integers(0, 4), min_size=count, max_size=count).filter(any))
        shares = [round(w * BASIS_POINTS / sum(weights)) for w in weights]
        shares[weights.index(max(weights))] += BASIS_POINTS - sum(shares)
        ratios = {name: s / BASIS_POINTS for name, s in zip(rows, shares, strict=True)}
        phases.append((8 * draw(st.integers(4, 200)), ratios))
    return make(phases, rows)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 120), min_size=1, max_size=7).filter(any))
def test_every_prefix_is_within_one_row_of_the_ratio(weights: list[int]) -> None:
    counts = [0] * len(weights)
    period = sum(weights)
    for k, source in enumerate(period_table(tuple(weights)), 1):
        counts[source] += 1
        assert all(abs(c * period - w * k) < period for c, w in zip(counts, weights, strict=True))
    assert counts == weights


@settings(max_examples=12, deadline=None)
@given(basis_points())
def test_up_to_fifty_sources_in_basis_points_stay_within_one_row(weights: list[int]) -> None:
    table = np.array(period_table(tuple(weights)))
    drawn = np.cumsum(table[:, None] == np.arange(len(weights)), axis=0)
    due = np.arange(1, len(table) + 1)[:, None] * np.array(weights)
    assert (np.abs(drawn * sum(weights) - due) < sum(weights)).all()
    assert drawn[-1].tolist() == weights


@pytest.mark.parametrize("rare", [1, 7, 49])
def test_a_weight_of_one_basis_point_is_drawn_once_in_ten_thousand_rows(rare: int) -> None:
    table = period_table((*[1] * rare, BASIS_POINTS - rare))
    assert len(table) == BASIS_POINTS
    assert all(table.count(source) == 1 for source in range(rare))


@settings(max_examples=60, deadline=None)
@given(plans())
def test_any_plan_is_exact_whole_and_the_same_again(made: MixturePlan) -> None:
    rows = [made.row(k) for k in range(made.total_rows)]
    for phase in made.phases:
        period = sum(phase.weights)
        counts = [0] * len(made.sources)
        for k, row in enumerate(rows[phase.start : phase.start + phase.rows], 1):
            counts[row.source] += 1
            assert all(
                abs(c * period - w * k) < period for c, w in zip(counts, phase.weights, strict=True)
            )
        assert counts == phase.counts()
    for source, have in enumerate(made.rows):
        drawn = [(row.epoch, row.index) for row in rows if row.source == source]
        assert [epoch for epoch, _ in drawn] == [n // have for n in range(len(drawn))]
        assert len(set(drawn)) == len(drawn)
        assert all(0 <= index < have for _, index in drawn)
        assert len(drawn) == made.drawn[made.sources[source]]


def test_a_hundred_billion_tokens_open_in_a_second_and_little_memory() -> None:
    points = [1] * 25 + [399] * 24 + [BASIS_POINTS - 25 - 24 * 399]
    names = [f"s{n:02d}" for n in range(50)]
    ratios = {n: p / BASIS_POINTS for n, p in zip(names, points, strict=True)}
    train = TrainSection(sequence_length=8192, global_batch_tokens=25_165_824, lr=1e-4)
    mixture = {"sources": {n: {"path": "x"} for n in names}}
    mixture["phases"] = [{"tokens": "100B", "ratios": ratios}]
    section = MixtureSection.model_validate(mixture)
    period_table.cache_clear()
    begun = time.process_time()
    made = plan(section, train, dict.fromkeys(names, 5_000_000), seed=1)
    last = made.row(made.total_rows - 1)
    assert time.process_time() - begun < 1
    period_table.cache_clear()
    tracemalloc.start()
    again = plan(section, train, dict.fromkeys(names, 5_000_000), seed=1)
    assert again.row(again.total_rows - 1) == last
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 << 20
    assert made.total_rows == 100_000_000_000 // 25_165_824 * 3072


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 700), st.text(max_size=8))
def test_permute_is_a_bijection(size: int, key: str) -> None:
    assert sorted(permute(n, size, key) for n in range(size)) == list(range(size))


def test_every_row_comes_once_per_epoch_and_epochs_differ() -> None:
    made = make([(8 * 400, {"a": 0.5, "b": 0.5})], {"a": 50, "b": 200})
    seen: dict[int, list[int]] = {}
    for k in range(made.total_rows):
        row = made.row(k)
        if row.source == 0:
            seen.setdefault(row.epoch, []).append(row.index)
    assert all(sorted(indices) == list(range(50)) for indices in seen.values())
    assert len(seen) == 4
    assert seen[0] != seen[1]


def test_consumption_carries_on_across_phases() -> None:
    made = make([(8 * 100, {"a": 0.25, "b": 0.75}), (8 * 100, {"a": 1.0})], {"a": 125, "b": 75})
    rows = [made.row(k) for k in range(made.total_rows)]
    assert sorted(r.index for r in rows if r.source == 0) == list(range(125))
    assert made.drawn == {"a": 125, "b": 75}
    assert all(r.source == 0 for r in rows[100:])


def test_rows_do_not_depend_on_where_the_reader_starts() -> None:
    made = make([(8 * 64, {"a": 0.3, "b": 0.7})], {"a": 5, "b": 9})
    forward = [made.row(k) for k in range(made.total_rows)]
    assert [made.row(k) for k in reversed(range(made.total_rows))] == forward[::-1]


def test_steps_are_rounded_down_to_whole_batches_and_say_so() -> None:
    made = make([(8 * 11, {"a": 1.0})], {"a": 50})
    assert (made.steps, made.total_rows) == (2, 8)
    assert "24 tokens short" in made.note()


def test_a_source_of_which_no_row_is_drawn_is_named() -> None:
    # An arm of 1% synthetic text would be the control, under another name.
    rows = {"a": 100, "b": 100}
    assert "NONE of b, whose ratio" in make([(8 * 40, {"a": 0.99, "b": 0.01})], rows).note()
    assert "NONE" not in make([(8 * 100, {"a": 0.99, "b": 0.01})], rows).note()


def test_too_much_repetition_is_refused_with_both_fixes() -> None:
    with pytest.raises(RecipeError, match=r"sources\.b") as caught:
        make([(8 * 100, {"a": 0.5, "b": 0.5})], {"a": 50, "b": 10}, max_repetition=2)
    assert "short by 240 tokens" in str(caught.value)
    assert "max_repetition to 5, or lower its ratio to 0.2" in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(4, 300), st.integers(1, 9999)), min_size=1, max_size=3),
    st.integers(1, 40),
    st.floats(0.1, 5).map(lambda cap: round(cap, 2)),
)
def test_either_number_that_a_refusal_names_is_enough(
    phases: list[tuple[int, int]], have: int, cap: float
) -> None:
    rows = {"few": have, "many": 10**6, "more": 10**6}
    mixed = [
        (8 * count, {"few": p / 10_000, "many": (9_999 - p) / 10_000, "more": 0.0001})
        for count, p in phases
    ]
    try:
        make(mixed, rows, cap)
    except RecipeError as error:
        message = str(error)
    else:
        assume(False)
    numbers = re.search(r"to ([\d.e+]+), or lower its ratio to (.*)$", message)
    assert numbers
    assert make(mixed, rows, float(numbers[1])).drawn["few"] > have * cap
    lower = [float(ratio) for ratio in numbers[2].split(" / ")]
    lowered = [
        (tokens, rescale_ratios(ratios, "few", ratio))
        for (tokens, ratios), ratio in zip(mixed, lower, strict=True)
    ]
    assert make(lowered, rows, cap).drawn.get("few", 0) <= have * cap


def test_a_source_may_have_its_own_cap() -> None:
    phases = [(8 * 100, {"a": 0.5, "b": 0.5})]
    rows = {"a": 20, "b": 20}
    assert make(phases, rows, 2.5).drawn == {"a": 50, "b": 50}
    assert make(phases, rows, 1, own={"a": 3, "b": 2.5}).drawn == {"a": 50, "b": 50}
    with pytest.raises(RecipeError, match=r"raise mixture\.sources\.b\.max_repetition to 2\.5,"):
        make(phases, rows, 4, own={"b": 1})


def test_a_cap_is_met_exactly() -> None:
    """In floats 100 * 0.57 is less than 57."""
    rows = {"a": 100, "b": 100}
    assert make([(8 * 76, {"a": 0.75, "b": 0.25})], rows, 0.57).drawn["a"] == 57


def test_another_plan_is_refused_with_the_keys_that_differ() -> None:
    made = make([(8 * 100, {"a": 0.5, "b": 0.5})], {"a": 50, "b": 50})
    made.require_same(made.identity, "step-10")
    other = make([(8 * 100, {"a": 0.75, "b": 0.25})], {"a": 49, "b": 50})
    assert other.fingerprint != made.fingerprint
    with pytest.raises(CheckpointError, match="step-10 belongs to another mixture plan") as caught:
        other.require_same(made.identity, "step-10")
    assert "phases.0.weights.a: 1 -> 3" in str(caught.value)
    assert "rows.a: 50 -> 49" in str(caught.value)
    assert "rows.b" not in str(caught.value)


def test_the_printed_plan_says_what_is_drawn_how_often() -> None:
    made = make([(8 * 80, {"a": 0.75, "b": 0.25}), (8 * 20, {"a": 1.0})], {"a": 50, "b": 40})
    console = Console(width=120)
    with console.capture() as capture:
        console.print(plan_table(made, {"a": 4, "b": 0}))
    shown = [line.split() for line in capture.get().splitlines()]
    assert ["a", "50", "80", "640", "80.00%", "1.600", "1.00%"] in shown
    assert ["b", "40", "20", "160", "20.00%", "0.500", "0.00%"] in shown
    assert "phase 1: 80 rows of a 0.75, b 0.25; phase 2: 20 rows of a 1" in capture.get()


def test_the_printed_plan_names_its_sources_whole_in_eighty_columns() -> None:
    made = make([(8 * 80, {"synthetic_as_docs": 1.0})], {"synthetic_as_docs": 123_456_789})
    console = Console(width=80)
    with console.capture() as capture:
        console.print(plan_table(made, {}))
    assert any(
        line.split()[:3] == ["synthetic_as_docs", "123,456,789", "80"]
        for line in capture.get().splitlines()
    )


def test_empty_source_is_refused_only_when_drawn_from() -> None:
    assert make([(64, {"a": 1.0, "b": 0.0})], {"a": 8, "b": 0}).drawn == {"a": 8}
    with pytest.raises(DataError, match="b is empty"):
        make([(64, {"a": 0.5, "b": 0.5})], {"a": 8, "b": 0})


@pytest.mark.parametrize("tokens", [(64, 7, 64), (64, 24), (7, 64)])
def test_a_phase_without_a_row_is_refused(tokens: tuple[int, ...]) -> None:
    """Rows of 8 tokens, batches of 4 rows: too short for a row, or cut off with the last batch."""
    short = tokens.index(min(tokens))
    with pytest.raises(RecipeError, match=rf"mixture\.phases\[{short}\] draws no row.*\n.*to 32"):
        make([(count, {"a": 1.0}) for count in tokens], {"a": 100})


def recipe_of(sources: dict[str, Path], ratios: dict[str, float], **caps: float) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "x",
            "model": {"path": "m"},
            "mixture": {
                "sources": {
                    name: {"path": str(path), "max_repetition": caps.get(name)}
                    for name, path in sources.items()
                },
                "phases": [{"tokens": 8 * 80, "ratios": ratios}],
                "max_repetition": 3,
            },
            "train": {"sequence_length": 8, "global_batch_tokens": 8, "lr": 0.1},
        }
    )


def test_one_text_in_several_sources_counts_together(tmp_path: Path) -> None:
    text = "".join(f'{{"text": "document {n}"}}\n' for n in range(50))
    for name in (
        "a.jsonl",
        "b.jsonl",
        "more/c.jsonl",
        "more/d.jsonl",
        "twice/e.jsonl",
        "twice/f.jsonl",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name if "d." in name else text)
    half, rows = {"a": 0.5, "b": 0.5}, {"a": 20, "b": 20}
    for other in ("b.jsonl", "more"):  # the same file, and a folder that holds it
        same = {"a": tmp_path / "a.jsonl", "b": tmp_path / other}
        with pytest.raises(RecipeError, match=r"a and b: the same files .* 2 times.* 4\.00 epochs"):
            check_repeats(recipe_of(same, half), rows)
        assert check_repeats(recipe_of(same, half, a=4), rows).total_rows == 80
        assert check_repeats(recipe_of(same, half), {"a": 20, "b": 40}).total_rows == 80
    with pytest.raises(RecipeError, match=r"b: the same files .* 2 times"):
        check_repeats(
            recipe_of({"a": tmp_path / "more/d.jsonl", "b": tmp_path / "twice"}, half), rows
        )
    other = {"a": tmp_path / "a.jsonl", "b": tmp_path / "more" / "d.jsonl"}
    assert check_repeats(recipe_of(other, half), rows).total_rows == 80
