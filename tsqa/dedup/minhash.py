"""Duplicates among candidates: the first in order stays.

Four passes over files in a scratch folder: store the questions and find the exact duplicates;
MinHash the others into bands; propose the pairs that share a band; judge every item in order.

Guarantees: items are read once, as a stream, and each gets one verdict, in order; an item is
dropped only against an earlier one that is kept; MinHash only proposes pairs, the exact Jaccard
similarity of shingles (of words and signs) decides, so nothing is dropped by a hash collision; two
questions that differ in nothing but signs or case (see `tsqa.text.sameness`) are never duplicates;
memory is one batch of items and one partition of pairs (1/256 of the keys), and 17 bytes per item
in a mapped file.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from tsqa.dedup.disk import (
    PackedQuestions,
    PairFiles,
    QuestionFile,
    QuestionRange,
    StoredQuestion,
    pack_questions,
)
from tsqa.dedup.semantic import KEY, SemanticSearch, load_model
from tsqa.parallel import ALONE, Workers
from tsqa.recipe import DedupSection
from tsqa.records.candidate import Rejection
from tsqa.store.atomic import emptied
from tsqa.text.hashing import Hashes, Numbers, expand_ranges, hash_runs, hash_text
from tsqa.text.sameness import agree_in_case, case_of, words_of

_SHINGLE = 3
_PERMUTATIONS = 128
_BAND_RECALL = 0.995
"""Least chance that two questions exactly at the threshold share a band."""
_BUCKET = 32
"""An item is compared with this many of the first in its bucket: pairs stay linear in items."""
_BLOCK = 8192
"""Items whose pairs are in memory at once."""
_PARTITION_BITS = 8
_PACK = 8192

_VERDICT = np.dtype([("reason", "u1"), ("match", "<i8"), ("score", "<f8")])
_REASONS = ("", "exact duplicate", "near duplicate", "semantic duplicate")
_KEPT, _EXACT, _NEAR, _SEMANTIC = range(4)
_Finding = tuple[int, int, float]
"""Reason, number of the match, score."""


def find_duplicates(
    items: Iterable[tuple[str, str]], section: DedupSection, scratch: Path
) -> Iterator[Rejection | None]:
    """One verdict per (id, question), in order; `scratch` holds a folder until the last one.

    Raises EngineError when the model of `section.semantic` cannot be loaded.
    """
    return find_packed(map(pack_questions, _split(items)), section, scratch, ALONE)


def find_packed(
    questions: Iterable[PackedQuestions], section: DedupSection, scratch: Path, workers: Workers
) -> Iterator[Rejection | None]:
    """As `find_duplicates`, of questions in packs of any size; `workers` hash and pair them."""
    model = load_model(section.semantic.model, KEY) if section.semantic else None
    folder = emptied(scratch / "dedup")
    stored = QuestionFile(folder)
    exact, bands, copies, near = (
        PairFiles(folder / name) for name in ("exact", "bands", "copies", "near")
    )
    try:
        _store(questions, stored, exact)
        _propose(exact, copies, 1, workers)
        if section.method == "minhash" and section.threshold < 1:
            _band(stored, copies, bands, section.threshold, workers)
            _propose(bands, near, _BUCKET, workers)
        semantic = SemanticSearch(model, stored, folder) if model and len(stored) else None
        yield from _Judge(stored, copies, near, semantic, section, folder).verdicts()
    finally:
        stored.close()
        shutil.rmtree(folder)


def shingles(found: Sequence[str]) -> frozenset[str]:
    """Overlapping runs of three tokens; a shorter text is one shingle."""
    last = max(1, len(found) - _SHINGLE + 1)
    return frozenset(" ".join(found[start : start + _SHINGLE]) for start in range(last))


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    return len(left & right) / len(left | right) if left or right else 1.0


def choose_bands(threshold: float) -> tuple[int, int]:
    """(bands, rows): the longest bands with which a pair at the threshold is still proposed.

    Two items of similarity s share one of b bands of r rows with the chance 1 - (1 - s**r)**b
    (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4.2).
    """
    for rows in range(_PERMUTATIONS, 1, -1):
        bands = _PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= _BAND_RECALL:
            return bands, rows
    return _PERMUTATIONS, 1


def _split(items: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    source = iter(items)
    while batch := list(islice(source, _PACK)):
        yield batch


def _store(questions: Iterable[PackedQuestions], stored: QuestionFile, exact: PairFiles) -> None:
    """Write the questions, and the hash of the words and signs of each."""
    for packed in questions:
        numbers = np.arange(len(stored), len(stored) + len(packed.keys))
        exact.add(_partition(packed.keys), packed.keys, numbers)
        stored.extend(packed)


def _propose(buckets: PairFiles, pairs: PairFiles, partners: int, workers: Workers) -> None:
    """Pair each item with the first `partners` in its bucket; later item first, in blocks of it."""
    pairing = _Pairing(buckets, partners)
    for later, earlier in workers.map_ordered(pairing, buckets.partitions()):
        pairs.add(later // _BLOCK, later.astype(np.uint64), earlier)


@dataclass(frozen=True)
class _Pairing:
    buckets: PairFiles
    partners: int

    def __call__(self, partition: int) -> tuple[Numbers, Numbers]:
        """(later items, earlier ones) of a partition"""
        keys, items = self.buckets.load(partition)
        starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
        sizes = np.diff(np.append(starts, len(keys)))
        bucket_starts = np.repeat(starts, sizes)
        counts = np.minimum(np.arange(len(keys)) - bucket_starts, self.partners)
        return np.repeat(items, counts), items[expand_ranges(bucket_starts, counts)]


def _band(
    stored: QuestionFile, copies: PairFiles, bands: PairFiles, threshold: float, workers: Workers
) -> None:
    """The band keys of every item, but for those of equal words and signs as an earlier one."""
    banding = _Banding(*choose_bands(threshold), copies, _BLOCK)
    for numbers, keys in workers.map_ordered(banding, stored.ranges()):
        bands.add(_partition(keys), keys, np.tile(numbers, banding.bands))


@dataclass(frozen=True)
class _Banding:
    bands: int
    rows: int
    copies: PairFiles
    block: int
    """Items in a block of the copies."""

    def __call__(self, questions: QuestionRange) -> tuple[Numbers, Hashes]:
        """(items, their band keys: band by band)"""
        batch, first = questions.read(), questions.first
        last = first + len(batch) - 1
        blocks = range(first // self.block, last // self.block + 1)
        copied = np.concatenate([self.copies.load(block)[0] for block in blocks])
        numbers = np.arange(first, last + 1)
        numbers = numbers[~np.isin(numbers, copied.astype(np.int64))]
        if not len(numbers):
            return numbers, np.empty(0, dtype=np.uint64)
        texts = [batch[number - first].text.split() for number in numbers]
        return numbers, _band_keys(texts, self.bands, self.rows)


def _band_keys(texts: Sequence[Sequence[str]], bands: int, rows: int) -> Hashes:
    """(bands * texts): band by band, one key per text from `rows` MinHashes of its shingles."""
    vocabulary: dict[str, int] = {"": 0}
    flat: list[int] = []
    for text in texts:
        flat += [vocabulary.setdefault(word, len(vocabulary)) for word in text]
        flat += [0] * (_SHINGLE - len(text))
    hashes = np.array([hash_text(word) for word in vocabulary], dtype=np.uint64)
    *_, runs = hash_runs(hashes[np.array(flat)], _SHINGLE)
    lengths = np.array([max(_SHINGLE, len(text)) for text in texts])
    counts = lengths - _SHINGLE + 1
    runs = runs[expand_ranges(np.cumsum(lengths) - lengths, counts)]
    starts = np.cumsum(counts) - counts
    rng = np.random.default_rng(1)
    keys = np.empty((bands, len(texts)), dtype=np.uint64)
    for band in keys:
        band[:] = rng.integers(2**64, dtype=np.uint64)
        for _ in range(rows):
            factor, shift = rng.integers(2**64, size=2, dtype=np.uint64)
            least = np.minimum.reduceat(runs * (factor | np.uint64(1)) + shift, starts)
            band ^= least
            band *= np.uint64(0xD6E8FEB86659FD93)
            band ^= band >> np.uint64(32)
    return keys.reshape(-1)


def _partition(keys: Hashes) -> Numbers:
    return (keys >> np.uint64(64 - _PARTITION_BITS)).astype(np.int64)


class _Judge:
    """Every item in order, against the kept ones before it."""

    def __init__(
        self,
        stored: QuestionFile,
        copies: PairFiles,
        near: PairFiles,
        semantic: SemanticSearch | None,
        section: DedupSection,
        folder: Path,
    ) -> None:
        self._stored, self._copies, self._near = stored, copies, near
        self._semantic, self._section = semantic, section
        size = max(1, len(stored))
        self._verdicts = np.memmap(folder / "verdicts", dtype=_VERDICT, mode="w+", shape=(size,))
        self._dropped = self._verdicts["reason"]
        self._in_other_case: dict[int, list[int]] = {}
        """First of a question -> those that differ from it and from each other in case alone."""
        self._shingles_of = lru_cache(_BLOCK)(lambda n: shingles(self._stored[n].text.split()))

    def verdicts(self) -> Iterator[Rejection | None]:
        for start in range(0, len(self._stored), _BLOCK):
            stop = min(start + _BLOCK, len(self._stored))
            copies = _partners(self._copies, start, stop)
            near = _partners(self._near, start, stop)
            for number, same, alike in zip(range(start, stop), copies, near, strict=True):
                reason, match, score = self._judge(number, same, alike)
                self._verdicts[number] = (reason, match, score)
                yield (
                    Rejection(_REASONS[reason], score, self._stored[match].id) if reason else None
                )

    def _judge(self, number: int, same: Sequence[int], alike: Sequence[int]) -> _Finding:
        for first in same:
            mine, item = self._stored[number], self._stored[first]
            if mine.text != item.text:
                continue
            # One that differs in case is another question, which later copies may repeat.
            for other in (first, *self._in_other_case.get(first, ())):
                if _agree_in_case(mine, item if other == first else self._stored[other]):
                    # A copy of a dropped question shares its fate: the kept one it resembles.
                    fate: _Finding = self._verdicts[other].item()
                    return fate if fate[0] else (_EXACT, other, 1.0)
            self._in_other_case.setdefault(first, []).append(number)
        rivals = [other for other in alike if not self._dropped[other]]
        if rivals:
            own = self._shingles_of(number)
            scored = sorted(
                ((jaccard(own, self._shingles_of(n)), -n) for n in rivals), reverse=True
            )
            for score, negative in scored:
                if score >= self._section.threshold and not self._tell_apart(number, -negative):
                    return _NEAR, -negative, score
        if self._semantic and self._section.semantic:
            score, other = self._semantic.nearest(number, self._dropped)
            close = score >= self._section.semantic.threshold
            if close and not self._tell_apart(number, other):
                return _SEMANTIC, other, score
        return _KEPT, -1, 0.0

    def _tell_apart(self, number: int, other: int) -> bool:
        left, right = self._stored[number], self._stored[other]
        if left.text == right.text:
            return not _agree_in_case(left, right)
        return words_of(left.text) == words_of(right.text)


def _agree_in_case(left: StoredQuestion, right: StoredQuestion) -> bool:
    if left.question == right.question or not (case := case_of(left.question)):
        return True
    return agree_in_case(case, case_of(right.question))


def _partners(pairs: PairFiles, start: int, stop: int) -> Iterator[Sequence[int]]:
    """The earlier items paired with each item from `start` to `stop`, ascending."""
    later, earlier = pairs.load(start // _BLOCK)
    bounds = np.searchsorted(later.astype(np.int64), np.arange(start, stop + 1))
    for begin, end in pairwise(bounds.tolist()):
        yield earlier[begin:end].tolist()
