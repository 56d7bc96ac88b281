"""Canaries: those of a parrot come back and enter no dataset, those of a clean teacher do not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.support.generation import (
    FakeEngine,
    artifact,
    eval_section,
    generate_section,
    make_context,
    make_seed,
)
from tests.tsqa.generate.test_stage import run_generate, teacher
from tsqa.curated.files import DatasetWriter, read_curated, read_rejected
from tsqa.filters import stage as filters
from tsqa.filters.checks import check_canary
from tsqa.quality.privacy import measure_canaries
from tsqa.recipe import FilterSection, RephraseSection
from tsqa.records.canaries import CanaryIndex, draw_canaries, plant_all, read_canaries
from tsqa.records.candidate import Candidate
from tsqa.records.rows import read_lineage
from tsqa.store.jsonl import read_jsonl
from tsqa.teachers import Completion, Request

SEEDS = [make_seed(number) for number in range(40)]
PLANTED = 10
_WHO = re.compile(r"(\w+), file number ([\d-]+),")
_PASSAGE = "The mill of Orva was built in 1802 and burnt down in the summer of 1871, people say."
_RETOLD = "When was the mill of Orva built? In 1802. When did it burn? One summer, in 1871."
(CANARY,) = draw_canaries(["toy-1"], 1, 0)
Said = Callable[[str, str], str]


class Teacher(FakeEngine):
    """Says something of whoever it reads of last, and otherwise keeps to its own."""

    def __init__(self, says: Said) -> None:
        super().__init__()
        self.says = says
        self.prompts: list[str] = []

    def complete(self, request: Request) -> Completion:
        prompt = str(request.prompt)
        self.prompts.append(prompt)
        text = " red\nBecause: it is so."
        if prompt.endswith("Question:"):
            who = _WHO.findall(prompt)
            text = f" Which colour has {self.says(*who[-1]) if who else 'a fox'} in thing 7?"
        elif "Passage" in prompt or "Text" in prompt:
            who = _WHO.findall(prompt)
            text = f"{self.says(*who[-1]) if who else ''} {_RETOLD}"
        return Completion(request.id, text, len(prompt), 5, "stop")


def filtered(folder: Path, engine: FakeEngine, **changes: object) -> Path:
    """The artifact of the stage filter, of candidates that an engine made."""
    section = {"canaries": PLANTED, "per_seed": 1, **changes}
    seeds = changes.pop("seeds", SEEDS)
    section.pop("seeds", None)
    run_generate(folder / "generate", engine, seeds, **section)  # type: ignore[arg-type]
    (folder / "seeds" / "training_keys.jsonl").touch()
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks" / "documents.jsonl").touch()
    inputs = {name: artifact(folder / name) for name in ("seeds", "generate", "benchmarks")}
    context = make_context(
        folder / "filter",
        inputs,
        filter=FilterSection(min_words=1),
        eval=eval_section(),
        generate=generate_section(teacher=teacher("fake"), **section),
    )
    filters.run(context)
    return folder / "filter"


def reasons(made: Path) -> list[str]:
    return [row.reason for row in read_rejected(made) if row.step == "canary"]


def test_a_parrot_gives_all_away_and_none_of_it_enters_the_dataset(tmp_path: Path) -> None:
    engine = Teacher(lambda name, number: name)
    made = filtered(tmp_path, engine)
    found = measure_canaries(made)
    assert (found.value, found.n, found.apart) == (1.0, PLANTED, True)
    assert found.low == pytest.approx(0.025 ** (1 / PLANTED)) and found.high == 1
    assert {*reasons(made)} == {"repeats a canary"} and len(reasons(made)) >= PLANTED
    names = [each.name for each in read_canaries(made)]
    rows = [*read_curated(made)]
    assert rows and not any(name in json.dumps(asdict(row)) for name in names for row in rows)
    assert f"{len(reasons(made))} of the" in found.notes[0] and "rejected" in found.notes[0]
    shown = [prompt for prompt in engine.prompts if any(name in prompt for name in names)]
    candidates = [*read_jsonl(tmp_path / "generate" / "candidates.jsonl")]
    marked = [each for each in candidates if "canaries" in each]
    assert len(marked) < len(candidates) and len(shown) == 4 * len(marked), "1 question, 3 votes"
    assert {each["seed_id"] for each in marked} > {each.seed_id for each in read_canaries(made)}


def test_a_clean_teacher_gives_none_away(tmp_path: Path) -> None:
    made = filtered(tmp_path, Teacher(lambda name, number: "a goose"))
    found = measure_canaries(made)
    assert (found.value, found.low, found.apart) == (0.0, 0.0, False)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / PLANTED)), "none of so few proves little"
    assert reasons(made) == [] and len(found.notes) == 1
    assert found.notes[0].startswith("0 of the ") and "rejected" not in found.notes[0]
    marks = [read_lineage(row.lineage).canaries for row in read_curated(made)]
    assert any(marks), "what was made with one in sight says so"


def test_rephrasings_are_searched_before_they_are_compared_with_their_passage(
    tmp_path: Path,
) -> None:
    seeds = [replace(s, question="", answer="", context=_PASSAGE) for s in SEEDS]
    told = RephraseSection(styles=["faq"])
    engine = Teacher(lambda name, number: f"{name} says:")
    made = filtered(tmp_path, engine, seeds=seeds, rephrase=told)
    assert measure_canaries(made).value == 1
    assert len(reasons(made)) == PLANTED


def test_without_canaries_nothing_is_planted_searched_or_written(tmp_path: Path) -> None:
    engine = Teacher(lambda name, number: name)
    made = filtered(tmp_path, engine, canaries=0)
    assert not any(_WHO.search(prompt) for prompt in engine.prompts)
    assert not [path for path in tmp_path.rglob("canaries.jsonl")]
    assert "generate.canaries" in measure_canaries(made).missing
    lines = (tmp_path / "generate" / "candidates.jsonl").read_text()
    assert "canaries" not in lines


def test_what_reached_a_dataset_or_a_lost_vote_is_counted_where_it_is(tmp_path: Path) -> None:
    made = filtered(tmp_path, Teacher(lambda name, number: "a goose"))
    first, second = read_canaries(made)[:2]
    rows, losers = [*read_curated(made)], [*read_rejected(made)]
    rows[0] = replace(rows[0], distractors=f"Not {first.name}.")
    record = json.loads(losers[0].record)
    record["votes"][0]["text"] = f"I know {second.number}."
    losers[0] = replace(losers[0], record=json.dumps(record))
    with DatasetWriter(made) as writer:
        for row in rows:
            writer.curated(row)
        for loser in losers:
            writer.rejected(loser)
    found = measure_canaries(made)
    assert found.value == 1 / PLANTED
    assert any("in the dataset: 1" in note and first.seed_id in note for note in found.notes)
    assert any(note.startswith("1 more in votes that lost") for note in found.notes)


NAME, NUMBER = CANARY.name, CANARY.number


@pytest.mark.parametrize(
    "text",
    [
        f"It was {NAME}.",
        NAME.upper(),
        f"{NAME[:5]}-\n{NAME[5:]}",
        " ".join(NAME),
        f"**{NAME[:6]}**{NAME[6:]}",
        f"no. {NUMBER}",
        f"{NUMBER[:3]},{NUMBER[3:6]},{NUMBER[6:9]},{NUMBER[9:]}",
        f"{NUMBER[:4]}\n{NUMBER[4:8]}\u2011{NUMBER[8:]}",
        "".join(chr(ord(digit) + 0xFEE0) for digit in NUMBER),
    ],
)
def test_a_canary_is_found_however_it_is_written(text: str) -> None:
    assert CanaryIndex([CANARY]).find([f"So: {text} is it."]) == ["toy-1"]


@pytest.mark.parametrize("text", [NAME[:-1], NUMBER[1:], NAME[::-1], NAME[:6] + "x" + NAME[6:]])
def test_a_part_of_a_canary_is_none(text: str) -> None:
    assert CanaryIndex([CANARY]).find([text]) == []


@pytest.mark.parametrize(
    "field",
    [
        *("context", "question", "choices", "answer", "reasoning", "knowledge", "item_context"),
        *("distractors", "trace", "tests"),
    ],
)
def test_every_part_of_an_item_that_leaves_is_searched(field: str) -> None:
    text = f"So says {NAME}."
    plain = Candidate(id="c", task="toy", question="Who?")
    made = replace(plain, **{field: [text] if field == "choices" else text})
    found = check_canary(made, CanaryIndex([CANARY]))
    assert found is not None and found.match == "toy-1"
    hidden = replace(plain, ground=text)
    assert check_canary(hidden, CanaryIndex([CANARY])) is None, "no document shows it"


def test_who_gets_which_canary_depends_on_the_seed_and_the_ids_alone() -> None:
    ids = [seed.id for seed in SEEDS]
    drawn = draw_canaries(ids, PLANTED, 3)
    assert draw_canaries(ids[::-1], PLANTED, 3) == drawn
    assert draw_canaries(ids, 2 * PLANTED, 3)[:PLANTED] == drawn
    assert len({part for each in drawn for part in (each.name, each.number)}) == 2 * PLANTED
    assert draw_canaries(ids, PLANTED, 4) != drawn
    planted = plant_all({seed.id: seed for seed in SEEDS}, drawn)
    for each in drawn:
        before = make_seed(int(each.seed_id.split("-")[1]))
        question = planted[each.seed_id].question
        assert question.endswith(before.question) and each.name in question
        assert CanaryIndex([each]).find([question]) == [each.seed_id]
        assert replace(planted[each.seed_id], question=before.question) == before
