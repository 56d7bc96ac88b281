"""A few seeds through prompt, teacher, parser, votes and every filter, by the stages' own code.

Guarantees: no artifact is made or touched: what is not finished yet is made in a temporary folder;
the requests are those that the run itself would send for these seeds; a model that a recipe trains
must be trained already. One engine is up at a time, and stays up for the next seeds.
"""

from __future__ import annotations

import hashlib
import heapq
import shlex
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from pydantic import JsonValue

from tsqa.curated.render import Renderer
from tsqa.errors import TsqaError, UsageError
from tsqa.filters.asking import Meaning, asking_steps
from tsqa.filters.chunks import comparing_steps, decontamination_step, passing_steps
from tsqa.filters.funnel import Step
from tsqa.generate.stage import SeedFile, open_seeds, open_team, solve, write_candidate
from tsqa.pipeline.node import Node
from tsqa.pipeline.run import Pipeline
from tsqa.preview.borrowed import OneEngine, Overlay
from tsqa.preview.measured import PreviewRecord, RoleUse, key_of
from tsqa.recipe import DifficultySection, needed
from tsqa.records.canaries import read_canaries
from tsqa.records.candidate import Candidate, read_candidate
from tsqa.records.candidate_file import CandidateRecord
from tsqa.records.seed import Seed, SeedIndex
from tsqa.seeds.benchmarks import read_evaluated
from tsqa.store.artifact import Artifact
from tsqa.store.roles import Role, format_role
from tsqa.store.stage import StageContext
from tsqa.store.tracking import Tracker
from tsqa.teachers.client import Asker, Exchange, listen
from tsqa.teachers.scheduler import Job

_ONE_BY_ONE = ("triviality", "judge", "leak_judge")
"""Steps that ask a model about one candidate at a time, so that it is known which it asked."""


@dataclass(frozen=True)
class Decision:
    """What a filter step said of an item."""

    step: str
    passed: bool
    reason: str = ""
    score: float | None = None
    match: str = ""
    scores: dict[str, JsonValue] = field(default_factory=dict)
    """What the step measured."""
    exchanges: tuple[Exchange, ...] = ()


@dataclass
class PreviewedItem:
    """One new item, from its seed to the document."""

    seed: Seed
    record: CandidateRecord
    exchanges: list[Exchange]
    """The question first, then one for each vote of the record."""
    candidate: Candidate
    decisions: list[Decision] = field(default_factory=list)
    document: str = ""
    """What the student would read; empty for a rejected item."""

    @property
    def is_rejected(self) -> bool:
        return any(not decision.passed for decision in self.decisions)


class Preview:
    """The inputs of the stages `generate` and `filter`, and the engine that is up."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self._scope = ExitStack()
        self._engines = OneEngine()
        self._asked: dict[str, list[Exchange]] = defaultdict(list)
        self._seconds: dict[str, float] = defaultdict(float)
        self._reached: dict[str, int] = defaultdict(int)

    def __enter__(self) -> Self:
        with ExitStack() as scope:
            self._folder = Path(scope.enter_context(TemporaryDirectory(prefix="tsqa-preview-")))
            scope.callback(self._engines.close)
            self.pipeline.store = Overlay(self.pipeline.store.root, self._folder / "artifacts")
            self._generate = _own(self.pipeline, "generate")
            self._filter = _own(self.pipeline, "filter") if self.pipeline.recipe.filter else None
            for node in filter(None, (self._generate, self._filter)):
                self._refuse_untrained(node)
            self._scope = scope.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._scope.close()

    def seeds(self, count: int, task: str | None) -> list[Seed]:
        """A few seeds, of as many tasks as there are; always the same."""
        path = self._inputs(self._generate)["seeds"].path / "seeds.jsonl"
        return pick_seeds(SeedFile(path), count, task)

    def run(self, seeds: Sequence[Seed]) -> list[PreviewedItem]:
        items = self._write(seeds)
        if self._filter is not None:
            self._judge(self._filter, items)
        return items

    def record(self, items: Sequence[PreviewedItem]) -> PreviewRecord:
        """What was measured so far, for estimates."""
        nodes = [node for node in (self._generate, self._filter) if node is not None]
        uses = {
            name: RoleUse(
                [each.completion.prompt_tokens for each in asked],
                [each.completion.output_tokens for each in asked],
                round(self._seconds[name], 3),
            )
            for name, exchanges in self._asked.items()
            if (asked := [each for each in exchanges if each.completion.is_answer])
        }
        return PreviewRecord(
            items=len(items),
            readable=sum(not item.record.parse_error for item in items),
            keys={node.stage: key_of(node) for node in nodes},
            uses=uses,
            reached=dict(self._reached),
        )

    def _write(self, seeds: Sequence[Seed]) -> list[PreviewedItem]:
        context = self._context(self._generate)
        source = open_seeds(context, needed(context.recipe.generate, "generate"))
        heard: list[list[Exchange]] = [[] for _ in seeds]
        team = open_team(context, [])
        jobs = [write_candidate(team.writer, source, seed, 0) for seed in seeds]
        records = self._ask(team.writer.asker, jobs, heard)
        for solver in team.later:
            pairs = zip(seeds, records, strict=True)
            jobs = [solve(solver, source, seed, record) for seed, record in pairs]
            records = self._ask(solver.asker, jobs, heard)
        shows_trace = self._shows_trace()
        return [
            PreviewedItem(seed, record, exchanges, read_candidate(record, shows_trace))
            for seed, record, exchanges in zip(seeds, records, heard, strict=True)
        ]

    def _shows_trace(self) -> bool:
        section = self.pipeline.recipe.filter
        return section is not None and Renderer(section.renderings).shows_trace

    def _prepare(self, asker: Asker) -> None:
        asker.engines = self._engines.open
        asker.allowed = 1.0  # a request without an answer is shown

    def _ask(
        self,
        asker: Asker,
        jobs: Sequence[Job[CandidateRecord]],
        heard: Sequence[list[Exchange]],
    ) -> list[CandidateRecord]:
        self._prepare(asker)
        asker.heard = self._asked[f"generate:{asker.role}"]
        listened = [listen(job, own) for job, own in zip(jobs, heard, strict=True)]
        with self._timed(f"generate:{asker.role}"):
            return list(asker.run(listened))

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        """Count the time in which the engine is asked, without its start."""
        begun, waited = time.monotonic(), self._engines.started
        yield
        started = self._engines.started - waited
        self._seconds[name] += max(0.0, time.monotonic() - begun - started)

    def _judge(self, node: Node, items: Sequence[PreviewedItem]) -> None:
        context = self._context(node)
        section = needed(context.recipe.filter, "filter")
        if section.difficulty:  # a few items are no distribution: labels alone
            section = section.model_copy(update={"difficulty": DifficultySection()})
        planted = read_canaries(self._folder / self._generate.stage)
        meaning = Meaning(context, section, list(read_evaluated(context)))
        with (
            SeedIndex(context.inputs["seeds"].path / "seeds.jsonl") as seeds,
            TemporaryDirectory(dir=context.out) as scratch,
        ):
            steps = [
                *passing_steps(context, section, seeds, planted),
                *asking_steps(context, section, seeds, []),
                *meaning.open_steps([]),
                *comparing_steps(section, Path(scratch)),
                decontamination_step(meaning.index, meaning.edited),
            ]
            for step in steps:
                left = [item for item in items if not item.is_rejected]
                if left:
                    self._apply(step, left)
        renderer = Renderer(section.renderings)
        for item in items:
            if not item.is_rejected:
                item.document = renderer.render(item.candidate)[1]

    def _apply(self, step: Step, items: Sequence[PreviewedItem]) -> None:
        self._reached[step.name] += len(items)
        if step.asker is not None:
            self._prepare(step.asker)
        each = [[item] for item in items] if step.name in _ONE_BY_ONE else [list(items)]
        for group in each:
            heard: list[Exchange] = []
            candidates = [item.candidate for item in group]
            if step.asker is None:
                verdicts = list(step.decide(candidates))
            else:
                step.asker.heard = heard
                with self._timed(f"filter:{step.asker.role}"):
                    verdicts = list(step.decide(candidates))
                self._asked[f"filter:{step.asker.role}"] += heard
            for item, (candidate, rejection) in zip(group, verdicts, strict=True):
                known = item.candidate.scores
                scores = {k: v for k, v in candidate.scores.items() if k not in known}
                if step.name == "agreement" and rejection is None:
                    scores["agreement"] = round(candidate.agreement, 3)
                decision = Decision(step.name, rejection is None, scores=scores)
                if rejection is not None:
                    decision = replace(
                        decision,
                        reason=rejection.reason,
                        score=rejection.score,
                        match=rejection.match,
                    )
                item.decisions.append(replace(decision, exchanges=tuple(heard)))
                item.candidate = candidate

    def _context(self, node: Node) -> StageContext:
        out = self._folder / node.stage
        out.mkdir(exist_ok=True)
        inputs = self._inputs(node)
        return StageContext(node.recipe, inputs, out, Tracker.silent(), node.config)

    def _inputs(self, node: Node) -> dict[Role, Artifact]:
        """The inputs of a node, made in the temporary folder where they are not finished."""
        wanted = {role: up for role, up in node.inputs.items() if up.stage != "generate"}
        return {role: self._made(upstream) for role, upstream in wanted.items()}

    def _made(self, upstream: Node) -> Artifact:
        found = self.pipeline.find(upstream)
        if found is not None:
            return found
        for inner in upstream.inputs.values():
            self._made(inner)
        return self.pipeline.find_or_make(upstream)

    def _refuse_untrained(self, node: Node) -> None:
        for role, upstream in node.inputs.items():
            if upstream.stage == "train" and self.pipeline.find(upstream) is None:
                runs = self.pipeline.recipe.runs
                raise TsqaError(
                    f"{self.pipeline.origin}: the {format_role(role)} of the stage {node.stage} is "
                    f"the model of {upstream.origin}, which is not trained yet",
                    f"tsqa train {shlex.join([str(upstream.origin), f'runs={runs}'])}",
                )


def pick_seeds(seeds: SeedFile, count: int, task: str | None) -> list[Seed]:
    """Those with the smallest hashes, task by task in turn; UsageError where a task has none."""
    smallest: dict[str, list[tuple[str, Seed]]] = defaultdict(list)
    for seed in seeds:
        kept = smallest[seed.task]
        kept.append((hashlib.sha256(seed.id.encode()).hexdigest(), seed))
        if len(kept) > 2 * count:
            smallest[seed.task] = heapq.nsmallest(count, kept, key=lambda pair: pair[0])
    if task is not None and task not in smallest:
        raise UsageError(
            f"--task {task}: no seed is of this task", f"choose one of {', '.join(smallest)}"
        )
    tasks = [task] if task is not None else sorted(smallest)
    ordered = [heapq.nsmallest(count, smallest[name], key=lambda pair: pair[0]) for name in tasks]
    turns = ((turn, kept) for turn in range(count) for kept in ordered if turn < len(kept))
    return [kept[turn][1] for turn, kept in turns][:count]


def _own(pipeline: Pipeline, stage: str) -> Node:
    """The recipe's first node of a stage: that of the control, where arms have several."""
    for node in pipeline.nodes:
        if node.stage == stage and node.recipe.name == pipeline.recipe.name:
            return node
    raise TsqaError(f"{pipeline.origin}: no section `{stage}`", "preview a recipe that has one")
