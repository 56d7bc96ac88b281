"""No evaluated document may reach the student: eight rules against every one of them.

- `question`: the candidate asks an evaluated question (the same by `tsqa.text.sameness`).
- `item`: a short evaluated question stands whole in the candidate's text, and its answer as well.
- `ngram`: a run of n words of an evaluated passage, or question with options and answer, stands in
  the candidate's text.
- `options`: the candidate has the options of an evaluated question, in any order, and its question
  is half as similar as the next rule asks, or asks nothing but to choose; any text holds them and
  little else (`parts.py`).
- `similarity`: the candidate's question holds too much of an evaluated question's words, in order,
  within a window of twice its length. A word counts by its rarity among the task's evaluated
  questions, so that a template they all share weighs almost nothing; numbers and names, which a
  disguise swaps, do not count where the other words identify the question.
- `retold`: a part of the text holds enough of an evaluated document's words by rarity, each beside
  one that stands so there, or next but one: with synonyms or in another order. Of fewer rare words
  the order of all words makes a leak (`retold.py`).
- `slots`: the text fills the slots of a template as an evaluated document does (`slots.py`).
- `half`: the first or last half of an evaluated question stands in the text, of rare words, or with
  little else (`parts.py`).

What documents of one task share identifies none of them: a question that several ask counts only
with its passage and options, and a run that more than ten hold is a template, as is one that adds
two words to such. `slots` reads tasks whose questions share two thirds of their pairs of words,
all numbers being one word. Where over 4% of the documents would be taken for one another, too, and
the questions share as much with their numbers, it is a task of templates: there `options`,
`similarity`, `retold` and `half` do not apply, and `ngram` and `item` ask for the whole question,
and that it does not go on as another one of the task does.

A question that belongs to a passage may be asked of another (`What is the best title?`), and so may
the last sentence of a question that tells a story: asked in a text with another passage they
are no leak. They count with the evaluated passage, or with most of its words: three eighths as much
of its runs of three words as `similarity` asks of a question. The passage, the options and the
answer count by themselves.

Texts are compared in plain letters (`undress`): without HTML, invisible characters, accents,
look-alikes of other scripts and hyphens at line breaks.

Words are looked for without signs and case; the same words with other signs or in other case
(`8 / 4`, `8 + 4`) are another question. A text without any punctuation has lost its signs.

Guarantees: the search for similar questions is exact; a hash only proposes a run, its words decide;
memory is linear in the evaluated documents and independent of the candidates.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsqa.decontaminate.documents import EvaluatedTexts
from tsqa.decontaminate.keys import (
    Asked,
    Sign,
    asks_to_choose,
    has_passage,
    number_sentences,
    signs_of,
)
from tsqa.decontaminate.parts import LITTLE, SHARING, Half, Halves, OptionSets, surprises
from tsqa.decontaminate.passages import RUN, TEMPLATE, Passages
from tsqa.decontaminate.planted_leaks import KINDS, plant_leak
from tsqa.decontaminate.retold import Retelling, RetoldDocuments
from tsqa.decontaminate.similarity import SimilarQuestions, window_weight
from tsqa.decontaminate.slots import Filled, SlotDocuments
from tsqa.recipe import DecontaminateSection
from tsqa.records.candidate import Candidate, Rejection
from tsqa.records.seed import Seed
from tsqa.text.hashing import Hashes, Numbers, RunTable, changes, expand_ranges, hash_runs
from tsqa.text.normalise import words

_TELLING = 3
"""Words of a run besides a template within it, at least, that identify a document."""
_TELLING_NATS = 13.0
"""Surprise of the words of a run, at least, where documents fill a template and runs decide alone:
of three fillers of twenty each it is 9, and one in 8,000 questions has them by chance."""
_FEW_WORDS = 2
"""Words of options, such as two names, that say nothing about the question."""
_LABELS = 4
"""Words that may stand around an item, such as `Question` and `Answer`; more may be a passage."""
_BATCH = 256
_TEMPLATES = 0.04
"""Share of a task's documents that are taken for others, above which it is one of templates."""
_TEMPLATE_WORDS = 2 / 3
"""Share of the questions' pairs of neighbouring words that another question has too, likewise.

Documents may be taken for one another by a last sentence that they share after stories of their
own. Measured on 50 to 200 documents: tasks of templates have 77 to 100%, others 7 to 50%.
"""
_LEAST_TASK = 50
"""Documents from which on a task shows whether it is one."""
_SAMPLE = 200
_HALF = 0.5
"""Share of a passage that makes another one a version or a part of it."""
_SLASH = re.compile(r"(?<=[a-z])/(?=[a-z])")
"""Between parts of a date in words."""
_NEAR = 100
"""Words before and after a question among which any text would have its answer."""


@dataclass(frozen=True, slots=True)
class Leak:
    """An evaluated document that stands in a text."""

    rule: str
    document: str
    words: tuple[str, ...]
    """The run of the text's words by which it was found."""
    similarity: float | None = None
    """Where the meaning was compared."""


class _Text:
    """A text to be searched."""

    def __init__(self, numbers: Numbers, parts: Sequence[str], asked: Asked | None) -> None:
        self.numbers = numbers
        self._parts = parts
        self.asked = asked
        """The question, where the text is a candidate's; else it is any text."""
        self.has_passage = False

    @cached_property
    def signs(self) -> list[Sign]:
        """What stands before each word, and after the last; anything may between two parts."""
        found: list[Sign] = []
        for part in self._parts:
            first, *others = signs_of(part)
            found[-1:] = [None if found else first, *others]
        return found or [None]

    @cached_property
    def words(self) -> list[str]:
        return words("\n".join(self._parts))

    @cached_property
    def sentences(self) -> tuple[Numbers, Numbers]:
        """(number of the sentence of each word, the same where a slash ends one too)."""
        joined, found = "\n".join(self._parts), self.words
        own = np.array(number_sentences(joined, found), dtype=np.int64)
        parted = number_sentences(_SLASH.sub("\n", joined), found)
        return own, np.array(parted, dtype=np.int64)

    def is_alone(self, texts: EvaluatedTexts, document: int) -> bool:
        """Whether there is no room for another passage next to what the document asks."""
        room = texts.general_length(document) + _LABELS
        if self.asked:
            return not self.has_passage and len(self.asked.words) <= room
        return len(self.numbers) <= room + len(texts.answer(document))


class _Run(NamedTuple):
    """A run of a text's words that may be one of the index."""

    text: int
    place: int
    size: int
    entry: int
    """Of a run of n words its position, of a shorter one its document, or its number as a half."""
    is_half: bool


class EvaluatedIndex:
    """Every evaluated document, indexed for the eight rules."""

    def __init__(self, documents: Iterable[Seed], section: DecontaminateSection) -> None:
        self._section = section
        self._texts = texts = EvaluatedTexts(documents)
        rng = np.random.default_rng(0)
        self._word_hashes = rng.integers(2**64, size=texts.vocabulary_size, dtype=np.uint64)
        swappable = texts.swappable()
        self._similar = SimilarQuestions(texts.own_questions(), swappable, section.similarity)
        self._slotted = np.zeros(len(texts), dtype=bool)
        """The documents of template tasks; for them only `question`, `item` and `slots` count."""
        self._templated = self._slotted
        """These, and those of tasks whose templates tell their documents apart: for them `slots`
        counts too."""
        self._tables = self._index_runs()
        self._slots = self._index_slots()
        self._halves = Halves(texts, self._word_hashes, section.ngram)
        self._option_sets = OptionSets(texts, self._slotted)
        self._retold = RetoldDocuments(texts.whole_documents(), swappable, self._word_hashes)
        runs = list(hash_runs(self._word_hashes[texts.words], RUN))[RUN - 1 :]
        self._passages: Passages | None = None
        if runs and len(texts.passages):
            firsts = [texts.documents_of(number)[0] for number in range(len(texts.passages))]
            self._passages = Passages(texts.passages, runs[0], texts.tasks[firsts])

    def check(self, candidates: Sequence[Candidate]) -> list[Rejection | None]:
        """Find, per candidate, the first rule that catches it, its score and the document."""
        verdicts: list[Rejection | None] = []
        for start in range(0, len(candidates), _BATCH):
            verdicts += self._check([*map(self._undress, candidates[start : start + _BATCH])])
        return verdicts

    def check_questions(self, candidates: Sequence[Candidate]) -> list[Rejection | None]:
        """Check by the rules that compare whole questions alone: `question`, `similarity`, `slots`.

        A question that was disguised scores high; one that shares a template does not.
        """
        verdicts: list[Rejection | None] = []
        for start in range(0, len(candidates), _BATCH):
            batch = [*map(self._undress, candidates[start : start + _BATCH])]
            texts = self._read(batch)
            similar = self._check_similarity(texts)
            with_passage = self._check_passages(texts, batch)
            slots = self._check_slots(texts, self._slotted)
            verdicts += [
                self._check_question(candidate, texts[number])
                or similar[number]
                or slots[number]
                or with_passage[number]
                for number, candidate in enumerate(batch)
            ]
        return verdicts

    def check_texts(self, texts: Sequence[str]) -> list[Rejection | None]:
        """Check any text by the rules that need not know what it asks.

        The answer of a short item must be near its question: a long text holds most words.
        """
        verdicts: list[Rejection | None] = []
        for start in range(0, len(texts), _BATCH):
            batch = [
                _Text(self._texts.number(words(text)), [text], None)
                for text in map(self._texts.undress, texts[start : start + _BATCH])
            ]
            retold, slots = self._check_retold(batch), self._check_slots(batch)
            in_text, halves = self._check_runs(batch, near=_NEAR)
            options = self._find_options(batch)
            verdicts += [
                one or slots[number] or retold[number] or halves[number] or options.get(number)
                for number, one in enumerate(in_text)
            ]
        return verdicts

    def find_passages(self, texts: Sequence[str]) -> list[Rejection | None]:
        """Find, per text, a document of whose passage it holds half, or that holds half of it."""
        verdicts: list[Rejection | None] = [None] * len(texts)
        if self._passages is None:
            return verdicts
        for start in range(0, len(texts), _BATCH):
            numbered = [
                self._word_hashes[self._texts.number(words(self._texts.undress(text)))]
                for text in texts[start : start + _BATCH]
            ]
            for place, passages in enumerate(self._passages.find_parts(numbered, _HALF), start):
                if passages:
                    document = next(iter(self._texts.documents_of(passages[0])))
                    verdicts[place] = self._reject("passage", _HALF, document)
        return verdicts

    def undress(self, text: str) -> str:
        """Write a text as it is compared, but for signs and case."""
        return self._texts.undress(text)

    def find_leaks(self, texts: Sequence[str]) -> list[list[Leak]]:
        """List, per text, every evaluated document that `check_texts` could name.

        Of documents of this index that share the words, the first stands for all.
        """
        leaks: list[list[Leak]] = []
        for start in range(0, len(texts), _BATCH):
            plain = [*map(self._texts.undress, texts[start : start + _BATCH])]
            found = [words(text) for text in plain]
            batch = [
                _Text(self._texts.number(own), [text], None)
                for own, text in zip(found, plain, strict=True)
            ]
            of_batch: list[dict[str, Leak]] = [{} for _ in batch]
            halves: list[tuple[int, Leak]] = []
            for found_run in self._runs_of(batch):
                owner, place, size, entry, is_half = found_run
                if is_half:
                    half = self._match_half(batch[owner], found_run)
                    if half is not None:
                        run = tuple(found[owner][place : place + size])
                        halves.append((owner, Leak(half.reason, half.match, run)))
                    continue
                if self._document_of(size, entry) in of_batch[owner]:
                    continue
                match = self._match(batch[owner], place, size, entry, _NEAR)
                if match is not None:
                    end = place + self._common(batch[owner].numbers[place:], size, entry)
                    run = tuple(found[owner][place:end])
                    of_batch[owner][match.match] = Leak(match.reason, match.match, run)
            for owner, filled in self._find_slots(batch):
                name = self._texts.ids[filled.document]
                run = tuple(found[owner][filled.start : filled.end])
                of_batch[owner].setdefault(name, Leak("slots", name, run))
            for one in self._find_retold(batch):
                name = self._texts.ids[one.document]
                run = tuple(found[one.text][one.start : one.end])
                of_batch[one.text].setdefault(name, Leak("retold", name, run))
            for owner, leak in halves:
                of_batch[owner].setdefault(leak.document, leak)
            for owner, rejection in self._find_options(batch).items():
                leak = Leak(rejection.reason, rejection.match, tuple(found[owner]))
                of_batch[owner].setdefault(leak.document, leak)
            leaks += [list(one.values()) for one in of_batch]
        return leaks

    def _undress(self, candidate: Candidate) -> Candidate:
        plain = self._texts.undress
        return replace(
            candidate,
            context=plain(candidate.context),
            question=plain(candidate.question),
            choices=[plain(choice) for choice in candidate.choices],
            answer=plain(candidate.answer),
            reasoning=plain(candidate.reasoning),
            knowledge=plain(candidate.knowledge),
            item_context=plain(candidate.item_context),
            distractors=plain(candidate.distractors),
            trace=plain(candidate.trace),
            tests=plain(candidate.tests),
        )

    def _read(self, candidates: Sequence[Candidate]) -> list[_Text]:
        texts = []
        for candidate in candidates:
            parts = candidate.parts
            numbers = self._texts.number(words("\n".join(parts)))
            text = _Text(numbers, parts, self._texts.ask(candidate.question))
            text.has_passage = has_passage(candidate.context)
            texts.append(text)
        return texts

    def _check(self, candidates: Sequence[Candidate]) -> list[Rejection | None]:
        texts = self._read(candidates)
        (in_text, halves), retold = self._check_runs(texts), self._check_retold(texts)
        slots = self._check_slots(texts)
        similar = self._check_similarity(texts)
        with_passage = self._check_passages(texts, candidates)
        inlined = self._find_options(texts)
        return [
            self._check_question(candidate, texts[number])
            or in_text[number]
            or self._check_options(candidate, texts[number])
            or inlined.get(number)
            or similar[number]
            or with_passage[number]
            or slots[number]
            or retold[number]
            or halves[number]
            for number, candidate in enumerate(candidates)
        ]

    def _check_question(self, candidate: Candidate, text: _Text) -> Rejection | None:
        assert text.asked
        found = self._texts.find_question(
            text.asked, candidate.context, candidate.choices, text.has_passage
        )
        return None if found is None else self._reject("question", 1.0, found)

    def _check_options(self, candidate: Candidate, text: _Text) -> Rejection | None:
        assert text.asked
        asked = text.asked.words
        if asks_to_choose(asked) and not any(map(str.isdigit, asked)):
            alone = self._texts.find_options(candidate.choices, 1 if text.has_passage else SHARING)
            options = self._texts.number(words("\n".join(candidate.choices)))
            if (
                alone is not None
                and self._option_sets.identify(alone, options)
                and self._may_be(alone, text)
            ):
                return self._reject("options", 1.0, alone)
        found = self._texts.find_options(candidate.choices)
        if found is None or self._slotted[found] or not self._may_be(found, text):
            return None
        score, least = self._similar.coverage(found, text.asked.numbers), self._similar.threshold
        if sum(map(len, self._texts.options(found))) > _FEW_WORDS:
            least /= 2
        if score < least or self._texts.tells_apart(found, text.asked):
            return None
        return self._reject("options", score, found)

    def _find_options(self, texts: Sequence[_Text]) -> dict[int, Rejection]:
        """Find those that hold, or ask, the options of a document and little else."""
        numbers = [text.asked.numbers if text.asked else text.numbers for text in texts]

        def spelled(number: int) -> list[str]:
            text = texts[number]
            return text.asked.words if text.asked else text.words

        are_questions = texts[0].asked is not None
        found = self._option_sets.find(numbers, spelled, are_questions)
        return {
            number: self._reject("options", 1.0, document)
            for number, document in found
            if not texts[number].has_passage
        }

    def _check_similarity(self, texts: Sequence[_Text]) -> list[Rejection | None]:
        verdicts: list[Rejection | None] = [None] * len(texts)
        best = [0.0] * len(texts)
        questions = [text.asked.numbers for text in texts if text.asked]
        for number, item in self._similar.suspects(questions):
            text = texts[number]
            if self._slotted[item] or not self._may_be(item, text):
                continue
            # Any text on its subject resembles a question of few rare words: ask for the answer.
            light = self._similar.is_light[item]
            if light and not self._tells(text.numbers, item):
                continue
            score = self._similar.coverage(item, questions[number])
            if score >= self._similar.threshold and score > best[number]:
                if text.asked and self._texts.tells_apart(item, text.asked):
                    continue
                best[number] = score
                verdicts[number] = self._reject("similarity", score, item)
        return verdicts

    def _check_retold(self, texts: Sequence[_Text]) -> list[Rejection | None]:
        verdicts: list[Rejection | None] = [None] * len(texts)
        for one in self._find_retold(texts):
            if verdicts[one.text] is None:
                verdicts[one.text] = self._reject("retold", one.in_order, one.document)
        return verdicts

    def _find_retold(self, texts: Sequence[_Text]) -> Iterator[Retelling]:
        for one in self._retold.find([text.numbers for text in texts]):
            text = texts[one.text]
            if self._slotted[one.document] or not self._may_be(one.document, text):
                continue
            if text.asked is None or not self._texts.tells_apart(one.document, text.asked):
                yield one

    def _check_slots(
        self, texts: Sequence[_Text], among: NDArray[np.bool_] | None = None
    ) -> list[Rejection | None]:
        """`among`: documents that count, if not all; a part of others is no whole question."""
        verdicts: list[Rejection | None] = [None] * len(texts)
        for number, one in self._find_slots(texts):
            known = verdicts[number]
            if among is not None and not among[one.document]:
                continue
            if known is None or one.score > (known.score or 0):
                verdicts[number] = self._reject("slots", one.score, one.document)
        return verdicts

    def _find_slots(self, texts: Sequence[_Text]) -> Iterator[tuple[int, Filled]]:
        for number, task in self._slots.propose([text.numbers for text in texts]):
            text = texts[number]
            read = self._slots.read(text.words, *text.sentences)
            for one in self._slots.find(task, read):
                if not one.is_enough and not self._asks_whole(text, one.document):
                    continue
                if text.asked is None or not self._texts.tells_apart(one.document, text.asked):
                    yield number, one

    def _asks_whole(self, text: _Text, document: int) -> bool:
        """Whether the question stands in the text, with its options where others ask it too."""
        question, _, *options = self._texts.item(document)
        parts = [question, *options]
        return all(self._stands(text, *part, 0, len(text.numbers)) for part in parts)

    def _check_passages(
        self, texts: Sequence[_Text], candidates: Sequence[Candidate]
    ) -> list[Rejection | None]:
        """Questions that are asked of the passage of the evaluated one, lightly edited or not."""
        verdicts: list[Rejection | None] = [None] * len(texts)
        if self._passages is None:
            return verdicts
        half, share = self._section.similarity / 2, self._section.similarity * 3 / 8
        hashed = [self._word_hashes[text.numbers] for text in texts]
        for number, passages in enumerate(self._passages.find(hashed, share)):
            text, choices = texts[number], candidates[number].choices
            for item in chain.from_iterable(map(self._texts.documents_of, passages)):
                question = self._texts.question(item)
                if not len(question) or not text.asked:
                    continue
                even = np.full(len(question), 1 / len(question))
                score = window_weight(question, even, text.asked.numbers, 2 * len(question))
                if score < half or self._texts.tells_apart(item, text.asked):
                    continue
                if score >= self._similar.threshold:
                    verdicts[number] = self._reject("similarity", score, item)
                elif self._texts.has_options(item, choices):
                    verdicts[number] = self._reject("options", score, item)
        return verdicts

    def _may_be(self, document: int, text: _Text) -> bool:
        """False where the document's question is asked of another passage."""
        return not self._texts.is_of_passage(document) or text.is_alone(self._texts, document)

    def _check_runs(
        self, texts: Sequence[_Text], near: int | None = None
    ) -> tuple[list[Rejection | None], list[Rejection | None]]:
        """(short items, whose parts stand within `near` words, then runs of n words; halves)."""
        verdicts: list[Rejection | None] = [None] * len(texts)
        halves: list[Rejection | None] = [None] * len(texts)
        for one in self._runs_of(texts):
            text = texts[one.text]
            if one.is_half:
                halves[one.text] = halves[one.text] or self._match_half(text, one)
            elif verdicts[one.text] is None:
                verdicts[one.text] = self._match(text, one.place, one.size, one.entry, near)
        return verdicts, halves

    def _runs_of(self, texts: Sequence[_Text]) -> Iterator[_Run]:
        """Yield the runs that may match, the short first."""
        flat = np.concatenate([text.numbers for text in texts])
        bounds = np.cumsum([0, *(len(text.numbers) for text in texts)])
        owners = np.repeat(np.arange(len(texts)), np.diff(bounds))
        sizes = hash_runs(self._word_hashes[flat], self._section.ngram)
        for size, runs in enumerate(sizes, start=1):
            for tables, is_half in ((self._tables, False), (self._halves.tables, True)):
                if size not in tables:
                    continue
                positions, entries = tables[size].find(runs)
                inside = owners[positions] == owners[positions + size - 1]
                for position, entry in zip(positions[inside], entries[inside], strict=True):
                    owner = int(owners[position])
                    place = int(position - bounds[owner])
                    yield _Run(owner, place, size, int(entry), is_half)

    def _match_half(self, text: _Text, run: _Run) -> Rejection | None:
        half = self._halves.half(run.entry)
        own, place = self._texts.words[half.start : half.end], run.place
        if self._slotted[half.document]:
            return None
        if not np.array_equal(text.numbers[place : place + run.size], own):
            return None
        if not self._texts.agree_in_signs(half.start, text.signs[place + 1 : place + run.size]):
            return None
        if not half.is_rare and not self._is_little_else(text, half, place):
            return None
        if text.asked and self._texts.tells_apart(half.document, text.asked):
            return None
        return self._reject("half", float(run.size), half.document)

    def _is_little_else(self, text: _Text, half: Half, place: int) -> bool:
        """Whether a candidate asks a stretch of the question, or a text holds little else."""
        numbers, allowed = text.numbers, LITTLE
        if text.asked is None and not half.is_enough:
            return False
        if text.asked:
            numbers, allowed = text.asked.numbers, 0
            place = _find(numbers, self._texts.words[half.start : half.end])
        start, end = self._texts.question_bounds(half.document)
        if place < 0 or len(numbers) > end - start + allowed:
            return False
        own, size = self._texts.words, half.end - half.start
        before = _agree(numbers[:place][::-1], own[start : half.start][::-1])
        after = _agree(numbers[place + size :], own[half.end : end])
        return len(numbers) - before - size - after <= allowed

    def _document_of(self, size: int, entry: int) -> str:
        is_run = size == self._section.ngram
        return self._texts.ids[self._texts.document_at(entry) if is_run else entry]

    def _common(self, numbers: Numbers, size: int, entry: int) -> int:
        """Count the words from here on that the text shares with the match's run."""
        if size < self._section.ngram:
            return size
        end = self._texts.sequence_end(entry)
        own = self._texts.words[entry : min(end, entry + len(numbers))]
        return _agree(numbers, own)

    def _match(
        self, text: _Text, place: int, size: int, entry: int, near: int | None
    ) -> Rejection | None:
        """`entry`: of a run of n words its position, of a shorter one its document."""
        run = text.numbers[place : place + size]
        if size == self._section.ngram:
            if not np.array_equal(run, self._texts.words[entry : entry + size]):
                return None
            document, start = self._texts.document_at(entry), entry
            if self._texts.is_general(entry) and not text.is_alone(self._texts, document):
                return None
            if not self._texts.agree_in_signs(start, text.signs[place + 1 : place + size]):
                return None
            if self._slotted[document] and not self._asks_whole(text, document):
                return None
            score = float(size)
        else:
            document, start = entry, self._texts.item_bounds(entry)[0]
            is_alone = not self._texts.is_of_passage(entry) or text.is_alone(self._texts, entry)
            item = self._texts.item(entry, is_alone)
            bounds = 0, len(text.numbers)
            if near is not None:
                bounds = max(0, place - near), min(len(text.numbers), place + size + near)
            if not all(self._stands(text, *part, *bounds) for part in item[1:]):
                return None
            if not self._stands(text, *item[0], place, place + size):
                return None
            score = float(sum(end - start for start, end in item))
        is_asked = text.asked and self._texts.is_in_question(document, start)
        if text.asked and is_asked and self._texts.tells_apart(document, text.asked):
            return None
        return self._reject("ngram" if size == self._section.ngram else "item", score, document)

    def _stands(self, text: _Text, start: int, end: int, first: int, last: int) -> bool:
        """Whether the words are in the text from `first` to `last`, with their signs."""
        size = end - start
        if not size:
            return True
        run = self._texts.words[start:end]
        starts = text.numbers[first : max(first, last - size + 1)]
        for place in np.flatnonzero(starts == run[0]) + first:
            if np.array_equal(text.numbers[place : place + size], run):
                signs = text.signs[place : place + size + 1]
                inside = self._texts.agree_in_signs(start, signs[1:-1])
                is_it = inside and self._texts.agree_at_ends(start, end, signs[0], signs[-1])
                if is_it and not self._goes_on(text, start, int(place), int(place) + size):
                    return True
        return False

    def _goes_on(self, text: _Text, start: int, first: int, last: int) -> bool:
        """Whether a template's question is part of a longer one, which is another document."""
        document = self._texts.document_at(start)
        question, *others = self._texts.pieces(document)
        if not self._slotted[document] or start != question[0]:
            return False
        own, task = text.numbers, int(self._texts.tasks[document])
        if first > 0 and self._slots.is_within(task, own[first - 1], own[first]):
            return True
        *options, answer = [self._texts.words[begin:end] for begin, end in others]
        if not options and np.array_equal(own[last : last + len(answer)], answer):
            last += len(answer)
        if last >= len(own) or own[last] in [one[0] for one in options if len(one)]:
            return False
        return self._slots.is_within(task, own[last - 1], own[last])

    def _index_runs(self) -> dict[int, RunTable]:
        """Size -> its runs: of n words -> their places; of fewer -> the short items they begin."""
        firsts = [self._texts.item_bounds(document) for document in range(len(self._texts))]
        bounds = np.array(firsts, dtype=np.int64).reshape(-1, 2)
        lengths = bounds[:, 1] - bounds[:, 0]
        tables: dict[int, RunTable] = {}
        templates = np.zeros(len(self._texts.words) + _TELLING, dtype=bool)
        within = self._section.ngram - _TELLING + 1
        sizes = hash_runs(self._word_hashes[self._texts.words], self._section.ngram)
        for size, runs in enumerate(sizes, start=1):
            if size == within > _TELLING:
                templates[: len(runs)] = self._mark_templates(runs)
            if size == self._section.ngram:
                tables[size] = self._index_grams(runs, templates)
            elif (lengths == size).any():
                documents = np.flatnonzero(lengths == size)
                tables[size] = RunTable(runs[bounds[documents, 0]], documents)
        return tables

    def _index_grams(self, runs: Hashes, within: NDArray[np.bool_]) -> RunTable:
        """Every run inside a sequence -> its first position with the same signs, without templates.

        `within`: where a template begins that leaves too little of a run. Of equal runs, one that
        counts by itself comes before those that need their passage.
        """
        starts, ends, documents, general = self._texts.sequences.T
        counts = np.maximum(0, ends - starts - self._section.ngram + 1)
        places = expand_ranges(starts, counts)
        holders = np.repeat(np.arange(len(starts)), counts)
        held_by = _count_holders(runs[places], holders, self._texts.tasks[documents[holders]])
        templates = np.unique(runs[places][held_by > TEMPLATE])
        shares = np.zeros(len(self._texts), dtype=bool)
        shares[documents[holders][(held_by > 1) & (held_by <= TEMPLATE)]] = True
        self._templated, self._slotted = self._find_slotted(shares)
        signs, general = self._sign_runs(places), general[holders]
        told = np.concatenate(([0.0], np.cumsum(surprises(self._texts, self._texts.readers()))))
        is_telling = told[places + self._section.ngram] - told[places] >= _TELLING_NATS
        is_telling |= (~self._templated | self._slotted)[documents[holders]]
        del holders, held_by
        order = np.lexsort((places, general, signs, runs[places]))
        signs, places = signs[order], places[order]
        hashes = runs[places]
        chosen = (changes(hashes) | changes(signs)) & ~np.isin(hashes, templates)
        chosen &= is_telling[order]
        for shift in range(_TELLING):
            chosen &= ~within[places + shift]
        return RunTable(hashes[chosen], places[chosen])

    def _mark_templates(self, runs: Hashes) -> NDArray[np.bool_]:
        """Mark where a run begins that many stretches of its task hold."""
        starts, ends, documents, _ = self._texts.sequences.T
        size = len(self._texts.words) - len(runs) + 1
        counts = np.maximum(0, ends - starts - size + 1)
        places = expand_ranges(starts, counts)
        holders = np.repeat(np.arange(len(starts)), counts)
        held_by = _count_holders(runs[places], holders, self._texts.tasks[documents[holders]])
        marked = np.zeros(len(runs), dtype=bool)
        marked[places[held_by > TEMPLATE]] = True
        return marked

    def _find_slotted(
        self, shares: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(documents of tasks with templates, those that are taken for one another).

        `shares`: whether a document has a run of n words that another of its task has too.
        """
        templated = np.zeros(len(self._texts), dtype=bool)
        slotted = templated.copy()
        alone = np.array(
            [not self._texts.is_of_passage(n) for n in range(len(slotted))], dtype=bool
        )
        for task in np.unique(self._texts.tasks):
            own = np.flatnonzero((self._texts.tasks == task) & alone)
            if len(own) < _LEAST_TASK:
                continue
            sample = own[:: -(-len(own) // _SAMPLE)]
            plain, without_numbers = self._shares_of_common_pairs(sample)
            templated[own] = without_numbers >= _TEMPLATE_WORDS
            if plain < _TEMPLATE_WORDS:
                continue
            similar = self._similar_to_others(sample[~shares[sample]])
            taken = float(shares[own].mean()) + similar / len(sample)
            slotted[own] = taken > _TEMPLATES
        return templated, slotted

    def _shares_of_common_pairs(self, documents: Numbers) -> tuple[float, float]:
        """(share of pairs of neighbouring words that several of these questions have, the same
        where all numbers are one word)."""
        questions = [self._texts.question(document) for document in documents.tolist()]
        is_number = self._texts.numbers()
        masked = [np.where(is_number[one], 0, one) for one in questions]
        return self._share_of_common_pairs(questions), self._share_of_common_pairs(masked)

    def _share_of_common_pairs(self, questions: Sequence[Numbers]) -> float:
        owners = np.repeat(np.arange(len(questions)), [max(0, len(one) - 1) for one in questions])
        size = self._texts.vocabulary_size
        pairs = [one[:-1] * size + one[1:] for one in questions if len(one) > 1]
        if not pairs:
            return 0.0
        distinct, numbers = np.unique(np.concatenate(pairs), return_inverse=True)
        once_each = np.unique(numbers * len(questions) + owners) // len(questions)
        held_by = np.bincount(once_each, minlength=len(distinct))
        return float((held_by[numbers] > 1).mean())

    def _tells(self, text: Numbers, document: int) -> bool:
        """Whether the answer is in the text, or there is none to ask for.

        One without words, such as a sign, tells nothing.
        """
        answer = self._texts.answer(document)
        if not len(answer):
            return document in self._texts.unanswered
        return _find(text, answer) >= 0

    def _similar_to_others(self, documents: Numbers) -> int:
        """Count the documents whose question is similar to another one of their task."""
        found: set[int] = set()
        questions = [self._texts.question(document) for document in documents.tolist()]
        for number, item in self._similar.suspects(questions) if questions else ():
            document = int(documents[number])
            if number in found or not self._texts.are_rivals(document, item):
                continue
            whole = self._texts.whole(document)
            if self._similar.is_light[item] and not self._tells(whole, item):
                continue
            if self._similar.coverage(item, questions[number]) >= self._similar.threshold:
                found.add(number)
        return len(found)

    def _index_slots(self) -> SlotDocuments:
        texts = self._texts
        stretches = (texts.own_questions(), texts.own_options(), texts.readers())
        *parts, whole = (stretch.of(self._templated) for stretch in stretches)
        return SlotDocuments(
            parts, whole, texts.vocabulary, texts.number, self._word_hashes, self._slotted
        )

    def _sign_runs(self, places: Numbers) -> Hashes:
        """A hash of the signs inside each of the runs of n words."""
        if self._section.ngram < 2:
            return np.zeros(len(places), dtype=np.uint64)
        before = self._texts.signs_before().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        *_, runs = hash_runs(before, self._section.ngram - 1)
        return runs[places + 1]

    def _reject(self, rule: str, score: float, document: int) -> Rejection:
        return Rejection(rule, round(score, 4), self._texts.ids[document])


def measure_recall(
    check: Callable[[Sequence[Candidate]], Sequence[Rejection | None]],
    documents: Sequence[Seed],
    sample: int = 200,
) -> dict[str, float]:
    """Measure disguise -> share caught of leaks planted from about `sample` documents.

    A disguise that fits none of them is left out.
    """
    step = max(1, len(documents) // sample)
    shares = {}
    for kind in KINDS:
        leaks = (plant_leak(document, kind) for document in documents[::step])
        planted = [leak for leak in leaks if leak]
        if planted:
            caught = sum(verdict is not None for verdict in check(planted))
            shares[kind] = round(caught / len(planted), 4)
    return shares


def _count_holders(hashes: Hashes, holders: Numbers, tasks: Numbers) -> Numbers:
    """Count, for each run, the stretches of its task that hold it; holders are in order."""
    order = np.lexsort((holders, tasks, hashes))
    hashes, holders, tasks = (array[order] for array in (hashes, holders, tasks))
    of_task = changes(hashes) | changes(tasks)
    starts = np.flatnonzero(of_task)
    held_by = np.zeros(len(order), dtype=np.int64)
    if len(starts):
        counts = np.add.reduceat(changes(holders) | of_task, starts, dtype=int)
        held_by[order] = np.repeat(counts, np.diff(starts, append=len(order)))
    return held_by


def _find(text: Numbers, run: Numbers) -> int:
    """The first place of a run of words in the text; -1 where it is not."""
    starts = np.flatnonzero(text == run[0])
    size = len(run)
    return next((int(n) for n in starts if np.array_equal(text[n : n + size], run)), -1)


def _agree(one: Numbers, other: Numbers) -> int:
    """Count the words from the first on that are the same."""
    size = min(len(one), len(other))
    differs = np.flatnonzero(one[:size] != other[:size])
    return int(differs[0]) if len(differs) else size
