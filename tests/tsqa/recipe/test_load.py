"""Loading a recipe: `extends` and overrides resolve; errors name file, line, key and fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.recipe_files import BASE, load_extended, refusal, write
from tsqa.recipe import load_recipe


def test_a_valid_recipe_loads_with_units_and_defaults(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, BASE))
    assert recipe.mixture.phases[0].tokens == 1_000_000
    assert recipe.train.lr == 0.001
    assert recipe.train.global_batch_rows == 8


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


def test_extends_merges_and_an_override_wins(tmp_path: Path) -> None:
    recipe = load_extended(tmp_path, "name: child\ntrain: {lr: 2e-3}\n", "train.lr=3e-3", "seed=7")
    assert (recipe.name, recipe.train.lr, recipe.seed) == ("child", 0.003, 7)
    assert recipe.train.sequence_length == 8


def test_an_empty_mapping_takes_the_names_away_and_an_empty_section_changes_nothing(
    tmp_path: Path,
) -> None:
    named = "eval: {tasks: [a, b], macros: {m: [a]}, protocols: {a: {num_fewshot: 2}}}\n"
    base = write(tmp_path, f"{BASE}{named}", "named.yaml")
    child = write(
        tmp_path, "extends: named.yaml\nname: c\ntrain: {}\neval: {macros: {}}\n", "c.yaml"
    )
    recipe = load_recipe(child)
    assert (recipe.eval.macros, [*recipe.eval.protocols], recipe.train.lr) == ({}, ["a"], 1e-3)
    recipe = load_recipe(base, ["eval.protocols={}", "train={}", "eval.macros={n: [b]}"])
    assert (recipe.eval.protocols, [*recipe.eval.macros]) == ({}, ["m", "n"])
    recipe = load_recipe(base, ["eval={macros: {}, protocols: {b: {num_fewshot: 1}}}"])
    assert (recipe.eval.macros, [*recipe.eval.protocols]) == ({}, ["a", "b"])


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


def test_an_ablation_takes_nothing_from_the_one_that_is_extended(tmp_path: Path) -> None:
    control = "{mixture.web: 1}"
    text = f"ablation:\n  axes: {{mixture.web: [1, 0.5]}}\n  control: {control}\n"
    write(tmp_path, BASE + text, "base.yaml")
    child = write(tmp_path, "extends: base.yaml\nablation:\n  controls: [repeat_matched]\n")
    message = refusal(child)
    assert f"{child}:2: ablation.control: required key is missing" in message
    assert "takes nothing from that of a recipe that is extended" in message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("eval={tasks: mmlu}", "expected a list\n  fix: write [mmlu]"),
        ("train.lr=fast", "train.lr = 'fast': expected a number\n  fix: write it in digits"),
        ("name=my run", "starting with a letter or a digit, such as my-run"),
        ("lr=1e-3", "did you mean `train.lr`?"),
        ("train.checkpoint_every=1.5", "expected a whole number"),
        ("train.checkpoint_every='1.5'", "expected a whole number"),
        ("train.checkpoint_every=0.0001K", "expected a whole number"),
        ("mixture.phases.7.tokens=9", "out of range\n  fix: items of a list are named by"),
        ("seeds={tasks: [t], budget: {total: 9, capabilities: {a: 0.7, b: 0.7}}}", "sum to 1.4"),
    ],
)
def test_a_typical_slip_is_answered_with_the_fix(
    tmp_path: Path, override: str, message: str
) -> None:
    assert message in refusal(write(tmp_path, BASE), override)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train.clip: 1", "unknown key\n  fix: write it within its section, train: {clip: ...}"),
        ("train.schedule.kind: wsd", "train: {schedule: {kind: ...}}"),
        ("tracking: {mode: off}", "YAML reads yes, no, on and off as true and false"),
    ],
)
def test_a_slip_in_a_file_is_answered_with_the_fix(tmp_path: Path, line: str, message: str) -> None:
    assert message in refusal(write(tmp_path, f"{BASE}{line}\n"))


def test_every_count_takes_units(tmp_path: Path) -> None:
    seeds = "seeds={tasks: [t], max_per_task: 10K, budget: {total: 1.5M}}"
    recipe = load_recipe(write(tmp_path, BASE), [seeds, "train.checkpoint_every=2k"])
    assert recipe.seeds is not None and recipe.seeds.budget is not None
    assert (recipe.seeds.max_per_task, recipe.seeds.budget.total) == (10_000, 1_500_000)
    assert recipe.train is not None and recipe.train.checkpoint_every == 2000


def test_a_folder_names_its_recipe(tmp_path: Path) -> None:
    path = write(tmp_path, BASE)
    assert f"{tmp_path}: is a folder\n  fix: give {path}" in refusal(tmp_path)


def test_circular_extends_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "extends: b.yaml\n", "a.yaml")
    write(tmp_path, "extends: a.yaml\n", "b.yaml")
    assert "in a circle" in refusal(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x\nextends: nope.yaml\n", "recipe.yaml:2: extends = nope.yaml: no such recipe"),
        ("extends: [a]\n", "one recipe"),
    ],
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


def test_what_an_override_opens_it_closes(tmp_path: Path) -> None:
    for override in ("eval.tasks=[a", "name='x", 'name="x'):
        message = refusal(write(tmp_path, BASE), override)
        assert "not YAML" in message and "fix: close what is opened" in message
    load_recipe(write(tmp_path, BASE), ["mixture.sources.web.path={data}/docs.jsonl"])


def test_a_tab_is_told_with_its_fix(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "name: x\ntrain:\n\tlr: 1\n"))
    assert "line 3" in message and "indent with spaces" in message
