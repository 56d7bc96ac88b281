"""What `checkpoint.json` holds: the run's state, and the size and hash of every file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NotRequired

from pydantic import NonNegativeInt, PositiveInt
from typing_extensions import TypedDict

from train.model.moe import RouterState
from tsqa.store.digests import hash_bytes


class FileMark(TypedDict):
    """A file as it was written."""

    bytes: NonNegativeInt
    sha256: str


class LossState(TypedDict):
    """Running sums of the losses; lists hold one entry per source."""

    window: list[list[float]]
    """Losses and tokens since the last log line."""
    tail: list[list[float]]
    """Losses and tokens over the last steps of the run."""
    valid: list[float]
    padding: list[float]
    mean: float | None


class RunState(TypedDict):
    """What a run needs to continue, in addition to DeepSpeed's files; equal on all ranks."""

    books: LossState
    routers: RouterState
    seconds: float
    seed: int
    run: str
    fp32: list[str]
    """Names of the parameters that a bf16 run keeps in fp32."""


class CheckpointManifest(TypedDict):
    """`checkpoint.json`."""

    step: NonNegativeInt
    plan: dict[str, object]
    processes: PositiveInt
    sharding: str
    """ZeRO stage and offload: DeepSpeed's files are laid out by them."""
    state: RunState
    files: dict[str, FileMark]
    seal: NotRequired[str]
    """Hash of everything else; checkpoints of before there was one have none."""


def seal_of(manifest: Mapping[str, object]) -> str:
    """The hash of a manifest without its seal, as it is written or read: as plain JSON."""
    rest = {key: value for key, value in manifest.items() if key != "seal"}
    return hash_bytes(json.dumps(rest, sort_keys=True).encode())
