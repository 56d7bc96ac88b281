"""The evaluated documents as word numbers: each distinct document, and each passage, once.

Guarantee: memory is linear in the words of the distinct documents; their text is not kept, but for
the normalised questions.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tsqa.decontaminate.encodings import is_tag
from tsqa.decontaminate.keys import (
    Asked,
    Sign,
    agree,
    content_key,
    has_passage,
    last_sentence,
    number_sentences,
    option_hash,
    option_words,
    stripped_key,
)
from tsqa.decontaminate.similarity import Questions
from tsqa.decontaminate.undress import join_hyphenated, undress
from tsqa.records.seed import Seed
from tsqa.text.hashing import Numbers, expand_ranges, hash_text
from tsqa.text.normalise import normalise, words
from tsqa.text.sameness import agree_in_case, case_of, is_stripped
from tsqa.text.signs import Spoken, has_signs, read, tokens

_LETTERS = re.compile(r"[^\W\d_]+")
_PASSAGE = "\n"
"""Before a question that is asked of a passage, for no other has a line break."""

_WORDS_PER_SIGN = 50
"""One sign in more words makes no other question: a program has many, and pages lose some."""
_FEWEST_BETWEEN, _LEAST_BETWEEN = 4, 0.5
"""Of the same sign between the words, and of these a share."""
_MARKS_OF_A_WORD = ("+", "%", "\u00b0", "^", "!")


class EvaluatedTexts:
    """A document is its number here; words count from 1, and 0 is a word that no document has."""

    def __init__(self, documents: Iterable[Seed]) -> None:
        self.ids: list[str] = []
        self._questions: dict[str, int] = {}
        """Words and signs of a question -> the first document that asks it."""
        self._stripped: dict[str, int] = {}
        """The same by the words alone, for the questions with signs."""
        self._cases: dict[int, str] = {}
        """First documents of the questions that are asked in one case only -> that case."""
        self._shared: set[int] = set()
        """First documents of the questions that documents of one task with unequal content ask."""
        self._asked: dict[tuple[int, int], int] = {}
        """(first document, task) -> content."""
        self._contents: dict[int, int] = {}
        self._options: dict[int, int] = {}
        """Options -> the first document that has them."""
        self._option_rivals: Counter[int] = Counter()
        """Options -> documents of its task that ask another question about them."""
        self._option_words: set[int] = set()
        self._vocabulary: dict[str, int] = {}
        self._lower: set[str] = set()
        self._tasks: dict[str, int] = {}
        self._task_of, self._first_of = array("q"), array("q")
        self._contexts: dict[int, int] = {}
        self._passages = array("q")
        self._passage_of = array("q")
        self._pieces, self._pieces_of = array("q"), array("q", [0])
        self._last_sentences = array("q")
        self.unanswered: set[int] = set()
        """Documents that have no answer, as instructions; others may have one without words."""
        self._sign_numbers: dict[str, int] = {"": 0}
        self._before, self._after = array("i"), array("i")
        self._sentences = array("q")
        flat, sequences = array("q"), array("q")
        seen: set[int] = set()
        for document in documents:
            self._read(document, seen, flat, sequences)
        self.words: Numbers = np.array(flat, dtype=np.int64)
        self.sequences: Numbers = np.array(sequences, dtype=np.int64).reshape(-1, 4)
        """(start, end, document, is general) of every stretch of words that may be looked for.

        General is what may be asked of another passage as well: the question, where the document
        has a passage; its last sentence, where the question itself tells a story.
        """
        self.sentences: Numbers = np.array(self._sentences, dtype=np.int64)
        """For each word, the number of its sentence."""
        self.tasks: Numbers = np.array(self._task_of, dtype=np.int64)
        """The task number of each document."""
        self.passages: Numbers = np.array(self._passages, dtype=np.int64).reshape(-1, 2)
        """(start, end) in `words` of each distinct passage."""
        self._signs = list(self._sign_numbers)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def vocabulary_size(self) -> int:
        """Word numbers are below this."""
        return len(self._vocabulary) + 1

    @property
    def vocabulary(self) -> list[str]:
        """The words from number 1 on."""
        return list(self._vocabulary)

    def number(self, found: Sequence[str]) -> Numbers:
        get = self._vocabulary.get
        return np.array([get(word, 0) for word in found], dtype=np.int64)

    def undress(self, text: str) -> str:
        """Write a text as the documents are written here: in plain letters and whole words."""
        return join_hyphenated(undress(text), self._vocabulary)

    def ask(self, question: str) -> Asked:
        found = words(question)
        return Asked(question, found, self.number(found))

    def find_question(
        self, asked: Asked, context: str, choices: Sequence[str], has_passage: bool
    ) -> int | None:
        """Find the document that asks a question; of several, that with this passage and options.

        A question that belongs to a passage is found by itself only if there is no other passage.
        """
        plain = asked.normalised
        for prefix in ("", _PASSAGE):
            if prefix + plain not in self._questions and prefix + plain not in self._stripped:
                continue
            key, has_lost_signs = asked.key, is_stripped(asked.text)
            first = self._questions.get(prefix + key.bare)
            if first is None and has_lost_signs:
                first = self._stripped.get(prefix + plain)
            if first is None or not self._agrees_in_case(first, asked):
                continue
            if first not in self._shared and not (prefix and has_passage):
                return first
            passage = normalise(context)
            found = self._contents.get(content_key(prefix + key.bare, passage, choices))
            if found is None and has_lost_signs:
                found = self._contents.get(stripped_key(prefix + plain, passage, choices))
            if found is not None:
                return found
        return None

    def tells_apart(self, document: int, asked: Asked) -> bool:
        """Whether it is another question in the same words: with other signs, or in other case."""
        start, end = self.question_bounds(document)
        if not np.array_equal(asked.numbers, self.words[start:end]):
            return False
        if not self._agrees_in_case(self._first_of[document], asked):
            return True
        signs = asked.signs
        if start == end:
            return False
        own = [
            *(self._signs[n] for n in self._before[start:end]),
            self._signs[self._after[end - 1]],
        ]
        spelled = [*self.is_spelled[self.words[start:end]].tolist(), False]
        differ = [
            (sign, mark)
            for sign, mark, is_word in zip(signs, own, spelled, strict=True)
            if not agree(sign, mark, is_word)
        ]
        dress = self._sign_between(signs, own, spelled)
        differ = [pair for pair in differ if pair != (dress, "")]
        return len(differ) * _WORDS_PER_SIGN > end - start

    def _sign_between(
        self, signs: Sequence[Sign], own: Sequence[str], spelled: Sequence[bool]
    ) -> Sign:
        """The sign that stands before most words of a text, where the document has none, if any."""
        places = [*zip(signs, own, spelled, strict=True)][1:]
        added = Counter(sign for sign, mark, is_word in places if sign and not mark and is_word)
        sign, count = added.most_common(1)[0] if added else ("", 0)
        is_dress = count >= max(_FEWEST_BETWEEN, _LEAST_BETWEEN * sum(spelled))
        return sign if is_dress else None

    def _agrees_in_case(self, first: int, asked: Asked) -> bool:
        """Whether the case of a question does not tell it from a document's."""
        own = self._cases.get(first, "")
        return agree_in_case(own, asked.key.case) or agree_in_case(own, asked.other_case)

    def agree_in_signs(self, place: int, signs: Sequence[Sign]) -> bool:
        """Whether the words from a position on have these signs between them."""
        for number, sign in enumerate(signs, start=place + 1):
            before, after = self._signs[self._before[number]], self._signs[self._after[number - 1]]
            is_spelled = bool(self.is_spelled[self.words[number]])
            # Where one part of a document ends and the next begins, both may have a sign.
            if not any(agree(sign, own, is_spelled) for own in (before, after, after + before)):
                return False
        return True

    def agree_at_ends(self, start: int, end: int, first: Sign, last: Sign) -> bool:
        """Whether a whole question may lie between these two signs.

        They may belong to what stands around it, unless they are missing or mark its last word.
        """
        before, after = self._signs[self._before[start]], self._signs[self._after[end - 1]]
        if first is not None and not first.endswith(before):
            return False
        if last is None or after:
            return last is None or last.startswith(after)
        return last[:1] not in _MARKS_OF_A_WORD or len({*last}) > 1  # a list of operators

    def find_options(self, choices: Sequence[str], most: int = 1) -> int | None:
        """Find the first document that has these options, in any order, as at most so many of its
        task do."""
        if len(choices) < 2 or option_words(choices) not in self._option_words:
            return None
        key = option_hash(choices)
        if key is None or self._option_rivals[key] >= most:
            return None
        return self._options.get(key)

    def option_holders(self, most: int) -> Iterator[tuple[int, bool]]:
        """Yield the first documents with options that at most so many of their task have, and
        whether no other has them."""
        for key, document in self._options.items():
            if self._option_rivals[key] < most:
                yield document, not self._option_rivals[key]

    def options(self, document: int) -> list[Numbers]:
        return [self.words[start:end] for start, end in self.pieces(document)[1:-1]]

    def has_options(self, document: int, choices: Sequence[str]) -> bool:
        own = sorted(option.tolist() for option in self.options(document))
        return bool(own) and own == sorted(self.number(words(c)).tolist() for c in choices)

    def is_shared(self, document: int) -> bool:
        """Whether documents of its task with unequal content ask its question."""
        return self._first_of[document] in self._shared

    def is_of_passage(self, document: int) -> bool:
        return self._passage_of[document] >= 0

    def documents_of(self, passage: int) -> list[int]:
        return self._readers.get(passage, [])

    def question(self, document: int) -> Numbers:
        start, end = self.question_bounds(document)
        return self.words[start:end]

    def whole(self, document: int) -> Numbers:
        """The words of the question, the options and the answer."""
        start, end = self._pieces_of[document], self._pieces_of[document + 1] - 1
        return self.words[self._pieces[start] : self._pieces[end]]

    def whole_lengths(self) -> Numbers:
        """Count the words of each document, but for its passage."""
        pieces, bounds = np.array(self._pieces_of), np.array(self._pieces, dtype=np.int64)
        lengths: Numbers = bounds[pieces[1:] - 1] - bounds[pieces[:-1]]
        return lengths

    def general_length(self, document: int) -> int:
        """Count the words of what may be asked of another passage too; 0 where nothing may."""
        start, end = self.question_bounds(document)
        return end - start if self.is_of_passage(document) else self._last_sentences[document]

    def answer(self, document: int) -> Numbers:
        start, end = self._pieces[self._pieces_of[document + 1] - 2 : self._pieces_of[document + 1]]
        return self.words[start:end]

    def pieces(self, document: int) -> list[tuple[int, int]]:
        """List (start, end) in `words` of the question, each option and the answer."""
        begin, end = self._pieces_of[document], self._pieces_of[document + 1]
        return list(pairwise(self._pieces[begin:end]))

    def item(self, document: int, is_alone: bool = True) -> list[tuple[int, int]]:
        """List (start, end) in `words` of the runs that together are the document.

        The first is the one to look for. `is_alone`: the text where they are looked for has no
        other passage.
        """
        question, *options, answer = self.pieces(document)
        is_shared = self.is_shared(document)
        if not self.is_of_passage(document):
            return [question, answer, *options] if is_shared else [question, answer]
        passage = self._passage(document)
        if is_shared:
            return [passage, question, answer]
        return [question, answer] if is_alone else [question, answer, passage]

    def item_bounds(self, document: int) -> tuple[int, int]:
        """Return (start, end) in `words` of the first run of `item`."""
        is_shared = self.is_shared(document)
        if is_shared and self.is_of_passage(document):
            return self._passage(document)
        return self.question_bounds(document)

    def documents_at(self, places: Numbers) -> Numbers:
        """Find the documents whose sequences hold these positions in `words`."""
        rows = np.searchsorted(self.sequences[:, 0], places, side="right") - 1
        found: Numbers = self.sequences[rows, 2]
        return found

    def document_at(self, place: int) -> int:
        """Find the document whose sequence holds this position in `words`."""
        row = np.searchsorted(self.sequences[:, 0], place, side="right") - 1
        return int(self.sequences[row, 2])

    def sequence_end(self, place: int) -> int:
        row = np.searchsorted(self.sequences[:, 0], place, side="right") - 1
        return int(self.sequences[row, 1])

    def is_general(self, place: int) -> bool:
        row = np.searchsorted(self.sequences[:, 0], place, side="right") - 1
        return bool(self.sequences[row, 3])

    def signs_before(self) -> NDArray[np.int32]:
        """List the number of the sign before each word."""
        return np.array(self._before, dtype=np.int32)

    def is_in_question(self, document: int, place: int) -> bool:
        return place >= self.question_bounds(document)[0]

    def own_questions(self) -> Questions:
        """Collect the questions; the shared ones have no words."""
        begins = np.array(self._pieces_of, dtype=np.int64)[:-1]
        bounds = np.array(self._pieces, dtype=np.int64)
        shared = np.isin(np.array(self._first_of), list(self._shared))
        lengths = np.where(shared, 0, bounds[begins + 1] - bounds[begins])
        return self._stretches(bounds[begins], lengths)

    def own_options(self) -> Questions:
        """Collect the options."""
        begins, bounds = np.array(self._pieces_of), np.array(self._pieces, dtype=np.int64)
        starts, ends = bounds[begins[:-1] + 1], bounds[begins[1:] - 2]
        return self._stretches(starts, ends - starts)

    def are_rivals(self, document: int, other: int) -> bool:
        """Whether they are of one task and ask unequal questions."""
        is_other = self._first_of[document] != self._first_of[other]
        return is_other and self._task_of[document] == self._task_of[other]

    def readers(self) -> Questions:
        """Collect the documents whole, but for passages."""
        pieces, bounds = np.array(self._pieces_of), np.array(self._pieces, dtype=np.int64)
        starts, ends = bounds[pieces[:-1]], bounds[pieces[1:] - 1]
        return self._stretches(starts, ends - starts)

    def numbers(self) -> NDArray[np.bool_]:
        """Mark each word number that has a digit."""
        return np.array([False, *(any(map(str.isdigit, word)) for word in self._vocabulary)])

    def whole_documents(self) -> Questions:
        """Collect questions with their options, or the answer where there are none."""
        pieces, bounds = np.array(self._pieces_of), np.array(self._pieces, dtype=np.int64)
        starts, ends = bounds[pieces[:-1]], bounds[pieces[1:] - 1]
        ends = np.where(np.diff(pieces) > 3, bounds[pieces[1:] - 2], ends)
        return self._stretches(starts, ends - starts)

    def _stretches(self, starts: Numbers, lengths: Numbers) -> Questions:
        """One stretch of `words` of each document."""
        return Questions(
            words=self.words[expand_ranges(starts, lengths)],
            starts=np.concatenate(([0], np.cumsum(lengths))),
            tasks=self.tasks,
            sentences=self.sentences[expand_ranges(starts, lengths)],
        )

    def swappable(self) -> NDArray[np.bool_]:
        """Mark each word number that is a number or a name (a word never in lower case)."""
        found = [
            any(letter.isdigit() for letter in word) or (word.isalpha() and word not in self._lower)
            for word in self._vocabulary
        ]
        return np.array([False, *found])

    @cached_property
    def is_spelled(self) -> NDArray[np.bool_]:
        """For each word number, whether the word begins with two letters."""
        found = (len(word) > 1 and word[:2].isalpha() for word in self._vocabulary)
        return np.array([False, *found])

    @cached_property
    def first_askers(self) -> Numbers:
        """For each document, the first one that asks its question."""
        return np.array(self._first_of, dtype=np.int64)

    @cached_property
    def _readers(self) -> dict[int, list[int]]:
        """Passage -> the documents that ask about it."""
        found: dict[int, list[int]] = {}
        for document, passage in enumerate(self._passage_of):
            if passage >= 0:
                found.setdefault(passage, []).append(document)
        return found

    def _passage(self, document: int) -> tuple[int, int]:
        start, end = self.passages[self._passage_of[document]].tolist()
        return start, end

    def question_bounds(self, document: int) -> tuple[int, int]:
        """Return (start, end) of a question in `words`."""
        begin = self._pieces_of[document]
        return self._pieces[begin], self._pieces[begin + 1]

    def _read(
        self, document: Seed, seen: set[int], flat: array[int], sequences: array[int]
    ) -> None:
        # Behind its question alone, a tag may be a line break.
        is_only_tag = not document.choices and is_tag(document.answer)
        has_answer = bool(document.answer.strip())
        document = replace(
            document,
            context=undress(document.context),
            question=undress(document.question),
            choices=[undress(choice) for choice in document.choices],
            answer="" if is_only_tag else undress(document.answer),
        )
        prefix = _PASSAGE if has_passage(document.context) else ""
        plain = prefix + normalise(document.question)
        bare = prefix + " ".join(tokens(document.question))
        number = len(self.ids)
        first = self._questions.setdefault(bare, number)
        self._note_case(first, case_of(document.question), is_first=first == number)
        context = normalise(document.context)
        content = content_key(bare, context, document.choices)
        whole = hash_text(f"{content} {' '.join(tokens(document.answer))}")
        if whole in seen:
            return
        seen.add(whole)
        self.ids.append(document.id)
        if not has_answer:
            self.unanswered.add(number)
        task = self._tasks.setdefault(document.task, len(self._tasks))
        self._task_of.append(task)
        self._first_of.append(first)
        if self._asked.setdefault((first, task), content) != content:
            self._shared.add(first)
        self._contents.setdefault(content, number)
        if bare != plain or any(map(has_signs, document.choices)):
            stripped = stripped_key(plain, context, document.choices)
            self._contents.setdefault(stripped, number)
            self._stripped.setdefault(plain, first)
        self._add_options(document.choices, number)
        key = hash_text(context) if prefix else None
        self._add_passage(document.context, key, number, flat, sequences)
        start = len(flat)
        self._pieces.append(start)
        for piece in (document.question, *document.choices, document.answer):
            self._append(piece, flat)
            self._pieces.append(len(flat))
        end = self._pieces[self._pieces_of[-1] + 1]
        self._pieces_of.append(len(self._pieces))
        last = 0 if prefix else last_sentence(document.question, end - start)
        self._last_sentences.append(last)
        general = start if prefix else end - last
        bounds = [start, general, end, len(flat)] if prefix or last else [start, len(flat)]
        for place, (begin, stop) in enumerate(pairwise(bounds)):
            if begin < stop:
                sequences.extend((begin, stop, number, int(place == 1)))

    def _note_case(self, first: int, case: str, is_first: bool) -> None:
        if is_first and case:
            self._cases[first] = case
        elif self._cases.get(first, "") != case:
            self._cases.pop(first, None)

    def _add_options(self, choices: Sequence[str], number: int) -> None:
        key = option_hash(choices)
        if key is None:
            return
        self._option_words.add(option_words(choices))
        if self.are_rivals(self._options.setdefault(key, number), number):
            self._option_rivals[key] += 1

    def _add_passage(
        self, context: str, key: int | None, number: int, flat: array[int], sequences: array[int]
    ) -> None:
        if key is None:
            self._passage_of.append(-1)
            return
        if key not in self._contexts:
            start = len(flat)
            self._append(context, flat)
            self._contexts[key] = len(self._contexts)
            self._passages.extend((start, len(flat)))
            sequences.extend((start, len(flat), number, 0))
        self._passage_of.append(self._contexts[key])

    def _append(self, text: str, flat: array[int]) -> None:
        numbers = self._vocabulary
        spoken: Spoken = read(text)
        flat.extend(numbers.setdefault(word, len(numbers) + 1) for word in spoken.words)
        signs = self._sign_numbers
        found = [signs.setdefault(sign, len(signs)) for sign in spoken.signs]
        self._before.extend(found[:-1])
        self._after.extend(found[1:])
        first = self._sentences[-1] + 1 if self._sentences else 0
        self._sentences.extend(first + number for number in number_sentences(text, spoken.words))
        self._lower.update(word for word in _LETTERS.findall(text) if word == word.lower())
