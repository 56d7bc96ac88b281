"""The training loop of one arm: token stream -> optimizer steps -> checkpoints -> HF folder.

Promises: a run killed anywhere and started again ends with the same weights and metrics;
everything random follows from the recipe's seed and the step; a loss that is not a number, or a
spike, stops the run and names the rows, with the last good checkpoint in place.
"""

from __future__ import annotations

import json
import signal
import warnings
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from train.checkpoints.checkpoint import Checkpoints
from train.checkpoints.export import export_model, save_description
from train.data.mixture import MixturePlan, plan_of, plan_table
from train.data.stream import TokenStore, TokenStream
from train.model.build import build_model
from train.model.isolation import check_isolation, isolate
from train.model.loss import TokenLosses
from train.model.moe import Routers, mark_leaves
from train.model.optimizer import (
    build_optimizer,
    casts_spare,
    compute_norms_in_fp32,
    fp32_parameters,
)
from train.trainer.heldout import HeldOut
from train.trainer.loss_guard import Guard
from train.trainer.loss_totals import Books
from train.trainer.schedule import batch_schedule, learning_rate
from train.trainer.step import Stepper
from train.trainer.throughput import Meters
from tsqa.console import console, progress_bar
from tsqa.recipe import curve_points, needed
from tsqa.store.artifact import EXPORTED
from tsqa.store.atomic import write_text
from tsqa.store.jsonl import write_json
from tsqa.store.own_files import Object, damaged, read_own
from tsqa.store.stage import StageContext

PREEMPTED = 75
"""Exit code after SIGTERM: saved, run again to continue."""
METRICS = "metrics.jsonl"
HELDOUT = "heldout.jsonl"
_TAIL_SHARE = 20


class Preempted(Exception):
    """SIGTERM came; a checkpoint has been saved."""


def run(context: StageContext, accelerator: Accelerator) -> dict[str, Any]:
    """Train, on every rank alike; rank 0 writes into `context.out`. Return the summary."""
    from transformers import AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    tokens = context.inputs["tokenize"].path
    tokenizer = AutoTokenizer.from_pretrained(tokens / "tokenizer")
    store = TokenStore(tokens)
    made = plan_of(context.recipe, store.rows)
    summary = context.out / "trained.json"
    if not summary.exists():
        if accelerator.is_main_process:
            console.print(plan_table(made, store.padding))
            drawn = made.describe()
            context.tracker.table("mixture", list(drawn[0]), [list(row.values()) for row in drawn])
        trainer = Trainer(context, accelerator, tokenizer, store, made)
        result = trainer.train()
        export_model(accelerator, trainer.engine, tokenizer, context.out / "hf")
        if accelerator.is_main_process:
            write_json(summary, result)
    accelerator.wait_for_everyone()
    result = read_own(summary, Object)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        _checkpoints(context, made).finish()
    return dict(result)


class Trainer:
    """One run's model, stream and books."""

    def __init__(
        self,
        context: StageContext,
        accelerator: Accelerator,
        tokenizer: Any,
        store: TokenStore,
        made: MixturePlan,
    ) -> None:
        self.context, self.accelerator, self.store, self.plan = context, accelerator, store, made
        self.tokenizer = tokenizer
        self.section = needed(context.recipe.train, "train")
        self.checkpoints = _checkpoints(context, made)
        self.schedule = batch_schedule(self.section, made.total_rows)
        model = build_model(context, tokenizer)
        if self.section.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        isolate(model, accelerator.device)
        self.routers = Routers(model, self.section.router)
        if self.section.zero_stage == 3:
            mark_leaves(model)
        if accelerator.is_main_process:
            dtype = torch.float32 if self.section.precision == "fp32" else torch.bfloat16
            save_description(model, tokenizer, self.checkpoints.folder, dtype)
        kept = fp32_parameters(model, self.section)
        compute_norms_in_fp32(model, kept)
        self._kept_names = [n for n, p in model.named_parameters() if any(p is k for k in kept)]
        optimizer = build_optimizer(model, self.section)
        with casts_spare(kept):
            self.engine, optimizer = accelerator.prepare(model, optimizer)
        self.engine.train()
        check_isolation(
            self.engine, model.config, self.section.micro_batch_size, len(tokenizer), store.eos,
            accelerator.device,
        )  # fmt: skip
        losses = TokenLosses(
            self.engine, model.config, self.section.loss_chunk, self.section.z_loss
        )
        self.stepper = Stepper(
            accelerator, self.engine, optimizer, self.section, self.routers, losses,
            len(made.sources), made.seed,
        )  # fmt: skip
        self.guard = Guard(
            self.stepper, made, store, self.checkpoints, self.section.max_loss_spike, context.out
        )
        self.heldout = HeldOut(store, tuple(sorted(store.rows)), self.section.heldout_rows)
        self.meters = Meters(
            self.engine.module, self.section, made.sequence_length, accelerator.num_processes
        )
        self._heldout_losses: dict[str, float] = {}
        self._stop = False

    def train(self) -> dict[str, Any]:
        """Run all steps that are left; return the summary."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        first, state = self.checkpoints.load(self.accelerator, self.engine)
        books = Books(len(self.plan.sources), state.get("books", {}))
        if state:
            self.routers.restore(state["routers"])
        if self.accelerator.is_main_process:
            for name in (METRICS, HELDOUT):
                _truncate(self.context.out / name, first)
        self.meters.start(float(state.get("seconds", 0.0)))
        steps = self.schedule.steps
        tail = steps - max(1, steps // _TAIL_SHARE)
        world, size = self.accelerator.num_processes, self.section.micro_batch_size
        stream = TokenStream(self.plan, self.store, self.accelerator.process_index, world, size)
        reader = stream.batches(self.schedule.batch(first).start if first < steps else 0)
        with progress_bar() as bar:
            bar.disable = not self.accelerator.is_main_process
            task = bar.add_task("train", total=steps, completed=first, note="")
            for step in range(first, steps):
                rows = self.schedule.batch(step)
                batches = list(islice(reader, len(rows) // (size * world)))
                due = self.accelerator.is_main_process and self.meters.save_is_due()
                valid, stop, due = self.stepper.reduce(
                    [sum(b.valid for b in batches), float(self._stop), float(due)]
                )
                if stop or due:
                    self._save(step, books)
                if stop:
                    raise Preempted
                rate = learning_rate(self.section, rows, self.plan.total_rows)
                sums = self.stepper.run(step, batches, valid, len(rows), rate)
                self.guard.check(step, sums, books.mean)
                books.add(sums, in_tail=step >= tail)
                self.meters.add(len(rows) * self.plan.sequence_length)
                done = step + 1
                if done % self.section.log_every == 0 or done == steps:
                    note = self._log(done, rows, rate, books, stream.wait_seconds)
                    bar.update(task, note=note)
                if self.heldout.rows and (
                    done % self.section.heldout_every == 0 or done == steps
                ):  # fmt: skip
                    self._measure_heldout(done, rows)
                bar.update(task, completed=done)
                self._export_point(done, rows)
                if done < steps and self._is_saving_step(done):
                    self._save(done, books)
        return self._summary(books)

    def _export_point(self, done: int, rows: range) -> None:
        """Export the model where the step reaches a point of `eval.every_tokens`."""
        length = self.plan.sequence_length
        passed = range(rows.start * length + 1, rows.stop * length + 1)
        for point in curve_points(self.context.recipe):
            if point in passed:
                folder = self.context.out / f"hf-{point}"
                export_model(self.accelerator, self.engine, self.tokenizer, folder)
                if self.accelerator.is_main_process:
                    tokens = rows.stop * length
                    write_json(folder / EXPORTED, {"step": done, "tokens": tokens})

    def _is_saving_step(self, done: int) -> bool:
        permanent = self.section.keep_every
        return done % self.section.checkpoint_every == 0 or bool(permanent and not done % permanent)

    def _on_sigterm(self, *_: Any) -> None:
        self._stop = True

    def _save(self, step: int, books: Books) -> None:
        state = {
            "books": books.state(),
            "routers": self.routers.state(),
            "seconds": round(self.meters.seconds(), 2),
            "seed": self.plan.seed,
            "run": self.context.out.name.removesuffix(".partial"),
            "fp32": self._kept_names,
        }
        self.checkpoints.save(self.accelerator, self.engine, step, state)
        self.meters.saved()

    def _log(self, done: int, rows: range, rate: float, books: Books, waited: float) -> str:
        """Write one line of metrics; return what the progress bar shows."""
        length = self.plan.sequence_length
        left = (self.plan.total_rows - rows.stop) * length
        record = {"step": done, "train/tokens": rows.stop * length, "train/lr": rate}
        record |= {"train/batch_tokens": len(rows) * length}
        record |= books.close_window(self.plan.sources) | self.routers.close_window()
        record |= self.meters.close_window(waited, left)
        self._write(METRICS, record)
        speed = record["train/tokens_per_second"]
        return f"loss {books.last:.3f}, {speed:,.0f} tokens/s"

    def _measure_heldout(self, done: int, rows: range) -> None:
        with self.meters.paused():
            losses = self.heldout.measure(
                self.accelerator, self.engine, self.stepper.losses,
                self.section.micro_batch_size,
            )  # fmt: skip
        self._heldout_losses = losses
        record = {"step": done, "train/tokens": rows.stop * self.plan.sequence_length}
        named = {f"heldout/loss/{name}": loss for name, loss in losses.items()}
        self._write(HELDOUT, {**record, **named})

    def _write(self, name: str, record: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            with (self.context.out / name).open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(record) + "\n")
            scalars = {key: value for key, value in record.items() if not isinstance(value, list)}
            self.context.tracker.log(scalars)

    def _summary(self, books: Books) -> dict[str, Any]:
        tokens = self.plan.total_rows * self.plan.sequence_length
        losses, final = books.tail_losses()
        seconds = self.meters.seconds()
        sources = {}
        for number, entry in enumerate(self.plan.describe()):
            sources[str(entry["source"])] = {
                "drawn": entry["tokens"],
                "padded": int(books.padding[number]),
                "loss_bearing": int(books.valid[number]),
                "loss": losses[number],
                "epochs": entry["epochs"],
                "share": entry["share"],
            }
        return {
            "tokens": tokens,
            "steps": self.schedule.steps,
            "final_loss": final,
            "seconds": round(seconds, 2),
            "tokens_per_second": round(tokens / seconds, 1),
            "parameters": sum(
                getattr(p, "ds_numel", p.numel()) for p in self.engine.module.parameters()
            ),
            "plan": self.plan.note(),
            "sources": sources,
            "heldout": self._heldout_losses,
        }


def _truncate(path: Path, step: int) -> None:
    """Drop what was logged after the step that this run starts from."""
    if not path.exists():
        return
    whole = [line for line in path.read_bytes().splitlines(keepends=True) if line[-1:] == b"\n"]
    kept = [line for n, line in enumerate(whole, 1) if _step_of(path, n, line) <= step]
    write_text(path, b"".join(kept).decode())


def _step_of(path: Path, number: int, line: bytes) -> int:
    try:
        step = json.loads(line)["step"]
    except (ValueError, TypeError, KeyError, RecursionError):
        step = None
    if type(step) is not int:
        raise damaged(path, f"line {number} is no record of a step")
    return step


def _checkpoints(context: StageContext, made: MixturePlan) -> Checkpoints:
    train = needed(context.recipe.train, "train")
    return Checkpoints(
        context.out / "checkpoints",
        made,
        train.keep_checkpoints,
        train.keep_every,
        train.older_checkpoint,
    )
