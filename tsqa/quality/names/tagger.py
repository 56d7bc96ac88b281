"""Names of persons in texts, as a model marks them that classifies tokens.

Guarantees: a text is read to its end, in parts that overlap, and a name that the end of a part may
have cut is taken from the next one; the model runs no code of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from tsqa.console import progress_bar
from tsqa.errors import EngineError, TsqaError, first_line
from tsqa.hub.model_folder import compare_weights, load_config, load_tokenizer
from tsqa.hub.pins import pinned_folder

if TYPE_CHECKING:
    from transformers import BatchEncoding

KEY = "audit.names.model"
_FIX = "give the folder or the hub ID of a token-classification model, or leave it out"
_LONGEST = 510
"""Tokens of a part, as most such models have 512 positions, of which some spare two."""
_OVERLAP = 0.25
_BATCH = 16
_BEGINS = re.compile(r"^[BIELSU][-_](.+)$")
"""Where a label stands in a name, such as `B-PER`."""
_AROUND = re.compile(r"^\W+|(?:['\u2019]s)?\W*$")
_PERSONS = frozenset(
    {"per", "person", "private_person", "name", "givenname", "firstname", "surname", "lastname"}
)
"""Labels of the models in use, in lower case: OntoNotes, CoNLL, and those trained on personal
data."""


def names_in(model: str, texts: Sequence[str]) -> list[set[str]]:
    """The names of persons in each text, in lower case. EngineError where the model cannot be
    loaded, or has no label of a person."""
    tagger = NameTagger(model)
    found = []
    with progress_bar() as bar:
        task = bar.add_task("names", total=len(texts), note="")
        for text in texts:
            found.append(tagger.names(text))
            bar.advance(task)
    return found


def plain_name(text: str) -> str:
    """Without what the words of some tokenizers hold around a name: `Ann Lee's,` is `ann lee`."""
    return _AROUND.sub("", " ".join(text.split()).casefold())


def check_tagger(model: str) -> None:
    """Refuse a folder that could not mark names, without reading its weights. CheckpointError,
    DataError or EngineError."""
    labels = load_config(model, KEY).id2label
    missing = compare_weights("AutoModelForTokenClassification", model, KEY)["missing_keys"]
    _check_parts(f"{KEY} = {model}", labels, load_tokenizer(model, KEY).is_fast, bool(missing))


def _check_parts(name: str, labels: dict[int, str], is_fast: bool, is_untrained: bool) -> None:
    """EngineError unless there are labels of persons, trained weights, and a tokenizer that says
    where its tokens stand."""
    if is_untrained:  # weights of a model of another kind; those it lacks would be random
        raise EngineError(f"{name}: it has no trained weights that classify tokens", _FIX)
    if not any(map(_is_person, labels.values())):
        told = ", ".join(sorted({*labels.values()}))
        raise EngineError(f"{name}: none of its labels is that of a person: {told:.200}", _FIX)
    if not is_fast:
        raise EngineError(f"{name}: its tokenizer does not say where its tokens stand", _FIX)


class NameTagger:
    """A token-classification model, on the GPU where there is one."""

    def __init__(self, model: str) -> None:
        import torch
        from transformers import AutoModelForTokenClassification

        name = f"{KEY} = {model}"
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            folder = pinned_folder(model)
            self._tokenizer = load_tokenizer(folder, KEY)
            self._model, loading = AutoModelForTokenClassification.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
        except (TsqaError, OSError, ValueError, ImportError) as error:
            raise EngineError(f"{name}: cannot be loaded: {first_line(error)}", _FIX) from error
        labels: dict[int, str] = self._model.config.id2label
        _check_parts(name, labels, self._tokenizer.is_fast, bool(loading["missing_keys"]))
        self._persons = {number for number, label in labels.items() if _is_person(label)}
        self._begins = {number for number, label in labels.items() if re.match("[BSU][-_]", label)}
        self._model.to(self._device).eval()
        positions = getattr(self._model.config, "max_position_embeddings", None) or _LONGEST + 2
        self._longest = min(_LONGEST, self._tokenizer.model_max_length, int(positions) - 2)

    def names(self, text: str) -> set[str]:
        if not text.strip():
            return set()
        parts = self._tokenizer(
            text,
            truncation=True,
            max_length=self._longest,
            stride=int(self._longest * _OVERLAP),
            return_overflowing_tokens=True,
        )
        labels = [label for batch in _batches(parts) for label in self._classify(batch)]
        found = set()
        for number, tagged in enumerate(labels):
            is_first, is_last = number == 0, number == len(labels) - 1
            for start, end in self._spans(parts, number, tagged, is_first, is_last):
                found.add(plain_name(text[start:end]))
        return found - {""}

    def _classify(self, parts: list[list[int]]) -> list[list[int]]:
        """The label of each token of each part."""
        import torch

        padded = self._tokenizer.pad({"input_ids": parts}, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            logits = self._model(
                input_ids=padded["input_ids"], attention_mask=padded["attention_mask"]
            ).logits
        return [
            row[: len(part)] for row, part in zip(logits.argmax(-1).tolist(), parts, strict=True)
        ]

    def _spans(
        self, parts: BatchEncoding, number: int, labels: list[int], is_first: bool, is_last: bool
    ) -> Iterator[tuple[int, int]]:
        """Where names stand in the text. The label of a word is that of its first token."""
        words: dict[int, int] = {}
        for token, word in enumerate(parts.word_ids(number)):
            if word is not None:
                words.setdefault(word, labels[token])
        order = [*words]
        runs: list[list[int]] = []
        for place, word in enumerate(order):
            if words[word] not in self._persons:
                continue
            follows = runs and place and runs[-1][-1] == order[place - 1]
            if follows and words[word] not in self._begins:
                runs[-1].append(word)
            else:
                runs.append([word])
        for run in runs:
            cut_before = run[0] == order[0] and not is_first
            cut_after = run[-1] == order[-1] and not is_last
            if not cut_before and not cut_after:
                yield (
                    parts.word_to_chars(number, run[0]).start,
                    parts.word_to_chars(number, run[-1]).end,
                )


def _batches(parts: Any) -> Iterator[list[list[int]]]:
    source = iter(parts["input_ids"])
    while batch := [*islice(source, _BATCH)]:
        yield batch


def _is_person(label: str) -> bool:
    inner = _BEGINS.match(label)
    return (inner[1] if inner else label).lower() in _PERSONS
