"""One base URL of an endpoint: JSON is posted to it, and its replies come back as text.

Guarantees: a URL is shown without its login and parameters, which are sent all the same; a
redirect is not followed, so that keys go to no other URL; no reply takes more memory than
`LONGEST_REPLY` allows, however it is compressed; proxies and certificates are those of the
environment; a server whose machine is gone is noticed within about a minute.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import urllib.request
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from tsqa import secrets
from tsqa.errors import EngineError

LONGEST_REPLY = 8 << 20
"""Bytes of a body; a hundred times what the longest answers take."""
CONNECT_SECONDS = 30.0
_IDLE_SECONDS = 4.0
"""Of a connection that is kept: servers end theirs after 5 and more."""
_KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
_TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems keep them; a Python that was built elsewhere may look in another place."""


class ReplyTooLongError(Exception):
    def __init__(self) -> None:
        super().__init__(f"the reply is longer than {LONGEST_REPLY >> 20} MiB")


class LostError(Exception):
    """No connection, or one that ended before its reply; the message is the cause."""

    def __init__(self, cause: str, errno: int | None = None, is_refused: bool = False) -> None:
        super().__init__(cause)
        self.errno = errno
        """Of the system's error, if there was one."""
        self.is_refused = is_refused
        """Whether there was no connection to begin with."""


class StatusError(Exception):
    """A reply whose status is not of success."""

    def __init__(
        self, status: int, headers: Mapping[str, str], body: str, *, url: URL, reason: str
    ) -> None:
        super().__init__(str(status))
        self.status, self.headers = status, headers
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        error = value.get("error", value) if isinstance(value, dict) else None
        said = error if isinstance(error, dict) else {}
        message = said.get("message")
        self.message = message if isinstance(message, str) and message else reason
        """What the endpoint says; the status in words where it says nothing."""
        kinds = (str(said.get(name) or "") for name in ("code", "type"))
        self.said = " ".join(filter(None, (*kinds, self.message)))
        """With its own words for the kind first."""
        self._url = url

    @property
    def location(self) -> str:
        """Where a redirect points to."""
        location = self.headers.get("location", "")
        try:
            return str(self._url.join(URL(location)))
        except ValueError:
            return location


class Server:
    """The connections to one base URL; made and used within an event loop."""

    def __init__(self, url: str, key: str, connect_seconds: float) -> None:
        secrets.register_url(url)
        split = secrets.split_url(url)
        self.url = split.url
        self._query = dict(split.query)
        headers = {"User-Agent": "tsqa", "Accept-Encoding": "gzip, deflate"}
        if split.login is not None:
            login = base64.b64encode(":".join(split.login).encode()).decode()
            headers["Authorization"] = f"Basic {login}"
        elif key:
            headers["Authorization"] = f"Bearer {key}"
        for header, variable in (("Organization", "ORG_ID"), ("Project", "PROJECT_ID")):
            if value := os.environ.get(f"OPENAI_{variable}", "").strip():
                headers[f"OpenAI-{header}"] = value
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                ssl=_trusted(*map(os.environ.get, _TRUST))
                if split.url.startswith("https:")
                else True,
                keepalive_timeout=_IDLE_SECONDS,
                socket_factory=_socket_that_notices,
            ),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=None, sock_connect=min(CONNECT_SECONDS, connect_seconds)
            ),
            proxy=_proxy_for(split.url),
        )
        self._urls: dict[str, URL] = {}

    async def post(self, path: str, body: bytes) -> str:
        """The reply's body; LostError, StatusError, ReplyTooLongError."""
        return await self._ask("POST", path, body)

    async def get(self, path: str) -> str:
        return await self._ask("GET", path, None)

    async def close(self) -> None:
        """Who waits for a reply gets LostError."""
        await self._session.close()

    async def _ask(self, method: str, path: str, body: bytes | None) -> str:
        url = self._urls.get(path)
        if url is None:
            url = URL(self.url.rstrip("/") + path).update_query(self._query)
            self._urls[path] = url
        headers = None if body is None else {"Content-Type": "application/json"}
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as reply:
                text = await _read(reply)
                if not 200 <= reply.status < 300:
                    raise StatusError(
                        reply.status,
                        reply.headers,
                        text,
                        url=reply.url,
                        reason=reply.reason or "",
                    )
                return text
        except aiohttp.ConnectionTimeoutError as error:
            raise LostError("no connection in time", is_refused=True) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _lost(error) from error
        except RuntimeError as error:
            if self._session.closed:
                raise LostError("closed") from error
            raise


async def _read(reply: aiohttp.ClientResponse) -> str:
    body = bytearray()
    async for part in reply.content.iter_any():
        body += part
        if len(body) > LONGEST_REPLY:
            reply.close()
            raise ReplyTooLongError
    return body.decode("utf-8", "replace")  # JSON always is; a server may name another charset


def _lost(error: aiohttp.ClientError | OSError) -> LostError:
    errno = error.errno if isinstance(error, OSError) else None
    is_refused = isinstance(error, aiohttp.ClientConnectorError)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return LostError(error.os_error.strerror or str(error.os_error), errno, is_refused)
    if isinstance(error, aiohttp.ClientSSLError):
        return LostError(str(error.os_error), errno, is_refused)
    if errno is not None and errno > 0:
        return LostError(os.strerror(errno), errno, is_refused)
    cause = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return LostError(cause or type(error).__name__, errno, is_refused)


def _proxy_for(url: str) -> str | None:
    """As the environment says: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY."""
    split = urlsplit(url)
    known = urllib.request.getproxies()
    proxy = known.get(split.scheme) or known.get("all")
    if not proxy or urllib.request.proxy_bypass(split.netloc):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    secrets.register_url(proxy)
    if not proxy.startswith(("http://", "https://")):
        kind = proxy.partition("://")[0]
        raise EngineError(
            f"{url}: the environment names a proxy of the kind {kind}, which is not supported",
            "name one that speaks http, or except the host in NO_PROXY",
        )
    return proxy


@cache
def _trusted(file: str | None, folder: str | None) -> ssl.SSLContext:
    """The certificates of the file or folder of the environment, else of the system."""
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if file or folder or paths.cafile:
        return context
    if not paths.capath or not any(Path(paths.capath).glob("*.0")):
        for place in filter(os.path.isfile, _CERTIFICATES):
            context.load_verify_locations(place)
            break
    return context


def _socket_that_notices(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that asks whether the other machine is still there while nothing comes."""
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if (option := getattr(socket, name, None)) is not None:
            made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
