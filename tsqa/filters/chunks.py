"""The steps that need no model, over chunks of candidates, in any process.

A function here gets a chunk and returns what became of it; what it needs besides is pickled once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from tsqa.curated.candidate_rows import curated_row
from tsqa.curated.render import Renderer
from tsqa.decontaminate.guard import check_seeds, read_dropped_seeds
from tsqa.decontaminate.index import EvaluatedIndex
from tsqa.dedup.copies import CopyCheck
from tsqa.dedup.disk import PackedQuestions, pack_questions
from tsqa.dedup.minhash import find_duplicates
from tsqa.filters import checks
from tsqa.filters.code import verify_code
from tsqa.filters.difficulty import find_limits, label_difficulty, place_of
from tsqa.filters.funnel import ChunkFunnel, ChunkOutcome, Funnel, Step, check_each, read_line
from tsqa.filters.language import check_codes, check_language
from tsqa.recipe import FilterSection, needed
from tsqa.records.canaries import CANARY_STEP, Canary, CanaryIndex, read_canaries
from tsqa.records.candidate import Candidate, Rejection, Verdict
from tsqa.records.candidate_lines import Chunk, read_candidates
from tsqa.records.rows import CuratedRow
from tsqa.records.seed import SeedIndex
from tsqa.records.training_keys import read_training_keys
from tsqa.rephrasings.faithful import check_copied, check_faithful
from tsqa.review.apply import REVIEW, ReviewStep
from tsqa.store.stage import StageContext
from tsqa.tasks.oracle import Oracle

_BATCH = 256
_GROUP = 2 * _BATCH
_GROUP_BYTES = 4 << 20

Judged = tuple[bytes, Rejection | None]
"""A line of `Survivors`, and why it is a duplicate."""


@dataclass(frozen=True)
class PassingSteps:
    """The steps that look at one candidate at a time; every process has a copy."""

    context: StageContext
    section: FilterSection
    seeds: SeedIndex
    shows_trace: bool

    def __call__(self, chunk: Chunk) -> ChunkOutcome:
        funnel = ChunkFunnel()
        stream = self._read(chunk, funnel)
        for step in self._steps:
            stream = funnel.apply(step, stream)
        return funnel.outcome(stream)

    @cached_property
    def _steps(self) -> list[Step]:
        canaries = read_canaries(self.context.inputs["generate"].path)
        return passing_steps(self.context, self.section, self.seeds, canaries)

    def _read(self, chunk: Chunk, funnel: Funnel) -> Iterator[Candidate]:
        for candidate in read_candidates(chunk, self.shows_trace):
            funnel.measures.enter(candidate)
            yield candidate


@dataclass(frozen=True)
class LastSteps:
    """What follows when the duplicates are known; every process has a copy."""

    index: EvaluatedIndex
    renderings: list[str]
    oracle: Oracle | None
    review: ReviewStep | None
    """With decisions of reviewers only."""
    edited: Mapping[str, Rejection]
    """Id of an edited item -> the evaluated document that it asks in other words."""
    limits: Mapping[str, int] | None = None
    """Of `difficulty`; then the duplicates are left out already."""

    def __call__(self, group: list[Judged]) -> ChunkOutcome:
        funnel = ChunkFunnel(self.oracle)
        stream = _candidates_of(group)
        review = [Step(REVIEW, self.review.decide)] if self.review else []
        for step in (self._before(group), *review, decontamination_step(self.index, self.edited)):
            stream = funnel.apply(step, stream)
        return funnel.outcome((), self._curate(stream, funnel))

    def _before(self, group: list[Judged]) -> Step:
        limits = self.limits
        if limits is None:
            return _dedup_step(group)
        return Step("difficulty", lambda candidates: label_difficulty(candidates, limits))

    def _curate(self, stream: Iterator[Candidate], funnel: Funnel) -> Iterator[CuratedRow]:
        for candidate in stream:
            funnel.measures.accept(candidate)
            yield curated_row(candidate, self._renderer)

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self.renderings)


def passing_steps(
    context: StageContext, section: FilterSection, seeds: SeedIndex, planted: Sequence[Canary]
) -> list[Step]:
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
    canaries = canary_steps(planted)
    if rephrases(context):
        wanted = section.faithfulness
        return [
            *steps,
            *canaries,  # first: the next ones compare with passages that hold none
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
        *canaries,
    ]


def canary_steps(planted: Sequence[Canary]) -> list[Step]:
    """Rejects what repeats a canary; no step where none were planted."""
    index = CanaryIndex(planted)
    return [check_each(CANARY_STEP, lambda c: checks.check_canary(c, index))] if planted else []


def rephrases(context: StageContext) -> bool:
    """Whether candidates are rephrasings, which ask nothing."""
    return needed(context.recipe.generate, "generate").rephrase is not None


def comparing_steps(section: FilterSection, scratch: Path) -> list[Step]:
    """The steps that need all candidates to judge one, where these are few."""

    def deduplicate(candidates: Iterable[Candidate]) -> Iterator[Verdict]:
        asked = ((candidate.id, candidate.asked) for candidate in candidates)
        return zip(candidates, find_duplicates(asked, section.dedup, scratch), strict=True)

    steps = [Step("dedup", deduplicate)]
    if section.difficulty:
        wanted = section.difficulty
        steps.append(
            Step("difficulty", lambda c: label_difficulty(c, find_limits(map(place_of, c), wanted)))
        )
    return steps


def decontamination_step(index: EvaluatedIndex, edited: Mapping[str, Rejection]) -> Step:
    """The last step: what resembles an evaluated document; `edited`: see `LastSteps`."""

    def decide(candidates: Iterable[Candidate]) -> Iterator[Verdict]:
        for candidate, leak in _decontaminate(candidates, index):
            yield candidate, leak or (edited.get(candidate.id) if candidate.edit else None)

    return Step("decontamination", decide)


def _decontaminate(candidates: Iterable[Candidate], index: EvaluatedIndex) -> Iterator[Verdict]:
    source = iter(candidates)
    while batch := list(islice(source, _BATCH)):
        if batch[0].is_rephrasing:  # then all are: a text, not a question
            yield from zip(batch, _check_texts([each.answer for each in batch], index), strict=True)
        else:
            yield from zip(batch, index.check(batch), strict=True)


def _check_texts(texts: Sequence[str], index: EvaluatedIndex) -> list[Rejection | None]:
    """As documents of the stream are checked, and by the passages that benchmarks read."""
    found = zip(index.check_texts(texts), index.find_passages(texts), strict=True)
    return [item or passage for item, passage in found]


def in_groups(judged: Iterator[Judged]) -> Iterator[list[Judged]]:
    """At least one, each with as many candidates that are no duplicates, or fewer long ones."""
    group: list[Judged] = []
    kept = size = 0
    for one in judged:
        group.append(one)
        kept += one[1] is None
        size += len(one[0])
        if kept == _GROUP or size >= _GROUP_BYTES:
            yield group
            group, kept, size = [], 0, 0
    yield group


def pack_asked(chunk: Chunk) -> PackedQuestions:
    candidates = map(read_line, chunk.lines())
    return pack_questions((candidate.id, candidate.asked) for candidate in candidates)


def places_of(chunk: Chunk) -> list[tuple[str, int]]:
    return [place_of(read_line(line)) for line in chunk.lines()]


def drop_duplicates(group: list[Judged]) -> ChunkOutcome:
    funnel = ChunkFunnel()
    return funnel.outcome(funnel.apply(_dedup_step(group), _candidates_of(group)))


def _dedup_step(group: list[Judged]) -> Step:
    return Step("dedup", lambda candidates: zip(candidates, (r for _, r in group), strict=True))


def _candidates_of(group: list[Judged]) -> Iterator[Candidate]:
    return (read_line(line) for line, _ in group)
