"""The section `train`: batches, optimizer, schedule, precision, and how a run is kept safe.

Promises: every global batch is whole rows that split evenly over processes and micro-batches;
precision, offload and ZeRO stage fit each other.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tsqa.recipe.sections.base import RUNTIME, Section, Share, Tokens

Beta = Annotated[float, Field(ge=0, lt=1)]


class ScheduleSection(Section):
    """Warmup, a plateau, then decay; shares of the token budget, in closed form."""

    kind: Literal["wsd", "cosine", "linear", "constant"] = "wsd"
    warmup: Share = 0.01
    start_lr_ratio: Share = 0.0
    """Where the warmup begins: for a continued run, what its own decay had left of the rate."""
    decay: Share = 0.2
    """wsd only: the last share of the tokens, over which the rate falls linearly."""
    min_lr_ratio: Share = 0.0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup + (self.decay if self.kind == "wsd" else 0) > 1:
            raise ValueError("warmup + decay must not exceed 1")
        return self


class RampSection(Section):
    """A smaller global batch at the start of the run."""

    until: Share
    """Share of the token budget up to which this batch is used."""
    global_batch_tokens: Tokens


class RouterSection(Section):
    """How a mixture-of-experts model keeps its experts equally busy."""

    bias_rate: float = Field(1e-3, ge=0)
    """Step of the expert bias against each expert's load, after every optimizer step."""
    loss: float = Field(1e-4, ge=0)
    """Weight of the balancing loss of each sequence."""


class TrainSection(Section):
    sequence_length: int = Field(8192, ge=8)
    global_batch_tokens: Tokens
    micro_batch_size: int = Field(1, ge=1)
    """Rows per process and forward pass."""
    lr: float = Field(gt=0)
    schedule: ScheduleSection = ScheduleSection()
    batch_ramp: list[RampSection] = []
    """Batches in order of `until`; after the last, `global_batch_tokens`."""
    weight_decay: float = Field(0.1, ge=0)
    """Never applied to biases, norms and other one-dimensional parameters."""
    decay_embeddings: bool = True
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)
    clip: float = Field(1.0, gt=0)
    zero_stage: Literal[0, 1, 2, 3] = 1
    offload: Literal["none", "optimizer", "parameters"] = "none"
    """What ZeRO keeps in CPU memory: optimizer needs zero_stage 1, parameters (both) 3."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """bf16 keeps fp32 master weights and adds up gradients in fp32."""
    attention: str | None = Field(None, json_schema_extra=RUNTIME)
    """As transformers names it, such as flash_attention_2; None: its own choice."""
    fp32_parameters: list[str] = []
    """Ends of names of parameters that a bf16 run computes in fp32, such as A_log, D, dt_bias."""
    gradient_checkpointing: bool = False
    loss_chunk: int | None = Field(None, ge=1, json_schema_extra=RUNTIME)
    """Tokens whose logits are held at once, such as 2048 where memory is short; None: all."""
    z_loss: float = Field(0.0, ge=0)
    """Weight of the squared log-partition of the output logits."""
    router: RouterSection | None = None
    """None: routers are trained as the model was written."""
    heldout_rows: int = Field(0, ge=0)
    """Rows at the end of each source that are never trained on; their loss is logged."""
    processes: int = Field(1, ge=1, json_schema_extra=RUNTIME)
    """Processes that `tsqa train` launches; under your own `accelerate launch` its count rules."""
    checkpoint_every: int = Field(500, ge=1, json_schema_extra=RUNTIME)
    """Optimizer steps between checkpoints."""
    checkpoint_minutes: float | None = Field(None, gt=0, json_schema_extra=RUNTIME)
    """Save also when this long has passed since the last checkpoint."""
    keep_checkpoints: int = Field(2, ge=1, json_schema_extra=RUNTIME)
    """The newest ones; they are deleted when the run ends."""
    keep_every: int | None = Field(None, ge=1, json_schema_extra=RUNTIME)
    """Steps whose checkpoint is kept for good: every multiple of this."""
    older_checkpoint: bool = Field(False, json_schema_extra=RUNTIME)
    """Continue from an older checkpoint where the newest is damaged, instead of stopping."""
    max_loss_spike: float | None = Field(None, gt=1, json_schema_extra=RUNTIME)
    """Stop when the loss of a step is this many times the recent mean."""
    heldout_every: int = Field(100, ge=1, json_schema_extra=RUNTIME)
    """Optimizer steps between measurements of the held-out loss; one more at the end."""
    peak_tflops: float | None = Field(None, gt=0, json_schema_extra=RUNTIME)
    """Of one device, dense, in the training precision (H100 and H200: 989): MFU is against it."""
    log_every: int = Field(10, ge=1, json_schema_extra=RUNTIME)

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
