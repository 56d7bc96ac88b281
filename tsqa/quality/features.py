"""Texts as vectors of weighted words (TF-IDF), each of length 1, so that products are cosines; and
how far apart two sets of vectors are."""

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


def frechet_distance(
    left: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    right: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> float:
    """Squared, between the normal distributions with the means and covariances of two sets of rows
    (Dowson and Landau, 1982). It falls with the number of rows, so compare at equal sizes only.

    The trace of the root of the product of covariances is the sum of the singular values of
    `left @ right.T`, centred: no matrix root, which fails where there are fewer rows than columns.
    """
    sets = [rows - rows.mean(0) for rows in (left, right)]
    one, other = (rows / np.sqrt(len(rows) - 1) for rows in sets)
    shared = np.linalg.svd(one @ other.T, compute_uv=False).sum()
    means = ((left.mean(0) - right.mean(0)) ** 2).sum()
    return float(means + (one**2).sum() + (other**2).sum() - 2 * shared)


def _parts(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, _CELLS // max(1, columns))
    return (slice(begin, begin + step) for begin in range(0, rows, step))


def _words(text: str) -> list[str]:
    return words(text) or ["(no words)"]


def _style(text: str) -> list[str]:
    tokens = _TOKEN.findall(text)
    return [*tokens, *map(" ".join, pairwise(tokens))] or ["(nothing)"]
