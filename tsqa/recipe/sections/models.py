"""Models: the section `model`, its `tokenizer`, and a model that answers as a teacher.

Guarantees: a model and a tokenizer have exactly one origin each; a teacher asks of its engine only
what it can do.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tsqa import secrets
from tsqa.names import DataAddress, LocalPath
from tsqa.recipe.sections.base import ADDED, RUNTIME, Section, refuse_unread
from tsqa.recipe.sections.engine_args import check_engine_args

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OWN_FIELDS = {
    *("model", "messages", "prompt", "seed", "temperature", "top_p", "stop", "stream", "n"),
    *("max_tokens", "max_completion_tokens", "best_of", "echo"),
    *("response_format", "chat_template_kwargs"),
}
"""Of a request's body: what other keys of the recipe decide, or what a reply is read by."""
_TEMPLATE_FIELDS = {
    *("conversation", "messages", "tokenize", "add_generation_prompt", "continue_final_message"),
    *("return_tensors", "return_dict", "padding", "truncation", "max_length"),
}
SentField = Literal[
    "temperature",
    "top_p",
    "seed",
    "stop",
    "thinking_token_budget",
    "top_k",
    "min_p",
    "repetition_penalty",
]
"""Of a request's body: what a model or an endpoint may refuse."""
_GREEDY = 0.01
"""Temperatures and top_p below this take the likeliest token in practice."""
_KEYS_OF = {
    "vllm": {
        "cluster": "; give the servers' addresses in `urls`",
        "engine_args": "; give a server its own",
        "dtype": ": a server decides that itself",
        "replicas": "; list each server in `urls`",
        "tensor_parallel": ": a server decides that itself",
        "kv_cache_gib": ": a server decides that itself",
    },
    "openai": {
        **{"urls": "", "requests_per_minute": "", "api_key_env": "", "timeout_seconds": ""},
        **{"retries": "", "outage_minutes": ""},
    },
}
"""Keys that the other engine does not read, and what to do instead."""
_SECRET_FIELD = re.compile(r"(?i).*(api[-_]?key|authorization|password|secret).*")


def _keys_of(value: object) -> Iterator[str]:
    """The keys of plain JSON, at any depth."""
    if isinstance(value, dict):
        yield from map(str, value)
    if isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _keys_of(each)


def _check_json(name: str, given: dict[str, Any]) -> None:
    """Raise ValueError where a value is not plain JSON, or holds a secret."""
    try:
        json.dumps(given, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError(f"{name} is not plain JSON") from None
    if any(_SECRET_FIELD.fullmatch(key) for key in _keys_of(given)):
        raise ValueError(
            f"{name} holds a secret, which would be written into every manifest; put the "
            "key into the environment variable that api_key_env names"
        )


class ModelSection(Section):
    """A model: `path` (folder or hub ID), `recipe` (trained on demand), or `config` (scratch)."""

    path: LocalPath | None = None
    """A model folder or a hub ID."""
    recipe: str | None = None
    """Path of a recipe, relative to this file: its model is trained first if it does not exist."""
    config: dict[str, Any] | None = None
    """A transformers config with `model_type`, for a model from scratch."""
    trust_remote_code: bool = False
    """Run the Python code that comes with the model; only for models that you trust."""
    licence: str | None = Field(None, json_schema_extra=RUNTIME)
    """Its licence, for `tsqa release`; null: what its folder or its card says."""
    generation: int | None = Field(None, ge=0, json_schema_extra=RUNTIME)
    """Generation of the newest text that it was trained on: 0 is people's, 1 what a model trained
    on that wrote. Null: that of the sources of its `recipe`; 0 for a model from elsewhere."""

    @property
    def called(self) -> str:
        """Its name without the folders of this machine; a hub ID whole."""
        if self.path is None:
            return Path(self.recipe).stem if self.recipe else "a model from scratch"
        is_path = self.path.startswith(("/", ".", "~", "{"))
        return Path(self.path).name if is_path else self.path

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [k for k in ("path", "recipe", "config") if getattr(self, k) is not None]
        if len(given) != 1:
            found = f"{' and '.join(given)}: set all but one to null" if given else "none"
            raise ValueError(f"give exactly one of path, recipe, config; found {found}")
        if self.config is not None and "model_type" not in self.config:
            raise ValueError("config needs `model_type`, such as nemotron_h")
        return self


class TokenizerSection(Section):
    """A tokenizer: `path`, or byte-level BPE trained on text files. Null: the model's tokenizer."""

    path: LocalPath | None = None
    """A tokenizer folder or a hub ID."""
    train_on: list[DataAddress] = []
    """Files or folders with a `text` field, to train a tokenizer on; for models from scratch."""
    vocab_size: int = Field(1024, ge=257)
    """Tokens in the trained vocabulary."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if bool(self.path) == bool(self.train_on):
            raise ValueError("give exactly one of path, train_on")
        if self.path:
            refuse_unread(self, ["vocab_size"], "is of `train_on`, and not of `path`")
        return self


class SamplingSection(Section):
    """How the teacher samples a reply."""

    temperature: float = Field(1.0, ge=0)
    """Sampling temperature; 0 always takes the likeliest token, so that `votes` must be 1."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Sample from the likeliest tokens that together have this probability."""
    max_tokens: int = Field(256, ge=1)
    """Tokens of a reply, without those of `thinking_tokens`; raise it if replies are cut off."""
    thinking_tokens: int | None = Field(None, ge=1, json_schema_extra=ADDED)
    """Tokens for thoughts, beside `max_tokens`; vLLM then ends the thoughts, and needs
    `engine_args: {reasoning_parser: ...}` for it. null: thoughts are part of `max_tokens`."""
    top_k: int | None = Field(None, ge=1, json_schema_extra=ADDED)
    """Sample from this many likeliest tokens; null: from all."""
    min_p: float | None = Field(None, ge=0, le=1, json_schema_extra=ADDED)
    """Leave out tokens less likely than this share of the likeliest one; null: none."""
    repetition_penalty: float | None = Field(None, gt=0, le=2, json_schema_extra=ADDED)
    """Above 1: repeat less what prompt and reply hold; null: no penalty."""

    @property
    def longest(self) -> int:
        """Most tokens of a reply, its thoughts included."""
        return self.max_tokens + (self.thinking_tokens or 0)


class RequestSection(Section):
    """The form of a request, for models and endpoints that refuse the usual one."""

    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """openai: name of the field with the token limit; reasoning models need the second."""
    omit: list[SentField] = []
    """openai: fields not to send, because the model or the endpoint refuses them, such as
    thinking_token_budget, which vLLM alone knows."""
    system: Literal["auto", "send", "merge"] = "auto"
    """merge: put the system message at the start of the user message. auto: merge where the chat
    template or endpoint refuses a system message."""
    chat_template_kwargs: dict[str, Any] = {}
    """Variables for the chat template, such as {enable_thinking: false}."""
    extra_body: dict[str, Any] = {}
    """openai: more fields of the request body, such as {reasoning_effort: low}."""

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        for name, taken in (
            ("extra_body", _OWN_FIELDS),
            ("chat_template_kwargs", _TEMPLATE_FIELDS),
        ):
            given = getattr(self, name)
            _check_json(name, given)
            if found := sorted(taken & given.keys()):
                raise ValueError(f"{name} may not hold {', '.join(found)}: that is decided already")
        return self


def check_base_url(url: str) -> None:
    """ValueError where a text is no base URL of an endpoint; the message does not repeat it."""
    secrets.register_url(url)
    if not re.match(r"https?://[^/?#]", secrets.split_url(url).url):
        raise ValueError("expected base URLs, such as http://localhost:8000/v1")


class TeacherSection(Section):
    """A model that writes or judges: vLLM in its own process, or an OpenAI-compatible endpoint."""

    engine: Literal["vllm", "openai"] = "vllm"
    """vllm: load the model here. openai: ask a server at `urls`."""
    model: ModelSection
    """The model. openai: `path` is its name at the endpoint."""
    form: Literal["auto", "chat", "completion"] = "auto"
    """auto: chat if the model has a chat template, few-shot completion otherwise."""
    structured: bool | None = None
    """Force replies into the prompt's JSON schema; chat form only. null: where vLLM loads the model
    and nothing says that it thinks first, or `reasoning_parser` says where its thoughts end."""
    engine_args: dict[str, Any] = Field({}, json_schema_extra=ADDED)
    """vllm: more of its engine's arguments by name, such as {quantization: fp8, reasoning_parser:
    qwen3, enable_expert_parallel: true, max_num_batched_tokens: 16384}."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "auto"
    """vllm: number format of the weights; auto: 16 bits, also of a model saved in float32. A CPU
    without instructions for bfloat16 needs float32: it is many times slower otherwise."""
    max_model_len: int = Field(4096, ge=32)
    """Tokens of a prompt with its reply; longer prompts are rejected. Raise it for long texts."""
    max_num_seqs: int = Field(256, ge=1, json_schema_extra=RUNTIME)
    """Requests served at once, per replica or endpoint; lower it if memory is short."""
    replicas: int = Field(1, ge=1, json_schema_extra=RUNTIME)
    """vllm: copies of the model, each on separate GPUs."""
    tensor_parallel: int = Field(1, ge=1, json_schema_extra=RUNTIME)
    """vllm: GPUs that share one copy of the model; raise it if the model does not fit on one."""
    cluster: Literal["ray"] | None = Field(None, json_schema_extra=RUNTIME)
    """vllm: ray puts each replica on a node of the Ray cluster that RAY_ADDRESS names, or, if that
    is unset, of one on this machine; `pip install tsqa[ray]`. null: they are on this machine."""
    kv_cache_gib: int = Field(2, ge=1, json_schema_extra=RUNTIME)
    """vllm on a CPU: GiB of memory for the KV cache (VLLM_CPU_KVCACHE_SPACE)."""
    urls: list[str] | str = Field([], json_schema_extra=RUNTIME)
    """openai: base URLs, such as [http://localhost:8000/v1]; requests are spread over several. Or a
    file with one a line, which is read again while the stage runs: servers may join and leave."""
    api_key_env: str = Field("OPENAI_API_KEY", json_schema_extra=RUNTIME)
    """openai: name of the environment variable with the API key; if it is unset, no key is sent."""
    request: RequestSection = RequestSection()
    """The form of a request."""
    requests_per_minute: int | None = Field(None, ge=1, json_schema_extra=RUNTIME)
    """openai: most requests a minute over all URLs, as the provider allows; null: no limit."""
    timeout_seconds: float = Field(600.0, gt=0, json_schema_extra=RUNTIME)
    """openai: seconds to wait for a reply."""
    retries: int = Field(6, ge=0, json_schema_extra=RUNTIME)
    """openai: further tries after a 429, a 5xx, a timeout or an unreadable answer."""
    outage_minutes: float = Field(15.0, ge=0, json_schema_extra=RUNTIME)
    """openai: keep trying for at least this many minutes after a 429, 502, 503, 504 or a lost
    connection."""
    dollars_per_hour: float = Field(0.0, ge=0, json_schema_extra=RUNTIME)
    """Price of one replica or endpoint, for cost estimates; of those in a file, while it serves."""
    dollars_per_million_prompt_tokens: float = Field(0.0, ge=0, json_schema_extra=RUNTIME)
    """Price of input tokens, for cost estimates."""
    dollars_per_million_output_tokens: float = Field(0.0, ge=0, json_schema_extra=RUNTIME)
    """Price of output tokens, for cost estimates."""

    def greedy(self, sampling: SamplingSection) -> str:
        """Why all replies to a request are the same; empty where they are sampled."""
        for key in ("temperature", "top_p"):
            value = getattr(sampling, key)
            if value < _GREEDY and key not in self.request.omit:
                return f"{key} {value:g}"
        top_k = None if "top_k" in self.request.omit else sampling.top_k
        if 1 in (top_k, self.request.extra_body.get("top_k")):
            return "top_k 1"
        if (sampling.min_p or 0) > 1 - _GREEDY and "min_p" not in self.request.omit:
            return f"min_p {sampling.min_p:g}"
        return ""

    def misfit(self, sampling: SamplingSection, name: str) -> str:
        """Why the model cannot be sampled like that; empty where it can. `name`: of what for."""
        if self.loads_model and sampling.thinking_tokens is not None and not self.knows_thoughts:
            return (
                f"thinking_tokens ({name}): vLLM must know the marks of thoughts: "
                "set engine_args.reasoning_parser of the teacher"
            )
        for key in ("top_k", "min_p", "repetition_penalty"):
            if key in self.request.extra_body and getattr(sampling, key) is not None:
                return f"{key} ({name}) is given twice: remove request.extra_body.{key}"
        return ""

    @property
    def loads_model(self) -> bool:
        """Whether the engine loads the model here; else `model.path` is its name elsewhere."""
        return self.engine == "vllm"

    @property
    def engines(self) -> int | None:
        """Copies of the model that are asked side by side; None: as many as a file lists."""
        return None if isinstance(self.urls, str) else max(self.replicas, len(self.urls))

    @property
    def place(self) -> str:
        """Where the endpoints are, for messages; empty where the model is loaded here."""
        if isinstance(self.urls, str):
            return self.urls
        shown = [secrets.split_url(url).url for url in self.urls]
        more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
        return ", ".join(shown[:3]) + more

    @property
    def gpus(self) -> int:
        """GPUs that share one copy of the model."""
        stages = self.engine_args.get("pipeline_parallel_size")
        return self.tensor_parallel * (stages if isinstance(stages, int) else 1)

    @property
    def knows_thoughts(self) -> bool:
        """Whether vLLM is told by which marks the model thinks."""
        return bool({"reasoning_parser", "reasoning_config"} & self.engine_args.keys())

    @field_validator("urls", mode="before")
    @classmethod
    def _urls_are_urls(cls, urls: object) -> object:
        if isinstance(urls, str) and re.match(r"\w+://", urls):
            secrets.register_url(urls)
            raise ValueError("expected a list, such as [http://localhost:8000/v1], or a file")
        given = [url for url in urls if isinstance(url, str)] if isinstance(urls, list) else []
        for url in given:
            check_base_url(url)
        if len({url.rstrip("/") for url in given}) < len(given):
            raise ValueError("a URL comes twice; `max_num_seqs` says how many requests one serves")
        return urls

    @field_validator("api_key_env", mode="after")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not _VARIABLE.fullmatch(name):
            secrets.register(name.strip())  # the key itself, by mistake
            raise ValueError("expected the name of an environment variable, not its value")
        return name

    @model_validator(mode="after")
    def _engine_fits(self) -> Self:
        secrets.register(os.environ.get(self.api_key_env, "").strip())
        if self.engine == "openai" and not self.urls:
            raise ValueError("engine openai needs `urls`, such as [http://localhost:8000/v1]")
        if self.engine == "openai" and self.model.path is None:
            raise ValueError("engine openai needs `model.path`: the model's name at the endpoint")
        other = "openai" if self.engine == "vllm" else "vllm"
        for name, instead in _KEYS_OF[other].items():
            refuse_unread(self, [name], f"needs `engine: {other}`{instead}")
        if self.model.config is not None:
            raise ValueError("a model from scratch (model.config) knows nothing; give model.path")
        if self.structured and self.form == "completion":
            raise ValueError("`structured` needs the chat form")
        return self

    @model_validator(mode="after")
    def _request_fits(self) -> Self:
        request = self.request
        _check_json("engine_args", self.engine_args)
        check_engine_args(self.engine_args)
        if self.engine == "vllm":
            for name in ("omit", "extra_body"):
                if getattr(request, name):
                    raise ValueError(f"`request.{name}` needs `engine: openai`")
            if request.token_limit != "max_tokens":
                raise ValueError("`request.token_limit` needs `engine: openai`")
        if self.form == "completion":
            for name, usual in (("token_limit", "max_tokens"), ("chat_template_kwargs", {})):
                if getattr(request, name) != usual:
                    raise ValueError(f"`request.{name}` needs the chat form")
        return self
