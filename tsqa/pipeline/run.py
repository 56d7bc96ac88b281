"""Runs what is not yet done, in order, and says what it reuses.

Guarantees: a finished artifact is never made again nor overwritten; a changed setting is named;
a kill at any moment loses at most the work in flight.
"""

from __future__ import annotations

import importlib
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from tsqa.console import console
from tsqa.errors import DataError, RecipeError, TsqaError
from tsqa.pipeline.auditing import (
    audit_states,
    audit_where_asked,
    audits_to_make,
    refuse_unaudited,
)
from tsqa.pipeline.graph import build_graph
from tsqa.pipeline.history import History
from tsqa.pipeline.model_uses import (
    ModelUse,
    audit_uses,
    check_use,
    is_missing,
    model_uses,
    refuse_missing,
    refuse_missing_ray,
)
from tsqa.pipeline.node import (
    Node,
    alike_but_for_more,
    changed_since,
    forget_identities,
    guards_of,
    reached_from,
    trained_node,
)
from tsqa.pipeline.stages import command_of
from tsqa.pipeline.submitted_job import SubmittedJob, scheduler_of
from tsqa.pipeline.training_job import TrainingJob, print_mixture_plan
from tsqa.recipe import Recipe, arm_config, arms_of, check_floors, needed, origins_of
from tsqa.records.summaries import merge_leaks
from tsqa.secrets import redact
from tsqa.spending import Spending, SpentError, has_gpu
from tsqa.store.artifact import Artifact, Store
from tsqa.store.atomic import naming_full_disk
from tsqa.store.manifest import Check
from tsqa.store.roles import BASE, Label, Role, format_role
from tsqa.store.stage import StageContext
from tsqa.store.tracking import Tracker
from tsqa.tasks.fingerprint import remember_tasks, removed_tasks
from tsqa.trackers import TrackedRun, tags_of

if TYPE_CHECKING:
    from train.trainer.exports import KeptExport

_LONGEST_LABEL = 40
"""Characters of a label up to which the rest of the line is aligned."""
Commit = Callable[[Mapping[str, object]], None]
"""Takes the summary that a stage returned."""


class Pipeline:
    """One recipe, its nodes, and the store that holds their artifacts."""

    def __init__(self, recipe: Recipe, origin: Path, overrides: list[str]) -> None:
        self.recipe = recipe
        self.origin = origin
        self.overrides = overrides
        self.store = Store(Path(recipe.runs) / "artifacts")
        self.folder = Path(recipe.runs) / recipe.name
        self._history = History(self.folder)
        self.nodes = build_graph(recipe, origin)
        self.arms = arms_of(recipe) if recipe.train else {}
        longest = max((len(self.label(node)) for node in self.nodes), default=0)
        self._width = min(_LONGEST_LABEL, longest)
        self.ran: set[str] = set()
        """Fingerprints made by this process; everything else was reused."""
        self.spending = Spending()
        self.least_dollars: Callable[[Node], float] = lambda node: 0.0
        """What a stage that cannot stop midway costs at least, beyond which it is not begun."""

    def find(self, node: Node) -> Artifact | None:
        return self.store.find(node.stage, node.fingerprint)

    def latest(self, stage: str) -> Artifact | None:
        """The artifact of a stage that was finished last, of whatever recipe."""
        made = self.store.finished(stage)
        return max(made, key=lambda a: a.manifest.created, default=None)

    def check(self) -> None:
        """Refuse, before any work, what could only fail after it."""
        self.say_namesake()
        self.say_unguarded()
        self.say_removed()
        self.check_tasks()
        self.check_seeds()
        self.check_models()
        self.check_floors()
        self.check_guards()
        self.say_audits()

    def say_namesake(self) -> None:
        """Say whose report and history this run replaces, where two recipes have one name."""
        if other := self._history.namesake(self.origin):
            console.print(
                Text(
                    f"  {other} is named {self.recipe.name}, too: this run replaces its report in "
                    f"{self.folder}; its artifacts stay (give one of them another `name`)",
                    style="yellow",
                )
            )

    def say_unguarded(self) -> None:
        """Say, loudly, where no benchmark is held out of seeds, items or training text."""
        recipe, told = self.recipe, ""
        if recipe.eval is None and (recipe.seeds or recipe.mixture):
            told = (
                "no section `eval`: NOTHING IS HELD OUT. Seeds, items and training text are "
                "compared with no benchmark; name in eval.tasks what will be evaluated"
            )
        elif recipe.mixture and not recipe.mixture.decontaminate:
            told = (
                "mixture.decontaminate: false: NOTHING IS HELD OUT of the training text: it is "
                "compared with no benchmark, and no task can come out clean"
            )
        if told:
            console.print(Text(f"  {told}", style="bold yellow"))

    def say_removed(self) -> None:
        """Say which tasks still keep rows out although they are evaluated no more."""
        if removed := removed_tasks(self.recipe):
            console.print(
                f"  no longer in eval.tasks: {', '.join(removed)}; rows that only they had dropped "
                "stay dropped (eval.check_removed=false brings them back)",
                style="yellow",
            )

    def say_audits(self) -> None:
        """Say what the recipe's limits on audits will refuse, or ask for."""
        for node, state, beyond in audit_states(self):
            console.print(f"  audit of {self.label(node)}: {state}", style="dim")
            for line in beyond:
                console.print(Text(f"  {line}", style="yellow"))

    def check_guards(self) -> None:
        """Refuse finished artifacts that the guards of the recipe do not allow any more."""
        for node in self.nodes:
            if (made := self.find(node)) is not None:
                self._recheck(node, made)

    def check_floors(self) -> None:
        """Refuse a mixture, of any arm, in which people wrote too little."""
        for node in self.nodes:
            if node.stage == "train":
                check_floors(node.recipe, node.arm or "")

    def check_seeds(self) -> None:
        """Refuse families to hold out, and capabilities to seed, that no source has."""
        from tsqa.seeds.sources import check_sources, unused_families
        from tsqa.tasks.toy import task_yamls

        for node in self.nodes:
            if node.stage == "seeds" and self.find(node) is None:
                section = needed(node.recipe.seeds, "seeds")
                with task_yamls(section.include) as include:
                    check_sources(section, include)
        if unused := unused_families({id(n.recipe): n.recipe for n in self.nodes}.values()):
            named = f"{', '.join(unused)}: of no task or dataset that is a seed or evaluated"
            console.print(Text(f"  seeds.families names {named}", style="yellow"))

    def check_models(self) -> None:
        """Refuse model folders that are not whole, and lengths beyond a model's positions."""
        uses = self._models_to_load(self.nodes)
        for use in uses:
            if use.is_here:
                check_use(use)
        # Perhaps the recipe is for another machine.
        for key, path in dict.fromkeys((use.key, use.path) for use in uses if is_missing(use)):
            console.print(
                f"  {key} = {path}: not on this machine, nor to be had from the hub",
                style="yellow",
            )

    def refuse_missing_models(self, nodes: Sequence[Node]) -> None:
        """Refuse models that these stages load and that are neither here nor on the hub."""
        for use in self._models_to_load(nodes):
            refuse_missing(use)

    def refuse_unlaunchable(self, nodes: Sequence[Node]) -> None:
        """Refuse trainings whose jobs could not be submitted, before what comes before them."""
        for node in nodes:
            if node.trains and node.recipe.launch.is_scheduled and not self.find(node):
                scheduler_of(node).check()

    def _models_to_load(self, nodes: Sequence[Node]) -> dict[ModelUse, None]:
        """What the stages and audits that are not done load, each once."""
        uses = [use for node in nodes if not self.find(node) for use in model_uses(node)]
        for node in audits_to_make(self, nodes):
            uses += audit_uses(node.recipe)
        return dict.fromkeys(uses)

    def check_tasks(self) -> None:
        """Refuse, before any work, evaluated tasks that could not be compared after it.

        What is scored already was checked then; of what the data stage builds the names are known.
        """
        from eval.harness.metrics import check_metrics
        from tsqa.tasks.toy import check_built, task_yamls

        for recipe in {id(node.recipe): node.recipe for node in self.nodes}.values():
            check_built(recipe)
        checked = set()
        for node in self.nodes:
            if node.stage != "evaluate" or self.find(node) is not None:
                continue
            section = needed(node.recipe.eval, "eval")
            asked = (tuple(section.tasks), section.include, repr(section.protocols))
            # The data stage makes tasks that can be compared, if no protocol says otherwise.
            is_fit = (section.include or "").startswith("{data}") and not section.protocols
            if asked not in checked and not is_fit:
                with task_yamls(section.include) as include:
                    check_metrics(section, include)
            checked.add(asked)

    def run(self, until: str | None = None) -> dict[str, Artifact]:
        """Run every node (up to the last of stage `until`); return label -> artifact."""
        nodes = self.nodes if until is None else self._needed_for(until)
        self.refuse_missing_models(nodes)
        self.refuse_unlaunchable(nodes)
        for node in nodes:
            if not self.find(node):
                refuse_missing_ray(node)
        self.check()
        artifacts: dict[str, Artifact] = {}
        for node in nodes:
            artifacts[self.label(node)] = self.ensure(node)
        made = sum(node.fingerprint in self.ran for node in nodes)
        console.print(f"{len(nodes) - made} stages reused, {made} run")
        return artifacts

    def finished(self, stage: str) -> Artifact:
        """The recipe's own artifact of a stage that has one node."""
        nodes = [n for n in self._needed_for(stage) if n.stage == stage]
        own = [n for n in nodes if n.recipe.name == self.recipe.name] or nodes
        if len(own) > 1:
            raise TsqaError(
                f"{self.origin}: its arms have {len(own)} different {stage} artifacts: "
                f"{', '.join(self.label(n) for n in own)}",
                "choose one: add `ablation=null` and the keys of the arm as overrides",
            )
        node = own[-1]
        artifact = self.store.find(node.stage, node.fingerprint, "whole")
        if artifact is None:
            raise TsqaError(
                f"{self.origin}: {stage} is not built",
                f"tsqa {command_of(stage)} {self.told(node)}",
            )
        return artifact

    def node_of(self, artifact: Artifact) -> Node:
        """The first node that an artifact is of."""
        key = (artifact.manifest.stage, artifact.fingerprint)
        return next(node for node in self.nodes if (node.stage, node.fingerprint) == key)

    def told(self, node: Node | None = None) -> str:
        """A node's recipe as words of a command, with the overrides where it is this command's.

        Another recipe gets the folder of this one's runs. Without a node this command's own.
        """
        origin = node.origin if node else self.origin
        is_own = origin == self.origin
        overrides = map(redact, self.overrides) if is_own else (f"runs={self.recipe.runs}",)
        return shlex.join([str(origin), *overrides])

    def label(self, node: Node) -> str:
        """`train:arm`, with the recipe's name before it where it is a model's own recipe."""
        if self._is_own(node):
            return node.label
        return str(Label(node.stage, recipe=node.recipe.name))

    def _is_own(self, node: Node) -> bool:
        """Whether a node is the recipe's, not that of a recipe of its models."""
        return node.recipe.name == self.recipe.name

    def inputs_of(self, node: Node, check: Check = "whole") -> dict[Role, Artifact]:
        """The finished inputs of a node, read and compared with what was written.

        Of those that are missing the recipe's last is named: its command builds the others too.
        """
        found: dict[Role, Artifact] = {}
        missing: Node | None = None
        for role, upstream in node.inputs.items():
            artifact = self.store.find(upstream.stage, upstream.fingerprint, check)
            if artifact is not None:
                found[role] = artifact
            elif missing is None or self._is_own(upstream):
                missing = upstream
        if missing is not None:
            raise TsqaError(
                f"{node.label} needs {missing.label}, which is not built",
                f"tsqa {command_of(missing.stage)} {self.told(missing)}",
            )
        return found

    def tracker(self, node: Node) -> Tracker:
        own, detail = node.recipe.name == self.recipe.name, node.labelled.detail
        trained = node.stage == "train" or (node.stage == "evaluate" and detail != BASE)
        return Tracker(
            self.recipe.tracking,
            TrackedRun(
                experiment=self.recipe.name,
                stage=node.stage,
                subject=detail if own and detail not in ("", "main") else node.recipe.name,
                fingerprint=node.fingerprint,
                config={
                    "recipe": node.recipe.model_dump(mode="json", by_alias=True),
                    "stage": node.config,
                    "inputs": node.input_fingerprints,
                    **self._arm_config(node),
                },
                tags=tags_of(node.recipe, shares=trained),
            ),
            Path(self.recipe.runs),
        )

    def _arm_config(self, node: Node) -> dict[str, object]:
        """What varies, under the same keys for all arms, so that runs can be grouped by it."""
        arm = self.arms.get(node.arm or node.variant)
        if arm is None or node.recipe.name != self.recipe.name:
            return {}
        return arm_config(arm)

    def ensure(self, node: Node) -> Artifact:
        """The artifact of a node whose inputs are there, found or made; `tsqa gc` then keeps it."""
        with naming_full_disk(Path(self.recipe.runs)):
            made = self.find_or_make(node)
            self.record([node])
            audit_where_asked(self, node)
        return made

    def find_or_make(self, node: Node) -> Artifact:
        """The same without being remembered or audited: of a preview."""
        self.refuse_unfit(node)
        cached = self.find(node)
        name = (self.label(node).ljust(self._width), "bold")
        if cached is not None:
            self._recheck(node, cached)
            path = (str(cached.path), "dim")
            console.print(Text.assemble(name, f" reused  {_headline(cached)}  ", path))
            return cached
        self._refuse_changed(node, "since this command began")
        if not self.spending.affords(self.least_dollars(node)):
            raise SpentError(self.spending, self.label(node))
        started = time.monotonic()
        console.print(Text.assemble(name, f" running: {self.why(node)}"))
        if node.trains:
            if not self._add_exports(node):
                self._launch_training(node)
        else:
            assert node.definition.module is not None
            module = importlib.import_module(node.definition.module)
            with self.open_stage(node) as (context, commit):
                if context is not None:
                    commit(module.run(context))
                    if node.stage == "evaluate":
                        hours = (time.monotonic() - started) / 3600
                        self.spending.add(hours * self._hourly(node))
        made = self.find(node)
        if made is None:
            raise TsqaError(f"{node.label}: ended without its artifact", "run it again")
        self.ran.add(node.fingerprint)
        if made.manifest.same_as:  # what follows may be there already
            forget_identities(self.nodes)
        seconds = time.monotonic() - started
        took = (f"in {seconds:.1f} s", "dim")
        console.print(Text.assemble(name, f" done    {_headline(made)}  ", took))
        return made

    def why(self, node: Node) -> str:
        """Why a node without an artifact runs: what changed since, or that nothing was there."""
        why = self._history.why(self.label(node), node, self.store)
        if not alike_but_for_more(node):
            return why
        found = self.kept_exports(node)
        if found is None:
            return f"{why}: trains again, as no checkpoint of these was kept (train.keep_every)"
        return f"{why}: from the checkpoints of train/{found[0].fingerprint}, without training"

    def state(self, node: Node) -> str:
        """`cached`, `to run`, or what would have to come out as it was for it not to run."""
        if self.find(node) is not None:
            return "cached"
        hopes = self._history.hopes(self.label, node)
        come = "comes" if len(hopes) == 1 else "come"
        return f"to run unless {' and '.join(hopes)} {come} out the same" if hopes else "to run"

    def _recheck(self, node: Node, made: Artifact) -> None:
        """Refuse a finished artifact that a guard of the recipe would not have let be made."""
        found = {role: self.find(upstream) for role, upstream in node.inputs.items()}
        there = {role: artifact for role, artifact in found.items() if artifact is not None}
        node.definition.recheck(node.recipe, made, there)

    def refuse_unfit(self, node: Node) -> None:
        """Refuse to train on a dataset that is not as good as the recipe asks."""
        self.refuse_unreviewed(node)
        refuse_unaudited(self, node)

    def refuse_unreviewed(self, node: Node) -> None:
        """Refuse to train on a dataset that reviewers did not find as good as the recipe asks."""
        if node.stage != "train":
            return
        for upstream in reached_from([node]):
            section = upstream.recipe.filter.review if upstream.recipe.filter else None
            if upstream.stage == "filter" and section and section.max_error is not None:
                made = self.find(upstream)
                if made is None:
                    raise TsqaError(
                        f"filter.review.max_error: {upstream.label} is not built",
                        f"tsqa {command_of(upstream.stage)} {self.told(upstream)}",
                    )
                from tsqa.review.apply import refuse_errors  # it imports pyarrow

                refuse_errors(section, made, self.told(upstream))

    @contextmanager
    def open_stage(self, node: Node) -> Iterator[tuple[StageContext | None, Commit]]:
        """Lock and track a stage; the context is None when another process just finished it."""
        inputs = self.inputs_of(node)
        read = [(upstream.stage, upstream.fingerprint) for upstream in node.inputs.values()]
        stage = (node.stage, node.fingerprint, f"recipe {node.recipe.name}, {self.label(node)}")
        with self.store.reading(read), self.store.working_directory(*stage) as partial:
            if self.find(node) is not None:
                self.store.discard_partial(node.stage, node.fingerprint)
                yield None, lambda summary: None
                return
            started = time.monotonic()
            tracker = self.tracker(node)
            failed = True
            try:

                def commit(summary: Mapping[str, object]) -> None:
                    if node.definition.reads_throughout:
                        self._discard_changed(node)
                    timed = {"seconds": round(time.monotonic() - started, 2), **summary}
                    if node.stage == "train":
                        timed["provenance"] = [asdict(each) for each in origins_of(node.recipe)]
                    leaks = merge_leaks([*(one.summary for one in inputs.values()), summary])
                    if leaks:
                        timed["allowed_leaks"] = leaks
                    made = self.store.commit(
                        partial,
                        node.stage,
                        node.fingerprint,
                        node.config,
                        node.input_fingerprints,
                        timed,
                        node.definition.content,
                    )
                    tracker.summary(_scalars(timed))
                    lineage = {
                        f"{upstream.stage}:{format_role(role)}": upstream.fingerprint
                        for role, upstream in node.inputs.items()
                    }
                    tracker.artifact(made.path, node.stage, node.fingerprint, lineage)

                context = StageContext(
                    node.recipe,
                    inputs,
                    partial,
                    tracker,
                    node.config,
                    node.definition.part,
                    self.spending,
                )
                yield context, commit
                failed = False
            finally:
                tracker.finish(failed)

    def _discard_changed(self, node: Node) -> None:
        """Throw away what was made of files that were edited while the stage read them."""
        try:
            self._refuse_changed(node, "while the stage read it")
        except DataError:
            self.store.discard_partial(node.stage, node.fingerprint)
            raise

    def _refuse_changed(self, node: Node, when: str) -> None:
        changes = [line.partition(": ")[0] for line in changed_since(node)]
        if changes:
            raise DataError(
                f"{self.label(node)}: an input changed {when}: {', '.join(changes)}",
                "run the same command again, and leave the files alone meanwhile",
            )

    def _launch_training(self, node: Node) -> None:
        print_mixture_plan(node.recipe, self.inputs_of(node))
        own = node.origin == self.origin
        overrides = self.overrides if own else [f"tracking.mode={self.recipe.tracking.mode}"]
        job = TrainingJob(
            node,
            overrides=[*overrides, f"runs={self.recipe.runs}"],
            log=self.folder / "logs" / f"{node.stage}-{node.fingerprint}.log",
            metrics=self.store.partial_path_of(node.stage, node.fingerprint) / "metrics.jsonl",
            title=self.label(node),
            spending=self.spending,
            dollars_per_hour=self._hourly(node),
            is_done=lambda: self.find(node) is not None,
        )
        if node.recipe.launch.is_scheduled:
            SubmittedJob(job).run()
        else:
            job.run()

    def _add_exports(self, node: Node) -> bool:
        """Make models along a finished training from checkpoints that it kept, if it did."""
        from train.trainer.exports import add_exports

        found = self.kept_exports(node)
        if found is None:
            return False
        made, exports = found
        made = self.store.find(node.stage, made.fingerprint, "whole") or made
        held = [(node.stage, made.fingerprint)]
        with self.store.reading(held), self.open_stage(node) as (context, commit):
            if context is not None:
                add_exports(node.recipe, made, exports, context.out)
                commit(made.summary)
        return True

    def kept_exports(self, node: Node) -> tuple[Artifact, list[KeptExport]] | None:
        """A training that differs by models along it alone, and its checkpoints of these."""
        from train.trainer.exports import kept_exports

        trained = alike_but_for_more(node)
        inputs = {role: self.find(upstream) for role, upstream in node.inputs.items()}
        there = {role: artifact for role, artifact in inputs.items() if artifact is not None}
        for made in trained if len(there) == len(inputs) else ():
            exports = kept_exports(node.recipe, there, made)
            if exports is not None:
                return made, exports
        return None

    def _hourly(self, node: Node) -> float:
        """Dollars of the GPUs that a training or an evaluation takes."""
        recipe, gpus = node.recipe, 1
        if node.stage == "train" and recipe.train:
            gpus = recipe.train.processes
        elif recipe.eval:
            gpus = recipe.eval.processes * recipe.eval.tensor_parallel
        elsewhere = node.stage == "train" and recipe.launch.kind != "local"
        return recipe.dollars_per_gpu_hour * gpus if elsewhere or has_gpu() else 0.0

    def _needed_for(self, stage: str) -> list[Node]:
        wanted = [node for node in self.nodes if node.stage == stage]
        wanted = [node for node in wanted if node.origin == self.origin] or wanted
        if not wanted:
            stages = ", ".join(dict.fromkeys(node.stage for node in self.nodes))
            raise TsqaError(f"{self.origin}: the recipe has no stage `{stage}`", f"it has {stages}")
        needed = {id(node) for node in reached_from(wanted)}
        needed |= {
            id(node)
            for guarded in self.nodes
            if id(guarded) in needed
            for node in reached_from(guards_of(guarded, self.nodes))
        }
        return [node for node in self.nodes if id(node) in needed]

    def record(self, nodes: list[Node]) -> None:
        """Remember what this recipe last used, for saying what changed, and what it kept out."""
        checked = any(n.stage in ("filter", "decontaminate") and self._is_own(n) for n in nodes)
        if self.recipe.eval is not None and checked:
            remember_tasks(self.recipe)
        self._history.add({self.label(node): node.fingerprint for node in nodes})
        self._history.note(self.origin)


class Training:
    """One arm's training as the ranks of its job share it: the first locks, tracks, commits."""

    DONE, OPEN = "done", "open"

    def __init__(self, recipe: Recipe, origin: Path, arm: str) -> None:
        self._pipeline = Pipeline(recipe, origin, [])
        self.node = trained_node(self._pipeline.nodes, arm)
        if not self.node.trains:
            raise RecipeError(f"the arm {arm} is trained elsewhere", "`tsqa run` takes it in")
        check_floors(self.node.recipe, arm)
        self._opened: tuple[StageContext, Commit] | None = None

    def open(self, scope: ExitStack) -> str:
        """On the first rank: hold the artifact's folder in `scope`; DONE where it is made."""
        if self._pipeline.find(self.node) is None:
            self._pipeline.refuse_unfit(self.node)
            context, commit = scope.enter_context(self._pipeline.open_stage(self.node))
            if context is not None:
                self._opened = context, commit
                return self.OPEN
        return self.DONE

    def join(self) -> StageContext:
        """What the loop needs, on every rank once the first has opened it."""
        if self._opened is not None:
            return self._opened[0]
        node = self.node
        partial = self._pipeline.store.partial_path_of(node.stage, node.fingerprint)
        inputs = self._pipeline.inputs_of(node, check="cheap")  # the first rank reads them whole
        return StageContext(node.recipe, inputs, partial, Tracker.silent())

    def commit(self, summary: Mapping[str, object]) -> None:
        """On the first rank: make the artifact; on the others nothing."""
        if self._opened is not None:
            self._opened[1](summary)


def _scalars(summary: Mapping[str, object]) -> dict[str, int | float | str]:
    return {key: value for key, value in summary.items() if isinstance(value, (int, float, str))}


def _headline(artifact: Artifact) -> str:
    """The first few counts of a summary, for one line in the terminal."""
    shown = [
        f"{key.replace('_', ' ')} {value:,}" if isinstance(value, int) else f"{key} {value:.4g}"
        for key, value in artifact.summary.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and key != "seconds"
    ]
    return ", ".join(shown[:4])
