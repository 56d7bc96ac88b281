"""The steps that ask a model: triviality, the judge, reward, meaning and the judge of leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from itertools import islice

from pydantic import JsonValue

from tsqa.decontaminate.guard import read_dropped_seeds
from tsqa.decontaminate.index import EvaluatedIndex, measure_recall
from tsqa.decontaminate.semantic import Near, SemanticDocuments, open_embedder, sample_training
from tsqa.filters.chunks import rephrases
from tsqa.filters.definition import LEAK_JUDGE
from tsqa.filters.funnel import Step
from tsqa.filters.reward import score_reward
from tsqa.filters.triviality import Trial, find_trivial
from tsqa.hub.identify import identify_model
from tsqa.prompts import PromptSet, load_prompts
from tsqa.prompts.variables import JudgeVariables, LeakVariables
from tsqa.recipe import FilterSection, SamplingSection, TrivialitySection, needed
from tsqa.records.candidate import Candidate, Rejection, Verdict, seed_as_candidate
from tsqa.records.seed import Seed, SeedIndex
from tsqa.records.summaries import LeakVerdict, LedgerRow
from tsqa.review.apply import ReviewStep
from tsqa.store.stage import StageContext
from tsqa.teachers.client import Asker, open_asker
from tsqa.teachers.replies.judgement_reply import parse_judgement, parse_sameness
from tsqa.teachers.scheduler import Job

_BATCH = 256
_LEAK_VERDICTS: dict[bool | None, LeakVerdict] = {True: "same", False: "other", None: "unread"}
SAMPLING = SamplingSection(temperature=0.0, max_tokens=1024)


def asking_steps(
    context: StageContext, section: FilterSection, seeds: SeedIndex, ledger: list[LedgerRow]
) -> list[Step]:
    """The steps that ask a model, which get candidates one step after the other.

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
    return steps


class Meaning:
    """The evaluated documents by their meaning, beside an index of their words.

    The model is loaded when it is first asked: until then engines may need the GPU.
    """

    def __init__(
        self,
        context: StageContext,
        section: FilterSection,
        evaluated: Sequence[Seed],
        review: ReviewStep | None = None,
    ) -> None:
        self._context, self._section, self._evaluated = context, section, evaluated
        self._review = review
        self.index = EvaluatedIndex(evaluated, section.decontaminate)
        self.edited: dict[str, Rejection] = {}
        """Id of an item -> what it repeats once its reviewers' edit is made, as `meaning` finds."""
        self.judged: Counter[LeakVerdict] = Counter()
        """What the judge of leaks said of how many pairs."""
        self._near: dict[str, list[Near]] = {}
        """Id of an item -> the documents that the judge is to compare it with."""

    @property
    def is_wanted(self) -> bool:
        """A rephrasing asks nothing."""
        return self._section.semantic_leaks is not None and not rephrases(self._context)

    def open_steps(self, ledger: list[LedgerRow]) -> list[Step]:
        """Raises RecipeError when the judge's model or prompt is not fit."""
        if not self.is_wanted:
            return []
        section = self._section.leak_judge
        meaning = Step("meaning", self._decide)
        if section is None:
            return [meaning]
        prompts = load_prompts(section.prompt, "leak", f"{LEAK_JUDGE}.prompt")
        asker = open_asker(
            *(self._context, section.teacher, "leak_judge"),
            *(needed(self._context.recipe.generate, "generate").seed, ledger),
            *(section.allow_failed, f"{LEAK_JUDGE}.allow_failed"),
        )
        prompts.check_form(asker.form)
        known = {document.id: document for document in self._evaluated}
        return [
            meaning,
            Step(
                "leak_judge",
                lambda c: judge_leaks(c, asker, prompts, self._near, known, self.judged),
                asker,
            ),
        ]

    @cached_property
    def documents(self) -> SemanticDocuments:
        """Raises EngineError when the model cannot be loaded."""
        wanted = self._section.semantic_leaks
        assert wanted is not None
        inputs = self._context.inputs
        kept = [inputs["guard"].path] if "guard" in inputs else []
        evaluated = read_dropped_seeds(inputs["guard"].path) if "guard" in inputs else {}
        sample = sample_training(inputs["seeds"].path / "seeds.jsonl")
        training = [document for document in sample if document.id not in evaluated]
        known = zip(training, self.index.check(training), strict=True)
        return SemanticDocuments(
            open_embedder(self._section, self._context.out, kept),
            [seed_as_candidate(document) for document in self._evaluated],
            [document for document, leak in known if leak is None],
            wanted.false_positives,
        )

    def check(self, candidates: Sequence[Candidate]) -> list[Rejection | None]:
        """Find what each repeats, by words or by meaning."""
        by_words = self.index.check(candidates)
        if not self.is_wanted:
            return by_words
        by_meaning = self.documents.check(candidates)
        return [word or other for word, other in zip(by_words, by_meaning, strict=True)]

    def recall(self) -> dict[str, float]:
        """Measure the share that is found of leaks planted from the evaluated documents."""
        if not rephrases(self._context):
            return measure_recall(self.check, self._evaluated)
        return measure_recall(
            lambda planted: self.index.check_texts([leak.full_text for leak in planted]),
            self._evaluated,
        )

    def _decide(self, candidates: Iterable[Candidate]) -> Iterator[Verdict]:
        source = iter(candidates)
        while batch := list(islice(source, _BATCH)):
            if self._review:
                edited = [*filter(None, map(self._review.edited, batch))]
                found = zip(edited, self.documents.check(edited), strict=True)
                self.edited |= {each.id: leak for each, leak in found if leak}
            section = self._section.leak_judge
            if section is None:
                yield from zip(batch, self.documents.check(batch), strict=True)
                continue
            checked = self.documents.check_nearly(batch, section.band)
            for candidate, (leak, near) in zip(batch, checked, strict=True):
                if near:
                    self._near[candidate.id] = near
                yield candidate, leak


def judge_leaks(
    candidates: Iterable[Candidate],
    asker: Asker,
    prompts: PromptSet,
    near: Mapping[str, Sequence[Near]],
    evaluated: Mapping[str, Seed],
    judged: Counter[LeakVerdict],
) -> Iterator[Verdict]:
    """Rejects what asks the same as an evaluated document that it is `near`, and what the judge
    does not say it of; adds the score `leak_judge`: document -> similarity, of those compared.

    `judged` counts what was said of the pairs.
    """
    return asker.run(_judge_leak(c, asker, prompts, near, evaluated, judged) for c in candidates)


def _judge_leak(
    candidate: Candidate,
    asker: Asker,
    prompts: PromptSet,
    near: Mapping[str, Sequence[Near]],
    evaluated: Mapping[str, Seed],
    judged: Counter[LeakVerdict],
) -> Job[Verdict]:
    pairs = near.get(candidate.id, ())
    if not pairs:
        return candidate, None
    requests = []
    for one in pairs:
        known = evaluated[one.document]
        prompt = prompts.of(candidate.kind, bool(candidate.context or known.context))
        variables = LeakVariables(
            question=candidate.question,
            context=candidate.context,
            choices=candidate.choices,
            answer=candidate.answer,
            known_question=known.question,
            known_context=known.context,
            known_choices=known.choices,
            known_answer=known.answer,
        )
        name = f"{candidate.id}/{one.document}"
        requests.append(asker.request(name, prompt, asdict(variables), SAMPLING, prompt.schema))
    replies = yield requests
    said = [parse_sameness(reply.text, reply.finish_reason) for reply in replies]
    judged.update(_LEAK_VERDICTS[one] for one in said)
    scores: dict[str, JsonValue] = {one.document: one.similarity for one in pairs}
    compared = replace(candidate, scores=candidate.scores | {"leak_judge": scores})
    for one, is_same in zip(pairs, said, strict=True):
        if is_same:
            return compared, Rejection("the same question", one.similarity, one.document)
    unread = [reply.finish_reason for reply, one in zip(replies, said, strict=True) if one is None]
    return compared, Rejection("no verdict", match=unread[0]) if unread else None


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


def judge(
    candidates: Iterable[Candidate], asker: Asker, prompts: PromptSet, min_score: int
) -> Iterator[Verdict]:
    """Adds the score `judge`: criterion -> grade from 1 to 5, each of which must reach the least;
    no judgement rejects the item."""
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
