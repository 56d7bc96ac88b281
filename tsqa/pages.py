"""Templates of the pages that tsqa writes."""

from __future__ import annotations

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
