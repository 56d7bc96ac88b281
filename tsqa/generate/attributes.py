"""What a new question is asked to be: a value of each attribute, and a temperature.

Guarantees: the draw depends on `generate.seed`, the seed's id and the question's number alone; each
value comes with its share over many seeds, independently of the other attributes; two questions of
one seed that follow one another get different values, unless a share is above 0.38.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from tsqa.recipe import GenerateSection, RephraseSection, SamplingSection

_GOLDEN = (5**0.5 - 1) / 2
"""Steps of this size around a circle of length 1 leave no large gap, however many there are."""


def draw_attributes(section: GenerateSection, seed_id: str, number: int) -> dict[str, str]:
    """Name -> value, for one question of a seed."""
    drawn = {}
    for name, values in sorted(section.attributes.items()):
        shares = values if isinstance(values, Mapping) else dict.fromkeys(values, 1 / len(values))
        drawn[name] = _draw(shares, f"{section.seed}:{seed_id}:{name}", number)
    return drawn


def draw_style(section: RephraseSection, seed: int, seed_id: str, number: int) -> str:
    """The name of the style of one rephrasing of a seed."""
    return _draw(section.shares, f"{seed}:{seed_id}:style", number)


def draw_sampling(section: GenerateSection, seed_id: str, number: int) -> SamplingSection:
    """How one question of a seed is sampled."""
    if not section.temperatures:
        return section.question
    shares = {f"{each!r}": 1 / len(section.temperatures) for each in section.temperatures}
    drawn = float(_draw(shares, f"{section.seed}:{seed_id}:temperatures", number))
    return section.question.model_copy(update={"temperature": drawn})


def _draw(shares: Mapping[str, float], key: str, number: int) -> str:
    place = (random.Random(key).random() + number * _GOLDEN) % 1
    values = sorted(value for value, share in shares.items() if share)  # as fingerprints sort them
    for value in values:
        place -= shares[value]
        if place < 0:
            return value
    return values[-1]
