"""Candidates -> curated documents, through a fixed and visible list of filters.

The steps: refusal, format, guard, length, language, agreement, models, copy, code, which look at
one candidate at a time, and canary; triviality, judge, reward, meaning, leak_judge, which ask a
model; then dedup, difficulty, review, and decontamination last. Of rephrasings, `faithful` takes
the place of agreement, models and code. A step that the recipe leaves out does not appear in the
funnel. A model is not asked again what it was asked for another artifact.

Guarantees: every candidate ends either in the dataset or in the rejected rows, with the step, the
reason and the score that rejected it; the funnel adds up; nothing is random, and nothing depends on
the number of processes; candidates pass as a stream of chunks, and wait in a file before each step
that starts an engine or looks at them twice. What grows with the candidates and is done by this
process alone: writing what the others made, and judging pairs of duplicates.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import chain, takewhile
from pathlib import Path

from tsqa.console import console, progress_bar
from tsqa.curated.card import write_card
from tsqa.curated.examples import log_examples
from tsqa.curated.files import CURATED, DatasetWriter, read_rows
from tsqa.curated.render import Renderer
from tsqa.dedup.minhash import find_packed
from tsqa.dedup.semantic import KEY, load_model, measure_spread
from tsqa.errors import DataError, TsqaError
from tsqa.filters import checks
from tsqa.filters.advice import advise, find_failure
from tsqa.filters.asking import Meaning, asking_steps
from tsqa.filters.chunks import (
    Judged,
    LastSteps,
    PassingSteps,
    drop_duplicates,
    in_groups,
    pack_asked,
    places_of,
)
from tsqa.filters.difficulty import find_limits
from tsqa.filters.funnel import ChunkOutcome, ShownFunnel, Survivors
from tsqa.filters.statistics import DistinctNgrams
from tsqa.parallel import Workers, open_workers
from tsqa.recipe import FilterSection, needed
from tsqa.records.canaries import copy_canaries
from tsqa.records.candidate import Candidate, Rejection
from tsqa.records.candidate_file import UnreadableLine
from tsqa.records.candidate_lines import chunks_of
from tsqa.records.seed import SeedIndex
from tsqa.records.summaries import (
    FilterCounts,
    FilterSummary,
    FunnelRow,
    LedgerRow,
    merge_leaks,
    read_ledger,
)
from tsqa.review.apply import ReviewStep, identify_decisions, review_folder
from tsqa.sandbox.code import code_boundary
from tsqa.seeds.benchmarks import read_evaluated
from tsqa.store.atomic import emptied
from tsqa.store.stage import StageContext
from tsqa.store.tracking import Tracker
from tsqa.tasks.oracle import Oracle, read_oracle
from tsqa.teachers.failures import one_line
from tsqa.text.normalise import words

_BYTES_PER_PROCESS = 4 << 20
"""Of candidates: seconds of work, so that a process is worth its start."""


def run(context: StageContext) -> dict[str, object]:
    """Write the dataset and the rejected rows (see `tsqa.curated.files`)."""
    section = needed(context.recipe.filter, "filter")
    if section.code:
        console.print(f"  programs run within {code_boundary(section.code).described}", style="dim")
    candidates = context.inputs["generate"].path / "candidates.jsonl"
    renderer = Renderer(section.renderings)
    ledger: list[LedgerRow] = []
    scratch = emptied(context.out / "scratch")
    copy_canaries(candidates.parent, context.out)
    with ExitStack() as stack:
        seeds = stack.enter_context(SeedIndex(context.inputs["seeds"].path / "seeds.jsonl"))
        review = _open_review(context)
        meaning = Meaning(context, section, list(read_evaluated(context)), review)
        asking = [*asking_steps(context, section, seeds, ledger), *meaning.open_steps(ledger)]
        writer = stack.enter_context(DatasetWriter(context.out))
        funnel = ShownFunnel(writer, stack.enter_context(progress_bar()))
        workers = stack.enter_context(_workers(candidates, section, scratch))
        first = PassingSteps(
            replace(context, tracker=Tracker.silent()), section, seeds, renderer.shows_trace
        )
        parts = workers.map_ordered(first, chunks_of(candidates))
        oracle = _oracle(context)
        last = LastSteps(meaning.index, section.renderings, oracle, review, meaning.edited)
        total = context.inputs["generate"].summary.get("candidates")
        survivors = Survivors(scratch / "0.jsonl", _surviving(parts, funnel, total))
        if asking:
            workers.close()  # the engines need the memory
        for number, step in enumerate(asking, 1):
            stream = funnel.apply(step, survivors, survivors.count)
            survivors = Survivors.of(scratch / f"{number}.jsonl", stream)
        _compare_all(survivors, section, scratch, last, funnel, workers)
        recall = meaning.recall()
    shutil.rmtree(scratch)
    _show_funnel(context, funnel.rows())
    counts = funnel.measures.counts(funnel.entered("dedup"), _distinct_n(context.out))
    _refuse_empty(context, counts, funnel.measures.examples)
    traces = funnel.measures.traces
    _refuse_thoughtless(counts, renderer, traces)
    log_examples(context.out, context.tracker)
    summary = FilterSummary(
        **vars(counts),
        funnel=funnel.rows(),
        ledger=ledger,
        unanswered=sum(sum(row.unanswered.values()) for row in ledger),
        planted_leak_recall=recall,
        semantic_leaks=meaning.documents.tasks if meaning.is_wanted else None,
        judged_leaks=dict(meaning.judged) if section.leak_judge else None,
        embedding_spread=_measure_spread(context.out, section),
        traces=traces if renderer.shows_trace else None,
        review=review.sum_up(context.out) if review else None,
    )
    write_card(
        context.out,
        recipe=context.recipe,
        seeds_summary=_seeds_summary(context),
        generate_ledger=read_ledger(context.inputs["generate"].summary),
        filter_summary=summary,
    )
    return {key: value for key, value in asdict(summary).items() if value is not None}


def _seeds_summary(context: StageContext) -> dict[str, object]:
    """That of the seeds, with all that was allowed: the guard compares with what is evaluated."""
    leaks = merge_leaks(made.summary for made in context.inputs.values())
    return {**context.inputs["seeds"].summary, "allowed_leaks": leaks}


def _workers(candidates: Path, section: FilterSection, folder: Path) -> Workers:
    if not candidates.is_file() or not candidates.stat().st_size:
        raise DataError(f"{candidates}: no candidates", "look at the log of the generate stage")
    useful = -(-candidates.stat().st_size // _BYTES_PER_PROCESS)
    cluster = "filter.cluster" if section.cluster else ""
    return open_workers(section.processes, useful, "filter.processes", folder, cluster)


def _oracle(context: StageContext) -> Oracle | None:
    return read_oracle(context.inputs["data"].path) if "data" in context.inputs else None


def _open_review(context: StageContext) -> ReviewStep | None:
    """The step of the reviewers' decisions; None where there are none."""
    if "review" not in context.config:
        return None
    step = ReviewStep(review_folder(context.recipe), checks.check_format)
    if identify_decisions(context.recipe) != context.config["review"]:
        raise DataError(
            f"{review_folder(context.recipe)}: somebody decided since this command began",
            "run the same command again",
        )
    return step


def _surviving(
    parts: Iterable[ChunkOutcome], funnel: ShownFunnel, total: int | None = None
) -> Iterator[bytes]:
    for part in parts:
        funnel.add(part, total)
        total = None
        yield from part.survivors
    funnel.end()


def _compare_all(
    survivors: Survivors,
    section: FilterSection,
    scratch: Path,
    last: LastSteps,
    funnel: ShownFunnel,
    workers: Workers,
) -> None:
    """The steps that need all candidates to judge one, and the last ones."""
    packed = workers.map_ordered(pack_asked, chunks_of(survivors.path))
    verdicts = find_packed(packed, section.dedup, scratch, workers)
    judged: Iterator[Judged] = zip(survivors.lines(), verdicts, strict=True)
    if section.difficulty:
        kept = workers.map_ordered(drop_duplicates, in_groups(judged))
        survivors = Survivors(scratch / "kept.jsonl", _surviving(kept, funnel))
        places = workers.map_ordered(places_of, chunks_of(survivors.path))
        limits = find_limits(chain.from_iterable(places), section.difficulty)
        last = replace(last, limits=limits)
        judged = ((line, None) for line in survivors.lines())
    for part in workers.map_ordered(last, in_groups(judged)):
        funnel.add(part)
    funnel.end()


@dataclass(frozen=True)
class _Said:
    question: str
    answer: str


def _said(out: Path) -> Iterator[str]:
    """The curated questions, or rephrasings."""
    return (row.question or row.answer for row in read_rows(out / CURATED, _Said))


def _distinct_n(out: Path) -> dict[str, float]:
    ngrams = DistinctNgrams()
    for text in takewhile(lambda _: not ngrams.is_full, _said(out)):
        ngrams.add(words(text))
    return ngrams.shares()


def _measure_spread(out: Path, section: FilterSection) -> float | None:
    """Mean distance between two texts, where the recipe names a model for it."""
    if section.dedup.semantic is None:
        return None
    return round(measure_spread(load_model(section.dedup.semantic.model, KEY), _said(out)), 4)


def _show_funnel(context: StageContext, rows: Sequence[FunnelRow]) -> None:
    values = [list(vars(row).values()) for row in rows]
    context.tracker.table("filter/funnel", list(vars(rows[0])), values)


def _refuse_empty(
    context: StageContext,
    counts: FilterCounts,
    examples: Mapping[str, tuple[Candidate, Rejection]],
) -> None:
    """Raise TsqaError, with the most frequent reason, where nothing passed."""
    if counts.curated:
        return
    reasons = list(counts.rejected_by_reason.items())
    listed = ", ".join(f"{number:,} x {reason}" for reason, number in reasons[:3])
    most = reasons[0][0]
    example = examples.get(most)
    shown = "" if example is None else f"; an example: {_shown_example(example[0])}"
    failure = None if example is None else find_failure(*example, *_roles(context))
    raise TsqaError(
        f"none of the {counts.candidates:,} candidates passed the filters: "
        f"{listed}{shown} (all are in {context.out / 'rejected'})",
        advise(most, failure),
    )


def _roles(context: StageContext) -> tuple[str, str]:
    """Of the models that ask questions, and that `filter.triviality` tries."""
    writer = needed(context.recipe.generate, "generate").writing[0]
    trial = needed(context.recipe.filter, "filter").triviality
    return writer, "weak" if trial and trial.teacher else "teacher"


def _refuse_thoughtless(counts: FilterCounts, renderer: Renderer, traces: int) -> None:
    """Raise TsqaError where documents should show thoughts, and no item has any."""
    if renderer.shows_trace and not traces:
        raise TsqaError(
            f"filter.renderings shows thoughts, but none of the {counts.curated:,} items has any",
            "use a teacher that thinks, or another rendering",
        )


def _shown_example(candidate: Candidate) -> str:
    """The question and the first reply to it, on one line; of a rephrasing itself."""
    votes = [] if isinstance(candidate.source, UnreadableLine) else candidate.record.votes
    said = (votes[0].error or votes[0].text if votes else "") or candidate.parse_error
    said = said or candidate.answer
    asked = f" {one_line(candidate.question)!r}" if candidate.question else ""
    return f"{candidate.id}{asked}: {one_line(said)!r}"
