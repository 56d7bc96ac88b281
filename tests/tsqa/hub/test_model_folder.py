"""Promises of model folders: whole, or refused by name before anything is trained or scored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration

from tests.support.tiny_teacher import make_tiny_teacher
from train.model.build import new_model
from tsqa.errors import TsqaError
from tsqa.hub.model_folder import keep_savable, load_config
from tsqa.pipeline.model_uses import ModelUse, check_use
from tsqa.recipe import Recipe


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "whole"
    make_tiny_teacher(folder)
    return folder


def use(folder: Path, length: int | None = 256) -> ModelUse:
    return ModelUse(str(folder), "model.path", length, "train.sequence_length", False, True)


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def edit_json(folder: Path, name: str, **values: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def drop(name: str) -> Callable[[Path], None]:
    return lambda folder: edit_weights(folder, lambda tensors: tensors.pop(name))


def cut(name: str) -> Callable[[Path], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name] = tensors[name][:-1].clone()

    return lambda folder: edit_weights(folder, change)


def add(name: str) -> Callable[[Path], None]:
    return lambda folder: edit_weights(folder, lambda t: t.update({name: torch.zeros(3)}))


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def point(folder: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (folder / "model.safetensors").write_text(text)


def rename_shard(folder: Path) -> None:
    """An index that names two shards, of which one is there."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    first = {name: tensors[name] for name in names[: len(names) // 2]}
    save_file(first, folder / "model-00001-of-00002.safetensors", {"format": "pt"})
    places = {n: f"model-0000{1 if n in first else 2}-of-00002.safetensors" for n in names}
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


def pickle_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def end_texts(folder: Path) -> None:
    """A tokenizer that writes its end after every text, as one for fine-tuning may be saved."""
    end = {"SpecialToken": {"id": "<eos>", "type_id": 0}}
    edit_json(
        folder,
        "tokenizer.json",
        post_processor={
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, end],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, end],
            "special_tokens": {"<eos>": {"id": "<eos>", "ids": [0], "tokens": ["<eos>"]}},
        },
    )


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a norm is missing": (drop("model.norm.weight"), r"1 tensor missing: model\.norm\.weight"),
    "the head is missing": (drop("lm_head.weight"), r"1 tensor missing: lm_head\.weight"),
    "a layer is missing": (
        drop("model.layers.0.mlp.up_proj.weight"), r"missing: model\.layers\.0\.mlp"
    ),
    "a tensor too many": (add("model.extra.weight"), r"1 tensor unexpected: model\.extra\.weight"),
    "a row too few": (cut("model.embed_tokens.weight"), r"of another shape: model\.embed_tokens"),
    "torn": (truncate, r"cannot be loaded: SafetensorError"),
    "a pointer": (point, "Git LFS pointer"),
    "a shard is missing": (rename_shard, "cannot be loaded"),
    "pickled": (pickle_weights, r"no weights(.|\n)*pytorch_model\.bin could run code"),
    "an interrupted download": (
        lambda folder: (folder / "x.incomplete").write_text(""), "interrupted download"
    ),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json cannot be read"),
    "a broken config": (
        lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"
    ),
    "another number of layers": (
        lambda folder: edit_json(folder, "config.json", num_hidden_layers=9), "tensors missing"
    ),
    "no tokenizer": (
        lambda folder: (folder / "tokenizer.json").unlink(), "the tokenizer cannot be read|no end"
    ),
    "a broken tokenizer": (
        lambda folder: (folder / "tokenizer.json").write_text("{}"), "the tokenizer cannot be read"
    ),
    "no end of sequence": (
        lambda folder: edit_json(folder, "tokenizer_config.json", eos_token=None), "no end-of-seq"
    ),
    "an end after every prompt": (end_texts, "ends every text with '<eos>', prompts included"),
    "few embeddings": (
        lambda folder: edit_json(
            folder, "tokenizer_config.json",
            additional_special_tokens=[f"<s{n}>" for n in range(5000)],
        ),
        r"tokens, the model only",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_folder_that_is_not_whole_is_refused_by_name(
    whole: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    damage, message = DAMAGE[name]
    damage(folder)
    with pytest.raises(TsqaError, match=message) as caught:
        check_use(use(folder))
    assert str(folder) in str(caught.value) and "fix:" in str(caught.value)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("named", ["org/other--code.Class", [None, "org/other--code.Class"]])
def test_code_of_another_repository_is_refused(
    whole: Path, tmp_path: Path, file: str, named: Any
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    edit_json(folder, file, auto_map={"AutoConfig": named})
    with pytest.raises(TsqaError, match=f"{file}: auto_map takes code from another repository"):
        load_config(str(folder), "model.path", trust_remote_code=True)
    load_config(str(folder), "model.path")


def test_a_whole_folder_passes_up_to_its_positions(whole: Path) -> None:
    check_use(use(whole, 512))
    with pytest.raises(TsqaError, match="513 is beyond the model's 512 positions"):
        check_use(use(whole, 513))


def test_a_model_whose_generation_settings_contradict_themselves_can_be_saved(
    whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert not keep_savable(model)
    edit_json(folder, "generation_config.json", temperature=0.6, do_sample=False)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with pytest.raises(ValueError, match="temperature"):
        model.save_pretrained(tmp_path / "again")
    assert keep_savable(model)
    model.save_pretrained(tmp_path / "again")
    kept = json.loads((tmp_path / "again" / "generation_config.json").read_text())
    assert kept["eos_token_id"] == 0 and "temperature" not in kept


def test_a_model_of_images_and_text_is_a_teacher_but_not_a_student(tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 64}
    text = {**sizes, **heads, "max_position_embeddings": 32}
    vision = {**sizes, "num_attention_heads": 1, "image_size": 16, "patch_size": 16}
    values = {"model_type": "gemma3", "text_config": text, "vision_config": vision}
    with torch.device("meta"), pytest.raises(TsqaError, match="gemma3 has parts for images"):
        new_model(values)
    with torch.device("meta"):
        new_model({"model_type": "gemma3_text", **text})
    model = Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision))
    model.save_pretrained(tmp_path / "seeing")
    seeing = replace(use(tmp_path / "seeing", 32), own_tokenizer=False)
    check_use(seeing)
    with pytest.raises(TsqaError, match="gemma3 has parts for images"):
        check_use(replace(seeing, is_trained=True))
    with pytest.raises(TsqaError, match="33 is beyond the model's 32 positions"):
        check_use(replace(seeing, length=33))


def recipe(**changes: Any) -> dict[str, Any]:
    return {
        "name": "r",
        "model": {"path": "some/model"},
        "mixture": {
            "sources": {"a": {"path": "a.jsonl"}},
            "phases": [{"tokens": 4096, "ratios": {"a": 1.0}}],
        },
        "train": {"sequence_length": 512, "global_batch_tokens": 4096, "lr": 1e-4},
        **changes,
    }


def test_new_tokens_beside_a_trained_model_are_refused() -> None:
    Recipe(**recipe())
    with pytest.raises(ValueError, match=r"tokenizer\.train_on makes new tokens"):
        Recipe(**recipe(tokenizer={"train_on": ["a.jsonl"]}))


def test_rows_beyond_the_positions_of_a_new_model_are_refused() -> None:
    config = {"model_type": "llama", "max_position_embeddings": 256}
    with pytest.raises(
        ValueError, match=r"512 is beyond model\.config\.max_position_embeddings 256"
    ):
        Recipe(**recipe(model={"config": config}, tokenizer={"train_on": ["a.jsonl"]}))
