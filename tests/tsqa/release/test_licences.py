"""The table of licences, and what several licences imply together."""

from __future__ import annotations

import pytest

from tsqa.curated.card import describe_licence
from tsqa.release.licences import LicensedPart, find_licence, implied, known_licences, licensed


@pytest.mark.parametrize(
    ("spelled", "known"),
    [
        ("Apache License 2.0", "Apache-2.0"),
        ("cc_by_sa 4.0", "CC-BY-SA-4.0"),
        ("CC0", "CC0-1.0"),
        ("MIT License", "MIT"),
        ("odbl", "ODbL-1.0"),
    ],
)
def test_a_licence_is_found_as_people_spell_it(spelled: str, known: str) -> None:
    found = find_licence(spelled)
    assert found and found[0] == known


@pytest.mark.parametrize("spelled", ["", "unknown", "other", "cc-by-sa-4.1", "mit-ish"])
def test_what_is_not_in_the_table_is_unknown(spelled: str) -> None:
    assert find_licence(spelled) is None


def test_the_card_and_the_table_say_the_same() -> None:
    wrong = []
    for name, entry in known_licences().items():
        condition = describe_licence(name)[0]
        for flag in ("share-alike", "non-commercial", "no-derivatives"):
            said = flag in condition.replace("no derivatives", "no-derivatives")
            if said != (flag in entry.flags) and condition != "special":
                wrong.append((name, condition))
    assert wrong == []


def part(name: str, stated: str) -> LicensedPart:
    return licensed("seeds", name, stated, "", 1)


def test_conditions_of_the_whole_are_those_of_every_part() -> None:
    said = implied(
        [
            part("a", "cc-by-nc-4.0"),
            part("b", "cc-by-sa-4.0"),
            part("c", "gpl-3.0"),
            part("d", ""),
            part("e", "llama3.1"),
            part("f", "cc0-1.0"),
        ]
    )
    text = "\n".join(said)
    assert said[0].startswith("Not known: d (not stated).")
    assert "Non-commercial: a (CC-BY-NC-4.0)" in text
    assert "Share-alike: b (CC-BY-SA-4.0), c (GPL-3.0)" in text
    assert "Several share-alike licences" in text
    assert "e (llama3.1): a model trained on its output carries Llama in its name." in text
    assert said[-1] == "Attribution: name a, b, c, e."


def test_parts_without_conditions_ask_nothing() -> None:
    assert implied([part("a", "cc0")]) == [
        "Nothing: every part is in the public domain or free of conditions."
    ]
