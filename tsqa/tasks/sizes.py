"""How many documents a split has, without a network: counted, as recorded, or unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import yaml


@dataclass(frozen=True)
class RecordedSizes:
    """sizes.yaml."""

    recorded: date
    datasets: dict[str, dict[str, int]]
    """`id subset`, or `id` -> split -> documents."""


@cache
def recorded_sizes() -> RecordedSizes:
    text = Path(__file__).with_name("sizes.yaml").read_text(encoding="utf-8")
    return RecordedSizes(**yaml.safe_load(text))


def known_documents(config: Mapping[str, object], split: str | None) -> int | None:
    """Documents of a task's split: of its local files, or of its dataset as recorded.

    None: unknown. A task may score fewer, where its own code drops some.
    """
    from tsqa.tasks.identity import count_documents

    named = [str(config[key]) for key in ("dataset_path", "dataset_name") if config.get(key)]
    recorded = recorded_sizes().datasets.get(" ".join(named), {})
    counted = count_documents(config, split)
    return recorded.get(str(split)) if counted is None else counted
