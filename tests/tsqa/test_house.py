"""The layout of the code: sizes, import direction, typed signatures, class names, test folders."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("tsqa", "train", "eval")
LAYERS = (
    "tsqa",
    "tsqa/shipped",
    "tsqa/text",
    "tsqa/programs",
    "tsqa/remote",
    "tsqa/recipe/sections",
    "tsqa/recipe",
    "tsqa/schedulers",
    "tsqa/trackers",
    "tsqa/store",
    "tsqa/parallel",
    "tsqa/hub",
    "tsqa/readers",
    "tsqa/sandbox/inside",
    "tsqa/sandbox",
    "tsqa/records",
    "tsqa/tasks",
    "tsqa/prompts",
    "tsqa/teachers/replies",
    "tsqa/teachers/http",
    "tsqa/rephrasings",
    "tsqa/teachers",
    "tsqa/seeds",
    "tsqa/generate",
    "tsqa/curated",
    "tsqa/dedup",
    "tsqa/decontaminate",
    "tsqa/review",
    "tsqa/filters",
    "train/data",
    "train/tokens",
    "train/model",
    "train/checkpoints",
    "train/trainer",
    "eval",
    "eval/statistics",
    "eval/harness",
    "eval/lineage",
    "eval/compare",
    "eval/report",
    "tsqa/quality",
    "tsqa/quality/gradients",
    "tsqa/quality/names",
    "tsqa/quality/drift",
    "tsqa/quality/swaps",
    "tsqa/pipeline",
    "tsqa/release",
    "tsqa/audit",
    "tsqa/preview",
    "train",
    "tsqa/ablation",
    "tsqa/generations",
    "tsqa/cli",
)
"""The folders from the ground up: each imports only those before it."""
MOST_MODULES = 13
LONGEST_FUNCTION = 60
MOST_ANY = 0.12
MOST_ANY_DICTS = 0.07
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules() -> dict[str, tuple[str, ast.Module]]:
    """Module -> its folder and its tree."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            relative = path.relative_to(ROOT)
            name = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found[name] = (relative.parent.as_posix(), tree)
    return found


def imports(tree: ast.Module) -> Iterator[str]:
    """The modules that a module imports, inside functions and for type checking too."""
    for node in ast.walk(tree):
        targets = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            targets = [f"{node.module}.{alias.name}" for alias in node.names]
        for target in targets:
            while target and target not in modules():
                target = target.rpartition(".")[0]
            if target:
                yield target


def functions() -> Iterator[tuple[str, Function]]:
    for name, (_, tree) in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{name}.{node.name}", node


def signature(function: Function) -> str:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    annotations = [*(argument.annotation for argument in named), function.returns]
    return " ".join(ast.unparse(annotation) for annotation in annotations if annotation)


def test_no_folder_holds_more_than_13_modules() -> None:
    sizes = Counter(
        folder for name, (folder, _) in modules().items() if name.replace(".", "/") != folder
    )
    assert {folder: n for folder, n in sizes.items() if n > MOST_MODULES} == {}


def test_folders_import_only_those_below_them() -> None:
    rank = {folder: i for i, folder in enumerate(LAYERS)}
    assert {folder for folder, _ in modules().values()} == set(LAYERS), "a layer for each folder"
    upward = [
        f"{name} imports {target}"
        for name, (folder, tree) in modules().items()
        if name != "tsqa"  # the door for scripts and notebooks, which no module goes through
        for target in imports(tree)
        if rank[modules()[target][0]] > rank[folder]
    ]
    assert upward == []


def test_no_function_is_longer_than_60_lines() -> None:
    lengths = {name: (f.end_lineno or 0) - f.lineno + 1 for name, f in functions()}
    assert {name: n for name, n in lengths.items() if n > LONGEST_FUNCTION} == {}


def test_signatures_are_typed() -> None:
    signatures = [signature(function) for _, function in functions()]
    assert sum("Any" in text for text in signatures) <= MOST_ANY * len(signatures)
    assert sum("dict[str, Any]" in text for text in signatures) <= MOST_ANY_DICTS * len(signatures)


def test_a_public_class_name_means_one_thing() -> None:
    homes = defaultdict(list)
    for name, (_, tree) in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(name)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def test_tests_mirror_the_packages() -> None:
    folders = {path.parent.relative_to(ROOT / "tests") for path in ROOT.glob("tests/**/test_*.py")}
    helpers = {"support", "benchmarks", "faults", "data"}
    strangers = [
        folder.as_posix()
        for folder in folders
        if folder.parts[:1] and folder.parts[0] not in helpers and not (ROOT / folder).is_dir()
    ]
    assert strangers == []
