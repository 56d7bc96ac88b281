"""Promises of secrets: no spelling of a registered one passes; ordinary text passes as it is."""

from __future__ import annotations

import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsqa import secrets
from tsqa.secrets import redact, redact_data, redact_tree, register, register_url, split_url


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_known", secrets._Known())


TEXTS = st.text(st.characters(codec="utf-8"), min_size=8, max_size=30)


@given(TEXTS.filter(lambda value: not value.isalpha()), st.text(max_size=20))
def test_no_spelling_of_a_secret_passes(value: str, around: str) -> None:
    register(value)
    spellings = [value, json.dumps(value)[1:-1], urllib.parse.quote(value, safe=""), repr(value)]
    for spelled in spellings:
        for clean in (redact, redact_data):
            assert spelled not in clean(around + spelled + around)
    assert value not in json.dumps(redact_tree({"a": [value, {value: (value,)}]}))


@pytest.mark.parametrize("value", ["", "x", "key", "EMPTY", "none", "password"])
def test_what_is_no_key_stays_in_data(value: str) -> None:
    register(value)
    text = f"the {value} of the word 'password' is EMPTY, none"
    assert redact_data(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://me:hunter2@host:8000/v1, no", "at http://***@host:8000/v1, no"),
        ("['https://only-token@host/v1']", "['https://***@host/v1']"),
        ("https://a:p@ss@host/x", "https://***@host/x"),
        ("http://host/v1?api_key=abc&x=1", "http://host/v1?api_key=***&x=1"),
        ("http://host/v1?x=1&access_token=abc", "http://host/v1?x=1&access_token=***"),
        ("write to me@host.org about http://host/v1?x=1", None),
        ("s3://bucket/key/a=b", None),
    ],
)
def test_a_message_loses_what_looks_like_a_secret_in_a_url(text: str, shown: str | None) -> None:
    assert redact(text) == (text if shown is None else shown)


def test_a_url_is_split_and_what_it_says_registered() -> None:
    url = "https://me:p%40ss-word@[::1]:8443/v1?api-version=2024-10-21&sig=abcdefgh12"
    split = split_url(url)
    assert split.url == "https://[::1]:8443/v1"
    assert split.login == ("me", "p@ss-word")
    assert split.query == {"api-version": "2024-10-21", "sig": "abcdefgh12"}
    register_url(url)
    assert redact_data("p@ss-word abcdefgh12 2024-10-21") == "*** *** 2024-10-21"
    with pytest.raises(ValueError, match=r"^not a URL$"):
        split_url("http://[::1:secret/v1")


def test_redaction_takes_no_longer_than_the_text() -> None:
    for part in ("?", "&key", "://", "@", "?a=", "://a@"):
        redact(part * 200_000)
