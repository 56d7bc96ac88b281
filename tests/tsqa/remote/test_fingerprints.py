"""A recipe whose data moved to a bucket names the artifacts that it had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.buckets import Bucket, fill
from tests.support.released import write_recipe
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe


def test_every_fingerprint_stays_when_seeds_and_sources_move(
    tmp_path: Path, bucket: Bucket
) -> None:
    web = tmp_path / "web"
    (web / "more").mkdir(parents=True)
    (web / "a.jsonl").write_text('{"text": "one"}\n')
    (web / "more" / "b.jsonl").write_text('{"text": "two"}\n')
    recipe = write_recipe(
        tmp_path,
        model={"config": {"model_type": "nemotron"}},
        tokenizer={"train_on": [str(web)], "vocab_size": 300},
        mixture={
            "sources": {"web": {"path": str(web)}},
            "phases": [{"tokens": 64, "ratios": {"web": 1}}],
        },
        train={"sequence_length": 16, "global_batch_tokens": 16, "lr": 1e-3},
    )
    bucket.put("own.jsonl", (tmp_path / "own.jsonl").read_bytes())
    url = fill(bucket, web, "data/web")
    moved: list[Any] = [
        f"seeds.datasets.0.path={bucket.url}/own.jsonl",
        f"mixture.sources.web.path={url}",
        f"tokenizer.train_on=[{url}/]",
    ]

    def fingerprints(overrides: list[str]) -> dict[str, str]:
        pipeline = Pipeline(load_recipe(recipe, overrides), recipe, overrides)
        return {pipeline.label(node): node.fingerprint for node in pipeline.nodes}

    here = fingerprints([])
    assert {"seeds", "tokenizer", "tokenize:web", "train:main"} <= {*here}
    assert fingerprints(moved) == here
    bucket.put("data/web/more/b.jsonl", b'{"text": "tow"}\n')
    changed = fingerprints(moved)
    assert {label for label in here if changed[label] != here[label]} >= {
        "tokenize:web",
        "train:main",
    }
    assert changed["seeds"] == here["seeds"]
