"""Own datasets and documents as sources of seeds: JSONL(.gz, .zst), JSON, parquet or CSV, of
documents text files too, or hub ids.

Guarantees: local files are streamed (a JSON list is the exception: the format allows no less); a
record that cannot be decoded is an Unusable, counted; a broken file is an error with its line.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tsqa.errors import DataError
from tsqa.hub.pins import PINS
from tsqa.plain_json import RepeatedKey
from tsqa.readers import hub, texts
from tsqa.readers.json_files import BadLine, BlankLine, read_lines, read_list
from tsqa.readers.passages import cut_passages
from tsqa.readers.tables import BadRow, parquet_columns, read_csv, read_parquet
from tsqa.recipe import DatasetSection, DocumentsSection, OwnSection
from tsqa.records.seed import Seed
from tsqa.remote import DataPath, RemotePath
from tsqa.seeds.columns import check_columns, read_record, record_id
from tsqa.seeds.document import Origin, Rejected, Unusable, make_passage, make_seed
from tsqa.seeds.leaks import looks_evaluated
from tsqa.seeds.taxonomy import Taxonomy
from tsqa.store.digests import DIGESTS
from tsqa.store.identity import files_below
from tsqa.tasks.identity import dataset_identity, revision_of, same_documents, split_parts
from tsqa.text.normalise import count_words

if TYPE_CHECKING:
    from datasets import Dataset

OwnKind = TypeVar("OwnKind", bound=OwnSection)
FORMATS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".parquet", ".csv")
_SPLIT_NAMES = ("train", "validation", "valid", "dev", "test", "eval")
TEXT = "text"
"""The field that a text file is read as."""
_PROBED = 100
"""Records whose keys, together, are the columns of a JSONL file."""


@dataclass(frozen=True)
class Files:
    """Files of one format, here or in a store."""

    paths: Sequence[DataPath]
    suffix: str

    @property
    def revision(self) -> str:
        return "+".join(DIGESTS.of(path)[:12] for path in self.paths[:8])

    def columns(self) -> list[str]:
        """List the columns of the first file; nested ones are not listed."""
        first = self.paths[0]
        if self.suffix == ".parquet":
            return parquet_columns(first)
        found: dict[str, None] = {}
        for record in itertools.islice(self.records(first), _PROBED):
            if isinstance(record, Mapping):
                found |= dict.fromkeys(record)
        return list(found)

    def __iter__(self) -> Iterator[object]:
        """Records in order; an Unusable stands for one that could not be decoded."""
        for path in self.paths:
            yield from self.records(path)

    def placed(self) -> Iterator[tuple[str, object]]:
        """Records with their places, such as `web.jsonl:17`: the line, else the record, from 1."""
        for path in self.paths:
            yield from ((f"{path.name}:{number}", one) for number, one in self._numbered(path))

    def records(self, path: DataPath) -> Iterator[object]:
        """Yield the records of one file."""
        return (record for _, record in self._numbered(path))

    def _numbered(self, path: DataPath) -> Iterator[tuple[int, object]]:
        match self.suffix:
            case ".parquet":
                yield from enumerate(read_parquet(path), 1)
            case ".csv":
                for number, row in enumerate(read_csv(path), 1):
                    if isinstance(row, BadRow):
                        yield number, Unusable(row.reason, row.detail)
                    else:
                        yield number, row
            case ".json":
                yield from enumerate(read_list(path), 1)
            case _ if self.suffix in texts.SUFFIXES:
                yield 1, {TEXT: texts.read_text_file(path)}
            case _:
                for number, value in read_lines(path):
                    if not isinstance(value, BlankLine):
                        yield number, _of_line(path, number, value)


class _OwnSource(Generic[OwnKind]):
    """What own datasets and own documents share."""

    def __init__(
        self,
        section: OwnKind,
        path: DataPath,
        taxonomy: Taxonomy,
        siblings: dict[tuple[str, ...], str],
    ) -> None:
        self.name = section.name
        self._section: OwnKind = section
        self._files = find_files(section, path)
        self._siblings = siblings
        self._taxonomy = taxonomy

    @property
    def capability(self) -> str:
        named = self._section.capability
        return named or self._taxonomy.capability(self.name, [], self._section.path)

    def leak(self) -> str | None:
        section = self._section
        if self._files is None:
            names = split_parts(section.split)
            identities = [dataset_identity(section.path, section.subset, part) for part in names]
        else:
            identities = [("file", str(path.resolve())) for path in self._files.paths]
            names = [path.stem for path in self._files.paths]
        for identity, known in same_documents(identities, self._siblings):
            return f"{identity[1]} ({section.split}) is evaluated by {self._siblings[known]}"
        test = next((name for name in names if looks_evaluated(name)), None)
        return f"{test} is a test set by its name" if test else None

    def columns(self) -> list[str]:
        section, files = self._section, self._files
        found = files.columns() if files is not None else load_hub(section).column_names
        if not found:
            first = next(iter(files or ()), None)
            why = f" that can be read: {first}" if isinstance(first, Unusable) else ""
            raise DataError(
                f"{section.place}: no document in {section.path}{why}",
                "correct the path, the split or the file",
            )
        return found

    def origin(self, records: object) -> Origin:
        """What all its documents share."""
        section = self._section
        info = getattr(records, "info", None)
        revision = self._files.revision if self._files else revision_of(info) or section.revision
        where = Path(section.path).name if self._files else section.path
        return Origin(
            task=self.name,
            family=self.name,
            capability=self.capability,
            subject="",
            language=section.language,
            dataset=":".join(filter(None, (where, section.subset))),
            revision=revision or "",
            split=section.split,
            licence=section.licence or str(getattr(info, "license", "") or ""),
        )


class DatasetSource(_OwnSource[DatasetSection]):
    """An own dataset with a column mapping."""

    def check(self) -> None:
        check_columns(self._section, self.columns())

    def documents(self) -> Iterator[Seed | Rejected]:
        section = self._section
        records: Any = self._files if self._files is not None else load_hub(section)
        origin = self.origin(records)
        seen: set[int] = set()
        for number, record in enumerate(records):
            identifier = f"{self.name}-{number}"
            try:
                if isinstance(record, Unusable):
                    raise record
                if not isinstance(record, dict):
                    raise Unusable("mixed types", f"a record is {type(record).__name__}")
                given = record_id(record, section.columns)
                if given is not None:
                    identifier = f"{self.name}-{given}"
                    # Hashes, not texts: a million ids stay small.
                    if hash(given) in seen:
                        identifier = f"{self.name}-{number}"
                        raise Unusable("duplicate id", given[:80])
                    seen.add(hash(given))
                yield make_seed(read_record(record, section, number), origin, identifier, number)
            except Unusable as error:
                yield Rejected(identifier, self.name, number, error.reason, error.detail)


class DocumentSource(_OwnSource[DocumentsSection]):
    """Own documents, cut into passages; the id of a seed names file, line and passage."""

    def check(self) -> None:
        section, columns = self._section, self.columns()
        if section.text_field not in columns:
            raise DataError(
                f"{section.place}: {section.path} has no field {section.text_field}",
                f"set text_field to one of {', '.join(sorted(columns))}",
            )

    def documents(self) -> Iterator[Seed | Rejected]:
        """One seed a passage, the first of those with the same words."""
        files = self._files
        records: Any = load_hub(self._section) if files is None else None
        origin = self.origin(records)
        numbered = ((str(number), row) for number, row in enumerate(records or [], 1))
        seen: set[str] = set()
        for number, (place, record) in enumerate(numbered if files is None else files.placed()):
            identifier = f"{self.name}-{place}"
            try:
                passages = self._passages(record)
            except Unusable as error:
                yield Rejected(identifier, self.name, number, error.reason, error.detail)
                continue
            for part, passage in enumerate(passages):
                yield self._seed(passage, origin, f"{identifier}.{part}", number, seen)

    def _passages(self, record: object) -> list[str]:
        if isinstance(record, Unusable):
            raise record
        text = record.get(self._section.text_field) if isinstance(record, dict) else None
        if not isinstance(text, str):
            raise Unusable("no text", f"{self._section.text_field} is {type(text).__name__}")
        plain = text.replace("\r\n", "\n").replace("\r", "\n")  # as text files are read
        passages = cut_passages(plain, self._section.max_words)
        if not passages:
            raise Unusable("no text", "it is empty")
        return passages

    def _seed(
        self, passage: str, origin: Origin, identifier: str, number: int, seen: set[str]
    ) -> Seed | Rejected:
        try:
            count = count_words(passage)
            if count < self._section.min_words:
                raise Unusable("short passage", f"{count} words: {passage[:80]}")
            if count > self._section.max_words:
                raise Unusable("no end of a sentence", f"for {count} words: {passage[:80]}")
            seed = make_passage(passage, self._section.kind, origin, identifier, number)
            if seed.content_hash in seen:
                raise Unusable("passage again", passage[:80])
        except Unusable as error:
            return Rejected(identifier, self.name, number, error.reason, error.detail)
        seen.add(seed.content_hash)
        return seed


def find_files(section: OwnSection, path: DataPath) -> Files | None:
    """Find the files of a dataset section; None when its path is a hub id.

    In a folder whose files are named after splits, only those of the section's split are taken.
    """
    key = f"{section.place}: path"
    path = (path.look() or path) if isinstance(path, RemotePath) else path
    if path.is_file():
        suffix = _suffix(path, section)
        if suffix is None:
            raise DataError(
                f"{key} = {path}: unknown format", f"use one of {', '.join(_formats(section))}"
            )
        return Files([path], suffix)
    if path.is_dir():
        return _files_of_folder(section, path, key)
    if isinstance(path, RemotePath):
        raise DataError(f"{key} = {path}: no such object, and none below it", "correct the path")
    if section.path.startswith((".", "/", "{")) or _suffix(path, section):
        raise DataError(f"{key} = {path}: no such file or folder", "correct the path")
    return None


def load_hub(section: OwnSection) -> Dataset:
    """Load the split of a hub dataset, memory-mapped."""
    return hub.load_hub(
        section.path,
        section.subset,
        section.split,
        PINS.commit("dataset", section.path, section.revision) or section.revision,
        streaming=False,
        key=f"{section.place}: ",
    )


def _of_line(path: DataPath, number: int, value: object) -> object:
    match value:
        case BadLine(error=UnicodeDecodeError() as error):
            return Unusable("broken unicode", f"line {number}: {error.reason}")
        case BadLine(error=RecursionError()):
            return Unusable("nested too deeply", f"line {number}")
        case BadLine(error=RepeatedKey() as error):
            return Unusable("repeated key", f"line {number}: {error}")
        case BadLine(error=error):
            raise DataError(
                f"{path}:{number}: not JSON: {error}",
                "correct the line; a file that is one JSON list is read as .json",
            ) from error
    return value


def _holds_more(section: OwnSection, path: DataPath, is_beside_data: bool) -> bool:
    """Whether a path is a folder of this machine, not hidden, with a file that could be read."""
    if not (isinstance(path, Path) and path.name[0] != "." and path.is_dir()):
        return False
    found = {_suffix(file, section) for file in files_below(path)} - {None}
    return bool(found.difference(texts.SUFFIXES) if is_beside_data else found)


def _files_of_folder(section: OwnSection, folder: DataPath, key: str) -> Files:
    found: Iterable[DataPath] = folder.iterdir()
    inside = sorted(found, key=attrgetter("name"))
    files = {path: s for path in inside if (s := _suffix(path, section))}
    links = (path for path in files if not path.exists() and path.name[0] != ".")
    broken = next(links, None)
    if broken is not None:
        raise DataError(
            f"{broken}: a link to nowhere",
            "fetch the file (git annex get, dvc pull), or delete the link",
        )
    files = {path: suffix for path, suffix in files.items() if path.is_file()}
    # As in a mixture: beside data, a text is about them.
    data = {path: suffix for path, suffix in files.items() if suffix not in texts.SUFFIXES}
    deeper = next((path for path in inside if _holds_more(section, path, bool(data))), None)
    if deeper is not None:
        raise DataError(
            f"{key} = {folder}: data in {deeper.name}, a folder in it, would not be read",
            f"give {deeper} as a source of its own, and move it elsewhere" if files else "give it",
        )
    if not files:
        raise DataError(
            f"{key} = {folder}: no data file", f"give files of {', '.join(_formats(section))}"
        )
    files = data or files
    suffixes = sorted(set(files.values()))
    if len(suffixes) > 1:
        raise DataError(
            f"{key} = {folder}: files of several formats: {', '.join(suffixes)}",
            "keep one format, or give one file",
        )
    splits = {path: name for path in files if (name := _split_in(path))}
    if splits:
        chosen = [path for path, name in splits.items() if name == section.split]
        if not chosen:
            raise DataError(
                f"{section.place}: {folder} has no file of the split {section.split}",
                f"there are: {', '.join(sorted(set(splits.values())))}",
            )
        unnamed = next((path for path in files if path not in splits), None)
        if unnamed is not None:
            raise DataError(
                f"{unnamed}: its name names no split, as {chosen[0].name} next to it does",
                "give it the name of its split, or give one file",
            )
        return Files(chosen, suffixes[0])
    return Files(list(files), suffixes[0])


def _split_in(path: DataPath) -> str | None:
    """The split that a file's name names, as `train.jsonl` or `train-00000-of-00002.parquet`."""
    parts = path.name.casefold().replace("-", ".").replace("_", ".").split(".")
    return next((part for part in parts if part in _SPLIT_NAMES), None)


def _formats(section: OwnSection) -> tuple[str, ...]:
    """A text file is one document, and no dataset."""
    return (*FORMATS, *texts.SUFFIXES) if isinstance(section, DocumentsSection) else FORMATS


def _suffix(path: DataPath, section: OwnSection) -> str | None:
    """The format by the name; all text files are of one."""
    name = path.name.casefold()
    suffix = next((suffix for suffix in _formats(section) if name.endswith(suffix)), None)
    return texts.SUFFIXES[0] if suffix in texts.SUFFIXES else suffix
