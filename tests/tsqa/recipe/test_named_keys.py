"""Every key, command, recipe and module that a message, a help text or a docstring names exists."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import typer.main

from tests.support.paths import REPOSITORY
from tsqa.cli.app import app
from tsqa.pipeline.stages import STAGES, command_of
from tsqa.recipe import Recipe
from tsqa.recipe.reference import find_key

TOP = sorted(set(Recipe.model_fields) - {"name", "runs", "seed"})
BELOW = ["budget", "cascade", "dedup", "judge", "reward", "schedule", "teacher", "triviality"]
"""Sections below the top: their keys must be given in full."""
KEY = re.compile(rf"(?<![\w./*{{}}>-])({'|'.join(TOP + BELOW)})((?:\.[a-z_]+(?![\w(]))+)")
FILE = re.compile(r".*\.(jsonl?|html|yaml|tmp|parquet|safetensors|sbatch|py)")
COMMAND = re.compile(r"(?:`|Example: |^)tsqa ([a-z][a-z-]*)")
RECIPE = re.compile(r"\brecipes/[\w/]+\.yaml")
PROSE = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for room in ("", "eval/", "launch/", "recipes/**/", "tests/", "train/", "tsqa/**/")
    for path in REPOSITORY.glob(f"{room}README.md")
)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)")


def texts() -> Iterator[tuple[str, str]]:
    """`file:line` and every string literal and docstring of the packages, and the prose."""
    for root in ("tsqa", "train", "eval"):
        for path in sorted((REPOSITORY / root).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield f"{path.relative_to(REPOSITORY)}:{node.lineno}", node.value
        for path in sorted((REPOSITORY / root).rglob("*.jinja")):
            text = re.sub(r"\{[{%].*?[%}]\}", "", path.read_text(), flags=re.DOTALL)
            yield str(path.relative_to(REPOSITORY)), text
    for name in PROSE:
        yield name, (REPOSITORY / name).read_text()


def is_module(name: str) -> bool:
    root, *parts = name.split(".")
    path = Path(REPOSITORY, root, *parts)
    return root in ("train", "eval") and (
        path.with_suffix(".py").is_file() or path.is_dir() or is_attribute(name)
    )


def is_attribute(name: str) -> bool:
    """`train.tokens.tokenize.run`: a name in a module."""
    module, _, attribute = name.rpartition(".")
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return False
    return bool(
        spec and spec.origin and re.search(rf"\b{attribute}\b", Path(spec.origin).read_text())
    )


def test_every_key_that_is_named_exists() -> None:
    wrong = [
        f"{place}: {found[0]}"
        for place, text in texts()
        for found in KEY.finditer(text)
        if not FILE.fullmatch(found[0]) and not is_module(found[0]) and not find_key(found[0])
        if not found[0].startswith("mixture.")  # of any source: its ratio
        if not place.startswith("tsqa/hub/gguf.py")  # it names the fields of a file's header
    ]
    assert wrong == []


def test_every_command_that_is_named_exists() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = [(place, found[1]) for place, text in texts() for found in COMMAND.finditer(text)]
    assert len(named) > 40
    assert [one for one in named if one[1] not in commands] == []
    assert {command_of(stage.name) for stage in STAGES} <= commands.keys()


def test_a_command_that_is_filled_in_is_that_of_its_stage() -> None:
    """A stage and its command may have two names."""
    filled = [
        ast.unparse(after)
        for path in sorted((REPOSITORY / "tsqa").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.JoinedStr)
        for before, after in pairwise(node.values)
        if isinstance(before, ast.Constant) and str(before.value).endswith("tsqa ")
    ]
    stages = [one for one in filled if "command_of(" in one]
    assert len(stages) >= 2
    others = ["{__version__}", "{command}", "{stage_command}"]
    assert [one for one in filled if one not in stages and one.strip("f'") not in others] == []


def test_every_recipe_that_is_named_exists() -> None:
    named = [(place, found[0]) for place, text in texts() for found in RECIPE.finditer(text)]
    assert len(named) > 10
    assert [one for one in named if not (REPOSITORY / one[1]).is_file()] == []


def headings(path: Path) -> set[str]:
    """The anchors of a page, as GitHub names them."""
    prose = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_link_leads_somewhere() -> None:
    links = [
        (name, target, anchor)
        for name in PROSE
        for target, anchor in LINK.findall((REPOSITORY / name).read_text())
    ]
    assert len(links) > 100
    for name, target, anchor in links:
        path = (REPOSITORY / name).parent / target if target else REPOSITORY / name
        assert path.exists(), f"{name}: {target}"
        assert not anchor or anchor in headings(path), f"{name}: {target}#{anchor}"


def test_every_command_has_an_example_that_names_it() -> None:
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        if not command.hidden and name != "seeds":
            assert f"Example: tsqa {name}" in (command.help or ""), name
