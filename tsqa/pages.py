"""Templates of the pages that tsqa writes, and the library that draws their figures."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable
from pathlib import Path

import jinja2


def page_environment(
    folder: Path, finalize: Callable[[object], object] | None = None
) -> jinja2.Environment:
    """HTML templates of a folder: what they show is escaped, and a name that is missing an error.

    `finalize` sees every value before it is shown.
    """
    return jinja2.Environment(
        finalize=finalize,
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def packed_plotly() -> str:
    """plotly.js, 4.8 MB of text, as gzip in base64, which a page unpacks; always the same bytes."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
