"""Seed -> new questions by a writer -> k enriched answers each, by one or several solvers. One
teacher may be both; a cascade is a solver that answers only where the votes before it disagree.
With `generate.rephrase` the writer tells passages again, and nobody answers.

Guarantees: every request is a pure function of the recipe, the seeds and the teacher, and is
identified by its hash; a finished request is one line of `<role>-completions.jsonl`, so that a run
killed anywhere and started again asks only for what is missing; requests without an answer are an
error of the stage, unless the recipe allows that many; candidates come in the order of the seeds
and carry the prompts, the teacher, the sampling and the seeds behind them; memory does not grow
with the number of seeds. The engine starts only when something is missing.
"""

from __future__ import annotations

import json
import random
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.text import Text

from tsqa.console import console, progress_bar
from tsqa.generate.attributes import draw_attributes, draw_sampling, draw_style
from tsqa.generate.definition import STYLES
from tsqa.generate.echoes import ECHO, Own, is_echo, question_without_echo, without_echo
from tsqa.prompts import Form, Prompt, PromptSet, load_prompts
from tsqa.prompts.variables import (
    AnswerVariables,
    Asking,
    PassageVariables,
    QuestionVariables,
    RephraseVariables,
)
from tsqa.recipe import (
    AnswerKind,
    GenerateSection,
    SamplingSection,
    Solving,
    TeacherSection,
    needed,
)
from tsqa.records.canaries import Canary, draw_canaries, write_canaries
from tsqa.records.candidate import read_candidate
from tsqa.records.candidate_file import (
    CandidateRecord,
    Sampling,
    TokenUse,
    Vote,
    read_records,
    write_records,
)
from tsqa.records.kept_seeds import read_levels
from tsqa.records.seed import Seed, read_seed, read_seeds
from tsqa.records.summaries import GenerateSummary, LedgerRow
from tsqa.rephrasings.reply import parse_rephrasing
from tsqa.sandbox.code import code_boundary
from tsqa.store.stage import StageContext
from tsqa.store.tracking import Tracker
from tsqa.teachers import Completion
from tsqa.teachers.client import Asker, open_asker, readable_text
from tsqa.teachers.replies.answer_reply import parse_answer
from tsqa.teachers.replies.fields import CUT_THOUGHTS
from tsqa.teachers.replies.question_reply import ParsedQuestion, parse_question
from tsqa.teachers.scheduler import Job, Window

_LOG_EVERY_SECONDS = 5.0
_LONG_VOTE, _ENOUGH = 40, 10
"""Characters of a vote that two samples hardly share; questions from which votes are compared."""
_PREFIXES = {"teacher": "a", "cascade": "c"}
"""Role -> how the ids of its votes begin; solver 0's begin with `s0a`."""


def run(context: StageContext) -> dict[str, object]:
    """Write candidates.jsonl; `<role>-completions.jsonl` keeps what came back, next to its log."""
    section = needed(context.recipe.generate, "generate")
    if context.recipe.filter and context.recipe.filter.code:
        code_boundary(context.recipe.filter.code)  # refused before a teacher is paid, not after
    seeds = open_seeds(context, section)
    total = len(seeds) * section.per_seed
    ledger: list[LedgerRow] = []

    def ask(asker: Asker, jobs: Iterable[Job[CandidateRecord]]) -> Iterator[CandidateRecord]:
        return asker.run(jobs, lambda f, w: _watched(f, w, asker, total, context.tracker))

    team = open_team(context, ledger)
    files = [context.out / f"pass-{number}.jsonl" for number in range(len(team.later))]
    files.append(context.out / "candidates.jsonl")
    jobs = (
        write_candidate(team.writer, seeds, seed, number)
        for seed in seeds
        for number in range(section.per_seed)
    )
    counts = _count_while_writing(files[0], ask(team.writer.asker, jobs))
    for solver, before, after in zip(team.later, files, files[1:], strict=False):
        asked = (seed for seed in seeds for _ in range(section.per_seed))
        jobs = (
            solve(solver, seeds, seed, candidate)
            for seed, candidate in zip(asked, read_records(before), strict=True)
        )
        counts = _count_while_writing(after, ask(solver.asker, jobs))
        before.unlink()
    summary = GenerateSummary(
        seeds=len(seeds),
        candidates=counts.candidates,
        unparsable_questions=counts.unparsable_questions,
        dropped_explanations=counts.dropped_explanations,
        same_votes=counts.same_votes,
        prompt_tokens=sum(row.prompt_tokens for row in ledger),
        output_tokens=sum(row.output_tokens for row in ledger),
        engine_seconds=sum(row.engine_seconds for row in ledger),
        dollars=sum(row.dollars for row in ledger),
        unanswered=sum(sum(row.unanswered.values()) for row in ledger),
        ledger=ledger,
        cut_thoughts=counts.cut_thoughts or None,
    )
    return {key: value for key, value in asdict(summary).items() if value is not None}


def open_seeds(context: StageContext, section: GenerateSection) -> SeedFile:
    """Draw the canaries that the recipe wants, and write them beside the candidates."""
    path = context.inputs["seeds"].path / "seeds.jsonl"
    if not section.canaries:
        return SeedFile(path)
    canaries = draw_canaries((s.id for s in read_seeds(path)), section.canaries, section.seed)
    write_canaries(context.out, canaries)
    if len(canaries) < section.canaries:
        console.print(
            f"  generate.canaries {section.canaries:,}: there are but {len(canaries):,} seeds, "
            "each with one; all items are asked for with one in sight",
            style="yellow",
        )
    return SeedFile(path, canaries)


class SeedFile:
    """Seeds on disk, one in memory at a time; the others of a task are found by byte offset.

    A seed that was taken over from a release draws from those that were there with it. Prompts see
    a seed with its canary, where it has one.
    """

    def __init__(self, path: Path, canaries: Iterable[Canary] = ()) -> None:
        self._path = path
        self.canaries = {each.seed_id: each for each in canaries}
        self._offsets: dict[str, array[int]] = defaultdict(lambda: array("q"))
        self._drawn_from: dict[str, int] = {}
        levels, offset = read_levels(path), 0
        with path.open("rb") as handle:
            for number, line in enumerate(handle, 1):
                seed = read_seed(path, number, line)
                place = len(self._offsets[seed.task])
                with_it = next((n for n in levels.get(seed.task, []) if place < n), None)
                if with_it is not None:
                    self._drawn_from[seed.id] = with_it
                self._offsets[seed.task].append(offset)
                offset += len(line)
        self._handle = path.open("rb")

    def __len__(self) -> int:
        return sum(map(len, self._offsets.values()))

    def __iter__(self) -> Iterator[Seed]:
        return read_seeds(self._path)

    def shots(self, seed: Seed, count: int, key: str) -> list[Seed]:
        """Up to `count` distinct seeds of the task, `seed` last; a passage stands alone."""
        return [*map(self._as_shown, self._draw(seed, count, key))]

    def _as_shown(self, seed: Seed) -> Seed:
        canary = self.canaries.get(seed.id)
        return canary.plant(seed) if canary else seed

    def _draw(self, seed: Seed, count: int, key: str) -> list[Seed]:
        if seed.is_passage:
            return [seed]
        offsets = self._offsets[seed.task]
        there = self._drawn_from.get(seed.id, len(offsets))
        drawn = random.Random(key).sample(range(there), min(count, there))
        others = [self._read(offsets[place]) for place in drawn]
        return [*[other for other in others if other.id != seed.id][: count - 1], seed]

    def _read(self, offset: int) -> Seed:
        self._handle.seek(offset)
        return Seed(**json.loads(self._handle.readline()))


@dataclass(frozen=True)
class Solver:
    """A model that answers."""

    asker: Asker
    how: Solving
    section: GenerateSection
    prompts: PromptSet


@dataclass(frozen=True)
class Writer:
    """A model that asks."""

    asker: Asker
    section: GenerateSection
    prompts: PromptSet
    passages: PromptSet
    """Of questions about passages of documents."""
    styles: Mapping[str, PromptSet]
    """Of rephrasings: name of a style -> its prompts."""
    solver: Solver | None = None
    """The same model, where it answers each question at once."""


@dataclass(frozen=True)
class Team:
    """All that a recipe asks to make candidates, in the order in which they are asked."""

    writer: Writer
    later: list[Solver]


def open_team(context: StageContext, ledger: list[LedgerRow]) -> Team:
    """Raises RecipeError when prompts lack the form in which their model must be asked."""
    section = needed(context.recipe.generate, "generate")
    role, model = section.writing

    def opened(model: TeacherSection, role: str) -> Asker:
        return open_asker(
            *(context, model, role, section.seed, ledger),
            *(section.allow_failed, "generate.allow_failed"),
        )

    asker = opened(model, role)
    questions = load_prompts(section.prompts.question, "question", "generate.prompts.question")
    questions.check_form(asker.form)
    if section.attributes:
        questions.check_attributes()
    passages = load_prompts(section.prompts.passage, "passage", "generate.prompts.passage")
    passages.check_form(asker.form)
    files = section.rephrase.files if section.rephrase else {}
    styles = {name: load_prompts(file, "rephrase", STYLES) for name, file in files.items()}
    for style in styles.values():
        style.check_form(asker.form)
    own, later = None, []
    for how in section.solving:
        is_own = how.role == role
        solving = asker if is_own else opened(how.teacher, how.role)
        answers = load_prompts(how.prompt, "answer", how.key)
        answers.check_form(solving.form)
        solver = Solver(solving, how, section, answers)
        if is_own:
            own = solver
        else:
            later.append(solver)
    return Team(Writer(asker, section, questions, passages, styles, own), later)


@dataclass(frozen=True)
class _Wanted:
    """What a writer is asked for: one question, or one rephrasing."""

    role: Asking
    prompt: Prompt
    kind: AnswerKind
    variables: QuestionVariables | PassageVariables | RephraseVariables
    attributes: dict[str, str]


def _wanted(writer: Writer, shots: Sequence[Seed], number: int) -> _Wanted:
    seed, section = shots[-1], writer.section
    if section.rephrase:
        style = draw_style(section.rephrase, section.seed, seed.id, number)
        told = RephraseVariables(seed.context)
        prompt = writer.styles[style].of("long_text", has_context=False)
        return _Wanted("rephrase", prompt, "long_text", told, {"style": style})
    if seed.is_passage:
        prompt = writer.passages.of(seed.kind, has_context=False)  # all have one: not its own kind
        kind = prompt.asked_kind(seed.kind)
        return _Wanted("passage", prompt, kind, PassageVariables(seed.context, kind), {})
    prompt = writer.prompts.of(seed.kind, bool(seed.context))
    kind = prompt.asked_kind(seed.kind)
    attributes = draw_attributes(section, seed.id, number)
    asked = QuestionVariables(shots, kind, attributes)
    return _Wanted("question", prompt, kind, asked, attributes)


def _read_reply(
    wanted: _Wanted, shots: Sequence[Seed], text: str, reason: str, form: Form
) -> tuple[ParsedQuestion, str]:
    """The question, or one without words that says why there is no rephrasing; the rephrasing."""
    seed = shots[-1]
    own = Own(wanted.prompt.own_words(wanted.role, wanted.kind, form)).beside(shots)
    if wanted.role == "rephrase":
        told = parse_rephrasing(text, reason, seed.context)
        error = told.error or (ECHO if is_echo(told.text, own) else "")
        return ParsedQuestion("", "", [], "", error), told.text
    is_reading = wanted.prompt.kind == "reading"
    parsed = parse_question(text, reason, wanted.kind, form, is_reading)
    parsed = question_without_echo(parsed, own)
    if wanted.role == "passage":
        parsed = replace(parsed, context="" if wanted.prompt.alone else seed.context)
    return parsed, ""


def write_candidate(
    writer: Writer, seeds: SeedFile, seed: Seed, number: int
) -> Job[CandidateRecord]:
    """One new question in the manner of a seed, with its votes, where the writer answers too; or
    one rephrasing of it."""
    section, asker = writer.section, writer.asker
    name = f"{seed.id}.q{number}"
    shots = seeds.shots(seed, section.shots, f"{section.seed}:{name}")
    wanted = _wanted(writer, shots, number)
    prompt, kind = wanted.prompt, wanted.kind
    sampling = draw_sampling(section, seed.id, number)
    variables = asdict(wanted.variables)
    (completion,) = yield [asker.request(name, prompt, variables, sampling, prompt.schema)]
    text, reason = readable_text(completion, sampling), completion.finish_reason
    parsed, told = _read_reply(wanted, shots, text, reason, asker.form)
    hides = seed.is_passage and (prompt.alone or wanted.role == "rephrase")
    record = CandidateRecord(
        id=name,
        task=seed.task,
        family=seed.family,
        capability=seed.capability,
        subject=seed.subject,
        language=seed.language,
        kind=kind,
        licence=seed.licence,
        dataset=seed.dataset,
        revision=seed.revision,
        split=seed.split,
        seed_id=seed.id,
        seed_hash=seed.content_hash,
        seed_ids=[shot.id for shot in shots],
        seed_question=seed.question,
        question=parsed.question,
        context=parsed.context,
        choices=list(parsed.choices),
        tests=parsed.tests,
        parse_error=parsed.error,
        votes=[],
        ground=seed.context if hides else "",
        rephrasing=told,
        prompts={wanted.role: prompt.lineage},
        sampling={"question": _sampling_of(sampling)},
        form=asker.form,
        teacher=asker.lineage,
        usage={asker.role: _sum_tokens([completion])},
        attributes=wanted.attributes,
        canaries=[shot.id for shot in shots if shot.id in seeds.canaries],
    )
    if parsed.error or writer.solver is None:  # nobody answers a rephrasing
        return record
    return (yield from _vote(writer.solver, record, shots))


def solve(
    solver: Solver, seeds: SeedFile, seed: Seed, record: CandidateRecord
) -> Job[CandidateRecord]:
    """The record with a solver's votes; of a cascade's, only where the others agree too little."""
    if record.parse_error:
        return record
    below, section = solver.how.below, solver.section
    if below is not None and read_candidate(record).agreement >= below:
        return record
    shots = seeds.shots(seed, section.shots, f"{section.seed}:{record.id}")
    lineage = solver.asker.lineage
    if solver.how.role == "cascade":
        record = replace(record, cascade=lineage)
    else:
        record = replace(record, solvers=record.solvers | {solver.how.role: lineage})
    return (yield from _vote(solver, record, shots))


def _vote(solver: Solver, record: CandidateRecord, shots: Sequence[Seed]) -> Job[CandidateRecord]:
    """Add k votes to a candidate; the options of a choice come in another order in each."""
    section, how = solver.section, solver.how
    prompt = solver.prompts.of(record.kind, bool(record.passage))
    schema = prompt.schema_for(section.enrichment)
    prefix = _PREFIXES.get(how.role) or f"{how.role.replace('solver', 's')}a"
    orders, requests = [], []
    for number in range(how.votes):
        name = f"{record.id}.{prefix}{number}"
        order = list(range(len(record.choices)))
        random.Random(f"{section.seed}:{name}").shuffle(order)
        variables = AnswerVariables(
            shots=[shot for shot in shots if not shot.is_passage],
            question=record.question,
            context=record.passage,
            choices=[record.choices[place] for place in order],
            kind=record.kind,
            enrichment=section.enrichment,
        )
        orders.append((name, order))
        requests.append(solver.asker.request(name, prompt, asdict(variables), how.sampling, schema))
    completions = yield requests
    own = Own(prompt.own_words("answer", record.kind, solver.asker.form)).beside(
        shots, record.question, record.passage, *record.choices
    )
    votes = [
        _read_vote(record, name, order, completion, how, own)
        for (name, order), completion in zip(orders, completions, strict=True)
    ]
    asked = [record.usage[how.role]] if how.role in record.usage else []
    shared_prompt = how.prompt == section.prompts.answer
    shared_sampling = how.sampling == section.answer
    return replace(
        record,
        votes=[*record.votes, *votes],
        prompts=record.prompts | {"answer" if shared_prompt else how.role: prompt.lineage},
        sampling=record.sampling
        | {"answer" if shared_sampling else how.role: _sampling_of(how.sampling)},
        usage=record.usage | {how.role: _sum_tokens([*asked, *completions])},
    )


def _read_vote(
    record: CandidateRecord,
    name: str,
    order: list[int],
    completion: Completion,
    how: Solving,
    prompt: Own,
) -> Vote:
    """The vote in a reply; `order` is that of the options as the teacher saw them, `prompt` what
    the prompt says to all."""
    shown = [record.choices[place] for place in order]
    asked = f"{record.passage}\n{record.question}"
    text, reason = readable_text(completion, how.sampling), completion.finish_reason
    parsed = parse_answer(text, reason, record.kind, shown, asked, completion.thoughts)
    parsed = without_echo(parsed, prompt, is_code=record.kind == "code")
    return Vote(
        id=name,
        order=order or None,
        answer=parsed.answer,
        index=order[parsed.index] if parsed.index is not None else None,
        reasoning=parsed.reasoning,
        knowledge=parsed.knowledge,
        context=parsed.context,
        distractors=parsed.distractors,
        dropped=list(parsed.dropped),
        error=parsed.error,
        text=completion.text,
        teacher=how.role,
        weight=how.weight,
        trace=parsed.trace,
    )


def _sampling_of(section: SamplingSection) -> Sampling:
    return Sampling(**section.model_dump())


def _sum_tokens(parts: Iterable[Completion | TokenUse]) -> TokenUse:
    found = [(part.prompt_tokens, part.output_tokens) for part in parts]
    return TokenUse(sum(prompt for prompt, _ in found), sum(output for _, output in found))


def _watched(
    candidates: Iterator[CandidateRecord],
    window: Window,
    asker: Asker,
    total: int,
    tracker: Tracker,
) -> Iterator[CandidateRecord]:
    """Pass candidates on, with a live line of what is done, in flight, refused, spent."""
    done, refused = 0, Counter[str]()
    logged = 0.0
    with progress_bar() as bar:
        row = bar.add_task(asker.role, total=total, note="starting the engine")
        for candidate in candidates:
            done += 1
            if candidate.parse_error:
                refused[candidate.parse_error] += 1
            usage = window.usage
            speed = usage.output_tokens / max(usage.seconds, 1e-9)
            dollars = window.dollars(asker.section)
            worst = ", ".join(f"{reason} {count}" for reason, count in refused.most_common(2))
            bar.update(
                row,
                advance=1,
                dollars=dollars,
                note=f"{window.in_flight} in flight, {done - refused.total()} readable, "
                f"{refused.total()} refused{f' ({worst})' if worst else ''}, "
                f"{speed:,.0f} tokens/s",
            )
            if time.monotonic() - logged > _LOG_EVERY_SECONDS:
                logged = time.monotonic()
                tracker.log(
                    {
                        f"generate/{asker.role}/candidates": done,
                        f"generate/{asker.role}/refused": refused.total(),
                        f"generate/{asker.role}/in_flight": window.in_flight,
                        f"generate/{asker.role}/output_tokens": usage.output_tokens,
                        f"generate/{asker.role}/output_tokens_per_second": speed,
                        f"generate/{asker.role}/dollars": dollars,
                    }
                )
            yield candidate


@dataclass
class _Counts:
    candidates: int = 0
    unparsable_questions: int = 0
    dropped_explanations: int = 0
    cut_thoughts: int = 0
    long_votes: int = 0
    """Questions with several votes, the first of them long."""
    same_votes: int = 0


def _count_while_writing(path: Path, candidates: Iterator[CandidateRecord]) -> _Counts:
    counts = _Counts()

    def counted() -> Iterator[CandidateRecord]:
        for candidate in candidates:
            counts.unparsable_questions += bool(candidate.parse_error)
            counts.dropped_explanations += sum(len(vote.dropped) for vote in candidate.votes)
            errors = [candidate.parse_error, *(vote.error for vote in candidate.votes)]
            counts.cut_thoughts += errors.count(CUT_THOUGHTS)
            if len(candidate.votes) > 1 and len(candidate.votes[0].text) >= _LONG_VOTE:
                counts.long_votes += 1
                counts.same_votes += len({(v.text, v.trace) for v in candidate.votes}) == 1
            yield candidate

    counts.candidates = write_records(path, counted())
    if counts.long_votes >= _ENOUGH and 2 * counts.same_votes > counts.long_votes:
        same = f"{counts.same_votes:,} of {counts.long_votes:,} questions got one answer"
        console.print(
            Text.assemble(
                (f"  {same} in every vote, word for word", "yellow"),
                ": their agreement says nothing. Does the endpoint ignore temperature and seed, "
                "or keep its answers?",
            )
        )
    return counts
