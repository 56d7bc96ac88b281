"""The section `filter`: what a candidate must pass to enter the dataset.

Guarantees: a filter that costs a model or runs code is off unless it is named; decontamination has
settings but no switch.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tsqa.names import LocalPath
from tsqa.recipe.sections.base import ADDED, RUNTIME, Section, Share
from tsqa.recipe.sections.models import TeacherSection


class SemanticSection(Section):
    """Remove questions that mean the same in other words; needs the extra `semantic`."""

    model: LocalPath
    """A sentence-transformers model: a folder or a hub ID."""
    threshold: float = Field(0.92, gt=0, le=1)
    """Cosine similarity from which two questions are duplicates."""


class DedupSection(Section):
    """Of questions that are alike, keep one."""

    method: Literal["minhash", "exact"] = "minhash"
    """minhash: also near duplicates. exact: only equal texts after normalization."""
    threshold: float = Field(0.8, gt=0, le=1)
    """Jaccard similarity of word shingles from which two questions are duplicates (minhash)."""
    semantic: SemanticSection | None = None
    """Compare the meaning of questions too; null: do not."""


class LeakJudgeSection(Section):
    """Show a model the pairs just below the similarity of a leak: it says which ask the same."""

    teacher: TeacherSection
    """The model that decides."""
    band: float = Field(0.1, gt=0, lt=1)
    """How far below its threshold the similarity of a pair may be."""
    prompt: str = "leak"
    """The name of a shipped prompt, or the path of a Jinja file."""
    allow_failed: Share = Field(0.0, json_schema_extra=RUNTIME)
    """Share of requests that may fail for good; their items are rejected."""


class SemanticLeakSection(Section):
    """Reject items that ask an evaluated question in other words; needs the extra `semantic`."""

    model: LocalPath
    """A sentence-transformers model: a folder or a hub ID."""
    false_positives: float = Field(0.01, gt=0, lt=0.5)
    """Share of a task's training documents that is expected to be rejected besides; it sets the
    cosine similarity above which an item is a leak."""
    judge: LeakJudgeSection | None = Field(None, json_schema_extra=ADDED)
    """Have a model decide on what is just below that; null: it passes. Costs further requests, of
    the filter alone: no judge sees the seeds."""

    def measured_config(self) -> dict[str, Any]:
        """What decides without the judge."""
        return self.model_copy(update={"judge": None}).data_config()


class DecontaminateSection(Section):
    """Reject items that contain a document of `eval.tasks`. It cannot be turned off."""

    ngram: int = Field(13, ge=1)
    """Length in words of a shared run that counts as a match; shorter items are matched whole."""
    similarity: Share = 0.8
    """Share of an evaluated item's words, in order, from which a candidate counts as a copy."""
    semantic: SemanticLeakSection | None = Field(None, json_schema_extra=ADDED)
    """Compare the meaning of candidates too, not of other sources; null: with the model of
    `filter.dedup.semantic`, where there is one."""


class FaithfulnessSection(Section):
    """What a rephrasing must keep of its passage. Numbers and names that the passage lacks are
    never allowed, but for numbers that a calculation in the text gives."""

    kept: Share = 0.5
    """Share of the passage's numbers and names that must stand in the rephrasing."""
    shortest: float = Field(0.3, gt=0)
    """Fewest words, as a multiple of the passage's."""
    longest: float = Field(3.0, gt=0)
    """Most words, as a multiple of the passage's."""
    copied: Share = 0.5
    """Largest share of its words that may stand in runs of 8 words of the passage."""

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        if self.longest <= self.shortest:
            raise ValueError(f"longest {self.longest:g} is not above shortest {self.shortest:g}")
        return self


class TrivialitySection(Section):
    """Reject items that need no skill: always answered by a weak model, or without the context."""

    teacher: TeacherSection | None = None
    """The weak model; null: the teacher of `generate`, asked without the context."""
    tries: int = Field(4, ge=1)
    """Answers to sample; an item is trivial if all of them are right."""
    allow_failed: Share = Field(0.0, json_schema_extra=RUNTIME)
    """Share of requests that may fail for good; their items are rejected."""


class JudgeSection(Section):
    """A model grades each item by a rubric; every criterion must reach the score."""

    teacher: TeacherSection
    """The model that grades."""
    prompt: str = "judge"
    """The rubric: the name of a shipped prompt, or the path of a Jinja file."""
    min_score: int = Field(4, ge=1, le=5)
    """Lowest grade that passes, from 1 to 5."""
    allow_failed: Share = Field(0.0, json_schema_extra=RUNTIME)
    """Share of requests that may fail for good; their items are rejected."""


class RewardSection(Section):
    """A reward model (a sequence-classification checkpoint) scores question and answer."""

    model: LocalPath
    """A model folder or a hub ID."""
    min_score: float
    """Lowest score that passes, on the model's scale."""
    batch_size: int = Field(16, ge=1, json_schema_extra=RUNTIME)
    """Items scored at once; lower it if memory is short."""


class CodeSection(Section):
    """Run the tests of code answers in a sandbox, with limits on time and memory."""

    seconds: float = Field(5.0, gt=0)
    """CPU time of a program in seconds. What it runs and sleeps may be twice that and 2 s; waiting
    for a core of a busy machine does not count."""
    memory_mib: int = Field(512, ge=64)
    """Memory limit of a program with its tests, in MiB."""
    unguarded: bool = Field(False, json_schema_extra=RUNTIME)
    """Run programs even if this machine has no sandbox (`tsqa doctor` says); risky."""


class DifficultySection(Section):
    """Label each item by the share of a model's votes that gave the winning answer, averaged over
    the models that voted: easy from 0.75, hard below 0.5. A weak and a strong model tell most."""

    easy: Share | None = None
    """Share of the dataset that is easy, with `medium` and `hard`; null: keep what there is."""
    medium: Share | None = None
    """Share of the dataset that is medium."""
    hard: Share | None = None
    """Share of the dataset that is hard."""

    @property
    def target(self) -> dict[str, float]:
        """Label -> its share of the dataset; empty: keep what there is."""
        given = {"easy": self.easy, "medium": self.medium, "hard": self.hard}
        return {label: share for label, share in given.items() if share is not None}

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.target and (len(self.target) < 3 or abs(sum(self.target.values()) - 1) > 1e-6):
            raise ValueError("give easy, medium and hard, which sum to 1; or none of them")
        return self


class ReviewSection(Section):
    """Use what people decided in `tsqa review`: drop what they rejected, take what they edited."""

    decisions: LocalPath | None = Field(None, json_schema_extra=RUNTIME)
    """Folder of the review; null: `review` in the run's folder. Its content decides the data."""
    max_error: float | None = Field(None, gt=0, lt=1, json_schema_extra=RUNTIME)
    """Refuse to train unless the share of unfit items is at most this, by the upper bound of its
    95% interval; null: do not ask."""


class FilterSection(Section):
    """The filters, from cheap to expensive; the first that fails is an item's reason."""

    min_words: int = Field(1, ge=1)
    """Fewest words of an item: question, context, answer and what enriches it."""
    max_words: int = Field(400, ge=1)
    """Most words of an item: question, context, answer and what enriches it."""
    languages: list[str] | None = None
    """ISO 639-1 codes that pass; null: not checked."""
    agreement: float = Field(0.6, gt=0, le=1)
    """Share of the votes, by weight, that the winning answer needs; raise it for fewer wrong
    answers."""
    model_agreement: int | None = Field(None, ge=2, json_schema_extra=ADDED)
    """Models of `generate.solvers` whose own most frequent answer must be the winning one; null:
    not checked."""
    faithfulness: FaithfulnessSection = Field(FaithfulnessSection(), json_schema_extra=ADDED)
    """Of `generate.rephrase`: what a rephrasing must keep of its passage."""
    copy_similarity: float = Field(0.9, gt=0, le=1)
    """Jaccard similarity of word shingles from which a question is a copy of its seed."""
    triviality: TrivialitySection | None = None
    """Reject items that need no skill; null: keep them. Costs further requests."""
    judge: JudgeSection | None = None
    """Have a model grade each item; null: no grades. Costs further requests."""
    reward: RewardSection | None = None
    """Score each item with a reward model; null: no scores."""
    code: CodeSection | None = None
    """Run the tests of code answers; null: reject them, because nothing verified them."""
    renderings: list[str] = Field(["qa"], min_length=1)
    """Document templates, shipped or Jinja files; each item gets one of them, by its ID."""
    dedup: DedupSection = DedupSection()
    """Removal of duplicates."""
    difficulty: DifficultySection | None = Field(None, json_schema_extra=ADDED)
    """Label items by difficulty, and keep a share of each label; null: no labels."""
    review: ReviewSection | None = Field(None, json_schema_extra=ADDED)
    """Use the decisions of reviewers; null: do not look for them."""
    decontaminate: DecontaminateSection = DecontaminateSection()
    """Removal of what resembles an evaluated document."""
    processes: int | None = Field(None, ge=1, json_schema_extra=RUNTIME)
    """Processes that filter, each with a copy of what candidates are compared with; null: one per
    core, fewer where there is little to do."""
    cluster: Literal["ray"] | None = Field(None, json_schema_extra=RUNTIME)
    """ray: these processes are tasks on the Ray cluster that RAY_ADDRESS names, whose nodes all see
    `runs`; null: they are on this machine."""

    @property
    def semantic_leaks(self) -> SemanticLeakSection | None:
        """How candidates are compared with evaluated documents by meaning; None: they are not."""
        own, near = self.decontaminate.semantic, self.dedup.semantic
        return own or (SemanticLeakSection(model=near.model) if near else None)

    @property
    def leak_judge(self) -> LeakJudgeSection | None:
        """Who decides where the meaning alone does not; None: nobody."""
        return self.semantic_leaks.judge if self.semantic_leaks else None

    @model_validator(mode="after")
    def _words_fit(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError(
                f"min_words {self.min_words:,} is above max_words {self.max_words:,}: lower it"
            )
        return self
