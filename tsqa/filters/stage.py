"""Candidates -> curated documents, through a fixed and visible list of filters.

The steps: refusal, format, guard, length, language, agreement, models, copy, code, which look at
one candidate at a time; triviality, judge, reward, which ask a model; then dedup, difficulty, and
decontamination last. Of rephrasings, `faithful` takes the place of agreement, models and code. A
step that the recipe leaves out does not appear in the funnel. A model is not asked again what it
was asked for another artifact.

Guarantees: every candidate ends either in the dataset or in the rejected rows, with the step, the
reason and the score that rejected it; the funnel adds up; nothing is random; candidates pass as a
stream, and wait in a file before each step that starts an engine or looks at them twice.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from tsqa.console import console, progress_bar
from tsqa.curated.card import write_card
from tsqa.curated.examples import log_examples
from tsqa.curated.files import CURATED, DatasetWriter, read_rows
from tsqa.curated.render import Renderer
from tsqa.decontaminate.guard import check_seeds, read_dropped_seeds
from tsqa.decontaminate.index import EvaluatedIndex, measure_recall
from tsqa.decontaminate.semantic import KEY as LEAKS_KEY
from tsqa.decontaminate.semantic import Embedder, SemanticDocuments, sample_training
from tsqa.dedup.minhash import find_duplicates
from tsqa.dedup.semantic import KEY as DEDUP_KEY
from tsqa.dedup.semantic import load_model, measure_spread
from tsqa.errors import DataError, TsqaError
from tsqa.filters import checks
from tsqa.filters.advice import advise, find_failure
from tsqa.filters.code import verify_code
from tsqa.filters.copies import CopyCheck
from tsqa.filters.difficulty import label_difficulty
from tsqa.filters.funnel import Funnel, Step, Survivors, check_each, read_candidates
from tsqa.filters.judge import judge
from tsqa.filters.language import check_codes, check_language
from tsqa.filters.reward import score_reward
from tsqa.filters.triviality import Trial, find_trivial
from tsqa.hub.identify import identify_model
from tsqa.prompts import load_prompts
from tsqa.recipe import FilterSection, TrivialitySection, needed
from tsqa.records.candidate import Candidate, Rejection, Verdict, seed_as_candidate
from tsqa.records.candidate_file import UnreadableLine
from tsqa.records.rows import CuratedRow, Lineage
from tsqa.records.seed import Seed, SeedIndex
from tsqa.records.summaries import FilterCounts, FilterSummary, FunnelRow, LedgerRow, read_ledger
from tsqa.records.training_keys import read_training_keys
from tsqa.rephrasings.faithful import check_copied, check_faithful
from tsqa.sandbox.code import code_boundary
from tsqa.seeds.benchmarks import read_evaluated
from tsqa.store.stage import StageContext
from tsqa.tasks.oracle import read_oracle
from tsqa.teachers.client import open_asker
from tsqa.teachers.failures import one_line

_BATCH = 256


def run(context: StageContext) -> dict[str, object]:
    """Write the dataset and the rejected rows (see `tsqa.curated.files`)."""
    section = needed(context.recipe.filter, "filter")
    if section.code:
        console.print(f"  programs run within {code_boundary(section.code).described}", style="dim")
    renderer = Renderer(section.renderings)
    leaks = Leaks(context, section, list(read_evaluated(context)))
    ledger: list[LedgerRow] = []
    scratch = context.out / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    traces = 0
    with ExitStack() as stack:
        seeds = stack.enter_context(SeedIndex(context.inputs["seeds"].path / "seeds.jsonl"))
        passing = passing_steps(context, section, seeds)
        waiting = waiting_steps(context, section, seeds, scratch, ledger)
        writer = stack.enter_context(DatasetWriter(context.out))
        oracle = read_oracle(context.inputs["data"].path) if "data" in context.inputs else None
        funnel = Funnel(writer, stack.enter_context(progress_bar()), oracle)

        candidates = context.inputs["generate"].path / "candidates.jsonl"
        stream = _counted(candidates, funnel, renderer.shows_trace)
        total = context.inputs["generate"].summary.get("candidates")
        for step in passing:
            stream = funnel.apply(step, stream, total)
            total = None
        for number, step in enumerate(waiting):
            survivors = Survivors(scratch / f"{number}.jsonl", stream)
            stream = funnel.apply(step, survivors, survivors.count)
        for candidate in funnel.apply(decontamination_step(leaks), stream):
            funnel.measures.accept(candidate)
            traces += bool(candidate.trace)
            writer.curated(_curated_row(candidate, renderer))
    shutil.rmtree(scratch)
    _show_funnel(context, funnel.rows())
    counts = funnel.measures.counts(funnel.entered("dedup"))
    _refuse_empty(context, counts, funnel.measures.examples)
    _refuse_thoughtless(counts, renderer, traces)
    log_examples(context.out, context.tracker)
    summary = FilterSummary(
        **vars(counts),
        funnel=funnel.rows(),
        ledger=ledger,
        unanswered=sum(sum(row.unanswered.values()) for row in ledger),
        planted_leak_recall=leaks.recall(),
        semantic_leaks=leaks.semantic.tasks if leaks.semantic else None,
        embedding_spread=_measure_spread(context.out, section),
        traces=traces if renderer.shows_trace else None,
    )
    write_card(
        context.out,
        recipe=context.recipe,
        seeds_summary=context.inputs["seeds"].summary,
        generate_ledger=read_ledger(context.inputs["generate"].summary),
        filter_summary=summary,
    )
    return {key: value for key, value in asdict(summary).items() if value is not None}


def passing_steps(context: StageContext, section: FilterSection, seeds: SeedIndex) -> list[Step]:
    """The steps that look at one candidate at a time, in their order."""
    steps = [
        check_each("refusal", checks.check_refusal),
        check_each("format", checks.check_format),
    ]
    if "guard" in context.inputs:
        dropped = read_dropped_seeds(context.inputs["guard"].path)
        steps.append(check_each("guard", lambda c: check_seeds(c, dropped)))
    steps.append(
        check_each("length", lambda c: checks.check_length(c, section.min_words, section.max_words))
    )
    if section.languages is not None:
        languages = check_codes(section.languages)
        steps.append(check_each("language", lambda c: check_language(c, languages)))
    if _rephrases(context):
        wanted = section.faithfulness
        return [
            *steps,
            check_each("faithful", lambda c: check_faithful(c, wanted)),
            check_each("copy", lambda c: check_copied(c, wanted.copied)),
        ]
    steps.append(check_each("agreement", lambda c: checks.check_agreement(c, section.agreement)))
    least = section.model_agreement
    if least is not None:
        steps.append(check_each("models", lambda c: checks.check_models(c, least)))
    training = read_training_keys(context.inputs["seeds"].path)
    copies = CopyCheck(training, seeds, section.copy_similarity)
    return [
        *steps,
        Step("copy", lambda candidates: map(copies.check, candidates)),
        Step("code", lambda candidates: verify_code(candidates, section.code)),
    ]


def _rephrases(context: StageContext) -> bool:
    return needed(context.recipe.generate, "generate").rephrase is not None


def waiting_steps(
    context: StageContext,
    section: FilterSection,
    seeds: SeedIndex,
    scratch: Path,
    ledger: list[LedgerRow],
) -> list[Step]:
    """The steps that ask a model, which get candidates one step after the other; and those that
    must see all candidates.

    Raises RecipeError when a model or a prompt is not fit, before any candidate is read.
    """
    seed = needed(context.recipe.generate, "generate").seed
    steps = []
    if section.triviality:
        trial = _open_trial(context, section.triviality, seeds, ledger)
        steps.append(
            Step("triviality", lambda candidates: find_trivial(candidates, trial), trial.asker)
        )
    if section.judge:
        rubric = load_prompts(section.judge.prompt, "judge", "filter.judge.prompt")
        judging = open_asker(
            *(context, section.judge.teacher, "judge", seed, ledger),
            *(section.judge.allow_failed, "filter.judge.allow_failed"),
        )
        rubric.check_form(judging.form)
        least = section.judge.min_score
        steps.append(
            Step("judge", lambda candidates: judge(candidates, judging, rubric, least), judging)
        )
    if section.reward:
        reward, model = section.reward, str(context.resolve(section.reward.model))
        scored_by = identify_model(reward.model)
        steps.append(
            Step("reward", lambda c: score_reward(c, reward, model, scored_by, context.out))
        )

    def deduplicate(candidates: Iterable[Candidate]) -> Iterator[Verdict]:
        asked = ((candidate.id, candidate.asked) for candidate in candidates)
        return zip(candidates, find_duplicates(asked, section.dedup, scratch), strict=True)

    steps.append(Step("dedup", deduplicate))
    if section.difficulty:
        wanted = section.difficulty
        steps.append(Step("difficulty", lambda c: label_difficulty(c, wanted)))
    return steps


def _open_trial(
    context: StageContext,
    section: TrivialitySection,
    seeds: SeedIndex,
    ledger: list[LedgerRow],
) -> Trial:
    generate = needed(context.recipe.generate, "generate")
    teacher, role = section.teacher, "weak"
    if teacher is None:
        teacher, role = needed(generate.teacher, "generate.teacher"), "teacher"
    asker = open_asker(
        *(context, teacher, role, generate.seed, ledger),
        *(section.allow_failed, "filter.triviality.allow_failed"),
    )
    prompts = load_prompts(generate.prompts.answer, "answer", "generate.prompts.answer")
    prompts.check_form(asker.form)
    return Trial(
        asker, prompts, generate.answer, seeds, section.tries, hides_context=section.teacher is None
    )


def _counted(path: Path, funnel: Funnel, shows_trace: bool) -> Iterator[Candidate]:
    if not path.is_file() or not path.stat().st_size:
        raise DataError(f"{path}: no candidates", "look at the log of the generate stage")
    for candidate in read_candidates(path, shows_trace):
        funnel.measures.enter(candidate)
        yield candidate


class Leaks:
    """The evaluated documents, by their words and, where a model is given, by their meaning."""

    def __init__(
        self, context: StageContext, section: FilterSection, evaluated: Sequence[Seed]
    ) -> None:
        self._context, self._section, self._evaluated = context, section, evaluated
        self._index = EvaluatedIndex(evaluated, section.decontaminate)

    @cached_property
    def semantic(self) -> SemanticDocuments | None:
        """Opened when it is first asked: until then engines may need the GPU.

        Raises EngineError when the model cannot be loaded.
        """
        wanted = self._section.semantic_leaks
        if wanted is None or _rephrases(self._context):  # a rephrasing asks nothing
            return None
        is_own = self._section.decontaminate.semantic is not None
        model = load_model(wanted.model, LEAKS_KEY if is_own else DEDUP_KEY)
        training = sample_training(self._context.inputs["seeds"].path / "seeds.jsonl")
        known = zip(training, self._index.check(training), strict=True)
        return SemanticDocuments(
            Embedder(model, identify_model(wanted.model), self._context.out),
            [seed_as_candidate(document) for document in self._evaluated],
            [document for document, leak in known if leak is None],
            wanted.false_positives,
        )

    def check(self, candidates: Sequence[Candidate]) -> list[Rejection | None]:
        verdicts = self._index.check(candidates)
        left = [number for number, verdict in enumerate(verdicts) if verdict is None]
        if left and self.semantic:
            found = self.semantic.check([candidates[number] for number in left])
            for number, verdict in zip(left, found, strict=True):
                verdicts[number] = verdict
        return verdicts

    def check_texts(self, texts: Sequence[str]) -> list[Rejection | None]:
        """As documents of the stream are checked, and by the passages that benchmarks read."""
        found = zip(self._index.check_texts(texts), self._index.find_passages(texts), strict=True)
        return [item or passage for item, passage in found]

    def recall(self) -> dict[str, float]:
        """Measure the share that is found of leaks planted from the evaluated documents."""
        if not _rephrases(self._context):
            return measure_recall(self.check, self._evaluated)
        return measure_recall(
            lambda planted: self._index.check_texts([leak.full_text for leak in planted]),
            self._evaluated,
        )


def decontamination_step(leaks: Leaks) -> Step:
    """The last step: what resembles an evaluated document."""
    return Step("decontamination", lambda candidates: _decontaminate(candidates, leaks))


def _decontaminate(candidates: Iterable[Candidate], leaks: Leaks) -> Iterator[Verdict]:
    source = iter(candidates)
    while batch := list(islice(source, _BATCH)):
        if batch[0].is_rephrasing:  # then all are: a text, not a question
            yield from zip(batch, leaks.check_texts([each.answer for each in batch]), strict=True)
        else:
            yield from zip(batch, leaks.check(batch), strict=True)


@dataclass(frozen=True)
class _Said:
    question: str
    answer: str


def _measure_spread(out: Path, section: FilterSection) -> float | None:
    """Mean distance between two curated questions, or rephrasings, where the recipe names a model
    for it."""
    if section.dedup.semantic is None:
        return None
    questions = (row.question or row.answer for row in read_rows(out / CURATED, _Said))
    return round(measure_spread(load_model(section.dedup.semantic.model, DEDUP_KEY), questions), 4)


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


def _curated_row(candidate: Candidate, renderer: Renderer) -> CuratedRow:
    record = candidate.record
    rendering, text = renderer.render(candidate)
    lineage = Lineage(
        winning_vote=candidate.winning_vote,
        votes=[vote.id for vote in record.votes],
        seed_ids=record.seed_ids,
        seed_hash=record.seed_hash,
        prompts=record.prompts,
        sampling=record.sampling,
        form=record.form,
        teacher=record.teacher,
        cascade=record.cascade,
        solvers=record.solvers,
        usage=record.usage,
        attributes=record.attributes,
    )
    return CuratedRow(
        id=candidate.id,
        task=record.task,
        family=record.family,
        capability=record.capability,
        subject=record.subject,
        language=record.language,
        kind=record.kind,
        licence=record.licence,
        dataset=record.dataset,
        revision=record.revision,
        split=record.split,
        seed_id=record.seed_id,
        question=candidate.question,
        context=candidate.context,
        choices=candidate.choices,
        answer=candidate.answer,
        answer_index=candidate.answer_index,
        reasoning=candidate.reasoning,
        knowledge=candidate.knowledge,
        item_context=candidate.item_context,
        distractors=candidate.distractors,
        tests=candidate.tests,
        text=text,
        rendering=rendering,
        agreement=candidate.agreement if record.votes else None,
        scores=json.dumps(candidate.scores, sort_keys=True),
        lineage=lineage.to_json(),
    )
