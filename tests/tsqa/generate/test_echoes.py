"""Replies that give the prompt back are no items, whatever form they have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.support.generation import make_seed
from tests.support.paths import DATA
from tsqa.generate.echoes import ECHO, Own, is_echo, question_without_echo, without_echo
from tsqa.prompts import Form, Role, load_prompts
from tsqa.recipe import AnswerKind
from tsqa.store.jsonl import read_jsonl
from tsqa.teachers.replies.answer_reply import ParsedAnswer, parse_answer
from tsqa.teachers.replies.question_reply import ParsedQuestion, parse_question
from tsqa.text.normalise import normalise


def own_words(role: Role, kind: AnswerKind, form: Form = "chat") -> Own:
    name = {"question": "similar", "answer": "enrich"}[role]
    prompt = load_prompts(name, role, "x").of(kind, has_context=False)
    return Own(prompt.own_words(role, kind, form))


def answered(kind: AnswerKind, form: Form = "chat", **fields: str) -> ParsedAnswer:
    parsed = parse_answer(json.dumps(fields), "stop", kind, [])
    return without_echo(parsed, own_words("answer", kind, form), is_code=kind == "code")


def asked(kind: AnswerKind, **fields: object) -> ParsedQuestion:
    parsed = parse_question(json.dumps(fields), "stop", kind, "chat", has_context=False)
    return question_without_echo(parsed, own_words("question", kind))


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("short_text", "the answer alone, in as few words as it takes."),
        ("short_text", "The answer alone, in as few words as it takes"),
        ("long_text", "the complete answer, in plain prose."),
        ("long_text", "Bread rises.\nYou work the answer out before you state it"),
        ("code", "(the complete program, with its imports and without tests)"),
    ],
)
def test_an_answer_that_is_the_prompts_is_none(kind: AnswerKind, answer: str) -> None:
    assert answered(kind, answer=answer, reasoning="It is so.") == ParsedAnswer(error=ECHO)


def test_an_explanation_that_is_the_prompts_is_dropped() -> None:
    found = answered(
        "short_text",
        answer="tin",
        reasoning="how to get from the question to the answer, step by step.",
        knowledge="Tin is a metal.\nOne or two sentences of background",
        context="Photosynthesis turns carbon dioxide and water into sugar and oxygen.",
    )
    assert (found.answer, found.reasoning, found.knowledge) == ("tin", "", "")
    assert found.dropped == ("reasoning", "knowledge") and found.context


def test_work_that_begins_as_the_prompt_bids_is_kept() -> None:
    begun = "Let's think step by step."
    parsed = ParsedAnswer(answer="19", reasoning=f"{begun} 4 * 6 = 24, and 24 - 5 = 19 are left.")
    own = Own(f" solve the task {normalise(begun)} ")
    assert without_echo(parsed, own, is_code=False) == parsed
    assert without_echo(replace(parsed, reasoning=begun), own, is_code=False).reasoning == ""


def test_the_worked_example_explains_no_other_question() -> None:
    told = "Photosynthesis turns carbon dioxide and water into sugar and oxygen with the energy of "
    fields = {"answer": "tin", "knowledge": f"{told}light."}
    assert answered("short_text", "completion", **fields).dropped == ("knowledge",)
    assert not answered("short_text", "chat", **fields).dropped, "only the completion form shows it"


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("short_text", {"question": "It is clear by itself, has exactly one right answer"}),
        ("number", {"question": "How many? It is in the language of the examples."}),
        ("choice", {"question": "Which?", "options": ["tin", "Write the options without letters"]}),
    ],
)
def test_a_question_that_is_the_prompts_is_none(
    kind: AnswerKind, fields: dict[str, object]
) -> None:
    assert asked(kind, **fields).error == ECHO


def test_what_a_prompt_is_filled_with_is_not_its_own() -> None:
    for kind in get_args(AnswerKind):
        for form in get_args(Form):
            own = own_words("answer", kind, form)
            assert is_echo("You answer questions for a data set", own) == (form == "chat")
            assert not is_echo("Which gas do plants give off when they make sugar?", own)


def test_what_a_seed_or_the_question_says_too_is_no_echo(tmp_path: Path) -> None:
    """A prompt of one's own names the labels that answers have, and quotes a rule."""
    rule = "A body at rest stays at rest."
    file = tmp_path / "mine.jinja"
    file.write_text(
        "---\nid: mine\nversion: 1\nkind: any\n---\n{% block completion %}"
        "Where the text does not say so, answer:\n"
        f"not enough information\n{rule}\n{{{{ question }}}}\nAnswer:{{% endblock %}}\n",
        encoding="utf-8",
    )
    prompt = load_prompts(str(file), "answer", "x").of("short_text", has_context=False)
    own = Own(prompt.own_words("answer", "short_text", "completion"))
    seed = replace(make_seed(0), answer="Not enough information.")
    for answer, shown in (("not enough information", own.beside([seed])),
                          (rule, own.beside([], f"Which law is this: {rule}"))):  # fmt: skip
        assert without_echo(ParsedAnswer(answer=answer), shown, is_code=False).answer == answer
        assert without_echo(ParsedAnswer(answer=answer), own, is_code=False).error == ECHO
    named = ParsedQuestion("Is it so?", "", ["tin", "Not enough information"], "", "")
    assert not question_without_echo(named, own.beside([seed])).error


def test_recorded_replies_lose_only_what_is_the_prompts() -> None:
    """Of SmolLM2-135M-Instruct, read by a person: each of the four gives instructions back."""
    changed: list[tuple[Any, ...]] = []
    for record in read_jsonl(DATA / "recorded_answers.jsonl"):
        kind, form = record["kind"], record["form"]
        parsed = parse_answer(record["text"], record["finish_reason"], kind, record["choices"])
        kept = without_echo(parsed, own_words("answer", kind, form), is_code=False)
        if kept != parsed:
            changed.append((form, kept.error, kept.dropped))
    for record in read_jsonl(DATA / "recorded_questions.jsonl"):
        kind, form = record["kind"], record["form"]
        asked = parse_question(record["text"], record["finish_reason"], kind, form, False)
        if question_without_echo(asked, own_words("question", kind, form)) != asked:
            changed.append((form, ECHO, asked.question[:27]))
    assert changed == [
        ("chat", "", ("knowledge",)),
        ("chat", "", ("knowledge",)),
        ("chat", ECHO, "You write questions for a d"),
        ("chat", ECHO, "- It is one of the examples"),
    ]
