"""A candidate is to be new: no training question again, and not close to what its prompt showed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from tsqa.filters.candidate import Candidate, Rejection, Verdict
from tsqa.filters.dedup import jaccard, shingles
from tsqa.filters.seed_index import SeedIndex
from tsqa.seeds.document import content_key
from tsqa.seeds.seed import Seed


class CopyCheck:
    """`training`: every document of the training splits, chosen as a seed or not.

    Memory: one key and one id per training document.
    """

    def __init__(self, training: Iterable[Seed], seeds: SeedIndex, similarity: float) -> None:
        self._seeds, self._similarity = seeds, similarity
        self._known: dict[int, str] = {}
        for seed in training:
            # An open question made from one with options must meet it too.
            for choices in (seed.choices, []):
                key = content_key(seed.context, seed.question, choices)
                self._known.setdefault(key, seed.id)
        self._shingles = lru_cache(maxsize=1024)(self._read_shingles)

    def check(self, candidate: Candidate) -> Verdict:
        """Adds the score `seed_similarity`: Jaccard of word shingles with the nearest shot."""
        known = self._known.get(
            content_key(candidate.context, candidate.question, candidate.choices)
        )
        if known is not None:
            return candidate, Rejection("copy of a seed", 1.0, known)
        own = shingles(f"{candidate.context}\n{candidate.question}")
        near = [(jaccard(own, self._shingles(s)), s) for s in candidate.record["seed_ids"]]
        score, seed = max(near, default=(0.0, ""))
        scored = replace(candidate, scores=candidate.scores | {"seed_similarity": round(score, 4)})
        if score >= self._similarity:
            return scored, Rejection("near copy of a seed", score, seed)
        return scored, None

    def _read_shingles(self, seed_id: str) -> frozenset[str]:
        seed = self._seeds.find(seed_id)
        return shingles(f"{seed.context}\n{seed.question}") if seed else frozenset()
