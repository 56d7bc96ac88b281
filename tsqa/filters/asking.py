"""The steps that ask a model: meaning, triviality, reward and the judge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from itertools import islice

from tsqa.decontaminate.guard import read_dropped_seeds
from tsqa.decontaminate.index import EvaluatedIndex, measure_recall
from tsqa.decontaminate.semantic import SemanticDocuments, open_embedder, sample_training
from tsqa.filters.chunks import rephrases
from tsqa.filters.funnel import Step
from tsqa.filters.reward import score_reward
from tsqa.filters.triviality import Trial, find_trivial
from tsqa.hub.identify import identify_model
from tsqa.prompts import PromptSet, load_prompts
from tsqa.prompts.variables import JudgeVariables
from tsqa.recipe import FilterSection, SamplingSection, TrivialitySection, needed
from tsqa.records.candidate import Candidate, Rejection, Verdict, seed_as_candidate
from tsqa.records.seed import Seed, SeedIndex
from tsqa.records.summaries import LedgerRow
from tsqa.review.apply import ReviewStep
from tsqa.store.stage import StageContext
from tsqa.teachers.client import Asker, open_asker
from tsqa.teachers.replies.judgement_reply import parse_judgement
from tsqa.teachers.scheduler import Job

_BATCH = 256
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
        """Id of an item -> what it repeats once its reviewers' edit is made, as `steps` find it."""

    @property
    def is_wanted(self) -> bool:
        """A rephrasing asks nothing."""
        return self._section.semantic_leaks is not None and not rephrases(self._context)

    @property
    def steps(self) -> list[Step]:
        return [Step("meaning", self._decide)] if self.is_wanted else []

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
            yield from zip(batch, self.documents.check(batch), strict=True)


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
