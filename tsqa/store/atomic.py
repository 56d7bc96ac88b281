"""Files that appear whole or not at all (temporary name, fsync, rename), and emptied folders.

What a killed writer left under a temporary name, the next writer of the file removes.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_NEW_SECONDS = 60.0
"""A younger file may be of a writer that has not locked it yet."""


@contextmanager
def atomic_writer(path: Path) -> Iterator[IO[str]]:
    """A text file that replaces `path` once the block ends without an error.

    Of several processes that write one path, the last to end decides.
    """
    _remove_left(path)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("x", encoding="utf-8") as handle:
            with suppress(OSError):  # some network file systems know no locks
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk has no name
            error.filename = str(path)
        raise


def _remove_left(path: Path) -> None:
    """What a writer of this path left behind that was killed: old, and held by none."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.????????.tmp"):
        with suppress(OSError), left.open() as handle:
            if time.time() - left.stat().st_mtime > _NEW_SECONDS:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()


@contextmanager
def naming_full_disk(folder: Path) -> Iterator[None]:
    """Name this folder, or that of temporary files, in an error of a full disk that names none."""
    try:
        yield
    except OSError as error:
        places = [place for place in (folder, Path(tempfile.gettempdir())) if place.exists()]
        if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None and places:
            error.filename = str(min(places, key=lambda place: shutil.disk_usage(place).free))
        raise


def fsync(path: Path) -> None:
    """Put a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems sync no folders; their names are as safe as they can be.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def fsync_all(folder: Path) -> None:
    """The same of a folder and all below it."""
    for path in (*sorted(folder.rglob("*")), folder):
        fsync(path)


def emptied(folder: Path) -> Path:
    """A folder for work in progress, made, and without what a killed run left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def write_text(path: Path, text: str) -> None:
    with atomic_writer(path) as handle:
        handle.write(text)
