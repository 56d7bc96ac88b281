"""Every verifier accepts its own answer, refuses others, loses nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.curated_rows import curated_row
from tsqa.curated.files import DatasetWriter
from tsqa.curated.verifiable import VerifiableItem, Verifier, export_verifiable, read_item, verify
from tsqa.store.jsonl import read_jsonl
from tsqa.text.sameness import answer_key

TESTS = "assert double(4) == 8 and double(-1) == -2"
ROWS: list[dict[str, Any]] = [
    {"kind": "choice"},
    {"kind": "number", "answer": "1,250", "answer_index": None, "choices": []},
    {"kind": "number", "answer": r"\frac{3}{4}", "answer_index": None, "choices": []},
    {"kind": "boolean", "answer": "No", "answer_index": None, "choices": []},
    {"kind": "short_text", "answer": "Marie Curie", "answer_index": None, "choices": []},
    {
        "kind": "code",
        "answer": "def double(n):\n    return 2 * n",
        "answer_index": None,
        "choices": [],
        "tests": TESTS,
    },
    {"kind": "long_text", "answer": "An essay.", "answer_index": None, "choices": []},
]
RIGHT = [
    ["metre", "A", "(a)", "a."],
    ["1250", "1,250.0", r"\boxed{1250}"],
    ["0.75", "3/4", r"$\frac{3}{4}$"],
    ["no", "False", "NO."],
    ["marie curie", "Marie Curie."],
    ["def double(n):\n    return n + n"],
]
WRONG = [
    ["litre", "B", "D", "meter stick", ""],
    ["1251", "125", "twelve", ""],
    ["4/3", "0.74", ""],
    ["yes", "maybe", ""],
    ["Pierre Curie", "Marie", ""],
    ["def double(n):\n    return n", "double = len", ""],
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], Any]:
    folder = tmp_path_factory.mktemp("export")
    with DatasetWriter(folder) as writer:
        for number, row in enumerate(ROWS):
            writer.curated(curated_row(number, **row))
    counts = export_verifiable(folder, folder / "rl.jsonl")
    return list(read_jsonl(folder / "rl.jsonl")), counts


def test_verifiable_items_are_exported_and_the_rest_counted(
    exported: tuple[list[dict[str, Any]], Any],
) -> None:
    records, counts = exported
    assert [record["id"] for record in records] == [f"toy:{n}.q0" for n in range(6)]
    assert all(set(r) == {"id", "question", "answer", "verifier"} for r in records)
    kinds = [record["verifier"]["type"] for record in records]
    assert kinds == ["choice", "math", "math", "boolean", "exact", "code"]
    left_out = {"left out: long_text": 1}
    assert counts == {"choice": 1, "math": 2, "boolean": 1, "exact": 1, "code": 1, **left_out}


def test_a_question_shows_its_passage_and_options(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path) as writer:
        writer.curated(curated_row(0, context="A passage.", question="Which?"))
    export_verifiable(tmp_path, tmp_path / "rl.jsonl")
    [record] = read_jsonl(tmp_path / "rl.jsonl")
    assert record["question"] == "A passage.\n\nWhich?\n\nA. metre\nB. litre\nC. gram"


def test_no_option_is_left_out_where_letters_run_out(tmp_path: Path) -> None:
    choices = [f"option number {place}" for place in range(28)]
    with DatasetWriter(tmp_path) as writer:
        writer.curated(curated_row(0, choices=choices, answer=choices[27], answer_index=27))
    export_verifiable(tmp_path, tmp_path / "rl.jsonl")
    [record] = read_jsonl(tmp_path / "rl.jsonl")
    assert record["question"].endswith(
        "Z. option number 25\n27. option number 26\n28. option number 27"
    )
    item = read_item(json.dumps(record))
    assert verify(item, "28") and not verify(item, "27")


@pytest.mark.parametrize("number", range(6))
def test_a_verifier_accepts_right_answers_and_refuses_wrong_ones(
    exported: tuple[list[dict[str, Any]], Any], number: int
) -> None:
    record = exported[0][number]
    item = read_item(json.dumps(record))
    for answer in [item.answer, *RIGHT[number]]:
        assert verify(item, answer), answer
    for answer in WRONG[number]:
        assert not verify(item, answer), answer


@settings(max_examples=60, deadline=None)
@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6))
def test_numbers_are_compared_by_value(number: int, difference: int) -> None:
    item = VerifiableItem("a", "?", f"{number:,}", Verifier("math"))
    assert verify(item, str(number)) and verify(item, f"{number}.0")
    assert not verify(item, str(number + difference))


@given(
    st.lists(
        st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=9),
        min_size=2,
        max_size=6,
        unique_by=answer_key,
    ),
    st.data(),
)
def test_each_option_is_told_from_the_others(choices: list[str], data: Any) -> None:
    index = data.draw(st.integers(0, len(choices) - 1))
    item = VerifiableItem("a", "?", choices[index], Verifier("choice", choices, index))
    assert [verify(item, choice) for choice in choices] == [
        place == index for place in range(len(choices))
    ]


def test_an_answer_its_own_verifier_refuses_is_left_out(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path) as writer:
        writer.curated(curated_row(0, choices=["Metre", "metre"], answer_index=1))
    assert export_verifiable(tmp_path, tmp_path / "rl.jsonl") == {
        "left out: choice that its verifier cannot read": 1
    }
    assert list(read_jsonl(tmp_path / "rl.jsonl")) == []
