"""Promises of tsqa.names: one line of text, never a path; two names are two files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.recipe_files import BASE, refusal, write
from tests.support.token_context import read_megatron, token_context, tokenize_all
from train.data.mixture import plan_of
from train.data.shards import stem_of
from train.data.stream import TokenStore
from tsqa.recipe import arms_of, file_name, load_recipe

_NAMES = st.text(
    st.characters(codec=None) | st.sampled_from("aA./\\%-~:\0\n\ud800éÉ"), min_size=0, max_size=200
)

ALLOWED = [
    *("HuggingFaceFW/fineweb", "a//b", "web", "Web", "WEB", "web.docs", "web.json", "a b"),
    *("manifest", "manifest.json", "tokenizer", "shards", "scratch", "permuted", "parts"),
    *("CON", "nul", "été", "Web é", "日本", "a%2fb", "x" * 100, "日" * 100, "日" * 99 + "x"),
    *("a:b", "tokenizer.tmp", "_x", "1", "a;b", "a&b"),
]
REFUSED = [
    *("", " ", ".", "..", "...", "/abs/x", "../x", "a/../b", "a/..", "./x", "-x", "~", "#x"),
    *(" x", "x ", "x\t", "a\nb", "a\tb", "a\x1bb", "a\x7fb", "a\x9bb", "a\u2028b"),
    *("\u202eabc", "a\u200bb", "a@b", "a - b", "a,b", "a=b", "a[0]", "a]b", "${b}", "a{b}"),
    *("e\u0301te\u0301", "\u212b"),
    *("x" * 101, "sources", "phases", "max_repetition", "decontaminate", "a\\b"),
]


@settings(max_examples=500, deadline=None)
@given(_NAMES, _NAMES)
def test_two_names_are_two_files_in_the_folder_itself(one: str, two: str) -> None:
    first, second = file_name(one), file_name(two)
    assert (first.casefold() == second.casefold()) == (one == two)
    for name in (first, second):
        assert name not in ("", ".", "..") and Path(name).name == name and len(name) <= 120
        assert name.isascii() and name.isprintable() and not set(name) & set('/\\:*?"<>| ')


def test_usual_names_stay_as_they_are() -> None:
    for name in ("web", "synthetic", "synthetic_as_docs", "fine-web.2024", "x_1"):
        assert file_name(name) == name


@pytest.mark.parametrize("name", ALLOWED)
def test_a_source_may_be_called_what_people_call_sources(tmp_path: Path, name: str) -> None:
    text = BASE.replace("web:", f"{json.dumps(name)}:")
    recipe = load_recipe(write(tmp_path, text))
    assert recipe.mixture is not None and name in recipe.mixture.sources


@pytest.mark.parametrize("name", REFUSED)
def test_a_source_that_could_be_mistaken_is_refused(tmp_path: Path, name: str) -> None:
    text = BASE.replace("web:", f"{json.dumps(name)}:")
    assert "name" in refusal(write(tmp_path, text))


@pytest.mark.parametrize(
    "name",
    [
        *("artifacts", "Artifacts", "wandb", "..", "a/b", "/a", "-a", "a b", "a\n", ".a", "é"),
        *("a" * 101, "a\0", ""),
    ],
)
def test_a_recipe_is_called_by_what_can_be_a_folder_beside_ours(tmp_path: Path, name: str) -> None:
    text = BASE.replace("name: base", f"name: {json.dumps(name)}")
    assert "recipe.yaml:1: name = " in refusal(write(tmp_path, text))


@pytest.mark.parametrize(
    "name",
    [
        *("base", "BASE", "compare", "x@25", "@", "a/b", "a - b", "a\nb", "a\rb", "a\tb", "-x"),
        *(" x", "x ", "", "x,seed=1", "x,seed=-2", "x" * 101, "\x1b[31mred", "a\u2028b", 5, True),
    ],
)
def test_an_arm_with_a_name_that_means_something_is_refused(
    tmp_path: Path, name: str | int
) -> None:
    arms = f"[{{name: c}}, {{name: {json.dumps(name)}, train.lr: 2e-3}}]"
    text = f"{BASE}ablation: {{control: c, arms: {arms}}}\n"
    assert "ablation" in refusal(write(tmp_path, text))


@pytest.mark.parametrize(
    "value", ["a@main", "a - b", "two\nlines", "\u202eabc", "x" * 300, " x", "\x85"]
)
def test_a_value_that_cannot_be_in_a_name_is_there_as_a_hash(tmp_path: Path, value: str) -> None:
    text = (
        f"{BASE}ablation:\n  control: {{model.path: some/model}}\n"
        f"  axes: {{model.path: [some/model, {json.dumps(value)}]}}\n"
    )
    first, second = arms_of(load_recipe(write(tmp_path, text)))
    assert first == "path=some/model"
    assert len(second) == len("path=") + 8 and second.isprintable()


@pytest.mark.parametrize("name", ["macro", "macro:mine", "a\nb", "", "a\x1b", " x"])
def test_a_task_is_no_row_of_ours(tmp_path: Path, name: str) -> None:
    text = f"{BASE}eval: {{tasks: [{json.dumps(name)}]}}\n"
    assert "eval.tasks" in refusal(write(tmp_path, text))


def test_sources_with_names_of_all_kinds_are_tokenized_and_read_back(tmp_path: Path) -> None:
    names = [*ALLOWED[:12], "CON", "été", "日" * 100]
    sources = {}
    for number, name in enumerate(names):
        path = tmp_path / f"{number}.jsonl"
        path.write_text(json.dumps({"text": f"the document of source number {number} " * 20}))
        sources[name] = {"path": str(path)}
    context = token_context(tmp_path, sources, train_on=tmp_path / "0.jsonl")
    made = tokenize_all(context)
    store = TokenStore(*(one.out for one in made))
    assert list(store.rows) == names and plan_of(context.recipe, store.rows)
    for number, name in enumerate(names):
        assert len(read_megatron(stem_of(made[number].out, name))) == 1
        assert store.origins(name, 0)[0]["file"].endswith(f"{number}.jsonl")
