"""Duplicates among candidates: the first by id stays.

Promises: the result does not depend on the order of the input; MinHash only proposes pairs, the
exact Jaccard similarity of word shingles decides, so nothing is dropped by a hash collision.
"""

from __future__ import annotations

from collections.abc import Sequence

from tsqa.filters.candidate import Candidate, Rejection
from tsqa.filters.text import normalise, words
from tsqa.recipe import DedupSection

_SHINGLE = 3
_PERMUTATIONS = 128


def find_duplicates(candidates: Sequence[Candidate], section: DedupSection) -> dict[str, Rejection]:
    """Candidate id -> why it goes."""
    rejected: dict[str, Rejection] = {}
    first: dict[str, str] = {}
    unique: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: c.id):
        key = normalise(candidate.question)
        if key in first:
            rejected[candidate.id] = Rejection("exact duplicate", 1.0, first[key])
        else:
            first[key] = candidate.id
            unique.append(candidate)
    if section.method == "minhash" and section.threshold < 1:
        rejected |= _near_duplicates(unique, section.threshold)
    return rejected


def shingles(text: str) -> frozenset[str]:
    """Overlapping runs of three words; a shorter text is one shingle."""
    found = words(text)
    last = max(1, len(found) - _SHINGLE + 1)
    return frozenset(" ".join(found[start : start + _SHINGLE]) for start in range(last))


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    return len(left & right) / len(left | right) if left or right else 1.0


def _near_duplicates(candidates: Sequence[Candidate], threshold: float) -> dict[str, Rejection]:
    from datasketch import MinHash, MinHashLSH

    rejected: dict[str, Rejection] = {}
    kept: dict[str, frozenset[str]] = {}
    # Recall matters here, the exact check below removes the false ones.
    lsh = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS, weights=(0.1, 0.9))
    for candidate in candidates:
        mine = shingles(candidate.question)
        sketch = MinHash(num_perm=_PERMUTATIONS, seed=1)
        sketch.update_batch([shingle.encode() for shingle in sorted(mine)])
        scored = sorted((-jaccard(mine, kept[other]), other) for other in lsh.query(sketch))
        if scored and -scored[0][0] >= threshold:
            rejected[candidate.id] = Rejection("near duplicate", -scored[0][0], scored[0][1])
        else:
            kept[candidate.id] = mine
            lsh.insert(candidate.id, sketch)
    return rejected
