"""What a small real model replies to the question prompts, recorded; and what share can be read.

    python -m tests.benchmarks.real_replies models/smollm2-135m --seeds 10 >> FILE.jsonl
    python -m tests.benchmarks.real_replies FILE.jsonl

Needs the real splits of gsm8k, arc_easy and openbookqa (tests/benchmarks/questions.py).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, cast

from tests.benchmarks.questions import load_real
from tsqa.prompts import Form, load_prompts
from tsqa.prompts.variables import QuestionVariables
from tsqa.recipe import AnswerKind, ModelSection, TeacherSection
from tsqa.records.seed import Seed
from tsqa.store.jsonl import read_jsonl
from tsqa.teachers import Request
from tsqa.teachers.replies.question_reply import parse_question
from tsqa.teachers.vllm_engine import VllmEngine

KINDS: dict[str, AnswerKind] = {"arc_easy": "choice", "openbookqa": "choice", "gsm8k": "number"}
Manner = Literal["completion", "chat", "structured"]
MANNERS: tuple[Manner, ...] = ("completion", "chat", "structured")
_SHOTS, _TEMPERATURE, _TOP_P, _MAX_TOKENS = 2, 0.7, 0.9, 160


@dataclass(frozen=True)
class Reply:
    task: str
    kind: AnswerKind
    manner: Manner
    prompt: str
    text: str
    finish_reason: str

    @property
    def error(self) -> str:
        """Why it cannot be read; empty where it can."""
        form = "completion" if self.manner == "completion" else "chat"
        return parse_question(self.text, self.finish_reason, self.kind, form, False).error


def read_replies(path: Path) -> list[Reply]:
    return [Reply(**record) for record in read_jsonl(path)]


def count_readable(replies: Iterable[Reply]) -> dict[tuple[str, str, str], Counter[str]]:
    """(prompt set, manner, kind) -> how many replies by error; the empty one can be read."""
    found: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for reply in replies:
        found[reply.prompt, reply.manner, reply.kind][reply.error] += 1
    return dict(found)


def record(model: Path, prompt_set: str, manners: Iterable[Manner], seeds: int) -> Iterator[Reply]:
    """Ask for one question a seed in every manner."""
    section = TeacherSection.model_validate(
        {
            "model": ModelSection(path=str(model)),
            "dtype": "float32",
            "max_model_len": 2048,
            "kv_cache_gib": 1,
        }
    )
    asked = {
        request.id: (request, task, manner)
        for manner in manners
        for task in KINDS
        for request in _requests(task, manner, prompt_set, seeds)
    }
    with (
        tempfile.TemporaryDirectory() as scratch,
        VllmEngine(section, str(model), Path(scratch) / "engine.log", 0) as engine,
    ):
        engine.submit([request for request, _, _ in asked.values()])
        left = len(asked)
        while left:
            for done in engine.collect():
                left -= 1
                _, task, manner = asked[done.id]
                yield Reply(*(task, KINDS[task], manner, prompt_set), done.text, done.finish_reason)


def _requests(task: str, manner: Manner, prompt_set: str, count: int) -> Iterator[Request]:
    prompts = load_prompts(prompt_set, "question", "--prompts")
    kind = KINDS[task]
    prompt = prompts.of(kind, False)
    draw = random.Random(task)
    shots = draw.sample([replace(seed, kind=kind) for seed in load_real(task, "train")], 2 * count)
    form = cast(Form, "completion" if manner == "completion" else "chat")
    for number in range(count):
        pair: list[Seed] = shots[_SHOTS * number : _SHOTS * (number + 1)]
        variables: Mapping[str, object] = asdict(
            QuestionVariables(shots=pair, kind=prompt.asked_kind(kind))
        )
        yield Request(
            id=f"{manner}-{task}-{number}",
            prompt=prompt.completion(**variables) if form == "completion" else "",
            messages=prompt.messages(**variables) if form == "chat" else (),
            seed=number,
            temperature=_TEMPERATURE,
            top_p=_TOP_P,
            max_tokens=_MAX_TOKENS,
            stop=prompt.stop if form == "completion" else (),
            schema=prompt.schema if manner == "structured" else None,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path, help="a model folder, or a file of recorded replies")
    parser.add_argument("--prompts", default="similar")
    parser.add_argument("--manner", choices=MANNERS, nargs="+", default=MANNERS)
    parser.add_argument("--seeds", type=int, default=10, help="of each task")
    given = parser.parse_args()
    if given.source.is_dir():
        for reply in record(given.source, given.prompts, given.manner, given.seeds):
            print(json.dumps(asdict(reply), ensure_ascii=False), flush=True)
        return
    for (prompt, manner, kind), errors in sorted(
        count_readable(read_replies(given.source)).items()
    ):
        readable = errors.pop("", 0)
        rest = ", ".join(f"{error} {count}" for error, count in errors.most_common())
        total = readable + errors.total()
        print(f"{prompt:8} {manner:10} {kind:7} {readable:3} of {total:3}  {rest}")


if __name__ == "__main__":
    sys.exit(main())
