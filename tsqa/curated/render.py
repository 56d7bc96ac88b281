"""An item as pretraining text, in one of the document templates."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import get_args

from tsqa.errors import RecipeError
from tsqa.prompts import PromptSet, load_prompts
from tsqa.prompts.variables import DocumentVariables, sample
from tsqa.recipe import AnswerKind
from tsqa.records.candidate import Candidate
from tsqa.records.rows import CuratedRow


class Renderer:
    """Turns an item into pretraining text; each takes one of the templates, by its id."""

    def __init__(self, names: list[str]) -> None:
        if not names:
            raise RecipeError("filter.renderings is empty", "name a document template, such as qa")
        self._templates: list[tuple[str, PromptSet]] = [
            (Path(name).stem, load_prompts(name, "document", "filter.renderings")) for name in names
        ]

    @cached_property
    def shows_trace(self) -> bool:
        """Whether a template shows what the teacher thought."""
        mark = "the-thoughts-of-a-teacher"
        return any(
            mark
            in templates.of(kind, False).completion(
                **sample("document", kind, True) | {"trace": mark}
            )
            for _, templates in self._templates
            for kind in get_args(AnswerKind)
        )

    def render(self, item: Candidate | CuratedRow) -> tuple[str, str]:
        """(name of the template, text); of a rephrasing its style, and itself."""
        if isinstance(item, Candidate) and item.is_rephrasing:
            return item.attributes["style"], item.answer
        digest = hashlib.sha256(item.id.encode()).digest()
        place = int.from_bytes(digest[:8], "big") % len(self._templates)
        name, templates = self._templates[place]
        variables = DocumentVariables(
            question=item.question,
            context=item.context,
            choices=item.choices,
            answer=item.answer,
            answer_index=item.answer_index,
            kind=item.kind,
            reasoning=item.reasoning,
            knowledge=item.knowledge,
            item_context=item.item_context,
            distractors=item.distractors,
            trace=item.trace if isinstance(item, Candidate) else "",
        )
        template = templates.of(item.kind, bool(item.context))
        return name, template.completion(**asdict(variables))
