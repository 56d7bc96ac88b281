"""The identity of a file or folder, wherever it is: the names within it and every byte.

Guarantees: two copies of the same content have the same identity, a byte that differs anywhere
changes it; caches that tools leave behind do not count.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, TypedDict, overload

from tsqa.errors import DataError
from tsqa.remote import DataPath, RemotePath, place_below
from tsqa.store.digests import DIGESTS, hash_bytes, state_of

IGNORED = {"__pycache__", ".ipynb_checkpoints", ".cache", ".git", ".locks"}
"""Folders that tools leave behind."""
_MOST_LISTED = 1000
"""Files of a folder that are named one by one; those of a larger one make one hash."""


class FileIdentity(TypedDict):
    name: str
    bytes: int
    blake3: str


Json: TypeAlias = (
    "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | FileIdentity | None"
)
"""What JSON can hold."""


def file_identity(path: DataPath) -> FileIdentity:
    """Name, size and hash of the content; DataError where there is no such file."""
    return {"name": as_text(path.name), "bytes": state_of(path).size, "blake3": DIGESTS.of(path)}


def folder_identity(folder: DataPath) -> dict[str, str | int]:
    """Name below the folder -> hash, of every file in it and below it."""
    files = files_below(folder)
    names = [as_text(place_below(file, folder)) for file in files]
    listed: dict[str, str | int] = dict(zip(names, DIGESTS.of_all(files), strict=True))
    if len(listed) <= _MOST_LISTED:
        return listed
    total = sum(state_of(file).size for file in files)
    tree = hash_bytes(json.dumps(listed, sort_keys=True).encode())
    return {"files": len(files), "bytes": total, "blake3": tree}


def sha256_of(file: Path) -> str:
    """The hash by which others know a file, in hex digits: releases are checked without us."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def adapter_base(folder: Path) -> str | None:
    """The model that the adapter in a folder is for; None where there is no adapter."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        base = config.get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        return None
    return base if isinstance(base, str) and base else None


def as_text(name: str) -> str:
    """The name of a file, which may hold any bytes, as text that JSON can hold.

    Different names give different texts.
    """
    raw = name.encode("utf-8", "surrogateescape")
    if raw.decode("utf-8", "replace") == name:
        return name
    # No path below a folder begins with a slash, so this is no other file's name.
    return "//" + raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


@overload
def files_below(folder: Path, dangling: bool = False) -> list[Path]: ...
@overload
def files_below(folder: DataPath, dangling: bool = False) -> list[DataPath]: ...
def files_below(folder: DataPath, dangling: bool = False) -> Sequence[DataPath]:
    """Every file below a folder, or object below a prefix, sorted by name; links are followed,
    once each.

    `dangling`: links to nowhere too.
    """
    if isinstance(folder, RemotePath):
        return [
            one
            for one in folder.below()
            if IGNORED.isdisjoint(place_below(one, folder).split("/")[:-1])
        ]
    found = _walk(folder, (), dangling)
    return sorted(found, key=lambda file: file.relative_to(folder).as_posix())


def _walk(folder: Path, above: tuple[Path, ...], dangling: bool) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:
        return
    try:
        found = list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}") from error
    for inner in found:
        if inner.is_file():  # so is no link to nowhere, or to itself
            yield inner
        elif inner.is_dir():
            if inner.name not in IGNORED:
                yield from _walk(inner, (*above, real), dangling)
        elif dangling and inner.is_symlink():
            yield inner
