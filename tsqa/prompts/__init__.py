"""Prompts are files: YAML front matter, then Jinja blocks for the forms that teachers need.

A set is a folder with a file per answer kind (`reading.jinja` for questions about a passage,
`any.jinja` for what has no file of its own), or one file for everything. The block `completion`
is the few-shot form, the blocks `system` and `user` are the chat form; a file without blocks is
the completion form alone.

Promises: a prompt is known by the sha256 of its file and of all that it imports; every template
is filled with made-up items as it loads, so that an undefined variable is an error before any
work; shipped names and paths both work. A template runs no code and reads no file but those of
its own folder and the shipped ones: see `tsqa.sandbox.templates`.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import jinja2
import jinja2.meta
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tsqa.errors import DataError, RecipeError
from tsqa.prompts.sample import Role as Role
from tsqa.prompts.sample import sample
from tsqa.recipe import AnswerKind, Enrichment
from tsqa.sandbox.template_bounds import rendering
from tsqa.sandbox.templates import BoundedEnvironment
from tsqa.store.identity import FileIdentity, file_identity

Form = Literal["chat", "completion"]
PromptKind = Literal[AnswerKind, "reading", "any"]

CRITERIA = ("correct", "complete", "unambiguous", "unbiased", "grounded")
"""The judge's rubric; each is graded from 1 to 5."""

_FOLDER = Path(__file__).parent
_BLOCKS: dict[Form, tuple[str, ...]] = {"completion": ("completion",), "chat": ("system", "user")}
_NEEDED: dict[Role, tuple[str, ...]] = {
    "question": ("question",),
    "answer": ("answer",),
    "judge": CRITERIA,
    "document": (),
}


@dataclass(frozen=True)
class Prompt:
    """One file; `stop` ends a completion, the chat form has no stops."""

    id: str
    version: int
    kind: PromptKind
    open: bool
    """Question prompts: asks for no options, whatever the seed has."""
    stop: tuple[str, ...]
    schema: Mapping[str, Any] | None
    """JSON schema of the chat form's reply, with every enrichment; see `schema_for`."""
    sha256: str
    path: Path
    template: jinja2.Template = field(repr=False, compare=False)

    @property
    def forms(self) -> tuple[Form, ...]:
        blocks = self.template.blocks
        if not blocks:
            return ("completion",)
        return tuple(form for form, names in _BLOCKS.items() if set(names) <= blocks.keys())

    @property
    def lineage(self) -> dict[str, Any]:
        return {"id": self.id, "version": self.version, "sha256": self.sha256}

    def asked_kind(self, kind: AnswerKind) -> AnswerKind:
        """The kind of the questions that it gives for seeds of a kind."""
        return "short_text" if self.open and kind == "choice" else kind

    def completion(self, **variables: Any) -> str:
        """The few-shot form, without a newline at its end: the model goes on there."""
        self._check_form("completion")
        if not self.template.blocks:
            return self._fill(None, variables).rstrip("\n")
        return self._fill("completion", variables).rstrip("\n")

    def messages(self, **variables: Any) -> tuple[dict[str, str], ...]:
        """The chat form: the turns of system and user."""
        self._check_form("chat")
        return tuple(
            {"role": name, "content": self._fill(name, variables).strip()}
            for name in _BLOCKS["chat"]
        )

    def schema_for(self, enrichment: Sequence[Enrichment]) -> dict[str, Any] | None:
        """The schema without the properties of the enrichments that are not asked for."""
        if self.schema is None:
            return None
        dropped = set(get_args(Enrichment)) - set(enrichment)
        schema = dict(self.schema)
        schema["properties"] = {k: v for k, v in schema["properties"].items() if k not in dropped}
        schema["required"] = [name for name in schema.get("required", ()) if name not in dropped]
        return schema

    def _check_form(self, form: Form) -> None:
        if form not in self.forms:
            blocks = " and ".join(f"`{name}`" for name in _BLOCKS[form])
            raise RecipeError(
                f"{self.path}: this prompt has no {form} form, which the teacher needs",
                f"add the Jinja blocks {blocks}, or set the teacher's `form` to {self.forms[0]}",
            )

    def _fill(self, block: str | None, variables: Mapping[str, Any]) -> str:
        try:
            if block is None:
                return self.template.render(variables)
            with rendering():
                context = self.template.new_context(dict(variables))
                return BoundedEnvironment.concat(self.template.blocks[block](context))
        except Exception as error:
            where = f"{self.path}, block {block}" if block else str(self.path)
            raise DataError(
                f"{where}: {type(error).__name__}: {error}", "correct the template"
            ) from error


@dataclass(frozen=True)
class PromptSet:
    role: Role
    name: str
    prompts: Mapping[str, Prompt]
    """By kind; every answer kind and `reading` has one."""
    identity: list[FileIdentity]
    """File identities of its files and of all that they import, for fingerprints."""

    def of(self, kind: AnswerKind, has_context: bool) -> Prompt:
        """The prompt for an item: the one for `reading` where it has a passage and is no code."""
        return self.prompts["reading" if has_context and kind != "code" else kind]

    def check_form(self, form: Form) -> None:
        """Raise RecipeError, naming the file, unless every prompt has the form."""
        for prompt in self.prompts.values():
            prompt._check_form(form)


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = Field(min_length=1)
    version: int = Field(ge=1)
    kind: PromptKind
    open: bool = False
    stop: list[Annotated[str, Field(min_length=1)]] = []
    schema_: dict[str, Any] | None = Field(None, alias="schema")


def load_prompts(name: str, role: Role, key: str) -> PromptSet:
    """Load a shipped set by name, or a folder or a single .jinja file by path, and check it.

    `key` is the recipe's key, for messages. Raises RecipeError when there is no such set or it
    leaves a kind out, DataError when one of its files is broken.
    """
    path = _locate(name, role, key)
    files = [path] if path.is_file() else sorted(path.glob("[!_]*.jinja"))
    library = _Library(files[0].parent, role)
    loaded = [_load(file, role, library) for file in files]
    by_kind: dict[str, Prompt] = {}
    for prompt, _ in loaded:
        if prompt.kind in by_kind:
            raise DataError(
                f"{prompt.path}: kind {prompt.kind!r} is also that of {by_kind[prompt.kind].path}",
                "give each file of the set its own kind",
            )
        by_kind[prompt.kind] = prompt
    prompts = {}
    for kind in (*get_args(AnswerKind), "reading"):
        prompt_or_none = by_kind.get(kind, by_kind.get("any"))
        if prompt_or_none is None:
            raise RecipeError(
                f"{key} = {name!r}: {path} has no prompt for the kind {kind!r}",
                "add a file of that kind, or one of kind `any`, which serves all that have none",
            )
        prompts[kind] = prompt_or_none
    used = dict.fromkeys(file for _, sources in loaded for file in sources)
    return PromptSet(role, name, prompts, [file_identity(file) for file in used])


def shipped_prompts(role: Role) -> list[str]:
    """Names of the shipped sets of a role."""
    return sorted({path.stem for path in (_FOLDER / role).iterdir() if path.name[0] not in "_."})


def _locate(name: str, role: Role, key: str) -> Path:
    shipped = shipped_prompts(role)
    if name in shipped:
        folder = _FOLDER / role / name
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


class _Library:
    """The templates that a set may import: those of its own folder, then the shipped ones."""

    def __init__(self, folder: Path, role: Role) -> None:
        self._folders = (folder, _FOLDER)
        self._role = role
        self._variables = sample(role, "number", full=True).keys()
        self._imports: dict[Path, list[Path]] = {}
        self.environment = BoundedEnvironment(
            loader=jinja2.FileSystemLoader(self._folders),
            undefined=jinja2.StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def check(self, path: Path, body: str, first_line: int = 1) -> list[Path]:
        """The files that a template imports, directly or not; every variable is a known one."""
        try:
            tree = self.environment.parse(body)
            used = jinja2.meta.find_undeclared_variables(tree)  # knows the filters too
        except jinja2.TemplateSyntaxError as error:
            line = first_line + error.lineno - 1
            raise DataError(f"{path}:{line}: {error.message}", "correct the template") from error
        unknown = used - self._variables - self.environment.globals.keys()
        if unknown:
            raise DataError(
                f"{path}: undefined variable {', '.join(sorted(unknown))}",
                f"a {self._role} prompt is given: {', '.join(self._variables)}",
            )
        found: dict[Path, None] = {}
        for name in sorted({n or "" for n in jinja2.meta.find_referenced_templates(tree)}):
            files = [folder / name for folder in self._folders if _is_inside(folder / name, folder)]
            if not files:
                raise DataError(
                    f"{path}: imports {name!r}, which is not there",
                    f"put it into {self._folders[0]}, and write its name as a plain string",
                )
            found.update(dict.fromkeys([files[0], *self._imports_of(files[0])]))
        return list(found)

    def _imports_of(self, file: Path) -> list[Path]:
        if file not in self._imports:
            self._imports[file] = []
            self._imports[file] = self.check(file, _read(file))
        return self._imports[file]


def _is_inside(path: Path, folder: Path) -> bool:
    """A file of the folder; a link that leads out of it could show any file of the user."""
    return path.is_file() and path.resolve().is_relative_to(folder.resolve())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8: {error}", "save the file as UTF-8") from error


def _load(path: Path, role: Role, library: _Library) -> tuple[Prompt, list[Path]]:
    """A checked prompt, and the files that it is made of, its own first."""
    source = _read(path)
    front, separator, body = source.removeprefix("---\n").partition("\n---\n")
    if not source.startswith("---\n") or not separator:
        raise DataError(
            f"{path}: no front matter",
            "begin the file with `---`, the keys id, version, kind, stop and schema, and `---`",
        )
    header = _read_header(path, front, role)
    sources = [path, *library.check(path, body, first_line=front.count("\n") + 4)]
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
        stop=tuple(header.stop),
        schema=header.schema_,
        sha256=digest.hexdigest(),
        path=path,
        template=template,
    )
    _check_blocks(prompt)
    _try_out(prompt, role)
    return prompt, sources


def _read_header(path: Path, front: str, role: Role) -> _Header:
    try:
        header = _Header.model_validate(yaml.safe_load(front))
    except yaml.YAMLError as error:
        raise DataError(f"{path}: front matter: {error}", "correct the YAML") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}".removeprefix(": ")
            for problem in error.errors()
        )
        raise DataError(
            f"{path}: front matter: {problems}",
            "the keys are id, version and kind, and optionally stop, schema and open",
        ) from error
    if header.schema_ is not None:
        properties = header.schema_.get("properties")
        missing = [n for n in _NEEDED[role] if n not in (properties or {})]
        if not isinstance(properties, dict) or missing:
            raise DataError(
                f"{path}: front matter: schema: no property {', '.join(missing) or 'at all'}",
                f"the schema of a {role} prompt describes an object with these `properties`",
            )
    return header


def _check_blocks(prompt: Prompt) -> None:
    known = set(itertools.chain(*_BLOCKS.values()))
    unknown = prompt.template.blocks.keys() - known
    if unknown or not prompt.forms:
        raise DataError(
            f"{prompt.path}: blocks {', '.join(sorted(prompt.template.blocks))} make no form",
            "write the block `completion`, or `system` and `user`, or all three",
        )


def _try_out(prompt: Prompt, role: Role) -> None:
    """Fill the template with made-up items, full and bare, of each kind that it may meet."""
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
