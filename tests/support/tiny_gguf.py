"""A GGUF of a tiny Llama with a byte-level BPE, and its tokenizer written out once more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import regex

_SIZE, _HEADS, _INNER = 32, 2, 64
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.content }}<|im_end|>{% endfor %}"


def train_pairs(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """(the tokens in order, the merges) of a small BPE that splits off every digit."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    model = json.loads(core.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    return tokens, [" ".join(pair) for pair in model["merges"]]


def encode_by_hand(text: str, tokens: Sequence[str], merges: Sequence[str]) -> list[int]:
    """Byte pairs as llama.cpp's `smollm` reads them: digits alone, then GPT-2's pattern."""
    from tokenizers.pre_tokenizers import ByteLevel

    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
    ids = {token: number for number, token in enumerate(tokens)}
    found = []
    pieces = [p for part in regex.split(r"(\p{N})", text) for p in regex.findall(_GPT2, part)]
    as_bytes = ByteLevel(add_prefix_space=False, use_regex=False)
    for piece in pieces:
        parts = list(as_bytes.pre_tokenize_str(piece)[0][0])
        while True:
            pairs = [(ranks.get(two, len(ranks)), i) for i, two in enumerate(pairwise(parts))]
            rank, place = min(pairs, default=(len(ranks), 0))
            if rank == len(ranks):
                break
            parts[place : place + 2] = ["".join(parts[place : place + 2])]
        found += [ids[part] for part in parts]
    return found


def write_tiny_gguf(
    file: Path,
    tokens: Sequence[str],
    merges: Sequence[str],
    splitting: str = "smollm",
    eos: int = 2,
    adds_bos: bool = False,
) -> Path:
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(file, "llama")
    writer.add_license("apache-2.0")
    writer.add_block_count(1)
    writer.add_context_length(512)
    writer.add_embedding_length(_SIZE)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_SIZE // _HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitting)
    writer.add_token_list(list(tokens))
    writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    writer.add_token_merges(list(merges))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(eos)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(adds_bos)
    writer.add_chat_template(TEMPLATE)
    random = np.random.default_rng(0)
    square, wide, tall = (_SIZE, _SIZE), (_INNER, _SIZE), (_SIZE, _INNER)
    shapes = {
        **{f"blk.0.attn_{name}.weight": square for name in ("q", "k", "v", "output")},
        **{"blk.0.ffn_gate.weight": wide, "blk.0.ffn_up.weight": wide},
        **{"blk.0.ffn_down.weight": tall, "token_embd.weight": (len(tokens), _SIZE)},
    }
    for name, shape in shapes.items():
        writer.add_tensor(name, random.normal(0, 0.1, shape).astype(np.float32))
    for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"):
        writer.add_tensor(name, np.ones(_SIZE, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
