"""Gradients in few numbers: a random projection that keeps products, of any number of parameters.

A count sketch (Charikar, Chen and Farach-Colton, 2002): each parameter adds to one of `WIDTH`
numbers, with a random sign. The product of two sketches is on average that of the gradients, with a
variance of at most 2 / WIDTH of their squared lengths, as of a dense matrix of signs (TRAK, Park
et al., arXiv:2303.14186), for one addition a parameter instead of WIDTH.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTH = 4096
_ROWS = 128
"""Of WIDTH parameters each, which are worked on at once: what fits into a cache."""


class GradientSketch:
    """The sketch of one gradient, to which one tensor after another is added; on one core, as
    threads would wait for each other after every block."""

    def __init__(self) -> None:
        self.numbers: NDArray[np.float32] = np.zeros(WIDTH, np.float32)

    def add(self, number: int, gradient: NDArray[np.float32]) -> None:
        """`number`: of the parameter, which with each place in it decides sign and number.

        WIDTH neighbours go to WIDTH numbers, in their order from a random one on.
        """
        flat = gradient.reshape(-1)
        rng = np.random.default_rng([WIDTH, number])
        for start in range(0, len(flat), _ROWS * WIDTH):
            part = flat[start : start + _ROWS * WIDTH]
            drawn = np.frombuffer(rng.bytes(-(-len(part) // 8)), np.uint8)
            signs = np.unpackbits(drawn, count=len(part)).astype(np.float32) * 2 - 1
            signed = part * signs
            shifts = rng.integers(0, WIDTH, -(-len(part) // WIDTH))
            for row, shift in enumerate(shifts.tolist()):
                values = signed[row * WIDTH : (row + 1) * WIDTH]
                before = min(WIDTH - shift, len(values))
                self.numbers[shift : shift + before] += values[:before]
                self.numbers[: len(values) - before] += values[before:]
