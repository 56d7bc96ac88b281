"""The sections of a recipe: what does not fit together is refused, with the fix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.recipe_files import BASE, refusal, write
from tsqa.recipe import (
    DatasetSection,
    EvalSection,
    GenerateSection,
    SeedsSection,
    SourceSection,
    TeacherSection,
    TrainSection,
    check_divisible,
    load_recipe,
    parse_count,
    renderings_of,
)
from tsqa.recipe.sections.base import Section
from tsqa.recipe.sections.filter import DedupSection
from tsqa.recipe.sections.launch import LaunchSection
from tsqa.recipe.sections.models import TokenizerSection
from tsqa.recipe.sections.seeds import ColumnsSection
from tsqa.recipe.sections.train import ScheduleSection


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("450_000", 450_000), ("25M", 25_000_000), ("1.5B", 1_500_000_000), ("1e9", 1_000_000_000),
     ("1.28e+2", 128), ("1e-1", "1e-1"), ("1e99", "1e99")],
)  # fmt: skip
def test_tokens_take_units_and_exponents(text: str, tokens: int | str) -> None:
    assert parse_count(text) == tokens


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("synthetic: 0.7", "synthetic: 0.8", "ratios must sum to 1; 0.1 + 0.2 + 0.8 = 1.1"),
        ("synthetic: 0.7}", "synth: 0.7}", "names `synth`, which is not in sources"),
        ("web: 0.1, code: 0.2", "web: 0.10005, code: 0.19995", "finer than one basis point"),
        ("global_batch_tokens: 64", "global_batch_tokens: 60", "use 56"),
        ("lr: 1e-3", "lr: 1e-3\n  processes: 3", "train.processes 3; make global_batch_tokens"),
        ("lr: 1e-3", "lr: 1e-3\n  schedule: {warmup: 0.9}", "warmup + decay must not exceed 1"),
        ("path: some/model", "config: {hidden: 1}", "config needs `model_type`"),
        ("path: some/model", "path: a\n  recipe: b", "exactly one of path, recipe, config"),
        ("{path: synthetic.jsonl}", "{from: filter}", "but there is no `filter`"),
        ("{path: synthetic.jsonl}", "{from: seeds}", "but there is no `seeds`"),
        ("name: base", "name: base\ngenerations: {}", "`generations` needs `generate`, `filter`"),
        ("train:", "train: 3\nx:", "train = 3"),
        ("name: base", "name: base\nname: again", "recipe.yaml:2: name: given twice"),
        ("name: base", "name: '${nothing}'", "nothing"),
        ("name: base", "name: '${open'", "recipe.yaml"),
        ("name: base", "name: [", "not YAML"),
    ],
)
def test_refusals_say_what_is_wrong(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in BASE
    assert expected in refusal(write(tmp_path, BASE.replace(old, new)))


def test_filter_needs_its_chain_and_an_evaluation(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, BASE + "filter: {}\n"))
    assert "`filter` needs the section `generate`" in message


def test_seeds_are_a_source_without_any_generated_items(tmp_path: Path) -> None:
    text = BASE.replace("{path: synthetic.jsonl}", "{from: seeds, made_by: people}")
    recipe = load_recipe(write(tmp_path, text + "seeds: {tasks: [gsm8k]}\n"))
    assert recipe.filter is None and renderings_of(recipe) == ["qa"]


def test_a_world_size_that_does_not_divide_names_the_multiple(tmp_path: Path) -> None:
    train = load_recipe(write(tmp_path, BASE)).train
    check_divisible(train, 4, "the launcher's")
    with pytest.raises(ValueError, match=r"the launcher's 3.*multiple of 24"):
        check_divisible(train, 3, "the launcher's")


def test_runtime_fields_do_not_reach_the_data_config(tmp_path: Path) -> None:
    path = write(tmp_path, BASE)
    plain = load_recipe(path).data_config()
    runtime = ["train.processes=2", "train.log_every=1", "runs=/x", "tracking.mode=disabled"]
    assert load_recipe(path, runtime).data_config() == plain
    assert load_recipe(path, ["train.lr=2e-3"]).data_config() != plain
    assert "processes" not in plain["train"] and "runs" not in plain


def test_a_suite_gives_tasks_and_macros_and_own_keys_win(tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text("eval: {tasks: [a, b], num_fewshot: 5, macros: {both: [a, b]}}\n")
    section = EvalSection.model_validate({"suite": str(suite), "num_fewshot": 0})
    assert (section.tasks, section.num_fewshot, section.macros) == (
        ["a", "b"],
        0,
        {"both": ["a", "b"]},
    )
    assert len(EvalSection.model_validate({"suite": "published"}).macros) == 3
    recipe = write(tmp_path, "name: x\nmodel: {path: a}\neval: {suite: typo}\n")
    assert ":3: eval: no suite `typo`\n  fix: known: nemotron_base, published" in refusal(recipe)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"macros": {"m": ["c"]}}, "macros.m names `c`, which is not in eval.tasks"),
        ({"macros": {"a": ["b"]}}, "macros.a has the name of another row"),
        ({"macros": {"m": []}}, "macros.m has no tasks"),
        ({"macros": {"seeded families": ["a"]}}, "is the name of a part of the macro average"),
        ({"system_instruction": "Be brief."}, "system_instruction needs eval.chat_template"),
    ],
)
def test_an_eval_section_that_does_not_fit_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        EvalSection.model_validate({"tasks": ["a", "b"], **changes})


@pytest.mark.parametrize(
    ("engine", "key", "value"),
    [
        *[("openai", "dtype", "bfloat16"), ("openai", "replicas", 2), ("openai", "cluster", "ray")],
        *[("openai", "tensor_parallel", 2), ("openai", "engine_args", {"quantization": "fp8"})],
        *[("openai", "kv_cache_gib", 4), ("vllm", "timeout_seconds", 9), ("vllm", "retries", 9)],
        *[("vllm", "api_key_env", "MY_KEY"), ("vllm", "outage_minutes", 9)],
        *[("vllm", "requests_per_minute", 9), ("vllm", "urls", ["http://localhost:8000/v1"])],
    ],
)
def test_a_key_that_the_engine_would_not_read_is_refused(
    engine: str, key: str, value: object
) -> None:
    given = {"model": {"path": "m"}, "engine": engine, key: value}
    given |= {"urls": ["http://localhost:8000/v1"]} if engine == "openai" else {}
    other = "openai" if engine == "vllm" else "vllm"
    with pytest.raises(ValidationError, match=rf"`{key}` needs `engine: {other}`"):
        TeacherSection.model_validate(given)


@pytest.mark.parametrize("part", ["answer", "context", "explanation", "choices"])
def test_the_column_of_the_question_is_no_other_part(part: str) -> None:
    given = {"question": "q", "answer": "a", "choices": ["a", "b"], "explanation": "a"}
    ColumnsSection.model_validate(given)
    with pytest.raises(ValidationError, match="'q' is the question and another part"):
        ColumnsSection.model_validate(given | {part: ["q", "b"] if part == "choices" else "q"})


OWN = {"name": "mine", "path": "mine.csv", "columns": {"question": "q", "answer": "a"}}
TEACHER = {"model": {"path": "m"}}


@pytest.mark.parametrize(
    ("section", "values", "key"),
    [
        (EvalSection, {"tasks": ["a"], "unguarded_code": True}, "unguarded_code"),
        (LaunchSection, {"at_once": 8}, "at_once"),
        (LaunchSection, {"patience_minutes": 5}, "patience_minutes"),
        (TokenizerSection, {"path": "t", "vocab_size": 512}, "vocab_size"),
        (ScheduleSection, {"kind": "linear", "decay_shape": "sqrt"}, "decay_shape"),
        (TrainSection, {"global_batch_tokens": 8192, "lr": 1, "heldout_every": 7}, "heldout_every"),
        (SourceSection, {"path": "a/web.jsonl", "split": "test"}, "split"),
        (SourceSection, {"path": "./web", "revision": "main"}, "revision"),
        (SourceSection, {"from": "filter", "subset": "main"}, "subset"),
        (SourceSection, {"subset_of": "web", "size_of": "x", "packing": "whole"}, "packing"),
        (SourceSection, {"nearest": {"pool": "web"}, "size_of": "x", "text_field": "t"},
            "text_field"),
        (DatasetSection, OWN | {"split": "validation"}, "split"),
        (DatasetSection, OWN | {"answer": "letter"}, "answer"),
        (DatasetSection, OWN | {"kind": "number", "columns":
            {"question": "q", "answer": "a", "tests": "t"}}, "tests"),
        (SeedsSection, {"datasets": [OWN], "include": "tasks"}, "include"),
        (GenerateSection, {"teacher": TEACHER, "votes": 3, "solvers":
            [{"teacher": TEACHER, "votes": 2}]}, "votes"),
    ],
)  # fmt: skip
def test_a_key_that_another_leaves_unread_is_refused(
    section: type[Section], values: dict[str, Any], key: str
) -> None:
    with pytest.raises(ValidationError, match=rf"\b{re.escape(key)}\b.*its default"):
        section.model_validate(values)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (EvalSection, {"tasks": ["a"], "tensor_parallel": 2, "kv_cache_gib": 4, "batch_size": 4}),
        # An axis or an override of what selects leaves the keys of the others where they are.
        (EvalSection, {"tasks": ["a"], "backend": "hf", "tensor_parallel": 2, "kv_cache_gib": 4}),
        (EvalSection, {"tasks": ["a"], "backend": "vllm", "batch_size": 4}),
        (DedupSection, {"method": "exact", "threshold": 0.7}),
        (GenerateSection, {"teacher": TEACHER, "temperatures": [1.0, 1.2], "question":
            {"temperature": 0.7}}),
        (GenerateSection, {"teacher": TEACHER, "votes": 3, "solvers":
            [{"teacher": TEACHER, "votes": 2}, {"teacher": TEACHER}]}),
        (GenerateSection, {"teacher": TEACHER, "votes": 3, "cascade": {"teacher": TEACHER},
            "solvers": [{"teacher": TEACHER, "votes": 2}]}),
        (EvalSection, {"tasks": ["a"], "unguarded_code": False}),  # taken back
        (SourceSection, {"path": "org/web", "revision": "main", "split": "test"}),
        (SourceSection, {"path": "./web", "split": "test"}),  # files are named after splits
        (SourceSection, {"from": "filter", "text_field": "question"}),
        (DatasetSection, OWN | {"path": "mine", "split": "validation"}),
    ],
)  # fmt: skip
def test_a_key_that_may_be_read_is_taken(section: type[Section], values: dict[str, Any]) -> None:
    section.model_validate(values)


def test_prompts_that_nothing_is_asked_with_are_refused_with_their_line(tmp_path: Path) -> None:
    generate = "generate: {teacher: {model: {path: m}}, prompts: {passage: fact_seeking}}\n"
    message = refusal(write(tmp_path, f"name: x\nseeds: {{tasks: [gsm8k]}}\n{generate}"))
    assert "`passage` (generate.prompts) asks about seeds.documents" in message
    documents = "seeds: {documents: [{name: web, path: web.jsonl}]}\n"
    load_recipe(write(tmp_path, f"name: x\n{documents}{generate}"))
    generate = generate.replace("passage: fact_seeking", "question: varied")
    assert "`question`" in refusal(write(tmp_path, f"name: x\n{documents}{generate}"))
