"""Seed -> new questions -> k enriched answers each, by a teacher.

Promises: every request is a pure function of the recipe and the seeds; requests go to the engine
in fixed blocks, and a finished block is one line of `blocks.jsonl`, so that a run killed anywhere
and started again gives the same candidates; every candidate carries the prompts, the teacher and
the seeds behind it. The engine starts only when some block is missing.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tsqa.artifact import AppendLog, file_identity, read_jsonl, write_jsonl
from tsqa.errors import DataError, RecipeError
from tsqa.progress import progress_bar
from tsqa.prompts import Prompt, load_prompt
from tsqa.recipe import GenerateSection, SamplingSection
from tsqa.seeds import Seed, split_answer
from tsqa.stage import StageContext
from tsqa.teachers import Completion, Engine, Request, open_engine
from tsqa.tracking import Tracker

OpenEngine = Callable[[], AbstractContextManager[Engine]]


def run(context: StageContext) -> dict[str, Any]:
    """Write candidates.jsonl; `blocks.jsonl` keeps the raw completions, `engine.log` the log."""
    section = context.recipe.generate
    if section is None:
        raise DataError("the recipe has no `generate` section", "add one")
    seeds = [Seed(**record) for record in read_jsonl(context.inputs["seeds"].path / "seeds.jsonl")]
    prompts = (
        load_prompt(section.prompts.question, "question"),
        load_prompt(section.prompts.answer, "answer"),
    )
    model, fingerprint = _teacher(context, section)
    log = context.out / "engine.log"
    with ExitStack() as stack:
        runner = BlockRunner(
            context.out / "blocks.jsonl",
            section.block_size,
            lambda: open_engine(section.teacher, model, log, section.seed),
            stack,
            context.tracker,
        )
        candidates = make_candidates(section, seeds, prompts, runner)
    lineage = {"model": fingerprint, "engine": section.teacher.engine}
    for candidate in candidates:
        candidate["teacher"] = lineage
    write_jsonl(context.out / "candidates.jsonl", candidates)
    unparsable = sum(1 for candidate in candidates if candidate["parse_error"])
    return {
        "seeds": len(seeds),
        "candidates": len(candidates),
        "unparsable_questions": unparsable,
        "dollars": round(runner.seconds / 3600 * section.teacher.dollars_per_hour, 4),
        **runner.summary(),
    }


def make_candidates(
    section: GenerateSection,
    seeds: Sequence[Seed],
    prompts: tuple[Prompt, Prompt],
    runner: BlockRunner,
) -> list[dict[str, Any]]:
    """Ask for questions, then for votes on those that parse; candidates come in seed order."""
    question_prompt, answer_prompt = prompts
    by_task: dict[str, list[Seed]] = defaultdict(list)
    for seed in seeds:
        by_task[seed.task].append(seed)

    candidates: list[dict[str, Any]] = []
    requests: list[Request] = []
    shots_of: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds:
        for number in range(section.per_seed):
            name = f"{seed.id}.q{number}"
            shots = choose_shots(seed, by_task[seed.task], section.shots, f"{section.seed}:{name}")
            shots_of[name] = [asdict(shot) for shot in shots]
            candidates.append(_new_candidate(name, seed, shots, section, prompts))
            prompt = question_prompt.render(shots_of[name])
            requests.append(_request(name, prompt, section.question, question_prompt, section.seed))
    for candidate, completion in zip(candidates, runner.run("questions", requests), strict=True):
        candidate["question"], candidate["parse_error"] = parse_question(completion)

    requests = []
    for candidate in candidates:
        if candidate["parse_error"]:
            continue
        prompt = answer_prompt.render(shots_of[candidate["id"]], candidate["question"])
        for number in range(section.votes):
            name = f"{candidate['id']}.a{number}"
            requests.append(_request(name, prompt, section.answer, answer_prompt, section.seed))
    votes = iter(runner.run("answers", requests))
    for candidate in candidates:
        if not candidate["parse_error"]:
            candidate["votes"] = [parse_vote(next(votes)) for _ in range(section.votes)]
    return candidates


class BlockRunner:
    """Runs requests through an engine block by block; a block on disk is not asked again."""

    def __init__(
        self, path: Path, block_size: int, opener: OpenEngine, stack: ExitStack, tracker: Tracker
    ) -> None:
        self._log = AppendLog(path)
        stack.callback(self._log.close)
        self._block_size, self._opener, self._stack = block_size, opener, stack
        self._tracker = tracker
        self._engine: Engine | None = None
        self.seconds, self.prompt_tokens, self.output_tokens = 0.0, 0, 0

    def run(self, phase: str, requests: Sequence[Request]) -> list[Completion]:
        """The completions of all requests, in order."""
        completions: list[Completion] = []
        with progress_bar() as bar:
            row = bar.add_task(phase, total=len(requests), note="")
            for start in range(0, len(requests), self._block_size):
                block = requests[start : start + self._block_size]
                record = self._record(phase, start // self._block_size, block)
                done = [Completion(**completion) for completion in record["completions"]]
                completions += done
                self.seconds += record["seconds"]
                self.prompt_tokens += sum(completion.prompt_tokens for completion in done)
                self.output_tokens += sum(completion.output_tokens for completion in done)
                speed = self.output_tokens / max(self.seconds, 1e-9)
                bar.update(row, advance=len(block), note=f"{speed:,.0f} output tokens/s")
                self._tracker.log(
                    {
                        f"generate/{phase}": len(completions),
                        "generate/output_tokens": self.output_tokens,
                        "generate/output_tokens_per_second": speed,
                    }
                )
        return completions

    def summary(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.output_tokens,
            "engine_seconds": round(self.seconds, 2),
        }

    def _record(self, phase: str, number: int, block: Sequence[Request]) -> dict[str, Any]:
        content = json.dumps([asdict(request) for request in block], ensure_ascii=False)
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        name = f"{phase}-{number:06d}-{digest}"
        if name not in self._log.records:
            if self._engine is None:
                self._engine = self._stack.enter_context(self._opener())
            begin = time.perf_counter()
            done = [asdict(completion) for completion in self._engine.complete(block)]
            seconds = time.perf_counter() - begin
            self._log.append({"id": name, "completions": done, "seconds": seconds})
            self._log.sync()
        return self._log.records[name]


def choose_shots(seed: Seed, pool: Sequence[Seed], count: int, key: str) -> list[Seed]:
    """`count` distinct seeds of one task, the given one last; fewer where the task has fewer."""
    rng = random.Random(key)
    others = [pool[i] for i in rng.sample(range(len(pool)), min(count, len(pool)))]
    return [*[other for other in others if other.id != seed.id][: count - 1], seed]


def parse_question(completion: Completion) -> tuple[str, str]:
    """(question, parse error) of a completion; one of the two is empty."""
    question = " ".join(completion.text.split())
    if completion.finish_reason == "prompt_too_long":
        return question, "prompt longer than max_model_len"
    if completion.finish_reason == "length":
        return question, "cut off at max_tokens"
    if not any(character.isalnum() for character in question):
        return question, "empty"
    if "Answer:" in question or "Question:" in question:
        return question, "runs into the next field"
    return question, ""


def parse_vote(completion: Completion) -> dict[str, Any]:
    """The answer on the first line, the explanation after `Because:`; answer None if unreadable."""
    text = completion.text.strip()
    first, newline, rest = text.partition("\n")
    is_cut = completion.finish_reason == "length"
    answer, working = split_answer(first)
    explanation = " ".join(rest.strip().removeprefix("Because:").split()) or working
    if is_cut:
        explanation = ""
    readable = bool(answer) and not (is_cut and not newline)
    return {
        "id": completion.id,
        "text": completion.text,
        "answer": answer if readable else None,
        "explanation": explanation if readable else "",
    }


def _new_candidate(
    name: str,
    seed: Seed,
    shots: Sequence[Seed],
    section: GenerateSection,
    prompts: tuple[Prompt, Prompt],
) -> dict[str, Any]:
    return {
        "id": name,
        "task": seed.task,
        "family": seed.family,
        "kind": seed.kind,
        "seed_id": seed.id,
        "seed_ids": [shot.id for shot in shots],
        "question": "",
        "parse_error": "",
        "votes": [],
        "prompt_hashes": {"question": prompts[0].sha256, "answer": prompts[1].sha256},
        "sampling": {
            "question": section.question.model_dump(),
            "answer": section.answer.model_dump(),
        },
    }


def _request(
    name: str, prompt: str, sampling: SamplingSection, template: Prompt, seed: int
) -> Request:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return Request(
        id=name,
        prompt=prompt,
        seed=int.from_bytes(digest[:4], "big"),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_tokens,
        stop=template.stop,
    )


def _teacher(context: StageContext, section: GenerateSection) -> tuple[str, str]:
    """(what vLLM loads, the fingerprint that lineage records)."""
    model = section.teacher.model
    if model.recipe is not None:
        artifact = context.inputs["teacher"]
        return str(artifact.path / "hf"), artifact.fingerprint
    if model.path is None:
        raise RecipeError(
            "generate.teacher.model.config: a teacher from scratch knows nothing",
            "give generate.teacher.model.path, or generate.teacher.model.recipe to train one",
        )
    folder = context.resolve(model.path)
    if not folder.is_dir():
        return model.path, model.path
    files = [p for p in sorted(folder.iterdir()) if p.suffix in (".json", ".safetensors")]
    identity = json.dumps([file_identity(path) for path in files])
    return str(folder), hashlib.sha256(identity.encode()).hexdigest()[:16]
