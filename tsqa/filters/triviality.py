"""Rejects items that need no skill: a weak model always gets them right, or the teacher itself
answers them without the passage they are about."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace

from tsqa.prompts import PromptSet
from tsqa.prompts.variables import AnswerVariables
from tsqa.recipe import SamplingSection
from tsqa.records.candidate import Candidate, Rejection, Verdict
from tsqa.records.seed import SeedIndex
from tsqa.records.votes import same_answer
from tsqa.teachers.client import Asker, readable_text
from tsqa.teachers.replies.answer_reply import parse_answer
from tsqa.teachers.scheduler import Job


@dataclass(frozen=True)
class Trial:
    """How the model is asked."""

    asker: Asker
    prompts: PromptSet
    """The prompts of the answers, asked for the answer alone."""
    sampling: SamplingSection
    seeds: SeedIndex
    tries: int
    hides_context: bool
    """Ask without the passage, and only about items that have one."""


def find_trivial(candidates: Iterable[Candidate], trial: Trial) -> Iterator[Verdict]:
    """Rejects what every try gets right; adds the score `solved_weakly`, the share of right tries.

    An item whose tries have no answer is rejected: it may be trivial. Code and long texts pass
    untried: comparing with one right answer does not show whether another is right.
    """
    return trial.asker.run(_try(candidate, trial) for candidate in candidates)


def _try(candidate: Candidate, trial: Trial) -> Job[Verdict]:
    is_tried = candidate.kind not in ("code", "long_text")
    if not is_tried or (trial.hides_context and not candidate.context):
        return candidate, None
    context = "" if trial.hides_context else candidate.context
    prompt = trial.prompts.of(candidate.kind, bool(context))
    found = [trial.seeds.find(seed_id) for seed_id in candidate.record.seed_ids]
    shots = [seed for seed in found if seed and not seed.is_passage]
    names = [f"{candidate.id}.{number}" for number in range(trial.tries)]
    orders = [_shuffled(len(candidate.choices), name) for name in names]
    requests = []
    for name, order in zip(names, orders, strict=True):
        variables = AnswerVariables(
            shots=shots,
            question=candidate.question,
            context=context,
            choices=[candidate.choices[place] for place in order],
            kind=candidate.kind,
            enrichment=[],
        )
        schema = prompt.schema_for([])
        requests.append(
            trial.asker.request(name, prompt, asdict(variables), trial.sampling, schema)
        )
    replies = yield requests
    for reply in replies:
        if not reply.is_answer:
            return candidate, Rejection("not tried", match=reply.failure)
    right = 0
    for order, reply in zip(orders, replies, strict=True):
        shown = [candidate.choices[place] for place in order]
        said = readable_text(reply, trial.sampling)
        given = parse_answer(said, reply.finish_reason, candidate.kind, shown)
        if given.index is not None and candidate.choices:
            right += order[given.index] == candidate.answer_index
        elif given.answer is not None:
            right += same_answer(given.answer, candidate.answer, candidate.kind)
    share = right / trial.tries
    scored = replace(candidate, scores=candidate.scores | {"solved_weakly": share})
    if share < 1:
        return scored, None
    reason = "answered without its context" if trial.hides_context else "solved by the weak model"
    return scored, Rejection(reason, share)


def _shuffled(count: int, name: str) -> list[int]:
    order = list(range(count))
    random.Random(name).shuffle(order)
    return order
