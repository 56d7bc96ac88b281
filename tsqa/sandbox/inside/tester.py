"""The side of the tests: each runs here against a program that runs elsewhere.

Guarantees: no name that Python gives tests (`abs`, `math`, ...) is the program's where they use
others of its; each test begins with the program as it was loaded, unless tests share its objects;
only tests that ran to their end without an error pass.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import io
import sys
import types
from collections.abc import Callable, Iterator

from tsqa.sandbox.inside.peer import Peer, Policy
from tsqa.sandbox.inside.stand_ins import OPERATORS, stored
from tsqa.sandbox.inside.wire import CLOSED, is_stdlib

TYPE_CHECKING = False  # as typing's, whose import every program would wait for
if TYPE_CHECKING:
    from typing import Any

_MESSAGE = 200
_CHECKERS = {"isclose": ("math", "isclose")}
_ABSENT = {"np", "numpy", "pd", "pandas", "torch", "scipy", "pytest", "approx"}
"""What tests may take for granted, and no program may give them."""
_CLOSED = (
    *(types.FrameType, types.CodeType, types.TracebackType, types.ModuleType),
    *(types.GeneratorType, types.CoroutineType, types.FunctionType, types.MethodType, type),
)
"""What the program is shown nothing of."""
Start = Callable[[], int]
"""Starts the program anew, and returns the line to it."""
Ending = Callable[[], str]
"""How the program ended."""


class _TestPolicy(Policy):
    exports_library = True

    def __init__(self) -> None:
        self._stdout = sys.stdout

    def captures(self) -> bool:
        return sys.stdout is not self._stdout

    def show(self, text: str) -> None:
        if text and self.captures():
            sys.stdout.write(text)

    def may_export(self, value: object) -> bool:
        if isinstance(value, types.ModuleType):
            return is_stdlib(value.__name__)
        hidden = (types.FrameType, types.CodeType, types.TracebackType)
        return not isinstance(value, hidden) and not type(value).__module__.startswith("tsqa")

    def handle(self, peer: Peer, request: str, target: Any, values: list[Any]) -> Any:
        if request == "prompt":
            return builtins.input(*values)
        if request == "input" and values[0] in ("read", "readline"):
            return getattr(sys.stdin, values[0])(values[1])
        value = peer.object_at(target)
        if request == "call" and callable(value):
            return value(*values[0], **values[1])
        if request == "hash":
            return hash(value)
        if request == "equal":
            return bool(value == values[0])
        if request == "operate" and values[0] in OPERATORS and not isinstance(value, type):
            return getattr(type(value), values[0])(value, *values[1:])
        name = values[0]
        if isinstance(value, _CLOSED) or not isinstance(name, str) or name.startswith("_"):
            raise AttributeError(name)
        if request == "get":
            return getattr(value, name)
        if type(value).__module__ != "answer":
            raise AttributeError(name)
        if request == "set":
            return setattr(value, name, values[1])
        if request == "delete":
            return delattr(value, name)
        raise TypeError(request)


class _Names(dict):  # type: ignore[type-arg]
    """The namespace of the tests: what they do not define is the program's, or Python's."""

    def __init__(self, session: _Session, tests: ast.Module, answer: str) -> None:
        super().__init__(__name__="answer")
        self._session = session
        self._imported = _imports(answer)
        self._own = _python_names(tests)

    def __missing__(self, name: str) -> object:
        if name.startswith("__"):
            raise KeyError(name)
        if name in self._imported:
            module, attribute = self._imported[name]
            found = importlib.import_module(module)
            self[name] = getattr(found, attribute) if attribute else found
            return self[name]
        if name in self._own:
            if name in _CHECKERS:
                module, attribute = _CHECKERS[name]
                return getattr(importlib.import_module(module), attribute)
            raise KeyError(name)
        return self._session.name(name)


class _Session:
    """The program as the tests see it; it can be started anew."""

    def __init__(self, start: Start, ending: Ending) -> None:
        self._start, self._ending = start, ending
        self._policy = _TestPolicy()
        self._known: dict[str, Any] = {}
        self._unknown: set[str] = set()
        self._peer: Peer | None = None
        self._error = ""
        self.pinned = False
        """Whether the tests keep something of the program under another name."""

    def renew(self) -> None:
        """Start a fresh program, unless the tests hold an object of the one before."""
        if self._peer is not None and (self.pinned or self._peer.holds_objects or self.ended()):
            return
        self._known.clear()
        self._unknown.clear()
        self._peer = Peer(self._start(), self._policy)
        self._peer.ask("load", 0)

    def name(self, name: str) -> object:
        """Return what the program calls so; KeyError where it has no such name."""
        if name in self._unknown or self._peer is None:
            raise KeyError(name)
        if name not in self._known:
            held = self._peer.holds_objects
            try:
                value = self._peer.ask("name", name)
            except KeyError:
                self._unknown.add(name)
                raise
            self._peer.holds_objects = held  # a name is asked for again
            known = stored(value)
            if known is not None and isinstance(value, type):
                known.made = True
            if not callable(value):
                return value
            self._known[name] = value
        return self._known[name]

    def ended(self) -> str:
        """Say why the program is gone; empty while it is there."""
        if self._peer is not None and self._peer.dead and not self._error:
            closed = self._peer.dead == CLOSED
            self._error = (
                f"ended without a verdict: {self._ending() if closed else self._peer.dead}"
            )
        return self._error


def run_tests(tests: str, answer: str, start: Start, ending: Ending) -> str:
    """Run all tests; return why they fail, or `""`."""
    session = _Session(start, ending)
    try:
        tree = ast.parse(tests, "tests.py")
        if "unittest" in tests:
            import unittest

            unittest.main = lambda *_, **__: None  # type: ignore[assignment]
        session.renew()
        _run(tree, _Names(session, tree, answer), session)
        return session.ended()
    except BaseException as problem:  # noqa: BLE001 - SystemExit too is a way not to pass
        return session.ended() or _describe(problem)


def _run(tree: ast.Module, names: _Names, session: _Session) -> None:
    apart = (ast.Assert, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    is_apart = all(isinstance(node, apart) or _is_constant(node) for node in tree.body)
    session.pinned = any(map(_keeps, tree.body))
    for node in tree.body:
        if is_apart and isinstance(node, ast.Assert):
            session.renew()
        borrowed = _bind_class_names(node, names) if isinstance(node, ast.ClassDef) else []
        code = compile(ast.Module([node], []), "tests.py", "exec", dont_inherit=True)
        exec(code, names)
        for name in borrowed:
            names.pop(name)
    session.pinned |= any(stored(value) is not None for value in names.values())
    for test in _tests_in(names):
        session.renew()
        test()


def _bind_class_names(node: ast.ClassDef, names: _Names) -> list[str]:
    """The body of a class looks names up in the dictionary itself, as Python is made."""
    borrowed = []
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and each.id not in names and not hasattr(builtins, each.id):
            try:
                names.setdefault(each.id, names[each.id])
                borrowed.append(each.id)
            except KeyError:
                continue
    return borrowed


def _tests_in(names: _Names) -> Iterator[Callable[[], None]]:
    """Test functions that nothing calls are called, and test classes are run."""
    for name, value in list(names.items()):
        if stored(value) is not None:
            continue
        code = getattr(value, "__code__", None)
        if name.startswith("test") and code and code.co_filename == "tests.py":
            yield value
        elif isinstance(value, type) and value.__module__ == "answer":
            if "unittest" in sys.modules and issubclass(value, sys.modules["unittest"].TestCase):
                yield from _cases(value)
            elif name.startswith("Test"):
                methods = [each for each in dir(value) if each.startswith("test")]
                yield from (getattr(value(), each) for each in methods)


def _cases(kind: Any) -> Iterator[Callable[[], None]]:
    import unittest

    for case in unittest.defaultTestLoader.loadTestsFromTestCase(kind):

        def run(case: Any = case) -> None:
            result = unittest.TestResult()
            unittest.TestSuite([case]).run(result)
            problems = [*result.failures, *result.errors]
            if problems:
                lines = [line for line in problems[0][1].splitlines() if line[:1].strip()]
                raise _FailedError(lines[-1] if lines else "failed")
            if result.skipped or result.unexpectedSuccesses or not result.testsRun:
                raise _FailedError(f"{case.id()} was not run")

        yield run


class _FailedError(Exception):
    """A test case failed; its text says all."""


def _describe(problem: BaseException) -> str:
    if isinstance(problem, _FailedError):
        return str(problem)[:_MESSAGE]
    try:
        return f"{type(problem).__name__}: {problem}"[:_MESSAGE]
    except Exception:  # noqa: BLE001 - an error of the program's own
        return type(problem).__name__[:_MESSAGE]


def _imports(answer: str) -> dict[str, tuple[str, str]]:
    """What the program imports from Python's library: name -> module and attribute."""
    try:
        tree = ast.parse(answer)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    found: dict[str, tuple[str, str]] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            for each in node.names:
                if is_stdlib(each.name):
                    name = each.name if each.asname else each.name.partition(".")[0]
                    found[each.asname or name] = (name, "")
        elif isinstance(node, ast.ImportFrom) and node.module and is_stdlib(node.module):
            for each in node.names:
                module = importlib.import_module(node.module)
                if hasattr(module, each.name):
                    found[each.asname or each.name] = (node.module, each.name)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.pop(node.name, None)
    return found


def _python_names(tests: ast.Module) -> set[str]:
    """Names that are Python's, not the program's: all that it has, unless tests use no others.

    A module's name is Python's where it is used as one (`math.isclose`).
    """
    loaded: set[str] = set()
    bound: set[str] = set()
    modules: set[str] = set()
    for node in ast.walk(tests):
        if isinstance(node, ast.Name):
            (loaded if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound.update((each.asname or each.name).partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            modules.add(node.value.id)
    python = (
        set(dir(builtins))
        | set(_CHECKERS)
        | _ABSENT
        | {name for name in modules if is_stdlib(name)}
    )
    return python if loaded - bound - python else set()


def _keeps(node: ast.stmt) -> bool:
    """Whether a definition may keep something of the program: a class, a default, a decorator."""
    if isinstance(node, ast.FunctionDef):
        arguments = node.args
        return bool(node.decorator_list or arguments.defaults or any(arguments.kw_defaults))
    own = (ast.FunctionDef, ast.AsyncFunctionDef)
    return isinstance(node, ast.ClassDef) and not all(
        (isinstance(each, own) and not _keeps(each)) or _is_constant(each) for each in node.body
    )


def _is_constant(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def silence() -> None:
    """Let tests print nowhere and read nothing, unless they replace the streams."""
    sys.stdout = sys.stderr = io.TextIOWrapper(open("/dev/null", "wb"), "utf-8")  # noqa: SIM115
    sys.stdin = open("/dev/null", encoding="utf-8")  # noqa: SIM115
