"""Where seeds come from: the training split of an lm-eval task, or an own dataset.

Promises: what is wrong with a source is an error before a document is used; its documents come
as a stream of seeds and rejections in the order of the data, and repeat exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tsqa.errors import DataError, LeakError, RecipeError
from tsqa.recipe import DatasetSection, SeedsSection, needed
from tsqa.records.seed import Seed
from tsqa.seeds import dataset_files as own
from tsqa.seeds.document import (
    Origin,
    Reading,
    Unusable,
    make_evaluated,
    make_seed,
    read_rendering,
)
from tsqa.seeds.leaks import find_leak, find_obstacle, looks_evaluated
from tsqa.seeds.taxonomy import Taxonomy, load_taxonomy
from tsqa.store.digests import DIGESTS
from tsqa.store.stage import StageContext
from tsqa.tasks.library import (
    TaskLibrary,
    dataset_identity,
    evaluated_split,
    revision_of,
    split_files,
    task_library,
)

if TYPE_CHECKING:
    from tsqa.tasks.split import TaskSplit

_PLAIN_SUBSETS = ("default", "main", "all", "none")


@dataclass(frozen=True)
class Rejected:
    """A document that is no seed."""

    id: str
    task: str
    doc_id: int
    reason: str
    detail: str
    question: str = ""
    """Its beginning, where it could be read."""


class Source(Protocol):
    """One named source of seeds."""

    @property
    def name(self) -> str: ...

    @property
    def capability(self) -> str: ...

    def leak(self) -> str | None:
        """Why its split is an evaluated one, by name; no document is read."""

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


class DatasetSource:
    """An own dataset with a column mapping."""

    def __init__(
        self,
        section: DatasetSection,
        path: Path,
        taxonomy: Taxonomy,
        siblings: dict[tuple[str, ...], str],
    ) -> None:
        self.name = section.name
        self._section = section
        self._files = own.find_files(section, path)
        self._siblings = siblings
        self._taxonomy = taxonomy

    @property
    def capability(self) -> str:
        named = self._section.capability
        return named or self._taxonomy.capability(self.name, [], self._section.path)

    def leak(self) -> str | None:
        section = self._section
        if self._files is None:
            identities = [dataset_identity(section.path, section.subset, section.split)]
            names = [section.split]
        else:
            identities = [("file", str(path.resolve())) for path in self._files.paths]
            names = [path.stem for path in self._files.paths]
        for identity in identities:
            if identity in self._siblings:
                return f"{identity[1]} ({section.split}) is evaluated by {self._siblings[identity]}"
        test = next((name for name in names if looks_evaluated(name)), None)
        return f"{test} is a test set by its name" if test else None

    def check(self) -> None:
        if self._files is not None:
            own.check_columns(self._section, self._files.columns())
        else:
            own.check_columns(self._section, own.load_hub(self._section).column_names)

    def documents(self) -> Iterator[Seed | Rejected]:
        section = self._section
        records: Any = self._files if self._files is not None else own.load_hub(section)
        info = getattr(records, "info", None)
        revision = self._files.revision if self._files else revision_of(info) or section.revision
        where = Path(section.path).name if self._files else section.path
        origin = Origin(
            task=self.name,
            family=self.name,
            capability=self.capability,
            subject="",
            language=section.language,
            dataset=":".join(filter(None, (where, section.subset))),
            revision=revision or "",
            split=section.split,
            licence=section.licence or str(getattr(info, "license", "") or ""),
        )
        seen: set[int] = set()
        for number, record in enumerate(records):
            identifier = f"{self.name}-{number}"
            try:
                if isinstance(record, Unusable):
                    raise record
                if not isinstance(record, dict):
                    raise Unusable("mixed types", f"a record is {type(record).__name__}")
                given = own.record_id(record, section.columns)
                if given is not None:
                    identifier = f"{self.name}-{given}"
                    # Hashes, not texts: a million ids stay small.
                    if hash(given) in seen:
                        identifier = f"{self.name}-{number}"
                        raise Unusable("duplicate id", given[:80])
                    seen.add(hash(given))
                yield make_seed(
                    own.read_record(record, section, number), origin, identifier, number
                )
            except Unusable as error:
                yield Rejected(identifier, self.name, number, error.reason, error.detail)


def open_sources(context: StageContext, siblings: dict[tuple[str, ...], str]) -> list[Source]:
    """The recipe's sources in its order; `siblings` are the split identities of evaluated tasks."""
    section = needed(context.recipe.seeds, "seeds")
    taxonomy = load_taxonomy(context.resolve(section.taxonomy) if section.taxonomy else None)
    sources: list[Source] = []
    for name in task_names(context, section):
        sources.append(TaskSource(name, context.task_folder(section), taxonomy, siblings))
    for dataset in section.datasets:
        sources.append(DatasetSource(dataset, context.resolve(dataset.path), taxonomy, siblings))
    names = Counter(source.name for source in sources)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise RecipeError(
            f"seeds.datasets: {', '.join(twice)}: a task behind seeds.tasks has the same name",
            "give the dataset another name",
        )
    return sources


def task_names(context: StageContext, section: SeedsSection) -> list[str]:
    """The leaf tasks behind `seeds.tasks`."""
    if not section.tasks:
        return []
    return task_library(context.task_folder(section)).expand(section.tasks)


def load_split(task_name: str, include: Path | None, split: Literal["train", "test"]) -> list[Seed]:
    """All usable documents of a task's training split, or (`test`) all that are scored.

    A scored document that cannot be read whole is there with what could be read.
    """
    if split == "test":
        return _load_evaluated(task_name, include)
    source = TaskSource(task_name, include, load_taxonomy(), {})
    source.check()
    return [document for document in source.documents() if isinstance(document, Seed)]


def _load_evaluated(task_name: str, include: Path | None) -> list[Seed]:
    library = task_library(include)
    config = library.config(task_name)
    if evaluated_split(config) is None and "class" not in config:
        return []
    split = library.open_split(task_name, "test")
    origin = _task_origin(task_name, library, load_taxonomy(), split, "test")
    return [
        make_evaluated(_render_leniently(split, document), origin, f"{task_name}-{number}", number)
        for number, document in enumerate(split)
    ]


def render_document(split: TaskSplit, document: dict[str, Any]) -> Reading:
    try:
        text, target, choices = split.render(document)
        return read_rendering(text, target, choices, document)
    except (Unusable, DataError):
        raise
    except Exception as error:
        # A template or a task's function may raise anything on a document it does not expect.
        raise Unusable("does not render", f"{type(error).__name__}: {error}"[:200]) from error


def _render_leniently(split: TaskSplit, document: dict[str, Any]) -> Reading:
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
        return Reading(" ".join(strings), "", [], None, "")
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
