"""Where a teacher's model is, and how it is asked: by chat messages or few-shot completion prompts,
with a JSON schema that binds its reply or without.

Guarantees: decided before an engine starts; chat is never asked of a model without a template.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from tsqa.errors import RecipeError
from tsqa.hub.pins import PINS, pinned_folder
from tsqa.recipe import TeacherSection
from tsqa.store.identity import folder_identity
from tsqa.store.stage import StageContext
from tsqa.teachers import TEACHER_KEY

_THINKS = re.compile(r"think|reasoning|thought|<\|channel", re.IGNORECASE)
"""In the chat template of a model that may think before it answers."""


def locate(context: StageContext, section: TeacherSection, role: str) -> tuple[str, str]:
    """(what the engine loads, the fingerprint that lineage records).

    A model trained by a recipe is the input of the stage named `role`.
    """
    if section.model.recipe is not None:
        artifact = context.inputs[role]
        return str(artifact.path / "hf"), artifact.fingerprint
    path = section.model.path
    assert path is not None, "TeacherSection refuses model.config"
    folder = context.resolve(path)
    if not section.loads_model:
        return path, path
    if not folder.is_dir():
        commit = PINS.commit("model", path)
        fetched = pinned_folder(path, trust_remote_code=section.model.trust_remote_code)
        return fetched, f"{path}@{commit}" if commit else path
    identity = json.dumps(folder_identity(folder), sort_keys=True)
    return str(folder), hashlib.sha256(identity.encode()).hexdigest()[:16]


def merge_system(messages: Sequence[Mapping[str, str]]) -> tuple[dict[str, str], ...]:
    """The turns without those of the system, which begin the first of the user instead."""
    system = [turn["content"] for turn in messages if turn["role"] == "system"]
    others = [dict(turn) for turn in messages if turn["role"] != "system"]
    place = next((n for n, turn in enumerate(others) if turn["role"] == "user"), None)
    if system and place is None:
        others.insert(0, {"role": "user", "content": "\n\n".join(system)})
    elif system and place is not None:
        joined = "\n\n".join([*system, others[place]["content"]])
        others[place] = others[place] | {"content": joined}
    return tuple(others)


def resolve_form(
    section: TeacherSection, model: str, key: str = TEACHER_KEY
) -> Literal["chat", "completion"]:
    """`auto` decided; raise RecipeError where the model cannot be asked as the section says."""
    if section.form == "completion":
        return "completion"
    if has_chat_template(section, model, key):
        return "chat"
    if section.form == "auto" and not section.structured:
        return "completion"
    wish = "form: chat" if section.form == "chat" else "structured: true"
    raise RecipeError(
        f"{key}.{wish} needs a chat template, and {model} has none",
        "use an instruct model, or form: completion with structured: false",
    )


def resolve_schema(section: TeacherSection, model: str, key: str = TEACHER_KEY) -> bool:
    """Whether a JSON schema binds the replies of a model in chat form: what the section says, or
    wherever vLLM can keep to one and the model has no thoughts that it would cut off."""
    if section.structured is not None:
        return section.structured
    if not section.loads_model or section.knows_thoughts:
        return section.loads_model
    return not _THINKS.search(_chat_template(section, model, key))


def has_chat_template(section: TeacherSection, model: str, key: str = TEACHER_KEY) -> bool:
    """Whether the model takes chat messages; endpoints always do."""
    return not section.loads_model or bool(_chat_template(section, model, key))


def _chat_template(section: TeacherSection, model: str, key: str) -> str:
    """Of a model that is loaded here, or several in one text; empty where it has none."""
    folder = Path(model)
    if not folder.is_dir():
        return _hub_template(model, key, section.model.trust_remote_code)
    files = [folder / f"chat_template.{ending}" for ending in ("jinja", "json")]
    for file in filter(Path.is_file, files):
        return file.read_text(encoding="utf-8")
    config = folder / "tokenizer_config.json"
    if not config.is_file():
        return ""
    return _one_text(json.loads(config.read_text(encoding="utf-8")).get("chat_template"))


@lru_cache(maxsize=8)
def _hub_template(model: str, key: str, trusts: bool) -> str:
    """Of a model of the hub: a large tokenizer takes seconds, and form and schema both ask."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=trusts)
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"{key}.model.path: {model}: no tokenizer: {str(error).splitlines()[0]}",
            "correct the path: a Hugging Face model folder or hub id",
        ) from error
    return _one_text(tokenizer.chat_template)


def _one_text(template: object) -> str:
    """A template, or several by name, as one text."""
    return template if isinstance(template, str) else json.dumps(template) if template else ""
