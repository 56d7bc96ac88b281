"""What the tests of the synthetic data side share: contexts without a pipeline, a fake engine."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.support.sealed import invented_artifact
from tsqa.recipe import (
    DataSection,
    EvalSection,
    GenerateSection,
    ModelSection,
    PromptsSection,
    SamplingSection,
    SeedsSection,
    TeacherSection,
)
from tsqa.records.seed import Seed
from tsqa.seeds import benchmarks
from tsqa.store.artifact import Artifact
from tsqa.store.stage import StageContext
from tsqa.store.tracking import Tracker
from tsqa.tasks.toy_families import FAMILIES
from tsqa.teachers import Completion, Request

TASKS = [f"mini_{name}" for name in FAMILIES]


def make_context(out: Path, inputs: dict[str, Artifact], **sections: Any) -> StageContext:
    """A context whose recipe holds only the sections given."""
    names = ("data", "seeds", "generate", "filter", "train", "eval")
    recipe: Any = SimpleNamespace(
        name="test", dollars_per_gpu_hour=0.0, **{name: sections.get(name) for name in names}
    )
    out.mkdir(parents=True, exist_ok=True)
    return StageContext(recipe, inputs, out, Tracker.silent())


def with_benchmarks(
    folder: Path, inputs: dict[str, Artifact], section: EvalSection
) -> dict[str, Artifact]:
    """The inputs with the evaluated documents, which are rendered into a folder."""
    benchmarks.run(make_context(folder, inputs, eval=section))
    return inputs | {"benchmarks": artifact(folder)}


def artifact(path: Path) -> Artifact:
    return invented_artifact(path, fingerprint=path.name, summary={"seeds": 0, "coverage": []})


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
        "prompts": PromptsSection(question="plain", answer="plain"),
        "question": SamplingSection(max_tokens=24),
        "answer": SamplingSection(max_tokens=24),
    }
    return GenerateSection(**(values | changes))


def make_seed(number: int, question: str = "", answer: str = "", task: str = "toy") -> Seed:
    return Seed(
        id=f"{task}-{number}",
        task=task,
        family=task,
        capability="knowledge",
        subject="",
        language="en",
        kind="short_text",
        question=question or f"What is thing {number}?",
        context="",
        choices=[],
        answer_index=None,
        answer=answer or f"answer {number}",
        explanation="",
        tests="",
        dataset="json",
        revision="",
        split="train",
        licence="",
        doc_id=number,
        content_hash="0",
    )


class FakeEngine:
    """Texts are a function of the request alone; requests finish in a random order."""

    capacity = 8

    def __init__(self, order: int = 0) -> None:
        self.asked = 0
        self._rng = random.Random(order)
        self._waiting: list[Request] = []

    def submit(self, requests: Sequence[Request]) -> None:
        self.asked += len(requests)
        self._waiting += requests

    def collect(self) -> list[Completion]:
        chosen = self._rng.sample(self._waiting, self._rng.randint(1, len(self._waiting)))
        self._waiting = [request for request in self._waiting if request not in chosen]
        return [self.complete(request) for request in chosen]

    def complete(self, request: Request) -> Completion:
        roll = request.seed % 10
        if request.prompt.endswith("Question:"):
            text, reason = f" Which thing is {request.id}?", "stop" if roll else "length"
        else:
            text, reason = f" thing {roll % 2}\nBecause: it is so.", "stop"
        return Completion(request.id, text, len(request.prompt), 5, reason)


@contextmanager
def opened(engine: Any) -> Iterator[Any]:
    yield engine
