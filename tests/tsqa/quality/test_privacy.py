"""Privacy moves with planted copies and planted personal data, and not on two halves of a set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.quality_world import real_text, sample_of
from tsqa.quality.personal import find_personal
from tsqa.quality.privacy import UnusedDocuments, measure_privacy
from tsqa.quality.sample import AuditedText
from tsqa.records.quality import QualityMeasure

ATTACK = "seeds told by nearest item (AUC)"
COPIES = "items with 13 words of their seed in a row"
PERSONAL = "items with personal data"


def privacy(*arguments: object, length: int = 14) -> dict[str, QualityMeasure]:
    sample = sample_of(*arguments)  # type: ignore[arg-type]
    rng = np.random.default_rng(7)
    held = [real_text(rng, f"{t}-h{n}", t) for n in range(60) for t in ("toy", "own")]
    return {each.name: each for each in measure_privacy(sample, UnusedDocuments(held), 1)}


def test_nothing_moves_on_two_halves_of_the_same_real_set() -> None:
    found = privacy()
    assert {name for name, each in found.items() if each.apart} == set()
    assert found[COPIES].value == 0 and found[COPIES].high == pytest.approx(0.03, abs=0.005)


@pytest.mark.parametrize(("seeds", "others"), [(120, 20), (40, 60)])
def test_sides_of_unequal_size_are_told_no_better_than_chance(seeds: int, others: int) -> None:
    values = []
    for number in range(5):
        rng = np.random.default_rng([7, number])
        held = [real_text(rng, f"{t}-h{n}", t) for n in range(others) for t in ("toy", "own")]
        attack = measure_privacy(sample_of(None, seeds, number), UnusedDocuments(held), 1)[0]
        values.append(attack.value or 0)
        assert not attack.apart
    assert abs(np.mean(values) - 0.5) < 0.06


def test_half_copied_seeds_are_given_away() -> None:
    def take_half(item: AuditedText, seed: AuditedText, _: np.random.Generator) -> AuditedText:
        taken = seed.question.split()
        return replace(
            item, question=" ".join([*taken[: len(taken) // 2], *item.question.split()[:5]])
        )

    attack = privacy(take_half)[ATTACK]
    assert attack.apart and attack.low is not None and attack.low > 0.75
    assert "120 documents" in attack.reference_is


def test_copied_spans_are_found_also_in_explanations() -> None:
    def explain(item: AuditedText, seed: AuditedText, rng: np.random.Generator) -> AuditedText:
        return replace(item, explanations=f"As in: {seed.question}") if rng.random() < 0.5 else item

    copies = privacy(explain)[COPIES]
    assert copies.apart and copies.reference == 0 and copies.value is not None
    assert 0.2 < copies.value < 0.5, "questions of 10 to 18 words, half of them copied"


def test_a_seed_without_another_of_its_task_has_no_reference() -> None:
    sample = sample_of(count=2)
    (copies,) = (m for m in measure_privacy(sample, UnusedDocuments([]), 0) if m.name == COPIES)
    assert (copies.reference, copies.p, copies.apart) == (None, None, None)
    assert copies.reference_is == "no task has two seeds" and copies.value == 0


@pytest.mark.parametrize(("count", "is_marked"), [(4, False), (8, True)])
def test_a_few_more_than_in_seeds_may_be_chance(count: int, is_marked: bool) -> None:
    """Seeds without any may come of a source where some have it."""

    def tell(item: AuditedText, seed: AuditedText, _: np.random.Generator) -> AuditedText:
        if int(seed.id.partition("-")[2]) >= count:
            return item
        return replace(item, explanations="Ask ann.lee@mail.org.")

    found = privacy(tell)[PERSONAL]
    assert found.reference == 0 and found.low is not None and found.low > 0
    assert found.apart == is_marked and found.p == pytest.approx(2 * 0.5**count)


def test_a_passage_that_an_item_shows_is_no_copy() -> None:
    passage = " ".join(f"word{n}" for n in range(20))
    sample = sample_of(count=40)
    seeds = {name: replace(each, context=passage) for name, each in sample.seeds.items()}
    shown = [(name, replace(item, context=passage)) for name, item in sample.items]
    told = [(name, replace(item, explanations=passage)) for name, item in shown]
    for items, share in ((shown, 0.0), (told, 1.0)):
        found = measure_privacy(replace(sample, seeds=seeds, items=items), UnusedDocuments([]), 1)
        assert found[1].value == share


def test_without_other_documents_the_attack_says_why_it_is_not_made() -> None:
    found = measure_privacy(
        sample_of(count=30), UnusedDocuments([], "every document is a seed"), 1
    )[0]
    assert found.value is None and found.missing == "every document is a seed"


def test_planted_personal_data_is_counted_and_told_from_the_seed_s() -> None:
    def plant(item: AuditedText, seed: AuditedText, rng: np.random.Generator) -> AuditedText:
        return (
            replace(item, explanations="Write to ann.lee@mail.org.") if rng.random() < 0.2 else item
        )

    found = privacy(plant)[PERSONAL]
    assert found.apart and found.reference == 0
    count = round((found.value or 0) * 120)
    assert found.notes[0] == f"e-mail: {count}, of which {count} not in the seed"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("mail bob+x@uni-bonn.de now", "e-mail"),
        ("call +44 20 7946 0958.", "phone"),
        ("call (212) 736-5000 or", "phone"),
        ("212-736-5000", "phone"),
        ("card 4111 1111 1111 1111,", ""),  # a run of one digit, as in examples
        ("card 4539 1488 0343 6467,", "credit card"),
        ("card 4539 1488 0343 6468,", ""),
        ("3782-822463-10005", "credit card"),
        ("DE89 3704 0044 0532 0130 00", "IBAN"),
        ("DE88 3704 0044 0532 0130 00", ""),
        ("GB82WEST12345698765432", "IBAN"),
        ("card 6011 0009 9013 9424,", "credit card"),
        ("card 36 7000 1020 3040,", ""),
        ("3530111333300000", "credit card"),
        ("(3056 930902 5904)", "credit card"),
        ("2223 0031 2200 3222", "credit card"),
        ("call 212 736 5000.", "phone"),
        ("(+33 1 42 68 53 00)", "phone"),
        ("add 212 736 5000 8", ""),
        ("12, 212 736 5000", ""),
        ("from 8.8.8.8 and", "IP address"),
        ("from 2a00:1450:4001:81b::200e, at 10:20:30", "IP address"),
        ("from fe80::1 and ::1 and 2001:db8::1", ""),
        ("std::string a::b, 2023:10:20", ""),
        ("from 192.168.0.1 and 127.0.0.1 and 300.1.1.1", ""),
        ("version 1.2.3.4.5", ""),
        ("his number 219-09-9999", "US SSN"),
        ("his number 219 09 9999", "US SSN"),
        ("219 09 9999 7 and 5 219 09 9999", ""),
        ("000-12-3456 and 666-12-3456 and 912-12-3456", ""),
        ("ann@example.com, bob@mail.test", ""),
        ("212-555-0142", ""),
        ("3.14159265358979 and 1234567 and 10 - 20 - 3000", ""),
        ("What is 4539148803436 + 12?", ""),
        ("in 1914-1918 and 2020-01-02", ""),
    ],
)
def test_personal_data_is_told_from_what_only_looks_like_it(text: str, kind: str) -> None:
    assert [found for found, _ in find_personal(text)] == ([kind] if kind else [])
