"""The side of the tested program: it runs here, and never sees what is expected of it."""

from __future__ import annotations

import builtins
import copy
import io
import sys
import types

from tsqa.sandbox.inside.peer import Peer, Policy
from tsqa.sandbox.inside.stand_ins import OPERATORS
from tsqa.sandbox.inside.wire import MUTABLE_BASES, LineError

TYPE_CHECKING = False  # as typing's, whose import every program would wait for
if TYPE_CHECKING:
    from typing import Any

_OWN_FRAMES = 60
"""Of the recursion limit, those that a program run on its own would not spend."""


class _Sink(io.BytesIO):
    """Keeps what is printed while it is wanted."""

    wanted = False

    def write(self, data: Any) -> int:
        return super().write(data) if self.wanted else len(data)


class _Input(io.TextIOBase):
    """The standard input is that of the tests."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def read(self, size: int | None = -1) -> str:
        return str(self._peer.ask("input", 0, "read", -1 if size is None else size))

    def readline(self, size: int = -1) -> str:  # type: ignore[override]
        return str(self._peer.ask("input", 0, "readline", size))


class _ProgramPolicy(Policy):
    def __init__(self, answer: str) -> None:
        self._answer = answer
        # Registered, as dataclasses and pickle look their module up.
        module = sys.modules["answer"] = types.ModuleType("answer")
        self._names = vars(module)
        self._sink = _Sink()
        sys.stdout = sys.stderr = io.TextIOWrapper(
            self._sink, "utf-8", errors="surrogatepass", write_through=True
        )

    def begin(self, captures: bool) -> None:
        self._sink.wanted = captures

    def printed(self) -> str:
        text = self._sink.getvalue().decode("utf-8", "surrogatepass")
        self._sink.seek(0)
        self._sink.truncate()
        return text

    def handle(self, peer: Peer, request: str, target: Any, values: list[Any]) -> Any:
        if request == "load":
            exec(compile(self._answer, "answer.py", "exec", dont_inherit=True), self._names)
            return None
        if request == "name":
            return self._names[target]
        value = peer.object_at(target)
        match request:
            case "call":
                return value(*values[0], **values[1])
            case "get":
                return getattr(value, values[0])
            case "set":
                return setattr(value, *values)
            case "delete":
                return delattr(value, values[0])
            case "operate" if values[0] in OPERATORS:
                return getattr(type(value), values[0])(value, *values[1:])
            case "equal":
                return bool(value == values[0])
            case "hash":
                return hash(value)
            case "plain":
                base = next(base for base in MUTABLE_BASES if isinstance(value, base))
                return MUTABLE_BASES[base](value)
            case "copy":
                return copy.copy(value)
            case "deepcopy":
                return copy.deepcopy(value)
            case "await":
                import asyncio

                return asyncio.run(value)
        raise TypeError(request)


def serve(descriptor: int, answer: str) -> None:
    """Do what the tests ask, first to run the program, until the line is closed."""
    peer = Peer(descriptor, _ProgramPolicy(answer))
    sys.stdin = _Input(peer)
    builtins.input = lambda prompt="": peer.ask("prompt", 0, str(prompt))
    sys.setrecursionlimit(sys.getrecursionlimit() + _OWN_FRAMES)
    try:
        while True:
            peer.answer(peer.line.receive())
    except LineError:
        return
