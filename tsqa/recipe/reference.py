"""The keys of a recipe explained: in the terminal, as REFERENCE.md and as a JSON schema.

`tsqa schema` and `tsqa schema --reference` print the two files that the repository holds.

Guarantees: every key that a recipe may have is listed, with the text that the schema has for it.
"""

from __future__ import annotations

import difflib
import json
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from tsqa.errors import RecipeError
from tsqa.recipe.recipe import Recipe
from tsqa.recipe.sections.base import Section

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_HEAD = """\
# Recipe keys

Generated from the schema by `tsqa schema --reference`; `tsqa explain KEY` prints the same.

An integer may be written with K, M, B or T, or with an exponent: `450K`, `1e9`. `<name>` is a name
that you choose, `<n>` a position in a list, from 0. A star marks keys that never change a result:
changing one reruns no finished stage.
"""
_TYPE_NAMES = {int: "integer", float: "number", bool: "true or false", str: "text"}
_EXTENDS = "Path of a recipe, relative to this file, whose keys this one inherits."
_REFERENCE_TEXT = r"\$\{.*\}"
_AS_TEXT = {
    "integer": rf"^({_REFERENCE_TEXT}|[0-9][0-9_.]*([eE][-+]?[0-9]+)?\s*[KMBTkmbt]?)$",
    "number": rf"^({_REFERENCE_TEXT}|[-+0-9.eE]+)$",
    "boolean": rf"^{_REFERENCE_TEXT}$",
}
"""JSON type -> how a recipe may write it as text."""


@dataclass(frozen=True)
class RecipeKey:
    """A key of a recipe."""

    path: str
    """`train.lr`, `mixture.sources.<name>.path`."""
    kind: str
    """`integer, >= 1`."""
    default: str
    """As YAML; empty where the key is required."""
    meaning: str
    is_runtime: bool
    section: type[Section] | None
    """The section that holds the keys below it."""
    below: str
    """What those keys begin with: `train.schedule.`, `mixture.sources.<name>.`."""


def keys_of(section: type[Section], prefix: str = "") -> list[RecipeKey]:
    """List the keys of a section, without those below them."""
    return [
        _key(field.alias or name, field, prefix) for name, field in section.model_fields.items()
    ]


def all_keys(section: type[Section] = Recipe, prefix: str = "") -> Iterator[RecipeKey]:
    """List every key of a recipe, at any depth."""
    for key in keys_of(section, prefix):
        yield key
        if key.section is not None:
            yield from all_keys(key.section, key.below)


def find_key(path: str) -> RecipeKey | None:
    """Find a key as recipes spell it: `mixture.sources.web.path`, `mixture.phases.0.tokens`."""
    return _find(path.split("."), Recipe, "")


def explain_key(path: str) -> str:
    """Explain a key and list the keys below it; an empty path lists the sections.

    Raises:
        RecipeError: There is no such key; the message names the nearest.
    """
    if not path:
        return _listed(keys_of(Recipe))
    key = find_key(path)
    if key is None:
        near = nearest_keys(path)
        fix = f"did you mean {' or '.join(f'`{name}`' for name in near)}?" if near else ""
        raise RecipeError(f"{path}: no such key", fix or "`tsqa explain` lists the sections")
    default = f"default {key.default}" if key.default else "required"
    lines = [f"{path}: {key.kind}, {default}"]
    lines.append(textwrap.fill(key.meaning, 100, initial_indent="  ", subsequent_indent="  "))
    if key.is_runtime:
        lines.append("  Changing it reruns no finished stage.")
    if key.section is not None:
        lines += ["", _listed(keys_of(key.section, key.below))]
    return "\n".join(lines)


def nearest_keys(path: str) -> list[str]:
    """Find the keys that a wrong one may stand for: those of the same last part first."""
    known = [key.path for key in all_keys()]
    tail = path.rpartition(".")[2]
    same = [one for one in known if one.rpartition(".")[2] == tail]
    tails = {one.rpartition(".")[2]: one for one in reversed(known)}
    near = difflib.get_close_matches(path, known, n=1, cutoff=0.8)
    return same[:3] or near or [tails[one] for one in difflib.get_close_matches(tail, tails, n=1)]


def reference_markdown() -> str:
    """The reference of all keys: one table for each section."""
    uses: dict[type[Section], list[RecipeKey]] = {}
    for key in all_keys():
        if key.section is not None:
            uses.setdefault(key.section, []).append(key)
    titles: dict[type[Section], str] = {Recipe: "recipe"}
    for section, keys in uses.items():
        keys.sort(key=lambda key: key.path.count("."))  # explained where it is least deep
        titles[section] = keys[0].below.rstrip(".")
    parts = [_HEAD]
    for section, title in titles.items():
        parts.append(f"## `{title}`\n\n{_one_line(section.__doc__ or '')}")
        if also := uses.get(section, [])[1:]:
            parts.append(f"Same keys: {', '.join(f'`{key.path}`' for key in also)}.")
        rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
        rows += [_row(key, titles) for key in keys_of(section)]
        parts.append("\n".join(rows))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def editor_schema() -> str:
    """The JSON schema of a recipe file, in which a required key may come from `extends`."""
    schema = _loosened(Recipe.model_json_schema())
    assert isinstance(schema, dict) and isinstance(schema["properties"], dict)
    schema["properties"]["extends"] = {"type": "string", "description": _EXTENDS}
    return json.dumps(schema, indent=1, ensure_ascii=True) + "\n"


def _key(name: str, field: FieldInfo, prefix: str) -> RecipeKey:
    path = f"{prefix}{name}"
    section, below = _section_in(field.annotation, f"{path}.")
    extra = field.json_schema_extra
    return RecipeKey(
        path=path,
        kind=", ".join([_type_text(field.annotation), *_bounds(field.metadata)]),
        default="" if field.is_required() else _default_text(field.get_default()),
        meaning=_one_line(field.description or ""),
        is_runtime=isinstance(extra, dict) and bool(extra.get("runtime")),
        section=section,
        below=below if section else "",
    )


def _section_in(annotation: object, prefix: str) -> tuple[type[Section] | None, str]:
    """The section that a type holds, and what its keys begin with."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, prefix
    origin, arguments = get_origin(annotation), get_args(annotation)
    chosen = "<n>." if origin is list else "<name>." if origin is dict else ""
    for argument in arguments:
        section, below = _section_in(argument, f"{prefix}{chosen}")
        if section is not None:
            return section, below
    return None, ""


def _type_text(annotation: object) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return ", ".join([_type_text(arguments[0]), *_bounds(arguments[1:])])
    if origin is Literal:
        return " / ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(_type_text(one) for one in arguments)
    if origin is list:
        return f"list of {_type_text(arguments[0])}"
    if origin is tuple:
        return f"list of {len(arguments)}: {_type_text(arguments[0])}"
    if origin is dict:
        return f"mapping to {_type_text(arguments[1])}"
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "section"
    return _TYPE_NAMES.get(annotation, "any value") if isinstance(annotation, type) else "any value"


def _bounds(metadata: object) -> list[str]:
    """`>= 1`, `<= 1`, from pydantic's constraints; the largest integers go without saying."""
    found = []
    for one in metadata if isinstance(metadata, (list, tuple)) else ():
        for inner in (one, *getattr(one, "metadata", ())):
            for name, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
                bound = getattr(inner, name, None)
                if bound is not None and bound < 2**31:
                    found.append(f"{sign} {bound}")
    return found


def _default_text(default: object) -> str:
    if isinstance(default, Section):
        values = default.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return _default_text(values)
    if isinstance(default, dict):
        return f"{{{', '.join(f'{k}: {_default_text(v)}' for k, v in default.items())}}}"
    if isinstance(default, (list, tuple)):
        return f"[{', '.join(map(_default_text, default))}]"
    if default is None or isinstance(default, bool):
        return json.dumps(default)
    return str(default)


def _find(parts: list[str], section: type[Section], prefix: str) -> RecipeKey | None:
    key = next((key for key in keys_of(section, prefix) if key.path == prefix + parts[0]), None)
    if key is None or len(parts) == 1:
        return key
    chosen = key.below.removeprefix(f"{key.path}.").count(".")  # a name or a number in between
    if key.section is None:
        return key if key.kind.startswith(("mapping", "list")) else None
    rest = parts[1 + chosen :]
    return _find(rest, key.section, key.below) if rest else key


def _listed(keys: list[RecipeKey]) -> str:
    """Each key and its meaning, wrapped for a terminal."""
    width = max(len(key.path) for key in keys) + 2
    return "\n".join(
        textwrap.fill(f"{key.path:<{width}}{key.meaning}", 100, subsequent_indent=" " * width)
        for key in keys
    )


def _row(key: RecipeKey, titles: dict[type[Section], str]) -> str:
    kind = key.kind.replace("|", r"\|")
    if key.section is not None:
        anchor = "".join(c for c in titles[key.section].lower() if c.isalnum() or c in "_-")
        kind = kind.replace("section", f"[section](#{anchor})")
    default = f"`{key.default}`" if key.default else "required"
    star = " *" if key.is_runtime else ""
    return f"| `{key.path}`{star} | {kind} | {default} | {key.meaning.replace('|', '/')} |"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _loosened(schema: Any) -> Json:
    """Without required keys, and with numbers that may be text: `450K`, `${train.lr}`."""
    if isinstance(schema, list):
        return [_loosened(one) for one in schema]
    if not isinstance(schema, dict):
        return schema  # type: ignore[no-any-return]
    kept = {
        name: _loosened(value)
        for name, value in schema.items()
        if not (name == "required" and isinstance(value, list)) and name not in ("runtime", "added")
    }
    kind = kept.get("type")
    if not isinstance(kind, str) or kind not in _AS_TEXT:
        return kept
    texts: dict[str, Json] = {
        k: kept.pop(k) for k in ("title", "description", "default") if k in kept
    }
    return {**texts, "anyOf": [kept, {"type": "string", "pattern": _AS_TEXT[kind]}]}
