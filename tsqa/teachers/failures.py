"""Requests without an answer: what an endpoint's errors mean, when they end the stage, and what the
user can change.

Guarantees: an endpoint's message comes on one line, short, printable and without secrets; the fix
is read from its words, and names a key of the recipe.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import get_args

from tsqa.recipe import SentField, TeacherSection
from tsqa.records.summaries import read_ledger
from tsqa.secrets import redact, split_url
from tsqa.store.artifact import Artifact
from tsqa.teachers import TEACHER_KEY, Completion, RefusedError
from tsqa.teachers.http.server import StatusError

IN_A_ROW = 20
"""Failures without an answer between them after which nobody is answered."""
_LONGEST = 200
_READ = 600
"""Characters of an error that are looked at: the rest may repeat the prompt."""
_QUOTA = re.compile(
    r"insufficient[_ ](?:quota|balance|credits?|funds)|credit balance is too low"
    r"|(?:not|don't have) enough (?:credits?|balance|funds)|out of credits|quota[_ ]exhausted"
    r"|billing[_ ](?:hard[_ ]limit|not[_ ]active)|account is not active|requires more credits"
)
_PERHAPS_QUOTA = re.compile(r"exceeded your current quota|check your plan and billing|payment requ")
_RETRY_HINT = re.compile(r"retry[ _-]?(?:in|after|delay)|try again in|per[ _-]?minute")
_TOO_LONG = re.compile(
    r"context[ _]length|context window|maximum model length|(?:prompt|input|request) is too long"
    r"|input length|reduce the length|too many (?:input |prompt )?tokens|longer than the maximum"
)
_FILTERED = re.compile(
    r"content[_ ]filter|content management policy|responsibleai|flagged|moderation"
    r"|content policy|usage polic"
)
_NO_SYSTEM = re.compile(
    r"system (?:role|message|prompt|turn|instruction)s?\b.{0,40}\b(?:not|n't|un)\W?"
    r"(?:support|allow|enabl|permit|accept)"
    r"|(?:not support|unsupported|invalid).{0,40}\bsystem\b|\bsystem\b.{0,30}\bnot supported"
    r"|developer instruction is not enabled|only user and assistant roles"
    r"|roles must alternate"
)
_FIELDS = get_args(SentField)
_REFUSED_FIELD = re.compile(
    r"unsupported|n[o']t (?:be )?(?:support|allow|permit)|does not support|unrecognized|unknown"
    r"|extra (?:inputs|fields)|deprecated|only the default|not permitted|unexpected"
    r"|no such (?:field|parameter|argument)"
)
_FIXES = (
    (
        r"reasoning_config|reasoning-parser",
        "start vllm serve with --reasoning-parser, or set {key}.request.omit to "
        "[thinking_token_budget]",
    ),
    (
        r"max_completion_tokens|(?:unsupported|unknown|not support).{0,30}\bmax_tokens",
        "set {key}.request.token_limit to max_completion_tokens",
    ),
    (
        r"enable_thinking",
        "set {key}.request.extra_body to {{enable_thinking: false}}, or with vllm serve "
        "{key}.request.chat_template_kwargs",
    ),
    (_NO_SYSTEM.pattern, "set {key}.request.system to merge"),
    (r"response_format|json_schema|guided|structured", "set {key}.structured to false"),
    (r"chat[ _]template", "use an instruct model, or set {key}.form to completion"),
    (r"max_tokens.*(?:too large|at most|exceed|maximum)", "lower max_tokens of the sampling"),
    (
        r"^429|too many requests|rate.?limit",
        "lower {key}.max_num_seqs, or set {key}.requests_per_minute",
    ),
    (r"^no answer in", "raise {key}.timeout_seconds, or lower {key}.max_num_seqs"),
    (r"^40[0-9]|^422", "see what is refused; {key}.request says how requests are put"),
)


class PassingError(Exception):
    """A try failed in a way that may pass; `retry_after` in seconds, as the endpoint asked."""

    def __init__(
        self,
        reason: str,
        retry_after: float = 0.0,
        is_outage: bool = False,
        is_refused: bool = False,
        is_busy: bool = False,
    ) -> None:
        """`is_refused`: there was not even a connection; `is_busy`: it says that it works."""
        super().__init__(reason)
        self.retry_after, self.is_outage = retry_after, is_outage
        self.is_refused, self.is_busy = is_refused, is_busy


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

    def redirect(self, url: str, error: StatusError) -> RefusedError:
        location = error.location
        with suppress(ValueError):
            location = split_url(location).url
        return RefusedError(
            f"{url} redirects to {one_line(location)} ({error.status}): prompts and "
            "keys are sent nowhere but where the recipe says",
            f"if that is the right place, put it into {self.key}.urls",
        )

    def access(self, url: str, error: StatusError) -> RefusedError:
        message = f"{url}: {status_line(error)}"
        if error.status == 404:
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


def named(error: BaseException) -> str:
    return one_line(f"{type(error).__name__}: {error}".removesuffix(": "))


def status_line(error: StatusError) -> str:
    return f"{error.status} {one_line(error.message)}"


def one_line(text: str) -> str:
    """A message of another program: on one line, short, printable, without secrets."""
    shown = redact(text[: 64 * _LONGEST])[: 8 * _LONGEST]
    printable = "".join(c if c.isprintable() else " " for c in shown)
    return " ".join(printable.split())[:_LONGEST]


def is_out_of_quota(status: int, said: str, hint_in_headers: bool = False) -> bool:
    """Whether waiting cannot help: the account is empty, not merely asked too fast."""
    words = said[:_READ].lower()
    if status == 402 or _QUOTA.search(words):
        return True
    waits = hint_in_headers or _RETRY_HINT.search(words)
    return status in (403, 429) and bool(_PERHAPS_QUOTA.search(words)) and not waits


def is_too_long(said: str) -> bool:
    return bool(_TOO_LONG.search(said[:_READ].lower()))


def is_filtered(said: str) -> bool:
    return bool(_FILTERED.search(said[:_READ].lower()))


def refuses_system(said: str) -> bool:
    return bool(_NO_SYSTEM.search(said[:_READ].lower()))


def likely_fix(reason: str, key: str) -> str:
    """What to change, by the words of the reason; `key` is where the recipe names the teacher."""
    words = reason.lower()
    refused = [name for name in _FIELDS if re.search(rf"\b{name}\b", words)]
    if "max_completion_tokens" not in words and refused and _REFUSED_FIELD.search(words):
        return f"set {key}.request.omit to [{', '.join(refused)}]"
    for pattern, fix in _FIXES:
        if re.search(pattern, words):
            return fix.format(key=key)
    return f"see why the model that {key} names does not answer"


class Unanswered:
    """Counts the requests of a stage that have no answer, and says when they are too many."""

    def __init__(
        self,
        allowed: float = 0.0,
        *,
        name: str = "the model",
        key: str = TEACHER_KEY,
        allowed_key: str = "generate.allow_failed",
        log: Path | None = None,
    ) -> None:
        """`allowed`: the share that may fail; the keys are those of the recipe."""
        self._allowed, self._name, self._key = allowed, name, key
        self._allowed_key, self._log = allowed_key, log
        self.reasons: Counter[str] = Counter()
        self.requests = 0
        self.in_a_row = 0
        self.is_proven = False
        """Whether the engine has answered anybody yet."""
        self._first = ""

    def count(self, completion: Completion, found: bool = False) -> None:
        """`found`: by an earlier attempt, which says nothing about the engine now."""
        self.requests += 1
        if completion.is_answer:
            if not found:
                self.in_a_row, self.is_proven = 0, True
            return
        self.in_a_row += 1
        self._first = self._first or completion.failure
        self.reasons[_kind(completion.failure)] += 1

    def refuse_in_a_row(self) -> None:
        """Raise RefusedError where nobody is answered any more, unless that many may fail."""
        if self._is_allowed():
            self.in_a_row = 0
            return
        raise RefusedError(
            f"{self._name}: {self.in_a_row} requests in a row failed, and none was answered "
            f"between them: {self._summary()}",
            self._fix(),
        )

    def refuse_share(self) -> None:
        """Raise RefusedError where more requests than allowed have no answer at the end."""
        if self._is_allowed():
            return
        total = self.reasons.total()
        raise RefusedError(
            f"{self._name}: {total:,} of {self.requests:,} requests have no answer "
            f"({total / self.requests:.2%}; {self._allowed_key} is {self._allowed:g}): "
            f"{self._summary()}",
            self._fix(),
        )

    def _is_allowed(self) -> bool:
        return self.reasons.total() <= self._allowed * self.requests + 1e-9

    def _summary(self) -> str:
        if len(self.reasons) == 1:
            text = f"{self.reasons.total():,} x {self._first}"
        else:
            counts = self.reasons.most_common(5)
            text = ", ".join(f"{count:,} x {kind}" for kind, count in counts)
            text += f"; the first: {self._first}"
        return text + (f"; the log is {self._log}" if self._log else "")

    def _fix(self) -> str:
        return (
            f"{likely_fix(self._first, self._key)}; the same command then asks only for what is "
            f"missing, and {self._allowed_key} accepts a share without an answer"
        )


def refuse_unanswered(made: Artifact, allowed: Mapping[str, tuple[float, str]]) -> None:
    """Refuse a finished stage in which more requests failed than the recipe now allows.

    `allowed`: role -> the share that may fail, and its key.
    """
    for row in read_ledger(made.summary):
        failed = sum(row.unanswered.values())
        share, key = allowed.get(row.teacher, (1.0, ""))
        if failed > share * row.requests + 1e-9:
            raise RefusedError(
                f"{made.path}: {failed:,} of {row.requests:,} requests to the {row.teacher} have "
                f"no answer ({failed / row.requests:.2%}; {key} is {share:g})",
                f"raise {key}, or delete this folder and run the stage again",
            )


def _kind(reason: str) -> str:
    """A reason without what differs from request to request."""
    return re.sub(r"0x[0-9a-f]+|\d{4,}|[0-9a-f-]{16,}", "...", reason)[:80]
