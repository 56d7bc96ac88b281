"""From a recipe to its stages: which artifacts it names, and what each is made from.

Promises: data flows one way; a fingerprint is known before anything runs; arms share every stage
whose data-relevant settings are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tsqa.artifact import file_identity, fingerprint_of
from tsqa.errors import RecipeError
from tsqa.lm_tasks import data_files
from tsqa.recipe import ModelSection, Recipe, arms_of, load_recipe

PROMPT_FOLDER = Path(__file__).parent / "prompts"
STAGES = ("data", "seeds", "generate", "filter", "tokenize", "train", "evaluate", "compare")
STAGE_VERSIONS = dict.fromkeys(STAGES, 1)
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
    """Return the recipe's nodes in the order in which they can run, sub-recipes first."""
    if origin.resolve() in ancestors:
        raise RecipeError(f"{origin}: the recipes of its models go in a circle")
    ancestors = (*ancestors, origin.resolve())
    nodes: list[Node] = []

    def add(stage: str, inputs: Mapping[str, Node | None], of: Recipe, arm: str | None) -> Node:
        node = Node(stage, arm, of, origin, {k: v for k, v in inputs.items() if v is not None})
        nodes.append(node)
        return node

    data = add("data", {}, recipe, None) if recipe.data else None
    base = _trained_by_recipe(recipe.model, recipe, ancestors, nodes)
    filtered = None
    if recipe.seeds:
        seeds = add("seeds", {"data": data}, recipe, None)
        if recipe.generate:
            teacher_model = recipe.generate.teacher.model
            teacher = _trained_by_recipe(teacher_model, recipe, ancestors, nodes)
            inputs = {"seeds": seeds, "teacher": teacher, "data": data}
            generated = add("generate", inputs, recipe, None)
            if recipe.filter:
                inputs = {"seeds": seeds, "generate": generated, "data": data}
                filtered = add("filter", inputs, recipe, None)

    results: dict[str, Node] = {}
    if recipe.eval and (base is not None or recipe.model.path is not None):
        results["base"] = add("evaluate", {"model": base, "data": data}, recipe, "base")
    for arm, arm_recipe in arms_of(recipe).items():
        inputs = {"data": data, "filter": filtered, "model": base}
        tokens = add("tokenize", inputs, arm_recipe, None)
        inputs = {"data": data, "tokenize": tokens, "model": base}
        trained = add("train", inputs, arm_recipe, arm)
        if recipe.eval:
            inputs = {"data": data, "model": trained}
            results[f"arm:{arm}"] = add("evaluate", inputs, arm_recipe, arm)
    if len(results) > 1:
        add("compare", results, recipe, None)
    return _unique(nodes)


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
            return {
                **recipe.seeds.data_config(),
                "include": _identify(recipe.seeds.include),
                "evaluated": _evaluated(recipe),
            }
        case "generate":
            assert recipe.generate
            config = recipe.generate.data_config()
            config["teacher"]["model"] = _model_config(recipe.generate.teacher.model)
            config["prompts"] = {
                role: _prompt_identity(name) for role, name in config["prompts"].items()
            }
            return config
        case "filter":
            assert recipe.filter
            return {**recipe.filter.data_config(), "evaluated": _evaluated(recipe)}
        case "tokenize":
            tokenizer = recipe.tokenizer.data_config() if recipe.tokenizer else None
            if tokenizer:
                tokenizer["path"] = _identify(tokenizer["path"])
                tokenizer["train_on"] = [_identify(path) for path in tokenizer["train_on"]]
            sources = {
                name: {**source.data_config(), "path": _identify(source.path)}
                for name, source in recipe.mixture.sources.items()
            }
            return {
                "tokenizer": tokenizer,
                "model": None if tokenizer else _model_config(recipe.model),
                "sources": sources,
                "sequence_length": recipe.train.sequence_length,
            }
        case "train":
            mixture = recipe.mixture.data_config()
            mixture["sources"] = sorted(mixture["sources"])
            return {
                "model": _model_config(recipe.model),
                "mixture": mixture,
                "train": recipe.train.data_config(),
                "seed": recipe.seed,
            }
        case "evaluate":
            model = None if "model" in node.inputs else _model_config(recipe.model)
            return {"model": model, **_evaluated(recipe)}
        case "compare":
            assert recipe.eval
            ablation = recipe.ablation.data_config() if recipe.ablation else None
            return {
                "bootstrap": recipe.eval.bootstrap,
                "confidence": recipe.eval.confidence,
                "ablation": ablation,
            }
    raise AssertionError(node.stage)


def _evaluated(recipe: Recipe) -> dict[str, Any]:
    if recipe.eval is None:
        return {}
    config = recipe.eval.data_config()
    del config["bootstrap"], config["confidence"]
    return {**config, "include": _identify(recipe.eval.include)}


def _model_config(model: ModelSection) -> dict[str, Any]:
    config = model.data_config()
    config["recipe"] = bool(model.recipe)  # the trained artifact is an input of its own
    config["path"] = _identify(model.path)
    return config


def _prompt_identity(name: str) -> Any:
    path = Path(name) if name.endswith(".jinja") else PROMPT_FOLDER / f"{name}.jinja"
    if not path.is_file():
        raise RecipeError(
            f"generate.prompts: no prompt `{name}`",
            f"name a shipped one ({_shipped_prompts()}) or the path of a .jinja file",
        )
    return file_identity(path)


def _shipped_prompts() -> str:
    return ", ".join(sorted(path.stem for path in PROMPT_FOLDER.glob("*.jinja")))


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
        files = [file for file in sorted(real.iterdir()) if file.is_file()]
        named = [
            name for file in files if file.suffix in (".yaml", ".yml") for name in _task_data(file)
        ]
        return [file_identity(file) for file in [*files, *named]]
    if path.startswith((".", "/")) or real.suffix in (".jsonl", ".gz", ".json"):
        raise RecipeError(f"{path}: no such file or folder", "correct the path in the recipe")
    return path


def _task_data(task_yaml: Path) -> list[Path]:
    """The local data files that an lm-eval task YAML names."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: None)
    config = yaml.load(task_yaml.read_text(encoding="utf-8"), Loader)
    files = data_files(config).values() if isinstance(config, dict) else []
    return [file for file in files if file.is_file()]
