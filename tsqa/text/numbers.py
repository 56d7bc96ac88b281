"""Plain numbers: read from a text and written back, exactly."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)")
_GROUPED = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def parse_number(text: str) -> Decimal | None:
    """Read `18`, `1,250.0`, `$3` or `40%` as a number; anything else is None."""
    bare = text.strip().lstrip("$ ").rstrip("$%. ").replace("\u2212", "-")
    if "," in bare:
        if not _GROUPED.fullmatch(bare):
            return None
        bare = bare.replace(",", "")
    if not _NUMBER.fullmatch(bare):
        return None
    try:
        return Decimal(bare)
    except InvalidOperation:
        return None


def format_number(number: Decimal) -> str:
    """Write a number in its shortest exact spelling: `18`, never `18.0`, `1.8E+1` or `-0`."""
    whole, point, rest = format(number, "f").partition(".")
    text = (whole + point + rest.rstrip("0")).removesuffix(".")
    return text.lstrip("+-") if not number else text
