"""The recipe: one YAML per experiment, validated whole before any work starts.

Promises: an unknown key is refused with the nearest valid name; every error names file, line,
key, value and fix; a field marked `RUNTIME` never changes the data, and so no fingerprint.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from tsqa.errors import RecipeError

RUNTIME: dict[str, Any] = {"runtime": True}
BASIS_POINTS = 10_000
SUITES = Path(__file__).parent.parent / "recipes" / "suites"
_LONGEST_VALUE = 40
"""Characters of a list or a mapping in the name of an arm."""
_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def parse_tokens(value: Any) -> Any:
    """Turn `450_000`, `25M` or `1.5B` into an integer; leave anything else to pydantic."""
    if isinstance(value, str):
        match = re.fullmatch(r"([\d_]+(?:\.\d+)?)\s*([KMBT]?)", value.strip().upper())
        if match:
            return round(float(match[1].replace("_", "")) * _UNITS.get(match[2], 1))
    return value


Tokens = Annotated[int, BeforeValidator(parse_tokens), Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Base of every section: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def data_config(self) -> dict[str, Any]:
        """Plain JSON of the fields that decide the data (all but those marked `RUNTIME`)."""
        config: dict[str, Any] = {}
        for name, declared in type(self).model_fields.items():
            extra = declared.json_schema_extra
            if isinstance(extra, dict) and extra.get("runtime"):
                continue
            config[name] = _plain(getattr(self, name))
        return config


class DataSection(Section):
    """Data that the harness builds itself, reachable as `{data}/...` in every path below."""

    builder: Literal["miniature"]
    seed: int = 0
    train_per_family: int = Field(300, ge=4)
    """Training documents per task family: the seeds."""
    test_per_family: int = Field(100, ge=4)
    """Test documents per task family, disjoint from the training split."""
    teacher_documents: int = Field(20_000, ge=0)
    """Few-shot documents for the teacher's own training; none holds a test question."""


AnswerKind = Literal["choice", "number", "short_text", "long_text", "code", "boolean"]
Enrichment = Literal["reasoning", "knowledge", "context", "distractors"]


class ColumnsSection(Section):
    """Column of an own dataset -> field of a seed; a dotted name reaches into nested records."""

    question: str
    answer: str
    choices: str | None = None
    context: str | None = None
    explanation: str | None = None
    subject: str | None = None
    tests: str | None = None
    """Code that fails unless the answer is right; for answers of kind `code`."""
    id: str | None = None


class DatasetSection(Section):
    """Seeds from an own dataset: a hub id, or local JSONL(.gz), JSON, parquet or CSV."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The task name of its seeds."""
    path: str
    """A file, a folder of files of one format, or a hub id."""
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    columns: ColumnsSection
    answer: Literal["auto", "index", "letter", "text"] = "auto"
    """What the answer column holds where there are choices."""
    kind: AnswerKind | None = None
    """None: told from each document."""
    capability: str | None = None
    language: str = "en"
    licence: str | None = None


class BudgetSection(Section):
    """How many seeds each capability and task gives."""

    total: int = Field(ge=1)
    temperature: float = Field(1.0, gt=0)
    """A pool of n documents weighs n ** (1 / temperature): 1 is proportional, large is equal."""
    capabilities: dict[str, Share] = {}
    """Share of the total per capability; those not named share the rest by their weights."""


class SeedsSection(Section):
    """Training splits of lm-eval tasks and of own datasets, normalised to Seed records."""

    tasks: list[str] = []
    include: str | None = None
    """Folder of lm-eval task YAMLs; None means lm-eval's own tasks."""
    datasets: list[DatasetSection] = []
    taxonomy: str | None = None
    """YAML that maps tasks to capabilities; its entries win over the shipped ones."""
    max_per_task: int = Field(1000, ge=1)
    budget: BudgetSection | None = None
    allow_leaks: list[str] = []
    """Tasks to seed from although they share documents with an evaluated split. Recorded in
    every artifact downstream."""
    seed: int = 0

    @model_validator(mode="after")
    def _some_source(self) -> Self:
        if not self.tasks and not self.datasets:
            raise ValueError("give tasks, datasets, or both")
        names = [dataset.name for dataset in self.datasets]
        twice = sorted({name for name in names if names.count(name) > 1 or name in self.tasks})
        if twice:
            raise ValueError(f"two sources have the name {', '.join(twice)}")
        return self


class ModelSection(Section):
    """A model: `path` (folder or hub id), `recipe` (trained on demand), or `config` (scratch)."""

    path: str | None = None
    recipe: str | None = None
    """A recipe whose trained model is used; built first where it is not yet built."""
    config: dict[str, Any] | None = None
    """A transformers config with `model_type`, for a model from scratch."""
    trust_remote_code: bool = False

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [k for k in ("path", "recipe", "config") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of path, recipe, config; found {given or 'none'}")
        if self.config is not None and "model_type" not in self.config:
            raise ValueError("config needs `model_type`, such as nemotron_h")
        return self


class SamplingSection(Section):
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(256, ge=1)


class TeacherSection(Section):
    """A model that writes or judges: vLLM in its own process, or an OpenAI-compatible endpoint."""

    engine: Literal["vllm", "openai"] = "vllm"
    model: ModelSection
    """openai: `path` is the model's name at the endpoint."""
    form: Literal["auto", "chat", "completion"] = "auto"
    """auto: chat where the model has a chat template, few-shot completion otherwise."""
    structured: bool = False
    """Guide decoding by the prompt's JSON schema (chat form only)."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "auto"
    max_model_len: int = Field(4096, ge=32)
    max_num_seqs: int = Field(256, ge=1)
    """Requests served at once, per replica or endpoint."""
    replicas: int = Field(1, ge=1, json_schema_extra=RUNTIME)
    """vllm: engines side by side, each on its own GPUs."""
    tensor_parallel: int = Field(1, ge=1, json_schema_extra=RUNTIME)
    kv_cache_gib: int = Field(2, ge=1, json_schema_extra=RUNTIME)
    """CPU only: VLLM_CPU_KVCACHE_SPACE."""
    urls: list[str] = Field([], json_schema_extra=RUNTIME)
    """openai: base URLs, such as http://localhost:8000/v1; several are replicas."""
    api_key_env: str = Field("OPENAI_API_KEY", json_schema_extra=RUNTIME)
    """openai: the environment variable that holds the key; unset means no key."""
    requests_per_minute: int | None = Field(None, ge=1, json_schema_extra=RUNTIME)
    timeout_seconds: float = Field(600.0, gt=0, json_schema_extra=RUNTIME)
    retries: int = Field(6, ge=0, json_schema_extra=RUNTIME)
    """openai: tries after the first on 429, 5xx, timeouts and unreadable answers."""
    dollars_per_hour: float = Field(0.0, ge=0, json_schema_extra=RUNTIME)
    """Per replica or endpoint."""
    dollars_per_million_prompt_tokens: float = Field(0.0, ge=0, json_schema_extra=RUNTIME)
    dollars_per_million_output_tokens: float = Field(0.0, ge=0, json_schema_extra=RUNTIME)

    @model_validator(mode="after")
    def _engine_fits(self) -> Self:
        if self.engine == "openai" and not self.urls:
            raise ValueError("engine openai needs `urls`, such as [http://localhost:8000/v1]")
        if self.engine == "openai" and self.model.path is None:
            raise ValueError("engine openai needs `model.path`: the model's name at the endpoint")
        if self.engine == "vllm" and self.urls:
            raise ValueError("`urls` needs `engine: openai`")
        if self.model.config is not None:
            raise ValueError("a model from scratch (model.config) knows nothing; give model.path")
        if self.structured and self.form == "completion":
            raise ValueError("`structured` needs the chat form")
        return self


class PromptsSection(Section):
    """Names of the shipped prompt sets, or paths: a folder of Jinja files, or one for all kinds."""

    question: str = "similar"
    answer: str = "enrich"


class CascadeSection(Section):
    """A stronger teacher answers again where the votes of the first disagree."""

    teacher: TeacherSection
    agreement: float = Field(0.6, gt=0, le=1)
    """Candidates whose winning answer has a smaller share of the votes are answered again."""


class GenerateSection(Section):
    """Seed -> new questions -> k enriched answers each."""

    teacher: TeacherSection
    cascade: CascadeSection | None = None
    per_seed: int = Field(4, ge=1)
    shots: int = Field(2, ge=1)
    """Seeds of the same task shown in a prompt."""
    votes: int = Field(5, ge=1)
    enrichment: list[Enrichment] = ["reasoning", "knowledge", "context", "distractors"]
    """What an answer carries beside itself; an empty list is the answer alone."""
    question: SamplingSection = SamplingSection(temperature=1.0)
    answer: SamplingSection = SamplingSection(temperature=0.8, max_tokens=1024)
    prompts: PromptsSection = PromptsSection()
    seed: int = 0


class SemanticSection(Section):
    model: str
    """A sentence-transformers model: a folder or a hub id."""
    threshold: float = Field(0.92, gt=0, le=1)
    """Cosine similarity at which two questions are one."""


class DedupSection(Section):
    method: Literal["minhash", "exact"] = "minhash"
    threshold: float = Field(0.8, gt=0, le=1)
    """Jaccard similarity of word shingles at which two questions are one."""
    semantic: SemanticSection | None = None


class DecontaminateSection(Section):
    ngram: int = Field(13, ge=1)
    """Words in a matching run; items shorter than this are matched whole."""
    similarity: Share = 0.8
    """Share of the evaluated item's words, in order, that a candidate may not reach."""


class TrivialitySection(Section):
    """Reject what needs no skill: answered by all tries of a weak model, or without the context."""

    teacher: TeacherSection | None = None
    """The weak model; None: the teacher itself, asked without the context."""
    tries: int = Field(4, ge=1)


class JudgeSection(Section):
    """A model grades each item by a rubric; every criterion must reach the score."""

    teacher: TeacherSection
    prompt: str = "judge"
    min_score: int = Field(4, ge=1, le=5)


class RewardSection(Section):
    """A sequence-classification checkpoint scores question and answer."""

    model: str
    """A folder or a hub id."""
    min_score: float
    batch_size: int = Field(16, ge=1, json_schema_extra=RUNTIME)


class CodeSection(Section):
    """Run the tests of code answers in an isolated subprocess: no network, bounded."""

    seconds: float = Field(5.0, gt=0)
    memory_mib: int = Field(512, ge=64)


class FilterSection(Section):
    min_words: int = Field(1, ge=1)
    max_words: int = Field(400, ge=1)
    """Of the question, its context and the answer with all that it carries."""
    languages: list[str] | None = None
    """ISO 639-1 codes; None: not checked."""
    agreement: float = Field(0.6, gt=0, le=1)
    """Share of the votes that the winning answer needs."""
    copy_similarity: float = Field(0.9, gt=0, le=1)
    """Jaccard similarity of word shingles at which a question is a copy of its seed."""
    triviality: TrivialitySection | None = None
    judge: JudgeSection | None = None
    reward: RewardSection | None = None
    code: CodeSection | None = None
    """None: answers of kind `code` are rejected, since nothing verified them."""
    renderings: list[str] = ["qa"]
    """Shipped or own document templates; each item takes one, by its id."""
    dedup: DedupSection = DedupSection()
    decontaminate: DecontaminateSection = DecontaminateSection()


class TokenizerSection(Section):
    """`path` of a tokenizer, or byte-level BPE trained on text files. None: the model's own."""

    path: str | None = None
    train_on: list[str] = []
    """Files or folders, as of a source, with a `text` field."""
    vocab_size: int = Field(1024, ge=257)

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if bool(self.path) == bool(self.train_on):
            raise ValueError("give exactly one of path, train_on")
        return self


class SourceSection(Section):
    """One source of the mixture: files, a Hugging Face dataset, or an earlier stage's dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    path: str | None = None
    """A file or a folder of JSONL(.gz, .zst), parquet or text (.txt, .md), a dataset that
    `datasets` saved to disk, or a hub id, which is streamed."""
    stage: Literal["filter"] | None = Field(None, alias="from")
    subset: str | None = None
    """Of a hub dataset, as are `split` and `revision`; the revision must be given."""
    split: str = "train"
    revision: str | None = None
    text_field: str = "text"
    packing: Literal["split", "whole"] = "split"
    """split: documents one after the other, cut where a row ends. whole: each row holds whole
    documents, best fit first; one that is longer than a row is dropped."""
    permute: Literal["answers"] | None = None
    """Of `from: filter`: each item takes the answer, with all that it carries, of another item of
    the same task and kind: the shape stays, what it teaches does not."""
    subset_of: str | None = None
    """Rows of another source of this mixture: a seeded choice of as many as `size_of` holds."""
    size_of: str | None = None
    """The source whose number of rows counts, so that both repeat equally often."""
    answer_marker: str | None = None
    """Only what follows the first of these in a document bears a loss, such as "Answer:"."""
    max_repetition: float | None = Field(None, gt=0, json_schema_extra=RUNTIME)
    """Epochs over this source beyond which training is refused; None: the mixture's."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        origins = (self.path, self.stage, self.subset_of)
        if sum(origin is not None for origin in origins) != 1:
            raise ValueError("give exactly one of path, from, subset_of")
        if (self.subset_of is None) != (self.size_of is None):
            raise ValueError("subset_of and size_of go together")
        if self.permute and self.stage != "filter":
            raise ValueError("permute needs `from: filter`: only its items have answers")
        if self.answer_marker == "":
            raise ValueError("answer_marker is empty; leave it out to train on whole documents")
        return self


class PhaseSection(Section):
    """A stretch of the stream at fixed ratios (rows are fixed-length, so row = token ratio)."""

    tokens: Tokens
    ratios: dict[str, Share]

    @model_validator(mode="after")
    def _ratios(self) -> Self:
        total = sum(self.ratios.values())
        if abs(total - 1) > 1e-9:
            shown = " + ".join(f"{v:g}" for v in self.ratios.values())
            raise ValueError(f"ratios must sum to 1; {shown} = {total:g}")
        for name, ratio in self.ratios.items():
            if abs(ratio * BASIS_POINTS - round(ratio * BASIS_POINTS)) > 1e-6:
                raise ValueError(f"ratio {ratio} of {name} is finer than one basis point (0.0001)")
        return self


class MixtureSection(Section):
    sources: dict[str, SourceSection] = Field(min_length=1)
    phases: list[PhaseSection] = Field(min_length=1)
    max_repetition: float = Field(4.0, gt=0)
    """Epochs over a source beyond which training is refused."""
    decontaminate: bool = True
    """Leave out the documents of every source that hold an evaluated one (`eval.tasks`)."""
    tokenize_processes: int | None = Field(None, ge=1, json_schema_extra=RUNTIME)
    """None: one for each core."""

    @property
    def tokens(self) -> int:
        """The token budget: that of all phases."""
        return sum(phase.tokens for phase in self.phases)

    @property
    def tokenized(self) -> dict[str, SourceSection]:
        """The sources that hold rows of their own."""
        return {name: source for name, source in self.sources.items() if not source.subset_of}

    @model_validator(mode="after")
    def _known_subsets(self) -> Self:
        for name, source in self.sources.items():
            for key in ("subset_of", "size_of"):
                other = getattr(source, key)
                if other is not None and other not in self.tokenized:
                    raise ValueError(
                        f"sources.{name}.{key} = {other!r} is no source with rows of its own; "
                        f"use one of {', '.join(self.tokenized)}"
                    )
        return self

    @model_validator(mode="after")
    def _known_sources(self) -> Self:
        for number, phase in enumerate(self.phases):
            for name in phase.ratios:
                if name not in self.sources:
                    raise ValueError(
                        f"phases[{number}].ratios names `{name}`, which is not in sources "
                        f"({', '.join(self.sources)})"
                    )
        return self


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
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)
    clip: float = Field(1.0, gt=0)
    zero_stage: Literal[0, 1, 2, 3] = 1
    offload: Literal["none", "optimizer", "parameters"] = "none"
    """What ZeRO keeps in CPU memory: optimizer needs zero_stage 1, parameters (both) 3."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """bf16 keeps fp32 master weights and adds up gradients in fp32."""
    fp32_parameters: list[str] = []
    """Ends of names of parameters that a bf16 run computes in fp32, such as A_log, D, dt_bias."""
    gradient_checkpointing: bool = False
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


class EvalSection(Section):
    suite: str | None = Field(None, json_schema_extra=RUNTIME)
    """A name from recipes/suites, or a path: its YAML gives what this section leaves out."""
    tasks: list[str] = Field(min_length=1)
    include: str | None = None
    """Folder of lm-eval task YAMLs; None means lm-eval's own tasks."""
    macros: dict[str, list[str]] = {}
    """Named macro averages over some of `tasks`."""
    num_fewshot: int | None = Field(None, ge=0)
    """None: as each task says."""
    limit: int | None = Field(None, ge=1)
    """Only the first documents of each task."""
    seed: int = 1234
    """Draws the few-shot examples."""
    chat_template: bool = False
    """Wrap each prompt in the tokenizer's chat template."""
    system_instruction: str | None = None
    allow_code: bool = Field(False, json_schema_extra=RUNTIME)
    """Let tasks execute the code that the model writes, unguarded, on this machine."""
    every_tokens: Tokens | None = None
    """Evaluate each arm also at every multiple of this many training tokens."""
    backend: Literal["auto", "hf", "vllm"] = "auto"
    """auto: vllm on a GPU where it serves the model, hf otherwise."""
    max_length: int | None = Field(None, ge=32)
    """Tokens of a prompt with its answer; None: what the model allows."""
    batch_size: int = Field(32, ge=1, json_schema_extra=RUNTIME)
    """Of hf, per process."""
    processes: int = Field(1, ge=1, json_schema_extra=RUNTIME)
    """Copies of the model that share the requests, each on its own GPUs."""
    tensor_parallel: int = Field(1, ge=1, json_schema_extra=RUNTIME)
    """GPUs of each copy (vllm)."""
    kv_cache_gib: int = Field(2, ge=1, json_schema_extra=RUNTIME)
    """vllm on a CPU: VLLM_CPU_KVCACHE_SPACE."""
    bootstrap: int = Field(10_000, ge=100)
    """Resamples behind each confidence interval."""
    confidence: float = Field(0.95, gt=0.5, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _from_suite(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("suite"), str):
            return values
        return {**read_suite(values["suite"]), **values}

    @model_validator(mode="after")
    def _macros_fit(self) -> Self:
        for name, members in self.macros.items():
            if name in ("macro", *self.tasks):
                raise ValueError(f"macros.{name} has the name of another row; choose another")
            if not members:
                raise ValueError(f"macros.{name} has no tasks")
            for task in members:
                if task not in self.tasks:
                    raise ValueError(
                        f"macros.{name} names `{task}`, which is not in eval.tasks "
                        f"({', '.join(self.tasks)})"
                    )
        if self.system_instruction is not None and not self.chat_template:
            raise ValueError("eval.system_instruction needs eval.chat_template: true")
        return self


def read_suite(name: str) -> dict[str, Any]:
    """The `eval` section of a suite: a name from recipes/suites, or the path of a YAML file."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else SUITES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in SUITES.glob("*.yaml")))
        raise RecipeError(f"eval.suite: {name}: no such suite", f"known: {known}; or give a path")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    section = values.get("eval") if isinstance(values, dict) else None
    if not isinstance(section, dict) or "suite" in section:
        raise RecipeError(
            f"{path}: a suite is a YAML file with one section `eval`, no `suite` in it"
        )
    return section


Control = Literal["format_matched", "repeat_matched"]


class AblationSection(Section):
    """Conditions = the product of `axes`, and the combinations that `arms` lists.

    A key is any key of the recipe, with any value. `mixture.<source>` sets a ratio and scales the
    others. A key that a combination does not name stays as in the recipe.
    """

    axes: dict[str, list[Any]] = {}
    arms: list[dict[str, Any]] = []
    """Each is keys and their values; `name` may name the condition."""
    seeds: list[int] = []
    """Every condition is trained once per seed; none means the recipe's own seed."""
    control: dict[str, Any] | str
    """The keys and values of the control's condition, or its name."""
    controls: list[Control] = []
    """Further conditions, made from the one that draws most from `from: filter`.
    format_matched: its items with another item's answer. repeat_matched: human text in their
    place, cut to as many rows, so that it repeats as often."""

    @property
    def combinations(self) -> list[dict[str, Any]]:
        """What each condition sets, `name` among it where it is given."""
        product: list[dict[str, Any]] = [{}] if self.axes else []
        for key, values in self.axes.items():
            product = [{**c, key: v} for c in product for v in values]
        return [*product, *self.arms]

    @model_validator(mode="after")
    def _some_arms(self) -> Self:
        if not self.axes and not self.arms:
            raise ValueError("give axes, arms, or both")
        for key, values in self.axes.items():
            if not values:
                raise ValueError(f"axis {key} has no values")
        for keys in (list(self.axes), *self.arms):
            if "seed" in keys:
                raise ValueError("`seed` is no axis, give ablation.seeds: arms are paired by it")
        for name in ("seeds", "controls"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} {values} holds one twice")
        return self

    @model_validator(mode="after")
    def _control_is_an_arm(self) -> Self:
        if isinstance(self.control, str):
            if self.control not in condition_names(self):
                raise ValueError(
                    f"control `{self.control}` is no condition; use one of: "
                    f"{', '.join(condition_names(self))}"
                )
            return self
        if not self.arms:
            for key, values in self.axes.items():
                if key not in self.control:
                    raise ValueError(f"control lacks a value for the axis {key}")
                if self.control[key] not in values:
                    raise ValueError(
                        f"control {key}={self.control[key]} is not in its axis {values}"
                    )
        if self.control not in [_settings(c) for c in self.combinations]:
            raise ValueError(
                f"control {self.control} is no condition; use the keys and values of one of: "
                f"{', '.join(condition_names(self))}"
            )
        return self


class TrackingSection(Section):
    project: str = "tsqa"
    entity: str | None = None
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"


class Recipe(Section):
    """One experiment. Sections that are absent have no stage."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    runs: str = Field("runs", json_schema_extra=RUNTIME)
    """Folder of artifacts and reports."""
    seed: int = 0
    """Initialisation and shuffles of the training run."""
    data: DataSection | None = None
    seeds: SeedsSection | None = None
    generate: GenerateSection | None = None
    filter: FilterSection | None = None
    model: ModelSection | None = None
    tokenizer: TokenizerSection | None = None
    mixture: MixtureSection | None = None
    train: TrainSection | None = None
    eval: EvalSection | None = None
    ablation: AblationSection | None = None
    tracking: TrackingSection = Field(TrackingSection(), json_schema_extra=RUNTIME)

    @model_validator(mode="after")
    def _sections_fit(self) -> Self:
        chain = ("seeds", "generate", "filter")
        for earlier, later in itertools.pairwise(chain):
            if getattr(self, later) and not getattr(self, earlier):
                raise ValueError(f"the section `{later}` needs the section `{earlier}`")
        for name in ("model", "mixture"):
            if self.train and getattr(self, name) is None:
                raise ValueError(f"the section `train` needs the section `{name}`")
        for name in ("mixture", "ablation"):
            if getattr(self, name) and not self.train:
                raise ValueError(f"the section `{name}` needs the section `train`")
        if self.filter is None and self.mixture:
            for name, source in self.mixture.sources.items():
                if source.stage == "filter":
                    raise ValueError(
                        f"mixture.sources.{name} is `from: filter`, but there is no `filter`"
                    )
        every = self.eval.every_tokens if self.eval else None
        if every and self.train and every < self.train.global_batch_tokens:
            raise ValueError(
                f"eval.every_tokens {every:,} is below train.global_batch_tokens "
                f"{self.train.global_batch_tokens:,}: no step ends there; raise it"
            )
        if self.filter and not self.eval:
            raise ValueError("`filter` needs `eval`: decontamination is against its tasks")
        if self.model and self.model.config is not None and self.tokenizer is None:
            raise ValueError("a model from scratch (model.config) needs a `tokenizer`")
        return self


def curve_points(recipe: Recipe) -> list[int]:
    """Training tokens, before the end, at which a run is also exported and evaluated."""
    if recipe.eval is None or recipe.eval.every_tokens is None or recipe.train is None:
        return []
    # A run may end up to one batch below its budget, so that it has only whole ones.
    last = needed(recipe.mixture, "mixture").tokens - recipe.train.global_batch_tokens
    return list(range(recipe.eval.every_tokens, last + 1, recipe.eval.every_tokens))


def stream_check(recipe: Recipe) -> DecontaminateSection | None:
    """How the sources of the stream are checked for evaluated documents; None: they are not."""
    if recipe.eval is None or recipe.mixture is None or not recipe.mixture.decontaminate:
        return None
    return recipe.filter.decontaminate if recipe.filter else DecontaminateSection()


S = TypeVar("S", bound=Section)


def needed(section: S | None, name: str) -> S:
    """The section of a recipe that a stage cannot do without; RecipeError where it is absent."""
    if section is None:
        raise RecipeError(f"the recipe has no section `{name}`", "add it")
    return section


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Load, extend, override and validate a recipe; raise RecipeError listing every problem."""
    tree = _load_tree(path, ())
    for override in overrides:
        _apply_override(tree, override)
    try:
        values = OmegaConf.to_container(tree, resolve=True)
    except OmegaConfBaseException as error:
        raise RecipeError(f"{path}: {error}") from error
    origins = _origins(path)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        overridden = {o.split("=", 1)[0] for o in overrides}
        problems = [_describe(problem, path, origins, overridden) for problem in error.errors()]
        raise RecipeError("\n".join(problems)) from error


def _load_tree(path: Path, chain: tuple[Path, ...]) -> Any:
    if not path.is_file():
        raise RecipeError(f"{path}: no such recipe", "give the path of a YAML file")
    if path.resolve() in chain:
        raise RecipeError(f"{path}: `extends` goes in a circle")
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: expected keys and values, found {type(values).__name__}")
    base = values.pop("extends", None)
    if not isinstance(base, str | None):
        raise RecipeError(f"{path}: extends = {base!r}: expected the path of one recipe")
    _resolve_recipe_paths(values, path.parent)
    try:
        tree = OmegaConf.create(values)
    except OmegaConfBaseException as error:
        raise RecipeError(f"{path}: {error}") from error
    if base is None:
        return tree
    inherited = _load_tree(path.parent / base, (*chain, path.resolve()))
    if "ablation" in values:  # axes of both would multiply
        inherited.pop("ablation", None)
    return OmegaConf.merge(inherited, tree)


def _resolve_recipe_paths(node: Any, folder: Path) -> None:
    """Make `recipe:` keys relative to the file that holds them, as `extends:` is."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "recipe" and isinstance(value, str):
                node[key] = str(folder / value)
            else:
                _resolve_recipe_paths(value, folder)
    elif isinstance(node, list):
        for value in node:
            _resolve_recipe_paths(value, folder)


def _apply_override(tree: Any, override: str) -> None:
    """Set `key.path=value` in the tree; the value is YAML, or text where it is not YAML."""
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise RecipeError(
            f"override `{override}` is not key.path=value", "for example train.lr=1e-3"
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:  # {data}/x.jsonl opens a YAML mapping
        value = text
    try:
        mixture = OmegaConf.to_container(tree.get("mixture") or OmegaConf.create(), resolve=False)
        assert isinstance(mixture, dict)
        if "phases" in mixture and "sources" in mixture and _is_ratio(key, dict(mixture)):
            _set_ratio(mixture["phases"], key, value)
            key, value = "mixture.phases", mixture["phases"]
        OmegaConf.update(tree, key, value, merge=key != "ablation", force_add=True)
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise RecipeError(f"override `{override}`: {error}") from error


def _origins(path: Path) -> dict[str, str]:
    """Map `a.b.0.c` to the `file:line` that sets it, in this file or in one that it extends."""
    own: dict[str, str] = {}
    replaced: list[str] = []

    def walk(node: yaml.Node, prefix: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name, origin = f"{prefix}{key.value}", f"{path}:{key.start_mark.line + 1}"
                if name in own:
                    raise RecipeError(
                        f"{origin}: {name}: given twice (first at {own[name]})", "keep one"
                    )
                own[name] = origin
                walk(value, name + ".")
        else:
            replaced.append(prefix)
            if isinstance(node, yaml.SequenceNode):
                for number, value in enumerate(node.value):
                    own[f"{prefix}{number}"] = f"{path}:{value.start_mark.line + 1}"
                    walk(value, f"{prefix}{number}.")

    text = path.read_text(encoding="utf-8")
    root = yaml.compose(text, yaml.SafeLoader)
    if root is None:
        return own
    walk(root, "")
    base = yaml.safe_load(text).get("extends")
    inherited = _origins(path.parent / base) if base is not None else {}
    kept = {k: v for k, v in inherited.items() if not k.startswith(tuple(replaced))}
    return {**kept, **own}


def _describe(
    problem: Mapping[str, Any], path: Path, origins: Mapping[str, str], overridden: set[str]
) -> str:
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    message = str(problem["msg"]).removeprefix("Value error, ")
    value = problem.get("input")
    shown = "" if isinstance(value, dict) else f" = {value!r}"
    fix = ""
    if problem["type"] == "extra_forbidden":
        names = sorted(_field_names(Recipe, location[:-1]))
        near = difflib.get_close_matches(location[-1], names, n=1)
        message = "unknown key"
        fix = f"did you mean `{near[0]}`?" if near else f"valid keys here: {', '.join(names)}"
    elif problem["type"] == "missing":
        message, shown, fix = "required key is missing", "", "add it"
    override = next((k for k in _ancestors(location) if k in overridden), None)
    if override:
        origin = f"override {key}"
    else:
        place = next((origins[k] for k in _ancestors(location) if k in origins), path)
        origin = f"{place}: {key or 'recipe'}"
    return f"{origin}{shown}: {message}" + (f"\n  fix: {fix}" if fix else "")


def _ancestors(location: Sequence[str]) -> Iterator[str]:
    for end in range(len(location), 0, -1):
        yield ".".join(location[:end])


def _field_names(model: type[BaseModel], location: Sequence[str]) -> set[str]:
    """The keys that are valid below a location of the schema."""
    for depth, part in enumerate(location):
        declared = model.model_fields.get(part)
        if declared is None:
            continue
        nested = [a for a in _flatten(declared.annotation) if isinstance(a, type)]
        models = [a for a in nested if issubclass(a, BaseModel)]
        if models:
            return _field_names(models[0], location[depth + 1 :])
    return {f.alias or name for name, f in model.model_fields.items()}


def _flatten(annotation: Any) -> Iterator[Any]:
    arguments = get_args(annotation)
    if not arguments:
        yield annotation
    for argument in arguments:
        yield from _flatten(argument)


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return value.data_config()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


@dataclass(frozen=True)
class Arm:
    """One training run of an ablation: a condition (what varies) under one seed."""

    name: str
    """The condition, and `,seed=N` where the ablation has several seeds."""
    condition: str
    seed: int
    recipe: Recipe
    values: Mapping[str, Any] = field(default_factory=dict)
    """What the condition sets: key of the recipe -> value; `control` where it is a made one."""


def arms_of(recipe: Recipe) -> dict[str, Arm]:
    """Arm name -> arm. Without an ablation: one arm, `main`."""
    section = recipe.ablation
    if section is None:
        return {"main": Arm("main", "main", recipe.seed, recipe)}
    seeds = section.seeds or [recipe.seed]
    names = condition_names(section)
    conditions: list[tuple[str, dict[str, Any], Recipe]] = []
    for name, combination in zip(names, section.combinations, strict=True):
        values = _settings(combination)
        conditions.append((name, values, _with_values(recipe, values, name)))
    for control in section.controls:
        conditions.append(_matched(conditions[: len(names)], control))
    _refuse_duplicates(conditions)
    several = len(seeds) > 1
    arms = [
        Arm(
            f"{name},seed={seed}" if several else name,
            name,
            seed,
            changed.model_copy(update={"seed": seed}),
            values,
        )
        for name, values, changed in conditions
        for seed in seeds
    ]
    return {arm.name: arm for arm in arms}


def arm_config(arm: Arm) -> dict[str, Any]:
    """What varies as flat keys: `ablation/<key>`, `ablation/condition` and `seed`."""
    values = {f"ablation/{key}": value for key, value in arm.values.items()}
    return {"ablation/condition": arm.condition, **values, "seed": arm.seed}


def control_of(recipe: Recipe) -> str:
    """The condition of the control arms."""
    section = recipe.ablation
    if section is None:
        return "main"
    if isinstance(section.control, str):
        return section.control
    # Spelled as in the axis: a control of 0 is the arm 0.0.
    settings = [_settings(combination) for combination in section.combinations]
    return condition_names(section)[settings.index(section.control)]


def condition_names(section: AblationSection) -> list[str]:
    """A name for each combination: its own, or what varies, each key by its shortest clear tail."""
    combinations = section.combinations
    tails = key_tails(key for combination in combinations for key in _settings(combination))
    return [
        str(combination.get("name") or named_values(_settings(combination), tails))
        for combination in combinations
    ]


def key_tails(keys: Iterable[str]) -> dict[str, str]:
    """Key -> its last part, or as many of its last parts as tell it from the others."""
    known = dict.fromkeys(keys)
    return {key: _shortest_tail(key, known) for key in known}


def named_values(values: Mapping[str, Any], tails: Mapping[str, str]) -> str:
    """`tail=value` of each, separated by commas; `recipe` where nothing is set."""
    return ",".join(f"{tails[key]}={_shown(value)}" for key, value in values.items()) or "recipe"


def _settings(combination: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in combination.items() if key != "name"}


def _shortest_tail(key: str, keys: Collection[str]) -> str:
    parts = key.split(".")
    for size in range(1, len(parts)):
        tail = ".".join(parts[-size:])
        if not any(other != key and f".{other}".endswith(f".{tail}") for other in keys):
            return tail
    return key


def _shown(value: Any) -> str:
    """A value as part of a name: short, and another one for another value."""
    if value is None:
        return "none"
    if isinstance(value, (list, Mapping)):
        items = value if isinstance(value, list) else [f"{k}:{v}" for k, v in value.items()]
        text = "+".join(map(str, items)) or "none"
        if len(text) > _LONGEST_VALUE or any(isinstance(i, (list, Mapping)) for i in items):
            return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
        return text
    return str(value)


def _matched(
    conditions: Sequence[tuple[str, dict[str, Any], Recipe]], control: Control
) -> tuple[str, dict[str, Any], Recipe]:
    """The control of that kind to the condition that draws most from the synthetic source."""
    shares = [_synthetic_tokens(changed) for _, _, changed in conditions]
    name, values, changed = conditions[shares.index(max(shares))]
    if not max(shares):
        raise RecipeError(
            f"ablation.controls: {control}: no condition draws from a source `from: filter`",
            "give one a ratio above 0, or leave the control out",
        )
    tree = changed.model_dump(mode="json", by_alias=True)
    mixture = tree["mixture"]
    synthetic = [n for n, s in mixture["sources"].items() if s["from"] == "filter"]
    if control == "format_matched":
        for source in synthetic:
            mixture["sources"][source]["permute"] = "answers"
    else:
        human = [n for n, s in mixture["sources"].items() if s["path"] is not None]
        if not human:
            raise RecipeError(
                "ablation.controls: repeat_matched needs a source with a `path`",
                "add human text to mixture.sources",
            )
        ratios = mixture["phases"][0]["ratios"]
        largest = max(human, key=lambda source: ratios.get(source, 0.0))
        for source in synthetic:
            mixture["sources"][f"{source}_as_{largest}"] = {
                "subset_of": largest,
                "size_of": source,
                "max_repetition": mixture["sources"][source]["max_repetition"],
            }
            for phase in mixture["phases"]:
                if source in phase["ratios"]:
                    phase["ratios"][f"{source}_as_{largest}"] = phase["ratios"].pop(source)
    made = f"{name},{control}"
    return made, {**values, "control": control}, _validated(tree, made)


def _synthetic_tokens(recipe: Recipe) -> float:
    mixture = needed(recipe.mixture, "mixture")
    return sum(
        phase.tokens * ratio
        for phase in mixture.phases
        for name, ratio in phase.ratios.items()
        if mixture.sources[name].stage == "filter"
    )


def _refuse_duplicates(conditions: Sequence[tuple[str, dict[str, Any], Recipe]]) -> None:
    for (first, _, one), (second, _, two) in itertools.combinations(conditions, 2):
        if first == second:
            raise RecipeError(
                f"ablation: two conditions have the name `{first}`",
                "give each of them a `name` in ablation.arms",
            )
        if one == two:
            raise RecipeError(
                f"ablation: the conditions `{first}` and `{second}` are the same recipe",
                "leave one out",
            )


def _with_values(recipe: Recipe, values: Mapping[str, Any], name: str) -> Recipe:
    tree = recipe.model_dump(mode="json", by_alias=True) | {"ablation": None}
    for key, value in values.items():
        if _is_ratio(key, tree["mixture"]):
            try:
                _set_ratio(tree["mixture"]["phases"], key, value)
            except RecipeError as error:
                raise RecipeError(f"ablation: {name}: {error}") from error
            continue
        node: Any = tree
        parts = key.split(".")
        for depth, part in enumerate(parts):
            if not isinstance(node, dict) or part not in node:
                raise _unknown_key(key, node, parts, depth)
            if depth == len(parts) - 1:
                node[part] = value
            node = node[part]
    return _validated(tree, name)


def _unknown_key(key: str, node: Any, parts: Sequence[str], depth: int) -> RecipeError:
    if not isinstance(node, dict):
        section = ".".join(parts[:depth])
        return RecipeError(
            f"ablation: {key}: no such key: `{section}` is {node!r}",
            f"set `{section}` in the recipe, or vary it whole",
        )
    valid = [*node, *node.get("sources", ())]  # `mixture.<source>` is a ratio
    near = difflib.get_close_matches(parts[depth], valid, n=1)
    fix = f"did you mean `{near[0]}`?" if near else f"valid keys here: {', '.join(valid)}"
    return RecipeError(f"ablation: {key}: no such key: `{parts[depth]}`", fix)


def _validated(tree: Mapping[str, Any], name: str) -> Recipe:
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise RecipeError(f"arm {name}: {where}: {problem['msg']}") from error


def _is_ratio(key: str, mixture: Mapping[Any, Any] | None) -> bool:
    """Whether `mixture.<source>` is meant; a source may not shadow a key of the section."""
    head, _, tail = key.partition(".")
    if head != "mixture" or mixture is None or tail in MixtureSection.model_fields:
        return False
    return tail in mixture["sources"]


def _set_ratio(phases: Sequence[dict[str, Any]], key: str, value: Any) -> None:
    for phase in phases:
        phase["ratios"] = rescale_ratios(phase["ratios"], key.partition(".")[2], value)


def rescale_ratios(ratios: Mapping[str, float], source: str, share: float) -> dict[str, float]:
    """Set one ratio and keep the others' proportions, in whole basis points.

    The remainder goes to the largest other source, so that the sum is exactly 1.
    """
    try:
        wanted = float(share) * BASIS_POINTS
    except (TypeError, ValueError) as error:
        raise RecipeError(f"mixture.{source}={share}: expected a number from 0 to 1") from error
    if not 0 <= wanted <= BASIS_POINTS or abs(wanted - round(wanted)) > 1e-6:
        raise RecipeError(
            f"mixture.{source}={share}: expected a share from 0 to 1 in whole basis points (0.0001)"
        )
    # Integers throughout: 0.1 / (0.1 + 0.2) in floats would move a basis point.
    others = {n: round(ratio * BASIS_POINTS) for n, ratio in ratios.items() if n != source}
    total = sum(others.values())
    left = BASIS_POINTS - round(wanted)
    if total == 0:
        if left:
            raise RecipeError(f"mixture.{source}={share}: no other source takes the rest")
        return {**dict.fromkeys(others, 0.0), source: 1.0}
    points = {name: left * ratio // total for name, ratio in others.items()}
    points[max(others, key=lambda name: others[name])] += left - sum(points.values())
    points[source] = BASIS_POINTS - left
    return {name: value / BASIS_POINTS for name, value in points.items()}
