"""Promises of tsqa.recipe: a value is what it seems, and YAML or references cannot run away."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.recipe_files import BASE, refusal, write
from tsqa.errors import RecipeError
from tsqa.recipe import Recipe, TrainSection, load_recipe
from tsqa.recipe.sections.base import Section

SECRET = "planted-4a1f-secret"
_NUMBERS = (int, float)


def sections_of(annotation: Any, seen: set[type[Section]]) -> Iterator[type[Section]]:
    """Every section that a type is made of."""
    arguments = getattr(annotation, "__args__", ())
    for argument in (annotation, *arguments):
        if isinstance(argument, type) and issubclass(argument, Section) and argument not in seen:
            seen.add(argument)
            yield argument
            for field in argument.model_fields.values():
                yield from sections_of(field.annotation, seen)
        elif argument is not annotation:
            yield from sections_of(argument, seen)


def schema_of(section: type[Section], name: str) -> dict[str, Any]:
    found: dict[str, Any] = schemas_of(section)[name]
    return found


@cache
def schemas_of(section: type[Section]) -> dict[str, Any]:
    found: dict[str, Any] = section.model_json_schema(by_alias=False)["properties"]
    return found


def numeric_keys() -> list[tuple[type[Section], str]]:
    """By pydantic's own schema, so that this does not follow the code that it tests."""
    keys = []
    for section in sections_of(Recipe, set()):
        for name in section.model_fields:
            schema = schema_of(section, name)
            kinds = {one.get("type") for one in (schema, *schema.get("anyOf", ()))}
            if kinds & {"integer", "number"}:
                keys.append((section, name))
    return keys


NUMERIC = numeric_keys()


def test_the_schema_has_numeric_keys_in_every_section_that_trains_or_asks() -> None:
    found = {f"{section.__name__}.{name}" for section, name in NUMERIC}
    assert len(found) > 70
    assert {"TrainSection.lr", "RewardSection.min_score", "EvalSection.confidence"} <= found
    assert {"Recipe.seed", "TrainSection.keep_every", "PhaseSection.tokens"} <= found


@pytest.mark.parametrize("value", [True, False, math.nan, math.inf, -math.inf, 2**64, -(2**64)])
@pytest.mark.parametrize(
    ("section", "name"), NUMERIC, ids=[f"{s.__name__}.{n}" for s, n in NUMERIC]
)
def test_every_numeric_key_refuses_what_is_no_number(
    section: type[Section], name: str, value: object
) -> None:
    assert name in refused_fields(section, name, value)


@pytest.mark.parametrize(
    ("section", "name"), NUMERIC, ids=[f"{s.__name__}.{n}" for s, n in NUMERIC]
)
def test_every_numeric_key_refuses_text_that_is_no_number(
    section: type[Section], name: str
) -> None:
    for value in ("yes", "true", "nan", ".inf", "1:30", "010", "0x10", "1 000", "", " ", "1,5"):
        assert name in refused_fields(section, name, value), value


@pytest.mark.parametrize(
    ("section", "name"),
    [
        (section, name)
        for section in sections_of(Recipe, set())
        for name in section.model_fields
        if schema_of(section, name).get("type") in ("array", "object")
        and '"type": "number"' in json.dumps(schema_of(section, name))
    ],
)
def test_lists_and_mappings_of_numbers_hold_numbers(section: type[Section], name: str) -> None:
    for value in (True, math.nan, math.inf, "yes"):
        assert name in refused_fields(section, name, [value, value])
        assert name in refused_fields(section, name, {"x": value})


def refused_fields(section: type[Section], name: str, value: object) -> set[str]:
    field = section.model_fields[name]
    try:
        section.model_validate({field.alias or name: value})
    except ValidationError as error:
        found = {str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}
        return {name if key == field.alias else key for key in found}
    return set()


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=1e-300, max_value=1e300))
def test_numbers_are_read_as_they_are_written(number: float) -> None:
    for text in (repr(number), f"{number:e}"):
        values = {"lr": text, "global_batch_tokens": 8, "sequence_length": 8}
        assert TrainSection.model_validate(values).lr == float(text)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("true", "expected a number"),
        ("yes", "expected a number"),
        (".nan", "finite"),
        (".inf", "finite"),
        ("-.inf", "finite"),
        ("!!float nan", "finite"),
        ("1e400", "finite"),
        ("1:30", "can be read as different numbers"),
        ("1:30.5", "can be read as different numbers"),
        ("010", "can be read as different numbers"),
        ("0b11", "can be read as different numbers"),
        ('"010"', "expected a number"),
        ("2024-01-01", "expected a number"),
        ('""', "empty"),
        ("' '", "empty"),
        ("???", "has no value"),
        ("9" * 5000, "is no number"),
        ("'${train.lr}'", "circle"),
        ("'${train}'", "circle"),
        ("'${oc.env:SECRET}'", "not the environment"),
    ],
)
def test_a_value_that_nobody_means_is_refused(tmp_path: Path, value: str, told: str) -> None:
    message = refusal(write(tmp_path, BASE.replace("lr: 1e-3", f"lr: {value}")))
    assert told in message and len(message) < 500
    assert ":15" in message or "line 15" in message


def test_a_reward_of_nan_and_a_ratio_of_true_are_refused(tmp_path: Path) -> None:
    assert "expected a number" in refusal(write(tmp_path, BASE), "mixture.web=true")
    path = write(tmp_path, BASE + "filter: {reward: {model: m, min_score: .nan}}\n")
    assert "filter.reward.min_score = nan: expected a finite number" in refusal(path)


@pytest.mark.parametrize(
    "key",
    [
        *("runs", "tracking.project", "tracking.entity", "model.path", "train.attention"),
        *("mixture.sources.web.path", "mixture.sources.web.text_field", "eval.include"),
        *("mixture.sources.web.split", "eval.system_instruction", "seeds.taxonomy"),
    ],
)
@pytest.mark.parametrize("value", ["", "  ", "a\0b", "a\x1b[31mb", "\ud800"])
def test_no_text_is_empty_or_unwritable(tmp_path: Path, key: str, value: str) -> None:
    given = f"'{value}'" if value.strip() == "" else value
    base = BASE + "eval: {tasks: [t]}\nseeds: {tasks: [t]}\n"
    assert f"override {key}" in refusal(write(tmp_path, base), f"{key}={given}")


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "b0: &b0 {x: 1}\n" + "".join(
    f"b{n + 1}: &b{n + 1} {{<<: [*b{n}, *b{n}, *b{n}, *b{n}]}}\n" for n in range(20)
)
TEXTS = f"b0: {'x' * 40}\n" + "".join(
    f"b{n + 1}: '${{b{n}}}${{b{n}}}${{b{n}}}'\n" for n in range(25)
)
TREES = "b0: {x: 1}\n" + "".join(
    f"b{n + 1}: {{x: '${{b{n}}}', y: '${{b{n}}}'}}\n" for n in range(28)
)


@pytest.mark.parametrize(
    "text",
    [
        *(BOMB, MERGES, TEXTS, TREES, "a: &a [*a]\n", "a: &a {b: *a}\n", "a: '${a}'\n"),
        *("a: " + "[" * 100_000 + "]" * 100_000 + "\n", "a: " + "{b: " * 5_000 + "}" * 5_000),
        "\n".join(" " * depth + "a:" for depth in range(3_000)),
        "".join(f"c{n}: '${{c{n + 1}}}'\n" for n in range(3_000)),
        f"a: [{', '.join(['x'] * 200_000)}]\n",
        "a: !!python/object/apply:os.system ['exit 1']\n",
        "a: !!python/name:os.system\n",
        "a: !!binary aGk=\n",
        "a: !!set {b}\n",
        "? [a]\n: b\n",
        "a: 1\n---\nb: 1\n",
        "a: *nothing\n",
        "a:\n\tb: 1\n",
        'a: "\\ud800"\n',
        "a: \0\n",
    ],
    ids=range(22),
)
def test_yaml_that_runs_away_or_runs_code_is_refused_at_once(tmp_path: Path, text: str) -> None:
    started = time.process_time()  # of the CPU, so that a busy machine is not taken for a slow one
    assert "recipe.yaml" in refusal(write(tmp_path, text + "\n" + BASE))
    assert time.process_time() - started < 10


def test_anchors_and_merged_keys_are_no_duplicates(tmp_path: Path) -> None:
    text = BASE.replace("{path: web.jsonl}", "&web {path: web.jsonl, text_field: body}").replace(
        "code: {path: code.jsonl}", "code: {<<: *web, path: code.jsonl}"
    )
    recipe = load_recipe(write(tmp_path, text))
    assert recipe.mixture is not None
    code = recipe.mixture.sources["code"]
    assert (code.path, code.text_field) == ("code.jsonl", "body")
    assert "given twice" in refusal(write(tmp_path, text + "name: again\n"))
    assert "given twice" in refusal(write(tmp_path, text), "eval={tasks: [a], tasks: [b]}")


@pytest.mark.parametrize(
    "raw",
    [
        *(BASE.encode("utf-16"), b"\xe9: 1\n", b"\xed\xa0\x80: 1\n", b"", b"[1]", b"text", b"5"),
        *(b"# only a comment\n", b"null", b"x" * (9 << 20)),
    ],
    ids=range(10),
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(raw)
    assert "recipe.yaml" in refusal(path)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + BASE.encode())
    assert load_recipe(path).name == "base"


def test_what_cannot_be_opened_is_the_recipes_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.yaml", tmp_path / ("a" * 300), tmp_path / "a\0b"):
        with pytest.raises(RecipeError):
            load_recipe(path)


@pytest.mark.parametrize("base", ['""', "' '", "5", "[a]", ".", "recipe.yaml", "a\\0", "a" * 5000])
def test_what_extends_nothing_is_refused(tmp_path: Path, base: str) -> None:
    given = f'"{base}"' if "\\" in base else base
    refusal(write(tmp_path, f"extends: {given}\n{BASE}"))


@pytest.mark.parametrize(
    "reference",
    [
        *("${oc.env:SECRET}", "x ${oc.env:SECRET} y", "${ oc.env : SECRET }", "${oc.env:'SECRET'}"),
        *("${oc.decode:${oc.env:SECRET}}", "${oc.${name}:SECRET}", "${oc.env:SECRET,x}"),
        *("\\\\${oc.env:SECRET}", "\\${oc.env:SECRET}", "${oc.select:x,${oc.env:SECRET}}"),
        *("${oc.env:SECRET", "${oc.create:'${oc.env:SECRET}'}", "${a}${oc.env:SECRET}"),
        *("${oc.deprecated:name}", "${.${name}}", "${oc.dict.values:train}"),
    ],
)
@pytest.mark.parametrize(
    "place", ["name", "runs", "tracking.project", "model.path", "train.attention", "axis", "arm"]
)
def test_the_environment_is_read_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, place: str
) -> None:
    monkeypatch.setenv("SECRET", SECRET)
    quoted = json.dumps(reference)
    text, overrides = BASE, [f"{place}={quoted}"]
    if place == "axis":
        overrides = ["ablation={control: {seed: 1}, axes: {model.path: [" + quoted + "]}}"]
    if place == "arm":
        overrides = ["ablation={control: c, arms: [{name: " + quoted + "}]}"]
    for path, sets in (
        (write(tmp_path, text), overrides),
        (write(tmp_path, f"{text}later: {quoted}\n", "other.yaml"), []),
    ):
        assert SECRET not in refusal(path, *sets)


def test_references_to_keys_are_followed(tmp_path: Path) -> None:
    text = BASE.replace("lr: 1e-3", "lr: 1e-3\n  eps: ${.lr}\n  weight_decay: ${train.eps}")
    recipe = load_recipe(write(tmp_path, text))
    assert recipe.train is not None
    assert recipe.train.eps == recipe.train.weight_decay == 1e-3


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("${seeed}", "${seeed}: this recipe sets no such key\n  fix: did you mean ${seed}?"),
        ("${global_batch_tokens}", "fix: did you mean ${train.global_batch_tokens}?"),
        ("${train.clip}", "${train.clip}: this recipe sets no such key\n  fix: write the value"),
        *(("${....seed}", "no such key"), ("${mixture.phases[9].tokens}", "no such key")),
        *(("${name.x}", "no such key"), ("${seed", "without its end"), ("${a b}", "no such key")),
        ("${mixture.phases.-9.tokens}", "no such key"),
    ],
)
def test_a_reference_to_nothing_is_named_with_its_line_and_a_fix(
    tmp_path: Path, reference: str, said: str
) -> None:
    text = f"seed: 3\n{BASE}".replace("lr: 1e-3", f"lr: {json.dumps(reference)}")
    line = 1 + text[: text.index("lr:")].count("\n")
    told = refusal(write(tmp_path, text))
    assert f"recipe.yaml:{line}: train.lr = {reference}: " in told and said in told
    assert "full_key" not in told


def test_an_escaped_reference_is_text_and_one_to_null_is_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, f"{BASE}tracking: {{project: '\\${{name}}', mode: disabled}}\n")
    assert "tracking.project = '${name}': a name begins" in refusal(path)
    path = write(tmp_path, f"{BASE}eval: null\naudit: ${{eval}}\n")
    assert load_recipe(path).audit is None


def test_ten_thousand_arms_are_refused_by_number_and_a_thousand_are_read(tmp_path: Path) -> None:
    def arms(count: int) -> str:
        listed = ",".join(f"{{name: a{n}, train.lr: {n + 1}e-6}}" for n in range(count))
        return f"{BASE}ablation: {{control: a0, arms: [{listed}]}}\n"

    started = time.process_time()
    assert "10,000 arms; 1,000 at most" in refusal(write(tmp_path, arms(10_000)))
    axes = ", ".join(f"k{n}: [{', '.join(map(str, range(100)))}]" for n in range(60))
    huge = f"{BASE}ablation: {{control: {{k0: 1}}, axes: {{{axes}}}}}\n"
    assert "1,000 at most" in refusal(write(tmp_path, huge))
    assert time.process_time() - started < 10
    assert load_recipe(write(tmp_path, arms(1_000))).ablation is not None


@pytest.mark.parametrize(
    "override",
    [
        *("=", "=5", ".=5", "train.=1", "train.lr", "mixture=5", "mixture.web=x", "mixture.web=[]"),
        *("mixture.phases=5", "mixture.phases.9.tokens=5", "mixture.phases=[1]", "name=\0"),
        *("train.lr=???", "train=[[[[", "seed=-1", "seed=4294967296", "ablation=5", "a.b.c=5"),
        *("model=null", "x" * 10_000 + "=1", "train.zero_stage=true", "train.betas=[true, 1]"),
        *("train.gradient_checkpointing=maybe", "train.gradient_checkpointing=2", "[0]=1"),
        *("train[=1", "train.lr[0]=1", "mixture.sources=[]", "mixture.sources.web=5", "\ud800=1"),
        *("eval={tasks: []}", "eval={tasks: t}", "eval={tasks: [t], confidence: 1}"),
        *("eval={tasks: [t], confidence: .nan}", "eval={tasks: [t], limit: -1}"),
        *("eval={tasks: [t], suite: ../../smoke/recipe}", "eval={suite: /etc/hostname.yaml}"),
    ],
)
def test_a_wrong_override_is_a_recipe_error(tmp_path: Path, override: str) -> None:
    refusal(write(tmp_path, BASE), override)
