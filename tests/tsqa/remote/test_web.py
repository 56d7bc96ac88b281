"""Files of a web server: read in parts, known by their ETag."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiohttp import web

from train.data.sources import find_pieces, read_documents
from tsqa.errors import DataError, RecipeError
from tsqa.hub.identify import identify, identify_data
from tsqa.recipe import SourceSection
from tsqa.remote import RemotePath, data_path

ROWS = [{"text": f"row {n} of the page"} for n in range(3000)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which a server gives it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "a b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "rows.parquet", row_group_size=500)
    loop = asyncio.new_event_loop()
    started = threading.Event()
    port: list[int] = []
    runners: list[web.AppRunner] = []

    async def no_version(request: web.Request) -> web.Response:
        return web.Response(body=b"x")

    async def denied(request: web.Request) -> web.Response:
        raise web.HTTPForbidden

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/plain", no_version)
        app.router.add_get("/denied", denied)
        app.router.add_static("/", folder)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port.append(runner.addresses[0][1])
        started.set()

    starting = loop.create_task(serve())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    started.wait()
    assert starting.done()
    yield folder, f"http://127.0.0.1:{port[0]}"
    asyncio.run_coroutine_threadsafe(runners[0].cleanup(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def texts(path: str) -> list[object]:
    section = SourceSection(path=path)
    pieces = find_pieces(section, data_path(path), "k")
    return [one for piece in pieces for one in read_documents(piece, section, "k")]


@pytest.mark.parametrize(
    ("url", "file"), [("a%20b.jsonl", "a b.jsonl"), ("rows.parquet", "rows.parquet")]
)
def test_a_file_of_a_server_is_the_file(site: tuple[Path, str], url: str, file: str) -> None:
    folder, address = site
    assert texts(f"{address}/{url}") == texts(str(folder / file))
    assert len(texts(f"{address}/{url}")) == len(ROWS)
    assert identify(f"{address}/{url}") == identify(str(folder / file))


def test_a_changed_file_is_refused(site: tuple[Path, str]) -> None:
    folder, address = site
    (folder / "new.jsonl").write_text('{"text": "one"}\n')
    seen = RemotePath(f"{address}/new.jsonl").look()
    assert seen is not None
    (folder / "new.jsonl").write_text('{"text": "two or three"}\n')
    with pytest.raises(DataError, match="changed since it was looked at"):
        seen.read_bytes()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("none.jsonl", "no such object"),
        ("denied", "access is denied"),
        ("plain", "the server must tell its size, an ETag or a date"),
    ],
)
def test_what_a_server_does_not_give_is_said(site: tuple[Path, str], path: str, said: str) -> None:
    with pytest.raises(RecipeError, match=rf"web.path = {site[1]}/{path}: {said}"):
        identify_data(f"{site[1]}/{path}", "web.path")


def test_a_server_that_is_gone_is_said() -> None:
    with pytest.raises(RecipeError, match=r"127.0.0.1:9/x: the store cannot be reached"):
        identify_data("http://127.0.0.1:9/x", "web.path")
