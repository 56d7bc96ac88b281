"""What a stage is, and what its function gets: `run(context) -> summary`, which writes into `out`.

Each stage is defined in its own room, in `definition.py`; `tsqa.pipeline.stages` lists them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tsqa.errors import DataError
from tsqa.recipe import EvalSection, ModelSection, Recipe, SeedsSection
from tsqa.remote import DataPath, data_path
from tsqa.spending import Spending
from tsqa.store.artifact import Artifact
from tsqa.store.identity import Json, files_below
from tsqa.store.roles import Role
from tsqa.store.tracking import Tracker

_Yaml = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _no_inputs(recipe: Recipe) -> Sequence[Role]:
    return ()


def _no_models(recipe: Recipe) -> Mapping[str, ModelSection]:
    return {}


def _no_guards(recipe: Recipe, made: Artifact, inputs: Mapping[Role, Artifact]) -> None:
    pass


@dataclass(frozen=True)
class Stage:
    """What decides the data of a stage, and the module that makes them.

    A definition is imported by every command, so its module imports no engine and no model.
    """

    name: str
    version: int
    """Raise it when the code changes what the stage writes."""
    config: Callable[[Recipe], dict[str, Json]]
    """What decides the stage's data, the content of the files that it reads itself included."""
    module: str | None
    """It holds `run(context) -> summary`, and is imported when the stage runs. None: training, a
    job of several processes."""
    sections: tuple[str, ...] = ()
    """Sections of the recipe that the keys of `config` are in; none where it names the section."""
    inputs: Callable[[Recipe], Sequence[Role]] = _no_inputs
    """Roles of the stages that it reads, where the recipe has them."""
    wanted: Callable[[Recipe], bool] = bool
    """Whether a recipe has this stage; asked of the stages that make a dataset."""
    models: Callable[[Recipe], Mapping[str, ModelSection]] = _no_models
    """Role -> model; one that a recipe trains is an input under its role."""
    reads_throughout: bool = False
    """Whether it reads the user's files until it ends; the others hold them once they began."""
    recheck: Callable[[Recipe, Artifact, Mapping[Role, Artifact]], None] = _no_guards
    """Raises where the recipe's guards, which are in no fingerprint, refuse a finished artifact;
    it gets those inputs that are there."""
    content: tuple[str, ...] = ("*",)
    """Patterns of the files that later stages read. Where these come out as in an earlier artifact,
    later stages go by that one."""
    part: str = ""
    """The source of the mixture, of a stage that runs once for each."""
    more: str = ""
    """Key of `config` that lists what is made besides: an artifact with more serves as well."""


@dataclass(frozen=True)
class StageContext:
    """The recipe (an arm's own, where there are arms), inputs by role, output directory."""

    recipe: Recipe
    inputs: Mapping[Role, Artifact]
    out: Path
    """A `.partial` directory: what a killed run left in it is still there."""
    tracker: Tracker
    config: Mapping[str, object] = field(default_factory=dict)
    """What decides the stage's data, as its manifest will say."""
    part: str = ""
    """The source of the mixture, in a stage that runs once for each."""
    spending: Spending = field(default_factory=Spending)
    """Of the command that runs the stage."""

    def resolve(self, path: str) -> Path:
        """Turn a recipe path into a real one; `{data}` is the folder the data stage made."""
        if path.startswith("{data}") and "data" not in self.inputs:
            raise DataError(f"{path}: the recipe has no `data` section", "add one")
        return resolve_path(path, self.inputs.get("data"))

    def resolve_data(self, path: str) -> DataPath:
        """As `resolve`, of data, which may be in a store."""
        return data_path(path) if "://" in path else self.resolve(path)

    def task_folder(self, section: SeedsSection | EvalSection) -> Path | None:
        """The folder of task YAMLs that a section names; None means lm-eval's own tasks."""
        if not section.include:
            return None
        if section.include.startswith("{data}") and "data" in self.inputs:
            _refuse_moved(self.inputs["data"])
        return self.resolve(section.include)


def resolve_path(path: str, data: Artifact | None) -> Path:
    """Turn a recipe path into a real one; one below `{data}` stays where that is not made."""
    if data is None or not path.startswith("{data}"):
        return Path(path)
    return Path(str(data.path) + path.removeprefix("{data}"))


def _refuse_moved(data: Artifact) -> None:
    """Refuse tasks whose YAML files name the data of the folder that they were copied from.

    lm-eval has no name for a file next to a YAML, so the data stage writes where its files are.
    """
    named = re.compile(rf"(/.*/data/{data.fingerprint})/", re.DOTALL)
    for file in (path for path in files_below(data.path) if path.suffix == ".yaml"):
        # Parsed, as YAML escapes and folds what a path may hold: quotes, other scripts, spaces.
        texts = _texts(yaml.load(file.read_bytes(), _Yaml))
        match = next(filter(None, map(named.search, texts)), None)
        there = Path(match[1]) if match else data.path
        if not (there.exists() and there.samefile(data.path)):
            raise DataError(
                f"{file}: its data are in {there}: the runs were moved or copied",
                f"delete {data.path}; the stage `data` makes the same again",
            )


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
