"""A path that leads to a store, used where one of this machine is: the same methods, as few.

Guarantees: what is read has as many bytes as the store said, and is of the version that was seen
where one was; a file is read in parts of some MiB, which is all that memory holds of it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeAlias
from urllib.parse import unquote

from tsqa.errors import DataError
from tsqa.remote.failures import failed, is_missing
from tsqa.remote.state import RemoteState
from tsqa.remote.stores import ReadAt, again, store_of

PART = 8 << 20
"""Bytes of a request: a store answers none in less than some hundredths of a second."""


@dataclass(frozen=True, order=True)
class RemotePath:
    """An object, or a prefix with objects below it."""

    url: str
    """Without a slash at its end."""
    state: RemoteState | None = field(default=None, compare=False)
    """Of an object that was seen; one of another version is then refused."""

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        last = self.url.rpartition("/")[2]
        return unquote(last) if self.url.startswith("http") else last

    @property
    def parts(self) -> tuple[str, ...]:
        return PurePosixPath(self.url).parts

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.url}/{name}")

    def resolve(self) -> RemotePath:
        return self

    def look(self) -> RemotePath | None:
        """The same with what the store says of it now; None where there is no such object."""
        found = store_of(self.url).state(self.url)
        return None if found is None else RemotePath(self.url, found)

    def is_file(self) -> bool:
        return self.state is not None or self.look() is not None

    def is_dir(self) -> bool:
        return store_of(self.url).is_prefix(self.url)

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def below(self) -> list[RemotePath]:
        """Every object below, sorted by name, with its state."""
        found = [RemotePath(state.url, state) for state in store_of(self.url).below(self.url)]
        return sorted(found, key=lambda one: place_below(one, self))

    def sizes_below(self) -> dict[str, int]:
        """Name below this prefix -> bytes of every object there."""
        sizes = store_of(self.url).sizes(self.url)
        return {url.removeprefix(f"{self.url}/"): size for url, size in sizes.items()}

    def iterdir(self) -> Iterator[RemotePath]:
        """The objects directly below."""
        return (one for one in self.below() if "/" not in place_below(one, self))

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """For reading; DataError where there is no such object, or it is another version."""
        found, handle = store_of(self.url).open(self.url)
        if self.state is not None and found != self.state:
            handle.close()
            raise DataError(
                f"{self.url}: changed since it was looked at",
                "run the same command again, and leave the files alone meanwhile",
            )
        raw = _RemoteFile(found, handle)
        if buffering == 0:
            return raw  # type: ignore[return-value]  # IO asks for writing, too
        buffered = io.BufferedReader(raw, max(buffering, PART))
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, encoding=encoding, errors=errors, newline=newline)

    def read_bytes(self) -> bytes:
        with self.open("rb", 0) as handle:
            return bytes(handle.read())

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        with self.open("r", -1, encoding, errors) as handle:
            return str(handle.read())


DataPath: TypeAlias = Path | RemotePath


def data_path(path: str) -> DataPath:
    """A path of this machine, or of a store."""
    return RemotePath(path.rstrip("/")) if "://" in path else Path(path)


def place_below(path: DataPath, folder: DataPath) -> str:
    """The part of a path that is below a folder, with slashes."""
    if isinstance(path, Path):
        return path.relative_to(str(folder)).as_posix()
    return path.url.removeprefix(f"{folder}/")


class _RemoteFile(io.RawIOBase):
    """An object as a file that can be sought in; read in parts, each of which is asked for again
    where the connection fails."""

    def __init__(self, state: RemoteState, handle: ReadAt) -> None:
        super().__init__()
        self._state, self._handle, self._place = state, handle, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._state.size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        part = self._part(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self._part(PART), b""))

    def close(self) -> None:
        if not self.closed:
            self._handle.close()
        super().close()

    def _part(self, size: int) -> bytes:
        wanted = min(size, self._state.size - self._place)
        if wanted <= 0:
            return b""
        try:
            part = again(lambda: self._whole(wanted))
        except DataError:
            raise
        except Exception as error:
            if is_missing(error):
                raise DataError(
                    f"{self._state.url}: deleted while it was read", "put it back"
                ) from error
            raise failed(self._state.url, error) from error
        self._place += wanted
        return part

    def _whole(self, wanted: int) -> bytes:
        part = self._handle.read_at(wanted, self._place)
        if len(part) != wanted:
            raise OSError(f"{len(part):,} bytes came, {wanted:,} were asked for")
        return part
