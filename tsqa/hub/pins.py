"""Names on the model hub, pinned to the commit that they meant when these runs first used them.

Guarantees: a pinned id means the same files ever after, with or without a network; asking takes
seconds at most, and once a process; what could not be asked is said to be unpinned.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any, Literal

from tsqa.errors import CheckpointError, first_line
from tsqa.hub.model_folder import refuse_foreign_code
from tsqa.locks import hold_file
from tsqa.store.jsonl import write_json
from tsqa.store.own_files import read_own

Kind = Literal["model", "dataset"]
PINS_FILE = "pins.json"
"""Beside the artifacts: `<kind> <id>@<revision>` -> commit. Delete a line to move to the newest."""
UNPINNED = "unpinned"
_SECONDS = 5.0
_COMMIT = re.compile(r"[0-9a-f]{40}")
_OTHER_FORMATS = [
    *("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.ot", "*.onnx"),
    *("*.gguf", "*.tflite", "original/*", "consolidated*"),
]
"""Of a model: never loaded where there are safetensors."""


class Pins:
    """What ids mean to this process, and to all that share its folder of runs."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._known: dict[str, str] = {}
        self._offline = False

    def keep_below(self, folder: Path) -> None:
        """Use and extend the pins of a folder; those of another are forgotten."""
        file = folder / PINS_FILE
        if file != self._file:
            self._file, self._known = file, {}

    @property
    def folder(self) -> Path | None:
        return self._file.parent if self._file else None

    def identify(self, kind: Kind, name: str, revision: str | None = None) -> dict[str, str]:
        """What stands for an id in a fingerprint: its commit, asked for where it is not known."""
        return {"hub": name, "commit": self.pin(kind, name, revision) or UNPINNED}

    def pin(self, kind: Kind, name: str, revision: str | None = None) -> str | None:
        """The commit of an id, from now on; None where it is not known and the hub cannot say."""
        return self.commit(kind, name, revision) or self._pin(kind, name, revision)

    def commit(self, kind: Kind, name: str, revision: str | None = None) -> str | None:
        """The commit that an id is pinned to; None where it is not. Asks nobody."""
        if revision is not None and _COMMIT.fullmatch(revision):
            return revision
        key = _key(kind, name, revision)
        if key not in self._known and self._file is not None and self._file.is_file():
            self._known |= read_own(self._file, dict[str, str])
        return self._known.get(key)

    def _pin(self, kind: Kind, name: str, revision: str | None) -> str | None:
        commit = None
        if not self._offline and not is_offline():
            commit, reached = _ask_in_time(kind, name, revision)
            self._offline = not reached
        commit = commit or _cached(kind, name, revision)
        if commit is None:
            return None
        self._known[_key(kind, name, revision)] = commit
        if self._file is not None:
            self._write(self._file)
        return self._known[_key(kind, name, revision)]

    def _write(self, file: Path) -> None:
        """Add what is known to the file; what another process wrote there first stays."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with hold_file(file):
            if file.is_file():
                self._known |= read_own(file, dict[str, str])
            write_json(file, self._known)


PINS = Pins()
"""Those of this process."""


def pinned_folder(
    name: str, revision: str | None = None, *, trust_remote_code: bool = False
) -> str:
    """The files of a pinned model on this machine, fetched where they are not; else the name.

    CheckpointError where its commit cannot be fetched, since the name would load another one, or
    where code of another repository would run.
    """
    commit = None if Path(name).exists() else PINS.commit("model", name, revision)
    if commit is None:
        return name
    from huggingface_hub import HfApi, snapshot_download

    ignored = None
    if not is_offline():
        try:
            files = HfApi().list_repo_files(name, revision=commit)
            ignored = _OTHER_FORMATS if any(f.endswith(".safetensors") for f in files) else None
        except Exception:  # noqa: BLE001 - the download says what is wrong
            ignored = None
    try:
        folder = str(snapshot_download(name, revision=commit, ignore_patterns=ignored))
    except Exception as error:  # of the client, the network, the disk
        raise CheckpointError(
            f"{name}: its commit {commit} cannot be fetched: {first_line(error)}",
            f"run again with a network, or delete its line in {PINS_FILE} for the newest commit",
        ) from error
    if trust_remote_code:
        refuse_foreign_code(Path(folder), name)
    return folder


def is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE) or os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")


def _key(kind: Kind, name: str, revision: str | None) -> str:
    return f"{kind} {name}@{revision or 'main'}"


def _ask_in_time(kind: Kind, name: str, revision: str | None) -> tuple[str | None, bool]:
    """(the commit or None, whether the hub answered); a look-up of its address may hang, too."""
    answer: list[tuple[str | None, bool]] = []

    def ask() -> None:
        answer.append(_ask(kind, name, revision))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * _SECONDS)
    return answer[0] if answer else (None, False)


def _ask(kind: Kind, name: str, revision: str | None) -> tuple[str | None, bool]:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi()
    try:
        look: Any = api.model_info if kind == "model" else api.dataset_info
        return look(name, revision=revision, timeout=_SECONDS).sha, True
    except (HfHubHTTPError, HFValidationError):
        return None, True  # no such id, or it is closed to us
    except Exception:  # noqa: BLE001 - whatever the client raises without a network
        return None, False


def _cached(kind: Kind, name: str, revision: str | None) -> str | None:
    """The commit of the copy that the hub's client keeps."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"{kind}s--{name.replace('/', '--')}"
    try:
        commit = (folder / "refs" / (revision or "main")).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    is_there = _COMMIT.fullmatch(commit) and (folder / "snapshots" / commit).is_dir()
    return commit if is_there else None
