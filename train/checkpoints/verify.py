"""Checks that an exported model is the trained one wherever it is loaded.

Guarantees: `verify_export` returns only if transformers finds every tensor, with its shape and
type, and writes back the same values, and if vLLM gives the same log-probabilities in float32.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from train.checkpoints.checkpoint import MANIFEST
from train.checkpoints.export import export_checkpoint
from tsqa.errors import CheckpointError, EngineError, UsageError
from tsqa.hub.model_folder import check_files, keep_savable, refuse_differences
from tsqa.store.process import VLLM, child_environment

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOLERANCE = 1e-3
"""Nats by which two engines may differ on the log-probability of a token, both in float32."""
_PROMPTS, _LENGTH = 4, 48


@dataclass(frozen=True)
class ExportReport:
    """The figures of a faithful export."""

    tensors: int
    dtypes: dict[str, int]
    """Number of tensors by type."""
    rounded: tuple[str, ...]
    """Tensors in float32 that transformers casts to the model's type on loading."""
    scored_tokens: int
    """Tokens that both engines scored; 0 without vLLM."""
    largest_difference: float
    """Between log-probabilities, in nats."""


def verify_export(path: Path, with_vllm: bool = True) -> ExportReport:
    """Check a Hugging Face folder, a train artifact, or a checkpoint (which is exported first).

    Raises CheckpointError, which names the missing or changed tensors or a difference beyond
    `TOLERANCE`, and EngineError with vLLM's last lines if it cannot serve the model.
    """
    with tempfile.TemporaryDirectory(prefix="verify-export-") as scratch:
        folder = _exported(path, Path(scratch) / "hf")
        before = _tensors(folder)
        loaded = _load(folder, "auto")
        keep_savable(loaded)
        loaded.save_pretrained(Path(scratch) / "again")
        rounded = _compare(before, _tensors(Path(scratch) / "again"), folder)
        scored, difference = 0, 0.0
        if with_vllm:
            model = _load(folder, torch.float32).eval()
            prompts = _prompts(model.config.vocab_size)
            ours = _score(model, prompts)
            theirs = _score_with_vllm(folder, prompts, Path(scratch))
            scored, difference = ours.numel(), float((ours - theirs).abs().max())
            if not difference <= TOLERANCE:
                raise CheckpointError(
                    f"{folder}: vLLM and transformers differ by {difference:.3g} nats on a token, "
                    f"more than {TOLERANCE:g}",
                    "do not trust scores of this export before the engines agree",
                )
    dtypes = Counter(str(value.dtype).removeprefix("torch.") for value in before.values())
    return ExportReport(len(before), dict(dtypes), tuple(rounded), scored, difference)


def _exported(path: Path, target: Path) -> Path:
    """The Hugging Face folder of a path; a checkpoint is exported to `target` first."""
    if (path / MANIFEST).is_file():
        export_checkpoint(path, target)
        return target
    for folder in (path, path / "hf"):
        if (folder / "config.json").is_file():
            return folder
    raise UsageError(
        f"{path}: neither a Hugging Face folder nor a checkpoint",
        f"give a folder that holds config.json or {MANIFEST}",
    )


def _load(folder: Path, dtype: torch.dtype | Literal["auto"]) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    check_files(folder, "PATH")
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # reported by name below
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder}: transformers cannot load it: {error}") from error
    refuse_differences(found, f"PATH = {folder}")
    return model


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return {
        name: value
        for file in sorted(folder.glob("*.safetensors"))
        for name, value in load_file(file).items()
    }


def _compare(
    before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], folder: Path
) -> list[str]:
    """Raise CheckpointError at the first changed tensor; return those that were only rounded."""
    rounded = []
    for name in sorted({*before, *after}):
        if name not in before or name not in after:
            where = "appears" if name in after else "is lost"
            raise CheckpointError(f"{folder}: {name} {where} when transformers saves it again")
        one, other = before[name], after[name]
        if one.dtype == torch.float32 and other.dtype == torch.bfloat16:
            rounded.append(name)
            one = one.to(other.dtype)
        if one.dtype != other.dtype or not torch.equal(one, other):
            raise CheckpointError(
                f"{folder}: {name}, {one.dtype} {tuple(one.shape)}, comes back from transformers "
                f"as {other.dtype} {tuple(other.shape)} with other values or form"
            )
    return rounded


def _prompts(vocab_size: int) -> torch.Tensor:
    """Token ids that do not depend on the tokenizer: (prompts, length)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, vocab_size, (_PROMPTS, _LENGTH), generator=generator)


@torch.no_grad()
def _score(model: PreTrainedModel, prompts: torch.Tensor) -> torch.Tensor:
    """Log-probability of each token but the first: (prompts, length - 1)."""
    logits = model(prompts, use_cache=False).logits.float()
    scores: torch.Tensor = logits.log_softmax(-1)[:, :-1].gather(2, prompts[:, 1:, None])[..., 0]
    return scores


def _score_with_vllm(folder: Path, prompts: torch.Tensor, scratch: Path) -> torch.Tensor:
    """The same by vLLM, in another process."""
    asked, answered = scratch / "prompts.json", scratch / "scores.json"
    asked.write_text(json.dumps(prompts.tolist()), encoding="utf-8")
    cache = {"VLLM_CPU_KVCACHE_SPACE": os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1")}
    command = [
        sys.executable,
        "-m",
        "train.checkpoints.score",
        str(folder),
        str(asked),
        str(answered),
    ]
    done = subprocess.run(
        command,
        env=child_environment(VLLM, cache),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if not answered.is_file():
        shown = "\n    ".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise EngineError(f"{folder}: vLLM cannot serve it; its last lines:\n    {shown}")
    return torch.tensor(json.loads(answered.read_text(encoding="utf-8")))
