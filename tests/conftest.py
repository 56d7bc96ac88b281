"""Settings of all tests."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.support.buckets import Bucket

# Before torch or numpy is imported. Each worker, and each child of a test, would otherwise take
# threads for all cores, which wait for one another in loops: five times the time for a small model.
os.environ["OMP_NUM_THREADS"] = "1"

# A busy machine is slow, not wrong; what must be fast has a test of its own.
settings.register_profile("tsqa", deadline=None)
settings.load_profile("tsqa")

_LONG = {"test_system_tries.py": 60, "test_endpoint_tries.py": 6}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, so that no worker ends with one while the others are idle.

    An engine test takes about as long as three hundred others, a try on the machine as sixty, and
    one on an endpoint, which waits for timeouts, as six.
    """
    weights: Counter[str] = Counter()
    for item in items:
        file = item.nodeid.partition("::")[0]
        name = file.rpartition("/")[2]
        weights[file] += 300 if item.get_closest_marker("engine") else _LONG.get(name, 1)
    items.sort(key=lambda item: -weights[item.nodeid.partition("::")[0]])


@pytest.fixture(params=["memory", "s3"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket, once of memory and once of an S3 server, where one is installed."""
    from tests.support.buckets import memory_bucket, moto_bucket

    make = memory_bucket if request.param == "memory" else moto_bucket
    with make(monkeypatch) as made:
        yield made
