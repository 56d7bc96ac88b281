"""The shipped recipes of documents, from passages to a dataset, asked of a dummy endpoint."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import REPOSITORY
from tests.tsqa.preview.test_preview import TASK
from tests.tsqa.teachers.test_openai_engine import Reply, ok, served
from tsqa.curated.files import read_curated
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe
from tsqa.store.jsonl import write_jsonl

PLACES = ("Orva", "Belm", "Tarn", "Ulst", "Imre", "Dost")
SECRET = (
    "Nobody but the keeper of the light and his two brothers knew of the hidden stair behind it."
)
EVALUATED = (
    "On the coast of Kelm a mill was built by monks, who ground the corn of nine villages there."
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


@pytest.mark.parametrize("name", ["rqa", "fact_seeking"])
def test_a_recipe_of_documents_runs_to_its_dataset(name: str, tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "own.yaml").write_text(TASK.format(folder=tmp_path))
    asked = {"question": f"{EVALUATED} Who ground the corn of Kelm?", "answer": "monks"}
    write_jsonl(tmp_path / "test.jsonl", [asked])
    texts = [*map(passage, PLACES), f"The lighthouse of Kelm stands high. {EVALUATED} {SECRET}"]
    texts += [passage(f"{place}{n}") for n in range(3) for place in PLACES]
    write_jsonl(tmp_path / "books.jsonl", ({"text": text} for text in texts))
    path = REPOSITORY / "recipes" / "documents" / f"{name}.yaml"
    with served(answer) as server:
        given = [
            f"runs={tmp_path / 'runs'}",
            "tracking.mode=disabled",
            f"seeds.documents.0.path={tmp_path / 'books.jsonl'}",
            f"generate.teacher.urls=['{server.url}']",
            "generate.per_seed=1",
            "eval.tasks=[own_task]",
            f"eval.include={tmp_path / 'tasks'}",
        ]
        pipeline = Pipeline(load_recipe(path, given), path, given)
        pipeline.run()
        pipeline.run()
    made = {node.stage: pipeline.find(node) for node in pipeline.nodes}
    assert made["guard"] and made["guard"].summary["dropped"] == 1
    dataset = made["filter"]
    assert dataset
    rows = list(read_curated(dataset.path))
    is_read = name == "rqa"
    places = {row.question.split()[-1].rstrip("?") for row in rows}
    assert "Kelm" not in places and ("Tarn" in places) != is_read
    assert len(rows) == len(texts) - 1 - is_read
    for row in rows:
        assert (SECRET in row.text) == (SECRET in row.context) == is_read
        assert bool(row.reasoning) == is_read, "nothing points at a passage that is not there"
    card = (dataset.path / "dataset" / "README.md").read_text()
    assert "about passages of the documents books" in card and "*training* splits" not in card
    assert (f"{len(rows)} items hold their seed" in card) == is_read
