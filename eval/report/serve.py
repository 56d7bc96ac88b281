"""`tsqa view`: the pages of a folder of runs behind a small index, for this machine's browser only.

Promises: it listens on the loopback address and answers only requests that name it (a page of the
web cannot read it by another host name); it reads, never writes; it serves the reports that the
index lists and nothing else, so no path can lead out of the folder.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import jinja2

from tsqa.errors import DataError, TsqaError
from tsqa.store.artifact import Store
from tsqa.store.own_files import Stages, read_own

HOST = "127.0.0.1"
PORT = 8370
REPORT, STAGES = "report.html", "stages.json"
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Run:
    """One line of the index."""

    name: str
    report: Path | None
    """None where the run has no page yet."""
    written: str
    """UTC, `2026-01-31 12:00`; empty without a page."""
    stages: int
    conclusion: str

    @property
    def address(self) -> str:
        return f"/{quote(self.name, safe='')}/"


def find_runs(folder: Path) -> list[Run]:
    """The runs below a folder (or the folder itself, if it is one), the newest page first.

    A run is a folder with `report.html` or `stages.json`. A report that is a link out of the folder
    is not served.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", "name the folder of the runs: tsqa view runs")
    if _is_run(folder):
        return [_read_run(folder, folder.resolve().parent)]
    found = [_read_run(path, folder) for path in sorted(folder.iterdir()) if _is_run(path)]
    return sorted(found, key=lambda run: run.written, reverse=True)


def serve(folder: Path, port: int = PORT) -> ThreadingHTTPServer:
    """A server for the folder, bound and ready for `serve_forever`; port 0 picks a free one."""
    find_runs(folder)
    handler = type("Handler", (_Handler,), {"folder": folder})
    try:
        server = ThreadingHTTPServer((HOST, port), handler)
    except OSError as error:
        raise TsqaError(
            f"--port {port}: cannot listen on {HOST}: {error.strerror}", "choose another port"
        ) from error
    server.daemon_threads = True
    return server


class _Handler(BaseHTTPRequestHandler):
    folder: Path
    server: ThreadingHTTPServer

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the terminal shows the address and nothing else."""

    def _answer(self, with_body: bool) -> None:
        status, body = self._find()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _find(self) -> tuple[HTTPStatus, bytes]:
        port = self.server.server_address[1]
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            return HTTPStatus.FORBIDDEN, b"only for this machine"
        try:
            runs = find_runs(self.folder)
            path = unquote(urlsplit(self.path).path)
            if path == "/":
                return HTTPStatus.OK, _index(self.folder, runs).encode()
            for run in runs:
                if run.report is not None and path == unquote(run.address):
                    return HTTPStatus.OK, run.report.read_bytes()
        except (DataError, OSError) as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, str(error).encode()
        return HTTPStatus.NOT_FOUND, b"no such page"


def _is_run(path: Path) -> bool:
    return (path / REPORT).is_file() or (path / STAGES).is_file()


def _read_run(path: Path, folder: Path) -> Run:
    page = path / REPORT
    inside = page.is_file() and page.resolve().is_relative_to(folder.resolve())
    report = page if inside else None
    written = ""
    if report is not None:
        written = time.strftime("%Y-%m-%d %H:%M", time.gmtime(report.stat().st_mtime))
    stages, conclusion = 0, ""
    try:
        if (path / STAGES).is_file():
            recorded = read_own(path / STAGES, Stages)
            stages, conclusion = len(recorded), _conclusion(folder, recorded)
    except DataError as error:
        conclusion = f"damaged: {error}"
    return Run(path.resolve().name, report, written, stages, conclusion)


def _conclusion(folder: Path, stages: Mapping[str, str]) -> str:
    """What the comparison says; nothing where there is none any more."""
    if "compare" not in stages:
        return ""
    compared = Store(folder / "artifacts").find("compare", stages["compare"])
    return str(compared.summary.get("conclusion", "")) if compared else ""


def _index(folder: Path, runs: list[Run]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("view.html.jinja").render(folder=folder.resolve(), runs=runs)
