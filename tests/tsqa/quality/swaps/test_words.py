"""Who appears is swapped in every part alike, and nothing else is."""

from __future__ import annotations

import pytest

from tsqa.quality.bias import group_lists
from tsqa.quality.swaps.words import swap_lists, swapper
from tsqa.recipe import SwapKind


@pytest.mark.parametrize(
    ("kind", "text", "swapped"),
    [
        ("pronouns", "He told her that she lost his keys.", "She told him that he lost her keys."),
        ("pronouns", "I saw her. The fault is his.", "I saw him. The fault is hers."),
        ("pronouns", "HIS car is hers; her own is not.", "HER car is his; his own is not."),
        (
            "pronouns",
            "Mary and her brothers paid Mr. Hill.",
            "James and his sisters paid Mrs. Hill.",
        ),
        ("pronouns", "An actor is an uncle, a father.", "An actress is an aunt, a mother."),
        ("pronouns", "The sheriff shelters others for 5 ms.", None),
        ("professions", "An accountant met two drivers.", "An analyst met two nurses."),
        ("professions", "A guard, not a guardian.", "An attendant, not a guardian."),
        ("countries", "A German from South Africa", "A Nigerian from Iran"),
        (
            "countries",
            "New Mexico, fine china and an Italian",
            "New Mexico, fine china and an Ethiopian",
        ),
    ],
)
def test_words_become_their_others(kind: SwapKind, text: str, swapped: str | None) -> None:
    assert swapper(kind).swap(text) == (text if swapped is None else swapped)


@pytest.mark.parametrize(
    "text",
    [
        "John gave his sister a book; she thanked him for it, and he was glad.",
        "The women met her husband and the waitress.",
    ],
)
def test_swapping_twice_gives_the_text_back(text: str) -> None:
    assert swapper("pronouns").swap(swapper("pronouns").swap(text)) == text


def test_professions_and_countries_are_those_of_the_groups() -> None:
    groups = group_lists()
    listed = {w for words in groups["professions"].groups.values() for w in words}
    assert {w for pair in swap_lists()["professions"].pairs for w in pair} <= listed
    countries = {w for words in groups["countries"].groups.values() for w in words}
    assert {w for pair in swap_lists()["countries"].pairs[::2] for w in pair} <= countries
    men, women = groups["first names"].groups.values()
    assert len(men) == len(women) == len({*men, *women}) / 2
