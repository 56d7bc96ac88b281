"""What the tests of the synthetic data side share: contexts without a pipeline, a fake engine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tsqa.artifact import Artifact
from tsqa.miniature import FAMILIES
from tsqa.recipe import (
    DataSection,
    EvalSection,
    FilterSection,
    GenerateSection,
    ModelSection,
    SamplingSection,
    SeedsSection,
    TeacherSection,
)
from tsqa.seeds import Seed
from tsqa.stage import StageContext
from tsqa.teachers import Completion, Request
from tsqa.tracking import Tracker

TASKS = [f"mini_{name}" for name in FAMILIES]


def make_context(out: Path, inputs: dict[str, Artifact], **sections: Any) -> StageContext:
    """A context whose recipe holds only the sections given."""
    names = ("data", "seeds", "generate", "filter", "eval")
    recipe: Any = SimpleNamespace(**{name: sections.get(name) for name in names})
    out.mkdir(parents=True, exist_ok=True)
    return StageContext(recipe, inputs, out, Tracker.silent())


def artifact(path: Path) -> Artifact:
    return Artifact(path, {"fingerprint": path.name, "summary": {}})


def data_section(**changes: Any) -> DataSection:
    values = {"train_per_family": 12, "test_per_family": 6, "teacher_documents": 20}
    return DataSection(builder="miniature", **(values | changes))


def seeds_section(**changes: Any) -> SeedsSection:
    return SeedsSection(**({"tasks": TASKS, "include": "{data}/tasks"} | changes))


def eval_section() -> EvalSection:
    return EvalSection(tasks=TASKS, include="{data}/tasks")


def generate_section(model: str = "fake", **changes: Any) -> GenerateSection:
    teacher = TeacherSection(
        model=ModelSection(path=model),
        dtype="float32",
        max_model_len=256,
        max_num_seqs=32,
        kv_cache_gib=1,
    )
    values: dict[str, Any] = {
        "teacher": teacher,
        "per_seed": 2,
        "votes": 3,
        "block_size": 7,
        "question": SamplingSection(max_tokens=24),
        "answer": SamplingSection(max_tokens=24),
    }
    return GenerateSection(**(values | changes))


def filter_section() -> FilterSection:
    return FilterSection()


def make_seed(number: int, question: str = "", answer: str = "", task: str = "toy") -> Seed:
    return Seed(
        id=f"{task}-{number}",
        task=task,
        family=task,
        kind="short_text",
        question=question or f"What is thing {number}?",
        choices=[],
        answer=answer or f"answer {number}",
        explanation="",
        dataset="json",
        split="train",
        doc_id=number,
        content_hash="0",
    )


class FakeEngine:
    """Texts are a function of the request and of its block, like a batch-sensitive engine's."""

    def __init__(self) -> None:
        self.blocks = 0

    def complete(self, block: Sequence[Request]) -> list[Completion]:
        self.blocks += 1
        mark = hashlib.sha256(repr([r.id for r in block]).encode()).hexdigest()[:6]
        return [self._one(request, mark) for request in block]

    def _one(self, request: Request, mark: str) -> Completion:
        roll = request.seed % 10
        if request.max_tokens == 24 and ".a" not in request.id:
            text, reason = f" Which thing is {request.id} {mark}?", "stop" if roll else "length"
        else:
            text, reason = f" thing {roll % 2}\nBecause: it is so.", "stop"
        return Completion(request.id, text, len(request.prompt), 5, reason)


@contextmanager
def opened(engine: FakeEngine) -> Iterator[FakeEngine]:
    yield engine
