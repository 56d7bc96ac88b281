"""A document cut into passages.

Guarantees: a passage begins and ends where sentences do and says what the document says, word for
word and in its order; none has more words than asked for, unless one sentence has; the passages
of a document are about equally long, so that none is a torn rest. Thai and Lao have no mark at the
end of a sentence: their spaces are taken for it.
"""

from __future__ import annotations

import re

from tsqa.text.normalise import count_words

_END = re.compile(
    "(?<=[.!?\u0964\u0965\u061f\u06d4])[\"'\u201d\u2019)\\]]{0,3}\\s+"
    "(?=[\"'\u201c\u2018(\\[]{0,3}[^\\W_a-z])"
    "|(?<=[\u3002\uff01\uff1f\u104b\u17d4])[\"'\u201d\u2019\u300d\u300f\uff09]*+(?=.)"
    "|(?<=[\u0e01-\u0e4e\u0e81-\u0ece])\\s+(?=[\u0e01-\u0e4e\u0e81-\u0ece])"
    r"|\n\s*\n\s*"
)
"""Behind a Latin, Indic or Arabic mark and a space; behind a Han, Burmese or Khmer mark; a space in
Thai or Lao; an empty line."""
_NO_END = re.compile(r"(?:^|[\s(])(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|vs|No|Fig|Jr|e\.g|i\.e|cf)\.$")
"""What ends in a full stop within a sentence: initials and titles."""


def cut_passages(text: str, max_words: int) -> list[str]:
    """The passages of a text, in order; a sentence above `max_words` is one by itself."""
    sentences = split_sentences(text)
    counts = [count_words(sentence) for sentence in sentences]
    total = sum(counts)
    least = max(1, -(-total // max_words))
    for number in range(least, 2 * least + 1):
        passages = _share_out(sentences, counts, total / number)
        if all(count_words(passage) <= max_words for passage in passages):
            return passages
    return _fill(sentences, counts, max_words)


def split_sentences(text: str) -> list[str]:
    """The sentences with the white space after them, so that joined they are the text."""
    found, start = [], 0
    for match in _END.finditer(text):
        if not _NO_END.search(text[start : match.end()].rstrip()):
            found.append(text[start : match.end()])
            start = match.end()
    return [one for one in (*found, text[start:]) if one.strip()]


def _share_out(sentences: list[str], counts: list[int], even: float) -> list[str]:
    """Each sentence goes to the stretch of even length in which its middle lies."""
    passages: dict[int, str] = {}
    before = 0
    for sentence, count in zip(sentences, counts, strict=True):
        place = int((before + count / 2) / even)
        passages[place] = passages.get(place, "") + sentence
        before += count
    return [passage.strip() for passage in passages.values()]


def _fill(sentences: list[str], counts: list[int], most: int) -> list[str]:
    """Joins sentences while they fit: for a text with sentences that are longer than a passage."""
    passages, words = [""], 0
    for sentence, count in zip(sentences, counts, strict=True):
        if words and words + count > most:
            passages.append("")
            words = 0
        passages[-1] += sentence
        words += count
    return [passage.strip() for passage in passages]
