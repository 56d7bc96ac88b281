"""What the harness costs: its steps against bare torch, and against the Hugging Face Trainer.

    python -m tests.benchmarks.train_step [--rounds 3] [--steps 20]

Same model, data, batch (four micro-batches) and ZeRO stage (1, one process, float32, CPU or GPU).
Against bare torch (the same forward pass, backward, clipping, AdamW; no DeepSpeed) the two take
turns step by step in one process, and the overhead is the median over these pairs. The Trainer
with DeepSpeed runs in processes of its own, in turn with the harness, and does not keep documents
apart as the others do; the ratio is that of the medians.
On CPUs that others use as well, one thread (OMP_NUM_THREADS, here 1 unless set) is the steadiest.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from tests.benchmarks.student import DENSE_SMALL, student
from train.data.mixture import plan
from train.data.stream import IGNORED, TokenStore, read_batch
from train.data.token_files import token_folders
from train.model.build import build_model
from train.model.isolation import forward_arguments
from train.model.optimizer import build_optimizer
from tsqa.recipe import needed

LENGTH, ROWS, MICRO_BATCHES, WARMUP = 256, 4, 4, 2
GLOBAL_ROWS = ROWS * MICRO_BATCHES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--side", choices=[*SIDES], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(SIDES[arguments.side](Path(folder), arguments.steps + WARMUP)))
        return
    rounds = [
        {
            name: seconds
            for side in SIDES
            for name, seconds in _run_side(side, arguments.steps).items()
        }
        for _ in range(arguments.rounds)
    ]
    _print(rounds)


def _run_side(side: str, steps: int) -> dict[str, list[float]]:
    command = [sys.executable, "-m", "tests.benchmarks.train_step", "--side", side]
    environment = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", **os.environ}
    done = subprocess.run(
        [*command, "--steps", str(steps)], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-4000:]}")
    result: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return result


def _print(rounds: list[dict[str, list[float]]]) -> None:
    found = {name: [seconds for one in rounds for seconds in one[name]] for name in rounds[0]}
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    title = f"seconds per step of {MICRO_BATCHES} micro-batches of {ROWS} x {LENGTH} tokens"
    table = Table(title=title)
    for column in ("side", "steps", "median", "least", "tokens/s"):
        table.add_column(column, justify="right")
    for name, seconds in found.items():
        speed = GLOBAL_ROWS * LENGTH / medians[name]
        table.add_row(
            name, str(len(seconds)), f"{medians[name]:.4f}", f"{min(seconds):.4f}", f"{speed:,.0f}"
        )
    console = Console(width=100)
    console.print(table)
    overheads = [_overhead(one) for one in rounds]
    speeds = [statistics.median(r["trainer"]) / statistics.median(r["alone"]) for r in rounds]
    console.print(
        f"overhead over bare torch: {_overhead(found):.2%} "
        f"(rounds: {min(overheads):.2%} to {max(overheads):.2%})"
    )
    console.print(
        f"speed against the Trainer: {medians['trainer'] / medians['alone']:.3f} x "
        f"(rounds: {min(speeds):.3f} to {max(speeds):.3f})"
    )


def _overhead(found: dict[str, list[float]]) -> float:
    """Median over the pairs of steps."""
    pairs = zip(found["harness"], found["bare"], strict=True)
    return statistics.median(ours / bare for ours, bare in pairs) - 1


def interleaved(folder: Path, steps: int) -> dict[str, list[float]]:
    """Steps of the harness, each followed by one of bare torch on the same batch."""
    trainer, bare = _harness(folder, steps), _bare(folder, steps)
    found: dict[str, list[float]] = {"harness": [], "bare": []}
    ended = time.perf_counter()

    def step_ends(tokens: int) -> None:
        nonlocal ended
        found["harness"].append(time.perf_counter() - ended)
        begun = time.perf_counter()
        bare(len(found["bare"]))
        found["bare"].append(time.perf_counter() - begun)
        ended = time.perf_counter()

    trainer.meters.add = step_ends
    trainer.train()
    return {name: seconds[WARMUP:] for name, seconds in found.items()}


def alone(folder: Path, steps: int) -> dict[str, list[float]]:
    """Steps of the harness by themselves."""
    trainer = _harness(folder, steps)
    ends: list[float] = []
    trainer.meters.add = lambda tokens: ends.append(time.perf_counter())
    trainer.train()
    return {"alone": [b - a for a, b in zip(ends[WARMUP - 1 :], ends[WARMUP:], strict=False)]}


def hf_trainer(folder: Path, steps: int) -> dict[str, list[float]]:
    """Steps of transformers.Trainer with DeepSpeed on the same rows."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from train.trainer.engine import _ALONE, _use_plain_gloo, deepspeed_config

    context, tokenizer = _student(folder, steps)
    os.environ.update(_ALONE)
    if not torch.cuda.is_available():
        _use_plain_gloo()
    model = build_model(context, tokenizer)
    config = deepspeed_config(context.recipe, 1)
    store = TokenStore(*token_folders(context.inputs))
    made = plan(
        needed(context.recipe.mixture, "mixture"), needed(context.recipe.train, "train"),
        store.rows, 0,
    )  # fmt: skip
    rows = [store.row("web", made.row(k).index) for k in range(made.total_rows)]
    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"), per_device_train_batch_size=ROWS, max_steps=steps,
        gradient_accumulation_steps=MICRO_BATCHES,
        learning_rate=1e-3, lr_scheduler_type="constant", report_to=[], save_strategy="no",
        logging_strategy="no", deepspeed=config, disable_tqdm=True, bf16=False,
        use_cpu=False, dataloader_pin_memory=False,
    )  # fmt: skip
    data = [{"input_ids": torch.from_numpy(row), "labels": torch.from_numpy(row)} for row in rows]
    optimizer = build_optimizer(model, needed(context.recipe.train, "train"))
    Trainer(
        model=model, args=arguments, train_dataset=data, optimizers=(optimizer, None),
        callbacks=[Clock()],
    ).train()  # fmt: skip
    return {"trainer": [b - a for a, b in zip(ends[WARMUP - 1 :], ends[WARMUP:], strict=False)]}


SIDES: dict[str, Callable[[Path, int], dict[str, list[float]]]] = {
    "interleaved": interleaved,
    "alone": alone,
    "trainer": hf_trainer,
}


def _student(folder: Path, steps: int) -> tuple[Any, Any]:
    return student(
        folder, DENSE_SMALL, LENGTH, GLOBAL_ROWS, steps, micro_batch_size=ROWS,
        precision="fp32", zero_stage=1, schedule={"kind": "constant", "warmup": 0.0},
    )  # fmt: skip


def _harness(folder: Path, steps: int) -> Any:
    from train.trainer.engine import build_accelerator
    from train.trainer.loop import Trainer

    context, tokenizer = _student(folder / "harness", steps)
    store = TokenStore(*token_folders(context.inputs))
    section = needed(context.recipe.train, "train")
    made = plan(needed(context.recipe.mixture, "mixture"), section, store.rows, 0)
    return Trainer(context, build_accelerator(context.recipe), tokenizer, store, made)


def _bare(folder: Path, steps: int) -> Callable[[int], None]:
    """A function that trains one step of its own copy of the model."""
    context, tokenizer = _student(folder / "bare", steps)
    section = needed(context.recipe.train, "train")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(context, tokenizer).to(device).train()
    optimizer = build_optimizer(model, section)
    store = TokenStore(*token_folders(context.inputs))
    made = plan(needed(context.recipe.mixture, "mixture"), section, store.rows, 0)
    count = steps * MICRO_BATCHES
    batches = [read_batch(store, made, number * ROWS, ROWS).to(device) for number in range(count)]

    def step(number: int) -> None:
        for batch in batches[number * MICRO_BATCHES : (number + 1) * MICRO_BATCHES]:
            logits = model(**forward_arguments(model.config, batch)).logits
            loss = F.cross_entropy(
                logits.float().flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED
            )
            (loss / MICRO_BATCHES).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), section.clip)
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


if __name__ == "__main__":
    main()
