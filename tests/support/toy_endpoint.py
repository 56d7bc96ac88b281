"""An endpoint that draws questions of the toy's families, answers them rightly, and tells passages
again.

    python -m tests.support.toy_endpoint

serves at the address that `recipes/smoke/baselines.yaml` names.
"""

from __future__ import annotations

import random
import re
from typing import Any

from tests.tsqa.teachers.test_openai_engine import FakeServer, Reply, ok
from tsqa.tasks.toy_families import FAMILIES, Family, draw_item

PORT = 8377
_FRESH = 6
"""Words of a passage between two of its own: fewer than make a copied run."""


def reply(body: dict[str, Any], attempt: int) -> Reply:
    said = body["messages"][-1]["content"]
    if "Passage: " in said:
        return ok(_told_again(said.partition("Passage: ")[2].rpartition("\n\n")[0]))
    asked = re.findall(r"^Question: (.*)$", said, re.MULTILINE)[-1]
    family, core = _family_of(asked)
    if "Write one new question" in said:
        return ok(draw_item(family, random.Random(body["seed"])).question)
    solved = family.solve(core)
    assert solved, asked
    return ok(f"Answer: {solved[0]}\nBecause: {solved[1]}")


def _family_of(question: str) -> tuple[Family, str]:
    core = question.rpartition(" asks ")[2].partition(": ")[2]
    return next(family for family in FAMILIES.values() if family.solve(core)), core


def _told_again(passage: str) -> str:
    words = passage.split()
    told = [f"{word} indeed" if n % _FRESH == _FRESH - 1 else word for n, word in enumerate(words)]
    return " ".join(told)


def main() -> None:
    server = FakeServer(reply, PORT)
    print(server.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
