"""Promises of the roles: who writes, who answers, what a vote counts, when models agree."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.faults.recipes import full_recipe
from tests.support.filter_records import read, record, vote
from tests.support.generation import artifact, generate_section, make_context, make_seed
from tests.support.paths import REPOSITORY
from tests.tsqa.generate.test_stage import Undecided, run_generate, teacher
from tests.tsqa.teachers.test_openai_engine import Reply, served
from tsqa.errors import RecipeError
from tsqa.filters.checks import check_agreement, check_models
from tsqa.generate import stage as generate
from tsqa.recipe import CascadeSection, Recipe, SolverSection, load_recipe, needed
from tsqa.records.candidate import read_candidate
from tsqa.records.candidate_file import read_records
from tsqa.records.votes import agreeing_models, count_votes
from tsqa.store.jsonl import write_jsonl

TWO_MODELS = REPOSITORY / "recipes" / "dataset" / "two_models.yaml"


def replying(answers: Sequence[str], asked: list[str], thoughts: str = "") -> Callable[..., Reply]:
    """A model that asks about one thing after another; `answers`: to what ends in a, and in b."""

    def reply(body: dict[str, Any], attempt: int) -> Reply:
        schema = body["response_format"]["json_schema"]["schema"]["properties"]
        if "question" in schema:
            asked.append("question")
            ending = "ab"[body["seed"] % 2]
            said = {"question": f"What is the thing {body['seed']}{ending}?"}
        else:
            asked.append("answer")
            is_a = re.findall(r"thing \d+([ab])\?", body["name"])[-1] == "a"
            said = {"reasoning": "One looks it up.", "answer": answers[0 if is_a else 1]}
        message = {"content": json.dumps(said)}
        if thoughts:
            message["reasoning_content"] = thoughts
        usage = {"prompt_tokens": 7, "completion_tokens": 3}
        choice = {"message": message, "finish_reason": "stop"}
        return 200, {}, json.dumps({"choices": [choice], "usage": usage})

    return reply


def test_the_recipe_with_two_models_keeps_what_both_answer_alike(tmp_path: Path) -> None:
    source = tmp_path / "seeds"
    source.mkdir()
    write_jsonl(source / "seeds.jsonl", (asdict(make_seed(number)) for number in range(4)))
    first: list[str] = []
    second: list[str] = []
    with (
        served(replying(("tin", "oak"), first)) as one,
        served(replying(("tin", "elm"), second, "Tin, elm, ... let me see.")) as two,
    ):
        changes = [
            f"generate.writer.urls=[{one.url}]",
            f"generate.solvers.1.teacher.urls=[{two.url}]",
            "generate.solvers.1.weight=2",
        ]
        recipe = load_recipe(TWO_MODELS, changes)
        section = needed(recipe.generate, "generate")
        context = make_context(tmp_path / "out", {"seeds": artifact(source)}, generate=section)
        summary: dict[str, Any] = generate.run(context)
    assert (first.count("question"), first.count("answer")) == (16, 16)
    assert (second.count("question"), second.count("answer")) == (0, 16)
    assert [row["teacher"] for row in summary["ledger"]] == ["writer", "solver0", "solver1"]
    records = list(read_records(tmp_path / "out" / "candidates.jsonl"))
    assert len(records) == 16 and not list((tmp_path / "out").glob("pass-*"))
    seen = set()
    for each in records:
        assert [vote.teacher for vote in each.votes] == ["solver0", "solver1"]
        assert [each.model_of(vote.teacher).model for vote in each.votes] == [
            "Qwen/Qwen3-235B-A22B-Instruct-2507",
            "deepseek-ai/DeepSeek-V3",
        ]
        assert [vote.weight for vote in each.votes] == [1, 2]
        assert [vote.trace for vote in each.votes] == ["", "Tin, elm, ... let me see."]
        assert each.sampling["answer"].max_tokens == each.sampling["solver1"].max_tokens == 2048
        assert each.sampling["solver1"].temperature == 0.6
        assert set(each.usage) == {"writer", "solver0", "solver1"}
        candidate = read_candidate(each)
        agree = each.votes[0].answer == each.votes[1].answer
        assert (check_models(candidate, 2) is None) == agree
        assert (check_agreement(candidate, 1.0) is None) == agree
        assert candidate.answer == ("tin" if agree else "elm")  # the vote of twice the weight
        seen.add(agree)
    assert seen == {True, False}


def test_one_teacher_asks_and_writes_as_before(tmp_path: Path) -> None:
    run_generate(tmp_path / "out", Undecided())
    lines = (tmp_path / "out" / "candidates.jsonl").read_text()
    assert not [name for name in ("solver", "weight", "trace", "top_k") if f'"{name}' in lines]
    log = (tmp_path / "out" / "teacher-completions.jsonl").read_text()
    assert "thoughts" not in log


def test_a_cascade_goes_by_the_weights_of_the_solvers(tmp_path: Path) -> None:
    solvers = [SolverSection(teacher=teacher(name), votes=3) for name in ("small", "other")]
    found = []
    for weight in (1.0, 1000.0):
        changed = [solvers[0].model_copy(update={"weight": weight}), solvers[1]]
        cascade = CascadeSection(teacher=teacher("strong"), agreement=0.99)
        out = tmp_path / str(weight)
        run_generate(out, Undecided(), solvers=changed, cascade=cascade)
        found.append(list(read_records(out / "candidates.jsonl")))
    for records in found:
        for each in records:
            roles = [vote.teacher for vote in each.votes]
            assert roles[:6] == ["solver0"] * 3 + ["solver1"] * 3
            assert {vote.teacher for vote in each.deciding_votes} <= {"solver0", "solver1"} or (
                roles[6:] == ["cascade"] * 3
            )
    light, heavy = (sum(each.cascade is not None for each in records) for records in found)
    assert 0 < heavy == light < len(found[0])  # all or nothing: either all six agree or none does


@given(st.lists(st.tuples(st.sampled_from(["x", "y", None]), st.sampled_from([0.1, 0.2, 0.3, 1]))))
def test_weights_are_counted_exactly(votes: list[tuple[str | None, float]]) -> None:
    classes, weights = [label for label, _ in votes], [weight for _, weight in votes]
    result = count_votes(classes, weights)
    sums = {
        label: sum(Fraction(str(w)) for c, w in votes if c == label)
        for label in set(classes) - {None}
    }
    if not sums:
        assert result.winner is None
        return
    assert result.winner is not None
    most = max(sums.values())
    assert sums[classes[result.winner]] == most
    assert result.is_tie == (list(sums.values()).count(most) > 1)
    assert result.agreement == float(most / sum(Fraction(str(w)) for w in weights))


def test_equal_weights_are_no_weights() -> None:
    classes = ["x", "y", "x", None]
    assert count_votes(classes) == count_votes(classes, [0.3] * 4)


@given(
    st.lists(st.tuples(st.sampled_from(["x", "y", None]), st.sampled_from("abc")), min_size=1),
    st.sampled_from("xy"),
)
def test_a_model_agrees_where_its_own_most_frequent_answer_won(
    votes: list[tuple[str | None, str]], winner: str
) -> None:
    classes, models = [label for label, _ in votes], [model for _, model in votes]
    expected = 0
    for model in set(models):
        own = [label for label, by in votes if by == model]
        others = [own.count(label) for label in {"x", "y"} - {winner}]
        expected += own.count(winner) > max(others)
    assert agreeing_models(classes, models, winner) == expected


def test_one_model_twice_is_one_model() -> None:
    def line(second: str) -> dict[str, Any]:
        votes = [vote("a", "x", teacher="solver0"), vote("b", "x", teacher="solver1")]
        models = {"solver0": "m", "solver1": second}
        refs = {r: {"model": m, "engine": "vllm", "form": "chat"} for r, m in models.items()}
        return record("c", "What is it?", votes=votes, solvers=refs)

    assert check_models(read(line("other")), 2) is None
    rejection = check_models(read(line("m")), 2)
    assert rejection is not None and rejection.score == 1
    served_and_loaded = check_models(read(line(f"m@{'0123456789abcdef0123' * 2}")), 2)
    assert served_and_loaded == rejection


@pytest.mark.parametrize("weight", [0, -1])
def test_a_vote_without_weight_is_no_vote(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        read(record("c", "What is it?", votes=[vote("a", "x", weight=float(weight))]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": None}, "give `teacher`"),
        ({"teacher": None, "writer": teacher("w")}, "give `solvers`"),
        ({"teacher": None, "solvers": [{"teacher": teacher("w")}]}, "give `writer`"),
        ({"writer": teacher("w"), "solvers": [{"teacher": teacher("s")}]}, "nothing to do"),
        ({"question": {"thinking_tokens": 9}}, "reasoning_parser"),
        (
            {
                "teacher": teacher("t").model_dump() | {"request": {"extra_body": {"top_k": 5}}},
                "answer": {"top_k": 9},
            },
            r"top_k \(teacher\) is given twice",
        ),
    ],
)
def test_every_role_is_filled_once(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        generate_section(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filter.model_agreement": 2}, "generate.cascade"),
        ({"filter.model_agreement": 2, "generate.cascade": None}, "1 model answers"),
        (
            {"filter.triviality": {}, "generate.teacher": None, "generate.writer": "teacher"},
            "filter.triviality needs a `teacher`",
        ),
        (
            {
                "filter.triviality": {"teacher": {"model": {"path": "weak"}}},
                "generate.cascade": None,
                "generate.teacher": {
                    "model": {"path": "thinks"},
                    "engine_args": {"reasoning_parser": "qwen3"},
                },
                "generate.answer": {"thinking_tokens": 9},
            },
            r"thinking_tokens \(filter\.triviality\)",
        ),
    ],
)
def test_filters_that_need_other_models_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    tree = full_recipe(tmp_path)
    for key, value in changes.items():
        section, _, name = key.partition(".")
        tree[section][name] = tree["filter"]["judge"]["teacher"] if value == "teacher" else value
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate(tree)


def test_the_roles_of_a_recipe_with_a_missing_prompt_name_its_key(tmp_path: Path) -> None:
    solver = SolverSection(teacher=teacher("s"), prompt="nowhere")
    with pytest.raises(RecipeError, match=r"generate\.solvers\.0\.prompt"):
        run_generate(tmp_path / "out", Undecided(), solvers=[solver])
