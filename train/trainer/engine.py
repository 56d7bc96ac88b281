"""accelerate + DeepSpeed set up from the recipe: on GPUs or on CPU (gloo), any process count."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator, DeepSpeedPlugin
from accelerate.utils import InitProcessGroupKwargs

from tsqa.errors import RecipeError
from tsqa.recipe import Recipe, TrainSection, check_divisible, needed

_ALONE = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "0",
}


def build_accelerator(recipe: Recipe) -> Accelerator:
    """Start the process group; without a launcher this process is the only one."""
    if "RANK" not in os.environ:
        os.environ.update(_ALONE)
    world = int(os.environ["WORLD_SIZE"])
    train = needed(recipe.train, "train")
    try:
        check_divisible(train, world, "the number of processes")
    except ValueError as error:
        raise RecipeError(str(error)) from error
    if not torch.cuda.is_available():
        _use_plain_gloo()
    if train.zero_stage == 0 and train.precision == "bf16":
        raise RecipeError(
            "train.zero_stage 0 with precision bf16 strays from fp32 (loss by 0.03 in 10 steps)",
            "set train.zero_stage to 1, which is the same on one process and exact",
        )
    # Without a GPU accelerate finds no backend, and each rank would run as if it were alone.
    handlers = [] if torch.cuda.is_available() else [InitProcessGroupKwargs(backend="gloo")]
    return Accelerator(
        deepspeed_plugin=DeepSpeedPlugin(hf_ds_config=deepspeed_config(recipe, world)),
        gradient_accumulation_steps=_accumulation_steps(train, world),
        kwargs_handlers=handlers,
    )


def _use_plain_gloo() -> None:
    """Keep DeepSpeed on CPU from compiling its shared-memory reduction (25 s at first use)."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    # Its first step imports Muon, which no recipe has: 4 s of each rank for torch's compiler.
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    from deepspeed import ops
    from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder

    ops.__compatible_ops__[ShareMemCommBuilder.NAME] = False


def _accumulation_steps(train: TrainSection, world: int) -> int:
    return train.global_batch_rows // (train.micro_batch_size * world)


def deepspeed_config(recipe: Recipe, world: int) -> dict[str, object]:
    """Translate the recipe's `train` section for DeepSpeed."""
    train = needed(recipe.train, "train")
    zero: dict[str, object] = {
        "stage": train.zero_stage,
        "overlap_comm": torch.cuda.is_available(),
        # Against fragments of GPU memory; on CPU the copies cost 5% of a small model's step.
        "contiguous_gradients": torch.cuda.is_available() or train.zero_stage == 3,
        "stage3_gather_16bit_weights_on_model_save": True,
    }
    if train.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
    if train.offload == "parameters":
        zero["offload_param"] = {"device": "cpu"}
    config: dict[str, object] = {
        "train_micro_batch_size_per_gpu": train.micro_batch_size,
        "gradient_accumulation_steps": _accumulation_steps(train, world),
        "gradient_clipping": train.clip,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": train.precision == "bf16"},
        # DeepSpeed would add up a bf16 run's gradients in bf16, over micro-batches and over ranks:
        # of many ranks the last would hardly count.
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "steps_per_print": 1_000_000_000,
    }
    if train.offload != "none":
        # torch's AdamW steps on the CPU; DeepSpeed's own would be compiled first.
        config["zero_force_ds_cpu_optimizer"] = False
    return config
