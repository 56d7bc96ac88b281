"""The files of an own dataset: local JSONL(.gz), JSON, parquet or CSV, or a hub id.

Guarantees: local files are streamed (a JSON list is the exception: the format allows no less); a
record that cannot be decoded is an Unusable, counted; a broken file is an error with its line.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tsqa.errors import DataError
from tsqa.hub.pins import PINS
from tsqa.readers import hub
from tsqa.readers.json_files import BadLine, BlankLine, read_lines, read_list
from tsqa.readers.tables import BadRow, parquet_columns, read_csv, read_parquet
from tsqa.recipe import DatasetSection
from tsqa.seeds.document import Unusable
from tsqa.store.identity import file_identity

if TYPE_CHECKING:
    from datasets import Dataset

FORMATS = (".jsonl", ".jsonl.gz", ".json", ".parquet", ".csv")
_SPLIT_NAMES = ("train", "validation", "valid", "dev", "test", "eval")
_PROBED = 100
"""Records whose keys, together, are the columns of a JSONL file."""


@dataclass(frozen=True)
class Files:
    """Local files of one format."""

    paths: list[Path]
    suffix: str

    @property
    def revision(self) -> str:
        return "+".join(file_identity(path)["blake3"][:12] for path in self.paths[:8])

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

    def records(self, path: Path) -> Iterator[object]:
        """Yield the records of one file."""
        match self.suffix:
            case ".parquet":
                yield from read_parquet(path)
            case ".csv":
                for row in read_csv(path):
                    yield Unusable(row.reason, row.detail) if isinstance(row, BadRow) else row
            case ".json":
                yield from read_list(path)
            case _:
                for number, value in read_lines(path):
                    if not isinstance(value, BlankLine):
                        yield _of_line(path, number, value)


def find_files(section: DatasetSection, path: Path) -> Files | None:
    """Find the local files of a dataset section; None when its path is a hub id.

    In a folder whose files are named after splits, only those of the section's split are taken.
    """
    key = f"seeds.datasets: {section.name}: path"
    if path.is_file():
        suffix = _suffix(path)
        if suffix is None:
            raise DataError(f"{key} = {path}: unknown format", f"use one of {', '.join(FORMATS)}")
        return Files([path], suffix)
    if path.is_dir():
        return _files_of_folder(section, path, key)
    if section.path.startswith((".", "/", "{")) or _suffix(path):
        raise DataError(f"{key} = {path}: no such file or folder", "correct the path")
    return None


def load_hub(section: DatasetSection) -> Dataset:
    """Load the split of a hub dataset, memory-mapped."""
    return hub.load_hub(
        section.path,
        section.subset,
        section.split,
        PINS.commit("dataset", section.path, section.revision) or section.revision,
        streaming=False,
        key=f"seeds.datasets: {section.name}: ",
    )


def _of_line(path: Path, number: int, value: object) -> object:
    match value:
        case BadLine(error=UnicodeDecodeError() as error):
            return Unusable("broken unicode", f"line {number}: {error.reason}")
        case BadLine(error=RecursionError()):
            return Unusable("nested too deeply", f"line {number}")
        case BadLine(error=error):
            raise DataError(
                f"{path}:{number}: not JSON: {error}",
                "correct the line; a file that is one JSON list is read as .json",
            ) from error
    return value


def _files_of_folder(section: DatasetSection, folder: Path, key: str) -> Files:
    files = {
        path: s for path in sorted(folder.iterdir()) if path.is_file() and (s := _suffix(path))
    }
    if not files:
        raise DataError(f"{key} = {folder}: no data file", f"give files of {', '.join(FORMATS)}")
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
                f"seeds.datasets: {section.name}: {folder} has no file of the split "
                f"{section.split}",
                f"there are: {', '.join(sorted(set(splits.values())))}",
            )
        return Files(chosen, suffixes[0])
    return Files(list(files), suffixes[0])


def _split_in(path: Path) -> str | None:
    """The split that a file's name names, as `train.jsonl` or `train-00000-of-00002.parquet`."""
    parts = path.name.casefold().replace("-", ".").replace("_", ".").split(".")
    return next((part for part in parts if part in _SPLIT_NAMES), None)


def _suffix(path: Path) -> str | None:
    name = path.name.casefold()
    return next((suffix for suffix in FORMATS if name.endswith(suffix)), None)
