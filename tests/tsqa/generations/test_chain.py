"""Each generation is a recipe of its own, whose teacher is what the one before trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY
from tsqa.errors import RecipeError
from tsqa.generations.chain import write_chains
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import ModelSection, Recipe, load_recipe, needed, origins_of

RECIPE = REPOSITORY / "recipes" / "generations" / "recipe.yaml"
PEOPLE = RECIPE.with_name("people.yaml")
ANCHORED, ALONE = "anchored", "unanchored"


def recipe(folder: Path, *overrides: str) -> Recipe:
    return load_recipe(RECIPE, [f"runs={folder / 'runs'}", *overrides])


def students(files: list[Path]) -> list[ModelSection]:
    return [needed(load_recipe(file).model, "model") for file in files]


def test_a_generation_is_taught_by_the_model_of_the_one_before(tmp_path: Path) -> None:
    chains = write_chains(recipe(tmp_path))
    assert {arm: len(files) for arm, files in chains.items()} == {ANCHORED: 3, ALONE: 3}
    made = [load_recipe(file) for file in chains[ALONE]]
    for one, before in zip(made, [PEOPLE, *chains[ALONE]], strict=False):
        taught_by = needed(one.generate, "generate").writing[1].model
        assert Path(str(taught_by.recipe)).samefile(before)
    assert len({one.name for one in made}) == 3
    assert all(model.config for model in students(chains[ALONE])), "each from scratch"
    for arm, shares in ((ANCHORED, {0: 0.5}), (ALONE, {})):
        for number, file in enumerate(chains[arm], 1):
            found = {o.generation: o.share for o in origins_of(load_recipe(file)) if o.share}
            assert found == shares | {number: 1 - sum(shares.values())}


def test_a_student_that_begins_as_the_teacher_goes_on_from_the_last_model(tmp_path: Path) -> None:
    begun = ["model.config=null", "tokenizer=null", "generations.count=2"]
    chains = write_chains(recipe(tmp_path, *begun, f"model.recipe={PEOPLE}"))
    first, second = students(chains[ALONE])
    assert Path(str(first.recipe)).samefile(PEOPLE)
    assert Path(str(second.recipe)).samefile(chains[ALONE][0])
    base = REPOSITORY / "recipes" / "quickstart" / "base.yaml"
    chains = write_chains(recipe(tmp_path, *begun, f"model.recipe={base}"))
    assert all(Path(str(one.recipe)).samefile(base) for one in students(chains[ALONE]))


def test_equal_settings_give_equal_files(tmp_path: Path) -> None:
    files = write_chains(recipe(tmp_path))[ANCHORED]
    texts = [file.read_text() for file in files]
    write_chains(recipe(tmp_path))
    assert [file.read_text() for file in files] == texts


def test_arms_share_the_first_generation_s_items_and_no_later_ones(tmp_path: Path) -> None:
    chains = write_chains(recipe(tmp_path, "generations.count=2"))
    made = {}
    for arm, files in chains.items():
        nodes = Pipeline(load_recipe(files[1]), files[1], []).nodes
        for node in nodes:
            number = {files[0]: 1, files[1]: 2}.get(node.origin)
            if node.stage in ("filter", "train") and number:
                made[arm, number, node.stage] = node
    assert made[ANCHORED, 1, "filter"].fingerprint == made[ALONE, 1, "filter"].fingerprint
    for number, stage in ((1, "train"), (2, "filter"), (2, "train")):
        assert made[ANCHORED, number, stage].fingerprint != made[ALONE, number, stage].fingerprint
    for arm in chains:
        taught_by = made[arm, 2, "filter"].inputs["generate"].inputs["teacher"]
        assert taught_by.fingerprint == made[arm, 1, "train"].fingerprint


ENDPOINT = "{engine: openai, model: {path: m}, urls: [http://127.0.0.1:9/v1]}"
ALIKE = "[{name: a b, mixture.people: 0.5}, {name: a-b, mixture.people: 0.4}]"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["generations=null"], "no section `generations`"),
        (
            [
                "generate.teacher=null",
                f"generate.writer={ENDPOINT}",
                f"generate.solvers=[{{teacher: {ENDPOINT}}}]",
            ],
            "the teacher is an endpoint",
        ),
        (["train.heldout_rows=0"], r"stop.loss: cannot be measured: train.heldout_rows is 0"),
        (["mixture.sources.people.made_by=null", "ablation=null"], r"stop.loss: .*made_by: people"),
        ([f"ablation.arms={ALIKE}", "ablation.control=a b"], "two arms are one"),
    ],
)
def test_what_cannot_be_measured_or_served_is_refused_before_any_work(
    tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        write_chains(recipe(tmp_path, *overrides))
    assert not (tmp_path / "runs").exists()


def test_a_measure_without_a_limit_may_be_missing(tmp_path: Path) -> None:
    write_chains(recipe(tmp_path, "train.heldout_rows=0", "generations.stop.loss=null"))
