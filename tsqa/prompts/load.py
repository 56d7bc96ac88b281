"""Loads sets of prompts and checks them."""

from __future__ import annotations

import difflib
import hashlib
import itertools
from functools import lru_cache
from pathlib import Path
from typing import get_args

import jinja2

from tsqa.errors import DataError, RecipeError
from tsqa.prompts.front_matter import split_front_matter
from tsqa.prompts.prompt import BLOCKS, Prompt, PromptSet
from tsqa.prompts.template_library import SHIPPED, TemplateLibrary, read_text
from tsqa.prompts.variables import Role, sample
from tsqa.recipe import AnswerKind
from tsqa.store.identity import file_identity
from tsqa.user_cache import state_of_files


def load_prompts(name: str, role: Role, key: str) -> PromptSet:
    """Load a shipped set by name, or a folder or a single .jinja file by path, and check it.

    `key` is the recipe's key, for messages. Raises RecipeError when there is no such set or it
    leaves a kind out, DataError when one of its files is broken.
    """
    path = _locate(name, role, key)
    if path.is_relative_to(SHIPPED):  # every node and every arm of a recipe asks for the same few
        return _load_shipped(path, name, role, key, state_of_files(SHIPPED))
    return _load_set(path, name, role, key)


@lru_cache(maxsize=64)
def _load_shipped(path: Path, name: str, role: Role, key: str, state: str) -> PromptSet:
    return _load_set(path, name, role, key)


def _load_set(path: Path, name: str, role: Role, key: str) -> PromptSet:
    files = [path] if path.is_file() else sorted(path.glob("[!_]*.jinja"))
    library = TemplateLibrary(files[0].parent, role)
    loaded = [_load(file, role, library) for file in files]
    by_kind: dict[str, Prompt] = {}
    for prompt, _ in loaded:
        if prompt.kind in by_kind:
            raise DataError(
                f"{prompt.path}: kind {prompt.kind!r} is also that of {by_kind[prompt.kind].path}",
                "give each file of the set another kind",
            )
        by_kind[prompt.kind] = prompt
    prompts = {}
    for kind in (*get_args(AnswerKind), "reading"):
        prompt_or_none = by_kind.get(kind, by_kind.get("any"))
        if prompt_or_none is None:
            raise RecipeError(
                f"{key} = {name!r}: {path} has no prompt for the kind {kind!r}",
                "add a file of that kind, or one of kind `any`, which serves every other kind",
            )
        prompts[kind] = prompt_or_none
    used = dict.fromkeys(file for _, sources in loaded for file in sources)
    return PromptSet(role, name, prompts, [file_identity(file) for file in used])


def shipped_prompts(role: Role) -> list[str]:
    """Names of the shipped sets of a role."""
    return sorted({path.stem for path in (SHIPPED / role).iterdir() if path.name[0] not in "_."})


def _locate(name: str, role: Role, key: str) -> Path:
    shipped = shipped_prompts(role)
    if name in shipped:
        folder = SHIPPED / role / name
        return folder if folder.is_dir() else folder.with_suffix(".jinja")
    path = Path(name)
    if (path.is_file() and path.suffix == ".jinja") or any(path.glob("[!_]*.jinja")):
        return path
    near = difflib.get_close_matches(name, shipped, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise RecipeError(
        f"{key} = {name!r}: no such prompt",
        f"{hint}give the path of a folder of .jinja files or of one, or a shipped name: "
        f"{', '.join(shipped)}",
    )


def _load(path: Path, role: Role, library: TemplateLibrary) -> tuple[Prompt, list[Path]]:
    """A checked prompt, and its file with all that it imports."""
    header, body, first_line = split_front_matter(path, read_text(path), role)
    sources = [path, *library.check(path, body, first_line)]
    digest = hashlib.sha256()
    for file in sources:
        digest.update(file.read_bytes())
    try:
        template = library.environment.from_string(body)
    except jinja2.TemplateSyntaxError as error:
        raise DataError(f"{path}: {error.message}", "correct the template") from error
    prompt = Prompt(
        id=header.id,
        version=header.version,
        kind=header.kind,
        open=header.open,
        alone=header.alone,
        stop=tuple(header.stop),
        schema=header.schema_,
        sha256=digest.hexdigest(),
        path=path,
        template=template,
        shows_attributes="attributes" in library.variables_of(body),
    )
    _check_blocks(prompt)
    _try_out(prompt, role)
    return prompt, sources


def _check_blocks(prompt: Prompt) -> None:
    known = set(itertools.chain(*BLOCKS.values()))
    unknown = prompt.template.blocks.keys() - known
    if unknown or not prompt.forms:
        raise DataError(
            f"{prompt.path}: blocks {', '.join(sorted(prompt.template.blocks))} make no form",
            "write the block `completion`, or `system` and `user`, or all three",
        )


def _try_out(prompt: Prompt, role: Role) -> None:
    """Fill the template with invented items, full and bare, of each kind that it may meet."""
    kinds = [kind for kind in get_args(AnswerKind) if prompt.kind in (kind, "reading", "any")]
    for kind, full in itertools.product(kinds, (True, False)):
        variables = sample(role, kind, full)
        for form in prompt.forms:
            text = (
                prompt.completion(**variables)
                if form == "completion"
                else "".join(turn["content"] for turn in prompt.messages(**variables))
            )
            if not text.strip():
                raise DataError(f"{prompt.path}: the {form} form is empty", "write the template")
