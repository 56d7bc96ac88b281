"""`tsqa view`: the pages of a folder of runs behind a small index, for this machine's browser only.

Guarantees: it listens on the loopback address and answers only requests that name it (a page of the
web cannot read it by another host name); it reads, never writes; it serves the reports that the
index lists and nothing else, so no path can lead out of the folder.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from tsqa.errors import DataError, UsageError
from tsqa.loopback import LoopbackHandler, LoopbackServer
from tsqa.pages import page_environment
from tsqa.store.artifact import Store
from tsqa.store.own_files import Stages, read_own

PORT = 8370
REPORT, STAGES = "report.html", "stages.json"
FURTHER = {
    "audit": "audit/quality.html",
    "drift": "audit/drift.html",
    "review": "review/report.html",
    "generations": "generations/generations.html",
}
"""Pages beside a run's own, by the last part of their address."""
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
    further: Mapping[str, Path]
    """The pages of `FURTHER` that it has."""

    @property
    def address(self) -> str:
        return f"/{quote(self.name, safe='')}/"


def find_runs(folder: Path) -> list[Run]:
    """The runs below a folder (or the folder itself, if it is one), the newest page first.

    A run is a folder with `report.html`, `stages.json` or the page of generations, whose stages are
    in runs of their own. A report that is a link out of the folder is not served.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder", "name the folder of the runs: tsqa view runs")
    if _is_run(folder):
        return [_read_run(folder, folder.resolve().parent)]
    found = [_read_run(path, folder) for path in sorted(folder.iterdir()) if _is_run(path)]
    return sorted(found, key=lambda run: run.written, reverse=True)


class ReportServer(LoopbackServer):
    """Serves the reports of a folder."""

    def __init__(self, folder: Path, port: int = PORT) -> None:
        find_runs(folder)
        self.folder = folder
        super().__init__(port, _Handler)


class _Handler(LoopbackHandler):
    server: ReportServer

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        status, body = self._find()
        self.send(status, body, "text/html; charset=utf-8", _POLICY, with_body)

    def _find(self) -> tuple[HTTPStatus, bytes]:
        if not self.names_this_machine():
            return HTTPStatus.FORBIDDEN, b"only for this machine"
        try:
            runs = find_runs(self.server.folder)
            path = unquote(urlsplit(self.path).path)
            if path == "/":
                return HTTPStatus.OK, _index(self.server.folder, runs).encode()
            for run in runs:
                own = unquote(run.address)
                pages = {own + name: page for name, page in run.further.items()}
                page = run.report if path == own else pages.get(path)
                if page is not None:
                    return HTTPStatus.OK, page.read_bytes()
        except (DataError, OSError) as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, str(error).encode()
        return HTTPStatus.NOT_FOUND, b"no such page"


def _is_run(path: Path) -> bool:
    return any((path / name).is_file() for name in (REPORT, STAGES, FURTHER["generations"]))


def _read_run(path: Path, folder: Path) -> Run:
    report = _page(path / REPORT, folder)
    further = {name: page for name, at in FURTHER.items() if (page := _page(path / at, folder))}
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
    return Run(path.resolve().name, report, written, stages, conclusion, further)


def _page(page: Path, folder: Path) -> Path | None:
    """The page, where there is one that is no link out of the folder."""
    inside = page.is_file() and page.resolve().is_relative_to(folder.resolve())
    return page if inside else None


def _conclusion(folder: Path, stages: Mapping[str, str]) -> str:
    """What the comparison says; nothing where there is none any more."""
    if "compare" not in stages:
        return ""
    compared = Store(folder / "artifacts").find("compare", stages["compare"])
    return str(compared.summary.get("conclusion", "")) if compared else ""


def _index(folder: Path, runs: list[Run]) -> str:
    environment = page_environment(Path(__file__).parent)
    return environment.get_template("view.html.jinja").render(folder=folder.resolve(), runs=runs)
