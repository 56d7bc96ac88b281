"""Files that a command writes to a path the user chose.

Guarantees: an existing file is never replaced unless asked, and the refusal comes before any work.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tsqa.errors import UsageError


def check_outputs(paths: Sequence[Path | None], force: bool) -> None:
    """Raise UsageError unless each file can be made, or replaced where `force` allows it."""
    given = [path for path in paths if path is not None]
    for number, path in enumerate(given):
        if "\0" in str(path):
            raise UsageError("the path of an output holds a NUL character", "correct it")
        if path.is_dir():
            raise UsageError(f"{path}: is a folder", "give the path of a file")
        if not path.parent.is_dir():
            raise UsageError(f"{path.parent}: no such folder", "make it, or correct the path")
        if path.resolve() in [other.resolve() for other in given[:number]]:
            raise UsageError(f"{path}: is named twice", "write each output to a different file")
        if os.path.lexists(path) and not force:
            raise UsageError(
                f"{path}: is there already", "choose another name, or replace it with --force"
            )
