"""Every file that the tasks of a folder use, found the way lm-eval and `datasets` find them.

Guarantees: lm-eval's own index finds the YAML files, what they include and which functions they
call, and `datasets` the files of a pattern; a module counts with all that it imports from outside
of installed packages; nothing is downloaded and no code of a task runs.
"""

from __future__ import annotations

import ast
import importlib.util
import logging
import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from tsqa.store.digests import DIGESTS
from tsqa.store.identity import Json, as_text, files_below, folder_identity
from tsqa.tasks.identity import is_builder, named_files

_DATA_KEYS = ("dataset_path", "dataset_kwargs", "fewshot_config", "metadata")
_METRIC_KEYS = ("metric_list", "metric")
_FOLDER_KEYS = ("dataset_path", "data_dir", "data_files")
"""Where a name without a slash may be a folder; elsewhere it is more likely a word."""
_DATA_SUFFIXES = (".jsonl", ".json", ".csv", ".parquet", ".arrow", ".txt", ".gz", ".zst")
_PARENTS = 3
"""Folders above a module that what it names may be relative to."""
_OURS = ("tsqa", "train", "eval", "lm_eval")
"""Known by their versions."""


def task_folder_identity(include: Path) -> dict[str, Json]:
    """The content of a folder of tasks, and of all outside of it that its tasks reach."""
    inside = {file.resolve() for file in files_below(include)}
    reached = _reached(include)
    outside = sorted(file for file in reached if file not in inside)
    names = _place_free(outside, (include.resolve().parent, Path.cwd()))
    marks = dict(sorted(zip(names, DIGESTS.of_all(outside), strict=True)))
    return {"files": folder_identity(include), "outside": marks}


def _place_free(files: Sequence[Path], roots: Sequence[Path]) -> list[str]:
    """A name for each file that tells it from the others and stays when all are moved together."""
    elsewhere = [file for file in files if not any(map(file.is_relative_to, roots))]
    common = Path(os.path.commonpath(elsewhere)).parent if elsewhere else Path()
    names = []
    for file in files:
        number, root = next(
            ((n, root) for n, root in enumerate(roots) if file.is_relative_to(root)),
            (len(roots), common),
        )
        names.append(f"{number}:{as_text(file.relative_to(root).as_posix())}")
    return names


def _reached(include: Path) -> set[Path]:
    """The real paths of all files that the YAML files of a folder name."""
    from lm_eval.tasks._index import TaskIndex
    from lm_eval.tasks._yaml_loader import load_yaml

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    found: set[Path] = set()
    for path in TaskIndex._iter_yaml_files(include):
        included: set[Path] = set()
        try:
            config = load_yaml(path, resolve_func=False, _seen=included)
        except Exception:  # noqa: BLE001 - lm-eval passes over what it cannot read, too
            config = {}
        found |= included
        found |= set(_files_of_config(config))
    return {file.resolve() for file in found if file.is_file()}


def _files_of_config(config: Mapping[str, object]) -> Iterator[Path]:
    """The data and the code that a task, or a group with the tasks inside it, names."""
    for inner in mappings(config):
        for key in _DATA_KEYS:
            for name, leaf in leaves(inner.get(key), key):
                yield from _files_of_leaf(name, leaf, _base_of(inner))
        for key in _METRIC_KEYS:
            for _, leaf in leaves(inner.get(key), key):
                yield from _files_of_metric(leaf)
    yield from modules_of_config(config)


def modules_of_config(config: Mapping[str, object]) -> Iterator[Path]:
    """The code of a task: the files of its functions and classes, with what they import."""
    for _, leaf in leaves(config, ""):
        # lm-eval keeps an unresolved reference as `<folder of its YAML>/module.function`.
        if leaf.startswith("/") and "." in Path(leaf).name and Path(leaf).parent.is_dir():
            yield from _files_of_module(Path(leaf))


def _files_of_leaf(key: str, leaf: str, bases: Iterable[Path]) -> Iterator[Path]:
    if key == "dataset_path" and is_builder(leaf):
        return  # a format, whatever else has its name
    for file in named_files(leaf, bases):
        if file.is_file():
            yield file
        elif key in _FOLDER_KEYS or "/" in leaf:
            yield from _files_of_folder(file)


def _files_of_metric(name: str) -> Iterator[Path]:
    """The script of a metric that lm-eval does not know: `evaluate` takes `x/x.py` for `x`."""
    for file in named_files(name, [Path()]):
        if file.suffix == ".py":
            yield file
        elif (file / f"{file.name}.py").is_file():
            yield from files_below(file)


def _files_of_folder(folder: Path) -> Iterator[Path]:
    """All below a folder; of the working folder only what `datasets` would take."""
    real = folder.resolve()
    if real not in _roots():
        yield from files_below(folder)
    if real != Path.cwd() or real in _shared_roots():
        return
    from datasets.data_files import get_data_patterns

    from tsqa.tasks.patches import read_names_as_written

    read_names_as_written()
    try:
        patterns = get_data_patterns(str(folder.resolve()))
    except (OSError, ValueError):
        return
    for pattern in (pattern for found in patterns.values() for pattern in found):
        yield from (file for file in named_files(pattern, [folder]) if file.is_file())


def _roots() -> set[Path]:
    return {Path.cwd(), *_shared_roots()}


def _shared_roots() -> set[Path]:
    """Folders that hold whatever this machine does."""
    return {Path("/"), Path.home(), Path(tempfile.gettempdir()).resolve()}


def _base_of(config: Mapping[str, object]) -> list[Path]:
    """The folders that names of data files may be relative to."""
    given = config.get("dataset_kwargs")
    folder = given.get("data_dir") if isinstance(given, Mapping) else None
    named = [str(name) for name in (folder, config.get("dataset_path")) if name]
    return [Path(), *(Path(name).expanduser() for name in named if Path(name).is_dir())]


def mappings(value: object, seen: set[int] | None = None) -> Iterator[Mapping[str, object]]:
    """Every mapping below, each once: an alias may stand for it at many places."""
    seen = set() if seen is None else seen
    if not isinstance(value, (Mapping, list, tuple)) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        yield value
    for inner in value.values() if isinstance(value, Mapping) else value:
        yield from mappings(inner, seen)


def leaves(
    value: object, key: str, seen: set[tuple[int, str]] | None = None
) -> Iterator[tuple[str, str]]:
    """(the nearest named key, text) of every text below, each once."""
    seen = set() if seen is None else seen
    if isinstance(value, str):
        yield key, value
    if not isinstance(value, (Mapping, list, tuple)) or (id(value), key) in seen:
        return
    seen.add((id(value), key))
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from leaves(inner, key if key in _FOLDER_KEYS else str(name), seen)
    else:
        for inner in value:
            yield from leaves(inner, key, seen)


def _files_of_module(reference: Path) -> Iterator[Path]:
    """The file behind `<folder>/package.module.function`, and what it imports and names."""
    dotted = reference.name.rpartition(".")[0]
    beside = reference.parent / f"{dotted.replace('.', '/')}.py"
    todo = [beside] if beside.is_file() else list(_files_of_import(dotted, reference.parent))
    seen: set[Path] = set()
    while todo:
        file = todo.pop().resolve()
        if file in seen:
            continue
        seen.add(file)
        yield file
        if file.suffix == ".py":
            todo += _named_in(file)


def _named_in(module: Path) -> Iterator[Path]:
    """The modules that a module imports, and the files whose names stand in it."""
    tree = parse_module(module)
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files_of_import(alias.name, module.parent)
        elif isinstance(node, ast.ImportFrom):
            parent = module.parents[node.level - 1] if node.level else module.parent
            for name in (node.module, *(alias.name for alias in node.names)):
                if name and (node.level or name == node.module):
                    yield from _files_of_import(name, parent, relative=node.level > 0)
        else:
            yield from _files_of_text(text_of(node), module)


def parse_module(module: Path) -> ast.Module | None:
    """The syntax tree of a module; None where it is no Python."""
    try:
        return ast.parse(module.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


def text_of(node: ast.AST) -> str:
    """The text that a node ends in: of `x / "a" / "b"`, `join(x, "a", "b")` and f"{x}/a" too."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            parts = [text_of(left), text_of(right)]
        case ast.Call(func=ast.Attribute(attr="join" | "joinpath"), args=arguments):
            parts = [text_of(argument) for argument in arguments]
        case ast.JoinedStr(values=[*_, ast.Constant(value=str(text))]):
            parts = [text.lstrip("/")]
        case _:
            return ""
    return "/".join(part for part in parts if part)


def _files_of_text(text: str, module: Path) -> Iterator[Path]:
    if not 0 < len(text) < 1024 or "\n" in text or "\0" in text:
        return
    for file in named_files(text, (*module.parents[:_PARENTS], Path())):
        if file.is_file():
            yield file
        elif file.resolve() not in _roots() and any(
            inner.suffix in _DATA_SUFFIXES for inner in file.iterdir()
        ):
            yield from files_below(file)


def _files_of_import(name: str, folder: Path, relative: bool = False) -> Iterator[Path]:
    """The source of a module and, of a package, of all of it; nothing of what is installed."""
    top = name.partition(".")[0]
    if not relative and (top in sys.stdlib_module_names or top in _OURS):
        return
    paths = [str(folder)] if relative else [str(folder), str(Path.cwd()), *sys.path]
    spec = PathFinder.find_spec(top, paths) or (None if relative else _editable(top))
    if spec is None:
        return
    if spec.submodule_search_locations:
        for place in spec.submodule_search_locations:
            if not _is_installed(Path(place)):
                yield from (file for file in files_below(Path(place)) if file.suffix == ".py")
    elif spec.origin and Path(spec.origin).is_file() and not _is_installed(Path(spec.origin)):
        yield Path(spec.origin)


def _editable(top: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None


def _is_installed(path: Path) -> bool:
    places = {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib", "platstdlib")}
    return any(path.resolve().is_relative_to(Path(place).resolve()) for place in places)
