"""The recipe itself: its sections, how they must fit together, and what depends on several.

Guarantees: a section that a stage needs is there, or the recipe is refused.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import Field, field_validator, model_validator

from tsqa.errors import RecipeError
from tsqa.names import LocalPath, RecipeName, WandbName
from tsqa.recipe.sections.ablation import AblationSection
from tsqa.recipe.sections.audit import AuditSection
from tsqa.recipe.sections.base import RUNTIME, Section, Seed, refuse_unread
from tsqa.recipe.sections.evaluate import EvalSection
from tsqa.recipe.sections.filter import (
    DecontaminateSection,
    FaithfulnessSection,
    FilterSection,
)
from tsqa.recipe.sections.generate import GenerateSection
from tsqa.recipe.sections.generations import GenerationsSection
from tsqa.recipe.sections.launch import LaunchSection
from tsqa.recipe.sections.mixture import MixtureSection
from tsqa.recipe.sections.models import ModelSection, TokenizerSection
from tsqa.recipe.sections.seeds import DataSection, SeedsSection
from tsqa.recipe.sections.train import TrainSection

OF_QUESTIONS = {
    "generate": (
        *("writer", "solvers", "cascade", "shots", "votes", "enrichment", "attributes"),
        *("answer", "prompts"),
    ),
    "filter": (
        *("agreement", "model_agreement", "copy_similarity", "triviality", "judge", "reward"),
        *("code", "difficulty", "renderings"),
    ),
}
"""Section -> its keys that mean nothing to rephrasings."""


class TrackingSection(Section):
    """Where runs are logged: Weights & Biases, online or into local files; or trackio, locally."""

    backend: Literal["wandb", "trackio"] = "wandb"
    """trackio: no account, a dashboard, runs in `runs/trackio`; `pip install tsqa[trackio]`."""
    project: WandbName = "tsqa"
    """Project of W&B or trackio."""
    entity: WandbName | None = None
    """W&B user or team; null: the one you are logged in as."""
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto: WANDB_MODE where it is set; else online when logged in, offline otherwise."""

    @property
    def service(self) -> str:
        return "W&B" if self.backend == "wandb" else "trackio"

    @model_validator(mode="after")
    def _local_backend(self) -> Self:
        if self.backend == "trackio" and (self.entity is not None or self.mode == "online"):
            key = "entity" if self.entity is not None else "mode: online"
            raise ValueError(f"{key} is W&B's, and backend: trackio is local: remove one of them")
        return self


class Recipe(Section):
    """One experiment. A stage runs if its section is present.

    A recipe may extend another with `extends: PATH`, relative to its own folder: sections are
    merged key by key, lists are replaced; `{}` empties a mapping of names, such as `eval.macros`.
    """

    name: RecipeName
    """Name of the experiment, and of its folder in `runs`."""
    runs: LocalPath = Field("runs", json_schema_extra=RUNTIME)
    """Folder of artifacts, logs and reports; recipes that share it share finished stages."""
    seed: Seed = 0
    """Random seed of the training run: initialization and order of the data."""
    dollars_per_gpu_hour: float = Field(0.0, ge=0, json_schema_extra=RUNTIME)
    """Price of one GPU, for cost estimates and `--max-dollars`: of training, of evaluation, and of
    vLLM teachers whose `dollars_per_hour` is 0."""
    data: DataSection | None = None
    """Data that the harness builds itself, for trials on a CPU."""
    seeds: SeedsSection | None = None
    """Training splits that the synthetic data starts from."""
    generate: GenerateSection | None = None
    """The teacher that writes new questions and answers, and how often it is asked."""
    filter: FilterSection | None = None
    """What a generated item must pass to enter the dataset."""
    audit: AuditSection | None = Field(None, json_schema_extra=RUNTIME)
    """What an audit of the dataset may find before a model is trained; null: audit on request."""
    model: ModelSection | None = None
    """The model that is trained (the student)."""
    tokenizer: TokenizerSection | None = None
    """The student's tokenizer; null: the one of `model`."""
    mixture: MixtureSection | None = None
    """Sources of the training stream, their ratios, and the token budget."""
    train: TrainSection | None = None
    """Batches, optimizer, schedule and checkpoints."""
    eval: EvalSection | None = None
    """Tasks that are evaluated. Their documents may not enter the training data."""
    ablation: AblationSection | None = None
    """Conditions to train and compare; null: one run of the recipe."""
    generations: GenerationsSection | None = Field(None, json_schema_extra=RUNTIME)
    """Generations of models that learn from one another, in each arm; null: `tsqa generations`
    refuses the recipe."""
    tracking: TrackingSection = Field(TrackingSection(), json_schema_extra=RUNTIME)
    """Where runs are logged."""
    launch: LaunchSection = Field(LaunchSection(), json_schema_extra=RUNTIME)
    """Where the jobs that train run."""

    @classmethod
    def load(cls, path: str | Path, *overrides: str) -> Recipe:
        """Read a recipe as the commands do; RecipeError lists every problem."""
        from tsqa.recipe.load import load_recipe

        return load_recipe(Path(path), overrides)

    @field_validator("runs")
    @classmethod
    def _is_no_shell_word(cls, runs: str) -> str:
        """A folder that is called `~` is a trap for whoever deletes it."""
        if re.match(r"~|.*\$\w", runs):
            raise ValueError("no shell reads it: write the path in full, without ~ and $")
        return runs

    @model_validator(mode="after")
    def _enough_to_average(self) -> Self:
        last = self.train.average_last if self.train else None
        if last and self.train and self.train.elsewhere:
            raise ValueError(
                "train.average_last: a model from train.elsewhere is taken as it is; say "
                "train.average_last: null beside it"
            )
        if last and self.mixture and (models := len(curve_points(self)) + 1) < last:
            raise ValueError(
                f"train.average_last: {last} models, but eval.every_tokens makes {models} with the "
                "final one: lower either"
            )
        return self

    @model_validator(mode="after")
    def _canaries_to_count(self) -> Self:
        is_limited = self.audit is not None and self.audit.max_canary_rate is not None
        if is_limited and self.generate and not self.generate.canaries:
            raise ValueError(
                "audit.max_canary_rate needs generate.canaries: without any, none can come back"
            )
        return self

    @model_validator(mode="after")
    def _sections_fit(self) -> Self:
        chain = ("seeds", "generate", "filter", "audit")
        for earlier, later in itertools.pairwise(chain):
            if getattr(self, later) and not getattr(self, earlier):
                raise ValueError(f"the section `{later}` needs the section `{earlier}`")
        for name in ("model", "mixture"):
            if self.train and getattr(self, name) is None:
                raise ValueError(f"the section `train` needs the section `{name}`")
        for name in ("mixture", "ablation"):
            if getattr(self, name) and not self.train:
                raise ValueError(f"the section `{name}` needs the section `train`")
        for name, source in (self.mixture.sources if self.mixture else {}).items():
            if source.stage and getattr(self, source.stage) is None:
                raise ValueError(
                    f"mixture.sources.{name} is `from: {source.stage}`, but there is no "
                    f"`{source.stage}`"
                )
        for name, source in (self.mixture.sources if self.mixture else {}).items():
            if source.nearest and self.seeds is None:
                raise ValueError(f"mixture.sources.{name}.nearest needs `seeds`: nearest to what?")
        if self.train and self.train.processes % self.launch.machines:
            raise ValueError(
                f"train.processes {self.train.processes} cannot be spread evenly over "
                f"launch.machines {self.launch.machines}"
            )
        every = self.eval.every_tokens if self.eval else None
        if every and self.train and every < self.train.global_batch_tokens:
            raise ValueError(
                f"eval.every_tokens {every:,} is below train.global_batch_tokens "
                f"{self.train.global_batch_tokens:,}: no step ends there; raise it"
            )
        trial = self.filter.triviality if self.filter else None
        if trial and self.generate and trial.tries > 1:
            weak = trial.teacher or self.generate.teacher
            if weak and (reason := weak.greedy(self.generate.answer)):
                raise ValueError(
                    f"filter.triviality.tries {trial.tries} are one answer {trial.tries} times: "
                    f"generate.answer has {reason}; change it, or set tries to 1"
                )
        if self.filter and not self.eval:
            raise ValueError("`filter` needs `eval`: decontamination is against its tasks")
        self._check_generations()
        self._check_rephrase()
        self._check_prompts()
        self._check_roles()
        self._check_difficulty()
        if self.model and self.model.config is not None and self.tokenizer is None:
            raise ValueError("a model from scratch (model.config) needs a `tokenizer`")
        positions = (self.model.config or {}).get("max_position_embeddings") if self.model else None
        if self.train and isinstance(positions, int) and positions < self.train.sequence_length:
            raise ValueError(
                f"train.sequence_length {self.train.sequence_length:,} is beyond "
                f"model.config.max_position_embeddings {positions:,}; raise the latter"
            )
        if self.model and self.model.config is None and self.tokenizer and self.tokenizer.train_on:
            raise ValueError(
                "tokenizer.train_on makes new tokens, which mean nothing to a model that is "
                "trained already (model.path, model.recipe); leave the section `tokenizer` out"
            )
        return self

    def _check_generations(self) -> None:
        """Raise ValueError where no model could learn from another."""
        if self.generations and not (self.train and self.filter):
            raise ValueError(
                "`generations` needs `generate`, `filter` and `train`: each trains on what the "
                "last one wrote"
            )

    def _check_rephrase(self) -> None:
        """Raise ValueError where a key is set that means nothing, with rephrasings or without."""
        if self.generate is None or self.generate.rephrase is None:
            controls = self.ablation.controls if self.ablation else []
            is_told = "human_rephrased" in controls
            if self.filter and self.filter.faithfulness != FaithfulnessSection() and not is_told:
                raise ValueError(
                    "filter.faithfulness is of rephrasings: give generate.rephrase, or the control "
                    "human_rephrased"
                )
            return
        if self.seeds and (self.seeds.tasks or self.seeds.datasets or not self.seeds.documents):
            raise ValueError(
                "generate.rephrase: only passages of seeds.documents are rephrased; leave "
                "seeds.tasks and seeds.datasets to a recipe of their own"
            )
        given = [
            f"seeds.documents.{number}.kind"
            for number, source in enumerate(self.seeds.documents if self.seeds else ())
            if source.kind != type(source).model_fields["kind"].default
        ]
        sections = [section for section in (self.generate, self.filter) if section]
        for name, section in zip(OF_QUESTIONS, sections, strict=False):
            fields = type(section).model_fields
            changed = (k for k in OF_QUESTIONS[name] if getattr(section, k) != fields[k].default)
            given += [f"{name}.{key}" for key in changed]
        checked = self.filter.decontaminate if self.filter else DecontaminateSection()
        if checked.similarity != DecontaminateSection().similarity:  # of questions
            given.append("filter.decontaminate.similarity")
        if checked.semantic:
            given.append("filter.decontaminate.semantic")
        sources = self.mixture.sources if self.mixture else {}
        given += [f"mixture.sources.{n}.permute" for n, one in sources.items() if one.permute]
        if given:
            raise ValueError(
                f"generate.rephrase: a rephrasing has no question, answer or vote, of which "
                f"{', '.join(given)} {'is' if len(given) == 1 else 'are'}: leave out one or the "
                "other"
            )

    def _check_prompts(self) -> None:
        """Raise ValueError where prompts are named that nothing is asked with."""
        if self.generate is None or self.seeds is None or self.generate.rephrase:
            return
        if not self.seeds.documents:
            why = "(generate.prompts) asks about seeds.documents, of which there are none"
            refuse_unread(self.generate.prompts, ["passage"], why)
        elif not (self.seeds.tasks or self.seeds.datasets):
            why = "(generate.prompts) is not asked about seeds.documents: `passage` is"
            refuse_unread(self.generate.prompts, ["question"], why)

    def _check_roles(self) -> None:
        """Raise ValueError where `generate` does not serve its seeds or the filters."""
        if self.generate and self.generate.attributes and self.seeds and self.seeds.documents:
            raise ValueError(
                "generate.attributes: questions about passages (seeds.documents) show none; "
                "leave one of them out"
            )
        if self.generate is None or self.filter is None:
            return
        trial, least = self.filter.triviality, self.filter.model_agreement
        if trial and trial.teacher is None and self.generate.teacher is None:
            raise ValueError("filter.triviality needs a `teacher`: generate.teacher is not given")
        weak = (trial.teacher or self.generate.teacher) if trial else None
        problem = weak.misfit(self.generate.answer, "filter.triviality") if weak else ""
        if problem:  # it answers with the sampling of `generate.answer`
            raise ValueError(problem)
        if least is None:
            return
        if self.generate.cascade:
            raise ValueError(
                "filter.model_agreement: where generate.cascade answers, its votes count alone; "
                "leave one of them out"
            )
        origins = [each.teacher.model for each in self.generate.solving]
        models = {(model.path, model.recipe) for model in origins}
        if len(models) < least:
            raise ValueError(
                f"filter.model_agreement is {least}, but {len(models)} "
                f"{'model answers' if len(models) == 1 else 'models answer'}; "
                "name more in generate.solvers, or lower it"
            )

    def _check_difficulty(self) -> None:
        """Raise ValueError where no item that passes `filter.agreement` can have a wanted label."""
        wanted, generate = self.filter.difficulty if self.filter else None, self.generate
        if self.filter is None or wanted is None or generate is None:
            return
        if generate.cascade or len(generate.solving) > 1:
            return
        agreement = 1.0 if generate.solving[0].votes == 1 else self.filter.agreement
        for label, beyond in (("hard", 0.5), ("medium", 0.75)):
            if wanted.target.get(label) and agreement >= beyond:
                raise ValueError(
                    f"filter.difficulty.{label}: where one model answers, no item that passes "
                    f"filter.agreement {agreement:g} is {label}, so that the shares would reject "
                    "all: name more models in generate.solvers, or lower filter.agreement below "
                    f"{beyond:g}"
                )


def curve_points(recipe: Recipe) -> list[int]:
    """Training tokens, before the end, at which a run is also exported and evaluated."""
    if recipe.eval is None or recipe.eval.every_tokens is None or recipe.train is None:
        return []
    if recipe.train.elsewhere is not None:
        return []
    # A run may end up to one batch below its budget, so that it has only whole ones.
    last = needed(recipe.mixture, "mixture").tokens - recipe.train.global_batch_tokens
    return list(range(recipe.eval.every_tokens, last + 1, recipe.eval.every_tokens))


def averaged_points(recipe: Recipe) -> list[int]:
    """The points before the end whose models `train.average_last` averages with the final one."""
    last = recipe.train.average_last if recipe.train else None
    return curve_points(recipe)[1 - last :] if last else []


def renderings_of(recipe: Recipe) -> list[str]:
    """The document templates of items, and of seeds as documents."""
    return [*(recipe.filter or FilterSection()).renderings]


def stream_check(recipe: Recipe) -> DecontaminateSection | None:
    """How the sources of the stream are checked for evaluated documents; None: they are not."""
    if recipe.eval is None or recipe.mixture is None or not recipe.mixture.decontaminate:
        return None
    return recipe.filter.decontaminate if recipe.filter else DecontaminateSection()


S = TypeVar("S", bound=Section)


def needed(section: S | None, name: str) -> S:
    """The section of a recipe that a stage cannot do without; RecipeError where it is absent."""
    if section is None:
        raise RecipeError(f"the recipe has no section `{name}`", "add it")
    return section
