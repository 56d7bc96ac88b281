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
    """`DATASET_PATH = "a/b"` of a task's class, and `load_dataset("a/b", revision="c")`."""
    tree = parse_module(module)
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
                named = {keyword.arg: text_of(keyword.value) for keyword in keywords}
                path = text_of(values[0]) if values else named.get("path")
                yield from _hub_dataset(path, named.get("revision") or None)
