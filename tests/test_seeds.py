"""Promises of the seeds stage: no leak, no silent bad data, the same choice every time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.sdg_helpers import artifact, data_section, eval_section, make_context, seeds_section
from tsqa import miniature, seeds
from tsqa.artifact import Artifact, read_jsonl, write_jsonl
from tsqa.errors import DataError, LeakError
from tsqa.recipe import EvalSection, SeedsSection
from tsqa.seeds import bare_question, load_split, split_answer

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "tasks"


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


def run_seeds(tmp_path: Path, tasks: list[str], evaluated: list[str]) -> dict[str, Any]:
    context = make_context(
        tmp_path / "out",
        {},
        seeds=SeedsSection(tasks=tasks, include=str(tmp_path)),
        eval=EvalSection(tasks=evaluated, include=str(tmp_path)),
    )
    return seeds.run(context)


def test_seeds_hold_the_texts_of_question_and_answer(data: Artifact, tmp_path: Path) -> None:
    context = make_context(
        tmp_path, {"data": data}, seeds=seeds_section(max_per_task=5), eval=eval_section()
    )
    summary = seeds.run(context)
    found = list(read_jsonl(tmp_path / "seeds.jsonl"))
    assert summary["seeds"] == len(found) == 30
    for seed in found:
        assert miniature.true_answer(seed["task"], seed["question"]) == seed["answer"]
        assert seed["kind"] == ("number" if seed["answer"].isdigit() else "choice")
        assert seed["explanation"]


def test_the_choice_of_seeds_repeats_byte_for_byte(data: Artifact, tmp_path: Path) -> None:
    for name in ("a", "b"):
        sections = {"seeds": seeds_section(max_per_task=5), "eval": eval_section()}
        seeds.run(make_context(tmp_path / name, {"data": data}, **sections))
    first, second = ((tmp_path / n / "seeds.jsonl").read_bytes() for n in ("a", "b"))
    assert first == second


def test_a_task_without_a_training_split_is_refused(tmp_path: Path) -> None:
    write_task(tmp_path, "bare", training_split=None)
    with pytest.raises(LeakError, match="bare has no training split"):
        run_seeds(tmp_path, ["bare"], ["bare"])


@pytest.mark.parametrize("splits", [{"test_split": "train"}, {"training_split": "test"}])
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
    with pytest.raises(LeakError):
        run_seeds(tmp_path, ["same"], ["same"])


def test_a_training_document_of_an_evaluated_split_is_dropped_and_counted(tmp_path: Path) -> None:
    write_task(tmp_path, "mixed")
    rows = list(read_jsonl(tmp_path / "mixed.train.jsonl"))
    leaked = {"question": "TEST question 3, of mixed", "answer": "3"}
    write_jsonl(tmp_path / "mixed.train.jsonl", [*rows, leaked])
    summary = run_seeds(tmp_path, ["mixed"], ["mixed"])
    rejected = list(read_jsonl(tmp_path / "out" / "rejected_seeds.jsonl"))
    assert (summary["seeds"], summary["rejected_seeds"]) == (6, 1)
    assert rejected[0]["question"] == leaked["question"]


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


@pytest.mark.skipif(not REAL.is_dir(), reason="the folder of real data is not here")
def test_real_gsm8k_answers_are_numbers_with_their_working(tmp_path: Path) -> None:
    files = {split: str(REAL / "gsm8k" / f"{split}.jsonl") for split in ("train", "test")}
    write_task(tmp_path, "gsm8k", dataset_kwargs={"data_files": files})
    found = load_split("gsm8k", tmp_path, "test")
    assert len(found) == 1319
    assert all(seed.kind == "number" and seed.explanation for seed in found)
    text = json.dumps(found[0].question)
    assert text.startswith('"Janet')
