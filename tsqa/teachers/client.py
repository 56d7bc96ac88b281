"""A model that is asked: where it is, in which form, what it costs. Teachers and judges alike.

Guarantees: a request is known by the hash of all that decides its completion, so that a run killed
anywhere asks only for what is missing; the engine starts with the first request that is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from rich.text import Text

from tsqa.console import console
from tsqa.errors import EngineError
from tsqa.parallel.ray_cluster import ADDRESS
from tsqa.prompts import Prompt
from tsqa.recipe import SamplingSection, TeacherSection
from tsqa.records.candidate_file import TeacherRef
from tsqa.records.summaries import LedgerRow
from tsqa.spending import Spending, has_gpu
from tsqa.store.stage import StageContext
from tsqa.teachers import TEACHER_KEY, Completion, Engine, Request
from tsqa.teachers.chat_form import locate, merge_system, resolve_form, resolve_schema
from tsqa.teachers.config import hourly, teacher_key
from tsqa.teachers.failures import Unanswered, one_line
from tsqa.teachers.replies.visible_text import marks_thoughts
from tsqa.teachers.scheduler import Job, Meter, Window

T = TypeVar("T")

_FIRST_MODEL_LEN = 4096
"""The `max_model_len` that is in no request's hash, as logs from before it counted have it."""


class Exchange(NamedTuple):
    """A request and what came back."""

    request: Request
    completion: Completion


@dataclass
class Asker:
    """A model, how it is asked, and what it cost once its jobs are done."""

    role: str
    section: TeacherSection
    model: str
    """What the engine loads."""
    fingerprint: str
    form: Literal["chat", "completion"]
    seed: int
    folder: Path
    """Where its completions and its log are kept."""
    allowed: float = 0.0
    """Share of its requests that may end without an answer."""
    allowed_key: str = "generate.allow_failed"
    ledger: list[LedgerRow] = field(default_factory=list)
    spending: Spending = field(default_factory=Spending)
    engines: Callable[[Asker], AbstractContextManager[Engine]] | None = None
    """Engines that outlive its jobs; None: one is started for them, and ended after them."""
    heard: list[Exchange] | None = None
    """Where its requests and their completions are noted, for who wants to look at them."""
    dollars: float = 0.0
    """Of its jobs so far, all attempts."""

    @property
    def key(self) -> str:
        """Where the recipe names the model."""
        return teacher_key(self.role)

    @property
    def _name(self) -> str:
        name = f"{self.role} {self.section.model.path or self.fingerprint}"
        return f"{name} at {self.section.place}" if self.section.place else name

    @property
    def lineage(self) -> TeacherRef:
        request = self.section.request.model_dump(exclude_defaults=True)
        arguments = self.section.engine_args
        return TeacherRef(
            self.fingerprint, self.section.engine, self.form, request or None, arguments or None
        )

    def request(
        self,
        name: str,
        prompt: Prompt,
        variables: Mapping[str, object],
        sampling: SamplingSection,
        schema: Mapping[str, object] | None,
    ) -> Request:
        """`name` tells requests apart that are the same but for their random seed."""
        is_chat = self.form == "chat"
        digest = hashlib.sha256(f"{self.seed}:{self.role}:{name}".encode()).digest()
        request = Request(
            id="",
            prompt="" if is_chat else prompt.completion(**variables),
            messages=self._turns(prompt, variables) if is_chat else (),
            seed=int.from_bytes(digest[:4], "big"),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.longest,
            stop=() if is_chat else prompt.stop,
            schema=schema if is_chat and self.section.structured else None,
            thinking_tokens=sampling.thinking_tokens,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            repetition_penalty=sampling.repetition_penalty,
        )
        # Logs of unfinished runs are shared: what the request itself does not say belongs here too.
        section = self.section
        engine: list[object] = [section.engine, section.dtype, section.request.data_config()]
        engine += [section.engine_args] if section.engine_args else []
        if section.loads_model and section.max_model_len != _FIRST_MODEL_LEN:
            engine.append({"max_model_len": section.max_model_len})  # it rejects and cuts short
        content = json.dumps([self.fingerprint, name, request.content(), engine], sort_keys=True)
        return replace(request, id=hashlib.sha256(content.encode()).hexdigest()[:24])

    def _turns(self, prompt: Prompt, variables: Mapping[str, object]) -> tuple[dict[str, str], ...]:
        turns = prompt.messages(**variables)
        return merge_system(turns) if self.section.request.system == "merge" else turns

    def run(
        self,
        jobs: Iterable[Job[T]],
        watch: Callable[[Iterator[T], Window], Iterator[T]] = lambda results, window: results,
    ) -> Iterator[T]:
        """The results of all jobs, in order, passed through `watch`; then a row in the ledger.

        RefusedError at the end where more requests than allowed have no answer.
        """
        log = self.folder / f"{self.role}-engine.log"
        unanswered = Unanswered(
            self.allowed,
            name=self._name,
            key=self.key,
            allowed_key=self.allowed_key,
            log=log,
        )
        meter = Meter(self.section, self.spending, self._name)
        with Window(
            lambda: self.engines(self) if self.engines else self.open(),
            self.folder / f"{self.role}-completions.jsonl",
            on_death=_warn,
            unanswered=unanswered,
            meter=meter,
        ) as window:
            for result in watch(window.run(map(self._listen, jobs)), window):
                self.dollars = window.dollars(self.section)
                yield result
            usage, dollars, reused = window.usage, window.dollars(self.section), window.reused
        self.ledger.append(
            LedgerRow(
                teacher=self.role,
                model=self.section.model.path or self.fingerprint,
                requests=usage.requests,
                prompt_tokens=usage.prompt_tokens,
                output_tokens=usage.output_tokens,
                engine_seconds=round(usage.seconds, 2),
                dollars=round(dollars, 6),
                reused=reused.requests,
                unanswered=dict(unanswered.reasons.most_common()),
                served=dict(usage.served.most_common()),
            )
        )

    def open(self) -> AbstractContextManager[Engine]:
        log = self.folder / f"{self.role}-engine.log"
        return open_engine(self.section, self.model, log, self.seed, self.key)

    def _listen(self, job: Job[T]) -> Job[T]:
        return job if self.heard is None else listen(job, self.heard)


def listen(job: Job[T], heard: list[Exchange]) -> Job[T]:
    """A job, whose requests and completions are noted."""
    try:
        requests = next(job)
        while True:
            completions = yield requests
            heard += map(Exchange, requests, completions)
            requests = job.send(completions)
    except StopIteration as end:
        result: T = end.value
        return result


def open_asker(
    context: StageContext,
    section: TeacherSection,
    role: str,
    seed: int,
    ledger: list[LedgerRow],
    allowed: float,
    allowed_key: str,
) -> Asker:
    """`allowed`: see Asker. Raises RecipeError when the model cannot be asked as its section says.

    `allowed_key` is the key of the recipe that gives it.
    """
    model, fingerprint = locate(context, section, role)
    form = resolve_form(section, model, teacher_key(role))
    has_gpus = has_gpu() or bool(section.cluster and os.environ.get(ADDRESS))
    if form == "chat":
        structured = resolve_schema(section, model, teacher_key(role))
        section = section.model_copy(update={"structured": structured})
    priced = hourly(section, context.recipe.dollars_per_gpu_hour if has_gpus else 0.0)
    return Asker(
        role=role,
        section=priced,
        model=model,
        fingerprint=fingerprint,
        form=form,
        seed=seed,
        folder=context.out,
        allowed=allowed,
        allowed_key=allowed_key,
        ledger=ledger,
        spending=context.spending,
    )


def open_engine(
    section: TeacherSection, model: str, log: Path, seed: int, key: str = TEACHER_KEY
) -> AbstractContextManager[Engine]:
    """Start the engine a recipe names; leaving the context ends it. `key`: where it is named."""
    if section.engine == "openai":
        from tsqa.teachers.openai_engine import EndpointEngine

        return EndpointEngine(section, model, log, key)
    if section.cluster:
        from tsqa.teachers.ray_engine import RayEngine

        return RayEngine(section, model, log, seed, key)
    from tsqa.teachers.vllm_engine import VllmEngine

    return VllmEngine(section, model, log, seed, key)


def readable_text(completion: Completion, sampling: SamplingSection) -> str:
    """The text; of a model that was given room for thoughts and cut off before it marked any, they
    are all that came, since chat templates open them."""
    is_cut = completion.finish_reason == "length" and not completion.thoughts
    if sampling.thinking_tokens is None or not is_cut or marks_thoughts(completion.text):
        return completion.text
    return f"<think>{completion.text}"


def _warn(error: EngineError) -> None:
    first = one_line(str(error).splitlines()[0])
    console.print(Text.assemble(("the engine died and is started again", "yellow"), f": {first}"))
