"""Replies that say that there is no reply: refusals, an assistant that speaks of itself, requests
for what it says is missing, and "unknown" instead of an answer. Twelve languages.

Guarantees: what is said in quotes is not said by the teacher; questions about refusing, apologising
or the unknown keep the answers that they ask for; work is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import yaml

REFUSAL = "refusal"

_ACTS = (
    "assist|help|provide|create|generate|write|answer|fulfil+|comply|complete|continue|support"
    "|engage|discuss|process|produce|offer|determine|respond|proceed|give|share|make up|come up"
    "|formulate|do (?:that|this|so)|browse|access|view|open|see|verify|identify|predict|comment"
    "|reply|think of|say which|tell which|solve|compose|participate"
)
_THINGS = (
    "passage|text|list|question|context|information|example|detail|input|document|article|data"
    "|sentence|image|picture|problem|paragraph|snippet|code|excerpt|options?|choices?|statement"
    "|topic|prompt|content|story|table|figure|diagram|instruction|material|source|options"
)
_QUOTED = re.compile(
    '"[^"\n]{1,400}"|\u201c[^\u201d\n]{1,400}\u201d|\u00ab[^\u00bb\n]{1,400}\u00bb'
    "|\u300c[^\u300d\n]{1,400}\u300d|\u201e[^\u201c\u201d\n]{1,400}[\u201c\u201d]"
    "|(?<!\\w)'[^'\n]{1,20}(?:'\\w[^'\n]{0,200}){0,6}'(?!\\w)"
)
_SENTENCE = re.compile(
    r"(?:\A|[.!?\u3002\uff01\uff1f\u0964\u061f\n])[\s\"'*_(\u201c\u300c]{0,20}(?=\S)"
)
_FRAME = " \t\n.!\"'*_`()[]\u3002\uff01\u201c\u201d\u2018\u2019\u300c\u300d\u0964<>-\u2013\u2014"
_SAYING = re.compile(
    r"\b(?:(?:should|would|could|might|may|can|do|does|to|politely) (?:\w+ ){0,3}?(?:say|reply"
    r"|respond|answer|tell|write)\b|(?:which|what) (?:reply|response|phrase|sentence|answer|line)"
    r"|polite\w*|apolog\w*|sorry|refus\w*|declin\w*|excuse|translat\w*|dialogue|conversation"
    r"|chatbots?|assistants?|ai|language models?|llms?|fill in"
    r"|sag(?:en|t) (?:man|du|sie)|h\u00f6flich|\u00fcbersetz\w*|entschuldig\w*|se dice|disculp\w*"
    r"|cort\u00e9s\w*|traduc\w*|rechaz\w*|poli(?:e|ment)?|traduis\w*|s'excus\w*|educad\w*"
    r"|recus\w*|traduz\w*|cortese\w*|rifiut\w*|\u0432\u0435\u0436\u043b\u0438\w*"
    r"|\u0438\u0437\u0432\u0438\u043d\w*|\u043f\u0435\u0440\u0435\u0432\u0435\u0434\w*)\b"
    r"|[\u8bf4\u8aaa]|\u56de\u5e94|\u62d2\u7edd|\u9053\u6b49|\u62b1\u6b49|\u7ffb\u8bd1|\u5bf9\u8bdd"
    r"|\u8a00[\u3046\u3044]|\u65ad\u308b|\u8b1d\u308b|\u8a33|\ub9d0|\uac70\uc808|\uc0ac\uacfc"
    r"|\ubc88\uc5ed|\u0642\u0648\u0644|\u0627\u0639\u062a\u0630|\u062a\u0631\u062c\u0645"
    r"|\u0915\u0939|\u0905\u0928\u0941\u0935\u093e\u0926|\u092e\u093e\u092b",
    re.IGNORECASE,
)
_OFFERED = re.compile(
    r"\b(?:un)?(?:known|certain|clear|sure|determin\w*|answered|answerable)\b"
    r"|\b(?:enough|sufficient|given information|opposite|antonym|synonym|prefix|word|term|n/a"
    r"|not (?:given|stated|known|mentioned|applicable)|if (?:it|this|there|possible|any|not"
    r"|(?:the|this) (?:passage|text|article|story|context) does)|left out|leaves? out|omits?"
    r"|omitted|possible to|can (?:be|we|you|it)"
    r"|unbekannt|bestimm\w*|desconocid\w*|determina\w*|inconnu\w*|d\u00e9termin\w*)\b"
    r"|\u672a\u77e5|\u65e0\u6cd5\u786e\u5b9a|\u80fd\u5426|\u4e0d\u660e|\uc54c \uc218",
    re.IGNORECASE,
)
_NOTHING = re.compile(
    r"(?:none|n/a|n\.a\.?|null|nil|nothing|not (?:applicable|needed|required|available|provided"
    r"|necessary)|no (?:additional |further |extra |specific |background )?(?:context|passage|text"
    r"|background|information|knowledge|explanation|distractors?|options?|reasoning)"
    r"(?: (?:is |was |are |were )?(?:needed|required|provided|given|necessary|available|here))?"
    r"|none (?:needed|required|provided|given|available|necessary)|empty|keine?|ninguno|aucune?"
    r"|nenhum|nessuno|\u043d\u0435\u0442|\u65e0|\u7121|\u306a\u3057|\uc5c6\uc74c"
    r"|\u0644\u0627 \u064a\u0648\u062c\u062f)",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"(?:(?:insert|your|put|write|type|enter) (?:\w+ ){0,3}?(?:question|answer|option|text|passage)"
    r"(?: (?:goes )?here)?|(?:the |a |new )*(?:question|passage)(?: (?:text|goes here|here))?"
    r"|(?:answer|option) (?:goes )?here)",
    re.IGNORECASE,
)
_PREFACE = re.compile(
    r"\A(?:(?:(?:(?:i'm |i am )?(?:very |so |truly )?(?:sorry|afraid)(?: that)?"
    r"|unfortunately|regrettably|(?:my )?apologies|(?:es )?tut mir leid|leider|lo siento"
    r"|lamentablemente|(?:je suis )?d\u00e9sol\u00e9e?|malheureusement|desculpe|infelizmente"
    r"|mi dispiace|purtroppo)(?:[,.;:!]|(?= ))(?: (?:but|however,?|aber|pero|mais|mas|ma)\b)?"
    r"|(?:based on|according to|from) [^,.\n]{1,60},) ?){1,2}(?=\S)",
    re.IGNORECASE,
)
"""Before what says that there is no answer."""
_SENTENCES = 5


def offers_none(choices: Sequence[str]) -> bool:
    """Whether one of the options is that there is no answer: then reasons for it are reasons."""
    return any(
        _anywhere("unknown").fullmatch(_bare(choice))
        or _anywhere("undecided").fullmatch(_bare(choice))
        for choice in choices
    )


def refuses(text: str, question: str = "") -> bool:
    """Whether an answer refuses, or says there is none, unless the question asks for that."""
    bare = _bare(text)
    if not bare:
        return False
    said = _PREFACE.sub("", bare, count=1)
    if _anywhere("unknown", "undecided").fullmatch(said):
        return not _OFFERED.search(question)
    if _PLACEHOLDER.fullmatch(bare):
        return True
    return explains_refusal(text, question)


def explains_refusal(text: str, question: str = "") -> bool:
    """Whether a text says why there is no answer; "it cannot be determined" may be a reason."""
    return _says(text, _SENTENCES) and not _SAYING.search(question)


def asks_nothing(question: str, choices: Sequence[str] = ()) -> bool:
    """Whether a reply refuses to ask a question, or to give one of its options."""
    bare = _bare(question)
    if any(p.fullmatch(bare) for p in (_anywhere("unknown"), _NOTHING, _PLACEHOLDER)):
        return True
    is_asked = question.rstrip(_FRAME).endswith(("?", "\uff1f", "\u061f"))
    if _says(question, 1 if is_asked else 2):
        return True
    return any(_says(choice, 1) for choice in choices) and not _SAYING.search(question)


def says_nothing(text: str) -> bool:
    """Whether an explanation is a word for having none, such as `N/A`."""
    bare = _bare(text)
    return not bare or bool(_NOTHING.fullmatch(bare))


def _says(text: str, sentences: int) -> bool:
    """Whether one of the first sentences refuses, or an assistant speaks of itself anywhere."""
    unquoted = _QUOTED.sub(" ", text)
    said = _straight(unquoted) if any(map(str.isalnum, unquoted)) else _bare(text)
    starts = _starts(said, sentences)
    refused = _anywhere("unable", "missing")
    return any(refused.match(said, at) for at in starts) or bool(_anywhere("itself").search(said))


def _bare(text: str) -> str:
    return _straight(text.strip(_FRAME))


def _straight(text: str) -> str:
    return text.replace("\u2019", "'")


def _starts(text: str, count: int) -> Iterator[int]:
    for number, match in enumerate(_SENTENCE.finditer(text)):
        if number == count:
            return
        yield match.end()


@lru_cache
def _anywhere(*kinds: str) -> re.Pattern[str]:
    patterns = [
        pattern.replace("{act}", _ACTS).replace("{thing}", _THINGS)
        for language in _languages().values()
        for kind in kinds
        for pattern in language.get(kind, [])
    ]
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)


@lru_cache
def _languages() -> dict[str, dict[str, list[str]]]:
    text = Path(__file__).with_name("refusals.yaml").read_text(encoding="utf-8")
    found: dict[str, dict[str, list[str]]] = yaml.safe_load(text)
    return found
