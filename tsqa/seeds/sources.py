"""Where seeds come from: the training split of an lm-eval task, or an own dataset.

Guarantees: what is wrong with a source is an error before a document is used; its documents come
as a stream of seeds and rejections in the order of the data, and repeat exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tsqa.errors import DataError, LeakError, RecipeError
from tsqa.recipe import Recipe, SeedsSection, needed
from tsqa.records.seed import Seed
from tsqa.seeds.budget import check_shares
from tsqa.seeds.dataset_files import DatasetSource, DocumentSource
from tsqa.seeds.document import (
    Origin,
    RawDocument,
    Rejected,
    Unusable,
    make_evaluated,
    make_seed,
    read_rendering,
)
from tsqa.seeds.leaks import find_leak, find_obstacle, refuse_unknown_leaks
from tsqa.seeds.taxonomy import Taxonomy, load_taxonomy, stated_family
from tsqa.store.digests import DIGESTS
from tsqa.store.stage import StageContext
from tsqa.tasks.identity import evaluated_split, split_files
from tsqa.tasks.library import TaskLibrary, task_library
from tsqa.tasks.toy import task_yamls

if TYPE_CHECKING:
    from tsqa.tasks.split import TaskSplit

_PLAIN_SUBSETS = ("default", "main", "all", "none")


class Source(Protocol):
    """One named source of seeds."""

    @property
    def name(self) -> str: ...

    @property
    def capability(self) -> str: ...

    def leak(self) -> str | None:
        """Say why its split is an evaluated one, by name; no document is read."""

    def check(self) -> None:
        """Raise DataError where no seed can come of it; reads no more than a few documents."""

    def documents(self) -> Iterator[Seed | Rejected]: ...


class TaskSource:
    """The training split of an lm-eval task."""

    def __init__(
        self,
        name: str,
        include: Path | None,
        taxonomy: Taxonomy,
        siblings: dict[tuple[str, ...], str],
    ) -> None:
        self.name = name
        self._library = task_library(include)
        self._siblings = siblings
        self._taxonomy = taxonomy

    @property
    def capability(self) -> str:
        return _labels(self.name, self._library, self._taxonomy)[1]

    def leak(self) -> str | None:
        return find_leak(self.name, self._library, self._siblings)

    def check(self) -> None:
        obstacle = find_obstacle(self.name, self._library)
        if obstacle:
            has_split = self._library.config(self.name).get("training_split")
            kind = DataError if has_split else LeakError
            raise kind(
                f"seeds.tasks: {self.name}: {obstacle}", f"take {self.name} out of seeds.tasks"
            )
        self._library.resolved(self.name)

    def documents(self) -> Iterator[Seed | Rejected]:
        split = self._library.open_split(self.name, "train")
        origin = _task_origin(self.name, self._library, self._taxonomy, split, "train")
        for number, document in enumerate(split):
            identifier = f"{self.name}-{number}"
            try:
                yield make_seed(render_document(split, document), origin, identifier, number)
            except Unusable as error:
                yield Rejected(identifier, self.name, number, error.reason, error.detail)


def open_sources(context: StageContext, siblings: dict[tuple[str, ...], str]) -> list[Source]:
    """Open the recipe's sources, in order; `siblings`: the split identities of evaluated tasks."""
    section = needed(context.recipe.seeds, "seeds")
    taxonomy = load_taxonomy(context.resolve(section.taxonomy) if section.taxonomy else None)
    sources: list[Source] = []
    left_out = held_out(section, context.task_folder(section) if section.tasks else None)
    for name in task_names(context, section):
        if name not in left_out:
            sources.append(TaskSource(name, context.task_folder(section), taxonomy, siblings))
    for dataset in section.datasets:
        if dataset.name not in left_out:
            path = context.resolve_data(dataset.path)
            sources.append(DatasetSource(dataset, path, taxonomy, siblings))
    for documents in section.documents:
        if documents.name not in left_out:
            path = context.resolve_data(documents.path)
            sources.append(DocumentSource(documents, path, taxonomy, siblings))
    names = Counter(source.name for source in sources)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise RecipeError(
            f"seeds: {', '.join(twice)}: a task behind seeds.tasks has the same name",
            "give the dataset or the documents another name",
        )
    return sources


def held_out(section: SeedsSection, include: Path | None) -> dict[str, str]:
    """Leaf task or dataset of a family in `seeds.hold_out` -> its family.

    Raise RecipeError where a family is none of theirs, or nothing is left to seed from.
    """
    if not section.hold_out:
        return {}
    families = {dataset.name: dataset.name for dataset in section.own}
    if section.tasks:
        library = task_library(include)
        families |= {name: library.family(name) for name in library.expand(section.tasks)}
    families = {n: stated_family(n, section.families) or f for n, f in families.items()}
    known = sorted(set(families.values()))
    if unknown := sorted(set(section.hold_out) - set(known)):
        raise RecipeError(
            f"seeds.hold_out names {', '.join(unknown)}, which is no family of a source of seeds",
            f"take it out: it gives no seed; or use one of: {', '.join(known)}",
        )
    found = {name: family for name, family in families.items() if family in section.hold_out}
    if len(found) == len(families):
        raise RecipeError(
            "seeds.hold_out names the family of every source of seeds", "leave one to seed from"
        )
    return found


def evaluated_of(families: Sequence[str], recipe: Recipe) -> dict[str, list[str]]:
    """Family -> the evaluated tasks of it; no document is read."""
    section, stated = needed(recipe.eval, "eval"), recipe.seeds.families if recipe.seeds else {}
    found: dict[str, list[str]] = {family: [] for family in families}
    with task_yamls(section.include) as include:
        library = task_library(include)
        for name in library.expand(section.tasks):
            family = stated_family(name, stated) or library.family(name)
            if family in found:
                found[family].append(name)
    return found


def check_sources(section: SeedsSection, include: Path | None) -> None:
    """Refuse, before any work, to hold out families, to allow leaks, or to want capabilities, that
    no source has. `include`: the folder of its tasks, whose documents are not read.
    """
    left_out = held_out(section, include)
    if section.allow_leaks:
        refuse_unknown_leaks(section.allow_leaks, source_names(section, include))
    if not (section.budget and section.budget.capabilities):
        return
    taxonomy = load_taxonomy(Path(section.taxonomy) if section.taxonomy else None)
    library = task_library(include)
    names = [name for name in library.expand(section.tasks) if name not in left_out]
    found = {_labels(name, library, taxonomy)[1] for name in names}
    for own in section.own:
        if own.name not in left_out:
            found.add(own.capability or taxonomy.capability(own.name, [], own.path))
    check_shares(found, section.budget)


def unused_families(recipes: Iterable[Recipe]) -> list[str]:
    """The names in `seeds.families` that are those of no task or dataset of these recipes."""
    given: set[str] = set()
    names: set[str] = set()
    for recipe in recipes:
        if recipe.seeds is None or not recipe.seeds.families:
            continue
        given |= recipe.seeds.families.keys()
        names |= {own.name for own in recipe.seeds.own}
        for section in (recipe.seeds, recipe.eval):
            if section and section.tasks:
                with task_yamls(section.include) as include:
                    names |= {*task_library(include).expand(section.tasks)}
    return sorted(one for one in given if not any(fnmatchcase(name, one) for name in names))


def source_names(section: SeedsSection, include: Path | None) -> list[str]:
    """The leaf tasks and own datasets that seeds are drawn from."""
    tasks = task_library(include).expand(section.tasks) if section.tasks else []
    left_out = held_out(section, include)
    return [n for n in (*tasks, *(own.name for own in section.own)) if n not in left_out]


def task_names(context: StageContext, section: SeedsSection) -> list[str]:
    """List the leaf tasks behind `seeds.tasks`."""
    if not section.tasks:
        return []
    return task_library(context.task_folder(section)).expand(section.tasks)


def load_evaluated(task_name: str, include: Path | None) -> list[Seed]:
    """All documents that a task scores; one that cannot be read whole with what could be read."""
    split = open_evaluated(task_name, include)
    return [] if split is None else render_evaluated(task_name, include, split)


def open_evaluated(task_name: str, include: Path | None) -> TaskSplit | None:
    """What a task scores; None where it scores nothing."""
    library = task_library(include)
    config = library.config(task_name)
    if evaluated_split(config) is None and "class" not in config:
        return None
    return library.open_split(task_name, "test")


def render_evaluated(task_name: str, include: Path | None, split: TaskSplit) -> list[Seed]:
    """The documents of `open_evaluated`."""
    library = task_library(include)
    origin = _task_origin(task_name, library, load_taxonomy(), split, "test")
    return [
        make_evaluated(_render_leniently(split, document), origin, f"{task_name}-{number}", number)
        for number, document in enumerate(split)
    ]


def render_document(split: TaskSplit, document: dict[str, Any]) -> RawDocument:
    try:
        text, target, choices = split.render(document)
        return read_rendering(text, target, choices, document)
    except (Unusable, DataError):
        raise
    except Exception as error:
        # A template or a task's function may raise anything on a document it does not expect.
        raise Unusable("does not render", f"{type(error).__name__}: {error}"[:200]) from error


def _render_leniently(split: TaskSplit, document: dict[str, Any]) -> RawDocument:
    try:
        return render_document(split, document)
    except Unusable:
        pass
    try:
        text, choices = split.render_question(document)
        reading = read_rendering(text, 0 if choices else "", choices or None, document)
        return replace(reading, index=None, answer="")
    except Unusable:
        strings = [value for value in document.values() if isinstance(value, str)]
        return RawDocument(" ".join(strings), "", [], None, "")
    except Exception as error:
        raise DataError(
            f"a scored document of {split.name} does not render: {type(error).__name__}: {error}",
            "correct the task: nothing can be kept apart from a document that cannot be read",
        ) from error


def _task_origin(
    name: str,
    library: TaskLibrary,
    taxonomy: Taxonomy,
    split: TaskSplit,
    which: Literal["train", "test"],
) -> Origin:
    config = library.config(name)
    family, capability, language = _labels(name, library, taxonomy)
    subset = config.get("dataset_name")
    training = config.get("training_split") if which == "train" else evaluated_split(config)
    files = [file for file in split_files(config, training) if file.is_file()]
    given = (config.get("dataset_kwargs") or {}).get("revision")
    named = [str(config[k]) for k in ("dataset_path", "dataset_name") if config.get(k)]
    return Origin(
        task=name,
        family=family,
        capability=capability,
        subject="" if subset is None or str(subset) in _PLAIN_SUBSETS else str(subset),
        language=language,
        dataset="+".join(file.name for file in files[:8]) or ":".join(named),
        revision="+".join(DIGESTS.of(file)[:12] for file in files[:8])
        or split.revision
        or str(given or ""),
        split=str(training or which),
        licence=split.licence,
    )


def _labels(name: str, library: TaskLibrary, taxonomy: Taxonomy) -> tuple[str, str, str]:
    """(family, capability, language)."""
    family, tags = library.family(name), library.tags(name)
    metadata = library.config(name).get("metadata")
    stated = metadata.get("language") if isinstance(metadata, dict) else None
    language = str(stated) if stated else taxonomy.language(name, tags, family)
    return family, taxonomy.capability(name, tags, family), language
