"""An item as pretraining text, in one of the document templates."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tsqa.errors import RecipeError
from tsqa.prompts import PromptSet, load_prompts
from tsqa.records.candidate import Candidate

_RENDERED = (
    *("question", "context", "choices", "answer", "answer_index", "kind"),
    *("reasoning", "knowledge", "item_context", "distractors"),
)


class Renderer:
    """Turns an item into pretraining text; each takes one of the templates, by its id."""

    def __init__(self, names: list[str]) -> None:
        if not names:
            raise RecipeError("filter.renderings is empty", "name a document template, such as qa")
        self._templates: list[tuple[str, PromptSet]] = [
            (Path(name).stem, load_prompts(name, "document", "filter.renderings")) for name in names
        ]

    def render(self, candidate: Candidate) -> tuple[str, str]:
        """(name of the template, text)."""
        digest = hashlib.sha256(candidate.id.encode()).digest()
        place = int.from_bytes(digest[:8], "big") % len(self._templates)
        name, templates = self._templates[place]
        template = templates.of(candidate.kind, bool(candidate.context))
        return name, template.completion(**{key: getattr(candidate, key) for key in _RENDERED})
