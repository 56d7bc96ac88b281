"""Checkpoints that are whole, verified and few.

Promises: a checkpoint appears under its name only when every file is written and listed with its
size and sha256; a damaged one is refused by name and the one before it is used; one of another
plan or another number of processes is never loaded.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from tsqa.artifact import write_json
from tsqa.errors import CheckpointError

logger = logging.getLogger("train.checkpoint")
MANIFEST = "checkpoint.json"
_TAG = "state"


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run, below one folder, that all ranks see."""

    folder: Path
    plan: str
    """Fingerprint of the mixture plan."""
    keep: int

    def save(
        self, accelerator: Accelerator, engine: Any, step: int, state: Mapping[str, Any]
    ) -> None:
        """Write `step-N`; every rank must call this. `state` is JSON and equal on all ranks."""
        final = self.folder / f"step-{step:08d}"
        temporary = final.with_suffix(".tmp")
        if accelerator.is_main_process:
            self.folder.mkdir(exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
        accelerator.wait_for_everyone()
        engine.save_checkpoint(str(temporary), tag=_TAG, save_latest=False)
        accelerator.wait_for_everyone()
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        mine = files[accelerator.process_index :: accelerator.num_processes]
        listed = gather_object([(str(f.relative_to(temporary)), *_digest(f)) for f in mine])
        if accelerator.is_main_process:
            manifest = {
                "step": step,
                "plan": self.plan,
                "processes": accelerator.num_processes,
                "state": dict(state),
                "files": {name: {"bytes": size, "sha256": mark} for name, size, mark in listed},
            }
            write_json(temporary / MANIFEST, manifest)
            shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
            for old in self._present()[self.keep :]:
                shutil.rmtree(old)
        accelerator.wait_for_everyone()

    def load(self, accelerator: Accelerator, engine: Any) -> tuple[int, dict[str, Any]]:
        """Restore the newest whole checkpoint on every rank; (0, {}) where there is none."""
        found: list[Any] = [None]
        if accelerator.is_main_process:
            try:
                found = [self._newest(accelerator.num_processes)]
            except CheckpointError as error:
                found = [error]
        broadcast_object_list(found)
        if isinstance(found[0], CheckpointError):
            raise found[0]
        if found[0] is None:
            return 0, {}
        manifest: dict[str, Any] = found[0]
        folder = self.folder / f"step-{manifest['step']:08d}"
        engine.load_checkpoint(str(folder), tag=_TAG)
        return int(manifest["step"]), manifest["state"]

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _present(self) -> list[Path]:
        """Checkpoints with a final name, newest first."""
        return sorted(self.folder.glob("step-????????"), reverse=True)

    def _newest(self, processes: int) -> dict[str, Any] | None:
        for folder in self._present():
            try:
                manifest = verify(folder)
            except CheckpointError as error:
                logger.warning("%s", error)
                continue
            if manifest["plan"] != self.plan:
                raise CheckpointError(
                    f"{folder} belongs to the plan {manifest['plan']}, not {self.plan}",
                    f"delete {self.folder} to train from the start",
                )
            if manifest["processes"] != processes:
                raise CheckpointError(
                    f"{folder} was written by {manifest['processes']} processes, this run has "
                    f"{processes}",
                    f"launch {manifest['processes']} processes, or delete {self.folder} to train "
                    "from the start",
                )
            return manifest
        return None


def verify(folder: Path) -> dict[str, Any]:
    """Return the manifest of a checkpoint whose files are all as written; else CheckpointError."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"].items()
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder}: no readable {MANIFEST}: {error}; passed over") from error
    for name, expected in files:
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size != expected["bytes"]:
            raise CheckpointError(
                f"{path}: {size} bytes, expected {expected['bytes']}; {folder.name} is damaged and "
                "passed over"
            )
        if _digest(path, sync=False)[1] != expected["sha256"]:
            raise CheckpointError(
                f"{path}: its sha256 differs; {folder.name} is damaged and passed over"
            )
    return manifest


def _digest(path: Path, sync: bool = True) -> tuple[int, str]:
    with path.open("rb") as handle:
        if sync:
            os.fsync(handle.fileno())
        return path.stat().st_size, hashlib.file_digest(handle, "sha256").hexdigest()
