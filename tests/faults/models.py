"""Tries on model folders and tokenizers: not whole, or not those of each other."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tests.faults.damage import BYTES, POINTER, flip_bit
from tests.faults.table import End, Try
from tests.support.tiny_teacher import make_tiny_teacher
from tsqa.pipeline.model_uses import ModelUse, check_use

WEIGHTS = "model.safetensors"
SHARD = "model-00001-of-00001.safetensors"
LENGTH = 256
TENSORS = (
    "lm_head.weight",
    "model.embed_tokens.weight",
    "model.norm.weight",
    "model.norm.bias",
    *(
        f"model.layers.0.{name}"
        for name in (
            *("input_layernorm.weight", "input_layernorm.bias", "post_attention_layernorm.weight"),
            *("mlp.up_proj.weight", "mlp.down_proj.weight", "post_attention_layernorm.bias"),
            *(f"self_attn.{part}_proj.weight" for part in "qkvo"),
        )
    ),
)


@cache
def whole_model() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tsqa-model-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    make_tiny_teacher(folder / "whole")
    return folder / "whole"


def checked(damage: Callable[[Path], Any], length: int = LENGTH) -> Callable[[Path], int]:
    """The check before any work, on a damaged copy."""

    def act(folder: Path) -> int:
        model = folder / "model"
        shutil.copytree(whole_model(), model)
        damage(model)
        check_use(ModelUse(str(model), "model.path", length, "train.sequence_length", False, True))
        return 0

    return act


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change the tensors."""

    def damage(model: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(model / WEIGHTS)
        change(tensors)
        save_file({k: v.contiguous() for k, v in tensors.items()}, model / WEIGHTS)

    return damage


def rewritten(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change a JSON file."""

    def damage(model: Path) -> None:
        values = json.loads((model / name).read_text())
        change(values)
        (model / name).write_text(json.dumps(values))

    return damage


def replaced(name: str, change: Callable[[bytes], bytes | None]) -> Callable[[Path], None]:
    def damage(model: Path) -> None:
        content = change((model / name).read_bytes())
        (model / name).unlink()
        if content is not None:
            (model / name).write_bytes(content)

    return damage


def tensor_tries() -> Iterator[Try]:
    for name in TENSORS:
        gone = edited(lambda tensors, name=name: tensors.pop(name))
        cut = edited(lambda tensors, name=name: tensors.update({name: tensors[name][:-1].clone()}))
        yield Try("model", name, "missing", End.BEFORE, checked(gone), (name,))
        yield Try("model", name, "another shape", End.BEFORE, checked(cut), (name,))
    for name in ("model.layers.1.mlp.up_proj.weight", "extra", "model.embed_tokens.bias"):

        def add(tensors: dict[str, Any], name: str = name) -> None:
            tensors[name] = tensors["model.norm.weight"].clone()

        yield Try("model", name, "too many", End.BEFORE, checked(edited(add)), (name,))

    def rename(tensors: dict[str, Any]) -> None:
        for name in list(tensors):
            tensors[f"module.{name}"] = tensors.pop(name)

    yield Try("model", "every tensor", "another prefix", End.BEFORE, checked(edited(rename)))


def file_tries() -> Iterator[Try]:
    for how, change in {
        **BYTES, "missing": lambda content: None, "a bit of its head": lambda c: flip_bit(c, 0.001),
        "longer": lambda content: content + b"xx",
    }.items():  # fmt: skip
        if how == "a block of zeros":
            continue  # of weights; nothing can tell
        act = checked(replaced(WEIGHTS, change))
        yield Try("model", WEIGHTS, how, End.BEFORE, act, ("model",))
    for how, change in {**BYTES, "missing": lambda content: None}.items():
        act = checked(replaced("config.json", change))
        yield Try("model", "config.json", how, End.BEFORE, act, ("model",))
        act = checked(replaced("tokenizer.json", change))
        yield Try("tokenizer", "tokenizer.json", how, End.BEFORE, act, ("model",))
    for name in ("x.incomplete", "model.safetensors.part", "a.aria2"):
        act = checked(lambda model, name=name: (model / name).write_bytes(b""))
        yield Try("model", "a download", name, End.BEFORE, act, (name,))
    act = checked(lambda model: (model / WEIGHTS).rename(model / "pytorch_model.bin"))
    yield Try("model", WEIGHTS, "pickled", End.BEFORE, act)

    def shard(model: Path) -> None:
        (model / WEIGHTS).rename(model / "model-00001-of-00002.safetensors")
        names = dict.fromkeys(TENSORS, "model-00001-of-00002.safetensors")
        names["lm_head.weight"] = "model-00002-of-00002.safetensors"
        index = {"metadata": {}, "weight_map": names}
        (model / "model.safetensors.index.json").write_text(json.dumps(index))

    yield Try("model", "a shard", "missing", End.BEFORE, checked(shard))

    def point(model: Path) -> None:
        shard(model)
        (model / "model-00002-of-00002.safetensors").write_bytes(POINTER)

    yield Try("model", "a shard", "an LFS pointer", End.BEFORE, checked(point))
    yield Try("model", "the folder", "whole", End.FINE, checked(lambda model: None))
    yield Try("model", "the folder", "missing", End.BEFORE, checked(shutil.rmtree))


CONFIG: dict[str, dict[str, Any]] = {
    "another type": {"model_type": "llama"},
    "an unknown type": {"model_type": "no_such_model"},
    "a type of null": {"model_type": None},
    "a type that is a number": {"model_type": 7},
    "more layers": {"num_hidden_layers": 2},
    "no layer": {"num_hidden_layers": 0},
    "negative layers": {"num_hidden_layers": -1},
    "layers of text": {"num_hidden_layers": "many"},
    "layers of nan": {"num_hidden_layers": float("nan")},
    "another width": {"hidden_size": 32},
    "a width of text": {"hidden_size": "wide"},
    "a width of 0": {"hidden_size": 0},
    "another vocabulary": {"vocab_size": 300},
    "a vocabulary of null": {"vocab_size": None},
    "more heads": {"num_attention_heads": 4},
    "no heads": {"num_attention_heads": 0},
    "few positions": {"max_position_embeddings": LENGTH - 1},
    "no positions": {"max_position_embeddings": 0},
    "an unknown activation": {"hidden_act": "no_such_function"},
}
TOKENIZER_CONFIG: dict[str, dict[str, Any]] = {
    "no eos": {"eos_token": None},
    "an eos that is no token": {"eos_token": "<no such token>"},
    "an eos that is a number": {"eos_token": 7},
    "5,000 tokens more": {"additional_special_tokens": [f"<s{n}>" for n in range(5000)]},
}


def config_tries() -> Iterator[Try]:
    for how, values in CONFIG.items():
        act = checked(rewritten("config.json", lambda config, v=values: config.update(v)))
        yield Try("model", "config.json", how, End.BEFORE, act)
    for how, value in {"a list": b"[]", "null": b"null", "deep": b"[" * 50_000}.items():
        act = checked(replaced("config.json", lambda content, v=value: v))
        yield Try("model", "config.json", how, End.BEFORE, act)
        act = checked(replaced("tokenizer.json", lambda content, v=value: v))
        yield Try("tokenizer", "tokenizer.json", how, End.BEFORE, act)
    for how, values in TOKENIZER_CONFIG.items():
        act = checked(rewritten("tokenizer_config.json", lambda c, v=values: c.update(v)))
        yield Try("tokenizer", "tokenizer_config.json", how, End.BEFORE, act)
    other = {"tokenizer_class": "NoSuchTokenizer"}
    act = checked(rewritten("tokenizer_config.json", lambda config: config.update(other)))
    yield Try("tokenizer", "tokenizer_config.json", "an unknown class", End.FINE, act)
    core: dict[str, Callable[[dict[str, Any]], Any]] = {
        "no model": lambda t: t.pop("model"),
        "a model of null": lambda t: t.update(model=None),
        "an unknown model": lambda t: t["model"].update(type="Nope"),
        "no vocabulary": lambda t: t["model"].update(vocab={}),
        "a vocabulary that is a list": lambda t: t["model"].update(vocab=[]),
        "ids that are text": lambda t: t["model"].update(
            vocab={k: str(v) for k, v in t["model"]["vocab"].items()}
        ),
        "negative ids": lambda t: t["model"]["vocab"].update({"a": -5}),
        "an id beyond the model": lambda t: t["model"]["vocab"].update({"a": 10**6}),
        "merges of unknown tokens": lambda t: t["model"].update(merges=[["zz", "qq"]]),
        "an unknown splitter": lambda t: t.update(pre_tokenizer={"type": "Nope"}),
    }
    for how, change in core.items():
        act = checked(rewritten("tokenizer.json", change))
        yield Try("tokenizer", "tokenizer.json", how, End.BEFORE, act)
    for length in (257, 513, 10**9):
        end = End.FINE if length <= 512 else End.BEFORE
        act = checked(lambda model: None, length)
        yield Try("model", "sequence_length", f"{length:,}", end, act)


def second_set_tries() -> Iterator[Try]:
    """Weights of which transformers and vLLM would load different ones."""
    index = f"{WEIGHTS}.index.json"

    def indexed(**files: object) -> Callable[[Path], None]:
        """An index of a shard; tensors that begin with a name are in the file that it names."""

        def add(model: Path) -> None:
            shutil.copy(model / WEIGHTS, model / SHARD)
            names = {name: files.get(name.partition(".")[0], SHARD) for name in TENSORS}
            (model / index).write_text(json.dumps({"metadata": {}, "weight_map": names}))

        return add

    def alone(model: Path) -> None:
        indexed()(model)
        (model / WEIGHTS).unlink()

    def far(name: object) -> Callable[[Path], None]:
        def add(model: Path) -> None:
            (model.parent / "elsewhere").mkdir()
            shutil.copy(model / WEIGHTS, model.parent / "elsewhere" / WEIGHTS)
            indexed(lm_head=name)(model)
            (model / WEIGHTS).unlink()

        return add

    copied: dict[str, Callable[[Path], Any]] = {
        name: lambda model, name=name: shutil.copy(model / WEIGHTS, model / name)
        for name in (
            SHARD,
            "model.fp16.safetensors",
            "copy.safetensors",
            "consolidated.safetensors",
        )
    }
    for name, damage in copied.items():
        end = End.FINE if name.startswith("consolidated") else End.BEFORE
        yield Try("model", "a second set", name, end, checked(damage), (name,))
    yield Try("model", "a second set", "an index", End.BEFORE, checked(indexed()), (SHARD,))
    yield Try("model", "an index", "alone", End.FINE, checked(alone))
    for name in ("../elsewhere/model.safetensors", "/elsewhere/model.safetensors", 7, None):
        act = checked(far(name))
        yield Try("model", "an index", f"names {name}", End.BEFORE, act, (str(name),))
    for how, text in {"a list": "[]", "empty": "", "no map": "{}", "deep": "[" * 50_000}.items():
        act = checked(lambda model, text=text: (model / index).write_text(text))
        yield Try("model", "an index", how, End.BEFORE, act, (index,))


def tries() -> list[Try]:
    return [*tensor_tries(), *file_tries(), *config_tries(), *second_set_tries()]
