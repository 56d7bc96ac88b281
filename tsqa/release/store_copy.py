"""Artifacts and releases, copied to a bucket and back: `tsqa push`, `tsqa pull`.

Below the address, `artifacts/<stage>/<fingerprint>/` or `releases/<name>/<version>/` holds
`manifest.json` and, beside it, a folder of its seal with the files that it names.

Guarantees: a manifest is written after all that it names, so that what has one is whole; two
pushes at once never mix, since a folder is named by its content; a file that is there is not sent
or fetched again; what arrives is compared with its hash, and appears here whole or not at all.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

from blake3 import blake3
from rich.text import Text

from tsqa.console import console, progress_bar
from tsqa.errors import DataError, TsqaError, UsageError
from tsqa.locks import hold_folder
from tsqa.names import data_problem
from tsqa.pipeline.node import forget_identities
from tsqa.pipeline.run import Pipeline
from tsqa.plain_json import parse_json
from tsqa.release.check import check_release, require_good
from tsqa.release.records import RELEASES, read_release
from tsqa.remote import RemotePath
from tsqa.remote.stores import store_of
from tsqa.store.artifact import WORK_LOCK, Artifact
from tsqa.store.atomic import fsync, fsync_all
from tsqa.store.digests import state_of
from tsqa.store.manifest import MANIFEST, check_files, read_manifest

FETCHED = ".pulled"
"""Folder, beside what is finished, of what is not fetched whole yet."""
_AT_ONCE = 8
_CHUNK = 8 << 20
Outcome = Literal["sent", "fetched", "there", "missing"]


class _Record(Protocol):
    """Of a file in a manifest."""

    @property
    def bytes(self) -> int: ...


@dataclass(frozen=True)
class _Kept:
    """What a manifest in a store says."""

    content: bytes
    seal: str
    files: Mapping[str, tuple[int, str]]
    """Name -> size and hash: blake3 of an artifact, sha256 of a release."""


class _Hash(Protocol):
    def update(self, content: bytes, /) -> object: ...

    def hexdigest(self) -> str: ...


def push_artifacts(pipeline: Pipeline, url: str, stages: Sequence[str]) -> None:
    """Copy what the recipe has finished, of some stages or of all; what is there stays."""
    base, count = _writable(url), 0
    _refuse_unknown(pipeline, stages)
    for node in pipeline.nodes:
        if stages and node.stage not in stages:
            continue
        made = pipeline.store.find(node.stage, node.fingerprint, "whole")
        if made is not None:
            outcome = _push_artifact(made, base)
            _say(pipeline.label(node), outcome, made.manifest.files)
            count += 1
    if not count:
        raise TsqaError(
            f"{pipeline.origin}: nothing of it is built", f"tsqa run {pipeline.told()}, then push"
        )


def pull_artifacts(pipeline: Pipeline, url: str, stages: Sequence[str]) -> None:
    """Fetch what the recipe needs and has not, of some stages or of all."""
    base, found = _readable(url), 0
    _refuse_unknown(pipeline, stages)
    for node in pipeline.nodes:
        if stages and node.stage not in stages:
            continue
        if pipeline.find(node) is not None:
            _say(pipeline.label(node), "there", {})
            found += 1
            continue
        place = f"artifacts/{node.stage}/{node.fingerprint}"
        final = pipeline.store.path_of(node.stage, node.fingerprint)
        outcome = _pull(base / place, final, blake3, _accept_artifact)
        made = pipeline.find(node)
        _say(pipeline.label(node), outcome, made.manifest.files if made else {})
        if made is not None:
            found += 1
            pipeline.record([node])  # `tsqa gc` keeps it
            forget_identities(pipeline.nodes)
    if not found:
        raise TsqaError(
            f"{base}: nothing of {pipeline.origin} is there",
            "push it from where it was built: `tsqa push`; files that came along may be missing "
            "their manifest, which is written last",
        )


def push_release(folder: Path, url: str) -> None:
    """Copy a release; another one of that name in the store is refused."""
    release = read_release(require_good(folder))
    target = _writable(url) / f"{RELEASES}/{release.name}/{release.version}"
    content = (folder / MANIFEST).read_bytes()
    kept = _kept_at(target)
    if kept is not None and kept.seal != release.seal:
        raise DataError(
            f"{target}: another release of this name", "release it under another version"
        )
    outcome = _push(folder, target, _Kept(content, release.seal, _files_of(asdict(release))))
    _say(f"{release.name} {release.version}", outcome, release.files)


def pull_release(runs: Path, name: str, version: str, url: str) -> Path:
    """Fetch a release into the folder of runs; TsqaError where there is none."""
    target = _readable(url) / f"{RELEASES}/{name}/{version}"
    final = runs / RELEASES / name / version
    if final.is_dir():
        kept = _kept_at(target)
        if kept is not None and kept.seal != read_release(require_good(final)).seal:
            raise DataError(f"{final}: another release of this name", "move it away")
        outcome: Outcome = "there"
    else:
        outcome = _pull(target, final, hashlib.sha256, _accept_release)
    if outcome == "missing":
        raise TsqaError(f"{target}: no such release", "correct the name, or push it")
    _say(f"{name} {version}", outcome, read_release(final).files)
    return final


def _readable(url: str) -> RemotePath:
    problem = data_problem(url) if "://" in url else "no address"
    if problem:
        raise UsageError(f"{url}: {problem}", "name a bucket, such as s3://BUCKET/PREFIX")
    return RemotePath(url.rstrip("/"))


def _writable(url: str) -> RemotePath:
    if not url.startswith(("s3://", "gs://")):
        raise UsageError(f"{url}: only s3:// and gs:// can be written to", "name a bucket")
    return RemotePath(url.rstrip("/"))


def _refuse_unknown(pipeline: Pipeline, stages: Sequence[str]) -> None:
    known = dict.fromkeys(node.stage for node in pipeline.nodes)
    if unknown := [stage for stage in stages if stage not in known]:
        raise UsageError(
            f"--stage {unknown[0]}: {pipeline.origin} has no such stage",
            f"use one of: {', '.join(known)}",
        )


def _say(label: str, outcome: Outcome, files: Mapping[str, _Record]) -> None:
    size = sum(record.bytes for record in files.values())
    shown = f"{len(files):,} files, {size:,} bytes" if files else ""
    colour = {"there": "cyan", "missing": "yellow"}.get(outcome, "green")
    told = {"there": "is there", "missing": "not in the store"}.get(outcome, outcome)
    console.print(Text.assemble((f"  {label}", "bold"), "  ", (told, colour), f"  {shown}"))


def _push_artifact(made: Artifact, base: RemotePath) -> Outcome:
    target = base / f"artifacts/{made.manifest.stage}/{made.fingerprint}"
    # The same fingerprint is the same data: what another machine made of it stays.
    there = _kept_at(target)
    if there is not None and _is_whole(there, target):
        return "there"
    kept = _Kept(
        (made.path / MANIFEST).read_bytes(),
        made.manifest.seal,
        _files_of(made.manifest.model_dump()),
    )
    return _push(made.path, target, kept)


def _push(folder: Path, target: RemotePath, kept: _Kept) -> Outcome:
    """Send the files that are not there, then the manifest."""
    there = (target / kept.seal).sizes_below()
    missing = [name for name, (size, _) in kept.files.items() if there.get(name) != size]
    if not missing and _kept_at(target) == kept:
        return "there"
    sizes = [kept.files[name][0] for name in missing]
    with _counting("pushing (MiB)", sum(sizes)) as count:

        def send(name: str) -> None:
            _send(folder / name, target / f"{kept.seal}/{name}", count)

        _each(send, missing)
    there = (target / kept.seal).sizes_below()
    for name, (size, _) in kept.files.items():
        if there.get(name) != size:
            raise DataError(
                f"{target}/{kept.seal}/{name}: {there.get(name, 0):,} bytes arrived, {size:,} were "
                "sent",
                "run the same command again: what is there is not sent again",
            )
    _write(target / MANIFEST, lambda write: write(kept.content))
    return "sent"


def _pull(
    target: RemotePath,
    final: Path,
    hasher: Callable[[], _Hash],
    accept: Callable[[Path], object],
) -> Outcome:
    """Fetch a folder; `accept` raises where it is not what its manifest says."""
    kept = _kept_at(target)
    if kept is None:
        return "missing"
    folder = final.parent.parent / FETCHED / final.parent.name / final.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    final.parent.mkdir(parents=True, exist_ok=True)
    # The lock of whoever makes it: a run waits for us, and we for a run.
    with hold_folder(folder, final.with_name(f"{final.name}{WORK_LOCK}"), "tsqa pull"):
        if final.is_dir():
            shutil.rmtree(folder)
            return "there"
        missing = [name for name in kept.files if not (folder / name).is_file()]
        with _counting("pulling (MiB)", sum(kept.files[name][0] for name in missing)) as count:

            def fetch(name: str) -> None:
                source = target / f"{kept.seal}/{name}"
                _fetch(source, folder / name, kept.files[name], hasher(), count)

            _each(fetch, missing)
        (folder / MANIFEST).write_bytes(kept.content)
        accept(folder)
        fsync_all(folder)
        folder.rename(final)
        fsync(final.parent)
    return "fetched"


def _accept_artifact(folder: Path) -> None:
    check_files(folder, read_manifest(folder), "whole")


def _accept_release(folder: Path) -> None:
    if damage := check_release(folder).damage:
        raise DataError(f"{folder / damage[0].file}: {damage[0].reason}", f"delete {folder}")


def _kept_at(target: RemotePath) -> _Kept | None:
    """What a store holds; None where nothing is whole there."""
    manifest = (target / MANIFEST).look()
    if manifest is None:
        return None
    content = manifest.read_bytes()
    try:
        told = parse_json(content.decode())
        if not isinstance(told, dict):
            raise TypeError("not an object")
        return _Kept(content, str(told["seal"]), _files_of(told))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{manifest}: damaged: {error}", "delete this object, and push again"
        ) from error


def _files_of(manifest: Mapping[str, object]) -> dict[str, tuple[int, str]]:
    files = manifest["files"]
    if not isinstance(files, Mapping):
        raise TypeError("`files` is no object")
    found = {}
    for name, record in files.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"the file name {name!r} leads out of its folder")
        found[str(name)] = int(record["bytes"]), str(record.get("blake3") or record["sha256"])
    return found


def _is_whole(kept: _Kept, target: RemotePath) -> bool:
    there = (target / kept.seal).sizes_below()
    return all(there.get(name) == size for name, (size, _) in kept.files.items())


def _each(work: Callable[[str], None], names: Sequence[str]) -> None:
    """Several at once; what fails is raised once those begun have ended."""
    with ThreadPoolExecutor(_AT_ONCE) as workers:
        try:
            for _ in workers.map(work, names):
                pass
        except BaseException:
            workers.shutdown(cancel_futures=True)
            raise


def _send(file: Path, target: RemotePath, count: Callable[[int], None]) -> None:
    before = state_of(file)

    def copy(write: Callable[[bytes], object]) -> None:
        with file.open("rb") as handle:
            while chunk := handle.read(_CHUNK):
                write(chunk)
                count(len(chunk))

    _write(target, copy)
    if state_of(file) != before:
        raise DataError(f"{file}: changed while it was sent", "leave it alone; push again")


def _write(target: RemotePath, fill: Callable[[Callable[[bytes], object]], object]) -> None:
    from tsqa.remote.failures import failed

    stream = store_of(target.url).create(target.url)
    try:
        fill(stream.write)
        stream.close()  # only now it is there
    except OSError as error:
        raise failed(target.url, error) from error


def _fetch(
    source: RemotePath,
    file: Path,
    record: tuple[int, str],
    found: _Hash,
    count: Callable[[int], None],
) -> None:
    """The file appears once its hash is right."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.tmp")
    with source.open("rb", 0) as handle, temporary.open("wb") as out:
        while chunk := handle.read(_CHUNK):
            found.update(chunk)
            out.write(chunk)
            count(len(chunk))
    if found.hexdigest() != record[1]:
        temporary.unlink()
        raise DataError(
            f"{source}: damaged: not what its manifest says",
            "delete this object and push again from where it is whole",
        )
    temporary.replace(file)


@contextmanager
def _counting(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar; the function takes bytes that are done, from any thread."""
    lock, done = threading.Lock(), 0
    with progress_bar() as bar:
        row = bar.add_task(title, total=max(1, total >> 20), note="")

        def count(size: int) -> None:
            nonlocal done
            with lock:
                done += size
                bar.update(row, completed=done >> 20)

        yield count
        bar.update(row, completed=max(1, total >> 20))
