"""From a recipe to its stages: which artifacts it names, and what each is made from.

Guarantees: data flows one way; a fingerprint is known before anything runs; arms share every stage
whose data-relevant settings are equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from eval.compare.definition import COMPARE
from eval.harness.definition import EVALUATE, EVALUATE_UNTRAINED
from train.data.definition import (
    TOKENIZER,
    decontaminate_stage,
    is_checked,
    nearest_stage,
    read_sources,
    tokenize_stage,
)
from train.trainer.definition import TRAIN, train_stage
from tsqa.errors import RecipeError
from tsqa.hub.pins import PINS
from tsqa.pipeline.node import Node, forget_files, reached_from
from tsqa.pipeline.stages import DATASET_STAGES
from tsqa.pipeline.variants import name_variants
from tsqa.recipe import (
    ModelSection,
    Recipe,
    arms_of,
    control_of,
    curve_points,
    load_recipe,
    needed,
    stream_check,
)
from tsqa.store.artifact import Store
from tsqa.store.digests import DIGESTS
from tsqa.store.roles import BASE, ArmRole, CheckedRole, PointRole, Role, SourceRole
from tsqa.store.stage import Stage

_AFTER_DATASET = frozenset(
    {
        "name",
        "audit",
        "model",
        "tokenizer",
        "mixture",
        "train",
        "ablation",
        "generations",
        "tracking",
        "seed",
        "launch",
    }
)
"""Sections that no stage of a dataset reads."""
_READ_FROM = frozenset({"data", "filter", "seeds", "guard", "nearest"})
"""Roles of what a source is read from."""


def build_graph(recipe: Recipe, origin: Path, ancestors: tuple[Path, ...] = ()) -> list[Node]:
    """Return the recipe's nodes in the order in which they can run.

    Seeds come first: what they refuse (an unknown task, a leak) is refused before any training.
    """
    if not ancestors:  # files are looked at once for each graph, not for each node of it
        DIGESTS.remember_below(Path(recipe.runs) / "artifacts")
        PINS.keep_below(Path(recipe.runs) / "artifacts")
        forget_files()
    if origin.resolve() in ancestors:
        raise RecipeError(f"{origin}: the recipes of its models go in a circle")
    graph = _Graph(recipe, origin, (*ancestors, origin.resolve()))
    arms = arms_of(recipe) if recipe.train else {}
    control = [arm.recipe for arm in arms.values() if arm.condition == control_of(recipe)]
    root = graph.add_dataset(control[0] if control else recipe)
    for arm in arms.values():
        graph.add_dataset(arm.recipe)
    base = graph.add_trained(recipe.model) if recipe.model else None
    results: dict[Role, Node] = {}
    checked: dict[tuple[object, ...], Node] = {}
    if recipe.eval and (base or (recipe.model and recipe.model.path)):
        stage = EVALUATE if base else EVALUATE_UNTRAINED
        results[BASE] = graph.add(stage, recipe, _evaluated(root, "model", base), BASE)
    for arm in arms.values():
        made = graph.add_dataset(arm.recipe)
        tokens = graph.add_tokens(arm.recipe, made)
        for node in (made.get("filter"), *(n.inputs.get("decontaminate") for n in tokens.values())):
            if node is not None:
                checked.setdefault(node.key, node)
        stage = train_stage(arm.recipe)
        trained = graph.add_declared(stage, arm.recipe, {**made, **tokens}, arm.name)
        if recipe.eval:
            inputs = _evaluated(made, "model", trained)
            results[ArmRole(arm.name)] = graph.add(EVALUATE, arm.recipe, inputs, arm.name)
            for point in curve_points(arm.recipe):
                inputs = _evaluated(made, PointRole(point), trained)
                graph.add(EVALUATE, arm.recipe, inputs, arm.name, point)
    if len(results) > 1:
        for node in graph.add_ancestor_checks(recipe, root, [*results.values()]):
            checked.setdefault(node.key, node)
        for number, node in enumerate(checked.values()):
            results[CheckedRole(node.stage, number)] = node
        graph.add(COMPARE, recipe, results)
    return name_variants(_unique(graph.nodes), list(arms.values()))


class _Graph:
    """The nodes of one recipe, and of the recipes that train its models."""

    def __init__(self, recipe: Recipe, origin: Path, ancestors: tuple[Path, ...]) -> None:
        self.nodes: list[Node] = []
        self._store = Store(Path(recipe.runs) / "artifacts")
        self._recipe, self._origin, self._ancestors = recipe, origin, ancestors
        self._datasets: dict[tuple[str, ...], dict[Role, Node]] = {}
        self._trained: dict[str, Node] = {}

    def add(
        self,
        stage: Stage,
        recipe: Recipe,
        inputs: Mapping[Role, Node],
        arm: str | None = None,
        point: int | None = None,
    ) -> Node:
        node = Node(stage, recipe, self._origin, self._store, inputs, arm, point)
        self.nodes.append(node)
        return node

    def add_declared(
        self, stage: Stage, recipe: Recipe, made: Mapping[Role, Node], arm: str | None = None
    ) -> Node:
        """Add a stage that reads the inputs and trained models that its definition names."""
        inputs: dict[Role, Node] = {
            role: made[role] for role in stage.inputs(recipe) if role in made
        }
        for role, model in stage.models(recipe).items():
            trained = self.add_trained(model)
            if trained is not None:
                inputs[role] = trained
        return self.add(stage, recipe, inputs, arm)

    def add_tokens(self, recipe: Recipe, made: Mapping[Role, Node]) -> dict[Role, Node]:
        """Role -> node, of the tokenizer and of the tokens of each source that training reads."""
        tokenizer = self.add_declared(TOKENIZER, recipe, made)
        tokens: dict[Role, Node] = {"tokenizer": tokenizer}
        sources = needed(recipe.mixture, "mixture").sources
        # What is chosen from a source has the size of another, whose tokens come first.
        for name in sorted(
            read_sources(recipe), key=lambda name: sources[name].nearest is not None
        ):
            ready, near = {**made, **tokens}, sources[name].nearest
            if near:
                found = self._add_check(near.pool, recipe, ready)
                ready["nearest"] = self.add_declared(nearest_stage(name), recipe, found)
            ready = self._add_check(name, recipe, ready)
            tokens[SourceRole(name)] = self.add_declared(tokenize_stage(name), recipe, ready)
        return tokens

    def _add_check(
        self, source: str, recipe: Recipe, made: Mapping[Role, Node]
    ) -> dict[Role, Node]:
        """These nodes, with the check of a source where it is checked."""
        if not is_checked(recipe, source):
            return {**made}
        return {
            **made,
            "decontaminate": self.add_declared(decontaminate_stage(source), recipe, made),
        }

    def add_ancestor_checks(
        self, recipe: Recipe, made: Mapping[Role, Node], results: Sequence[Node]
    ) -> list[Node]:
        """What says whether the models that others were made from saw what `recipe` evaluates.

        The filters of their recipes, and a check of each of their sources: theirs looked for what
        they evaluate themselves, if at all. A dataset whose filter looked for the same needs none.
        """
        found, check = [], stream_check(recipe)
        wanted = made["benchmarks"].fingerprint if check else ""
        for trained in reached_from(results):
            if trained.stage != TRAIN.name or trained.origin == self._origin:
                continue
            mixture, rendered = needed(trained.recipe.mixture, "mixture"), trained.recipe.filter
            checking = recipe.model_copy(
                update={
                    "name": trained.recipe.name,
                    "mixture": mixture.model_copy(update={"decontaminate": True}),
                    **(
                        {"filter": rendered.model_copy(update={"decontaminate": check})}
                        if rendered and check
                        else {}
                    ),
                }
            )
            for role, tokens in trained.inputs.items():
                filtered = tokens.inputs.get("filter")
                if filtered is not None:
                    found.append(filtered)
                    looked = filtered.inputs.get("benchmarks")
                    if looked is not None and looked.fingerprint == wanted:
                        continue
                if isinstance(role, SourceRole) and check:
                    inputs: dict[Role, Node] = {"benchmarks": made["benchmarks"]}
                    inputs |= {r: n for r, n in tokens.inputs.items() if r in _READ_FROM}
                    stage = decontaminate_stage(role.source)
                    found.append(self.add_declared(stage, checking, inputs))
        return found

    def add_dataset(self, recipe: Recipe) -> dict[Role, Node]:
        """Stage -> node, up to the dataset; the same nodes for arms with equal settings."""
        stages = [stage for stage in DATASET_STAGES if stage.wanted(recipe)]
        settings = recipe.model_dump_json(exclude=set(_AFTER_DATASET))
        key = (settings, *(stage.name for stage in stages))
        if key not in self._datasets:
            made = self._datasets[key] = {}
            for stage in stages:
                made[stage.name] = self.add_declared(stage, recipe, made)
        return self._datasets[key]

    def add_trained(self, model: ModelSection) -> Node | None:
        """Add the nodes of the recipe that trains a model; return its train node."""
        if model.recipe is None:
            return None
        if model.recipe not in self._trained:
            path = Path(model.recipe)
            runs, mode = self._recipe.runs, self._recipe.tracking.mode
            inner = load_recipe(path, [f"runs={runs}", f"tracking.mode={mode}"])
            nodes = build_graph(inner, path, self._ancestors)
            self.nodes += nodes
            trained = [node for node in nodes if node.stage == TRAIN.name]
            self._trained[model.recipe] = trained[-1]
        return self._trained[model.recipe]


def _evaluated(made: Mapping[Role, Node], role: Role, model: Node | None) -> dict[Role, Node]:
    """The inputs of an evaluation: the model in its role, and the tasks that the recipe made."""
    data: dict[Role, Node] = {"data": made["data"]} if "data" in made else {}
    return data if model is None else {**data, role: model}


def _unique(nodes: list[Node]) -> list[Node]:
    seen: dict[tuple[object, ...], Node] = {}
    for node in nodes:
        seen.setdefault(node.key, node)
    return list(seen.values())
