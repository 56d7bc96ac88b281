"""Jinja templates that somebody else wrote: sandboxed, and bounded in time, size and steps.

Guarantees: a template reaches only the values passed to it; each rendering ends, with its text or
with TemplateLimitError, within about `SECONDS` and with at most `TEXT` characters in one value.
The output of a template within these bounds is that of plain Jinja.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jinja2
import jinja2.filters
import jinja2.nodes
import regex
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tsqa.sandbox.template_bounds import (
    LISTS,
    TEXTS,
    TemplateLimitError,
    bits_of,
    check_filter,
    check_format,
    check_method,
    check_printf,
    count_step,
    count_value,
    refuse_bits,
    refuse_size,
    rendering,
    spend,
    weigh,
    weighed,
)

_SOURCE = 300_000
_REGEX_SECONDS = 2.0
_GLOBALS = ("range", "dict", "joiner", "namespace")
_LEFT_OUT = {"urlize", "xmlattr"}


class BoundedTemplate(jinja2.Template):
    """A template that renders within the bounds."""

    def render(self, *args: object, **kwargs: object) -> str:
        with rendering():
            return super().render(*args, **kwargs)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """As jinja2's sandbox, without `cycler` and `lipsum`, and every operation is counted."""

    template_class = BoundedTemplate
    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self, **options: object) -> None:
        super().__init__(finalize=weighed, **options)
        self.globals = {name: self.globals[name] for name in _GLOBALS}
        filters = jinja2.filters.FILTERS
        self.filters = {
            name: _bound_filter(name, function)
            for name, function in filters.items()
            if name not in _LEFT_OUT
        }

    def add_filter(self, name: str, function: Callable[..., object]) -> None:
        self.filters[name] = _bound_filter(name, function)

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Join as they come, so that an endless output is noticed while it grows."""
        held: list[str] = []
        size = 0
        for part in parts:
            size += len(part)
            refuse_size(size)
            count_step()
            held.append(part)
        spend(size)
        return "".join(held)

    def join_values(self, values: Sequence[object]) -> str:
        """Do what the operator `~` does."""
        return self.concat(str(weighed(value)) for value in values)

    @staticmethod
    def count_steps(values: Any) -> Iterator[Any]:
        """Count each value of a loop."""
        for value in values:
            count_step()
            yield value

    @staticmethod
    def slice_of(value: Any, start: Any, stop: Any, step: Any) -> Any:
        """Take `value[start:stop:step]`."""
        return count_value(value[start:stop:step])

    @staticmethod
    def made(value: object) -> Any:
        """Count a list, tuple or dict that the template writes out."""
        return count_value(value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        match operator:
            case "**" if isinstance(left, int) and isinstance(right, int):
                refuse_bits(left.bit_length() * abs(right))
            case "*":
                refuse_bits(bits_of(left) + bits_of(right))
                for times, value in ((left, right), (right, left)):
                    if isinstance(times, int) and isinstance(value, (*TEXTS, *LISTS)):
                        refuse_size((weigh(value) + 1) * max(times, 0))
            case "%" if isinstance(left, TEXTS):
                check_printf(left, right)
        return count_value(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        check_method(__obj, args, kwargs)
        return count_value(super().call(__context, __obj, *args, **kwargs))

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:
        if isinstance(obj, TEXTS) and attr in ("translate", "maketrans"):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        @functools.wraps(wrapped)
        def fill(*args: Any, **kwargs: Any) -> str:
            check_format(value.__self__, (args, kwargs))
            return wrapped(*args, **kwargs)

        return fill

    def compile(self, source: Any, *args: Any, **kwargs: Any) -> Any:
        """Compile as jinja2 does; what Python itself cannot compile is a syntax error too."""
        try:
            return super().compile(source, *args, **kwargs)
        except (SyntaxError, RecursionError, MemoryError, OverflowError, ValueError) as error:
            raise jinja2.TemplateSyntaxError(f"cannot be compiled: {error}", 1) from error

    def _load_template(self, name: Any, globals: Any) -> jinja2.Template:
        count_step()
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

    Targets of assignments and names of imported templates stay.
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


def _guarded(node: object) -> Any:
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


def _call(method: str, arguments: list[object], line: int) -> jinja2.nodes.Call:
    function = jinja2.nodes.EnvironmentAttribute(method, lineno=line)
    return jinja2.nodes.Call(function, arguments, [], None, None, lineno=line)


def _bound_filter(name: str, function: Callable[..., object]) -> Callable[..., Any]:
    """A filter that counts, and is refused where its result would be huge or slow."""
    passed = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def bound(*args: object, **kwargs: object) -> Any:
        check_filter(name, args[passed:], kwargs)
        return count_value(function(*args, **kwargs))

    return bound


def replace_pattern(string: str, pattern: str, repl: str, count: int = 0) -> str:
    """Replace as lm-eval's filter `regex_replace` does, within a time."""
    try:
        return regex.sub(pattern, repl, string, count=count, timeout=_REGEX_SECONDS)
    except TimeoutError as error:
        raise TemplateLimitError(f"{pattern!r} takes more than {_REGEX_SECONDS:g} s") from error
