"""YAML of a recipe as plain values, and the line of each.

Guarantees: no value is read in a way its writer may not mean (a repeated key, `010`, `1:30`); a
document that would grow without bounds, by aliases or nesting, is refused before it does; every
problem is a RecipeError that says where.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tsqa.errors import RecipeError, os_error_cause

_LARGEST_FILE = 8 << 20
_DEEPEST = 64
_MOST_VALUES = 100_000
"""Of a document, each alias counted as what it stands for."""
_READ_DIFFERENTLY = re.compile(r"[-+]?(0[0-9_]+|0b[01_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
"""Numbers that YAML 1.1 takes for octal, binary or minutes, and other readers do not."""


@dataclass(frozen=True)
class YamlDocument:
    """What a YAML file says."""

    values: dict[str, Any]
    lines: dict[str, int]
    """`a.b.0.c` -> the line that sets it."""
    replaced: tuple[str, ...]
    """`a.b.` of each value that replaces an inherited one entirely (not a mapping)."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.1 without types that JSON lacks, and without numbers that can be misread."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML declares it
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_number(self, node: yaml.Node) -> int | float:
        text = str(self.construct_scalar(node))
        if _READ_DIFFERENTLY.fullmatch(text):
            raise _wrong(node, f"{text} can be read as different numbers; {_QUOTE}")
        number: int | float
        try:
            if node.tag.endswith(":int"):
                number = self.construct_yaml_int(node)
            else:
                number = self.construct_yaml_float(node)
        except ValueError:
            raise _wrong(node, f"{text:.40} is no number") from None
        return number


_QUOTE = "write a plain decimal number, or quote it where text is meant"
for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_number)
for _tag in ("binary", "omap", "pairs", "set", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_undefined)


def read_yaml(path: Path) -> YamlDocument:
    """The mapping that a file holds; RecipeError if it does not, or cannot be read."""
    return parse_yaml(_read_text(path), path)


def read_keys(path: Path) -> set[str]:
    """The keys at the top of a file; tags of another program (`!function`) are no error."""
    with _named(path, text := _read_text(path)):
        node = _compose(text)
    if not isinstance(node, yaml.MappingNode):
        return set()
    return {str(key.value) for key, _ in node.value}


def _read_text(path: Path) -> str:
    try:
        if path.is_dir():
            inside = path / "recipe.yaml"
            fix = f"give {inside}" if inside.is_file() else "give the path of a YAML file"
            raise RecipeError(f"{path}: is a folder", fix)
        if not path.is_file():
            raise RecipeError(
                f"{path}: no such recipe",
                "give the path of a YAML file, or copy a shipped recipe: tsqa init",
            )
        raw = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {os_error_cause(error)[0]}") from error
    if len(raw) > _LARGEST_FILE:
        raise RecipeError(f"{path}: {len(raw):,} bytes: too large for a recipe")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{path}: not UTF-8: {error.reason} at byte {error.start:,}", "save it as UTF-8"
        ) from error


def parse_yaml(text: str, path: Path) -> YamlDocument:
    """The mapping in the text of a file; RecipeError if it holds none."""
    with _named(path, text):
        names, values = _parse(text)
    if not isinstance(values, dict):
        kind = "nothing" if values is None else type(values).__name__
        raise RecipeError(f"{path}: expected keys and values, found {kind}")
    lines: dict[str, int] = {}
    replaced: list[str] = []
    for name, line, is_mapping in names:
        if name in lines:
            raise RecipeError(
                f"{path}:{line}: {name}: given twice (first at {path}:{lines[name]})", "keep one"
            )
        lines[name] = line
        if not is_mapping:
            replaced.append(f"{name}.")
    return YamlDocument(values, lines, tuple(replaced))


def parse_value(text: str) -> Any:
    """The value of an override: YAML, or the text itself where it is not YAML.

    A list, a mapping or a quotation that does not end is an error: no text begins like that.
    """
    try:
        names, value = _parse(text)
    except yaml.YAMLError as error:  # {data}/x.jsonl opens a mapping
        if text.startswith(("[", '"', "'")):
            raise RecipeError(f"not YAML: {_cause(error)}", "close what is opened") from error
        return text
    except _Unbounded as error:
        raise RecipeError(str(error)) from error
    counts = Counter(name for name, _, _ in names)
    if counts.total() > len(counts):
        raise RecipeError(f"{counts.most_common(1)[0][0]}: given twice", "keep one")
    return value


@contextmanager
def _named(path: Path, text: str) -> Iterator[None]:
    """What is wrong with the text is an error that names its file."""
    try:
        yield
    except yaml.YAMLError as error:
        fix = "indent with spaces, not with tabs" if _is_at_tab(error, text) else ""
        raise RecipeError(f"{path}: not YAML: {_cause(error)}", fix) from error
    except _Unbounded as error:
        raise RecipeError(f"{path}: {error}") from error


class _Unbounded(Exception):
    """The document is nested too deeply, or larger than any recipe."""


_Name = tuple[str, int, bool]
"""What is set: `a.b.0.c`, its line, and whether it is a mapping."""


def _parse(text: str) -> tuple[list[_Name], Any]:
    """All that a document sets, and its values."""
    node = _compose(text)
    if node is None:
        return [], None
    names = list(_walk(node, ""))  # constructing it puts merged keys among the others
    return names, _Loader("").construct_document(node)


def _compose(text: str) -> yaml.Node | None:
    """The document as nodes, no value of which is read yet."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise yaml.YAMLError(f"half a character (a lone surrogate) at {error.start:,}") from error
    depth = 0
    # Composing is recursive, in C without a bound; reading events is not.
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise _Unbounded(f"nested more than {_DEEPEST} levels deep")
    loader = _Loader(text)
    try:
        node: yaml.Node | None = loader.get_single_node()
    finally:
        loader.dispose()
    if node is not None:
        _measure(node, {})
    return node


def _measure(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """How many values a node stands for, and how deep they are nested."""
    if id(node) in known:
        found = known[id(node)]
        if found is None:
            raise _Unbounded(f"line {node.start_mark.line + 1}: an alias holds itself")
        return found
    known[id(node)] = None
    size, depth = 1, 0
    for child in _children(node):
        inner, below = _measure(child, known)
        size, depth = size + inner, max(depth, below + 1)
    if size > _MOST_VALUES or depth > _DEEPEST:
        raise _Unbounded(
            f"more than {_MOST_VALUES:,} values, or nested more than {_DEEPEST} levels deep, "
            "aliases counted as what they stand for"
        )
    known[id(node)] = size, depth
    return size, depth


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    for child in node.value if isinstance(node, yaml.CollectionNode) else ():
        yield from child if isinstance(child, tuple) else (child,)


def _walk(node: yaml.Node, prefix: str) -> Iterator[_Name]:
    children: list[tuple[str, int, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        children = [(str(k.value), k.start_mark.line, v) for k, v in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = [(str(n), v.start_mark.line, v) for n, v in enumerate(node.value)]
    for name, line, child in children:
        yield f"{prefix}{name}", line + 1, isinstance(child, yaml.MappingNode)
        yield from _walk(child, f"{prefix}{name}.")


def _wrong(node: yaml.Node, message: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, message, node.start_mark)


def _is_at_tab(error: yaml.YAMLError, text: str) -> bool:
    place = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    lines = text.splitlines()
    return bool(place and place.line < len(lines) and lines[place.line].startswith("\t"))


def _cause(error: yaml.YAMLError) -> str:
    """The message of an error on one line, with its position."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    place = error.problem_mark or error.context_mark
    where = f"line {place.line + 1}, column {place.column + 1}: " if place else ""
    said = ", ".join(part for part in (error.context, error.problem, error.note) if part)
    return where + said
