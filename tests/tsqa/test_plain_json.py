"""Promises of reading JSON: one reading, or none."""

from __future__ import annotations

import pytest

from tsqa.plain_json import RepeatedKey, parse_json


def test_what_has_no_one_reading_is_refused() -> None:
    assert parse_json('{"a": [1.5, -2e3, 1e-400]}') == {"a": [1.5, -2000.0, 0.0]}
    with pytest.raises(RepeatedKey, match="the key `a` comes 2 times"):
        parse_json('[{"a": 1, "a": 1}]')
    for text in ('{"a": 1e400}', b"[-1.0e999]"):
        with pytest.raises(ValueError, match=r"the number -?1.*e[49]\d\d is beyond"):
            parse_json(text)
