"""Rejects candidates that repeat a training question or a seed shown in their prompt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from tsqa.dedup.minhash import jaccard, shingles
from tsqa.records.candidate import Candidate, Rejection, Verdict
from tsqa.records.seed import SeedIndex
from tsqa.records.training_keys import TrainingKeys
from tsqa.seeds.document import content_key
from tsqa.text.sameness import SameTexts, TextKey, question_key, tell_apart


class CopyCheck:
    """`training`: every document of the training splits, chosen as a seed or not.

    Memory: two keys and one id per training document.
    """

    def __init__(
        self, training: Iterable[TrainingKeys], seeds: SeedIndex, similarity: float
    ) -> None:
        self._seeds, self._similarity = seeds, similarity
        self._known: SameTexts[str] = SameTexts()
        for document in training:
            self._known.add(document.whole, document.id)
            self._known.add(document.without_options, document.id)
        self._shot = lru_cache(maxsize=1024)(self._read_shot)

    def check(self, candidate: Candidate) -> Verdict:
        """Adds the score `seed_similarity`: Jaccard of word shingles with the nearest shot.

        None where the seed is a passage: it asks nothing that could be copied.
        """
        known = self._known.find(
            content_key(candidate.context, candidate.question, candidate.choices)
        )
        if known is not None:
            return candidate, Rejection("copy of a seed", 1.0, known)
        if candidate.is_of_document:
            return candidate, None
        asked = question_key(f"{candidate.context}\n{candidate.question}")
        own = shingles(asked.bare.split())
        near = [(jaccard(own, self._shot(seed)[1]), seed) for seed in candidate.record.seed_ids]
        score = max((score for score, _ in near), default=0.0)
        scored = replace(candidate, scores=candidate.scores | {"seed_similarity": round(score, 4)})
        for score, seed in sorted(near, reverse=True):
            if score >= self._similarity and not tell_apart(asked, self._shot(seed)[0]):
                return scored, Rejection("near copy of a seed", score, seed)
        return scored, None

    def _read_shot(self, seed_id: str) -> tuple[TextKey, frozenset[str]]:
        """The key of a seed's question and its shingles; none where there is no such seed."""
        seed = self._seeds.find(seed_id)
        if not seed:
            return TextKey(""), frozenset()
        key = question_key(f"{seed.context}\n{seed.question}")
        return key, shingles(key.bare.split())
