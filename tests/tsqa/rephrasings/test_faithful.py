"""Whether a rephrasing keeps to its passage."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.filter_records import read, record
from tsqa.filters.checks import check_format, check_refusal
from tsqa.recipe import FaithfulnessSection
from tsqa.records.candidate import Candidate
from tsqa.rephrasings.faithful import check_copied, check_faithful, copied_share

PASSAGE = (
    "The lighthouse of Orva was built in 1802 by masons from Belm. It was lit by whale oil until "
    "1871, when gas came to the island on the ships of Captain Tarn, and 14 men kept it."
)
GOOD = (
    "Q: When did masons from Belm build the lighthouse of Orva?\nA: In 1802.\n"
    "Q: What fed the lamp, and who kept it?\nA: Whale oil, until gas arrived in 1871 with Captain "
    "Tarn; there were 14 keepers."
)


def rephrased(text: str, passage: str = PASSAGE, **more: Any) -> Candidate:
    prompts = {"rephrase": {"id": "faq", "version": 1, "sha256": "aa"}}
    changed = {"rephrasing": text, "ground": passage, "prompts": prompts, "votes": []} | more
    return read(record("r", "", kind="long_text", attributes={"style": "faq"}) | changed)


def test_a_faithful_rephrasing_passes_every_check() -> None:
    good = rephrased(GOOD)
    assert check_refusal(good) is None and check_format(good) is None
    assert check_faithful(good, FaithfulnessSection()) is None
    assert check_copied(good, 0.5) is None
    assert good.parts == [GOOD] and good.asked == GOOD


@pytest.mark.parametrize(
    ("text", "reason", "match"),
    [
        ("Orva.", "too short for its passage", ""),
        (GOOD * 4, "too long for its passage", ""),
        (GOOD + " The passage names no more.", "points at a passage that is not shown", ""),
        (GOOD + "\nLet me know if you need more!", "speaks of itself", "Let me know"),
        (GOOD + "\nThis is the requested FAQ.", "speaks of itself", "This is the requested FAQ"),
        (GOOD.replace("1871", "1872"), "number that the passage lacks", "1872"),
        (GOOD.replace("Captain Tarn", "Captain Ulst"), "name that the passage lacks", "Ulst"),
        (GOOD + " It was kept for seventy years.", "number that the passage lacks", "seventy"),
        ("Long ago some masons from another town built a tall house with a lamp on an island, and "
         "they fed it with what they had.", "too little of its passage", ""),
    ],
)  # fmt: skip
def test_a_rephrasing_is_rejected_by_what_it_adds_or_loses(
    text: str, reason: str, match: str
) -> None:
    rejection = check_faithful(rephrased(text), FaithfulnessSection())
    assert rejection and (rejection.reason, rejection.match) == (reason, match)


def test_a_number_may_come_out_of_a_calculation_that_is_right() -> None:
    section = FaithfulnessSection()
    assert check_faithful(rephrased(f"{GOOD}\n1871 - 1802 = 69 years of oil."), section) is None
    wrong = check_faithful(rephrased(f"{GOOD}\n1871 - 1802 = 68 years of oil."), section)
    assert wrong and wrong.match == "68"


def test_the_share_that_must_be_kept_is_a_setting() -> None:
    half = rephrased("The lighthouse of Orva stood on an island from 1802 on, lit by the oil of "
                     "whales, which was dear.")  # fmt: skip
    found = check_faithful(half, FaithfulnessSection(kept=0.9))
    assert found and found.reason == "too little of its passage" and found.score == 0.286
    assert check_faithful(half, FaithfulnessSection(kept=0.25)) is None


def test_a_copy_is_found_in_runs_of_words_whatever_stands_between() -> None:
    assert copied_share(PASSAGE.upper(), PASSAGE) == 1.0
    copy = check_copied(rephrased(f"Listen! {PASSAGE[:100]} So it was told to us."), 0.5)
    assert copy and copy.reason == "copy of its passage" and copy.score and copy.score > 0.6
    assert copied_share(GOOD, PASSAGE) == 0.0


def test_a_reply_that_could_not_be_read_is_rejected_by_its_reason() -> None:
    broken = rephrased("", parse_error="cut off at max_tokens")
    found = check_format(broken)
    assert found and found.reason == "cut off at max_tokens"
