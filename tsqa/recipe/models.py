"""Models: the section `model`, its `tokenizer`, and a model that answers as a teacher.

Promises: a model and a tokenizer have exactly one origin each; a teacher asks of its engine only
what it can do.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tsqa.recipe.base import RUNTIME, Section


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
