"""The mean of several exports of one run: one more model, in the place of the last of them.

Guarantees: means are taken in float32, tensor by tensor, and written in the type of the export;
exports that differ in tensors, shapes or types are refused, as is a mean that is not finite; the
same exports give the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from train.checkpoints.unwritten import whole_or_told
from tsqa.errors import CheckpointError

_FILES = "*.safetensors"


def average_exports(earlier: Sequence[Path], last: Path) -> None:
    """Replace the weights of `last` by the mean of all."""
    homes = [_home_of_tensors(folder) for folder in (*earlier, last)]
    for folder, home in zip(earlier, homes, strict=False):
        if odd := home.keys() ^ homes[-1].keys():
            raise CheckpointError(f"{folder}: other tensors than {last}: {sorted(odd)[0]}")
    made = last.with_name(f"{last.name}.tmp")
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(last, made, ignore=shutil.ignore_patterns(_FILES))
    for file in sorted(last.glob(_FILES)):
        with safe_open(file, "pt") as opened:
            names, about = list(opened.keys()), opened.metadata()
        tensors = {name: _mean(name, [home[name] for home in homes]) for name in names}
        with whole_or_told(made):
            save_file(tensors, made / file.name, about)
    shutil.rmtree(last)
    made.rename(last)


def _home_of_tensors(folder: Path) -> dict[str, Path]:
    """Tensor -> the file that holds it."""
    found = {}
    for file in sorted(folder.glob(_FILES)):
        with safe_open(file, "pt") as opened:
            found.update(dict.fromkeys(opened.keys(), file))
    if not found:
        raise CheckpointError(f"{folder}: no weights to average", "train again")
    return found


def _mean(name: str, files: Sequence[Path]) -> torch.Tensor:
    first: torch.Tensor | None = None
    total: torch.Tensor | None = None
    for file in files:
        with safe_open(file, "pt") as opened:
            one: torch.Tensor = opened.get_tensor(name)
        if first is None or total is None:
            first, total = one, one.float()
        elif (one.shape, one.dtype) != (first.shape, first.dtype):
            raise CheckpointError(
                f"{file}: {name} is {one.dtype} {list(one.shape)}, in {files[0]} {first.dtype} "
                f"{list(first.shape)}"
            )
        elif one.is_floating_point():
            total += one.float()
        elif not torch.equal(one, first):
            raise CheckpointError(f"{file}: {name} is {one.dtype}, of which there is no mean")
    assert first is not None and total is not None
    if not first.is_floating_point():
        return first
    mean = total / len(files)
    if not torch.isfinite(mean).all():
        raise CheckpointError(f"{files[-1]}: the mean of {name} is not finite", "check the loss")
    return mean.to(first.dtype)
