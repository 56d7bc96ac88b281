"""The shipped recipes of documents, from passages to a dataset, asked of a dummy endpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval.report.dataset import draw_items
from tests.support.paths import REPOSITORY
from tests.tsqa.preview.test_preview import TASK
from tests.tsqa.teachers.test_openai_engine import Reply, ok, served
from tsqa.console import make_console
from tsqa.curated.files import read_curated, read_rejected
from tsqa.curated.lineage import find_candidates, find_seeds, rebuild_prompts
from tsqa.pipeline.run import Pipeline
from tsqa.preview import show
from tsqa.preview.estimate import Estimates
from tsqa.preview.run import Preview
from tsqa.recipe import load_recipe
from tsqa.records.rows import read_lineage
from tsqa.store.artifact import Artifact
from tsqa.store.jsonl import write_jsonl

PLACES = ("Orva", "Belm", "Tarn", "Ulst", "Imre", "Dost")
SECRET = (
    "Nobody but the keeper of the light and his two brothers knew of the hidden stair behind it."
)
EVALUATED = (
    "On the coast of Kelm a mill was built by monks, who ground the corn of many villages there."
)


def passage(place: str) -> str:
    return (
        f"The lighthouse of {place} was built by {place.lower()}ic masons after a war. {SECRET} "
        f"Its lamp burned oil until the railway came to {place}, and then it burned gas instead."
    )


def answer(body: dict[str, Any], attempt: int) -> Reply:
    """Asks about the place of the passage and answers from it; knows Tarn without it."""
    said = body["messages"][-1]["content"]
    place = re.search("lighthouse of (\\w+)", said)
    assert place, said
    if "Write one question" in said:
        return ok(json.dumps({"question": f"Who built the lighthouse of {place[1]}?"}))
    is_known = "Passage: " in said or place[1] == "Tarn"
    found = f"{place[1].lower()}ic masons" if is_known else "giants"
    return ok(json.dumps({"reasoning": f"The passage names {found}.", "answer": found}))


def rephrase(body: dict[str, Any], attempt: int) -> Reply:
    """Tells each passage again; of Belm with a wrong number, of Tarn word for word; of Ulst as a
    benchmark asks; not of Imre."""
    text = body["messages"][-1]["content"].partition("Passage: ")[2].partition("\n\n")[0]
    place = re.search("lighthouse of (\\w+)", text)
    assert place, body
    name = place[1]
    told = (
        f"Here is the rewritten passage:\n\nAfter a war, {name.lower()}ic masons put up what is "
        f"now the lighthouse of {name}; its keeper and two brothers guarded a secret stair. Gas "
        f"took the place of oil in the lamp when trains first reached {name}."
    )
    changed = {
        "Belm": f"{told} That was in 1802.",
        "Tarn": text,
        "Ulst": f"{told} And {EVALUATED.partition('Kelm ')[2]}",
        "Imre": "I'm sorry, but I cannot rewrite this passage.",
    }
    return ok(changed.get(name, told))


def run_recipe(
    name: str,
    folder: Path,
    reply: Callable[[dict[str, Any], int], Reply],
    first: Callable[[Pipeline], None] = lambda pipeline: None,
) -> tuple[dict[str, Artifact], int]:
    """The artifacts of a shipped recipe by their stage, and how many passages there were.

    `first`: what to do before it runs.
    """
    (folder / "tasks").mkdir()
    (folder / "tasks" / "own.yaml").write_text(TASK.format(folder=folder))
    asked = {"question": f"{EVALUATED} Who ground the corn of Kelm?", "answer": "monks"}
    write_jsonl(folder / "test.jsonl", [asked])
    texts = [*map(passage, PLACES), f"The lighthouse of Kelm stands high. {EVALUATED} {SECRET}"]
    texts += [passage(f"{place}{n}") for n in range(3) for place in PLACES]
    write_jsonl(folder / "books.jsonl", ({"text": text} for text in texts))
    path = REPOSITORY / "recipes" / "documents" / f"{name}.yaml"
    with served(reply) as server:
        given = [
            f"runs={folder / 'runs'}",
            "tracking.mode=disabled",
            f"seeds.documents.0.path={folder / 'books.jsonl'}",
            f"generate.teacher.urls=['{server.url}']",
            "generate.per_seed=1",
            "eval.tasks=[own_task]",
            f"eval.include={folder / 'tasks'}",
        ]
        pipeline = Pipeline(load_recipe(path, given), path, given)
        first(Pipeline(load_recipe(path, given), path, given))
        pipeline.run()
        pipeline.run()
    found = {node.stage: pipeline.find(node) for node in pipeline.nodes}
    return {stage: made for stage, made in found.items() if made}, len(texts)


@pytest.mark.parametrize("name", ["rqa", "fact_seeking"])
def test_a_recipe_of_documents_runs_to_its_dataset(name: str, tmp_path: Path) -> None:
    made, count = run_recipe(name, tmp_path, answer)
    assert made["guard"].summary["dropped"] == 1
    dataset = made["filter"]
    rows = list(read_curated(dataset.path))
    is_read = name == "rqa"
    places = {row.question.split()[-1].rstrip("?") for row in rows}
    assert "Kelm" not in places and ("Tarn" in places) != is_read
    assert len(rows) == count - 1 - is_read
    for row in rows:
        assert (SECRET in row.text) == (SECRET in row.context) == is_read
        assert bool(row.reasoning) == is_read, "nothing points at a passage that is not there"
    card = (dataset.path / "dataset" / "README.md").read_text()
    assert "about passages of the documents books" in card and "*training* splits" not in card
    assert (f"{len(rows)} items hold their seed" in card) == is_read


def preview_rephrasings(pipeline: Pipeline) -> None:
    """Of 25 passages: what a dry run and a preview show."""
    estimates = Estimates(pipeline)
    (node,) = (node for node in pipeline.nodes if node.stage == "generate")
    assert estimates.of(node).requests.high == 100, "max_per_task, asked once"
    assert estimates.of(node).prompt_tokens.high == 100 * 700, "each prompt holds a passage"
    with Preview(pipeline) as preview:
        items = preview.run(preview.seeds(25, None))
    console = make_console(width=80, record=True)
    show.print_items(items, console)
    printed = console.export_text()
    assert "asked to be: style" in printed and "number that the passage lacks" in printed
    assert [len(item.exchanges) for item in items] == [1] * 25
    assert sum(item.document.startswith("After a war") for item in items) == 20
    show.write_page(items, "rephrasings", pipeline.store.root.parent.parent / "page.html")


def test_passages_are_rephrased_compared_and_traced(tmp_path: Path) -> None:
    made, count = run_recipe("rephrase", tmp_path, rephrase, preview_rephrasings)
    dataset = made["filter"]
    rows, lost = list(read_curated(dataset.path)), list(read_rejected(dataset.path))
    assert dataset.summary["rejected_by_reason"] == {
        "refusal: refusal": 1,
        "guard: made from a document of an evaluated split": 1,
        "faithful: number that the passage lacks": 1,
        "copy: copy of its passage": 1,
        "decontamination: ngram": 1,
    }
    assert len(rows) == count - len(lost) == count - 5
    for row in rows:
        assert row.text == row.answer and row.text.startswith("After a war")
        assert not row.question and not row.context and row.agreement is None
        assert row.licence == "public domain"
        lineage = read_lineage(row.lineage)
        assert lineage.votes == [] and lineage.attributes == {"style": row.rendering}
        assert lineage.seed_ids == [row.seed_id] and "books.jsonl:" in row.seed_id
    assert {row.rendering for row in rows} == {"faq", "table", "tutorial", "math"}
    assert [step["step"] for step in dataset.summary["funnel"]] == [
        *("refusal", "format", "guard", "length", "language", "faithful", "copy", "dedup"),
        "decontamination",
    ]
    assert made["generate"].summary["ledger"][0]["requests"] == count
    card = (dataset.path / "dataset" / "README.md").read_text()
    assert f"{len(rows)} rephrasings of passages of the documents books" in card
    assert "question-answering" not in card
    items = draw_items(dataset, made["generate"], 0)
    assert {item.agreement for item in items} == {None}, "nobody voted"
    assert all(item.text and item.question for item in items if item.answer)
    assert "vote" not in card.partition("## Teachers")[0].replace("questions and votes", "")
    (record,) = find_candidates(made["generate"], [rows[0].id]).values()
    seeds = find_seeds(made["seeds"], record.seed_ids)
    prompts = rebuild_prompts(record, seeds, [])
    assert list(prompts) == ["rephrase"] and record.ground in str(prompts["rephrase"])
