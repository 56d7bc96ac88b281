"""Stand-ins for objects of the other side: a number there, an object here.

Guarantees: a stand-in never equals a plain value unless it holds one, and hands the values that it
is compared with to the other side only where this side made the object itself: an object that a
program returns in place of a number cannot see what is expected of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from tsqa.sandbox.inside.wire import PLAIN_BASES, Decoder, LineError

TYPE_CHECKING = False  # as typing's, whose import every program would wait for
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from tsqa.sandbox.inside.peer import Peer

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


class Stored:
    """What a stand-in knows of its object."""

    __slots__ = ("made", "mutable", "number", "peer", "plain")

    def __init__(self, peer: Peer, number: int, plain: object, mutable: bool) -> None:
        self.peer, self.number, self.plain, self.mutable = peer, number, plain, mutable
        self.made = False
        """Whether this side made the object, and so asks what it does with other values.

        Of a class: whether this side called for it by name.
        """


def stored(value: object) -> Stored | None:
    """Return what a stand-in stands for; None for anything else. Runs no code of the value."""
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

    def __call__(self, *values: object, **named: object) -> object:
        held = self.__dict__[_STORE]
        return held.peer.ask("call", held.number, values, named)

    def __getattr__(self, name: str) -> object:
        return _get(self, name)

    def __get__(self, instance: object, owner: object = None) -> object:
        return self if instance is None else functools.partial(self, instance)


class RemoteType(type):
    """The class of stand-ins; calling it makes an object on the other side."""

    def __call__(cls, *values: object, **named: object) -> object:
        held = stored(cls)
        if held is None:  # a class of the tests that inherits from one of the program
            raise TypeError(f"{cls.__name__} cannot inherit from a class of the program")
        made = held.peer.ask("call", held.number, values, named)
        inner = stored(made)
        if inner is not None:
            inner.made = True
        return made

    def __getattr__(cls, name: str) -> object:
        if stored(cls) is None or (name.startswith("__") and name not in ("__members__",)):
            raise AttributeError(name)
        return _get(cls, name)

    def __setattr__(cls, name: str, value: object) -> None:
        held = stored(cls)
        if held is None or name.startswith("__"):
            type.__setattr__(cls, name, value)
        else:
            held.peer.ask("set", held.number, name, value)

    def __iter__(cls) -> object:
        return iter(_operate(cls, "__iter__", ()))

    def __len__(cls) -> int:
        return int(_operate(cls, "__len__", ()))

    def __bool__(cls) -> bool:
        return True

    def __getitem__(cls, key: object) -> object:
        return _operate(cls, "__getitem__", (key,))

    def __contains__(cls, value: object) -> bool:
        return bool(_operate(cls, "__contains__", (value,)))


class RemoteObject(metaclass=RemoteType):
    """An object of the other side; its classes there have their mirrors here."""

    def __getattr__(self, name: str) -> object:
        return _get(self, name)

    def __setattr__(self, name: str, value: object) -> None:
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

    def __contains__(self, value: object) -> bool:
        held = stored(self)
        assert held is not None
        if held.made:
            return bool(_operate(self, "__contains__", (value,)))
        return any(each is value or each == value for each in self)  # type: ignore[attr-defined]

    def __copy__(self) -> object:
        return _copied(self, "copy")

    def __deepcopy__(self, memo: object) -> object:
        return _copied(self, "deepcopy")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("an object of the program cannot be pickled")


def _copied(value: object, how: str) -> object:
    held = stored(value)
    assert held is not None
    made = held.peer.ask(how, held.number)
    inner = stored(made)
    if inner is not None:
        inner.made = held.made
    return made


def _get(value: object, name: str) -> object:
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


def _value(held: Stored) -> object:
    return held.peer.ask("plain", held.number) if held.mutable else held.plain


def _operate(value: object, name: str, values: tuple[object, ...]) -> Any:
    held = stored(value)
    if held is None:
        raise TypeError(name)
    return held.peer.ask("operate", held.number, name, *values)


def make_stand_in(mirror: object, peer: Peer, number: int, value: object) -> object:
    if not isinstance(mirror, RemoteType):
        raise LineError("no class")
    base = next((base for base in PLAIN_BASES if issubclass(mirror, base)), None)
    made = object.__new__(mirror) if base is None else base.__new__(mirror, value)  # type: ignore
    mutable = bool(type.__getattribute__(mirror, "__dict__").get("_tsqa_mutable"))
    object.__getattribute__(made, "__dict__")[_STORE] = Stored(peer, number, value, mutable)
    return made


def make_mirror(peer: Peer, number: int, described: Any, decoder: Decoder) -> type:
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


def _refuse(self: object, value: object) -> bool:
    raise TypeError(f"argument of type {type(self).__name__!r} is not iterable")


def _make_unary(name: str) -> Callable[..., Any]:
    def method(self: object, *values: object) -> object:
        return _operate(self, name, values)

    return method


def _make_binary(name: str) -> Callable[..., Any]:
    def method(self: object, other: object, *rest: object) -> object:
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
