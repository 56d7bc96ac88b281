"""Promises of the checks that ask a model: triviality, the judge, the reward model."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.support.filter_records import candidate
from tests.support.generation import FakeEngine, make_seed
from tsqa.errors import EngineError
from tsqa.filters.asking import judge
from tsqa.filters.reward import score_reward
from tsqa.filters.triviality import Trial, find_trivial
from tsqa.prompts import CRITERIA, load_prompts
from tsqa.recipe import ModelSection, RewardSection, SamplingSection, TeacherSection
from tsqa.records.candidate import Candidate, Rejection, Verdict
from tsqa.records.seed import SeedIndex
from tsqa.store.jsonl import write_jsonl
from tsqa.teachers import Completion, RefusedError, Request
from tsqa.teachers import client as asking
from tsqa.teachers.client import Asker

RUBRIC = """---
id: rubric
version: 1
kind: any
---
Question: {{ question }}
Passage: {{ context }}
Options: {{ choices | join(", ") }}
Answer: {{ answer }}
Reasoning: {{ reasoning }}
Grades:
"""
PLAIN = """---
id: plain
version: 1
kind: any
---
{% for shot in shots %}Q: {{ shot.question }}
A: {{ shot.answer }}
{% endfor %}P: {{ context }}
O: {{ choices | join("|") }}
K: {{ kind }}{{ enrichment | join }}
Q: {{ question }}
A:
"""


class Scripted(FakeEngine):
    def __init__(self, reply: Callable[[Request], str]) -> None:
        super().__init__()
        self.reply = reply
        self.requests: list[Request] = []

    def complete(self, request: Request) -> Completion:
        self.requests.append(request)
        text = self.reply(request)
        return Completion(request.id, text, 7, 2, "stop" if text else "prompt_too_long")


def scripted(monkeypatch: pytest.MonkeyPatch, reply: Callable[[Request], str]) -> Scripted:
    engine = Scripted(reply)
    monkeypatch.setattr(asking, "open_engine", lambda *_: nullcontext(engine))
    return engine


def asker(folder: Path, role: str = "judge") -> Asker:
    section = TeacherSection(model=ModelSection(path="m"), dollars_per_million_output_tokens=1e6)
    return Asker(role, section, "m", "abc", "completion", 0, folder)


def prompts(folder: Path, role: Any, source: str) -> Any:
    path = folder / "own.jinja"
    path.write_text(source, encoding="utf-8")
    return load_prompts(str(path), role, "key")


def grades(**low: int) -> str:
    return json.dumps({criterion: low.get(criterion, 5) for criterion in CRITERIA})


def judged(folder: Path, items: list[Candidate], asking_with: Asker) -> list[Verdict]:
    return list(judge(items, asking_with, prompts(folder, "judge", RUBRIC), 4))


def test_the_judge_rejects_by_the_lowest_grade_and_keeps_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reply(request: Request) -> str:
        if "bad" in request.prompt:
            return grades(grounded=2, complete=3)
        return "" if "long" in request.prompt else grades(unbiased=4)

    engine = scripted(monkeypatch, reply)
    items = [candidate(f"Is it {word}?", name=word) for word in ("good", "bad", "long")]
    judging = asker(tmp_path)
    (good, bad, long) = judged(tmp_path, items, judging)
    assert good[1] is None and good[0].scores["judge"]["unbiased"] == 4
    assert bad[1] == Rejection("not grounded", 2.0)
    assert bad[0].scores["judge"] == json.loads(grades(grounded=2, complete=3))
    assert long[1] == Rejection("no judgement", match="prompt_too_long")
    assert all(request.temperature == 0 for request in engine.requests)
    assert judging.ledger[0].output_tokens == 6 and judging.ledger[0].dollars == 6.0


class Failing(Scripted):
    def complete(self, request: Request) -> Completion:
        done = super().complete(request)
        fails = "bad" in request.prompt
        return dataclasses.replace(done, finish_reason="error: 503 down") if fails else done


def test_items_without_a_judgement_are_an_error_or_rejected_where_so_many_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Failing(lambda _: grades())
    monkeypatch.setattr(asking, "open_engine", lambda *_: nullcontext(engine))
    items = [candidate(f"Is it {word}?", name=word) for word in ("good", "bad")]
    judging = asker(tmp_path)
    judging.allowed_key = "filter.judge.allow_failed"
    with pytest.raises(RefusedError, match=r"1 of 2 (.|\n)*filter\.judge\.allow_failed"):
        judged(tmp_path, items, judging)
    judging.allowed = 0.5
    (good, bad) = judged(tmp_path, items, judging)
    assert good[1] is None and bad[1] == Rejection("no judgement", match="error: 503 down")
    assert judging.ledger[0].unanswered == {"503 down": 1}
    assert engine.asked == 3  # what was answered is not asked again


def test_an_item_that_could_not_be_tried_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Failing(lambda _: " 5\n")
    monkeypatch.setattr(asking, "open_engine", lambda *_: nullcontext(engine))
    items = [candidate(f"How {n}?", "18", name=n, kind="number") for n in ("good", "bad")]
    weak = trial(tmp_path, 2, hides_context=False)
    weak.asker.allowed = 0.5
    verdicts = list(find_trivial(items, weak))
    assert [rejection for _, rejection in verdicts] == [
        None,
        Rejection("not tried", match="503 down"),
    ]


def test_a_second_run_asks_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = scripted(monkeypatch, lambda _: grades())
    items = [candidate(f"Is it {n}?", name=str(n)) for n in range(20)]
    first = judged(tmp_path, items, asker(tmp_path))
    assert judged(tmp_path, items, asker(tmp_path)) == first
    assert [found.id for found, _ in first] == [item.id for item in items]
    assert engine.asked == 20


def trial(folder: Path, tries: int, hides_context: bool) -> Trial:
    seeds = [dataclasses.asdict(make_seed(n, task="mini_day")) for n in range(2)]
    write_jsonl(folder / "seeds.jsonl", seeds)
    return Trial(
        asker(folder, "weak"),
        prompts(folder, "answer", PLAIN),
        SamplingSection(temperature=0.8, max_tokens=32),
        SeedIndex(folder / "seeds.jsonl"),
        tries,
        hides_context,
    )


def test_what_every_try_of_the_weak_model_solves_is_trivial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reply(request: Request) -> str:
        is_first = request.seed % 2
        return " 18.0\n" if "easy" in request.prompt or is_first else " 5\n"

    engine = scripted(monkeypatch, reply)
    names = ["easy", *(f"hard{n}" for n in range(6))]
    items = [candidate(f"How {name}?", "18", name=name, kind="number") for name in names]
    verdicts = list(find_trivial(items, trial(tmp_path, 8, hides_context=False)))
    assert verdicts[0][1] == Rejection("solved by the weak model", 1.0)
    assert [rejection for _, rejection in verdicts[1:]] == [None] * 6
    assert all(0 < found.scores["solved_weakly"] < 1 for found, _ in verdicts[1:])
    assert len({request.seed for request in engine.requests}) == 8 * 7
    assert "Q: What is thing 0?\nA: answer 0" in engine.requests[0].prompt


def test_options_are_shuffled_per_try_and_mapped_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Always the option shown first: right only where the order says so.
    engine = scripted(monkeypatch, lambda r: r.prompt.split("O: ")[1].split("|")[0])
    item = candidate("Which?", "tea", choices=["sea", "tea", "pea"], kind="choice")
    [(found, rejection)] = find_trivial([item], trial(tmp_path, 12, hides_context=False))
    orders = [request.prompt.split("O: ")[1].split("\n")[0] for request in engine.requests]
    assert len(set(orders)) > 1
    first = sum(order.startswith("tea") for order in orders)
    assert rejection is None and found.scores["solved_weakly"] == first / 12 > 0


def test_the_teacher_is_asked_without_the_passage_and_only_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = scripted(monkeypatch, lambda _: " Paris\n")
    items = [
        candidate("Where does she live?", "Paris", name="a", context="Ann moved to Paris."),
        candidate("Where does he live?", "Rome", name="b", context="Bob moved to Rome."),
        candidate("Where is the Louvre?", "Paris", name="c"),
        candidate("Write f.", "f = 1", name="d", context="For Paris", kind="code"),
    ]
    verdicts = list(find_trivial(items, trial(tmp_path, 2, hides_context=True)))
    reasons = [rejection.reason if rejection else "" for _, rejection in verdicts]
    assert reasons == ["answered without its context", "", "", ""]
    assert engine.asked == 4
    assert not any("moved" in request.prompt for request in engine.requests)


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of random weights over the words `good`, `bad` and the rest."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        PreTrainedTokenizerFast,
    )

    folder = tmp_path_factory.mktemp("reward")
    words = {word: number for number, word in enumerate(("[PAD]", "[UNK]", "good", "bad"))}
    core = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=4,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=64,
        num_labels=1,
        initializer_range=1.0,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_the_reward_of_an_item_does_not_depend_on_its_batch(
    reward_model: Path, tmp_path: Path
) -> None:
    items = [
        candidate(f"Is it {word}?", answer, name=f"{word}{n}")
        for n, (word, answer) in enumerate([("good", "good"), ("bad", "bad " * 20), ("it", "x")])
    ]

    def scores(batch_size: int, min_score: float) -> list[Verdict]:
        section = RewardSection(model="m", min_score=min_score, batch_size=batch_size)
        out = tmp_path / f"{batch_size}"
        out.mkdir()
        return list(score_reward(items, section, str(reward_model), "m", out))

    alone = [found.scores["reward"] for found, _ in scores(1, -100)]
    together = [found.scores["reward"] for found, _ in scores(3, -100)]
    assert together == pytest.approx(alone, abs=1e-3)
    assert len(set(alone)) == 3
    middle = sorted(alone)[1]
    rejected = [rejection for _, rejection in scores(2, middle - 1e-3)]
    assert [bool(rejection) for rejection in rejected] == [score < middle for score in alone]
    assert {rejection.reason for rejection in rejected if rejection} == {"low reward"}


def test_a_model_without_a_trained_head_is_refused(reward_model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, BertModel

    BertModel.from_pretrained(reward_model).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(reward_model).save_pretrained(tmp_path)
    section = RewardSection(model="m", min_score=0)
    with pytest.raises(EngineError, match="no trained weights for classifier"):
        list(score_reward([candidate("Why?")], section, str(tmp_path), "m", tmp_path))
    with pytest.raises(EngineError, match="gone"):
        list(score_reward([candidate("Why?")], section, str(tmp_path / "gone"), "n", tmp_path))


def test_a_reward_is_computed_once_for_all_artifacts_of_the_stage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scored: list[str] = []

    class Counting:
        def __init__(self, model: str) -> None:
            scored.append(model)

        def score(self, candidates: list[Candidate]) -> list[float]:
            scored.extend(one.question for one in candidates)
            return [len(one.question) for one in candidates]

        def close(self) -> None:
            scored.append("closed")

    monkeypatch.setattr("tsqa.filters.reward.RewardModel", Counting)

    def score(folder: str, questions: list[str], identity: str = "m") -> list[float]:
        scored.clear()
        (tmp_path / folder).mkdir(exist_ok=True)
        items = [candidate(question) for question in questions]
        section = RewardSection(model="m", min_score=0, batch_size=2)
        verdicts = score_reward(items, section, "model", identity, tmp_path / folder)
        return [found.scores["reward"] for found, _ in verdicts]

    assert score("finished", ["a", "bb", "ccc"]) == [1, 2, 3]
    assert scored == ["model", "a", "bb", "ccc", "closed"]
    assert score("new.partial", ["bb", "dddd", "a"]) == [2, 4, 1]
    assert scored == ["model", "dddd", "closed"]
    assert score("new.partial", ["a", "dddd"]) == [1, 4]
    assert scored == []  # what a killed run scored, and the model is not even loaded
    assert score("other.partial", ["a"], "another model") == [1]
    assert scored == ["model", "a", "closed"]


def test_a_reward_that_is_not_a_number_does_not_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Broken:
        def __init__(self, model: str) -> None: ...

        def score(self, candidates: list[Candidate]) -> list[float]:
            return [math.nan] * len(candidates)

        def close(self) -> None: ...

    monkeypatch.setattr("tsqa.filters.reward.RewardModel", Broken)
    section = RewardSection(model="m", min_score=-1e9)
    for _ in range(2):  # computed, then found
        [(_, rejection)] = score_reward([candidate("Why?")], section, "m", "m", tmp_path)
        assert rejection and rejection.reason == "low reward"
