"""JSON with one reading: the only way to read JSON that others wrote, and our own.

Guarantees: an object with a key twice is a RepeatedKey, where Python keeps the last without a word.
"""

from __future__ import annotations

import json
from collections import Counter


class RepeatedKey(ValueError):
    """A key that comes twice in an object, so that either value could be meant."""


def parse_json(text: str | bytes) -> object:
    """The value of a JSON text; ValueError if it is none, RepeatedKey if it has two readings."""
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    return _DECODER.decode(text)


def _with_unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        key, times = Counter(key for key, _ in pairs).most_common(1)[0]
        raise RepeatedKey(f"the key `{key:.60}` comes {times} times in one object")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_with_unique_keys)
