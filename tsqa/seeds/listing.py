"""`tsqa seeds list`: which tasks can give seeds, by their configurations alone.

Guarantees: every task with a training split and every Python-class task is listed once, usable or
with the reason why not; no data set is downloaded: sizes are those of local files, those
recorded in tasks/sizes.yaml, else unknown.
The rows of lm-eval's own tasks are kept for this user until its tasks or this code change.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tsqa
from tsqa.errors import UsageError
from tsqa.printable import printable
from tsqa.tasks.index import state_of_own_tasks
from tsqa.tasks.sizes import recorded_sizes
from tsqa.user_cache import keep, recall, state_of_files

if TYPE_CHECKING:
    from tsqa.seeds.taxonomy import Taxonomy
    from tsqa.tasks.library import TaskLibrary

_KEPT = "seeds-list"


@dataclass(frozen=True)
class TaskRow:
    """One task as a source of seeds."""

    task: str
    family: str
    group: str
    """`knowledge-intensive` or `reasoning-intensive`."""
    capability: str
    language: str
    kind: str
    """`choice`, `boolean`, or `open`: inferred from each document."""
    training_split: str
    training_documents: int | None
    """None: unknown without its data."""
    evaluated_split: str
    evaluated_documents: int | None
    excluded: str
    """Why no seed can come of it; empty when it is usable."""


def list_tasks(
    include: Path | None = None,
    family: str | None = None,
    capability: str | None = None,
) -> list[TaskRow]:
    """List every task with a training split, by family and name; `capability` may be a group."""
    rows = _make_rows(include) if include else _own_rows()
    for key, wanted, names in (
        ("family", family, {row.family for row in rows}),
        ("capability", capability, {name for row in rows for name in (row.capability, row.group)}),
    ):
        if wanted is not None and wanted not in names:
            near = difflib.get_close_matches(wanted, sorted(names), 5, cutoff=0.4)
            shown = ", ".join(near or sorted(names)[:20])
            raise UsageError(
                f"no task with a training split has the {key} {wanted!r}", f"such as {shown}"
            )
    return sorted(
        (
            row
            for row in rows
            if family in (None, row.family) and capability in (None, row.capability, row.group)
        ),
        key=lambda row: (row.family, row.task),
    )


def print_tasks(rows: list[TaskRow], as_json: bool = False) -> None:
    """Print a table and the totals, or one JSON object a line, to stdout."""
    if as_json:
        for row in rows:
            print(json.dumps(asdict(row)))  # ASCII: a terminal obeys nothing in it
        return
    table = [("task", "capability", "kind", "train", "evaluated", "excluded")]
    for row in rows:
        training = _split(row.training_split, row.training_documents)
        evaluated = _split(row.evaluated_split, row.evaluated_documents)
        table.append((row.task, row.capability, row.kind, training, evaluated, row.excluded))
    widths = [max(map(len, column)) for column in list(zip(*table, strict=True))[:-1]]
    for *cells, excluded in table:  # not drawn by rich, which takes a second for 600 rows
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        print(printable("  ".join([*padded, excluded]).rstrip()))
    print(f"sizes: of local files, or as recorded on {recorded_sizes().recorded}; ? unknown")
    usable = Counter(row.capability for row in rows if not row.excluded)
    print(
        f"{len(rows):,} tasks, {sum(usable.values()):,} usable: "
        + ", ".join(f"{name} {count}" for name, count in usable.most_common())
    )


def _own_rows() -> list[TaskRow]:
    """Those of lm-eval's own tasks, whose classes take seconds to import."""
    key = f"{state_of_own_tasks()} {state_of_files(Path(tsqa.__file__).parent)}"
    kept = recall(_KEPT, key)
    if kept is not None:
        return [TaskRow(**row) for row in json.loads(kept)]
    rows = _make_rows(None)
    if not any("cannot be imported" in row.excluded for row in rows):  # until it is installed
        keep(_KEPT, key, json.dumps([asdict(row) for row in rows]))
    return rows


def _make_rows(include: Path | None) -> list[TaskRow]:
    from tsqa.seeds.taxonomy import load_taxonomy
    from tsqa.tasks.library import task_library

    library, taxonomy = task_library(include), load_taxonomy()
    return [
        _row(name, library, taxonomy, include)
        for name in library.leaf_tasks()
        if _is_candidate(library.config(name))
    ]


def _is_candidate(config: Mapping[str, object]) -> bool:
    return bool(config.get("training_split")) or "class" in config


def _row(name: str, library: TaskLibrary, taxonomy: Taxonomy, include: Path | None) -> TaskRow:
    from tsqa.seeds.leaks import evaluated_identities, find_leak, find_obstacle
    from tsqa.tasks.identity import evaluated_split
    from tsqa.tasks.sizes import known_documents

    config = library.config(name)
    family, tags = library.family(name), library.tags(name)
    training, evaluated = config.get("training_split"), evaluated_split(config)
    capability = taxonomy.capability(name, tags, family)
    excluded = find_obstacle(name, library)
    if excluded is None:
        excluded = find_leak(name, library, evaluated_identities(include))
    return TaskRow(
        task=name,
        family=family,
        group=taxonomy.group_of(capability),
        capability=capability,
        language=taxonomy.language(name, tags, family),
        kind=_kind(config),
        training_split=str(training or ""),
        training_documents=known_documents(config, training),
        evaluated_split=evaluated or "",
        evaluated_documents=known_documents(config, evaluated),
        excluded=excluded or "",
    )


def _kind(config: Mapping[str, object]) -> str:
    from tsqa.seeds.document import BOOLEAN_PAIRS

    if config.get("output_type") != "multiple_choice":
        return "open"
    choices = config.get("doc_to_choice")
    is_pair = isinstance(choices, list) and {str(c).casefold() for c in choices} in BOOLEAN_PAIRS
    return "boolean" if is_pair else "choice"


def _split(name: str, documents: int | None) -> str:
    if not name:
        return "-"
    return f"{name} ({'?' if documents is None else f'{documents:,}'})"
