"""Peak memory of training steps on this machine, against what `tsqa plan` predicts.

    python -m tests.benchmarks.memory [--checkpointing] [--length 256] [--rows 4]

Three dense models in fp32, each in a process of its own: AdamW and the loss of `train.model.loss`
written out, without DeepSpeed (ZeRO-0). Predicted and measured, in MiB above what the process had
before the model was built.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel

from train.model.build import new_model
from train.model.memory import MemorySettings, shape_of, training_memory

MIB = 2**20
SIZES = ((256, 4), (512, 6), (768, 6))
"""Width and layers."""
_STEPS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--one", help="used by itself: width, layers")
    arguments = parser.parse_args()
    if arguments.one:
        width, layers = map(int, arguments.one.split(","))
        print(json.dumps(measure(width, layers, arguments)))
        return
    table = Table(title="peak memory, MiB")
    for column in ("width", "parameters", "predicted", "measured", "predicted / measured"):
        table.add_column(column, justify="right")
    for width, layers in SIZES:
        command = [sys.executable, "-m", "tests.benchmarks.memory", "--one", f"{width},{layers}"]
        command += ["--length", str(arguments.length), "--rows", str(arguments.rows)]
        command += ["--checkpointing"] * arguments.checkpointing
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        total, predicted, measured = json.loads(done.stdout.splitlines()[-1])
        table.add_row(
            str(width), f"{total:,}", f"{predicted:,.0f}", f"{measured:,.0f}",
            f"{predicted / measured:.2f}",
        )  # fmt: skip
    Console(width=100).print(table)


def measure(width: int, layers: int, arguments: argparse.Namespace) -> tuple[int, float, float]:
    """(parameters, predicted MiB, measured MiB)."""
    values = {
        **{"model_type": "llama", "vocab_size": 8192, "hidden_size": width},
        **{"intermediate_size": 3 * width, "num_hidden_layers": layers, "head_dim": 64},
        **{"num_attention_heads": width // 64, "num_key_value_heads": width // 128},
        "max_position_embeddings": arguments.length,
    }
    run = MemorySettings(
        world=1, zero_stage=0, micro_batch_size=arguments.rows, sequence_length=arguments.length,
        element_bytes=4, gradient_checkpointing=arguments.checkpointing, on_gpu=False,
    )  # fmt: skip
    # Imports, the thread pool and the allocator's own are not the model's.
    small = {"hidden_size": 64, "num_attention_heads": 1, "num_key_value_heads": 1}
    _train(new_model({**values, **small, "num_hidden_layers": 1}, dtype=torch.float32),
           arguments.rows, 64, False)  # fmt: skip
    before = _status("VmRSS")
    model = new_model(values, dtype=torch.float32)
    predicted = training_memory(shape_of(model), run).total
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
    _train(model, arguments.rows, arguments.length, arguments.checkpointing)
    return shape_of(model).total, predicted / MIB, (_status("VmHWM") - before) / MIB


def _train(model: PreTrainedModel, rows: int, length: int, checkpointing: bool) -> None:
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    tokens = torch.randint(0, 64, (rows, length))
    for _ in range(_STEPS):
        logits = model(input_ids=tokens, use_cache=False).logits.flatten(0, 1)
        loss = F.cross_entropy(logits, tokens.flatten())
        del logits
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _status(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


if __name__ == "__main__":
    main()
