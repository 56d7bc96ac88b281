"""`tsqa audit`: the measures of a finished dataset, in one report.

Guarantees: no teacher is asked here (what swaps had them say comes in); the recipe's seed, the
artifacts and the model of meanings decide every figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tsqa.curated.files import read_curated, read_rejected
from tsqa.dedup.semantic import SentenceEncoder
from tsqa.errors import EngineError, TsqaError, first_line
from tsqa.quality.bias import AskedQuestion, is_refusal, measure_bias
from tsqa.quality.diversity import (
    GradientProxy,
    measure_diversity,
    measure_gradients,
    no_gradients,
)
from tsqa.quality.effectiveness import not_measured
from tsqa.quality.held_out import read_held_out
from tsqa.quality.privacy import (
    NameFinder,
    measure_canaries,
    measure_names,
    measure_privacy,
    no_names,
)
from tsqa.quality.realism import measure_distance, measure_realism, not_embedded
from tsqa.quality.sample import QualitySample, draw_sample
from tsqa.records.candidate_file import parse_record
from tsqa.records.quality import NOT_ASKED, QualityMeasure, QualityReport, SwapsReport, hash_of_data
from tsqa.records.rows import RejectedRow
from tsqa.records.seed import SeedIndex
from tsqa.store.artifact import Artifact
from tsqa.store.stage import StageContext

PERMUTATIONS = 99


def audit(
    context: StageContext,
    seeds: Artifact,
    filtered: Artifact,
    seed: int,
    effect: Sequence[QualityMeasure] = (),
    swapped: SwapsReport = NOT_ASKED,
    load_encoder: Callable[[], SentenceEncoder] | None = None,
    proxy: GradientProxy | None = None,
    finder: NameFinder | None = None,
) -> QualityReport:
    """`context`: of the stage `seeds`, with its inputs; `effect`: what training on it did;
    `swapped`: what models said of items with others in them; `load_encoder`, `proxy`, `finder`:
    of meanings, gradients and names, where the recipe names a model for them."""
    sample = draw_sample(filtered.path, seeds.path, seed)
    held_out = read_held_out(context, seeds.path, sample, seed)
    measures = [
        *measure_realism(sample, seed, PERMUTATIONS),
        _distance(sample, load_encoder, seed),
        *measure_diversity(sample, seed),
        _gradients(sample, proxy, seed),
        *(effect or [not_measured("it needs trained models: tsqa ablate, then audit again")]),
        *measure_privacy(sample, held_out, seed),
        *_names(sample, finder, seed),
        measure_canaries(filtered.path),
        *measure_bias(sample, _asked(filtered.path, seeds.path)),
        *swapped.measures,
    ]
    return QualityReport(
        recipe=context.recipe.name,
        filter=filtered.fingerprint,
        seeds=seeds.fingerprint,
        data=hash_of_data(filtered, seeds),
        seed=seed,
        items=sample.item_count,
        audited_items=len(sample.items),
        audited_seeds=len(sample.seeds),
        without_real=sample.without_real,
        measures=measures,
        swaps=swapped.wanted,
        gradients=proxy.wanted if proxy else "",
        names=finder.wanted if finder else "",
        ledger=swapped.ledger,
    )


def _distance(
    sample: QualitySample, load: Callable[[], SentenceEncoder] | None, seed: int
) -> QualityMeasure:
    if load is None:
        return not_embedded(
            "the recipe names no model of meanings (filter.dedup.semantic, "
            "filter.decontaminate.semantic)"
        )
    try:
        return measure_distance(sample, load(), seed, PERMUTATIONS)
    except EngineError as error:
        return not_embedded(str(error).splitlines()[0])


def _gradients(sample: QualitySample, proxy: GradientProxy | None, seed: int) -> QualityMeasure:
    if proxy is None:
        return no_gradients("the recipe names no small model for it (audit.gradients)")
    try:
        return measure_gradients(sample, proxy, seed)
    except TsqaError as error:
        return no_gradients(first_line(error))


def _names(sample: QualitySample, finder: NameFinder | None, seed: int) -> list[QualityMeasure]:
    if finder is None:
        return no_names("the recipe names no model for it (audit.names)")
    try:
        return measure_names(sample, finder, seed)
    except TsqaError as error:
        return no_names(first_line(error))


def _asked(filtered: Path, seeds: Path) -> Iterator[AskedQuestion]:
    """All questions with the passages that they show, kept or not; where a teacher wrote none, the
    seed's, or the passage that it was to ask about or to tell again."""
    for row in read_curated(filtered):
        text = f"{row.context}\n{row.question or row.answer}"
        yield AskedQuestion(text, refused=False)
    with SeedIndex(seeds / "seeds.jsonl") as index:
        for rejected in read_rejected(filtered):
            yield AskedQuestion(_text_of(rejected, index), is_refusal(rejected.reason))


def _text_of(rejected: RejectedRow, seeds: SeedIndex) -> str:
    try:
        record = parse_record(rejected.record)
    except ValueError:  # no candidate
        return rejected.question
    if record.question or record.seed_question:
        return f"{record.context}\n{record.question or record.seed_question}"
    seed = seeds.find(record.seed_id)
    return record.passage if seed is None else seed.context
