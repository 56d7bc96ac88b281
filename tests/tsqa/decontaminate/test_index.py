"""Promises of decontamination: leaks are caught in every disguise, templates are not leaks."""

from __future__ import annotations

import json
import random
import re
import textwrap
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.benchmarks.disguises import DISGUISES
from tests.benchmarks.dress import DRESSES
from tests.benchmarks.puzzles import load_puzzles
from tests.benchmarks.questions import REAL, load_real
from tests.benchmarks.quizzes import QUIZZES, load_quiz
from tests.benchmarks.reading import load_reading
from tests.benchmarks.shapes import INVENTED, invent
from tests.benchmarks.template_tasks import load_templates
from tests.support.generation import make_seed
from tsqa.decontaminate import index as decontaminate
from tsqa.decontaminate.documents import EvaluatedTexts
from tsqa.decontaminate.index import EvaluatedIndex, measure_recall
from tsqa.decontaminate.parts import Halves
from tsqa.decontaminate.planted_leaks import KINDS, as_candidate, plant_leak, respell
from tsqa.decontaminate.similarity import common_weight, kept_share
from tsqa.decontaminate.slots import read_numbers
from tsqa.recipe import DecontaminateSection
from tsqa.records.candidate import Candidate, Rejection
from tsqa.records.seed import Seed
from tsqa.tasks.toy_families import FAMILIES, draw_item
from tsqa.text.normalise import words

SECTION = DecontaminateSection()


def evaluated(number: int, question: str, answer: str, *choices: str, context: str = "") -> Seed:
    seed = make_seed(number, question, answer, "exam")
    return replace(seed, choices=list(choices), context=context)


EVALUATED = [
    evaluated(0, "Which planet of the solar system has the most moons today?", "Saturn"),
    evaluated(1, "Is ice cold?", "yes"),
    evaluated(2, "A farmer has 17 sheep and buys 24 more; how many has the farmer?", "41"),
    evaluated(3, "The sun is responsible for", "plants sprouting and wilting"),
    *[evaluated(n, f"What did person {n} put in box {n}?", str(n)) for n in range(4, 40)],
    evaluated(40, "Which tool cuts wood fastest?", "a saw", "a saw", "a rope", "a mug", "a sock"),
    evaluated(41, "Which is true?", "bees fly", "bees fly", "worms sing"),
    evaluated(42, "Which is true?", "snow falls", "stones float", "snow falls"),
    evaluated(43, "What is it about?", "a lost hat", context="Tom lost his hat on the pier."),
    evaluated(44, "What is it about?", "a storm", context="The storm broke the mast at night."),
    evaluated(45, "Seeds", "feed what grows from them"),
]
INDEX = EvaluatedIndex(EVALUATED, SECTION)


def ask(question: str, answer: str = "x", **more: Any) -> Candidate:
    return Candidate(id="c", task="exam", question=question, answer=answer, **more)


def leak(question: str, answer: str = "x", **more: Any) -> Rejection | None:
    [verdict] = INDEX.check([ask(question, answer, **more)])
    return verdict


def rule(question: str, answer: str = "x", **more: Any) -> str | None:
    verdict = leak(question, answer, **more)
    return verdict.reason if verdict else None


WORN = ("accented", "look_alikes", "invisible_characters", "html", "hyphenated")


@pytest.mark.parametrize(
    "kind", ["verbatim", "case_and_punctuation", "options_reordered", "embedded", "short", *WORN]
)
def test_every_planted_leak_is_caught(kind: str) -> None:
    planted = [leak for leak in (plant_leak(document, kind) for document in EVALUATED) if leak]
    assert len(planted) >= 3
    for candidate, verdict in zip(planted, INDEX.check(planted), strict=True):
        assert verdict is not None and verdict.match == candidate.id
        assert verdict.reason in ("question", "item", "ngram", "options", "similarity")


@pytest.mark.parametrize("kind", WORN)
def test_thoughts_hide_no_document_in_another_dress(kind: str) -> None:
    text = "Let me recall: Which planet of the solar system has the most moons today? It is Saturn."
    worn = plant_leak(evaluated(0, text, ""), kind)
    assert worn and leak("Which is heavier?", trace=text) is not None
    assert leak("Which is heavier?", trace=worn.question) is not None


@pytest.mark.parametrize("kind", WORN)
def test_a_stream_hides_no_document_in_another_dress(kind: str) -> None:
    """Every document that the stream's rules find as it is, they find disguised."""
    plain = [f"{d.context} {d.question} {' '.join(d.choices)} {d.answer}" for d in EVALUATED]
    leaks = [plant_leak(document, kind) for document in EVALUATED]
    worn = [leak.full_text if leak else "" for leak in leaks]
    found = zip(INDEX.check_texts(plain), INDEX.check_texts(worn), strict=True)
    assert all(disguised is not None for verbatim, disguised in found if verbatim is not None)


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (ask("IS ICE, COLD"), "question"),
        (ask("Which is true?", choices=["worms sing", "bees fly"]), "question"),
        (ask("What is it about?", context="Tom lost his hat, on the pier"), "question"),
        (ask("Today we ask: is ice cold? I say", "Yes"), "item"),
        (ask("Why?", context="Is ice cold? Of course. The answer is yes."), "item"),
        (
            ask(
                "What happened next?",
                reasoning="They said: which planet of the solar system has the most moons today? "
                "Saturn, they said.",
            ),
            "item",
        ),
        (
            ask(
                "Which of these cuts wood best?",
                choices=["a mug", "a sock", "A rope.", "a saw"],
            ),
            "options",
        ),
        (ask("A farmer has 18 sheep and buys 25 more; how many has the farmer?"), "similarity"),
        (ask("So the sun is mostly responsible for what?"), "similarity"),
    ],
)
def test_each_rule_catches_what_it_is_for(candidate: Candidate, expected: str) -> None:
    [verdict] = INDEX.check([candidate])
    assert verdict is not None and verdict.reason == expected
    assert verdict.match.startswith("exam-")


@pytest.mark.parametrize(
    "candidate",
    [
        ask("What did person 93 put in box 77?"),
        ask("Which planet is red?"),
        ask("A baker has 3 loaves; how many are left after lunch?"),
        ask("Which is true?", choices=["cats bark", "dogs bark"]),
        ask("What is it about?", "a lost cat", context="The cat left in the spring."),
        ask("Where do the seeds of a pine lie?", "in its cones"),
        ask("Which cloth is softest?", choices=["a saw", "a rope", "a mug", "silk"]),
        ask("Was it late?", "no", reasoning="It is cold, and ice is there. Yes."),
    ],
)
def test_what_is_merely_alike_is_not_a_leak(candidate: Candidate) -> None:
    assert INDEX.check([candidate]) == [None]


def test_a_question_of_few_rare_words_needs_its_answer() -> None:
    assert rule("Do seeds not feed themselves?") is None
    assert rule("Do seeds matter?", "Yes: they feed what grows from them") == "item"


def spelled(number: int) -> str:
    """A word of its own, as a number would make the documents a template's."""
    return "".join("bdfglmnprs"[int(one)] + "aeiou"[int(one) % 5] for one in str(number))


HALVES = [
    evaluated(
        0,
        "Otters near the weir hunt eels because that stream holds few trout, why?",
        "x",
        "x",
        "some hens laid blue eggs",
        "two carts lost their wheels",
    ),
    evaluated(1, "What is the best way to keep soup warm on a long walk in winter?", "x"),
    evaluated(2, "What is the best way to keep a saw sharp after it cut wet oak?", "x"),
    evaluated(300, "Does that room hold what jar and box can weigh in number?", "x"),
    *[
        evaluated(n, f"What does jar number {w} that box {w} in room {w} can hold weigh?", "x")
        for n, w in ((n, spelled(n)) for n in range(3, 300))
    ],
]
COMMON = "Does that room hold what jar"
OTTERS = "Otters near the weir hunt eels because"


@pytest.mark.parametrize(
    ("question", "is_leak"),
    [
        (OTTERS, True),
        ("that stream holds few trout, why?", True),
        (f"My aunt says: {OTTERS} they like it. Is she right about this?", True),
        ("What is the best way to keep", False),
        ("What is the best way to keep soup cold in summer?", False),
        (COMMON, True),
        (f"{COMMON} number {spelled(4)} holds?", False),
    ],
)
def test_half_a_question_is_a_leak_where_it_is_rare_or_nothing_else_is_asked(
    question: str, is_leak: bool
) -> None:
    index = EvaluatedIndex(HALVES, SECTION)
    [verdict] = index.check([ask(question)])
    assert (verdict is not None and verdict.reason == "half") is is_leak


def test_half_a_question_is_found_in_any_text() -> None:
    index = EvaluatedIndex(HALVES, SECTION)
    long = "The old man read on until the candle had burnt down and the house was quiet again."
    texts = [f"{long} {OTTERS} {long}", f"{long} {COMMON} {long}", COMMON]
    found = [verdict and verdict.reason for verdict in index.check_texts(texts)]
    assert found == ["half", None, "half"]
    [[leak], [], _] = index.find_leaks(texts)
    assert (leak.rule, " ".join(leak.words)) == ("half", "otters near the weir hunt eels")


CHOICES = ["flint", "a red brick", "chalk", "slate"]
VOLUMES = ["10 mL", "20 mL", "45 mL", "60 mL"]


UGLY = [
    "What does rot13(abc1def2ghi3jkl4) give?",
    "Give sum(d4e5)+len(a1b2c3).",
    "Que dit-on : \u00ab bont\u00e9\u00a0\u00bb, \u00ab sant\u00e9\u00a0\u00bb ?",
    "LA SANT\u00c9\u00a0: QUOI ?",
    "What does the owner\\'s dog do when it\\'s hungry?",
    "Which pair does not fit?\n1 - chat\n2 - chien\n3 - loup\n4 - vache\n5 - rose",
    "Which is a planet?\nA. MARS\nB. MOON\nC. SUN\nD. VEGA\nE. POLE",
    "(I think so) x (I see) y (I do) z (A cat) w (US law) v (EU law): which law holds?",
    "What is the mean?\n20240101 12 15 18 22 30\n20240102 13 16 19 23 31\n",
    "\u5728\u6807\u51c6\u5927\u6c14\u538b\u4e0bH2O\u6cb8\u70b9\u662f\u591a\u5c11",
]


def _bare(text: str) -> str:
    """As somebody types it who has neither hard spaces nor escapes."""
    return text.replace("\u00a0", " ").replace("\\'", "'")


@pytest.mark.parametrize("write", [str, _bare])
@pytest.mark.parametrize("question", UGLY)
def test_a_copy_is_found_whatever_its_marks(question: str, write: Callable[[str], str]) -> None:
    others = [evaluated(n, f"What did person {n} put in box {n}?", str(n)) for n in range(1, 20)]
    index = EvaluatedIndex([evaluated(0, question, "this answer"), *others], SECTION)
    [verdict] = index.check([ask(write(question), "this answer")])
    assert verdict is not None and verdict.reason == "question"


@pytest.mark.parametrize(
    ("question", "choices", "expected"),
    [
        ("Choose one.", CHOICES[::-1], "options"),
        ("", CHOICES, "options"),
        ("Which of these did the mason put into the wall of the mill?", CHOICES, None),
        ("Which did the mason use?", CHOICES, None),
        ("Which of these answers is the best one?", CHOICES, "options"),
        ("Choose one.", CHOICES[:3], None),
        ("Choose one.", ["4", "5", "6", "7"], None),
        ("Choose one.", VOLUMES, "options"),
        ("Choose one.", VOLUMES[::-1], None),
        ("Choose one.", ["yes", "no"], None),
    ],
)
def test_options_without_their_question_are_a_leak(
    question: str, choices: list[str], expected: str | None
) -> None:
    index = EvaluatedIndex(
        [
            evaluated(
                0,
                "What lies deepest below those green fields on which lambs graze near Dover?",
                "chalk",
                *CHOICES,
            ),
            evaluated(1, "How many legs has that strange table over there?", "5", *"4567"),
            evaluated(2, "Do otters sleep at night in that valley?", "no", "yes", "no"),
            evaluated(3, "How much water is in that jug of hers?", VOLUMES[1], *VOLUMES),
        ],
        SECTION,
    )
    [verdict] = index.check([ask(question, choices[-1], choices=choices)])
    assert (verdict and verdict.reason) == expected
    listed = " ".join(f"{letter}. {one}" for letter, one in zip("ABCD", choices, strict=False))
    around = "There was nobody in the yard when they came back from the quarry at noon."
    texts = [f"Q: {question} {listed} Answer: D", f"{around} {listed} {around}"]
    found = [verdict and verdict.reason for verdict in index.check_texts(texts)]
    assert found == [expected, None]
    assert [len(leaks) for leaks in index.find_leaks(texts)] == [int(found[0] is not None), 0]


def test_options_that_questions_share_are_a_leak_where_nothing_else_is_asked() -> None:
    asked = ("In which do worms of the sea leave a burrow?", "Which did Roman slaves cut by hand?")
    index = EvaluatedIndex(
        [evaluated(n, text, CHOICES[n], *CHOICES) for n, text in enumerate(asked)], SECTION
    )
    others = [
        ask("Choose one of these.", choices=CHOICES[::-1]),
        ask(f"Which is true? A. {' B. '.join(CHOICES)}"),
        ask(f"Which burns longest? A. {' B. '.join(CHOICES)}"),
        ask("Which burns longest?", choices=CHOICES),
        ask("Which is true?", choices=CHOICES, context="The mason looked at the wall for long."),
    ]
    found = [verdict and verdict.reason for verdict in index.check(others)]
    assert found == ["options", "options", None, None, None]
    listed = " ".join(f"({letter}) {one}" for letter, one in zip("dcba", CHOICES, strict=True))
    texts = [
        f"Choose the best answer: {listed}",
        f"{listed} Answer: {CHOICES[1]}",
        f"The mason had {listed} in his yard.",
    ]
    found = [verdict and verdict.reason for verdict in index.check_texts(texts)]
    assert found == ["options", "options", None]


def test_runs_that_many_documents_hold_are_templates() -> None:
    opening = "Read the sentence below with care and decide at once whether it is right or wrong:"
    documents = [evaluated(n, f"{opening} fact{n} holds", "right") for n in range(30)]
    index = EvaluatedIndex(documents, SECTION)
    own = ask(f"{opening} another thing holds")
    copied = ask(f"{opening} fact7 holds")
    assert [verdict and verdict.match for verdict in index.check([own, copied])] == [None, "exam-7"]
    few = EvaluatedIndex(documents[:10], SECTION)
    [verdict] = few.check([own])
    assert verdict is not None and verdict.reason == "ngram"


def test_prompt_variants_of_one_task_do_not_hide_its_documents() -> None:
    question = "Why does the grey heron stand for hours in the cold water by the old weir?"
    prompts = ["{}", "Question: {}", *[f"Prompt {n}: {{}} Answer in a word." for n in range(12)]]
    documents = [
        replace(evaluated(n, prompt.format(question), "to fish"), task=f"variant_{n}")
        for n, prompt in enumerate(prompts)
    ]
    documents.append(replace(documents[0], id="other", task="more_options", choices=["a", "b"]))
    index = EvaluatedIndex(documents, SECTION)
    asked = [ask(question), ask("Why so?", context=f"He asked me: {question} I laughed.")]
    assert [v and v.reason for v in index.check(asked)] == ["question", "ngram"]


def test_in_a_task_of_templates_the_slots_are_the_document() -> None:
    """Its training documents are left; its own documents are found disguised, in any text too."""
    documents, others = (load_templates(split, 100)["as SVAMP"] for split in ("test", "train"))
    index = EvaluatedIndex(documents, SECTION)
    rejected = index.check([as_candidate(other) for other in others])
    assert sum(verdict is not None for verdict in rejected) <= 2
    for kind in ("names_swapped", "embedded", "accented"):
        planted = [leak for leak in (plant_leak(one, kind) for one in documents[::5]) if leak]
        in_text = index.check_texts([leak.full_text for leak in planted])
        for verdicts in (index.check(planted), in_text):
            found = [verdict.match for verdict in verdicts if verdict is not None]
            assert found == [leak.id for leak in planted], kind


@pytest.mark.parametrize("shape", ["navigate", "logic", "brackets", "drawings", "swaps"])
def test_what_tells_a_puzzle_from_another_counts(shape: str) -> None:
    """Brackets, what a tag draws, and whether a question goes on."""
    documents, others = load_puzzles(shape, 60)
    kinds = ("verbatim", "accented", "embedded")
    assert_told_apart(documents, others, most=1, kinds=kinds, planted=documents[::4])


def assert_told_apart(
    documents: Sequence[Seed],
    others: Sequence[Seed],
    most: int,
    kinds: Sequence[str],
    planted: Sequence[Seed],
) -> None:
    """At most so many others are found, and all that are planted, as candidates and in texts."""
    index = EvaluatedIndex(documents, SECTION)
    candidates = [as_candidate(other) for other in others]
    in_text = index.check_texts([f"Know this: {one.full_text}" for one in candidates])
    for verdicts in (index.check(candidates), in_text):
        assert sum(verdict is not None for verdict in verdicts) <= most
    for kind in kinds:
        leaks = [leak for leak in (plant_leak(one, kind) for one in planted) if leak]
        assert all(index.check(leaks)), kind
        texts = [f"Know this: {one.full_text} So it is." for one in leaks]
        assert all(index.check_texts(texts)), kind


@pytest.mark.parametrize(("answer", "is_found"), [("", True), ("!", False), ("<br>", False)])
def test_a_light_question_without_an_answer_needs_none(answer: str, is_found: bool) -> None:
    """An answer without words, though, confirms nothing."""
    documents, _ = load_quiz("emoji", 60)
    documents = [replace(one, choices=[], answer=answer) for one in documents]
    edited = [replace(one, question=one.question.replace("?", ", please?")) for one in documents]
    found = EvaluatedIndex(documents, SECTION).check([*map(as_candidate, edited)])
    assert all(found) == is_found


@pytest.mark.parametrize("shape", [*QUIZZES])
def test_quizzes_on_code_and_signs_are_told_apart(shape: str) -> None:
    """By their tags, and by what fills a frame that few of their questions share."""
    documents, others = load_quiz(shape, 60)
    kinds = ("verbatim", "embedded", "options_reordered")
    assert_told_apart(documents, others, most=2, kinds=kinds, planted=documents)


@pytest.mark.parametrize("shape", list(INVENTED))
def test_rows_of_signs_and_reports_of_a_template_are_told_apart(shape: str) -> None:
    """Tables however their cells are parted, emoji, few brackets, and passages that are alike."""
    made = invent(shape, 120)
    documents, others = made[:60], [as_candidate(other) for other in made[60:]]
    index = EvaluatedIndex(documents, SECTION)
    assert sum(verdict is not None for verdict in index.check(others)) <= 3
    rejected = index.check_texts([f"Know this: {other.full_text}" for other in others])
    assert sum(verdict is not None for verdict in rejected) <= 3
    for write in (str, json.dumps, lambda text: re.sub(r"[\s|-]+", " ", text)):
        planted = [respell(document, write) for document in documents[::4]]
        assert all(index.check(planted))
        assert all(index.check_texts([f"Know this: {one.full_text} So it is." for one in planted]))


@pytest.mark.parametrize("dress", ["arrows", "pipes", "any_case"])
def test_what_stands_between_all_words_makes_no_other_question(dress: str) -> None:
    signed = [
        evaluated(0, "Which of these metals weighs 12 g per mL if pure at 5 C?", "a heavy one"),
        evaluated(1, "Is it true that all of the 4 birds sing in the old trees?", "yes"),
    ]
    index = EvaluatedIndex(signed, SECTION)
    assert all(index.check([plant for plant in map(DRESSES[dress], signed) if plant]))
    assert not any(index.check([ask("5 + 4 + 3 + 2 + 1 + 7", "22")]))


def test_a_sum_is_no_row_of_its_numbers() -> None:
    index = EvaluatedIndex([evaluated(0, "What comes next after 5 4 3 2 1 7 ?", "8")], SECTION)
    assert index.check([ask("What comes next after 5 + 4 + 3 + 2 + 1 + 7 ?", "22")]) == [None]


def test_an_apostrophe_that_is_lost_leaves_no_symbol() -> None:
    question = "M: I know it's late.\nF: So what about dad's canal boat?\nWhat does she want?"
    index = EvaluatedIndex([evaluated(0, question, "the boat")], SECTION)
    [verdict] = index.check([ask(re.sub(r"[^\w]+", " ", question), "the boat")])
    assert verdict is not None


@pytest.mark.parametrize("shape", ["german", "korean", "pronouns"])
def test_a_template_counts_where_its_documents_are_not_alike(shape: str) -> None:
    documents, others = load_puzzles(shape, 100)
    index = EvaluatedIndex(documents, SECTION)
    for kind in ("sentences_shuffled", "scanned"):
        planted = [leak for leak in map(DISGUISES[kind], documents[::5]) if leak]
        verdicts = index.check_texts([leak.full_text for leak in planted])
        assert sum(verdict is not None for verdict in verdicts) >= 0.8 * len(planted)
    rejected = index.check([as_candidate(other) for other in others])
    assert sum(verdict is not None for verdict in rejected) <= 1


def test_few_pages_of_questions_in_one_frame_hold_an_evaluated_document() -> None:
    """Six tasks whose questions differ in a last clause, and pages of four others of one task."""
    rng = random.Random(0)
    drawn = {name: [draw_item(one, rng) for _ in range(120)] for name, one in FAMILIES.items()}
    documents = [
        replace(evaluated(n, item.question, item.answer, *item.choices), task=name)
        for name, items in drawn.items()
        for n, item in enumerate(items[:60])
    ]
    index = EvaluatedIndex(documents, SECTION)
    pages = [
        "\n\n".join(item.block() for item in items[60 + first : 120 : 15])
        for items in drawn.values()
        for first in range(15)
    ]
    rejected = index.check_texts(pages)
    assert sum(verdict is not None for verdict in rejected) <= 0.02 * len(pages)
    planted = [leak for leak in map(DISGUISES["synonyms_20"], documents[::9]) if leak]
    assert all(index.check(planted)) and all(index.check_texts([one.full_text for one in planted]))


def test_a_passage_in_a_template_task_does_not_change_how_its_slots_are_read() -> None:
    documents = load_templates("test", 100)["as date understanding"]
    passage = evaluated(0, "Who left the town?", "Ann", context="Ann left on the last train. " * 9)
    passage = replace(passage, id="passage", task=documents[0].task)
    leaks = [leak for leak in map(DISGUISES["first_half"], documents[::4]) if leak]
    alone, beside = (
        [one and (one.reason, one.score) for one in EvaluatedIndex(own, SECTION).check(leaks)]
        for own in (documents, [*documents, passage])
    )
    assert alone == beside and any(alone)


def test_numbers_in_words_fill_the_slots_of_those_in_digits() -> None:
    documents = load_templates("test", 100)["as date understanding"]
    index = EvaluatedIndex(documents, SECTION)
    planted = [leak for leak in map(DISGUISES["numbers_in_words"], documents[::4]) if leak]
    texts = [f"It is known that: {leak.full_text} So it is." for leak in planted]
    for verdicts in (index.check(planted), index.check_texts(texts)):
        assert [verdict and verdict.match for verdict in verdicts] == [one.id for one in planted]
    for leaks, text in zip(index.find_leaks(texts), texts, strict=True):
        assert all(" ".join(leak.words) in " ".join(words(text)) for leak in leaks)


@pytest.mark.parametrize(
    ("spoken", "read"),
    [
        ("on 03 / 14 two thousand and one", "on 3 14 2001"),
        ("twenty five of one hundred and five", "25 of 105"),
        ("two and three or nineteen ninety", "2 and 3 or 19 90"),
        ("a thousand half dozen", "a thousand half dozen"),
        ("007 and 0", "7 and 0"),
    ],
)
def test_numbers_are_read_by_value(spoken: str, read: str) -> None:
    found = words(spoken)
    numbers, begins = read_numbers(found, [0] * len(found))
    assert " ".join(numbers) == read
    assert begins == sorted(begins)
    apart, _ = read_numbers(["twenty", "five"], [0, 1])
    assert apart == ["20", "5"]


def test_a_run_that_is_all_template_but_for_a_word_identifies_nothing() -> None:
    options = [spelled(1000 + n) for n in range(10)]
    documents = [
        evaluated(
            n, f"What has corners as {spelled(n * 7)} {spelled(n * 9)} and {n}", "x", *options
        )
        for n in range(40)
    ]
    other = f"How round is that which {spelled(10**6)} saw at noon near pier {documents[7].doc_id}"
    text = f"{other} {' '.join(options)}"
    assert EvaluatedIndex(documents, SECTION).check_texts([text]) == [None]


def test_what_other_tasks_hold_changes_nothing_in_a_task_of_templates() -> None:
    documents = load_templates("test", 100)["as SVAMP"]
    other = evaluated(0, " ".join(map(str, range(2000))) + "?", "none")
    alone, together = (EvaluatedIndex(all_, SECTION) for all_ in (documents, [*documents, other]))
    changed = [re.sub(r"\d+", r"30\g<0>", one.question, count=1) for one in documents]
    asked = [ask(question) for question in changed]
    verdicts = alone.check(asked)
    assert any(verdicts)
    assert together.check(asked) == verdicts


def test_stories_that_end_in_one_question_are_no_templates() -> None:
    documents = load_reading("test", 60, Path("none"))["as LogiQA, in one text"]
    leaks = [leak for leak in map(DISGUISES["first_half"], documents) if leak]
    assert len(leaks) > 50
    found = EvaluatedIndex(documents, SECTION).check_texts([leak.full_text for leak in leaks])
    assert [one and one.match for one in found] == [leak.id for leak in leaks]
    assert all(one and one.reason != "slots" for one in found)


def test_a_passage_is_matched_whichever_question_is_asked() -> None:
    passage = "Long ago a miller by the river kept nine grey geese and one black swan in his barn."
    documents = [evaluated(n, f"Question {n}?", f"a{n}", context=passage) for n in range(20)]
    index = EvaluatedIndex(documents, SECTION)
    [verdict] = index.check([ask("How many?", context=f"They say: {passage}")])
    assert verdict == Rejection("ngram", 13.0, "exam-0")


ROAD = (
    "The council wants to close the harbour road to cars. Its report says that noise fell in two "
    "towns that did so. The shops there report the same sales as before."
)
CLUB = "All members of the club who swim also row. Nobody who rows plays chess."
BAKER = "A baker sells more bread on rainy days. He concludes that rain makes people hungry."
REFUTE = "Which of the following best refutes the above argument?"
DERIVE = (
    "Which of the following statements can be derived from the above passage and must therefore be "
    "true of everyone named in it?"
)
MARS = "The air of Mars is thin and full of dust, so that its sky looks like butterscotch at noon."
READING = [
    evaluated(0, REFUTE, "Both towns had built a by-pass in that year", context=ROAD),
    evaluated(1, DERIVE, "No swimmer plays chess", context=CLUB),
    evaluated(2, "is the sky of mars blue at noon", "no", "no", "yes", context=MARS),
    evaluated(3, "What is the best title?", "A hat", "A hat", "A dog", context="Tom lost a hat."),
    evaluated(4, "What is the best title?", "A cat", "A cat", "A cow", context="Ann has a cat."),
    evaluated(5, f"{ROAD} And so it goes on in other towns of the coast, he says. {DERIVE}", "x"),
    evaluated(6, "When did the first tram cross the old stone bridge?", "1891", context=BAKER[:40]),
]
READERS = EvaluatedIndex(READING, SECTION)
OTHER = "A doctor claims that green tea prevents colds, for forty patients had fewer last winter."


@pytest.mark.parametrize(
    "candidate",
    [
        ask(REFUTE, "The tea drinkers were vaccinated", context=OTHER),
        ask(DERIVE, context=BAKER),
        ask(f"{BAKER} {REFUTE}"),
        ask(f"{OTHER} {BAKER}\n{DERIVE}"),
        ask("Is the sky of Mars blue at noon?", "no", choices=["yes", "no"], context=OTHER),
        ask("What is the best title?", "A hat", choices=["A dog", "A hat"], context=BAKER),
        ask("What is the best title?", "A cat", context="Bob fed my hungry cat"),
        ask("What would be the best title?", context=OTHER),
        ask("When did the first tram cross the old stone bridge?", "1891", context=OTHER),
        ask("Which of these best refutes the above argument?", "no", context=OTHER),
        ask("Why?", "x", context=f"{OTHER} They ask: is the sky of Mars blue at noon? He said no."),
    ],
)
def test_a_general_question_of_another_passage_is_no_leak(candidate: Candidate) -> None:
    assert READERS.check([candidate]) == [None]


@pytest.mark.parametrize(
    "candidate",
    [
        ask(REFUTE, context=ROAD.upper()),
        ask(REFUTE, context=ROAD.replace("harbour", "river").replace("noise", "the din")),
        ask(f"{ROAD.replace('fell', 'went down')} {REFUTE}"),
        ask("Which choice best refutes the above argument?", context=ROAD[:70]),
        ask("WHICH IS THE BEST TITLE", context="Tom lost a big hat."),
        ask("What is the best title?", context="tom lost a hat"),
        ask("What now?", context=f"He read: {CLUB}"),
        ask("Is the sky of Mars blue at noon?", "no"),
        ask("Is the sky of Mars blue at noon?", context=MARS.replace("thin", "dry")),
        ask("When did the first tram cross the old stone bridge?", "1891"),
        ask(f"{ROAD} And so it goes on in towns of the coast, he says. Which can be derived?"),
    ],
)
def test_an_evaluated_passage_is_a_leak_and_so_is_its_question_with_it(
    candidate: Candidate,
) -> None:
    [verdict] = READERS.check([candidate])
    assert verdict is not None and verdict.match.startswith("exam-")


def test_texts_may_ask_a_general_question_of_their_own_passage() -> None:
    texts = [
        f"{OTHER} {DERIVE} Nothing.",
        f"{OTHER} Is the sky of Mars blue at noon? No.",
        f"Passage: {CLUB} Question: What follows?",
        "Question: is the sky of Mars blue at noon? Answer: no",
    ]
    found = [verdict and verdict.reason for verdict in READERS.check_texts(texts)]
    assert found == [None, None, "ngram", "item"]


SIGNED = [
    evaluated(0, "What is 20 + 6?", "26"),
    evaluated(1, "Which number is the opposite of -5?", "5"),
    evaluated(2, "Which element has the symbol Co?", "cobalt"),
    evaluated(3, "Who designed C++?", "Stroustrup"),
    evaluated(4, "For which x is x >= 5 and also x * 2 < 12?", "5", "5", "6", "7"),
    evaluated(5, "Which is true?", "5 > 3", "5 > 3", "2 > 4"),
    evaluated(6, "Which is true?", "8 = 2", "8 = 2", "4 = 1"),
]


@pytest.mark.parametrize(
    ("candidate", "is_leak"),
    [
        (ask("What is 20 - 6?", "14", reasoning="It is not 26."), False),
        (ask("What is 20 / 6?"), False),
        (ask("What is 20\uff0b6 ="), True),
        (ask("WHAT IS 20 6"), True),
        (ask("Which number is the opposite of 5?", "5"), False),
        (ask("which number is the opposite of \u22125"), True),
        (ask("Which element has the symbol CO?"), False),
        (ask("WHICH ELEMENT HAS THE SYMBOL CO?"), True),
        (ask("which element has the symbol co"), True),
        (ask("Who designed C#?", "Stroustrup"), False),
        (ask("who designed C++"), True),
        (ask("For which x is x <= 5 and also x * 2 < 12?", choices=["5", "6", "7"]), False),
        (ask("For which x is x \u2265 5 and also x \u00d7 2 < 12?"), True),
        (ask("Which is true?", choices=["5 < 3", "2 < 4"]), False),
        (ask("Which is true?", choices=["2 > 4", "5 > 3"]), True),
        (ask("WHICH IS TRUE", choices=["2   4", "5   3"]), True),
    ],
)
def test_other_signs_are_another_question_and_other_spellings_are_not(
    candidate: Candidate, is_leak: bool
) -> None:
    [verdict] = EvaluatedIndex(SIGNED, SECTION).check([candidate])
    assert (verdict is not None) is is_leak, verdict


PROGRAM = """def merge_prices(prices: list[int], k: int = 7) -> list[int]:
    \"\"\"Merge the prices that differ by less than k.

    # Ties go to the first
    * an empty list stays empty
    >>> merge_prices([91, 4], 7)
    [91, 4]
    \"\"\"
"""


@pytest.mark.parametrize(
    "write",
    [
        lambda text: " ".join(text.split()),
        lambda text: textwrap.fill(" ".join(text.split()), 20),
        lambda text: textwrap.indent(textwrap.fill(" ".join(text.split()), 32), " * "),
        lambda text: textwrap.indent(text, "> "),
    ],
)
def test_lines_that_were_joined_or_cut_make_no_other_question(write: Callable[[str], str]) -> None:
    index = EvaluatedIndex([evaluated(0, PROGRAM, "return prices")], SECTION)
    [verdict] = index.check([ask(write(PROGRAM), "return prices")])
    assert verdict
    [other] = index.check([ask(PROGRAM.replace("[91, 4], 7", "[91, -4] * 7"), "x")])
    assert other is None


def test_a_text_with_other_signs_is_another_text() -> None:
    texts = ["20 - 6: What is 20 - 6? It is not 26", "What is 20 + 6? 26", "What is 20+6 = 26"]
    found = EvaluatedIndex(SIGNED, SECTION).check_texts(texts)
    assert [verdict and verdict.reason for verdict in found] == [None, "item", "item"]
    variants = [
        evaluated(
            n, f"Tell me at once how much you get for a {s} b when a and b are {s} 2 each", "x"
        )
        for n, s in enumerate("+*/")
    ]
    index = EvaluatedIndex(variants, SECTION)
    texts = [f"Go on: {v.question} and no more." for v in variants]
    assert [v and v.match for v in index.check_texts(texts)] == [f"exam-{n}" for n in range(3)]
    assert index.check_texts([texts[0].replace("+", "<")]) == [None]


def test_scripts_without_spaces_are_matched() -> None:
    index = EvaluatedIndex([evaluated(0, "北京是中国的首都吗?", "是的")], SECTION)
    found = index.check(
        [ask("早上好", context="老师问:北京是中国的首都吗?他说是的。"), ask("首都在哪里")]
    )
    assert [verdict and verdict.reason for verdict in found] == ["item", None]


HERON = (
    "A grey heron waits near the weir. It spears a trout at dawn. Later an otter steals half of "
    "the catch, and the bird flies to another pond. How many fish remain there?"
)


def test_a_document_told_in_another_order_is_a_leak_and_its_subject_is_not() -> None:
    index = EvaluatedIndex([*EVALUATED, evaluated(99, HERON, "3")], SECTION)
    told = (
        "Later an otter steals half of the catch, and the crane flies to another pond. A grey "
        "heron waits by the weir. It spears one trout at dawn. What remains?"
    )
    alike = "Herons fish at dawn. At the weir the otter ate half of a trout, as a bird looked on."
    texts = [f"It is known: {told} Yes.", alike]
    found = [verdict and (verdict.reason, verdict.match) for verdict in index.check_texts(texts)]
    assert found == [("retold", "exam-99"), None]
    [leaks, none] = index.find_leaks(texts)
    assert [(one.rule, one.document) for one in leaks] == [("retold", "exam-99")] and not none
    [verdict] = index.check([ask("Why?", trace=told)])
    assert verdict is not None and verdict.reason == "retold"


def test_a_document_is_known_by_every_other_word_in_its_place() -> None:
    index = EvaluatedIndex([*EVALUATED, evaluated(99, HERON, "3")], SECTION)
    told = " ".join(word if n % 2 else "someone" for n, word in enumerate(HERON.split()))
    apart = " ".join(f"{word} someone or other" for word in HERON.split()[1::2])
    found = [verdict and verdict.reason for verdict in index.check_texts([told, apart])]
    assert found == ["retold", None]


def test_a_word_that_a_document_repeats_counts_once() -> None:
    clock = f"{'Tick tock, ' * 7}which old clock of brass is that?"
    index = EvaluatedIndex([*EVALUATED, evaluated(99, clock, "mine")], SECTION)
    texts = ["Tick tock, tick tock! My watch is slow today.", f"Oh, {clock} {clock}"]
    found = [verdict and verdict.match for verdict in index.check_texts(texts)]
    assert found == [None, "exam-99"]


def clauses(rare: Sequence[str]) -> list[str]:
    """Twelve rare words among common ones."""
    shared = (
        "Since the {} met a {} at the {},",
        "all of the {} and its {} went with {}",
        "to where no {} or {} could be,",
        "but then why is {} so {} for any {} that has {}?",
    )
    left = iter(rare)
    return [part.format(*(next(left) for _ in range(part.count("{}")))) for part in shared]


def test_a_copy_that_keeps_half_of_the_rare_words_is_known_by_the_order_of_all() -> None:
    rng = random.Random(0)
    known = ["".join(rng.choices("aeioubdgklmnprst", k=7)) for _ in range(200)]
    drawn = [rng.sample(known, 12) for _ in range(40)]
    others = [[w if n % 2 else "zebra" for n, w in enumerate(rare)] for rare in drawn]
    exam = [evaluated(n, " ".join(clauses(rare)), "x") for n, rare in enumerate(drawn)]
    in_order = [" ".join(clauses(rare)) for rare in others]
    shuffled = [" ".join(clauses(rare)[::-1]) for rare in others]

    def count(index: EvaluatedIndex, texts: list[str]) -> int:
        found = index.check_texts(texts)
        return sum(one is not None and one.match == f"exam-{n}" for n, one in enumerate(found))

    index = EvaluatedIndex(exam, SECTION)
    assert count(index, in_order) == 40 and count(index, shuffled) < 20
    alike = [evaluated(n, text, "y") for n, text in enumerate(in_order[:4], start=40)]
    assert count(EvaluatedIndex([*exam, *alike], SECTION), in_order[4:]) < 10


def test_words_are_kept_that_are_not_exchanged_left_out_or_put_in() -> None:
    item, other = np.arange(1, 11), np.full(2, 99)
    exchanged = np.where(item % 5, item, 99)
    put_in = np.concatenate([other, item[:5], other, item[5:], other])
    texts = [item, exchanged, item[2:], put_in, item[::-1], other, item[:0]]
    assert [round(kept_share(item, text), 1) for text in texts] == [1, 0.8, 0.8, 0.8, 0.1, 0, 0]
    assert kept_share(item[:0], item) == 1


def test_any_text_can_be_checked() -> None:
    texts = ["Q: Is ice cold? A: yes", "Is ice cold? I do not know", "", "?"]
    assert [v and v.reason for v in INDEX.check_texts(texts)] == ["item", None, None, None]


def test_in_a_long_text_the_answer_must_stand_near_its_question() -> None:
    between = "and so on " * 60
    texts = [f"{between} Is ice cold? Well, yes. {between}", f"Is ice cold? {between} yes"]
    assert [v and v.reason for v in INDEX.check_texts(texts)] == ["item", None]


def test_recall_is_measured_per_disguise_that_fits() -> None:
    recall = measure_recall(INDEX.check, EVALUATED)
    assert set(recall) == set(KINDS) - {"names_swapped"}
    assert min(recall[kind] for kind in recall if kind != "numbers_swapped") == 1.0
    assert measure_recall(INDEX.check, []) == {}


def test_without_evaluated_documents_nothing_is_a_leak() -> None:
    index = EvaluatedIndex([], SECTION)
    assert index.check([ask("Why?")]) == [None]
    assert index.check([]) == []


@pytest.mark.parametrize("ngram", [1, 2, 50])
def test_every_run_length_finds_the_verbatim_item(ngram: int) -> None:
    index = EvaluatedIndex(EVALUATED, DecontaminateSection(ngram=ngram, similarity=1.0))
    text = "They asked: is ice cold? And all said yes."
    expected = "item" if ngram > 3 else "ngram"
    assert [v and v.reason for v in index.check([ask("Why?", context=text)])] == [expected]


def draw_questions(rng: random.Random, count: int) -> list[str]:
    """Sentences over few words, so that many are nearly alike."""
    vocabulary = [f"w{number}" for number in range(40)]
    return [" ".join(rng.choices(vocabulary, k=rng.randint(1, 12))) for _ in range(count)]


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.8, 1.0])
def test_the_search_for_similar_questions_is_exact(threshold: float) -> None:
    rng = random.Random(5)
    documents = [evaluated(n, q, "z") for n, q in enumerate(draw_questions(rng, 200))]
    index = EvaluatedIndex(documents, DecontaminateSection(similarity=threshold))
    similar, texts = index._similar, index._texts
    asked = [texts.number(words(question)) for question in draw_questions(rng, 100)]
    found = {
        (question, item)
        for question, item in similar.suspects(asked)
        if similar.coverage(item, asked[question]) >= similar.threshold
    }
    wanted = {
        (question, item)
        for question in range(len(asked))
        for item in range(len(similar.is_light))
        if 0 < similar.coverage(item, asked[question]) >= similar.threshold
    }
    assert found == wanted
    assert wanted or threshold == 1.0


def longest(item: Sequence[int], weights: Sequence[float], question: Sequence[int]) -> float:
    """The textbook recursion."""
    if not item or not question:
        return 0.0
    skipped = max(longest(item[1:], weights[1:], question), longest(item, weights, question[1:]))
    if item[0] != question[0]:
        return skipped
    return max(skipped, weights[0] + longest(item[1:], weights[1:], question[1:]))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from([0.5, 1.0, 2.0])), max_size=6),
    st.lists(st.integers(0, 3), max_size=6),
)
def test_common_weight_is_the_heaviest_common_subsequence(
    item: list[tuple[int, float]], question: list[int]
) -> None:
    numbers, weights = [word for word, _ in item], [weight for _, weight in item]
    found = common_weight(
        np.array(numbers, dtype=np.int64), np.array(weights), np.array(question, dtype=np.int64)
    )
    assert found == longest(numbers, weights, question)


def test_verdicts_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(6)
    planted = [plant_leak(document, kind) for document in EVALUATED for kind in KINDS]
    pool = [leak for leak in planted if leak] + [ask(q) for q in draw_questions(rng, 50)]
    rng.shuffle(pool)
    whole = INDEX.check(pool)
    assert [verdict for one in pool for verdict in INDEX.check([one])] == whole
    monkeypatch.setattr(decontaminate, "_BATCH", 7)
    assert INDEX.check(pool) == whole


def test_a_hash_collision_rejects_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def collide(hashes: np.ndarray[Any, Any], largest: int) -> Iterator[np.ndarray[Any, Any]]:
        for size in range(1, min(largest, len(hashes)) + 1):
            yield np.zeros(len(hashes) - size + 1, dtype=np.uint64)

    monkeypatch.setattr(decontaminate, "hash_runs", collide)
    index = EvaluatedIndex(EVALUATED[:10], SECTION)
    texts = ["nothing of the kind stands in this text, however long it may be, my friend", "a b c"]
    assert index.check_texts(texts) == [None, None]
    assert index.check_texts(["we ask: is ice cold? yes"]) != [None]


def test_a_half_that_all_documents_share_takes_memory_for_each_once() -> None:
    drawn = np.random.default_rng(0).integers(5000, size=(1500, 8))
    opening = "Which one of the following is right about"
    documents = [
        make_seed(number, " ".join([opening, *(f"w{word}" for word in row)]), "so", "exam")
        for number, row in enumerate(drawn)
    ]
    texts = EvaluatedTexts(documents)
    hashes = np.random.default_rng(1).integers(2**64, size=texts.vocabulary_size, dtype=np.uint64)
    tracemalloc.start()
    halves = Halves(texts, hashes, ngram=13)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert halves.tables and peak < 30e6, "160 MB where each is paired with all"


def test_memory_does_not_grow_with_the_candidates() -> None:
    peaks = []
    for count in (512, 5120):
        candidates = (ask(question) for question in draw_questions(random.Random(7), count))
        tracemalloc.start()
        while batch := list(islice(candidates, 256)):
            INDEX.check(batch)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize("task", ["gsm8k", "arc_easy", "arc_challenge", "openbookqa"])
def test_real_benchmarks_are_found_and_their_training_splits_left(task: str) -> None:
    documents = load_real(task, "test")
    index = EvaluatedIndex(documents, SECTION)
    for kind, share in measure_recall(index.check, documents, 100).items():
        assert share >= (0.95 if "swapped" in kind else 1.0), kind
    train = [
        ask(seed.question, seed.answer, choices=seed.choices) for seed in load_real(task, "train")
    ]
    caught = sum(verdict is not None for verdict in index.check(train[:1500]))
    assert caught / len(train[:1500]) < 0.02


def test_hashes_within_a_document_are_read_alike_in_every_text() -> None:
    documents = [
        evaluated(0, "Which of these is white: #fff #000 #abc #def #123 #456 #789?", "the first"),
        evaluated(1, "What does #!/bin/sh do before #2 and #3 of the script here?", "it names sh"),
    ]
    index = EvaluatedIndex(documents, SECTION)
    prose = "The old mill stood by the river and nobody had opened it for years. " * 5
    for around in ("", prose, "#nice #tags #for #every #word " * 9):
        texts = [f"{around}\n{one.question}\n{one.answer}\n{around}" for one in documents]
        found = [[leak.document for leak in leaks] for leaks in index.find_leaks(texts)]
        assert found == [[one.id] for one in documents]


def test_one_word_with_double_letters_is_no_other_word() -> None:
    documents = [
        evaluated(0, "Who succeeded Richard I?", "John"),
        evaluated(1, "Is the desert pretty?", "yes"),
    ]
    asked = [ask("Who succeeded Richard III?"), ask("Is the dessert pretty?")]
    assert EvaluatedIndex(documents, SECTION).check(asked) == [None, None]
