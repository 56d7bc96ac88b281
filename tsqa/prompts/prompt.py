"""A prompt, filled for one request; a set of them, one for each kind of item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

import jinja2
from pydantic import JsonValue

from tsqa.errors import DataError, RecipeError
from tsqa.prompts.variables import Role, sample
from tsqa.recipe import AnswerKind, Enrichment
from tsqa.records.candidate_file import PromptRef
from tsqa.sandbox.template_bounds import rendering
from tsqa.sandbox.templates import BoundedEnvironment
from tsqa.store.identity import FileIdentity
from tsqa.text.normalise import words

Form = Literal["chat", "completion"]
PromptKind = Literal[AnswerKind, "reading", "any"]

BLOCKS: dict[Form, tuple[str, ...]] = {"completion": ("completion",), "chat": ("system", "user")}


@dataclass(frozen=True)
class Prompt:
    """One file; `stop` ends a completion, the chat form has no stops."""

    id: str
    version: int
    kind: PromptKind
    open: bool
    """Question prompts: asks for no options, whatever the seed has."""
    alone: bool
    """Passage prompts: the question is clear without the passage; only who answers it sees that."""
    stop: tuple[str, ...]
    schema: Mapping[str, JsonValue] | None
    """JSON schema of the chat form's reply, with every enrichment; see `schema_for`."""
    sha256: str
    path: Path
    template: jinja2.Template = field(repr=False, compare=False)
    shows_attributes: bool = False
    """Question prompts: names the variable `attributes`."""
    _own: dict[tuple[Role, AnswerKind, Form], str] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def forms(self) -> tuple[Form, ...]:
        blocks = self.template.blocks
        if not blocks:
            return ("completion",)
        return tuple(form for form, names in BLOCKS.items() if set(names) <= blocks.keys())

    @property
    def lineage(self) -> PromptRef:
        return PromptRef(self.id, self.version, self.sha256)

    def asked_kind(self, kind: AnswerKind) -> AnswerKind:
        """The kind of the questions that it gives for seeds of a kind."""
        return "short_text" if self.open and kind == "choice" else kind

    def completion(self, **variables: object) -> str:
        """The few-shot form, without a newline at its end: the model goes on there."""
        self.check_form("completion")
        block = "completion" if self.template.blocks else None
        return self._fill(block, variables).rstrip("\n")

    def messages(self, **variables: object) -> tuple[dict[str, str], ...]:
        """The chat form: the turns of system and user."""
        self.check_form("chat")
        return tuple(
            {"role": name, "content": self._fill(name, variables).strip()}
            for name in BLOCKS["chat"]
        )

    def own_words(self, role: Role, kind: AnswerKind, form: Form) -> str:
        """What it says whatever it is filled with, as lower-case words between single spaces."""
        if (role, kind, form) not in self._own:
            texts = []
            for full in (True, False):
                filled = sample(role, kind, full)
                turns = self.messages(**filled) if form == "chat" else ()
                texts += [turn["content"] for turn in turns] or [self.completion(**filled)]
            self._own[role, kind, form] = f" {' '.join(words(chr(10).join(texts)))} "
        return self._own[role, kind, form]

    def schema_for(self, enrichment: Sequence[Enrichment]) -> dict[str, JsonValue] | None:
        """The schema without the properties of the enrichments that are not asked for."""
        if self.schema is None:
            return None
        dropped = set(get_args(Enrichment)) - set(enrichment)
        properties = cast(dict[str, JsonValue], self.schema["properties"])
        required = cast(list[JsonValue], self.schema.get("required", []))
        return {
            **self.schema,
            "properties": {name: v for name, v in properties.items() if name not in dropped},
            "required": [name for name in required if name not in dropped],
        }

    def check_form(self, form: Form) -> None:
        """Raise RecipeError, naming the file, unless the prompt has the form."""
        if form not in self.forms:
            blocks = " and ".join(f"`{name}`" for name in BLOCKS[form])
            raise RecipeError(
                f"{self.path}: this prompt has no {form} form, which the teacher needs",
                f"add the Jinja blocks {blocks}, or set the teacher's `form` to {self.forms[0]}",
            )

    def _fill(self, block: str | None, variables: Mapping[str, object]) -> str:
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
            prompt.check_form(form)

    def check_attributes(self) -> None:
        """Raise RecipeError, naming the file, unless every prompt shows `generate.attributes`."""
        for prompt in self.prompts.values():
            if not prompt.shows_attributes:
                raise RecipeError(
                    f"{prompt.path}: this prompt does not show generate.attributes",
                    "set generate.prompts.question to varied, or write {{ attributes }} into it",
                )
