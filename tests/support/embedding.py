"""A sentence encoder without a model: texts that share words are alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsqa.text.hashing import hash_text


class BagOfWords:
    """Counts the texts that it is asked for; none of them is without length."""

    def __init__(self, dimensions: int = 64) -> None:
        self.dimensions, self.asked = dimensions, 0

    def encode(self, texts: list[str], *, normalize_embeddings: bool) -> NDArray[np.float32]:
        assert normalize_embeddings
        self.asked += len(texts)
        vectors: NDArray[np.float32] = np.full((len(texts), self.dimensions), 1e-3, np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.split():
                row[hash_text(word) % self.dimensions] += 1
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors
