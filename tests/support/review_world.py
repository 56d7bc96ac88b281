"""An invented filter artifact whose truth is known, and reviewers who see it with errors."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, replace
from pathlib import Path

from tests.support.curated_rows import candidate, curated_row, rejected_row
from tests.support.sealed import invented_artifact
from tsqa.curated.files import DatasetWriter
from tsqa.review.decisions import FOLDER, make_decision
from tsqa.review.items import ReviewItem
from tsqa.store.artifact import Artifact
from tsqa.store.jsonl import write_jsonl

STEPS = ("format", "agreement", "copy", "judge", "decontamination")
WRONG = "WRONG"
"""In the reasoning of every item that is unfit."""


def make_filtered(
    folder: Path, accepted: int = 400, rejected: int = 60, text: str = "", seed: int = 1
) -> tuple[Artifact, Artifact]:
    """A filter artifact and its candidates: of the accepted 20% of the task `b` and 5% of the
    task `a` are unfit, of the rejected 70%."""
    rng = random.Random(seed)
    generated = folder / "generate"
    generated.mkdir(parents=True)
    lines = []
    with DatasetWriter(folder / "filter") as writer:
        for number in range(accepted):
            task = "b" if number % 4 == 0 else "a"
            reasoning = WRONG if rng.random() < (0.2 if task == "b" else 0.05) else "fine"
            agreement = 2 / 3 if number % 3 else 1.0
            row = curated_row(
                number, task=task, capability=f"of {task}", reasoning=reasoning + text
            )
            writer.curated(replace(row, agreement=agreement, scores='{"judge": {"clear": 4}}'))
            lines.append(json.dumps(candidate(number, question=row.question + text)))
        for number in range(accepted, accepted + rejected):
            word = WRONG if rng.random() < 0.7 else "fine"
            made = candidate(number)
            made["votes"][0]["reasoning"] = word
            step = ("agreement", "judge", "copy")[number % 3]
            reason = {"agreement": "no majority", "judge": "not clear", "copy": "copy"}[step]
            score = {"agreement": 2 / 3, "judge": 3.0, "copy": 0.95}[step]
            reject = rejected_row(number, record=json.dumps(made), step=step, reason=reason)
            writer.rejected(replace(reject, score=score, match="toy:7" if step == "copy" else ""))
        broken = candidate(accepted + rejected, parse_error="no question", votes=[])
        writer.rejected(rejected_row(9999, record=json.dumps(broken), step="format"))
    (generated / "candidates.jsonl").write_text("\n".join(lines))
    funnel = [{"step": step} for step in STEPS]
    summary = {"funnel": funnel, "curated": accepted}
    return invented_artifact(folder / "filter", summary=summary), invented_artifact(generated)


def is_wrong(item: ReviewItem) -> bool:
    return item.reasoning.startswith(WRONG)


def review_all(
    folder: Path, items: list[ReviewItem], reviewer: str = "ann", slips: float = 0.0
) -> None:
    """Decide on all items by their truth; `slips` of the decisions are the other way round."""
    rng, lines = random.Random(reviewer), []
    for item in items:
        choice = "reject" if is_wrong(item) != (rng.random() < slips) else "accept"
        lines.append(asdict(make_decision(item, reviewer, choice, "wrong answer")))
    (folder / FOLDER).mkdir(exist_ok=True)  # at once: a log syncs each to the disk
    write_jsonl(folder / FOLDER / f"{reviewer}.jsonl", lines)
