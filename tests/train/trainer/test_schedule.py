"""Batch sizes and learning rate in closed form."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.trainer.schedule import BatchSchedule, batch_schedule, learning_rate
from tsqa.recipe import ScheduleSection, TrainSection


def train(ramp: list[dict[str, Any]] | None = None, batch: int = 8, **schedule: Any) -> Any:
    return TrainSection.model_validate(
        {
            "sequence_length": 8,
            "global_batch_tokens": batch * 8,
            "lr": 2.0,
            "batch_ramp": ramp or [],
            "schedule": ScheduleSection.model_validate(schedule),
        }
    )


def rates(section: TrainSection, steps: int) -> list[float]:
    return [learning_rate(section, range(step, step + 1), steps) for step in range(steps)]


def test_wsd_rises_holds_and_falls_to_its_floor() -> None:
    found = rates(train(kind="wsd", warmup=0.1, decay=0.2, min_lr_ratio=0.1), 1000)
    assert found[0] == pytest.approx(2.0 * 0.0005 / 0.1)
    assert all(rate == 2.0 for rate in found[100:800])
    assert found[900] == pytest.approx(2.0 * (1 - 0.9 * 0.5025))
    assert found[-1] == pytest.approx(0.2, rel=0.03)
    assert found[800:] == sorted(found[800:], reverse=True)


def test_a_decay_by_the_square_root_is_fast_at_first_and_ends_where_the_linear_one_does() -> None:
    plain = rates(train(kind="wsd", warmup=0.1, decay=0.2, min_lr_ratio=0.1), 1000)
    falling = train(kind="wsd", warmup=0.1, decay=0.2, min_lr_ratio=0.1, decay_shape="sqrt")
    found = rates(falling, 1000)
    assert found[:800] == plain[:800]
    assert found[850] == pytest.approx(2.0 * (1 - 0.9 * 0.2525**0.5))
    assert found[-1] == pytest.approx(plain[-1], rel=0.03)
    assert all(one < other for one, other in zip(found[800:], plain[800:], strict=True))
    with pytest.raises(ValueError, match="`decay_shape` is of kind: wsd, and kind is cosine"):
        train(kind="cosine", decay_shape="sqrt")


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_smooth_kinds_are_halfway_down_at_half_of_the_decay(kind: str) -> None:
    section = train(kind=kind, warmup=0.0, min_lr_ratio=0.0)
    assert rates(section, 101)[50] == pytest.approx(1.0)


def test_constant_stays() -> None:
    assert set(rates(train(kind="constant", warmup=0.0), 10)) == {2.0}


@pytest.mark.parametrize("kind", ["wsd", "cosine", "linear", "constant"])
def test_no_warmup_and_no_decay_do_not_divide_by_zero(kind: str) -> None:
    assert 0 < rates(train(kind=kind, warmup=0, decay=0), 1)[0] <= 2.0


@pytest.mark.parametrize("kind", ["wsd", "cosine", "linear", "constant"])
def test_a_continued_run_warms_up_again_from_where_its_decay_ended(kind: str) -> None:
    found = rates(train(kind=kind, warmup=0.5, decay=0.2, start_lr_ratio=0.1), 1000)
    assert found[0] == pytest.approx(0.2, rel=0.02)
    assert found[250] == pytest.approx(2.0 * 0.55, rel=0.01)
    assert found[499] == pytest.approx(2.0, rel=0.01)
    assert found[:500] == sorted(found[:500])


@given(rows=st.integers(1, 10_000), steps=st.integers(1, 1000), data=st.data())
def test_the_rate_is_that_of_the_tokens_however_they_are_batched(
    rows: int, steps: int, data: st.DataObject
) -> None:
    section = train(kind="wsd", warmup=0.1, decay=0.3, min_lr_ratio=0.05)
    step = data.draw(st.integers(0, steps - 1))
    batch = range(step * rows, (step + 1) * rows)
    whole = learning_rate(section, batch, steps * rows)
    assert whole == learning_rate(section, range(step, step + 1), steps)


def test_without_a_ramp_every_batch_is_the_full_one() -> None:
    assert batch_schedule(train(), 80) == BatchSchedule((80,), (8,))


ramps = st.lists(
    st.tuples(st.floats(0.001, 1.0), st.sampled_from([1, 2, 4, 8])),
    max_size=4,
    unique_by=lambda stage: stage[0],
).map(sorted)


@given(ramp=ramps, full_batches=st.integers(1, 300))
def test_ramped_batches_take_every_row_once_and_grow_as_asked(
    ramp: list[tuple[float, int]], full_batches: int
) -> None:
    section = train([{"until": u, "global_batch_tokens": b * 8} for u, b in ramp])
    schedule = batch_schedule(section, full_batches * 8)
    batches = [schedule.batch(step) for step in range(schedule.steps)]
    assert [k for batch in batches for k in batch] == list(range(full_batches * 8))
    begins = [0.0, *(until for until, _ in ramp)]
    for begin, (until, size) in zip(begins, [*ramp, (1.0, 8)], strict=True):
        # A stretch begins with the first whole full batch at or after its share.
        sure = (begin + 1 / full_batches if begin else 0, until)
        for batch in batches:
            if sure[0] <= batch.start / schedule.total_rows < sure[1]:
                assert len(batch) == size
    with pytest.raises(IndexError):
        schedule.batch(schedule.steps)


@pytest.mark.parametrize(
    ("ramp", "problem"),
    [
        ([{"until": 0.5, "global_batch_tokens": 24}], "must divide"),
        ([{"until": 0.0, "global_batch_tokens": 8}], "must exceed"),
        (
            [
                {"until": 0.5, "global_batch_tokens": 8},
                {"until": 0.2, "global_batch_tokens": 16},
            ],
            "must exceed 0.5",
        ),
        ([{"until": 0.5, "global_batch_tokens": 4}], "cannot be divided"),
    ],
)
def test_a_ramp_that_cannot_be_is_refused(ramp: list[dict[str, Any]], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        train(ramp)
