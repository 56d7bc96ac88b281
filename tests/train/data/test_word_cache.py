"""Text encoded by its words: the ids of `tokenizers`, or none."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing

from train.data import word_cache as words
from train.data.encoder import TokenEncoder
from train.data.word_cache import WordEncoder

LLAMA = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
NEMOTRON = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
DTYPE = np.dtype(np.uint16)
SAMPLE = "She didn't say who'd won: 1,024 été or 17?\n\n  «Noch 3\tWörter», he\u2019s\u2026\r\n" * 3


def trained(splitting: Any, normalizer: Any = None, model: Any = None) -> Tokenizer:
    tokenizer = Tokenizer(model or models.BPE())
    tokenizer.pre_tokenizer = splitting
    tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([SAMPLE], trainer)
    tokenizer.encode_special_tokens = True
    return tokenizer


def ids_of(encoder: WordEncoder, text: str) -> list[int]:
    ids = encoder.encode(text)
    assert ids is not None
    return list(ids.tolist())


def split_by(pattern: str, behavior: str = "isolated") -> Any:
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), behavior), bytes_only])


TOKENIZERS = {
    "gpt2": trained(BYTES),
    "digits": trained(pre_tokenizers.Sequence([pre_tokenizers.Digits(True), BYTES])),
    "llama": trained(split_by(LLAMA)),
    "qwen": trained(split_by(LLAMA.replace("{1,3}", "")), normalizers.NFC()),
    "nemotron": trained(split_by(NEMOTRON)),
}
ENCODERS = {name: WordEncoder.of(tokenizer, DTYPE) for name, tokenizer in TOKENIZERS.items()}
likely = st.sampled_from(
    ["'s", "'LL", "  ", " ", "\n", "\r\n", "the", "Été", "12", "<|end|>", "\u2019"]
)
texts = st.lists(likely | st.text(max_size=5)).map("".join)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=texts)
def test_ids_are_those_of_tokenizers(name: str, text: str) -> None:
    encoder = ENCODERS[name]
    assert encoder is not None
    ids = encoder.encode(text)
    if ids is not None:
        assert ids.tolist() == TOKENIZERS[name].encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("name", TOKENIZERS)
def test_plain_text_is_taken_on(name: str) -> None:
    encoder = pickle.loads(pickle.dumps(ENCODERS[name]))
    assert encoder.encode(SAMPLE).tolist() == TOKENIZERS[name].encode(SAMPLE).ids
    assert encoder.encode("漢字") is None


@pytest.mark.parametrize(
    "other",
    [
        trained(pre_tokenizers.ByteLevel(add_prefix_space=True)),
        trained(pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), BYTES])),
        trained(split_by(LLAMA, "removed")),
        trained(BYTES, normalizers.Lowercase()),
        trained(BYTES, model=models.BPE(dropout=0.1)),
        Tokenizer(models.WordLevel({"a": 0}, unk_token="a")),
    ],
)
def test_another_tokenizer_is_left_to_tokenizers(other: Tokenizer) -> None:
    assert WordEncoder.of(other, DTYPE) is None


@pytest.mark.parametrize(
    "pattern",
    [
        r"\h|[^\h]+",  # a hexadecimal digit to Oniguruma, a horizontal space to `regex`
        r"(\p{L}+)|(\P{L}+)",
    ],
)
def test_an_expression_that_is_not_safe_is_left_to_tokenizers(pattern: str) -> None:
    assert WordEncoder.of(trained(split_by(pattern)), DTYPE) is None


def test_a_text_that_holds_an_added_token_is_left_to_tokenizers() -> None:
    tokenizer = trained(BYTES)
    tokenizer.add_tokens([AddedToken("<tool>", special=False)])
    encoder = WordEncoder.of(tokenizer, DTYPE)
    assert encoder is not None
    assert encoder.encode("a\n<tool> b") is None
    assert ids_of(encoder, "a < tool") == tokenizer.encode("a < tool").ids


def test_words_are_remembered_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_MOST_WORDS", 2)
    encoder = WordEncoder.of(TOKENIZERS["gpt2"], DTYPE)
    assert encoder is not None
    long = "x" * 100
    for text in ("one two three", long, "one two three"):
        assert ids_of(encoder, text) == TOKENIZERS["gpt2"].encode(text).ids
    assert set(encoder._ids) == {"one", " two"}


@pytest.mark.parametrize(
    "template",
    ["", "$A", "<|start|> $A", "<|start|> $A <|end|>", "<|end|> $A", "<|end|> <|start|> $A"],
)
def test_both_ways_mix_in_one_batch(template: str) -> None:
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer.from_str(TOKENIZERS["digits"].to_str())
    core.add_special_tokens(["<|start|>"])
    core.encode_special_tokens = True  # one written in a text is text
    start, end = (core.token_to_id(name) for name in ("<|start|>", "<|end|>"))
    batch = ["plain 1", "漢字 <|end|>", "", "plain <|end|> 2"]
    expected = [
        [*[start] * ("<|start|>" in template), *core.encode(text).ids, end] for text in batch
    ]
    if template:
        core.post_processor = TemplateProcessing(
            single=template, special_tokens=[("<|start|>", start), ("<|end|>", end)]
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<|start|>", eos_token="<|end|>"
    )
    encoder = TokenEncoder(fast)
    assert [ids.tolist() for ids in encoder.encode(batch)] == expected
    answers = encoder.encode_answers(["Q 1 A"], [2])
    assert answers[0][0].tolist()[answers[0][1]] == core.token_to_id("1")
    assert encoder._words is not None
    assert set(encoder._words._ids) >= {"plain", " "}
