"""Buckets to test with: of moto's server on this machine, and of memory.

Memory keeps the promises that `RemoteStore` names, and tests our side of them; what S3 itself does
is tested with moto alone, which is in the lock.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any, Protocol
from uuid import uuid4

import pytest

from tsqa.remote import stores
from tsqa.remote.state import RemoteState
from tsqa.remote.stores import ReadAt
from tsqa.store.digests import hash_bytes

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIA" + "TESTTESTTEST",
    "AWS_SECRET_ACCESS_KEY": "never-to-be-seen",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Bucket(Protocol):
    """A bucket as its owner sees it."""

    url: str

    def put(self, key: str, content: bytes) -> None: ...

    def get(self, key: str) -> bytes: ...

    def names(self) -> list[str]: ...

    def delete(self, key: str) -> None: ...


def fill(bucket: Bucket, folder: Path, prefix: str) -> str:
    """Copy a folder below a prefix; return the address."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            bucket.put(f"{prefix}/{file.relative_to(folder).as_posix()}", file.read_bytes())
    return f"{bucket.url}/{prefix}"


class MemoryBucket:
    """A store of one process."""

    def __init__(self) -> None:
        self.url = f"s3://{uuid4().hex}"
        self.objects: dict[str, bytes] = {}
        self.written: list[str] = []
        """Keys in the order in which they appeared."""

    def put(self, key: str, content: bytes) -> None:
        self.objects[key] = content

    def get(self, key: str) -> bytes:
        return self.objects[key]

    def names(self) -> list[str]:
        return sorted(self.objects)

    def delete(self, key: str) -> None:
        del self.objects[key]

    def state(self, url: str) -> RemoteState | None:
        content = self.objects.get(self._key(url))
        return None if content is None else RemoteState(url, len(content), hash_bytes(content), 0)

    def below(self, url: str) -> list[RemoteState]:
        found = [f"{self.url}/{key}" for key in self.objects]
        inside = [one for one in found if one.startswith(f"{url.rstrip('/')}/")]
        return [state for one in inside if (state := self.state(one)) is not None]

    def sizes(self, url: str) -> dict[str, int]:
        return {state.url: state.size for state in self.below(url)}

    def is_prefix(self, url: str) -> bool:
        return bool(self.below(url))

    def open(self, url: str) -> tuple[RemoteState, ReadAt]:
        state = self.state(url)
        assert state is not None
        return state, _MemoryFile(self.objects[self._key(url)])

    def create(self, url: str) -> IO[bytes]:
        return _Written(self, self._key(url))

    def _key(self, url: str) -> str:
        return url.removeprefix(self.url).lstrip("/")


class _MemoryFile:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def read_at(self, size: int, start: int) -> bytes:
        return self._content[start : start + size]

    def close(self) -> None:
        pass


class _Written(io.BytesIO):
    def __init__(self, bucket: MemoryBucket, key: str) -> None:
        super().__init__()
        self._bucket, self._key = bucket, key

    def close(self) -> None:
        if not self.closed:
            self._bucket.put(self._key, self.getvalue())
            self._bucket.written.append(self._key)
        super().close()


class MotoBucket:
    """A bucket of moto's server."""

    def __init__(self, client: Any) -> None:
        name = uuid4().hex
        client.create_bucket(Bucket=name)
        self._client, self._name, self.url = client, name, f"s3://{name}"

    def put(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._name, Key=key, Body=content)

    def get(self, key: str) -> bytes:
        return bytes(self._client.get_object(Bucket=self._name, Key=key)["Body"].read())

    def names(self) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name)
        return sorted(one["Key"] for page in pages for one in page.get("Contents", ()))

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self._name, Key=key)


@contextmanager
def memory_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryBucket]:
    made = MemoryBucket()
    monkeypatch.setitem(stores._STORES, "s3", made)
    yield made


@contextmanager
def moto_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[MotoBucket]:
    pytest.importorskip("moto.server", reason="moto's server is not installed")
    import boto3

    endpoint = _server()
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    yield MotoBucket(boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1"))


@cache
def _server() -> str:
    """The address of a server that lives as long as this process."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"
