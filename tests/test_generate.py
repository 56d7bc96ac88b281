"""Promises of generation: killed anywhere and resumed, the same candidates."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sdg_helpers import (
    FakeEngine,
    artifact,
    generate_section,
    make_context,
    make_seed,
    opened,
)
from tsqa import generate
from tsqa.artifact import read_jsonl, write_jsonl
from tsqa.errors import DataError, RecipeError
from tsqa.generate import choose_shots, parse_question, parse_vote
from tsqa.prompts import load_prompt
from tsqa.teachers import Completion

SEEDS = [make_seed(number) for number in range(9)]


def run_generate(folder: Path, engine: FakeEngine, **changes: Any) -> dict[str, Any]:
    seeds = folder.parent / "seeds"
    seeds.mkdir(exist_ok=True)
    write_jsonl(seeds / "seeds.jsonl", (asdict(seed) for seed in SEEDS))
    context = make_context(folder, {"seeds": artifact(seeds)}, generate=generate_section(**changes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "open_engine", lambda *_: opened(engine))
        return generate.run(context)


def test_every_seed_gets_its_candidates_and_every_readable_one_its_votes(tmp_path: Path) -> None:
    summary = run_generate(tmp_path / "out", FakeEngine())
    found = list(read_jsonl(tmp_path / "out" / "candidates.jsonl"))
    assert summary["candidates"] == len(found) == 18
    assert 0 < summary["unparsable_questions"] < 18
    for candidate in found:
        assert len(candidate["votes"]) == (0 if candidate["parse_error"] else 3)
        assert candidate["seed_ids"][-1] == candidate["seed_id"]
        assert candidate["prompt_hashes"].keys() == {"question", "answer"}


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cut=st.floats(0, 1))
def test_a_log_cut_at_any_byte_gives_the_same_candidates(
    tmp_path_factory: pytest.TempPathFactory, cut: float
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    run_generate(folder / "whole", FakeEngine())
    log = (folder / "whole" / "blocks.jsonl").read_bytes()
    (folder / "killed").mkdir()
    (folder / "killed" / "blocks.jsonl").write_bytes(log[: int(cut * len(log))])
    run_generate(folder / "killed", FakeEngine())
    whole, resumed = (folder / n / "candidates.jsonl" for n in ("whole", "killed"))
    assert resumed.read_bytes() == whole.read_bytes()


def test_finished_blocks_start_no_engine(tmp_path: Path) -> None:
    run_generate(tmp_path / "out", FakeEngine())
    engine = FakeEngine()
    run_generate(tmp_path / "out", engine)
    assert engine.blocks == 0


def test_blocks_of_another_recipe_are_not_reused(tmp_path: Path) -> None:
    run_generate(tmp_path / "out", FakeEngine())
    engine = FakeEngine()
    run_generate(tmp_path / "out", engine, seed=1)
    assert engine.blocks > 0


def test_shots_are_distinct_and_end_with_the_seed() -> None:
    for number in range(50):
        shots = choose_shots(SEEDS[4], SEEDS, 3, str(number))
        assert len({shot.id for shot in shots}) == 3
        assert shots[-1] == SEEDS[4]
    assert choose_shots(SEEDS[0], SEEDS[:1], 3, "x") == [SEEDS[0]]


@pytest.mark.parametrize(
    ("text", "reason", "error"),
    [
        (" Why?", "stop", ""),
        (" ", "stop", "empty"),
        (" Why is", "length", "cut off at max_tokens"),
        (" Why? Answer: so", "stop", "runs into the next field"),
        ("", "prompt_too_long", "prompt longer than max_model_len"),
    ],
)
def test_questions_that_cannot_be_used_say_why(text: str, reason: str, error: str) -> None:
    assert parse_question(Completion("x", text, 1, 1, reason))[1] == error


@pytest.mark.parametrize(
    ("text", "reason", "answer", "explanation"),
    [
        (" May\nBecause: After April comes May.", "stop", "May", "After April comes May."),
        (" May", "stop", "May", ""),
        (" Ma", "length", None, ""),
        (" May\nBecause: After", "length", "May", ""),
        ("\n\n", "stop", None, ""),
        (" 2 + 2 = 4 #### 4", "stop", "4", "2 + 2 = 4"),
    ],
)
def test_votes_are_read(text: str, reason: str, answer: str | None, explanation: str) -> None:
    vote = parse_vote(Completion("x", text, 1, 1, reason))
    assert (vote["answer"], vote["explanation"]) == (answer, explanation)


def test_prompts_show_shots_and_end_where_the_model_goes_on() -> None:
    shots = [asdict(make_seed(1)) | {"explanation": "it is known"}]
    prompt = load_prompt("enrich", "answer").render(shots, "Why?")
    assert prompt == (
        "Question: What is thing 1?\nAnswer: answer 1\nBecause: it is known\n\n"
        "Question: Why?\nAnswer:"
    )
    assert load_prompt("similar", "question").render(shots).endswith("\n\nQuestion:")


def test_wrong_prompts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such prompt"):
        load_prompt("nothing", "question")
    with pytest.raises(RecipeError, match="of kind 'answer'"):
        load_prompt("enrich", "question")
    path = tmp_path / "mine.jinja"
    path.write_text("---\nid: mine\n---\n{{ question }}")
    with pytest.raises(DataError, match="front matter"):
        load_prompt(str(path), "answer")
    path.write_text("---\nid: m\nversion: 1\nkind: answer\nstop: []\n---\n{{ question")
    with pytest.raises(DataError, match=r"mine\.jinja"):
        load_prompt(str(path), "answer")
