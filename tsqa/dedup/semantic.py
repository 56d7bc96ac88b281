"""Nearest kept question by meaning: exact cosine search over embeddings on disk.

Guarantees: exact, so it compares each item with all before it (quadratic in items); memory holds
two blocks of embeddings.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from tsqa.dedup.disk import QuestionFile, batches
from tsqa.errors import EngineError
from tsqa.hub.pins import pinned_folder

KEY = "filter.dedup.semantic"
_BLOCK = 2048


class SentenceEncoder(Protocol):
    """What is used of a sentence-transformers model."""

    def encode(self, sentences: list[str], *, normalize_embeddings: bool) -> NDArray[np.float32]:
        """(sentences, dimensions)."""
        ...


def load_model(model: str, key: str) -> SentenceEncoder:
    """A sentence-transformers model; raise EngineError when there is none. `key`: its section.

    So does a vector that holds no number: it would be unlike all, and hide what is alike.
    """
    name = key if key.startswith("--") else f"{key}.model"
    try:
        from sentence_transformers import SentenceTransformer

        found = cast(SentenceEncoder, SentenceTransformer(pinned_folder(model)))
        return FiniteEncoder(found, f"{name} = {model!r}")
    except Exception as error:
        raise EngineError(
            f"{name} = {model!r}: cannot be loaded: {error}",
            "give a sentence-transformers model (pip install 'tsqa[semantic]'), or leave out "
            f"{key}",
        ) from error


class FiniteEncoder:
    """A model all of whose vectors hold numbers; else it raises EngineError, with its `name`."""

    def __init__(self, model: SentenceEncoder, name: str) -> None:
        self._model, self._name = model, name

    def encode(self, sentences: list[str], *, normalize_embeddings: bool) -> NDArray[np.float32]:
        vectors = self._model.encode(sentences, normalize_embeddings=normalize_embeddings)
        is_finite = np.isfinite(vectors)
        if not is_finite.all():
            text = sentences[int(np.argmin(is_finite.all(axis=1)))]
            raise EngineError(
                f"{self._name}: its vector of {text!r:.80} holds no number (NaN or infinity)",
                "use another model",
            )
        return vectors


def measure_spread(model: SentenceEncoder, questions: Iterable[str]) -> float:
    """Mean cosine distance between two questions, over all pairs: 1 - (|sum v|^2 - n) / (n^2 - n).

    One pass: the sum of the unit vectors holds all pairs. 0 for fewer than two questions.
    """
    total: NDArray[np.float64] | float = 0.0
    count = 0
    stream = iter(questions)
    while batch := list(islice(stream, _BLOCK)):
        total = total + model.encode(batch, normalize_embeddings=True).sum(axis=0, dtype=np.float64)
        count += len(batch)
    if count < 2:
        return 0.0
    return 1 - (float(np.dot(total, total)) - count) / (count * (count - 1))


class SemanticSearch:
    """Nearest kept earlier items, asked for in order."""

    def __init__(self, model: SentenceEncoder, stored: QuestionFile, folder: Path) -> None:
        self._vectors = _embed(model, stored, folder / "embeddings")
        self._start = -1

    def nearest(self, item: int, dropped: NDArray[np.uint8]) -> tuple[float, int]:
        """(cosine similarity, number) of the nearest kept item before `item`; (-1, -1) for none.

        `dropped` is nonzero for dropped items; only what is before `item` is read.
        """
        place = item % _BLOCK
        start = item - place
        if start != self._start:
            self._start = start
            self._compare_with_earlier_blocks(start, dropped)
        score, number = self._scores[place], self._numbers[place]
        inside = np.flatnonzero(dropped[start:item] == 0)
        if len(inside):
            found = self._inside[place, inside]
            best = int(np.argmax(found))
            if found[best] > score:
                score, number = found[best], start + inside[best]
        return float(score), int(number)

    def _compare_with_earlier_blocks(self, start: int, dropped: NDArray[np.uint8]) -> None:
        block = np.asarray(self._vectors[start : start + _BLOCK])
        self._inside = block @ block.T
        self._scores = np.full(len(block), -1.0)
        self._numbers = np.full(len(block), -1)
        for first in range(0, start, _BLOCK):
            others = np.flatnonzero(dropped[first : first + _BLOCK] == 0)
            if not len(others):
                continue
            found = block @ self._vectors[first + others].T
            best = np.argmax(found, axis=1)
            scores = found[np.arange(len(block)), best]
            better = scores > self._scores
            self._scores[better] = scores[better]
            self._numbers[better] = first + others[best[better]]


def _embed(model: SentenceEncoder, stored: QuestionFile, path: Path) -> NDArray[np.float32]:
    """Unit vectors of all questions (items, dimensions), in a file."""
    vectors: NDArray[np.float32] | None = None
    for first, batch in batches(stored):
        found = model.encode([item.question for item in batch], normalize_embeddings=True)
        if vectors is None:
            shape = (len(stored), found.shape[1])
            vectors = np.memmap(path, dtype=np.float32, mode="w+", shape=shape)
        vectors[first : first + len(batch)] = found
    return np.empty((0, 0), np.float32) if vectors is None else vectors
