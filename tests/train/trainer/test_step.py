"""What is random in a step."""

from __future__ import annotations

import torch

from train.trainer.step import noise_seed


def test_every_seed_step_and_rank_has_its_own_noise_whatever_seed_a_recipe_may_have() -> None:
    asked = [(seed, step, rank) for seed in (0, 1, 20261130, 2**32 - 1)
             for step in (0, 1, 10**6) for rank in (0, 1)]  # fmt: skip
    drawn = set()
    with torch.random.fork_rng(devices=[]):
        for one in asked:
            torch.manual_seed(noise_seed(*one))
            drawn.add(float(torch.rand(1, dtype=torch.float64)))
    assert len(drawn) == len(asked)
