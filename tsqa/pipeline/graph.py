"""From a recipe to its stages: which artifacts it names, and what each is made from.

Promises: data flows one way; a fingerprint is known before anything runs; arms share every stage
whose data-relevant settings are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib.metadata import distribution, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tsqa.errors import RecipeError
from tsqa.filters.language import check_codes
from tsqa.hub.pins import PINS
from tsqa.prompts import Role, load_prompts
from tsqa.recipe import (
    Arm,
    DatasetSection,
    FilterSection,
    GenerateSection,
    ModelSection,
    Recipe,
    SourceSection,
    TeacherSection,
    arms_of,
    control_of,
    curve_points,
    is_hub_id,
    key_tails,
    load_recipe,
    named_values,
    needed,
    stream_check,
)
from tsqa.store.artifact import differing_keys, fingerprint_of
from tsqa.store.digests import DIGESTS
from tsqa.store.identity import adapter_base, file_identity, folder_identity

TAXONOMY = Path(__file__).parents[1] / "seeds" / "taxonomy.yaml"
STAGES = ("data", "seeds", "generate", "filter", "tokenize", "train", "evaluate", "compare")
STAGE_VERSIONS = {**dict.fromkeys(STAGES, 3), "data": 1, "train": 2, "evaluate": 2, "compare": 2}
"""Raise a number when the code of a stage changes what it writes."""


@dataclass(frozen=True)
class Node:
    """One stage of one arm; two nodes with one fingerprint are one artifact."""

    stage: str
    arm: str | None
    recipe: Recipe
    origin: Path
    """The YAML file, for `accelerate launch -m train`."""
    inputs: Mapping[str, Node] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.stage}:{self.arm}" if self.arm else self.stage

    @cached_property
    def config(self) -> dict[str, Any]:
        return {"version": STAGE_VERSIONS[self.stage], **_stage_config(self)}

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint_of(self.stage, self.config, self.input_fingerprints)

    @property
    def input_fingerprints(self) -> dict[str, str]:
        return {role: node.fingerprint for role, node in self.inputs.items()}


def build_graph(recipe: Recipe, origin: Path, ancestors: tuple[Path, ...] = ()) -> list[Node]:
    """Return the recipe's nodes in the order in which they can run.

    Seeds come first: what they refuse (an unknown task, a leak) is refused before any training.
    """
    if not ancestors:  # files are looked at once for each graph, not for each node of it
        DIGESTS.remember_below(Path(recipe.runs) / "artifacts")
        PINS.keep_below(Path(recipe.runs) / "artifacts")
        _forget_files()
    if origin.resolve() in ancestors:
        raise RecipeError(f"{origin}: the recipes of its models go in a circle")
    ancestors = (*ancestors, origin.resolve())
    nodes: list[Node] = []

    def add(stage: str, inputs: Mapping[str, Node | None], of: Recipe, arm: str | None) -> Node:
        node = Node(stage, arm, of, origin, {k: v for k, v in inputs.items() if v is not None})
        nodes.append(node)
        return node

    chains: dict[str, _Chain] = {}

    def chain_of(of: Recipe) -> _Chain:
        """The arm's way to its dataset; arms whose settings for it are equal get the same nodes."""
        key = of.model_dump_json(include={"data", "seeds", "generate", "filter", "eval"})
        if key not in chains:
            chains[key] = _add_chain(of, add, ancestors, nodes)
        return chains[key]

    arms = arms_of(recipe) if recipe.train else {}
    control = [arm.recipe for arm in arms.values() if arm.condition == control_of(recipe)]
    root = chain_of(control[0] if control else recipe)
    for arm in arms.values():
        chain_of(arm.recipe)
    base = _trained_by_recipe(recipe.model, recipe, ancestors, nodes) if recipe.model else None
    results: dict[str, Node] = {}
    checked: dict[str, Node | None] = {"filter": root.filtered}
    if recipe.eval and (base or (recipe.model and recipe.model.path)):
        results["base"] = add("evaluate", {"model": base, "data": root.data}, recipe, "base")
    for arm in arms.values():
        chain, own = chain_of(arm.recipe), base
        if arm.recipe.model != recipe.model:
            model = needed(arm.recipe.model, "model")
            own = _trained_by_recipe(model, arm.recipe, ancestors, nodes)
        inputs = {"data": chain.data, "filter": chain.filtered, "model": own}
        if chain.filtered and chain is not root:
            checked[f"filter:{chain.filtered.fingerprint}"] = chain.filtered
        tokens = add("tokenize", inputs, arm.recipe, None)
        checked[f"tokens:{tokens.fingerprint}"] = tokens
        inputs = {"data": chain.data, "tokenize": tokens, "model": own}
        trained = add("train", inputs, arm.recipe, arm.name)
        if recipe.eval:
            inputs = {"data": chain.data, "model": trained}
            results[f"arm:{arm.name}"] = add("evaluate", inputs, arm.recipe, arm.name)
            for point in curve_points(arm.recipe):
                inputs = {"data": chain.data, f"model@{point}": trained}
                add("evaluate", inputs, arm.recipe, f"{arm.name}@{point}")
    if len(results) > 1:
        add("compare", {**results, **checked}, recipe, None)
    return _labelled(_unique(nodes), list(arms.values()))


@dataclass(frozen=True)
class _Chain:
    """What an arm's data come from."""

    data: Node | None
    filtered: Node | None


_Add = Callable[[str, Mapping[str, "Node | None"], Recipe, "str | None"], Node]


def _add_chain(recipe: Recipe, add: _Add, ancestors: tuple[Path, ...], nodes: list[Node]) -> _Chain:
    data = add("data", {}, recipe, None) if recipe.data else None
    if not recipe.seeds:
        return _Chain(data, None)
    seeds = add("seeds", {"data": data}, recipe, None)
    if not recipe.generate:
        return _Chain(data, None)
    inputs = {"seeds": seeds, "data": data}
    for role, teacher in teachers_of(recipe.generate).items():
        inputs[role] = _trained_by_recipe(teacher.model, recipe, ancestors, nodes)
    generated = add("generate", inputs, recipe, None)
    if not recipe.filter:
        return _Chain(data, None)
    inputs = {"seeds": seeds, "generate": generated, "data": data}
    if recipe.filter.triviality:  # it may ask the teacher itself
        inputs["teacher"] = generated.inputs.get("teacher")
    for role, teacher in teachers_of(recipe.filter).items():
        inputs[role] = _trained_by_recipe(teacher.model, recipe, ancestors, nodes)
    return _Chain(data, add("filter", inputs, recipe, None))


def changed_since(node: Node) -> list[str]:
    """What of the files that a stage reads itself differs from when its graph was built."""
    _forget_files()
    now = {"version": STAGE_VERSIONS[node.stage], **_stage_config(node)}
    return differing_keys(node.config, now)


def _forget_files() -> None:
    _identify.cache_clear()
    _identify_tasks.cache_clear()


def upstream_of(node: Node) -> dict[str, Node]:
    """Fingerprint -> node, of the node itself and all that it is made from."""
    found = {node.fingerprint: node}
    for upstream in node.inputs.values():
        found |= upstream_of(upstream)
    return found


def _labelled(nodes: list[Node], arms: Sequence[Arm]) -> list[Node]:
    """Say of each stage that is not the same for all arms which ones it is for."""
    users: dict[str, list[Arm]] = {}
    trained = {node.arm: node for node in nodes if node.stage == "train"}
    for arm in arms:
        if arm.name in trained:
            for fingerprint in upstream_of(trained[arm.name]):
                users.setdefault(fingerprint, []).append(arm)
    names: dict[str, str] = {}
    for stage in ("data", "seeds", "generate", "filter", "tokenize"):
        own = (
            [n for n in nodes if n.stage == stage and n.recipe.name == arms[0].recipe.name]
            if arms
            else []
        )
        used = [node for node in own if node.fingerprint in users]
        if len(used) > 1:
            groups = [users[node.fingerprint] for node in used]
            texts = what_differs(groups)
            names |= {node.fingerprint: text for node, text in zip(used, texts, strict=True)}
    made: dict[str, Node] = {}
    for node in nodes:
        inputs = {role: made[upstream.fingerprint] for role, upstream in node.inputs.items()}
        arm_name = names.get(node.fingerprint, node.arm)
        named = replace(node, arm=arm_name, inputs=inputs)
        # Neither depends on the label, and both read files.
        vars(named).update(config=node.config, fingerprint=node.fingerprint)
        made[node.fingerprint] = named
    return list(made.values())


def what_differs(groups: Sequence[Sequence[Arm]]) -> list[str]:
    """A name for each group of arms: the settings that its arms share and other groups have not.

    Where no setting tells them apart, the largest group has no name.
    """
    tails = key_tails({key for group in groups for arm in group for key in arm.values})
    shared = [
        {
            key: arms[0].values.get(key)
            for key in tails
            if all(arm.values.get(key) == arms[0].values.get(key) for arm in arms)
        }
        for arms in groups
    ]
    told = [key for key in tails if all(key in values for values in shared)]
    told = [key for key in told if any(v[key] != shared[0][key] for v in shared)]
    names = [
        named_values({key: values[key] for key in told if key in arms[0].values}, tails)
        for values, arms in zip(shared, groups, strict=True)
    ]
    if len(set(names)) == len(groups):
        return names
    largest = max(groups, key=len)
    return ["" if arms is largest else arms[0].condition for arms in groups]


def trained_node(nodes: list[Node], arm: str) -> Node:
    """The train node of one arm of the recipe itself (the last of that name)."""
    found = [node for node in nodes if node.stage == "train" and node.arm == arm]
    if not found:
        known = sorted({node.arm or "" for node in nodes if node.stage == "train"})
        raise RecipeError(f"no arm `{arm}`", f"use one of: {', '.join(known)}")
    return found[-1]


def _trained_by_recipe(
    model: ModelSection, parent: Recipe, ancestors: tuple[Path, ...], nodes: list[Node]
) -> Node | None:
    """Add the nodes of the recipe that a model section names; return its train node."""
    if model.recipe is None:
        return None
    path = Path(model.recipe)
    overrides = [f"runs={parent.runs}", f"tracking.mode={parent.tracking.mode}"]
    inner = build_graph(load_recipe(path, overrides), path, ancestors)
    nodes += inner
    return [node for node in inner if node.stage == "train"][-1]


def _unique(nodes: list[Node]) -> list[Node]:
    seen: dict[tuple[str, str], Node] = {}
    for node in nodes:
        seen.setdefault((node.stage, node.fingerprint), node)
    return list(seen.values())


def _stage_config(node: Node) -> dict[str, Any]:
    recipe = node.recipe
    match node.stage:
        case "data":
            assert recipe.data
            return recipe.data.data_config()
        case "seeds":
            assert recipe.seeds
            datasets = [
                {**dataset.data_config(), "path": _identify_dataset(dataset)}
                for dataset in recipe.seeds.datasets
            ]
            return {
                **recipe.seeds.data_config(),
                "include": _identify_tasks(recipe.seeds.include),
                "datasets": datasets,
                "taxonomy": [file_identity(TAXONOMY), _identify(recipe.seeds.taxonomy)],
                "evaluated": _evaluated(recipe),
            }
        case "generate":
            assert recipe.generate
            config = recipe.generate.data_config()
            config["teacher"] = _teacher_config(recipe.generate.teacher)
            if recipe.generate.cascade:
                config["cascade"]["teacher"] = _teacher_config(recipe.generate.cascade.teacher)
            prompts = recipe.generate.prompts
            config["prompts"] = {
                "question": _prompts(prompts.question, "question", "generate.prompts.question"),
                "answer": _prompts(prompts.answer, "answer", "generate.prompts.answer"),
            }
            return config
        case "filter":
            assert recipe.filter
            return {**_filter_config(recipe.filter), "evaluated": _evaluated(recipe)}
        case "tokenize":
            tokenizer = recipe.tokenizer.data_config() if recipe.tokenizer else None
            if tokenizer:
                tokenizer["path"] = _identify_model(tokenizer["path"])
                tokenizer["train_on"] = [
                    _identify_data(path, "tokenizer.train_on") for path in tokenizer["train_on"]
                ]
            sources = {
                name: _source_config(source, f"mixture.sources.{name}.path")
                for name, source in needed(recipe.mixture, "mixture").tokenized.items()
            }
            check = stream_check(recipe)
            return {
                "tokenizer": tokenizer,
                "model": None if tokenizer else _model_config(needed(recipe.model, "model")),
                "sources": sources,
                "evaluated": _evaluated(recipe) if check else None,
                "decontaminate": check.data_config() if check else None,
                "sequence_length": needed(recipe.train, "train").sequence_length,
            }
        case "train":
            mixture = needed(recipe.mixture, "mixture")
            drawn = mixture.data_config()
            drawn["sources"] = sorted(drawn["sources"])
            del drawn["decontaminate"]  # the tokens say
            subsets = {
                name: [source.subset_of, source.size_of]
                for name, source in mixture.sources.items()
                if source.subset_of
            }
            drawn |= {"subsets": subsets} if subsets else {}
            config = {
                "model": _model_config(needed(recipe.model, "model")),
                "mixture": drawn,
                "train": needed(recipe.train, "train").data_config(),
                "seed": recipe.seed,
            }
            points = curve_points(recipe)
            return config | ({"exports": points} if points else {})
        case "evaluate":
            trained = any(role.partition("@")[0] == "model" for role in node.inputs)
            own = None if trained else needed(recipe.model, "model")
            return {"model": _model_config(own) if own else None, **_eval_config(recipe)}
        case "compare":
            assert recipe.eval
            ablation = recipe.ablation.data_config() if recipe.ablation else None
            return {
                "bootstrap": recipe.eval.bootstrap,
                "confidence": recipe.eval.confidence,
                "macros": recipe.eval.macros,
                "ablation": ablation,
            }
    raise AssertionError(node.stage)


def _evaluated(recipe: Recipe) -> dict[str, Any]:
    """Which documents must not leak: those of the tasks, however they are asked."""
    if recipe.eval is None:
        return {}
    return {"tasks": recipe.eval.tasks, "include": _identify_tasks(recipe.eval.include)}


def _eval_config(recipe: Recipe) -> dict[str, Any]:
    """What decides the scores of one checkpoint, but not what is made of them."""
    config = needed(recipe.eval, "eval").data_config()
    for key in ("macros", "every_tokens", "bootstrap", "confidence"):
        del config[key]
    return {**config, "include": _identify_tasks(config["include"])}


def _model_config(model: ModelSection) -> dict[str, Any]:
    config = model.data_config()
    config["recipe"] = bool(model.recipe)  # the trained artifact is an input of its own
    config["path"] = _identify_model(model.path)
    return config


def teachers_of(section: GenerateSection | FilterSection) -> dict[str, TeacherSection]:
    """Role -> teacher, of all that a section names; a trained one is an input under its role."""
    if isinstance(section, GenerateSection):
        found = {"teacher": section.teacher}
        return found | ({"cascade": section.cascade.teacher} if section.cascade else {})
    found = {"judge": section.judge.teacher} if section.judge else {}
    if section.triviality and section.triviality.teacher:
        found["weak"] = section.triviality.teacher
    return found


def _teacher_config(teacher: TeacherSection) -> dict[str, Any]:
    config = teacher.data_config()
    if teacher.engine == "openai":  # `path` is a name at the endpoint, not one of this machine
        return config
    return {**config, "model": _model_config(teacher.model)}


def _filter_config(section: FilterSection) -> dict[str, Any]:
    config = section.data_config()
    if section.languages is not None:
        check_codes(section.languages)
    config["renderings"] = [
        _prompts(name, "document", "filter.renderings") for name in section.renderings
    ]
    if section.judge:
        config["judge"]["teacher"] = _teacher_config(section.judge.teacher)
        config["judge"]["prompt"] = _prompts(section.judge.prompt, "judge", "filter.judge.prompt")
    if section.triviality and section.triviality.teacher:
        config["triviality"]["teacher"] = _teacher_config(section.triviality.teacher)
    if section.reward:
        config["reward"]["model"] = _identify_model(section.reward.model)
    if section.dedup.semantic:
        semantic = section.dedup.semantic.model
        config["dedup"]["semantic"]["model"] = _identify_model(semantic)
    return config


def _source_config(source: SourceSection, key: str) -> dict[str, Any]:
    config = source.data_config()
    config["path"] = _identify_data(source.path, key, source.revision)
    for later in ("permute", "subset_of", "size_of"):
        if config[later] is None:
            del config[later]
    return config


def _prompts(name: str, role: Role, key: str) -> Any:
    return load_prompts(name, role, key).identity


@cache
def _identify(path: str | None) -> Any:
    """A location-free stand-in for a path: file content, folder content, or the name itself.

    `{data}/...` stays literal (the data stage is an input); a hub id stays literal too.
    """
    if path is None or path.startswith("{data}"):
        return path
    real = Path(path)
    if real.is_file():
        return file_identity(real)
    if real.is_dir():
        return folder_identity(real)
    if path.startswith((".", "/")) or real.suffix in (".jsonl", ".gz", ".json"):
        raise RecipeError(f"{path}: no such file or folder", "correct the path in the recipe")
    return path


def _identify_model(path: str | None, adapters: tuple[str, ...] = ()) -> Any:
    """As `_identify`, with all that an adapter builds on; an id of the hub by its commit."""
    found = _identify(path)
    if path is None or path.startswith("{data}"):
        return found
    if found == path:
        return PINS.identify("model", path) if is_hub_id(path) else path
    base = adapter_base(Path(path))
    if base is None or base in adapters:
        return found
    return {"adapter": found, "base": _identify_model(base, (*adapters, base))}


def _identify_dataset(section: DatasetSection) -> Any:
    found = _identify(section.path)
    if found == section.path and is_hub_id(section.path):
        return PINS.identify("dataset", section.path, section.revision)
    return found


@cache
def _identify_tasks(include: str | None) -> Any:
    """A folder of tasks is identified by its content, lm-eval's own tasks by its version."""
    if include is None:
        return _own_tasks()
    if include.startswith("{data}"):
        return include
    if not Path(include).is_dir():
        raise RecipeError(f"{include}: no such folder of task YAMLs", "correct `include`")
    from tsqa.tasks.files import task_folder_identity  # lm-eval takes a while to import

    return task_folder_identity(Path(include))


@cache
def _own_tasks() -> Any:
    """lm-eval's own tasks: its version, and their content where it was installed to be edited."""
    named = f"lm_eval {version('lm_eval')}"
    installed = distribution("lm_eval").read_text("direct_url.json") or ""
    spec = find_spec("lm_eval")
    if '"editable": true' not in installed or spec is None or spec.origin is None:
        return named
    return {"version": named, "tasks": folder_identity(Path(spec.origin).parent / "tasks")}


def _identify_data(path: str | None, key: str, revision: str | None = None) -> Any:
    """As `_identify`; what is not there must be on the hub."""
    if path is None or path.startswith("{data}") or Path(path).exists():
        return _identify(path)
    if revision is None or not is_hub_id(path):
        raise RecipeError(
            f"{key} = {path}: no such file or folder",
            "correct the path; a dataset of the hub needs its `revision`",
        )
    return PINS.identify("dataset", path, revision)
