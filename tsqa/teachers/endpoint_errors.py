"""What an endpoint's errors mean: pass and try again, or refused with its reason and the fix.

Guarantees: a message is one short line without secrets, and a fix names a key of the recipe.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import openai

from tsqa.recipe import TeacherSection
from tsqa.secrets import split_url
from tsqa.teachers import RefusedError
from tsqa.teachers.failures import one_line


class PassingError(Exception):
    """A try failed in a way that may pass; `retry_after` in seconds, as the endpoint asked."""

    def __init__(self, reason: str, retry_after: float = 0.0, is_outage: bool = False) -> None:
        super().__init__(reason)
        self.retry_after, self.is_outage = retry_after, is_outage


@dataclass(frozen=True)
class Refusals:
    """Explains why an endpoint will answer nobody; `key`: where the recipe names the model."""

    section: TeacherSection
    model: str
    key: str
    has_secret: bool

    def quota(self, url: str, message: str) -> RefusedError:
        return RefusedError(
            f"{url}: the quota of the account is used up: {message}",
            "top the account up, or raise its quota; what was answered is kept, and the same "
            "command then asks only for what is missing",
        )

    def redirect(self, url: str, error: openai.APIStatusError) -> RefusedError:
        location = error.response.headers.get("location", "")
        with contextlib.suppress(ValueError):
            location = split_url(str(error.response.url.join(location))).url
        return RefusedError(
            f"{url} redirects to {one_line(location)} ({error.status_code}): prompts and "
            "keys are sent nowhere but where the recipe says",
            f"if that is the right place, put it into {self.key}.urls",
        )

    def access(self, url: str, error: openai.APIStatusError) -> RefusedError:
        message = f"{url}: {status_line(error)}"
        if error.status_code == 404:
            return RefusedError(
                f"{message} (model {self.model})",
                f"correct {self.key}.model.path or {self.key}.urls",
            )
        variable = self.section.api_key_env
        state = "holds a key that is refused" if self.has_secret else "is not set"
        return RefusedError(
            f"{message} (the environment variable {variable} {state})",
            f"put the key into {variable}, or name another variable in {self.key}.api_key_env",
        )


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds, from a number or a date; 0 where the header is absent or unreadable."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return max(0.0, seconds)


def cause_of(error: BaseException) -> str:
    return one_line(str(error.__cause__ or "") or str(error))


def named(error: BaseException) -> str:
    return one_line(f"{type(error).__name__}: {error}".removesuffix(": "))


def system_errno(error: BaseException | None) -> int | None:
    """Of the system's error behind an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def said_by(error: openai.APIStatusError) -> str:
    """What the endpoint says, its own words for the kind first."""
    return " ".join(filter(None, (str(error.code or ""), str(error.type or ""), error.message)))


def status_line(error: openai.APIStatusError) -> str:
    status = error.status_code
    return f"{status} {one_line(error.message.removeprefix(f'Error code: {status} - '))}"
