"""Which data a task names: its scored split, its local files, and what makes two splits the same.

Guarantees: only the configuration is read, or the names of files; no data set is loaded.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from tsqa.readers.tables import parquet_metadata
from tsqa.recipe import is_hub_id
from tsqa.remote import DataPath, data_path

FILE_BUILDERS = ("json", "csv", "parquet", "text", "arrow")
"""`dataset_path`s that are not a dataset but a format of `data_files`."""
ALL = "all"
"""The split that is every split of a dataset."""


def evaluated_split(config: Mapping[str, object]) -> str | None:
    """The split lm-eval scores: test where there is one, else validation."""
    split = config.get("test_split") or config.get("validation_split")
    return str(split) if split else None


def data_files(config: Mapping[str, object]) -> dict[str, list[DataPath]]:
    """Split -> its files, here or in a bucket, for tasks over files (`dataset_path: json`).

    In every form: one name, a list, a pattern, or any of these for each split.
    """
    given = config.get("dataset_kwargs")
    options = given if isinstance(given, Mapping) else {}
    files = options.get("data_files") or {}
    if not isinstance(files, Mapping):
        files = {"train": files}
    folder = options.get("data_dir")
    bases = named_files(str(folder), [Path()]) if folder else [Path()]
    found: dict[str, list[DataPath]] = {}
    for split, names in files.items():
        listed = names if isinstance(names, (list, tuple)) else [names]
        found[str(split)] = [
            file
            for name in listed
            for file in (_named(name, bases) if isinstance(name, str) else ())
        ]
    return found


def in_bucket(name: str) -> bool:
    """Whether a name is the address of an object that `datasets` cannot read by itself."""
    return name.startswith(("s3://", "gs://"))


def _named(name: str, bases: Iterable[Path]) -> Sequence[DataPath]:
    return [data_path(name)] if in_bucket(name) else named_files(name, bases) or [Path(name)]


def split_parts(split: str) -> list[str]:
    """The names in a split as `datasets` reads it: train and test of `train[:10%]+test`."""
    return [part.split("[")[0].strip() for part in split.split("+")]


def split_files(config: Mapping[str, object], split: str | None) -> list[DataPath]:
    """The files of a split; those of `train` for `train[:10%]`, all for `all`."""
    files = data_files(config)
    parts = files if split == ALL else split_parts(str(split))
    return [file for part in parts for file in files.get(part, [])]


def is_local(config: Mapping[str, object], split: str) -> bool:
    """Whether a split is read from files or a folder of this machine."""
    folder = Path(str(config.get("dataset_path")))
    return bool(split_files(config, split)) or folder.is_dir()


def is_on_hub(path: str) -> bool:
    """Whether `datasets` would take a `dataset_path` for a dataset of the hub."""
    return is_hub_id(path) and not is_builder(path) and not Path(path).exists()


def is_builder(path: str) -> bool:
    """Whether `datasets` has a builder of this name, such as `json`; with a slash none has."""
    if "/" in path:
        return False
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES  # seconds

    return path in _PACKAGED_DATASETS_MODULES


def count_documents(config: Mapping[str, object], split: str | None) -> int | None:
    """Documents of a split's local files, JSONL or parquet; None where they cannot be counted."""
    counts = [_count_rows(file) for file in split_files(config, split)]
    whole = [count for count in counts if count is not None]
    return sum(whole) if counts and len(whole) == len(counts) else None


def _count_rows(file: DataPath) -> int | None:
    if not file.is_file():
        return None
    if file.suffix == ".parquet":
        return int(parquet_metadata(file).num_rows)
    if file.suffix != ".jsonl":
        return None
    with file.open("rb") as handle:
        return sum(1 for line in handle if line.strip())


def named_files(name: str, bases: Iterable[Path]) -> list[Path]:
    """What a name or a pattern stands for on this machine: files, or one folder; [] for none.

    A pattern means what it means to `datasets`.
    """
    local = name.rpartition("::")[2].removeprefix("file://")
    if not local or "://" in local or "\0" in local:
        return []
    found: dict[Path, None] = {}
    for base in bases:
        try:
            path = base / Path(local).expanduser()
            if path.exists():
                found[path] = None
            elif any(sign in local for sign in "*?["):
                found |= dict.fromkeys(_matched(local, base))
        except (OSError, RuntimeError):  # a name that is too long, an unknown user
            continue
    return list(found)


def _matched(pattern: str, base: Path) -> list[Path]:
    if not _may_match(pattern, base):
        return []
    from datasets.data_files import resolve_pattern

    try:
        whole = str(Path(glob.escape(str(base.resolve()))) / pattern)
        return [Path(file) for file in resolve_pattern(whole, "/")]
    except (OSError, ValueError):
        return []


def _may_match(pattern: str, base: Path) -> bool:
    """Whether anything can match the first part with a sign, before `datasets` is imported for it.

    Texts of a task's code hold asterisks.
    """
    parts = Path(pattern).parts
    number = next(n for n, part in enumerate(parts) if any(sign in part for sign in "*?["))
    part, bracket, _ = parts[number].partition("[")
    rough = f"{part}*" if bracket else part
    beside = base.joinpath(*parts[:number]).iterdir()
    return "**" in part or any(fnmatchcase(file.name, rough) for file in beside)


def split_identity(config: Mapping[str, object], split: str) -> tuple[str, ...]:
    """What makes two splits the same documents: the files, or the dataset, its subset and split.

    A dataset of the hub is known by the last part of its id: `gsm8k` and `openai/gsm8k` are one.
    """
    path = str(config.get("dataset_path"))
    if path in FILE_BUILDERS:
        files = split_files(config, split)
        if files:
            return ("file", *sorted(str(file.resolve()) for file in files))
        given = json.dumps(config.get("dataset_kwargs"), default=str)
        return ("file", given, _whole(split))
    if config.get("custom_dataset"):
        return ("custom", str(config["custom_dataset"]), str(config.get("dataset_kwargs")), split)
    if Path(path).is_dir():
        subset = config.get("dataset_name") or "default"
        return ("folder", str(Path(path).resolve()), str(subset), _whole(split))
    subset = config.get("dataset_name")
    return dataset_identity(path, None if subset is None else str(subset), split)


def dataset_identity(path: str, subset: str | None, split: str) -> tuple[str, ...]:
    """The identity of a hub dataset's split; `train[:10%]` is part of `train`, so the same."""
    return ("dataset", path.rsplit("/", 1)[-1].casefold(), subset or "default", _whole(split))


def _whole(split: str) -> str:
    return "+".join(sorted(set(split_parts(split))))


def split_identities(config: Mapping[str, object], split: str) -> list[tuple[str, ...]]:
    """The identities of all that a split holds: each file, and each part of `train+test`."""
    kind, *files = split_identity(config, split)
    if kind == "file" and split_files(config, split):
        return [("file", file) for file in files]
    return [split_identity(config, part) for part in split_parts(split)]


def same_documents(
    split: Iterable[tuple[str, ...]], known: Collection[tuple[str, ...]]
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Each identity of a split with each known one that holds documents of it.

    The split `all` of a dataset holds those of its other splits.
    """
    for one in split:
        if one in known:
            yield one, one
        elif one[0] in ("dataset", "folder") and one[-1] == ALL:
            yield from ((one, other) for other in known if other[:-1] == one[:-1])
        elif one[0] in ("dataset", "folder") and (whole := (*one[:-1], ALL)) in known:
            yield one, whole


def revision_of(info: object) -> str:
    """The commit a hub dataset came from, read off its file names; empty when not on the hub."""
    for url in getattr(info, "download_checksums", None) or {}:
        _, at, rest = str(url).partition("@")
        if at and str(url).startswith("hf://"):
            return rest.split("/", 1)[0]
    return ""
