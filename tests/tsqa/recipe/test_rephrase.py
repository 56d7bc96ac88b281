"""Rephrasings have no question, answer or vote: keys of these are refused, by name."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.support.paths import REPOSITORY
from tsqa.errors import RecipeError
from tsqa.generate.attributes import draw_style
from tsqa.recipe import RephraseSection, arms_of, load_recipe

RECIPE = REPOSITORY / "recipes" / "documents" / "rephrase.yaml"
SERVED = "{engine: openai, model: {path: m}, urls: [http://localhost:9]}"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("generate.writer", SERVED),
        ("generate.solvers", f"[{{teacher: {SERVED}}}]"),
        ("generate.cascade", f"{{teacher: {SERVED}}}"),
        ("generate.shots", "3"),
        ("generate.votes", "3"),
        ("generate.enrichment", "[reasoning]"),
        ("generate.answer", "{max_tokens: 9}"),
        ("generate.prompts", "{passage: fact_seeking}"),
        ("generate.attributes", "{persona: [a cook, a nurse]}"),
        ("filter.agreement", "0.5"),
        ("filter.model_agreement", "2"),
        ("filter.copy_similarity", "0.5"),
        ("filter.triviality", "{tries: 2}"),
        ("filter.judge", f"{{teacher: {SERVED}}}"),
        ("filter.reward", "{model: org/reward, min_score: 0}"),
        ("filter.code", "{}"),
        ("filter.difficulty", "{}"),
        ("filter.renderings", "[lesson]"),
    ],
)
def test_a_key_of_questions_is_refused_by_name(key: str, value: str) -> None:
    with pytest.raises(RecipeError, match=rf"generate\.rephrase: .*{key}"):
        load_recipe(RECIPE, [f"{key}={value}"])


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("seeds.documents.0.kind=number", r"seeds\.documents\.0\.kind"),
        ("seeds.tasks=[gsm8k]", r"only passages of seeds\.documents"),
        ("filter.faithfulness={shortest: 2, longest: 1}", "not above shortest"),
        ("generate.rephrase=null", r"filter\.faithfulness is of rephrasings"),
    ],
)
def test_what_rephrasings_need_is_checked(override: str, problem: str) -> None:
    with pytest.raises(RecipeError, match=problem):
        load_recipe(RECIPE, ["filter.faithfulness.kept=0.4", override])


@pytest.mark.parametrize(
    ("styles", "problem"),
    [
        ([], "name a style"),
        ({"faq": 0.5, "table": 0.4}, "sum to 0.9"),
        (["faq", "own/faq.jinja"], "one name"),
    ],
)
def test_styles_that_cannot_be_drawn_are_refused(
    styles: list[str] | dict[str, float], problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem):
        RephraseSection(styles=styles)


def test_a_control_with_exchanged_answers_is_refused() -> None:
    quickstart = load_recipe(REPOSITORY / "recipes" / "quickstart" / "recipe.yaml")
    tree = quickstart.model_dump(mode="json", by_alias=True)
    rephrasing = load_recipe(RECIPE).model_dump(mode="json", by_alias=True)
    tree |= {name: rephrasing[name] for name in ("seeds", "generate", "filter")}
    tree["ablation"]["controls"] = ["seeds_repeated"]
    assert len(arms_of(type(quickstart).model_validate(tree))) > len(quickstart.ablation.axes)  # type: ignore[union-attr]
    tree["ablation"]["controls"] = ["format_matched"]
    with pytest.raises(RecipeError, match=r"format_matched: .*sources\.synthetic\.permute"):
        arms_of(type(quickstart).model_validate(tree))


def test_styles_come_with_their_shares_and_two_of_a_passage_differ() -> None:
    section = RephraseSection(styles={"faq": 0.25, "table": 0.5, "math": 0.25})
    drawn = [draw_style(section, 0, f"s{n}", 0) for n in range(2000)]
    for style, share in section.shares.items():
        assert abs(drawn.count(style) / 2000 - share) < 0.04
    here, there = (RephraseSection(styles=[f"{at}/own.jinja", "faq"]) for at in ("a", "z"))
    for n in range(20):
        first, second = (draw_style(each, 0, f"s{n}", 0) for each in (here, there))
        assert first.removeprefix("a/") == second.removeprefix("z/")
    even = RephraseSection()
    pairs = [[draw_style(even, 0, f"s{n}", number) for number in (0, 1)] for n in range(200)]
    assert all(first != second for first, second in pairs)
