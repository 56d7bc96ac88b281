"""Objects of the other side: a number there, a stand-in here.

Promises: a stand-in never equals a plain value unless it holds one, and hands the values that it
is compared with to the other side only where this side made the object itself: an object that a
program returns in place of a number cannot see what is expected of it.
"""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Callable

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

_UNARY = (
    *("__str__", "__repr__", "__format__", "__bool__", "__len__", "__iter__", "__next__"),
    *("__getitem__", "__setitem__", "__delitem__", "__call__", "__enter__", "__exit__"),
    *("__int__", "__float__", "__index__", "__complex__", "__bytes__", "__abs__", "__neg__"),
    *("__pos__", "__invert__", "__round__", "__trunc__", "__floor__", "__ceil__", "__hash__"),
    *("__reversed__", "__length_hint__", "__missing__"),
)
_ARITHMETIC = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow"),
    *("lshift", "rshift", "and", "or", "xor"),
)
_BINARY = (
    *(f"__{part}{name}__" for name in _ARITHMETIC for part in ("", "r", "i")),
    *("__lt__", "__le__", "__gt__", "__ge__"),
)
_OTHERS = ("__eq__", "__ne__", "__contains__")
OPERATORS = frozenset((*_UNARY, *_BINARY, *_OTHERS))
_JUDGES = {
    *("startswith", "endswith", "count", "index", "rindex", "find", "rfind"),
    *("issubset", "issuperset", "isdisjoint"),
    *(name for name in dir(str) if name.startswith("is")),
}
"""Methods of texts and collections that are asked whether something is so."""
_STORE = "_tsqa_stand_in"
_ORIGIN = "_tsqa_origin"


class Policy:
    """What one side lets the other do, and how it captures output."""

    exports_library = False
    """Whether functions and classes of Python's library cross by name."""

    def handle(self, peer: Peer, request: str, target: Any, values: list[Any]) -> Any:
        raise NotImplementedError

    def may_export(self, value: Any) -> bool:
        return True

    def captures(self) -> bool:
        """Whether what the other side prints is wanted here."""
        return False

    def begin(self, captures: bool) -> None:
        """A request of the other side begins."""

    def printed(self) -> str:
        """What was printed while it ran."""
        return ""

    def show(self, text: str) -> None:
        """The other side printed this."""


class Peer:
    """This end: asks, and answers while it waits."""

    def __init__(self, descriptor: int, policy: Policy) -> None:
        self.line = Line(descriptor)
        self.policy = policy
        self.dead = ""
        self.holds_objects = False
        """Whether something here depends on the other side as it is now."""
        self._exported: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._described: set[int] = set()
        self._stand_ins: dict[int, Any] = {}
        self._classes: dict[int, type] = {}
        self._raised: list[BaseException] = []

    def ask(self, request: str, target: Any, *values: Any) -> Any:
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

    def _changes(self, decoder: Decoder, values: list[Any], body: list[Any]) -> bool | None:
        if not decoder.kept:
            return None
        again = Encoder(self._export)
        return None if [again.encode(value) for value in values] == body else True

    def _send(self, message: Any) -> None:
        try:
            self.line.send(message)
        except LineError as error:
            raise self._end(str(error)) from error

    def _receive(self) -> Any:
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

    def number_of(self, value: Any) -> int:
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._exported)
            self._exported.append(value)
        return self._numbers[id(value)]

    def object_at(self, number: Any) -> Any:
        return self._exported[number]

    def _export(self, value: Any, encoder: Encoder) -> Any:
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

    def _export_class(self, kind: type) -> Any:
        if self.policy.exports_library and is_stdlib(kind.__module__):
            return ["library", kind.__module__, kind.__qualname__]
        if issubclass(kind, BaseException):
            return ["error class", self._lineage(kind)]
        return self._describe(kind)

    def _describe(self, kind: type) -> Any:
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

    def _export_error(self, error: BaseException) -> Any:
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

    def _encode_or_text(self, value: Any) -> Any:
        try:
            return Encoder(self._export).encode(value)
        except Exception:  # noqa: BLE001 - as above
            return f"<{type(value).__name__}>"

    # What comes in.

    def _find(self, code: list[Any], decoder: Decoder) -> Any:
        match code:
            case ["own", int(number)] if 0 <= number < len(self._exported):
                return self.object_at(number)
            case ["object", int(number), kind, plain]:
                self.holds_objects = True
                if number not in self._stand_ins:
                    mirror = decoder.decode(kind)
                    value = None if plain is None else decoder.decode(plain[0])
                    self._stand_ins[number] = _stand_in(mirror, self, number, value)
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
                    self._classes[number] = _mirror(self, number, described, decoder)
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

    async def _await(self, number: int) -> Any:
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
        self, lineage: list[Any], codes: list[Any], text: str, fields: dict[str, Any], place: int
    ) -> BaseException:
        kind = self._error_class(lineage)
        decoder = Decoder(self._find)
        arguments = [decoder.decode(code) for code in codes]
        try:
            error = kind(*arguments)
        except Exception:  # noqa: BLE001 - one with arguments of its own
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


class Stored:
    """What a stand-in knows of its object."""

    __slots__ = ("made", "mutable", "number", "peer", "plain")

    def __init__(self, peer: Peer, number: int, plain: Any, mutable: bool) -> None:
        self.peer, self.number, self.plain, self.mutable = peer, number, plain, mutable
        self.made = False
        """Whether this side made the object, and so asks what it does with other values.

        Of a class: whether this side called for it by name.
        """


def stored(value: Any) -> Stored | None:
    """What a stand-in stands for; None for anything else. Runs nothing of the value's own."""
    if type(value) is RemoteFunction or isinstance(type(value), RemoteType):
        found = object.__getattribute__(value, "__dict__").get(_STORE)
        return found if type(found) is Stored else None
    if isinstance(value, RemoteType):
        found = type.__getattribute__(value, "__dict__").get(_STORE)
        return found if type(found) is Stored else None
    return None


class RemoteFunction:
    """A function of the other side."""

    def __init__(self, peer: Peer, number: int, name: str) -> None:
        self.__dict__[_STORE] = Stored(peer, number, None, False)
        self.__dict__["__name__"] = self.__dict__["__qualname__"] = name

    def __call__(self, *values: Any, **named: Any) -> Any:
        held = self.__dict__[_STORE]
        return held.peer.ask("call", held.number, values, named)

    def __getattr__(self, name: str) -> Any:
        return _get(self, name)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)


class RemoteType(type):
    """The class of stand-ins; calling it makes an object on the other side."""

    def __call__(cls, *values: Any, **named: Any) -> Any:
        held = stored(cls)
        if held is None:  # a class of the tests that inherits from one of the program
            raise TypeError(f"{cls.__name__} cannot inherit from a class of the program")
        made = held.peer.ask("call", held.number, values, named)
        inner = stored(made)
        if inner is not None:
            inner.made = True
        return made

    def __getattr__(cls, name: str) -> Any:
        if stored(cls) is None or (name.startswith("__") and name not in ("__members__",)):
            raise AttributeError(name)
        return _get(cls, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        held = stored(cls)
        if held is None or name.startswith("__"):
            type.__setattr__(cls, name, value)
        else:
            held.peer.ask("set", held.number, name, value)

    def __iter__(cls) -> Any:
        return iter(_operate(cls, "__iter__", ()))

    def __len__(cls) -> int:
        return int(_operate(cls, "__len__", ()))

    def __bool__(cls) -> bool:
        return True

    def __getitem__(cls, key: Any) -> Any:
        return _operate(cls, "__getitem__", (key,))

    def __contains__(cls, value: Any) -> bool:
        return bool(_operate(cls, "__contains__", (value,)))


class RemoteObject(metaclass=RemoteType):
    """An object of the other side; its classes there have their mirrors here."""

    def __getattr__(self, name: str) -> Any:
        return _get(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        held = stored(self)
        assert held is not None
        held.peer.ask("set", held.number, name, value)

    def __delattr__(self, name: str) -> None:
        held = stored(self)
        assert held is not None
        held.peer.ask("delete", held.number, name)

    def __eq__(self, other: object) -> bool:
        mine, theirs = stored(self), stored(other)
        assert mine is not None
        if theirs is None:
            return bool(_value(mine) == other) if _has_value(mine) else False
        if mine.number == theirs.number:
            return True
        return bool(mine.peer.ask("equal", mine.number, other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        held = stored(self)
        assert held is not None
        return int(held.peer.ask("hash", held.number))

    def __contains__(self, value: Any) -> bool:
        held = stored(self)
        assert held is not None
        if held.made:
            return bool(_operate(self, "__contains__", (value,)))
        return any(each is value or each == value for each in self)  # type: ignore[attr-defined]

    def __copy__(self) -> Any:
        return _copied(self, "copy")

    def __deepcopy__(self, memo: Any) -> Any:
        return _copied(self, "deepcopy")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("an object of the program cannot be pickled")


def _copied(value: Any, how: str) -> Any:
    held = stored(value)
    assert held is not None
    made = held.peer.ask(how, held.number)
    inner = stored(made)
    if inner is not None:
        inner.made = held.made
    return made


def _get(value: Any, name: str) -> Any:
    held = stored(value)
    if held is None:
        raise AttributeError(name)
    if name in _JUDGES and not held.made:
        if not held.mutable:
            raise AttributeError(f"{type(value).__name__!r} object has no attribute {name!r}")
        return getattr(_value(held), name)
    return held.peer.ask("get", held.number, name)


def _has_value(held: Stored) -> bool:
    return held.mutable or held.plain is not None


def _value(held: Stored) -> Any:
    return held.peer.ask("plain", held.number) if held.mutable else held.plain


def _operate(value: Any, name: str, values: tuple[Any, ...]) -> Any:
    held = stored(value)
    if held is None:
        raise TypeError(name)
    return held.peer.ask("operate", held.number, name, *values)


def _plain(base: Any, value: Any) -> Any:
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


def _stand_in(mirror: Any, peer: Peer, number: int, value: Any) -> Any:
    if not isinstance(mirror, RemoteType):
        raise LineError("no class")
    base = next((base for base in PLAIN_BASES if issubclass(mirror, base)), None)
    made = object.__new__(mirror) if base is None else base.__new__(mirror, value)  # type: ignore
    mutable = bool(type.__getattribute__(mirror, "__dict__").get("_tsqa_mutable"))
    object.__getattribute__(made, "__dict__")[_STORE] = Stored(peer, number, value, mutable)
    return made


def _mirror(peer: Peer, number: int, described: Any, decoder: Decoder) -> type:
    name, bases, operators, plain, mutable = described
    known = [decoder.decode(base) for base in bases]
    parents: tuple[Any, ...] = tuple(base for base in known if isinstance(base, RemoteType)) or (
        RemoteObject,
    )
    fields: dict[str, Any] = {"__module__": "answer", "_tsqa_mutable": bool(mutable)}
    base = next((base for base in PLAIN_BASES if base.__name__ == plain), None)
    if base is not None:
        if not any(issubclass(parent, base) for parent in parents):
            parents = (*parents, base)
        fields |= {"__eq__": base.__eq__, "__ne__": base.__ne__, "__hash__": base.__hash__}
        fields["__contains__"] = getattr(base, "__contains__", _refuse)
        operators = [each for each in operators if each in ("__str__", "__repr__", "__format__")]
    for operator_name in operators:
        if operator_name in _BINARY:
            fields[operator_name] = _make_binary(operator_name)
        elif operator_name in _UNARY and operator_name != "__hash__":
            fields[operator_name] = _make_unary(operator_name)
    if base is None:
        fields.setdefault("__str__", _make_unary("__str__"))
        fields.setdefault("__repr__", _make_unary("__repr__"))
    try:
        made = RemoteType(str(name), parents, fields)
    except TypeError:  # an order of bases that the mirrors do not have
        made = RemoteType(str(name), (RemoteObject,), fields)
    type.__setattr__(made, _STORE, Stored(peer, number, None, False))
    return made


def _refuse(self: Any, value: Any) -> bool:
    raise TypeError(f"argument of type {type(self).__name__!r} is not iterable")


def _make_unary(name: str) -> Callable[..., Any]:
    def method(self: Any, *values: Any) -> Any:
        return _operate(self, name, values)

    return method


def _make_binary(name: str) -> Callable[..., Any]:
    def method(self: Any, other: Any, *rest: Any) -> Any:
        held = stored(self)
        assert held is not None
        theirs = stored(other)
        if theirs is None and not held.made:
            return NotImplemented
        result = held.peer.ask("operate", held.number, name, other, *rest)
        inner = stored(result)
        if inner is not None and (held.made or (theirs is not None and theirs.made)):
            inner.made = True
        return result

    return method


def _from_library(module: str, name: str) -> Any:
    import importlib

    if not is_stdlib(module):
        raise LineError("no module of Python's library")
    found = importlib.import_module(module)
    return operator.attrgetter(name)(found) if name else found
