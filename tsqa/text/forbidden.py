"""What must not stand in a text from which a model learns, whoever wrote it.

Guarantees: one place decides for questions, options, answers and explanations, when a reply is read
and again before an item is kept; a text is named unfit, never mended.
"""

from __future__ import annotations

import re

from tsqa.text.latex import has_remains

CONTROL = "control character"
BROKEN = "broken unicode"
MARK = "mark of a chat template"
NOTATION = "notation of a program's object"
REASONS = (CONTROL, BROKEN, MARK, NOTATION)

# Newlines are text, as are a program's tabs and the joiners of Indic, Persian and emoji. What
# turns the order of reading about, and tags outside of flags, hide what is written.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff\ufff9-\ufffb"
    "\ue000-\uf8ff\U000f0000-\U0010ffff]"
    "|(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0000-\U000e007f]"
)
_BROKEN = re.compile(
    "[\ud800-\udfff\ufffd\ufdd0-\ufdef\ufffe\uffff"
    + "".join(
        f"{chr(plane * 0x10000 + 0xFFFE)}{chr(plane * 0x10000 + 0xFFFF)}" for plane in range(1, 15)
    )
    + "]"
)
_UNWRITABLE = re.compile(f"{_CONTROL.pattern}|{_BROKEN.pattern}")
_MARK = re.compile(
    r"<\|/?[a-zA-Z][a-zA-Z_ ]{1,39}\d{0,4}\|>|<\|[a-z_]{3,20}>|<[a-z_]{3,20}\|>"
    r"|<\uff5c[^\uff5c\n]{1,40}\uff5c>|[\u25c1\u25b7]/?think|think[\u25b7\u25c1]"
    r"|\[/?(?:INST|THINK(?:ING)?|TOOL_CALLS|AVAILABLE_TOOLS|gMASK)\]|<</?SYS>>"
    r"|\[\|(?:endofturn|user|assistant|system)\|\]"
    r"|</?(?:seed:)?think(?:ing)?>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unused\d{1,4})>"
    r"|</?tool_calls?>|assistantfinal",
    re.IGNORECASE,
)
_TAG = re.compile(
    r"(?<!`)</?(?:(?:final[_ ])?answer|thoughts?|reasoning|reflection|scratchpad|response|solution"
    r"|final|explanation|rationale|question|passage|knowledge|distractors?)>(?!`)",
    re.IGNORECASE,
)
_KEYS = (
    "type|text|label|letter|role|content|answer|question|option|options|choices|value|thinking"
    "|reasoning|explanation|knowledge|context|distractors|final_answer|parts|id|index|key"
)
_NOTATION = re.compile(
    rf"\A\W{{0,6}}\{{\s?['\"](?:{_KEYS})['\"]\s?:|\{{\s?['\"]type['\"]\s?:\s?['\"]\w"
    r"|<[\w.]+(?: [\w.]+)? object at 0x|\bobject at 0x[0-9a-f]|\[object Object\]"
    r"|\A\s*(?:TextBlock|ContentPart|TextContent|ChatCompletion\w*|Message)\("
)
_PART = re.compile(
    r"^(?:label|letter|option|key|id|type|text|value): \S[^\n]*\n(?:text|value):", re.M
)
_LONE_END = re.compile(r"</s>", re.IGNORECASE)


def find_unfit(text: str, is_code: bool = False) -> str:
    """Name one of `REASONS`, or nothing; a program may hold tags and the notation of objects."""
    if _BROKEN.search(text):
        return BROKEN
    if _CONTROL.search(text) or (not is_code and ("\t" in text or has_remains(text))):
        return CONTROL
    if _MARK.search(text):
        return MARK
    if is_code:
        return ""
    is_lone = _LONE_END.search(text) and "<s>" not in text and "`</s>`" not in text
    if is_lone or _TAG.search(text):
        return MARK
    return NOTATION if _NOTATION.search(text) or _PART.search(text) else ""


def make_visible(text: str) -> str:
    """Replace what is unfit to be written, so that the text can be shown as a reason."""
    return _UNWRITABLE.sub("\ufffd", text)
