"""Keeps `datasets` from taking what it cached of a file, or of a function, for what is there now.

It knows a local file by its time, which copies and archives keep, and a function by its code, which
says nothing of the modules that it calls.
"""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Any

from tsqa.store.digests import DIGESTS


def read_afresh() -> None:
    """From now on in this process a local file is known by its content, and no map is cached."""
    import datasets
    from datasets import data_files

    datasets.disable_caching()
    real = data_files._get_single_origin_metadata
    if hasattr(real, "by_content"):
        return

    @wraps(real)
    def by_content(data_file: str, *rest: Any, **options: Any) -> Any:
        found = real(data_file, *rest, **options)
        path = Path(data_file.removeprefix("file://"))
        return (*found, DIGESTS.of(path)) if path.is_file() else found

    by_content.by_content = True  # type: ignore[attr-defined]
    data_files._get_single_origin_metadata = by_content
