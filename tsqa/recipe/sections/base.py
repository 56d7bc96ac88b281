"""The base class of every section, and the types of values.

Guarantees: an unknown key is refused and a value never changes after loading; a field marked
`RUNTIME` never changes the data, and so no fingerprint; one marked `ADDED` changes none while it
has its default; a number is a finite number, never a word or a yes, and no text is empty or holds
what cannot be written to a file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
    field_validator,
)

RUNTIME: dict[str, JsonValue] = {"runtime": True}
ADDED: dict[str, JsonValue] = {"added": True}
"""Of a key that came later: artifacts from before it are those of its default."""
_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_NUMBER = re.compile(
    r"[-+]?((0|[1-9](_?[0-9])*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,4})?\s*[KMBTkmbt]?"
)
"""As text: `1e-3`, which YAML takes for text, and `450K`."""
_COUNT = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?(?:E[-+]?[0-9]{1,2})?)\s*([KMBT]?)")
_YES_OR_NO = (True, False, "true", "false", "yes", "no", "on", "off")
_LARGEST = 2**63
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Section(BaseModel):
    """Base of every section: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_what_it_seems(cls, value: object, info: ValidationInfo) -> object:
        """Refuse what pydantic would turn into a number or a yes, and text that no key can have."""
        kinds = _kinds_of_field(cls, str(info.field_name))
        if Section not in kinds:  # a section looks at its own
            for leaf in _leaves_of(value):
                if problem := _leaf_problem(leaf, kinds):
                    raise ValueError(problem)
        return parse_count(value) if int in kinds and not kinds & {str, float} else value

    def data_config(self) -> dict[str, Any]:
        """Plain JSON of the fields that decide the data: not those marked `RUNTIME`, nor those
        marked `ADDED` that have their default."""
        config: dict[str, Any] = {}
        for name, declared in type(self).model_fields.items():
            extra, value = declared.json_schema_extra, getattr(self, name)
            marks = extra if isinstance(extra, dict) else {}
            if marks.get("runtime") or (marks.get("added") and value == declared.default):
                continue
            config[name] = _plain(value)
        return config


def refuse_unread(section: Section, keys: Iterable[str], why: str) -> None:
    """Raise ValueError where a key has another value than its default, and nobody reads it.

    `why` goes on after its name. The default is let through: a recipe that extends another can so
    take back what that one sets.
    """
    for key in keys:
        default = type(section).model_fields[key].get_default()
        if getattr(section, key) != default:
            shown = json.dumps(default)
            raise ValueError(f"`{key}` {why}; leave it out, or give its default, {shown}")


T = TypeVar("T")


def parse_count(value: T) -> T | int:
    """Turn `450_000`, `25M`, `1.5B` or `1e9` into an integer; leave anything else to pydantic."""
    if isinstance(value, str):
        match = _COUNT.fullmatch(value.strip().upper())
        if match:
            count = Decimal(match[1].replace("_", "")) * _UNITS.get(match[2], 1)
            if count == int(count) < _LARGEST:
                return int(count)
    return value


Tokens = Annotated[int, Field(gt=0, lt=_LARGEST)]
Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


@cache
def _kinds_of_field(section: type[Section], name: str) -> frozenset[object]:
    return frozenset(_kinds_of(section.model_fields[name].annotation))


def _kinds_of(annotation: object) -> Iterator[object]:
    """The types of the values in a field; `Section` for any section, and nothing for keys."""
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Literal:
        yield from map(type, arguments)
    elif origin is Annotated:
        yield from _kinds_of(arguments[0])
    elif arguments:
        for argument in arguments[1:] if origin in (dict, Mapping) else arguments:
            yield from _kinds_of(argument)
    elif isinstance(annotation, type) and issubclass(annotation, Section):
        yield Section
    else:
        yield annotation


def _leaves_of(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _leaves_of(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _leaves_of(inner)
    else:
        yield value


def _leaf_problem(leaf: object, kinds: frozenset[object]) -> str:
    """Why a value is none that a field of these types can have; empty where it is one."""
    is_number, is_any = bool(kinds & {int, float}), Any in kinds
    if isinstance(leaf, str):
        if found := _UNWRITABLE.search(leaf):
            return f"holds the character U+{ord(found[0]):04X}, which no key may hold"
        if not leaf.strip(" ") and not is_any:
            return "an empty text; give a value, or leave the key out"
    if is_any:
        return ""
    if isinstance(leaf, int) and abs(leaf) >= _LARGEST:
        return "expected a smaller number"
    if isinstance(leaf, float) and not math.isfinite(leaf):
        return "expected a finite number"
    if bool in kinds:
        word = leaf.lower() if isinstance(leaf, str) else leaf
        if not (is_number or str in kinds or word is None or word in _YES_OR_NO):
            return "expected true or false"
    elif is_number and isinstance(leaf, bool):
        return f"expected a number, found {str(leaf).lower()}"
    elif is_number and isinstance(leaf, str) and str not in kinds:
        return "" if _NUMBER.fullmatch(leaf.strip()) else "expected a number"
    return ""


def _plain(value: object) -> object:
    if isinstance(value, Section):
        return value.data_config()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
