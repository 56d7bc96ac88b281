"""Loopback only, read only, the listed pages and nothing else."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from eval.report import serve as view
from tests.support.browser import Watch, open_browser
from tests.support.sealed import seal_artifact
from tsqa.errors import TsqaError, UsageError

EVIL = "a <b>&amp; run"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    for name in ("one", EVIL):
        (folder / name).mkdir(parents=True)
        (folder / name / "report.html").write_text(f"<title>page of {len(name)}</title>")
    (folder / "bare").mkdir()
    (folder / "bare" / "stages.json").write_text('{"seeds": "0"}')
    (folder / "one" / "stages.json").write_text('{"compare": "f00"}')
    compared = folder / "artifacts" / "compare" / "f00"
    compared.mkdir(parents=True)
    seal_artifact(compared, summary={"conclusion": "<i>better"})
    for page in view.FURTHER.values():
        (folder / "one" / page).parent.mkdir(parents=True, exist_ok=True)
        (folder / "one" / page).write_text(page)
    chain = folder / "chain" / "generations"
    chain.mkdir(parents=True)
    (chain / "generations.html").write_text("over generations")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "report.html").write_text("secret")
    (folder / "link").mkdir()
    (folder / "link" / "audit").symlink_to(folder / "one" / "audit")
    (folder / "link" / "review").symlink_to(tmp_path / "secret")
    (folder / "link" / "report.html").symlink_to(tmp_path / "secret" / "report.html")
    return folder


@pytest.fixture
def port(runs: Path) -> Iterator[int]:
    with view.ReportServer(runs, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def ask(
    port: int, path: str, method: str = "GET", host: str | None = None
) -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", f"127.0.0.1:{port}" if host is None else host)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body, answer.headers


def test_the_index_lists_the_runs_escaped(port: int) -> None:
    status, body, headers = ask(port, "/")
    assert status == 200
    assert "a &lt;b&gt;&amp;amp; run" in body and EVIL not in body
    assert '<a href="/one/">one</a>' in body and "&lt;i&gt;better" in body
    assert "<b>bare</b>" in body and "no page yet" in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_a_run_is_served_by_the_address_of_the_index(port: int, runs: Path) -> None:
    assert ask(port, "/one/")[:2] == (200, "<title>page of 3</title>")
    [odd] = [run for run in view.find_runs(runs) if run.name == EVIL]
    assert ask(port, odd.address)[:2] == (200, f"<title>page of {len(EVIL)}</title>")
    (runs / "one" / "report.html").write_text("newer")
    assert ask(port, "/one/")[1] == "newer"


def test_pages_about_the_dataset_are_served_beside_it(port: int) -> None:
    assert '<a class="soft" href="/one/review">review</a>' in ask(port, "/")[1]
    for name, page in view.FURTHER.items():
        assert ask(port, f"/one/{name}")[:2] == (200, page)


def test_generations_are_served_though_their_stages_are_in_other_runs(port: int) -> None:
    line = ask(port, "/")[1].split("<b>chain</b>")[1].split("</li>")[0]
    assert 'href="/chain/generations"' in line and "stages" not in line
    assert ask(port, "/chain/generations")[:2] == (200, "over generations")
    assert ask(port, "/chain/")[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/../secret/report.html",
        "/%2e%2e/secret/report.html",
        "/one/../../secret/report.html",
        "/one/..%2f..%2fsecret/",
        "/one/stages.json",
        "/artifacts/compare/f00/manifest.json",
        "/link/",
        "/link/review",
        "/one/report",
        "/bare/audit",
        "/bare/",
        "//secret/",
        "/one",
        "/etc/passwd",
    ],
)
def test_nothing_else_is_served(port: int, path: str) -> None:
    status, body, _ = ask(port, path)
    assert status == 404 and "secret" not in body


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", ""])
def test_a_request_by_another_host_name_is_refused(port: int, host: str) -> None:
    assert ask(port, "/one/", host=host)[0] == 403
    assert ask(port, "/one/", host=f"localhost:{port}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_written(port: int, method: str) -> None:
    assert ask(port, "/one/", method)[0] == 501


def test_head_gives_the_headers_alone(port: int) -> None:
    status, body, headers = ask(port, "/one/", "HEAD")
    assert (status, body) == (200, "") and headers["Content-Length"] == "24"


def test_one_run_can_be_named(runs: Path) -> None:
    [run] = view.find_runs(runs / "one")
    assert run.name == "one" and run.report is not None and run.conclusion == "<i>better"


def test_a_missing_folder_and_a_taken_port_are_named(runs: Path, port: int) -> None:
    with pytest.raises(UsageError, match="nowhere: no such folder"):
        view.ReportServer(runs / "nowhere")
    with pytest.raises(TsqaError, match=f"--port {port}: cannot listen"):
        view.ReportServer(runs, port)


def test_the_index_leads_to_the_page_in_a_browser(port: int) -> None:
    with open_browser() as browser:
        page = browser.new_page()
        watch = Watch(page)
        page.goto(f"http://127.0.0.1:{port}/")
        page.click("text=one")
        assert page.title() == "page of 3"
        assert watch.problems == []
