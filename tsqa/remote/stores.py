"""The stores: Amazon's S3 and its like, Google's, web servers, and the Hugging Face hub.

S3 and GCS go through pyarrow, which has both built in; web servers and the hub through fsspec.
Guarantees: a request that fails for a passing reason is sent again; a list is sorted and complete.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeVar, cast

from tsqa.errors import DataError
from tsqa.remote.failures import failed, is_missing, may_pass
from tsqa.remote.state import RemoteState
from tsqa.secrets import register

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo

T = TypeVar("T")
_TRIES = 4
_LOOKERS = 16
"""Requests at once for the versions of many objects."""
_SECONDS = 60


class ReadAt(Protocol):
    """An object that is open."""

    def read_at(self, size: int, start: int) -> bytes: ...

    def close(self) -> None: ...


class RemoteStore(Protocol):
    """One kind of store; every method raises DataError where it cannot answer."""

    def state(self, url: str) -> RemoteState | None:
        """What is known of an object; None where there is none of that name."""

    def below(self, url: str) -> list[RemoteState]:
        """All objects below a prefix; empty where there is none."""

    def sizes(self, url: str) -> dict[str, int]:
        """Address -> bytes of all objects below a prefix, without a request for each."""

    def is_prefix(self, url: str) -> bool:
        """Whether there are any, which is cheaper to ask."""

    def open(self, url: str) -> tuple[RemoteState, ReadAt]: ...

    def create(self, url: str) -> IO[bytes]:
        """An object that is there once it is closed, in the place of what was."""


class _S3:
    """Its client asks again by itself."""

    def state(self, url: str) -> RemoteState | None:
        if not _key_of(url):
            return None
        try:
            state, handle = self._open(url)
        except OSError as error:
            if is_missing(error) or "Not a regular file" in str(error):
                return None
            raise failed(url, error) from error
        handle.close()
        return state

    def below(self, url: str) -> list[RemoteState]:
        files = [f"s3://{one.path}" for one in _listed(url)]
        # A list names no versions.
        with ThreadPoolExecutor(_LOOKERS) as lookers:
            states = lookers.map(self.state, sorted(files))
            return [state for state in states if state is not None]

    def sizes(self, url: str) -> dict[str, int]:
        scheme = url.partition("://")[0]
        return {f"{scheme}://{one.path}": int(one.size or 0) for one in _listed(url)}

    def is_prefix(self, url: str) -> bool:
        from pyarrow.fs import FileType

        scheme, _, path = url.partition("://")
        try:
            info = _system(scheme, _bucket_of(url)).get_file_info(path)
        except OSError as error:
            raise failed(url, error) from error
        return bool(info.type == FileType.Directory)

    def open(self, url: str) -> tuple[RemoteState, ReadAt]:
        try:
            state, handle = self._open(url)
        except OSError as error:
            raise failed(url, error) from error
        return state, _ArrowFile(handle)

    def create(self, url: str) -> IO[bytes]:
        scheme, _, path = url.partition("://")
        try:
            stream = _system(scheme, _bucket_of(url)).open_output_stream(path)
        except OSError as error:
            raise failed(url, error) from error
        return cast(IO[bytes], stream)

    def _open(self, url: str) -> tuple[RemoteState, Any]:
        scheme, _, path = url.partition("://")
        handle = _system(scheme, _bucket_of(url)).open_input_file(path)
        said = {key.lower(): value.decode() for key, value in (handle.metadata() or {}).items()}
        named = [said[key] for key in ("etag", "versionid", "generation") if said.get(key)]
        if not named:
            raise DataError(f"{url}: the store tells no version of it", "use another store")
        return RemoteState(url, int(handle.size()), " ".join(named), 0), handle


class _Gcs(_S3):
    """It tells no ETag here, but when an object was written, in microseconds as in its version."""

    def state(self, url: str) -> RemoteState | None:
        if not _key_of(url):
            return None
        path = url.partition("://")[2]
        try:
            info = _system("gs", _bucket_of(url)).get_file_info(path)
        except OSError as error:
            raise failed(url, error) from error
        return _state_of_file(info) if info.is_file else None

    def below(self, url: str) -> list[RemoteState]:
        return [_state_of_file(one) for one in _listed(url)]

    def _open(self, url: str) -> tuple[RemoteState, Any]:
        state = self.state(url)
        if state is None:
            raise FileNotFoundError(url)
        return state, _system("gs", _bucket_of(url)).open_input_file(url.partition("://")[2])


def _listed(url: str) -> list[FileInfo]:
    from pyarrow.fs import FileSelector

    scheme, _, path = url.rstrip("/").partition("://")
    try:
        found = _system(scheme, _bucket_of(url)).get_file_info(FileSelector(path, recursive=True))
    except OSError as error:
        if is_missing(error):
            return []
        raise failed(url, error) from error
    return [one for one in found if one.is_file]


def _state_of_file(info: FileInfo) -> RemoteState:
    written = info.mtime_ns
    if not written:
        raise DataError(f"gs://{info.path}: the store does not say when it was written")
    return RemoteState(f"gs://{info.path}", int(info.size or 0), f"written {written}", written)


class _ArrowFile:
    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def read_at(self, size: int, start: int) -> bytes:
        return bytes(self._handle.read_at(size, start))

    def close(self) -> None:
        self._handle.close()


class _Fsspec:
    """Web servers, which list nothing, and the hub."""

    def state(self, url: str) -> RemoteState | None:
        try:
            info = again(lambda: _fsspec(url).info(url))
        except Exception as error:
            if is_missing(error):
                return None
            raise failed(url, error) from error
        return None if info["type"] == "directory" else _state_of_info(url, info)

    def below(self, url: str) -> list[RemoteState]:
        if not url.startswith("hf://"):
            return []
        try:
            found = again(lambda: _fsspec(url).find(url, detail=True))
        except Exception as error:
            if is_missing(error):
                return []
            raise failed(url, error) from error
        states = [_state_of_info(f"hf://{name}", info) for name, info in sorted(found.items())]
        if any(not state.url.startswith(f"{url.rstrip('/')}/") for state in states):
            raise DataError(
                f"{url}: the hub names its files otherwise: {states[0].url}", "write it like that"
            )
        return states

    def sizes(self, url: str) -> dict[str, int]:
        return {state.url: state.size for state in self.below(url)}

    def is_prefix(self, url: str) -> bool:
        return bool(self.below(url))

    def open(self, url: str) -> tuple[RemoteState, ReadAt]:
        state = self.state(url)
        if state is None:
            raise failed(url, FileNotFoundError(url))
        try:
            handle = again(lambda: _fsspec(url).open(url, cache_type="none", size=state.size))
        except Exception as error:
            raise failed(url, error) from error
        return state, _FsspecFile(handle)

    def create(self, url: str) -> IO[bytes]:
        raise DataError(f"{url}: only s3:// and gs:// can be written to", "name a bucket")


class _FsspecFile:
    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def read_at(self, size: int, start: int) -> bytes:
        self._handle.seek(start)
        return bytes(self._handle.read(size))

    def close(self) -> None:
        self._handle.close()


_STORES: dict[str, RemoteStore] = {
    "s3": _S3(), "gs": _Gcs(), "hf": _Fsspec(), "https": _Fsspec(), "http": _Fsspec(),
}  # fmt: skip


def store_of(url: str) -> RemoteStore:
    return _STORES[url.partition("://")[0]]


def again(ask: Callable[[], T]) -> T:
    """The answer; a request that failed for a passing reason is sent again, ever later."""
    for number in range(_TRIES - 1):
        try:
            return ask()
        except Exception as error:
            if not may_pass(error):
                raise
            time.sleep(0.5 * 2**number)
    return ask()


def _bucket_of(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]


def _key_of(url: str) -> str:
    return url.partition("://")[2].partition("/")[2]


@lru_cache(maxsize=64)
def _system(scheme: str, bucket: str) -> Any:
    from pyarrow import fs

    if scheme == "gs":
        emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
        local = emulator.partition("://")[2] or emulator
        options: dict[str, Any] = {}
        if local:
            options = {"endpoint_override": local, "scheme": "http", "anonymous": True}
        return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=_SECONDS), **options)
    given = os.environ.get
    for secret in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        register(given(secret) or "")
    endpoint: str | None = given("AWS_ENDPOINT_URL_S3") or given("AWS_ENDPOINT_URL")
    region: str | None = given("AWS_REGION") or given("AWS_DEFAULT_REGION")
    if not endpoint and not region:
        try:
            region = str(fs.resolve_s3_region(bucket))
        except OSError as error:
            raise failed(f"s3://{bucket}", error) from error
    return fs.S3FileSystem(
        region=region,
        endpoint_override=endpoint,
        connect_timeout=10,
        request_timeout=_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=5),
    )


@lru_cache(maxsize=1)
def _http() -> Any:
    from fsspec.implementations.http import HTTPFileSystem

    return HTTPFileSystem(client_kwargs={"trust_env": True}, use_listings_cache=False)


def _fsspec(url: str) -> Any:
    if url.startswith("hf://"):
        from huggingface_hub import HfFileSystem

        return HfFileSystem(skip_instance_cache=True, use_listings_cache=False)
    return _http()


def _state_of_info(url: str, info: dict[str, Any]) -> RemoteState:
    lfs = info.get("lfs") or {}
    version = lfs.get("sha256") or info.get("blob_id") or info.get("ETag") or ""
    dated = info.get("Last-Modified")
    if info.get("size") is None or not (version or dated) or info.get("partial") is False:
        raise DataError(
            f"{url}: the server must tell its size, an ETag or a date, and serve parts of it",
            "download it, or put it into a bucket",
        )
    modified = parsedate_to_datetime(dated).timestamp() if dated else 0
    return RemoteState(url, int(info["size"]), version or str(dated), int(modified * 1e9))
