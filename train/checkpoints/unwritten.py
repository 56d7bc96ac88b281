"""Weights that cannot be written: what torch and safetensors raise on a full disk says little."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from tsqa.errors import CheckpointError, first_line, os_error_cause

_OF_TORCH = re.compile("inline_container|PytorchStreamWriter")
"""In the words of its writer of files; they name no cause."""
_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MORE_SPACE = "free some space, or raise the quota or `ulimit -f`"


@contextmanager
def whole_or_told(folder: Path, alone: bool = True) -> Iterator[None]:
    """CheckpointError where a file of a folder cannot be written; the half that is there goes.

    `alone`: no other process writes into it, which would then miss what is gone.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and not _OF_TORCH.search(str(error)):
            raise
        if alone:
            shutil.rmtree(folder, ignore_errors=True)
        cause, fix = first_line(error), _MORE_SPACE
        if isinstance(error, OSError):
            cause, own = os_error_cause(error)
            fix = fix if error.errno in _OF_SPACE or not own else own
        with suppress(OSError):  # of a folder that is gone, too: the cause is told first
            cause += f" ({shutil.disk_usage(folder.parent).free / 1e9:.1f} GB are free there)"
        raise CheckpointError(
            f"{folder}: it cannot be written: {cause}",
            f"{fix}; the same command continues from the last checkpoint",
        ) from error
