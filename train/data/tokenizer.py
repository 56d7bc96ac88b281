"""The stage `tokenizer`: trained on texts, or the model's own.

Guarantee: all sources of a recipe are tokenized by this one, so it is trained once.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from train.data.sources import SourceDocument, find_pieces, read_documents
from train.data.token_files import TOKENIZER_FOLDER
from tsqa.errors import DataError, RecipeError
from tsqa.hub.model_folder import vocabulary_size
from tsqa.hub.pins import pinned_folder
from tsqa.recipe import SourceSection, needed
from tsqa.remote import DataPath
from tsqa.store.stage import StageContext

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

END_OF_TEXT = "<|endoftext|>"


def run(context: StageContext) -> dict[str, int]:
    """Train or copy the tokenizer into the folder `tokenizer`."""
    from transformers import AutoTokenizer

    recipe = context.recipe
    folder = context.out / TOKENIZER_FOLDER
    if recipe.tokenizer is not None and recipe.tokenizer.train_on:
        paths = [context.resolve_data(path) for path in recipe.tokenizer.train_on]
        tokenizer = train_tokenizer(paths, recipe.tokenizer.vocab_size)
    else:
        origin = _tokenizer_origin(context)
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                origin, trust_remote_code=needed(recipe.model, "model").trust_remote_code
            )
        except Exception as error:
            raise RecipeError(f"tokenizer {origin}: cannot be loaded: {error}") from error
    if tokenizer.eos_token_id is None:
        raise DataError("the tokenizer has no end-of-sequence token", "choose one that has")
    shutil.rmtree(folder, ignore_errors=True)  # of a killed run
    tokenizer.save_pretrained(folder)
    return {"vocab_size": vocabulary_size(tokenizer)}


def train_tokenizer(paths: Sequence[DataPath], vocab_size: int) -> PreTrainedTokenizerBase:
    """Train byte-level BPE that splits off every digit, as a transformers tokenizer."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = tokenizers.Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(_texts(paths), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END_OF_TEXT,
        bos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


def _texts(paths: Sequence[DataPath]) -> Iterator[str]:
    for path in paths:
        section = SourceSection(path=str(path))
        for piece in find_pieces(section, path, "tokenizer.train_on"):
            for document in read_documents(piece, section, "tokenizer.train_on"):
                if isinstance(document, SourceDocument):
                    yield document.text


def _tokenizer_origin(context: StageContext) -> str:
    recipe = context.recipe
    trust = needed(recipe.model, "model").trust_remote_code
    if recipe.tokenizer is not None:
        return pinned_folder(
            str(context.resolve(str(recipe.tokenizer.path))), trust_remote_code=trust
        )
    if "model" in context.inputs:
        return str(context.inputs["model"].path / "hf")
    return pinned_folder(str(needed(recipe.model, "model").path), trust_remote_code=trust)
