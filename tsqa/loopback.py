"""Serving pages to this machine's browser, and to nobody else.

Guarantees: the server listens on the loopback address; by `names_this_machine` a handler refuses
requests under another host's name, by which a page of the web could read what it serves.
"""

from __future__ import annotations

from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tsqa.errors import TsqaError

HOST = "127.0.0.1"


class LoopbackServer(ThreadingHTTPServer):
    """Bound and ready for `serve_forever`; port 0 picks a free one."""

    daemon_threads = True

    def __init__(self, port: int, handler: type[LoopbackHandler]) -> None:
        try:
            super().__init__((HOST, port), handler)
        except OSError as error:
            raise TsqaError(
                f"--port {port}: cannot listen on {HOST}: {error.strerror}", "choose another port"
            ) from error

    @property
    def hosts(self) -> tuple[str, str]:
        """The names under which this machine knows it."""
        port = self.server_address[1]
        return f"{HOST}:{port}", f"localhost:{port}"

    @property
    def address(self) -> str:
        return f"http://{self.hosts[0]}/"


class LoopbackHandler(BaseHTTPRequestHandler):
    server: LoopbackServer

    def names_this_machine(self) -> bool:
        """Whether the request is for this machine, by its own word."""
        return self.headers.get("Host") in self.server.hosts

    def send(
        self, status: HTTPStatus, body: bytes, kind: str, policy: str, with_body: bool = True
    ) -> None:
        """Answer; `policy`: what the page may load and run (Content-Security-Policy)."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the terminal shows the address and nothing else."""
