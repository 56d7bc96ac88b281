"""Tokens for a training elsewhere: what Megatron-Bridge needs to draw the arm's mixture.

Guarantees: the blend has the planned weights, and how far Megatron's own sampler strays from them
is known, at every row; what would be lost on the way (answers alone, subsets, phases, batch ramps)
is refused.

Flags as in Megatron-Bridge 067f987 (2026-08-22), which is not run here.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from train.data.mixture import check_repeats
from train.data.plan import MixturePlan
from train.data.shards import stem_of
from train.data.token_files import (
    TOKENIZER_FOLDER,
    TokenSources,
    read_sources_file,
    read_token_sources,
    token_folders,
)
from tsqa.errors import DataError, RecipeError
from tsqa.recipe import Recipe, needed
from tsqa.store.artifact import Artifact
from tsqa.store.atomic import atomic_writer
from tsqa.store.jsonl import write_json
from tsqa.store.roles import Role

BRIDGE_RECIPE = "nemotron_3_nano_pretrain_8gpu_h100_bf16_config"
BLEND, SCRIPT = "blend.json", "run.sh"
_STYLES = {"wsd": "WSD", "cosine": "cosine", "linear": "linear", "constant": "constant"}
_DECAYS = {"linear": "linear", "sqrt": "minus_sqrt"}


@dataclass(frozen=True)
class Handover:
    """What was written, and what to know about it."""

    command: str
    """Of the training, for a checkout of Megatron-Bridge."""
    strays: Fraction
    """Rows by which Megatron's sampler is off the planned share of a source, at most."""
    notes: tuple[str, ...]
    """How that training differs from the one here."""


def hand_over(
    recipe: Recipe,
    inputs: Mapping[Role, Artifact],
    folder: Path,
    bridge_recipe: str = BRIDGE_RECIPE,
) -> Handover:
    """Write `blend.json` and `run.sh` for an arm whose inputs of training these are."""
    folders = token_folders(inputs)
    tokens = read_token_sources(folders)
    _refuse_what_is_lost(recipe, tokens)
    plan = check_repeats(recipe, {name: one["rows"] for name, one in tokens["sources"].items()})
    blend = _blend(plan, folders)
    model = needed(recipe.model, "model")
    trained = str(inputs["model"].path / "hf") if "model" in inputs else model.path
    tokenizer = (inputs["tokenizer"].path / TOKENIZER_FOLDER).resolve()
    words = _command(recipe, plan, blend, tokenizer, bridge_recipe, trained is not None)
    command = " \\\n    ".join(words)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / BLEND, {"train": blend, "valid": [], "test": []})
    with atomic_writer(folder / SCRIPT) as handle:
        handle.write(_script(command, trained))
    (folder / SCRIPT).chmod(0o755)
    return Handover(command, sampler_strays(plan.phases[0].weights), _notes(recipe))


def sampler_strays(weights: Sequence[int]) -> Fraction:
    """The most rows by which Megatron's sampler is off a source's planned share, at any row.

    Its rule (megatron/core/datasets/helpers.cpp, build_blending_indices): row k is of the source
    that is furthest below its weight times max(k, 1), the first of several. Exact, for a stream of
    any length: what it does repeats once it is off by the same at the end of two periods.
    """
    period = sum(weights)
    counts, seen = [0] * len(weights), set[tuple[int, ...]]()
    worst, drawn = 0, 0
    while True:
        behind = [w * max(drawn, 1) - c * period for w, c in zip(weights, counts, strict=True)]
        counts[behind.index(max(behind))] += 1
        drawn += 1
        off = [c * period - w * drawn for w, c in zip(weights, counts, strict=True)]
        worst = max(worst, *map(abs, off))
        if not drawn % period:
            if tuple(off) in seen:
                return Fraction(worst, period)
            seen.add(tuple(off))


def _refuse_what_is_lost(recipe: Recipe, tokens: TokenSources) -> None:
    mixture, train = needed(recipe.mixture, "mixture"), needed(recipe.train, "train")
    for name in mixture.drawn:
        source = mixture.sources[name]
        if source.subset_of:
            raise RecipeError(
                f"mixture.sources.{name} is drawn from {source.subset_of} row by row, and Megatron "
                "reads whole documents of whole files",
                "train this arm here, or leave it out of the hand-over",
            )
        if tokens["sources"][name]["answers_only"]:
            raise RecipeError(
                f"mixture.sources.{name}.answer_marker: Megatron trains on every token of its "
                "documents",
                "leave answer_marker out, or train this arm here",
            )
    if len(mixture.phases) > 1:
        raise RecipeError(
            f"mixture.phases: {len(mixture.phases)} phases, and Megatron blends by one table",
            "hand over a recipe with one phase",
        )
    if train.batch_ramp:
        raise RecipeError(
            "train.batch_ramp: the hand-over knows one global batch", "leave it out, or train here"
        )


def _blend(plan: MixturePlan, folders: Sequence[Path]) -> list[str]:
    """Weights and paths without suffix, in the order of the plan."""
    holders = {name: folder for folder in folders for name in read_sources_file(folder)["sources"]}
    [phase] = plan.phases
    period, blend = sum(phase.weights), []
    for name, weight in zip(plan.sources, phase.weights, strict=True):
        stem = str(stem_of(holders[name].resolve(), name))
        if any(character.isspace() for character in stem):
            raise DataError(
                f"{stem}: holds a space, where Megatron splits its list of paths",
                "choose another folder for `runs`",
            )
        blend += [f"{weight / period:.4f}", stem]
    return blend


def _command(
    recipe: Recipe,
    plan: MixturePlan,
    blend: Sequence[str],
    tokenizer: Path,
    bridge_recipe: str,
    is_continued: bool,
) -> list[str]:
    """The lines of the training command, each quoted for a shell."""
    train = needed(recipe.train, "train")
    schedule, steps = train.schedule, plan.steps
    keys: dict[str, dict[str, object]] = {
        "dataset": {
            "data_path": f'"{" ".join(blend)}"',
            "split": '"100,0,0"',  # bare, hydra takes it for three runs
            "path_to_cache": "/tmp/megatron-index",
            "random_seed": recipe.seed,
        },
        "rng": {"seed": recipe.seed},
        "tokenizer": {
            "tokenizer_type": "HuggingFaceTokenizer",
            "tokenizer_model": f'"{tokenizer}"',
        },
        "scheduler": {
            "lr_decay_style": _STYLES[schedule.kind],
            "lr_decay_iters": steps,
            "lr_warmup_init": train.lr * schedule.start_lr_ratio,
            "start_weight_decay": train.weight_decay,
            "end_weight_decay": train.weight_decay,
        },
        "optimizer": {
            "weight_decay": train.weight_decay,
            "adam_beta1": train.betas[0],
            "adam_beta2": train.betas[1],
            "adam_eps": train.eps,
            "clip_grad": train.clip,
        },
        "model": {},
    }
    if schedule.kind == "wsd":
        keys["scheduler"]["lr_wsd_decay_style"] = _DECAYS[schedule.decay_shape]
        keys["scheduler"]["lr_wsd_decay_iters"] = round(schedule.decay * steps)
    if train.router:
        keys["model"]["moe_router_bias_update_rate"] = train.router.bias_rate
        keys["model"]["moe_aux_loss_coeff"] = train.router.loss
    return [
        "torchrun --nproc_per_node=8 scripts/training/run_recipe.py",
        f"--recipe {shlex.quote(bridge_recipe)} --mode pretrain --dataset megatron-indexed",
        f"-sl {plan.sequence_length} -gb {plan.batch_rows} -ms {steps} "
        f"-mb {train.micro_batch_size}",
        f"--lr {train.lr} --min_lr {train.lr * schedule.min_lr_ratio} "
        f"--warmup_iters {round(schedule.warmup * steps)}",
        "--save_dir checkpoints --save_interval 500",
        *(["--pretrained_checkpoint pretrained"] if is_continued else []),
        *(
            shlex.quote(f"{section}.{key}={value}")
            for section, values in keys.items()
            for key, value in values.items()
        ),
    ]


def _script(command: str, trained: str | None) -> str:
    model = shlex.quote(trained or "MODEL")
    convert = f"scripts/conversion/convert.sh {{}} --executor local --device gpu --hf-model {model}"
    before = convert.format("import") + " --megatron-path pretrained\n" if trained else ""
    after = f"{convert.format('export')} --megatron-path checkpoints/iter_NNNNNNN --hf-path hf"
    return (
        "#!/usr/bin/env bash\n"
        "# In a checkout of Megatron-Bridge; written by `tsqa export-tokens`, not run by it.\n"
        "# Parallelism (-tp, -ep ...) and the number of GPUs are yours to choose.\n"
        f"set -euo pipefail\n{before}{command}\n"
        f"# Then, with the number of the last checkpoint:\n# {after}\n"
    )


def _notes(recipe: Recipe) -> tuple[str, ...]:
    train, mixture = needed(recipe.train, "train"), needed(recipe.mixture, "mixture")
    notes = [
        "documents in a row see each other there; here they do not",
        "its order within a source is its own, by dataset.random_seed",
    ]
    whole = [name for name in mixture.drawn if mixture.sources[name].packing == "whole"]
    if whole:
        notes.append(f"packing: whole ({', '.join(whole)}): documents are cut at row ends there")
    if train.heldout_rows:
        notes.append(
            f"train.heldout_rows: the last {train.heldout_rows} rows of each source are trained on "
            "there"
        )
    if not train.decay_embeddings:
        notes.append("train.decay_embeddings: false: weight decay reaches the embeddings there")
    if train.precision == "fp32" or train.fp32_parameters:
        notes.append("train.precision and train.fp32_parameters are not handed over: it is its own")
    if train.z_loss:
        notes.append("train.z_loss is not handed over")
    if train.average_last:
        notes.append(
            f"train.average_last: the mean of the last {train.average_last} models is not taken "
            "there"
        )
    return tuple(notes)
