"""Settings of all tests."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.support.buckets import Bucket

# Before torch or numpy is imported. Each worker, and each child of a test, would otherwise take
# threads for all cores, which wait for one another in loops: nine times the CPU for a small model.
os.environ["OMP_NUM_THREADS"] = "1"

# A shell starts jobs in the background with Ctrl-C ignored, which what a test starts would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is slow, not wrong; what must be fast has a test of its own.
settings.register_profile("tsqa", deadline=None)
settings.load_profile("tsqa")

_ENGINE, _OTHER = 25.0, 0.06
_SECONDS = {
    "test_smoke.py": 120,  # whole runs
    "test_coverage.py": 1.5,
    "test_audited_stages.py": 15,
    "test_system_tries.py": 2,
    "test_backends.py": 4,
    "test_sources.py": 1,
    "test_build.py": 0.8,
    "test_endpoint_tries.py": 0.3,  # waits for timeouts
    "test_artifact_tries.py": 0.03,
    "test_recipe_tries.py": 0.013,
}
"""Of a test of a file, where it is not as long as most."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, so that no worker ends with one while the others are idle."""
    seconds: Counter[Path] = Counter()
    for item in items:
        is_engine = item.get_closest_marker("engine") is not None
        usual = _SECONDS.get(item.path.name, _OTHER)
        seconds[item.path] += max(usual, _ENGINE) if is_engine else usual  # type: ignore[assignment]
    items.sort(key=lambda item: -seconds[item.path])


@pytest.fixture(autouse=True)
def _process_stays_as_it_was() -> Iterator[None]:
    """No later test depends on what one has left in the process that they share."""
    variables, folder = _variables(), Path.cwd()
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    yield
    for name in _variables().keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)
    os.chdir(folder)


def _variables() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture(params=["memory", "s3"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket, once of memory and once of an S3 server."""
    from tests.support.buckets import memory_bucket, moto_bucket

    make = memory_bucket if request.param == "memory" else moto_bucket
    with make(monkeypatch) as made:
        yield made
