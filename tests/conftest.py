"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is slow, not wrong; what must be fast has a test of its own.
settings.register_profile("tsqa", deadline=None)
settings.load_profile("tsqa")
