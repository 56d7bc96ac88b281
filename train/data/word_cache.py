"""Plain text -> tokens by way of its words, several times as fast as `tokenizers`.

Guarantees: the ids of `tokenizers.Tokenizer.encode_batch`, or none. A word is cut out by the
tokenizer's regular expression and looked up; `tokenizers` encodes it when it is new. It accepts
byte-level BPE tokenizers whose expression is known and passes a test of every character below, and
texts of these characters, whose Unicode classes all regular expression engines agree on.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
import regex
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from train.data.megatron import Tokens, TokenType

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What ByteLevel splits by (openai/gpt-2, encoder.py)."""
_GPT2_DIGITS = r"\p{N}|'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"
"""The same after Digits has set each digit apart, so that a digit ends the text before it."""
_CHARACTERS = (
    "\t\n\r -~\u00a0-\u017e"  # ASCII and Latin
    "\u0391-\u03a1\u03a3-\u03ce\u0400-\u045f"  # Greek, Cyrillic
    "\u2010-\u2027\u2030-\u205e\u20ac\u2190-\u22ff"  # punctuation, euro, arrows, mathematics
)
"""A character class of `re`; all are in NFC, and older than any engine's Unicode tables."""
_CONTEXTS = ("{}", "a{}b", " {}", "  {} ", "1{}2", "'{}", "{}{}", "\n{}\n", ".{}!", "\u00e9{} {}s")
_MIXED = 500
_MOST_WORDS = 1 << 18
"""Words that are remembered: about 60 MB in a process."""
_LONGEST_WORD = 64
"""Characters; a longer word is seldom seen twice."""


class WordEncoder:
    """The words of a tokenizer and the tokens of those that have been seen. Picklable."""

    def __init__(
        self, tokenizer: Tokenizer, pattern: str, added: Sequence[str], dtype: TokenType
    ) -> None:
        self._added = re.compile("|".join(map(re.escape, added))) if added else None
        self._plain = re.compile(f"[{_CHARACTERS}]*")
        self._split = regex.compile(pattern)
        self._ids = _Ids(tokenizer, dtype)
        self._dtype = dtype

    @classmethod
    def of(cls, tokenizer: Tokenizer, dtype: TokenType) -> Self | None:
        """Build the encoder of a tokenizer; None where its ids are not sure to be the same."""
        pattern = _pattern(tokenizer)
        if pattern is None:
            return None
        # Those that are not special are found in a text before it is split.
        added = [
            token.content
            for token in tokenizer.get_added_tokens_decoder().values()
            if not token.special
        ]
        try:
            words = cls(tokenizer, pattern, added, dtype)
        except regex.error:
            return None
        if words._split.groups:  # findall would give these instead of the words
            return None
        texts = list(_test_texts())
        expected = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        for text, encoding in zip(texts, expected, strict=True):
            ids = words.encode(text)
            if ids is None or ids.tolist() != encoding.ids:
                return None
        words._ids.clear()
        return words

    def encode(self, text: str, begin: bytes = b"", end: bytes = b"") -> Tokens | None:
        """Return the ids of `begin`, a text and `end`; None where `tokenizers` must encode it."""
        if not self._plain.fullmatch(text) or (self._added and self._added.search(text)):
            return None
        words = self._split.findall(text)
        return np.frombuffer(begin + b"".join(map(self._ids.__getitem__, words)) + end, self._dtype)


class _Ids(dict[str, bytes]):
    """Word -> its ids in memory; a missing word is encoded, and remembered while there is room."""

    def __init__(self, tokenizer: Tokenizer, dtype: TokenType) -> None:
        self._dtype = dtype
        self._whole = Tokenizer(tokenizer.model)
        self._whole.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)

    def __missing__(self, word: str) -> bytes:
        ids = np.array(self._whole.encode(word).ids, self._dtype).tobytes()
        if len(self) < _MOST_WORDS and len(word) <= _LONGEST_WORD:
            self[word] = ids
        return ids


def _pattern(tokenizer: Tokenizer) -> str | None:
    """The expression whose matches are the words of a tokenizer; None if it is another kind."""
    described = json.loads(tokenizer.to_str())
    model, normalizer = described["model"], described["normalizer"]
    if model["type"] != "BPE" or model["dropout"]:
        return None
    if normalizer is not None and normalizer["type"] != "NFC":
        return None
    steps = described["pre_tokenizer"] or {"type": "none"}
    match steps["pretokenizers"] if steps["type"] == "Sequence" else [steps]:
        case [{"type": "ByteLevel", "use_regex": True, "add_prefix_space": False}]:
            return _GPT2
        case [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "use_regex": True, "add_prefix_space": False},
        ]:
            return _GPT2_DIGITS
        case [
            {
                "type": "Split",
                "pattern": {"Regex": pattern},
                "behavior": "Isolated",
                "invert": False,
            },
            {"type": "ByteLevel", "use_regex": False, "add_prefix_space": False},
        ]:
            return str(pattern)
    return None


def _test_texts() -> Iterator[str]:
    """Every character in every context, and some random texts."""
    characters = [chr(n) for n in range(0x2300) if re.match(f"[{_CHARACTERS}]", chr(n))]
    for character in characters:
        for context in _CONTEXTS:
            yield context.format(*[character] * 2)
    draw = random.Random(0)
    common = "abcSTLMDRV'' \n\t  019.,-\u2019"
    for _ in range(_MIXED):
        yield "".join(draw.choices(common, k=40)) + "".join(draw.choices(characters, k=10))
