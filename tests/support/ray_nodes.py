"""A Ray cluster of several raylets on this machine, and a stand-in for vLLM on its nodes.

As a program it is that stand-in: replies are a function of the request alone, and take a moment.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

SECONDS = 0.02
"""For a line of requests."""


class Nodes:
    """A head and others, with one processor each; it asks for a token."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster()
        self.add()

    def make_two(self) -> None:
        """There are a head and another."""
        while len(self.cluster.list_all_nodes()) < 2:
            self.add()

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self) -> None:
        # The raylet of a busy machine is late, and Ray waits for 30 s in one place.
        for attempt in range(3):
            with suppress(Exception):
                return self._add()
            time.sleep(attempt)
        return self._add()

    def _add(self) -> None:
        self.cluster.add_node(num_cpus=1, object_store_memory=80 << 20, include_dashboard=False)

    def kill_other(self) -> None:
        """SIGKILL to the raylet that is not the head, and to what belongs to it."""
        (other,) = self.cluster.worker_nodes
        self.cluster.remove_node(other, allow_graceful=False)


@contextmanager
def ray_nodes(patch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """Within the block this process's commands join them."""
    from tsqa.parallel.ray_cluster import _token

    for name, value in {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": _token(),  # Ray reads a token once in a process
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "300",
        "RAY_memory_monitor_refresh_ms": "0",
    }.items():
        patch.setenv(name, value)
    nodes = Nodes()
    patch.setenv("RAY_ADDRESS", nodes.address)
    try:
        yield nodes
    finally:
        nodes.cluster.shutdown()


def stand_in_host() -> type:
    """Of a replica without vLLM; only where ray is installed."""
    from tsqa.teachers import ray_engine, vllm_process

    class StandInHost(ray_engine._Host):
        def start(self, origin: Mapping[str, str], files: Mapping[str, int]) -> tuple[str, int]:
            vllm_process._command = lambda writer: [sys.executable, __file__, str(writer)]
            return super().start(origin, files)

    return StandInHost


def _serve(results: Any) -> None:
    sys.stdin.readline()  # the configuration
    print("[]", file=results, flush=True)
    for line in sys.stdin:
        time.sleep(SECONDS)
        done = [_complete(request) for request in json.loads(line)]
        print(json.dumps(done), file=results, flush=True)


def _complete(request: dict[str, Any]) -> dict[str, Any]:
    text = f" thing {request['seed'] % 10 % 2}\nBecause: it is so."
    if request["prompt"].endswith("Question:"):
        text = f" Which thing is {request['id']}?"
    size = len(request["prompt"])
    return {"id": request["id"], "text": text, "prompt_tokens": size} | {
        "output_tokens": 5,
        "finish_reason": "stop",
    }


if __name__ == "__main__":
    from tsqa.store.process import die_with_parent

    die_with_parent()
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as pipe:
        _serve(pipe)
