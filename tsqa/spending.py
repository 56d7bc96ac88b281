"""What a command has spent, and the limit that `--max-dollars` sets.

Guarantees: what an earlier command paid for is not counted again; nothing is begun that could pass
the limit, and what was paid for is on disk when a stage stops, so that a rerun continues.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tsqa.errors import TsqaError

_GPU = Path("/dev/nvidia0")


def has_gpu() -> bool:
    """Whether this machine has one, without the seconds that torch takes to say so."""
    return _GPU.exists()


class SpentError(TsqaError):
    """The limit of dollars is reached."""

    def __init__(self, spending: Spending, stopped: str) -> None:
        self.stopped = stopped
        super().__init__(
            f"--max-dollars {spending.limit:,.2f}: ${spending.dollars:,.2f} are spent, and "
            f"{stopped} could pass the limit",
            "run the same command again to continue, with another limit; what is finished is kept",
        )


@dataclass
class Spending:
    """Dollars of one command; without a limit it only counts."""

    limit: float | None = None
    dollars: float = 0.0

    def add(self, dollars: float) -> None:
        self.dollars += dollars

    def share(self, among: int) -> float | None:
        """An equal part of what is left; None without a limit."""
        return None if self.limit is None else max(0.0, self.limit - self.dollars) / among

    def affords(self, dollars: float) -> bool:
        """Whether that much more stays within the limit."""
        return self.limit is None or self.dollars + dollars <= self.limit
