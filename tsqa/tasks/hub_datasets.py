"""The datasets of the hub, and the files of other hosts, that tasks load.

Guarantees: nothing is downloaded and no code of a task runs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tsqa.errors import RecipeError
from tsqa.tasks.files import leaves, mappings, modules_of_config, parse_module, text_of
from tsqa.tasks.identity import is_on_hub

_FETCHES = ("hf_hub_download", "snapshot_download", "hf_hub_url")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REMOTE = re.compile(r"(?:.*::)?([a-z][a-z0-9+.-]*)://(.+)")
_PINNED = re.compile(r"datasets/[^/@]+/[^/@]+@[0-9a-f]{40}/.")


def hub_datasets(config: Mapping[str, object]) -> Iterator[str]:
    """The hub datasets of a task, or of a group with the tasks inside it: `id` or `id@revision`.

    Those that its code names count where it names them in plain text. Files of other hosts are
    named by their URL. Raises RecipeError for files of the hub without a commit.
    """
    for inner in mappings(config):
        options = inner.get("dataset_kwargs")
        for _, leaf in leaves(options, ""):
            yield from _remote_file(leaf)
        revision = options.get("revision") if isinstance(options, Mapping) else None
        yield from _hub_dataset(inner.get("dataset_path"), revision)
    for file in modules_of_config(config):
        if file.suffix == ".py":
            yield from _loaded_in(file)


def _remote_file(name: str) -> Iterator[str]:
    """A URL of `data_files` that nothing pins; `datasets` reads one of the hub as it is today."""
    found = _REMOTE.fullmatch(name)
    if found is None or found[1] == "file":
        return
    if found[1] != "hf":
        yield name
    elif not _PINNED.match(found[2]):
        raise RecipeError(
            f"a task's data_files: {name}: names no commit, so its documents can change unseen",
            "write hf://datasets/OWNER/NAME@COMMIT/FILE, with the 40 digits of the commit",
        )


def _hub_dataset(path: object, revision: object) -> Iterator[str]:
    if isinstance(path, str) and is_on_hub(path):
        yield f"{path}@{revision}" if isinstance(revision, str) else path


def _loaded_in(module: Path) -> Iterator[str]:
    """`DATASET_PATH = "a/b"` of a task's class, and `load_dataset("a/b", revision="c")`.

    A name may be a constant of the module. One that code computes is pinned when it is first
    loaded (`patches.py`); files that code fetches by itself are not.
    """
    tree = parse_module(module)
    texts = _constants(tree)
    for node in ast.walk(tree) if tree else ():
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="DATASET_PATH")], value=value)
                | ast.AnnAssign(target=ast.Name(id="DATASET_PATH"), value=ast.Constant() as value)
            ):
                yield from _hub_dataset(text_of(value), None)
            case ast.Call(
                func=ast.Name(id="load_dataset") | ast.Attribute(attr="load_dataset"),
                args=values,
                keywords=keywords,
            ):
                named = {k.arg: _said(k.value, texts) for k in keywords}
                path = _said(values[0], texts) if values else named.get("path")
                yield from _hub_dataset(path, named.get("revision") or None)
            case ast.Call(
                func=ast.Name(id=name) | ast.Attribute(attr=name), args=values, keywords=keywords
            ) if name in _FETCHES:
                named = {k.arg: _said(k.value, texts) for k in keywords}
                path = _said(values[0], texts) if values else named.get("repo_id")
                if not _COMMIT.fullmatch(named.get("revision") or ""):
                    yield f"hf://{path or f'computed by {module.name}'}"


def _constants(tree: ast.Module | None) -> dict[str, str]:
    """Name -> text, of the module's own assignments."""
    return {
        target.id: node.value.value
        for node in (tree.body if tree else ())
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _said(node: ast.expr, texts: Mapping[str, str]) -> str:
    return texts.get(node.id, "") if isinstance(node, ast.Name) else text_of(node)
