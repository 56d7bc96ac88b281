"""The registry of stages."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

from tests.support.paths import REPOSITORY
from tsqa.pipeline.stages import STAGES
from tsqa.recipe import load_recipe
from tsqa.store.roles import SourceRole

HEAVY = ("torch", "transformers", "lm_eval", "vllm", "pyarrow", "datasets")


def test_a_stage_reads_stages_before_it_only() -> None:
    names = [stage.name for stage in STAGES]
    assert len(set(names)) == len(names)
    recipe = load_recipe(REPOSITORY / "recipes" / "quickstart" / "recipe.yaml")
    for place, stage in enumerate(STAGES):
        if not stage.part:
            read = {"tokenize" if isinstance(r, SourceRole) else r for r in stage.inputs(recipe)}
            assert read <= set(names[:place])


def test_every_module_of_a_stage_exists() -> None:
    modules = [stage.module for stage in STAGES if stage.module is not None]
    assert len(modules) == len(STAGES) - 1, "training alone is a job of its own"
    assert all(importlib.util.find_spec(module) for module in modules)


def test_the_registry_imports_nothing_heavy() -> None:
    code = f"import sys, tsqa.pipeline.run; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
