"""Every lm-eval task with a training split: usable, or excluded with a reason; each one renders."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
from jinja2.meta import find_undeclared_variables

from tests.support.generation import make_context
from tests.support.invented_rows import InventedDocuments, InventedRow, invent
from tsqa.errors import DataError, LeakError
from tsqa.recipe import DatasetSection, SeedsSection
from tsqa.records.seed import Seed
from tsqa.seeds import stage as seeds
from tsqa.seeds.document import Origin, make_seed
from tsqa.seeds.listing import TaskRow, list_tasks, print_tasks
from tsqa.seeds.sources import render_document
from tsqa.store.jsonl import read_jsonl
from tsqa.tasks.identity import evaluated_split, split_identity
from tsqa.tasks.library import FUNCTION_KEYS, task_library
from tsqa.tasks.split import RenderedTask, TaskSplit

ORIGIN = Origin("task", "family", "capability", "", "en", "data", "", "train", "")
DOWNLOADS = {"cieacova_choice", "cieacova_word"}
"""Tasks whose `process_docs` fetches further data from the hub."""
PACKAGES = {"mimic_repsum", "minerva_math", "leaderboard"}
"""Families whose rendering functions stand in modules that need packages beyond lm-eval's own."""

HARBOUR = "The harbour was rebuilt twice, and the stones came down from the quarry by boat."
TURNS = {"input_text": ["What was rebuilt?", "How often?"]}
REPLIES = {"input_text": ["the harbour", "twice"]}
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gsm8k": (
        {"question": "How many eggs are left?", "answer": "2+2=<<2+2=4>>4 eggs.\n#### 4"},
        {"question": "How many eggs are left?", "answer": "4", "explanation": "2+2=4 eggs."},
    ),
    "boolq": (
        {"passage": HARBOUR, "question": "was the harbour rebuilt", "label": 1},
        {
            "context": HARBOUR,
            "question": "was the harbour rebuilt?",
            "answer": "yes",
            "kind": "boolean",
        },
    ),
    "winogrande": (
        {
            "sentence": "The cup broke the plate because the _ was heavy.",
            "option1": "cup",
            "option2": "plate",
            "answer": "1",
        },
        {
            "question": "The cup broke the plate because the ____ was heavy.",
            "choices": ["cup", "plate"],
            "answer": "cup",
            "answer_index": 0,
        },
    ),
    "commonsense_qa": (
        {
            "question": "Where are boats kept?",
            "answerKey": "B",
            "question_concept": "boats",
            "choices": {
                "text": ["attic", "harbour", "oven", "book", "sky"],
                "label": ["A", "B", "C", "D", "E"],
            },
        },
        {
            "question": "Where are boats kept?",
            "answer": "harbour",
            "kind": "choice",
            "choices": ["attic", "harbour", "oven", "book", "sky"],
        },
    ),
    "medmcqa": (
        {
            "question": "Which bone is longest?",
            "opa": "rib",
            "opb": "femur",
            "opc": "ulna",
            "opd": "skull",
            "cop": 1,
            "exp": "the femur",
            "subject_name": "Anatomy",
        },
        {"question": "Which bone is longest?", "answer": "femur", "subject": "Anatomy"},
    ),
    "medqa_4options": (
        {
            "sent1": "Which bone is longest?",
            "ending0": "rib",
            "ending1": "femur",
            "ending2": "ulna",
            "ending3": "skull",
            "label": 1,
        },
        {"question": "Which bone is longest?", "answer": "femur"},
    ),
    "logiqa": (
        {
            "context": HARBOUR,
            "question": "What follows?",
            "label": "b",
            "options": ["Nothing.", "It was rebuilt.", "It sank.", "It moved."],
        },
        {"context": HARBOUR, "question": "What follows?", "answer": "It was rebuilt."},
    ),
    "mathqa": (
        {
            "Problem": "a train of 2 cars gets 3 more , how many cars ?",
            "correct": "b",
            "options": "a ) 4 , b ) 5 , c ) 6 , d ) 7 , e ) none",
        },
        {"question": "a train of 2 cars gets 3 more , how many cars ?", "answer": "5"},
    ),
    "copa": (
        {
            "premise": "The man fell.",
            "question": "cause",
            "choice1": "He slipped.",
            "choice2": "He sang.",
            "label": 0,
        },
        {"question": "The man fell because", "choices": ["he slipped.", "he sang."]},
    ),
    "kobest_copa": (
        {
            "premise": "비가 왔다.",
            "question": "결과",
            "alternative_1": "길이 젖었다.",
            "alternative_2": "해가 떴다.",
            "label": 0,
        },
        {"question": "비가 왔다. 그래서", "answer": "길이 젖었다."},
    ),
    "copa_ca": (
        {
            "premise": "L'home va caure.",
            "question": "cause",
            "choice1": "Va relliscar.",
            "choice2": "Va cantar.",
            "label": 0,
        },
        {"question": "L'home va caure perquè", "answer": "va relliscar."},
    ),
    "kobest_hellaswag": (
        {
            "context": "배가 왔다.",
            "ending_1": "가",
            "ending_2": "나",
            "ending_3": "다",
            "ending_4": "라",
            "label": 2,
        },
        {"answer": "다"},
    ),
    "wic": (
        {
            "sentence1": "He ran home.",
            "sentence2": "The run was long.",
            "start1": 3,
            "end1": 6,
            "label": 0,
        },
        {"answer": "no", "kind": "boolean"},
    ),
    "super_glue-wsc-t5-prompt": (
        {
            "text": "Ann told Eve that she won .",
            "span1_text": "Ann",
            "span1_index": 0,
            "span2_text": "she",
            "span2_index": 4,
            "label": 1,
        },
        {"question": "wsc: Ann told Eve that *she* won ."},
    ),
    "record": (
        {
            "passage": HARBOUR,
            "query": "@placeholder was rebuilt.",
            "answers": ["The harbour"],
            "entities": ["The harbour", "The quarry"],
        },
        {"answer": "- The harbour was rebuilt.", "kind": "choice"},
    ),
    "swag": (
        {
            "startphrase": "She opens the",
            "ending0": "door.",
            "ending1": "sky.",
            "ending2": "sea.",
            "ending3": "hill.",
            "label": 0,
        },
        {"question": "She opens the", "answer": "door."},
    ),
    "sciq": (
        {
            "support": HARBOUR,
            "question": "What was rebuilt?",
            "distractor1": "a wall",
            "distractor2": "a road",
            "distractor3": "a mill",
            "correct_answer": "a harbour",
        },
        {
            "context": HARBOUR,
            "question": "What was rebuilt?",
            "answer": "a harbour",
            "answer_index": 3,
        },
    ),
    "social_iqa": (
        {
            "context": "Tracy stayed away from home that evening, and did not call.",
            "question": "What does Tracy need?",
            "answerA": "a phone",
            "answerB": "a boat",
            "answerC": "a mill",
            "label": "1",
        },
        {
            "question": "What does Tracy need?",
            "answer": "a phone",
            "context": "Tracy stayed away from home that evening, and did not call.",
        },
    ),
    "coqa": (
        {"story": HARBOUR, "questions": TURNS, "answers": REPLIES, "additional_answers": None},
        {
            "context": HARBOUR,
            "answer": "twice",
            "question": "What was rebuilt?\n\nA: the harbour\n\nQ: How often?",
        },
    ),
    "coqcat": (
        {"story": HARBOUR, "questions": TURNS["input_text"], "answers": REPLIES},
        {"context": HARBOUR, "answer": "twice"},
    ),
    "drop": (
        {
            "query_id": "1",
            "passage": HARBOUR,
            "question": "How often was it rebuilt?",
            "answer": {
                "number": "2",
                "date": {"day": "", "month": "", "year": ""},
                "spans": [],
                "worker_id": "",
                "hit_id": "",
            },
            "validated_answers": {"number": [], "date": [], "spans": []},
        },
        {},
    ),
    "arc_ar": (
        {
            "id": "x",
            "instruction": "Which is a metal?",
            "option_a": "iron",
            "option_b": "wood",
            "option_c": "salt",
            "option_d": "air",
            "option_e": "",
            "answer": "A",
        },
        {"question": "Which is a metal?", "answer": "iron", "kind": "choice"},
    ),
    "arc_challenge_chat": (
        {
            "question": "Which is a metal?",
            "answerKey": "B",
            "choices": {"text": ["wood", "iron", "salt", "air"], "label": ["A", "B", "C", "D"]},
        },
        {"question": "Which is a metal?", "answer": "iron", "kind": "choice"},
    ),
    "multirc": (
        {"paragraph": HARBOUR, "question": "What was rebuilt?", "answer": "a mill", "label": 0},
        {"kind": "boolean", "context": HARBOUR},
    ),
    "paws_en": (
        {"sentence1": "It rained.", "sentence2": "Rain fell.", "label": 1},
        {"question": "It rained, right? ____, rain fell.", "answer": "Yes", "kind": "boolean"},
    ),
    "anli_r1": (
        {"premise": "It rained.", "hypothesis": "It was dry.", "label": 2},
        {"answer": "False", "kind": "choice"},
    ),
    "xnli_en": (
        {"premise": "It rained all day.", "hypothesis": "It was dry.", "label": 2},
        {
            "question": "It rained all day., right? ____, It was dry.",
            "answer": "No",
            "kind": "choice",
        },
    ),
    "ja_leaderboard_jcommonsenseqa": (
        {
            "question": "船はどこにありますか",
            "label": 1,
            **{f"choice{i}": text for i, text in enumerate(("山", "港", "空", "机", "箱"))},
        },
        {"answer": "港", "kind": "choice"},
    ),
    "polemo2_in": (
        {"sentence": "Polecam ten hotel", "target": "__label__meta_plus_m"},
        {"answer": "Pozytywny", "kind": "choice"},
    ),
    "polemo2_out": (
        {"sentence": "Polecam ten hotel", "target": "__label__meta_minus_m"},
        {"answer": "Negatywny", "kind": "choice"},
    ),
    "mediqa_qa2019": (
        {
            "QUESTION": {
                "QuestionText": "What helps a cold?",
                "AnswerList": [{"Answer": {"AnswerText": "Rest."}}],
            }
        },
        {"question": "What helps a cold?", "answer": "Rest."},
    ),
    "toxigen": (
        {"text": "boats are nice", "toxicity_ai": 1.0, "toxicity_human": 1.0},
        {"answer": "No", "kind": "boolean"},
    ),
    "tinyWinogrande": (
        {
            "sentence": "The cup broke the plate because the _ was heavy.",
            "option1": "cup",
            "option2": "plate",
            "answer": "2",
        },
        {"answer": "plate"},
    ),
    "truthfulqa-multi_gen_ca": (
        {
            "question": "Where is the harbour?",
            "best_answer": "At the sea.",
            "lang": "en",
            "correct_answers": ["At the sea."],
            "incorrect_answers": ["On a hill."],
        },
        {"question": "Where is the harbour?", "answer": "At the sea."},
    ),
    "truthfulqa-multi_mc1_ca": (
        {"question": "Where is it?", "mc1_targets": {"choices": ["sea", "hill"], "labels": [1, 0]}},
        {"answer": "sea"},
    ),
    "truthfulqa-multi_mc2_ca": (
        {"question": "Where is it?", "mc2_targets": {"choices": ["sea", "hill"], "labels": [1, 0]}},
        {"answer": "sea"},
    ),
    "cabreu_abstractive": (
        {
            "content": HARBOUR,
            "summaries": {
                k: {f"a{i}": "Un port." for i in (1, 2, 3)}
                for k in ("abstractive", "extractive", "extreme")
            },
        },
        {"answer": "Un port."},
    ),
    "webqs": (
        {"question": "who built it?", "answers": ["the miller", "his sons"]},
        {"question": "who built it?", "answer": "his sons", "choices": []},
    ),
    "triviaqa": (
        {"question": "Who built it", "answer": {"aliases": ["The miller", "A miller"]}},
        {"question": "Who built it?", "answer": "The miller"},
    ),
    "scrolls_quality": (
        {
            "id": "1",
            "pid": "1",
            "outputs": ["a harbour"],
            "input": "What was rebuilt?\n\n(A) a wall (B) a road (C) a mill (D) a harbour\n\n"
            + HARBOUR,
        },
        {"question": "What was rebuilt?", "answer": "a harbour", "context": HARBOUR},
    ),
    "scrolls_contractnli": (
        {
            "id": "1",
            "pid": "1",
            "outputs": ["Entailment"],
            "input": f"It was rebuilt.\n\n{HARBOUR}",
        },
        {"answer": "Entailment"},
    ),
    "qasper_freeform": (
        {
            "title": "Boats",
            "abstract": HARBOUR,
            "qas": {
                "question": ["What was it?"],
                "answers": [
                    {
                        "answer": [
                            {
                                "unanswerable": False,
                                "yes_no": None,
                                "free_form_answer": "a harbour",
                                "extractive_spans": [],
                            }
                        ]
                    }
                ],
            },
        },
        {},
    ),
}
ROWS["cabreu_extractive"] = ROWS["cabreu_extreme"] = ROWS["cabreu_abstractive"]


@pytest.fixture(scope="module")
def rows() -> list[TaskRow]:
    return list_tasks()


@pytest.fixture(autouse=True)
def _no_metric_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some tasks fetch their metrics from the hub as their module is imported."""
    import evaluate

    monkeypatch.setattr(evaluate, "load", lambda *_, **__: None)


def test_every_task_with_a_training_split_is_usable_or_excluded(rows: list[TaskRow]) -> None:
    library = task_library(None)
    found = {row.task for row in rows}
    for name in library.leaf_tasks():
        if library.config(name).get("training_split"):
            assert name in found
    assert len(rows) >= 600
    assert sum(not row.excluded for row in rows) >= 500
    assert not [row.task for row in rows if row.capability == "other"]


def test_no_usable_task_trains_on_its_own_evaluated_split(rows: list[TaskRow]) -> None:
    library = task_library(None)
    traps = 0
    for row in rows:
        config = library.config(row.task)
        own = evaluated_split(config)
        if row.training_split and own == row.training_split:
            traps += 1
            assert row.excluded, row.task
        elif not row.excluded and own:
            assert split_identity(config, row.training_split) != split_identity(config, own)
    assert traps >= 40


def test_the_known_traps_are_excluded(rows: list[TaskRow]) -> None:
    excluded = {row.task: row.excluded for row in rows}
    for name in ("gsm8k_platinum", "aime24", "gpqa_main_zeroshot", "gsm_plus", "medtext"):
        assert "evaluated" in excluded[name], name
    for name in ("gsm8k", "arc_easy", "arc_challenge", "openbookqa", "hellaswag", "tinyGSM8k"):
        assert excluded[name] == "", name


def test_targets_that_lm_eval_renders_wrong_are_excluded(rows: list[TaskRow]) -> None:
    excluded = {row.task: row.excluded for row in rows}
    assert render_one("multirc", InventedRowOf(ROWS["multirc"][0])).answer == "yes"  # wrong
    assert "number" in render_one("drop", InventedRowOf(ROWS["drop"][0])).answer
    assert excluded["multirc"] and excluded["drop"]


def test_listing_filters_and_prints(
    rows: list[TaskRow], capsys: pytest.CaptureFixture[str]
) -> None:
    one = list_tasks(family="arc")
    assert {row.task for row in one} == {"arc_easy", "arc_challenge", "arc_challenge_chat"}
    assert {row.capability for row in list_tasks(capability="reasoning-intensive")} <= {
        *("math", "code", "logic", "reasoning"),
    }
    print_tasks(one, as_json=True)
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["task"] for row in printed] == [row.task for row in one]
    print_tasks(one)
    head, *lines, _, total = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [row.task for row in one]
    assert {line[head.index("kind") :].split()[0] for line in lines} == {"choice", "open"}
    assert "3 usable: knowledge 3" in total


def test_many_tasks_are_printed_at_once(
    rows: list[TaskRow], capsys: pytest.CaptureFixture[str]
) -> None:
    spent = time.process_time()
    print_tasks([replace(rows[0], excluded="\x1b[31m"), *rows, *rows])
    assert time.process_time() - spent < 1  # drawn by rich: 2 s
    shown = capsys.readouterr().out
    assert "\\x1b[31m" in shown and "\x1b" not in shown


@pytest.mark.parametrize("name", sorted(ROWS))
def test_documents_of_the_real_schema_become_the_right_seed(name: str) -> None:
    document, expected = ROWS[name]
    seed = render_one(name, InventedRowOf(document))
    assert {key: getattr(seed, key) for key in expected} == expected


def test_documents_of_every_other_schema_render(rows: list[TaskRow]) -> None:
    library = task_library(None)
    schemas: dict[str, list[TaskRow]] = defaultdict(list)
    for row in rows:
        if not row.excluded and row.task not in DOWNLOADS:
            config = library.config(row.task)
            keys = ("dataset_path", *FUNCTION_KEYS)
            schemas[json.dumps([config.get(key) for key in keys])].append(row)
    failed: dict[str, str] = {}
    kinds: Counter[str] = Counter()
    for members in schemas.values():
        row = members[0]
        if any(member.task in ROWS for member in members):
            continue
        try:
            seed = invent(lambda invented, name=row.task: render_one(name, invented))
        except DataError as error:
            if row.family not in PACKAGES or "cannot be imported" not in str(error):
                failed[row.task] = str(error)
        except Exception as error:  # noqa: BLE001 - collected, to name every task at once
            failed[row.task] = f"{type(error).__name__}: {error}"
        else:
            kinds[seed.kind] += 1
    assert failed == {}
    assert set(kinds) >= {"choice", "boolean", "number", "short_text"}


HUB = {"name": "own", "path": "openai/gsm8k", "subset": "main"}
COLUMNS = {"question": "question", "answer": "answer"}


def test_a_hub_dataset_is_read_by_its_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def load_dataset(path: str, name: str, **options: Any) -> Any:
        asked.append((path, name, options))
        rows = [{"question": f"How many is {i} and 1?", "answer": str(i + 1)} for i in range(5)]
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    section = DatasetSection(**HUB, revision="abc", columns=COLUMNS)
    context = make_context(tmp_path, {}, seeds=SeedsSection(datasets=[section]))
    assert seeds.run(context)["seeds"] == 5
    assert asked[0] == ("openai/gsm8k", "main", {"split": "train", "revision": "abc"})
    seed = next(read_jsonl(tmp_path / "seeds.jsonl"))
    assert (seed["dataset"], seed["revision"]) == ("openai/gsm8k:main", "abc")
    wrong = DatasetSection(**HUB, columns={"question": "query", "answer": "answer"})
    context = make_context(tmp_path, {}, seeds=SeedsSection(datasets=[wrong]))
    with pytest.raises(DataError, match="question: query\n  fix: there are: question, answer"):
        seeds.run(context)


@pytest.mark.parametrize("path", ["openai/gsm8k", "gsm8k", "someone/GSM8K"])
def test_a_hub_split_that_any_known_task_evaluates_is_refused(tmp_path: Path, path: str) -> None:
    section = DatasetSection(**HUB | {"path": path}, split="test[:50%]", columns=COLUMNS)
    context = make_context(tmp_path, {}, seeds=SeedsSection(datasets=[section]))
    with pytest.raises(LeakError, match=r"gsm8k \(test\[:50%\]\) is evaluated by "):
        seeds.run(context)


class InventedRowOf(InventedRow):
    """A given document: nothing is invented."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__({})
        self.update(document)

    def __missing__(self, key: str) -> Any:
        raise KeyError(key)

    def get(self, key: str, default: Any = None) -> Any:
        return dict.get(self, key, default)

    def pop(self, key: str, *default: Any) -> Any:
        return dict.pop(self, key, *default)


def render_one(name: str, row: InventedRow) -> Seed:
    """The seed of one document, through the task's own functions and templates."""
    config = task_library(None).resolved(name)
    _ask_for_templates(config, row)
    documents: Any = InventedDocuments([row])
    if config.get("process_docs"):
        documents = config["process_docs"](documents)
    if "class" in config:
        task, documents = _bare_class(config, documents)
    else:
        task = RenderedTask(config, documents)
    split = TaskSplit(name, task, documents, "", "")
    document = documents[0]
    return make_seed(render_document(split, document), ORIGIN, name, 0)


def _ask_for_templates(config: dict[str, Any], row: InventedRow) -> None:
    """Have the row invent what the templates name; `is defined` branches stay undefined."""
    from lm_eval.utils import env

    if isinstance(row, InventedRowOf):
        return
    for key in ("doc_to_text", "doc_to_target", "doc_to_choice"):
        template = config.get(key)
        if not isinstance(template, str):
            continue
        if template.isidentifier():
            row[template]
        for name in sorted(find_undeclared_variables(env.parse(template))):
            if name not in ("few_shot", "json_object"):
                row[name]


def _bare_class(config: dict[str, Any], documents: Any) -> tuple[Any, Any]:
    """A Python-class task without its start-up, which loads data and metrics."""
    from lm_eval.api.task import TaskConfig

    task = config["class"].__new__(config["class"])
    task._config = TaskConfig(task="bare")
    task.prompt = None
    made = [task._process_doc(document) for document in documents]
    flat = [one for some in made for one in (some if isinstance(some, list) else [some])]
    return task, flat
