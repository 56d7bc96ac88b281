"""What a change costs: for every key of the recipe, the stages that may run again.

A key that the table lacks fails, so that none is added without a decision.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import tsqa.filters.definition
import tsqa.generate.definition
from tests.faults.recipes import dump, full_recipe
from tests.support.paths import REPOSITORY
from tsqa.pipeline.graph import build_graph
from tsqa.prompts import load_prompts
from tsqa.recipe import StopSection, load_recipe
from tsqa.recipe.reference import all_keys

TRAINED = str(REPOSITORY / "recipes" / "smoke" / "base.yaml")
COMPARE = {"compare"}
EVALUATE = {"evaluate", *COMPARE}
TRAIN = {"train", *EVALUATE}
TOKENIZE = {"tokenize", *TRAIN}
TOKENIZER = {"tokenizer", *TOKENIZE}
SOURCE = {"decontaminate", *TOKENIZE}
NEAREST = {"nearest", *SOURCE}
FILTER = {"filter", *TOKENIZE}
GENERATE = {"generate", *FILTER}
GUARD = {"guard", *FILTER}
SEEDS = {"seeds", "guard", *GENERATE}
BENCHMARKS = {"benchmarks", "decontaminate", *GUARD}
DATA = {"data", *BENCHMARKS, *SEEDS}
TEACHERS = {
    "generate.teacher": GENERATE,
    "generate.writer": GENERATE,
    "generate.solvers.<n>.teacher": GENERATE,
    "generate.cascade.teacher": GENERATE,
    "filter.triviality.teacher": FILTER,
    "filter.judge.teacher": FILTER,
    "filter.decontaminate.semantic.judge.teacher": FILTER,
}
TEACHER: dict[str, Any] = {
    "engine": {"engine": "vllm", "urls": []},
    "model.path": "another",
    "model.recipe": {"engine": "vllm", "urls": [], "model": {"recipe": TRAINED}},
    "model.trust_remote_code": True,
    "form": "chat",
    "structured": True,
    "dtype": {"engine": "vllm", "urls": [], "dtype": "float16"},
    "max_model_len": 128,
    "engine_args": {"engine": "vllm", "urls": [], "engine_args": {"enforce_eager": True}},
    "request.token_limit": "max_completion_tokens",
    "request.omit": ["seed"],
    "request.system": "merge",
    "request.chat_template_kwargs": {"enable_thinking": False},
    "request.extra_body": {"reasoning_effort": "low"},
}
"""Key of a teacher -> its new value, or several keys that change together."""
MORE_SAMPLING = {"thinking_tokens": 5, "top_k": 5, "min_p": 0.5, "repetition_penalty": 1.5}
FAITHFULNESS = {"kept": 0.25, "shortest": 0.25, "longest": 2.0, "copied": 0.25}
LABELS = dict.fromkeys(("easy", "medium", "hard"), 0.3)
SERVED: dict[str, Any] = {
    "engine": "openai",
    "model": {"path": "m"},
    "urls": ["http://127.0.0.1:9"],
}
NO_VALUE = {f"{teacher}.model.config" for teacher in TEACHERS}
"""Always refused."""
PLACES = {"cluster": "ray", "replicas": 2, "tensor_parallel": 2, "kv_cache_gib": 3}
LOADED = {f"{teacher}.{key}": teacher for teacher in TEACHERS for key in PLACES}
"""Only of teachers whose model is loaded here."""


class Together(dict[str, Any]):
    """Several keys that only change together."""


def rephrasing(faithfulness: dict[str, float]) -> Together:
    """Passages alone are rephrased, without what questions and votes have."""
    return Together(
        {
            "seeds.datasets": [],
            "generate": {"teacher": SERVED, "rephrase": {"styles": {"faq": 0.5, "table": 0.5}}},
            "filter": {"faithfulness": faithfulness},
        }
    )


def of_hub(source: str, **changes: str) -> Together:
    """A dataset of the hub, of which keys may say which part is meant."""
    values = {"path": "org/pages", "revision": "f" * 40, **changes}
    return Together({f"{source}.{key}": value for key, value in values.items()})


def near(**changes: str) -> Together:
    """A source of documents near the seeds, in place of `books`."""
    chosen = {"nearest": {"pool": "web", **changes}, "size_of": "synthetic"}
    return Together(
        {
            "mixture.sources.near": chosen,
            "mixture.phases.0.ratios": {"web": 0.4, "near": 0.1, "synthetic": 0.5},
        }
    )


def near_human(**changes: str) -> Together:
    """The control that makes such a source."""
    return Together(
        {
            "ablation.controls": ["nearest_human"],
            "ablation.nearest_human": {"pool": "web", **changes},
        }
    )


PROTOCOL: dict[str, dict[str, Any]] = {
    "num_fewshot": {"num_fewshot": 2},
    "metric": {"metric": "acc_norm"},
    "filter": {"filter": "none"},
    "samples": {"samples": 4, "temperature": 0.5},
    "temperature": {"temperature": 0.0},
    "top_p": {"top_p": 0.5, "temperature": 0.5},
    "max_tokens": {"max_tokens": 8},
    "stop": {"stop": ["Question:"]},
}
"""Key of a task's protocol -> keys of it that change together."""


KEYS: list[tuple[set[str], dict[str, Any]]] = [
    (
        DATA,
        {
            "data.builder": None,  # has one value so far
            "data.seed": 1,
            "data.train_per_family": 5,
            "data.test_per_family": 5,
            "data.teacher_documents": 5,
        },
    ),
    # What is generated does not depend on what is evaluated.
    (BENCHMARKS, {"eval.tasks": ["own_task", "other"], "eval.include": "{folder}/more"}),
    (
        SEEDS,
        {
            "seeds.tasks": ["gsm8k"],
            "seeds.include": Together(
                {"seeds.tasks": ["own_task"], "seeds.include": "{folder}/tasks"}
            ),
            "seeds.datasets.<n>.name": "other",
            "seeds.datasets.<n>.path": "{folder}/web.jsonl",
            "seeds.datasets.<n>.subset": of_hub("seeds.datasets.0", subset="main"),
            "seeds.datasets.<n>.split": of_hub("seeds.datasets.0", split="validation"),
            "seeds.datasets.<n>.revision": of_hub("seeds.datasets.0", revision="f00"),
            "seeds.datasets.<n>.columns.question": "c",
            "seeds.datasets.<n>.columns.answer": "c",
            "seeds.datasets.<n>.columns.choices": "c",
            "seeds.datasets.<n>.columns.context": "c",
            "seeds.datasets.<n>.columns.explanation": "c",
            "seeds.datasets.<n>.columns.subject": "c",
            "seeds.datasets.<n>.columns.tests": "c",
            "seeds.datasets.<n>.columns.id": "c",
            "seeds.datasets.<n>.answer": Together(
                {"seeds.datasets.0.answer": "letter", "seeds.datasets.0.columns.choices": "c"}
            ),
            "seeds.datasets.<n>.kind": "number",
            "seeds.datasets.<n>.capability": "reading comprehension",
            "seeds.datasets.<n>.language": "de",
            "seeds.datasets.<n>.licence": "mit",
            "seeds.taxonomy": None,
            "seeds.max_per_task": 5,
            "seeds.budget.total": 5,
            "seeds.budget.temperature": 2.0,
            "seeds.budget.capabilities": {"math": 0.25},
            "seeds.allow_leaks": ["own"],  # keeps documents that are dropped otherwise
            "seeds.families": {"own": "mine"},
            "seeds.refresh": "{folder}/release",
            "seeds.hold_out": ["own"],
            "seeds.seed": 1,
            "seeds.documents.<n>.name": "other",
            "seeds.documents.<n>.path": "{folder}/own.jsonl",
            "seeds.documents.<n>.subset": of_hub("seeds.documents.0", subset="main"),
            "seeds.documents.<n>.split": of_hub("seeds.documents.0", split="validation"),
            "seeds.documents.<n>.revision": of_hub("seeds.documents.0", revision="f00"),
            "seeds.documents.<n>.text_field": "content",
            "seeds.documents.<n>.min_words": 5,
            "seeds.documents.<n>.max_words": 100,
            "seeds.documents.<n>.kind": "number",
            "seeds.documents.<n>.capability": "reading comprehension",
            "seeds.documents.<n>.language": "de",
            "seeds.documents.<n>.licence": "mit",
            # Questions about passages show no attributes: one excludes the other.
            "generate.attributes": Together(
                {
                    "generate.attributes": {"difficulty": {"easy": 0.5, "hard": 0.5}},
                    "generate.prompts.question": "varied",
                    "seeds.documents": [],
                }
            ),
            # Of passages alone; that the filter alone runs again, its own test shows.
            "generate.rephrase.styles": rephrasing({}),
            **{
                f"filter.faithfulness.{key}": rephrasing({key: value})
                for key, value in FAITHFULNESS.items()
            },
        },
    ),
    (
        GENERATE,
        {
            "generate.cascade.agreement": 0.5,
            "generate.per_seed": 2,
            "generate.shots": 1,
            "generate.votes": 3,
            "generate.enrichment": [],
            "generate.question.temperature": 0.5,
            "generate.question.top_p": 0.5,
            "generate.question.max_tokens": 5,
            "generate.answer.temperature": 0.5,
            "generate.answer.top_p": 0.5,
            "generate.answer.max_tokens": 5,
            **{
                f"generate.{place}.{key}": value
                for place in ("question", "answer")
                for key, value in MORE_SAMPLING.items()
            },
            # Other models must answer for it.
            "filter.model_agreement": Together(
                {
                    "generate.solvers": [
                        {"teacher": SERVED},
                        {"teacher": {**SERVED, "model": {"path": "other"}}},
                    ],
                    "generate.cascade": None,
                    # Other models must answer for it.
                    "filter.model_agreement": 2,
                }
            ),
            "generate.solvers.<n>.votes": 2,
            "generate.solvers.<n>.weight": 0.5,
            "generate.solvers.<n>.prompt": "plain",
            "generate.solvers.<n>.answer.temperature": 0.5,
            "generate.solvers.<n>.answer.top_p": 0.5,
            "generate.solvers.<n>.answer.max_tokens": 5,
            **{f"generate.solvers.<n>.answer.{k}": v for k, v in MORE_SAMPLING.items()},
            "generate.prompts.question": "plain",
            "generate.prompts.passage": "fact_seeking",
            "generate.temperatures": [0.5, 1.0],
            "generate.canaries": 5,
            "generate.prompts.answer": "plain",
            "generate.seed": 1,
        },
    ),
    (
        FILTER,
        {
            "filter.min_words": 2,
            "filter.max_words": 50,
            "filter.languages": ["en"],
            "filter.agreement": 0.5,
            "filter.copy_similarity": 0.5,
            "filter.triviality.tries": 2,
            "filter.judge.prompt": "{folder}/judge.jinja",
            "filter.judge.min_score": 2,
            "filter.decontaminate.semantic.judge.prompt": "{folder}/leak.jinja",
            "filter.decontaminate.semantic.judge.band": 0.2,
            "filter.reward.model": "org/another",
            "filter.reward.min_score": 0.25,
            "filter.code.seconds": 1.0,
            "filter.code.memory_mib": 64,
            "filter.renderings": ["lesson"],
            "filter.dedup.method": "exact",
            "filter.dedup.threshold": 0.5,
            "filter.dedup.semantic.model": "org/another",
            "filter.dedup.semantic.threshold": 0.5,
            **{
                f"filter.difficulty.{label}": Together({"filter.difficulty": LABELS | {label: 0.4}})
                for label in LABELS
            },
        },
    ),
    (
        GUARD,
        {
            "filter.decontaminate.semantic.model": "org/another",
            "filter.decontaminate.semantic.false_positives": 0.02,
        },
    ),
    (
        {"decontaminate", *FILTER},
        {"filter.decontaminate.ngram": 5, "filter.decontaminate.similarity": 0.5},
    ),
    (
        TOKENIZER,
        {
            "model.recipe": Together({"model": {"recipe": TRAINED}, "tokenizer": None}),
            "model.path": Together({"model": {"path": "{folder}/tasks"}, "tokenizer": None}),
            "model.trust_remote_code": True,
            "tokenizer.path": Together({"tokenizer": {"path": "{folder}/tasks"}}),
            "tokenizer.train_on": ["{folder}/own.jsonl"],
            "tokenizer.vocab_size": 300,
        },
    ),
    (
        SOURCE,
        {
            "mixture.sources.<name>.path": "{folder}/own.jsonl",
            "mixture.sources.<name>.from": Together(
                {"mixture.sources.synthetic": {"path": "{folder}/own.jsonl"}}
            ),
            "mixture.sources.<name>.subset": of_hub("mixture.sources.web", subset="main"),
            "mixture.sources.<name>.split": of_hub("mixture.sources.web", split="validation"),
            "mixture.sources.<name>.revision": of_hub("mixture.sources.web"),
            "mixture.sources.<name>.text_field": "content",
            "mixture.sources.<name>.on_bad": "skip",
        },
    ),
    (
        NEAREST,
        {
            "mixture.sources.<name>.nearest.pool": near(pool="books"),
            "mixture.sources.<name>.nearest.model": near(model="org/embedding"),
            "ablation.nearest_human.pool": near_human(pool="books"),
            "ablation.nearest_human.model": near_human(model="org/embedding"),
        },
    ),
    (
        TOKENIZE,
        {
            "mixture.sources.<name>.packing": "whole",
            "mixture.sources.<name>.permute": Together(
                {"mixture.sources.synthetic.permute": "answers"}
            ),
            "mixture.sources.<name>.answer_marker": "Answer:",
            "mixture.decontaminate": False,
            "train.sequence_length": 16,
            "ablation.controls": ["format_matched"],
        },
    ),
    (
        TRAIN,
        {
            "seed": 1,
            "model.config": {"model_type": "nemotron_h"},
            "mixture.sources.<name>.subset_of": Together(
                {
                    "mixture.sources.part": {"subset_of": "web", "size_of": "synthetic"},
                    "mixture.phases.0.ratios": {"part": 0.5, "books": 0.5},
                }
            ),
            "mixture.sources.<name>.size_of": Together(
                {
                    "mixture.sources.part": {"subset_of": "web", "size_of": "web"},
                    "mixture.phases.0.ratios": {"part": 0.5, "books": 0.5},
                }
            ),
            "mixture.phases.<n>.tokens": 500_000,
            "mixture.phases.<n>.ratios": {"web": 0.25, "books": 0.25, "synthetic": 0.5},
            "train.global_batch_tokens": 128,
            "train.lr": 1e-4,
            "train.schedule.kind": "cosine",
            "train.schedule.warmup": 0.25,
            "train.schedule.start_lr_ratio": 0.25,
            "train.schedule.decay": 0.25,
            "train.schedule.min_lr_ratio": 0.25,
            "train.schedule.decay_shape": "sqrt",
            "train.average_last": Together({"train.average_last": 2, "eval.every_tokens": 100_000}),
            "train.batch_ramp.<n>.until": 0.25,
            "train.batch_ramp.<n>.global_batch_tokens": 16,
            "train.weight_decay": 0.2,
            "train.decay_embeddings": False,
            "train.betas": [0.5, 0.5],
            "train.eps": 1e-7,
            "train.clip": 2.0,
            "train.precision": "fp32",
            "train.fp32_parameters": ["A_log"],
            "train.z_loss": 0.1,
            "train.router.bias_rate": 0.1,
            "train.router.loss": 0.1,
            "train.heldout_rows": 2,
            "train.elsewhere": "another",
            "eval.every_tokens": 100_000,  # a run exports the models that it is asked for
            "ablation.axes": {"mixture.synthetic": [0, 0.25]},
            "ablation.arms": [{"train.lr": 1e-4}],
            "ablation.seeds": [7],
        },
    ),
    (
        EVALUATE,
        {
            "eval.num_fewshot": 1,
            **{
                f"eval.protocols.<name>.{key}": Together(
                    {f"eval.protocols.own_task.{k}": v for k, v in changed.items()}
                )
                for key, changed in PROTOCOL.items()
            },
            "eval.limit": 1,
            "eval.seed": 1,
            "eval.chat_template": True,
            "eval.system_instruction": Together(
                {"eval.chat_template": True, "eval.system_instruction": "Be brief."}
            ),
            "eval.backend": "vllm",
            "eval.max_length": 64,
            "eval.groups": {"own_task": "question"},
        },
    ),
    (
        COMPARE,
        {
            "eval.macros": {"mean": ["own_task"]},
            "eval.macro": "documents",
            "eval.seed_spread": 1.5,
            "eval.bootstrap": 500,
            "eval.confidence": 0.9,
            "ablation.control": {"mixture.synthetic": 0.5},
        },
    ),
    (
        set(),
        {
            "name": "another",
            "tracking.project": "another",
            "tracking.backend": "trackio",
            "tracking.entity": "another",
            "tracking.mode": "offline",
            "launch.kind": "slurm",
            "launch.machines": Together(
                {"launch.kind": "slurm", "launch.machines": 2, "train.processes": 2}
            ),
            "launch.options": Together({"launch.kind": "slurm", "launch.options": ["--mem=1G"]}),
            "launch.template": Together({"launch.kind": "sky", "launch.template": "task.yaml"}),
            "launch.command": Together(
                {"launch.kind": "command", "launch.command": "ssh a {training}"}
            ),
            "launch.at_once": Together({"launch.kind": "slurm", "launch.at_once": 2}),
            "launch.patience_minutes": Together(
                {"launch.kind": "slurm", "launch.patience_minutes": 2}
            ),
            "eval.suite": None,  # reruns what the keys in it rerun
        },
    ),
]
RUNTIME: dict[str, Any] = {
    "runs": "{folder}/other",
    "dollars_per_gpu_hour": 2,
    "generate.allow_failed": 0.5,
    "filter.triviality.allow_failed": 0.5,
    "filter.judge.allow_failed": 0.5,
    "filter.decontaminate.semantic.judge.allow_failed": 0.5,
    "filter.reward.batch_size": 2,
    "filter.code.unguarded": True,
    "filter.review.decisions": "{folder}/more",  # their content reruns, tests/tsqa/review
    "filter.review.max_error": 0.5,
    "audit.max_told_apart": 0.9,
    "audit.min_coverage": 0.1,
    "audit.max_opening": 0.1,
    "audit.max_lost_tail": 0.1,
    "audit.max_lost_diversity": 0.1,
    "audit.max_lost_gradients": 0.1,
    "audit.max_position": 0.1,
    "audit.max_seeds_told": 0.6,
    "audit.max_copied": 0.1,
    "audit.max_personal": 0.1,
    "audit.max_canary_rate": 0.1,
    "audit.max_group_log_odds": 1,
    "audit.max_longest": 0.5,
    "audit.max_refused": 0.1,
    "audit.swaps.items": 20,
    "audit.swaps.kinds": ["countries"],
    "audit.gradients.model": "org/another",
    "audit.gradients.items": 50,
    "audit.names.model": "org/another",
    "audit.max_seed_names": 0.1,
    "audit.max_flipped_verdicts": 0.1,
    "audit.max_flipped_answers": 0.1,
    "filter.processes": 2,
    "filter.cluster": "ray",
    "mixture.sources.<name>.max_repetition": 2.0,
    "mixture.max_repetition": 2.0,
    "seeds.licences": {"own": "mit"},
    "mixture.sources.<name>.made_by": "m",
    "mixture.sources.<name>.generation": 1,
    "mixture.sources.<name>.family": "web",
    "mixture.human_floor": 0.0,
    "mixture.human_floors": {"web": 0.0},
    "model.licence": "mit",
    "model.generation": 1,
    "mixture.tokenize_processes": 2,
    "mixture.tokenize_cluster": "ray",
    "train.micro_batch_size": 2,
    "train.zero_stage": 2,
    "train.offload": "optimizer",
    "train.attention": "sdpa",
    "train.gradient_checkpointing": True,
    "train.loss_chunk": 2,
    "train.processes": 2,
    "train.checkpoint_every": 2,
    "train.checkpoint_minutes": 2,
    "train.keep_checkpoints": 3,
    "train.keep_every": 2,
    "train.older_checkpoint": True,
    "train.max_loss_spike": 2,
    "train.heldout_every": 2,
    "train.peak_tflops": 2,
    "train.log_every": 2,
    "eval.check_removed": False,
    "eval.allow_code": True,
    "eval.unguarded_code": True,
    "eval.batch_size": 2,
    "eval.processes": 2,
    "eval.tensor_parallel": 2,
    "eval.kv_cache_gib": 3,
    "generations.count": 2,
    **{f"generations.stop.{name}": 0.5 for name in StopSection.model_fields},
}
TEACHER_RUNTIME: dict[str, Any] = {
    "model.licence": "mit",
    "model.generation": 1,
    "max_num_seqs": 2,
    "urls": ["http://127.0.0.1:8/v1"],
    "api_key_env": "ANOTHER",
    "requests_per_minute": 2,
    "timeout_seconds": 2,
    "retries": 2,
    "outage_minutes": 2,
    "dollars_per_hour": 2,
    "dollars_per_million_prompt_tokens": 2,
    "dollars_per_million_output_tokens": 2,
}


def _concrete(key: str) -> str:
    return key.replace("<name>", "web").replace("<n>", "0")


def decided() -> dict[str, tuple[set[str], dict[str, Any]]]:
    """Key of the schema -> the stages that may run again, and what to set to change it."""
    found = {}
    for stages, keys in KEYS:
        for key, value in keys.items():
            found[key] = (stages, value if isinstance(value, Together) else {_concrete(key): value})
    for teacher, stages in TEACHERS.items():
        for key, value in TEACHER.items():
            together = isinstance(value, dict) and not key.startswith("request.")
            values = value if together else {key: value}
            place = _concrete(teacher)
            found[f"{teacher}.{key}"] = (stages, {f"{place}.{k}": v for k, v in values.items()})
    return found


def runtime() -> dict[str, Any]:
    teachers = {f"{t}.{key}": value for t in TEACHERS for key, value in TEACHER_RUNTIME.items()}
    return RUNTIME | teachers


def test_every_key_of_the_schema_is_decided() -> None:
    keys = {key.path: key.is_runtime for key in all_keys() if key.section is None}
    assert keys.keys() == {*decided(), *runtime(), *LOADED, *NO_VALUE}
    marked = {path for path, is_runtime in keys.items() if is_runtime}
    assert marked == {*runtime(), *LOADED, "eval.suite"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("reruns")
    (made / "more").mkdir()
    (made / "more" / "utils.py").write_text("")
    (made / "release" / "lineage").mkdir(parents=True)
    (made / "release" / "lineage" / "seeds.jsonl").write_text("")
    for role in ("judge", "leak"):
        shipped = (REPOSITORY / "tsqa" / "prompts" / role / f"{role}.jinja").read_text()
        (made / f"{role}.jinja").write_text(shipped.replace("\n---\n", "\n---\nPlease: ", 1))
    return made


@pytest.fixture(autouse=True)
def prompts_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (tsqa.generate.definition, tsqa.filters.definition):
        monkeypatch.setattr(module, "load_prompts", _load_prompts)


_load_prompts = cache(load_prompts)


def fingerprints(
    folder: Path, changes: Mapping[str, Any], has_writer: bool = False
) -> dict[str, str]:
    """Fingerprint -> stage, of the full recipe with some keys changed.

    `has_writer`: its teacher is named as the writer, since one recipe does not hold both.
    """
    tree = full_recipe(folder)
    if has_writer:
        tree["generate"]["writer"] = tree["generate"].pop("teacher")
    # Without what is near the seeds, which nearly all keys of the data decide.
    del tree["ablation"]["seeds"], tree["ablation"]["controls"], tree["ablation"]["nearest_human"]
    del tree["mixture"]["sources"]["near"]
    tree["train"]["heldout_rows"] = 1
    tree["mixture"]["sources"]["books"] = {"path": str(folder / "web.jsonl")}
    tree["mixture"]["phases"][0]["ratios"] = {"web": 0.4, "books": 0.1, "synthetic": 0.5}
    for key, value in changes.items():
        _set(tree, key, _located(value, folder))
    path = folder / "recipe.yaml"
    path.write_text(dump(tree))
    own = load_recipe(path)
    return {n.fingerprint: n.stage for n in build_graph(own, path) if n.recipe.name == own.name}


@pytest.fixture(scope="module")
def before(folder: Path) -> dict[bool, dict[str, str]]:
    """By whether there is a writer."""
    return {has_writer: fingerprints(folder, {}, has_writer) for has_writer in (False, True)}


def names_writer(key: str) -> bool:
    return key.startswith("generate.writer.")


@pytest.mark.parametrize("key", decided())
def test_a_changed_key_reruns_its_stages_and_no_other(
    key: str, folder: Path, before: dict[bool, dict[str, str]]
) -> None:
    stages, changes = decided()[key]
    if key in ("data.builder", "eval.suite"):
        pytest.skip("no other value")
    has_writer = names_writer(key)
    after = fingerprints(folder, changes, has_writer)
    assert {after[new] for new in after.keys() - before[has_writer].keys()} == stages


def test_what_a_rephrasing_must_keep_reruns_the_filter_alone(folder: Path) -> None:
    before = fingerprints(folder, rephrasing({}))
    for key, value in FAITHFULNESS.items():
        after = fingerprints(folder, rephrasing({key: value}))
        assert {after[new] for new in after.keys() - before.keys()} == FILTER
    assert fingerprints(folder, rephrasing({"kept": 0.5})) == before, "the default"


@pytest.mark.parametrize("has_writer", [False, True])
def test_keys_of_the_runtime_rerun_nothing(
    has_writer: bool, folder: Path, before: dict[bool, dict[str, str]]
) -> None:
    absent = "generate.teacher." if has_writer else "generate.writer."
    changes = {_concrete(key): v for key, v in runtime().items() if not key.startswith(absent)}
    assert fingerprints(folder, changes, has_writer) == before[has_writer]


@pytest.mark.parametrize("key", LOADED)
def test_where_a_teacher_is_loaded_reruns_nothing(key: str, folder: Path) -> None:
    teacher = _concrete(LOADED[key])
    here = {f"{teacher}.engine": "vllm", f"{teacher}.urls": []}
    there = here | {_concrete(key): PLACES[key.rpartition(".")[2]]}
    is_writer = teacher.startswith("generate.writer")
    assert fingerprints(folder, there, is_writer) == fingerprints(folder, here, is_writer)


def test_added_keys_at_their_defaults_are_in_no_configuration(folder: Path) -> None:
    """Artifacts from before these keys came are those of their defaults."""
    tree = full_recipe(folder)
    del tree["generate"]["solvers"], tree["generate"]["canaries"], tree["filter"]["difficulty"]
    path = folder / "recipe.yaml"
    path.write_text(dump(tree))
    recipe = load_recipe(path)
    for section in (recipe.generate, recipe.filter):
        assert section is not None
        written = json.dumps(section.data_config())
        added = ("writer", "solvers", "model_agreement", "engine_args", *MORE_SAMPLING)
        added += ("attributes", "temperatures", "difficulty", "rephrase", "faithfulness")
        added += ("canaries",)
        assert not [key for key in added if f'"{key}"' in written]


def _located(value: Any, folder: Path) -> Any:
    if isinstance(value, str):
        return value.replace("{folder}", str(folder))
    if isinstance(value, dict):
        return {name: _located(inner, folder) for name, inner in value.items()}
    return [_located(inner, folder) for inner in value] if isinstance(value, list) else value


def _set(tree: Any, key: str, value: Any) -> None:
    *parts, last = key.split(".")
    for part in parts:
        tree = tree[int(part)] if isinstance(tree, list) else tree.setdefault(part, {})
    tree[last] = copy.deepcopy(value)
