"""One end of the line: asks the other side, and answers it.

An object that stays where it is crosses as a number; its stand-in on the other side is in
`stand_ins`.
"""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Mapping

from tsqa.sandbox.inside.stand_ins import (
    OPERATORS,
    RemoteFunction,
    make_mirror,
    make_stand_in,
    stored,
)
from tsqa.sandbox.inside.wire import (
    FUNCTIONS,
    MUTABLE_BASES,
    PLAIN_BASES,
    Decoder,
    Encoder,
    Line,
    LineError,
    is_stdlib,
    known_error,
)

TYPE_CHECKING = False  # as typing's, whose import every program would wait for
if TYPE_CHECKING:
    from typing import Any

_ORIGIN = "_tsqa_origin"


class Policy:
    """What one side lets the other do, and how it captures output."""

    exports_library = False
    """Whether functions and classes of Python's library cross by name."""

    def handle(self, peer: Peer, request: str, target: object, values: list[object]) -> object:
        raise NotImplementedError

    def may_export(self, value: object) -> bool:
        return True

    def captures(self) -> bool:
        """Whether what the other side prints is wanted here."""
        return False

    def begin(self, captures: bool) -> None:
        """Note that a request of the other side begins."""

    def printed(self) -> str:
        """Return what was printed while it ran."""
        return ""

    def show(self, text: str) -> None:
        """Show what the other side printed."""


class Peer:
    """This end: asks, and answers while it waits."""

    def __init__(self, descriptor: int, policy: Policy) -> None:
        self.line = Line(descriptor)
        self.policy = policy
        self.dead = ""
        self.holds_objects = False
        """Whether something here depends on the other side's present state."""
        self._exported: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._described: set[int] = set()
        self._stand_ins: dict[int, Any] = {}
        self._classes: dict[int, type] = {}
        self._raised: list[BaseException] = []

    def ask(self, request: str, target: object, *values: object) -> Any:
        """Have the other side do something; return or raise what came of it."""
        encoder = Encoder(self._export)
        body = [encoder.encode(value) for value in values]
        self._send([request, target, body, self.policy.captures()])
        while True:
            message = self._receive()
            if message[0] in ("=", "!"):
                break
            self.answer(message)
        try:
            kind, code, updates, printed = message
            self.policy.show(str(printed))
            decoder = Decoder(self._find, encoder.kept)
            if updates is not None:
                decoder.update(updates)
            value = decoder.decode(code)
        except LineError:
            raise
        except Exception as error:
            raise self._end(f"an answer that is no value: {type(error).__name__}") from error
        if kind == "!":
            if not isinstance(value, BaseException):
                raise self._end("an error that is none")
            raise value
        return value

    def answer(self, message: Any) -> None:
        """Do what the other side asks."""
        request, target, body, captures = message
        decoder = Decoder(self._find)
        values = [decoder.decode(code) for code in body]
        self.policy.begin(bool(captures))
        try:
            kind, result = "=", self.policy.handle(self, request, target, values)
        except LineError:
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised on the other side
            kind, result = "!", error
        printed = self.policy.printed()
        try:
            updates = self._changes(decoder, values, body)
            encoder = Encoder(self._export, decoder.kept)
            codes = None if updates is None else [encoder.contents(each) for each in decoder.kept]
            code = encoder.encode(result)
        except Exception as error:  # noqa: BLE001 - what cannot cross is an error there
            kind, codes, code = "!", None, Encoder(self._export).encode(error)
        self._send([kind, code, codes, printed])

    def _changes(self, decoder: Decoder, values: list[object], body: list[object]) -> bool | None:
        if not decoder.kept:
            return None
        again = Encoder(self._export)
        return None if [again.encode(value) for value in values] == body else True

    def _send(self, message: object) -> None:
        try:
            self.line.send(message)
        except LineError as error:
            raise self._end(str(error)) from error

    def _receive(self) -> list[Any]:
        try:
            message = self.line.receive()
        except LineError as error:
            raise self._end(str(error)) from error
        if not isinstance(message, list) or len(message) != 4:
            raise self._end("no message")
        return message

    def _end(self, reason: str) -> LineError:
        self.dead = self.dead or reason
        return LineError(self.dead)

    # What goes out.

    def number_of(self, value: object) -> int:
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._exported)
            self._exported.append(value)
        return self._numbers[id(value)]

    def object_at(self, number: Any) -> Any:
        return self._exported[number]

    def _export(self, value: object, encoder: Encoder) -> object:
        held = stored(value)
        if held is not None:
            if held.peer is not self:
                raise TypeError("an object of a program that has ended")
            return ["own", held.number]
        if isinstance(value, BaseException):
            return self._export_error(value)
        if isinstance(value, type):
            return self._export_class(value)
        if not self.policy.may_export(value):
            raise TypeError(f"{type(value).__name__} cannot be handed over")
        by_name = self.policy.exports_library
        if by_name and isinstance(value, types.ModuleType) and is_stdlib(value.__name__):
            return ["library", value.__name__, ""]
        if isinstance(value, (*FUNCTIONS, functools.partial)):
            module = getattr(value, "__module__", None)
            name = getattr(value, "__qualname__", "")
            is_bound = isinstance(value, types.MethodType) or "<" in name
            if by_name and module and is_stdlib(module) and not is_bound:
                return ["library", module, name]
            return ["function", self.number_of(value), str(getattr(value, "__name__", "function"))]
        if isinstance(value, types.CoroutineType):
            return ["coroutine", self.number_of(value)]
        base = next((base for base in PLAIN_BASES if isinstance(value, base)), None)
        plain = None if base is None else [encoder.encode(_plain(base, value))]
        return ["object", self.number_of(value), self._describe(type(value)), plain]

    def _export_class(self, kind: type) -> object:
        if self.policy.exports_library and is_stdlib(kind.__module__):
            return ["library", kind.__module__, kind.__qualname__]
        if issubclass(kind, BaseException):
            return ["error class", self._lineage(kind)]
        return self._describe(kind)

    def _describe(self, kind: type) -> object:
        number = self.number_of(kind)
        if number in self._described:
            return ["class", number, None]
        self._described.add(number)
        bases = [self._describe(b) for b in kind.__bases__ if b.__module__ != "builtins"]
        own = [name for name in OPERATORS if any(name in vars(c) for c in kind.__mro__[:-1])]
        plain = next((base.__name__ for base in PLAIN_BASES if issubclass(kind, base)), "")
        mutable = any(issubclass(kind, base) for base in MUTABLE_BASES)
        return ["class", number, [kind.__name__, bases, own, plain, mutable]]

    def _lineage(self, kind: type) -> list[Any]:
        lineage = []
        for each in kind.__mro__:
            if each in (object, BaseException):
                continue
            library = each.__module__ == "builtins" or is_stdlib(each.__module__)
            name = f"{each.__module__}:{each.__qualname__}" if library else each.__name__
            lineage.append([None if library else self.number_of(each), name])
        return lineage

    def _export_error(self, error: BaseException) -> object:
        origin = getattr(error, _ORIGIN, None)
        if origin is not None and origin[0] is self:
            return ["own error", origin[1]]
        if len(self._raised) < 1000:
            self._raised.append(error)
        arguments = [self._encode_or_text(value) for value in error.args]
        fields = {
            str(name): self._encode_or_text(value)
            for name, value in vars(error).items()
            if name != _ORIGIN
        }
        try:
            text = str(error)
        except Exception:  # noqa: BLE001 - the error of a program
            text = ""
        place = len(self._raised) - 1
        return ["error", self._lineage(type(error)), arguments, text, fields, place]

    def _encode_or_text(self, value: object) -> object:
        try:
            return Encoder(self._export).encode(value)
        except Exception:  # noqa: BLE001 - as above
            return f"<{type(value).__name__}>"

    # What comes in.

    def _find(self, code: list[Any], decoder: Decoder) -> object:
        match code:
            case ["own", int(number)] if 0 <= number < len(self._exported):
                return self.object_at(number)
            case ["object", int(number), kind, plain]:
                self.holds_objects = True
                if number not in self._stand_ins:
                    mirror = decoder.decode(kind)
                    value = None if plain is None else decoder.decode(plain[0])
                    self._stand_ins[number] = make_stand_in(mirror, self, number, value)
                return self._stand_ins[number]
            case ["function", int(number), str(name)]:
                self.holds_objects = True
                if number not in self._stand_ins:
                    self._stand_ins[number] = RemoteFunction(self, number, name)
                return self._stand_ins[number]
            case ["coroutine", int(number)]:
                return self._await(number)
            case ["class", int(number), described]:
                if number not in self._classes:
                    self._classes[number] = make_mirror(self, number, described, decoder)
                return self._classes[number]
            case ["error class", list(lineage)]:
                return self._error_class(lineage)
            case ["error", list(lineage), list(arguments), str(text), dict(fields), int(place)]:
                return self._error(lineage, arguments, text, fields, place)
            case ["own error", int(place)] if 0 <= place < len(self._raised):
                return self._raised[place]
            case ["library", str(module), str(name)] if not self.policy.exports_library:
                return _from_library(module, name)
        raise LineError("no value")

    async def _await(self, number: int) -> object:
        return self.ask("await", number)

    def _error_class(self, lineage: list[Any]) -> type[BaseException]:
        base: type[BaseException] = Exception
        own: list[tuple[int, str]] = []
        for number, name in lineage:
            found = known_error(str(name)) if number is None else None
            if found is not None:
                base = found
                break
            if number is not None:
                own.append((number, str(name)))
        for number, name in reversed(own):
            if number not in self._classes:
                fields = {"__str__": _error_text, "__module__": "answer"}
                self._classes[number] = type(name, (base,), fields)
            known = self._classes[number]
            base = known if issubclass(known, BaseException) else base
        return base

    def _error(
        self,
        lineage: list[object],
        codes: list[object],
        text: str,
        fields: Mapping[str, object],
        place: int,
    ) -> BaseException:
        kind = self._error_class(lineage)
        decoder = Decoder(self._find)
        arguments = [decoder.decode(code) for code in codes]
        try:
            error = kind(*arguments)
        except Exception:  # noqa: BLE001 - its class wants other arguments
            error = kind.__new__(kind)
            error.args = tuple(arguments)
        for name, code in fields.items():
            if not name.startswith("__"):
                setattr(error, name, decoder.decode(code))
        error.__dict__[_ORIGIN] = (self, place)
        error.__dict__["_tsqa_text"] = text
        return error


def _error_text(error: BaseException) -> str:
    text = error.__dict__.get("_tsqa_text")
    return text if isinstance(text, str) else BaseException.__str__(error)


def _plain(base: Any, value: Any) -> object:
    """The value of an object whose class inherits from a plain one, by the plain one's means."""
    if base in (tuple, frozenset):
        return base(base.__iter__(value))
    if base is str:
        return str.__str__(value)
    if base is bytes:
        return bytes.__getitem__(value, slice(None))
    if base is complex:
        return complex.__add__(value, 0j)
    return int.__add__(value, 0) if base is int else float.__add__(value, 0.0)


def _from_library(module: str, name: str) -> object:
    import importlib

    if not is_stdlib(module):
        raise LineError("no module of Python's library")
    found = importlib.import_module(module)
    return operator.attrgetter(name)(found) if name else found
