"""Readers of the files that tsqa itself writes, such as `results.json` and `deltas.json`.

Guarantees: what is returned has the shape that its users rely on; a damaged file is an error that
names it, what is wrong in it, and the stage to run again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from tsqa.errors import DataError
from tsqa.plain_json import parse_json

T = TypeVar("T")
Stages = dict[str, str]
"""`stages.json` of a run: label -> fingerprint."""


def read_own(path: Path, shape: type[T]) -> T:
    """The JSON of a file, which is of this shape; DataError otherwise. Nothing is converted.

    A dataclass is filled; keys that it does not name are passed over.
    """
    try:
        text = path.read_text(encoding="utf-8")
        value = parse_json(text)
        adapter: TypeAdapter[T] = _adapter(cast(Any, shape))
        if is_dataclass(shape):  # strict validation makes one from JSON only
            return adapter.validate_json(text, strict=True)
        adapter.validate_python(value, strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(map(str, problem["loc"]))
        raise damaged(path, f"{key}: {problem['msg']}" if key else problem["msg"]) from error
    except OSError as error:
        raise damaged(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"not JSON: {error}") from error
    return cast(T, value)


def read_own_lines(
    path: Path, shape: type[T], fix: str, extra: Literal["ignore", "forbid"] = "ignore"
) -> Iterator[T]:
    """The lines of a JSONL file as dataclasses; DataError, with the fix, where one is none.

    `extra`: what becomes of keys that the dataclass does not name.
    """
    adapter: TypeAdapter[T] = _adapter(cast(Any, shape))
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    one = adapter.validate_json(line, strict=True, extra=extra)
                except ValidationError as error:
                    raise DataError(f"{path}: line {number}: {error}", fix) from error
                yield one
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", fix) from error


def damaged(path: Path, reason: str, folder: Path | None = None) -> DataError:
    """The error for a file of ours that changed since it was written; `folder` is its artifact."""
    folder = folder or _artifact_of(path)
    if folder is None:
        return DataError(f"{path}: {reason}", "delete it and run the recipe again")
    if folder.suffix == ".partial":
        fix = f"delete {folder}; the stage `{folder.parent.name}` then starts afresh"
    else:
        fix = (
            f"delete {folder} and run its stage `{folder.parent.name}` again: it will be rebuilt; "
            "`tsqa verify` says what else is damaged"
        )
    return DataError(f"{path}: {reason}", fix)


def _artifact_of(path: Path) -> Path | None:
    """The folder `<store>/<stage>/<fingerprint>` that a file is in."""
    parts = path.parts
    if "artifacts" not in parts:
        return None
    store = len(parts) - 1 - parts[::-1].index("artifacts")
    return Path(*parts[: store + 3]) if len(parts) > store + 3 else None


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)
