"""Settings of all tests."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import settings

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
