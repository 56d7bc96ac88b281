"""Keeps an engine full: a continuous window of requests, without barriers, resumed by request ids.

A job is a generator: it yields the requests it wants answered together, gets their completions,
and may ask again; what it returns is its result.

Guarantees: results come in the order of the jobs, whatever order the engine finishes in; at most
1.1 x the engine's capacity is in flight (more queueing costs throughput: see ray-project/ray#52634
for the measurements); a finished request is on disk before its job goes on, so a kill loses only
what was in flight; memory does not grow with the number of jobs. A dead engine is started again
and its work retried; three deaths without an answer between them raise EngineError. A request
that is in flight at two deaths is retried alone, and becomes an error when the engine dies on it.
Nothing is asked that could pass the limit of dollars; what is in flight is waited for.
Few requests are out until the first is answered, and none is added while nobody is: an engine that
answers nobody is asked some twenty times. A request that has no answer at the end is an error of
the run, unless so many are allowed to.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Generic, NoReturn, Self, TypeVar

from rich.text import Text

from tsqa.console import console
from tsqa.errors import EngineError
from tsqa.recipe import TeacherSection
from tsqa.records.record_log import RecordLog
from tsqa.spending import Spending, SpentError
from tsqa.teachers import Completion, Engine, RefusedError, Request, failed
from tsqa.teachers.failures import IN_A_ROW, Unanswered

T = TypeVar("T")
Job = Generator[Sequence[Request], list[Completion], T]

OVERFILL = 1.1
_DEATHS_IN_A_ROW = 3
_LOOKAHEAD = 16_384
"""Finished jobs that may wait for a slower one before them: bounds memory."""


@dataclass
class Usage:
    """Requests and tokens of a teacher, over all attempts of the run."""

    requests: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    """Wall time in which the engine had work."""
    engine_seconds: float = 0.0
    """The same, times the replicas that served meanwhile."""
    served: Counter[str] = field(default_factory=Counter)
    """Another model that the endpoint said it is -> its answers."""

    def add(self, completion: Completion, seconds: float, engines: float = 1.0) -> None:
        self.requests += 1
        self.prompt_tokens += completion.prompt_tokens
        self.output_tokens += completion.output_tokens
        self.seconds += seconds
        self.engine_seconds += seconds * engines
        if completion.served:
            self.served[completion.served] += 1

    def dollars(self, section: TeacherSection) -> float:
        return (
            self.engine_seconds / 3600 * section.dollars_per_hour
            + self.prompt_tokens / 1e6 * section.dollars_per_million_prompt_tokens
            + self.output_tokens / 1e6 * section.dollars_per_million_output_tokens
        )


@dataclass
class Meter:
    """What a teacher's requests cost in this process, and whether more of them stay within the
    limit of the command."""

    section: TeacherSection
    spending: Spending
    name: str
    """Of the teacher, in messages."""
    paid: Usage = field(default_factory=Usage)
    _is_said: bool = False

    @property
    def dollars(self) -> float:
        return self.paid.dollars(self.section)

    def affords(self, requests: Iterable[Request]) -> bool:
        """Whether requests in flight, at their longest, stay within the limit.

        A token is at least a byte. Hours are counted when they have passed.
        """
        if self.spending.limit is None:
            return True
        asked = list(requests)
        texts = (f"{r.prompt}{''.join(turn['content'] for turn in r.messages)}" for r in asked)
        longest = Usage(
            prompt_tokens=sum(len(text.encode("utf-8", "replace")) for text in texts),
            output_tokens=sum(request.max_tokens for request in asked),
        )
        return self.spending.affords(self.dollars + longest.dollars(self.section))

    def engines(self, capacity: int) -> float:
        """What is paid for: the replicas of a file that serve, else all that are listed."""
        listed = self.section.engines
        return capacity / self.section.max_num_seqs if listed is None else float(listed)

    def add(self, completion: Completion, seconds: float, engines: float = 1.0) -> None:
        """Count what was paid; RefusedError where a limit cannot be held for want of counts."""
        self.paid.add(completion, seconds, engines)
        price = Usage(1, 1, 1).dollars(self.section)
        is_counted = completion.prompt_tokens and (completion.output_tokens or not completion.text)
        if not completion.is_answer or is_counted or not price:
            return
        said = f"the endpoint of the {self.name} states no token counts"
        if self.spending.limit is not None:
            raise RefusedError(
                f"{said}, so that --max-dollars cannot be held",
                "run without it, and look at the provider's own limit",
            )
        if not self._is_said:
            self._is_said = True
            console.print(Text.assemble((f"  {said}", "yellow"), ": dollars are too low, or 0"))

    def refuse(self) -> NoReturn:
        self.settle()
        raise SpentError(self.spending, f"another request to the {self.name}")

    def settle(self) -> None:
        """Hand what was paid to the command's sum."""
        self.spending.add(self.dollars)
        self.paid = Usage()


@dataclass(frozen=True)
class KnownCompletion:
    """What an earlier attempt got."""

    completion: Completion
    seconds: float
    is_reused: bool
    """Whether another artifact of the stage asked, and paid, for it."""
    engines: float | None = None
    """That served meanwhile; lines from before this was kept do not say."""


class CompletionLog:
    """A `RecordLog` of completions, by the id of their request."""

    def __init__(self, path: Path) -> None:
        self._records = RecordLog(path)

    def find(self, request_id: str) -> KnownCompletion | None:
        record = self._records.find(request_id)
        if record is None:
            return None
        names = [field.name for field in fields(Completion)]
        values = {name: record[name] for name in names if name in record}
        is_reused = bool(record.get("reused"))
        engines = record.get("engines")
        return KnownCompletion(Completion(**values), float(record["seconds"]), is_reused, engines)

    def append(self, completion: Completion, seconds: float, engines: float | None = None) -> None:
        record = {**asdict(completion), "seconds": round(seconds, 5)}
        for name in ("thoughts", "served"):
            if not record[name]:
                del record[name]  # so are the lines from before there were any
        if engines is not None:
            record["engines"] = engines
        self._records.append(record)

    def close(self) -> None:
        self._records.close()


@dataclass
class _Open(Generic[T]):
    """A job that has begun."""

    number: int
    job: Job[T]
    batch: Sequence[Request] = ()
    done: dict[str, Completion] = field(default_factory=dict)


class Window:
    """Runs jobs through one engine, which starts when the first request is not on disk."""

    def __init__(
        self,
        opener: Callable[[], AbstractContextManager[Engine]],
        log: Path,
        on_death: Callable[[EngineError], None] = lambda error: None,
        unanswered: Unanswered | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._opener, self._on_death, self._meter = opener, on_death, meter
        self._log = CompletionLog(log)
        self.unanswered = unanswered or Unanswered()
        self._engine: Engine | None = None
        self._engine_scope = ExitStack()
        self._running: dict[str, Request] = {}
        self._suspects: deque[Request] = deque()
        self._blamed: list[Completion] = []
        self._strikes: Counter[str] = Counter()
        self._deaths = 0
        self._mark = 0.0
        self.usage = Usage()
        self.reused = Usage()
        """Of the usage, what other artifacts asked and paid for."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine_scope.close()
        self._log.close()
        if self._meter:
            self._meter.settle()

    def dollars(self, section: TeacherSection) -> float:
        """What was paid, over all attempts of the run."""
        return self.usage.dollars(section) - self.reused.dollars(section)

    @property
    def in_flight(self) -> int:
        return len(self._running) + len(self._suspects)

    def run(self, jobs: Iterable[Job[T]]) -> Iterator[T]:
        """The results of all jobs, in order."""
        source = enumerate(jobs)
        queue: deque[_Open[T]] = deque()
        owners: dict[str, _Open[T]] = {}
        results: dict[int, T] = {}
        emitted, exhausted = 0, False
        while not (exhausted and not queue and not owners):
            while queue or not (exhausted or len(results) >= _LOOKAHEAD):
                # What has begun goes first, so that few jobs are open at a time.
                if not queue:
                    pair = next(source, None)
                    if pair is None:
                        exhausted = True
                    elif self._advance(opened := _Open(*pair), results):
                        queue.append(opened)
                    continue
                missing = [r for r in queue[0].batch if r.id not in queue[0].done]
                if not self._has_room(missing):
                    break
                owners |= dict.fromkeys((r.id for r in missing), queue.popleft())
                self._submit(missing)
            while emitted in results:
                yield results.pop(emitted)
                emitted += 1
            if queue and not owners and self._meter:
                self._meter.refuse()
            for completion in self._collect() if owners else ():
                opened = owners.pop(completion.id)
                opened.done[completion.id] = completion
                whole = len(opened.done) == len(opened.batch)
                if whole and self._advance(opened, results):
                    queue.append(opened)
        while emitted in results:
            yield results.pop(emitted)
            emitted += 1
        self.unanswered.refuse_share()

    def _advance(self, opened: _Open[T], results: dict[int, T]) -> bool:
        """Run a job on until it needs the engine; False when it has ended instead."""
        while len(opened.done) == len(opened.batch):
            reply = [opened.done[request.id] for request in opened.batch]
            try:
                opened.batch = opened.job.send(reply) if reply else next(opened.job)
            except StopIteration as end:
                results[opened.number] = end.value
                return False
            opened.done = {}
            for request in opened.batch:
                found = self._log.find(request.id)
                if found is not None:
                    self.unanswered.count(found.completion, found=True)
                    engines = self._engines_now() if found.engines is None else found.engines
                    self.usage.add(found.completion, found.seconds, engines)
                    if found.is_reused:
                        self.reused.add(found.completion, found.seconds, engines)
                    opened.done[request.id] = found.completion
        return True

    def _has_room(self, requests: Sequence[Request]) -> bool:
        begun = [*self._running.values(), *self._suspects]
        if self._meter and not self._meter.affords([*begun, *requests]):
            return False
        if self._engine is None:
            self._start()
        assert self._engine is not None
        failures = self.unanswered.in_a_row
        if self._suspects or failures >= IN_A_ROW:
            return False
        if not self._running:
            return True  # a batch larger than the window goes when nothing else does
        limit = math.ceil(OVERFILL * self._engine.capacity)
        if not self.unanswered.is_proven:
            limit = min(limit, IN_A_ROW - failures)
        return len(self._running) + len(requests) <= limit

    def _start(self) -> None:
        self._engine = self._engine_scope.enter_context(self._opener())
        self._mark = time.monotonic()

    def _submit(self, requests: Sequence[Request]) -> None:
        if not self._running:
            self._mark = time.monotonic()
        self._running |= {request.id: request for request in requests}
        try:
            assert self._engine is not None
            self._engine.submit(requests)
        except RefusedError:
            raise
        except EngineError as error:
            self._restart(error)

    def _collect(self) -> list[Completion]:
        """Wait for completions, through deaths of the engine; each is on disk when it returns."""
        done: list[Completion] = []
        while not done:
            if self._blamed:
                return [self._judge(self._blamed.pop())]
            if not self._running:
                self._submit([self._suspects.popleft()])
                continue
            try:
                assert self._engine is not None
                done = [_readable(completion) for completion in self._engine.collect()]
            except RefusedError:
                raise
            except EngineError as error:
                self._restart(error)
        if any(completion.is_answer for completion in done):
            self._deaths = 0
        now = time.monotonic()
        seconds, self._mark = (now - self._mark) / max(1, len(done)), now
        engines = self._engines_now()
        for completion in done:
            del self._running[completion.id]
            # An error is not kept, so that a run started again asks once more.
            if completion.is_answer:
                self._log.append(completion, seconds, engines)
        for completion in done:
            self.usage.add(completion, seconds, engines)
            if self._meter:
                self._meter.add(completion, seconds, engines)
            self._judge(completion)
        return done

    def _engines_now(self) -> float:
        if self._meter is None:
            return 1.0
        one = self._meter.section.max_num_seqs
        return self._meter.engines(self._engine.capacity if self._engine else one)

    def _judge(self, completion: Completion) -> Completion:
        """Count a completion; stop the run when nobody is answered any more."""
        self.unanswered.count(completion)
        if self.unanswered.in_a_row >= IN_A_ROW and not self._running and not self._suspects:
            self.unanswered.refuse_in_a_row()
        return completion

    def _restart(self, error: EngineError) -> None:
        """Start a dead engine again with its work, but for a request that killed it alone."""
        self._deaths += 1
        self._engine_scope.close()
        lost = list(self._running.values())
        self._running.clear()
        self._strikes.update(request.id for request in lost)
        killer = lost[0] if len(lost) == 1 and self._strikes[lost[0].id] > 2 else None
        # The first death that one request is to blame for says nothing against the engine.
        if self._deaths >= _DEATHS_IN_A_ROW + (killer is not None):
            raise error
        self._on_death(error)
        self._start()
        if killer is not None:
            self._blamed.append(failed(killer.id, "the engine died on it"))
            return
        self._suspects += [r for r in lost if self._strikes[r.id] >= 2]
        again = [r for r in lost if self._strikes[r.id] < 2]
        if again:
            self._submit(again)


def _readable(completion: Completion) -> Completion:
    """Halves of surrogate pairs, which no file can hold, become replacement characters."""
    text, reason, thoughts = (
        each.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        for each in (completion.text, completion.finish_reason, completion.thoughts)
    )
    return replace(completion, text=text, finish_reason=reason, thoughts=thoughts)
