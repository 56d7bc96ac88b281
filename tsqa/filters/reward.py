"""A reward model scores each question with its answer: any sequence-classification checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsqa.errors import EngineError
from tsqa.hub.pins import pinned_folder
from tsqa.recipe import RewardSection
from tsqa.records.candidate import Candidate, Rejection, Verdict
from tsqa.records.record_log import RecordLog
from tsqa.store.digests import hash_bytes
from tsqa.store.identity import Json

if TYPE_CHECKING:
    from transformers import BatchEncoding

_MAX_TOKENS = 4096


def score_reward(
    candidates: Iterable[Candidate], section: RewardSection, model: str, identity: Json, out: Path
) -> Iterator[Verdict]:
    """Adds the score `reward`: the logit of a model with one, else the last label's probability.

    `identity` is of the model. Scores are kept in `out`: one of the same model, question and reply
    is taken from there, or from another artifact of the stage.
    Raises EngineError when the checkpoint cannot be loaded or has no trained head.
    """
    source = iter(candidates)
    with closing(RecordLog(out / "reward-scores.jsonl")) as log, ExitStack() as stack:
        scorer = cache(lambda: stack.enter_context(closing(RewardModel(model))))
        while batch := list(islice(source, section.batch_size)):
            for candidate, score in zip(batch, _scores(batch, scorer, identity, log), strict=True):
                scored = replace(candidate, scores=candidate.scores | {"reward": round(score, 4)})
                passes = score >= section.min_score  # not a number does not pass
                yield scored, None if passes else Rejection("low reward", score)


def _scores(
    batch: list[Candidate], scorer: Callable[[], RewardModel], identity: Json, log: RecordLog
) -> list[float]:
    """The score of each candidate; the model is asked for those that are not kept."""
    asked = [json.dumps([identity, _question(one), _reply(one)]) for one in batch]
    keys = [hash_bytes(content.encode())[:24] for content in asked]
    kept = {key: record["score"] for key in keys if (record := log.find(key)) is not None}
    missing = {key: one for key, one in zip(keys, batch, strict=True) if key not in kept}
    if missing:
        found = scorer().score(list(missing.values()))
        for key, score in zip(missing, found, strict=True):
            log.append({"id": key, "score": score})
            kept[key] = score
    return [kept[key] for key in keys]


class RewardModel:
    """On the GPU where there is one, until it is closed."""

    def __init__(self, model: str) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            folder = pinned_folder(model)
            self._tokenizer = AutoTokenizer.from_pretrained(folder)
            self._model, loading = AutoModelForSequenceClassification.from_pretrained(
                folder, dtype="auto", output_loading_info=True
            )
        except (OSError, ValueError, KeyError) as error:
            raise EngineError(
                f"filter.reward.model = {model}: {str(error).splitlines()[0]}",
                "give the folder or hub id of a sequence-classification checkpoint",
            ) from error
        if loading["missing_keys"]:
            raise EngineError(
                f"filter.reward.model = {model}: no trained weights for "
                f"{', '.join(sorted(loading['missing_keys']))}",
                "give a checkpoint that was trained as a reward model or classifier",
            )
        self._model.to(self._device).eval()
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        if self._model.config.pad_token_id is None:
            self._model.config.pad_token_id = self._tokenizer.pad_token_id

    def score(self, candidates: list[Candidate]) -> list[float]:
        import torch

        encoded = self._encode(candidates).to(self._device)
        with torch.inference_mode():
            logits = self._model(**encoded).logits.float()
        scores = logits[:, 0] if logits.shape[1] == 1 else logits.softmax(-1)[:, -1]
        return [float(score) for score in scores]

    def close(self) -> None:
        """Give the GPU's memory back: training in another process needs it."""
        import torch

        del self._model
        torch.cuda.empty_cache()

    def _encode(self, candidates: list[Candidate]) -> BatchEncoding:
        limit = min(self._tokenizer.model_max_length, _MAX_TOKENS)
        limit = min(limit, getattr(self._model.config, "max_position_embeddings", limit))
        options: dict[str, Any] = {
            "padding": True,
            "truncation": True,
            "max_length": limit,
            "return_tensors": "pt",
        }
        asked = [_question(candidate) for candidate in candidates]
        replies = [_reply(candidate) for candidate in candidates]
        if not self._tokenizer.chat_template:
            return self._tokenizer(asked, replies, **options)
        chats = [
            [{"role": "user", "content": a}, {"role": "assistant", "content": r}]
            for a, r in zip(asked, replies, strict=True)
        ]
        texts = self._tokenizer.apply_chat_template(chats, tokenize=False)
        return self._tokenizer(texts, add_special_tokens=False, **options)


def _question(candidate: Candidate) -> str:
    parts = (candidate.context, candidate.question, *(f"- {c}" for c in candidate.choices))
    return "\n".join(part for part in parts if part)


def _reply(candidate: Candidate) -> str:
    return "\n".join(part for part in (candidate.reasoning, candidate.answer) if part)
