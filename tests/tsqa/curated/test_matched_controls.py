"""The made controls: same shape with another answer, same repetition with human text."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.curated_rows import curated_row
from tests.support.paths import REPOSITORY
from train.data.mixture import plan, plan_of
from train.data.plan import MixturePlan
from tsqa.curated.answer_shuffle import Donor, draw_donors, write_permuted
from tsqa.curated.files import DatasetWriter, read_curated
from tsqa.errors import DataError, RecipeError
from tsqa.recipe import MixtureSection, Recipe, TrainSection, load_recipe
from tsqa.records.rows import CuratedRow

QUICKSTART = REPOSITORY / "recipes" / "quickstart" / "recipe.yaml"


def write_dataset(folder: Path, rows: list[CuratedRow]) -> Path:
    with DatasetWriter(folder) as writer:
        for row in rows:
            writer.curated(row)
    return folder


def short(number: int, answer: str, **changes: object) -> CuratedRow:
    return curated_row(
        number, kind="short_text", choices=[], answer=answer, answer_index=None,
        reasoning=f"because {answer}", distractors="", **changes,
    )  # fmt: skip


def test_every_item_carries_the_answer_and_the_enrichment_of_another(tmp_path: Path) -> None:
    answers = ["a1", "a2", "a3", "a4", "a5"]
    filtered = write_dataset(
        tmp_path / "filter", [short(n, answer) for n, answer in enumerate(answers)]
    )
    write_permuted(filtered, tmp_path / "out", load_recipe(QUICKSTART))
    before = {row.id: row for row in read_curated(filtered)}
    after = list(read_curated(tmp_path / "out"))
    assert Counter(row.answer for row in after) == Counter(answers)
    for row in after:
        own, donor = before[row.id], before[json.loads(row.lineage)["permuted_from"]]
        assert row.question == own.question and row.question in row.text
        assert row.answer == donor.answer != own.answer
        assert donor.answer in row.text and own.answer not in row.text
        assert row.reasoning == donor.reasoning
        assert json.loads(row.lineage)["teacher"] == json.loads(own.lineage)["teacher"]


def test_a_choice_stays_one_of_the_items_own_options(tmp_path: Path) -> None:
    rows = []
    for number in range(12):
        choices = [f"option {number}.{place}" for place in range(3)]
        place = number % 3
        rows.append(curated_row(number, choices=choices, answer=choices[place], answer_index=place))
    filtered = write_dataset(tmp_path / "filter", rows)
    write_permuted(filtered, tmp_path / "out", load_recipe(QUICKSTART))
    after = list(read_curated(tmp_path / "out"))
    assert all(row.answer == row.choices[row.answer_index] for row in after)
    assert Counter(row.answer_index for row in after) == {0: 4, 1: 4, 2: 4}


def test_an_item_without_a_donor_is_left_out_and_no_donor_at_all_is_an_error(
    tmp_path: Path,
) -> None:
    recipe = load_recipe(QUICKSTART)
    alone = short(9, "z", task="other")
    some = write_dataset(tmp_path / "some", [short(1, "x"), short(2, "y"), alone])
    write_permuted(some, tmp_path / "out", recipe)
    assert [row.task for row in read_curated(tmp_path / "out")] == ["toy", "toy"]
    none = write_dataset(tmp_path / "none", [short(1, "x"), alone])
    with pytest.raises(DataError, match="no answer to take"):
        write_permuted(none, tmp_path / "out", recipe)


ROWS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["choice", "number"]), st.integers(0, 2)),
    max_size=40,
)


@given(ROWS)
def test_donors_are_a_derangement_within_task_kind_and_options(
    drawn: list[tuple[str, str, int]],
) -> None:
    rows = [
        Donor(str(number), task, kind, ["x"] * options, "x", 0 if options else None, *[""] * 4)
        for number, (task, kind, options) in enumerate(drawn)
    ]
    group = {row.id: (row.task, row.kind, len(row.choices)) for row in rows}
    donors = draw_donors(rows)
    assert sorted(donors) == sorted(donors.values())
    assert all(group[item] == group[donor] and item != donor for item, donor in donors.items())
    sizes = Counter(group.values())
    assert len(donors) == sum(size for size in sizes.values() if size > 1)
    assert donors == draw_donors(rows[::-1])


def subset_plan(docs: int, synthetic: int, tokens: int, seed: int = 0) -> MixturePlan:
    mixture = MixtureSection.model_validate(
        {
            "sources": {
                "docs": {"path": "docs.jsonl"},
                "synthetic": {"from": "filter"},
                "stand_in": {"subset_of": "docs", "size_of": "synthetic"},
            },
            "phases": [{"tokens": tokens, "ratios": {"docs": 0.5, "stand_in": 0.5}}],
            "max_repetition": 1000,
        }
    )
    train = TrainSection(sequence_length=8, global_batch_tokens=32, lr=1e-3)
    return plan(mixture, train, {"docs": docs, "synthetic": synthetic}, seed)


@given(st.integers(1, 60), st.integers(0, 60), st.integers(1, 40), st.integers(0, 3))
def test_a_subset_holds_distinct_rows_and_repeats_as_its_model_does(
    size: int, more: int, batches: int, seed: int
) -> None:
    made = subset_plan(size + more, size, batches * 32, seed)
    number = made.sources.index("stand_in")
    places = [made.locate(number, index) for index in range(size)]
    assert len(set(places)) == size
    assert all(name == "docs" and 0 <= row < size + more for name, row in places)
    drawn: dict[tuple[str, int], int] = defaultdict(int)
    for k in range(made.total_rows):
        row = made.row(k)
        if row.source == number:
            drawn[made.locate(number, row.index)] += 1
    total = sum(drawn.values())
    assert all(total // size <= drawn[place] <= -(-total // size) for place in places)


def test_another_seed_takes_another_subset() -> None:
    def rows(seed: int) -> set[tuple[str, int]]:
        made = subset_plan(500, 50, 320, seed)
        return {made.locate(made.sources.index("stand_in"), index) for index in range(50)}

    assert rows(0) == rows(0) != rows(1)


def test_human_text_that_is_too_short_to_repeat_as_rarely_is_refused() -> None:
    with pytest.raises(RecipeError, match="synthetic has 9 rows, docs only 8"):
        subset_plan(8, 9, 320)


def test_the_repeat_matched_arm_repeats_its_human_text_as_the_arm_repeats_its_items() -> None:
    from tsqa.recipe import arms_of

    recipe = load_recipe(QUICKSTART, ["ablation.controls=[repeat_matched]"])
    arms = arms_of(recipe)

    def epochs(arm_recipe: Recipe) -> dict[object, object]:
        made = plan_of(arm_recipe, {"docs": 2703, "synthetic": 232})
        return {entry.source: entry.epochs for entry in made.describe()}

    synthetic, matched = (
        epochs(arms[name].recipe) for name in ("synthetic=0.5", "synthetic=0.5,repeat_matched")
    )
    assert matched["synthetic_as_docs"] == synthetic["synthetic"]
    assert matched["docs"] == synthetic["docs"] and "synthetic" not in matched
