"""Seed -> new questions -> k enriched answers each, by a teacher; where its votes disagree, by a
stronger one (a cascade).

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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.text import Text

from tsqa.console import console, progress_bar
from tsqa.prompts import PromptSet, load_prompts
from tsqa.prompts.variables import AnswerVariables, QuestionVariables
from tsqa.recipe import GenerateSection, SamplingSection, TeacherSection, needed
from tsqa.records.candidate import read_candidate
from tsqa.records.candidate_file import (
    CandidateRecord,
    Sampling,
    TokenUse,
    Vote,
    read_records,
    write_records,
)
from tsqa.records.seed import Seed, read_seed
from tsqa.records.summaries import GenerateSummary, LedgerRow
from tsqa.sandbox.code import code_boundary
from tsqa.store.stage import StageContext
from tsqa.store.tracking import Tracker
from tsqa.teachers import Completion
from tsqa.teachers.client import Asker, open_asker
from tsqa.teachers.replies.answer_reply import parse_answer
from tsqa.teachers.replies.question_reply import parse_question
from tsqa.teachers.scheduler import Job, Window

_LOG_EVERY_SECONDS = 5.0
_LONG_VOTE, _ENOUGH = 40, 10
"""Characters of a vote that two samples hardly share; questions from which votes are compared."""


def run(context: StageContext) -> dict[str, object]:
    """Write candidates.jsonl; `<role>-completions.jsonl` keeps what came back, next to its log."""
    section = needed(context.recipe.generate, "generate")
    if context.recipe.filter and context.recipe.filter.code:
        code_boundary(context.recipe.filter.code)  # refused before a teacher is paid, not after
    seeds = SeedFile(context.inputs["seeds"].path / "seeds.jsonl")
    total = len(seeds) * section.per_seed
    ledger: list[LedgerRow] = []

    def ask(asker: Asker, jobs: Iterable[Job[CandidateRecord]]) -> Iterator[CandidateRecord]:
        return asker.run(jobs, lambda f, w: _watched(f, w, asker, total, context.tracker))

    teacher = open_teacher(context, section.teacher, "teacher", ledger)
    jobs = (
        write_candidate(teacher, seeds, seed, number)
        for seed in seeds
        for number in range(section.per_seed)
    )
    first = context.out / ("first.jsonl" if section.cascade else "candidates.jsonl")
    counts = _count_while_writing(first, ask(teacher.asker, jobs))
    if section.cascade is not None:
        stronger = open_teacher(context, section.cascade.teacher, "cascade", ledger)
        asked = (seed for seed in seeds for _ in range(section.per_seed))
        jobs = (
            answer_again(stronger, seeds, seed, candidate, section.cascade.agreement)
            for seed, candidate in zip(asked, read_records(first), strict=True)
        )
        counts = _count_while_writing(context.out / "candidates.jsonl", ask(stronger.asker, jobs))
        first.unlink()
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
    )
    return asdict(summary)


class SeedFile:
    """Seeds on disk, one in memory at a time; the others of a task are found by byte offset."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offsets: dict[str, array[int]] = defaultdict(lambda: array("q"))
        offset = 0
        with path.open("rb") as handle:
            for number, line in enumerate(handle, 1):
                self._offsets[read_seed(path, number, line).task].append(offset)
                offset += len(line)
        self._handle = path.open("rb")

    def __len__(self) -> int:
        return sum(map(len, self._offsets.values()))

    def __iter__(self) -> Iterator[Seed]:
        with self._path.open("rb") as handle:
            for number, line in enumerate(handle, 1):
                yield read_seed(self._path, number, line)

    def shots(self, seed: Seed, count: int, key: str) -> list[Seed]:
        """Up to `count` distinct seeds of the task, `seed` last."""
        offsets = self._offsets[seed.task]
        drawn = random.Random(key).sample(range(len(offsets)), min(count, len(offsets)))
        others = [self._read(offsets[place]) for place in drawn]
        return [*[other for other in others if other.id != seed.id][: count - 1], seed]

    def _read(self, offset: int) -> Seed:
        self._handle.seek(offset)
        return Seed(**json.loads(self._handle.readline()))


@dataclass(frozen=True)
class Teacher:
    """A model, and what it is asked for."""

    asker: Asker
    section: GenerateSection
    questions: PromptSet
    answers: PromptSet


def open_teacher(
    context: StageContext, section: TeacherSection, role: str, ledger: list[LedgerRow]
) -> Teacher:
    """Raises RecipeError when the prompts lack the form in which the teacher must be asked."""
    generate = needed(context.recipe.generate, "generate")
    asker = open_asker(
        *(context, section, role, generate.seed, ledger),
        *(generate.allow_failed, "generate.allow_failed"),
    )
    names = generate.prompts
    questions = load_prompts(names.question, "question", "generate.prompts.question")
    answers = load_prompts(names.answer, "answer", "generate.prompts.answer")
    for prompts in (questions, answers):
        prompts.check_form(asker.form)
    return Teacher(asker, generate, questions, answers)


def write_candidate(
    teacher: Teacher, seeds: SeedFile, seed: Seed, number: int
) -> Job[CandidateRecord]:
    """One new question in the manner of a seed, with its votes."""
    section = teacher.section
    name = f"{seed.id}.q{number}"
    shots = seeds.shots(seed, section.shots, f"{section.seed}:{name}")
    prompt = teacher.questions.of(seed.kind, bool(seed.context))
    kind = prompt.asked_kind(seed.kind)
    variables = asdict(QuestionVariables(shots=shots, kind=kind))
    (completion,) = yield [
        teacher.asker.request(name, prompt, variables, section.question, prompt.schema)
    ]
    form, is_reading = teacher.asker.form, prompt.kind == "reading"
    parsed = parse_question(completion.text, completion.finish_reason, kind, form, is_reading)
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
        prompts={"question": prompt.lineage},
        sampling={"question": _sampling_of(section.question)},
        form=form,
        teacher=teacher.asker.lineage,
        usage={teacher.asker.role: _sum_tokens([completion])},
    )
    return record if parsed.error else (yield from _vote(teacher, record, shots))


def answer_again(
    teacher: Teacher, seeds: SeedFile, seed: Seed, record: CandidateRecord, agreement: float
) -> Job[CandidateRecord]:
    """The stronger teacher's votes, where those of the first agree too little."""
    if not record.votes or read_candidate(record).agreement >= agreement:
        return record
    section = teacher.section
    shots = seeds.shots(seed, section.shots, f"{section.seed}:{record.id}")
    record = replace(record, cascade=teacher.asker.lineage)
    return (yield from _vote(teacher, record, shots))


def _vote(teacher: Teacher, record: CandidateRecord, shots: Sequence[Seed]) -> Job[CandidateRecord]:
    """Add k votes to a candidate; the options of a choice come in another order in each."""
    section = teacher.section
    prompt = teacher.answers.of(record.kind, bool(record.context))
    schema = prompt.schema_for(section.enrichment)
    role = teacher.asker.role
    prefix = "a" if role == "teacher" else "c"
    orders, requests = [], []
    for number in range(section.votes):
        name = f"{record.id}.{prefix}{number}"
        order = list(range(len(record.choices)))
        random.Random(f"{section.seed}:{name}").shuffle(order)
        variables = AnswerVariables(
            shots=shots,
            question=record.question,
            context=record.context,
            choices=[record.choices[place] for place in order],
            kind=record.kind,
            enrichment=section.enrichment,
        )
        orders.append((name, order))
        requests.append(
            teacher.asker.request(name, prompt, asdict(variables), section.answer, schema)
        )
    completions = yield requests
    votes = [
        _read_vote(record, name, order, completion, role)
        for (name, order), completion in zip(orders, completions, strict=True)
    ]
    asked = [record.usage[role]] if role in record.usage else []
    return replace(
        record,
        votes=[*record.votes, *votes],
        prompts=record.prompts | {"answer": prompt.lineage},
        sampling=record.sampling | {"answer": _sampling_of(section.answer)},
        usage=record.usage | {role: _sum_tokens([*asked, *completions])},
    )


def _read_vote(
    record: CandidateRecord, name: str, order: list[int], completion: Completion, role: str
) -> Vote:
    """The vote in a reply; `order` is that of the options as the teacher saw them."""
    shown = [record.choices[place] for place in order]
    asked = f"{record.context}\n{record.question}"
    parsed = parse_answer(completion.text, completion.finish_reason, record.kind, shown, asked)
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
        teacher=role,
    )


def _sampling_of(section: SamplingSection) -> Sampling:
    return Sampling(section.temperature, section.top_p, section.max_tokens)


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
    long_votes: int = 0
    """Questions with several votes, the first of them long."""
    same_votes: int = 0


def _count_while_writing(path: Path, candidates: Iterator[CandidateRecord]) -> _Counts:
    counts = _Counts()

    def counted() -> Iterator[CandidateRecord]:
        for candidate in candidates:
            counts.unparsable_questions += bool(candidate.parse_error)
            counts.dropped_explanations += sum(len(vote.dropped) for vote in candidate.votes)
            if len(candidate.votes) > 1 and len(candidate.votes[0].text) >= _LONG_VOTE:
                counts.long_votes += 1
                counts.same_votes += len({vote.text for vote in candidate.votes}) == 1
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
