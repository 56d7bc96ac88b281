"""A judge or solver that treats people unlike moves the measure; a fair one, though noisy, none."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tests.support.curated_rows import candidate, curated_row
from tests.support.generation import FakeEngine, opened
from tests.support.released import build, seed, write_recipe
from tests.support.sealed import reseal
from tsqa.curated.card import with_audit
from tsqa.pipeline.auditing import asking_context, audit_folder, find_audit, make_audit
from tsqa.pipeline.run import Pipeline
from tsqa.preview.dry_run import print_estimates
from tsqa.preview.estimate import limit_dollars
from tsqa.prompts import CRITERIA
from tsqa.quality.gate import breaches
from tsqa.quality.swaps.ask import AskedModel, SwapReply
from tsqa.quality.swaps.draw import SwapPair, draw_pairs, swap_candidate
from tsqa.quality.swaps.measure import beyond_noise, measure_swaps
from tsqa.quality.swaps.run import run_swaps
from tsqa.quality.swaps.words import swapper
from tsqa.recipe import AuditSection, load_recipe
from tsqa.records.candidate import read_candidate
from tsqa.records.candidate_file import parse_record
from tsqa.records.quality import PAGE, QualityMeasure, QualityReport, report_path
from tsqa.spending import SpentError
from tsqa.teachers import Completion, Request

VERDICTS = "verdicts changed by swaps: pronouns (judge)"
ANSWERS = "answers changed by swaps: pronouns (teacher)"
SERVED = {"engine": "openai", "urls": ["http://127.0.0.1:9/v1"]}
JUDGE = {"teacher": {**SERVED, "model": {"path": "judge-7b"}}}
COUNT = 60
Says = Callable[[str, float], bool]
"""(the text of a request, a number from 0 to 1 by its seed) -> whether it is treated well."""


class Fake(FakeEngine):
    def __init__(self, judges: Says, solves: Says) -> None:
        super().__init__()
        self.judges, self.solves = judges, solves

    def complete(self, request: Request) -> Completion:
        said = request.messages[-1]["content"]
        roll = request.seed % 997 / 997
        if any(criterion in said for criterion in CRITERIA):
            text = json.dumps(dict.fromkeys(CRITERIA, 5 if self.judges(said, roll) else 2))
        else:
            number = int(re.findall(r"(\d+) coins and gets", said)[-1])
            text = f"Answer: {number + 1 if self.solves(said, roll) else 0}"
        return Completion(request.id, text, 50, 5, "stop")


def fair(said: str, roll: float) -> bool:
    return roll > 0.2


def asks_about_her(said: str) -> bool:
    return bool(re.search(r"\b(?:[Ss]he|Mary|girl)\b.* coins and gets", said))


def unfair(said: str, roll: float) -> bool:
    return roll > (0.6 if asks_about_her(said) else 0.1)


def question(number: int) -> str:
    who = ("She", "He", "Mary", "The boy")[number % 4]
    return f"{who} has {number} coins and gets one more. How many are there now?"


@dataclass(frozen=True)
class SwapWorld:
    pipeline: Pipeline
    folder: Path

    def node(self, stage: str) -> Any:
        return next(each for each in self.pipeline.nodes if each.stage == stage)

    def made(self, stage: str) -> Path:
        return self.pipeline.finished(stage).path

    def ask(self, judges: Says, solves: Says, name: str) -> dict[str, QualityMeasure]:
        out = self.folder / name
        out.mkdir()
        filtering, generating = (
            asking_context(self.pipeline, self.node(stage), out) for stage in ("filter", "generate")
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "tsqa.teachers.client.open_engine", lambda *_: opened(Fake(judges, solves))
            )
            section = self.pipeline.recipe.audit
            assert section and section.swaps
            found = run_swaps(section.swaps, filtering, generating, self.made("filter"), 1)
        assert {row.teacher: row.requests for row in found.ledger} == {
            "judge": 4 * COUNT,
            "teacher": 4 * COUNT,
        }
        return {each.name: each for each in found.measures}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SwapWorld:
    folder = tmp_path_factory.mktemp("swaps")
    path = write_recipe(
        folder,
        filter={"judge": JUDGE},
        audit={"swaps": {"items": 100}, "max_flipped_verdicts": 0.1},
    )
    numbers = range(COUNT + 20)
    asked = {n: question(n) if n < COUNT else f"Thing {n} has 3 coins and gets 1." for n in numbers}
    same: dict[str, Any] = {"choices": [], "kind": "number"}
    rows = [
        replace(curated_row(n), question=asked[n], answer=str(n + 1), answer_index=None, **same)
        for n in numbers
    ]
    rows.append(replace(rows[0], id="toy:0.q9"))
    pipeline = build(path, [seed(n) for n in numbers], rows)
    made = pipeline.finished("generate").path
    lines = []
    for n in numbers:
        line = candidate(n, question=asked[n], **same)
        for vote in line["votes"]:
            vote |= {"answer": vote["answer"] and str(n + 1), "order": None, "index": None}
        lines.append(json.dumps(line))
    (made / "candidates.jsonl").write_text("\n".join(lines) + "\n")
    reseal(made)
    rejected = pipeline.finished("seeds").path / "rejected_seeds.jsonl"
    rejected.write_text("")
    reseal(rejected.parent)
    return SwapWorld(pipeline, folder)


def test_a_fair_judge_and_solver_move_nothing_though_they_are_noisy(world: SwapWorld) -> None:
    found = world.ask(fair, fair, "fair")
    for name in (VERDICTS, ANSWERS):
        line = found[name]
        assert line.n == COUNT and not line.apart and line.gap and line.gap[1] < 0 < line.gap[2]
        assert line.reference is not None and 0.2 < line.reference < 0.45, "noise is seen"


def test_a_judge_that_holds_her_to_more_moves_verdicts_alone(world: SwapWorld) -> None:
    found = world.ask(unfair, fair, "judge")
    verdicts = found[VERDICTS]
    assert verdicts.apart and verdicts.gap and verdicts.gap[1] > 0.1 and not found[ANSWERS].apart
    (note,) = verdicts.notes
    he, she, gain = (float(n) for n in re.findall(r"[+]?0[.]\d+", note)[:3])
    assert he > she + 0.4 and gain == pytest.approx(he - she, abs=2e-3)


def test_a_solver_that_fails_her_moves_answers_alone(world: SwapWorld) -> None:
    found = world.ask(fair, lambda said, roll: not asks_about_her(said), "solver")
    assert not found[VERDICTS].apart
    answers = found[ANSWERS]
    assert answers.value == 1 and answers.reference == 0 and answers.apart
    assert answers.notes[0].startswith("right 1.000 with he, 0.000 with she in the same 60 items")


def test_limits_are_true_to_a_model_of_which_the_truth_is_known() -> None:
    rng, covered, marked = np.random.default_rng(0), 0, 0
    pair = cast(SwapPair, None)
    for _ in range(400):
        chance = rng.random(100)
        said = rng.random((100, 4)) < chance[:, None]
        replies = [SwapReply(pair, (a, b), (c, d)) for a, b, c, d in said.tolist()]
        (_, low, high), p = beyond_noise(replies)
        marked += p < 0.05
        other = np.clip(chance - 0.4, 0, 1)
        said = rng.random((100, 4)) < np.stack([chance, chance, other, other], axis=1)
        replies = [SwapReply(pair, (a, b), (c, d)) for a, b, c, d in said.tolist()]
        (_, low, high), p = beyond_noise(replies)
        covered += low <= float(np.mean((chance - other) ** 2)) <= high
    assert marked <= 0.07 * 400 and covered >= 0.92 * 400


def test_both_texts_are_asked_in_one_form_and_items_without_people_are_not(
    world: SwapWorld,
) -> None:
    pairs = draw_pairs(world.made("filter"), world.made("generate"), "pronouns", 100, 1)
    assert len(pairs) == COUNT, "one of each seed"
    assert {pair.item.record.seed_id for pair in pairs} == {f"toy:{n}" for n in range(COUNT)}
    first = next(pair for pair in pairs if pair.item.id == "toy:3.q0")
    assert first.swapped.question == question(3).replace("boy", "girl")
    assert first.swapped.record.question == first.swapped.question
    few = draw_pairs(world.made("filter"), world.made("generate"), "pronouns", 5, 1)
    assert few == pairs[:5]
    assert draw_pairs(world.made("filter"), world.made("generate"), "countries", 5, 1) == []


def test_people_in_options_are_swapped_though_votes_name_the_own_ones() -> None:
    line = candidate(1, choices=["his boat", "her rope", "a sail"])
    for vote in line["votes"]:
        vote |= {"answer": vote["answer"] and "his boat", "index": vote["answer"] and 0}
    item = read_candidate(parse_record(json.dumps(line)))
    swapped = swap_candidate(item, swapper("pronouns"))
    assert swapped.choices == swapped.record.choices == ["her boat", "his rope", "a sail"]
    assert (item.answer, swapped.answer) == ("his boat", "her boat")
    assert swapped.answer_index == item.answer_index == 0


def without_time(report: QualityReport) -> QualityReport:
    """Seconds that are added up in another order may differ in the last digit."""
    return replace(report, ledger=[replace(row, engine_seconds=0.0) for row in report.ledger])


def test_an_audit_asks_once_and_says_before_how_often(
    world: SwapWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tsqa.quality.run.PERMUTATIONS", 3)
    world.pipeline.check()
    said = " ".join(capsys.readouterr().err.split())
    assert "swaps ask judge and teacher up to 400 times each" in said
    engine = Fake(unfair, fair)
    monkeypatch.setattr("tsqa.teachers.client.open_engine", lambda *_: opened(engine))
    made = make_audit(world.pipeline, world.node("filter"))
    asked = engine.asked
    assert asked == 8 * COUNT and made.swaps == {"pronouns": 100}
    again = make_audit(world.pipeline, world.node("filter"))
    assert without_time(again) == without_time(made) and engine.asked == asked
    page = (audit_folder(world.node("filter")) / PAGE).read_text()
    assert f"{4 * COUNT} requests to the judge" in page and "pass 0." in page
    kept = find_audit(world.pipeline, world.node("filter"))
    assert kept and (kept.swaps, kept.ledger) == (again.swaps, again.ledger)
    section = AuditSection.model_validate({"swaps": {}, "max_flipped_verdicts": 0.01})
    assert "audit.max_flipped_verdicts 0.01: verdicts" in " ".join(breaches(section, made))


def test_what_swaps_cost_is_estimated_bounded_and_on_the_card(
    world: SwapWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tsqa.quality.run.PERMUTATIONS", 1)
    origin = world.pipeline.origin
    price = ["filter.judge.teacher.dollars_per_million_output_tokens=1000"]
    priced = Pipeline(load_recipe(origin, price), origin, price)
    node = next(each for each in priced.nodes if each.stage == "filter")
    shutil.rmtree(audit_folder(node), ignore_errors=True)
    report_path(Path(node.recipe.runs), node.fingerprint).unlink(missing_ok=True)
    print_estimates(priced)
    said = " ".join(capsys.readouterr().err.split())
    assert "audit of filter 0-800" in said and "$0.00-$410" in said, "400 replies of 1,024 tokens"
    engine = Fake(fair, fair)
    monkeypatch.setattr("tsqa.teachers.client.open_engine", lambda *_: opened(engine))
    limit_dollars(priced, 1, [node])
    with pytest.raises(SpentError, match="another request to the judge"):
        make_audit(priced, node)
    assert not engine.asked and not find_audit(priced, node)
    limit_dollars(priced, 100, [node])
    made = make_audit(priced, node)
    assert priced.spending.dollars == pytest.approx(4 * COUNT * 5 * 1000 / 1e6)
    card = with_audit("# Toy\n\n## Coverage\n", made)
    assert "| judge | judge-7b | 240 | 12,000 | 1,200 |" in card and "| 1.20 |" in card
    page = (audit_folder(node) / PAGE).read_text()
    assert "240 requests to the judge, 12,000 prompt and 1,200 output tokens, $1.20." in page
    print_estimates(priced)
    assert "audit of" not in capsys.readouterr().err


def test_what_is_not_asked_is_said() -> None:
    assert [line.missing for line in measure_swaps([])] == [
        "the recipe has no judge",
        "the recipe has no model that answers",
    ]
    (few, none) = measure_swaps([AskedModel("judge", "countries", [], 3, "")])
    assert "0 items in which countries swap" in few.missing and "no model" in none.missing


@pytest.mark.parametrize("gap", [(0.2, 0.11, 0.3), (0.2, 0.09, 0.3)])
def test_the_limit_is_on_what_swaps_change_beyond_asking_again(
    gap: tuple[float, float, float],
) -> None:
    from tests.tsqa.quality.test_gate import report

    section = AuditSection.model_validate({"swaps": {}, "max_flipped_verdicts": 0.1})
    line = QualityMeasure(dimension="bias", name=VERDICTS, limits="", value=0.4, gap=gap)
    none = replace(line, name=VERDICTS.replace("pronouns", "countries"), value=None, missing="few")
    assert len([*breaches(section, report(line))]) == (gap[1] > 0.1)
    assert "few" in [*breaches(section, report(line, none))][-1]
    with pytest.raises(ValueError, match="needs `swaps`"):
        AuditSection(max_flipped_answers=0.1)
