"""What is wrong when a store refuses or does not answer, and what to do about it.

Guarantee: no text of a message holds a credential; what a library says passes `redact`.
"""

from __future__ import annotations

import re

from tsqa.errors import DataError, first_line
from tsqa.secrets import redact

_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_ENDPOINT_URL for a "
    "store that is not Amazon's",
    "gs": "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS",
    "hf": "run `hf auth login`, or set HF_TOKEN",
    "http": "give an address that needs no login, or one in ~/.netrc",
}
_AGAIN = "run the same command again: what is done is kept"
_DENIED, _NETWORK, _BUSY = "access is denied", "the store cannot be reached", "the store is busy"
_CAUSES = (
    (re.compile(r"NO_SUCH_BUCKET|NoSuchBucket|bucket does not exist"), "no such bucket"),
    (re.compile(r"NO_SUCH_KEY|NoSuchKey|NOT_FOUND|\b404\b|NotFoundError"), "no such object"),
    (re.compile(r"PERMANENT_REDIRECT|HTTP status 301"), "the bucket is in another region"),
    (re.compile(r"SLOW_DOWN|SlowDown|THROTTL|\b429\b|\b503\b|RESOURCE_EXHAUSTED"), _BUSY),
    (
        re.compile(
            r"ACCESS_DENIED|AccessDenied|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE|"
            r"EXPIRED_TOKEN|UNAUTHENTICATED|PERMISSION_DENIED|InvalidAccessKeyId|ExpiredToken|"
            r"\b40[13]\b|Forbidden|Unauthorized|Gated|credentials"
        ),
        _DENIED,
    ),
    (
        re.compile(
            r"NETWORK_CONNECTION|UNAVAILABLE|curlCode|CURL error|onnect|resolve|[Tt]imed? ?out|"
            r"TIMEOUT|ffline|DNS"
        ),
        _NETWORK,
    ),
)
_PASSING = (_NETWORK, _BUSY, "")


def failed(url: str, error: BaseException) -> DataError:
    """The error for the user: the address, what is wrong and the fix."""
    cause = _cause_of(error)
    said = redact(first_line(_root_of(error)))
    fix = {
        "no such bucket": "correct the name of the bucket",
        "no such object": "correct the path",
        "the bucket is in another region": "set AWS_REGION to it",
        _DENIED: _CREDENTIALS[url.partition("://")[0].replace("https", "http")],
        _NETWORK: f"check the network and the address; then {_AGAIN}",
        _BUSY: _AGAIN,
        "": _AGAIN,
    }[cause]
    return DataError(f"{url}: {cause or 'cannot be read'} ({said})", fix)


def is_missing(error: BaseException) -> bool:
    """Whether there is no object of that name, as far as the store says."""
    cause = _cause_of(error)
    return cause == "no such object" or (isinstance(error, FileNotFoundError) and not cause)


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    return not isinstance(error, FileNotFoundError) and _cause_of(error) in _PASSING


def _cause_of(error: BaseException) -> str:
    root = _root_of(error)
    text = f"{type(root).__name__} {root}"
    return next((cause for pattern, cause in _CAUSES if pattern.search(text)), "")


def _root_of(error: BaseException) -> BaseException:
    """fsspec says "not found" of whatever a server did; what it did is the cause."""
    while isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error
