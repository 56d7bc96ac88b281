"""Training speed on one device: dense and hybrid, about 1B parameters, sequence 4096 and 8192.

    python -m tests.benchmarks.gpu_train [--model dense hybrid] [--length 4096 8192] [--small]
        [--vocabulary 131072] [--chunk 2048]

bf16, ZeRO-1, fp32 master weights and gradient accumulation, documents isolated, AdamW; MFU against
--peak (989 TFLOP/s: dense bf16 of an H100 or H200) by the formulas of `train.model.flops`. Printed:
median tokens/s and MFU after the first steps, the wait for data, peak memory, versions.
`--small` runs the same on any machine with a small model in a minute, so that this cannot rot.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from tests.benchmarks.peers import in_fresh_process
from tests.benchmarks.student import DENSE_SMALL, HYBRID_SMALL, student
from train.data.mixture import plan
from train.data.stream import TokenStore
from train.data.token_files import token_folders
from tsqa.recipe import needed

DENSE_1B = {
    "model_type": "nemotron",
    "vocab_size": 32768,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 20,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
}
HYBRID_1B = {
    "model_type": "nemotron_h",
    "vocab_size": 32768,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "layers_block_type": [
        *["linear_attention", "mlp"] * 5, "full_attention", "mlp",
        *["linear_attention", "mlp"] * 5, "full_attention", "mlp",
        *["linear_attention", "mlp"] * 4,
    ],
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "mamba_num_heads": 64,
    "mamba_head_dim": 64,
    "ssm_state_size": 128,
    "n_groups": 8,
    "chunk_size": 128,
}  # fmt: skip
MODELS = {"dense": (DENSE_1B, DENSE_SMALL), "hybrid": (HYBRID_1B, HYBRID_SMALL)}
PACKAGES = ("torch", "transformers", "deepspeed", "accelerate", "mamba-ssm", "causal-conv1d")
WARMUP = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", choices=[*MODELS], default=[*MODELS])
    parser.add_argument("--length", nargs="+", type=int, default=[4096, 8192])
    parser.add_argument("--rows", type=int, default=8, help="of the global batch")
    parser.add_argument("--micro", type=int, default=1, help="rows of a forward pass")
    parser.add_argument("--steps", type=int, default=20, help=f"measured, after {WARMUP} others")
    parser.add_argument("--peak", type=float, default=989.0, help="TFLOP/s of the device")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--attention", help="train.attention")
    parser.add_argument("--chunk", type=int, help="train.loss_chunk")
    parser.add_argument("--vocabulary", type=int, help="tokens, instead of the model's own")
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    table = Table(title=_device())
    for column in ("model", "parameters", "length", "tokens/s", "MFU", "data wait", "memory GiB"):
        table.add_column(column, justify="right")
    for name in arguments.model:
        for length in arguments.length:
            model = dict(MODELS[name][arguments.small])
            if arguments.vocabulary:
                model["vocab_size"] = arguments.vocabulary
            train = {
                "micro_batch_size": arguments.micro, "peak_tflops": arguments.peak,
                "gradient_checkpointing": arguments.checkpointing,
                "attention": arguments.attention, "loss_chunk": arguments.chunk,
            }  # fmt: skip
            # A process has one Accelerator, and one peak of memory.
            asked = (model, length, arguments.rows, arguments.steps)
            found = in_fresh_process(measure, *asked, **train)
            table.add_row(
                name, f"{found['parameters']:,}", str(length), f"{found['tokens_per_second']:,.0f}",
                f"{found['mfu']:.2%}", f"{found['data_loading_share']:.2%}", f"{found['gib']:.2f}",
            )  # fmt: skip
    console = Console(width=110)
    console.print(table)
    console.print(f"steps {WARMUP + 1} to {WARMUP + arguments.steps}; {_versions()}")


def measure(
    model: dict[str, Any], length: int, rows: int, steps: int, **train: Any
) -> dict[str, float]:
    """Medians over `steps` steps after the warmup; peak memory of the whole run."""
    from train.trainer.engine import build_accelerator
    from train.trainer.loop import Trainer
    from train.trainer.run_log import METRICS

    with tempfile.TemporaryDirectory() as folder:
        context, tokenizer = student(
            Path(folder), model, length, rows, steps + WARMUP, precision="bf16", zero_stage=1,
            **train,
        )  # fmt: skip
        store = TokenStore(*token_folders(context.inputs))
        section = needed(context.recipe.train, "train")
        made = plan(needed(context.recipe.mixture, "mixture"), section, store.rows, 0)
        accelerator = build_accelerator(context.recipe)
        summary = Trainer(context, accelerator, tokenizer, store, made).train()
        lines = (context.out / METRICS).read_text().splitlines()
    records = [json.loads(line) for line in lines][WARMUP:]
    shares = [record["throughput/data_loading_share"] for record in records]
    return {
        "parameters": summary["parameters"],
        "tokens_per_second": statistics.median(r["train/tokens_per_second"] for r in records),
        "mfu": statistics.median(r["throughput/device/mfu"] for r in records),
        "data_loading_share": statistics.median(shares),
        "gib": records[-1]["memory/max_gib"],
    }


def _device() -> str:
    if not torch.cuda.is_available():
        return f"CPU, {torch.get_num_threads()} threads"
    return f"{torch.cuda.get_device_name()} x {torch.cuda.device_count()}"


def _versions() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} absent")
    return ", ".join(found)


if __name__ == "__main__":
    main()
