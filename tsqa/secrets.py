"""Keys and passwords that this process knows, kept out of every text that leaves it.

Guarantees: a value that was registered, as it is or as URLs, JSON and headers spell it, stays in no
text that passed `redact`; text of a teacher loses only values that no ordinary text holds.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HIDDEN = "***"
_SHORTEST = 4
"""Shorter values are no secrets, and would hide half of every text."""
_SHORTEST_IN_DATA = 8
_PLAIN_PARAMETERS = ("api-version", "version", "deployment", "model")
_LOGIN_IN_URL = re.compile(r"(?<=://)[^/?#\s@'\"]*(?:@[^/?#\s@'\"]*)*@(?=[^/?#\s@'\"])")
_SECRET_PARAMETER = re.compile(
    r"(?i)([?&;][^=&;?\s]{0,40}?(?:key|token|secret|password|passwd|pwd|auth|signature|sig)=)[^&#\s'\"]+"
)


@dataclass
class _Known:
    spelled: set[str] = field(default_factory=set)
    in_data: set[str] = field(default_factory=set)


_known = _Known()


@dataclass(frozen=True)
class SplitUrl:
    """A URL without what it says of who is asking, and that."""

    url: str
    login: tuple[str, str] | None
    query: Mapping[str, str]


def register(value: str) -> None:
    """Remember a secret in every spelling in which it could come back."""
    if len(value) < _SHORTEST:
        return
    raw = value.encode("utf-8", "surrogatepass")
    quoted = urllib.parse.quote_from_bytes(raw, safe="")
    spelled = {value, quoted, quoted.lower(), urllib.parse.quote_from_bytes(raw)}
    spelled |= {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    spelled.add(repr(value)[1:-1])
    _known.spelled |= spelled
    # A plain word is no key, and a teacher may write it.
    if len(value) >= _SHORTEST_IN_DATA and not value.isalpha():
        _known.in_data |= spelled


def register_url(url: str) -> None:
    """Remember the login and the parameters of a URL."""
    split = split_url(url)
    if split.login is not None:
        user, password = split.login
        register(password or user)
        register(base64.b64encode(f"{user}:{password}".encode()).decode())
    for name, value in split.query.items():
        if name.lower() not in _PLAIN_PARAMETERS:
            register(value)


def split_url(url: str) -> SplitUrl:
    """ValueError where the text is no URL; the message does not repeat it."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("not a URL") from None
    shown = f"[{host}]" if ":" in host else host
    if port is not None:
        shown += f":{port}"
    login = None
    if parts.username is not None or parts.password is not None:
        user, password = parts.username or "", parts.password or ""
        login = (urllib.parse.unquote(user), urllib.parse.unquote(password))
    query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
    return SplitUrl(
        urllib.parse.urlunsplit((parts.scheme, shown, parts.path, "", "")), login, query
    )


def redact(text: str) -> str:
    """A message without secrets: registered ones, and what looks like one in a URL."""
    text = _without(text, _known.spelled)
    return _SECRET_PARAMETER.sub(rf"\1{HIDDEN}", _LOGIN_IN_URL.sub(f"{HIDDEN}@", text))


def redact_data(text: str) -> str:
    """What a teacher wrote, without registered secrets; all else is unchanged."""
    return _without(text, _known.in_data)


def redact_tree(value: Any) -> Any:
    """Plain JSON with every text redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(str(key)): redact_tree(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_tree(each) for each in value]
    return value


def _without(text: str, secrets: set[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return text
