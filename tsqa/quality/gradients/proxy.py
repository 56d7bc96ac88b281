"""The gradients that texts give a small model, each as a sketch.

Guarantees: at no time is there more than the gradient of one tensor; a text that was asked about
before, of the same model, is taken from the log; what is no number is refused.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tsqa.console import console, progress_bar
from tsqa.errors import EngineError, TsqaError, first_line
from tsqa.hub.identify import identify_model
from tsqa.hub.model_folder import check_vocabulary, check_weights, load_tokenizer
from tsqa.hub.pins import pinned_folder
from tsqa.quality.gradients.sketch import WIDTH, GradientSketch
from tsqa.records.record_log import RecordLog
from tsqa.store.digests import hash_bytes
from tsqa.store.identity import Json

KEY = "audit.gradients.model"
LONGEST = 512
"""Tokens of a text that are read."""
_LOG = "gradients.jsonl"
Sketch = NDArray[np.float32]


def text_gradients(model: str, folder: Path, texts: Sequence[str]) -> list[Sketch | None]:
    """The sketched gradient of each text; None where it has no second token, so that nothing is
    predicted. `folder`: where they are kept.

    Raises EngineError where the model cannot be loaded, or gives a gradient that holds no number.
    """
    identity = identify_model(model)
    keys = [_key_of(identity, text) for text in texts]
    with closing(RecordLog(folder / _LOG)) as log:
        kept = {key: record for key in keys if (record := log.find(key)) is not None}
        missing = {k: text for k, text in zip(keys, texts, strict=True) if k not in kept}
        if missing:
            console.print(
                f"  gradients of {model}: {len(missing):,} texts, of which {LONGEST} tokens are "
                f"read; {len(kept):,} are kept"
            )
            proxy = ProxyModel(model)
            with progress_bar() as bar:
                task = bar.add_task("gradients", total=len(missing), note="")
                for key, text in missing.items():
                    record = {"id": key, "sketch": _packed(proxy.gradient(text))}
                    log.append(record)
                    kept[key] = record
                    bar.advance(task)
    return [_unpacked(kept[key]["sketch"]) for key in keys]


class ProxyModel:
    """A causal language model in float32, on the GPU where there is one."""

    def __init__(self, model: str) -> None:
        from transformers import AutoModelForCausalLM

        self._name = f"{KEY} = {model}"
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            folder = pinned_folder(model)
            check_weights(folder, KEY)
            self._tokenizer = load_tokenizer(folder, KEY)
            self._model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True
            )
            embeddings = self._model.get_input_embeddings().num_embeddings
            check_vocabulary(self._tokenizer, embeddings, self._name)
        except (TsqaError, OSError, ValueError, ImportError) as error:
            raise EngineError(
                f"{self._name}: cannot be loaded: {first_line(error)}",
                "give the folder or the hub ID of a small model of text, or leave out "
                "audit.gradients",
            ) from error
        self._model.to(self._device).eval()
        for parameter in self._model.parameters():
            # Mapped from the file, it would be read again whenever the system drops its pages.
            parameter.data = parameter.data.clone()
        positions = getattr(self._model.config, "max_position_embeddings", None) or LONGEST
        self._longest = min(LONGEST, int(positions))
        self._sketch: GradientSketch
        for number, parameter in enumerate(self._model.parameters()):
            parameter.register_post_accumulate_grad_hook(partial(self._take, number))

    def gradient(self, text: str) -> Sketch | None:
        """Of the mean loss of its tokens, as in training on it."""
        ids = self._tokenizer(text, return_tensors="pt", verbose=False)["input_ids"]
        ids = ids[:, : self._longest].to(self._device)
        if ids.shape[1] < 2:
            return None
        self._sketch = GradientSketch()
        logits = self._model(input_ids=ids, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[0, :-1].float(), ids[0, 1:])
        torch.autograd.backward(loss)
        numbers = self._sketch.numbers
        if not np.isfinite(numbers).all() or not numbers.any():
            raise EngineError(
                f"{self._name}: its gradient of {text!r:.80} is zero, or holds no number",
                "use another model",
            )
        return numbers

    def _take(self, number: int, parameter: torch.Tensor) -> None:
        """As soon as the gradient of a tensor is whole."""
        assert parameter.grad is not None
        self._sketch.add(number, parameter.grad.float().cpu().numpy())
        parameter.grad = None


def _key_of(identity: Json, text: str) -> str:
    content = json.dumps([identity, WIDTH, LONGEST, text], sort_keys=True)
    return hash_bytes(content.encode())[:24]


def _packed(sketch: Sketch | None) -> str | None:
    return None if sketch is None else base64.b64encode(sketch.astype("<f4").tobytes()).decode()


def _unpacked(packed: str | None) -> Sketch | None:
    if packed is None:
        return None
    return np.frombuffer(base64.b64decode(packed), "<f4").astype(np.float32)
