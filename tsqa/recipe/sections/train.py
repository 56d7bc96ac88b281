"""The section `train`: batches, optimizer, schedule, precision, and how a run is kept safe.

Guarantees: every global batch is whole rows that split evenly over processes and micro-batches;
precision, offload and ZeRO stage fit each other.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tsqa.names import LocalPath
from tsqa.recipe.sections.base import ADDED, RUNTIME, Section, Share, Tokens, refuse_unread

Beta = Annotated[float, Field(ge=0, lt=1)]


class ScheduleSection(Section):
    """Warmup, a plateau, then decay; shares of the token budget, in closed form."""

    kind: Literal["wsd", "cosine", "linear", "constant"] = "wsd"
    """wsd: warmup, constant rate, decay. The others decay from the end of the warmup on, or
    never."""
    warmup: Share = 0.01
    """Share of the tokens over which the learning rate rises to `lr`."""
    start_lr_ratio: Share = 0.0
    """Learning rate at the first step, as a share of `lr`; for a model whose earlier training
    ended at a rate above 0."""
    decay: Share = 0.2
    """wsd only: share of the tokens at the end over which the rate falls."""
    decay_shape: Literal["linear", "sqrt"] = Field("linear", json_schema_extra=ADDED)
    """wsd only: sqrt falls as 1 - sqrt(share of the decay that is over), fast at first."""
    min_lr_ratio: Share = 0.0
    """Learning rate at the end, as a share of `lr`."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup + (self.decay if self.kind == "wsd" else 0) > 1:
            raise ValueError("warmup + decay must not exceed 1")
        # Not `decay` and the like: an axis over `kind` leaves them where they are.
        if self.kind != "wsd":
            refuse_unread(self, ["decay_shape"], f"is of kind: wsd, and kind is {self.kind}")
        return self


class RampSection(Section):
    """A smaller global batch at the start of the run."""

    until: Share
    """Share of the token budget up to which this batch is used."""
    global_batch_tokens: Tokens
    """Tokens per optimizer step until then; divides `train.global_batch_tokens`."""


class RouterSection(Section):
    """How a mixture-of-experts model keeps its experts equally busy."""

    bias_rate: float = Field(1e-3, ge=0)
    """How far the bias of each expert moves against its load after an optimizer step."""
    loss: float = Field(1e-4, ge=0)
    """Weight of the load-balancing loss of each sequence."""


class TrainSection(Section):
    """The training run; every arm of an ablation has the same unless it varies a key."""

    sequence_length: int = Field(8192, ge=8)
    """Tokens per row."""
    global_batch_tokens: Tokens
    """Tokens per optimizer step over all processes; a multiple of `sequence_length`."""
    micro_batch_size: int = Field(1, ge=1, json_schema_extra=RUNTIME)
    """Rows per process and forward pass; raise it while memory allows, for speed."""
    lr: float = Field(gt=0)
    """Peak learning rate of AdamW."""
    schedule: ScheduleSection = ScheduleSection()
    """How the learning rate changes over the run."""
    batch_ramp: list[RampSection] = []
    """Smaller batches at the start, in order of `until`; then `global_batch_tokens`."""
    weight_decay: float = Field(0.1, ge=0)
    """Weight decay of AdamW; never applied to biases, norms and other vectors."""
    decay_embeddings: bool = True
    """Apply weight decay to the embeddings too."""
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    """Decay rates of the two moments of AdamW."""
    eps: float = Field(1e-8, gt=0)
    """Epsilon of AdamW."""
    clip: float = Field(1.0, gt=0)
    """Largest global norm of the gradient."""
    zero_stage: Literal[0, 1, 2, 3] = Field(1, json_schema_extra=RUNTIME)
    """What ZeRO shards over processes: 1 optimizer states, 2 also gradients, 3 also parameters.
    Raise it if the model does not fit."""
    offload: Literal["none", "optimizer", "parameters"] = Field("none", json_schema_extra=RUNTIME)
    """What ZeRO keeps in CPU memory: optimizer needs zero_stage 1 or more, parameters (which
    includes the optimizer) needs 3."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """bf16 keeps fp32 master weights, and adds gradients in fp32, over micro-batches and ranks."""
    attention: str | None = Field(None, json_schema_extra=RUNTIME)
    """Attention kernel as transformers names it, such as flash_attention_2; null: the default of
    transformers."""
    fp32_parameters: list[str] = []
    """Endings of parameter names that a bf16 run computes in fp32, such as A_log, D, dt_bias."""
    gradient_checkpointing: bool = Field(False, json_schema_extra=RUNTIME)
    """Recompute activations in the backward pass: less memory, more time."""
    loss_chunk: int | None = Field(None, ge=1, json_schema_extra=RUNTIME)
    """Compute the logits for this many tokens at a time, such as 2048 if memory is short; null:
    for all at once."""
    z_loss: float = Field(0.0, ge=0)
    """Weight of the z-loss (the squared log-partition of the output logits)."""
    average_last: int | None = Field(None, ge=2, json_schema_extra=ADDED)
    """The run's model is the mean of its last so many models along the training, the final one
    among them (needs `eval.every_tokens`); null: the final one."""
    router: RouterSection | None = None
    """Balances the experts of a mixture-of-experts model; null: nothing does. The loss of a model's
    own code (`router_aux_loss_coef`) is never added."""
    heldout_rows: int = Field(0, ge=0)
    """Rows at the end of each source to keep out of training; their loss is logged."""
    processes: int = Field(1, ge=1, json_schema_extra=RUNTIME)
    """Processes to launch, one per GPU; ignored if you call `accelerate launch` yourself."""
    checkpoint_every: int = Field(500, ge=1, json_schema_extra=RUNTIME)
    """Optimizer steps between checkpoints."""
    checkpoint_minutes: float | None = Field(None, gt=0, json_schema_extra=RUNTIME)
    """Also save if this many minutes have passed since the last checkpoint; null: do not."""
    keep_checkpoints: int = Field(2, ge=1, json_schema_extra=RUNTIME)
    """Number of the newest checkpoints to keep; the run deletes them when it ends."""
    keep_every: int | None = Field(None, ge=1, json_schema_extra=RUNTIME)
    """Keep the checkpoints of every multiple of this step for good; null: none."""
    older_checkpoint: bool = Field(False, json_schema_extra=RUNTIME)
    """Resume from an older checkpoint if the newest is damaged, instead of stopping."""
    max_loss_spike: float | None = Field(None, gt=1, json_schema_extra=RUNTIME)
    """Stop if the loss of a step is this many times the recent mean; null: never."""
    heldout_every: int = Field(100, ge=1, json_schema_extra=RUNTIME)
    """Optimizer steps between measurements of the held-out loss; there is one more at the end."""
    peak_tflops: float | None = Field(None, gt=0, json_schema_extra=RUNTIME)
    """Peak of one device in dense TFLOPS at the training precision (H100 and H200: 989), for the
    MFU; null: no MFU."""
    log_every: int = Field(10, ge=1, json_schema_extra=RUNTIME)
    """Optimizer steps between logged points."""
    elsewhere: LocalPath | None = Field(None, json_schema_extra=ADDED)
    """Folder of the model that this training came to elsewhere (`tsqa export-tokens`): it is
    evaluated and compared, and not trained here. Its tokens are declared, not seen."""

    @model_validator(mode="after")
    def _whole_rows(self) -> Self:
        if self.global_batch_tokens % self.sequence_length:
            below = self.global_batch_tokens // self.sequence_length * self.sequence_length
            raise ValueError(
                f"global_batch_tokens {self.global_batch_tokens:,} is not a multiple of "
                f"sequence_length {self.sequence_length:,}; "
                f"use {max(below, self.sequence_length):,}"
            )
        check_divisible(self, self.processes, "train.processes")
        return self

    @model_validator(mode="after")
    def _is_read(self) -> Self:
        if not self.heldout_rows:
            refuse_unread(self, ["heldout_every"], "needs `heldout_rows`, whose loss it measures")
        return self

    @model_validator(mode="after")
    def _ramp_fits(self) -> Self:
        before = 0.0
        for number, stage in enumerate(self.batch_ramp):
            if stage.until <= before:
                raise ValueError(f"batch_ramp[{number}].until {stage.until} must exceed {before}")
            if self.global_batch_tokens % stage.global_batch_tokens:
                raise ValueError(
                    f"batch_ramp[{number}].global_batch_tokens {stage.global_batch_tokens:,} must "
                    f"divide train.global_batch_tokens {self.global_batch_tokens:,}"
                )
            before = stage.until
        return self

    @model_validator(mode="after")
    def _precision_fits(self) -> Self:
        if self.offload == "parameters" and self.zero_stage != 3:
            raise ValueError(f"offload parameters needs zero_stage 3, not {self.zero_stage}")
        if self.offload == "optimizer" and self.zero_stage == 0:
            raise ValueError("offload optimizer needs zero_stage 1, 2 or 3, not 0")
        if self.fp32_parameters and self.precision == "bf16" and self.zero_stage == 3:
            raise ValueError(
                "fp32_parameters needs zero_stage 1 or 2: ZeRO-3 holds parameters of one type only"
            )
        return self

    @property
    def global_batch_rows(self) -> int:
        return self.global_batch_tokens // self.sequence_length


def check_divisible(train: TrainSection, world_size: int, origin: str) -> None:
    """Raise ValueError unless each global batch splits evenly over ranks and micro-batches."""
    unit = train.micro_batch_size * world_size * train.sequence_length
    ramp = [stage.global_batch_tokens for stage in train.batch_ramp]
    for tokens in (train.global_batch_tokens, *ramp):
        if tokens % unit:
            raise ValueError(
                f"the global batch of {tokens / train.sequence_length:g} rows "
                f"(global_batch_tokens / sequence_length) cannot be divided by micro_batch_size "
                f"{train.micro_batch_size} x {origin} {world_size}; make global_batch_tokens a "
                f"multiple of {unit:,}"
            )
