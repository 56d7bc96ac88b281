"""Promises of attributes: drawn by seed and number alone, with their shares, asked for and kept."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.generation import FakeEngine, generate_section
from tests.tsqa.generate.test_stage import SEEDS, run_generate, teacher
from tsqa.errors import RecipeError
from tsqa.generate.attributes import draw_attributes, draw_sampling
from tsqa.prompts import load_prompts
from tsqa.recipe import PromptsSection, RequestSection
from tsqa.records.candidate_file import read_records
from tsqa.records.rows import Lineage, read_lineage
from tsqa.teachers import Completion, Request

VARIED = PromptsSection(question="varied", answer="plain")
DRAWN = {"persona": ["a cook", "a nurse"], "difficulty": {"easy": 0.2, "hard": 0.8, "absurd": 0.0}}


class Heard(FakeEngine):
    def __init__(self) -> None:
        super().__init__()
        self.questions: dict[str, Request] = {}

    def complete(self, request: Request) -> Completion:
        if request.prompt.endswith("Question:"):
            self.questions[request.prompt + str(request.seed)] = request
        return super().complete(request)


def test_values_come_with_their_shares_and_independently() -> None:
    section = generate_section(attributes=DRAWN)
    count = 2000
    drawn = [draw_attributes(section, f"s{n}", k) for n in range(count // 4) for k in range(4)]
    pairs = Counter((each["persona"], each["difficulty"]) for each in drawn)
    assert sum(n for (_, level), n in pairs.items() if level == "easy") == pytest.approx(
        0.2 * count, rel=0.1
    )
    for (_, level), number in pairs.items():
        expected = count * (0.1 if level == "easy" else 0.4)
        assert number == pytest.approx(expected, rel=0.2)
    assert not any("absurd" in pair for pair in pairs)


def test_a_draw_depends_on_neither_the_order_of_values_nor_other_attributes() -> None:
    alone = generate_section(attributes={"persona": ["a nurse", "a cook"]}, per_seed=9)
    both = generate_section(attributes=DRAWN)
    for number in range(20):
        one, other = (draw_attributes(each, "s", number) for each in (alone, both))
        assert one["persona"] == other["persona"]


def test_questions_of_a_seed_that_follow_one_another_differ() -> None:
    section = generate_section(attributes={"persona": list("abcd")}, temperatures=[0.1, 0.2, 0.3])
    for name in ("s", "t"):
        values = [draw_attributes(section, name, number)["persona"] for number in range(50)]
        heat = [draw_sampling(section, name, number).temperature for number in range(50)]
        assert set(values) == set("abcd") and set(heat) == {0.1, 0.2, 0.3}
        for drawn in (values, heat):
            assert all(left != right for left, right in pairwise(drawn))


def test_what_is_drawn_is_asked_for_and_kept(tmp_path: Path) -> None:
    engine = Heard()
    changes: dict[str, Any] = {"attributes": DRAWN, "temperatures": [0.3, 0.9], "prompts": VARIED}
    run_generate(tmp_path / "out", engine, **changes)
    records = list(read_records(tmp_path / "out" / "candidates.jsonl"))
    assert len(records) == len(engine.questions) == 2 * len(SEEDS)
    asked = Counter(
        (request.prompt.rpartition("\n\n")[2], request.temperature)
        for request in engine.questions.values()
    )
    kept = Counter(
        (
            f"Difficulty: {each.attributes['difficulty']}\nPersona: {each.attributes['persona']}"
            "\nQuestion:",
            each.sampling["question"].temperature,
        )
        for each in records
    )
    assert asked == kept and len({heat for _, heat in kept}) == 2
    lines = (tmp_path / "out" / "candidates.jsonl").read_bytes()
    run_generate(tmp_path / "again", FakeEngine(order=5), **changes)
    assert (tmp_path / "again" / "candidates.jsonl").read_bytes() == lines


def test_lineage_keeps_them_and_has_no_key_without_them(tmp_path: Path) -> None:
    run_generate(tmp_path / "out", FakeEngine(), attributes=DRAWN, prompts=VARIED)
    record = next(read_records(tmp_path / "out" / "candidates.jsonl"))
    fields = {
        name: getattr(record, name)
        for name in Lineage.__dataclass_fields__
        if hasattr(record, name)
    }
    lineage = Lineage(**fields | {"votes": [], "winning_vote": ""})
    assert read_lineage(lineage.to_json()).attributes == record.attributes != {}
    bare = Lineage(**fields | {"votes": [], "winning_vote": "", "attributes": {}})
    assert "attributes" not in bare.to_json()


@pytest.mark.parametrize("form", ["chat", "completion"])
@pytest.mark.parametrize("kind", ["choice", "number", "boolean", "short_text", "code"])
def test_the_shipped_prompts_show_every_attribute(form: str, kind: str) -> None:
    from tsqa.prompts.variables import sample

    prompt = load_prompts("varied", "question", "generate.prompts.question").prompts[kind]
    values = {"persona": "a cook", "opening": "Why", "mood": "gay", "subtopic": "tin"}
    variables = sample("question", kind, True) | {"attributes": values}  # type: ignore[arg-type]
    said = (
        prompt.completion(**variables)
        if form == "completion"
        else str(prompt.messages(**variables))
    )
    assert all(value in said for value in values.values())
    without = sample("question", kind, False)  # type: ignore[arg-type]
    assert "Persona" not in prompt.completion(**without)


def test_temperatures_that_are_not_sent_are_refused() -> None:
    omitting = teacher("org/model").model_copy(
        update={"request": RequestSection(omit=["temperature"])}
    )
    with pytest.raises(ValidationError, match=r"teacher\.request\.omit holds temperature"):
        generate_section(teacher=omitting, temperatures=[0.5, 1.0])


def test_prompts_that_show_no_attributes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"does not show generate\.attributes[^$]*varied"):
        run_generate(tmp_path / "out", FakeEngine(), attributes=DRAWN)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"persona": []}, "persona has no values"),
        ({"persona": ["a", "a"]}, "a value twice"),
        ({"persona": {"a": 0.5, "b": 0.4}}, "sum to 0.9"),
        ({"persona": ["a\nb"]}, "one line"),
    ],
)
def test_attributes_that_cannot_be_drawn_are_refused(values: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        generate_section(attributes=values)
    with pytest.raises(ValidationError, match="a value twice"):
        generate_section(teacher=teacher("fake"), temperatures=[0.5, 0.5])
