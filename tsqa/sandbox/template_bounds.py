"""The bounds of a template's rendering: time, steps, and the size of what it makes.

Guarantee: what would exceed a bound is refused before it is made, with TemplateLimitError.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jinja2
from jinja2.utils import Namespace

TEXT = 4_000_000
"""Characters of a text, and of all that a list holds, that one value may have."""
STEPS = 300_000
"""Loop iterations, calls and operations of one rendering."""
SECONDS = 20.0
_ALL_TEXT = 500_000_000
"""Characters of all values that one rendering may make."""
_BITS = 4096
"""Of a number; Python's own limit on its digits is a little larger."""
_WIDTH = 10_000
"""Of a field or a margin."""
_SLOW_TEXT = 100_000
"""Most characters for a filter whose time grows with their square."""
_MARGINS = {"center", "ljust", "rjust", "zfill", "expandtabs", "to_bytes"}
_SIZED = {"center", "indent", "wordwrap", "tojson", "batch", "slice", "round"}
_SLOW = {"striptags", "wordwrap", "title"}
_NUMBERS = re.compile(r"\d+")
_PRINTF = re.compile(r"%(?:\([^)]*\))?[#0\- +]*(\*|\d+)?(?:\.(\*|\d+))?")
TEXTS = (str, bytes)
LISTS = (list, tuple, set, frozenset)


class TemplateLimitError(jinja2.TemplateRuntimeError):
    """A rendering asked for more time, steps or memory than any template needs."""


class _Budget(threading.local):
    """What is left to the rendering of this thread; templates that it includes share it."""

    depth = 0
    steps = 0
    text = 0
    deadline = 0.0


_budget = _Budget()


@contextmanager
def rendering() -> Iterator[None]:
    """Bound one rendering; an inner one counts as part of the outer."""
    if _budget.depth == 0:
        _budget.steps = STEPS
        _budget.text = _ALL_TEXT
        _budget.deadline = time.monotonic() + SECONDS
    _budget.depth += 1
    try:
        yield
    finally:
        _budget.depth -= 1


def count_step() -> None:
    """Count a step of this thread's rendering, and look at its time."""
    if _budget.depth == 0:  # constants, as a template is compiled
        return
    _budget.steps -= 1
    if _budget.steps < 0:
        raise TemplateLimitError(f"more than {STEPS:,} steps")
    if time.monotonic() > _budget.deadline:
        raise TemplateLimitError(f"more than {SECONDS:g} seconds")


def spend(size: int) -> None:
    """Count the characters of a value that was made."""
    if _budget.depth:
        _budget.text -= size
        if _budget.text < 0:
            raise TemplateLimitError(f"values of more than {_ALL_TEXT:,} characters together")


def refuse_size(size: int) -> None:
    """Raise TemplateLimitError for a value of so many characters, if they are too many."""
    if size > TEXT:
        raise TemplateLimitError(f"a value of more than {TEXT:,} characters")


def refuse_bits(bits: int) -> None:
    """Raise TemplateLimitError for a number of so many bits, if they are too many."""
    if bits > _BITS:
        raise TemplateLimitError(f"a number of more than {_BITS:,} bits")


def bits_of(value: object) -> int:
    """Count the bits of a number; 0 for anything else."""
    return value.bit_length() if isinstance(value, int) else 0


def weigh(value: object) -> int:
    """Count the characters of a value with all that it holds; TemplateLimitError if too many."""
    size = 0
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, TEXTS):
            size += len(each)
        elif isinstance(each, LISTS):
            size += 2 * len(each)
            refuse_size(size)
            waiting.extend(each)
        elif isinstance(each, dict):
            size += 4 * len(each)
            refuse_size(size)
            waiting.extend(each)
            waiting.extend(each.values())
        elif isinstance(each, Namespace):
            raise TemplateLimitError("a namespace is used as a value")
        else:
            size += 1
        refuse_size(size)
    return size


def weighed(value: object) -> Any:
    """Return a value that is not too large."""
    weigh(value)
    return value


def count_value(value: object) -> Any:
    """Count a value that the template made, and return it."""
    count_step()
    if not isinstance(value, Namespace):
        spend(weigh(value))
    refuse_bits(bits_of(value))
    return value


def _numbers_in(values: Iterable[object]) -> list[int]:
    return [abs(v) for v in values if isinstance(v, int) and not isinstance(v, bool)]


def _check_width(width: str | int | None) -> None:
    if width == "*" or (width and (len(str(width)) > 9 or abs(int(width)) > _WIDTH)):
        raise TemplateLimitError(f"a field or margin of {str(width)[:20]} characters")


def check_printf(text: str | bytes, given: object) -> None:
    """Refuse `%9d` and the like whose result would be huge."""
    plain = text.decode("latin-1") if isinstance(text, bytes) else text
    fields = list(_PRINTF.finditer(plain))
    for field in fields:
        for width in field.groups():
            _check_width(width)
    refuse_size(len(plain) + len(fields) * (weigh(given) + 24))


def check_format(text: str, given: object) -> None:
    """Refuse `{:9}` where it would be huge, and `{:{}}`, whose width is among the values."""
    for width in _NUMBERS.findall(text):
        _check_width(width)
    if re.search(r"\{[^{}]*\{", text):
        raise TemplateLimitError("a field whose format is another field")
    refuse_size(len(text) + text.count("{") * (weigh(given) + 24))


def check_method(method: object, args: Sequence[object], kwargs: Mapping[str, object]) -> None:
    """Refuse the methods of texts and numbers whose result would be huge."""
    owner = getattr(method, "__self__", None)
    name = getattr(method, "__name__", "")
    if not isinstance(owner, (*TEXTS, int)):
        return
    if name in _MARGINS:
        for number in _numbers_in((*args, *kwargs.values())):
            _check_width(number)
            refuse_size(number * (weigh(owner) if name == "expandtabs" else 1))
    elif name == "replace" and len(args) >= 2:
        _check_replace(owner, args[0], args[1])
    elif name == "join" and isinstance(owner, TEXTS) and args:
        _check_join(owner, args[0])


def _check_replace(text: Any, old: Any, new: Any) -> None:
    if all(isinstance(each, TEXTS) for each in (text, old, new)) and len(new) > len(old):
        refuse_size(len(text) + (len(text) // max(len(old), 1) + 1) * len(new))


def _check_join(separator: Any, parts: Any) -> None:
    if isinstance(parts, (*LISTS, dict, *TEXTS)):
        refuse_size(weigh(parts) + len(parts) * len(separator))


def check_filter(name: str, given: Sequence[object], kwargs: Mapping[str, object]) -> None:
    """Refuse a filter whose result would be huge or slow to make."""
    value, settings = given[0], [*given[1:], *kwargs.values()]
    size = weigh(value)
    texts = [weigh(setting) for setting in settings]
    numbers = _numbers_in(settings)
    if name in _SIZED:
        for number in numbers:
            _check_width(number)
    if name in _SLOW and size > _SLOW_TEXT:
        raise TemplateLimitError(f"the filter {name} over {size:,} characters")
    match name:
        case "replace" if len(settings) >= 2:
            _check_replace(str(value), str(settings[0]), str(settings[1]))
        case "format":
            check_printf(str(value), settings)
        case "join":
            _check_join("x" * max(texts, default=0), value)
        case "indent" | "wordwrap":
            lines = str(value).count("\n") + 1 + (size if name == "wordwrap" else 0)
            refuse_size(size + lines * max([4, *texts, *(numbers if name == "indent" else ())]))
        case "tojson":
            refuse_size(size * (1 + max(numbers, default=0)))
