"""Texts -> tokens of documents.

Guarantee: a document begins as the tokenizer begins a prompt (with Llama's and Gemma's token for
the beginning, with nothing of most others) and is closed by the end-of-sequence token.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from train.data.megatron import Tokens, token_dtype
from train.data.word_cache import WordEncoder
from tsqa.errors import RecipeError
from tsqa.hub.model_folder import beginning, vocabulary_size

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TokenEncoder:
    """A tokenizer with its word cache. Picklable."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.eos: int = tokenizer.eos_token_id
        # Nothing is predicted from an end, so a beginning that is also the end would say nothing.
        self.begin = [token for token in beginning(tokenizer) if token != self.eos]
        self.dtype = token_dtype(vocabulary_size(tokenizer))
        self._typecode = "H" if self.dtype == np.uint16 else "i"
        self._slow = None if tokenizer.is_fast else tokenizer
        self._fast = tokenizer.backend_tokenizer if tokenizer.is_fast else None
        if self._fast is not None:
            self._fast.no_truncation()
            self._fast.no_padding()
        self._words = WordEncoder.of(self._fast, self.dtype) if self._fast is not None else None

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of each text; a special token written out in a text is text."""
        if self._fast is None:
            assert self._slow is not None
            encoded = self._slow(list(texts), add_special_tokens=False, split_special_tokens=True)
            return [self._close(ids) for ids in encoded["input_ids"]]
        around = self._array(self.begin).tobytes(), self._array([self.eos]).tobytes()
        found = [self._words.encode(text, *around) if self._words else None for text in texts]
        others = [text for text, ids in zip(texts, found, strict=True) if ids is None]
        self._fast.encode_special_tokens = True  # pickling forgets it
        encodings = iter(self._fast.encode_batch_fast(others, add_special_tokens=False))
        return [self._close(next(encodings).ids) if ids is None else ids for ids in found]

    def encode_answers(
        self, texts: Sequence[str], begins: Sequence[int]
    ) -> list[tuple[Tokens, int]]:
        """Encode texts; return with each its first token at or after a character of it."""
        if self._fast is None:
            raise RecipeError(
                "answer_marker needs a tokenizer that knows the places of its tokens",
                "use a fast tokenizer (tokenizer.json), or leave answer_marker out",
            )
        self._fast.encode_special_tokens = True
        encodings = self._fast.encode_batch(texts, add_special_tokens=False)
        return [
            (
                self._close(encoding.ids),
                len(self.begin) + bisect_left(encoding.offsets, begin, key=lambda span: span[0]),
            )
            for encoding, begin in zip(encodings, begins, strict=True)
        ]

    def _close(self, ids: list[int]) -> Tokens:
        return self._array([*self.begin, *ids, self.eos])

    def _array(self, ids: list[int]) -> Tokens:
        # array reads a list three times as fast as numpy does.
        return np.frombuffer(array(self._typecode, ids), self.dtype)
