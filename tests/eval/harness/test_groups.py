"""Documents that share a story are one draw; where nobody says so, the stems are found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.harness.groups import (
    ALONE,
    ALONE_SO_FAR,
    group_of,
    nothing_shared,
    propose_rule,
    rules_of,
    stems_note,
)
from tests.support.paths import REPOSITORY
from tests.support.tiny_eval import make_tasks
from tsqa.errors import DataError, RecipeError
from tsqa.recipe import EvalSection, load_recipe
from tsqa.tasks.library import task_library

QUICKSTART = REPOSITORY / "recipes" / "quickstart" / "recipe.yaml"


def svamp(stories: int, each: int) -> list[dict[str, object]]:
    """Word problems: each story is told with other numbers and other questions."""
    return [
        {
            "Body": f"Tom had {7 + k} apples in basket {chr(97 + s)} and {1.5 + k} pears more.",
            "Question": f"{'How many' if k else 'What share'} did he eat on day {s}?",
        }
        for s in range(stories)
        for k in range(each)
    ]


def questions(documents: list[dict[str, object]]) -> list[str]:
    return [f"{one['Body']} {one['Question']}" for one in documents]


def test_a_field_or_a_pattern_groups_documents_whatever_their_numbers() -> None:
    documents = svamp(5, 4)
    for rule in ("Body", r"/^(.*[.?!])\s/", "/basket [a-z]/"):
        groups = [
            group_of(d, q, rule) for d, q in zip(documents, questions(documents), strict=True)
        ]
        assert None not in groups
        assert [groups.index(group) // 4 for group in groups] == [n // 4 for n in range(20)]
    assert group_of(documents[0], "no story here", "/basket [a-z]/") is None
    assert group_of({"passage": "p"}, "q", None) == group_of({"passage": "p"}, "r", None)
    assert group_of(documents[0], "q", None) is None
    with pytest.raises(DataError, match=r"(?s)no text `Story`.*Body, Question"):
        group_of(documents[0], "q", "Story")


def test_shared_stems_are_found_and_the_key_is_named() -> None:
    documents = svamp(15, 4)
    found = propose_rule(documents, questions(documents))
    assert found == "60 of 60 documents share 15 stems; Body"
    note = stems_note("svamp", found)
    assert note.endswith('set eval.groups: {svamp: "Body"}') and "too narrow" in note
    one_field = [{"text": question} for question in questions(documents)]
    rule = propose_rule(one_field, questions(documents)).partition("; ")[2]
    grouped = {group_of(d, str(d["text"]), rule) for d in one_field}
    assert len(grouped) == 15
    stems = json.dumps(rule)
    recipe = load_recipe(QUICKSTART, [f"eval.groups={{mini_day: {stems}}}"])
    assert recipe.eval and recipe.eval.groups == {"mini_day": rule}


def test_a_rule_that_finds_no_two_alike_among_few_is_not_called_wrong() -> None:
    groups = ["a", "b", None, "c"]
    for limit, problem in ((None, ALONE), (5, ALONE), (4, ALONE_SO_FAR)):
        found = nothing_shared(groups, "Body", limit)
        assert found == f"{problem}; Body"
        note = stems_note("svamp", found)
        assert note.startswith(f"svamp: {problem} (Body), so each is a draw of its own")
        assert ("correct the rule" in note) is (problem == ALONE)
    nowhere = stems_note("svamp", nothing_shared([None] * 4, "/no such words/", 4))
    assert "no document has what eval.groups says (/no such words/)" in nowhere
    assert nowhere.endswith(": correct the rule")


def test_a_template_that_all_documents_share_is_no_stem() -> None:
    documents: list[dict[str, object]] = [
        {"text": f"Read this and answer in one word. What is {word}?"}
        for word in ("abc", "def", "ghi", "jkl", "mno") * 4
    ]
    for number, one in enumerate(documents):
        one["text"] = f"{one['text']} {chr(97 + number)}"
    assert propose_rule(documents, [str(one["text"]) for one in documents]) == ""


@pytest.mark.parametrize(
    ("rule", "problem"),
    [("/(/", "not a regular expression"), ("/abc", "stands between two slashes")],
)
def test_a_pattern_that_is_none_is_refused(rule: str, problem: str) -> None:
    with pytest.raises(RecipeError, match=problem):
        load_recipe(QUICKSTART, [f"eval.groups={{mini_day: {json.dumps(rule)}}}"])
    with pytest.raises(RecipeError, match=r"not in eval\.tasks"):
        load_recipe(QUICKSTART, ["eval.groups={other: question}"])


def test_a_rule_reaches_a_task_that_two_names_hold_whatever_their_order(tmp_path: Path) -> None:
    folder = make_tasks(tmp_path / "tasks", count=4)
    (folder / "both.yaml").write_text("group: both\ntask: [tiny_choice, tiny_number]\n")
    library = task_library(folder)
    for tasks in (["both", "tiny_choice"], ["tiny_choice", "both"]):
        section = EvalSection.model_validate({"tasks": tasks, "groups": {"tiny_choice": "a"}})
        assert rules_of(section, library) == {"tiny_choice": "a"}
        groups = {"tiny_choice": "a", "both": "b"}
        section = EvalSection.model_validate({"tasks": tasks, "groups": groups})
        with pytest.raises(RecipeError, match=r"tiny_choice is in .* which have other rules"):
            rules_of(section, library)
