"""A file that lists endpoints, one base URL a line, and is changed while it is read.

Guarantees: a list counts only if it was the same at two looks, and every line of it is a base URL,
so that a file that is half written changes nothing; no message repeats a line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from tsqa.errors import DataError, os_error_cause
from tsqa.recipe import check_base_url

_LOOK_SECONDS = 1.0


def read_urls(path: Path) -> tuple[str, ...]:
    """Each URL once, in order; DataError where a line is none, or there is none at all.

    Empty lines and those that begin with # do not count.
    """
    fix = "give one base URL a line, such as http://localhost:8000/v1"
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        cause, _ = os_error_cause(error)
        raise DataError(cause, f"begin when a server is listed; {fix}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8", fix) from None
    found: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        url = line.strip().rstrip("/")
        if not url or url.startswith("#"):
            continue
        try:
            check_base_url(url)
        except ValueError as error:
            raise DataError(f"{path}: line {number}: {error}", fix) from None
        found[url] = None
    if not found:
        raise DataError(f"{path}: it lists no URL", f"begin when a server is listed; {fix}")
    return tuple(found)


async def watch_urls(
    path: Path,
    urls: tuple[str, ...],
    take: Callable[[tuple[str, ...]], None],
    warn: Callable[[str], None],
) -> None:
    """Look at the file for ever: `take` each new list, `warn` of each problem once."""
    taken: tuple[str, ...] | str = urls
    before = taken
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        seen = await asyncio.to_thread(_look, path)
        if seen != taken and seen == before:
            taken = seen
            if isinstance(seen, str):
                warn(f"{seen}: the list from before counts on")
            else:
                take(seen)
        before = seen


def _look(path: Path) -> tuple[str, ...] | str:
    try:
        return read_urls(path)
    except DataError as error:
        return str(error).splitlines()[0]
