"""The page on which people review, for this machine's browser only.

Guarantees: it listens on the loopback address, answers only requests that name it and hold the
token of its address, so that no page of the web can read or decide; a decision is on the disk
before it is confirmed; a reviewer is told neither what others decided nor, before their own
decision, what the filters did.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from tsqa.errors import DataError
from tsqa.loopback import LoopbackHandler, LoopbackServer
from tsqa.pages import page_environment
from tsqa.review.decisions import (
    REASONS,
    Log,
    ReviewDecision,
    check_known,
    check_reviewer,
    make_decision,
    read_last,
    time_after,
)
from tsqa.review.items import ACCEPTED, EDITABLE, ReviewItem
from tsqa.review.report import COMPARING
from tsqa.review.sample import read_sample

PORT = 8371
_LARGEST_BODY = 1 << 20
_PAGE = "page.html.jinja"
_HIDDEN = ("outcome", "reason", "match", "stratum", "grade")
"""What a reviewer is told after their own decision only."""


class DecisionRequest(BaseModel):
    """What the page sends."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reviewer: str
    place: int
    hash: str
    choice: Literal["accept", "reject", "edit", "skip"]
    reason: str = ""
    edits: dict[str, str] = {}


class Desk:
    """The sample, and what each reviewer decided so far; requests may come at once."""

    def __init__(self, folder: Path) -> None:
        self.sample, self.items = read_sample(folder)
        self._lock = threading.Lock()
        self._log = Log(folder)
        self._last: dict[tuple[str, str, str], ReviewDecision] = {
            (d.reviewer, d.item, d.hash): d for d in read_last(folder)
        }

    def overview(self, reviewer: str) -> dict[str, object]:
        """How far a reviewer is: a choice for each item, empty where there is none."""
        with self._lock:
            self._check(reviewer)
            found = [self._decided(reviewer, item) for item in self.items]
        return {
            "recipe": self.sample.recipe,
            "choices": [decision.choice if decision else "" for decision in found],
            "reasons": REASONS,
            "editable": EDITABLE,
        }

    def show(self, reviewer: str, place: int) -> dict[str, object]:
        """An item with the reviewer's own decision."""
        item = self._item(place)
        with self._lock:
            self._check(reviewer)
            decision = self._decided(reviewer, item)
        shown = {name: value for name, value in asdict(item).items() if name not in _HIDDEN}
        shown["decision"] = asdict(decision) if decision else None
        shown["compared"] = item.match if item.outcome in COMPARING else ""
        shown["filters"] = _told(item) if decision and decision.choice != "skip" else ""
        return shown

    def decide(self, asked: DecisionRequest) -> dict[str, object]:
        """Save a decision; DataError where it cannot be."""
        item = self._item(asked.place)
        if item.hash != asked.hash:
            raise DataError(f"{item.id}: the page shows another text", "reload the page")
        with self._lock:
            self._check(asked.reviewer)
            when = time_after(self._decided(asked.reviewer, item))
            decision = make_decision(
                item, asked.reviewer, asked.choice, asked.reason, asked.edits, when
            )
            self._log.add(decision)
            self._last[decision.reviewer, decision.item, decision.hash] = decision
        return {"choice": decision.choice, "filters": _told(item)}

    def _check(self, reviewer: str) -> None:
        check_reviewer(reviewer)
        check_known(reviewer, (name for name, _, _ in self._last))

    def _item(self, place: int) -> ReviewItem:
        if not 0 <= place < len(self.items):
            raise DataError(f"no item at place {place}")
        return self.items[place]

    def _decided(self, reviewer: str, item: ReviewItem) -> ReviewDecision | None:
        return self._last.get((reviewer, item.id, item.hash))


def _told(item: ReviewItem) -> str:
    if item.outcome == ACCEPTED:
        return "The filters accepted it."
    return f"The filter {item.outcome} rejected it: {item.reason}."


class ReviewServer(LoopbackServer):
    """Serves a desk at `address`."""

    def __init__(self, folder: Path, port: int = PORT) -> None:
        self.desk = Desk(folder)
        self.token = secrets.token_urlsafe(18)
        super().__init__(port, _Handler)

    @property
    def address(self) -> str:
        return f"{super().address}{self.token}/"


class _Handler(LoopbackHandler):
    server: ReviewServer

    def do_GET(self) -> None:
        path = self._path_below_token()
        if path is None:
            return
        if path == "":
            nonce = secrets.token_urlsafe(12)
            page = page_environment(Path(__file__).parent).get_template(_PAGE).render(nonce=nonce)
            self._send(HTTPStatus.OK, page.encode(), "text/html; charset=utf-8", nonce)
            return
        query = parse_qs(urlsplit(self.path).query)
        reviewer = query.get("reviewer", [""])[0]
        place = query.get("place", [""])[0]
        try:
            if path == "overview":
                self._send_json(HTTPStatus.OK, self.server.desk.overview(reviewer))
            elif path == "item" and place.isascii() and place.isdigit() and len(place) < 10:
                self._send_json(HTTPStatus.OK, self.server.desk.show(reviewer, int(place)))
            else:
                self._refuse(HTTPStatus.NOT_FOUND, "no such page")
        except DataError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))

    def do_POST(self) -> None:
        if self._path_below_token() != "decide":
            return
        length = self.headers.get("Content-Length", "")
        kind = self.headers.get("Content-Type", "").partition(";")[0]
        is_number = length.isascii() and length.isdigit() and len(length) < 10
        if not is_number or int(length) > _LARGEST_BODY or kind != "application/json":
            self._refuse(HTTPStatus.BAD_REQUEST, "expected JSON of at most 1 MiB")
            return
        try:
            asked = DecisionRequest.model_validate_json(self.rfile.read(int(length)))
            self._send_json(HTTPStatus.OK, self.server.desk.decide(asked))
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            self._refuse(HTTPStatus.BAD_REQUEST, f"{problem['loc']}: {problem['msg']}")
        except DataError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except OSError as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"not saved: {error.strerror}")

    def _path_below_token(self) -> str | None:
        """What follows the token; None after an answer that refuses."""
        origin = self.headers.get("Origin")
        ours = (None, *(f"http://{host}" for host in self.server.hosts))
        if not self.names_this_machine() or origin not in ours:
            self._refuse(HTTPStatus.FORBIDDEN, "only for this machine")
            return None
        token, slash, rest = urlsplit(self.path).path[1:].partition("/")
        if not slash or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.FORBIDDEN, "open the address that the terminal shows")
            return None
        if self.command == "POST" and rest != "decide":
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")
        return rest

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True  # what was not read of a body is not the next request
        self._send_json(status, {"error": why})

    def _send_json(self, status: HTTPStatus, value: dict[str, object]) -> None:
        self._send(status, json.dumps(value).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str, nonce: str = "") -> None:
        policy = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        if nonce:
            own = f"'nonce-{nonce}'"
            policy += f"; script-src {own}; style-src {own}; connect-src 'self'; img-src data:"
        self.send(status, body, kind, policy)
