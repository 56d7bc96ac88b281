"""Grades and verdicts, read from a judge's reply."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tsqa.prompts import CRITERIA
from tsqa.teachers.replies.fields import (
    as_text,
    open_reply,
    read_objects,
)
from tsqa.teachers.replies.stated_answer import TAKES_BACK, begins_again, said_instead

BOTH = "both yes and no"
_YES, _NO = "yes|true", "no|false"
_STANDS = (
    r"(?!\s+(?!(?:it|they|he|she|this|that|these|those|there|we|you|i|the|an?|because|since|as|not"
    r"|for|in|on|at|by|under|only|but|and|or|if|when|unless|way|yes|no|true|false)\b)\w)"
)
"""`No friends`, `No whale is a fish` and `False positives` are no verdicts, `No it is not` is."""
_END = r"(?=\s*(?:$|[,.;:!\u060c\u0964\uff0c\u3002\uff1b\uff1a\uff01\u3001\u2026\u2013\u2014-]))"
_CALLED = (
    r"(?:(?:it|this|that|(?:the|this) (?:answer|(?:statement|claim)"
    r"(?: [\"\u201c][^\"\u201c\u201d\n]{1,200}[\"\u201d](?![^\n]*[\"\u201c]))?))"
    r"(?:'s| is|'d be| would be) )"
)
_NOT_TWICE = r"(?! that\b[^.!?\n]*(?:\b(?:not|never|false|untrue|wrong|incorrect)\b|n['\u2019]t\b))"
OFFERED = r"(?:yes ?(?:/|\||,? or) ?no|true ?(?:/|\||,? or) ?false)\b"
_ASKED_AGAIN = re.compile(
    rf"{OFFERED}[*_)\]]{{0,4}} ?(?:[:?)\]=]|[-\u2013\u2014]{{1,2}})+(?=.*\w)", re.I
)
"""The two verdicts as a prompt may offer them, and a verdict behind them."""
_FILLER = re.compile(
    r"\A(?:(?:based on|according to|judging by|as per|per|by)(?: the| this| its| what the)?"
    r"(?: \w+)? (?:passage|text|article|story|paragraph|context|table|information|definition"
    r"|rules?)(?: (?:given|provided|above|says))?, "
    r"|by definition, "
    r"|(?:actually|hm+|in fact)\b[,:.\u2026]{0,3} |(?:well|so|thus|therefore|hence)[,:.]{1,3} "
    r"|(?:so|thus|therefore|hence) (?=(?:yes|no|true|false)\W*$)"
    r"|(?:it|that|this|the answer) (?:should be|must be) |(?:i(?:'d| would)? )?(?:say|think) )",
    re.IGNORECASE,
)
_VERDICT = re.compile(
    rf"\W{{0,8}}{_CALLED}?(?:(?:not (?:true|correct|the case)\b{_NOT_TWICE})"
    rf"|(?:(?:almost )?(?:definitely|certainly|absolutely|clearly|obviously)|of course) not{_END}"
    rf"|(?P<yes>(?:yes|true{_STANDS})\b|not (?:false|untrue|incorrect|wrong){_END}"
    r"|(?:yep|yeah|yup|\u0646\u0639\u0645|\u0939\u093e[\u0901\u0902]|s[\u00ed\u00ec]|oui|ja|sim|tak|evet|absolutely|definitely|certainly|\u0434\u0430|\u662f\u7684?|\u5bf9\u7684?|\u5c0d\u7684?"
    rf"|\u6b63\u786e|\u306f\u3044|\ub124){_END}|(?:correct|right)(?=\W*\Z|[.!] ))"
    rf"|(?P<no>(?:{_NO})\b{_STANDS}"
    r"|(?:nope|nah|\u0644\u0627|\u0643\u0644\u0627|\u0928\u0939\u0940\u0902|non|nein|nee|nie|hay\u0131r|n\u00e3o|\u043d\u0435\u0442|\u4e0d\u662f|\u5426|\u4e0d\u5bf9|\u932f"
    rf"|\u3044\u3044\u3048|\uc544\ub2c8[\uc694\uc624]){_END}|(?:incorrect|wrong)(?=\W*\Z|[.!] )))",
    re.IGNORECASE,
)
_PAUSE = re.compile(_END)
_ALSO_OFFERED = re.compile(r"\s?(?:/|\||,? (?:or|and))\s?(?:yes|no|true|false)\b", re.IGNORECASE)
_IF = re.compile(
    r"\s(?:only )?(?:if|when|unless)\b"
    r"|\W{1,3}(?:(?:but )?(?:only if|only when|unless|when)|but not"
    r"|(?:but )?(?:only )?(?:partly|partially|in part|to some extent))\b",
    re.IGNORECASE,
)
"""Behind a verdict: one on a condition is none."""
_BESIDE = re.compile(rf"[\s*_,;]{{1,5}}(?:(?P<yes>{_YES})|{_NO})\W*\Z", re.IGNORECASE)
"""`True, false` answers two questions."""
_BUT_THEN = re.compile(
    rf"\b(?:but|though|although),? (?:in (?:the )?\w+,? |\w+ly,? )?(?:(?P<yes>{_YES})|{_NO})\W*\Z",
    re.IGNORECASE,
)
_HALF = re.compile(
    r"\b(?:but|however|although|though),? (?:the|its|this)"
    r" (?:(?:first|second|other|latter|former) )?(?:part|half|claim|clause|statement"
    r"|reason|rest)\b[^.!?\n]{0,60}\b(?:is|are|was)(?: not|n't)?"
    r" (?:true|false|correct|incorrect|right|wrong)\b",
    re.IGNORECASE,
)
"""`Yes. However, the second part is false`: of two claims each has its verdict."""
_BUT = re.compile(r"\A[\W_]*(?:(?:but|aber|mais|pero|ma|mas|\u043d\u043e)\b[\W_]*)?", re.IGNORECASE)
_ASKED = re.compile(r"[^.!,;:\n]{0,80}\?")
_CALLED_WRONG = re.compile(
    rf"[,.:;]? ?{_CALLED}(?:simply )?(?:incorrect|wrong|false|untrue|not (?:true|correct|right))"
    r"(?=\s*(?:$|[,.;:!]|(?:because|since|as)\b))",
    re.I,
)
"""Not of a thing: `Yes, it is wrong to lie`."""
_CALLED_RIGHT = re.compile(rf"[,.:;]? ?{_CALLED}(?:correct|right|true)(?=[.!]*$)", re.IGNORECASE)
_ALONE = re.compile(
    rf"[.!,;\u2026\u3002\u2014\u2013-][\s*_]*(?:(?P<yes>{_YES})|{_NO}|not)[*_]*(?=[.!,;]|\s*$)",
    re.I | re.M,
)
"""Not behind a question, which an explanation may ask: `Divisible by 2? No.`"""
_GRADE = re.compile(
    r"(?:(?:score|grade): )?[*_ ]{0,4}([1-5])[*_]{0,2}(?:\s?/\s?5| (?:out )?of (?:5|five))?"
    r"(?!\s?[-=]{0,2}[%+>\u2192\u279c])(?=\W*(?:\Z|[^\W\d]))(?!\W*or\b)"
    r"(?! (?:of|out|to|and|if|unless|when|minus|plus|steps?|errors?|mistakes?|problems?|flaws?)\b)",
    re.IGNORECASE,
)
_REGRADES = re.compile(
    r"\b(?:(?:no,|wait|actually|or rather|make that|correction)[^\n]*[1-5]|to [1-5]\b)",
    re.IGNORECASE,
)
_ROW = re.compile(r"\|?(?P<key>[^|]+)\|(?P<value>[^|]+)(?:\|(?!\W*\d)[^|]*)?\|?")
"""A row of a table: the criterion, its grade, and maybe a remark. Of two numbers, one may be the
highest grade or a weight."""
_UNLIKE = re.compile(r"\b(?:different|distinct|unlike|differ|not (?:the )?same)\b", re.IGNORECASE)
_ALIKE = re.compile(
    r"\b(?:they|both|these|questions) (?:are|is) (?:the same|identical|equal)", re.I
)


def read_verdict(text: str) -> tuple[bool | None, str]:
    """Read a yes or a no, in the usual words: (the verdict, why there is none)."""
    text = _FILLER.sub("", _ASKED_AGAIN.sub("", text, count=1).strip(), count=1)
    found = _VERDICT.match(text)
    if found is None:
        return None, "not yes or no"
    rest, verdict = text[found.end() :], bool(found["yes"])
    if _ASKED.match(rest):
        return None, "asks whether it is so"
    if _IF.match(rest):
        return None, "says so on a condition"
    is_offered = _ALSO_OFFERED.match(rest)
    is_contrary = (_CALLED_WRONG if verdict else _CALLED_RIGHT).match(rest)
    others = (*_ALONE.finditer(rest), _BESIDE.match(rest), _BUT_THEN.search(rest))
    alone = {bool(other["yes"]) for other in others if other}
    said = _BUT.sub("", rest, count=1)
    also = _VERDICT.match(said)
    is_alone = also is not None and not any(map(str.isalnum, said[also.end() :]))
    is_both = also is not None and is_alone and bool(also["yes"]) != verdict
    if is_offered or is_contrary or is_both or alone - {verdict} or _HALF.search(rest):
        return None, BOTH
    for _, said in said_instead(text):
        other = _VERDICT.match(_FILLER.sub("", said.strip(), count=1))
        if other and bool(other["yes"]) != verdict:
            return None, TAKES_BACK
    if begins_again(rest):
        return None, TAKES_BACK
    return verdict, ""


def begins_with(verdict: bool, text: str) -> bool:
    """Whether a text begins with a verdict and a pause, as `Yes, although` does."""
    said = _ASKED_AGAIN.sub("", text, count=1).strip()
    found = _VERDICT.match(said)
    return bool(found and _PAUSE.match(said, found.end()) and bool(found["yes"]) == verdict)


def parse_judgement(text: str, finish_reason: str) -> Mapping[str, int] | None:
    """Read the grades, 1 to 5, by criterion; None unless every criterion has one, and but one."""
    grades: dict[str, int] = {}
    for key, value in _read_pairs(text, finish_reason):
        criterion = re.sub(r"[^a-z]", "", key.lower())
        match = _GRADE.match(value.strip())
        if criterion in CRITERIA and match and not _REGRADES.search(value):
            grade = int(match[1])
            if grades.setdefault(criterion, grade) != grade:
                return None  # which of two holds, nobody knows
    return grades if len(grades) == len(CRITERIA) else None


def parse_sameness(text: str, finish_reason: str) -> bool | None:
    """Read whether two questions are the same; None where the reply does not say, or says both."""
    pairs = _read_pairs(text, finish_reason)
    said = [value for key, value in pairs if _is_same(key)]
    # A completion goes on after `Same:`, and may say the choice again: `Yes/no: no`.
    said = said or [f"{key}:{value}" if value else key for key, value in pairs[:1]]
    found = [read_verdict(value)[0] for value in said]
    if len({*found}) != 1 or (_UNLIKE if found[0] else _ALIKE).search("\n".join(said)):
        return None
    return found[0]


def _is_same(key: str) -> bool:
    return re.sub(r"[^a-z]", "", re.sub(OFFERED, "", key.lower())) == "same"


def _read_pairs(text: str, finish_reason: str) -> list[tuple[str, str]]:
    """The keys and values of a reply, of its objects or else its lines; none of an unfit one."""
    said, error = open_reply(text, finish_reason)
    if error:
        return []
    pairs = list(_pairs(read_objects(said, finish_reason == "length")))
    if not pairs:
        lines = [line for line in said.splitlines() if line.strip()]
        rows = [_ROW.fullmatch(line.strip()) for line in lines]
        pairs = [(key, value) for key, _, value in (line.partition(":") for line in lines)]
        pairs += [(row["key"], row["value"]) for row in rows if row]
    return pairs


def _pairs(value: Any) -> Iterator[tuple[str, str]]:
    """Keys and texts of objects; those of an object that holds them one level deeper too."""
    for item in value:
        for key, inner in item.items():
            yield str(key), as_text(inner)
            if isinstance(inner, dict):
                yield from ((str(k), as_text(v)) for k, v in inner.items())
