"""What of a completion a parser may read, when the model was asked to think first."""

from __future__ import annotations

from tsqa.recipe import SamplingSection
from tsqa.teachers import Completion
from tsqa.teachers.replies.visible_text import marks_thoughts


def readable_text(completion: Completion, sampling: SamplingSection) -> str:
    """The text; of a model that was given room for thoughts and cut off before it marked any, they
    are all that came, since chat templates open them."""
    is_cut = completion.finish_reason == "length" and not completion.thoughts
    if sampling.thinking_tokens is None or not is_cut or marks_thoughts(completion.text):
        return completion.text
    return f"<think>{completion.text}"
