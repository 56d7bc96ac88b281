"""One score per document, resume without change, named errors."""

from __future__ import annotations

import json
import math
import re
import runpy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval.harness import stage as harness
from eval.harness.documents import read_result
from eval.harness.gold import right_choice, stated_answers
from eval.harness.groups import NOWHERE
from eval.harness.metrics import check_metrics, metric_problem, pick_metric
from eval.results import DOCUMENTS, RESULTS, read_documents
from tests.support.paths import REPOSITORY
from tests.support.sealed import invented_artifact, seal_artifact
from tests.support.tiny_eval import make_model, make_tasks
from tsqa.errors import CheckpointError, DataError, RecipeError
from tsqa.recipe import EvalSection, Recipe
from tsqa.store.artifact import EXPORTED
from tsqa.store.roles import PointRole
from tsqa.store.stage import StageContext
from tsqa.store.tracking import Tracker
from tsqa.tasks.library import task_library


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    make_model(root / "trained" / "hf")
    make_tasks(root / "tasks")
    shown = "group: shown\ntask: [{task: tiny_choice, num_fewshot: 1}]\n"
    (root / "tasks" / "shown.yaml").write_text(shown)
    return root


def context_of(
    world: Path, out: Path, tasks: list[str], trained: str = "trained", **section: Any
) -> StageContext:
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "model": {"path": str(world / "trained" / "hf")},
            "mixture": {
                "sources": {"a": {"path": "a.jsonl"}},
                "phases": [{"tokens": 64, "ratios": {"a": 1.0}}],
            },
            "train": {"sequence_length": 8, "global_batch_tokens": 8, "lr": 0.1},
            "eval": {"tasks": tasks, "include": str(world / "tasks"), "batch_size": 4} | section,
        }
    )
    out.mkdir(exist_ok=True)
    manifest = {"fingerprint": "t0", "summary": {"tokens": 640, "heldout": {"a": 5.5}}}
    return StageContext(
        recipe, {"model": invented_artifact(world / trained, **manifest)}, out, Tracker.silent()
    )


def read(out: Path) -> tuple[bytes, bytes]:
    return (out / DOCUMENTS).read_bytes(), (out / RESULTS).read_bytes()


def test_a_hybrid_is_scored_document_by_document_and_a_resume_changes_nothing(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet

    from eval.harness import backend

    tasks = ["tiny_choice", "tiny_number"]
    whole = tmp_path / "whole"
    summary = harness.run(context_of(world, whole, tasks))
    rows = pyarrow.parquet.read_table(whole / DOCUMENTS).to_pylist()
    results = json.loads((whole / RESULTS).read_text())
    assert summary["documents"] == len(rows) == 12
    assert results["tasks"]["tiny_choice"]["metric"] == "acc"
    assert results["tasks"]["tiny_number"]["metric"] == "exact_match,strict-match"
    assert results["tasks"]["tiny_number"]["version"] == 2.0
    choice = [row for row in rows if row["task"] == "tiny_choice"]
    assert [row["doc_id"] for row in choice] == list(range(6))
    assert choice[1]["answer"] == "hot"
    assert all((row["prediction"] == row["answer"]) == bool(row["score"]) for row in choice)

    assert all(len(row["loglikelihoods"]) == 3 for row in choice)
    assert all(row["loglikelihoods"] is None for row in rows if row["task"] == "tiny_number")
    for row in choice:
        texts = [f" {text}" for text in ("cold", "hot", "day")]
        each = [
            -v / math.log(2) / len(t) for v, t in zip(row["loglikelihoods"], texts, strict=True)
        ]
        assert row["option_bits"] == pytest.approx(each)
        assert row["bits"] == pytest.approx(each[row["doc_id"] % 3])
    assert all(row["bits"] > 0 for row in rows if row["task"] == "tiny_number")
    assert results["groups"] == {name: [name] for name in tasks}
    assert (results["backend"], results["tokens"], results["heldout"]) == ("hf", 640, {"a": 5.5})

    real, killed = backend.evaluate_task, tmp_path / "killed"

    def die_at_the_second_task(model: Any, task: Any, *args: Any, **kwargs: Any) -> Any:
        if task.task_name == "tiny_number":
            raise KeyboardInterrupt
        return real(model, task, *args, **kwargs)

    monkeypatch.setattr(backend, "evaluate_task", die_at_the_second_task)
    with pytest.raises(KeyboardInterrupt):
        harness.run(context_of(world, killed, tasks))
    seen: list[str] = []

    def watch(model: Any, task: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(task.task_name)
        return real(model, task, *args, **kwargs)

    monkeypatch.setattr(backend, "evaluate_task", watch)
    harness.run(context_of(world, killed, tasks))
    assert seen == ["tiny_number"]
    assert read(killed) == read(whole)
    assert {f.name for f in killed.iterdir()} == {f.name for f in whole.iterdir()}


def test_a_task_that_another_evaluation_scored_alike_is_not_scored_again(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eval.harness import backend

    def evaluate(name: str, tasks: list[str], config: dict[str, Any]) -> list[str]:
        """Run and commit one evaluation; the tasks that it scored itself."""
        seen.clear()
        context = context_of(world, tmp_path / f"{name}.partial", tasks)
        config = {"tasks": tasks, **config}
        harness.run(replace(context, config=config))
        context.out.rename(tmp_path / name)
        seal_artifact(tmp_path / name, config=config, inputs={"model": "t0"})
        return list(seen)

    seen: list[str] = []
    real = backend.evaluate_task

    def watch(model: Any, task: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(task.task_name)
        return real(model, task, *args, **kwargs)

    monkeypatch.setattr(backend, "evaluate_task", watch)
    both = ["tiny_choice", "tiny_number"]
    assert evaluate("one", ["tiny_choice"], {"limit": None}) == ["tiny_choice"]
    assert evaluate("more", both, {"limit": None}) == ["tiny_number"]
    assert evaluate("other", both, {"limit": 5}) == both
    assert evaluate("shots", ["shown"], {"limit": None}) == ["tiny_choice"]
    assert evaluate("shots again", ["shown"], {"limit": None}) == []
    results = json.loads((tmp_path / "shots again" / RESULTS).read_text())
    assert results["tasks"]["tiny_choice"]["num_fewshot"] == 1
    harness.run(context_of(world, tmp_path / "whole", both))
    assert read(tmp_path / "more") == read(tmp_path / "whole")


def test_a_missing_checkpoint_is_named(world: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere/hf.*config.json is missing"):
        harness.run(context_of(world, tmp_path, ["tiny_choice"], trained="nowhere"))


def test_a_damaged_checkpoint_is_named(world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken" / "hf"
    folder.mkdir(parents=True)
    for file in (world / "trained" / "hf").iterdir():
        (folder / file.name).write_bytes(file.read_bytes()[: 500 if "safe" in file.name else None])
    context = context_of(world, tmp_path / "out", ["tiny_choice"])
    context = StageContext(
        context.recipe,
        {"model": invented_artifact(tmp_path / "broken")},
        context.out,
        context.tracker,
    )
    with pytest.raises(CheckpointError, match="broken/hf: does not load"):
        harness.run(context)


def test_a_folder_without_weights_is_named(world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "w" / "empty" / "hf"
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes((world / "trained" / "hf" / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match=r"empty/hf: a config.json, but no weights"):
        context = context_of(world, tmp_path, ["tiny_choice"], trained=str(folder.parent))
        harness.run(context)


def test_a_missing_split_is_named_before_the_model_is_loaded(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eval.harness import backend

    folder = world_with(tmp_path, world, "tiny_choice", ("test_split: test", "test_split: gone"))
    monkeypatch.setattr(backend, "open_model", lambda *args: pytest.fail("a model was loaded"))
    with pytest.raises(DataError, match=r"eval\.tasks: tiny_choice cannot be evaluated(.|\n)*gone"):
        harness.run(context_of(folder, tmp_path, ["tiny_choice"]))


def test_code_is_executed_only_where_the_recipe_allows_it(world: Path, tmp_path: Path) -> None:
    unsafe = ("output_type:", "unsafe_code: true\noutput_type:")
    folder = world_with(tmp_path, world, "tiny_choice", unsafe)
    with pytest.raises(RecipeError, match=r"tiny_choice executes code(.|\n)*eval.allow_code=true"):
        harness.run(context_of(folder, tmp_path, ["tiny_choice"]))
    with pytest.raises(RecipeError, match=r"its own metric(.|\n)*eval.unguarded_code=true"):
        harness.run(context_of(folder, tmp_path, ["tiny_choice"], allow_code=True))
    out, allowed = tmp_path / "allowed", {"allow_code": True, "unguarded_code": True}
    assert harness.run(context_of(folder, out, ["tiny_choice"], **allowed))["documents"] == 6


def test_few_shot_seed_limit_and_chat_template_reach_the_prompts(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eval.harness import backend

    prompts: list[list[str]] = []
    real = backend.evaluate_task

    def watch(*args: Any) -> Any:
        raw = real(*args)
        prompts.append([s["arguments"][0][0] for s in raw["samples"]["tiny_choice"]])
        return raw

    monkeypatch.setattr(backend, "evaluate_task", watch)
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    (tmp_path / "w" / "chat").mkdir(parents=True)
    for file in (world / "trained" / "hf").iterdir():
        (tmp_path / "w" / "chat" / file.name).write_bytes(file.read_bytes())
    config = tmp_path / "w" / "chat" / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "chat_template": template}))
    (tmp_path / "w" / "hf").symlink_to(tmp_path / "w" / "chat")
    asked = [{"seed": 1}, {"seed": 2}, {"chat_template": True, "system_instruction": "Be brief."}]
    for number, changes in enumerate(asked):
        harness.run(
            context_of(
                world, tmp_path / str(number), ["tiny_choice"], str(tmp_path / "w"),
                num_fewshot=2, limit=4, **changes,
            )
        )  # fmt: skip
    assert [len(found) for found in prompts] == [4, 4, 4]
    assert all(prompt.count("Question:") == 3 for prompt in prompts[0])
    assert prompts[0] != prompts[1]
    assert all(p.startswith("<system>Be brief.") and p.count("<user>") == 3 for p in prompts[2])


@pytest.mark.parametrize(
    ("passages", "groups"),
    [(["p", "p", None], [0, 0, 1]), (["p", "x", None], None), ([None, None, None], None)],
)
def test_documents_that_share_a_passage_are_a_group(
    passages: list[str | None], groups: list[int] | None
) -> None:
    docs = [{"question": "q"} | ({"passage": p} if p else {}) for p in passages]
    samples = [sample(doc_id=i, doc=doc) for i, doc in enumerate(docs)]
    found = [d.group for d in read_result("t", raw_of(samples, 1.0), "hf").documents]
    numbers = [list(dict.fromkeys(found)).index(group) for group in found]
    assert found == [None] * 3 if groups is None else numbers == groups and None not in found
    if passages == [None, None, None]:
        for rule, problem in (("/no such words/", NOWHERE), ("/.+/", "")):
            part = read_result("t", raw_of(samples, 1.0), "hf", rule=rule)
            assert part.shared_stems == (problem and f"{problem}; {rule}")


def test_a_curve_is_read_in_the_order_of_its_tokens(world: Path, tmp_path: Path) -> None:
    points = []
    for tokens in (512, 256):
        context = context_of(world, tmp_path / str(tokens), ["tiny_choice"])
        run = tmp_path / "run"
        run.mkdir(exist_ok=True)
        folder = run / f"hf-{tokens}"
        shutil.copytree(world / "trained" / "hf", folder)
        (folder / EXPORTED).write_text(json.dumps({"step": tokens // 8, "tokens": tokens + 8}))
        inputs = {PointRole(tokens): invented_artifact(run)}
        harness.run(StageContext(context.recipe, inputs, context.out, context.tracker))
        points.append(invented_artifact(context.out))
    curve = harness.read_curve(points)
    assert [point.tokens for point in curve] == [264, 520]
    assert "tiny_choice" in curve[0].tasks


def test_macros_name_the_tasks_behind_groups(tmp_path: Path) -> None:
    groups = {"g": ["a", "b"], "b": ["b"], "c": ["c"]}
    (tmp_path / RESULTS).write_text(
        json.dumps({"tasks": {}, "macro": 0.0, "groups": groups, "backend": "hf"})
    )
    macros = {"m": ["g", "b"], "n": ["c"]}
    found = harness.expand_macros(
        macros, [invented_artifact(tmp_path / "no evaluation"), invented_artifact(tmp_path)]
    )
    assert found == {"m": ["a", "b"], "n": ["c"]}


def world_with(folder: Path, world: Path, task: str, change: tuple[str, str]) -> Path:
    """A world whose task has one change in its YAML."""
    (folder / "w" / "tasks").mkdir(parents=True)
    (folder / "w" / "trained").symlink_to(world / "trained")
    text = (world / "tasks" / f"{task}.yaml").read_text()
    assert change[0] in text
    (folder / "w" / "tasks" / "x.yaml").write_text(text.replace(*change))
    return folder / "w"


def test_an_unknown_task_and_a_broken_task_are_named(world: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"eval.tasks: unknown task 'tiny_typo'.*\n.*tiny_choice"):
        harness.run(context_of(world, tmp_path, ["tiny_typo"]))
    folder = world_with(tmp_path, world, "tiny_choice", ("choice.jsonl", "gone.jsonl"))
    with pytest.raises(DataError, match=r"eval\.tasks: tiny_choice cannot be evaluated"):
        harness.run(context_of(folder, tmp_path, ["tiny_choice"]))


def sample(**changes: Any) -> dict[str, Any]:
    return {
        "doc_id": 0,
        "doc": {"question": "q"},
        "doc_hash": "h",
        "target": "4",
        "arguments": [["q", {}]],
        "filtered_resps": ["4"],
        "filter": "none",
        "metrics": ["exact_match"],
        "exact_match": 1.0,
    } | changes


def raw_of(samples: list[dict[str, Any]], value: float, name: str = "exact_match,none") -> Any:
    return {
        "configs": {"t": {"output_type": "generate_until"}},
        "samples": {"t": samples},
        "results": {"t": {name: value}},
        "versions": {"t": 1},
        "n-shot": {"t": 0},
    }


def test_only_one_stated_answer_of_a_prompt_is_scored() -> None:
    asked = sample(arguments=[["2 + 2 =", {}]])
    assert stated_answers([asked], " ") == {0: ("2 + 2 =", " 4")}
    assert stated_answers([asked | {"target": ["4"]}], " ") == {0: ("2 + 2 =", " 4")}
    assert stated_answers([asked | {"arguments": [["2 + 2 = ", {}]]}], " ") == {
        0: ("2 + 2 = ", "4")
    }
    for none in (
        {"target": ["4", "four"]},
        {"target": " "},
        {"target": "4" * 1000},
        {"arguments": [["", {}]]},
        {"metrics": ["pass@1"]},
    ):
        assert stated_answers([asked | none], " ") == {}


@pytest.mark.parametrize(
    ("target", "right"),
    [(1, 1), ([1], 1), ("b", 1), (" b", 1), ([0, 1], None), (-1, None), (2, None), ("c", None)],
)
def test_the_bits_of_a_choice_are_those_of_the_one_that_is_right(
    target: Any, right: int | None
) -> None:
    assert right_choice(target, [" a", " b"], " ") == right
    assert (
        right_choice("x", ["x", "x"], " ") is None
    )  # choices in the prompts: which one is not said


def choice_of(**changes: Any) -> Any:
    """The one document of a task with two choices, the first of which is right."""
    config = {"output_type": "multiple_choice", **changes.pop("config", {})}
    asked = {
        "target": 0,
        "arguments": [["q", " ab"], ["q", " c"]],
        "filtered_resps": [(-3 * math.log(2), True), (-4 * math.log(2), False)],
        "metrics": ["acc"],
        "acc": 1.0,
    }
    raw = raw_of([sample(**asked | changes)], 1.0, "acc,none")
    (document,) = read_result("t", raw | {"configs": {"t": config}}, "hf").documents
    return document


def test_bits_are_per_byte_of_all_that_is_scored_and_of_nothing_else() -> None:
    plain = choice_of()
    assert (plain.bits, plain.option_bits) == (pytest.approx(1), pytest.approx([1, 2]))
    # lm-eval scores the space at the end of a prompt with the choice.
    moved = choice_of(arguments=[["q\n", " ab"], ["q\n", " c"]])
    assert moved.option_bits == pytest.approx([3 / 4, 4 / 3])
    own_rule = choice_of(config={"process_results": "def judge"})
    assert own_rule.bits is None and own_rule.option_bits == pytest.approx([1, 2])
    alone = [["", " ab"], ["", " c"]]
    twice = choice_of(
        arguments=[["q", " ab"], ["q", " c"], *alone],
        filtered_resps=[(-3 * math.log(2), True), (-4 * math.log(2), False)] * 2,
        metrics=["acc", "acc_mutual_info"],
    )
    assert twice.option_bits == pytest.approx([1, 2]) and len(twice.loglikelihoods) == 2


def test_documents_from_before_their_bits_were_kept_are_read(world: Path, tmp_path: Path) -> None:
    import pyarrow.parquet

    harness.run(context_of(world, tmp_path / "now", ["tiny_choice"]))
    path = tmp_path / "now" / DOCUMENTS
    whole = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(whole.drop_columns(["bits", "option_bits"]), path)
    found = read_documents(path, whole.schema)
    assert found.schema == whole.schema and found["bits"].null_count == len(found) == 6


def test_flexible_extract_is_preferred_to_the_first_filter() -> None:
    samples = [
        sample(filter="strict-match", exact_match=0.0),
        sample(filter="flexible-extract", exact_match=1.0),
    ]
    part = read_result("t", raw_of(samples, 1.0, "exact_match,flexible-extract"), "hf")
    assert part.result.metric == "exact_match,flexible-extract"
    assert (part.result.n, part.result.score) == (1, 1.0)


def test_acc_norm_counts_only_where_acc_is_absent() -> None:
    both = [sample(metrics=["acc_norm", "acc"])]
    assert pick_metric("t", "multiple_choice", both)[0] == "acc"
    norm = [sample(metrics=["acc_norm"])]
    assert pick_metric("t", "multiple_choice", norm)[0] == "acc_norm"
    with pytest.raises(DataError, match=r"t \(generate_until\) has none of .*it reports bleu"):
        pick_metric("t", "generate_until", [sample(metrics=["bleu"])])


def test_the_probability_of_the_right_answer_can_be_compared() -> None:
    include = REPOSITORY / "recipes" / "real" / "tasks"
    for task in ("arc_easy_gold", "openbookqa_local_gold"):
        assert metric_problem(task_library(include), task) == ""
    found = pick_metric("t", "multiple_choice", [sample(metrics=["prob_per_byte"])])
    assert found == ("prob_per_byte", "none")
    per_byte = runpy.run_path(str(include / "likelihood.py"))["per_byte"]
    choices = {"text": ["fur", "\u00e9t\u00e9"], "label": ["A", "B"]}
    doc = {"choices": choices, "answerKey": "B "}
    bits = 6 * 1.5  # a space, and five bytes
    assert per_byte(doc, [(-bits * math.log(2), False)]) == {
        "prob_per_byte": pytest.approx(2**-1.5)
    }


def test_nan_scores_and_corpus_metrics_are_refused() -> None:
    with pytest.raises(DataError, match="doc_id 0 scores NaN"):
        read_result("t", raw_of([sample(exact_match=math.nan)], math.nan), "hf")
    with pytest.raises(DataError, match="its documents average"):
        read_result("t", raw_of([sample()], 0.7), "hf")
    # In percent, or a difference: a macro average would be of nothing else, or of less.
    for score in (37.2, -0.5):
        with pytest.raises(DataError, match="by exact_match, which is no share from 0 to 1"):
            read_result("t", raw_of([sample(exact_match=score)], score), "hf")


@pytest.mark.parametrize("target", [2, -1, [5], [-1, 9], "B", "a ", "", " a b"])
def test_a_label_that_is_none_of_the_choices_is_refused(target: Any) -> None:
    pair = [["q", " a"], ["q", " b"]]
    resps = [(-1.0, False), (-2.0, False)]
    wrong = sample(target=target, arguments=pair, filtered_resps=resps, metrics=["acc"], acc=0.0)
    raw = raw_of([wrong], 0.0, "acc,none")
    raw["configs"]["t"]["output_type"] = "multiple_choice"
    with pytest.raises(DataError, match=r"doc_id 0: its label .* is none of its 2 choices"):
        read_result("t", raw, "hf")
    for target in (1, [9, 1], "b", " b"):
        right = wrong | {"target": target}
        assert read_result("t", raw | {"samples": {"t": [right]}}, "hf").result.score == 0.0


@pytest.mark.parametrize(
    ("metrics", "problem"),
    [
        ("[{metric: acc}]", ""),
        ("[{metric: acc}, {metric: f1}]", ""),
        ("[{metric: acc_norm}]", ""),
        ("[{metric: acc, aggregation: mean}]", ""),
        ("[{metric: acc, aggregation: nanmean}]", ""),
        ("[{metric: mcc}]", "it reports mcc, and none of acc"),
        ("[{metric: f1}]", "it reports f1, and none of acc"),
        ("[{metric: brier_score}]", "it reports brier_score, and none of acc"),
        ("[{metric: acc, aggregation: median}]", "aggregated by median, which is not a mean"),
        ("[{metric: acc, aggregation: !function u.total}]", "u.total, which is not a mean"),
        ("[{metric: acc, aggregation: !function u.average}]", ""),
        ("[{metric: acc, higher_is_better: false}]", "its acc is better when lower"),
    ],
)
def test_a_metric_that_is_no_mean_is_refused_before_any_work(
    tmp_path: Path, metrics: str, problem: str
) -> None:
    (tmp_path / "u.py").write_text(
        "def total(x):\n    return sum(x)\n\n\ndef average(x):\n    return sum(x) / len(x)\n"
    )
    (tmp_path / "t.yaml").write_text(
        "task: t\noutput_type: multiple_choice\ndoc_to_text: q\ndoc_to_choice: [a, b]\n"
        "doc_to_target: l\ndataset_path: json\ndataset_kwargs: {data_files: {test: x.jsonl}}\n"
        f"test_split: test\nmetric_list: {metrics}\n"
    )
    section = EvalSection(tasks=["t"], include=str(tmp_path))
    if not problem:
        check_metrics(section, tmp_path)
        return
    with pytest.raises(RecipeError, match=re.escape(problem)):
        check_metrics(section, tmp_path)


def test_running_text_and_corpus_scores_of_generated_text_are_refused(tmp_path: Path) -> None:
    for name, kind, metric in (
        ("ppl", "loglikelihood_rolling", "word_perplexity"),
        ("bleu", "generate_until", "bleu"),
        ("words", "loglikelihood", "perplexity"),
    ):
        (tmp_path / f"{name}.yaml").write_text(
            f"task: {name}\noutput_type: {kind}\ndoc_to_text: q\ndoc_to_target: a\n"
            "dataset_path: json\ndataset_kwargs: {data_files: {test: x.jsonl}}\n"
            f"test_split: test\nmetric_list: [{{metric: {metric}}}]\n"
        )
    section = EvalSection(tasks=["ppl", "bleu", "words"], include=str(tmp_path))
    with pytest.raises(RecipeError, match="for 3 of the tasks") as caught:
        check_metrics(section, tmp_path)
    assert all(name in str(caught.value) for name in section.tasks)
