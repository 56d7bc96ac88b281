"""Invented documents for any lm-eval task: rows that give a value to whatever is asked of them.

A row does not know its columns; a template or a function asks for one, and the row answers with a
value whose type fits the name, or, where that fails, with the next type that might.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

PASSAGE = (
    "The harbour of the old town was rebuilt twice, and each time the stones were carried down "
    "from the quarry behind the hill by boats that the miller's sons had built themselves."
)
QUESTION = "Who built the boats that carried the stones?"
OPTIONS = ["the sailors", "the miller's sons", "the mayor", "nobody at all", "the bakers"]


class Record(dict[str, Any]):
    """A nested record with a value for every key."""

    def __missing__(self, key: str) -> Any:
        return f"the {key} of the record"


SHAPES: list[Any] = [
    None,  # a text that names its column
    1,
    [*OPTIONS[:4]],
    Record(text=[*OPTIONS[:4]], label=["A", "B", "C", "D"], answer_start=[3]),
    [Record(text=option, atext=option) for option in OPTIONS[:4]],
    "A",
    True,
    [1, 0, 0, 0],
    "1",
    "12-15",
    "[1, 2]",
    [[option] for option in OPTIONS[:4]],
    0.5,
]
_NAMED: dict[str, Any] = {
    "answerkey": "B",
    "label": 1,
    "choices": SHAPES[3],
    "question": QUESTION,
    "passage": PASSAGE,
    "context": PASSAGE,
    "options": [*OPTIONS[:4]],
    "answer_number": 18,
    "answer": "the sons of the miller, as it says",
    "solution": "The boats are 18, so the answer is $\\boxed{18}$.",
}


class InventedRow(dict[str, Any]):
    """A document that invents what it is asked for; `picks` overrides the shape of a column."""

    def __init__(self, picks: Mapping[str, int]) -> None:
        super().__init__()
        self.picks = picks
        self.asked: list[str] = []

    def __missing__(self, key: str) -> Any:
        if not isinstance(key, str):
            raise KeyError(key)
        self.asked.append(key)
        pick = self.picks.get(key, 0)
        text = _NAMED.get(key.casefold(), f"an invented text about the {key}")
        value = self[key] = SHAPES[pick] if pick else text
        return value

    def get(self, key: str, default: Any = None) -> Any:
        return self[key]

    def pop(self, key: str, *default: Any) -> Any:
        value = self[key]
        super().pop(key)
        return value


class InventedDocuments(list[Any]):
    """What `process_docs` functions do with a `datasets.Dataset`, over invented rows."""

    info = None

    @property
    def features(self) -> dict[str, None]:
        return dict.fromkeys(self[0]) if self else {}

    @property
    def column_names(self) -> list[str]:
        return list(self.features)

    def map(
        self, change: Callable[..., Any], remove_columns: Any = (), **_: Any
    ) -> InventedDocuments:
        changed = [(row, change(row)) for row in self]
        for row, values in changed:
            for name in set(remove_columns) - set(values):
                dict.pop(row, name, None)
        return InventedDocuments(_merged(row, values) for row, values in changed)

    def filter(self, keep: Callable[..., bool], **_: Any) -> InventedDocuments:
        for row in self:
            keep(row)  # asks for its columns; whatever it says, the row stays
        return self

    def select(self, *_: Any, **__: Any) -> InventedDocuments:
        return self

    def shuffle(self, *_: Any, **__: Any) -> InventedDocuments:
        return self

    def remove_columns(self, *_: Any) -> InventedDocuments:
        return self

    def rename_column(self, old: str, new: str) -> InventedDocuments:
        return InventedDocuments(_merged(row, {new: row[old]}) for row in self)

    def to_list(self) -> list[Any]:
        return list(self)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return [row[key] for row in self]
        return super().__getitem__(key)


def _merged(row: InventedRow, changes: Mapping[str, Any]) -> InventedRow:
    if changes is not row:
        row.update(changes)
    return row


def invent(attempt: Callable[[InventedRow], Any], tries: int = 1500) -> Any:
    """The first result of `attempt` over rows of growing variety; raise its first error."""
    row = InventedRow({})
    try:
        return attempt(row)
    except Exception as caught:  # noqa: BLE001 - any failure means another shape
        first = caught
    asked = list(dict.fromkeys(row.asked))
    for picks in itertools.islice(_picks(asked), tries):
        row = InventedRow(picks)
        try:
            return attempt(row)
        except Exception:  # noqa: BLE001 - as above
            asked += [name for name in dict.fromkeys(row.asked) if name not in asked]
    raise first


def _picks(asked: list[str]) -> Iterator[dict[str, int]]:
    """One column in another shape, the last asked for first, then two; `asked` may grow."""
    shapes = range(1, len(SHAPES))
    done: set[str] = set()
    while left := [name for name in reversed(asked) if name not in done]:
        done.add(left[0])
        yield from ({left[0]: shape} for shape in shapes)
    for one, two in itertools.combinations(reversed(asked), 2):
        yield from ({one: i, two: j} for i in shapes for j in shapes)
