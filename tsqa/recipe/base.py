"""What every section is made of: its base class and the types of its values.

Promises: an unknown key is refused and a value never changes after loading; a field marked
`RUNTIME` never changes the data, and so no fingerprint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

RUNTIME: dict[str, Any] = {"runtime": True}
_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


class Section(BaseModel):
    """Base of every section: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def data_config(self) -> dict[str, Any]:
        """Plain JSON of the fields that decide the data (all but those marked `RUNTIME`)."""
        config: dict[str, Any] = {}
        for name, declared in type(self).model_fields.items():
            extra = declared.json_schema_extra
            if isinstance(extra, dict) and extra.get("runtime"):
                continue
            config[name] = _plain(getattr(self, name))
        return config


def parse_tokens(value: Any) -> Any:
    """Turn `450_000`, `25M` or `1.5B` into an integer; leave anything else to pydantic."""
    if isinstance(value, str):
        match = re.fullmatch(r"([\d_]+(?:\.\d+)?)\s*([KMBT]?)", value.strip().upper())
        if match:
            return round(float(match[1].replace("_", "")) * _UNITS.get(match[2], 1))
    return value


Tokens = Annotated[int, BeforeValidator(parse_tokens), Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return value.data_config()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
