"""The stage contract: an artifact is a directory that appears whole or not at all.

Guarantees: the same fingerprint is the same data; a kill at any moment leaves either the finished
directory or a `.partial` one that the next run continues; nothing is ever overwritten; what is
read is what was written, or an error names the file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tsqa.errors import DataError
from tsqa.locks import HeldFolder, flock, hold_folder
from tsqa.store.atomic import fsync, fsync_all
from tsqa.store.jsonl import write_json
from tsqa.store.manifest import (
    MANIFEST,
    Check,
    Manifest,
    check_files,
    content_of,
    plain_manifest,
    read_manifest,
    seal,
    trust,
)

EXPORTED = "exported.json"
"""In the folder of a model that was exported along its training: its `step` and `tokens`."""
WORK_LOCK, READ_LOCK = ".lock", ".reading.lock"
"""Suffixes of the files that whoever makes an artifact, and whoever reads it, holds locked."""
_FORMAT = 2
"""Version of manifests and file identities: raise it when an older artifact cannot be read."""


@dataclass(frozen=True)
class Artifact:
    """A finished stage output on disk."""

    path: Path
    manifest: Manifest

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @property
    def identity(self) -> str:
        """The fingerprint by which later stages know it: of the first with its content."""
        return self.manifest.same_as or self.fingerprint

    @property
    def summary(self) -> dict[str, Any]:
        """What the stage function returned: counts, timings, cost."""
        return self.manifest.summary


def fingerprint_of(stage: str, config: Mapping[str, object], inputs: Mapping[str, str]) -> str:
    """Hash what decides the data: the stage, its data-relevant config, its inputs' fingerprints.

    `config` must be plain JSON; anything else raises TypeError rather than hash unstably.
    """
    payload = json.dumps([_FORMAT, stage, config, inputs], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(payload.encode()).hexdigest()[:16]


class Store:
    """All artifacts under one root: `<root>/<stage>/<fingerprint>/`, shared by every recipe."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._held: dict[Path, HeldFolder] = {}

    def path_of(self, stage: str, fingerprint: str) -> Path:
        return self.root / stage / fingerprint

    def partial_path_of(self, stage: str, fingerprint: str) -> Path:
        """Where the artifact is built until it is complete."""
        return self.root / stage / f"{fingerprint}.partial"

    def find(self, stage: str, fingerprint: str, check: Check = "cheap") -> Artifact | None:
        """Return the finished artifact, or None; DataError where it is not what was written.

        `cheap` compares the sizes of all files, and the content of an artifact that is small or
        whose hashes are known; `whole` reads what it must.
        """
        path = self.path_of(stage, fingerprint)
        if not path.is_dir():
            return None
        manifest = read_manifest(path)
        check_files(path, manifest, check)
        return Artifact(path, manifest)

    def identity(self, stage: str, fingerprint: str) -> str:
        """By which fingerprint later stages know an artifact; its own until it is finished."""
        with suppress(DataError):  # damaged or not there: `find` says so
            return Artifact(path := self.path_of(stage, fingerprint), read_manifest(path)).identity
        return fingerprint

    def finished(self, stage: str) -> list[Artifact]:
        """Every artifact of a stage by its manifest; one whose manifest is damaged is passed over.

        For looking through them all: `find` the one that is then read.
        """
        found = []
        for path in sorted((self.root / stage).glob(f"*/{MANIFEST}")):
            if path.parent.suffix != ".partial":
                with suppress(DataError):
                    manifest = read_manifest(path.parent)
                    found.append(Artifact(path.parent, manifest))
        return found

    @contextmanager
    def working_directory(
        self, stage: str, fingerprint: str, holder: str = "", wait_seconds: float | None = None
    ) -> Iterator[Path]:
        """A locked `.partial` directory that survives a kill, so that the next run continues it.

        Waits while another process has it, TSQA_LOCK_SECONDS of the environment at most; `holder`
        tells others who has it.
        """
        partial = self.partial_path_of(stage, fingerprint)
        partial.parent.mkdir(parents=True, exist_ok=True)
        with hold_folder(partial, partial.with_suffix(WORK_LOCK), holder, wait_seconds) as held:
            self._held[partial] = held
            try:
                yield partial
            finally:
                del self._held[partial]

    @contextmanager
    def reading(self, artifacts: Sequence[tuple[str, str]]) -> Iterator[None]:
        """Hold finished artifacts, so that `tsqa gc` does not remove what a stage reads."""
        with ExitStack() as held:
            for stage, fingerprint in artifacts:
                path = self.root / stage / f"{fingerprint}{READ_LOCK}"
                path.parent.mkdir(parents=True, exist_ok=True)  # a preview reads another store's
                flock(held.enter_context(path.open("w")).fileno(), path, fcntl.LOCK_SH)
            yield

    def commit(
        self,
        partial: Path,
        stage: str,
        fingerprint: str,
        config: Mapping[str, object],
        inputs: Mapping[str, str],
        summary: Mapping[str, object],
        content: Sequence[str] = ("*",),
    ) -> Artifact:
        """Turn a working directory into the artifact: hashes, manifest, fsync of each, rename.

        `content`: patterns of the files by which it may be the same as an earlier one.
        """
        if partial in self._held:
            self._held[partial].check()
        for left in partial.rglob("*.tmp"):  # of a kill between a write and its rename
            if left.is_file():
                left.unlink()
        manifest = seal(
            partial,
            Manifest(
                stage=stage,
                fingerprint=fingerprint,
                config=dict(config),
                inputs=dict(inputs),
                summary=dict(summary),
                created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            ),
        )
        same = self._same_content(manifest, content)
        if same and same != fingerprint:  # a later one may say that it is as this one was before
            manifest = seal(partial, manifest.model_copy(update={"same_as": same}))
        write_json(partial / MANIFEST, plain_manifest(manifest))
        fsync_all(partial)
        if partial in self._held:
            self._held[partial].check()
        final = self.path_of(stage, fingerprint)
        partial.rename(final)
        fsync(final.parent)
        trust(final, manifest)
        return Artifact(final, manifest)

    def _same_content(self, manifest: Manifest, patterns: Sequence[str]) -> str:
        """The identity of the first artifact of the stage with the same content, if any."""
        wanted = content_of(manifest, patterns)
        if not wanted.files:
            return ""
        same = [
            artifact
            for artifact in self.finished(manifest.stage)
            if content_of(artifact.manifest, patterns) == wanted
        ]
        return min(same, key=lambda a: (a.manifest.created, a.fingerprint)).identity if same else ""

    def discard_partial(self, stage: str, fingerprint: str) -> None:
        shutil.rmtree(self.partial_path_of(stage, fingerprint), ignore_errors=True)


class Difference(NamedTuple):
    """A leaf at which two configs differ."""

    key: str
    before: object
    after: object


def differences(
    old: Mapping[str, object], new: Mapping[str, object], prefix: str = ""
) -> list[Difference]:
    """The leaves at which two configs differ, sorted by key."""
    found = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(Difference(f"{prefix}{key}", before, after))
    return found


def differing_keys(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Name the leaves at which two configs differ, as `key: old -> new`."""
    return [f"{key}: {before!r} -> {after!r}" for key, before, after in differences(old, new)]
