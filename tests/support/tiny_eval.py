"""A tiny world for the eval room: a random NemotronH hybrid and two local lm-eval tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_DENSE_KEYS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "max_position_embeddings"),
    *("bos_token_id", "eos_token_id", "pad_token_id"),
)
TEXT = [
    "Question: what follows day 3? Answer: day 4",
    "unit and opposite, warm and cold 0123456789",
]

CHOICE_YAML = """task: tiny_choice
dataset_path: json
dataset_kwargs:
  data_files:
    test: {folder}/data/choice.jsonl
    train: {folder}/data/choice.jsonl
training_split: train
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{{{question}}}} Answer:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: acc
  - metric: acc_norm
metadata:
  version: 1.0
"""

NUMBER_YAML = """task: tiny_number
dataset_path: json
dataset_kwargs:
  data_files:
    test: {folder}/data/number.jsonl
test_split: test
output_type: generate_until
doc_to_text: "Question: {{{{question}}}} Answer:"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  until: ["\\n"]
  do_sample: false
  max_gen_toks: 8
metric_list:
  - metric: exact_match
filter_list:
  - name: strict-match
    filter:
      - function: regex
        regex_pattern: "(-?[0-9]+)"
      - function: take_first
metadata:
  version: 2.0
"""


def make_tasks(folder: Path, count: int = 6) -> Path:
    """Write both tasks below `folder`."""
    (folder / "data").mkdir(parents=True)
    choice = [
        {"question": f"what is warm {i}?", "choices": ["cold", "hot", "day"], "answer": i % 3}
        for i in range(count)
    ]
    number = [{"question": f"{i} + {i}?", "answer": str(2 * i)} for i in range(count)]
    for name, rows in (("choice", choice), ("number", number)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "data" / f"{name}.jsonl").write_text(text)
    (folder / "tiny_choice.yaml").write_text(CHOICE_YAML.format(folder=folder))
    (folder / "tiny_number.yaml").write_text(NUMBER_YAML.format(folder=folder))
    return folder


def make_model(folder: Path, model_type: str = "nemotron_h") -> Path:
    """Save a random hybrid (Mamba-2, attention, MLP), or a dense `nemotron`, and a tokenizer."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(TEXT, vocab_size=300, special_tokens=["<|endoftext|>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        eos_token="<|endoftext|>",
        bos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    )
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "vocab_size": 304,
        "hidden_size": 64,
        "intermediate_size": 64,
        "layers_block_type": ["mamba", "mlp", "attention", "mlp"],
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "mamba_num_heads": 4,
        "mamba_head_dim": 16,
        "ssm_state_size": 16,
        "n_groups": 1,
        "chunk_size": 16,
        "max_position_embeddings": 256,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    if model_type == "nemotron":
        config = {key: config[key] for key in _DENSE_KEYS if key in config}
        config |= {"num_hidden_layers": 2, "partial_rotary_factor": 0.5}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
