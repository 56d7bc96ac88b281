"""A student over random tokens, ready to train: what the training benchmarks measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.sealed import invented_artifact
from tsqa.recipe import Recipe
from tsqa.store.roles import SourceRole
from tsqa.store.stage import StageContext
from tsqa.store.tracking import Tracker

DENSE_SMALL = {
    "model_type": "nemotron",
    "vocab_size": 4096,
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
}
HYBRID_SMALL = {
    "model_type": "nemotron_h",
    "vocab_size": 4096,
    "hidden_size": 256,
    "intermediate_size": 1024,
    "layers_block_type": ["linear_attention", "mlp", "full_attention", "mlp"],
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "mamba_num_heads": 8,
    "mamba_head_dim": 64,
    "ssm_state_size": 32,
    "n_groups": 1,
    "chunk_size": 64,
}
_DOCUMENT = 300
"""Mean tokens of a document."""


def student(
    folder: Path, model: dict[str, Any], length: int, rows: int, steps: int, **train: Any
) -> tuple[StageContext, Any]:
    """The context of a train stage whose global batch is `rows` rows, and its tokenizer."""
    tokenizer = _tokenizer(model["vocab_size"])
    total = rows * steps
    generator = np.random.default_rng(0)
    tokens = generator.integers(1, model["vocab_size"], (total, length), dtype=np.uint32)
    tokens[generator.random(tokens.shape) < 1 / _DOCUMENT] = tokenizer.eos_token_id
    store = folder / "tokens"
    store.mkdir(parents=True)
    tokens.tofile(store / "web.bin")
    source = {"rows": total, "padding": 0, "answers_only": False}
    described = {
        "sequence_length": length,
        "dtype": "uint32",
        "eos_token_id": tokenizer.eos_token_id,
        "vocab_size": model["vocab_size"],
        "sources": {"web": source},
    }
    (store / "sources.json").write_text(json.dumps(described))
    recipe = Recipe.model_validate(
        {
            "name": "benchmark",
            "model": {"config": model},
            "tokenizer": {"path": "unused"},
            "mixture": {
                "sources": {"web": {"path": "unused"}},
                "phases": [{"tokens": total * length, "ratios": {"web": 1.0}}],
            },
            "train": {
                "sequence_length": length,
                "global_batch_tokens": rows * length,
                "lr": 1e-3,
                "checkpoint_every": 10**9,
                "log_every": 1,
                **train,
            },
        }
    )
    out = folder / "out"
    out.mkdir()
    inputs = {SourceRole("web"): invented_artifact(store)}
    return StageContext(recipe, inputs, out, Tracker.silent()), tokenizer


def _tokenizer(vocab_size: int) -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {f"t{number}": number for number in range(vocab_size)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="t1"))
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="t0", bos_token="t0", pad_token="t0", unk_token="t1"
    )
