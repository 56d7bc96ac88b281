"""`tsqa audit` of a finished dataset: what it draws, what it holds out, what it writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.curated_rows import curated_row
from tests.support.quality_world import MAIL, audited_dataset
from tests.support.released import build, rejected, seed, write_recipe
from tests.support.sealed import reseal
from tsqa.cli.app import app
from tsqa.pipeline.run import Pipeline
from tsqa.quality.report import masked
from tsqa.quality.sample import draw_sample, halves
from tsqa.recipe import load_recipe


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return audited_dataset(tmp_path_factory.mktemp("audited")).recipe


def audit(path: Path) -> dict[str, dict[str, object]]:
    done = CliRunner().invoke(app, ["audit", str(path), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    report = json.loads(done.output[done.output.index("{") :])
    assert (report["items"], report["audited_seeds"]) == (27, 25)
    return {each["name"]: each for each in report["measures"]}


def test_an_audit_writes_the_same_page_and_figures_again(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsqa.quality.run.PERMUTATIONS", 3)
    folder = recipe.parent / "runs" / "toyset" / "audit"
    found = audit(recipe)
    before = [(folder / name).read_bytes() for name in ("quality.json", "quality.html")]
    assert found["seeds with an item"]["value"] == 25 / 30
    attack = found["seeds told by nearest item (AUC)"]
    assert "24 documents" in str(attack["reference_is"]), "one of the 25 was rejected as a seed"
    assert attack["apart"] is True, "an item names the number of its seed"
    assert found["refusals by group"]["value"] == 1 / 28
    assert "names no model" in str(found["distance of meanings (Frechet)"]["missing"])
    assert found["items with personal data"]["value"] == pytest.approx(1 / 27)
    assert not any(MAIL.encode() in each for each in before), "the report gives none of it away"
    audit(recipe)
    assert before == [(folder / name).read_bytes() for name in ("quality.json", "quality.html")]


def test_an_unbuilt_dataset_is_refused_with_the_command(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["audit", str(write_recipe(tmp_path))])
    assert done.exit_code and "tsqa filter" in str(done.exception)


def test_a_limit_of_dollars_on_what_costs_nothing_is_refused(recipe: Path) -> None:
    price = "generate.teacher.dollars_per_hour=1"
    done = CliRunner().invoke(app, ["audit", str(recipe), price, "--max-dollars", "5"])
    assert done.exit_code == 2 and "this audit costs nothing" in " ".join(done.output.split())


def test_a_draw_depends_on_ids_and_not_on_the_order_or_the_size(recipe: Path) -> None:
    pipeline = Pipeline(load_recipe(recipe, []), recipe, [])
    filtered, seeds = (pipeline.finished(stage).path for stage in ("filter", "seeds"))
    large, small = (draw_sample(filtered, seeds, 1, most) for most in (2000, 5))
    assert small.pairs == large.pairs[:5] and len(small.others) == 5
    assert {name for name, _ in small.items} == small.seeds.keys()
    assert draw_sample(filtered, seeds, 2, 5).pairs != small.pairs
    assert all(pair.item.id.startswith(pair.seed.id) for pair in large.pairs)
    ids = [each.id for pair in halves(large.seeds.values()) for each in (pair.seed, pair.item)]
    assert len(ids) == len(set(ids)) == 24


def test_items_of_passages_have_no_real_counterpart(tmp_path: Path) -> None:
    seeds = [
        replace(seed(n), id=f"toy-{n}", question="", context=f"Passage {n} says so.")
        for n in (1, 2)
    ]
    asked = replace(curated_row(1), seed_id="toy-1")
    told = replace(
        curated_row(2), seed_id="toy-2", question="", choices=[], answer="So it is said."
    )
    pipeline = build(write_recipe(tmp_path), seeds, [asked, told])
    filtered, there = (pipeline.finished(stage).path for stage in ("filter", "seeds"))
    sample = draw_sample(filtered, there, 0)
    assert [pair.item.text for pair in sample.pairs] == ["So it is said."], "rephrasings have one"
    assert sample.without_real == ["toy"] and len(sample.items) == 2


def test_whose_passages_are_refused_is_told_though_nothing_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsqa.quality.run.PERMUTATIONS", 1)
    passages = {n: f"Passage {n} says that {'she' if n < 8 else 'he'} is here." for n in range(40)}
    seeds = [replace(seed(n), id=f"toy-{n}", question="", context=passages[n]) for n in range(40)]
    kept = [
        replace(curated_row(n), seed_id=f"toy-{n}", question="", choices=[], answer=passages[n])
        for n in range(8, 40)
    ]
    lost = []
    for n in range(8):
        row = rejected(n, "refusal")
        record = json.loads(row.record) | {"seed_id": f"toy-{n}", "question": ""}
        told = json.dumps(record | {"seed_question": "", "votes": [], "choices": []})
        lost.append(replace(row, question="", reason="refusal", record=told))
    path = write_recipe(tmp_path)
    there = build(path, seeds, kept, lost).finished("seeds").path
    (there / "rejected_seeds.jsonl").write_text("")
    reseal(there)
    done = CliRunner().invoke(app, ["audit", str(path), "--json"], catch_exceptions=False)
    report = json.loads(done.output[done.output.index("{") :])
    (line,) = [each for each in report["measures"] if each["name"] == "refusals by group"]
    assert line["value"] == 8 / 40 and line["apart"]
    assert any(note.startswith("pronouns: she: 8 of 8, others 0 of 32") for note in line["notes"])


def test_examples_show_no_personal_data() -> None:
    assert masked(f"Ask {MAIL} or 8.8.8.8.") == "Ask [e-mail] or [IP address]."
