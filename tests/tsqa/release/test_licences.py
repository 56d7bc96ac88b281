"""The table of licences, and what several licences imply together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsqa.curated.card import describe_licence
from tsqa.hub.licence import licence_of_folder
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


@pytest.mark.parametrize(
    "spelled", ["", "unknown", "other", "cc-by-sa-4.1", "mit-ish", "MIT non-commercial"]
)
def test_what_is_not_in_the_table_is_unknown(spelled: str) -> None:
    assert find_licence(spelled) is None


def test_a_version_that_nobody_stated_is_not_made_up() -> None:
    assert part("a", "cc-by-sa").shown == "CC-BY-SA"
    said = implied([part("a", "cc-by-sa"), part("b", "cc-by-sa-4.0")])
    assert "a (CC-BY-SA): which version is not stated." in said
    assert any(line.startswith("Several share-alike licences") for line in said)


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: MIT non-commercial\n---\n", "MIT non-commercial"),
        ('---\nlicense: "cc-by-nc-4.0"  # said\n---\n', "cc-by-nc-4.0"),
        ("---\nlicense: other\nlicense_name: qwen-research\n---\n", "qwen-research"),
        ("---\nlicense:\n- mit\n- gpl-3.0\n---\n", "mit, gpl-3.0"),
        ("---\ntags: [a]\n---\nThe data:\nlicense: mit\n", ""),
        ("---\nlicense: [mit, 2]\n---\n", ""),
        ("license: mit\n", ""),
    ],
)
def test_the_head_of_a_card_alone_says_the_licence(card: str, licence: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(card)
    assert licence_of_folder(tmp_path)[0] == licence


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
