"""The learning rate in closed form."""

from __future__ import annotations

import pytest

from train.schedule import learning_rate
from tsqa.recipe import ScheduleSection, TrainSection


def train(**schedule: object) -> TrainSection:
    return TrainSection(
        sequence_length=8,
        global_batch_tokens=8,
        lr=2.0,
        schedule=ScheduleSection.model_validate(schedule),
    )


def test_wsd_rises_holds_and_falls_to_its_floor() -> None:
    section = train(kind="wsd", warmup=0.1, decay=0.2, min_lr_ratio=0.1)
    rates = [learning_rate(section, step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(2.0 * 0.0005 / 0.1)
    assert all(rate == 2.0 for rate in rates[100:800])
    assert rates[900] == pytest.approx(2.0 * (1 - 0.9 * 0.5025))
    assert rates[-1] == pytest.approx(0.2, rel=0.03)
    assert rates[800:] == sorted(rates[800:], reverse=True)


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_smooth_kinds_are_halfway_down_at_half_of_the_decay(kind: str) -> None:
    section = train(kind=kind, warmup=0.0, min_lr_ratio=0.0)
    assert learning_rate(section, 50, 101) == pytest.approx(1.0)


def test_constant_stays() -> None:
    section = train(kind="constant", warmup=0.0)
    assert {learning_rate(section, step, 10) for step in range(10)} == {2.0}


@pytest.mark.parametrize("kind", ["wsd", "cosine", "linear", "constant"])
def test_no_warmup_and_no_decay_do_not_divide_by_zero(kind: str) -> None:
    assert 0 < learning_rate(train(kind=kind, warmup=0, decay=0), 0, 1) <= 2.0
