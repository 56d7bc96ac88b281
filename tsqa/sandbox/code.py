"""Run a program with its tests as the recipe's `filter.code` says."""

from __future__ import annotations

from tsqa.recipe import CodeSection
from tsqa.sandbox import Boundary, need_boundary, run_program


def code_boundary(section: CodeSection) -> Boundary:
    """Find what programs run within; RecipeError without a boundary, unless allowed."""
    return need_boundary("filter.code.unguarded", section.unguarded)


def run_tests(answer: str, tests: str, section: CodeSection) -> str:
    """Run a program with its tests; return why it failed, or `""`."""
    boundary = code_boundary(section)
    return run_program(boundary, answer, tests, section.seconds, section.memory_mib << 20)
