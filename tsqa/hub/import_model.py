"""`tsqa model import`: a GGUF, a folder or a model of the hub as a checked folder of safetensors.

Guarantees: the folder appears whole or not at all, and never over another; what was checked is
printed and stands beside the model in `import.json`; the same origin gives the same bytes.
"""

from __future__ import annotations

import gc
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tsqa.errors import CheckpointError, RecipeError, first_line
from tsqa.hub.gguf import GgufHeader, load_gguf_tokenizer, read_header
from tsqa.hub.import_check import (
    PROSE,
    TEXTS,
    adds_bos,
    count_round_trips,
    knows_no_better,
    largest_difference,
    score_texts,
    template_problem,
)
from tsqa.hub.licence import REPORT, licence_of_folder
from tsqa.hub.model_folder import (
    check_files,
    check_vocabulary,
    is_folder,
    keep_savable,
    load_tokenizer,
    refuse_differences,
    vocabulary_size,
)
from tsqa.hub.pins import PINS, pinned_folder
from tsqa.recipe import is_hub_id
from tsqa.store.atomic import fsync_all
from tsqa.store.identity import file_identity
from tsqa.store.jsonl import write_json

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
_KEPT = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*", "README.md")
"""Files of a folder that a copy of its weights must come with."""


@dataclass(frozen=True)
class ImportReport:
    """What was found and checked; beside the model as `import.json`."""

    origin: str
    """Name of the file or folder, or ID and commit of the hub."""
    origin_blake3: str | None
    """Of a GGUF."""
    licence: str
    architecture: str
    parameters: int
    tensors: dict[str, int]
    """Number of tensors by type, as the original holds them."""
    dtype: str
    tied_embeddings: bool
    vocabulary: int
    embeddings: int
    bos: str | None
    eos: str | None
    pad: str | None
    adds_bos: bool
    chat_template: bool
    texts: int
    texts_unchanged: int
    """Of these, how many a round trip through the tokenizer leaves as they are."""
    scored_tokens: int
    largest_difference: float
    """Between the log-probabilities of the saved model and its original, both in float32; nats."""
    nats_per_token: float
    """Of plain English prose."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Origin:
    """Where the weights are read from."""

    name: str
    folder: Path
    header: GgufHeader | None
    file: Path | None
    """A GGUF, which `header` describes."""

    def load(self, dtype: str) -> PreTrainedModel:
        """The model in a number format; CheckpointError if tensors are missing or left over."""
        from transformers import AutoModelForCausalLM

        options = {"gguf_file": self.file.name} if self.file else {"use_safetensors": True}
        try:
            model, found = AutoModelForCausalLM.from_pretrained(
                self.folder,
                dtype=dtype,
                ignore_mismatched_sizes=True,  # reported by name below
                output_loading_info=True,
                **options,
            )
        except Exception as error:  # transformers, gguf and safetensors raise many kinds
            raise CheckpointError(
                f"{self.name}: transformers cannot load it: {first_line(error)}",
                "check that this version of transformers knows the architecture",
            ) from error
        refuse_differences(found, self.name)
        if self.file:  # it is no quantised model any more
            model.hf_quantizer = None
            del model.config.quantization_config
        return model


def import_model(
    origin: str,
    target: Path,
    dtype: Dtype = "auto",
    tokenizer: str | None = None,
    revision: str | None = None,
) -> ImportReport:
    """Convert and check a model into a new folder, which later recipes name as `model.path`.

    `dtype`: auto is float32 of a GGUF, otherwise as the model was saved.
    """
    if target.exists() or target.is_symlink():
        raise RecipeError(f"{target}: exists already", "choose a new folder, or remove it first")
    found = _locate(origin, revision)
    used = _tokenizer(found, tokenizer)
    partial = target.with_name(f".{target.name}.importing")
    shutil.rmtree(partial, ignore_errors=True)  # of a killed import
    partial.mkdir(parents=True)
    report = _convert(found, used, partial, dtype)
    write_json(partial / REPORT, asdict(report))
    fsync_all(partial)
    partial.rename(target)
    return report


def _convert(
    origin: _Origin, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: Dtype
) -> ImportReport:
    model = origin.load("float32")
    check_vocabulary(tokenizer, model.get_input_embeddings().num_embeddings, origin.name)
    before = score_texts(model, tokenizer, TEXTS)
    wanted = _wanted_dtype(origin, dtype)
    if wanted != "float32":
        del model
        gc.collect()
        model = origin.load(wanted)
    tokenizer.save_pretrained(folder)
    contradicts = keep_savable(model)
    model.save_pretrained(folder)
    for pattern in _KEPT if not origin.file else ():
        for file in origin.folder.glob(pattern):
            shutil.copyfile(file, folder / file.name)
    del model
    gc.collect()
    saved = _Origin(origin.name, folder, None, None).load("float32")
    reread = load_tokenizer(str(folder), origin.name)
    _check_tokenizer(reread, tokenizer, origin)
    is_rounded = wanted != "float32" and _saved_dtype(origin) != wanted
    difference = largest_difference(
        before, score_texts(saved, reread, TEXTS), is_rounded, origin.name
    )
    return _report(origin, saved, reread, wanted, before, difference, contradicts)


def _report(
    origin: _Origin,
    saved: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dtype: str,
    scores: Tensor,
    difference: float,
    contradicts: bool,
) -> ImportReport:
    embeddings = saved.get_input_embeddings()
    output = saved.get_output_embeddings()
    prose = -float(score_texts(saved, tokenizer, PROSE).mean())
    said = origin.header.licence if origin.header else licence_of_folder(origin.folder)[0]
    licence = said or "unknown"
    vocabulary = vocabulary_size(tokenizer)
    unfilled = template_problem(tokenizer)
    facts = {
        "licence unknown: look it up before you publish what the model writes": (
            licence == "unknown"
        ),
        "no padding token; training and evaluation need none": tokenizer.pad_token is None,
        "no chat template: ask it in the completion form": not tokenizer.chat_template,
        f"its chat template cannot be used ({unfilled}): ask it in the completion form": (
            bool(unfilled)
        ),
        "generation_config.json contradicts itself: only its special tokens were kept": contradicts,
        f"{embeddings.num_embeddings - vocabulary:,} embeddings have no token": (
            embeddings.num_embeddings > vocabulary
        ),
        "reads plain English hardly better than chance: untrained, or broken": (
            knows_no_better(prose, vocabulary)
        ),
    }
    return ImportReport(
        origin=origin.name,
        origin_blake3=file_identity(origin.file)["blake3"] if origin.file else None,
        licence=licence,
        architecture=str((saved.config.architectures or ["unknown"])[0]),
        parameters=saved.num_parameters(),
        tensors=origin.header.tensors if origin.header else _tensor_types(origin.folder),
        dtype=dtype,
        tied_embeddings=output is not None and output.weight is embeddings.weight,
        vocabulary=vocabulary,
        embeddings=embeddings.num_embeddings,
        bos=tokenizer.bos_token,
        eos=tokenizer.eos_token,
        pad=tokenizer.pad_token,
        adds_bos=adds_bos(tokenizer),
        chat_template=bool(tokenizer.chat_template),
        texts=len(TEXTS),
        texts_unchanged=count_round_trips(tokenizer, origin.name),
        scored_tokens=scores.numel(),
        largest_difference=difference,
        nats_per_token=round(prose, 4),
        notes=tuple(note for note, holds in facts.items() if holds),
    )


def _locate(origin: str, revision: str | None) -> _Origin:
    path = Path(origin)
    if revision is not None and (path.exists() or not is_hub_id(origin)):
        raise RecipeError(f"--revision {revision}: {origin} is no model of the hub", "leave it out")
    if path.is_file():
        if path.suffix != ".gguf":
            raise RecipeError(f"{origin}: no GGUF file", "give a .gguf, a folder or a hub ID")
        return _Origin(path.name, path.parent, read_header(path), path)
    if is_folder(origin):
        check_files(path, "ORIGIN")
        return _Origin(path.resolve().name, path, None, None)
    if path.suffix == ".gguf" or not is_hub_id(origin):
        raise RecipeError(f"{origin}: no such file or folder", "correct the path")
    commit = PINS.pin("model", origin, revision)
    folder = Path(pinned_folder(origin, commit)) if commit else path
    if commit is None or not folder.is_dir():
        raise RecipeError(
            f"{origin}: neither on this machine nor to be had from the hub",
            "check the name, the network and HF_HUB_OFFLINE, or give a folder",
        )
    check_files(folder, "ORIGIN")
    return _Origin(f"{origin}@{commit}", folder, None, None)


def _tokenizer(origin: _Origin, given: str | None) -> PreTrainedTokenizerBase:
    if given is not None:
        tokenizer = load_tokenizer(pinned_folder(given), "--tokenizer")
    elif origin.header and origin.file:
        tokenizer = load_gguf_tokenizer(origin.file, origin.header)
    else:
        tokenizer = load_tokenizer(str(origin.folder), origin.name)
    if origin.header:
        _compare_with_header(tokenizer, origin.header, origin.name)
    return tokenizer


def _compare_with_header(
    tokenizer: PreTrainedTokenizerBase, header: GgufHeader, where: str
) -> None:
    """Refuse a tokenizer that is not the one that the header of a GGUF describes."""
    ours: dict[str, object] = {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in header.special
    }
    theirs: dict[str, object] = {f"{name}_token_id": id_ for name, id_ in header.special.items()}
    if header.adds_bos is not None:
        ours["add_bos_token"], theirs["add_bos_token"] = adds_bos(tokenizer), header.adds_bos
    if header.chat_template is not None:
        ours["chat_template"] = tokenizer.chat_template
        theirs["chat_template"] = header.chat_template
    ours["tokens"], theirs["tokens"] = vocabulary_size(tokenizer), header.tokens
    different = [name for name, value in theirs.items() if ours[name] != value]
    if different:
        name = different[0]
        raise CheckpointError(
            f"{where}: {name} is {theirs[name]!r:.80} in the file and {ours[name]!r:.80} in the "
            "tokenizer",
            "give the original tokenizer: --tokenizer FOLDER_OR_HUB_ID",
        )


def _check_tokenizer(
    saved: PreTrainedTokenizerBase, original: PreTrainedTokenizerBase, origin: _Origin
) -> None:
    """Refuse a saved tokenizer that reads a text otherwise, or lost its chat template."""
    changed = [text for text in TEXTS if saved.encode(text) != original.encode(text)]
    if changed or saved.chat_template != original.chat_template:
        what = f"reads {changed[0][:40]!r} otherwise" if changed else "lost its chat template"
        raise CheckpointError(f"{origin.name}: the saved tokenizer {what}")


def _wanted_dtype(origin: _Origin, asked: Dtype) -> str:
    return asked if asked != "auto" else _saved_dtype(origin)


def _saved_dtype(origin: _Origin) -> str:
    """The number format of the original; that of a GGUF is float32 once it is unpacked."""
    if origin.file:
        return "float32"
    from transformers import AutoConfig

    dtype = AutoConfig.from_pretrained(origin.folder).dtype
    return str(dtype or "float32").removeprefix("torch.")


def _tensor_types(folder: Path) -> dict[str, int]:
    from safetensors import safe_open

    types: Counter[str] = Counter()
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            types.update(tensors.get_slice(name).get_dtype() for name in tensors.keys())  # noqa: SIM118
    return dict(sorted(types.items()))
