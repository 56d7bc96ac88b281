"""The line between a program and its tests: values cross it as plain data, nothing else does.

Numbers, texts and collections of the exact built-in types are copied; lists and their like that a
call changes are changed on the other side too. Anything else stays where it is and is stood for
by a number (see `peer` and `stand_ins`).

Guarantees: what arrives is only decoded, never run; a message of any content is a value or a
LineError; what tests compare is of their own making.
"""

from __future__ import annotations

import builtins
import collections
import importlib
import json
import math
import os
import struct
import sys
import types
from collections.abc import Callable

TYPE_CHECKING = False  # as typing's, whose import every program would wait for
if TYPE_CHECKING:
    from typing import Any

CLOSED = "the line is closed"
_EXACT = 1 << 53
_TYPES = {
    name: value
    for name, value in vars(builtins).items()
    if isinstance(value, type) and name not in ("__loader__",)
}
PLAIN_BASES = (tuple, str, int, float, bytes, frozenset, complex)
"""Of whose subclasses the other side holds the value as well."""
MUTABLE_BASES: dict[type, Callable[[Any], Any]] = {
    list: lambda value: list(list.__iter__(value)),
    dict: lambda value: dict(dict.items(value)),
    set: lambda value: set(set.__iter__(value)),
}
_VIEWS = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}
_FACTORIES = {"int": int, "list": list, "set": set, "dict": dict, "str": str, "float": float}


class LineError(BaseException):
    """The other side is gone or talks nonsense."""


class Line:
    """Whole messages over a stream."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, message: object) -> None:
        data = json.dumps(message, separators=(",", ":")).encode()
        data = struct.pack("=Q", len(data)) + data
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise LineError(CLOSED) from error

    def receive(self) -> object:
        (size,) = struct.unpack("=Q", self._read(8))
        if size > 1 << 31:
            raise LineError("an endless message")
        data = self._read(size)
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise LineError("no message") from error

    def _read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            try:
                part = os.read(self._descriptor, min(size - len(parts), 1 << 20))
            except OSError as error:
                raise LineError(CLOSED) from error
            if not part:
                raise LineError(CLOSED)
            parts += part
        return bytes(parts)


class Encoder:
    """One message's values; `kept` are the collections in it that a call may change."""

    def __init__(
        self, export: Callable[[object, Encoder], object], kept: list[object] | None = None
    ) -> None:
        self._export = export
        self.kept = list(kept or ())
        self._places = {id(value): place for place, value in enumerate(self.kept)}

    def encode(self, value: Any) -> object:
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            return value if -_EXACT < value < _EXACT else ["i", hex(value)]
        if kind is float:
            return value if math.isfinite(value) else ["f", repr(value)]
        if kind in _CHANGEABLE:
            if id(value) in self._places:
                return ["r", self._places[id(value)]]
            self._places[id(value)] = len(self.kept)
            self.kept.append(value)
            return self.contents(value)
        if kind is tuple:
            return ["t", *map(self.encode, value)]
        if kind is frozenset:
            return ["z", *map(self.encode, value)]
        if kind is bytes:
            return ["b", value.hex()]
        if kind is complex:
            return ["c", self.encode(value.real), self.encode(value.imag)]
        if kind is range:
            return ["R", *map(self.encode, (value.start, value.stop, value.step))]
        if kind in _VIEWS:
            return ["v", _VIEWS[kind], *map(self.encode, value)]
        if value is NotImplemented or value is Ellipsis:
            return ["n", repr(value)]
        known = _encode_library(kind, value)
        if known is not None:
            return known
        if isinstance(value, type) and _TYPES.get(value.__name__) is value:
            return ["k", value.__name__]
        return self._export(value, self)

    def contents(self, value: Any) -> object:
        """Encode a collection whole, even if it was mentioned before."""
        kind = type(value)
        if kind is list:
            return ["l", *map(self.encode, value)]
        if kind is set:
            return ["s", *map(self.encode, value)]
        if kind is bytearray:
            return ["y", value.hex()]
        if kind is collections.deque:
            return ["q", value.maxlen, *map(self.encode, value)]
        pairs = [self.encode(part) for pair in value.items() for part in pair]
        if kind is collections.defaultdict:
            factory = value.default_factory
            known = factory in _FACTORIES.values() if isinstance(factory, type) else False
            return ["g", factory.__name__ if known and factory else "", *pairs]
        return [_CHANGEABLE[kind], *pairs]


class Decoder:
    """The reverse; `kept` are this side's own collections that the message names."""

    def __init__(
        self, find: Callable[[list[object], Decoder], object], kept: list[object] | None = None
    ):
        self._find = find
        self.kept = list(kept or ())

    def decode(self, code: object) -> object:
        if not isinstance(code, list):
            if isinstance(code, dict):
                raise LineError("no value")
            return code
        tag = code[0]
        if tag in _MADE:
            value = _MADE[tag](code)
            self.kept.append(value)
            self.fill(value, code)
            return value
        if tag == "r":
            return self.kept[code[1]]
        if tag in ("t", "z"):
            parts = map(self.decode, code[1:])
            return tuple(parts) if tag == "t" else frozenset(parts)
        if tag == "v":
            return self._view(code[1], [self.decode(part) for part in code[2:]])
        if tag in _SIMPLE:
            return _SIMPLE[tag](self, *code[1:])
        return self._find(code, self)

    def fill(self, value: Any, code: list[Any]) -> None:
        """Make the collection hold what the code says, and nothing else."""
        tag = code[0]
        if tag == "l":
            value[:] = [self.decode(part) for part in code[1:]]
        elif tag == "y":
            value[:] = bytes.fromhex(code[1])
        elif tag in ("s", "q"):
            parts = [self.decode(part) for part in code[1 if tag == "s" else 2 :]]
            value.clear()
            value.update(parts) if tag == "s" else value.extend(parts)
        else:
            parts = [self.decode(part) for part in code[2 if tag == "g" else 1 :]]
            value.clear()
            for key, item in zip(parts[::2], parts[1::2], strict=True):
                value[key] = item

    def update(self, codes: list[Any]) -> None:
        """Bring this side's collections to the other side's state."""
        for value, code in zip(list(self.kept), codes, strict=True):
            if _MADE[code[0]](code).__class__ is not type(value):
                raise LineError("another collection")
            self.fill(value, code)

    def _view(self, name: str, parts: list[Any]) -> object:
        if name == "keys":
            return dict.fromkeys(parts).keys()
        if name == "values":
            return dict(enumerate(parts)).values()
        return dict(parts).items()


def _encode_library(kind: type, value: Any) -> object:
    """Numbers and moments of Python's library, which is imported only by who uses it."""
    module = sys.modules.get(kind.__module__)
    if kind.__module__ not in _LIBRARY or getattr(module, kind.__name__, None) is not kind:
        return None
    match kind.__name__:
        case "Decimal":
            return ["D", str(value)]
        case "Fraction":
            return ["Q", hex(value.numerator), hex(value.denominator)]
        case "timedelta":
            return ["T", "timedelta", value.days, value.seconds, value.microseconds]
        case "date":
            return ["T", "date", value.year, value.month, value.day]
        case "datetime" | "time" if value.tzinfo is None or _is_plain_zone(value.tzinfo):
            offset = None if value.tzinfo is None else value.utcoffset().total_seconds()
            names = ["hour", "minute", "second", "microsecond", "fold"]
            names = [*(("year", "month", "day") if kind.__name__ == "datetime" else ()), *names]
            return ["T", kind.__name__, offset, *(getattr(value, name) for name in names)]
    return None


def _is_plain_zone(zone: object) -> bool:
    return type(zone) is sys.modules["datetime"].timezone


def _decode_moment(_: Decoder, name: str, *parts: object) -> object:
    datetime = importlib.import_module("datetime")
    if name in ("timedelta", "date"):
        return getattr(datetime, name)(*parts)
    offset, *values, fold = parts
    zone = None if offset is None else datetime.timezone(datetime.timedelta(seconds=offset))
    kind = datetime.datetime if name == "datetime" else datetime.time
    return kind(*values, tzinfo=zone, fold=fold)


def _decode_decimal(_: Decoder, text: str) -> object:
    return importlib.import_module("decimal").Decimal(text)


def _decode_fraction(_: Decoder, top: str, bottom: str) -> object:
    return importlib.import_module("fractions").Fraction(int(top, 16), int(bottom, 16))


_LIBRARY = ("decimal", "fractions", "datetime")
_CHANGEABLE: dict[type, str] = {
    list: "l",
    dict: "d",
    set: "s",
    bytearray: "y",
    collections.deque: "q",
    collections.OrderedDict: "o",
    collections.Counter: "C",
    collections.defaultdict: "g",
}
_MADE: dict[Any, Callable[[list[Any]], Any]] = {
    "l": lambda code: [],
    "d": lambda code: {},
    "s": lambda code: set(),
    "y": lambda code: bytearray(),
    "q": lambda code: collections.deque(maxlen=code[1]),
    "o": lambda code: collections.OrderedDict(),
    "C": lambda code: collections.Counter(),
    "g": lambda code: collections.defaultdict(_FACTORIES.get(code[1])),
}
_SIMPLE: dict[Any, Callable[..., Any]] = {
    "i": lambda _, text: int(text, 16),
    "f": lambda _, text: float(text),
    "b": lambda _, text: bytes.fromhex(text),
    "c": lambda decoder, real, imag: complex(decoder.decode(real), decoder.decode(imag)),
    "R": lambda decoder, *parts: range(*map(decoder.decode, parts)),
    "D": _decode_decimal,
    "Q": _decode_fraction,
    "n": lambda _, text: NotImplemented if text == "NotImplemented" else Ellipsis,
    "k": lambda _, name: _TYPES[name],
    "T": _decode_moment,
}


def is_stdlib(module: str) -> bool:
    """Whether a module is of Python's library."""
    return module.partition(".")[0] in sys.stdlib_module_names


def known_error(name: str) -> type[BaseException] | None:
    """Find an exception class of Python, or of a module of its library imported here."""
    module, _, qualified = name.rpartition(":")
    if module == "builtins":
        found: Any = getattr(builtins, qualified, None)
    elif is_stdlib(module) and not module.startswith("unittest"):
        found = getattr(sys.modules.get(module), qualified, None)
    else:
        found = None
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


FUNCTIONS = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
)
