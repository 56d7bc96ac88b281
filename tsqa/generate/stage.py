"""Seed -> new questions -> k enriched answers each, by a teacher; where its votes disagree, by a
stronger one (a cascade).

Promises: every request is a pure function of the recipe, the seeds and the teacher, and is known
by its hash; a finished request is one line of `completions.jsonl`, so that a run killed anywhere
and started again asks only for what is missing; requests without an answer are an error of the
stage, unless the recipe allows so many; candidates come in the order of the seeds and
carry the prompts, the teacher, the sampling and the seeds behind them; memory does not grow with
the number of seeds. The engine starts only when something is missing.
"""

from __future__ import annotations

import json
import random
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tsqa.console import progress_bar
from tsqa.prompts import PromptSet, load_prompts
from tsqa.recipe import AnswerKind, GenerateSection, TeacherSection, needed
from tsqa.records.candidate import read_candidate
from tsqa.records.seed import Seed, read_seed
from tsqa.sandbox.code import code_boundary
from tsqa.store.jsonl import read_jsonl, write_jsonl
from tsqa.store.stage import StageContext
from tsqa.store.tracking import Tracker
from tsqa.teachers.client import Asker, open_asker
from tsqa.teachers.replies.answer_reply import parse_answer
from tsqa.teachers.replies.question_reply import parse_question
from tsqa.teachers.scheduler import Job, Window

_Candidate = dict[str, Any]
_LOG_EVERY_SECONDS = 5.0


def run(context: StageContext) -> dict[str, Any]:
    """Write candidates.jsonl; `<role>-completions.jsonl` keeps what came back, next to its log."""
    section = needed(context.recipe.generate, "generate")
    if context.recipe.filter and context.recipe.filter.code:
        code_boundary(context.recipe.filter.code)  # refused before a teacher is paid, not after
    seeds = SeedFile(context.inputs["seeds"].path / "seeds.jsonl")
    total = len(seeds) * section.per_seed
    ledger: list[dict[str, Any]] = []

    def ask(asker: Asker, jobs: Iterable[Job[_Candidate]]) -> Iterator[_Candidate]:
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
            for seed, candidate in zip(asked, read_jsonl(first), strict=True)
        )
        counts = _count_while_writing(context.out / "candidates.jsonl", ask(stronger.asker, jobs))
        first.unlink()
    return {
        "seeds": len(seeds),
        **counts,
        **{key: sum(row[key] for row in ledger) for key in _SUMMED},
        "unanswered": sum(sum(row["unanswered"].values()) for row in ledger),
        "ledger": ledger,
    }


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
        """`count` distinct seeds of a task, the given one last; fewer where the task has fewer."""
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
    context: StageContext, section: TeacherSection, role: str, ledger: list[dict[str, Any]]
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
) -> Job[dict[str, Any]]:
    """One new question in the manner of a seed, with its votes."""
    section = teacher.section
    name = f"{seed.id}.q{number}"
    shots = seeds.shots(seed, section.shots, f"{section.seed}:{name}")
    prompt = teacher.questions.of(seed.kind, bool(seed.context))
    kind = prompt.asked_kind(seed.kind)
    variables = {"shots": [asdict(shot) for shot in shots], "kind": kind}
    (completion,) = yield [
        teacher.asker.request(name, prompt, variables, section.question, prompt.schema)
    ]
    form, is_reading = teacher.asker.form, prompt.kind == "reading"
    parsed = parse_question(completion.text, completion.finish_reason, kind, form, is_reading)
    candidate: dict[str, Any] = {
        "id": name,
        **{key: getattr(seed, key) for key in _INHERITED},
        "kind": kind,
        "seed_id": seed.id,
        "seed_hash": seed.content_hash,
        "seed_ids": [shot.id for shot in shots],
        "seed_question": seed.question,
        "question": parsed.question,
        "context": parsed.context,
        "choices": list(parsed.choices),
        "tests": parsed.tests,
        "parse_error": parsed.error,
        "votes": [],
        "prompts": {"question": prompt.lineage},
        "sampling": {"question": section.question.model_dump()},
        "form": form,
        "teacher": teacher.asker.lineage,
        "usage": {
            teacher.asker.role: {
                "prompt_tokens": completion.prompt_tokens,
                "output_tokens": completion.output_tokens,
            }
        },
    }
    if not parsed.error:
        yield from _vote(teacher, candidate, shots)
    return candidate


def answer_again(
    teacher: Teacher, seeds: SeedFile, seed: Seed, candidate: dict[str, Any], agreement: float
) -> Job[dict[str, Any]]:
    """The stronger teacher's votes, where those of the first agree too little."""
    if candidate["votes"] and read_candidate(candidate).agreement < agreement:
        section = teacher.section
        shots = seeds.shots(seed, section.shots, f"{section.seed}:{candidate['id']}")
        candidate["cascade"] = teacher.asker.lineage
        candidate["usage"][teacher.asker.role] = {"prompt_tokens": 0, "output_tokens": 0}
        yield from _vote(teacher, candidate, shots)
    return candidate


def _vote(teacher: Teacher, candidate: dict[str, Any], shots: Sequence[Seed]) -> Job[None]:
    """Add k votes to a candidate; the options of a choice come in another order in each."""
    section = teacher.section
    kind: AnswerKind = candidate["kind"]
    prompt = teacher.answers.of(kind, bool(candidate["context"]))
    schema = prompt.schema_for(section.enrichment)
    role = teacher.asker.role
    prefix = "a" if role == "teacher" else "c"
    asked = f"{candidate['context']}\n{candidate['question']}"
    orders, requests = [], []
    for number in range(section.votes):
        name = f"{candidate['id']}.{prefix}{number}"
        order = list(range(len(candidate["choices"])))
        random.Random(f"{section.seed}:{name}").shuffle(order)
        variables = {
            "shots": [asdict(shot) for shot in shots],
            "question": candidate["question"],
            "context": candidate["context"],
            "choices": [candidate["choices"][place] for place in order],
            "kind": kind,
            "enrichment": list(section.enrichment),
        }
        orders.append((name, order))
        requests.append(teacher.asker.request(name, prompt, variables, section.answer, schema))
    completions = yield requests
    for (name, order), completion in zip(orders, completions, strict=True):
        shown = [candidate["choices"][place] for place in order]
        parsed = parse_answer(completion.text, completion.finish_reason, kind, shown, asked)
        vote = {
            "id": name,
            "order": order or None,
            **asdict(parsed),
            "index": order[parsed.index] if parsed.index is not None else None,
            "text": completion.text,
            "teacher": role,
        }
        candidate["votes"].append(vote)
        candidate["usage"][role]["prompt_tokens"] += completion.prompt_tokens
        candidate["usage"][role]["output_tokens"] += completion.output_tokens
    candidate["prompts"]["answer"] = prompt.lineage
    candidate["sampling"]["answer"] = section.answer.model_dump()


_SUMMED = ("prompt_tokens", "output_tokens", "engine_seconds", "dollars")
_INHERITED = (
    *("task", "family", "capability", "subject", "language", "kind"),
    *("licence", "dataset", "revision", "split"),
)


def _watched(
    candidates: Iterator[dict[str, Any]],
    window: Window,
    asker: Asker,
    total: int,
    tracker: Tracker,
) -> Iterator[dict[str, Any]]:
    """Pass candidates on, with a live line of what is done, in flight, refused, spent."""
    done, refused = 0, Counter[str]()
    logged = 0.0
    with progress_bar() as bar:
        row = bar.add_task(asker.role, total=total, note="starting the engine")
        for candidate in candidates:
            done += 1
            if candidate["parse_error"]:
                refused[candidate["parse_error"]] += 1
            usage = window.usage
            speed = usage.output_tokens / max(usage.seconds, 1e-9)
            dollars = usage.dollars(asker.section)
            worst = ", ".join(f"{reason} {count}" for reason, count in refused.most_common(2))
            bar.update(
                row,
                advance=1,
                note=f"{window.in_flight} in flight, {done - refused.total()} readable, "
                f"{refused.total()} refused{f' ({worst})' if worst else ''}, "
                f"{speed:,.0f} tokens/s{f', ${dollars:,.2f}' if dollars else ''}",
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


def _count_while_writing(path: Path, candidates: Iterator[dict[str, Any]]) -> dict[str, int]:
    unparsable = dropped = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal unparsable, dropped
        for candidate in candidates:
            unparsable += bool(candidate["parse_error"])
            dropped += sum(len(vote["dropped"]) for vote in candidate["votes"])
            yield candidate

    written = write_jsonl(path, counted())
    return {
        "candidates": written,
        "unparsable_questions": unparsable,
        "dropped_explanations": dropped,
    }
