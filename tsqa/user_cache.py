"""Texts that take long to make, kept for this user between processes (`$XDG_CACHE_HOME/tsqa`).

Guarantees: a text is found only whole and under the key it was kept with, so that whatever decides
it belongs into the key; a damaged file is as good as none; a folder that cannot be written is no
error. Every file may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path


def recall(name: str, key: str) -> str | None:
    """The text kept under a name, if its key is this one and not a byte has changed."""
    try:
        head, _, text = (cache_folder() / name).read_text(encoding="utf-8").partition("\n")
    except (OSError, ValueError, RuntimeError):
        return None
    return text if head == _head(key, text) else None


def keep(name: str, key: str, text: str) -> None:
    """Keep a text under a name, in the place of what was kept there."""
    with suppress(OSError, ValueError, RuntimeError):
        folder = cache_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = folder / f"{name}.{secrets.token_hex(4)}.tmp"
        try:
            temporary.write_text(f"{_head(key, text)}\n{text}", encoding="utf-8")
            temporary.replace(folder / name)
        finally:
            temporary.unlink(missing_ok=True)


def state_of_files(folder: Path) -> str:
    """A hash of the name, size and times of every file below, which any change changes."""
    found = hashlib.blake2b(digest_size=16)
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(files):
            state = os.stat(f"{path}/{name}")  # noqa: PTH116 - of 16,000 files
            times = f"{state.st_mtime_ns} {state.st_ctime_ns}"
            found.update(os.fsencode(f"{path}/{name}\0{state.st_size} {state.st_ino} {times}\n"))
    return found.hexdigest()


def cache_folder() -> Path:
    """Whatever is in it may be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tsqa"


def _head(key: str, text: str) -> str:
    content = f"{key}\n{text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=16).hexdigest()
