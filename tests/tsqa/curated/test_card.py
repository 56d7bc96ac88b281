"""A card the hub reads, true counts, stated licences, a loud leak."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import DatasetCard
from hypothesis import given
from hypothesis import strategies as st

from tests.support.curated_rows import curated_row, lineage
from tsqa.curated import card
from tsqa.curated.files import DatasetWriter
from tsqa.recipe import Recipe
from tsqa.records.summaries import AttributeRow, FilterSummary, FunnelRow, LedgerRow, SemanticTask

PROMPTS = {
    "question": {"id": "similar-choice", "version": 3, "sha256": "ab" * 32},
    "answer": {"id": "enrich-choice", "version": 1, "sha256": "cd" * 32},
}
LICENCES = ["mit", "cc-by-sa-4.0", "cc-by-nc-4.0", "", "Terms | of\nX"]


def make_recipe() -> Recipe:
    return Recipe.model_validate(
        {
            "name": "invented",
            "seeds": {"tasks": ["toy"]},
            "generate": {"teacher": {"model": {"path": "t"}}, "per_seed": 7, "votes": 9},
            "filter": {},
            "model": {"path": "m"},
            "mixture": {
                "sources": {"synthetic": {"from": "filter"}},
                "phases": [{"tokens": 8, "ratios": {"synthetic": 1.0}}],
            },
            "train": {"sequence_length": 8, "global_batch_tokens": 8, "lr": 0.1},
            "eval": {"tasks": ["toy_test", "arc_easy"]},
        }
    )


LEDGER = [
    LedgerRow(
        teacher=teacher,
        model=model,
        requests=60,
        prompt_tokens=4000,
        output_tokens=900,
        engine_seconds=12.0,
        dollars=dollars,
    )
    for teacher, model, dollars in (("teacher", "small-7b", 0.5), ("cascade", "big-70b", 1.5))
]


def make_summaries(**filtered: Any) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "candidates": 12,
        "curated": 5,
        "rejected": 7,
        "by_task": {"toy": {"candidates": 12, "curated": 5}},
        "by_capability": {"knowledge": {"candidates": 12, "curated": 5}},
        "rejected_by_reason": {"agreement: tie": 7},
        "decontamination_by_task": {"toy": {"13-gram": 2}},
        "truth_by_task": {"mini_day": {"curated": 4, "well_formed": 4, "true": 3}},
        "agreement_histogram": [0] * 10,
        "distance_to_seed": [0] * 10,
        "distinct_n": {"1": 0.5},
        "near_duplicate_rate": 0.25,
        "funnel": [FunnelRow(step="agreement", entered=12, left=5, rejected=7)],
        "ledger": [],
        "unanswered": 0,
        "planted_leak_recall": {"verbatim": 1.0, "names swapped": 0.875},
    }
    return {
        "seeds_summary": {
            "seeds": 30,
            "coverage": [
                {"task": "toy", "capability": "math", "available": 50, "planned": 20, "chosen": 19},
                {"task": "void", "capability": "math", "available": 9, "planned": 9, "chosen": 9},
            ],
            "allowed_leaks": [],
        },
        "generate_ledger": list(LEDGER),
        "filter_summary": FilterSummary(**counts | filtered),
    }


def make_card(folder: Path, summaries: dict[str, Any]) -> str:
    with DatasetWriter(folder) as writer:
        for number, licence in enumerate(LICENCES):
            made = lineage(number, prompts=PROMPTS)
            kind = "choice" if number % 2 else "number"
            writer.curated(curated_row(number, licence=licence, lineage=made, kind=kind))
    return card.write_card(folder, recipe=make_recipe(), **summaries).read_text(encoding="utf-8")


def test_the_front_matter_is_what_the_hub_and_datasets_read(tmp_path: Path) -> None:
    from datasets import load_dataset

    data = DatasetCard(make_card(tmp_path, make_summaries())).data
    assert data.license == ["cc-by-nc-4.0", "cc-by-sa-4.0", "mit", "other", "unknown"]
    assert set(data.license) <= card.HUB_LICENCES
    assert data.language == ["en"]
    assert data.task_categories == ["multiple-choice", "question-answering", "text-generation"]
    assert data.size_categories == "n<1K"
    loaded = load_dataset(str(tmp_path / "dataset"), cache_dir=str(tmp_path / "c"))
    assert list(loaded) == ["train"] and loaded["train"].num_rows == 5


def test_attributes_and_difficulty_are_on_the_card_where_there_are_any(tmp_path: Path) -> None:
    rows = [AttributeRow("persona", "a | cook", 9, 3), AttributeRow("persona", "a nurse", 3, 2)]
    summaries = make_summaries(by_attribute=rows, by_difficulty={"easy": 4, "hard": 1})
    text = make_card(tmp_path / "with", summaries)
    assert "| persona | a \\| cook | 9 | 3 | 6 |\n| persona | a nurse | 3 | 2 | 1 |\n" in text
    assert "winning answer: easy 4, hard 1." in text
    text = make_card(tmp_path / "without", make_summaries())
    assert "| attribute |" not in text and "Difficulty" not in text


def test_the_thresholds_of_meaning_are_on_the_card(tmp_path: Path) -> None:
    tasks = [
        SemanticTask(
            task="arc_easy", documents=2376, set_on="training documents", compared=1500,
            question=0.8421, item=0.9,
        ),
        SemanticTask(
            task="toy_test", documents=9, set_on="default", compared=0, question=None, item=0.8
        ),
    ]  # fmt: skip
    text = make_card(tmp_path / "with", make_summaries(semantic_leaks=tasks))
    assert "| arc_easy | 2,376 | 0.8421 | 0.9 | 1,500 training documents |\n" in text
    assert "| toy_test | 9 | - | 0.8 | default |\n" in text
    assert "by meaning" not in make_card(tmp_path / "without", make_summaries())


def test_counts_prompts_teachers_and_cost_are_on_the_card(tmp_path: Path) -> None:
    text = make_card(tmp_path, make_summaries())
    for line in (
        "| agreement | 12 | 5 | 7 |",
        "| toy | 20 | 19 | 12 | 5 |",
        "| void | 9 | 9 | 0 | 0 |",
        "Kinds of answer: choice 2, number 3.",
        f"| question | similar-choice | 3 | `{'ab' * 32}` | 5 |",
        "| teacher | small-7b | 60 | 4,000 | 900 | 12.0 | 0.50 | not known | 100.00 |",
        "| all | - | 120 | 8,000 | 1,800 | 24.0 | 2.00 | not known | 400.00 |",
        "| toy | 13-gram | 2 |",
        "| names swapped | 87.5% |",
        "asked for 7 new questions, each question for 9 answers",
        "evaluated splits of arc_easy, toy_test:",
        "Of the 4 items of mini_day, whose right answers are known, 75.0% are right.",
    ):
        assert line in text
    assert "WARNING" not in text


def test_each_licence_is_stated_with_what_it_implies(tmp_path: Path) -> None:
    rows = make_card(tmp_path, make_summaries()).splitlines()
    assert "| mit | 1 | permissive | free use; name the source" in "\n".join(rows)
    [share] = [row for row in rows if row.startswith("| cc-by-sa-4.0 |")]
    assert "share-alike | what is derived must be shared under the same licence" in share
    [unknown] = [row for row in rows if row.startswith("| not stated |")]
    assert "unknown | nobody stated it" in unknown
    [odd] = [row for row in rows if row.startswith("| Terms")]
    assert odd.startswith("| Terms \\| of X | 1 | special |")


def test_a_local_path_is_not_published(tmp_path: Path) -> None:
    summaries = make_summaries()
    local, hub = LEDGER
    summaries["generate_ledger"] = [
        replace(local, model="/home/someone/models/small"),
        replace(hub, model="org/big"),
    ]
    text = make_card(tmp_path, summaries)
    assert "someone" not in text
    assert "| teacher | small | 60 |" in text and "| cascade | org/big | 60 |" in text


def test_an_unknown_number_of_tokens_is_not_a_price() -> None:
    prices = [row.dollars_per_million for row in card.cost_rows(LEDGER, 5, 400)]
    assert prices == [1250.0, 3750.0, 5000.0]
    assert {row.dollars_per_million for row in card.cost_rows(LEDGER, 5)} == {None}


def test_allowed_leaks_stand_at_the_top(tmp_path: Path) -> None:
    summaries = make_summaries()
    summaries["seeds_summary"]["allowed_leaks"] = [
        {"task": "gsm8k", "reason": "same split"},
        {"task": "arc_easy", "reason": "7 of its documents are evaluated"},
    ]
    text = make_card(tmp_path, summaries)
    start = text.index("# invented")
    assert "WARNING" in text[start : start + 200]
    assert "arc_easy (7 of its documents are evaluated), gsm8k (same split). Scores" in text


def test_the_same_rows_and_summaries_give_the_same_card(tmp_path: Path) -> None:
    assert make_card(tmp_path / "a", make_summaries()) == make_card(
        tmp_path / "b", make_summaries()
    )


def test_a_dataset_without_rows_has_a_card(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path):
        pass
    path = card.write_card(tmp_path, recipe=make_recipe(), **make_summaries(curated=0))
    assert DatasetCard(path.read_text(encoding="utf-8")).data.license == ["unknown"]


@pytest.mark.parametrize(
    ("licence", "condition"),
    [
        ("Apache-2.0", "permissive"),
        ("CC BY 4.0", "permissive"),
        ("cc-by-sa-3.0", "share-alike"),
        ("CC_BY-NC-SA 4.0", "non-commercial, share-alike"),
        ("cc-by-nc-nd-4.0", "no derivatives, non-commercial"),
        ("gpl-3.0", "share-alike"),
        ("Research only", "non-commercial"),
        ("", "unknown"),
        ("unknown", "unknown"),
        ("ms-pl", "special"),
    ],
)
def test_licences_are_read(licence: str, condition: str) -> None:
    assert card.describe_licence(licence)[0] == condition


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (99_999, "10K<n<100K"),
        (10**6, "1M<n<10M"),
    ],
)
def test_sizes_have_the_hubs_names(rows: int, name: str) -> None:
    assert card.size_category(rows) == name


@given(st.text())
def test_any_licence_has_a_hub_identifier_and_a_meaning(licence: str) -> None:
    assert card.hub_licence(licence) in card.HUB_LICENCES
    assert all(card.describe_licence(licence))


def test_requests_without_an_answer_are_on_the_card(tmp_path: Path) -> None:
    summaries = make_summaries()
    assert "without an answer" not in make_card(tmp_path / "whole", summaries)
    unanswered = {"503 down": 3, "a|b [/INST]": 1}
    summaries["generate_ledger"][0] = replace(LEDGER[0], unanswered=unanswered)
    card = make_card(tmp_path / "part", summaries)
    assert "| teacher | 60 | 4 | 3 x 503 down; 1 x a\\|b [/INST] |" in card


def test_answers_of_another_model_are_on_the_card(tmp_path: Path) -> None:
    summaries = make_summaries()
    assert "other models answered" not in make_card(tmp_path / "own", summaries)
    summaries["generate_ledger"][0] = replace(LEDGER[0], served={"other|small": 7})
    card = make_card(tmp_path / "other", summaries)
    assert "| 7 of 60 by other\\|small |" in card


def test_a_licence_of_the_public_domain_is_permissive() -> None:
    assert card.describe_licence("public domain")[0] == "permissive"
