"""Gradients in few numbers: a random projection that keeps products, of any number of parameters.

A count sketch (Charikar, Chen and Farach-Colton, 2002): each parameter adds to one of `WIDTH`
numbers, with a random sign. The product of two sketches is on average that of the gradients, with a
variance of at most 2 / WIDTH of their squared lengths, as of a dense matrix of signs (TRAK, Park
et al., arXiv:2303.14186), for one addition a parameter instead of WIDTH.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

WIDTH = 4096
_STEP = 4
"""Of the shifts: 1,024 of them keep the sums of rows small."""
_ROWS = 128
"""Of WIDTH parameters each, which are worked on at once: what fits into a cache."""


class GradientSketch:
    """The sketch of one gradient, to which one tensor after another is added."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self._sums = torch.zeros(WIDTH // _STEP, WIDTH, device=device)
        """By shift: a row of parameters is shifted as a whole, once all with this shift are in."""
        self._used: set[int] = set()

    def add(self, number: int, gradient: torch.Tensor) -> None:
        """`number`: of the parameter, which with each place in it decides sign and number."""
        flat = gradient.detach().flatten()
        rng = np.random.default_rng([WIDTH, number])
        for start in range(0, len(flat), _ROWS * WIDTH):
            part = flat[start : start + _ROWS * WIDTH].float()
            drawn = np.frombuffer(rng.bytes(-(-len(part) // 8)), np.uint8)
            bits = torch.from_numpy(np.unpackbits(drawn, count=len(part))).to(part.device)
            signed = bits.float().mul_(2).sub_(1).mul_(part)
            rows = -(-len(part) // WIDTH)
            padded = torch.nn.functional.pad(signed, (0, rows * WIDTH - len(part)))
            shifts = rng.integers(0, len(self._sums), rows)
            self._used.update(shifts.tolist())
            places = torch.from_numpy(shifts).to(part.device)
            self._sums.index_add_(0, places, padded.view(rows, WIDTH))

    def numbers(self) -> NDArray[np.float32]:
        """(WIDTH,)."""
        sums = self._sums.cpu().numpy()
        total = np.zeros(WIDTH)
        for shift in sorted(self._used):
            total += np.roll(sums[shift], shift * _STEP)
        return total.astype(np.float32)
