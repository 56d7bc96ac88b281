"""Guarantee: no reply makes a kept item whose text holds a control character, a mark of a chat
template or the notation of an object; what is no such thing stays."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.filter_records import candidate, vote
from tests.support.filter_records import read as read_record
from tests.support.filter_records import record as make_record
from tsqa.filters.checks import check_format, check_refusal
from tsqa.recipe import AnswerKind
from tsqa.teachers.replies.answer_reply import parse_answer
from tsqa.teachers.replies.question_reply import parse_question
from tsqa.text.forbidden import BROKEN, CONTROL, MARK, NOTATION, find_unfit, make_visible

KINDS: tuple[AnswerKind, ...] = ("choice", "number", "short_text", "long_text", "boolean")
WORDS = [
    "Which town",
    " lies on the ",
    "Rhone?",
    "Lyon",
    "18",
    "yes",
    " because ",
    "A. Lyon\nB. Nice",
]
MARKS = [
    *(
        "<|channel|>final<|message|>",
        "<|channel|>analysis<|message|>",
        "<|start|>assistant",
        "<|end|>",
    ),
    *("<|return|>", "<|im_end|>", "<|im_start|>user\n", "<|eot_id|>", "<|endoftext|>", "<|user|>"),
    *("analysis", "assistantfinal", "<think>", "</think>", "[THINK]", "[/THINK]", "[INST]"),
    *("[/INST]", "</s>", "<s>", "<eos>", "<end_of_turn>", "<start_of_turn>model\n", "<pad>"),
    *("\u25c1think\u25b7", "\u25c1/think\u25b7", "<\uff5cend\u2581of\u2581sentence\uff5c>"),
    *("<reasoning>", "</reasoning>", "<answer>", "</answer>", "<solution>", "</solution>"),
    *("<|begin_of_thought|>", "<|end_of_thought|>", "<|begin_of_box|>", "<|end_of_box|>"),
    *("<unused94>thought\n", "<unused95>", "<channel|>", "<|channel>thought\n", "<tool_call>"),
]
CONTROLS = [
    "\x00",
    "\x08eta",
    "\x0crac{1}{2}",
    "\ttimes",
    "\times",
    "\rightarrow",
    "\x1b[31m",
    "\x85",
]
CONTROLS += [
    "\u202e",
    "\u2067",
    "\ufeff",
    "\ufffe",
    "\ud83d",
    "\ue000",
    "\U000e0041",
    "\ufffd",
    "\r",
]
OBJECTS = [
    *("[{'type': 'text', 'text': 'Lyon'}]", "{'label': 'B', 'text': 'Lyon'}", "<object at 0x7f01>"),
    *('{"label": "B", "text": "Lyon"}', "[{'type': 'thinking'", "label: B\ntext: Lyon", "None"),
    *("TextBlock(text='Lyon')", "{'answer': 'Lyon'}", "[object Object]"),
]
FRAMES = [
    *(
        "{}",
        "Answer: {}",
        "Question: {}",
        '{"question": "{}"}',
        '{"answer": "{}"}',
        "<think>x</think>{}",
    ),
    *('{"answer": {"label": "B", "text": "{}"}}', '{"answer": ["{}"], "reasoning": "{}"}'),
    *('{"question": "{}", "options": ["{}", "Nice"]}', '```json\n{"answer": "{}"}\n```'),
    *("Knowledge: {}\nAnswer: Lyon", "The answer is {}.", '{"question": {"text": "{}"}}'),
]
PIECES = st.sampled_from(WORDS) | st.sampled_from(MARKS) | st.sampled_from(CONTROLS)
BODIES = st.lists(PIECES | st.sampled_from(OBJECTS), min_size=1, max_size=5).map("".join)
FORBIDDEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ufffd-\uffff\ud800-\udfff\ue000]"
    r"|<\|[a-z_]+\|>|<\uff5c|\[/?(?:INST|THINK)\]|</?think>|<eos>|<pad>|_of_turn>|\u25c1/?think"
    r"|</?(?:answer|reasoning|solution)>|assistantfinal|<unused|<tool_call>"
    r"|\[\{'type'|\A\{['\"](?:label|type|answer)['\"]|object at 0x|\[object|\Alabel: B\ntext:"
)


@st.composite
def replies(draw: st.DrawFn) -> str:
    body = draw(BODIES)
    frame = draw(st.sampled_from(FRAMES))
    return frame.replace("{}", json.dumps(body)[1:-1] if draw(st.booleans()) else body)


@settings(max_examples=1500, deadline=None)
@given(replies(), replies(), st.sampled_from(KINDS), st.sampled_from(["chat", "completion"]))
@example('{"question": "What is $5 \times 3$?"}', '{"answer": "15"}', "number", "chat")
@example("Which town?<|im_end|>", "Lyon<|im_end|><|im_start|>user\nx", "short_text", "chat")
@example("Which town lies on it?", "Lyon </s>", "short_text", "chat")
def test_no_reply_makes_an_item_that_holds_what_is_no_text(
    asked: str, answered: str, kind: AnswerKind, form: str
) -> None:
    question = parse_question(asked, "stop", kind, form, False)
    shown = question.choices
    given_votes = [parse_answer(answered, "stop", kind, shown, question.question)] * 3
    line = make_record(
        "c",
        question.question,
        (),
        kind=kind,
        choices=shown,
        context=question.context,
        parse_error=question.error,
        votes=[
            vote(
                f"a{number}",
                read.answer,
                shown,
                index=read.index,
                error=read.error,
                **{
                    k: getattr(read, k)
                    for k in ("reasoning", "knowledge", "context", "distractors")
                },
            )
            for number, read in enumerate([] if question.error else given_votes)
        ],
    )
    read = read_record(line)
    if check_refusal(read) is None and check_format(read) is None:
        texts = [read.question, read.context, *read.choices, read.answer]
        texts += [read.reasoning, read.knowledge, read.item_context, read.distractors]
        assert [text for text in texts if FORBIDDEN.search(text)] == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("5 \times 3", CONTROL),
        ("\rightarrow", CONTROL),
        ("x \nabla f", CONTROL),
        ("E = h\nu", CONTROL),
        ("a\x0bb", CONTROL),
        ("a\tb", CONTROL),
        ("\x1b[31mred", CONTROL),
        ("abc\u202edef", CONTROL),
        ("x\U000e0068\U000e0069", CONTROL),
        ("\ufeffLyon", CONTROL),
        ("cite\ue200turn0\ue201", CONTROL),
        ("half \ud83d", BROKEN),
        ("caf\ufffd", BROKEN),
        ("\ufdd0x", BROKEN),
        ("Lyon<|im_end|>", MARK),
        ("Lyon <|reserved_special_token_12|>", MARK),
        ("<\uff5cAssistant\uff5c>Lyon", MARK),
        ("Lyon [/INST]", MARK),
        ("Lyon</s>", MARK),
        ("<answer>Lyon", MARK),
        ("assistantfinalLyon", MARK),
        ("a townassistantfinalLyon", MARK),
        ("[{'type': 'text', 'text': 'x'}]", NOTATION),
        ("{'label': 'B', 'text': 'x'}", NOTATION),
        ("<Part object at 0x7f2>", NOTATION),
        ("label: B\ntext: London", NOTATION),
    ],
)
def test_what_is_no_text_is_named(text: str, reason: str) -> None:
    assert find_unfit(text) == reason
    if "\ud83d" not in text:  # a record with half a character is unreadable as a whole
        found = check_format(candidate("Which town lies on the Rhone?", *[f"{text} x"] * 3))
        assert found is not None and found.reason == reason


@pytest.mark.parametrize(
    "text",
    [
        "What does the <b> tag do?",
        "What is struck out in <s>old</s> new?",
        "Close it with `</s>` or `</answer>`.",
        "Is a < b and b > c?",
        "If x = {'a': 1}, what is x['a']?",
        "What is |x| < 3 | y > 2?",
        "line one\nnext line\nnote that",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f is a flag.",
        "\u0645\u06cc\u200c\u0631\u0648\u062f",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        r"Let $\theta = \frac{1}{2}$.",
        "label: the name of a jar",
        "None of the above",
        "The set {1, 2, 3}",
        "He felt sick [and tired].",
        "An analysis of it.",
    ],
)
def test_text_is_text(text: str) -> None:
    assert find_unfit(text) == ""


def test_programs_may_hold_tabs_tags_and_objects_but_no_control_characters() -> None:
    for program in ("if x:\n\treturn '<answer>'", "{'type': 'text'}", "print('</s>')"):
        assert find_unfit(program, is_code=True) == ""
    for program in ("\x00", "re.match('\x08')", "<|im_end|>"):
        assert find_unfit(program, is_code=True) != ""


@given(st.text())
def test_what_is_shown_can_be_written(text: str) -> None:
    shown = make_visible(f"{text}\ud800\x1b")
    shown.encode()
    assert len(shown) == len(text) + 2 and not re.search("[\x00-\x08\x0b-\x1f]", shown)
