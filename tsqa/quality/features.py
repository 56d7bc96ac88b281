"""Texts as vectors of weighted words (TF-IDF), each of length 1, so that products are cosines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import regex
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from tsqa.text.normalise import WORD, words

_TOKEN = regex.compile(rf"{WORD.pattern}|[^\w\s]")
_CELLS = 4_000_000


def weigh(
    texts: Sequence[str], fitted_on: Sequence[str] | None = None, style: bool = False
) -> csr_matrix:
    """`style`: with case, punctuation and pairs of words; without, by the words alone."""
    vectorizer = TfidfVectorizer(analyzer=_style if style else _words, sublinear_tf=True)
    return vectorizer.fit(texts if fitted_on is None else fitted_on).transform(texts).tocsr()


def nearest(
    rows: csr_matrix, among: csr_matrix
) -> tuple[
    np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.float64]]
]:
    """Of each row the place of the nearest, and its cosine."""
    places, cosines = np.zeros(rows.shape[0], np.int64), np.zeros(rows.shape[0])
    for part in _parts(rows.shape[0], among.shape[0]):
        near = (rows[part] @ among.T).toarray()
        places[part], cosines[part] = near.argmax(1), near.max(1)
    return places, cosines


def _parts(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, _CELLS // max(1, columns))
    return (slice(begin, begin + step) for begin in range(0, rows, step))


def _words(text: str) -> list[str]:
    return words(text) or ["(no words)"]


def _style(text: str) -> list[str]:
    tokens = _TOKEN.findall(text)
    return [*tokens, *map(" ".join, pairwise(tokens))] or ["(nothing)"]
