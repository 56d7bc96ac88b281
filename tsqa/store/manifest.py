"""The manifest of an artifact: what it is, and the size and hash of each of its files.

Guarantees: a manifest that is returned has every field with its declared type, and is unchanged
since it was written, down to the last digit of a score; a file that is damaged, missing, or
present although no stage wrote it is an error with its name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from tsqa.errors import DataError
from tsqa.plain_json import parse_json
from tsqa.store.digests import DIGESTS, State, hash_bytes, state_of
from tsqa.store.identity import files_below
from tsqa.store.own_files import damaged

MANIFEST = "manifest.json"
SMALL = 64 << 20
"""Bytes up to which an artifact is read whole whenever a process first finds it."""
Check = Literal["cheap", "whole"]
_READ: dict[Path, tuple[State, ...]] = {}
"""Artifacts whose content this process has compared, as their files were then."""

_PARSED: dict[Path, tuple[State, Manifest]] = {}
"""Manifests that this process has read, and how their file was then."""


class FileRecord(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    bytes: int = Field(ge=0)
    blake3: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    stage: str
    fingerprint: str
    config: dict[str, Any]
    inputs: dict[str, str]
    summary: dict[str, Any]
    """What the stage function returned: counts, timings, cost."""
    created: str
    """UTC, `2026-01-31T12:00:00Z`."""
    files: dict[str, FileRecord] = {}
    """Path below the artifact's folder -> what was written."""
    same_as: str = ""
    """Fingerprint of an earlier artifact with the same content, which later stages go by."""
    seal: str = ""
    """Hash of everything else."""


class Content(NamedTuple):
    """What later stages take from an artifact."""

    files: dict[str, str]
    """Name -> hash."""
    allowed_leaks: object
    """As its summary names them: they are passed on."""


def content_of(manifest: Manifest, patterns: Sequence[str]) -> Content:
    """The files that match one of the patterns, and the leaks."""
    files = {
        name: record.blake3
        for name, record in manifest.files.items()
        if any(fnmatch(name, pattern) for pattern in patterns)
    }
    return Content(files, manifest.summary.get("allowed_leaks"))


class Damage(NamedTuple):
    file: str
    kind: Literal["damaged", "missing", "extra"]
    reason: str


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """The manifest with the hashes of all files of the folder, and its own."""
    files = [file for file in files_below(folder) if file != folder / MANIFEST]
    hashes = DIGESTS.of_all(files)
    records = {
        file.relative_to(folder).as_posix(): FileRecord(bytes=state_of(file).size, blake3=digest)
        for file, digest in zip(files, hashes, strict=True)
    }
    listed = manifest.model_copy(update={"files": records})
    # As JSON will give it back: tuples become lists, keys become text.
    plain = Manifest.model_validate(json.loads(json.dumps(listed.model_dump())))
    return plain.model_copy(update={"seal": _seal_of(plain)})


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the artifact in a folder; DataError unless it is whole and as written."""
    path = folder / MANIFEST
    state = _state_or_none(path)
    known = _PARSED.get(folder)
    if known is not None and known[0] == state:
        return known[1]
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
        manifest = Manifest.model_validate(value)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise damaged(path, f"{key or 'manifest'}: {problem['msg']}", folder) from error
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, f"unreadable: {error}", folder) from error
    if not manifest.seal:
        raise damaged(
            path, "an older version of tsqa wrote it, without hashes of its files", folder
        )
    if manifest.seal != _seal_of(manifest):
        raise damaged(path, "changed since it was written", folder)
    named = (manifest.stage, manifest.fingerprint)
    if named != (folder.parent.name, folder.name.removesuffix(".partial")):
        raise damaged(path, f"of another artifact: {'/'.join(named)}", folder)
    if state is not None:
        _PARSED[folder] = (state, manifest)
    return manifest


def check_files(folder: Path, manifest: Manifest, check: Check) -> None:
    """DataError that names the first file which is not as the manifest says."""
    total = sum(record.bytes for record in manifest.files.values())
    states = tuple(_state_or_none(folder / name) for name in manifest.files)
    is_read = _READ.get(folder) == states
    found = damages(folder, manifest, content=(total <= SMALL or check == "whole") and not is_read)
    if found and all(damage.kind == "extra" for damage in found):
        raise DataError(
            f"{folder / found[0].file}: {found[0].reason}",
            "move it elsewhere: it could be taken for one of the artifact's own",
        )
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise damaged(folder / found[0].file, f"{found[0].reason}{more}", folder)
    if total <= SMALL or check == "whole":
        trust(folder, manifest)


def trust(folder: Path, manifest: Manifest) -> None:
    """The files are now as they were written: not to be read again while their state stays."""
    _READ[folder] = tuple(state_of(folder / name) for name in manifest.files)


def damages(
    folder: Path, manifest: Manifest, *, content: bool, fresh: bool = False
) -> list[Damage]:
    """All that is not as the manifest says; `content`: the hashes too, not the sizes alone.

    `fresh`: files are read whatever is remembered of them, since a disk can lose what nobody wrote.
    """
    known = {MANIFEST, *manifest.files}
    found = [
        Damage(name, "extra", "no stage wrote this file")
        for file in files_below(folder)
        if (name := file.relative_to(folder).as_posix()) not in known
        and not file.name.startswith(".")  # of a file manager, or of a network file system
    ]
    whole = []
    for name, record in manifest.files.items():
        state = _state_or_none(folder / name)
        if state is None:
            found.append(Damage(name, "missing", "missing"))
        elif state.size != record.bytes:
            reason = f"{state.size:,} bytes, {record.bytes:,} were written"
            found.append(Damage(name, "damaged", reason))
        else:
            whole.append(name)
    changed = _changed(folder, manifest, whole, fresh) if content else []
    return found + [Damage(name, "damaged", "changed since it was written") for name in changed]


def _changed(folder: Path, manifest: Manifest, names: Sequence[str], fresh: bool) -> list[str]:
    hashes = DIGESTS.of_all([folder / name for name in names], fresh)
    differ = [n for n, h in zip(names, hashes, strict=True) if h != manifest.files[n].blake3]
    # What was remembered may be what is wrong.
    return differ if fresh or not differ else _changed(folder, manifest, differ, fresh=True)


def _state_or_none(path: Path) -> State | None:
    try:
        return state_of(path)
    except DataError:
        return None


def plain_manifest(manifest: Manifest) -> dict[str, JsonValue]:
    """The manifest as it is written: without `same_as` where it says nothing, as older ones."""
    return manifest.model_dump(exclude=None if manifest.same_as else {"same_as"})


def _seal_of(manifest: Manifest) -> str:
    rest = plain_manifest(manifest)
    del rest["seal"]
    return hash_bytes(json.dumps(rest, sort_keys=True).encode())
