"""Whether a model folder is whole: every tensor that its config asks for is there, and no other.

Guarantees: nothing is filled with random values and nothing is left unread without a word; no
weight is read into memory (only the heads of the files are), and no pickle is opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tsqa.errors import CheckpointError, DataError, RecipeError, TsqaError, first_line

_PICKLED = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
_UNFINISHED = ("*.incomplete", "*.part", "*.tmp", "*.crdownload", "*.aria2")
_POINTER = b"version https://git-lfs"
WHOLE = "model.safetensors"
_NAMED = 5
_PLAIN_TEXT = "Two and 2 are four."


def is_folder(path: str | None) -> bool:
    """Whether a model's path is a folder here; anything else names a model of the hub."""
    return path is not None and Path(path).is_dir()


def check_files(folder: Path, key: str) -> None:
    """Refuse a folder without config or safetensors, or with files of a broken download."""
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{key} = {folder}: no model here (config.json is missing)", "correct the path"
        )
    unfinished = sorted(path.name for kind in _UNFINISHED for path in folder.glob(kind))
    if unfinished:
        raise CheckpointError(
            f"{key} = {folder}: {unfinished[0]} is left of an interrupted download",
            "finish the download, or delete that file if the model is whole",
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickled = sorted(path.name for kind in _PICKLED for path in folder.glob(kind))
        raise CheckpointError(
            f"{key} = {folder}: no weights (*.safetensors)"
            + (f", and {pickled[0]} could run code when it is read" if pickled else ""),
            "save the model again with save_pretrained, which writes safetensors",
        )
    _refuse_other_weights(folder, [file.name for file in weights], key)
    for file in weights:
        with file.open("rb") as handle:
            if handle.read(len(_POINTER)) == _POINTER:
                raise CheckpointError(
                    f"{key} = {folder}: {file.name} is a Git LFS pointer, not the weights",
                    "download the weights: git lfs pull",
                )


def _refuse_other_weights(folder: Path, weights: Sequence[str], key: str) -> None:
    """Refuse a folder of which transformers and vLLM would load different files.

    Transformers takes model.safetensors, else what the index names; vLLM what the index names,
    else all.
    """
    listed = {WHOLE}
    index = folder / f"{WHOLE}.index.json"
    if index.is_file():
        try:
            listed = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise CheckpointError(
                f"{key} = {folder}: {index.name}: no index: {first_line(error)}",
                "copy or download the model again",
            ) from error
        outside = sorted(str(name) for name in listed if Path(str(name)).name != name)
        if outside:
            raise CheckpointError(
                f"{key} = {folder}: {index.name} names a file of another folder: {outside[0]}",
                "copy it into the folder of the model, and correct the index",
            )
        others = [WHOLE] if WHOLE in weights and WHOLE not in listed else []
    else:
        aside = ("consolidated", "adapter_")  # formats of their own
        others = [name for name in weights if name != WHOLE and not name.startswith(aside)]
        others = others if WHOLE in weights else []
    if others:
        raise CheckpointError(
            f"{key} = {folder}: two sets of weights: {', '.join(sorted(listed)[:1])} and "
            f"{others[0]}; engines differ in which one they load",
            "delete one of them",
        )


def check_weights(origin: str, key: str, trust_remote_code: bool = False) -> None:
    """Compare the tensors of a folder, or of a model of the hub, with those its config asks for.

    Raises CheckpointError naming the missing, the unexpected and those of another shape.
    """
    found = compare_weights("AutoModelForCausalLM", origin, key, trust_remote_code)
    refuse_differences(found, f"{key} = {origin}")


def compare_weights(
    auto: str, origin: str, key: str, trust_remote_code: bool = False
) -> Mapping[str, Iterable[Any]]:
    """Which tensors a class of transformers misses, does not know, or finds in another shape.
    CheckpointError where the model cannot be loaded at all."""
    import transformers

    if is_folder(origin):
        check_files(Path(origin), key)
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    shows_bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    try:
        _, found = getattr(transformers, auto).from_pretrained(
            origin,
            device_map="meta",
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            ignore_mismatched_sizes=True,  # reported by name below
            output_loading_info=True,
        )
    except TsqaError:
        raise
    except Exception as error:  # transformers and safetensors raise many kinds
        raise CheckpointError(
            f"{key} = {origin}: cannot be loaded: {type(error).__name__}: {first_line(error)}",
            "its files are damaged or not all there: copy or download it again",
        ) from error
    finally:
        transformers.logging.set_verbosity(verbosity)
        if shows_bars:
            transformers.logging.enable_progress_bar()
    differences: Mapping[str, Iterable[Any]] = found
    return differences


def refuse_differences(found: Mapping[str, Iterable[Any]], where: str) -> None:
    """Raise CheckpointError unless transformers found every tensor, and no other, in its shape."""
    kinds = {
        "missing": [str(name) for name in found["missing_keys"]],
        "unexpected": [str(name) for name in found["unexpected_keys"]],
        "of another shape": [
            f"{name} {_shape(here)}, not {_shape(asked)}"
            for name, here, asked in found["mismatched_keys"]
        ],
    }
    problems = [
        f"{len(names)} tensor{'s' if len(names) > 1 else ''} {kind}: {_some(names)}"
        for kind, names in kinds.items()
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{where}: its weights are not those of its config.json: {'; '.join(problems)}",
            "copy or download the model again; a missing tensor would get random values",
        )


def vocabulary_size(tokenizer: Any) -> int:
    """One more than the highest id: a vocabulary with holes has fewer tokens than that."""
    return max(len(tokenizer), 1 + max(tokenizer.get_vocab().values(), default=-1))


def beginning(tokenizer: Any) -> list[int]:
    """The tokens that a tokenizer writes before every text, such as `<bos>`."""
    return _around(tokenizer)[0]


def _around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What a tokenizer writes before and after every text."""
    text: list[int] = tokenizer.encode(_PLAIN_TEXT, add_special_tokens=False)
    prompt: list[int] = tokenizer.encode(_PLAIN_TEXT)
    for end in range(len(prompt) - len(text) + 1):
        if prompt[end : end + len(text)] == text:
            return prompt[:end], prompt[end + len(text) :]
    return [], []


def check_vocabulary(tokenizer: Any, embeddings: int, key: str) -> None:
    """Refuse a tokenizer that has no end, makes nothing of text, ends every text itself, or knows
    more than the model."""
    if tokenizer.eos_token_id is None:
        raise DataError(
            f"{key}: its tokenizer has no end-of-sequence token",
            "set eos_token in tokenizer_config.json",
        )
    if not tokenizer.encode(_PLAIN_TEXT, add_special_tokens=False):
        raise DataError(
            f"{key}: its tokenizer makes no token of plain text: its vocabulary is not whole",
            "copy tokenizer.json again",
        )
    if ends := _around(tokenizer)[1]:
        raise DataError(
            f"{key}: its tokenizer ends every text with {tokenizer.decode(ends)!r:.40}, prompts "
            "included, which a model is to go on with",
            "set add_eos_token to false in tokenizer_config.json, and take it out of the "
            "post_processor in tokenizer.json",
        )
    tokens = vocabulary_size(tokenizer)
    if tokens > embeddings:
        raise DataError(
            f"{key}: the tokenizer has {tokens:,} tokens, the model only {embeddings:,}",
            "use the model's own tokenizer: drop the section `tokenizer`",
        )


def keep_savable(model: Any) -> bool:
    """Keep the special tokens alone of a generation_config.json that contradicts itself; return
    whether it did. Transformers reads one with a temperature and no sampling, and fails to save it.
    """
    from transformers import GenerationConfig

    given = model.generation_config
    try:
        given.validate(strict=True)
    except ValueError:
        special = ("bos_token_id", "eos_token_id", "pad_token_id")
        model.generation_config = GenerationConfig(**{k: getattr(given, k) for k in special})
        return True
    return False


def check_positions(config: Any, length: int, key: str) -> None:
    """Refuse rows or prompts longer than the positions of a model."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if isinstance(positions, int) and length > positions:
        raise RecipeError(
            f"{key} = {length:,} is beyond the model's {positions:,} positions "
            "(max_position_embeddings)",
            f"lower {key}, or extend the model's positions in its config first",
        )


def check_text_only(config: Any, key: str) -> None:
    """Refuse to train a model with parts for images or sound, which text does not reach."""
    if config.get_text_config() is not config:
        raise RecipeError(
            f"{key}: {config.model_type} has parts for images or sound, which text does not train",
            "save its language model alone, with transformers' class for text, and train that",
        )


def load_config(origin: str, key: str, trust_remote_code: bool = False) -> Any:
    """The transformers config of a folder; CheckpointError where it cannot be read."""
    from transformers import AutoConfig

    if trust_remote_code and is_folder(origin):
        refuse_foreign_code(Path(origin), key)
    try:
        return AutoConfig.from_pretrained(origin, trust_remote_code=trust_remote_code)
    except Exception as error:  # a broken JSON, an unknown model_type, a value out of range
        raise CheckpointError(
            f"{key} = {origin}: config.json cannot be read: {first_line(error)}",
            "correct it, or copy the model again",
        ) from error


def refuse_foreign_code(folder: Path, key: str) -> None:
    """Refuse a folder whose `auto_map` takes code from another repository, at whatever commit."""
    for file in ("config.json", "tokenizer_config.json", "generation_config.json"):
        try:
            named = json.loads((folder / file).read_text(encoding="utf-8")).get("auto_map") or {}
        except (OSError, ValueError, AttributeError, RecursionError):
            continue  # whoever loads it says what is wrong
        values = named.values() if isinstance(named, dict) else ()
        classes = [c for value in values for c in (value if isinstance(value, list) else [value])]
        foreign = sorted(str(name) for name in classes if "--" in str(name))
        if foreign:
            raise CheckpointError(
                f"{key} = {folder}: {file}: auto_map takes code from another repository, which "
                f"can change unseen: {foreign[0]}",
                "copy that module into the folder, and delete what stands before `--`",
            )


def load_tokenizer(origin: str, key: str, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a folder or of the hub; DataError where it cannot be read."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(origin, trust_remote_code=trust_remote_code)
    except (Exception, SystemError) as error:  # tokenizers panics on some files
        raise DataError(
            f"{key} = {origin}: the tokenizer cannot be read: {first_line(error)}",
            "its tokenizer.json is damaged or missing: copy the model again",
        ) from error


def _shape(size: Iterable[int]) -> str:
    return "x".join(map(str, size))


def _some(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
