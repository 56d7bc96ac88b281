"""A model that was trained elsewhere on what the arm's mixture says.

Guarantees: it is a continuation of the arm's model, by its shape and its tokens; what it was
trained on is what the recipe declares, which nobody here has seen, and the summary says so.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from train.data.mixture import plan_of
from train.data.token_files import TOKENIZER_FOLDER, read_token_sources, token_folders
from tsqa.errors import DataError
from tsqa.hub.model_folder import check_vocabulary, check_weights, load_config, load_tokenizer
from tsqa.recipe import needed
from tsqa.store.stage import StageContext

KEY = "train.elsewhere"
_SHAPE = ("model_type", "hidden_size", "num_hidden_layers", "vocab_size")


def run(context: StageContext) -> dict[str, object]:
    """Copy the model into the artifact of the arm's training; what its tokens are said to be."""
    recipe = context.recipe
    train, model = needed(recipe.train, "train"), needed(recipe.model, "model")
    origin = str(train.elsewhere)
    config = load_config(origin, KEY, model.trust_remote_code)
    check_weights(origin, KEY, model.trust_remote_code)
    base = str(context.inputs["model"].path / "hf") if "model" in context.inputs else model.path
    if base is not None:
        _refuse_other_shape(origin, config, base, model.trust_remote_code)
    ours = str(context.inputs["tokenizer"].path / TOKENIZER_FOLDER)
    tokenizer = load_tokenizer(ours, "tokenizer", model.trust_remote_code)
    check_vocabulary(tokenizer, config.get_text_config().vocab_size, f"{KEY} = {origin}")
    out = context.out / "hf"
    shutil.rmtree(out, ignore_errors=True)  # half a copy of a killed run
    shutil.copytree(origin, out)
    tokenizer.save_pretrained(out)  # what it read is what its tokens were counted by
    tokens = read_token_sources(token_folders(context.inputs))
    plan = plan_of(recipe, {name: source["rows"] for name, source in tokens["sources"].items()})
    return {
        "declared_tokens": plan.total_rows * plan.sequence_length,
        "declared": {draw.source: draw.tokens for draw in plan.describe()},
        "origin": Path(origin).name,
    }


def _refuse_other_shape(origin: str, config: object, base: str, trusts: bool) -> None:
    expected = load_config(base, "model.path", trusts)
    for key in _SHAPE:
        here, there = getattr(config, key, None), getattr(expected, key, None)
        if here != there:
            raise DataError(
                f"{KEY} = {origin}: {key} is {here}, and {there} in {base}, from which this arm "
                "starts: it is no continuation of it",
                "give the model that this arm came to, or correct `model`",
            )
