"""The evaluated documents as word numbers: each distinct document, and each passage, once.

Promise: memory is linear in the words of the distinct documents; their text is not kept, but for
the normalised questions.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tsqa.filters.grams import Numbers, expand_ranges, hash_text
from tsqa.filters.similarity import Questions
from tsqa.filters.text import normalise, words
from tsqa.seeds.seed import Seed

_LETTERS = re.compile(r"[^\W\d_]+")


class EvaluatedTexts:
    """A document is its number here; words count from 1, and 0 is a word that no document has."""

    def __init__(self, documents: Iterable[Seed]) -> None:
        self.ids: list[str] = []
        self._questions: dict[str, int] = {}
        """Normalised question -> the first document that asks it."""
        self._shared: set[int] = set()
        """First documents of the questions that documents of one task with unequal content ask."""
        self._asked: dict[tuple[int, int], int] = {}
        """(first document, task) -> content."""
        self._contents: dict[int, int] = {}
        self._options: dict[int, int | None] = {}
        """None: several questions of one task have these options."""
        self._vocabulary: dict[str, int] = {}
        self._lower: set[str] = set()
        self._tasks: dict[str, int] = {}
        self._task_of, self._first_of = array("q"), array("q")
        self._contexts: dict[int, tuple[int, int]] = {}
        self._context_of = array("q")
        self._pieces, self._pieces_of = array("q"), array("q", [0])
        flat, sequences = array("q"), array("q")
        seen: set[int] = set()
        for document in documents:
            self._read(document, seen, flat, sequences)
        self.words: Numbers = np.array(flat, dtype=np.int64)
        self.sequences: Numbers = np.array(sequences, dtype=np.int64).reshape(-1, 3)
        """(start, end, document) of every passage, and of every question, options and answer."""
        self.tasks: Numbers = np.array(self._task_of, dtype=np.int64)
        """The task number of each document."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def vocabulary_size(self) -> int:
        """Word numbers are below this."""
        return len(self._vocabulary) + 1

    def number(self, found: Sequence[str]) -> Numbers:
        get = self._vocabulary.get
        return np.array([get(word, 0) for word in found], dtype=np.int64)

    def find_question(self, question: str, context: str, choices: Sequence[str]) -> int | None:
        """The document that asks a normalised question; if several ask it, this passage's."""
        first = self._questions.get(question)
        if first in self._shared:
            return self._contents.get(_content_key(question, context, choices))
        return first

    def find_options(self, choices: Sequence[str]) -> int | None:
        """The document whose question alone in its task has these options, in any order."""
        key = _option_key(choices)
        return None if key is None else self._options.get(key)

    def answer(self, document: int) -> Numbers:
        start, end = self._pieces[self._pieces_of[document + 1] - 2 : self._pieces_of[document + 1]]
        return self.words[start:end]

    def item(self, document: int) -> list[Numbers]:
        """The runs of words that together are the document; the first is the one to look for."""
        begin, end = self._pieces_of[document], self._pieces_of[document + 1]
        bounds = self._pieces[begin:end]
        question, *options, answer = (self.words[start:stop] for start, stop in pairwise(bounds))
        if self._first_of[document] not in self._shared:
            return [question, answer]
        start, stop = self._context_of[2 * document : 2 * document + 2]
        if start < stop:
            return [self.words[start:stop], question, answer]
        return [question, answer, *options]

    def item_bounds(self, document: int) -> tuple[int, int]:
        """(start, end) in `words` of the first run of `item`."""
        start, stop = self._context_of[2 * document : 2 * document + 2]
        if self._first_of[document] in self._shared and start < stop:
            return start, stop
        begin = self._pieces_of[document]
        return self._pieces[begin], self._pieces[begin + 1]

    def document_at(self, place: int) -> int:
        """The document whose sequence holds this place in `words`."""
        row = np.searchsorted(self.sequences[:, 0], place, side="right") - 1
        return int(self.sequences[row, 2])

    def own_questions(self) -> Questions:
        """The questions; the shared ones have no words."""
        begins = np.array(self._pieces_of, dtype=np.int64)[:-1]
        bounds = np.array(self._pieces, dtype=np.int64)
        shared = np.isin(np.array(self._first_of), list(self._shared))
        lengths = np.where(shared, 0, bounds[begins + 1] - bounds[begins])
        return Questions(
            words=self.words[expand_ranges(bounds[begins], lengths)],
            starts=np.concatenate(([0], np.cumsum(lengths))),
            tasks=self.tasks,
        )

    def swappable(self) -> NDArray[np.bool_]:
        """For each word number: is it a number or a name (a word never written in lower case)?"""
        found = [
            any(letter.isdigit() for letter in word) or (word.isalpha() and word not in self._lower)
            for word in self._vocabulary
        ]
        return np.array([False, *found])

    def _read(
        self, document: Seed, seen: set[int], flat: array[int], sequences: array[int]
    ) -> None:
        question = normalise(document.question)
        content = _content_key(question, document.context, document.choices)
        whole = hash_text(f"{content} {normalise(document.answer)}")
        if whole in seen:
            return
        seen.add(whole)
        number = len(self.ids)
        self.ids.append(document.id)
        task = self._tasks.setdefault(document.task, len(self._tasks))
        self._task_of.append(task)
        first = self._questions.setdefault(question, number)
        self._first_of.append(first)
        if self._asked.setdefault((first, task), content) != content:
            self._shared.add(first)
        self._contents.setdefault(content, number)
        self._add_options(document.choices, number)
        context = hash_text(normalise(document.context))
        if context not in self._contexts:
            start = len(flat)
            self._append(document.context, flat)
            self._contexts[context] = (start, len(flat))
            sequences.extend((start, len(flat), number))
        self._context_of.extend(self._contexts[context])
        start = len(flat)
        self._pieces.append(start)
        for piece in (document.question, *document.choices, document.answer):
            self._append(piece, flat)
            self._pieces.append(len(flat))
        self._pieces_of.append(len(self._pieces))
        sequences.extend((start, len(flat), number))

    def _add_options(self, choices: Sequence[str], number: int) -> None:
        key = _option_key(choices)
        holder = number if key is None else self._options.setdefault(key, number)
        if key is None or holder is None or self._task_of[holder] != self._task_of[number]:
            return
        if self._first_of[holder] != self._first_of[number]:
            self._options[key] = None

    def _append(self, text: str, flat: array[int]) -> None:
        numbers = self._vocabulary
        flat.extend(numbers.setdefault(word, len(numbers) + 1) for word in words(text))
        self._lower.update(word for word in _LETTERS.findall(text) if word == word.lower())


def _content_key(question: str, context: str, choices: Sequence[str]) -> int:
    """A hash of normalised question, passage and options in any order."""
    parts = [question, normalise(context), *sorted(normalise(choice) for choice in choices)]
    return hash_text("\n".join(parts))


def _option_key(choices: Sequence[str]) -> int | None:
    """A hash of options in any order; None unless there are two that differ in words."""
    options = {normalise(choice) for choice in choices}
    if len(options) < 2 or "" in options:
        return None
    return hash_text("\n".join(sorted(options)))
