"""The recipe: wrong ones are refused whole, by file, line, key and fix; right ones resolve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tsqa.errors import DataError, RecipeError
from tsqa.recipe import (
    BASIS_POINTS,
    Arm,
    EvalSection,
    Recipe,
    arms_of,
    check_divisible,
    control_of,
    load_recipe,
    parse_tokens,
    rescale_ratios,
)
from tsqa.stage import StageContext
from tsqa.tracking import Tracker

BASE = """\
name: base
model:
  path: some/model
mixture:
  sources:
    web: {path: web.jsonl}
    code: {path: code.jsonl}
    synthetic: {path: synthetic.jsonl}
  phases:
    - tokens: 1M
      ratios: {web: 0.1, code: 0.2, synthetic: 0.7}
train:
  sequence_length: 8
  global_batch_tokens: 64
  lr: 1e-3
"""


def write(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def load_extended(folder: Path, text: str, *overrides: str) -> Recipe:
    write(folder, BASE, "base.yaml")
    return load_recipe(write(folder, "extends: base.yaml\n" + text), overrides)


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return str(caught.value)


def test_a_valid_recipe_loads_with_units_and_defaults(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, BASE))
    assert recipe.mixture.phases[0].tokens == 1_000_000
    assert recipe.train.lr == 0.001
    assert recipe.train.global_batch_rows == 8


@pytest.mark.parametrize(
    ("text", "tokens"), [("450_000", 450_000), ("25M", 25_000_000), ("1.5B", 1_500_000_000)]
)
def test_tokens_take_units(text: str, tokens: int) -> None:
    assert parse_tokens(text) == tokens


def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_name(tmp_path: Path) -> None:
    path = write(tmp_path, BASE + "  sequence_lenght: 16\n")
    message = refusal(path)
    assert f"{path}:16: train.sequence_lenght = 16: unknown key" in message
    assert "did you mean `sequence_length`?" in message


def test_an_unknown_key_with_no_near_name_lists_the_valid_ones(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, BASE + "zzz: 1\n"))
    assert "valid keys here: " in message and "mixture" in message


def test_several_problems_are_reported_at_once(tmp_path: Path) -> None:
    text = BASE.replace("lr: 1e-3", "lr: fast").replace("path: some/model", "pth: some/model")
    message = refusal(write(tmp_path, text + "nam: x\n"))
    for part in ("train.lr = 'fast'", "model.pth", "nam = 'x'", "did you mean `name`?"):
        assert part in message


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("synthetic: 0.7", "synthetic: 0.8", "ratios must sum to 1; 0.1 + 0.2 + 0.8 = 1.1"),
        ("synthetic: 0.7}", "synth: 0.7}", "names `synth`, which is not in sources"),
        ("web: 0.1, code: 0.2", "web: 0.10005, code: 0.19995", "finer than one basis point"),
        ("global_batch_tokens: 64", "global_batch_tokens: 60", "use 56"),
        ("lr: 1e-3", "lr: 1e-3\n  processes: 3", "train.processes 3; make global_batch_tokens"),
        ("lr: 1e-3", "lr: 1e-3\n  schedule: {warmup: 0.9}", "warmup + decay must not exceed 1"),
        ("path: some/model", "config: {hidden: 1}", "config needs `model_type`"),
        ("path: some/model", "path: a\n  recipe: b", "exactly one of path, recipe, config"),
        ("{path: synthetic.jsonl}", "{from: filter}", "but there is no `filter`"),
        ("train:", "train: 3\nx:", "train = 3"),
        ("name: base", "name: base\nname: again", "recipe.yaml:2: name: given twice"),
        ("name: base", "name: '${nothing}'", "nothing"),
        ("name: base", "name: '${open'", "recipe.yaml"),
        ("name: base", "name: [", "not YAML"),
    ],
)
def test_refusals_say_what_is_wrong(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in BASE
    assert expected in refusal(write(tmp_path, BASE.replace(old, new)))


def test_filter_needs_its_chain_and_an_evaluation(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, BASE + "filter: {}\n"))
    assert "`filter` needs the section `generate`" in message


def test_a_world_size_that_does_not_divide_names_the_multiple(tmp_path: Path) -> None:
    train = load_recipe(write(tmp_path, BASE)).train
    check_divisible(train, 4, "the launcher's")
    with pytest.raises(ValueError, match=r"the launcher's 3.*multiple of 24"):
        check_divisible(train, 3, "the launcher's")


def test_extends_merges_and_an_override_wins(tmp_path: Path) -> None:
    recipe = load_extended(tmp_path, "name: child\ntrain: {lr: 2e-3}\n", "train.lr=3e-3", "seed=7")
    assert (recipe.name, recipe.train.lr, recipe.seed) == ("child", 0.003, 7)
    assert recipe.train.sequence_length == 8


def test_an_override_reaches_into_a_list_and_keeps_placeholders(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(tmp_path, BASE),
        ["mixture.phases.0.tokens=5M", "mixture.sources.web.path={data}/docs.jsonl"],
    )
    assert recipe.mixture.phases[0].tokens == 5_000_000
    assert recipe.mixture.sources["web"].path == "{data}/docs.jsonl"


@pytest.mark.parametrize("override", ["train.lr", "=1", "a..b=1", "mixture.phases.9.tokens=1"])
def test_a_malformed_override_is_a_recipe_error(tmp_path: Path, override: str) -> None:
    assert f"override `{override}`" in refusal(write(tmp_path, BASE), override)


def test_a_wrong_override_is_blamed_on_the_override(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, BASE), "train.lr=fast", "train.batas=[1, 2]")
    assert "override train.lr = 'fast'" in message
    assert "override train.batas" in message and "did you mean `betas`?" in message


def test_an_error_in_the_extended_file_names_that_file(tmp_path: Path) -> None:
    base = write(tmp_path, BASE.replace("lr: 1e-3", "lr: -1"), "base.yaml")
    message = refusal(write(tmp_path, "extends: base.yaml\nname: child\ntrain: {eps: 1e-6}\n"))
    assert f"{base}:15: train.lr = -1" in message


def test_a_replaced_list_is_blamed_on_the_file_that_replaces_it(tmp_path: Path) -> None:
    write(tmp_path, BASE, "base.yaml")
    child = write(
        tmp_path, "extends: base.yaml\nmixture:\n  phases:\n    - {tokens: 0, ratios: {web: 1}}\n"
    )
    assert f"{child}:4: mixture.phases.0.tokens = 0" in refusal(child)


def test_circular_extends_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "extends: b.yaml\n", "a.yaml")
    write(tmp_path, "extends: a.yaml\n", "b.yaml")
    assert "in a circle" in refusal(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("extends: nope.yaml\n", "nope.yaml: no such recipe"), ("extends: [a]\n", "one recipe")],
)
def test_extends_of_nothing_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refusal(write(tmp_path, text))


def test_a_missing_recipe_and_a_list_are_refused(tmp_path: Path) -> None:
    assert "no such recipe" in refusal(tmp_path / "none.yaml")
    assert "found list" in refusal(write(tmp_path, "- 1\n"))
    assert "expected keys and values" in refusal(write(tmp_path, "", "empty.yaml"))


def test_recipe_references_are_relative_to_their_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    path = write(
        tmp_path / "sub", BASE.replace("path: some/model", "recipe: other.yaml"), "base.yaml"
    )
    assert load_recipe(path).model.recipe == str(tmp_path / "sub" / "other.yaml")


def test_runtime_fields_do_not_reach_the_data_config(tmp_path: Path) -> None:
    path = write(tmp_path, BASE)
    plain = load_recipe(path).data_config()
    runtime = ["train.processes=2", "train.log_every=1", "runs=/x", "tracking.mode=disabled"]
    assert load_recipe(path, runtime).data_config() == plain
    assert load_recipe(path, ["train.lr=2e-3"]).data_config() != plain
    assert "processes" not in plain["train"] and "runs" not in plain


ABLATION = """
ablation:
  axes:
    mixture.synthetic: [0.0, 0.4, 0.7]
    train.lr: [1e-3, 2e-3]
  control: {mixture.synthetic: 0, train.lr: 1e-3}
"""


def test_arms_are_the_product_of_the_axes_and_the_control_is_one_of_them(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, BASE + ABLATION))
    arms = arms_of(recipe)
    assert len(arms) == 6
    assert control_of(recipe) in arms
    assert arms[control_of(recipe)].recipe.mixture.phases[0].ratios["synthetic"] == 0
    assert all(arm.recipe.ablation is None for arm in arms.values())


def test_each_condition_runs_once_per_seed(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, BASE + ABLATION + "  seeds: [3, 4]\n"))
    arms = arms_of(recipe)
    assert len(arms) == 12
    assert {arm.condition for arm in arms.values()} == {
        name.rpartition(",seed=")[0] for name in arms
    }
    assert all(arm.recipe.seed == arm.seed for arm in arms.values())
    assert control_of(recipe) in {arm.condition for arm in arms.values()}


def test_an_arm_at_the_recipes_own_values_is_the_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, BASE + ABLATION))
    same = arms_of(recipe)["synthetic=0.7,lr=1e-3"].recipe
    assert same.data_config() == {**recipe.data_config(), "ablation": None}


def test_without_an_ablation_there_is_one_arm(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, BASE))
    assert arms_of(recipe) == {"main": Arm("main", "main", recipe.seed, recipe)}
    assert control_of(recipe) == "main"


@pytest.mark.parametrize(
    ("axis", "value", "expected"),
    [
        ("train.lrr", 1, r"train\.lrr: no such key: `lrr`\n  fix: did you mean `lr`"),
        ("mixture.synthetik", 0.5, "did you mean `synthetic`"),
        ("mixture.synthetic", 1.5, "share from 0 to 1"),
        ("mixture.synthetic", 0.00005, "whole basis points"),
        ("mixture.synthetic", "many", "expected a number"),
        ("train.lr", -1, "arm lr=-1: train.lr"),
    ],
)
def test_an_arm_that_cannot_be_is_refused(
    tmp_path: Path, axis: str, value: Any, expected: str
) -> None:
    text = f"ablation: {{axes: {{{axis}: [{value}]}}, control: {{{axis}: {value}}}}}\n"
    with pytest.raises(RecipeError, match=expected):
        arms_of(load_recipe(write(tmp_path, BASE + text)))


def test_a_control_outside_its_axis_is_refused(tmp_path: Path) -> None:
    text = BASE + "ablation: {axes: {train.lr: [1, 2]}, control: {train.lr: 3}}\n"
    assert "is not in its axis" in refusal(write(tmp_path, text))


@st.composite
def mixtures(draw: st.DrawFn) -> dict[str, int]:
    names = draw(st.lists(st.sampled_from("abcdef"), min_size=2, unique=True))
    cuts = draw(st.lists(st.integers(0, BASIS_POINTS), min_size=len(names) - 1))
    edges = [0, *sorted(cuts[: len(names) - 1]), BASIS_POINTS]
    return {name: edges[i + 1] - edges[i] for i, name in enumerate(names)}


@given(mixtures(), st.integers(0, BASIS_POINTS))
def test_rescaling_sums_to_one_and_keeps_proportions(points: dict[str, int], share: int) -> None:
    source, *others = points
    assume(sum(points[name] for name in others) > 0)
    ratios = {name: value / BASIS_POINTS for name, value in points.items()}
    scaled = rescale_ratios(ratios, source, share / BASIS_POINTS)
    after = {name: round(value * BASIS_POINTS) for name, value in scaled.items()}
    assert all(value == after[name] / BASIS_POINTS for name, value in scaled.items())
    assert sum(after.values()) == BASIS_POINTS
    assert after[source] == share
    total, left = sum(points[name] for name in others), BASIS_POINTS - share
    for name in others:  # each is within the rounding, all of which the largest takes
        assert abs(after[name] - left * points[name] / total) <= len(others)


@given(mixtures())
def test_rescaling_to_the_share_it_has_changes_nothing(points: dict[str, int]) -> None:
    source, *others = points
    assume(sum(points[name] for name in others) > 0)
    ratios = {name: value / BASIS_POINTS for name, value in points.items()}
    assert rescale_ratios(ratios, source, ratios[source]) == ratios


def test_rescaling_without_another_source_is_refused() -> None:
    with pytest.raises(RecipeError, match="no other source takes the rest"):
        rescale_ratios({"a": 1.0}, "a", 0.5)
    assert rescale_ratios({"a": 1.0}, "a", 1.0) == {"a": 1.0}


def test_data_paths_need_a_data_section(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, BASE))
    context = StageContext(recipe, {}, tmp_path, Tracker.silent())
    assert context.resolve("plain.jsonl") == Path("plain.jsonl")
    with pytest.raises(DataError, match="no `data` section"):
        context.resolve("{data}/docs.jsonl")


def test_a_suite_gives_tasks_and_macros_and_own_keys_win(tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text("eval: {tasks: [a, b], num_fewshot: 5, macros: {both: [a, b]}}\n")
    section = EvalSection.model_validate({"suite": str(suite), "num_fewshot": 0})
    assert (section.tasks, section.num_fewshot, section.macros) == (
        ["a", "b"],
        0,
        {"both": ["a", "b"]},
    )
    assert len(EvalSection.model_validate({"suite": "published"}).macros) == 3
    with pytest.raises(RecipeError, match=r"eval.suite: typo: no such suite\n.*known: .*published"):
        EvalSection.model_validate({"suite": "typo"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"macros": {"m": ["c"]}}, "macros.m names `c`, which is not in eval.tasks"),
        ({"macros": {"a": ["b"]}}, "macros.a has the name of another row"),
        ({"macros": {"m": []}}, "macros.m has no tasks"),
        ({"system_instruction": "Be brief."}, "system_instruction needs eval.chat_template"),
    ],
)
def test_an_eval_section_that_does_not_fit_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        EvalSection.model_validate({"tasks": ["a", "b"], **changes})
