"""The page gets every artifact of the recipe in its right place."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from eval.statistics.stats import points
from tests.eval.report.test_build import make_artifacts, plots_of, words_of
from tests.support import page_world
from tests.support.sealed import invented_artifact
from tsqa.errors import TsqaError
from tsqa.pipeline import report as summary
from tsqa.pipeline.report import write_report
from tsqa.records.quality import QualityMeasure, QualityReport, hash_of_data, keep_report
from tsqa.store.artifact import Artifact
from tsqa.store.jsonl import write_json
from tsqa.store.roles import parse_label

ARM = "synthetic=0.5,seed=1"


def pipeline_of(root: Path, labels: dict[str, Artifact]) -> Any:
    """What write_report asks of a pipeline, over finished artifacts."""
    recipe = page_world.make_recipe([0.0, 0.5], [1, 2])
    nodes = [
        SimpleNamespace(label=label, labelled=parse_label(label), recipe=recipe, fingerprint=label)
        for label in labels
    ]
    return SimpleNamespace(
        nodes=nodes,
        recipe=recipe,
        origin=root / "recipe.yaml",
        overrides=["train.lr=1"],
        folder=root / "run",
        ran=set(),
        find=lambda node: labels[node.label],
        label=lambda node: node.label,
        told=lambda: "recipe.yaml train.lr=1",
    )


@pytest.fixture
def labels(tmp_path: Path) -> dict[str, Artifact]:
    recipe = page_world.make_recipe([0.0, 0.5], [1, 2])
    evaluations = page_world.make_evaluations(tmp_path, recipe, ["day", "unit"], 40)
    half = page_world.evaluation(tmp_path / "half", {"day": [1, 0], "unit": [0, 0]}, tokens=500)
    compared = tmp_path / "compared"
    compared.mkdir()
    write_json(compared / "deltas.json", page_world.make_deltas(recipe, evaluations).to_json())
    others = make_artifacts(tmp_path)
    dataset = others["datasets"]["filter"]
    dataset.manifest.inputs.update(seeds="s", generate="g")
    return {
        "seeds:votes=1": invented_artifact(tmp_path, fingerprint="other", summary={}),
        "seeds:votes=5": others["seeds"],
        "generate:votes=5": others["generate"],
        "filter:votes=5": dataset,
        "tokenize:votes=1": tokenized("other", 4000),
        "tokenize:votes=5": tokenized(dataset.fingerprint, 5000),
        **{f"train:{n}": a for n, a in page_world.make_train(tmp_path / "t", recipe).items()},
        **{f"evaluate:{name}": artifact for name, artifact in evaluations.items()},
        f"evaluate:{ARM}@500": half,
        "compare": invented_artifact(compared, fingerprint="c", summary={}),
    }


def tokenized(dataset: str, tokens: int) -> Artifact:
    source = {"documents": 50, "dropped": 2, "tokens": tokens}
    summary = {"sources": {"synthetic": source}}
    manifest = {"fingerprint": "t", "inputs": {"filter": dataset}, "summary": summary}
    return invented_artifact(Path(), **manifest)


def test_every_artifact_reaches_its_place_on_the_page(
    tmp_path: Path, labels: dict[str, Artifact]
) -> None:
    page = write_report(pipeline_of(tmp_path, labels)).read_text("utf-8")
    plots = plots_of(page)
    assert len(plots["loss"][0][1]["data"]) == 4
    [curve] = dict(plots["tokens"])["day"]["data"]
    assert curve["x"] == [0, 500, 1_000_000] and curve["y"][1] == 50
    text = words_of(page)
    assert "50 of 80" not in text and "80 candidates, 50 curated" in text
    assert "knowledge 110 38 37 60 50 83.3%" in text and "teacher small-7b 400" in text
    assert "tokenize:votes=1 synthetic 50 2 4,000 tokenize:votes=5 synthetic 50 2 5,000" in text
    assert " all 800 182,000 84,000 36.0 s 2,333 0.04 8.00 0.80" in text  # of 5,000 tokens
    assert "no result" not in text


def test_an_audit_is_on_the_page_where_it_is_of_this_dataset(
    tmp_path: Path, labels: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pipeline = pipeline_of(tmp_path, labels)
    made, seeds = labels["filter:votes=5"], labels["seeds:votes=5"]
    seeds.manifest.__dict__["fingerprint"] = "s"
    measure = QualityMeasure(dimension="privacy", name="copied", limits="by words", value=0.25)
    of_this = hash_of_data(made, seeds)
    for data, is_shown in (("of other data", False), (of_this, True)):
        report = QualityReport("r", made.fingerprint, "s", data, 0, 50, 40, 30, [], [measure])
        keep_report(Path(pipeline.recipe.runs), report)
        text = words_of(write_report(pipeline).read_text("utf-8"))
        assert ("privacy: copied 0.250 [open, open]" in text) == is_shown
        assert ("40 of 50 items, 30 seeds" in text) == is_shown


def test_the_page_and_the_table_hold_the_same_numbers(
    tmp_path: Path, labels: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(file=io.StringIO(), width=300)
    monkeypatch.setattr(summary, "console", console)
    page = words_of(write_report(pipeline_of(tmp_path, labels)).read_text("utf-8"))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    deltas = json.loads((labels["compare"].path / "deltas.json").read_text())
    for row in deltas["rows"]:
        interval = f"[{points(row['low'])}, {points(row['high'])}]"
        assert interval in page and interval in printed
        assert f"{100 * row['score']:.1f}% {points(row['delta'])}" in page


def test_the_page_says_why_an_arm_failed(tmp_path: Path, labels: dict[str, Artifact]) -> None:
    pipeline = pipeline_of(tmp_path, labels)
    path = labels["compare"].path / "deltas.json"
    gaps = {ARM: {"condition": "synthetic=0.5", "reason": "not evaluated"}}
    write_json(path, json.loads(path.read_text()) | {"gaps": gaps})
    text = words_of(write_report(pipeline, {ARM: "7.6 epochs", "compare": "x"}).read_text("utf-8"))
    assert f"{ARM} : 7.6 epochs" in text


def test_an_unfinished_stage_is_named(tmp_path: Path, labels: dict[str, Artifact]) -> None:
    pipeline = pipeline_of(tmp_path, labels)
    pipeline.find = lambda node: None if node.label == "compare" else labels[node.label]
    with pytest.raises(TsqaError, match="compare is not built"):
        write_report(pipeline)


def test_a_recipe_without_dataset_and_comparison_has_no_page(tmp_path: Path) -> None:
    pipeline = pipeline_of(tmp_path, {})
    assert write_report(pipeline) == pipeline.folder and not pipeline.folder.exists()
