"""Decisions as an input of the filter: what they drop, what they change, what they decide."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.embedding import BagOfWords
from tests.support.filter_records import record
from tests.support.generation import (
    artifact,
    eval_section,
    generate_section,
    make_context,
    make_seed,
    seeds_section,
)
from tests.support.sealed import invented_artifact
from tsqa.curated.card import CARD
from tsqa.curated.files import DATASET, read_curated, read_rejected
from tsqa.errors import DataError, RecipeError, TsqaError
from tsqa.filters.definition import FILTER
from tsqa.filters.stage import run
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import (
    DecontaminateSection,
    FilterSection,
    ModelSection,
    ReviewSection,
    SemanticLeakSection,
    TeacherSection,
)
from tsqa.records.rows import read_lineage
from tsqa.records.summaries import ReviewSummary
from tsqa.review.apply import identify_decisions, refuse_errors
from tsqa.review.decisions import FOLDER, Log, make_decision
from tsqa.review.sample import Wanted, draw, write_sample
from tsqa.store.artifact import Artifact
from tsqa.store.jsonl import write_jsonl

ANIMALS = ["otter", "heron", "lynx", "mole", "toad", "wasp", "newt", "crab", "hare", "swan"]

LEAK = {
    "question": "Which river flows past the old mill below the castle of the count?",
    "answer": "the Severn",
}
"""An evaluated document."""
FOREIGN = "Welcher Fluss zieht unter der Burg des Grafen vorbei?"
"""It in other words."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    folder = tmp_path_factory.mktemp("inputs")
    for name in ("seeds", "benchmarks"):
        (folder / name).mkdir()
    shots = [asdict(make_seed(number, task="mini_day")) for number in range(2)]
    write_jsonl(folder / "seeds" / "seeds.jsonl", shots)
    (folder / "seeds" / "training_keys.jsonl").touch()
    evaluated = make_seed(7, LEAK["question"], LEAK["answer"], task="exam")
    write_jsonl(folder / "benchmarks" / "documents.jsonl", [asdict(evaluated)])
    generated = folder / "generate"
    generated.mkdir()
    lines = [
        record(f"c{n}", f"Where does the {a} sleep?", [f"den {a}"] * 3)
        for n, a in enumerate(ANIMALS)
    ]
    lines.append(record("odd", "What do the badger and the stoat share?", ["a", "b", "c"]))
    (generated / "candidates.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return {name: artifact(folder / name) for name in ("benchmarks", "seeds", "generate")}


def recipe(folder: Path, **section: Any) -> Any:
    review = FilterSection(review=ReviewSection(**section), agreement=0.6)
    return SimpleNamespace(runs=str(folder), name="r", filter=review)


def filter_all(
    folder: Path, inputs: dict[str, Artifact], out: str, **filters: Any
) -> tuple[Path, dict[str, Any]]:
    """Run the stage as a recipe with `filter.review` does."""
    context = make_context(
        folder / out,
        inputs,
        filter=recipe(folder).filter.model_copy(update=filters),
        seeds=seeds_section(),
        eval=eval_section(),
        generate=generate_section(
            teacher=TeacherSection(model=ModelSection(path="m"), form="completion")
        ),
    )
    context.recipe.runs, context.recipe.name = str(folder), "r"  # type: ignore[misc]
    config = FILTER.config(context.recipe)
    summary = run(replace(context, config=config))
    return context.out, summary


def sampled(folder: Path, inputs: dict[str, Artifact], **filters: Any) -> dict[str, Any]:
    """Filter, draw all, and give the items by id."""
    out, summary = filter_all(folder, inputs, "before", **filters)
    made = invented_artifact(out, summary=summary)
    sample, items = draw(made, inputs["generate"], "r", 0, Wanted(0.001, 0.5, 10))
    write_sample(folder / "r" / "review", sample, items)
    return {item.id: item for item in items}


def decide(folder: Path, items: Sequence[Any], choice: str, **more: Any) -> None:
    log = Log(folder / "r" / "review")
    for item in items:
        log.add(make_decision(item, "ann", choice, "wrong answer", **more))


def test_rejected_items_go_and_edited_ones_carry_who_and_when(
    tmp_path: Path, inputs: dict[str, Artifact]
) -> None:
    items = sampled(tmp_path, inputs)
    assert {*items} == {*(f"c{n}" for n in range(10)), "odd"}
    decide(tmp_path, [items[f"c{n}"] for n in range(3, 10)], "accept")
    decide(tmp_path, [items["c0"]], "reject")
    edits = {"question": "Where does the tawny owl sleep?", "answer": "in a hollow tree"}
    decide(tmp_path, [items["c1"]], "edit", edits=edits, when="2030-01-01T00:00:00Z")
    decide(tmp_path, [items["c2"]], "edit", edits=LEAK)
    out, summary = filter_all(tmp_path, inputs, "after")
    rows = {row.id: row for row in read_curated(out)}
    assert {*rows} == {f"c{n}" for n in (1, *range(3, 10))}
    edited = rows["c1"]
    assert (edited.question, edited.answer) == (edits["question"], edits["answer"])
    assert edits["answer"] in edited.text
    assert edited.agreement is None and rows["c3"].agreement == 1, "nobody voted for it"
    lineage = read_lineage(edited.lineage)
    assert lineage.edit is not None and vars(lineage.edit) == {
        "fields": ["answer", "question"],
        "by": "ann",
        "when": "2030-01-01T00:00:00Z",
    }
    gone = {row.id: (row.step, row.reason) for row in read_rejected(out)}
    assert gone["c0"] == ("review", "wrong answer")
    assert gone["c2"][0] == "decontamination", "an edit is checked like any text"
    review = ReviewSummary(**summary["review"])
    assert (review.dropped, review.edited, review.accepted, review.reviewed) == (1, 2, 10, 10)
    assert review.is_of_this and review.stale == 0 and review.error == pytest.approx(0.3)
    assert "review" in [row["step"] for row in summary["funnel"]]
    card = (out / DATASET / CARD).read_text()
    assert "30.0%" in card and "No person" not in card
    assert "| unfit, mini_day, commonsense, votes agree: all | 30.0% | 5.9% to 67.2% |" in card


class Tongues(BagOfWords):
    """Knows what a question in another language asks."""

    def __init__(self) -> None:
        super().__init__(512)

    def encode(self, texts: list[str], *, normalize_embeddings: bool) -> NDArray[np.float32]:
        told = [text.replace(FOREIGN, LEAK["question"]) for text in texts]
        return super().encode(told, normalize_embeddings=normalize_embeddings)


def test_an_edit_is_compared_by_meaning_too(
    tmp_path: Path, inputs: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsqa.decontaminate.semantic.load_model", lambda *_: Tongues())
    monkeypatch.setattr("tsqa.filters.definition.identify_model", lambda name: name)
    monkeypatch.setattr("tsqa.decontaminate.semantic.identify_model", lambda name: name)
    by_meaning = DecontaminateSection(semantic=SemanticLeakSection(model="org/embedding"))
    items = sampled(tmp_path, inputs, decontaminate=by_meaning)
    edits = {"question": FOREIGN, "answer": "der Severn"}
    decide(tmp_path, [items["c1"]], "edit", edits=edits)
    out, summary = filter_all(tmp_path, inputs, "after", decontaminate=by_meaning)
    gone = {row.id: row for row in read_rejected(out)}
    found = gone["c1"]
    assert (found.step, found.reason, found.match) == ("decontamination", "semantic", "exam-7")
    review = ReviewSummary(**summary["review"])
    assert review.edited == 1 and review.is_of_this
    assert summary["decontamination_by_task"] == {"mini_day": {"semantic": 1}}


def test_the_decisions_decide_the_fingerprint_and_nothing_else_does(
    tmp_path: Path, inputs: dict[str, Artifact]
) -> None:
    with_key, without = recipe(tmp_path), recipe(tmp_path)
    without.filter = FilterSection(agreement=0.6)
    plain = FILTER.config(without)
    assert FILTER.config(with_key) == plain, "no decisions: the artifact of before"
    items = sampled(tmp_path, inputs)
    assert FILTER.config(with_key) == plain
    decide(tmp_path, [items["c0"]], "skip")
    assert FILTER.config(with_key) == plain
    decide(tmp_path, [items["c0"]], "accept")
    first = FILTER.config(with_key)
    assert first["review"] and FILTER.config(without) == plain
    assert FILTER.config(recipe(tmp_path, max_error=0.1)) == first
    named = recipe(tmp_path, decisions=str(tmp_path / "r" / "review"))
    assert FILTER.config(named) == first, "a path decides nothing"
    log = tmp_path / "r" / "review" / FOLDER / "ann.jsonl"
    with log.open("a") as handle:
        handle.write('{"torn')
    assert FILTER.config(with_key) == first
    decide(tmp_path, [items["c0"]], "reject")
    assert FILTER.config(with_key) != first
    with pytest.raises(RecipeError, match="no such folder"):
        identify_decisions(recipe(tmp_path, decisions=str(tmp_path / "none")))


def test_a_decision_after_the_command_began_is_not_used_under_the_older_name(
    tmp_path: Path, inputs: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    items = sampled(tmp_path, inputs)
    decide(tmp_path, [items["c0"]], "accept")
    monkeypatch.setattr(
        "tsqa.filters.stage.ReviewStep", lambda *_: decide(tmp_path, [items["c1"]], "reject")
    )
    with pytest.raises(DataError, match="somebody decided since"):
        filter_all(tmp_path, inputs, "after")


def test_decisions_on_another_text_change_nothing_and_are_counted(
    tmp_path: Path, inputs: dict[str, Artifact]
) -> None:
    items = sampled(tmp_path, inputs)
    decide(tmp_path, [items["c0"]], "reject")
    lines = (inputs["generate"].path / "candidates.jsonl").read_text()
    other = tmp_path / "generate"
    other.mkdir()
    (other / "candidates.jsonl").write_text(lines.replace("the otter sleep", "the otter rest"))
    out, summary = filter_all(tmp_path, inputs | {"generate": artifact(other)}, "after")
    assert "c0" in {row.id for row in read_curated(out)}
    review = ReviewSummary(**summary["review"])
    assert (review.dropped, review.stale, review.is_of_this) == (0, 1, False)


def reviewed(**changes: Any) -> Artifact:
    found = ReviewSummary(
        reviewers=1, reviewed=200, accepted=2000, dropped=6, edited=0, stale=0, is_of_this=True,
        covered=1.0, error=0.03, error_low=0.01, error_high=0.06, remaining=0.027,
        remaining_high=0.055, alpha=None,
    )  # fmt: skip
    summary = {"curated": 1994, "review": {**asdict(found), **changes}}
    return invented_artifact(Path("filter"), summary=summary)


def test_training_is_refused_with_what_is_missing() -> None:
    asked = ReviewSection(max_error=0.05)
    refuse_errors(ReviewSection(), reviewed(), "r.yaml")
    refuse_errors(ReviewSection(max_error=0.06), reviewed(), "r.yaml")
    none = invented_artifact(Path("filter"), summary={"curated": 2000})
    for made, said in (
        (none, r"nobody reviewed the dataset\n.*about \d+ accepted items"),
        (reviewed(), r"at most 0.0550 after 200 reviews.*\n.*about \d+ more accepted items"),
        (reviewed(is_of_this=False, remaining_high=0.01), "another version of the dataset"),
        (reviewed(covered=0.9, remaining_high=0.01), "10.0% of the accepted items"),
    ):
        with pytest.raises(TsqaError, match=f"(?s)max_error 0.05: .*{said}"):
            refuse_errors(asked, made, "r.yaml")


def test_the_pipeline_asks_before_each_training_and_of_its_own_data() -> None:
    """Also of a training that is done, as other guards do."""

    def node(stage: str, *inputs: Any, most: float | None = None) -> Any:
        review = ReviewSection(max_error=most) if most else None
        section = SimpleNamespace(filter=FilterSection(review=review))
        named = dict(enumerate(inputs))
        return SimpleNamespace(stage=stage, inputs=named, recipe=section, origin=Path("r.yaml"))

    pipeline: Any = SimpleNamespace(
        find=lambda upstream: reviewed(), told=lambda upstream: "r.yaml"
    )
    strict = node("train", node("tokenize", node("filter", most=0.05)))
    with pytest.raises(TsqaError, match=r"max_error 0\.05"):
        Pipeline.refuse_unreviewed(pipeline, strict)
    Pipeline.refuse_unreviewed(pipeline, strict.inputs[0])
    Pipeline.refuse_unreviewed(pipeline, node("train", node("filter", most=0.06)))
    Pipeline.refuse_unreviewed(pipeline, node("train", node("filter")))
    gone: Any = SimpleNamespace(find=lambda upstream: None, told=lambda upstream: "r.yaml")
    strict.inputs[0].inputs[0].label = "filter"
    with pytest.raises(TsqaError, match="filter is not built"):
        Pipeline.refuse_unreviewed(gone, strict)
