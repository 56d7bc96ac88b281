"""The documents of a source that are nearest to the seeds: which, in what order, how many."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.generation import make_seed, with_benchmarks
from tests.support.sealed import invented_artifact
from tests.support.tiny_eval import make_tasks
from tests.support.token_context import token_context
from train.data import sources
from train.data.mixture import chosen_twice, plan_of
from train.tokens import decontaminate, nearest, shard_work, similarity, tokenize
from train.tokens.shard_work import CHOSEN
from tsqa.errors import DataError
from tsqa.recipe import EvalSection, Recipe, needed
from tsqa.store.artifact import Artifact
from tsqa.store.jsonl import read_jsonl, write_jsonl
from tsqa.store.roles import Role, SourceRole
from tsqa.store.stage import StageContext

LENGTH = 16
SEEDS = [
    make_seed(0, "What do owls eat at night?", "mice and voles"),
    make_seed(1, "Which metal melts in the hand?", "gallium"),
    make_seed(2, "Who found the comet?", "an evaluated answer about comets"),
]
ABOUT = [
    "An owl in the hills: owls eat mice at night.",
    "Gallium is a metal that melts in the hand.",
    "Owls hunt voles and mice.",
    "The comet was found by an answer about comets.",
]
LEAK = "What do owls eat at night? mice and voles, say the evaluated."


def other(number: int) -> str:
    words = ["river", "stone", "bread", "green", "paper", "song", "winter"]
    return " ".join([f"t{number}", *random.Random(number).choices(words, k=6)])


TEXTS = [other(n) for n in range(90)]
for _place, _text in zip((7, 30, 31, 64), ABOUT, strict=True):
    TEXTS[_place] = _text
TEXTS[50], TEXTS[80] = ABOUT[0], LEAK


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 600 bytes, so that little data makes many."""
    for module in (sources, shard_work):
        monkeypatch.setattr(module, "SHARD_BYTES", 600)


def world(
    folder: Path, rows: int, processes: int = 1, near: dict[str, Any] | None = None
) -> StageContext:
    """The stage `nearest` for the source `near`, of the size of another with `rows` rows."""
    folder.mkdir(exist_ok=True)
    pool = folder / "web.jsonl"
    lines = "".join(json.dumps({"id": f"d{n}", "text": t}) + "\n\n" for n, t in enumerate(TEXTS))
    pool.write_text(lines)
    chosen = {"nearest": {"pool": "web", **(near or {})}, "size_of": "web"}
    base = token_context(
        folder, {"web": {"path": str(pool)}}, train_on=pool, length=LENGTH, processes=processes
    )
    tree = base.recipe.model_dump(mode="json", by_alias=True)
    tree["seeds"] = {"tasks": ["toy"]}
    tree["mixture"]["sources"] |= {
        "sized": {"path": str(pool)},
        "near": chosen | {"size_of": "sized"},
    }
    tree["mixture"]["phases"][0]["ratios"] = {"web": 0.5, "near": 0.5}
    for name, records in (
        ("seeds", [asdict(seed) for seed in SEEDS]),
        ("guard", [{"id": SEEDS[2].id, "match": "an evaluated document"}]),
        ("check", [{"text": decontaminate.hash_of(LEAK), "reason": "item of the evaluated t-0"}]),
    ):
        (folder / name).mkdir()
        file = "seeds.jsonl" if name == "seeds" else "dropped.jsonl"
        write_jsonl(folder / name / file, records)
    inputs: dict[Role, Artifact] = {
        **base.inputs,
        "seeds": invented_artifact(folder / "seeds"),
        "guard": invented_artifact(folder / "guard"),
        "decontaminate": invented_artifact(folder / "check"),
        SourceRole("sized"): invented_artifact(
            folder / "sized", summary={"sources": {"sized": {"rows": rows}}}
        ),
    }
    return replace(base, recipe=Recipe.model_validate(tree), inputs=inputs, part="near")


def chosen(context: StageContext) -> list[dict[str, Any]]:
    return list(read_jsonl(context.out / CHOSEN))


def test_the_nearest_documents_come_first_each_with_its_origin_and_its_seed(tmp_path: Path) -> None:
    context = world(tmp_path / "one", rows=4)
    summary = nearest.run(context)
    found = chosen(context)
    assert {one["text"] for one in found[:3]} == {ABOUT[0], ABOUT[1], ABOUT[2]}
    seed_of = {one["text"]: one["seed"] for one in found}
    assert seed_of[ABOUT[1]] == SEEDS[1].id and seed_of[ABOUT[0]] == SEEDS[0].id
    scores = [one["score"] for one in found]
    assert scores == sorted(scores, reverse=True) and summary["lowest_score"] == scores[-1]
    lines = (tmp_path / "one" / "web.jsonl").read_text().splitlines()
    for one in found:
        record = json.loads(lines[one["line"] - 1])
        assert (record["id"], record["text"]) == (one["id"], one["text"])
        assert (one["source"], one["file"]) == ("web", "web.jsonl")
    tokens = [one["tokens"] for one in found]
    assert sum(tokens) == summary["tokens"] >= 4 * LENGTH > sum(tokens[:-1])
    two = world(tmp_path / "two", rows=4, processes=2)
    nearest.run(two)
    assert (two.out / CHOSEN).read_bytes() == (context.out / CHOSEN).read_bytes()
    assert not (context.out / "shards").exists()


def test_leaks_copies_and_evaluated_seeds_choose_nothing(tmp_path: Path) -> None:
    context = world(tmp_path / "one", rows=50)
    summary = nearest.run(context)
    found = chosen(context)
    texts = [one["text"] for one in found]
    assert LEAK not in texts and summary["dropped"] == 1
    assert texts.count(ABOUT[0]) == 1 and summary["chosen_from"] == len(set(TEXTS)) - 1
    assert SEEDS[2].id not in {one["seed"] for one in found} and summary["seeds"] == 2
    assert summary["unlike_any_seed"] == sum(one["score"] == 0 for one in found) > 0
    (note,) = read_jsonl(context.out / decontaminate.DROPPED)
    assert note["reason"] == "item of the evaluated t-0"


def test_what_was_found_in_the_pool_counts_as_touched_and_stays_out(tmp_path: Path) -> None:
    context = world(tmp_path / "one", rows=4)
    nearest.run(context)
    evaluated = EvalSection(tasks=["tiny_choice"], include=str(make_tasks(tmp_path / "tasks")))
    inputs = with_benchmarks(tmp_path / "benchmarks", {}, evaluated)
    recipe = context.recipe.model_copy(update={"eval": evaluated})
    (tmp_path / "checked").mkdir()
    chosen = invented_artifact(context.out)
    checking = replace(
        context, recipe=recipe, inputs={**inputs, "nearest": chosen}, out=tmp_path / "checked"
    )
    counts = decontaminate.run(checking)
    assert (counts["dropped"], counts["dropped_before"]) == (0, 1), "not of those chosen"
    assert decontaminate.read_dropped(checking.out) == {
        decontaminate.hash_of(LEAK): "item of the evaluated t-0"
    }


def test_too_small_a_source_is_refused_with_the_numbers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"near: web holds [\d,]+ tokens .*short by [\d,]+ tokens"):
        nearest.run(world(tmp_path / "one", rows=1000))
    with pytest.raises(DataError, match="sized, which has no rows"):
        nearest.run(world(tmp_path / "two", rows=0))


def test_what_was_scored_before_a_kill_is_not_scored_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = world(tmp_path / "whole", rows=4)
    nearest.run(whole)
    context = world(tmp_path / "killed", rows=4)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(nearest._Reader, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            nearest.run(context)
    monkeypatch.setattr(nearest._ScoreTask, "write", killed)
    nearest.run(context)
    assert (context.out / CHOSEN).read_bytes() == (whole.out / CHOSEN).read_bytes()


def test_the_source_has_the_rows_of_the_other_and_says_that_it_is_read_twice(
    tmp_path: Path,
) -> None:
    context = world(tmp_path / "one", rows=3)
    summary = nearest.run(context)
    made = {"nearest": invented_artifact(context.out)}
    (tmp_path / "tokens").mkdir()
    tokens = replace(context, inputs=context.inputs | made, out=tmp_path / "tokens")
    counted = tokenize.run(tokens)["sources"]["near"]
    assert counted["tokens"] == summary["tokens"] and counted["rows"] >= 3
    rows = {"web": 40, "sized": 3, "near": counted["rows"]}
    recipe = context.recipe.model_copy(
        update={
            "mixture": needed(context.recipe.mixture, "mixture").model_copy(
                update={"max_repetition": 100.0}
            )
        }
    )
    made_plan = plan_of(recipe, rows)
    assert dict(zip(made_plan.sources, made_plan.rows, strict=True)) == {"near": 3, "web": 40}
    assert chosen_twice(recipe) == {"near": ["web"]}


class Topics:
    """An embedding by topic: owls, metals, all else."""

    def encode(self, sentences: list[str], *, normalize_embeddings: bool) -> NDArray[np.float32]:
        found = [(("owl" in s.lower()), ("metal" in s.lower()), 0.5) for s in sentences]
        vectors = np.array(found, np.float32).reshape(-1, 3)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_model_compares_by_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Sequence[str]] = []

    def load(*named: str) -> Topics:
        asked.append(named)
        return Topics()

    monkeypatch.setattr(similarity, "load_model", load)
    similarity._encoder.cache_clear()
    context = world(tmp_path / "one", rows=6, near={"model": "org/topics"})
    nearest.run(context)
    assert {one["text"] for one in chosen(context)[:3]} == set(ABOUT[:3])
    assert asked == [("org/topics", "mixture.sources.near.nearest")]
    similarity._encoder.cache_clear()
