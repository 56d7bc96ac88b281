"""What rows of a dataset ask in other words: their windows, compared with evaluated documents.

A row may be a page, so that no embedding of the whole would tell what one of its questions asks. It
is compared in windows of whole sentences, each at most about as long as the questions, or the
items, of a benchmark are, and a quarter of that after the one before. The thresholds are those of
the guard, for no training split is at hand, raised for the windows: of a row as long as an
evaluated document, the stated share is above any, as measured on these documents.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from tsqa.decontaminate.index import Leak
from tsqa.decontaminate.semantic import VIEWS, Embedder, SemanticDocuments, item_text
from tsqa.decontaminate.undress import undress
from tsqa.dedup.semantic import load_model
from tsqa.hub.identify import identify_model
from tsqa.recipe import SemanticLeakSection
from tsqa.records.candidate import Candidate, Rejection, seed_as_candidate
from tsqa.records.seed import Seed
from tsqa.records.summaries import SemanticTask
from tsqa.text.normalise import count_words, word_pieces, words

OPTION = "--semantic"
RULE = "semantic"
_SENTENCE = re.compile(r"(?:[^.!?\n]|[.!?](?!\s))+[.!?]*\s*|\S\s*")
_READ = 1000
"""Evaluated documents, at most, that are read as rows to raise thresholds."""
_SHORTEST, _LONGEST = 8, 128
"""Sizes of windows in words: a model reads some 180 words of English."""
_STEPS = 4
"""Windows that a word is in, at most: a question that begins in the middle of one is lost in it."""
_PART = 64
"""Words from which on a sentence is cut: a table has no end of one."""


def open_embedder(section: SemanticLeakSection, folder: Path) -> Embedder:
    """Load the model; `folder` keeps the vectors of evaluated documents. Raises EngineError."""
    return Embedder(load_model(section.model, OPTION), identify_model(section.model), folder)


class MeantDocuments:
    """The evaluated documents by their meaning, for any text."""

    def __init__(self, embedder: Embedder, documents: Sequence[Seed], false_positives: float):
        self._sizes = window_sizes(documents)
        candidates = [*map(seed_as_candidate, documents)]
        windows = [*_windows_of(candidates, self._sizes)]
        self._documents = SemanticDocuments(embedder, candidates, None, false_positives, windows)

    @property
    def tasks(self) -> list[SemanticTask]:
        """How each task is decided."""
        return self._documents.tasks

    def find(self, texts: Sequence[str]) -> list[list[Leak]]:
        """List, per text in plain letters, the evaluated documents that its windows ask again."""
        windows = [(n, one) for n, text in enumerate(texts) for one in split(text, self._sizes)]
        verdicts = self._documents.check_texts([window for _, window in windows])
        found: list[dict[str, tuple[str, Rejection]]] = [{} for _ in texts]
        for (number, window), verdict in zip(windows, verdicts, strict=True):
            if verdict is None:
                continue
            known = found[number].get(verdict.match)
            if known is None or (verdict.score or 0) > (known[1].score or 0):
                found[number][verdict.match] = window, verdict
        return [
            [Leak(RULE, name, tuple(words(w)), verdict.score) for name, (w, verdict) in own.items()]
            for own in found
        ]


def _windows_of(candidates: Sequence[Candidate], sizes: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Yield (number, window) of the evaluated documents that are read as rows."""
    for number in range(0, len(candidates), max(1, -(-len(candidates) // _READ))):
        for window in split(undress(candidates[number].full_text), sizes):
            yield number, window


def count_evaluated(documents: Sequence[Seed]) -> int:
    """Count the texts that are embedded before any row: both views of each document, windows."""
    windows = _windows_of([*map(seed_as_candidate, documents)], window_sizes(documents))
    return len(VIEWS) * len(documents) + sum(1 for _ in windows)


def window_sizes(documents: Sequence[Seed]) -> list[int]:
    """Choose sizes of windows in words: the powers of two above the tasks' medians."""
    lengths: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for one in documents:
        views = (one.question, item_text(one.question, one.choices, one.context))
        for view, text in enumerate(views):
            lengths[one.task, view].append(count_words(undress(text)))
    medians = (sorted(own)[len(own) // 2] for own in lengths.values())
    powers = (2 ** round(max(1, length)).bit_length() for length in medians)
    return sorted({min(_LONGEST, max(_SHORTEST, power)) for power in powers})


def split(text: str, sizes: Sequence[int]) -> list[str]:
    """List the distinct windows of a text."""
    parts = [part for sentence in _SENTENCE.findall(text) for part in _cut(sentence)]
    counts = [count_words(part) for part in parts]
    spans = dict.fromkeys(span for size in sizes for span in _spans(counts, size))
    return [window for start, end in spans if (window := "".join(parts[start:end]).strip())]


def _cut(sentence: str) -> Iterator[str]:
    found = word_pieces(sentence)
    for start in range(0, len(found), _PART):
        yield "".join(found[start : start + _PART])


def _spans(counts: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
    """Yield (first sentence, the one after the last) of windows of at most `size` words.

    A longer sentence is one by itself. Each begins at least a quarter of `size` after the last.
    """
    start = 0
    while start < len(counts):
        end, held = start + 1, counts[start]
        while end < len(counts) and held + counts[end] <= size:
            held += counts[end]
            end += 1
        yield start, end
        passed = 0
        while start < end and passed < size / _STEPS:
            passed += counts[start]
            start += 1
