"""What the paths of a recipe stand for, wherever they lie: content, or the commit of the hub.

Guarantee: two places with the same content are the same; what does not exist is refused here,
before any work.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tsqa.errors import DataError, RecipeError
from tsqa.hub.pins import PINS
from tsqa.recipe import ModelSection, is_hub_id
from tsqa.remote import RemotePath
from tsqa.store.identity import Json, adapter_base, file_identity, folder_identity


@cache
def identify(path: str | None) -> Json:
    """The content of a file or folder, or the name itself.

    `{data}/...` stays literal (the data stage is an input); a hub id stays literal too.
    """
    if path is None or path.startswith("{data}"):
        return path
    if "://" in path:
        return _identify_remote(RemotePath(path.rstrip("/")))
    real = Path(path)
    if real.is_file():
        return file_identity(real)
    if real.is_dir():
        return folder_identity(real)
    if path.startswith((".", "/")) or real.suffix in (".jsonl", ".gz", ".json"):
        raise RecipeError(f"{path}: no such file or folder", "correct the path in the recipe")
    return path


def _identify_remote(path: RemotePath) -> Json:
    """As of a file or folder of this machine with the same names and content."""
    found = path.look()
    if found is not None:
        return file_identity(found)
    inside = folder_identity(path)
    if not inside:
        raise DataError(f"{path}: no such object, and none below it", "correct the path")
    return inside


def identify_model(path: str | None, adapters: tuple[str, ...] = ()) -> Json:
    """As `identify`, with all that an adapter builds on; a hub id by its commit."""
    found = identify(path)
    if path is None or path.startswith("{data}"):
        return found
    if found == path:
        return {**PINS.identify("model", path)} if is_hub_id(path) else path
    base = adapter_base(Path(path))
    if base is None or base in adapters:
        return found
    return {"adapter": found, "base": identify_model(base, (*adapters, base))}


def identify_data(path: str | None, key: str, revision: str | None = None) -> Json:
    """As `identify`; what does not exist here must be on the hub."""
    if path is not None and "://" in path:
        try:
            return identify(path)
        except DataError as error:
            raise RecipeError(f"{key} = {error}") from error
    if path is None or path.startswith("{data}") or Path(path).exists():
        return identify(path)
    if revision is None or not is_hub_id(path):
        raise RecipeError(
            f"{key} = {path}: no such file or folder",
            "correct the path; a dataset of the hub needs its `revision`",
        )
    return {**PINS.identify("dataset", path, revision)}


def model_config(model: ModelSection) -> dict[str, Json]:
    """What decides a model; one that a recipe trains is an input of its stage."""
    return {
        **model.data_config(),
        "recipe": bool(model.recipe),
        "path": identify_model(model.path),
    }
