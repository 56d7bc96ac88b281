"""The YAML at the head of a prompt's file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from tsqa.errors import DataError, RecipeError
from tsqa.plain_yaml import parse_yaml
from tsqa.prompts.prompt import PromptKind
from tsqa.prompts.variables import Role

CRITERIA = ("correct", "complete", "unambiguous", "unbiased", "grounded")
"""The judge's rubric; each is graded from 1 to 5."""
_NEEDED: dict[Role, tuple[str, ...]] = {
    "question": ("question",),
    "passage": ("question",),
    "rephrase": (),
    "answer": ("answer",),
    "judge": CRITERIA,
    "leak": ("same",),
    "document": (),
}


class FrontMatter(BaseModel):
    """The fields are those of `Prompt`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = Field(min_length=1)
    version: int = Field(ge=1)
    kind: PromptKind
    open: bool = False
    alone: bool = False
    stop: list[Annotated[str, Field(min_length=1)]] = []
    schema_: dict[str, JsonValue] | None = Field(None, alias="schema")


def split_front_matter(path: Path, source: str, role: Role) -> tuple[FrontMatter, str, int]:
    """(front matter, body, line of the body's first line); DataError when it cannot be read."""
    text, separator, body = source.removeprefix("---\n").partition("\n---\n")
    if not source.startswith("---\n") or not separator:
        raise DataError(
            f"{path}: no front matter",
            "begin the file with `---`, the keys id, version, kind, stop and schema, and `---`",
        )
    try:
        # The newline stands for the `---`, so that errors name the lines of the file.
        header = FrontMatter.model_validate(parse_yaml(f"\n{text}", path).values)
    except RecipeError as error:
        cause = str(error).partition("\n")[0].removeprefix(f"{path}: ").removeprefix("not YAML: ")
        raise DataError(f"{path}: front matter: {cause}", "correct the YAML") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}".removeprefix(": ")
            for problem in error.errors()
        )
        raise DataError(
            f"{path}: front matter: {problems}",
            "the keys are id, version and kind, and optionally stop, schema, open and alone",
        ) from error
    _check_schema(path, header.schema_, role)
    return header, body, text.count("\n") + 4


def _check_schema(path: Path, schema: dict[str, JsonValue] | None, role: Role) -> None:
    if schema is None:
        return
    if role == "rephrase":
        raise DataError(
            f"{path}: front matter: a rephrasing is plain text, whole as it comes",
            "leave out `schema`",
        )
    properties = schema.get("properties")
    found = properties if isinstance(properties, dict) else {}
    missing = [name for name in _NEEDED[role] if name not in found]
    if not isinstance(properties, dict) or missing:
        raise DataError(
            f"{path}: front matter: schema: no property {', '.join(missing) or 'at all'}",
            f"the schema of a {role} prompt describes an object with these `properties`",
        )
