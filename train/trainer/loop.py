"""The training loop of one arm: token stream -> optimizer steps -> checkpoints -> HF folder.

Guarantees: a run killed anywhere and started again ends with the same weights and metrics;
everything random follows from the recipe's seed and the step; a loss that is not a number, or a
spike, stops the run and names the rows, and the last good checkpoint stays.
"""

from __future__ import annotations

import signal
import warnings
from dataclasses import astuple, fields
from itertools import islice
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from train.checkpoints.average import average_exports
from train.checkpoints.checkpoint import Checkpoints
from train.checkpoints.export import export_model
from train.checkpoints.manifest import RunState
from train.data.mixture import plan_of, plan_table
from train.data.plan import MixturePlan, SourceDraw
from train.data.stream import TokenStore, TokenStream
from train.data.token_files import TOKENIZER_FOLDER, token_folders
from train.trainer.exports import folder_of, points_passed
from train.trainer.heldout import HeldOut
from train.trainer.loss_guard import LossGuard
from train.trainer.loss_totals import LossTotals
from train.trainer.run_log import HELDOUT, METRICS, RunLog
from train.trainer.schedule import batch_schedule, learning_rate
from train.trainer.step import Stepper
from train.trainer.student import prepare_student
from train.trainer.summary import TrainSummary, summarise
from train.trainer.throughput import Meters
from tsqa.console import console, progress_bar
from tsqa.recipe import averaged_points, needed
from tsqa.store.artifact import EXPORTED
from tsqa.store.atomic import fsync_all
from tsqa.store.jsonl import write_json
from tsqa.store.own_files import read_own
from tsqa.store.stage import StageContext

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TAIL_SHARE = 20
"""The final loss is the mean over the last 1/20 of the steps."""


class Preempted(Exception):
    """SIGTERM arrived, and a checkpoint has been saved."""


def run(context: StageContext, accelerator: Accelerator) -> TrainSummary:
    """Train and return the summary; every rank must call this, rank 0 writes `context.out`."""
    from transformers import AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    tokenizer = AutoTokenizer.from_pretrained(context.inputs["tokenizer"].path / TOKENIZER_FOLDER)
    store = TokenStore(*token_folders(context.inputs))
    plan = plan_of(context.recipe, store.rows)
    summary, is_first = context.out / "trained.json", accelerator.is_main_process
    # Rank 0 alone looks: network file systems show a new file to others later.
    made = [read_own(summary, TrainSummary) if is_first and summary.exists() else None]
    broadcast_object_list(made)
    (result,) = made
    if result is None:
        if is_first:
            console.print(plan_table(plan, store.padding))
            names = [field.name for field in fields(SourceDraw)]
            context.tracker.table("mixture", names, [astuple(draw) for draw in plan.describe()])
        trainer = Trainer(context, accelerator, tokenizer, store, plan)
        result = trainer.train()
        export_model(accelerator, trainer.engine, tokenizer, context.out / "hf")
        if is_first:
            if averaged := averaged_points(context.recipe):
                folders = [context.out / folder_of(point) for point in averaged]
                average_exports(folders, context.out / "hf")
                result["averaged"] = [*averaged, result["tokens"]]
            fsync_all(context.out / "hf")  # the summary says that it is whole
            write_json(summary, result)
    if is_first:
        _checkpoints(context, plan).finish()
    return result


class Trainer:
    """One run: its model, stream, totals and checkpoints."""

    def __init__(
        self,
        context: StageContext,
        accelerator: Accelerator,
        tokenizer: PreTrainedTokenizerBase,
        store: TokenStore,
        plan: MixturePlan,
    ) -> None:
        self.context, self.accelerator, self.store, self.plan = context, accelerator, store, plan
        self.tokenizer = tokenizer
        self.section = needed(context.recipe.train, "train")
        self.checkpoints = _checkpoints(context, plan)
        self.schedule = batch_schedule(self.section, plan.total_rows)
        self.student = prepare_student(
            context, accelerator, tokenizer, store.eos, self.checkpoints.folder
        )
        self.engine = self.student.engine
        self.stepper = Stepper(
            accelerator, self.student, self.section, len(plan.sources), plan.seed
        )
        self.guard = LossGuard(
            self.stepper, plan, store, self.checkpoints, self.section.max_loss_spike, context.out
        )
        self.heldout = HeldOut(store, tuple(sorted(store.rows)), self.section.heldout_rows)
        self.meters = Meters(
            self.engine.module, self.section, plan.sequence_length, accelerator.num_processes
        )
        self.log = RunLog(context.out, context.tracker, accelerator.is_main_process)
        self._heldout_losses: dict[str, float] = {}
        self._stop = False
        self._saved_step: int | None = None
        """That of the checkpoint which this process loaded or saved last."""

    def train(self) -> TrainSummary:
        """Run the remaining steps; return the summary."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        first, state = self.checkpoints.load(self.accelerator, self.engine)
        self._saved_step = first if state else None
        totals = LossTotals(len(self.plan.sources), state["books"] if state else None)
        if state:
            self.student.routers.restore(state["routers"])
        self.log.rewind(first)
        self.meters.start(state["seconds"] if state else 0.0)
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
                # Clocks and signals differ between ranks: all save, or stop, when one must.
                due = self.accelerator.is_main_process and self.meters.save_is_due()
                valid, stop, due = self.stepper.reduce(
                    [sum(b.valid for b in batches), float(self._stop), float(due)]
                )
                # Again it would take as long, and the saved one away before the other has its name.
                if (stop or due) and step != self._saved_step:
                    self._save(step, totals)
                if stop:
                    raise Preempted
                rate = learning_rate(self.section, rows, self.plan.total_rows)
                sums = self.stepper.run(step, batches, valid, len(rows), rate)
                self.guard.check(step, sums, totals.mean)
                totals.add(sums, in_tail=step >= tail)
                self.meters.add(len(rows) * self.plan.sequence_length)
                done = step + 1
                if done % self.section.log_every == 0 or done == steps:
                    note = self._log(done, rows, rate, totals, stream.wait_seconds)
                    bar.update(task, note=note)
                if self.heldout.rows and (
                    done % self.section.heldout_every == 0 or done == steps
                ):  # fmt: skip
                    self._measure_heldout(done, rows)
                bar.update(task, completed=done)
                self._export_point(done, rows)
                if self._is_saving_step(done):
                    self._save(done, totals)
        if first == steps and self.heldout.rows:  # a kill after the last step's checkpoint
            self._heldout_losses = self._measured()
        return summarise(
            self.plan, totals, self._heldout_losses, steps, self.meters.seconds(),
            sum(getattr(p, "ds_numel", p.numel()) for p in self.engine.module.parameters()),
            {"processes": world, **self._execution()},
        )  # fmt: skip

    def _execution(self) -> dict[str, int | str | bool]:
        section = self.section
        return {
            "threads": torch.get_num_threads(),  # on a CPU; `tsqa ablate --parallel` divides them
            "micro_batch_size": section.micro_batch_size,
            "zero_stage": section.zero_stage,
            "offload": section.offload,
            "gradient_checkpointing": section.gradient_checkpointing,
            "attention": section.attention or "default",
            "loss_chunk": section.loss_chunk or "none",
            "device": self._device(),
        }

    def _device(self) -> str:
        if self.accelerator.device.type == "cuda":
            return torch.cuda.get_device_name(self.accelerator.device)
        return "CPU"

    def _export_point(self, done: int, rows: range) -> None:
        """Export the model if the step reaches a point of `eval.every_tokens`."""
        for point in points_passed(self.context.recipe, rows):
            folder = self.context.out / folder_of(point)
            export_model(self.accelerator, self.engine, self.tokenizer, folder)
            if self.accelerator.is_main_process:
                tokens = rows.stop * self.plan.sequence_length
                write_json(folder / EXPORTED, {"step": done, "tokens": tokens})

    def _is_saving_step(self, done: int) -> bool:
        """Whether the step has a checkpoint; after the last one, only one that stays."""
        every, permanent = self.section.checkpoint_every, self.section.keep_every
        is_resumed_from = done % every == 0 and done < self.schedule.steps
        return is_resumed_from or bool(permanent and done % permanent == 0)

    def _on_sigterm(self, *_: object) -> None:
        self._stop = True

    def _save(self, step: int, totals: LossTotals) -> None:
        state: RunState = {
            "books": totals.state(),
            "routers": self.student.routers.state(),
            "seconds": round(self.meters.seconds(), 2),
            "seed": self.plan.seed,
            "run": self.checkpoints.run,
            "fp32": self.student.fp32_names,
        }
        self.checkpoints.save(self.accelerator, self.engine, step, state)
        self._saved_step = step
        self.meters.saved()

    def _log(self, done: int, rows: range, rate: float, totals: LossTotals, waited: float) -> str:
        """Write one line of metrics; return the note of the progress bar."""
        length = self.plan.sequence_length
        left = (self.plan.total_rows - rows.stop) * length
        speeds = self.meters.close_window(waited, left)
        self.log.write(
            METRICS,
            {
                "step": done,
                "train/tokens": rows.stop * length,
                "train/lr": rate,
                "train/batch_tokens": len(rows) * length,
                **totals.close_window(self.plan.sources),
                **self.student.routers.close_window(),
                **speeds,
            },
        )
        return f"loss {totals.last:.3f}, {speeds['train/tokens_per_second']:,.0f} tokens/s"

    def _measured(self) -> dict[str, float]:
        with self.meters.paused():
            return self.heldout.measure(
                self.accelerator, self.engine, self.student.losses,
                self.section.micro_batch_size,
            )  # fmt: skip

    def _measure_heldout(self, done: int, rows: range) -> None:
        losses = self._measured()
        unmeasured = sorted(set(self.heldout.sources) - losses.keys())
        if unmeasured and not self._heldout_losses and self.accelerator.is_main_process:
            console.print(
                f"no held-out loss of {', '.join(unmeasured)}: its last {self.heldout.rows} rows "
                "are of a document that began in a trained one, or bear no loss; raise "
                "train.heldout_rows", style="yellow", markup=False,
            )  # fmt: skip
        self._heldout_losses = losses
        record = {"step": done, "train/tokens": rows.stop * self.plan.sequence_length}
        named = {f"heldout/loss/{name}": loss for name, loss in losses.items()}
        self.log.write(HELDOUT, {**record, **named})


def _checkpoints(context: StageContext, plan: MixturePlan) -> Checkpoints:
    train = needed(context.recipe.train, "train")
    return Checkpoints(
        context.out / "checkpoints",
        plan,
        f"train.zero_stage {train.zero_stage}, train.offload {train.offload}",
        context.out.name.removesuffix(".partial"),
        train.keep_checkpoints,
        train.keep_every,
        train.older_checkpoint,
    )
