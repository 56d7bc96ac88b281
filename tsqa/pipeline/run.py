"""Runs what is not yet done, in order, and says what it reuses.

Promises: a finished artifact is never made again nor overwritten; a changed setting is named;
a kill at any moment loses at most the work in flight.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.text import Text

from tsqa.console import console, progress_bar
from tsqa.errors import DataError, EngineError, TsqaError
from tsqa.pipeline.graph import Node, build_graph, changed_since, trained_node
from tsqa.pipeline.model_uses import check_use, model_uses
from tsqa.recipe import Recipe, arm_config, arms_of, needed
from tsqa.store.artifact import Artifact, Store, differing_keys, write_json
from tsqa.store.manifest import Check
from tsqa.store.process import die_with_parent
from tsqa.store.readers import Stages, read_own
from tsqa.store.stage import StageContext
from tsqa.store.tracking import Tracker

LAUNCH_FOLDER = Path(__file__).parents[2] / "launch" / "accelerate"
_LAUNCH_TAIL = 25
_LONGEST_LABEL = 40
"""Characters that what follows a label is aligned by."""

_READS_ALL_ALONG = {"seeds", "tokenize", "evaluate"}
"""The others hold what they need of the user's files once they have begun."""
STAGE_FUNCTIONS = {
    "data": "tsqa.tasks.toy",
    "seeds": "tsqa.seeds",
    "generate": "tsqa.generate.stage",
    "filter": "tsqa.filters",
    "tokenize": "train.data.tokenize",
    "evaluate": "eval.harness.stage",
    "compare": "eval.compare.stage",
}


class Pipeline:
    """One recipe, its nodes, and the store that holds their artifacts."""

    def __init__(self, recipe: Recipe, origin: Path, overrides: list[str]) -> None:
        self.recipe = recipe
        self.origin = origin
        self.overrides = overrides
        self.store = Store(Path(recipe.runs) / "artifacts")
        self.folder = Path(recipe.runs) / recipe.name
        self.nodes = build_graph(recipe, origin)
        self.arms = arms_of(recipe) if recipe.train else {}
        longest = max((len(self.label(node)) for node in self.nodes), default=0)
        self._width = min(_LONGEST_LABEL, longest)
        self.ran: set[str] = set()
        """Fingerprints made by this process; everything else was reused."""

    def find(self, node: Node) -> Artifact | None:
        return self.store.find(node.stage, node.fingerprint)

    def latest(self, stage: str) -> Artifact | None:
        """The artifact of a stage that was finished last, of whatever recipe."""
        made = self.finished_of(stage)
        return max(made, key=lambda a: str(a.manifest["created"]), default=None)

    def finished_of(self, stage: str) -> list[Artifact]:
        """Every finished artifact of a stage that is whole, of whatever recipe."""
        return self.store.finished(stage)

    def check(self) -> None:
        """Refuse, before any work, what could only fail after it."""
        self.check_tasks()
        self.check_models()

    def check_models(self) -> None:
        """Refuse model folders that are not whole, and lengths beyond a model's positions."""
        checked = set()
        for node in self.nodes:
            if node.stage not in ("generate", "filter", "train", "evaluate") or self.find(node):
                continue
            for use in model_uses(node):
                if use not in checked:
                    checked.add(use)
                    check_use(use)

    def check_tasks(self) -> None:
        """Refuse, before any work, evaluated tasks that could not be compared after it.

        What is scored already was checked then, and the tasks that the data stage builds are ours.
        """
        from eval.harness.metrics import check_metrics

        checked = set()
        for node in self.nodes:
            if node.stage != "evaluate" or self.find(node) is not None:
                continue
            section = needed(node.recipe.eval, "eval")
            asked = (tuple(section.tasks), section.include)
            if asked not in checked and "{data}" not in (section.include or ""):
                check_metrics(section, Path(section.include) if section.include else None)
            checked.add(asked)

    def run(self, until: str | None = None) -> dict[str, Artifact]:
        """Run every node (up to the last of stage `until`); return label -> artifact."""
        self.check()
        artifacts: dict[str, Artifact] = {}
        nodes = self.nodes if until is None else self._needed_for(until)
        for node in nodes:
            artifacts[self.label(node)] = self.ensure(node)
        self.record(nodes)
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
            raise TsqaError(f"{self.origin}: {stage} is not built", f"tsqa {stage} {self.origin}")
        return artifact

    def label(self, node: Node) -> str:
        """`train:arm`, with the recipe's name before it where it is a model's own recipe."""
        own = node.recipe.name == self.recipe.name
        return node.label if own else f"{node.recipe.name}/{node.stage}"

    def inputs_of(self, node: Node, check: Check = "whole") -> dict[str, Artifact]:
        """The finished inputs of a node, read and compared with what was written.

        A missing one is an error that names its stage.
        """
        found = {}
        for role, upstream in node.inputs.items():
            artifact = self.store.find(upstream.stage, upstream.fingerprint, check)
            if artifact is None:
                raise TsqaError(
                    f"{node.label} needs {upstream.label}, which is not built",
                    f"tsqa {upstream.stage} {upstream.origin}",
                )
            found[role] = artifact
        return found

    def tracker(self, node: Node) -> Tracker:
        return Tracker(
            self.recipe.tracking,
            experiment=self.recipe.name,
            stage=node.stage,
            arm=node.arm,
            fingerprint=node.fingerprint,
            config={
                "recipe": node.recipe.model_dump(mode="json", by_alias=True),
                "stage": node.config,
                "inputs": node.input_fingerprints,
                **self._arm_config(node),
            },
            directory=Path(self.recipe.runs),
        )

    def _arm_config(self, node: Node) -> dict[str, Any]:
        """What varies, under the same keys for all arms, so that runs can be grouped by it."""
        arm = self.arms.get((node.arm or "").rpartition("@")[0] or str(node.arm))
        if arm is None or node.recipe.name != self.recipe.name:
            return {}
        return arm_config(arm)

    def ensure(self, node: Node) -> Artifact:
        """The artifact of a node whose inputs are there: found, or made."""
        cached = self.find(node)
        name = (self.label(node).ljust(self._width), "bold")
        if cached is not None:
            path = (str(cached.path), "dim")
            console.print(Text.assemble(name, f" reused  {_headline(cached)}  ", path))
            return cached
        self._print_changes(node)
        self._refuse_changed(node, "since this command began")
        started = time.monotonic()
        console.print(Text.assemble(name, " running"))
        if node.stage == "train":
            self._launch_training(node)
        else:
            module = importlib.import_module(STAGE_FUNCTIONS[node.stage])
            with self._open(node) as (context, commit):
                if context is not None:
                    commit(module.run(context))
        made = self.find(node)
        if made is None:
            raise TsqaError(f"{node.label}: ended without its artifact", "run it again")
        self.ran.add(node.fingerprint)
        seconds = time.monotonic() - started
        took = (f"in {seconds:.1f} s", "dim")
        console.print(Text.assemble(name, f" done    {_headline(made)}  ", took))
        return made

    @contextmanager
    def _open(
        self, node: Node
    ) -> Iterator[tuple[StageContext | None, Callable[[Mapping[str, Any]], None]]]:
        """Lock and track a stage; the context is None when another process just finished it."""
        inputs = self.inputs_of(node)
        with self.store.working_directory(node.stage, node.fingerprint) as partial:
            if self.find(node) is not None:
                self.store.discard_partial(node.stage, node.fingerprint)
                yield None, lambda summary: None
                return
            started = time.monotonic()
            tracker = self.tracker(node)
            failed = True
            try:

                def commit(summary: Mapping[str, Any]) -> None:
                    if node.stage in _READS_ALL_ALONG:
                        self._discard_changed(node)
                    timed = {"seconds": round(time.monotonic() - started, 2), **summary}
                    leaks = _allowed_leaks(summary, inputs)
                    if leaks:
                        timed["allowed_leaks"] = leaks
                    made = self.store.commit(
                        partial,
                        node.stage,
                        node.fingerprint,
                        node.config,
                        node.input_fingerprints,
                        timed,
                    )
                    tracker.summary(_scalars(timed))
                    lineage = {
                        f"{upstream.stage}:{role}": upstream.fingerprint
                        for role, upstream in node.inputs.items()
                    }
                    tracker.artifact(made.path, node.stage, node.fingerprint, lineage)

                yield StageContext(node.recipe, inputs, partial, tracker, node.config), commit
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
        """Start `accelerate launch -m train` and keep its log; show its bar as it runs."""
        self._print_plan(node)
        processes = needed(node.recipe.train, "train").processes
        own = node.origin == self.origin
        overrides = self.overrides if own else [f"tracking.mode={self.recipe.tracking.mode}"]
        command = [
            *(sys.executable, "-m", "accelerate.commands.launch"),
            *("--config_file", str(LAUNCH_FOLDER / "cpu.yaml")),
            *("--num_processes", str(processes)),
            *("-m", "train", str(node.origin), *overrides, f"runs={self.recipe.runs}"),
            *("--arm", str(node.arm)),
        ]
        log_path = self.folder / "logs" / f"{node.stage}-{node.fingerprint}.log"
        log_path.parent.mkdir(parents=True, exist_ok=True)
        threads = str(max(1, (os.cpu_count() or 1) // processes))
        environment = {"OMP_NUM_THREADS": threads, **os.environ}
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=die_with_parent,
            )
            self._follow_training(node, process)
        code = process.wait()
        if code:
            shown = "\n    ".join(_own_lines(log_path)[-_LAUNCH_TAIL:])
            raise EngineError(
                f"{node.label}: `accelerate launch -m train` ended with code {code}; "
                f"last lines of {log_path}:\n    {shown}",
                "see these lines; a rerun continues from the last checkpoint",
            )

    def _print_plan(self, node: Node) -> None:
        """Print what a training run will draw; too little data is refused before it starts."""
        from train.data.mixture import plan_of, plan_table
        from train.data.token_files import TokenSources

        tokens = self.inputs_of(node)["tokenize"].path
        sources = read_own(tokens / "sources.json", TokenSources)["sources"]
        made = plan_of(node.recipe, {name: source["rows"] for name, source in sources.items()})
        padding = {name: source["padding"] for name, source in sources.items()}
        console.print(plan_table(made, padding))

    def _follow_training(self, node: Node, process: subprocess.Popen[bytes]) -> None:
        """Show a bar from the metrics that the job writes, until it ends."""
        partial = self.store.partial_path_of(node.stage, node.fingerprint)
        metrics = partial / "metrics.jsonl"
        total = needed(node.recipe.mixture, "mixture").tokens
        with progress_bar() as bar:
            task = bar.add_task(f"  {self.label(node)} tokens", total=total, note="starting")
            while process.poll() is None:
                time.sleep(0.3)
                last = _last_record(metrics)
                if last:
                    note = f"loss {last['train/loss']:.3f}"
                    bar.update(task, completed=last["train/tokens"], note=note)

    def _needed_for(self, stage: str) -> list[Node]:
        wanted = [node for node in self.nodes if node.stage == stage]
        wanted = [node for node in wanted if node.origin == self.origin] or wanted
        if not wanted:
            raise TsqaError(f"{self.origin}: the recipe has no stage `{stage}`")
        needed: set[str] = set()
        while wanted:
            node = wanted.pop()
            needed.add(node.fingerprint)
            wanted += node.inputs.values()
        return [node for node in self.nodes if node.fingerprint in needed]

    def _print_changes(self, node: Node) -> None:
        """Say which keys make this artifact differ from the one this recipe last used."""
        previous = self._recorded().get(self.label(node))
        if previous in (None, node.fingerprint):
            return
        old = None
        with suppress(DataError):  # a damaged one that is not used any more
            old = self.store.find(node.stage, str(previous))
        if old is None:
            return
        for line in differing_keys(old.manifest["config"], node.config):
            console.print(Text.assemble("  ", ("changed", "yellow"), f" {line}"))
        # A comparison names some inputs by their fingerprints: these say nothing beside the arms.
        before, now = (
            {role: fingerprint for role, fingerprint in given.items() if fingerprint not in role}
            for given in (old.manifest["inputs"], node.input_fingerprints)
        )
        inputs = differing_keys(before, now, "input ")
        for line in inputs:
            console.print(Text.assemble("  ", ("changed", "yellow"), f" {line}"))

    def _recorded(self) -> dict[str, str]:
        try:
            return read_own(self.folder / "stages.json", Stages)
        except DataError:  # it only serves to say what changed, and is written again
            return {}

    def record(self, nodes: list[Node]) -> None:
        """Remember what this recipe last used, for saying what changed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        latest = {**self._recorded(), **{self.label(node): node.fingerprint for node in nodes}}
        write_json(self.folder / "stages.json", latest)


@contextmanager
def train_context(
    recipe: Recipe, origin: Path, arm: str, main_process: bool
) -> Iterator[tuple[StageContext | None, Callable[[Mapping[str, Any]], None]]]:
    """What `-m train` needs: the stage context of one arm, and how to commit it.

    Every rank gets the context; only the main process locks, tracks and commits. The context is
    None when the artifact is already there.
    """
    pipeline = Pipeline(recipe, origin, [])
    node = trained_node(pipeline.nodes, arm)
    if pipeline.find(node) is not None:
        yield None, lambda summary: None
        return
    if main_process:
        with pipeline._open(node) as (context, commit):
            yield context, commit
        return
    partial = pipeline.store.partial_path_of(node.stage, node.fingerprint)
    inputs = pipeline.inputs_of(node, check="cheap")  # the main process reads them whole
    context = StageContext(node.recipe, inputs, partial, Tracker.silent())
    yield context, lambda summary: None


def _own_lines(log: Path) -> list[str]:
    """The job's own lines: what torchrun adds about its failed child says nothing new."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    ends = [number for number, line in enumerate(lines) if "multiprocessing/api.py" in line]
    return lines[: ends[0]] if ends else lines


def _last_record(path: Path) -> dict[str, Any] | None:
    """The last whole line of a growing JSONL file."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, path.stat().st_size - 4096))
            lines = handle.read().split(b"\n")[:-1]
        record: dict[str, Any] = json.loads(lines[-1])
    except (OSError, ValueError, IndexError):
        return None
    return record


def _refuse_changed(node: Node, when: str) -> None:
    changes = changed_since(node)
    if changes:
        raise DataError(
            f"an input changed {when}: {'; '.join(changes)}", "leave it alone meanwhile"
        )


def _allowed_leaks(
    summary: Mapping[str, Any], inputs: Mapping[str, Artifact]
) -> list[dict[str, str]]:
    """Tasks that were seeded from although they leak: every artifact downstream says so."""
    told = (summary, *(artifact.summary for artifact in inputs.values()))
    by_task = {leak["task"]: leak for one in told for leak in one.get("allowed_leaks", [])}
    return [by_task[task] for task in sorted(by_task)]


def _scalars(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in summary.items() if isinstance(value, (int, float, str))}


def _headline(artifact: Artifact) -> str:
    """The first few counts of a summary, for one line in the terminal."""
    shown = [
        f"{key.replace('_', ' ')} {value:,}" if isinstance(value, int) else f"{key} {value:.4g}"
        for key, value in artifact.summary.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and key != "seconds"
    ]
    return ", ".join(shown[:4])
