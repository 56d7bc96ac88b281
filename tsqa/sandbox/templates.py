"""Jinja templates that somebody else wrote: sandboxed, and bounded in time, size and steps.

Promises: a template reaches nothing but what it is given; each rendering ends, with its text or
with TemplateLimitError, within about `SECONDS` and with at most `TEXT` characters in one value.
The output of a template within these bounds is that of plain Jinja.
"""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jinja2
import jinja2.filters
import jinja2.nodes
import regex
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

TEXT = 4_000_000
"""Characters of a text, and of all that a list holds, that one value may have."""
STEPS = 300_000
"""Loop iterations, calls and operations of one rendering."""
SECONDS = 20.0
_ALL_TEXT = 500_000_000
"""Characters of all values that one rendering may make."""
_SOURCE = 300_000
_BITS = 4096
"""Of a number; Python's own limit on its digits is a little larger."""
_WIDTH = 10_000
"""Of a field or a margin."""
_SLOW_TEXT = 100_000
"""Characters that a filter whose time grows with their square may be given."""
_REGEX_SECONDS = 2.0
_GLOBALS = ("range", "dict", "joiner", "namespace")
_LEFT_OUT = {"urlize", "xmlattr"}
_MARGINS = {"center", "ljust", "rjust", "zfill", "expandtabs", "to_bytes"}
_SIZED = {"center", "indent", "wordwrap", "tojson", "batch", "slice", "round"}
_SLOW = {"striptags", "wordwrap", "title"}
_NUMBERS = re.compile(r"\d+")
_PRINTF = re.compile(r"%(?:\([^)]*\))?[#0\- +]*(\*|\d+)?(?:\.(\*|\d+))?")
_TEXTS = (str, bytes)
_LISTS = (list, tuple, set, frozenset)


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
    """The bounds of one rendering; an inner one counts as part of the outer."""
    if _budget.depth == 0:
        _budget.steps = STEPS
        _budget.text = _ALL_TEXT
        _budget.deadline = time.monotonic() + SECONDS
    _budget.depth += 1
    try:
        yield
    finally:
        _budget.depth -= 1


class BoundedTemplate(jinja2.Template):
    """A template that renders within the bounds."""

    def render(self, *args: Any, **kwargs: Any) -> str:
        with rendering():
            return super().render(*args, **kwargs)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """As jinja2's sandbox, without `cycler` and `lipsum`, and every operation is counted."""

    template_class = BoundedTemplate
    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self, **options: Any) -> None:
        super().__init__(finalize=_weighed, **options)
        self.globals = {name: self.globals[name] for name in _GLOBALS}
        filters = jinja2.filters.FILTERS
        self.filters = {
            name: _bound_filter(name, function)
            for name, function in filters.items()
            if name not in _LEFT_OUT
        }

    def add_filter(self, name: str, function: Callable[..., Any]) -> None:
        self.filters[name] = _bound_filter(name, function)

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Join as they come, so that an endless output is noticed while it grows."""
        held: list[str] = []
        size = 0
        for part in parts:
            size += len(part)
            _need(size)
            _step()
            held.append(part)
        _spend(size)
        return "".join(held)

    def join_values(self, values: Sequence[Any]) -> str:
        """What the operator `~` does."""
        return self.concat(str(_weighed(value)) for value in values)

    @staticmethod
    def count_steps(values: Any) -> Iterator[Any]:
        """The values of a loop."""
        for value in values:
            _step()
            yield value

    @staticmethod
    def slice_of(value: Any, start: Any, stop: Any, step: Any) -> Any:
        """What `value[start:stop:step]` is."""
        return _made(value[start:stop:step])

    @staticmethod
    def made(value: Any) -> Any:
        """A list, tuple or dict that the template writes out."""
        return _made(value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        match operator:
            case "**" if isinstance(left, int) and isinstance(right, int):
                _need_bits(left.bit_length() * abs(right))
            case "*":
                _need_bits(_bits(left) + _bits(right))
                for times, value in ((left, right), (right, left)):
                    if isinstance(times, int) and isinstance(value, (*_TEXTS, *_LISTS)):
                        _need((_weigh(value) + 1) * max(times, 0))
            case "%" if isinstance(left, _TEXTS):
                _check_printf(left, right)
        return _made(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        _check_method(__obj, args, kwargs)
        return _made(super().call(__context, __obj, *args, **kwargs))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, _TEXTS) and attr in ("translate", "maketrans"):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        @functools.wraps(wrapped)
        def fill(*args: Any, **kwargs: Any) -> str:
            _check_format(value.__self__, (args, kwargs))
            return wrapped(*args, **kwargs)

        return fill

    def compile(self, source: Any, *args: Any, **kwargs: Any) -> Any:
        """As jinja2's; what Python itself cannot compile is a syntax error too."""
        try:
            return super().compile(source, *args, **kwargs)
        except (SyntaxError, RecursionError, MemoryError, OverflowError, ValueError) as error:
            raise jinja2.TemplateSyntaxError(f"cannot be compiled: {error}", 1) from error

    def _load_template(self, name: Any, globals: Any) -> jinja2.Template:
        _step()
        return super()._load_template(name, globals)

    def _parse(self, source: str, name: str | None, filename: str | None) -> Any:
        if len(source) > _SOURCE:
            message = f"{len(source):,} characters; a template has at most {_SOURCE:,}"
            raise jinja2.TemplateSyntaxError(message, 1, name, filename)
        try:
            tree = super()._parse(source, name, filename)
            _instrument(tree)
        except RecursionError as error:
            raise jinja2.TemplateSyntaxError("nested too deeply", 1, name, filename) from error
        return tree


def _instrument(tree: jinja2.nodes.Node) -> None:
    """What jinja2 compiles to bare Python goes through the environment: loops, `~`, slices, lists.

    Targets of assignments and names of imported templates stay as they are.
    """
    nodes = jinja2.nodes
    for node in [tree, *tree.find_all(nodes.Node)]:
        if isinstance(node, nodes.For):
            node.iter = _call("count_steps", [node.iter], node.lineno)
        for field in node.fields:
            value = getattr(node, field)
            if isinstance(value, list):
                value[:] = [_guarded(each) for each in value]
            elif isinstance(value, tuple):  # pairs of a keyword or a test
                setattr(node, field, tuple(_guarded(each) for each in value))
            elif field not in ("target", "template"):
                setattr(node, field, _guarded(value))


def _guarded(node: Any) -> Any:
    nodes = jinja2.nodes
    match node:
        case nodes.Concat():
            return _call("join_values", [nodes.List(node.nodes, lineno=node.lineno)], node.lineno)
        case nodes.List() | nodes.Dict():
            return _call("made", [node], node.lineno)
        case nodes.Tuple(ctx="load"):
            return _call("made", [node], node.lineno)
        case nodes.Getitem(arg=nodes.Slice() as part):
            none = nodes.Const(None, lineno=node.lineno)
            bounds = [part.start or none, part.stop or none, part.step or none]
            return _call("slice_of", [node.node, *bounds], node.lineno)
    return node


def _call(method: str, arguments: list[Any], line: int) -> jinja2.nodes.Call:
    function = jinja2.nodes.EnvironmentAttribute(method, lineno=line)
    return jinja2.nodes.Call(function, arguments, [], None, None, lineno=line)


def _step() -> None:
    if _budget.depth == 0:  # constants, as a template is compiled
        return
    _budget.steps -= 1
    if _budget.steps < 0:
        raise TemplateLimitError(f"more than {STEPS:,} steps")
    if time.monotonic() > _budget.deadline:
        raise TemplateLimitError(f"more than {SECONDS:g} seconds")


def _spend(size: int) -> None:
    if _budget.depth:
        _budget.text -= size
        if _budget.text < 0:
            raise TemplateLimitError(f"values of more than {_ALL_TEXT:,} characters together")


def _need(size: int) -> None:
    if size > TEXT:
        raise TemplateLimitError(f"a value of more than {TEXT:,} characters")


def _need_bits(bits: int) -> None:
    if bits > _BITS:
        raise TemplateLimitError(f"a number of more than {_BITS:,} bits")


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _weigh(value: Any) -> int:
    """Its characters, with all that it holds; TemplateLimitError as soon as they are too many."""
    size = 0
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, _TEXTS):
            size += len(each)
        elif isinstance(each, _LISTS):
            size += 2 * len(each)
            _need(size)
            waiting.extend(each)
        elif isinstance(each, dict):
            size += 4 * len(each)
            _need(size)
            waiting.extend(each)
            waiting.extend(each.values())
        elif isinstance(each, Namespace):
            raise TemplateLimitError("a namespace is used as a value")
        else:
            size += 1
        _need(size)
    return size


def _weighed(value: Any) -> Any:
    _weigh(value)
    return value


def _made(value: Any) -> Any:
    """A value that the template made, counted."""
    _step()
    if not isinstance(value, Namespace):
        _spend(_weigh(value))
    _need_bits(_bits(value))
    return value


def _numbers_in(values: Iterable[Any]) -> list[int]:
    return [abs(v) for v in values if isinstance(v, int) and not isinstance(v, bool)]


def _check_width(width: str | int | None) -> None:
    if width == "*" or (width and (len(str(width)) > 9 or abs(int(width)) > _WIDTH)):
        raise TemplateLimitError(f"a field or margin of {str(width)[:20]} characters")


def _check_printf(text: str | bytes, given: Any) -> None:
    plain = text.decode("latin-1") if isinstance(text, bytes) else text
    fields = list(_PRINTF.finditer(plain))
    for field in fields:
        for width in field.groups():
            _check_width(width)
    _need(len(plain) + len(fields) * (_weigh(given) + 24))


def _check_format(text: str, given: Any) -> None:
    """`{:9}`, and `{:{}}`, whose width is among the values."""
    for width in _NUMBERS.findall(text):
        _check_width(width)
    if re.search(r"\{[^{}]*\{", text):
        raise TemplateLimitError("a field whose format is another field")
    _need(len(text) + text.count("{") * (_weigh(given) + 24))


def _check_method(method: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse the methods of texts and numbers whose result would be huge."""
    owner = getattr(method, "__self__", None)
    name = getattr(method, "__name__", "")
    if not isinstance(owner, (*_TEXTS, int)):
        return
    if name in _MARGINS:
        for number in _numbers_in((*args, *kwargs.values())):
            _check_width(number)
            _need(number * (_weigh(owner) if name == "expandtabs" else 1))
    elif name == "replace" and len(args) >= 2:
        _check_replace(owner, args[0], args[1])
    elif name == "join" and isinstance(owner, _TEXTS) and args:
        _check_join(owner, args[0])


def _check_replace(text: Any, old: Any, new: Any) -> None:
    if all(isinstance(each, _TEXTS) for each in (text, old, new)) and len(new) > len(old):
        _need(len(text) + (len(text) // max(len(old), 1) + 1) * len(new))


def _check_join(separator: Any, parts: Any) -> None:
    if isinstance(parts, (*_LISTS, dict, *_TEXTS)):
        _need(_weigh(parts) + len(parts) * len(separator))


def _bound_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that counts, and is refused where its result would be huge or slow."""
    passed = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def bound(*args: Any, **kwargs: Any) -> Any:
        _check_filter(name, args[passed:], kwargs)
        return _made(function(*args, **kwargs))

    return bound


def _check_filter(name: str, given: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    value, settings = given[0], [*given[1:], *kwargs.values()]
    size = _weigh(value)
    texts = [_weigh(setting) for setting in settings]
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
            _check_printf(str(value), settings)
        case "join":
            _check_join("x" * max(texts, default=0), value)
        case "indent" | "wordwrap":
            lines = str(value).count("\n") + 1 + (size if name == "wordwrap" else 0)
            _need(size + lines * max([4, *texts, *(numbers if name == "indent" else ())]))
        case "tojson":
            _need(size * (1 + max(numbers, default=0)))


def replace_pattern(string: str, pattern: str, repl: str, count: int = 0) -> str:
    """lm-eval's filter `regex_replace`: re.sub, within a time."""
    try:
        return regex.sub(pattern, repl, string, count=count, timeout=_REGEX_SECONDS)
    except TimeoutError as error:
        raise TemplateLimitError(f"{pattern!r} takes more than {_REGEX_SECONDS:g} s") from error
