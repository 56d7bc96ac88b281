"""A page for others: without paths and host names, and without rejected items where asked.

Guarantees: what the harness, the recipe and the machine say (settings, labels, errors, lineage)
names no folder of this machine and no host; two different paths stay different names; questions,
answers and other text of items is shown as it is.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tsqa.recipe import Recipe

HOST = "[host]"
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://[^\s'\"<>]+")
_ADDRESS = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_SLASHED = re.compile(r"(?<![\w./~<-])[\w.~@+%={}-]*(?:/[\w.@+%={}*-]*)+")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(?:@[\w.-]+)?")
_FILE = re.compile(
    r".*\.(?:ya?ml|jsonl?|parquet|csv|tsv|txt|md|jinja|html|log|gz|zst|bz2|xz|arrow|py)"
)
_SHORTEST_HOST = 3


class Share:
    """What is left out of a shared page."""

    def __init__(self, recipe: Recipe, folder: Path, rejected: bool = True) -> None:
        """`folder`: where relative paths of the recipe begin. `rejected`: show rejected items."""
        self.rejected = rejected
        self._folders = [Path(), folder]
        written = recipe.model_dump_json(by_alias=True)
        hosts = {urlsplit(found[0]).hostname or "" for found in _URL.finditer(written)}
        name = socket.gethostname()
        names = sorted({name, name.partition(".")[0], *hosts}, key=len, reverse=True)
        spelled = [re.escape(each) for each in names if len(each) >= _SHORTEST_HOST]
        self._host = re.compile(rf"(?<![\w-])(?:{'|'.join(spelled)})(?![\w-])") if spelled else None
        self._names: dict[str, str] = {}

    def text(self, text: str) -> str:
        """The text without paths, URLs' hosts, addresses, and this machine's name."""
        text = _URL.sub(lambda found: self._url(found[0], found["scheme"]), text)
        text = _SLASHED.sub(lambda found: self._path(found[0]), text)
        text = _ADDRESS.sub(HOST, text)
        return self._host.sub(HOST, text) if self._host else text

    def tree(self, value: Any) -> Any:
        """Plain JSON with every text and every key as `text` leaves it."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.tree(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.tree(each) for each in value]
        return value

    def _url(self, url: str, scheme: str) -> str:
        return self._shortened(url) if scheme == "file" else f"{scheme}://{HOST}"

    def _path(self, token: str) -> str:
        # An assignment keeps its key: `runs=/data/runs`.
        key, is_assigned, value = token.rpartition("=")
        path = value.rstrip(".")
        if not self._is_path(path):
            return token
        return key + is_assigned + self._shortened(path) + value[len(path) :]

    def _is_path(self, text: str) -> bool:
        if text.startswith(".../") or not any(map(str.isalpha, text)):
            return False
        if text.startswith(("/", "~", "./", "../")):
            return True
        if _HUB_ID.fullmatch(text) and not _FILE.fullmatch(text):
            return any((folder / text).exists() for folder in self._folders)
        first = text.partition("/")[0]
        return bool(_FILE.fullmatch(text)) or any((f / first).exists() for f in self._folders)

    def _shortened(self, path: str) -> str:
        """`.../name`; a second path of that name is `.../name (2)`."""
        if path not in self._names:
            short = f".../{path.rstrip('/').rpartition('/')[2]}"
            same = sum(name.partition(" (")[0] == short for name in self._names.values())
            self._names[path] = f"{short} ({same + 1})" if same else short
        return self._names[path]
