"""What an ablation promises before it runs: its arms, what they share, and named mistakes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import REPOSITORY
from tsqa.errors import RecipeError
from tsqa.pipeline.graph import build_graph
from tsqa.pipeline.node import Node
from tsqa.recipe import (
    FaithfulnessSection,
    FilterSection,
    NearestSection,
    Recipe,
    arms_of,
    control_of,
    load_recipe,
)
from tsqa.store.roles import SourceRole, format_role

QUICKSTART = REPOSITORY / "recipes" / "quickstart" / "recipe.yaml"


def ablated(folder: Path, **ablation: Any) -> tuple[Recipe, Path]:
    path = folder / "ablation.yaml"
    # Before it is extended, the quickstart's own axes would be merged with these.
    base = yaml.safe_load(QUICKSTART.read_text())
    del base["ablation"]
    base["extends"] = str(QUICKSTART.parent / "data.yaml")
    base["model"]["recipe"] = str(QUICKSTART.parent / "base.yaml")
    base["generate"]["teacher"]["model"]["recipe"] = str(QUICKSTART.parent / "teacher.yaml")
    path.write_text(yaml.safe_dump(base | {"ablation": ablation}, sort_keys=False))
    return load_recipe(path), path


def own_nodes(folder: Path, **ablation: Any) -> list[Node]:
    recipe, path = ablated(folder, **ablation)
    return [node for node in build_graph(recipe, path) if node.recipe.name == recipe.name]


def test_arms_that_differ_in_their_ratio_share_all_that_comes_before_training(
    tmp_path: Path,
) -> None:
    nodes = own_nodes(
        tmp_path,
        axes={"mixture.synthetic": [0, 0.125, 0.25, 0.375, 0.5]},
        seeds=[1, 2, 3],
        control={"mixture.synthetic": 0},
    )
    assert Counter(node.stage for node in nodes) == {
        **dict.fromkeys(("data", "benchmarks", "seeds", "guard", "generate", "filter"), 1),
        **dict.fromkeys(("tokenizer", "decontaminate", "compare"), 1),
        "tokenize": 2,
        "train": 15,
        "evaluate": 16,
    }
    labels = {"generate", "filter", "tokenize:docs", "tokenize:synthetic"}
    assert labels <= {node.label for node in nodes}
    roles = [format_role(role) for role in nodes[-1].inputs]
    assert roles[:2] == ["base", "arm:synthetic=0,seed=1"] and len(roles) == 19
    assert roles[16:] == ["filter:0", "documents:1", "documents:2"]


def test_an_axis_of_the_data_makes_its_stages_once_per_value_and_names_them(
    tmp_path: Path,
) -> None:
    nodes = own_nodes(
        tmp_path,
        axes={"generate.votes": [1, 5], "mixture.synthetic": [0.25, 0.5]},
        control={"generate.votes": 1, "mixture.synthetic": 0.25},
    )
    labels = {node.label for node in nodes}
    assert {"data", "seeds", "generate:votes=1", "generate:votes=5", "filter:votes=1"} <= labels
    assert {"tokenize:docs", "tokenize:synthetic votes=1", "train:votes=5,synthetic=0.5"} <= labels
    for node in nodes:
        if node.stage == "generate":
            assert node.recipe.generate and node.label.endswith(f"={node.recipe.generate.votes}")


@pytest.mark.parametrize(
    ("key", "values", "shared", "own"),
    [
        ("filter.agreement", [0.4, 0.8], "generate", "filter"),
        ("filter.renderings", [["qa"], ["qa", "qa"]], "generate", "filter"),
        ("seeds.tasks", [["mini_day"], ["mini_month", "mini_unit"]], "data", "seeds"),
        ("generate.prompts.question", ["plain", "similar"], "seeds", "generate"),
        ("generate.enrichment", [[], ["reasoning"]], "seeds", "generate"),
        ("filter.judge", [None, {"teacher": {"model": {"path": "judge"}}}], "generate", "filter"),
        ("train.lr", [1e-3, 2e-3], "tokenizer", "train"),
    ],
)
def test_any_key_is_an_axis(
    tmp_path: Path, key: str, values: list[Any], shared: str, own: str
) -> None:
    nodes = own_nodes(tmp_path, axes={key: values}, control={key: values[0]})
    count = Counter(node.stage for node in nodes)
    assert (count[shared], count[own], count["train"]) == (1, 2, 2)
    assert len({node.label for node in nodes}) == len(nodes)


def test_listed_arms_may_set_several_keys_and_stand_beside_the_axes(tmp_path: Path) -> None:
    recipe, _ = ablated(
        tmp_path,
        axes={"mixture.synthetic": [0, 0.5]},
        arms=[{"generate.votes": 1, "filter.agreement": 1.0}, {"name": "few", "generate.votes": 3}],
        control="synthetic=0",
    )
    arms = arms_of(recipe)
    assert list(arms) == ["synthetic=0", "synthetic=0.5", "votes=1,agreement=1.0", "few"]
    assert control_of(recipe) == "synthetic=0"
    few = arms["few"].recipe
    assert few.generate and few.generate.votes == 3 and arms["few"].values == {"generate.votes": 3}
    assert few.mixture and few.mixture.phases[0].ratios == {"docs": 0.5, "synthetic": 0.5}


def test_two_keys_with_one_tail_are_told_apart(tmp_path: Path) -> None:
    recipe, _ = ablated(
        tmp_path,
        arms=[{"generate.seed": 1}, {"seeds.seed": 2}, {"generate.question.max_tokens": 30}],
        control={"generate.seed": 1},
    )
    assert list(arms_of(recipe)) == ["generate.seed=1", "seeds.seed=2", "max_tokens=30"]


def test_all_arms_train_on_equally_many_tokens_unless_an_axis_says_otherwise(
    tmp_path: Path,
) -> None:
    recipe, _ = ablated(
        tmp_path,
        axes={"mixture.synthetic": [0, 0.25], "filter.agreement": [0.4, 0.8]},
        control={"mixture.synthetic": 0, "filter.agreement": 0.4},
        controls=["format_matched", "repeat_matched"],
    )
    budgets = {arm.recipe.mixture and arm.recipe.mixture.tokens for arm in arms_of(recipe).values()}
    assert budgets == {450_000}


def test_made_controls_follow_the_condition_with_most_synthetic_data(tmp_path: Path) -> None:
    recipe, path = ablated(
        tmp_path,
        axes={"mixture.synthetic": [0, 0.5, 0.25]},
        control={"mixture.synthetic": 0},
        controls=["format_matched", "repeat_matched", "seeds_repeated"],
        seeds=[1, 2],
    )
    arms = arms_of(recipe)
    assert {arm.condition for arm in arms.values() if "control" in arm.values} == {
        "synthetic=0.5,format_matched",
        "synthetic=0.5,repeat_matched",
        "synthetic=0.5,seeds_repeated",
    }
    permuted = arms["synthetic=0.5,format_matched,seed=2"].recipe.mixture
    repeated = arms["synthetic=0.5,repeat_matched,seed=1"].recipe.mixture
    assert permuted and permuted.sources["synthetic"].permute == "answers"
    assert repeated and repeated.phases[0].ratios == {"docs": 0.5, "synthetic_as_docs": 0.5}
    of_seeds = arms["synthetic=0.5,seeds_repeated,seed=1"].recipe.mixture
    assert of_seeds and of_seeds.sources["synthetic"].stage == "seeds"
    assert of_seeds.phases[0].ratios == {"docs": 0.5, "synthetic": 0.5}
    count = Counter(
        node.stage for node in build_graph(recipe, path) if node.recipe.name == recipe.name
    )
    assert (count["generate"], count["filter"], count["tokenize"]) == (1, 1, 4)
    reading = [n for n in build_graph(recipe, path) if "seeds" in n.inputs and "guard" in n.inputs]
    assert {node.stage for node in reading} == {"filter", "decontaminate", "tokenize"}


def test_human_text_near_the_seeds_takes_the_place_and_the_size_of_the_items(
    tmp_path: Path,
) -> None:
    ablation = {
        "axes": {"mixture.synthetic": [0, 0.5]},
        "control": {"mixture.synthetic": 0},
        "controls": ["nearest_human"],
    }
    recipe, path = ablated(tmp_path, **ablation)
    mixture = arms_of(recipe)["synthetic=0.5,nearest_human"].recipe.mixture
    assert mixture and mixture.phases[0].ratios == {"docs": 0.5, "synthetic_nearest": 0.5}
    near = mixture.sources["synthetic_nearest"]
    assert near.nearest == NearestSection(pool="docs") and near.size_of == "synthetic"
    own = [node for node in build_graph(recipe, path) if node.recipe.name == recipe.name]
    assert Counter(node.stage for node in own)["nearest"] == 1
    roles = {node.label: {*map(format_role, node.inputs)} for node in own}
    (chosen,) = (node for node in own if node.stage == "nearest")
    assert {"seeds", "guard", "decontaminate", "tokens:synthetic"} <= roles[chosen.label]
    pool = chosen.inputs["decontaminate"]
    assert pool.definition.part == "docs"
    trained = next(n for n in own if n.label == "train:synthetic=0.5,nearest_human")
    assert {"tokens:docs", "tokens:synthetic", "tokens:synthetic_nearest"} <= roles[trained.label]
    tokens = trained.inputs[SourceRole("synthetic_nearest")]
    assert tokens.inputs["nearest"] is chosen or tokens.inputs["nearest"].key == chosen.key
    assert tokens.inputs["decontaminate"].definition.part == "synthetic_nearest"
    looked = [node for node in own[-1].inputs.values() if node.recipe.name == recipe.name]
    checked = {node.definition.part for node in looked if node.definition.part}
    assert checked == {"docs", "synthetic_nearest"}
    recipe, _ = ablated(tmp_path, **ablation, nearest_human={"pool": "docs", "model": "org/m"})
    mixture = arms_of(recipe)["synthetic=0.5,nearest_human"].recipe.mixture
    assert mixture and mixture.sources["synthetic_nearest"].nearest == NearestSection(
        pool="docs", model="org/m"
    )


def test_the_same_teacher_tells_human_passages_again_as_an_arm_of_the_same_recipe(
    tmp_path: Path,
) -> None:
    _, path = ablated(
        tmp_path,
        axes={"mixture.synthetic": [0, 0.5]},
        control={"mixture.synthetic": 0},
        controls=["human_rephrased"],
    )
    of_questions = "filter={review: {max_error: 0.05}, decontaminate: {semantic: {model: org/m}}}"
    shorter, limit = "filter.faithfulness.shortest=0.1", "audit.max_copied=0.1"
    recipe = load_recipe(path, [of_questions, shorter, limit])
    arm = arms_of(recipe)["synthetic=0.5,human_rephrased"].recipe
    assert arm.audit is None, "its limits are of the recipe's own items"
    assert arm.seeds and arm.generate and arm.filter and recipe.generate and arm.mixture
    (source,) = arm.seeds.documents
    assert (source.name, source.path) == ("docs", "{data}/docs.jsonl")
    assert arm.seeds.max_per_task == 6 * 200 and not arm.seeds.tasks
    assert arm.generate.rephrase and arm.generate.teacher == recipe.generate.teacher
    asked, told = recipe.generate.question, arm.generate.question
    assert told == asked.model_copy(update={"max_tokens": 256}), "half of max_model_len, not 48"
    assert arm.generate.per_seed == 2 and arm.filter.agreement == FilterSection().agreement
    assert arm.filter.faithfulness.shortest == 0.1
    plain = arms_of(recipe)["synthetic=0.5"].recipe.filter
    assert plain and plain.faithfulness == FaithfulnessSection(), "no key of its fingerprint"
    assert arm.filter.review is None and arm.filter.decontaminate.semantic is None
    assert arm.mixture.phases[0].ratios == {"docs": 0.5, "synthetic": 0.5}
    recipe = load_recipe(path)
    count = Counter(n.stage for n in build_graph(recipe, path) if n.recipe.name == recipe.name)
    assert (count["seeds"], count["generate"], count["filter"], count["tokenize"]) == (2, 2, 2, 3)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"nearest_human": {"pool": "docs"}, "controls": []}, "list it in controls"),
        ({"nearest_human": {"pool": "synthetic"}}, r"nearest\.pool = 'synthetic' is no source"),
        (
            {"nearest_human": {"pool": "x"}, "controls": ["human_rephrased"]},
            r"pool = 'x' is no source with a `path`",
        ),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    ablation = {
        "axes": {"mixture.synthetic": [0, 0.5]},
        "control": {"mixture.synthetic": 0},
        "controls": ["nearest_human"],
    }
    with pytest.raises(RecipeError, match=expected):
        arms_of(ablated(tmp_path, **ablation | changes)[0])


@pytest.mark.parametrize(
    ("ablation", "expected"),
    [
        ({"axes": {}, "control": {}}, "give axes, arms, or both"),
        ({"axes": {"train.lr": [1e-3]}, "control": {"train.lr": 2e-3}}, "not in its axis"),
        ({"arms": [{"train.lr": 1e-3}], "control": {"train.lr": 2e-3}}, "is no condition"),
        ({"axes": {"train.lr": [1e-3]}, "control": "lr=2"}, r"use one of: lr=0\.001"),
        ({"axes": {"seed": [1, 2]}, "control": {"seed": 1}}, "ablation.seeds"),
        ({"axes": {"train.lr": [1e-3]}, "control": "lr=0.001", "seeds": [1, 1]}, "twice"),
    ],
)
def test_an_ablation_without_sense_is_refused_when_it_is_read(
    tmp_path: Path, ablation: dict[str, Any], expected: str
) -> None:
    with pytest.raises(RecipeError, match=expected):
        ablated(tmp_path, **ablation)


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        ([{"filter.agreemnt": 1}], "did you mean `agreement`"),
        ([{"filter.triviality.tries": 1}], "`filter.triviality` is None"),
        ([{"train.lr": 1e-3}, {"train.lr": 0.001}], "two conditions have the name `lr=0.001`"),
        ([{"train.lr": 2e-3}, {"train.clip": 1.0}], "are the same recipe"),
        ([{"mixture.synthetic": 2}], "ablation: synthetic=2: mixture.synthetic=2: expected"),
        ([{"name": "odd", "generate.votes": 0}], "arm odd: generate.votes"),
    ],
)
def test_an_arm_that_cannot_be_is_named(
    tmp_path: Path, arms: list[dict[str, Any]], expected: str
) -> None:
    recipe, _ = ablated(
        tmp_path, arms=arms, control={k: v for k, v in arms[0].items() if k != "name"}
    )
    with pytest.raises(RecipeError, match=expected):
        arms_of(recipe)


def test_a_made_control_needs_synthetic_data(tmp_path: Path) -> None:
    recipe, _ = ablated(
        tmp_path,
        arms=[{"mixture.synthetic": 0}],
        control="synthetic=0",
        controls=["format_matched"],
    )
    with pytest.raises(RecipeError, match="no condition draws from a source `from: filter`"):
        arms_of(recipe)


def test_a_ratio_on_the_command_line_means_the_ratio() -> None:
    recipe = load_recipe(QUICKSTART, ["mixture.synthetic=0.25"])
    assert recipe.mixture and recipe.mixture.phases[0].ratios == {"docs": 0.75, "synthetic": 0.25}
    with pytest.raises(RecipeError, match="share from 0 to 1"):
        load_recipe(QUICKSTART, ["mixture.synthetic=3"])
    with pytest.raises(RecipeError, match="unknown key"):
        load_recipe(QUICKSTART, ["mixture.synthetics=0.3"])
