"""The audit of a dataset: which of its rows hold documents that benchmarks evaluate.

Guarantees: the same data and benchmarks give the same report, byte for byte, on any number of
processes and after any kill; rows are streamed; the report appears whole or not at all.

While it runs, `OUT.partial` holds the finished shards, and `audit.json` what they are of.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.table import Table
from rich.text import Text

from train.data.shards import Shard
from train.data.sources import (
    AUDITED,
    Piece,
    SourceDocument,
    find_pieces,
    group_pieces,
    read_documents,
)
from train.tokens.shard_work import name_unread, work_on_shards
from tsqa import __version__
from tsqa.audit.benchmarks import Against, open_against, write_documents
from tsqa.audit.meaning import (
    MeantDocuments,
    count_evaluated,
    open_embedder,
    split,
    window_sizes,
)
from tsqa.audit.report import SCRATCH, AuditedData, AuditReport, SemanticAudit, write_report
from tsqa.audit.search import Benchmarks, SearchTask
from tsqa.console import console
from tsqa.errors import DataError, TsqaError
from tsqa.hub.identify import identify_model
from tsqa.hub.pins import PINS
from tsqa.locks import try_lock
from tsqa.recipe import DecontaminateSection, SemanticLeakSection, SourceSection, is_hub_id
from tsqa.records.seed import Seed, read_seeds
from tsqa.remote import RemotePath, data_path
from tsqa.store.atomic import fsync_all
from tsqa.store.digests import state_of
from tsqa.store.jsonl import write_json
from tsqa.store.own_files import read_own
from tsqa.tasks.fingerprint import identify_tasks

_SAMPLE = 512
"""Rows that a dry run reads."""
_RULES = 7
"""Raise it where rules find other rows, so that no audit continues one by older rules."""
_DOCUMENTS = "benchmarks.jsonl"
_EMBEDDED = 64
"""Of these, how many it embeds."""


@dataclass(frozen=True)
class Audit:
    """What the command was asked."""

    source: SourceSection
    against: str
    out: Path
    processes: int | None = None
    semantic: SemanticLeakSection | None = None
    """Compare the meaning too, in this process: the model has the cores, or the GPU."""

    @property
    def partial(self) -> Path:
        return self.out.with_name(self.out.name + ".partial")


def audit_leaks(audit: Audit, force: bool = False) -> AuditReport | None:
    """Write the report into its folder `out`; None where an earlier command had done so."""
    if _finish_rename(audit.out):
        return None
    audit = _pinned(audit)
    _refuse_existing(audit, force)
    against, pieces = open_against(audit.against), _open_data(audit)
    name_unread(AUDITED, data_path(str(audit.source.path)))
    with _working_folder(audit, against, pieces, force) as folder:
        benchmarks = _index(audit, against, folder / SCRATCH)
        shards = _shards(audit, pieces, folder / SCRATCH)
        started = time.monotonic()
        processes = audit.processes if audit.semantic is None else 1
        work_on_shards(shards, processes, SearchTask(benchmarks), "--processes")
        seconds = time.monotonic() - started
        if _identity(audit, against, pieces) != _identity(audit, against, _open_data(audit)):
            raise DataError(f"{audit.source.path}: changed while it was read", "run it again")
        meant = _describe(audit.semantic, benchmarks)
        report = write_report(folder, _data(audit, pieces), against, benchmarks, shards, meant)
        fsync_all(folder)
        if audit.out.exists():
            shutil.rmtree(audit.out)
        folder.rename(audit.out)
    _finish_rename(audit.out)
    console.print(f"  {report.rows.documents:,} rows; this command read for {seconds:,.1f} s")
    return report


def dry_run(audit: Audit) -> None:
    """Print what would be read and compared, and about how long it takes; writes nothing."""
    audit = _pinned(audit)
    against, pieces = open_against(audit.against), _open_data(audit)
    size = sum(piece.size for piece in pieces)
    files = len({piece.file for piece in pieces})
    console.print(f"  {files:,} files, {size:,} bytes in {len(group_pieces(pieces)):,} shards")
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        benchmarks = _index(replace(audit, semantic=None), against, Path(folder))
        documents = list(read_seeds(Path(folder) / _DOCUMENTS))
    texts = list(itertools.islice(_texts(audit, pieces), _SAMPLE))
    if not texts:
        raise DataError(f"{audit.source.path}: holds no text", "name another, or --text-field")
    started = time.monotonic()
    benchmarks.find(texts)
    seconds = time.monotonic() - started
    characters = sum(map(len, texts))
    console.print(
        f"  the first {len(texts):,} rows: {len(texts) / seconds:,.0f} rows/s on one core, "
        f"{characters / len(texts):,.0f} characters each; one core takes about "
        f"{seconds * size / characters / 60:,.0f} minutes for the size of the files, more for "
        "compressed ones"
    )
    if audit.semantic is not None:
        _time_meaning(audit.semantic, documents, texts, size / characters)


def print_report(report: AuditReport) -> None:
    """Print one line per benchmark on stderr."""
    table = Table(title=f"evaluated documents in {report.data.path}")
    for column in ("benchmark", "evaluated", "found", "share", "rows that hold one", "by rule"):
        table.add_column(column, justify="left" if column in ("benchmark", "by rule") else "right")
    for one in report.benchmarks:
        rules = ", ".join(f"{rule.rule} {rule.rows:,}" for rule in one.rules)
        cells = (f"{one.evaluated:,}", f"{one.found:,}", f"{one.found_share:.2%}", f"{one.rows:,}")
        table.add_row(Text(one.name), *cells, rules)
    console.print(table)
    rows = report.rows
    console.print(
        f"  {rows.leaking:,} of {rows.documents:,} rows ({rows.share:.4%}) hold one or more"
    )


def _time_meaning(
    section: SemanticLeakSection, documents: Sequence[Seed], texts: Sequence[str], factor: float
) -> None:
    """Print how long the meaning of all rows takes; `factor`: of the data to these texts."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        embedder = open_embedder(section, Path(folder))
    read = list(texts[:_EMBEDDED])
    sizes = window_sizes(documents)
    windows = [window for text in read for window in split(text, sizes)]
    embedder.embed(windows[:1])
    started = time.monotonic()
    embedder.embed(windows)
    seconds = time.monotonic() - started
    whole = seconds * factor * sum(map(len, texts)) / sum(map(len, read))
    before = count_evaluated(documents)
    console.print(
        f"  by meaning: {len(read) / seconds:,.1f} rows/s, {len(windows):,} windows of "
        f"{len(read):,} rows; about {whole / 3600:,.1f} hours for all, after about "
        f"{seconds * before / max(1, len(windows)) / 60:,.1f} minutes for {before:,} texts of the "
        "evaluated documents"
    )


def _describe(section: SemanticLeakSection | None, found: Benchmarks) -> SemanticAudit | None:
    if section is None or found.meaning is None:
        return None
    return SemanticAudit(section.model, section.false_positives, found.meaning.tasks)


def _index(audit: Audit, against: Against, folder: Path) -> Benchmarks:
    """`folder`: it keeps the evaluated documents, and their vectors."""
    path = folder / _DOCUMENTS
    write_documents(against, path)
    documents = list(read_seeds(path))
    console.print(f"  {len(documents):,} evaluated documents of {len(against.tasks):,} tasks")
    if not documents:
        raise DataError(f"{against.name}: its tasks score no document", "name others")
    meaning, wanted = None, audit.semantic
    if wanted is not None:
        meaning = MeantDocuments(open_embedder(wanted, folder), documents, wanted.false_positives)
    return Benchmarks(documents, against.members, DecontaminateSection(), meaning)


def _open_data(audit: Audit) -> list[Piece]:
    return find_pieces(audit.source, data_path(str(audit.source.path)), AUDITED)


def _pinned(audit: Audit) -> Audit:
    """The same audit with the commit of a hub dataset in place of its revision."""
    path, revision = str(audit.source.path), audit.source.revision
    if not is_hub_id(path) or Path(path).exists():
        return audit
    commit = PINS.pin("dataset", path, revision) if revision else None
    if commit is None:
        raise DataError(
            f"{path}: no such file; a dataset of the hub needs its revision, and the hub",
            "add --revision COMMIT, so that the same command reads the same data",
        )
    return replace(audit, source=audit.source.model_copy(update={"revision": commit}))


def _shards(audit: Audit, pieces: Sequence[Piece], scratch: Path) -> list[Shard]:
    return [
        Shard(scratch / f"{number:06d}", audit.source, group, AUDITED)
        for number, group in enumerate(group_pieces(pieces))
    ]


def _texts(audit: Audit, pieces: Sequence[Piece]) -> Iterator[str]:
    for piece in pieces:
        for document in read_documents(piece, audit.source, AUDITED):
            if isinstance(document, SourceDocument):
                yield document.text


def _data(audit: Audit, pieces: Sequence[Piece]) -> AuditedData:
    source = audit.source
    files = len({piece.file for piece in pieces})
    hub = is_hub_id(str(source.path)) and not Path(str(source.path)).exists()
    return AuditedData(
        path=str(source.path),
        subset=source.subset,
        split=source.split if hub else None,
        revision=source.revision,
        text_field=source.text_field,
        files=files,
    )


def _identity(audit: Audit, against: Against, pieces: Sequence[Piece]) -> dict[str, object]:
    """What finished shards are of: the settings, and size and time, or version, of each file."""
    states: dict[str, list[int | str]] = {}
    for piece in pieces:
        if isinstance(piece.path, Path):
            found = piece.path.stat()
            states[piece.file] = [found.st_size, found.st_mtime_ns]
        elif isinstance(piece.path, RemotePath):
            states[piece.file] = [*state_of(piece.path)]
    semantic: dict[str, object] = {}
    if audit.semantic is not None:
        model = identify_model(audit.semantic.model)
        semantic = {"semantic": {**audit.semantic.data_config(), "model": model}}
    return semantic | {
        "version": __version__,
        "rules": _RULES,
        "source": audit.source.model_dump(mode="json", by_alias=True),
        "against": {**against.members},
        "task_files": identify_tasks(str(against.include) if against.include else None),
        "pieces": len(pieces),
        "files": states,
    }


@contextmanager
def _working_folder(
    audit: Audit, against: Against, pieces: Sequence[Piece], force: bool
) -> Iterator[Path]:
    """The locked `.partial` folder, with what an earlier command of the same audit left in it."""
    folder = audit.partial
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = try_lock(folder.with_name(folder.name + ".lock"))
    if lock is None:
        raise TsqaError(f"{folder}: another process works on it", "wait for it")
    with lock:
        identity, path = _identity(audit, against, pieces), folder / SCRATCH / "audit.json"
        _refuse_strange(folder, path)
        if folder.exists() and not (path.exists() and read_own(path, dict) == identity):
            if path.exists() and not force:
                raise TsqaError(
                    f"{folder}: is of another audit, or its data changed since",
                    "choose another --out, or begin anew with --force",
                )
            shutil.rmtree(folder)
        (folder / SCRATCH).mkdir(parents=True, exist_ok=True)
        write_json(path, identity)
        yield folder
        Path(lock.name).unlink()


def _refuse_strange(folder: Path, identity: Path) -> None:
    """Refuse a folder that no audit began: it would be emptied."""
    strange = (
        path.name != SCRATCH and not path.match(f"{identity.name}.*.tmp")
        for path in folder.glob("**/*")
    )
    if not identity.exists() and any(strange):
        raise TsqaError(f"{folder}: is no folder of an audit", "move it, or choose another --out")


def _finish_rename(out: Path) -> bool:
    """Delete the scratch files of a report that is whole; whether there were any."""
    scratch = out / SCRATCH
    if not (out / "report.json").exists() or not scratch.exists():
        return False
    shutil.rmtree(scratch)
    return True


def _refuse_existing(audit: Audit, force: bool) -> None:
    if audit.out.exists() and not force:
        raise TsqaError(
            f"{audit.out}: is there already", "choose another --out, or replace it with --force"
        )
    if audit.out.exists() and not (audit.out / "report.json").exists():
        raise TsqaError(f"{audit.out}: is no report of an audit", "choose another --out")
