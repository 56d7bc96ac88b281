"""`recipes/smoke/baselines.yaml` has every control, and its endpoint what they ask of a teacher."""

from __future__ import annotations

import json
from typing import get_args

from tests.support.paths import REPOSITORY
from tests.support.toy_endpoint import PORT, reply
from tests.tsqa.rephrasings.test_faithful import rephrased
from tsqa.recipe import FaithfulnessSection, arms_of, load_recipe, needed
from tsqa.recipe.sections.ablation import Control
from tsqa.rephrasings.faithful import check_copied, check_faithful
from tsqa.tasks.toy_families import true_answer

PASSAGE = (
    "The module reads 3 kinds of archives. An archive of the first kind, which Katz described in "
    "1989, holds its index at the end.\n\nSo it can be opened only when the whole file is there."
)
SHOT = "Question: Ann buys a cup at the park and asks Bob: which day comes after Monday?"


def ask(prompt: str) -> str:
    status, _, body = reply({"messages": [{"role": "user", "content": prompt}], "seed": 1}, 1)
    assert status == 200
    return str(json.loads(body)["choices"][0]["message"]["content"])


def test_the_recipe_has_every_control_and_asks_the_toy_endpoint() -> None:
    recipe = load_recipe(REPOSITORY / "recipes" / "smoke" / "baselines.yaml")
    kinds = [arm.values.get("control") for arm in arms_of(recipe).values()]
    assert kinds == [None, None, *get_args(Control)]
    _, teacher = needed(recipe.generate, "generate").writing
    assert teacher.urls == [f"http://127.0.0.1:{PORT}/v1"]


def test_the_toy_endpoint_writes_answers_and_tells_again() -> None:
    question = ask(f"{SHOT}\nAnswer: Tuesday\n\nWrite one new question.")
    assert question not in SHOT
    told = ask(f"{SHOT}\nAnswer: Tuesday\n\nQuestion: {question}\n\nReply in this form")
    assert told.startswith(f"Answer: {true_answer('mini_day', question)}\n")
    retold = rephrased(ask(f"Passage: {PASSAGE}\n\nRewrite it."), PASSAGE)
    section = FaithfulnessSection()
    assert check_faithful(retold, section) is None
    assert check_copied(retold, section.copied) is None
