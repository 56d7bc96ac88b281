"""A stand-in for the API server of Kubernetes, for kubectl itself: keeps objects, runs none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_KINDS = {"jobs": ("batch", "Job"), "pods": ("", "Pod"), "services": ("", "Service")}
_VERBS = ["create", "delete", "get", "list", "patch"]


def _documents() -> dict[str, Any]:
    """What kubectl asks first: which kinds there are, and whether fields are checked here."""
    found: dict[str, Any] = {
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "groups": []},
        "/openapi/v3": {"paths": {}},
    }
    for group, base in (("", "api/v1"), ("batch", "apis/batch/v1")):
        kinds = {name: kind for name, (of, kind) in _KINDS.items() if of == group}
        version = {"groupVersion": base.partition("/")[2], "version": "v1"}
        if group:
            told = {"name": group, "versions": [version], "preferredVersion": version}
            found["/apis"]["groups"].append(told)
        listed = [
            {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": _VERBS}
            for name, kind in kinds.items()
        ]
        found[f"/{base}"] = {"kind": "APIResourceList", **version, "resources": listed}
        checks = {
            f"/{name}": {
                "patch": {
                    "parameters": [{"name": "fieldValidation", "in": "query"}],
                    "x-kubernetes-group-version-kind": {
                        "group": group, "version": "v1", "kind": kind,
                    },
                }
            }
            for name, kind in kinds.items()
        }  # fmt: skip
        where = f"/openapi/v3/{base}"
        found["/openapi/v3"]["paths"][base] = {"serverRelativeURL": where}
        found[where] = {"openapi": "3.0.0", "info": {"title": "", "version": ""}, "paths": checks}
    return found


class KubernetesServer:
    """Its objects, and the kubeconfig by which kubectl finds it."""

    def __init__(self, folder: Path) -> None:
        self.objects: dict[str, dict[str, Any]] = {kind: {} for kind in _KINDS}
        self.kubeconfig = folder / "kubeconfig"
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        address = f"http://127.0.0.1:{self.http.server_port}"
        self.kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "a", "cluster": {"server": address}}],
                    "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
                    "users": [{"name": "a", "user": {}}],
                    "current-context": "a",
                }
            )
        )

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, object]:
        """The code and the document (a text: of a log)."""
        words = path.strip("/").split("/")
        if "namespaces" not in words:
            return 404, _failure("NotFound", path)
        kind, *rest = words[words.index("namespaces") + 2 :]
        known, name = self.objects[kind], rest[0] if rest else ""
        if method == "POST":
            name = body["metadata"]["name"]
            if name in known:
                return 409, _failure("AlreadyExists", f"{kind} {name!r} already exists")
            known[name] = body
            return 201, body
        if not rest:
            return 200, {"kind": "List", "apiVersion": "v1", "items": list(known.values())}
        if name not in known:
            return 404, _failure("NotFound", f"{kind} {name!r} not found")
        if rest[1:] == ["log"]:
            return 200, f"words of {name}\n"
        return 200, known.pop(name) if method == "DELETE" else known[name]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server, documents = self, _documents()

        class Handler(BaseHTTPRequestHandler):
            def reply(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body, path = self.rfile.read(size), self.path.partition("?")[0]
                code, told = 200, documents.get(path)
                if told is None:
                    code, told = server.answer(self.command, path, json.loads(body or b"{}"))
                is_log = isinstance(told, str)
                data = (told if isinstance(told, str) else json.dumps(told)).encode()
                self.send_response(code)
                self.send_header("Content-Type", "text/plain" if is_log else "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = reply

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _failure(reason: str, message: str) -> dict[str, Any]:
    codes = {"NotFound": 404, "AlreadyExists": 409}
    told = {"status": "Failure", "reason": reason, "message": message, "code": codes[reason]}
    return {"kind": "Status", "apiVersion": "v1", **told}


@contextmanager
def kubernetes_server(folder: Path) -> Iterator[KubernetesServer]:
    made = KubernetesServer(folder)
    thread = threading.Thread(target=made.http.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.http.shutdown()
        made.http.server_close()
        thread.join()
