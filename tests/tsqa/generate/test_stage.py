"""Promises of generation: killed anywhere and resumed, the same candidates; votes mapped back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.generation import (
    FakeEngine,
    artifact,
    generate_section,
    make_context,
    make_seed,
    opened,
)
from tsqa.generate import stage as generate
from tsqa.generate.stage import SeedFile
from tsqa.recipe import CascadeSection, ModelSection, PromptsSection, TeacherSection
from tsqa.records.seed import Seed
from tsqa.store.jsonl import read_jsonl, write_jsonl
from tsqa.teachers import Completion, RefusedError, Request

SEEDS = [make_seed(number) for number in range(9)]
CHOICE = replace(
    make_seed(0, "Which is a colour?", "red"), kind="choice", choices=["red", "dog"], answer_index=0
)


def run_generate(
    folder: Path, engine: FakeEngine, seeds: Sequence[Seed] = SEEDS, **changes: Any
) -> dict[str, Any]:
    source = folder.parent / "seeds"
    source.mkdir(exist_ok=True)
    write_jsonl(source / "seeds.jsonl", (asdict(seed) for seed in seeds))
    section = generate_section(**{"teacher": teacher("fake")} | changes)
    context = make_context(folder, {"seeds": artifact(source)}, generate=section)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tsqa.teachers.client.open_engine", lambda *_: opened(engine))
        return generate.run(context)


def teacher(name: str, form: Literal["completion", "chat"] = "completion") -> TeacherSection:
    return TeacherSection(
        engine="openai", model=ModelSection(path=name), urls=["http://unused"], form=form
    )


def test_every_seed_gets_its_candidates_and_every_readable_one_its_votes(tmp_path: Path) -> None:
    summary = run_generate(tmp_path / "out", FakeEngine())
    found = list(read_jsonl(tmp_path / "out" / "candidates.jsonl"))
    assert summary["candidates"] == len(found) == 18
    assert 0 < summary["unparsable_questions"] < 18
    assert [candidate["seed_id"] for candidate in found] == [s.id for s in SEEDS for _ in range(2)]
    for candidate in found:
        assert len(candidate["votes"]) == (0 if candidate["parse_error"] else 3)
        assert candidate["seed_ids"][-1] == candidate["seed_id"]
        assert candidate["prompts"]["question"]["sha256"]
    tokens = sum(c["usage"]["teacher"]["output_tokens"] for c in found)
    assert tokens == summary["output_tokens"] == summary["ledger"][0]["output_tokens"]


@pytest.mark.parametrize(
    ("template", "form", "schemas"),
    [("{{ m }}", "auto", {True}), ("<think>", "auto", {False}), ("{{ m }}", "completion", {False})],
)
def test_a_model_that_vllm_loads_is_bound_to_the_schema_where_it_has_no_thoughts(
    template: str, form: str, schemas: set[bool], tmp_path: Path
) -> None:
    class Noting(FakeEngine):
        bound: ClassVar[set[bool]] = set()

        def complete(self, request: Request) -> Completion:
            self.bound.add(request.schema is not None)
            return super().complete(request)

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "chat_template.jinja").write_text(template)
    model = ModelSection(path=str(tmp_path / "model"))
    section = TeacherSection.model_validate({"model": model, "form": form})
    engine = Noting()
    engine.bound.clear()
    run_generate(tmp_path / "out", engine, teacher=section, prompts=PromptsSection())
    assert engine.bound == schemas


@pytest.mark.parametrize("is_sampled", [False, True])
def test_votes_that_are_the_same_word_for_word_are_said(
    is_sampled: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Cached(FakeEngine):
        def complete(self, request: Request) -> Completion:
            done = super().complete(request)
            if request.prompt.endswith("Question:"):
                return done
            text = " thing 1\nBecause: it is the only one of its kind"
            return replace(done, text=f"{text}, {request.id}." if is_sampled else f"{text}.")

    summary = run_generate(tmp_path / "out", Cached())
    voted = summary["candidates"] - summary["unparsable_questions"]
    told = " ".join(capsys.readouterr().err.split())
    assert summary["same_votes"] == (0 if is_sampled else voted)
    assert (f"{voted} of {voted} questions got one answer in every vote" in told) != is_sampled


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cut=st.floats(0, 1), order=st.integers(0, 99))
def test_a_log_cut_at_any_byte_gives_the_same_candidates(
    tmp_path_factory: pytest.TempPathFactory, cut: float, order: int
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    run_generate(folder / "whole", FakeEngine())
    log = (folder / "whole" / "teacher-completions.jsonl").read_bytes()
    (folder / "killed").mkdir()
    (folder / "killed" / "teacher-completions.jsonl").write_bytes(log[: int(cut * len(log))])
    run_generate(folder / "killed", FakeEngine(order))
    whole, resumed = (folder / n / "candidates.jsonl" for n in ("whole", "killed"))
    assert resumed.read_bytes() == whole.read_bytes()


def test_what_is_on_disk_is_not_asked_again(tmp_path: Path) -> None:
    first = run_generate(tmp_path / "out", FakeEngine())
    engine = FakeEngine()
    again = run_generate(tmp_path / "out", engine)
    assert engine.asked == 0
    assert again["ledger"] == first["ledger"]


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"teacher": teacher("other")}, {"votes": 4, "shots": 1}]
)
def test_what_another_recipe_asked_is_not_reused(tmp_path: Path, changes: dict[str, Any]) -> None:
    run_generate(tmp_path / "out", FakeEngine())
    engine = FakeEngine()
    run_generate(tmp_path / "out", engine, **changes)
    assert engine.asked > 0


class Examinee(FakeEngine):
    """Asks a question with options, then always chooses the last option that it is shown."""

    def complete(self, request: Request) -> Completion:
        if request.messages:
            text = str(request.messages[-1]["content"])
            options = [word for word in ("cat", "oak", "salt") if f" {word}" in text]
            reply: dict[str, Any] = {"question": "Which is a tree?", "choices": ["cat", "oak"]}
            if "Which is a tree?" in text:
                shown = sorted(options, key=text.rfind)
                reply = {"reasoning": "I take the last.", "answer": shown[-1]}
            return Completion(request.id, json.dumps(reply), 1, 1, "stop")
        raise AssertionError("chat form expected")


def test_options_are_shuffled_for_each_vote_and_votes_mapped_back(tmp_path: Path) -> None:
    run_generate(
        tmp_path / "out",
        Examinee(),
        [CHOICE],
        teacher=teacher("fake", "chat"),
        prompts=PromptsSection(),
        per_seed=1,
        votes=8,
    )
    [candidate] = read_jsonl(tmp_path / "out" / "candidates.jsonl")
    assert candidate["kind"] == "choice" and candidate["choices"] == ["cat", "oak"]
    for vote in candidate["votes"]:
        assert vote["answer"] == candidate["choices"][vote["index"]]
        assert vote["index"] == vote["order"][-1]
    assert {vote["answer"] for vote in candidate["votes"]} == {"cat", "oak"}


class Lettering(FakeEngine):
    """Explains itself by letters that cannot be told, and asks about labels of its own."""

    def complete(self, request: Request) -> Completion:
        text = str(request.messages[-1]["content"])
        reply: dict[str, Any] = {"question": "Which is a tree, A or B?", "choices": ["cat", "oak"]}
        if "Which is a tree" in text:
            reply = {"reasoning": "Options A-B are clear.", "answer": "oak"}
            reply["knowledge"] = "So it is clear that A is wrong and B is right."
        return Completion(request.id, json.dumps(reply), 1, 1, "stop")


def test_explanations_by_letter_are_dropped_and_counted_labels_of_the_question_stay(
    tmp_path: Path,
) -> None:
    summary = run_generate(
        tmp_path / "out",
        Lettering(),
        [CHOICE],
        teacher=teacher("fake", "chat"),
        prompts=PromptsSection(),
        per_seed=1,
        votes=3,
    )
    [candidate] = read_jsonl(tmp_path / "out" / "candidates.jsonl")
    assert summary["dropped_explanations"] == 3
    for vote in candidate["votes"]:
        assert (vote["answer"], vote["reasoning"], vote["dropped"]) == ("oak", "", ["reasoning"])
        assert vote["knowledge"] == "So it is clear that A is wrong and B is right."


class Undecided(FakeEngine):
    """Its votes on every other question disagree."""

    def complete(self, request: Request) -> Completion:
        done = super().complete(request)
        if done.text.startswith(" Which"):
            return Completion(done.id, done.text, 1, 1, "stop")
        split = int(request.prompt.rsplit("Which thing is ", 1)[1][0], 16) % 2
        return Completion(done.id, f" thing {request.seed if split else 0}", 1, 1, "stop")


def test_a_cascade_answers_again_only_where_the_votes_disagree(tmp_path: Path) -> None:
    cascade = CascadeSection(teacher=teacher("strong"), agreement=0.6)
    summary = run_generate(tmp_path / "out", Undecided(), cascade=cascade)
    found = list(read_jsonl(tmp_path / "out" / "candidates.jsonl"))
    again = [c for c in found if any(vote["teacher"] == "cascade" for vote in c["votes"])]
    assert 0 < len(again) < len(found)
    for candidate in found:
        first = {vote["answer"] for vote in candidate["votes"] if vote["teacher"] == "teacher"}
        assert (len(first) > 1) == (candidate in again)
        assert len(candidate["votes"]) == (6 if candidate in again else 3)
    assert [row["teacher"] for row in summary["ledger"]] == ["teacher", "cascade"]
    assert summary["ledger"][1]["requests"] == 3 * len(again)


class Failing(FakeEngine):
    """Has no answer for one vote in a hundred or so."""

    def complete(self, request: Request) -> Completion:
        done = super().complete(request)
        fails = not request.prompt.endswith("Question:") and request.seed % 40 == 0
        return replace(done, text="", finish_reason="error: 503 down") if fails else done


def test_votes_without_an_answer_are_an_error_unless_that_share_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"requests have no answer(.|\n)*generate\.allow_failed"):
        run_generate(tmp_path / "out", Failing(), votes=8)
    assert not (tmp_path / "out" / "candidates.jsonl").exists()
    engine = Failing()
    summary = run_generate(tmp_path / "out", engine, votes=8, allow_failed=0.1)
    reasons = summary["ledger"][0]["unanswered"]
    assert summary["unanswered"] == sum(reasons.values()) == engine.asked > 0
    again = run_generate(tmp_path / "out", FakeEngine(), votes=8)
    assert again["unanswered"] == 0


class Renamed(FakeEngine):
    """Answers its votes as another model."""

    def complete(self, request: Request) -> Completion:
        done = super().complete(request)
        return replace(done, served="" if request.prompt.endswith("Question:") else "other")


def test_answers_of_another_model_are_counted_after_a_rerun_too(tmp_path: Path) -> None:
    engine = Renamed()
    for asked in (True, False):
        summary = run_generate(tmp_path / "out", engine)
        votes = 3 * (summary["candidates"] - summary["unparsable_questions"])
        assert summary["ledger"][0]["served"] == {"other": votes}
        assert bool(engine.asked) == asked
        engine.asked = 0


def test_how_requests_are_put_makes_them_others(tmp_path: Path) -> None:
    run_generate(tmp_path / "out", FakeEngine())
    engine = FakeEngine()
    values = teacher("fake").model_dump() | {"request": {"omit": ["top_p"]}}
    run_generate(tmp_path / "out", engine, teacher=TeacherSection.model_validate(values))
    assert engine.asked > 0
    [first, *_] = read_jsonl(tmp_path / "out" / "candidates.jsonl")
    assert first["teacher"]["request"] == {"omit": ["top_p"]}


def test_shots_are_distinct_and_end_with_the_seed(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "seeds.jsonl", (asdict(seed) for seed in SEEDS))
    seeds = SeedFile(tmp_path / "seeds.jsonl")
    assert len(seeds) == 9 and list(seeds) == SEEDS
    for number in range(50):
        shots = seeds.shots(SEEDS[4], 3, str(number))
        assert len({shot.id for shot in shots}) == 3
        assert shots[-1] == SEEDS[4]
    write_jsonl(tmp_path / "one.jsonl", [asdict(SEEDS[0])])
    assert SeedFile(tmp_path / "one.jsonl").shots(SEEDS[0], 3, "x") == [SEEDS[0]]
