"""A teacher of random weights with a byte tokenizer and a chat template, made in a second."""

from __future__ import annotations

from pathlib import Path

from tsqa.recipe import ModelSection, TeacherSection

_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "[{{ message.role }}] {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


def make_tiny_teacher(folder: Path) -> str:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import NemotronConfig, NemotronForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=257, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(["a"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")
    tokenizer.chat_template = _CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = NemotronConfig(
        vocab_size=257,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=0,
    )
    NemotronForCausalLM(config).save_pretrained(folder)
    return str(folder)


def vllm_section(model: str, **changes: object) -> TeacherSection:
    values: dict[str, object] = {
        "model": ModelSection(path=model),
        "dtype": "float32",
        "max_model_len": 256,
        "max_num_seqs": 32,
        "kv_cache_gib": 1,
    }
    return TeacherSection.model_validate(values | changes)
