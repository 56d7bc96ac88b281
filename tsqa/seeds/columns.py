"""The columns of an own dataset: which there must be, and what one record says by them.

Guarantees: a column that the mapping names and the data lacks is an error before any document is
used; a broken document is an Unusable with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from tsqa.errors import DataError
from tsqa.recipe import ColumnsSection, DatasetSection
from tsqa.seeds.choices import LabelledOptions, find_key, options_of_columns, read_options
from tsqa.seeds.document import RawDocument, Unusable, read_target
from tsqa.seeds.prompt_fields import tidy


def check_columns(section: DatasetSection, columns: list[str]) -> None:
    """Raise DataError naming the mapped columns that the data lacks, and those it has."""
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


def read_record(record: Mapping[str, object], section: DatasetSection, number: int) -> RawDocument:
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
    return RawDocument(
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


def record_id(record: Mapping[str, object], columns: ColumnsSection) -> str | None:
    """Return the document's own id, where a column is mapped to it."""
    if columns.id is None:
        return None
    value = _value(record, columns.id)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise Unusable("no id", f"{columns.id} is {value!r:.60}")
    return str(value).strip()


def _value(record: Mapping[str, object], name: str) -> object:
    """A column's value; a dotted name reaches into records, and into each record of a list."""
    if name in record:
        return record[name]
    value: object = record
    for part in name.split("."):
        if isinstance(value, list):
            value = [_member(one, part, name) for one in value]
        else:
            value = _member(value, part, name)
    return value


def _member(value: object, part: str, name: str) -> object:
    if not isinstance(value, Mapping) or part not in value:
        raise Unusable("missing column", name)
    return value[part]


def _text(record: Mapping[str, object], name: str, what: str) -> str:
    value = _value(record, name)
    if value is None or value != value:  # NaN: tables write it for no value
        return ""
    if not isinstance(value, str):
        raise Unusable("mixed types", f"the {what} is {type(value).__name__}, not text")
    return value


def _options(record: Mapping[str, object], names: str | list[str]) -> LabelledOptions:
    if isinstance(names, str):
        return read_options(_value(record, names))
    return options_of_columns([_value(record, name) for name in names], names)


def _answer_text(value: object) -> str:
    if isinstance(value, list):
        value = next((one for one in value if one is not None), None)
    if value is None or value != value:  # NaN: no value
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isinf(value):
        raise Unusable("no number", "the answer is infinite, or a number too large to be read")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (str, int, float)):
        return str(value)
    raise Unusable("mixed types", f"the answer is {type(value).__name__}, not text")
