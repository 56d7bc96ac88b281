"""What a preview borrows: the finished artifacts of a store, and one engine that stays up."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

from tsqa.errors import EngineError
from tsqa.store.artifact import Artifact, Store
from tsqa.store.manifest import Check
from tsqa.teachers import Completion, Engine, Request
from tsqa.teachers.client import Asker


class Overlay(Store):
    """A store in a temporary folder, which also finds what the real one holds."""

    def __init__(self, real: Path, scratch: Path) -> None:
        super().__init__(scratch)
        self._real = Store(real)

    def find(self, stage: str, fingerprint: str, check: Check = "cheap") -> Artifact | None:
        found = self._real.find(stage, fingerprint, check)
        return found or super().find(stage, fingerprint, check)


class OneEngine:
    """The engine that was asked last, up until another is wanted or it dies."""

    def __init__(self) -> None:
        self.started = 0.0
        """Seconds that engines took to start."""
        self._scope = ExitStack()
        self._key = ""
        self._engine: _Noticed | None = None

    def open(self, asker: Asker) -> AbstractContextManager[Engine]:
        section = asker.section.model_dump(mode="json")
        key = json.dumps([asker.model, asker.seed, section], sort_keys=True)
        if self._engine is None or self._engine.is_dead or key != self._key:
            self.close()
            begun = time.monotonic()
            self._engine = _Noticed(self._scope.enter_context(asker.open()))
            self._key = key
            self.started += time.monotonic() - begun
        return nullcontext(self._engine)

    def close(self) -> None:
        self._engine = None
        self._scope.close()


class _Noticed:
    """An engine of which it is known whether it died."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.is_dead = False

    @property
    def capacity(self) -> int:
        return self._engine.capacity

    def submit(self, requests: Sequence[Request]) -> None:
        with self._noticing():
            self._engine.submit(requests)

    def collect(self) -> list[Completion]:
        with self._noticing():
            return self._engine.collect()

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        try:
            yield
        except EngineError:
            self.is_dead = True
            raise
