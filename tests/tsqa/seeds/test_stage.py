"""Promises of the seeds stage: no leak, no silent bad data, the same choice every time."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.support.generation import (
    artifact,
    data_section,
    eval_section,
    make_context,
    seeds_section,
    with_benchmarks,
)
from tests.support.paths import SHARED
from tsqa.errors import DataError, LeakError, RecipeError
from tsqa.recipe import EvalSection, SeedsSection
from tsqa.seeds import stage as seeds
from tsqa.seeds.prompt_fields import (
    BLANK,
    bare_question,
    cloze,
    split_answer,
    split_options,
    split_prompt,
)
from tsqa.seeds.sources import evaluated_of, load_evaluated
from tsqa.store.artifact import Artifact
from tsqa.store.jsonl import read_jsonl, write_jsonl
from tsqa.tasks import toy as miniature
from tsqa.tasks import toy_families
from tsqa.tasks.oracle import read_oracle

REAL = SHARED / "data" / "tasks"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    final = tmp_path_factory.mktemp("data") / "d1"
    partial = final.with_name("d1.partial")
    miniature.run(make_context(partial, {}, data=data_section()))
    partial.rename(final)
    return artifact(final)


def write_task(folder: Path, name: str, **changes: Any) -> None:
    rows = {
        split: [
            {"question": f"{split} question {i} of {name}?", "answer": str(i)} for i in range(6)
        ]
        for split in ("train", "test")
    }
    for split, found in rows.items():
        write_jsonl(folder / f"{name}.{split}.jsonl", found)
    config = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {s: str(folder / f"{name}.{s}.jsonl") for s in ("train", "test")}
        },
        "training_split": "train",
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "Q: {{question}}\nA:",
        "doc_to_target": "{{answer}}",
    } | changes
    (folder / f"{name}.yaml").write_text(
        yaml.safe_dump({k: v for k, v in config.items() if v is not None})
    )


def files(folder: Path, name: str, **stems: str) -> dict[str, Any]:
    """data_files of a task, with some splits read from another file."""
    splits = {"train": "train", "test": "test"} | stems
    return {"data_files": {s: str(folder / f"{name}.{stem}.jsonl") for s, stem in splits.items()}}


def run_seeds(
    tmp_path: Path, tasks: list[str], evaluated: list[str], **changes: Any
) -> dict[str, Any]:
    scored = EvalSection(tasks=evaluated, include=str(tmp_path)) if evaluated else None
    inputs = with_benchmarks(tmp_path / "benchmarks", {}, scored) if scored else {}
    section = SeedsSection(tasks=tasks, include=str(tmp_path), **changes)
    return seeds.run(make_context(tmp_path / "out", inputs, seeds=section, eval=scored))


def test_seeds_hold_the_texts_of_question_and_answer(data: Artifact, tmp_path: Path) -> None:
    inputs = with_benchmarks(tmp_path / "benchmarks", {"data": data}, eval_section())
    section = seeds_section(max_per_task=5)
    summary = seeds.run(make_context(tmp_path, inputs, seeds=section, eval=eval_section()))
    found = list(read_jsonl(tmp_path / "seeds.jsonl"))
    assert summary["seeds"] == len(found) == 30
    oracle = read_oracle(data.path)
    for seed in found:
        assert oracle.knows(seed["task"], seed["revision"])
        assert toy_families.true_answer(seed["task"], seed["question"]) == seed["answer"]
        assert seed["kind"] == ("number" if seed["answer"].isdigit() else "choice")
        assert seed["explanation"]


def test_the_choice_of_seeds_repeats_byte_for_byte(data: Artifact, tmp_path: Path) -> None:
    inputs = with_benchmarks(tmp_path / "benchmarks", {"data": data}, eval_section())
    for name in ("a", "b"):
        sections = {"seeds": seeds_section(max_per_task=5), "eval": eval_section()}
        seeds.run(make_context(tmp_path / name, inputs, **sections))
    first, second = ((tmp_path / n / "seeds.jsonl").read_bytes() for n in ("a", "b"))
    assert first == second


def test_a_family_that_is_held_out_gives_no_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("own", "more", "other"):
        write_task(tmp_path, name)
    families = {"more": "own"}
    names = ["own", "more", "other"]
    found = run_seeds(tmp_path, names, [], hold_out=["own"], families=families)
    assert set(found["by_task"]) == {"other"}
    assert found["held_out"] == {"own": "own", "more": "own"}
    assert "more gives no seed: seeds.hold_out has its family own" in capsys.readouterr().err
    with pytest.raises(RecipeError, match="hold_out names oven, which is no family"):
        run_seeds(tmp_path, names, [], hold_out=["oven"])
    with pytest.raises(RecipeError, match="every source"):
        run_seeds(tmp_path, names, [], hold_out=["own", "other"], families=families)


def test_the_evaluated_tasks_of_families_are_found(tmp_path: Path) -> None:
    for name in ("own", "more", "other"):
        write_task(tmp_path, name)
    scored: Any = SimpleNamespace(
        seeds=SeedsSection(tasks=["own"], families={"more": "own"}),
        eval=EvalSection(tasks=["more", "other"], include=str(tmp_path)),
    )
    assert evaluated_of(["own", "third"], scored) == {"own": ["more"], "third": []}


def test_the_bar_ends_with_what_was_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task(tmp_path, "own")
    run_seeds(tmp_path, ["own"], [])
    assert "own: 6 documents" in capsys.readouterr().err


def test_a_task_without_a_training_split_is_refused(tmp_path: Path) -> None:
    write_task(tmp_path, "bare", training_split=None)
    with pytest.raises(LeakError, match="bare: it has no training split"):
        run_seeds(tmp_path, ["bare"], ["bare"])


def test_a_training_split_may_be_several(tmp_path: Path) -> None:
    write_task(tmp_path, "more")
    write_task(
        tmp_path,
        "both",
        training_split="train[:50%]+more",
        dataset_kwargs={
            "data_files": {
                "train": str(tmp_path / "both.train.jsonl"),
                "more": str(tmp_path / "more.train.jsonl"),
                "test": str(tmp_path / "both.test.jsonl"),
            }
        },
    )
    assert run_seeds(tmp_path, ["both"], ["both"])["seeds"] == 3 + 6
    found = {seed["dataset"] for seed in read_jsonl(tmp_path / "out" / "seeds.jsonl")}
    assert found == {"both.train.jsonl+more.train.jsonl"}


@pytest.mark.parametrize(
    "splits",
    [
        {"test_split": "train"},
        {"training_split": "test"},
        {"training_split": "train+test"},
        {"training_split": "all"},
        {"test_split": "all"},
        {"training_split": "train", "test_split": "test+train[:1]"},
    ],
)
def test_a_training_split_that_is_evaluated_is_refused(
    tmp_path: Path, splits: dict[str, str]
) -> None:
    write_task(tmp_path, "same", **splits)
    with pytest.raises(LeakError, match="is the split it is evaluated on"):
        run_seeds(tmp_path, ["same"], ["same"])


def test_a_training_split_evaluated_by_another_task_is_refused(tmp_path: Path) -> None:
    write_task(tmp_path, "first")
    write_task(tmp_path, "second")
    config = yaml.safe_load((tmp_path / "second.yaml").read_text())
    config["dataset_kwargs"]["data_files"]["test"] = str(tmp_path / "first.train.jsonl")
    (tmp_path / "second.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(LeakError, match="evaluated by second"):
        run_seeds(tmp_path, ["first"], ["second"])


def test_leaks_are_refused_before_any_data_is_read(tmp_path: Path) -> None:
    write_task(tmp_path, "same", test_split="train")
    (tmp_path / "same.train.jsonl").unlink()
    section = SeedsSection(tasks=["same"], include=str(tmp_path))
    scored = EvalSection(tasks=["same"], include=str(tmp_path))
    with pytest.raises(LeakError):  # and without the rendered documents of `benchmarks`
        seeds.run(make_context(tmp_path / "out", {}, seeds=section, eval=scored))


def test_a_training_document_of_an_evaluated_split_is_dropped_and_counted(tmp_path: Path) -> None:
    write_task(tmp_path, "mixed")
    rows = list(read_jsonl(tmp_path / "mixed.train.jsonl"))
    leaked = {"question": "TEST question 3, of mixed", "answer": "3"}
    write_jsonl(tmp_path / "mixed.train.jsonl", [*rows, leaked])
    summary = run_seeds(tmp_path, ["mixed"], ["mixed"])
    rejected = list(read_jsonl(tmp_path / "out" / "rejected_seeds.jsonl"))
    assert (summary["seeds"], summary["rejected_seeds"]) == (6, 1)
    assert rejected[0]["question"] == leaked["question"]


def test_a_sibling_in_the_same_folder_guards_its_test_set(tmp_path: Path) -> None:
    write_task(tmp_path, "seeded")
    write_task(tmp_path, "other")
    write_task(tmp_path, "sibling", dataset_kwargs=files(tmp_path, "seeded", test="train"))
    with pytest.raises(LeakError, match="is evaluated by sibling"):
        run_seeds(tmp_path, ["seeded"], ["other"])


def test_a_copy_of_a_test_set_under_another_name_is_refused_by_content(tmp_path: Path) -> None:
    write_task(tmp_path, "seeded")
    write_task(tmp_path, "other")
    write_task(tmp_path, "platinum", dataset_kwargs=files(tmp_path, "platinum"))
    rows = list(read_jsonl(tmp_path / "seeded.train.jsonl"))
    write_jsonl(tmp_path / "platinum.test.jsonl", rows[:3])
    with pytest.raises(LeakError, match="3 of the 6 documents of seeded are documents of an eval"):
        run_seeds(tmp_path, ["seeded"], ["other"])
    summary = run_seeds(tmp_path, ["seeded"], ["other"], allow_leaks=["seeded"])
    assert summary["seeds"] == 6
    assert summary["allowed_leaks"] == [
        {
            "task": "seeded",
            "reason": "3 of its documents are evaluated",
            "evaluated": ["platinum"],
        }
    ]


def test_an_override_lets_a_leak_through_and_is_recorded(tmp_path: Path) -> None:
    write_task(tmp_path, "same", test_split="train")
    write_task(tmp_path, "clean")
    summary = run_seeds(tmp_path, ["same"], ["same"], allow_leaks=["same"])
    assert summary["seeds"] == 6
    assert [one["task"] for one in summary["allowed_leaks"]] == ["same"]
    assert "the split it is evaluated on" in summary["allowed_leaks"][0]["reason"]
    assert run_seeds(tmp_path, ["clean"], ["clean"])["allowed_leaks"] == []


def test_an_own_dataset_of_an_evaluated_file_is_refused(tmp_path: Path) -> None:
    write_task(tmp_path, "known")
    path = (tmp_path / "known.test.jsonl").rename(tmp_path / "known.held.jsonl")
    write_task(tmp_path, "known", dataset_kwargs=files(tmp_path, "known", test="held"))
    dataset = {
        "name": "own",
        "path": str(path),
        "columns": {"question": "question", "answer": "answer"},
    }
    with pytest.raises(LeakError, match="is evaluated by known"):
        run_seeds(tmp_path, ["known"], ["known"], datasets=[dataset])
    copy = path.rename(tmp_path / "renamed.jsonl")
    path.write_bytes(copy.read_bytes())
    with pytest.raises(LeakError, match="6 of the 6 documents of own"):
        run_seeds(tmp_path, ["known"], ["known"], datasets=[dataset | {"path": str(copy)}])


def test_a_sibling_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    write_task(tmp_path, "good")
    write_task(tmp_path, "broken")
    (tmp_path / "broken.test.jsonl").write_text("{")
    assert run_seeds(tmp_path, ["good"], ["good"])["siblings_not_compared"] == ["broken"]


def test_a_template_with_an_undefined_variable_is_named(tmp_path: Path) -> None:
    write_task(tmp_path, "typo", doc_to_text="Q: {{qestion}}\nA:")
    with pytest.raises(DataError, match="names `qestion`, which its documents lack") as caught:
        run_seeds(tmp_path, ["typo"], [])
    assert "there are: answer, question" in str(caught.value)


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    write_task(tmp_path, "hollow")
    (tmp_path / "hollow.train.jsonl").write_text("")
    with pytest.raises(DataError, match="hollow"):
        run_seeds(tmp_path, ["hollow"], [])


def test_a_choice_document_with_a_hidden_or_broken_label_is_rejected(tmp_path: Path) -> None:
    write_task(
        tmp_path,
        "choosy",
        output_type="multiple_choice",
        doc_to_choice="options",
        doc_to_target="label",
    )
    labels = [0, 1, 2, -1, 3]
    for split in ("train", "test"):
        write_jsonl(
            tmp_path / f"choosy.{split}.jsonl",
            [
                {
                    "question": f"Which {split} one is number {i}?",
                    "options": ["x", "y", "z"],
                    "label": v,
                }
                for i, v in enumerate(labels)
            ],
        )
    summary = run_seeds(tmp_path, ["choosy"], ["choosy"])
    assert summary["rejected_by_reason"] == {"answer index out of range": 2}
    assert [seed["answer"] for seed in read_jsonl(tmp_path / "out" / "seeds.jsonl")] == list("xyz")
    scored = load_evaluated("choosy", tmp_path)
    assert len(scored) == 5  # the guard knows a scored document whatever its label
    assert scored[3].question == "Which test one is number 3?"


def test_a_python_class_task_gives_seeds_and_says_what_splits_it_has(tmp_path: Path) -> None:
    (tmp_path / "classy.yaml").write_text("task: classy\nclass: !function classy.Classy\n")
    (tmp_path / "bookless.yaml").write_text("task: bookless\nclass: !function classy.Bookless\n")
    (tmp_path / "classy.py").write_text(PYTHON_TASK)
    summary = run_seeds(tmp_path, ["classy"], ["classy"])
    assert summary["seeds"] == 6
    found = list(read_jsonl(tmp_path / "out" / "seeds.jsonl"))
    assert (found[1]["question"], found[1]["answer"]) == ("train question number 1?", "1")
    assert found[1]["split"] == "train"
    with pytest.raises(LeakError, match="bookless: it has no training split"):
        run_seeds(tmp_path, ["bookless"], [])


PYTHON_TASK = """
import datasets
from lm_eval.api.task import ConfigurableTask

class Classy(ConfigurableTask):
    VERSION = 1
    DATASET_PATH = "classy"
    DATASET_NAME = None

    def __init__(self, config=None):
        super().__init__(config={"metadata": {"version": 1}})

    def download(self, *args, **kwargs):
        self.dataset = {
            split: datasets.Dataset.from_list(
                [{"q": f"{split} question number {i}?", "a": str(i)} for i in range(6)]
            )
            for split in ("train", "validation")
        }

    def has_training_docs(self): return True
    def has_validation_docs(self): return True
    def has_test_docs(self): return False
    def training_docs(self): return self.dataset["train"]
    def validation_docs(self): return self.dataset["validation"]
    def doc_to_text(self, doc): return "Question: " + doc["q"] + "\\nAnswer:"
    def doc_to_target(self, doc): return " " + doc["a"]

class Bookless(Classy):
    def has_training_docs(self): return False
"""


def test_every_scored_document_is_loaded_even_without_an_answer(tmp_path: Path) -> None:
    write_task(tmp_path, "hidden")
    write_jsonl(tmp_path / "hidden.test.jsonl", [{"question": "Who knows?", "answer": ""}] * 3)
    assert len(load_evaluated("hidden", tmp_path)) == 3


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    write_task(tmp_path, "broken")
    with (tmp_path / "broken.train.jsonl").open("a") as handle:
        handle.write('{"question": \n')
    with pytest.raises(DataError, match=r"broken\.train\.jsonl:7: not JSON"):
        run_seeds(tmp_path, ["broken"], ["broken"])


def test_an_unknown_task_is_named(tmp_path: Path) -> None:
    write_task(tmp_path, "known")
    with pytest.raises(DataError, match="unknown task 'unknown'"):
        run_seeds(tmp_path, ["unknown"], ["known"])


def test_frames_and_final_answers_are_taken_apart() -> None:
    assert bare_question("Question: Why?\nAnswer:") == "Why?"
    assert bare_question("Q: Why\n  so?\nA:") == "Why so?"
    assert split_answer("2+2=<<2+2=4>>4 eggs.\n#### 4") == ("4", "2+2=4 eggs.")
    assert split_answer(" Paris ") == ("Paris", "")


WORDS = st.lists(st.sampled_from(["the", "boat", "stone", "harbour", "was", "red"]), max_size=4)


@given(WORDS, WORDS, st.lists(WORDS.filter(bool), min_size=2, max_size=4, unique_by=tuple))
def test_a_cloze_filled_in_gives_back_its_sentences(
    head: list[str], tail: list[str], middles: list[list[str]]
) -> None:
    sentences = [" ".join([*head, *middle, *tail]) for middle in middles]
    question, fillings = cloze(sentences)
    assert all(fillings)
    if question:
        assert [question.replace(BLANK, filling) for filling in fillings] == sentences


def test_passages_options_and_frames_come_apart() -> None:
    passage = "The harbour was rebuilt twice, and the stones came down by boat."
    document = {"passage": passage, "question": "how often was it rebuilt", "label": 0}
    framed = f"Passage: {passage}\nQuestion: {document['question']}?\nAnswer:"
    assert split_prompt(framed, document) == (passage, "how often was it rebuilt?")
    assert split_prompt("English phrase: A boat.\nFrench phrase:", {"en": "A boat."}) == (
        "",
        "English phrase: A boat. French phrase:",
    )
    assert split_options("Which?\nA. one\nB. two\nC. three\nAnswer:") == (
        "Which?\nAnswer:",
        ["one", "two", "three"],
    )
    assert split_options("Plan A. was good.") == ("Plan A. was good.", [])
    assert bare_question("def f(x):\n    return x\n\nWhat is f(2)?") == (
        "def f(x):\n    return x\n\nWhat is f(2)?"
    )
    assert split_answer("We add. The answer is 11.") == ("11", "We add.")


@pytest.mark.skipif(not REAL.is_dir(), reason="the folder of real data is not here")
def test_real_gsm8k_answers_are_numbers_with_their_working(tmp_path: Path) -> None:
    files = {split: str(REAL / "gsm8k" / f"{split}.jsonl") for split in ("train", "test")}
    write_task(tmp_path, "gsm8k", dataset_kwargs={"data_files": files})
    found = load_evaluated("gsm8k", tmp_path)
    assert len(found) == 1319
    assert all(seed.kind == "number" and seed.explanation for seed in found)
    text = json.dumps(found[0].question)
    assert text.startswith('"Janet')


REAL_TASKS = {
    "gsm8k": {"doc_to_text": "Question: {{question}}\nAnswer:", "doc_to_target": "{{answer}}"},
    **{
        name: {
            "output_type": "multiple_choice",
            "doc_to_text": "Question: {{" + field + "}}\nAnswer:",
            "doc_to_target": "{{choices.label.index(answerKey)}}",
            "doc_to_choice": "{{choices.text}}",
        }
        for name, field in (
            ("arc_easy", "question"),
            ("arc_challenge", "question"),
            ("openbookqa", "question_stem"),
        )
    },
}


def write_real(folder: Path, name: str, task: str, train: str) -> None:
    """A task over the real data; `train` names the file its seeds come from."""
    files = {"train": str(REAL / name / f"{train}.jsonl"), "test": str(REAL / name / "test.jsonl")}
    write_task(folder, task, dataset_kwargs={"data_files": files}, **REAL_TASKS[name])


@pytest.mark.skipif(not REAL.is_dir(), reason="the folder of real data is not here")
def test_real_test_splits_are_refused(tmp_path: Path) -> None:
    for name in REAL_TASKS:
        write_real(tmp_path, name, name, "train")
        write_real(tmp_path, name, f"{name}_from_test", "test")
    for name in REAL_TASKS:
        with pytest.raises(LeakError, match="evaluated"):
            run_seeds(tmp_path, [f"{name}_from_test"], [name])


@pytest.mark.skipif(not REAL.is_dir(), reason="the folder of real data is not here")
def test_real_training_splits_become_seeds(tmp_path: Path) -> None:
    counts = {"arc_challenge": 1119, "openbookqa": 4957}
    for name in counts:
        write_real(tmp_path, name, name, "train")
    summary = run_seeds(tmp_path, list(counts), list(counts), max_per_task=200)
    assert summary["by_task"] == dict.fromkeys(counts, 200)
    available = {row["task"]: row["available"] for row in summary["coverage"]}
    assert all(available[name] > 0.95 * count for name, count in counts.items())
    assert sum(available.values()) + summary["rejected_seeds"] == sum(counts.values())
    for seed in read_jsonl(tmp_path / "out" / "seeds.jsonl"):
        assert seed["choices"][seed["answer_index"]] == seed["answer"]
