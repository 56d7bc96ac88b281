"""Promises of difficulty: models count alike, the target is kept, ids alone decide what stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from fractions import Fraction

import pytest
import yaml
from pydantic import ValidationError

from tests.support.filter_records import read, record, vote
from tsqa.filters.advice import Failure, advise, find_failure
from tsqa.filters.difficulty import (
    find_limits,
    found_by,
    label_difficulty,
    label_of,
    place_of,
)
from tsqa.recipe import DifficultySection, Recipe
from tsqa.records.candidate import Candidate, Rejection, Verdict

COMMIT = "@" + "0123456789abcdef0123" * 2


def voted(name: str, weak: Sequence[str | None], strong: Sequence[str | None]) -> Candidate:
    """An item that two models answered, the second of which weighs more."""
    votes = [vote(f"{name}.w{n}", a, teacher="solver0") for n, a in enumerate(weak)]
    votes += [vote(f"{name}.s{n}", a, teacher="solver1", weight=5) for n, a in enumerate(strong)]
    solvers = {
        role: {"model": model, "engine": "vllm", "form": "chat"}
        for role, model in (("solver0", "org/weak"), ("solver1", f"org/strong{COMMIT}"))
    }
    return read(record(name, f"What is {name}?", votes=votes, solvers=solvers))


@pytest.mark.parametrize(
    ("weak", "strong", "label"),
    [
        (["x"], ["x", "x", "x", "x"], "easy"),
        (["y"], ["x", "x", "x", "x"], "medium"),
        ([None], ["x", "x", "x", "z"], "hard"),
        (["x", "y"], ["x"], "easy"),
        (["x", "y", "y"], ["x"], "medium"),
    ],
)
def test_labels_count_each_model_the_same(
    weak: list[str | None], strong: list[str], label: str
) -> None:
    shares = found_by(voted("a", weak, strong))
    assert shares == {
        "org/weak": Fraction(weak.count("x"), len(weak)),
        "org/strong": Fraction(strong.count("x"), len(strong)),
    }
    assert label_of(shares) == label


def test_options_are_compared_by_place_and_code_has_no_label() -> None:
    choice = read(record("c", "Which?", ["red", "red", "blue"], choices=["red", "blue"]))
    assert found_by(choice) == {"m": Fraction(2, 3)}
    code = read(record("p", "Write f", ["def f(): 1", "def f(): 2"], kind="code", tests="assert f"))
    (labelled, rejection), *_ = label_all([code], DifficultySection())
    assert labelled.scores["difficulty"] == "unlabelled" and rejection is None


def label_all(candidates: list[Candidate], section: DifficultySection) -> Iterator[Verdict]:
    return label_difficulty(candidates, find_limits(map(place_of, candidates), section))


def mixed() -> list[Candidate]:
    easy = [voted(f"e{n}", ["x"], ["x"]) for n in range(40)]
    medium = [voted(f"m{n}", ["y"], ["x"]) for n in range(20)]
    hard = [voted(f"h{n}", ["y"], ["x", "x", "z"]) for n in range(6)]
    return [*easy, *medium, *hard]


def test_without_a_target_all_stay_with_their_labels() -> None:
    verdicts = list(label_all(mixed(), DifficultySection()))
    assert all(rejection is None for _, rejection in verdicts)
    labels = Counter(each.scores["difficulty"] for each, _ in verdicts)
    assert labels == {"easy": 40, "medium": 20, "hard": 6}
    assert verdicts[-1][0].scores["found_by"] == {"org/weak": 0.0, "org/strong": 0.6667}


def test_the_rarest_label_bounds_the_others_and_ids_decide() -> None:
    target = DifficultySection(easy=0.2, medium=0.5, hard=0.3)
    verdicts = list(label_all(mixed(), target))
    kept = {each.id: each.scores["difficulty"] for each, rejection in verdicts if rejection is None}
    assert Counter(kept.values()) == {"easy": 4, "medium": 10, "hard": 6}
    reasons = Counter(rejection.reason for _, rejection in verdicts if rejection)
    assert reasons == {"more easy items than wanted": 36, "more medium items than wanted": 10}
    backwards = label_all(mixed()[::-1], target)
    assert {each.id for each, rejection in backwards if rejection is None} == kept.keys()


def test_a_label_that_nobody_has_rejects_all_with_the_advice() -> None:
    easy = [each for each in mixed() if each.id[0] == "e"]
    verdicts = list(label_all(easy, DifficultySection(easy=0.5, medium=0.5, hard=0.0)))
    reasons = {rejection.reason for _, rejection in verdicts if rejection}
    assert len(verdicts) == 40 and reasons == {"more easy items than wanted"}
    assert "filter.difficulty" in advise("difficulty: more easy items than wanted")


@pytest.mark.parametrize("shares", [{"easy": 1.0}, {"easy": 0.5, "medium": 0.5, "hard": 0.5}])
def test_shares_are_whole(shares: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="which sum to 1"):
        DifficultySection(**shares)


@pytest.mark.parametrize(
    ("shares", "agreement", "votes", "refused"),
    [
        ("{easy: 0.5, medium: 0.5, hard: 0}", 0.8, 5, "medium"),
        ("{easy: 0.5, medium: 0.5, hard: 0}", 0.6, 5, ""),
        ("{easy: 0.5, medium: 0.3, hard: 0.2}", 0.6, 5, "hard"),
        ("{easy: 0.5, medium: 0.5, hard: 0}", 0.1, 1, "medium"),
        ("{easy: 1, medium: 0, hard: 0}", 0.8, 5, ""),
        ("{}", 0.8, 5, ""),
    ],
)
def test_a_label_that_agreement_excludes_is_refused(
    shares: str, agreement: float, votes: int, refused: str
) -> None:
    tree = {
        "name": "x",
        "seeds": {"tasks": ["a"]},
        "generate": {"teacher": {"model": {"path": "t"}}, "votes": votes},
        "filter": {"agreement": agreement, "difficulty": yaml.safe_load(shares)},
        "eval": {"tasks": ["b"]},
    }
    with pytest.raises(ValidationError, match=refused) if refused else nullcontext():
        Recipe.model_validate(tree)


def test_advice_names_the_key_of_the_model_that_failed() -> None:
    refused = "error: 400 Unsupported parameter: thinking_token_budget"
    asked = read(record("q", "", parse_error=refused, votes=[]))
    failed = vote("v", None, teacher="solver1", error=refused)
    answered = read(record("v", "What?", votes=[failed]))
    plain = read(record("j", "What?"))
    cases = [
        (asked, Rejection(refused), "generate.writer"),
        (answered, Rejection("no readable answer"), "generate.solvers.1.teacher"),
        (plain, Rejection("no judgement", match=refused), "filter.judge.teacher"),
        (
            plain,
            Rejection("not tried", match="400 Unsupported parameter: thinking_token_budget"),
            "filter.triviality.teacher",
        ),
    ]
    for candidate, rejection, key in cases:
        found = find_failure(candidate, rejection, "writer", "weak")
        assert found == Failure("400 Unsupported parameter: thinking_token_budget", key)
        said = advise(f"format: {rejection.reason}", found)
        assert said == f"set {key}.request.omit to [thinking_token_budget]"
    assert find_failure(plain, Rejection("too short"), "writer", "weak") is None
    assert "filter.judge.prompt" in advise("judge: no judgement")
