"""The sample as a file for other tools, and decisions back from it: CSV, Argilla, Label Studio.

Guarantees: a file is taken whole or not at all; an unknown item, an item whose text was changed in
the file, a new text without the choice `edit`, and two answers of one person are refused by name;
what is read twice counts once; a decision never replaces a later one of its reviewer, and one whose
time the file does not say replaces none.

CSV is as spreadsheets have it: written with a mark of UTF-8, without which Excel takes it for
another; read with commas, semicolons or tabs, and with empty cells at the end of a line left out.

Argilla (version 2): the list of records that `dataset.records.from_json` knows; back come answers
with their status, which `to_json` leaves out, so that drafts would count.
Label Studio: its JSON format of tasks and annotations.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from tsqa.errors import DataError
from tsqa.review.decisions import (
    TIME,
    Log,
    ReviewDecision,
    check_known,
    make_decision,
    read_history,
)
from tsqa.review.items import EDITABLE, ReviewItem
from tsqa.review.sample import read_sample
from tsqa.store.atomic import write_text
from tsqa.store.jsonl import write_json

Format = Literal["csv", "argilla", "label-studio"]
FORMATS: tuple[Format, ...] = get_args(Format)
_NAMED = ("task", "capability", "kind")
_TEXTS = ("passage", *EDITABLE, "tests")
_NEW = "new_"
"""Before the name of a field: its text after an edit."""
_NEEDED = frozenset({"id", "hash", "reviewer", "choice"})
_DELIMITERS = (",", ";", "\t")
_LONGEST_CELL = 1 << 30
_CLOCKS_DIFFER = timedelta(days=1)
_FIRST_YEAR = 2000
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""What a spreadsheet runs; such a cell gets an apostrophe before it."""


@dataclass(frozen=True, kw_only=True)
class DecisionRow:
    """A decision as a file states it."""

    id: str
    hash: str
    texts: Mapping[str, str]
    reviewer: str
    choice: str
    reason: str = ""
    edits: Mapping[str, str] = field(default_factory=dict)
    when: str = ""
    """As the file says it; empty where it does not."""


@dataclass(frozen=True)
class Imported:
    """How many decisions of a file were taken."""

    new: int
    older: int
    """Left out, as their reviewers have decided otherwise since."""

    def __str__(self) -> str:
        left_out = f"; {self.older:,} left out, decided otherwise since" if self.older else ""
        return f"{self.new:,} new decisions{left_out}"


def write(folder: Path, path: Path, format: str) -> int:
    """Write the items of a sample, without decisions; return how many."""
    items = read_sample(folder)[1]
    if _known(format) == "csv":
        write_text(path, "\ufeff" + _as_csv(items))
    elif format == "argilla":
        write_json(path, [_as_argilla(item) for item in items])
    else:
        write_json(path, [{"data": _columns(item)} for item in items])
    return len(items)


def read(folder: Path, path: Path, format: str) -> Imported:
    """Add the decisions of a file. DataError where one cannot be taken."""
    items = {item.id: item for item in read_sample(folder)[1]}
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = [*_READERS[_known(format)](text)]
    except (OSError, UnicodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except (ValidationError, csv.Error) as error:
        raise DataError(f"{path}: not of the format {format}: {error}") from error
    decided = [(row, _take(path, items, row)) for row in rows if _is_decided(path, row)]
    decisions, history = _one_of_each(path, decided), read_history(folder)
    before = {reviewer for _, _, reviewer in history}
    names = {decision.reviewer for _, decision in decisions}
    for name in sorted(names - before):
        check_known(name, before | names - {name})
    new, older = [], 0
    for row, decision in decisions:
        known = history.get((decision.item, decision.hash, decision.reviewer), [])
        if known and _said(known[-1]) == _said(decision):
            continue
        if _is_older(path, row, decision, known):
            older += 1
        else:
            new.append(decision)
    log = Log(folder)
    for decision in new:
        log.add(decision)
    return Imported(len(new), older)


def _is_older(
    path: Path, row: DecisionRow, decision: ReviewDecision, known: Sequence[ReviewDecision]
) -> bool:
    """Whether its reviewer decided otherwise later; DataError where nobody can tell."""
    if not known or row.when:
        return bool(known) and decision.when < known[-1].when
    if any(_said(each) == _said(decision) for each in known):
        return True  # it was read, or made on the page, before the last one
    last = known[-1]
    raise DataError(
        f"{path}: {decision.item}: {decision.reviewer} says {decision.choice} without a time, and "
        f"{last.choice} at {last.when}: which is later?",
        "put the time into the column when (CSV), such as 2026-01-31T12:00:00Z, or leave the "
        "decision out of the file",
    )


def _is_decided(path: Path, row: DecisionRow) -> bool:
    """Whether a row decides anything; DataError where what it says would be lost."""
    new = ", ".join(f"{_NEW}{name}" for name in row.edits)
    if new and row.choice != "edit":
        raise DataError(
            f"{path}: {row.id}: {new}, but the choice is {row.choice or 'empty'}",
            "choose edit, or empty the new text",
        )
    if row.reason.strip() and not row.choice:
        raise DataError(f"{path}: {row.id}: a reason, but no choice", "such as reject")
    return bool(row.choice)


def _one_of_each(
    path: Path, decided: Iterable[tuple[DecisionRow, ReviewDecision]]
) -> list[tuple[DecisionRow, ReviewDecision]]:
    """One decision of each person on an item: of several the last by the times of their rows."""
    found: dict[tuple[str, str], tuple[DecisionRow, ReviewDecision]] = {}
    for row, decision in decided:
        key = decision.item, decision.reviewer
        first, before = found.setdefault(key, (row, decision))
        is_known = bool(row.when and first.when) and decision.when != before.when
        if not is_known and _said(before) != _said(decision):
            raise DataError(
                f"{path}: {decision.item}: {decision.reviewer} decides twice, and not alike",
                "leave one of the rows",
            )
        if is_known and before.when < decision.when:
            found[key] = row, decision
    return [*found.values()]


def _said(decision: ReviewDecision) -> tuple[object, ...]:
    return decision.choice, decision.reason, sorted(decision.edits.items())


def _known(format: str) -> Format:
    for name in FORMATS:
        if name == format:
            return name
    raise DataError(f"--format {format}: unknown", f"one of {', '.join(FORMATS)}")


def _take(path: Path, items: Mapping[str, ReviewItem], row: DecisionRow) -> ReviewDecision:
    item = items.get(row.id)
    if item is None:
        raise DataError(f"{path}: {row.id!r}: no item of the sample", "export the sample again")
    if item.hash != row.hash:
        raise DataError(f"{path}: {row.id}: of another text (hash)", "export the sample again")
    own = _columns(item)
    for name, value in row.texts.items():
        if _plain(value) != _plain(own[name]):
            fix = f"put a new text into {_NEW}{name}, and " if name in EDITABLE else ""
            fix += f"restore the column {name}, or delete it: the hash tells the text"
            raise DataError(f"{path}: {row.id}: the text of {name} was changed", fix)
    try:
        when = _read_time(row.when) if row.when else ""
        return make_decision(item, row.reviewer, row.choice, row.reason, row.edits, when)
    except DataError as error:
        raise DataError(f"{path}: {row.id}: {error}") from error


def _plain(text: str) -> str:
    """As tools leave it: their ends of lines differ."""
    return "\n".join(text.splitlines()).strip()


def _columns(item: ReviewItem) -> dict[str, str]:
    votes = "\n".join(f"{vote.by}: {vote.answer or 'none'}" for vote in item.votes)
    named = {"id": item.id, "hash": item.hash} | {name: getattr(item, name) for name in _NAMED}
    texts = {name: item.value(name) for name in _TEXTS}
    return named | texts | {"votes": votes}


def _as_csv(items: Iterable[ReviewItem]) -> str:
    rows = [_columns(item) for item in items]
    out = io.StringIO()
    said = ("reviewer", "choice", "reason", "when")
    columns = [*rows[0], *said, *(_NEW + name for name in EDITABLE)]
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _guarded(value) for name, value in row.items()})
    return out.getvalue()


def _guarded(value: str) -> str:
    return f"'{value}" if _FORMULA.match(value) else value


def _unguarded(value: str) -> str:
    return value[1:] if value.startswith("'") and _FORMULA.match(value) else value


def _read_csv(text: str) -> Iterator[DecisionRow]:
    before = csv.field_size_limit(_LONGEST_CELL)  # a passage may be longer than the usual limit
    try:
        lines = io.StringIO(text, newline="")
        rows = csv.DictReader(lines, delimiter=_delimiter(text), strict=True)
        names = Counter(rows.fieldnames or ())
        if missing := _NEEDED - names.keys():
            raise csv.Error(f"lacks the columns {', '.join(sorted(missing))}")
        if twice := [name for name, times in names.items() if name and times > 1]:
            raise csv.Error(f"has the columns twice: {', '.join(twice)}")
        for row in rows:
            if None in row:
                raise csv.Error(f"line {rows.line_num}: more cells than the header")
            if None in row.values() and not text.endswith(("\n", "\r")):
                raise csv.Error(f"line {rows.line_num}: the file ends early")
            cells = {name: _unguarded(value or "") for name, value in row.items()}
            reviewer, choice = cells["reviewer"].strip(), cells["choice"].strip().lower()
            yield _row(cells, reviewer, choice, cells, cells.get("when", "").strip())
    finally:
        csv.field_size_limit(before)


def _delimiter(text: str) -> str:
    """Semicolons where a decimal comma is the custom; tabs, of cells that were copied."""
    for delimiter in _DELIMITERS:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        if {*header} >= _NEEDED:
            return delimiter
    return _DELIMITERS[0]


def _row(
    named: Mapping[str, str],
    reviewer: str,
    choice: str,
    said: Mapping[str, str],
    when: str = "",
) -> DecisionRow:
    """`named`: id, hash and texts; `said`: the reason, and the new texts."""
    new = {name: said.get(_NEW + name, "") for name in EDITABLE}
    return DecisionRow(
        id=named.get("id", ""),
        hash=named.get("hash", ""),
        texts={name: named[name] for name in _TEXTS if name in named},
        reviewer=reviewer,
        choice=choice,
        reason=said.get("reason", ""),
        edits={name: text for name, text in new.items() if text.strip()},
        when=when,
    )


class _Loose(BaseModel):
    """Other tools add keys of their own."""

    model_config = ConfigDict(extra="ignore")


class _ArgillaAnswer(_Loose):
    value: str | None = None
    user_id: str
    status: Literal["draft", "submitted", "discarded"] | None = None


class _ArgillaRecord(_Loose):
    id: str
    fields: dict[str, str | None]
    metadata: dict[str, Any]
    responses: dict[str, list[_ArgillaAnswer]] = {}


class _StudioRegion(_Loose):
    from_name: str
    value: dict[str, Any]


class _StudioAnnotation(_Loose):
    completed_by: int | str | dict[str, Any] | None = None
    result: list[_StudioRegion] = []
    was_cancelled: bool = False
    created_at: str | None = None
    updated_at: str | None = None


class _StudioTask(_Loose):
    data: dict[str, Any]
    annotations: list[_StudioAnnotation] = []


_ARGILLA: TypeAdapter[list[_ArgillaRecord]] = TypeAdapter(list[_ArgillaRecord])
_STUDIO: TypeAdapter[list[_StudioTask]] = TypeAdapter(list[_StudioTask])


def _as_argilla(item: ReviewItem) -> dict[str, object]:
    columns = _columns(item)
    return {
        "id": item.id,
        "fields": {name: columns[name] for name in (*_TEXTS, "votes")},
        "metadata": {name: columns[name] for name in ("hash", *_NAMED)},
        "suggestions": {},
        "responses": {},
        "vectors": {},
    }


def _read_argilla(text: str) -> Iterator[DecisionRow]:
    for record in _ARGILLA.validate_json(text):
        texts = {name: value or "" for name, value in record.fields.items()}
        named = {**texts, "id": record.id, "hash": str(record.metadata.get("hash", ""))}
        said: dict[str, dict[str, str]] = {}
        discarded: set[str] = set()
        for question, answers in record.responses.items():
            for answer in answers:
                _check_status(record.id, answer)
                if answer.status != "draft":
                    said.setdefault(answer.user_id, {})[question] = answer.value or ""
                if answer.status == "discarded":
                    discarded.add(answer.user_id)
        for reviewer, answered in said.items():
            choice = "skip" if reviewer in discarded else answered.get("choice", "")
            yield _row(named, reviewer, choice, {} if reviewer in discarded else answered)


def _check_status(record: str, answer: _ArgillaAnswer) -> None:
    if answer.status is None:
        raise DataError(
            f"{record}: an answer of {answer.user_id} without a status: drafts and discarded "
            "answers would count",
            "export the answers with their status, as tsqa/review/README.md says",
        )


def _read_studio(text: str) -> Iterator[DecisionRow]:
    for task in _STUDIO.validate_json(text):
        named = {name: str(value) for name, value in task.data.items()}
        for annotation in task.annotations:
            said = {region.from_name: _region_text(region.value) for region in annotation.result}
            by = annotation.completed_by
            found = by.get("email") or by.get("id") if isinstance(by, dict) else by
            who = "" if found is None else str(found)  # without a name it is refused
            choice = "skip" if annotation.was_cancelled else said.get("choice", "")
            when = annotation.updated_at or annotation.created_at or ""
            yield _row(named, who, choice, said, when)


def _region_text(value: Mapping[str, Any]) -> str:
    """Of choices the one chosen, of a text area its text."""
    found = value.get("choices", value.get("text", ""))
    if isinstance(found, Sequence) and not isinstance(found, str):
        return "\n".join(map(str, found))
    return str(found)


def _read_time(text: str) -> str:
    """A time in UTC. DataError where it says no zone, or lies ahead, so that nothing could replace
    the decision."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = datetime.min
    if found.tzinfo is None:
        raise DataError(f"{text!r:.40}: no time with its zone", "such as 2026-01-31T12:00:00Z")
    if found.year < _FIRST_YEAR or found > datetime.now(UTC) + _CLOCKS_DIFFER:
        raise DataError(f"{text!r:.40}: nobody decided then", "correct the time")
    return found.astimezone(UTC).strftime(TIME)


_READERS: dict[Format, Callable[[str], Iterator[DecisionRow]]] = {
    "csv": _read_csv,
    "argilla": _read_argilla,
    "label-studio": _read_studio,
}
