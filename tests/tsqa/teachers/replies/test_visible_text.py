r"""Promises of what was said: thoughts, channels, marks of turns and LaTeX in JSON, as teachers and
their engines write them; what speaks of such marks is never cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsqa.teachers.replies.answer_reply import parse_answer
from tsqa.teachers.replies.question_reply import parse_question
from tsqa.teachers.replies.visible_text import opened_thoughts, read_spoken
from tsqa.text.latex import has_remains, keep_commands

ANSWERS = {
    "gpt-oss": "<|channel|>analysis<|message|>Paris?<|end|><|start|>assistant<|channel|>final"
    "<|message|>Lyon<|return|>",
    "gpt-oss, JSON": "<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final "
    '<|constrain|>json<|message|>{"answer": "Lyon"}<|return|>',
    "gpt-oss, a draft as JSON": '<|channel|>analysis<|message|>{"answer": "Paris"}<|end|><|start|>'
    'assistant<|channel|>final<|message|>{"answer": "Lyon"}',
    "gpt-oss, the header in the prompt": "Paris?<|end|><|start|>assistant<|channel|>final"
    "<|message|>Lyon",
    "gpt-oss, three channels": "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>"
    "commentary<|message|>Plan.<|end|><|start|>assistant<|channel|>final<|message|>Lyon",
    "gpt-oss, the next turn": "<|channel|>final<|message|>Lyon<|end|><|start|>user<|message|>And?"
    "<|end|><|start|>assistant<|channel|>final<|message|>Nice",
    "gpt-oss without special tokens": "analysisWe need a town: Paris?assistantfinalLyon",
    "gpt-oss without special tokens, final alone": "finalLyon",
    "gpt-oss without special tokens, commentary": "analysisHm.assistantcommentaryPlan."
    'assistantfinal{"answer": "Lyon"}',
    "think": "<think>Paris?</think>\nLyon",
    "thinking": "<thinking>\nParis?\n</thinking>\n\nLyon",
    "seed": "<seed:think>Paris?</seed:think>Lyon",
    "thought": "<thought>\nParis?\n</thought>\nLyon",
    "Mistral": "[THINK]Paris?[/THINK]Lyon",
    "Kimi": "\u25c1think\u25b7Paris?\u25c1/think\u25b7Lyon",
    "OpenThinker": "<|begin_of_thought|>Paris?<|end_of_thought|>\n\n<|begin_of_solution|>Lyon"
    "<|end_of_solution|>",
    "Command A": "<|START_THINKING|>Paris?<|END_THINKING|><|START_RESPONSE|>Lyon<|END_RESPONSE|>",
    "s1": "<|im_start|>think\nParis?\n<|im_start|>answer\nLyon<|im_end|>",
    "MedGemma": "<unused94>thought\nParis?<unused95>Lyon",
    "Gemma": "<|channel>thought\nParis?<channel|>Lyon",
    "thoughts within thoughts": "<think>a<think>Paris?</think>Nice?</think>Lyon",
    "thoughts twice": "<think>a</think><think>b</think>Lyon",
    "thoughts opened by the template": 'Answer: Paris? {"answer": "Nice"}\n</think>\n\nLyon',
    "thoughts and reflection": "<thinking>\na\n</thinking>\n<reflection>\nb\n</reflection>\n"
    "<output>\nLyon\n</output>",
    "a draft in tags": "<think><answer>Paris</answer></think><answer>Lyon</answer>",
    "thoughts behind a label": "Answer: <think>Paris?</think> Lyon",
    "answer": "<answer>Lyon</answer>",
    "answer, opened by the template": "Lyon</answer>",
    "answer, closed by a stop": "<answer>Lyon",
    "solution": "<solution>\nLyon\n</solution>",
    "final": "<final>Lyon</final>",
    "response": "<think>a</think>\n\n<response>\nLyon\n</response>",
    "output around JSON": '<output>{"answer": "Lyon"}</output>',
    "response after a line": "Here it is:\n<response>Lyon</response>",
    "tags within tags": "<output><answer>Lyon</answer></output>",
    "GLM": "<|begin_of_box|>Lyon<|end_of_box|>",
    "ChatML": "Lyon<|im_end|>",
    "ChatML and the next turn": "Lyon<|im_end|>\n<|im_start|>user\nAnd Nice?<|im_end|>",
    "ChatML with its role": "<|im_start|>assistant\nLyon<|im_end|>",
    "Llama 3": "<|start_header_id|>assistant<|end_header_id|>\n\nLyon<|eot_id|>",
    "Llama 2": "Lyon</s>",
    "Llama 2 and the next turn": "Lyon</s><s>[INST] And? [/INST] Nice</s>",
    "Phi": "Lyon<|end|>\n<|user|>\nAnd?<|end|>",
    "GPT-2": "Lyon<|endoftext|>The weather in Nice is",
    "Gemma, end of turn": "Lyon<end_of_turn>\n<start_of_turn>user\nAnd?",
    "DeepSeek": "Lyon<\uff5cend\u2581of\u2581sentence\uff5c>",
    "eos": "Lyon<eos>",
    "EXAONE": "Lyon[|endofturn|]",
    "Idefics": "Lyon<end_of_utterance>",
    "Kimi with its role": "<|im_assistant|>assistant<|im_middle|>Lyon<|im_end|>",
    "a role on its line": "assistant\n\nLyon",
    "a role before a colon": "Assistant: Lyon",
    "a byte order mark": "\ufeffLyon",
    "JSON and an end of turn": '{"answer": "Lyon"}<|im_end|>',
    "fenced JSON and an end of turn": '```json\n{"answer": "Lyon"}\n```<|eot_id|>',
    "a label and a text": '{"answer": {"label": "B", "text": "Lyon"}}',
    "a letter": '{"answer": {"B": "Lyon"}}',
    "an option and its value": '{"answer": {"option": "B", "value": "Lyon"}}',
    "an object with an answer": '{"answer": {"final_answer": "Lyon", "confidence": 0.9}}',
    "a list of one": '{"answer": ["Lyon"]}',
    "a part": '{"answer": [{"type": "text", "text": "Lyon"}]}',
    "parts of an SDK": '{"answer": [{"type": "thinking", "thinking": "a"}, '
    '{"type": "text", "text": "Lyon"}]}',
}
UNREADABLE = {
    "analysis alone": ("<|channel|>analysis<|message|>Lyon", "thoughts without an end"),
    "bare analysis": ("analysisIt is Lyon.", "thoughts without an end"),
    "two final messages": (
        "<|channel|>final<|message|>Lyon<|end|><|start|>assistant<|channel|>final<|message|>Nice",
        "several final messages",
    ),
    "thoughts within thoughts that go on": (
        "<think>a<think>b</think>Lyon",
        "thoughts without an end",
    ),
    "thoughts in a sentence": ("Between <think> and </think> stands Lyon.", "thoughts and text"),
    "an end of thoughts in a sentence": ("I wrote </think> before Lyon.", "thoughts and text"),
    "a tool call": (
        '<think>a</think>I look.\n<tool_call>{"answer": "Paris"}</tool_call>',
        "a tool call",
    ),
    "a tool call of Seed": ("<seed:tool_call>\n<function=f></function>", "a tool call"),
    "a tool call of Mistral": ('[TOOL_CALLS]f[ARGS]{"answer": "Paris"}', "a tool call"),
    "a tool call of DeepSeek": (
        "a</think>I look.<\uff5ctool\u2581calls\u2581begin\uff5c>",
        "a tool call",
    ),
    # gpt-oss on mlx_lm.server, which stops at the mark that ends a call.
    "a tool call of gpt-oss": (
        "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary "
        'to=functions.f <|constrain|>json<|message|>{"answer": "Paris"}',
        "a tool call",
    ),
    "a tool call of gpt-oss without special tokens": (
        'analysisHm.assistantcommentary to=functions.f json{"answer": "Paris"}',
        "a tool call",
    ),
    "a strange mark": ("Lyon <|strange_mark|>", "mark of a chat template"),
    "an end of turn in JSON": ('{"answer": "Lyon<|im_end|>"}', "mark of a chat template"),
    "tags in JSON": ('{"answer": "<answer>Lyon</answer>"}', "mark of a chat template"),
    "an end within": ("It is Lyon </s>", "mark of a chat template"),
    "another object": ('{"result": {"city": "Lyon"}}', "no answer"),
    "an object for an answer": ('{"answer": {"city": "Lyon", "country": "France"}}', "no answer"),
    "a key twice": ('{"answer": "Lyon", "answer": "Nice"}', "answers contradict each other"),
    "two keys": ('{"answer": "Lyon", "correct_answer": "Nice"}', "answers contradict each other"),
    "a control character": ('{"answer": "Lyon\\u0007"}', "control character"),
    "an override": ('{"answer": "Ly\\u202eno"}', "control character"),
    "half a character": ('{"answer": "Lyon \\ud83d"}', "broken unicode"),
    "a decoded command": ("5 \times 3 towns", "control character"),
    "a representation": ("[{'type': 'text', 'text': 'Lyon'}] x", "notation of a program's object"),
}
QUESTIONS = [
    "What does the <b> tag do?",
    "What does </s> close in HTML?",
    "Which element is <output> in HTML?",
    "What is the effect of `</think>` in a reply?",
    "An assistant: what does he do?",
    "Analysis of a sample gave 3 g of salt. What share of 12 g is that?",
    "Final exams begin on Monday. On which day do they end after five days?",
    "Customer: Is it open?\nAssistant: Yes, until six.\nWhen does it close?",
    "What is the difference between <s>old</s> and new?",
    "Is a<b and c>d?",
]
COMMANDS = [
    *("rightleftharpoons", "tilde", "nabla", "beta", "frac", "text", "bar", "notin", "underbrace"),
    *("times", "theta", "tau", "tan", "to", "rho", "right", "rangle", "forall", "flat", "bot"),
    *("neq", "ne", "nu", "ni", "not", "nleq", "natural", "nearrow", "newline", "therefore", "top"),
    *("triangle", "tfrac", "textbf", "textrm", "tbinom", "binom", "boxed", "bigcup", "backslash"),
    *("begin", "bmod", "bullet", "rceil", "rfloor", "rm", "Rightarrow", "rightarrow", "rvert"),
    *("updownarrow", "uparrow", "upsilon", "unlhd", "uplus", "underline", "underset", "ulcorner"),
    *("vec", "sqrt", "alpha", "cdot", "dfrac", "left", "leq", "sum", "int", "pi", "hat", "mathbb"),
    *(
        "nexists",
        "nsubseteq",
        "nparallel",
        "nmid",
        "nsim",
        "ncong",
        "trianglelefteq",
        "thickapprox",
    ),
]


@pytest.mark.parametrize("name", ANSWERS)
def test_the_last_word_is_read(name: str) -> None:
    found = parse_answer(ANSWERS[name], "stop", "short_text", [])
    assert (found.answer, found.error) == ("Lyon", "")


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_has_two_readings_has_none(name: str) -> None:
    text, error = UNREADABLE[name]
    found = parse_answer(text, "stop", "short_text", [])
    assert found.answer is None and found.error.startswith(error)


@pytest.mark.parametrize(
    ("end", "mark"),
    [
        # As the templates of Qwen3.5, DeepSeek-R1, EXAONE 4, Gemma 4 and Apriel 1.6 end a prompt.
        ("<|im_start|>assistant\n<think>\n", "<think>"),
        ("<\uff5cAssistant\uff5c><think>\n", "<think>"),
        ("[|assistant|]\n<think>\n\n</think>\n\n", ""),
        ("<|turn>model\n<|channel>thought\n", "<|channel>thought"),
        ("<|begin_assistant|>\nHere are my reasoning steps:\n", "Here are my reasoning steps:"),
        ("<think> is a tag.<|im_end|>\n<|im_start|>assistant\n", ""),
    ],
)
def test_a_prompt_that_opens_thoughts_is_told(end: str, mark: str) -> None:
    assert opened_thoughts(f"Which town?\n{end}") == mark


@pytest.mark.parametrize("text", QUESTIONS)
@pytest.mark.parametrize("frame", ["{}", "<think>a</think>\n{}", "{}<|im_end|>"])
def test_a_question_about_marks_is_whole(text: str, frame: str) -> None:
    found = parse_question(frame.replace("{}", text), "stop", "short_text", "chat", False)
    assert found.question == text or found.error == "mark of a chat template"
    assert not found.error or "</s>" in text or "</think>" in text


def test_fields_in_tags_are_fields() -> None:
    text = "<reasoning>5 + 5 = 10</reasoning>\n<knowledge>Sums.</knowledge>\n<answer>10</answer>"
    found = parse_answer(text, "stop", "number", [])
    assert (found.answer, found.reasoning, found.knowledge) == ("10", "5 + 5 = 10", "Sums.")
    asked = parse_question(
        "<question>Which is red?</question>\n<options>\nA. blood\nB. grass\n</options>",
        *("stop", "choice", "chat", False),
    )
    assert (asked.question, asked.choices, asked.error) == ("Which is red?", ["blood", "grass"], "")


def test_options_in_the_shape_of_arc_are_read() -> None:
    reply = {"question": {"stem": "Which is red?", "choices": [
        {"text": "blood", "label": "A"}, {"text": "grass", "label": "B"}]}}  # fmt: skip
    asked = parse_question(json.dumps(reply), "stop", "choice", "chat", False)
    assert (asked.question, asked.choices, asked.error) == ("Which is red?", ["blood", "grass"], "")


def test_a_letter_and_a_text_of_another_option_name_none() -> None:
    choices = ["Paris", "Lyon"]
    text = '{"answer": {"label": "A", "text": "Lyon"}}'
    assert parse_answer(text, "stop", "choice", choices).index is None
    text = '{"answer": {"label": "B", "text": "Lyon"}}'
    assert parse_answer(text, "stop", "choice", choices).index == 1


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("frame", [r"Is $x \{} y$ so?", r"Is $\{}{a}$ so?", r"Is \(a \{} b\) so?"])
def test_a_command_with_one_backslash_survives(command: str, frame: str) -> None:
    text = frame.replace("{}", command, 1)
    found = parse_question(f'{{"question": "{text}"}}', "stop", "short_text", "chat", False)
    assert (found.question, found.error) == (text, "")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"line one\nnext line", "line one\nnext line"),
        (r"one.\nNot so.\nnote that\nnever", "one.\nNot so.\nnote that\nnever"),
        (r"a:\n\tindented\n\ttoo", "a:\n    indented\n    too"),
        (r"x = 3\nu = 5", "x = 3\nu = 5"),
        (r"caf\u00e9 \u4e2d", "caf\u00e9 \u4e2d"),
        (r"a \"word\" and a \/", 'a "word" and a /'),
        (r"$\\frac{1}{2}$ and \\theta", r"$\frac{1}{2}$ and \theta"),
        (
            r"\begin{matrix} 1 & 2 \\ 3 & 4 \end{matrix}",
            r"\begin{matrix} 1 & 2 \\ 3 & 4 \end{matrix}",
        ),
        (r"\\begin{matrix} 1 \\\\ 3 \\end{matrix}", r"\begin{matrix} 1 \\ 3 \end{matrix}"),
        (r"50\% of \$5", r"50\% of \$5"),
        (r"one\r\ntwo", "one\ntwo"),
    ],
)
def test_escapes_of_json_stay_escapes(written: str, meant: str) -> None:
    found = parse_question(f'{{"question": "{written}?"}}', "stop", "short_text", "chat", False)
    assert (found.question, found.error) == (f"{meant}?", "")


@given(st.text())
def test_json_that_escapes_as_it_should_is_left_alone(text: str) -> None:
    written = json.dumps({"a": text.replace("\\", "")})
    if not has_remains(text) and not set(text) & set("\x08\x0c\r\t\n"):
        assert keep_commands(written) == written


@given(st.text())
def test_any_text_is_heard(text: str) -> None:
    said, error = read_spoken(text)
    assert bool(said) != bool(error)
