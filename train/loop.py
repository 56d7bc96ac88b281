"""The training loop of one arm: token stream -> optimizer steps -> checkpoints -> HF folder.

Promises: the loss is the mean over the valid tokens of the whole global batch, however it is split
into micro-batches and ranks; a run killed anywhere and started again ends with the same weights
and metrics; everything random follows from the recipe's seed and the step.
"""

from __future__ import annotations

import json
import shutil
import signal
import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator

from train.books import Books
from train.checkpoint import Checkpoints
from train.isolation import check_isolation, forward_arguments, isolate
from train.mixture import MixturePlan, plan
from train.model import build_model, parameter_groups
from train.schedule import learning_rate
from train.stream import IGNORED, MicroBatch, TokenStore, micro_batches
from tsqa.artifact import write_json
from tsqa.progress import progress_bar
from tsqa.recipe import needed
from tsqa.stage import StageContext

PREEMPTED = 75
"""Exit code after SIGTERM: saved, run again to continue."""
METRICS = "metrics.jsonl"
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
    recipe = context.recipe
    mixture, train = needed(recipe.mixture, "mixture"), needed(recipe.train, "train")
    made = plan(mixture, train, store.rows, recipe.seed)
    summary = context.out / "trained.json"
    if not summary.exists():
        trainer = Trainer(context, accelerator, tokenizer, store, made)
        result = trainer.train()
        trainer.export(tokenizer)
        if accelerator.is_main_process:
            write_json(summary, result)
    accelerator.wait_for_everyone()
    result = json.loads(summary.read_text(encoding="utf-8"))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        Checkpoints(context.out / "checkpoints", made.fingerprint, 1).remove()
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
        self.section = needed(context.recipe.train, "train")
        self.device = accelerator.device
        model = build_model(context, tokenizer)
        self.model_type = model.config.model_type
        if self.section.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        isolate(model, self.device)
        optimizer = torch.optim.AdamW(
            parameter_groups(model, self.section.weight_decay),
            lr=self.section.lr,
            betas=self.section.betas,
            eps=self.section.eps,
            fused=True,
        )
        self.engine, self.optimizer = accelerator.prepare(model, optimizer)
        self.engine.train()
        check_isolation(self.engine, self.model_type, len(tokenizer), store.eos, self.device)
        self.checkpoints = Checkpoints(
            context.out / "checkpoints", made.fingerprint, self.section.keep_checkpoints
        )
        self._stop = False
        self._log_path = context.out / METRICS

    def train(self) -> dict[str, Any]:
        """Run all steps that are left; return the summary."""
        begun = time.perf_counter()
        signal.signal(signal.SIGTERM, self._on_sigterm)
        first, state = self.checkpoints.load(self.accelerator, self.engine)
        books = Books(len(self.plan.sources), state)
        earlier = float(state.get("seconds", 0.0))
        self._truncate_metrics(first)
        tail = self.plan.steps - max(1, self.plan.steps // _TAIL_SHARE)
        marked = time.perf_counter()
        tokens_per_step = self.plan.batch_rows * self.plan.sequence_length
        with progress_bar() as bar:
            bar.disable = not self.accelerator.is_main_process
            task = bar.add_task("train", total=self.plan.steps, completed=first, note="")
            for step in range(first, self.plan.steps):
                batches = micro_batches(
                    self.store,
                    self.plan,
                    step,
                    self.accelerator.process_index,
                    self.accelerator.num_processes,
                    self.section.micro_batch_size,
                )
                valid, stop = self._reduce([sum(b.valid for b in batches), float(self._stop)])
                if stop:
                    self._save(step, books, earlier + time.perf_counter() - begun)
                    raise Preempted
                rate = learning_rate(self.section, step, self.plan.steps)
                sums, norm = self._step(step, batches, valid, rate)
                books.add(sums, norm, in_tail=step >= tail)
                done = step + 1
                if done % self.section.log_every == 0 or done == self.plan.steps:
                    now = time.perf_counter()
                    speed = books.steps * tokens_per_step / (now - marked)
                    marked = now
                    self._log(done, tokens_per_step, rate, speed, books)
                    note = f"loss {books.last:.3f}, {speed:,.0f} tokens/s"
                    bar.update(task, completed=done, note=note)
                else:
                    bar.update(task, completed=done)
                if done % self.section.checkpoint_every == 0 and done < self.plan.steps:
                    self._save(done, books, earlier + time.perf_counter() - begun)
        return self._summary(books, earlier + time.perf_counter() - begun)

    def export(self, tokenizer: Any) -> None:
        """Write the HF folder; collective under ZeRO-3."""
        state = self.accelerator.get_state_dict(self.engine)
        if self.accelerator.is_main_process:
            temporary = self.context.out / "hf.tmp"
            model = self.accelerator.unwrap_model(self.engine)
            model.config.use_cache = True
            model.save_pretrained(temporary, state_dict=state)
            tokenizer.save_pretrained(temporary)
            shutil.rmtree(self.context.out / "hf", ignore_errors=True)
            temporary.rename(self.context.out / "hf")
        self.accelerator.wait_for_everyone()

    def _step(
        self, step: int, batches: Sequence[MicroBatch], valid: float, rate: float
    ) -> tuple[list[float], float]:
        """One optimizer step; return per source the loss sum and token count, and the norm."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(
            (self.plan.seed << 40) + step * self.accelerator.num_processes
            + self.accelerator.process_index
        )  # fmt: skip
        # DeepSpeed divides by the accumulation steps and averages over the ranks; undo both.
        scale = len(batches) * self.accelerator.num_processes / max(valid, 1.0)
        count = len(self.plan.sources)
        sums = torch.zeros(2 * count, dtype=torch.float64, device=self.device)
        norm = 0.0
        for number, cpu_batch in enumerate(batches):
            batch = cpu_batch.to(self.device)
            logits = self.engine(**forward_arguments(self.model_type, batch)).logits
            losses = F.cross_entropy(
                logits.float().flatten(0, 1),
                batch.targets.flatten(),
                ignore_index=IGNORED,
                reduction="none",
            ).view_as(batch.targets)
            self.engine.backward(losses.sum() * scale)
            if number == len(batches) - 1 and self.section.zero_stage == 0:
                norm = self._plain_norm()
            self.engine.step()
            per_row = losses.detach().double().sum(1)
            per_row_tokens = (batch.targets != IGNORED).sum(1).double()
            sums.index_add_(0, batch.sources, per_row)
            sums.index_add_(0, batch.sources + count, per_row_tokens)
        reported = self.engine.get_global_grad_norm()
        return self._reduce(sums.tolist()), float(norm if reported is None else reported)

    def _plain_norm(self) -> float:
        """ZeRO-0 in fp32 reports no norm, and clips during its step: take it just before."""
        gradients = [p.grad for p in self.engine.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0

    def _reduce(self, values: Sequence[float]) -> list[float]:
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        reduced: list[float] = self.accelerator.reduce(tensor, "sum").tolist()
        return reduced

    def _on_sigterm(self, *_: Any) -> None:
        self._stop = True

    def _save(self, step: int, books: Books, seconds: float) -> None:
        state = {**books.state(), "seconds": round(seconds, 2)}
        self.checkpoints.save(self.accelerator, self.engine, step, state)

    def _log(self, done: int, per_step: int, rate: float, speed: float, books: Books) -> None:
        names = self.plan.sources
        record = {"step": done, "train/tokens": done * per_step, "train/lr": rate}
        record |= books.close_window(names) | {"train/tokens_per_second": round(speed, 1)}
        if self.accelerator.is_main_process:
            with self._log_path.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(record) + "\n")
            self.context.tracker.log(record)

    def _truncate_metrics(self, step: int) -> None:
        """Drop what was logged after the step that this run starts from."""
        if not (self.accelerator.is_main_process and self._log_path.exists()):
            return
        lines = self._log_path.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        kept = [line for line in whole if json.loads(line)["step"] <= step]
        temporary = self._log_path.with_suffix(".tmp")
        temporary.write_text("".join(kept), encoding="utf-8")
        temporary.replace(self._log_path)

    def _summary(self, books: Books, seconds: float) -> dict[str, Any]:
        tokens = self.plan.total_rows * self.plan.sequence_length
        losses, final = books.tail_losses()
        sources = {}
        for entry, loss in zip(self.plan.describe(), losses, strict=True):
            name = str(entry["source"])
            sources[name] = {
                "drawn": entry["tokens"],
                "padded": self._padded(name),
                "loss": loss,
                "epochs": entry["epochs"],
                "share": entry["share"],
            }
        return {
            "tokens": tokens,
            "steps": self.plan.steps,
            "final_loss": final,
            "seconds": round(seconds, 2),
            "tokens_per_second": round(tokens / seconds, 1),
            "parameters": sum(
                getattr(p, "ds_numel", p.numel()) for p in self.engine.module.parameters()
            ),
            "plan": self.plan.note(),
            "sources": sources,
        }

    def _padded(self, name: str) -> int:
        """Padding tokens drawn: the last row's, once per pass that reaches it."""
        source = self.plan.sources.index(name)
        rows, padding = self.plan.rows[source], self.store.padding[name]
        if not padding or not rows:
            return 0
        return padding * self.plan.times_drawn(source, rows - 1)
