"""What is known of an object without reading it."""

from __future__ import annotations

from typing import NamedTuple


class RemoteState(NamedTuple):
    """What changes when an object does."""

    url: str
    size: int
    version: str
    """ETag with the version's ID, or the hash of the content where a store tells it."""
    modified_ns: int
    """When, where a server's version may be a time in seconds; 0 where it is of the content."""
