"""Checkpoints that are whole, verified and few.

Guarantees: a checkpoint gets its name only when every file is written and listed with its size
and sha256; a damaged one is refused by name, and an older one is used only on request; one of
another run, plan, ZeRO stage or offload is never loaded; the same number of processes and
micro-batch size continue bit for bit, others with losses that agree to 1e-5: where ZeRO shards,
another number of processes goes through DeepSpeed's universal checkpoint. One whose files ask to
run code is refused: a runs folder may come from somebody else.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from train.checkpoints.manifest import CheckpointManifest, RunState, seal_of
from train.checkpoints.unpickling import is_refusal, only_data, refusal, write_only_data
from train.checkpoints.unwritten import whole_or_told
from train.data.plan import MixturePlan
from tsqa.errors import CheckpointError, DataError, first_line
from tsqa.store.jsonl import write_json
from tsqa.store.own_files import read_own

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

logger = logging.getLogger(__name__)
MANIFEST = "checkpoint.json"
TAG = "state"
WHOLE = "mp_rank_00_model_states.pt"
"""Below the tag: the whole model and optimizer, where ZeRO shards nothing."""
_READERS = 4


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run, in one folder that all ranks see."""

    folder: Path
    plan: MixturePlan
    sharding: str
    """ZeRO stage and offload of this run."""
    run: str
    """Fingerprint of this training."""
    keep: int = 1
    """How many of the newest to keep."""
    keep_every: int | None = None
    """Keep multiples of this step too, also after the run."""
    older: bool = False
    """Pass over damaged checkpoints instead of stopping."""

    def save(
        self, accelerator: Accelerator, engine: DeepSpeedEngine, step: int, state: RunState
    ) -> None:
        """Write `step-N`; every rank must call this, with the same `state`."""
        final = self.folder / _name_of(step)
        temporary = final.with_suffix(".tmp")
        if accelerator.is_main_process:
            self.folder.mkdir(exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
        accelerator.wait_for_everyone()
        write_only_data()
        with whole_or_told(temporary, alone=accelerator.num_processes == 1):
            engine.save_checkpoint(str(temporary), tag=TAG, save_latest=False)
        accelerator.wait_for_everyone()
        files = _files_of_all(temporary)
        mine = files[accelerator.process_index :: accelerator.num_processes]
        listed = gather_object([(name, *_digest(temporary / name)) for name in mine])
        if accelerator.is_main_process:
            manifest: CheckpointManifest = {
                "step": step,
                "plan": self.plan.identity,
                "processes": accelerator.num_processes,
                "sharding": self.sharding,
                "state": state,
                "files": {name: {"bytes": size, "sha256": mark} for name, size, mark in listed},
            }
            write_json(temporary / MANIFEST, {**manifest, "seal": seal_of(manifest)})
            shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
            for old in [f for f in self.present() if not self._permanent(f)][self.keep :]:
                shutil.rmtree(old)
        accelerator.wait_for_everyone()

    def load(
        self, accelerator: Accelerator, engine: DeepSpeedEngine
    ) -> tuple[int, RunState | None]:
        """Restore the newest checkpoint on every rank; (0, None) if there is none."""
        # The first rank's error travels to all, which stop alike instead of waiting for it.
        found: list[tuple[CheckpointManifest, Path] | CheckpointError | None] = [None]
        if accelerator.is_main_process:
            for left in self.folder.glob("step-*.tmp"):
                shutil.rmtree(left)
            try:
                found = [self._prepare(accelerator.num_processes)]
            except CheckpointError as error:
                found = [error]
        broadcast_object_list(found)
        (result,) = found
        if isinstance(result, CheckpointError):
            raise result
        if result is None:
            return 0, None
        manifest, folder = result
        with only_data(str(folder)):
            if folder.suffix == ".universal":
                _load_universal(engine, folder)
            else:
                loaded, _ = engine.load_checkpoint(str(folder), tag=TAG)
                if loaded is None:  # DeepSpeed only logs it
                    raise CheckpointError(f"{folder}: DeepSpeed finds nothing to load in it")
        if folder.suffix == ".universal":
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                shutil.rmtree(folder)
        return manifest["step"], manifest["state"]

    def newest(self) -> CheckpointManifest | None:
        """Return the manifest of the checkpoint to continue from, if there is one."""
        for folder in self.present():
            try:
                manifest = verify(folder)
                if folder.name != _name_of(manifest["step"]):  # a copy elsewhere has any name
                    raise _damaged(folder, f"it is of step {manifest['step']:,}")
            except CheckpointError as error:
                if not self.older:
                    raise
                logger.warning("%s; passed over", error)
                continue
            self.plan.require_same(manifest["plan"], str(folder))
            if manifest["state"]["run"] != self.run:
                raise CheckpointError(
                    f"{folder} is of the training {manifest['state']['run']}, whose settings or "
                    f"inputs differ from those of {self.run}",
                    f"run the recipe that it is of, or delete {self.folder} to start afresh",
                )
            if manifest["sharding"] != self.sharding:
                raise CheckpointError(
                    f"{folder} was written with {manifest['sharding']}, this run has "
                    f"{self.sharding}",
                    f"set them back to continue, or delete {self.folder} to start afresh",
                )
            return manifest
        return None

    def present(self) -> list[Path]:
        """List the finished checkpoints, newest first."""
        return sorted(self.folder.glob("step-????????"), reverse=True)

    def finish(self) -> None:
        """Delete all but the permanent ones."""
        kept = [folder for folder in self.present() if self._permanent(folder)]
        if not kept:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        for path in self.folder.glob("step-*"):
            if path not in kept:
                shutil.rmtree(path)

    def _permanent(self, folder: Path) -> bool:
        return bool(self.keep_every) and int(folder.name[5:]) % (self.keep_every or 1) == 0

    def _prepare(self, processes: int) -> tuple[CheckpointManifest, Path] | None:
        """The newest manifest and the folder to load, converted if the process count differs."""
        manifest = self.newest()
        if manifest is None:
            return None
        folder = self.folder / _name_of(manifest["step"])
        if manifest["processes"] != processes:
            logger.warning(
                "%s was written by %d processes, this run has %d: losses continue to within 1e-5",
                folder, manifest["processes"], processes,
            )  # fmt: skip
            return manifest, convert(folder) if is_sharded(folder) else folder
        return manifest, folder


def verify(folder: Path) -> CheckpointManifest:
    """Check every file of a checkpoint; return its manifest, or raise CheckpointError."""
    try:
        manifest = read_own(folder / MANIFEST, CheckpointManifest)
        files = manifest["files"].items()
    except DataError as error:
        raise _damaged(folder, f"no readable {MANIFEST}: {first_line(error)}") from error
    # Of what the file holds: reading makes floats of whole numbers.
    if "seal" in manifest and manifest["seal"] != seal_of(
        json.loads((folder / MANIFEST).read_text("utf-8"))
    ):
        raise _damaged(folder, f"{MANIFEST} changed since it was written")
    for name, expected in files:
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size != expected["bytes"]:
            raise _damaged(folder, f"{name} has {size} bytes, expected {expected['bytes']}")
    with ThreadPoolExecutor(_READERS) as readers:
        found = readers.map(lambda name: _digest(folder / name, sync=False)[1], manifest["files"])
        for mark, (name, expected) in zip(found, files, strict=True):
            if mark != expected["sha256"]:
                raise _damaged(folder, f"the sha256 of {name} differs")
    return manifest


def _name_of(step: int) -> str:
    return f"step-{step:08d}"


def is_sharded(folder: Path) -> bool:
    """Whether processes hold parts of the optimizer; else (ZeRO 0 in fp32) each has it whole."""
    return any((folder / TAG).glob("*_optim_states.pt"))


def _damaged(folder: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{folder} is damaged: {reason}",
        "delete it, or set train.older_checkpoint=true, to continue from an older one",
    )


def convert(folder: Path) -> Path:
    """Convert a checkpoint to DeepSpeed's universal form; return the folder next to it."""
    target = folder.with_suffix(".universal")
    shutil.rmtree(target, ignore_errors=True)
    command = [
        *(sys.executable, "-m", "train.checkpoints.unpickling", "--inject_missing_state"),
        *("--input_folder", str(folder / TAG), "--output_folder", str(target / TAG)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(target, ignore_errors=True)
        if is_refusal(done.stderr):
            raise refusal(str(folder), done.stderr)
        raise CheckpointError(
            f"{folder}: DeepSpeed cannot convert it to its universal form:\n"
            f"    {done.stderr.strip()[-1000:]}",
            "continue with as many processes as wrote it",
        )
    return target


def _load_universal(engine: DeepSpeedEngine, folder: Path) -> None:
    """Load a converted checkpoint, and undo what DeepSpeed 0.19 gets wrong under ZeRO-3.

    There every group takes the first one's weight decay, and all share one step counter, which
    each of them would advance.
    """
    optimizer = engine.optimizer.optimizer
    decays = [group["weight_decay"] for group in optimizer.param_groups]
    # DeepSpeed takes this from the config of the whole run; here it holds for this load only.
    engine._config.load_universal_checkpoint = True
    engine.load_checkpoint(str(folder), tag=TAG)
    engine._config.load_universal_checkpoint = False
    for group, decay in zip(optimizer.param_groups, decays, strict=True):
        group["weight_decay"] = decay
    for state in optimizer.state.values():
        if torch.is_tensor(state.get("step")):
            state["step"] = state["step"].clone()


def _files_of_all(folder: Path) -> list[str]:
    """The files that all ranks wrote: a network file system may list another machine's later.

    CheckpointError on every rank where one does not see what another wrote.
    """
    here = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    names = sorted({*gather_object(here)})
    unseen: list[str] = gather_object([n for n in names if not (folder / n).is_file()])
    if unseen:
        raise CheckpointError(
            f"{folder}: {unseen[0]} was written, but not every machine sees it",
            "mount one shared folder on all machines; the same command continues from before",
        )
    return names


def _digest(path: Path, sync: bool = True) -> tuple[int, str]:
    with path.open("rb") as handle:
        if sync:
            os.fsync(handle.fileno())
        return path.stat().st_size, hashlib.file_digest(handle, "sha256").hexdigest()
