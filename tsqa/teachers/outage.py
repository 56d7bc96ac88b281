"""A time in which an endpoint answers nobody: how long it is waited for, and what is said of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.text import Text

from tsqa.console import console

_SAID_AFTER_SECONDS = 3.0


class Outage:
    """Begins with a failure of the endpoint, ends with the next answer to anybody."""

    def __init__(self, minutes: float, key: str, note: Callable[[str], None]) -> None:
        self.seconds = 60 * minutes
        """How long a request is tried again at least."""
        self._key, self._note = key, note
        self._since: float | None = None
        self._is_said = False

    def seconds_left(self, first: float) -> float:
        """For a request that failed first at that monotonic time."""
        begin = time.time() - (time.monotonic() - first)
        return min(begin, self._since or begin) + self.seconds - time.time()

    def note(self, url: str, reason: str) -> None:
        """Say once, when nobody is answered for a moment, until when that is waited for."""
        now = time.time()
        if self._since is None:
            self._since = now
        if self._is_said or now - self._since < _SAID_AFTER_SECONDS:
            return
        self._is_said = True
        begin, end = (time.strftime("%H:%M:%S", time.localtime(t)) for t in self._bounds())
        self._say(
            f"{url}: {reason}: no answer since {begin}; tried again until {end} ({self._key})"
        )

    def end(self) -> None:
        """An answer came."""
        if self._is_said:
            self._say("the endpoint answers again")
        self._since, self._is_said = None, False

    def _bounds(self) -> tuple[float, float]:
        assert self._since is not None
        return self._since, self._since + self.seconds

    def _say(self, line: str) -> None:
        self._note(line)
        console.print(Text(line, "yellow"))
