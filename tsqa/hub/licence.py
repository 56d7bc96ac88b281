"""The licence of a model: what the recipe says, else what its folder or its card on the hub says.

Guarantee: nobody is asked over a network; what is not found is the empty text.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from tsqa.hub.pins import PINS
from tsqa.recipe import ModelSection, is_hub_id

REPORT = "import.json"
"""What `tsqa model import` writes beside a model."""
_HEAD = re.compile(r"\A---\r?\n(.*?)^---\s*$", re.MULTILINE | re.DOTALL)


def licence_of_folder(folder: Path) -> tuple[str, str]:
    """(licence, the file that says so): of its card, its import, its config; empty where none."""
    card = folder / "README.md"
    found = _licence_in(_text_of(card))
    if found:
        return found, card.name
    for name, key in ((REPORT, "licence"), ("config.json", "license")):
        try:
            said = json.loads(_text_of(folder / name)).get(key)
        except (ValueError, AttributeError):
            continue
        if isinstance(said, str) and said not in ("", "unknown"):
            return said, name
    return "", ""


def licence_of_model(model: ModelSection) -> tuple[str, str]:
    """(licence, who says so); both empty where nobody does."""
    if model.licence is not None:
        return model.licence, "the recipe"
    if model.path is None:
        return "", ""
    if Path(model.path).is_dir():
        licence, said_by = licence_of_folder(Path(model.path))
        return licence, f"{said_by} of the model" if said_by else ""
    if not is_hub_id(model.path):
        return "", ""
    commit = PINS.commit("model", model.path)
    from huggingface_hub import try_to_load_from_cache

    card = try_to_load_from_cache(model.path, "README.md", revision=commit or "main")
    found = _licence_in(_text_of(Path(card))) if isinstance(card, str) else ""
    return (found, "its card on the hub") if found else ("", "")


def _licence_in(card: str) -> str:
    """What the head of a card says, whole: a part of it may be a more permissive licence."""
    head = _HEAD.match(card)
    try:
        said = yaml.safe_load(head[1]) if head else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return ""
    if not isinstance(said, dict):
        return ""
    found = said.get("license")
    if found in (None, "other") and said.get("license_name"):
        found = said["license_name"]
    listed = found if isinstance(found, list) else [found]
    texts = [" ".join(each.split()) for each in listed if isinstance(each, str)]
    return ", ".join(texts) if len(texts) == len(listed) else ""


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
