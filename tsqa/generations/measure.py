"""What a generation lost: four measures, each 0 where text or model are as with people's text.

Guarantee: a measure comes with its 95% interval, or with the reason why there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from tsqa.errors import DataError
from tsqa.generations.chain import missing_measures, people_sources
from tsqa.pipeline.run import Pipeline
from tsqa.quality.diversity import measure_diversity
from tsqa.quality.measure import LEAST, Spanned, mean_of
from tsqa.quality.sample import QualitySample, draw_sample
from tsqa.recipe import Recipe, needed
from tsqa.records.quality import TAIL, VENDI, QualityMeasure
from tsqa.review.estimate import interval
from tsqa.store.artifact import Artifact
from tsqa.store.roles import Role, SourceRole
from tsqa.store.stage import StageContext
from tsqa.store.tracking import Tracker

MOST_SEEDS = 600
"""Seeds with items that diversity is measured on: the sizes of generations must not differ."""
_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class GenerationMeasure:
    """A measure of one generation."""

    name: str
    """As the limit in `generations.stop`."""
    span: Spanned | None = None
    """None where it cannot be measured."""
    n: int = 0
    missing: str = ""
    """Why it was not measured."""


@dataclass(frozen=True)
class MeasuredGeneration:
    """What came of a generation; its model is trained on its items."""

    arm: str
    number: int
    recipe: str
    filter: str
    """Fingerprint of the artifact, as of `train`."""
    train: str
    asked: int
    items: int
    measures: list[GenerationMeasure]


def measure_generation(
    pipeline: Pipeline, arm: str, number: int, first: Sequence[float]
) -> MeasuredGeneration:
    """Measure a generation whose model is trained; `first`: the losses of the first teacher."""
    recipe = pipeline.recipe
    filtered, seeds, trained = (pipeline.finished(s) for s in ("filter", "seeds", "train"))
    seed = needed(recipe.generate, "generate").seed
    missing = missing_measures(recipe)
    sample = draw_sample(filtered.path, seeds.path, seed, MOST_SEEDS)
    measures = [
        measure_errors(filtered.summary["truth_by_task"], missing.get("errors", "")),
        *measure_narrowing(sample, seed),
        measure_loss(
            losses_of(pipeline, str(trained.path / "hf")) if "loss" not in missing else [],
            first,
            missing.get("loss", ""),
        ),
    ]
    return MeasuredGeneration(
        arm=arm,
        number=number,
        recipe=str(pipeline.origin),
        filter=filtered.fingerprint,
        train=trained.fingerprint,
        asked=filtered.summary["candidates"],
        items=filtered.summary["curated"],
        measures=measures,
    )


def measure_errors(truth: Mapping[str, Mapping[str, int]], missing: str = "") -> GenerationMeasure:
    """The share of items that are wrong or no question of their task."""
    count, right = (sum(each[key] for each in truth.values()) for key in ("curated", "true"))
    if missing or not count:
        return GenerationMeasure(
            name="errors", missing=missing or "no item of a task with an oracle"
        )
    share = 1 - right / count
    low, high = interval(share, count)
    return GenerationMeasure(name="errors", span=Spanned(share, low, high), n=count)


def measure_narrowing(sample: QualitySample, seed: int) -> list[GenerationMeasure]:
    """The shares that are lost of the tail that the same seeds reach, and of their Vendi score.

    The interval is that of the difference, over the reference.
    """
    found = {each.name: each for each in measure_diversity(sample, seed)}
    return [
        _lost(name, found.get(of), len(sample.pairs))
        for name, of in (("tail", TAIL), ("diversity", VENDI))
    ]


def _lost(name: str, measure: QualityMeasure | None, pairs: int) -> GenerationMeasure:
    if measure is None or measure.gap is None:
        few = f"{pairs} seeds with items that are like them; {LEAST} are needed"
        return GenerationMeasure(name=name, n=pairs, missing=measure.missing if measure else few)
    if not measure.reference:
        return GenerationMeasure(name=name, n=pairs, missing="the seeds themselves have none")
    value, low, high = ((0.0 - end) / measure.reference for end in measure.gap)
    lost = Spanned(value, min(low, high), max(low, high))
    return GenerationMeasure(name=name, span=lost, n=measure.n)


def measure_loss(
    losses: Sequence[float], first: Sequence[float], missing: str = ""
) -> GenerationMeasure:
    """By how much the loss of each row is above that of the first teacher."""
    if missing or len(losses) < LEAST:
        few = f"{len(losses)} rows of people's text are held out; {LEAST} are needed"
        return GenerationMeasure(name="loss", n=len(losses), missing=missing or few)
    rises = np.array(losses) - np.array(first)
    if not np.isfinite(rises).all():  # such a mean is above no limit
        infinite = f"{int((~np.isfinite(rises)).sum())} rows have no finite loss"
        return GenerationMeasure(name="loss", n=len(losses), missing=infinite)
    rise = mean_of(rises)
    return GenerationMeasure(name="loss", span=rise, n=len(losses))


def first_losses(pipeline: Pipeline) -> list[float]:
    """Those of the teacher of a recipe whose model is trained; none where they are not measured."""
    if "loss" in missing_measures(pipeline.recipe):
        return []
    from tsqa.hub.model_folder import load_tokenizer
    from tsqa.teachers.chat_form import locate

    generated = pipeline.finished("generate")
    node = next(n for n in pipeline.nodes if n.fingerprint == generated.fingerprint)
    role, teacher = needed(node.recipe.generate, "generate").writing
    context = StageContext(node.recipe, pipeline.inputs_of(node), pipeline.folder, Tracker.silent())
    folder, _ = locate(context, teacher, role)
    own = str(pipeline.finished("train").path / "hf")
    trusted = teacher.model.trust_remote_code
    key = f"generate.{role}.model"
    words, own_words = (load_tokenizer(one, key, trusted).get_vocab() for one in (folder, own))
    if words != own_words:
        raise DataError(
            f"{key} = {folder}: its tokenizer is not that of the models trained here, so that "
            "their losses cannot be compared",
            "use a student with the teacher's tokenizer, or set train.heldout_rows: 0",
        )
    return losses_of(pipeline, folder)


def losses_of(pipeline: Pipeline, folder: str) -> list[float]:
    """The loss of a model on each held-out row of people's text, in nats per token."""
    import torch
    from transformers import AutoModelForCausalLM

    from train.data.stream import TokenStore
    from train.data.token_files import token_folders
    from train.model.isolation import isolate
    from train.model.loss import TokenLosses
    from train.trainer.heldout import HeldOut

    recipe = pipeline.recipe
    store = TokenStore(*token_folders(_people_tokens(pipeline, recipe)))
    rows = needed(recipe.train, "train").heldout_rows
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=needed(recipe.model, "model").trust_remote_code,
    ).to(device)
    isolate(model, device)
    model.eval()
    losses = TokenLosses(cast(Any, model), model.config, None, 0.0)
    held = HeldOut(store, tuple(sorted(store.rows)), rows)
    return held.score_rows(losses, _BATCH, device)


def _people_tokens(pipeline: Pipeline, recipe: Recipe) -> dict[Role, Artifact]:
    trained = pipeline.finished("train")
    node = next(n for n in pipeline.nodes if n.fingerprint == trained.fingerprint)
    wanted = {SourceRole(name) for name in people_sources(recipe)}
    return {role: made for role, made in pipeline.inputs_of(node).items() if role in wanted}
