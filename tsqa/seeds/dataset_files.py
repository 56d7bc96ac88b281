"""Documents of an own dataset: a hub id, or local JSONL(.gz), JSON, parquet or CSV.

Promises: local files are streamed (a JSON array is the exception: the format allows no less); a
column that the mapping names and the data lacks is an error before any document is used; a broken
document is a reason, a broken file an error with its line.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from tsqa.errors import DataError
from tsqa.hub.pins import PINS
from tsqa.recipe import ColumnsSection, DatasetSection
from tsqa.seeds.choices import Options, find_key, options_of_columns, read_options
from tsqa.seeds.document import Reading, Unusable, read_target
from tsqa.seeds.prompt_fields import tidy
from tsqa.store.digests import DIGESTS

FORMATS = (".jsonl", ".jsonl.gz", ".json", ".parquet", ".csv")
_SPLIT_NAMES = ("train", "validation", "valid", "dev", "test", "eval")
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
"""The mark of UTF-32 little-endian begins as that of UTF-16."""
_PROBED = 100
"""Records whose keys, together, are the columns of a JSONL file."""
_BATCH = 1024


@dataclass(frozen=True)
class Files:
    """Local files of one format."""

    paths: list[Path]
    suffix: str

    @property
    def revision(self) -> str:
        return "+".join(DIGESTS.of(path)[:12] for path in self.paths[:8])

    def columns(self) -> list[str]:
        """The columns of the first file; nested ones are not listed."""
        first = self.paths[0]
        if self.suffix == ".parquet":
            import pyarrow
            import pyarrow.parquet

            try:
                return [str(name) for name in pyarrow.parquet.read_schema(first).names]
            except (pyarrow.ArrowException, OSError) as error:
                raise DataError(f"{first}: unreadable: {error}") from error
        found: dict[str, None] = {}
        for number, record in enumerate(self.records(first)):
            if number == _PROBED:
                break
            if isinstance(record, Mapping):
                found |= dict.fromkeys(record)
        return list(found)

    def __iter__(self) -> Iterator[Any]:
        """Records in order; an Unusable stands for one that could not be decoded."""
        for path in self.paths:
            yield from self.records(path)

    def records(self, path: Path) -> Iterator[Any]:
        match self.suffix:
            case ".parquet":
                yield from _read_parquet(path)
            case ".csv":
                yield from _read_csv(path)
            case ".json":
                yield from _read_json(path)
            case _:
                yield from _read_lines(path)


def find_files(section: DatasetSection, path: Path) -> Files | None:
    """The local files of a dataset section; None when its path is a hub id.

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


def load_hub(section: DatasetSection) -> Any:
    """The split of a hub dataset, memory-mapped."""
    import datasets

    datasets.disable_progress_bars()  # type: ignore[no-untyped-call, unused-ignore]
    try:
        return datasets.load_dataset(
            section.path,
            section.subset,
            split=section.split,
            revision=PINS.commit("dataset", section.path, section.revision) or section.revision,
        )
    except Exception as error:
        raise DataError(
            f"seeds.datasets: {section.name}: {section.path} cannot be loaded: "
            f"{type(error).__name__}: {error}",
            "check path, subset, split and revision, and the network",
        ) from error


def check_columns(section: DatasetSection, columns: list[str]) -> None:
    """Raise DataError naming the mapped columns that the data lacks, and those it has."""
    if not columns:
        raise DataError(
            f"seeds.datasets: {section.name}: no document in {section.path} ({section.split})",
            "correct path and split",
        )
    named = section.columns.model_dump(exclude_none=True)
    missing = [
        f"{field}: {name}"
        for field, names in named.items()
        for name in (names if isinstance(names, list) else [names])
        if name not in columns and name.split(".")[0] not in columns
    ]
    if missing:
        raise DataError(
            f"seeds.datasets: {section.name}: missing columns: {', '.join(missing)}",
            f"there are: {', '.join(columns)}",
        )
    if section.kind == "choice" and section.columns.choices is None:
        raise DataError(
            f"seeds.datasets: {section.name}: kind choice needs columns.choices",
            f"there are: {', '.join(columns)}",
        )


def read_record(record: Mapping[str, Any], section: DatasetSection, number: int) -> Reading:
    """Map a record's columns to a reading.

    Raises Unusable where this record cannot be read, DataError where its key has two readings.
    """
    columns = section.columns
    question = _text(record, columns.question, "question")
    answer = _value(record, columns.answer)
    optional = {
        field: _text(record, getattr(columns, field), field)
        for field in ("context", "explanation", "subject", "tests")
        if getattr(columns, field)
    }
    choices: list[str] = []
    index, working = None, ""
    if columns.choices is not None:
        options = _options(record, columns.choices)
        choices = options.texts
        if not choices:
            raise Unusable("empty choices")
        where = f"seeds.datasets: {section.name}: record {number}"
        index = find_key(answer, options, section.answer, where)
        text = choices[index]
    else:
        text = _answer_text(answer)
        if section.kind not in ("code", "long_text"):
            text, working = read_target(text)
    return Reading(
        question=tidy(question),
        context=tidy(optional.get("context", "")),
        choices=choices,
        index=index,
        answer=text.strip(),
        explanation=tidy(optional.get("explanation", "")) or working,
        tests=optional.get("tests", ""),
        subject=optional.get("subject", ""),
        kind=section.kind,
    )


def record_id(record: Mapping[str, Any], columns: ColumnsSection) -> str | None:
    """The document's own id, where a column is mapped to it."""
    if columns.id is None:
        return None
    value = _value(record, columns.id)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise Unusable("no id", f"{columns.id} is {value!r:.60}")
    return str(value).strip()


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


def _read_lines(path: Path) -> Iterator[Any]:
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    with cast(IO[bytes], opener(path, "rb")) as handle:
        try:
            for number, raw in enumerate(handle, 1):
                if not raw.strip():
                    continue
                try:
                    yield json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
                except UnicodeDecodeError as error:
                    _refuse_wide(path, raw)
                    yield Unusable("broken unicode", f"line {number}: {error.reason}")
                except RecursionError:
                    yield Unusable("nested too deeply", f"line {number}")
                except ValueError as error:
                    raise DataError(
                        f"{path}:{number}: not JSON: {error}",
                        "correct the line; a file that is one JSON list is read as .json",
                    ) from error
        except (EOFError, OSError) as error:
            raise DataError(f"{path}:{number + 1}: unreadable: {error}") from error


def _read_json(path: Path) -> Iterator[Any]:
    raw = path.read_bytes()
    _refuse_wide(path, raw)
    try:
        found = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: not JSON: {error}", "for one object a line, use .jsonl"
        ) from error
    if not isinstance(found, list):
        raise DataError(f"{path}: expected a list of objects, found {type(found).__name__}")
    yield from found


def _refuse_wide(path: Path, start: bytes) -> None:
    if start.startswith(_WIDE_MARKS):
        raise DataError(f"{path}: UTF-16 or UTF-32, not UTF-8", "save the file as UTF-8")


def _read_parquet(path: Path) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: unreadable: {error}") from error


def _read_csv(path: Path) -> Iterator[Any]:
    csv.field_size_limit(1 << 30)
    with path.open("rb") as raw:
        _refuse_wide(path, raw.read(4))
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as handle:
        try:
            for row in csv.DictReader(handle):
                if None in row:
                    yield Unusable("more fields than columns", f"{row[None]!r:.60}")
                else:
                    yield row
        except csv.Error as error:
            raise DataError(f"{path}: not CSV: {error}") from error


def _value(record: Mapping[str, Any], name: str) -> Any:
    """A column's value; a dotted name reaches into records, and into each record of a list."""
    if name in record:
        return record[name]
    value: Any = record
    for part in name.split("."):
        if isinstance(value, list):
            value = [_member(one, part, name) for one in value]
        else:
            value = _member(value, part, name)
    return value


def _member(value: Any, part: str, name: str) -> Any:
    if not isinstance(value, Mapping) or part not in value:
        raise Unusable("missing column", name)
    return value[part]


def _text(record: Mapping[str, Any], name: str, what: str) -> str:
    value = _value(record, name)
    if value is None or value != value:  # NaN: tables write it for no value
        return ""
    if not isinstance(value, str):
        raise Unusable("mixed types", f"the {what} is {type(value).__name__}, not text")
    return value


def _options(record: Mapping[str, Any], names: str | list[str]) -> Options:
    if isinstance(names, str):
        return read_options(_value(record, names))
    return options_of_columns([_value(record, name) for name in names], names)


def _answer_text(value: Any) -> str:
    if isinstance(value, list):
        value = next((one for one in value if one is not None), None)
    if value is None or value != value:  # NaN: no value
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (str, int, float)):
        return str(value)
    raise Unusable("mixed types", f"the answer is {type(value).__name__}, not text")
