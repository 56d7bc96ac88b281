"""What evaluated questions, passages and options are compared by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tsqa.text.hashing import Numbers, hash_text
from tsqa.text.normalise import normalise, words
from tsqa.text.sameness import TextKey, case_of, is_stripped, option_key, question_key
from tsqa.text.signs import read

_LAST_SENTENCE = re.compile(
    r".*(?:[.!?\u2026][\"')\]\u201d]*\s+|\n\s*|[\u3002\uff01\uff1f]\s*)(?=\S)", re.DOTALL
)
_SENTENCE_END = re.compile(r"[.,;:!?][\"')\]\u201d]*\s+|\n")
_LONG_WORD = re.compile(r"[^\W\d_]{5,}")
_IN_ANY_CASE = re.compile("[a-z][A-Z]")
_CUT_OFF = re.compile(r"(?<=[^\W\d_])\s+[stdm](?!\S)")
_LEAST_PASSAGE = 3
"""Words; less is a label."""
_ENOUGH = 80
"""Characters that hold so many words."""
_LEAST_STORY = 26
"""Words before the last sentence of a question from which on the question itself tells a story."""

_MARKS_OF_LINES = ">*+#\u25aa\u25cf\u25cb\u25a0\u25a1\u25e6"
"""Before a word of a line that begins with one; before a number or a letter, `>` alone."""

CHOOSING = frozenset(
    words(
        "a all an and among answer answers are as b below best between by c can choice choices "
        "choose chosen completes correct correctly could d do e each f following for from g give "
        "given h i in is it item j letter list listed mark most of on one only option options or "
        "out pick please possible q question questions right select should statement statements "
        "tell that the their them then there these they this those to true us was were what which "
        "with would you your 1 2 3 4 5 6 7 8"
    )
)
"""Words of a question that asks nothing but to choose, and of what stands around options."""

Sign = str | None
"""What stands between two words; None where the text has lost its signs, and anything may."""


class Asked(NamedTuple):
    """A question as the rules compare it."""

    text: str
    words: list[str]
    numbers: Numbers

    @property
    def normalised(self) -> str:
        return " ".join(self.words)

    @property
    def key(self) -> TextKey:
        return question_key(self.text)

    @property
    def other_case(self) -> str:
        """The case that the text may have had: where its words are in any (`wHiCh`), none; where it
        has lost its signs, one without the `s` or `t` that an apostrophe cut off."""
        long = _LONG_WORD.findall(self.text)
        if 2 * sum(_IN_ANY_CASE.search(word) is not None for word in long) > len(long):
            return ""
        return case_of(_CUT_OFF.sub("", self.text)) if is_stripped(self.text) else self.key.case

    @property
    def signs(self) -> list[Sign]:
        return signs_of(self.text)


def has_passage(context: str) -> bool:
    """Whether a context is more than a label."""
    return bool(context) and len(words(context[:_ENOUGH])) >= _LEAST_PASSAGE


def signs_of(text: str) -> list[Sign]:
    """List the signs around the words of a text."""
    spoken = read(text)
    if len(spoken.words) > 1 and is_stripped(text):
        return [None] * len(spoken.signs)
    return list(spoken.signs)


def agree(sign: Sign, own: str, is_spelled: bool) -> bool:
    """Whether a text may have this sign where a document has its own.

    `is_spelled`: the word after it begins with two letters. A quote mark or a bullet is a sign
    within a line alone, and lines may have been joined, or broken elsewhere, on either side.
    """
    if sign is None or sign == own:
        return True
    short, long = sorted((sign, own), key=len)
    marks = _MARKS_OF_LINES if is_spelled else ">"
    return long.startswith(short) and not long[len(short) :].strip(marks)


def number_sentences(text: str, found: Sequence[str]) -> list[int]:
    """Number the sentence, or clause, of each word of a text, from 0."""
    numbers: list[int] = []
    for number, sentence in enumerate(_SENTENCE_END.split(text)):
        numbers += [number] * len(words(sentence))
    return numbers if len(numbers) == len(found) else [0] * len(found)


def last_sentence(question: str, count: int) -> int:
    """Count the words of the last sentence, where those before it tell a story; else 0."""
    story = _LAST_SENTENCE.match(question.rstrip()) if count > _LEAST_STORY else None
    last = len(words(question[story.end() :])) if story else 0
    return last if count - last >= _LEAST_STORY else 0


def content_key(bare: str, context: str, choices: Sequence[str]) -> int:
    """Hash question, passage and options in any order."""
    return hash_text("\n".join([bare, context, *option_key(choices)]))


def stripped_key(plain: str, context: str, choices: Sequence[str]) -> int:
    """Hash the same by the words alone."""
    options = sorted(normalise(choice) for choice in choices)
    return hash_text("\n\n".join([plain, context, *options]))


def asks_to_choose(found: Iterable[str]) -> bool:
    """Whether a question of these words asks nothing else."""
    return all(word in CHOOSING for word in found)


def option_words(choices: Sequence[str]) -> int:
    """Hash the words of options in any order."""
    return hash_text("\n".join(sorted({normalise(choice) for choice in choices})))


def option_hash(choices: Sequence[str]) -> int | None:
    """Hash options with their signs; None unless two differ and none is empty."""
    options = sorted(set(option_key(choices)))
    return hash_text("\n".join(options)) if len(options) > 1 and options[0] else None
