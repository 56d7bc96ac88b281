"""Promises of prompts: shipped ones are whole, wrong ones are refused before any work."""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tsqa.prompts.load as load_module
from tsqa.errors import DataError, RecipeError, TsqaError
from tsqa.prompts import CRITERIA, PromptSet, load_prompts, shipped_prompts, template_library
from tsqa.prompts.variables import Role, sample
from tsqa.recipe import AnswerKind, Enrichment
from tsqa.records.seed import Seed

KINDS: tuple[AnswerKind, ...] = get_args(AnswerKind)
JSON_KINDS = [kind for kind in KINDS if kind != "code"]
ENRICHMENT: tuple[Enrichment, ...] = get_args(Enrichment)
SHIPPED = [(role, name) for role in get_args(Role) for name in shipped_prompts(role)]
HEADER = "---\nid: mine\nversion: 1\nkind: any\n---\n"
SHOT = sample("question", "short_text", full=True)["shots"][0]  # type: ignore[index]


def load(name: str | Path, role: Role) -> PromptSet:
    return load_prompts(str(name), role, f"generate.prompts.{role}")


def rendered(role: Role, name: str, kind: AnswerKind, has_context: bool, **changes: Any) -> str:
    """Both forms of the prompt for a made-up item, one below the other."""
    prompt = load(name, role).of(kind, has_context)
    variables = sample(role, kind, full=True) | changes
    return "\n".join(
        [
            prompt.completion(**variables),
            *(turn["content"] for turn in prompt.messages(**variables)),
        ]
    )


@pytest.mark.parametrize(("role", "name"), SHIPPED)
def test_shipped_prompts_serve_every_kind(role: Role, name: str) -> None:
    prompts = load(name, role)
    forms = ("completion",) if role == "document" else ("completion", "chat")
    for form in forms:
        prompts.check_form(form)  # type: ignore[arg-type]
    for kind in KINDS:
        assert prompts.of(kind, False).kind in (kind, "any")
        assert prompts.of(kind, True).kind in (kind, "any", "reading")
    assert all(set(file) == {"name", "bytes", "blake3"} for file in prompts.identity)


def test_a_shipped_prompt_is_loaded_once_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(template_library.SHIPPED, tmp_path / "prompts")
    for module in (load_module, template_library):
        monkeypatch.setattr(module, "SHIPPED", tmp_path / "prompts")
    first = load("plain", "answer")
    assert load("plain", "answer") is first
    file = first.of("short_text", False).path
    file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    changed = load("plain", "answer")
    assert changed.of("short_text", False).sha256 != first.of("short_text", False).sha256


def test_shipped_sets_are_those_that_recipes_name() -> None:
    assert set(SHIPPED) >= {
        ("question", "similar"),
        ("question", "plain"),
        ("answer", "enrich"),
        ("answer", "plain"),
        ("judge", "judge"),
        ("leak", "leak"),
        *(("document", name) for name in ("qa", "lesson", "exam", "dialogue")),
    }


def test_made_up_seeds_have_the_fields_of_a_seed() -> None:
    assert list(SHOT) == [field.name for field in fields(Seed)]


@pytest.mark.parametrize("kind", KINDS)
def test_plain_prompts_are_those_that_the_quickstart_teachers_learn(kind: AnswerKind) -> None:
    shots = [SHOT | {"explanation": "it is known"}, SHOT | {"explanation": ""}]
    shown = (
        "Question: Which?\nAnswer: one\nBecause: it is known\n\nQuestion: Which?\nAnswer: one\n\n"
    )
    question = load("plain", "question").of(kind, False)
    assert question.completion(shots=shots, kind=kind) == f"{shown}Question:"
    assert question.stop == ("\n",)
    answer = load("plain", "answer").of(kind, False)
    text = answer.completion(
        shots=shots, question="Why?", context="", choices=["a", "b"], kind=kind, enrichment=[]
    )
    assert text == f"{shown}Question: Why?\nAnswer:"
    assert answer.stop == ("\n\n", "\nQuestion")


def test_plain_questions_are_open_where_the_seed_has_options() -> None:
    assert load("plain", "question").of("choice", False).asked_kind("choice") == "short_text"
    assert load("plain", "question").of("choice", True).asked_kind("choice") == "short_text"
    assert load("plain", "question").of("number", False).asked_kind("number") == "number"
    assert load("similar", "question").of("choice", True).asked_kind("choice") == "choice"


def test_a_new_choice_question_gets_as_many_options_as_its_seed() -> None:
    shots = [SHOT | {"kind": "choice", "choices": list("abcde"[:count])} for count in (2, 4)]
    for has_context in (False, True):
        text = rendered("question", "similar", "choice", has_context, shots=shots)
        assert "exactly 4 options" in text
        assert "\nA. a\nB. b\nC. c\nD. d\n" in text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("has_context", [False, True])
@pytest.mark.parametrize("asked", [(), *((name,) for name in ENRICHMENT), ENRICHMENT])
def test_only_the_enrichment_asked_for_is_asked_for(
    kind: AnswerKind, has_context: bool, asked: tuple[Enrichment, ...]
) -> None:
    text = rendered("answer", "enrich", kind, has_context, enrichment=list(asked)).lower()
    schema = load("enrich", "answer").of(kind, has_context).schema_for(asked)
    for name in ENRICHMENT:
        wanted = name in asked and (name != "distractors" or kind == "choice")
        assert (f'"{name}":' in text or f"\n{name}: (" in text) == wanted
        if schema is not None and name not in asked:
            assert name not in schema["properties"]
            assert name not in schema["required"]
    assert '"answer":' in text or "\nanswer:\n```python\n(" in text


@pytest.mark.parametrize("kind", KINDS)
def test_examples_are_spoken_of_only_where_there_are_some(kind: AnswerKind) -> None:
    for has_context in (False, True):
        assert "Those were examples" in rendered("answer", "enrich", kind, has_context)
        assert "examples" not in rendered("answer", "enrich", kind, has_context, shots=[])


@pytest.mark.parametrize("kind", JSON_KINDS)
@pytest.mark.parametrize("name", ["similar", "varied"])
def test_the_examples_of_questions_have_the_form_that_is_asked_for(
    kind: AnswerKind, name: str
) -> None:
    for has_context in (False, True):
        text = rendered("question", name, kind, has_context)
        text = text.split("Examples, each a JSON object")[1]
        shown = [json.loads(line) for line in re.findall(r"(?m)^\{.*$", text)]
        schema = load(name, "question").of(kind, has_context).schema
        assert schema is not None
        assert len(shown) == len(re.findall("(?m)^Answer: ", text)) > 0
        for example in shown:
            keys = ["passage"] * has_context + ["question"] + ["options"] * (kind == "choice")
            assert list(example) == keys and set(keys) <= set(schema["properties"])


def test_a_teacher_reasons_before_it_answers() -> None:
    for kind in KINDS:
        for has_context in (False, True):
            prompt = load("enrich", "answer").of(kind, has_context)
            if prompt.schema is not None:
                names = list(prompt.schema["properties"])
                assert names.index("reasoning") < names.index("answer")
            variables = sample("answer", kind, full=True)
            for text in (
                prompt.completion(**variables).split("Solution:")[1],
                re.split("Reply (?:with|in)", prompt.messages(**variables)[1]["content"])[1],
            ):
                assert re.findall(r"(?m)^\W?(reasoning|answer)\W?:", text.lower())[-2:] == [
                    "reasoning",
                    "answer",
                ]


def test_a_rephrasing_has_no_schema(tmp_path: Path) -> None:
    own = tmp_path / "own.jinja"
    header = HEADER.replace("kind: any", "kind: any\nschema: {properties: {text: {}}}")
    own.write_text(header + "{{ passage }}")
    with pytest.raises(DataError, match="a rephrasing is plain text"):
        load(own, "rephrase")


def test_a_schema_restricted_leaves_the_prompt_as_it_is() -> None:
    prompt = load("enrich", "answer").of("choice", False)
    assert prompt.schema_for([])["required"] == ["answer"]  # type: ignore[index]
    assert prompt.schema_for(ENRICHMENT) == prompt.schema
    assert load("plain", "answer").of("choice", False).schema_for([]) is None


def test_the_judge_grades_every_criterion() -> None:
    prompt = load("judge", "judge").of("number", False)
    assert prompt.schema is not None
    assert set(prompt.schema["properties"]) == {"notes", *CRITERIA}
    text = rendered("judge", "judge", "number", False)
    assert all(f'"{name}": 1-5' in text for name in CRITERIA)


def test_options_beyond_the_alphabet_are_numbered() -> None:
    shot = SHOT | {"kind": "choice", "choices": [f"option {number}" for number in range(28)]}
    text = rendered("question", "similar", "choice", False, shots=[shot])
    assert "\nZ. option 25\n27. option 26\n28. option 27\n" in text


DOCUMENT = {
    "question": "Which?",
    "context": "",
    "choices": [],
    "answer": "copper",
    "answer_index": None,
    "reasoning": "",
    "knowledge": "",
    "item_context": "",
    "distractors": "",
    "kind": "short_text",
}


def test_the_plain_rendering_of_a_plain_item_is_what_it_always_was() -> None:
    prompt = load("qa", "document").of("short_text", False)
    assert prompt.completion(**DOCUMENT) == "Question: Which?\nAnswer: copper"
    text = prompt.completion(**DOCUMENT | {"reasoning": "It conducts."})
    assert text == "Question: Which?\nAnswer: copper\nBecause: It conducts."


def test_the_answer_alone_leaves_out_all_that_explains_it() -> None:
    prompt = load("answer_only", "document").of("short_text", True)
    text = prompt.completion(**DOCUMENT | FILLED)
    assert text == "Passage: The passage.\nQuestion: Which?\nAnswer: copper"


FILLED = {
    "context": "The passage.",
    "reasoning": "The reasoning.",
    "knowledge": "The knowledge.",
    "item_context": "The background.",
    "distractors": "The distractors.",
}


@given(
    st.sampled_from(sorted({*shipped_prompts("document")} - {"answer_only", "trace"})),
    st.sets(st.sampled_from(sorted(FILLED))),
    st.sampled_from(KINDS),
)
def test_a_rendering_holds_what_there_is_and_no_gap(
    name: str, present: set[str], kind: AnswerKind
) -> None:
    choices = {"choices": ["iron", "copper"], "answer_index": 1} if kind == "choice" else {}
    variables = DOCUMENT | {key: FILLED[key] for key in present} | choices | {"kind": kind}
    text = load(name, "document").of(kind, "context" in present).completion(**variables)
    for key, value in FILLED.items():
        assert (value in text) == (key in present)
    assert text.rfind("copper") > text.find("Which?") >= 0
    if kind == "choice":
        assert "iron" in text
        assert "copper" in text.split("iron", 1)[1].split("copper", 1)[1] + "copper"
        assert text.count("copper") == 2  # among the options, and as the answer
    if kind == "code":
        assert "```python\ncopper\n```" in text
    assert "\n\n\n" not in text
    assert text == text.strip()
    assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trace", ["", "So: copper?"])
@pytest.mark.parametrize("reasoning", ["", "It is red."])
def test_a_trace_stands_before_the_answer(kind: AnswerKind, trace: str, reasoning: str) -> None:
    choices = {"choices": ["iron", "copper"], "answer_index": 1} if kind == "choice" else {}
    said = {"kind": kind, "trace": trace, "reasoning": reasoning}
    text = load("trace", "document").of(kind, False).completion(**DOCUMENT | choices | said)
    shown = trace or reasoning
    middle = text[text.index("Which?") : text.rindex("Answer:")]
    assert shown in middle and "copper" in text[text.rindex("Answer:") :]
    assert not (trace and reasoning and reasoning in text)
    assert "\n\n\n" not in text and text == text.strip()


def test_wrong_names_are_refused_with_the_right_ones() -> None:
    with pytest.raises(
        RecipeError, match=r"generate\.prompts\.question = 'nothing': no such prompt"
    ):
        load("nothing", "question")
    with pytest.raises(RecipeError, match=r"did you mean 'similar'.*plain, similar"):
        load("similiar", "question")
    with pytest.raises(RecipeError, match="no such prompt"):
        load("enrich", "question")


BROKEN = {
    "no front matter": ("{{ question }}", "no front matter"),
    "a header without its end": ("---\nid: mine\n{{ question }}", "no front matter"),
    "a header that is no YAML": ("---\nid: [\n---\nx", "front matter: "),
    "a missing key": ("---\nid: mine\nkind: any\n---\nx", "front matter: version: Field required"),
    "an unknown key": (HEADER.replace("id:", "stops: []\nid:") + "x", "stops: Extra inputs"),
    "a kind that is none": (HEADER.replace("any", "essay") + "x", "kind: Input should be"),
    "a key given twice": (HEADER.replace("id:", "id: other\nid:") + "x", "given twice"),
    "an error by its line in the file": (HEADER.replace("1", "[") + "x", "front matter: line 5"),
    "an empty stop": (
        HEADER.replace("kind:", 'stop: [""]\nkind:') + "x",
        r"stop\.0: String should",
    ),
    "a version that is no number": (HEADER.replace("1", "one") + "x", "version: Input should be"),
    "a schema without the answer": (
        HEADER.replace("kind:", "schema: {properties: {reply: {type: string}}}\nkind:") + "x",
        "schema: no property answer",
    ),
    "a syntax error": (HEADER + "Hello\n{{ question", r"mine\.jinja:7: "),
    "an undefined variable": (HEADER + "{{ questoin }}", "undefined variable questoin"),
    "an undefined variable in a branch never taken": (
        HEADER + "{% if kind == 'x' %}{{ seed }}{% endif %}{{ question }}",
        "undefined variable seed",
    ),
    "an undefined field": (
        HEADER + "{% for shot in shots %}{{ shot.titel }}{% endfor %}",
        "UndefinedError: .* has no attribute 'titel'",
    ),
    "a template that fails": (HEADER + "{{ 1 // shots[0].doc_id }}", "ZeroDivisionError"),
    "an empty template": (HEADER + "{# nothing #}", "the completion form is empty"),
    "an unknown block": (HEADER + "{% block chat %}x{% endblock %}", "blocks chat make no form"),
    "half of the chat form": (
        HEADER + "{% block user %}x{% endblock %}",
        "blocks user make no form",
    ),
    "an import of nothing": (
        HEADER + "{% import 'lost.jinja' as lost %}x",
        r"imports 'lost\.jinja', which is not there",
    ),
    "bytes that are no text": (HEADER + "\udcff", "not UTF-8"),
}


@pytest.mark.parametrize(("source", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_prompts_are_refused_by_file_with_a_fix(
    tmp_path: Path, source: str, message: str
) -> None:
    path = tmp_path / "mine.jinja"
    path.write_bytes(source.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message) as caught:
        load(path, "answer")
    assert str(path) in str(caught.value)
    assert caught.value.fix


def test_a_prompt_of_another_role_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text(HEADER + "{{ question }}")
    assert load(path, "answer").of("number", False).id == "mine"
    with pytest.raises(DataError, match="undefined variable question"):
        load(path, "question")


def test_a_folder_serves_its_kinds_and_any_the_rest(tmp_path: Path) -> None:
    (tmp_path / "number.jinja").write_text(HEADER.replace("any", "number") + "{{ question }}")
    with pytest.raises(RecipeError, match="no prompt for the kind 'choice'"):
        load(tmp_path, "answer")
    (tmp_path / "other.jinja").write_text(HEADER.replace("mine", "rest") + "{{ question }}")
    prompts = load(tmp_path, "answer")
    assert prompts.of("number", False).id == "mine"
    assert {prompts.of("code", False).id, prompts.of("number", True).id} == {"rest"}
    (tmp_path / "twice.jinja").write_text(HEADER + "x")
    with pytest.raises(DataError, match="kind 'any' is also that of"):
        load(tmp_path, "answer")


def test_a_missing_form_is_named_before_any_request(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text(HEADER + "{{ question }}")
    prompts = load(path, "answer")
    prompts.check_form("completion")
    with pytest.raises(RecipeError, match=r"mine\.jinja: this prompt has no chat form"):
        prompts.check_form("chat")
    path.write_text(
        HEADER + "{% block system %}s{% endblock %}{% block user %}{{ question }}{% endblock %}"
    )
    prompts = load(path, "answer")
    with pytest.raises(RecipeError, match="no completion form"):
        prompts.check_form("completion")
    turns = prompts.of("code", False).messages(**sample("answer", "code", full=False))
    assert turns == ({"role": "system", "content": "s"}, {"role": "user", "content": "Which?"})


def test_an_imported_file_is_part_of_the_prompt(tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text(
        HEADER + '{% from "_own.jinja" import greet %}{{ greet() }}{{ question }}'
    )
    hashes, identities = set(), []
    for word in ("Hello", "Goodbye"):
        (tmp_path / "_own.jinja").write_text(f"{{% macro greet() %}}{word} {{% endmacro %}}")
        prompts = load(tmp_path, "answer")
        prompt = prompts.of("number", False)
        assert prompt.completion(**sample("answer", "number", full=True)) == f"{word} Which?"
        hashes.add(prompt.sha256)
        identities.append(prompts.identity)
    assert len(hashes) == 2
    assert identities[0] != identities[1]
    assert [file["name"] for file in identities[0]] == ["mine.jinja", "_own.jinja"]


def test_imports_in_a_circle_end(tmp_path: Path) -> None:
    for name, other in (("_a", "_b"), ("_b", "_a")):
        macro = f'{{% macro m() %}}{{% import "{other}.jinja" as o %}}x{{% endmacro %}}'
        (tmp_path / f"{name}.jinja").write_text(macro)
    (tmp_path / "mine.jinja").write_text(HEADER + '{% import "_a.jinja" as a %}{{ a.m() }}')
    assert len(load(tmp_path, "answer").identity) == 3


def test_shipped_macros_serve_own_prompts_and_count_for_them(tmp_path: Path) -> None:
    body = '{% import "_macros.jinja" as m %}{{ m.task(question, context, choices) }}'
    (tmp_path / "mine.jinja").write_text(HEADER + body)
    prompts = load(tmp_path / "mine.jinja", "answer")
    assert [file["name"] for file in prompts.identity] == ["mine.jinja", "_macros.jinja"]


def test_identity_is_free_of_the_location(tmp_path: Path) -> None:
    found = []
    for folder in ("z", "a"):
        (tmp_path / folder).mkdir()
        body = '{% import "_macros.jinja" as m %}{{ m.fenced(question) }}'
        (tmp_path / folder / "mine.jinja").write_text(HEADER + body)
        prompts = load(tmp_path / folder, "answer")
        found.append((prompts.identity, prompts.of("code", False).lineage))
    assert found[0] == found[1]


def test_a_missing_variable_is_an_error_that_names_the_file() -> None:
    prompt = load("similar", "question").of("number", False)
    with pytest.raises(TsqaError, match=r"number\.jinja, block completion: UndefinedError"):
        prompt.completion(kind="number")


def test_front_matter_that_grows_by_aliases_is_refused_before_it_does(tmp_path: Path) -> None:
    names = "abcdefghij"
    bomb = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for last, name in pairwise(names):
        bomb.append(f"{name}: &{name} [{', '.join([f'*{last}'] * 9)}]")
    path = tmp_path / "mine.jinja"
    schema = "\n  ".join(["schema:", *bomb])
    path.write_text(HEADER.replace("kind: any", f"kind: any\n{schema}") + "x")
    began = time.monotonic()
    with pytest.raises(DataError, match=r"mine\.jinja: front matter: more than 100,000 values"):
        load(path, "answer")
    assert time.monotonic() - began < 60
