"""Protocols: refused where the task does not offer them, and asked and scored as they say."""

from __future__ import annotations

from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from eval.harness.documents import read_result
from eval.harness.metrics import check_metrics
from eval.harness.protocol import examples_problem, protocol_problem, protocols_of
from eval.results import read_metric_name
from tests.support.paths import REPOSITORY
from tests.support.tiny_eval import make_tasks
from tsqa.errors import DataError, RecipeError
from tsqa.recipe import EvalSection, ProtocolSection
from tsqa.tasks.library import task_library

SAMPLED = ProtocolSection(samples=4, temperature=0.7, top_p=0.9, max_tokens=5, stop=["Q"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tasks(tmp_path_factory.mktemp("tasks") / "own")


@pytest.mark.parametrize(
    ("task", "protocol", "problem"),
    [
        ("tiny_choice", {"metric": "acc_norm"}, ""),
        ("tiny_choice", {"metric": "exact_match"}, "it reports acc, acc_norm, and none of exact"),
        ("tiny_choice", {"filter": "none"}, "it is multiple_choice, which has no filter"),
        (
            "tiny_choice",
            {"samples": 2, "temperature": 1},
            "multiple_choice, which has no samples, temperature",
        ),
        ("tiny_number", {"filter": "strict-match"}, ""),
        ("tiny_number", {"filter": "flexible-extract"}, "no filter flexible-extract, only strict-"),
        ("tiny_number", {"metric": "acc"}, "it reports exact_match, and none of acc"),
        ("tiny_number", {"samples": 8, "temperature": 0.5}, ""),
        ("tiny_choice", {"num_fewshot": 6}, ""),
        ("tiny_choice", {"num_fewshot": 7}, "its split train has 6 examples, fewer than num_few"),
        ("tiny_number", {"num_fewshot": 5}, ""),
        ("tiny_number", {"num_fewshot": 6}, "its split test has 5 examples, fewer than num_fews"),
    ],
)
def test_what_a_task_does_not_offer_is_refused_with_what_it_offers(
    folder: Path, task: str, protocol: dict[str, Any], problem: str
) -> None:
    section = EvalSection.model_validate(
        {"tasks": [task], "include": str(folder), "protocols": {task: protocol}}
    )
    if not problem:
        check_metrics(section, folder)
        return
    with pytest.raises(RecipeError) as caught:
        check_metrics(section, folder)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "test_split: test",
            "test_split: test[:2]",
            "its test_split is test[:2], and lm-eval reads",
        ),
        ("training_split: train", "training_split: train[:2]", "its training_split is train[:2]"),
        ("training_split: train", "fewshot_split: train+test", "its fewshot_split is train+test"),
        (
            "  - metric: acc\n  - metric: acc_norm",
            "  - {metric: mine, aggregation: mean, higher_is_better: true}",
            "it reports mine, and none of acc, acc_norm, prob_per_byte; to compare by it: "
            "eval.protocols: {tiny_choice: {metric: mine}}",
        ),
    ],
)
def test_an_own_task_that_lm_eval_cannot_ask_or_compare_is_refused_before_any_work(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    file = make_tasks(tmp_path / "own") / "tiny_choice.yaml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(RecipeError) as caught:
        check_metrics(EvalSection(tasks=["tiny_choice"]), file.parent)
    assert problem in str(caught.value)


def test_samples_need_answers_that_are_scored_one_by_one() -> None:
    def problem(*steps: str, **config: Any) -> str:
        filters = [{"name": "f", "filter": [{"function": step} for step in steps]}]
        return protocol_problem({"filter_list": filters, **config}, SAMPLED)

    assert problem("regex", "take_first") == ""
    assert "make one answer of several" in problem("majority_vote", "take_first")
    assert "make one answer of several" in problem("custom", metric_list=[{"metric": "acc"}])
    assert problem("custom", metric_list=[{"metric": "/x/utils.pass_at_k"}]) == ""
    few = protocol_problem(
        {"fewshot_config": {"samples": [{}] * 4}}, ProtocolSection(num_fewshot=5)
    )
    assert few == "it has 4 examples, fewer than num_fewshot: 5"


def test_a_task_in_two_names_with_two_protocols_is_refused(folder: Path) -> None:
    (folder / "both.yaml").write_text("group: both\ntask: [tiny_choice, tiny_number]\n")
    library = task_library(folder)
    library = type(library)(folder)  # with the group
    section = EvalSection(
        tasks=["tiny_choice", "both"], protocols={"tiny_choice": ProtocolSection(num_fewshot=1)}
    )
    with pytest.raises(RecipeError, match="tiny_choice is in tiny_choice and in both"):
        protocols_of(section, library)
    group = EvalSection(tasks=["both"], protocols={"both": ProtocolSection(num_fewshot=1)})
    assert sorted(protocols_of(group, library)) == ["tiny_choice", "tiny_number"]
    (folder / "both.yaml").unlink()


@pytest.mark.engine  # loads torch
def test_several_samples_are_averaged_and_a_protocol_reaches_the_requests(folder: Path) -> None:
    from lm_eval.api.model import LM

    from eval.harness import backend

    class Scripted(LM):  # type: ignore[misc]
        """Answers rightly as often as the document's number says."""

        def __init__(self) -> None:
            super().__init__()
            self.asked: list[Any] = []

        def generate_until(self, requests: list[Any]) -> list[str]:
            self.asked += requests
            answers = []
            for place, request in enumerate(requests):
                number = int(request.doc["answer"]) // 2
                answers.append(str(2 * number if place % 4 < number else -1))
            return answers

        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
            self.asked += requests
            return [(-1.0, False) for _ in requests]

        def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
            raise NotImplementedError

    section = EvalSection(
        tasks=["tiny_number", "tiny_choice"],
        include=str(folder),
        protocols={
            "tiny_number": SAMPLED,
            "tiny_choice": ProtocolSection(num_fewshot=2, metric="acc_norm"),
        },
    )
    protocols = protocols_of(section, task_library(folder))
    groups = backend.load_tasks(section, folder)
    parts = {}
    model = Scripted()
    for name in section.tasks:
        raw = backend.evaluate_task(model, groups[name][name], folder, section, protocols[name])
        parts[name] = read_result(name, raw, "hf", protocols[name])
    number = parts["tiny_number"]
    assert [d.score for d in number.documents] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert number.result.score == pytest.approx(3.5 / 6)
    assert number.result.metric == "exact_match,strict-match over 4 samples"
    assert read_metric_name(number.result.metric) == ("exact_match", 4)
    settings = model.asked[0].args[1]
    assert settings == {
        "until": ["Q"],
        "do_sample": True,
        "max_gen_toks": 5,
        "temperature": 0.7,
        "top_p": 0.9,
    }
    choice = parts["tiny_choice"].result
    assert (choice.metric, choice.num_fewshot) == ("acc_norm", 2)
    assert model.asked[-1].args[0].count("Question:") == 3


COUNTING = """
from itertools import count
calls = count()

def process(documents):
    number = next(calls)
    return documents.map(lambda row: {"question": f"{row['question']} {number}"})
"""


@pytest.mark.engine  # loads torch
def test_documents_that_are_others_when_they_are_scored_are_refused(tmp_path: Path) -> None:
    from lm_eval.api.registry import get_model

    from eval.harness import backend

    folder = make_tasks(tmp_path / "own")
    (folder / "utils.py").write_text(COUNTING)
    with (folder / "tiny_number.yaml").open("a") as task:
        task.write("process_docs: !function utils.process\n")
    section = EvalSection(tasks=["tiny_number"], include=str(folder))
    task = backend.load_tasks(section, folder)["tiny_number"]["tiny_number"]
    with pytest.raises(DataError, match="tiny_number: its document 0 was another one when"):
        backend.evaluate_task(get_model("dummy")(), task, folder, section)


def test_the_shipped_suites_are_what_lm_eval_offers() -> None:
    """Few-shot, metric, filter, samples and kind of every task of the reports' protocol."""
    from tsqa.shipped import SUITES

    library = task_library(None)
    for path in SUITES.glob("*.yaml"):
        section = EvalSection.model_validate({"suite": path.stem})
        check_metrics(section, None)
        if path.stem == "published":  # one leaf a name: each counts once in a macro average
            assert library.expand(section.tasks) == section.tasks
    section = EvalSection.model_validate({"suite": "nemotron_base"})
    found = {}
    for name in section.tasks:
        leaves = library.expand([name])
        protocol = section.protocols[name]
        kinds = {library.config(leaf)["output_type"] for leaf in leaves}
        found[name] = (
            *(len(leaves), "/".join(sorted(kinds)), protocol.num_fewshot),
            *(protocol.metric, protocol.filter, protocol.samples),
        )
    generated, choice = "generate_until", "multiple_choice"
    assert found == {
        "mmlu_pro": (14, generated, 5, "exact_match", "custom-extract", None),
        "gpqa_diamond_cot_n_shot": (1, generated, 5, "exact_match", "flexible-extract", None),
        "agieval_en": (10, f"{generated}/{choice}", None, "acc", None, None),
        "gsm8k_cot": (1, generated, 8, "exact_match", "flexible-extract", None),
        "minerva_math": (7, generated, 4, "exact_match", None, None),
        "humaneval": (1, generated, 0, "pass@1", None, 32),
        "mbpp": (1, generated, 3, "pass_at_1", None, 32),
        "arc_challenge": (1, choice, 25, "acc_norm", None, None),
        "hellaswag": (1, choice, 10, "acc_norm", None, None),
        "openbookqa": (1, choice, 0, "acc_norm", None, None),
        "piqa": (1, choice, 0, "acc_norm", None, None),
        "winogrande": (1, choice, 5, "acc", None, None),
    }
    assert not {name for name in library.index if "mbpp" in name and "sanit" in name}
    assert not {name for name in library.index if "agieval" in name and "cot" in name}


def test_the_packages_that_score_math_are_those_that_lm_eval_asks_for() -> None:
    """Its MATH tasks refuse any other version of the parser of formulas."""
    lock = (REPOSITORY / "requirements-cpu.lock").read_text().splitlines()
    asked = [Requirement(text) for text in requires("lm_eval") or ()]
    parser = [r for r in asked if r.name == "antlr4-python3-runtime"]
    assert parser
    for requirement in parser:
        (locked,) = (Requirement(line) for line in lock if line.startswith(requirement.name))
        (pinned,) = locked.specifier
        assert requirement.specifier.contains(pinned.version)


def test_a_group_that_asks_for_more_examples_than_there_are_is_refused(tmp_path: Path) -> None:
    own = make_tasks(tmp_path / "own")
    (own / "many.yaml").write_text("group: many\ntask: [{task: tiny_choice, num_fewshot: 500}]\n")
    with pytest.raises(RecipeError, match="examples, fewer than num_fewshot: 500"):
        check_metrics(EvalSection(tasks=["many"]), own)
    check_metrics(EvalSection(tasks=["tiny_choice"]), own)


def test_examples_that_a_function_makes_are_not_counted(tmp_path: Path) -> None:
    (tmp_path / "few.jsonl").write_text('{"q": "a"}\n')
    task: dict[str, object] = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "few.jsonl")}},
        "validation_split": "other",
        "fewshot_split": "test",
    }
    assert "fewer than num_fewshot: 2" in examples_problem(task, 2)
    assert examples_problem({**task, "fewshot_config": {"process_docs": list}}, 2) == ""
