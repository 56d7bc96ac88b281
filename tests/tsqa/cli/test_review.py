"""`tsqa review`: draws once, keeps decisions when it draws again, writes and reads files."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tests.faults.recipes import full_recipe
from tests.support.review_world import make_filtered, review_all
from tsqa.cli import review
from tsqa.cli.app import app
from tsqa.recipe import load_recipe
from tsqa.review.sample import read_sample


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe whose filter stage is done."""
    tree = full_recipe(tmp_path)
    tree["name"] = "own"
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree))
    filtered, generated = make_filtered(tmp_path / "made", accepted=90, rejected=12)
    filtered.manifest.inputs["generate"] = generated.fingerprint

    def opened(origin: Path, overrides: list[str]) -> Any:
        assert "filter.review=null" in overrides
        store = SimpleNamespace(find=lambda stage, fingerprint: generated)
        read = load_recipe(origin, overrides)
        return SimpleNamespace(recipe=read, store=store, finished=lambda stage: filtered)

    monkeypatch.setattr(review, "open_pipeline", opened)
    return path


def tsqa(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["review", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_it_draws_reads_and_reports(recipe: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "runs" / "own" / "review", tmp_path / "out.json"
    tsqa(recipe, "--width", 0.4, "--export", out, "--format", "label-studio")
    sample, items = read_sample(folder)
    assert sample.wanted.width == 0.4 and len(json.loads(out.read_text())) == len(items)
    tsqa(recipe, "--export", out, "--format", "label-studio", "--force")
    assert read_sample(folder)[0] == sample, "without options the sample that is there"
    review_all(folder, items)
    tsqa(recipe, "--width", 0.2, "--export", tmp_path / "more.csv")
    larger, more = read_sample(folder)
    assert len(more) > len(items) and larger.dataset == sample.dataset
    assert str(folder / "report.html") in tsqa(recipe, "--report")
    page = (folder / "report.html").read_text()
    assert f"ann ({len({i.id for i in items} & {i.id for i in more})} decisions)" in page
    chosen = {"result": [{"from_name": "choice", "value": {"choices": ["accept"]}}]}
    tasks = [
        {**t, "annotations": [{"completed_by": 3, **chosen}]} for t in json.loads(out.read_text())
    ]
    out.write_text(json.dumps(tasks))
    assert f"{len(items)} new" in tsqa(recipe, "--import", out, "--format", "label-studio")


def test_a_report_on_another_dataset_says_so(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tsqa(recipe, "--width", 0.4, "--export", tmp_path / "out.csv")
    assert "these figures are of" not in tsqa(recipe, "--report")
    other = SimpleNamespace(finished=lambda stage: SimpleNamespace(fingerprint="another"))
    monkeypatch.setattr(review, "open_pipeline", lambda *_: other)
    said = " ".join(tsqa(recipe, "--report").split())
    assert "the recipe's dataset now is another: tsqa review" in said


def test_without_a_sample_there_is_no_report(recipe: Path) -> None:
    done = CliRunner().invoke(app, ["review", str(recipe), "--report"])
    assert done.exit_code and "no sample yet" in str(done.exception)


def test_an_unreviewed_dataset_that_is_gone_is_made_without_the_review(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(full_recipe(tmp_path)))
    done = CliRunner().invoke(app, ["review", str(path)])
    assert done.exit_code and f"tsqa filter {path} filter.review=null" in str(done.exception)
