"""Recipe files that are written for a test, and the refusal of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsqa.errors import RecipeError
from tsqa.recipe import Recipe, load_recipe

BASE = """\
name: base
model:
  path: some/model
mixture:
  sources:
    web: {path: web.jsonl}
    code: {path: code.jsonl}
    synthetic: {path: synthetic.jsonl}
  phases:
    - tokens: 1M
      ratios: {web: 0.1, code: 0.2, synthetic: 0.7}
train:
  sequence_length: 8
  global_batch_tokens: 64
  lr: 1e-3
"""


def write(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def load_extended(folder: Path, text: str, *overrides: str) -> Recipe:
    write(folder, BASE, "base.yaml")
    return load_recipe(write(folder, "extends: base.yaml\n" + text), overrides)


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return str(caught.value)
