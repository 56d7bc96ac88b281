"""Promises of thinking teachers: what was thought is kept, and never becomes the answer."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.tsqa.teachers.test_openai_engine import Reply, ask, chat, ok, section, served
from tsqa.recipe import SamplingSection, TeacherSection
from tsqa.recipe.sections.engine_args import known_arguments
from tsqa.teachers import Completion, Request
from tsqa.teachers.client import open_engine, readable_text
from tsqa.teachers.config import hourly
from tsqa.teachers.content import read_reply
from tsqa.teachers.failures import likely_fix
from tsqa.teachers.replies.answer_reply import ParsedAnswer, parse_answer
from tsqa.teachers.replies.fields import CUT_THOUGHTS
from tsqa.teachers.replies.question_reply import parse_question
from tsqa.teachers.scheduler import CompletionLog
from tsqa.teachers.vllm_worker import _sampling

DRAFT = 'The capital? Paris comes first.\nAnswer: Paris\n{"answer": "Nice"}'
SAID = "Answer: Lyon"
IN_TEXT = {
    "think": "<think>\n{}\n</think>\n\n{said}",
    "opened by the template": "{}\n</think>\n\n{said}",
    "thinking": "<thinking>{}</thinking>{said}",
    "Mistral": "[THINK]{}[/THINK]{said}",
    "Kimi": "\u25c1think\u25b7{}\u25c1/think\u25b7{said}",
    "harmony": "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final"
    "<|message|>{said}<|return|>",
    "harmony without its marks": "analysis{}assistantfinal{said}",
    "harmony without its marks, with a tool": "analysis{}assistantcommentary to=functions.f json"
    "[1]assistantfinal{said}",
    # GLM-4.5-Air on vLLM, in issue 503 of Vali-98/ChatterUI.
    "think, opened twice": "<think><think>{}</think>{said}",
    # gpt-oss on Bedrock, in the recordings of llama-stack.
    "tags of reasoning": "<reasoning>{}</reasoning>{said}",
    # On MLX, in the outputs of jrp2014/check_models, as are Apriel and much of the above.
    "Gemma": "<|channel>thought\n{}<channel|>{said}",
    "Kimi and its next turn": "\u25c1think\u25b7{}\u25c1/think\u25b7{said}<|im_assistant|>"
    "<|im_user|>And?",
    "Qwen": "Thinking Process:\n\n{}\n</think>\n\n{said}",
    # Seed-OSS, in the tests of vLLM's tool parsers.
    "Seed": "<seed:think>\n<seed:cot_budget_reflect>9 of 99 used.</seed:cot_budget_reflect>\n{}"
    "</seed:think>{said}",
    # Forms that the reasoning parsers of vLLM know.
    "MiniMax": "<mm:think>{}</mm:think>{said}",
    "Hunyuan": "<think:opensource>{}</think:opensource>{said}",
    "K2": "<ifm|think_fast>{}</ifm|think_fast>{said}",
    "LongCat": "<longcat_think>{}</longcat_think>{said}",
    "PLaMo": "<|plamo:begin_think:plamo|>{}<|plamo:end_think:plamo|>{said}",
    "Kimi K3": "<|open|>think<|sep|>{}<|close|>think<|sep|><|open|>response<|sep|>{said}"
    "<|close|>response<|sep|><|close|>message<|sep|>",
    "Inkling": "<|message_model|><|content_thinking|>{}<|end_message|><|message_model|>"
    "<|content_text|>{said}<|end_message|><|content_model_end_sampling|>",
    "Muse": "to=self<|message|>{}<|eom|><|start|>assistant to=user<|message|>{said}<|eot|>",
    "Command A": "<|START_THINKING|>{}<|END_THINKING|><|START_TEXT|>{said}<|END_TEXT|>",
    "Granite": "Here is my thought process:\n{}\nHere is my response:\n{said}",
    "Apriel": "Here are my reasoning steps:\n{}\n[BEGIN FINAL RESPONSE]\n{said}\n"
    "[END FINAL RESPONSE]\n<|end|>\n",
    "Apriel, opened by the template": "{}\n[BEGIN FINAL RESPONSE]\n{said}",
}
CUT = {
    "think": "<think>\n{}",
    "harmony": "<|channel|>analysis<|message|>{}",
    "harmony that began to answer": "<|channel|>analysis<|message|>{}<|end|><|start|>assistant",
    "harmony without its marks": "analysis{}",
    "Mistral": "[THINK]{}",
    "Inkling": "<|content_thinking|>{}<|end_message|>",
    "Granite": "Here's my thought process:\n{}",
    "tags of reasoning": "<reasoning>{}",
    # MiniMax-M2, in ENTERPILOT/GoModel.
    "think, closed by the server": "<think>\n{}\n</think>\n",
    "Qwen": "Thinking Process:\n\n{}",
}
BESIDE: dict[str, dict[str, Any]] = {
    "vLLM": {"reasoning": DRAFT, "content": SAID},
    "DeepSeek": {"reasoning_content": DRAFT, "content": SAID},
    "parts": {
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": DRAFT}]},
            {"type": "text", "text": SAID},
        ]
    },
    "a part with a flag": {
        "content": [
            {"type": "text", "text": DRAFT, "thought": True},
            {"type": "text", "text": SAID},
        ]
    },
    # Claude through Snowflake, in pydantic-ai.
    "details": {"content": SAID, "reasoning_details": [{"type": "reasoning.text", "text": DRAFT}]},
    # OpenAI through OpenRouter, in pydantic-ai, without the field beside.
    "details with a secret": {
        "content": SAID,
        "reasoning": None,
        "reasoning_details": [
            {"type": "reasoning.summary", "summary": DRAFT},
            {"type": "reasoning.encrypted", "data": "Z0FB"},
        ],
    },
    "a part with parts": {
        "content": [
            {"type": "reasoning", "reasoning": {"content": DRAFT}},
            {"type": "text", "text": {"content": SAID}},
        ]
    },
    "a part of its own": {
        "content": [{"type": "reasoning", "text": DRAFT}, {"type": "text", "text": SAID}]
    },
}


def body(message: dict[str, Any], reason: str = "stop", usage: dict[str, Any] | None = None) -> str:
    choice = {"message": message, "finish_reason": reason}
    return json.dumps({"choices": [choice], "usage": usage or {}})


def read(completion: Completion) -> ParsedAnswer:
    text, reason = completion.text, completion.finish_reason
    return parse_answer(text, reason, "short_text", [], "Which city?", completion.thoughts)


@pytest.mark.parametrize("form", IN_TEXT)
def test_thoughts_in_the_text_are_its_trace(form: str) -> None:
    found = parse_answer(IN_TEXT[form].format("{}", said=SAID).replace("{}", DRAFT), "stop",
                         "short_text", [])  # fmt: skip
    assert (found.answer, found.error) == ("Lyon", "")
    assert found.trace == DRAFT


def test_each_form_is_read_through_an_endpoint(tmp_path: Path) -> None:
    texts = {
        name: form.replace("{said}", SAID).replace("{}", DRAFT) for name, form in IN_TEXT.items()
    }
    messages = {**{name: {"content": text} for name, text in texts.items()}, **BESIDE}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 40}

    def answer(sent: dict[str, Any], attempt: int) -> Reply:
        return 200, {}, body(messages[sent["name"]], usage=usage)

    with (
        served(answer) as server,
        open_engine(section(server.url), "m", tmp_path / "log", 0) as engine,
    ):
        replies = ask(engine, [chat(name) for name in messages])
    found = {name: read(reply) for name, reply in replies.items()}
    assert found.keys() == messages.keys()
    assert {(one.answer, one.trace) for one in found.values()} == {("Lyon", DRAFT)}
    assert {(one.prompt_tokens, one.output_tokens) for one in replies.values()} == {(7, 33)}


def test_a_draft_in_a_field_of_reasoning_is_no_answer() -> None:
    drafts = ('First I thought {"answer": "Nice"}.', DRAFT)
    for form in (
        "<reasoning>{}</reasoning>\n<answer>Lyon</answer>",
        f"<reasoning>{{}}</reasoning>{SAID}",
    ):
        texts = [form.replace("{}", draft) for draft in drafts]
        assert [parse_answer(text, "stop", "short_text", []).answer for text in texts] == [
            "Lyon"
        ] * 2


@pytest.mark.parametrize("form", CUT)
@pytest.mark.parametrize("kind", ["short_text", "number", "boolean", "long_text", "code"])
def test_thoughts_without_an_end_are_counted_and_are_no_answer(form: str, kind: Any) -> None:
    text = CUT[form].replace("{}", DRAFT)
    found = parse_answer(text, "length", kind, [])
    assert (found.answer, found.error, found.trace) == (None, CUT_THOUGHTS, "")
    assert parse_question(text, "length", kind, "chat", False).error == CUT_THOUGHTS
    assert parse_answer(text, "stop", kind, []).answer is None


def test_thoughts_in_the_final_message_of_harmony_are_thoughts_too() -> None:
    """gpt-oss that was asked for tags of thoughts, in travisgerrard/openscribe."""
    for form in ("harmony", "harmony without its marks"):
        text = (
            IN_TEXT[form].replace("{}", "Tags.").replace("{said}", f"<think>{DRAFT}</think>{SAID}")
        )
        found = parse_answer(text, "stop", "short_text", [])
        assert (found.answer, found.trace) == ("Lyon", f"Tags.\n{DRAFT}")


def test_a_signature_is_no_thought_and_a_message_with_one_is_said() -> None:
    """Gemini, through OpenRouter and its own endpoint, in pydantic-ai."""
    signed = {"type": "reasoning.text", "signature": "AY89"}
    for more in ({"reasoning_details": [signed]}, {"extra_content": {"google": {"thought": True}}}):
        found = read(read_reply(chat("q"), body({"content": SAID, **more})))
        assert (found.answer, found.trace) == ("Lyon", "")


@pytest.mark.parametrize(("tokens", "error"), [(50, CUT_THOUGHTS), (0, "cut off at max_tokens")])
def test_thoughts_that_are_only_counted_are_cut_too(tokens: int, error: str) -> None:
    """GPT-5, in mirascope: nothing is said or shown, and all tokens are of thoughts."""
    usage = {"completion_tokens": 50, "completion_tokens_details": {"reasoning_tokens": tokens}}
    found = read(read_reply(chat("q"), body({"content": ""}, "length", usage)))
    assert (found.answer, found.error) == (None, error)


@pytest.mark.parametrize("key", ["reasoning", "reasoning_content"])
def test_a_reply_of_thoughts_alone_is_cut_while_thinking(key: str) -> None:
    completion = read_reply(chat("q"), body({"content": None, key: DRAFT}, "length"))
    assert completion.thoughts == ""
    assert read(completion).error == CUT_THOUGHTS


def test_a_cut_text_of_a_model_that_was_given_thoughts_is_thoughts() -> None:
    """Chat templates open them in the prompt, so that a cut reply holds no mark at all."""
    completion = Completion("q", DRAFT, 1, 9, "length")
    thinks, plain = SamplingSection(thinking_tokens=9), SamplingSection()
    assert parse_answer(readable_text(completion, plain), "length", "short_text", []).answer
    said = readable_text(completion, thinks)
    assert parse_answer(said, "length", "short_text", []).error == CUT_THOUGHTS
    whole = Completion("q", f"{DRAFT}</think>{SAID}\nReasoning: it", 1, 9, "length")
    assert readable_text(whole, thinks) == whole.text
    beside = Completion("q", f"{SAID}\nReasoning: it", 1, 9, "length", thoughts=DRAFT)
    assert readable_text(beside, thinks) == beside.text


_PIECES = [
    *("Answer: Paris", '{"answer": "Paris"}', "\\boxed{Paris}", "#### Paris", "A. Paris", "Paris"),
    *("**Answer:** Paris", "The answer is Paris.", "```\nParis\n```", "<answer>Paris</answer>"),
    *("Final answer: Paris", "I cannot help with that.", "\n", "\n\n", " so ", "Lyon?"),
]
_THOUGHT = st.lists(st.sampled_from(_PIECES) | st.text(max_size=8), max_size=8).map("".join)


@settings(max_examples=60, deadline=None)
@given(_THOUGHT, st.sampled_from([*IN_TEXT.values()]))
def test_no_thought_becomes_the_answer(thought: str, form: str) -> None:
    text = form.replace("{said}", SAID).replace("{}", thought)
    found = parse_answer(text, "stop", "short_text", [])
    assert found.answer in ("Lyon", None)
    assert found.answer is None or SAID not in found.trace


@settings(max_examples=60, deadline=None)
@given(_THOUGHT, st.sampled_from([*CUT.values()]), st.sampled_from(["stop", "length"]))
def test_no_unfinished_thought_becomes_the_answer(thought: str, form: str, reason: str) -> None:
    text = form.replace("{}", f"So: {thought}")
    assert parse_answer(text, reason, "short_text", []).answer is None


@settings(max_examples=60, deadline=None)
@given(_THOUGHT, st.sampled_from(["reasoning", "reasoning_content", "thinking"]))
def test_no_thought_of_a_field_changes_what_was_said(thought: str, key: str) -> None:
    found = read(read_reply(chat("q"), body({key: thought, "content": SAID})))
    assert found.answer == "Lyon"
    assert not found.reasoning


def test_thoughts_that_hold_marks_are_left_out_and_counted() -> None:
    completion = read_reply(chat("q"), body({"reasoning": "<|im_start|>hm", "content": SAID}))
    found = read(completion)
    assert (found.answer, found.trace, found.dropped) == ("Lyon", "", ("trace",))


@pytest.mark.parametrize(
    ("usage", "output"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 30, "total_tokens": 37}, 30),
        ({"prompt_tokens": 7, "completion_tokens": 30}, 30),
        # Thoughts that are charged for, but are not of the completion.
        ({"prompt_tokens": 7, "completion_tokens": 30, "total_tokens": 537}, 530),
        ({"prompt_tokens": 7, "completion_tokens": 30, "total_tokens": 3}, 30),
    ],
)
def test_tokens_of_thoughts_are_paid(usage: dict[str, int], output: int) -> None:
    completion = read_reply(chat("q"), body({"content": SAID}, usage=usage))
    assert (completion.prompt_tokens, completion.output_tokens) == (7, output)


def test_a_log_keeps_thoughts_and_reads_lines_from_before_there_were_any(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    thinking = Completion("a", SAID, 1, 2, "stop", thoughts=DRAFT)
    plain = Completion("b", SAID, 1, 2, "stop")
    log = CompletionLog(path)
    log.append(thinking, 1.0)
    log.append(plain, 1.0)
    log.close()
    assert [("thoughts" in json.loads(line)) for line in path.open()] == [True, False]
    again = CompletionLog(path)
    found = [again.find(name) for name in "ab"]
    again.close()
    assert [each and each.completion for each in found] == [thinking, plain]


def test_sampling_is_sent_as_vllm_names_it(tmp_path: Path) -> None:
    bodies: list[dict[str, Any]] = []

    def answer(sent: dict[str, Any], attempt: int) -> Reply:
        bodies.append(sent)
        return ok("fine")

    more = {"thinking_tokens": 500, "top_k": 20, "min_p": 0.05, "repetition_penalty": 1.1}
    with (
        served(answer) as server,
        open_engine(section(server.url), "m", tmp_path / "log", 0) as engine,
    ):
        ask(engine, [chat("a", **more), chat("b")])
    first, second = sorted(bodies, key=lambda sent: str(sent["name"]))
    sent = {"thinking_token_budget": 500, "top_k": 20, "min_p": 0.05, "repetition_penalty": 1.1}
    assert {key: first[key] for key in sent} == sent
    assert not sent.keys() & second.keys()


def test_an_endpoint_that_knows_no_budget_is_named_the_key_and_then_gets_none(
    tmp_path: Path,
) -> None:
    bodies: list[dict[str, Any]] = []

    def answer(sent: dict[str, Any], attempt: int) -> Reply:
        bodies.append(sent)
        if "thinking_token_budget" in sent:
            words = "Unknown parameter: 'thinking_token_budget'."
            return 400, {}, json.dumps({"error": {"message": words, "code": "unknown_parameter"}})
        return ok("fine")

    request = chat("a", thinking_tokens=500, top_k=20)
    with served(answer) as server:
        with open_engine(section(server.url), "m", tmp_path / "log", 0) as engine:
            refused = ask(engine, [request])[request.id]
        fix = likely_fix(refused.failure, "generate.solvers.1.teacher")
        assert fix == "set generate.solvers.1.teacher.request.omit to [thinking_token_budget]"
        omits = section(server.url, request={"omit": ["thinking_token_budget"]})
        with open_engine(omits, "m", tmp_path / "log", 0) as engine:
            answered = ask(engine, [request])[request.id]
    assert answered.text == "fine"
    assert bodies[-1]["top_k"] == 20 and "thinking_token_budget" not in bodies[-1]
    served_plainly = "thinking_token_budget is set but reasoning_config is not configured"
    assert "--reasoning-parser" in likely_fix(served_plainly, "generate.teacher")


def test_what_is_not_set_is_no_part_of_a_request() -> None:
    """Requests from before these keys came are found again."""
    keys = {"id", "prompt", "seed", "temperature", "top_p", "max_tokens", "stop", "messages"}
    assert chat("a").content().keys() == keys | {"schema"}
    changed = Request("", "", 5, 0.7, 0.9, 64, (), top_k=3)
    assert changed.content()["top_k"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_num_batched_token": 5}, "no argument max_num_batched_token; did you mean max_num"),
        ({"tensor_parallel_size": 2}, "that is tensor_parallel"),
        ({"dtype": "half"}, "that is dtype"),
        ({"generation_config": "auto"}, "would change the sampling"),
        ({"reasoning_parser_plugin": "mine.py"}, "would not identify the data; install it"),
        ({"quantization": {"api_key": "x"}}, "holds a secret"),
        ({"load_format": float("nan")}, "not plain JSON"),
    ],
)
def test_what_vllm_does_not_know_or_others_decide_is_refused(
    arguments: dict[str, Any], message: str
) -> None:
    if "no argument" in message and not known_arguments():
        pytest.skip("vLLM is not installed")
    with pytest.raises(ValidationError, match=message):
        TeacherSection.model_validate({"model": {"path": "m"}, "engine_args": arguments})


def test_arguments_of_vllm_pass_and_those_of_a_server_are_its_own() -> None:
    arguments = {"quantization": "fp8", "reasoning_parser": "qwen3", "enable_expert_parallel": True}
    found = TeacherSection.model_validate({"model": {"path": "m"}, "engine_args": arguments})
    assert found.data_config()["engine_args"] == arguments
    with pytest.raises(ValidationError, match="needs `engine: vllm`"):
        section("http://x/v1", engine_args=arguments)


def test_a_model_in_stages_costs_the_gpus_of_all_stages() -> None:
    values = {"model": {"path": "m"}, "tensor_parallel": 2}
    plain, staged = (
        TeacherSection.model_validate({**values, "engine_args": arguments})
        for arguments in ({}, {"pipeline_parallel_size": 3})
    )
    assert (hourly(plain, 1.5).dollars_per_hour, hourly(staged, 1.5).dollars_per_hour) == (3, 9)


@pytest.mark.engine
def test_vllm_has_the_arguments_and_the_sampling_that_it_is_given() -> None:
    """Its source names them without an import; here they are those of the import."""
    from vllm.engine.arg_utils import EngineArgs

    assert {each.name for each in fields(EngineArgs)} == known_arguments()
    more = {"thinking_tokens": 4, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2}
    sent = _sampling(chat("a", **more), 100, keeps_marks=True)
    assert (sent.thinking_token_budget, sent.top_k, sent.min_p) == (4, 5, 0.1)
    assert sent.repetition_penalty == 1.2 and not sent.skip_special_tokens
    assert _sampling(chat("a"), 100, keeps_marks=False).skip_special_tokens
