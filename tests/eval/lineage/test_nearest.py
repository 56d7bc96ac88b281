"""Templates do not make two documents near; either side of a comparison counts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from eval.lineage import nearest
from eval.lineage.nearest import Nearness, _own_runs, _runs
from tests.support.curated_rows import curated_row
from tests.support.embedding import BagOfWords
from tests.support.generation import artifact, make_seed
from tsqa.curated.files import DatasetWriter
from tsqa.decontaminate.semantic import Embedder
from tsqa.store.jsonl import write_jsonl


def test_what_many_documents_share_does_not_count() -> None:
    texts = {("t", i): f"which day comes after word{i} of week{i}" for i in range(12)}
    own = _own_runs({key: _runs(text) for key, text in texts.items()})
    assert ("which", "day", "comes") not in own["t", 0]
    assert ("after", "word0", "of") in own["t", 0]
    assert _runs("caf\u00e9 au <b>lait</b>") == {("cafe", "au", "lait")}


def test_the_nearest_of_both_sides() -> None:
    near = Nearness({"x": {("t", 0): 0.2}, "c": {("t", 0): 0.5}})
    assert near.between("x", "c") == {"words": {("t", 0): 0.5}}
    assert near.between("a", "b") == {}


def test_with_an_embedding_model_the_nearest_item_in_meaning_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("benchmarks", "filter", "out"):
        (tmp_path / name).mkdir()
    asked = ["How deep is the lake at the old mill?", "Which pilot flew over the pole first?"]
    documents = [asdict(make_seed(n, question)) for n, question in enumerate(asked)]
    write_jsonl(tmp_path / "benchmarks" / nearest.DOCUMENTS, documents)
    with DatasetWriter(tmp_path / "filter") as writer:
        for number, question in enumerate([asked[0], "Name a fruit.", ""]):
            writer.curated(curated_row(number, question=question, choices=[], context=""))
    data, made = artifact(tmp_path / "filter"), artifact(tmp_path / "benchmarks")
    monkeypatch.setattr(nearest, "evaluated_benchmarks", lambda _: [made])
    monkeypatch.setattr(
        nearest, "data_reader", lambda _: lambda _: SimpleNamespace(filtered=[data])
    )
    model = BagOfWords(4096)
    found = nearest.nearness({"x": [data]}, Embedder(model, "bag", tmp_path / "out"))
    first, other = (found.between("x", "c")["meaning"][make_seed(0).task, n] for n in range(2))
    assert first == pytest.approx(1, abs=0.01) and other < 0.5
    assert nearest.nearness({"x": [data]}).meant == {}
