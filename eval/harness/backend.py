"""lm-eval's tasks and a model to ask: load each once, then evaluate task by task.

Guarantees: fixed seeds; a task that cannot be loaded is a DataError that names it, and comes before
any model is loaded; tasks that execute what the model writes are refused unless allowed, and then
do it within the boundary of this machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import lm_eval
import lm_eval.api.task
import lm_eval.evaluator
import torch
from lm_eval.api.model import LM
from lm_eval.api.task import Task

from eval.harness.code_metric import bounded_metric, is_bounded
from eval.harness.documents import RawResult
from eval.harness.engines import ModelSettings, Progress, load_model
from eval.harness.gold import score_answers, stated_answers
from eval.harness.protocol import apply_protocol
from eval.harness.remote import RemoteModel
from tsqa.console import console
from tsqa.errors import CheckpointError, DataError, RecipeError, TsqaError
from tsqa.recipe import EvalSection, ProtocolSection
from tsqa.sandbox import need_boundary
from tsqa.store.process import VLLM, share_gpus
from tsqa.tasks.library import task_library
from tsqa.tasks.patches import bound_task_templates, quiet_evaluator

bound_task_templates()
quiet_evaluator()


@contextmanager
def open_model(
    settings: ModelSettings, section: EvalSection, log: Path, on_progress: Progress
) -> Iterator[LM]:
    """lm-eval's model: one by transformers runs in this process, all others in their own."""
    if settings.backend == "hf" and section.processes == 1:
        yield _load_here(settings, on_progress)
        return
    model = RemoteModel(settings, _environments(settings, section), log, on_progress)
    try:
        yield model
    finally:
        model.close()


def load_tasks(section: EvalSection, include: Path | None) -> dict[str, dict[str, Task]]:
    """Name in `eval.tasks` -> its leaf tasks, each once, in order, with their data at hand."""
    library = task_library(include)
    seen: set[str] = set()
    found: dict[str, dict[str, Task]] = {}
    unsafe: set[str] = set()
    for name in section.tasks:
        if name not in library.index:
            raise library.unknown(name, "eval.tasks")
        for leaf in library.expand([name]):
            if library.config(leaf).get("unsafe_code"):
                _need_allowed(leaf, section.allow_code)
                unsafe.add(leaf)
        try:
            with _metrics(section) if unsafe else nullcontext():
                loaded: Mapping[str, Task] = library.manager.load([name])["tasks"]
        except TsqaError:
            raise
        except Exception as error:
            raise _broken(name, error) from error
        if other := loaded.keys() ^ {*library.expand([name])}:
            raise DataError(
                f"eval.tasks: {name}: lm-eval reads other tasks in it: {', '.join(sorted(other))}",
                "name its tasks one by one",
            )
        for leaf in unsafe & loaded.keys():
            if not section.unguarded_code and not is_bounded(loaded[leaf]):
                raise _unguarded(leaf)
        found[name] = {leaf: task for leaf, task in loaded.items() if leaf not in seen}
        seen.update(loaded)
    return found


def evaluate_task(
    model: LM,
    task: Task,
    include: Path | None,
    section: EvalSection,
    protocol: ProtocolSection | None = None,
) -> RawResult:
    """lm-eval's raw result for one loaded task, with the bits of the answers that it states."""
    shots = section.num_fewshot
    if protocol is not None:
        apply_protocol(task, protocol)
        shots = shots if protocol.num_fewshot is None else None
    try:
        raw: RawResult = lm_eval.simple_evaluate(
            model=model,
            tasks=[task],
            num_fewshot=shots,
            limit=section.limit,
            task_manager=task_library(include).manager,
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=section.chat_template,
            system_instruction=section.system_instruction,
            confirm_run_unsafe_code=section.allow_code,
            random_seed=section.seed,
            numpy_random_seed=section.seed,
            torch_random_seed=section.seed,
            fewshot_random_seed=section.seed,
        )
        _refuse_changing(task, raw)
        if task.OUTPUT_TYPE == "generate_until":
            delimiter = "" if section.chat_template else task.config.target_delimiter
            answers = stated_answers(raw["samples"].get(task.task_name) or [], delimiter)
            raw["gold"] = score_answers(model, task.task_name, answers)
    except (TsqaError, MemoryError):
        raise
    except Exception as error:
        raise _broken(task.task_name, error) from error
    return raw


def _refuse_changing(task: Task, raw: RawResult) -> None:
    """lm-eval makes the documents twice: DataError where other ones were scored than were asked."""
    asked = {instance.doc_id: instance.doc for instance in task.instances}
    for sample in raw["samples"].get(task.task_name) or []:
        known = asked.get(sample["doc_id"], sample["doc"])
        if known is not sample["doc"] and repr(known) != repr(sample["doc"]):
            raise DataError(
                f"eval.tasks: {task.task_name}: its document {sample['doc_id']} was another one "
                "when it was scored than when it was asked: its code makes others each time",
                "seed what that code draws, or keep what it makes",
            )


def _load_here(settings: ModelSettings, on_progress: Progress) -> LM:
    try:
        return load_model(settings, on_progress)
    except Exception as error:
        raise CheckpointError(
            f"{settings.checkpoint}: does not load: {type(error).__name__}: {error}",
            "train again, or fix model.path",
        ) from error


def _environments(settings: ModelSettings, section: EvalSection) -> list[dict[str, str]]:
    """What each process finds in its environment in addition to this one's."""
    cores = str(max(1, (os.cpu_count() or 1) // section.processes))
    shared = dict(VLLM) if settings.backend == "vllm" else {"TOKENIZERS_PARALLELISM": "false"}
    each = 1
    if settings.backend == "vllm":
        each = section.tensor_parallel
        shared["VLLM_CPU_KVCACHE_SPACE"] = str(section.kv_cache_gib)
    if section.processes > 1 and not torch.cuda.is_available():
        # vLLM would bind every process to the same cores.
        shared |= {"OMP_NUM_THREADS": cores, "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    gpus = share_gpus(section.processes, each, "eval.processes or eval.tensor_parallel")
    return [shared | devices for devices in gpus]


def _need_allowed(task: str, allowed: bool) -> None:
    if not allowed:
        raise RecipeError(
            f"eval.tasks: {task} executes code that the model writes, on this machine",
            "set eval.allow_code=true to run it within a boundary, or leave the task out",
        )


@contextmanager
def _metrics(section: EvalSection) -> Iterator[None]:
    boundary = need_boundary("eval.unguarded_code", section.unguarded_code)
    console.print(f"  programs run within {boundary.described}", style="dim")
    if section.unguarded_code:
        os.environ["HF_ALLOW_CODE_EVAL"] = "1"
    with bounded_metric(boundary):
        yield


def _unguarded(task: str) -> RecipeError:
    return RecipeError(
        f"eval.tasks: {task} executes code that the model writes with its own metric, unguarded",
        "set eval.unguarded_code=true in a container that holds nothing of value, or leave the "
        "task out",
    )


def _broken(name: str, error: Exception) -> DataError:
    return DataError(
        f"eval.tasks: {name} cannot be evaluated: {type(error).__name__}: {error}",
        "check the task's YAML, its splits and data files, and the network where they are remote",
    )
