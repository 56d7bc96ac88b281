"""The worker processes behind a remote model: their start, their messages, their end.

A worker answers calls of lm-eval's model over one pipe, and writes what it prints to its log.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

import psutil

from tsqa.store.process import child_environment, die_with_parent, name_parent

if TYPE_CHECKING:
    from eval.harness.engines import ModelSettings

SERVE = "from eval.harness.worker import serve; serve()"
"""The program of a worker. `-m` would make the messages classes of `__main__`."""


@dataclass(frozen=True)
class Call:
    """A method of the model, with its arguments, or with those of each request."""

    method: str
    arguments: Sequence[object]


@dataclass(frozen=True)
class Done:
    """So many requests of the call are answered."""

    requests: int


@dataclass(frozen=True)
class Reply:
    """The worker is ready, or the answer to its call."""

    value: object


@dataclass(frozen=True)
class Worker:
    """One worker process, as its parent sees it."""

    process: subprocess.Popen[bytes]
    connection: Connection
    log: Path

    def send(self, message: Call | ModelSettings) -> None:
        """Send in the background: a stopped process does not read, and it must be watched."""
        Thread(target=self._send, args=(message,), daemon=True).start()

    def read_into(self, inbox: Inbox) -> None:
        """Pass on all messages, then None at its death."""
        try:
            while True:
                inbox.put((self, self.connection.recv()))
        except (EOFError, OSError):
            pass
        except BaseException:  # what cannot be read will not be answered
            self.process.kill()
            raise
        finally:
            inbox.put((self, None))

    def hang_up(self) -> None:
        """End the conversation; an idle worker then exits."""
        # Closing would not wake the thread that reads, nor end the pipe while it does.
        with (
            contextlib.suppress(OSError),
            socket.socket(fileno=os.dup(self.connection.fileno())) as s,
        ):
            s.shutdown(socket.SHUT_RDWR)

    def _send(self, message: Call | ModelSettings) -> None:
        # A dead worker is seen when its pipe ends, where its log explains it.
        with contextlib.suppress(OSError):
            self.connection.send(message)

    def members(self) -> list[psutil.Process]:
        """The process and its children."""
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.Error:
            return []


Inbox = SimpleQueue[tuple[Worker, Done | Reply | None]]


def start(settings: ModelSettings, environment: dict[str, str], log: Path, inbox: Inbox) -> Worker:
    ours, theirs = multiprocessing.Pipe()
    with log.open("ab") as handle:
        # Not multiprocessing: it would report what vLLM leaves behind as leaked by this process.
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
            env=child_environment(environment, name_parent()),
        )
    theirs.close()
    worker = Worker(process, ours, log)
    worker.send(settings)
    Thread(target=worker.read_into, args=(inbox,), daemon=True).start()
    return worker


def serve() -> None:
    """The worker: answer until the connection closes."""
    die_with_parent()
    connection = Connection(int(sys.argv[1]))
    try:
        _answer_all(connection.recv(), connection)
    except EOFError:
        os._exit(0)
    except BaseException:  # noqa: BLE001 - vLLM's own shutdown can hang
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _answer_all(settings: ModelSettings, connection: Connection) -> None:
    from lm_eval.api.instance import Instance

    from eval.harness.engines import load_model

    model = load_model(settings, lambda done, total: connection.send(Done(done)))
    connection.send(Reply("ready"))
    while True:
        call: Call = connection.recv()
        if call.method == "apply_chat_template":
            connection.send(Reply(model.apply_chat_template(*call.arguments)))
            continue
        requests = [Instance(call.method, {}, arguments, 0) for arguments in call.arguments]
        connection.send(Reply(getattr(model, call.method)(requests)))
