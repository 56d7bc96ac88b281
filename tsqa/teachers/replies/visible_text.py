"""What a teacher said, out of all that came back: no thoughts, no other channel, no marks of turns.

Guarantees: nothing is raised; work is linear in the text; a mark that the text speaks of (in
quotes, within a sentence) is left where it is, as are the strings of a reply that is JSON as a
whole: `tsqa.text.forbidden` refuses what such marks are left in. Two possible readings are none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tsqa.text.latex import keep_commands

THINKS = "thoughts without an end"
"""Where the model ended by itself; where it was cut off, see `fields`."""
UNCLEAR = "thoughts and text cannot be told apart"
EMPTY = "empty"
SEVERAL = "several final messages"
CALL = "a tool call in place of a text"

# gpt-oss: <|start|>assistant<|channel|>final<|constrain|>json<|message|>...<|return|>
_HEADER = re.compile(
    r"(?:<\|start\|>(?P<role>[^<>\n]{0,80}))?"
    r"(?:<\|channel\|>(?P<channel>[^<>\n]{0,80}))?(?:<\|constrain\|>[^<>\n]{0,40})?<\|message\|>"
)
_MESSAGE_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
# The same with its special tokens left out by a detokeniser: analysisWe need ...assistantfinalLyon
_BARE_CHANNEL = re.compile(r"\A\s*(?:assistant)?(?:analysis|commentary)(?=[A-Z\d\"'{\[(])")
_BARE_ANALYSIS = re.compile(r"\A\s*(?:assistant)?analysis")
_BARE_FINAL = "assistantfinal"
_BARE_BEGIN = re.compile(r"\A\s*(?:assistant)?final(?=[A-Z][^\s=(]*(?:[\s.?!,](?! ?=)|\Z))")

_TAG = r"(?:[a-z]{2,8}[:|_])?think(?:ing)?(?:_fast(?:er)?)?"
"""`think` and the likes of it: seed:think, mm:think, ifm|think_fast, longcat_think."""
_TEXT_NEXT = r"end_message\|>\s*(?:<\|message_model\|>\s*)?<\|content_text"
"""Inkling: a message of thoughts ends, and one of text begins."""
_THOUGHT = re.compile(
    rf"(?P<open><{_TAG}(?:[: ][^<>\n]{{0,40}})?>|\[THINK(?:ING)?\]|\u25c1think\u25b7"
    r"|<\|(?:begin_of_thought|START_THINKING|thinking|think|plamo:begin_think:plamo|open\|>think<\|sep)\|>|<\|channel>thought"
    r"|<unused94>thought|<\|im_start\|>think\b|(?:<\|message_model\|>\s*)?<\|content_thinking\|>"
    r"|(?:<\|start\|>assistant\s*)?to=self<\|message\|>"
    r"|\A\s*here(?:(?:'s| is) my thought process| are my reasoning steps):"
    r"|\A\s*thinking process:(?=\s*\n)"
    r"|^[ \t]{0,8}<(?:thoughts?|reflection|scratchpad|analysis|inner_thoughts|planning|plan)>)"
    rf"|(?P<close></{_TAG}(?::[^<>\n]{{0,40}})?>|\[/THINK(?:ING)?\]|\u25c1/think\u25b7"
    r"|<\|(?:end_of_thought|END_THINKING|/thinking|/think|plamo:end_think:plamo"
    rf"|close\|>think<\|sep|{_TEXT_NEXT})\|>|<channel\|>|<unused95>"
    r"|(?:<\|eom\|>\s*)?(?:<\|start\|>assistant\s*)?to=user<\|message\|>"
    r"|\[BEGIN FINAL RESPONSE\]|<\|im_start\|>answer\b)"
    r"|(?P<soft></(?:thoughts?|reflection|scratchpad|analysis|inner_thoughts|planning|plan)>"
    r"|^[ \t]{0,8}here(?:'s| is) my response:)",
    re.MULTILINE | re.IGNORECASE,
)
_END = re.compile(
    r"<\|im_start\|>(?!\s?(?:think|answer)\b)|\[END FINAL RESPONSE\]"
    rf"|<\|(?!{_TEXT_NEXT})end_message\|>|<\|close\|>(?:response|message)<\|sep\|>"
    r"|<\|(?:im_end|im_assistant|im_user|im_system|endoftext|eot_id|eom_id|end_of_text|end|return"
    r"|eot|eos|end_of_turn"
    r"|END_OF_TURN_TOKEN|START_OF_TURN_TOKEN|END_RESPONSE|END_TEXT|content_model_end_sampling"
    r"|end_of_solution|user|human|system"
    r"|assistant|observation|start_header_id|start_of_role|role_end|turn_end|diff_marker"
    r"|reserved_special_token_\d{1,4}|pad|padding)\|>"
    r"|<(?:end_of_turn|end_of_utterance|start_of_turn|eos|pad|turn\||\|turn)>"
    r"|<\uff5c(?:end\u2581of\u2581sentence|User|Assistant|begin\u2581of\u2581sentence)\uff5c>"
    r"|\[/?INST\]|\[\|(?:endofturn|user|assistant|system)\|\]|<</?SYS>>|\[EOS\]"
    r"|</s>(?=\s*(?:\Z|<s>|<\||\[INST\]))",
    re.IGNORECASE,
)
_BEGIN = re.compile(
    r"\A(?:\s*(?:<\|(?:im_start|im_assistant|start_header_id|end_header_id|start_of_role"
    r"|end_of_role|header_start|header_end|begin_of_text|startoftext|bos|assistant|im_sep|im_middle"
    r"|START_OF_TURN_TOKEN|CHATBOT_TOKEN|START_RESPONSE|START_TEXT|begin_of_solution|message"
    r"|message_model|content_text|open\|>response<\|sep)\|>"
    r"|<(?:start_of_turn|bos|sop)>|\[/INST\]|\[\|assistant\|\]|\[gMASK\]"
    r"|<\uff5c(?:Assistant|begin\u2581of\u2581sentence)\uff5c>)"
    r"[ \t]*(?:(?:assistant|model|answer)(?=\s|<))?)+",
    re.IGNORECASE,
)
_BOX = re.compile(r"<\|(?:begin|end)_of_box\|>")
_ROLE = re.compile(
    r"\A\s*(?:assistant[ \t]*\n|#{2,4} ?(?:response|assistant|output):?[ \t]*\n"
    r"|(?:\*\*)?(?:assistant|chatbot|ai)(?:\*\*)? ?:(?:\*\*)?\s)(?=\s*\S)",
    re.IGNORECASE,
)
_SPEAKER = re.compile(
    r"^(?:\*\*)?(?:user|human|customer|client|student|teacher|man|woman|speaker|person"
    r"|[ab]|you|me|patient|guest|caller|passenger|visitor|tourist)(?:\*\*)? ?\d?:",
    re.MULTILINE | re.IGNORECASE,
)
_NEXT_TURN = re.compile(
    r"\n[ \t]*(?:#{2,4} ?(?:instruction|user|human|input)s?\b:?"
    r"|\n(?:human|user):)",
    re.IGNORECASE,
)
_WRAP = re.compile(
    r"\A\s*<(?P<name>(?:final[_ ])?(?:answer|response|output)|final|result|solution|reply)>",
    re.IGNORECASE,
)
_WRAP_END = re.compile(
    r"</(?:(?:final[_ ])?(?:answer|response|output)|final|result|solution|reply)>\s*\Z",
    re.IGNORECASE,
)
_CONTAINER = re.compile(
    r"^[ \t]*<(?P<name>(?:final_)?(?:response|output)|final|result)>", re.MULTILINE | re.IGNORECASE
)
_GOES_ON = re.compile(r"[ ,.?!;:]\w|[?]")
_LOWER = re.compile(r" [a-z]|\s?[?]")
_REASONING = re.compile(
    r"\A\s*<reasoning>(?P<thought>.*?)(?P<end></reasoning>|\Z)", re.DOTALL | re.IGNORECASE
)
_FIELD = re.compile(
    r"\s*<(?:(?:final[_ ])?answer|knowledge|context|distractors|question|passage|options|choices)>",
    re.IGNORECASE,
)
_CALL = re.compile(
    r"<\|(?:tool_calls?(?:_section)?(?:_begin|_start)?|START_ACTION|python_tag)\|>|\[TOOL_CALLS\]"
    r"|<\uff5ctool\u2581calls?\u2581begin\uff5c>|<(?:[a-z]{2,8}[:|])?tool_calls?>"
    r"|\bto=functions\.\w",
    re.IGNORECASE,
)
_LONGEST_MARK = 100
_BUDGET = re.compile(
    r"<(seed:cot_budget_reflect)>[^<]{0,200}</\1>\n?|</?seed:cot_budget_reflect>\n?"
)
"""Seed-OSS: how much room for thoughts is left."""
_QUOTES = "`\"'\u201c\u201d\u2018\u2019\u00ab\u00bb"


def read_spoken(text: str) -> tuple[str, str]:
    """Return (what was said, why nothing was); one of them is empty."""
    text = _plain(text)
    for whole in (text, _without_end(text)):
        if _is_json(whole):
            return whole, ""
    finals = _final_messages(text)
    if finals is not None:
        if len({message.strip() for message in finals}) > 1:
            return "", SEVERAL
        if not finals:
            return "", CALL if _CALL.search(text) else THINKS
        text = finals[0]
    elif _BARE_CHANNEL.match(text) and _BARE_FINAL not in text:
        return "", CALL if _CALL.search(text) else THINKS
    text, _, error = _part_thoughts(_without_end(text))
    if error == UNCLEAR:
        return "", error
    if any(True for _ in _tokens(_CALL, text)):
        return "", CALL
    text = _BEGIN.sub("", _BOX.sub("", text), count=1)
    text = _unwrap(_without_role(_without_end(text)))
    if not any(map(str.isalnum, text)):
        return "", error or EMPTY
    return text, ""


def read_thoughts(text: str) -> str:
    """What was thought before it was said; nothing where `read_spoken` cannot tell them apart."""
    text = _plain(text)
    if not marks_thoughts(text):
        return ""
    if any(map(_is_json, (text, _without_end(text)))) or read_spoken(text)[1]:
        return ""
    before: list[str] = []
    if "<|channel|>" in text and "<|message|>" in text:
        before, text = _messages(text, "analysis"), "".join(_messages(text, "final")[:1])
    elif _BARE_FINAL in text:
        within, _, text = text.partition(_BARE_FINAL)
        within = within.split("assistantcommentary")[0]
        before = [_BARE_ANALYSIS.sub("", within, count=1).strip()]
    _, thoughts, _ = _part_thoughts(_without_end(text))
    plain = (_THOUGHT.sub("", _BUDGET.sub("", part)).strip() for part in thoughts)
    return "\n".join(filter(None, [*before, *plain]))


def marks_thoughts(text: str) -> bool:
    """Whether a text marks in any way where thoughts are."""
    marks = ("<|channel|>", _BARE_FINAL)
    return any(mark in text for mark in marks) or bool(
        _THOUGHT.search(_plain(text)) or _BARE_CHANNEL.match(text)
    )


def opened_thoughts(prompt: str) -> str:
    """The mark at the end of a prompt with which a chat template opens thoughts; empty if none."""
    line = prompt.rstrip()[-_LONGEST_MARK:].rpartition("\n")[2]
    marks = [mark for mark in _THOUGHT.finditer(line) if mark.end() == len(line) and mark["open"]]
    return marks[-1][0] if marks else ""


def _plain(text: str) -> str:
    """Without a byte order mark; `<reasoning>` that no other field follows is `<think>`.

    So gpt-oss thinks on Bedrock; other models are asked for fields, and may write them in tags.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    match = _REASONING.match(text)
    if match is None or _FIELD.match(text, match.end()):
        return text
    end = "</think>" if match["end"] else ""
    return f"<think>{match['thought']}{end}{text[match.end() :]}"


def _is_json(text: str) -> bool:
    """Whether a text is one JSON value, in a fence or not: marks in its strings are text."""
    body = text.strip()
    if body.startswith("```") and body.endswith("```"):
        body = body[3:-3].strip().removeprefix("json").strip()
    if not body.startswith(("{", "[")) or not body.endswith(("}", "]")):
        return False
    try:
        json.loads(keep_commands(body), strict=False, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return False
    return True


def _final_messages(text: str) -> list[str] | None:
    """The messages of the final channel up to the next turn; None where there are no channels."""
    if "<|channel|>" not in text or "<|message|>" not in text:
        if _BARE_FINAL in text:
            return text.split(_BARE_FINAL)[1:]
        match = _BARE_BEGIN.match(text)
        return [text[match.end() :]] if match else None
    return _messages(text, "final")


def _messages(text: str, wanted: str) -> list[str]:
    """The messages of a channel up to the next turn; those without one are of the final."""
    found = []
    for header in _HEADER.finditer(text):
        role, channel = (header["role"] or "").strip(), (header["channel"] or "").strip()
        if role and not role.startswith("assistant"):
            break
        end = _MESSAGE_END.search(text, header.end())
        is_final = channel.startswith("final") or bool(role and not channel)
        if is_final if wanted == "final" else channel.startswith(wanted):
            found.append(text[header.end() : end.start() if end else len(text)])
        if is_final and end and end[0] == "<|return|>":
            break
    return found


def _part_thoughts(text: str) -> tuple[str, list[str], str]:
    """(the text outside of thoughts, the thoughts, what is wrong with them)."""
    kept: list[str] = []
    thoughts: list[str] = []
    depth = end = 0
    was_open, error = False, ""
    for mark in _tokens(_THOUGHT, text):
        if mark["soft"] and not depth:
            continue
        is_again = was_open and not text[end : mark.start()].strip()
        if not depth:
            kept.append(text[end : mark.start()])
            in_line = kept[-1].rpartition("\n")[2]
            is_labelled = in_line.rstrip(" *").endswith(":")
            is_within = bool(mark["open"]) and any(map(str.isalnum, in_line)) and not is_labelled
            is_within |= in_line.endswith(" ") and bool(_LOWER.match(text, mark.end()))
            error = UNCLEAR if is_within else error
        else:
            thoughts.append(text[end : mark.start()])
        end, was_open = mark.end(), bool(mark["open"])
        if was_open:
            depth += not is_again  # a server and the model may both open them
        elif depth:
            depth -= 1
        else:
            # The opening mark is part of the chat template, and so of the prompt.
            thoughts, kept = [*thoughts, *kept], []
    if not depth:
        kept.append(text[end:])
    return "".join(kept), thoughts, error or (THINKS if depth else "")


def _without_end(text: str) -> str:
    """The text up to the first mark that ends its turn: those before any words begin it."""
    done, struck = 0, text.find("<s>")
    for mark in _tokens(_END, text):
        is_attached = not text[mark.start() - 1 : mark.start()].isspace()
        is_html = not is_attached or -1 < struck < mark.start()
        if mark[0].lower() == "</s>" and is_html:
            continue
        if any(map(str.isalnum, text[done : mark.start()])):
            return text[: mark.start()]
        done = mark.end()
    return text


def _tokens(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """The marks that are marks, not those that the text speaks of."""
    for mark in pattern.finditer(text):
        before = text[max(0, mark.start() - 1) : mark.start()]
        after = text[mark.end() : mark.end() + 2]
        is_quoted = before and before in _QUOTES and after[:1] and after[0] in _QUOTES
        is_word = before == " " and _GOES_ON.match(after)
        if not is_quoted and not (is_word and pattern is _END):
            yield mark


def _without_role(text: str) -> str:
    """The text without the name of its speaker, unless others speak in it too."""
    match = _ROLE.match(text)
    if match and not _SPEAKER.search(text):
        text = text[match.end() :]
    after = _NEXT_TURN.search(text)
    if after and not _SPEAKER.search(text[: after.start()]):
        before = text[: after.start()]
        text = before if any(map(str.isalnum, before)) else text
    return text


def _unwrap(text: str) -> str:
    """What stands in the one pair of tags that holds all that was said, such as `<output>`."""
    for _ in range(3):
        begin, end = _WRAP.match(text), _WRAP_END.search(text, max(0, len(text) - 40))
        if begin is None and end is None:
            break
        inner = text[begin.end() if begin else 0 : end.start() if end else len(text)]
        if re.search(r"</?(?:final[_ ])?(?:answer|solution|output|response)>", inner, re.I):
            break
        text = inner
    containers = list(_CONTAINER.finditer(text))
    if len(containers) == 1:
        closing = text.find(f"</{containers[0]['name']}>", containers[0].end())
        if closing > 0:
            return text[containers[0].end() : closing]
    return text
