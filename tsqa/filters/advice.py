"""What to change where a filter rejects everything: by its step and its reason."""

from __future__ import annotations

from typing import NamedTuple

from tsqa.records.candidate import Candidate, Rejection
from tsqa.records.candidate_file import CandidateRecord
from tsqa.teachers.config import teacher_key
from tsqa.teachers.failures import likely_fix

_FAILED = "error: "
_RAISE_TOKENS = "raise max_tokens of generate.question, and of generate.answer where one answers"

_ADVICE = (
    ("cut off while thinking", "raise thinking_tokens or max_tokens, or make the model think less"),
    ("cut off at", _RAISE_TOKENS),
    (
        "prompt longer than",
        "raise max_model_len of the teacher, or show it less",
    ),
    ("content filter", "use another teacher or other seeds: the endpoint withholds its texts"),
    ("refus", "use another teacher or other prompts: this one refuses"),
    ("no readable answer", "look at the votes, then adapt generate.prompts.answer to the teacher"),
    ("thoughts without", _RAISE_TOKENS),
    ("unreadable record", "generate again: the candidates are damaged"),
    ("code is not verified", "add the section filter.code, so that tests are run"),
    ("no judgement", "look at the judge's replies, then adapt filter.judge.prompt"),
    ("no verdict", "look at the judge's replies, then adapt the prompt of its section"),
    ("no options", "for a small teacher set `form: completion`: it follows examples"),
    ("options are equal", "lower generate.question.temperature, or use a stronger teacher"),
    ("format:", "look at the replies, then adapt the prompts to the teacher"),
    ("length:", "change filter.min_words or filter.max_words"),
    ("language:", "change filter.languages, or use a teacher that writes them"),
    ("agreement:", "use a stronger teacher, or lower filter.agreement"),
    ("models:", "use stronger solvers, or lower filter.model_agreement"),
    ("faithful: too short for", "lower filter.faithfulness.shortest, or use a stronger teacher"),
    ("faithful: too long for", "raise filter.faithfulness.longest, or use a stronger teacher"),
    ("faithful: too little of", "lower filter.faithfulness.kept, or use a stronger teacher"),
    ("faithful:", "use a stronger teacher, or other styles in generate.rephrase"),
    ("copy: copy of its passage", "use a stronger teacher, or raise filter.faithfulness.copied"),
    ("copy:", "raise generate.question.temperature, or filter.copy_similarity"),
    ("canary:", "lower generate.canaries, or use a teacher that repeats less of its examples"),
    ("code: the machine was too busy", "run this where less else does, or lower filter.processes"),
    ("code:", "use a stronger teacher, or raise filter.code.seconds"),
    ("triviality:", "use harder seeds, or another model in filter.triviality"),
    ("judge:", "use a stronger teacher, or lower filter.judge.min_score"),
    ("reward:", "use a stronger teacher, or lower filter.reward.min_score"),
    ("meaning:", "use other seeds, or lower filter.decontaminate.semantic.false_positives"),
    ("leak_judge:", "use other seeds, or lower filter.decontaminate.semantic.judge.band"),
    ("dedup:", "raise generate.question.temperature, or filter.dedup.threshold"),
    ("difficulty:", "lower the share of the rarest label in filter.difficulty: it bounds all"),
    ("review:", "look at the reasons: tsqa review RECIPE --report"),
    ("decontamination:", "use other seeds: these are too near to what recipe.eval evaluates"),
)


class Failure(NamedTuple):
    """Why a model did not answer, and where the recipe names it."""

    reason: str
    key: str


def find_failure(
    candidate: Candidate, rejection: Rejection, writer: str, weak: str
) -> Failure | None:
    """The request without an answer behind a rejection; `writer` and `weak`: the roles of the
    models that ask questions and that try answers."""
    if rejection.reason == "not tried":
        return Failure(rejection.match, teacher_key(weak))
    if rejection.reason == "no judgement" and rejection.match.startswith(_FAILED):
        return Failure(rejection.match.removeprefix(_FAILED), teacher_key("judge"))
    if rejection.reason == "no verdict" and rejection.match.startswith(_FAILED):
        return Failure(rejection.match.removeprefix(_FAILED), teacher_key("leak_judge"))
    if candidate.parse_error.startswith(_FAILED):
        return Failure(candidate.parse_error.removeprefix(_FAILED), teacher_key(writer))
    votes = candidate.source.votes if isinstance(candidate.source, CandidateRecord) else []
    failed = [vote for vote in votes if vote.error.startswith(_FAILED)]
    if failed and not candidate.winning_vote:
        return Failure(failed[0].error.removeprefix(_FAILED), teacher_key(failed[0].teacher))
    return None


def advise(rejected: str, failure: Failure | None = None) -> str:
    """What to change, for a `step: reason` of a summary, and the failure behind it."""
    if failure is not None:
        return likely_fix(failure.reason, failure.key)
    step, _, reason = rejected.partition(": ")
    for mark, advice in _ADVICE:
        if mark in f"{step}: {reason.lower()}":
            return advice
    return "look at the rejected items: tsqa inspect RECIPE --rejected"
