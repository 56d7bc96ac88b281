"""The names that a piece of a program gives, and those that it takes from elsewhere.

Python's own symbol tables say so where the piece compiles; where it does not (another language, a
part that was cut), definitions, imports and constants in the usual notations do.

Guarantee: nothing is run, and nothing raised on any text.
"""

from __future__ import annotations

import ast
import re
import symtable
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

DEFINED = re.compile(
    r"^[ \t]*(?:async )?(?:def|class|func|function|fn)[ \t]+(\w+)[ \t]*[(:<{]", re.MULTILINE
)
_IMPORTED = re.compile(r"^(?:from [\w.]+ )?import (?P<names>[^\n#]+)", re.MULTILINE)
_CONSTANT = re.compile(
    r"^(?:(?:export )?(?:const|let|var|val)[ \t]+(\w+)|#define[ \t]+(\w+)"
    r"|([A-Z][A-Z0-9_]+)[ \t]*=(?!=))",
    re.MULTILINE,
)
_CHECKS = re.compile(r"test|check|main$|demo|example|usage", re.IGNORECASE)
_MAX_CHARACTERS = 50_000
_DEFINES = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
    *(ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign),
)


@dataclass(frozen=True)
class Names:
    given: frozenset[str] = frozenset()
    """Functions, classes, imports and variables of its outermost level."""
    taken: frozenset[str] = frozenset()
    """Used and not given, those of Python itself too; of what does not compile, every word."""
    helps: bool = False
    """It defines functions or classes that are no tests, and does nothing else."""


def names_of(code: str) -> Names:
    """Read the names of a piece of a program."""
    tree = _tree(code)
    if tree is None:
        written = _written(code)
        return Names(written, frozenset(re.findall(r"\w+", code)) - written)
    table = _table(code)
    if table is None:
        return Names()
    defined = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    is_pure = all(isinstance(node, _DEFINES) or _is_text(node) for node in tree.body)
    given = frozenset(
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
    )
    helps = is_pure and bool(defined) and not any(map(_CHECKS.match, defined))
    return Names(given, frozenset(_used(table)) - given, helps)


def compiles(code: str) -> bool:
    """Whether a text is Python as it stands."""
    return _tree(code) is not None


def _tree(code: str) -> ast.Module | None:
    if len(code) > _MAX_CHARACTERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _table(code: str) -> symtable.SymbolTable | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return symtable.symtable(code, "reply", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # such as `return` outside of a function


def _used(table: symtable.SymbolTable) -> Iterator[str]:
    """Names that a table and those in it look up at the outermost level."""
    is_outermost = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (is_outermost or symbol.is_global()):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _used(inner)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _written(code: str) -> frozenset[str]:
    listed = ",".join(found["names"] for found in _IMPORTED.finditer(code))
    named = (name.strip(" ()\t\r").split() for name in listed.split(","))
    imported = {words[-1].split(".")[0] for words in named if words}
    constants = {name for found in _CONSTANT.findall(code) for name in found if name}
    return frozenset(imported | constants | {*DEFINED.findall(code)})
