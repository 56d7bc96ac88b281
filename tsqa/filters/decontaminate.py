"""No evaluated document may reach the student: five rules against every one of them.

- `question`: the candidate asks an evaluated question (same words; case and punctuation aside).
- `item`: a short evaluated question stands whole in the candidate's text, and its answer as well.
- `ngram`: a run of n words of an evaluated passage, or question with options and answer, stands in
  the candidate's text.
- `options`: the candidate has the options of an evaluated question, in any order, and its question
  is half as similar as the last rule asks.
- `similarity`: the candidate's question holds too much of an evaluated question's words, in order,
  within a window of twice its length. A word counts by its rarity among the task's evaluated
  questions, so that a template they all share weighs almost nothing; numbers and names, which a
  disguise swaps, do not count where the other words identify the question.

What documents of one task share identifies none of them: a question that several ask counts only
with its passage and options, and a run that more than ten hold is a template.

Promises: the search for similar questions is exact; a hash only proposes a run, its words decide;
memory is linear in the evaluated documents and independent of the candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsqa.filters.candidate import Candidate, Rejection
from tsqa.filters.evaluated import EvaluatedTexts
from tsqa.filters.grams import Hashes, Numbers, RunTable, expand_ranges, hash_runs
from tsqa.filters.plants import KINDS, plant_leak
from tsqa.filters.similarity import SimilarQuestions
from tsqa.filters.text import words
from tsqa.recipe import DecontaminateSection
from tsqa.seeds.seed import Seed

RULES = ("question", "item", "ngram", "options", "similarity")
_TEMPLATE = 10
"""A run that more documents of a task than this hold is a template."""
_BATCH = 256
_NEAR = 100
"""Words before and after a question among which any text would have its answer."""


class EvaluatedIndex:
    """Every evaluated document, indexed for the five rules."""

    def __init__(self, documents: Iterable[Seed], section: DecontaminateSection) -> None:
        self._section = section
        self._texts = texts = EvaluatedTexts(documents)
        rng = np.random.default_rng(0)
        self._word_hashes = rng.integers(2**64, size=texts.vocabulary_size, dtype=np.uint64)
        self._tables = self._index_runs()
        self._similar = SimilarQuestions(
            texts.own_questions(), texts.swappable(), section.similarity
        )

    def check(self, candidates: Sequence[Candidate]) -> list[Rejection | None]:
        """Per candidate: the first rule that catches it, its score and the evaluated document."""
        verdicts: list[Rejection | None] = []
        for start in range(0, len(candidates), _BATCH):
            verdicts += self._check(candidates[start : start + _BATCH])
        return verdicts

    def check_texts(self, texts: Sequence[str]) -> list[Rejection | None]:
        """The rules `item` and `ngram` alone, for any text.

        The answer of a short item must stand near its question: a long text holds most words.
        """
        verdicts: list[Rejection | None] = []
        for start in range(0, len(texts), _BATCH):
            batch = [self._texts.number(words(text)) for text in texts[start : start + _BATCH]]
            verdicts += self._check_runs(batch, near=_NEAR)
        return verdicts

    def _check(self, candidates: Sequence[Candidate]) -> list[Rejection | None]:
        questions = [words(candidate.question) for candidate in candidates]
        numbered = [self._texts.number(found) for found in questions]
        texts = [self._texts.number(words(candidate.full_text)) for candidate in candidates]
        in_text = self._check_runs(texts)
        similar = self._check_similarity(numbered, texts)
        return [
            self._check_question(candidate, " ".join(questions[number]))
            or in_text[number]
            or self._check_options(candidate, numbered[number])
            or similar[number]
            for number, candidate in enumerate(candidates)
        ]

    def _check_question(self, candidate: Candidate, question: str) -> Rejection | None:
        found = self._texts.find_question(question, candidate.context, candidate.choices)
        return None if found is None else self._reject("question", 1.0, found)

    def _check_options(self, candidate: Candidate, question: Numbers) -> Rejection | None:
        found = self._texts.find_options(candidate.choices)
        score = 0.0 if found is None else self._similar.coverage(found, question)
        if found is None or score < self._section.similarity / 2:
            return None
        return self._reject("options", score, found)

    def _check_similarity(
        self, questions: Sequence[Numbers], texts: Sequence[Numbers]
    ) -> list[Rejection | None]:
        verdicts: list[Rejection | None] = [None] * len(questions)
        best = [0.0] * len(questions)
        for number, item in self._similar.suspects(questions):
            # Any text on its subject resembles a question of few rare words: ask for the answer.
            light = self._similar.is_light[item]
            if light and not _holds(texts[number], self._texts.answer(item)):
                continue
            score = self._similar.coverage(item, questions[number])
            if score >= self._similar.threshold and score > best[number]:
                best[number] = score
                verdicts[number] = self._reject("similarity", score, item)
        return verdicts

    def _check_runs(
        self, texts: Sequence[Numbers], near: int | None = None
    ) -> list[Rejection | None]:
        """Short items first, whose parts stand within `near` words; then runs of n words."""
        verdicts: list[Rejection | None] = [None] * len(texts)
        flat = np.concatenate(texts)
        bounds = np.cumsum([0, *(len(text) for text in texts)])
        owners = np.repeat(np.arange(len(texts)), np.diff(bounds))
        sizes = hash_runs(self._word_hashes[flat], self._section.ngram)
        for size, runs in enumerate(sizes, start=1):
            if size not in self._tables:
                continue
            positions, entries = self._tables[size].find(runs)
            inside = owners[positions] == owners[positions + size - 1]
            for position, entry in zip(positions[inside], entries[inside], strict=True):
                owner = int(owners[position])
                if verdicts[owner] is None:
                    run = flat[position : position + size]
                    begin, end = bounds[owner : owner + 2]
                    if near is not None:
                        begin, end = max(begin, position - near), min(end, position + size + near)
                    verdicts[owner] = self._match(run, int(entry), flat[begin:end])
        return verdicts

    def _match(self, run: Numbers, entry: int, text: Numbers) -> Rejection | None:
        """`entry`: of a run of n words its place, of a shorter one its document."""
        if len(run) == self._section.ngram:
            if not np.array_equal(run, self._texts.words[entry : entry + len(run)]):
                return None
            return self._reject("ngram", float(len(run)), self._texts.document_at(entry))
        first, *others = self._texts.item(entry)
        if not np.array_equal(run, first) or not all(_holds(text, other) for other in others):
            return None
        return self._reject("item", float(len(run) + sum(map(len, others))), entry)

    def _index_runs(self) -> dict[int, RunTable]:
        """Size -> its runs: of n words -> their places; of fewer -> the short items they begin."""
        firsts = [self._texts.item_bounds(document) for document in range(len(self._texts))]
        bounds = np.array(firsts, dtype=np.int64).reshape(-1, 2)
        lengths = bounds[:, 1] - bounds[:, 0]
        tables: dict[int, RunTable] = {}
        sizes = hash_runs(self._word_hashes[self._texts.words], self._section.ngram)
        for size, runs in enumerate(sizes, start=1):
            if size == self._section.ngram:
                tables[size] = self._index_grams(runs)
            elif (lengths == size).any():
                documents = np.flatnonzero(lengths == size)
                tables[size] = RunTable(runs[bounds[documents, 0]], documents)
        return tables

    def _index_grams(self, runs: Hashes) -> RunTable:
        """Every run inside a sequence -> its first place, templates left out."""
        starts, ends, documents = self._texts.sequences.T
        counts = np.maximum(0, ends - starts - self._section.ngram + 1)
        places = expand_ranges(starts, counts)
        holders = np.repeat(np.arange(len(starts)), counts)
        tasks = self._texts.tasks[documents[holders]]
        order = np.lexsort((holders, tasks, runs[places]))
        hashes, holders, tasks, places = (a[order] for a in (runs[places], holders, tasks, places))
        of_task = _changes(hashes) | _changes(tasks)
        held_by = np.add.reduceat(_changes(holders) | of_task, np.flatnonzero(of_task), dtype=int)
        templates = hashes[of_task][held_by > _TEMPLATE]
        chosen = _changes(hashes) & ~np.isin(hashes, templates)
        return RunTable(hashes[chosen], places[chosen])

    def _reject(self, rule: str, score: float, document: int) -> Rejection:
        return Rejection(rule, round(score, 4), self._texts.ids[document])


def measure_recall(
    index: EvaluatedIndex, documents: Sequence[Seed], sample: int = 200
) -> dict[str, float]:
    """Disguise -> share caught of the leaks planted from about `sample` evaluated documents.

    A disguise that fits none of them is left out.
    """
    step = max(1, len(documents) // sample)
    shares = {}
    for kind in KINDS:
        leaks = (plant_leak(document, kind) for document in documents[::step])
        planted = [leak for leak in leaks if leak]
        if planted:
            caught = sum(verdict is not None for verdict in index.check(planted))
            shares[kind] = round(caught / len(planted), 4)
    return shares


def _changes(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a value differs from the one before it; the first does."""
    return np.concatenate(([True], values[1:] != values[:-1]))[: len(values)]


def _holds(text: Numbers, run: Numbers) -> bool:
    """Does the run of words stand in the text? An empty run does."""
    if not len(run):
        return True
    starts = np.flatnonzero(text == run[0])
    return any(np.array_equal(text[start : start + len(run)], run) for start in starts)
