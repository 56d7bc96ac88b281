"""The reference of the keys: complete, current, and found from the terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import REPOSITORY
from tsqa.errors import RecipeError
from tsqa.recipe import load_recipe
from tsqa.recipe.reference import (
    all_keys,
    editor_schema,
    explain_key,
    find_key,
    reference_markdown,
)
from tsqa.shipped import SCHEMA

RECIPES = sorted(
    path for path in (REPOSITORY / "recipes").rglob("*.yaml") if path.parent.name != "tasks"
)


def test_the_written_files_are_current() -> None:
    reference = REPOSITORY / "tsqa" / "recipe" / "REFERENCE.md"
    assert reference.read_text() == reference_markdown(), (
        f"run: tsqa schema --reference > {reference}"
    )
    assert SCHEMA.read_text() == editor_schema(), f"run: tsqa schema > {SCHEMA}"


def test_every_key_and_section_is_explained() -> None:
    keys = list(all_keys())
    assert len(keys) > 200
    for key in keys:
        assert key.meaning.endswith(".") and len(key.meaning) > 10, key.path
        assert key.section is None or (key.section.__doc__ or "").strip(), key.path
        assert (
            "any value" not in key.kind
            or key.path.startswith(("ablation.", "model.config"))
            or (
                key.path.endswith(
                    (".config", ".extra_body", ".engine_args", ".chat_template_kwargs")
                )
            )
        ), key.path
    assert len(explain_key("").splitlines()) >= 14


def test_a_key_is_found_as_recipes_spell_it() -> None:
    for path in ("train.lr", "mixture.sources.web.from", "mixture.phases.0.ratios.web", "seeds"):
        assert find_key(path) is not None, path
    for path in ("train.lrr", "train.lr.x", "mixture.sources.web.pth", "", "nothing", "train."):
        assert find_key(path) is None, path
    text = explain_key("train.loss_chunk")
    assert text.startswith("train.loss_chunk: integer or null, >= 1, default null\n")
    assert "reruns no finished stage" in text and "reruns" not in explain_key("train.lr")
    assert "train.schedule.warmup" in explain_key("train.schedule")


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("lr", "train.lr"), ("train.lrr", "train.lr"), ("train.loss_chunks", "train.loss_chunk")],
)
def test_an_unknown_key_names_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(RecipeError, match=f"did you mean `{re.escape(near)}`"):
        explain_key(wrong)


def keys_in(value: Any, prefix: str = "") -> list[str]:
    if isinstance(value, dict):
        return [k for n, v in value.items() for k in (f"{prefix}{n}", *keys_in(v, f"{prefix}{n}."))]
    if isinstance(value, list):
        return [k for n, v in enumerate(value) for k in keys_in(v, f"{prefix}{n}.")]
    return []


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_our_recipes_name_the_schema_and_have_only_its_keys(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    name = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / name).resolve() == SCHEMA.resolve()
    keys = keys_in(yaml.safe_load(path.read_text()))
    free = ("extends", "ablation.", "model.config.")
    assert [k for k in keys if not k.startswith(free) and find_key(k) is None] == []


def test_the_schema_describes_every_key_and_requires_none() -> None:
    schema = json.loads(editor_schema())
    assert "extends" in schema["properties"]
    for part in (schema, *schema["$defs"].values()):
        assert "required" not in part and part["additionalProperties"] is False
        for name, one in part["properties"].items():
            assert one.get("description"), name


def test_overrides_that_a_recipe_proposes_are_read() -> None:
    proposed = []
    for path in RECIPES:
        for line in re.findall(r"(?m)^# *(.*)$", path.read_text(encoding="utf-8")):
            words = re.findall(r"\w+(?:\.\w+)+=[^\s';]+", line)
            if overrides := [word for word in words if not word.endswith("...")]:
                load_recipe(path, overrides)
                proposed += overrides
    assert "generate.teacher.engine=openai" in proposed
