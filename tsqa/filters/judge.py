"""A model grades each item by a rubric; every criterion must reach the score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace

from tsqa.prompts import PromptSet
from tsqa.prompts.variables import JudgeVariables
from tsqa.recipe import SamplingSection
from tsqa.records.candidate import Candidate, Rejection, Verdict
from tsqa.teachers.client import Asker
from tsqa.teachers.replies.judgement_reply import parse_judgement
from tsqa.teachers.scheduler import Job

SAMPLING = SamplingSection(temperature=0.0, max_tokens=1024)


def judge(
    candidates: Iterable[Candidate], asker: Asker, prompts: PromptSet, min_score: int
) -> Iterator[Verdict]:
    """Adds the score `judge`: criterion -> grade from 1 to 5; no judgement rejects the item."""
    return asker.run(_judge(candidate, asker, prompts, min_score) for candidate in candidates)


def _judge(candidate: Candidate, asker: Asker, prompts: PromptSet, min_score: int) -> Job[Verdict]:
    passage = candidate.context or candidate.ground
    prompt = prompts.of(candidate.kind, bool(passage))
    variables = JudgeVariables(
        question=candidate.question,
        context=passage,
        choices=candidate.choices,
        answer=candidate.answer,
        reasoning=candidate.reasoning,
    )
    (reply,) = yield [
        asker.request(candidate.id, prompt, asdict(variables), SAMPLING, prompt.schema)
    ]
    grades = parse_judgement(reply.text, reply.finish_reason)
    if grades is None:
        return candidate, Rejection("no judgement", match=reply.finish_reason)
    graded = replace(candidate, scores=candidate.scores | {"judge": dict(grades)})
    criterion, grade = min(grades.items(), key=lambda pair: (pair[1], pair[0]))
    if grade < min_score:
        return graded, Rejection(f"not {criterion}", float(grade))
    return graded, None
