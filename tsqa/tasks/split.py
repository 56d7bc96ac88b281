"""One split of one lm-eval task: its documents, rendered by the task's own configuration.

Guarantees: nothing else of the task is read: no other split, no few-shot pool (which lm-eval holds
in memory whole), no metric. Imported only where documents are needed; lm-eval is heavy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import datasets
from jinja2 import UndefinedError
from jinja2.meta import find_undeclared_variables
from lm_eval.api.task import ConfigurableTask, TaskConfig
from lm_eval.utils import apply_template

from tsqa.errors import DataError
from tsqa.hub.pins import PINS
from tsqa.tasks.identity import ALL, is_on_hub, revision_of, split_parts
from tsqa.tasks.patches import TEMPLATES, bound_task_templates, drawn_alike

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

bound_task_templates()

_KEPT = (
    *("task", "dataset_path", "dataset_name", "dataset_kwargs", "custom_dataset", "process_docs"),
    *("doc_to_text", "doc_to_target", "doc_to_choice", "output_type", "metadata"),
)


class RenderedTask(ConfigurableTask):  # type: ignore[misc]
    """A task that only renders: lm-eval's own start-up would load metrics and every split."""

    def __init__(self, config: Mapping[str, object], documents: datasets.Dataset) -> None:
        self._config = TaskConfig(**{key: config[key] for key in _KEPT if key in config})
        self.OUTPUT_TYPE = self._config.output_type
        self.features = list(documents.features)
        self.prompt = None


@dataclass(frozen=True)
class TaskSplit:
    """A task and the documents of one of its splits."""

    name: str
    task: Any
    documents: Any
    licence: str
    revision: str

    def __len__(self) -> int:
        return len(self.documents)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for document in self.documents:
            yield dict(document)

    def render(self, document: dict[str, Any]) -> tuple[Any, Any, list[Any] | None]:
        """(text, target, choices or None); raise DataError where a template names no column."""
        try:
            text = self.task.doc_to_text(document)
            target = self._target(document)
            return text, target, self._choices(document)
        except UndefinedError as error:
            self._refuse_unknown_columns(document, error)
            raise

    def render_question(self, document: dict[str, Any]) -> tuple[Any, list[Any] | None]:
        """(text, choices or None), where the target cannot be rendered."""
        return self.task.doc_to_text(document), self._choices(document)

    def named(self, document: Mapping[str, object]) -> dict[str, object]:
        """The fields that `doc_to_target` names as text, with their values."""
        template = self.task.config.doc_to_target
        if not isinstance(template, str):
            return {}
        names = {template, *find_undeclared_variables(TEMPLATES.parse(template))}
        return {name: document[name] for name in sorted(names & document.keys())}

    def _target(self, document: dict[str, Any]) -> Any:
        target = self.task.doc_to_target(document)
        template = self.task.config.doc_to_target
        if isinstance(target, list) and isinstance(template, str) and template not in document:
            # lm-eval reads the answer `[1, 2]` as a list of answers, even where it is one text.
            text = apply_template(template, document)
            return text if text in document.values() else target
        return target

    def _choices(self, document: dict[str, Any]) -> list[Any] | None:
        if self.task.OUTPUT_TYPE != "multiple_choice" and self.task.config.doc_to_choice is None:
            return None
        is_overridden = type(self.task).doc_to_choice is not ConfigurableTask.doc_to_choice
        if self.task.config.doc_to_choice is None and not is_overridden:
            return list(document["choices"])
        return list(self.task.doc_to_choice(document))

    def _refuse_unknown_columns(self, document: Mapping[str, object], error: Exception) -> None:
        for key in ("doc_to_text", "doc_to_target", "doc_to_choice"):
            template = getattr(self.task.config, key)
            if not isinstance(template, str):
                continue
            named = find_undeclared_variables(TEMPLATES.parse(template))
            unknown = sorted(name for name in named - set(document) if name in str(error))
            if unknown:
                raise DataError(
                    f"the task {self.name}: {key} names `{unknown[0]}`, which its documents lack",
                    f"there are: {', '.join(sorted(document))}",
                ) from error


def open_yaml_split(config: dict[str, Any], split: str) -> TaskSplit:
    """Load one split of a YAML task."""
    name = str(config["task"])
    process = config.get("process_docs")
    with drawn_alike(config.get("custom_dataset")):
        loaded = _load(config, split)
    with drawn_alike(process):
        documents = process(loaded) if process else loaded
    _refuse_empty(name, split, documents)
    info = loaded.info
    revision = revision_of(info) or _pinned(config)
    return TaskSplit(name, RenderedTask(config, documents), documents, _licence(info), revision)


def open_class_split(manager: TaskManager, name: str, split: Literal["train", "test"]) -> TaskSplit:
    """Load one split of a Python-class task, through its own start-up."""
    task = manager.load(name)["tasks"][name]
    documents = task.training_docs() if split == "train" else task.eval_docs
    _refuse_empty(name, split, documents)
    info = getattr(documents, "info", None)
    return TaskSplit(name, task, documents, _licence(info), revision_of(info))


def _load(config: Mapping[str, Any], split: str) -> datasets.Dataset:
    arguments = dict(config.get("dataset_kwargs") or {})
    if callable(config.get("custom_dataset")):
        return config["custom_dataset"](**(config.get("metadata") or {}), **arguments)[split]
    arguments.pop("trust_remote_code", None)
    files = arguments.get("data_files")
    if isinstance(files, dict) and split != ALL:
        arguments["data_files"] = {key: files[key] for key in files if key in split_parts(split)}
    return datasets.load_dataset(
        config["dataset_path"], config.get("dataset_name"), split=split, **arguments
    )


def _pinned(config: Mapping[str, Any]) -> str:
    """The commit that the task's dataset was loaded at; empty when it is not on the hub."""
    path = str(config.get("dataset_path"))
    if callable(config.get("custom_dataset")) or not is_on_hub(path):
        return ""
    revision = (config.get("dataset_kwargs") or {}).get("revision")
    return PINS.commit("dataset", path, revision) or ""


def _licence(info: object) -> str:
    return str(getattr(info, "license", "") or "")


def _refuse_empty(name: str, split: str, documents: Sized | None) -> None:
    if documents is None or len(documents) == 0:
        raise DataError(
            f"the task {name} has no document in its split {split}",
            "correct its data, or take it out of the recipe",
        )
