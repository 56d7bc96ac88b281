"""A page for others names no path and no host, and shows what it keeps unchanged."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from eval.deltas import Gap
from eval.report import build as report
from eval.report.about import PageOrigin
from eval.report.share import Share
from tests.eval.report.test_build import (
    make_artifacts,
    make_deltas,
    make_recipe,
    plots_of,
    words_of,
)
from tsqa.recipe import Recipe

SECRET = "/home/alice/customers"
ENDPOINT = "https://gpu-12.cluster.example:8000/v1"


def hostile_recipe() -> Recipe:
    tree = make_recipe().model_dump(mode="json", by_alias=True)
    tree["model"]["path"] = f"{SECRET}/model"
    tree["mixture"]["sources"]["human"]["path"] = f"{SECRET}/web/shard.jsonl"
    teacher = {"engine": "openai", "urls": [ENDPOINT], "model": {"path": "Qwen/Qwen3-30B"}}
    tree["generate"]["teacher"] = teacher
    return Recipe.model_validate(tree)


def shared_page(root: Path, rejected: bool = True) -> str:
    recipe, deltas, artifacts = hostile_recipe(), make_deltas(), make_artifacts(root)
    reason = f"gpu-12.cluster.example: {SECRET}/log on {socket.gethostname()} (10.1.2.3) ended"
    deltas = replace(deltas, gaps={"lost": Gap("lost", reason)})
    ledger = artifacts["generate"].summary["ledger"]
    ledger[0] = ledger[0] | {"model": f"{SECRET}/teacher"}
    origin = PageOrigin(f"tsqa run {SECRET}/recipe.yaml runs={SECRET}/runs", "tsqa 1", "2 cores")
    stages = [report.StageRow("train", "", "ab", 1.0, True, f"{SECRET}/runs/train/ab", "")]
    share = Share(recipe, root, rejected)
    page = report.build(
        root / "r.html", recipe, stages, deltas, origin=origin, share=share, **artifacts
    )
    return page.read_text("utf-8")


def test_no_path_and_no_host_is_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "node-7.example")
    html = shared_page(tmp_path)
    hidden = (
        "alice",
        "customers",
        "gpu-12",
        "cluster.example",
        "10.1.2.3",
        "node-7",
        str(tmp_path),
    )
    assert [word for word in hidden if word in html] == []
    text = words_of(html)
    assert "Command tsqa run .../recipe.yaml runs=.../runs" in text
    assert "lost : [host]: .../log on [host] ([host]) ended" in text
    assert "path: .../shard.jsonl" in text and "https://[host]" in text
    assert "path: Qwen/Qwen3-30B" in text and "teacher .../teacher 400" in text
    assert "paths are shortened to .../name and host names are left out." in text


def test_rejected_items_are_left_out_on_request(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, part = shared_page(tmp_path / "a"), shared_page(tmp_path / "b", rejected=False)
    assert whole.count('data-fate="') == 80 and part.count('data-fate="') == 50
    assert "votes disagree 13" in words_of(part)
    assert "so are rejected items" in words_of(part)


def test_items_and_figures_are_those_of_the_own_page(tmp_path: Path) -> None:
    html = shared_page(tmp_path)
    artifacts = make_artifacts(tmp_path / "own")
    own = report.build(tmp_path / "own.html", make_recipe(), [], make_deltas(), **artifacts)
    assert plots_of(html) == plots_of(own.read_text("utf-8"))
    assert html.count("<pre>") == own.read_text("utf-8").count("<pre>")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Qwen/Qwen3-30B, 12 tokens/s, 1/2, before/after", None),
        ("synthetic=0.25,seed=1", None),
        ("[+1.0, +2.0] p < 0.05", None),
        ("read /data/x.", "read .../x."),
        ("~/corpora and ../up/file.txt", ".../corpora and .../file.txt"),
        ("model.path=/a/x then /b/x", "model.path=.../x then .../x (2)"),
        ("file:///srv/a/b and s3://bucket/key", ".../b and s3://[host]"),
        ("data/web.jsonl", ".../web.jsonl"),
    ],
)
def test_what_is_shortened(tmp_path: Path, text: str, shown: str | None) -> None:
    share = Share(make_recipe(), tmp_path)
    assert share.text(text) == (shown or text)
    assert share.text(share.text(text)) == share.text(text)
