"""A checkpoint as lm-eval's model, by transformers or by vLLM; in the process that calls it.

Guarantees: float32 on a CPU, the checkpoint's own dtype on a GPU; answered requests are reported
through lm-eval's cache hook, since its progress bars cannot be replaced.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.huggingface import HFLM

from tsqa.hub.model_folder import check_weights
from tsqa.tasks.patches import vllm_named

Progress = Callable[[int, int], None]
"""Called with the requests answered, and how many there are."""
_REPORT_EVERY = 16

KNOWN_DIFFERENCES = {
    "nemotron_h": "transformers clamps the Mamba step at config.time_step_min, vLLM does not; "
    "5e-4 nats measured on a small trained model, where a dense one differs by 8e-6",
}
"""model_type -> why transformers and vLLM may disagree on a checkpoint of this family."""


@dataclass(frozen=True)
class ModelSettings:
    """What is needed to load a model; plain values, so that they can be sent to a process."""

    backend: Literal["hf", "vllm"]
    checkpoint: str
    batch_size: int
    max_length: int | None
    tensor_parallel: int
    trust_remote_code: bool


def load_model(settings: ModelSettings, on_progress: Progress) -> LM:
    """lm-eval's model over the checkpoint, which must hold every tensor and no other."""
    check_weights(settings.checkpoint, "the evaluated model", settings.trust_remote_code)
    model = _load_vllm(settings) if settings.backend == "vllm" else _load_hf(settings)
    model.on_progress = on_progress
    return model


def resolve_backend(
    asked: Literal["auto", "hf", "vllm"], checkpoint: str
) -> tuple[Literal["hf", "vllm"], str]:
    """The backend to use and why; `auto` is vLLM where there is a GPU and it serves the model."""
    if asked != "auto":
        return asked, "as the recipe says"
    if not torch.cuda.is_available():
        return "hf", "no GPU here"
    try:
        from vllm import ModelRegistry
    except ImportError:
        return "hf", "vLLM is not installed"
    named = _read_config(checkpoint).get("architectures") or ["unknown"]
    if named[0] not in ModelRegistry.get_supported_archs():
        return "hf", f"vLLM does not serve {named[0]}"
    return "vllm", f"vLLM serves {named[0]}"


def scored_by(backend: str) -> str:
    """A backend, and whether it scores in the checkpoint's own number format or in float32."""
    return f"{backend} on a GPU" if torch.cuda.is_available() else backend


def known_difference(checkpoint: str) -> str | None:
    """Why the two backends may disagree on this checkpoint; None where nothing is known."""
    return KNOWN_DIFFERENCES.get(str(_read_config(checkpoint).get("model_type")))


class _ModelConfig(TypedDict, total=False):
    """config.json of a model, as far as it is read."""

    architectures: list[str] | None
    model_type: str


class _Counting:
    """Counts answered requests as lm-eval's cache hook."""

    on_progress: Progress
    _done = 0
    _total = 0

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        self._begin(requests)
        return super().loglikelihood(requests, disable_tqdm=True)  # type: ignore[misc, no-any-return]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        self._begin(requests)
        return super().generate_until(requests, disable_tqdm=True)  # type: ignore[misc, no-any-return]

    def add_partial(self, attr: str, req: object, res: object) -> None:
        """Called by lm-eval for each answered request."""
        self._done += 1
        if self._done % _REPORT_EVERY == 0 or self._done == self._total:
            self.on_progress(self._done, self._total)

    def _begin(self, requests: list[Instance]) -> None:
        self._done, self._total = 0, len(requests)
        self.cache_hook = self


class _Hf(_Counting, HFLM):  # type: ignore[misc]
    pass


def _load_hf(settings: ModelSettings) -> LM:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    gpu = torch.cuda.is_available()
    return _Hf(
        pretrained=settings.checkpoint,
        dtype="auto" if gpu else "float32",
        device="cuda" if gpu else "cpu",
        batch_size=settings.batch_size,
        max_length=settings.max_length,
        trust_remote_code=settings.trust_remote_code,
    )


def _load_vllm(settings: ModelSettings) -> LM:
    class Vllm(_Counting, _vllm_class()):  # type: ignore[misc]
        pass

    gpu = torch.cuda.is_available()
    return Vllm(
        pretrained=settings.checkpoint,
        dtype="auto" if gpu else "float32",
        batch_size="auto",
        max_model_len=settings.max_length,
        tensor_parallel_size=settings.tensor_parallel,
        trust_remote_code=settings.trust_remote_code,
        enforce_eager=not gpu,
    )


def _vllm_class() -> type[HFLM]:
    """lm-eval's class."""
    import vllm
    from vllm.platforms import current_platform

    assert current_platform.device_type, "vLLM finds its platform by that version, so find it first"
    with vllm_named(str(vllm.__version__)):
        from lm_eval.models.vllm_causallms import VLLM
    found: type[HFLM] = VLLM
    return found


def _read_config(checkpoint: str) -> _ModelConfig:
    path = Path(checkpoint) / "config.json"
    if path.is_file():
        config: _ModelConfig = json.loads(path.read_text(encoding="utf-8"))
        return config
    found: _ModelConfig = transformers.AutoConfig.from_pretrained(checkpoint).to_dict()
    return found
