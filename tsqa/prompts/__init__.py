"""Prompts are files: YAML front matter (id, version, kind, stop), then a Jinja template.

Promises: a prompt is known by the sha256 of its file; a shipped name or a path both work; a
variable that the template does not get is an error, never an empty string.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2
import yaml

from tsqa.errors import DataError, RecipeError

_FOLDER = Path(__file__).parent
_KEYS = {"id", "version", "kind", "stop"}


@dataclass(frozen=True)
class Prompt:
    id: str
    version: int
    stop: tuple[str, ...]
    sha256: str
    template: jinja2.Template

    def render(self, shots: Sequence[Mapping[str, Any]], question: str = "") -> str:
        """Fill the template; the prompt ends without a newline, where the model goes on."""
        return self.template.render(shots=shots, question=question).rstrip("\n")


def load_prompt(name: str, kind: Literal["question", "answer"]) -> Prompt:
    """Load a shipped prompt by name, or any by path, and check that it is of the kind wanted."""
    path = Path(name) if "/" in name or name.endswith(".jinja") else _FOLDER / f"{name}.jinja"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in _FOLDER.glob("*.jinja")))
        raise RecipeError(
            f"generate.prompts.{kind} = {name!r}: no such prompt", f"a path, or one of: {shipped}"
        )
    source = path.read_text(encoding="utf-8")
    _, _, rest = source.partition("---\n")
    front, separator, body = rest.partition("\n---\n")
    try:
        header = yaml.safe_load(front) if separator and source.startswith("---\n") else None
        template = jinja2.Environment(
            undefined=jinja2.StrictUndefined, autoescape=False
        ).from_string(body)
    except (yaml.YAMLError, jinja2.TemplateSyntaxError) as error:
        raise DataError(f"{path}: {error}", "correct the front matter or the template") from error
    if not isinstance(header, dict) or set(header) != _KEYS:
        raise DataError(
            f"{path}: the front matter must hold exactly {', '.join(sorted(_KEYS))}",
            "begin the file with `---`, those keys, `---`",
        )
    if header["kind"] != kind:
        raise RecipeError(
            f"generate.prompts.{kind} = {name!r}: this prompt is of kind {header['kind']!r}",
            f"use one of kind {kind!r}",
        )
    digest = hashlib.sha256(source.encode()).hexdigest()
    return Prompt(
        str(header["id"]), int(header["version"]), tuple(header["stop"]), digest, template
    )
