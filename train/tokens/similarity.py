"""How near a document is to the nearest of some seeds: by its words, or by an embedding model.

Guarantees: the similarity of a document does not depend on the documents beside it, by words
exactly; memory does not grow with their number; both ways can be pickled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from tsqa.dedup.semantic import SentenceEncoder, load_model
from tsqa.records.seed import Seed

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfTransformer

_FEATURES = 1 << 20
"""Of hashed words, so that no vocabulary is kept."""
_CELLS = 1 << 22
"""Similarities held at once."""

Near = tuple[NDArray[np.float32], NDArray[np.int32]]
"""Per document the cosine similarity to its nearest seed, and the number of that seed."""


class Similarity(Protocol):
    """Compares documents with the seeds."""

    def __call__(self, texts: Sequence[str]) -> Near: ...


def compare_with(
    seeds: Sequence[Seed], sample: Iterable[str], model: str | None, key: str
) -> Similarity:
    """By the words that they share, or by meaning with a model; `key` names its section.

    `sample`: texts whose words are weighed, by how few texts hold each.
    """
    texts = [_text_of(seed) for seed in seeds]
    if model is None:
        return _by_words(texts, sample)
    vectors = _encoder(model, key).encode(texts, normalize_embeddings=True)
    return ByMeaning(model, key, vectors.astype(np.float32))


@dataclass(frozen=True)
class ByWords:
    """TF-IDF."""

    weights: TfidfTransformer
    seeds: csr_matrix
    """(words, seeds)."""

    def __call__(self, texts: Sequence[str]) -> Near:
        vectors = self.weights.transform(_count_words(texts))
        scores, numbers = [np.empty(0, np.float32)], [np.empty(0, np.int32)]
        for begin, end in _steps(len(texts), self.seeds.shape[1]):
            found = vectors[begin:end] @ self.seeds
            scores.append(found.max(axis=1).toarray().ravel().astype(np.float32))
            numbers.append(np.asarray(found.argmax(axis=1)).ravel().astype(np.int32))
        return np.concatenate(scores), np.concatenate(numbers)


@dataclass(frozen=True)
class ByMeaning:
    """Embeddings; the model is loaded once in each process."""

    model: str
    key: str
    seeds: NDArray[np.float32]
    """(seeds, dimensions), unit vectors."""

    def __call__(self, texts: Sequence[str]) -> Near:
        encoder = _encoder(self.model, self.key)
        vectors = encoder.encode([*texts], normalize_embeddings=True).astype(np.float32)
        scores, numbers = [np.empty(0, np.float32)], [np.empty(0, np.int32)]
        for begin, end in _steps(len(texts), len(self.seeds)):
            found = vectors[begin:end] @ self.seeds.T
            numbers.append(found.argmax(axis=1).astype(np.int32))
            scores.append(found.max(axis=1))
        return np.concatenate(scores), np.concatenate(numbers)


def _text_of(seed: Seed) -> str:
    """All that the seed says, in no template."""
    parts = [seed.context, seed.question, *seed.choices, seed.answer, seed.explanation]
    return "\n".join(filter(None, parts))


def _by_words(texts: Sequence[str], sample: Iterable[str]) -> ByWords:
    from sklearn.feature_extraction.text import TfidfTransformer

    weights = TfidfTransformer(sublinear_tf=True).fit(_count_words(sample))
    return ByWords(weights, weights.transform(_count_words(texts)).T.tocsr())


def _count_words(texts: Iterable[str]) -> csr_matrix:
    from sklearn.feature_extraction.text import HashingVectorizer

    words = HashingVectorizer(
        n_features=_FEATURES,
        alternate_sign=False,
        norm=None,
        token_pattern=r"(?u)\w+",
        dtype=np.float32,
    )
    return words.transform(texts)


def _steps(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    step = max(1, _CELLS // max(1, columns))
    return ((begin, min(begin + step, rows)) for begin in range(0, rows, step))


@lru_cache(maxsize=1)
def _encoder(model: str, key: str) -> SentenceEncoder:
    return load_model(model, key)
