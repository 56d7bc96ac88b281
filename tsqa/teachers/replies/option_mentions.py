"""The patterns in which explanations mention options by letter, by number or by place.

Guarantees: work is linear in the text: every repetition is bounded.
"""

from __future__ import annotations

import re

from tsqa.teachers.replies.stated_answer import CUE

_OTHER = r"A-Za-z0-9\u00c0-\u024f"
"""What is not next to a letter that stands alone; Chinese and Japanese put no space there."""
_L = rf"[*]{{0,2}}[(\[\u300c]?(?<![{_OTHER}])[A-Z](?![{_OTHER}])[)\]\u300d]?[*]{{0,2}}"
_ARABIC = r"\(?[\u0623\u0628\u062c\u062f\u0647]\)?(?!\w)"
_JOIN = r"(?:,? and |,? or |, | & |/| und | y | et )"
_LIST = rf"{_L}(?:{_JOIN}(?![AI] (?!(?:are|is|and|or|were)\b)[a-z]){_L}){{0,9}}"
_NUMBERS = rf"#?\d{{1,2}}\b(?:{_JOIN}\d{{1,2}}\b){{0,9}}"
_NOUN = r"(?:answer )?(?:options?|choices?|alternatives?)(?: number)? "
_FOREIGN_NOUN = (
    r"(?:opci(?:\u00f3n|ones)|respuestas?|r\u00e9ponses?|antwort(?:en)?|op\u00e7(?:\u00e3o"
    r"|\u00f5es)"
    r"|alternativas?|respostas?|opzion[ei]|rispost[ae]|antwoord(?:en)?"
    r"|\u0432\u0430\u0440\u0438\u0430\u043d\u0442\u044b?"
    r"|\u043e\u0442\u0432\u0435\u0442\u044b?|\u043e\u043f\u0446\u0438[\u044f\u0438]) "
    r"|(?:\u9009\u9879|\u9078\u9805|\u9078\u629e\u80a2|\u7b54\u6848|\ubcf4\uae30"
    r"|\uc120\ud0dd\uc9c0) ?"
)
_CHOSEN = r"(?:[\u9009\u9078]\u62e9? ?)"
_STOPS = r"(?=[*)\]]{0,3}(?:[.,;:!?]|\s*$|\s*\n| (?:because|since)\b))"
_ENDS = (
    r"(?=[*)\]]{0,3}(?:[.,;:!?]|\s*$|\s*\n| (?:because|since|as|and|or|which|not|while|but|given|so"
    r"|rather|instead|due|for|is|are)\b|[^\x00-\u024f]|'d))"
)
_VERDICT = (
    r"(?=(?: (?:is|are|was|were|must be|would be|can be|seems?|both|also|all|therefore|clearly"
    r"|obviously|thus|the|not|only|an?)){1,5}"
    r" (?:correct|incorrect|wrong|right(?! (?:angle|triangle|side|hand|of|to|after|before)\b)"
    r"|eliminated|ruled out|invalid"
    r"|distractors?|best (?:answer|option|choice))\b"
    r"|(?::| -| \u2013| \u2014) (?:it is |this is |not )?(?:in)?(?:correct|wrong|right)\b)"
)
_DECIDES = (
    r"(?:eliminat(?:e[sd]?|ing)|rul(?:e[sd]?|ing) out|exclud(?:e[sd]?|ing)|discard(?:s|ed|ing)?"
    r"|choose|pick|select|go with|leaves(?: us with)?|leaving)"
)
MENTION = re.compile(
    rf"(?P<noun>(?i:\b{_NOUN}))(?P<of_noun>(?i:{_LIST}))(?P<range> ?[-\u2013] ?[A-Z]\b"
    r"|(?: through | to )[A-Z]\b)?"
    rf"|(?P<foreign>(?i:{_FOREIGN_NOUN}))(?P<of_foreign>{_LIST})(?![A-Za-z])"
    rf"|(?P<answer>(?i:\banswers?(?: choices?)?(?: is| are| was| must be| should be| would be"
    r"| to be)?:? ))"
    rf"(?P<of_answer>{_LIST}){_ENDS}"
    rf"|(?P<stated>(?i:{CUE.pattern})\s{{0,6}}(?:la |die |el |a |le |de )?)(?P<of_stated>{_L}"
    rf"|{_ARABIC}){_ENDS}"
    r"|(?P<box>\\boxed\{(?:\\text(?:bf)?\{)?)\(?(?P<of_box>[A-Z])\)?(?=\}|[.:)] ?\\?[a-z]*\})"
    rf"|(?P<numbered>(?i:\b{_NOUN}))(?P<numbers>{_NUMBERS}|\((?:i{{1,3}}|iv|vi?)\))"
    r"|(?P<ordinal>(?i:\bthe )(?P<nth>(?i:first|second|third|fourth|fifth|sixth|last))"
    r"(?: answer)? (?:option|choice|alternative)\b)"
    rf"|^(?P<bullet>[ \t]{{0,8}}(?:[-*+\u2022] )?)[*]{{0,2}}[(\[]?"
    rf"(?P<leading>[A-Z])[.):\]]\)?[*]{{0,2}}[ \t]+"
    rf"|(?P<decides>(?i:\b{_DECIDES}) |\b(?i:so|thus|therefore"
    rf"|hence),? )(?P<of_decision>{_LIST}){_STOPS}"
    rf"|(?P<judged>(?<![\w(])(?i:both )?(?P<of_verdict>{_LIST})){_VERDICT}"
    rf"|(?P<both>(?i:\bboth ))(?P<of_both>{_L} and {_L})"
    rf"|(?P<chosen>{_CHOSEN})(?P<of_chosen>[A-Z])(?=[^\w]|$)"
    r"|(?P<of_item>(?<![A-Za-z])[A-Z])(?P<item> ?(?:\u9009\u9879|\u9078\u9805|\u9879|\u9805))"
    r"|(?P<of_zh>(?<![A-Za-z])[A-Z])(?=\u662f?\u4e0d?(?:\u6b63\u786e|\u9519\u8bef|\u6b63\u78ba"
    r"|\u932f\u8aa4))"
    r"|(?P<gap> ?)\((?P<bracketed>[A-Za-z])\)",
    re.MULTILINE,
)
LETTER = re.compile(
    rf"[*]{{0,2}}[(\[\u300c]?(?<![{_OTHER}])([A-Za-z\u0623\u0628\u062c\u062f\u0647])"
    rf"(?![{_OTHER}])[)\]\u300d]?[*]{{0,2}}"
)
UNCLEAR = re.compile(
    r"\b(?:first|last) (?:two|three|four) (?:answer )?(?:options|choices|alternatives)\b",
    re.IGNORECASE,
)
LIKE_A_WORD = re.compile(r"[*(\[]*(?:[a-z]|I\b)")
BRACKETED = re.compile(r"(?P<before>[\w\u00b0']{0,30}[ ]?)\((?P<letter>[A-Za-z])\)")
AS_NOTATION = re.compile(
    r"[$\\_^]{1,2}([A-Z])\b|\b([A-Z])(?:'|\s?[=+<>"
    r"|\u222a\u2229\u00d7\u2227\u2228\u2192\u21d2\u2208\u2264\u2265^_\\])"
    r"|[=+<>|\u222a\u2229\u00d7\u2227\u2228\u2192\u21d2\u00ac]\s?([A-Z])\b|\w\(([A-Z])\b"
    r"|\b([A-Z])\(|\(([A-Z]), ?[A-Z]"
)
SUBJECT_BEFORE = re.compile(
    r"(?:^|[.!?;:,\n*\"\u201c\u2014-]\s*|\b(?:and|or|but|so|that|while|whereas|both|neither|nor"
    r"|either"
    r"|only|thus|hence|therefore|then|since|because|unlike|though|although|answer|is|are|be)\s+)"
    r"[*]{0,2}$",
    re.IGNORECASE,
)
SUBJECT_AFTER = re.compile(
    r"[*]{0,2},? (?:is|are|was|were|has|have|does|do|did|can|cannot|could|would|will|may|might|must"
    r"|should|lies|says|states|describes|refers|names|gives|means|isn't|doesn't|and \(|or \()|\."
    r"(?:\s|$)|, and \(|, \("
)
TALK = re.compile(
    r"\b(?:wrong|incorrect|correct|(?:option|choice)s?(?!\(s\)|(?-i: an? [a-z]))|eliminat\w+"
    r"|distractors?)\b",
    re.I,
)
LABEL = re.compile(r"(?<![\w\u00b0'.])([A-Z])(?![\w'])")
INITIAL = re.compile(r"[A-Z]\. [A-Z][a-z]|[A-Z]'")
ARTICLE = re.compile(r"A (?!and\b|or\b|is\b|only\b)[a-z]")
LEAD_LINE = re.compile(
    r"^[ \t]{0,8}(?:[-*+\u2022] )?[*]{0,2}[(\[]?([A-Z])[.):\]]\)?[*]{0,2}[ \t]", re.M
)
NOUN_GROUPS = (
    *("of_noun", "of_foreign", "of_answer", "of_stated", "of_box"),
    *("of_item", "of_chosen", "of_zh"),
)
ROMANS = ("i", "ii", "iii", "iv", "v", "vi")
STATES = re.compile(r"(?:is|are|was|be):? $|: $")
ENDED = re.compile(_ENDS)
PUNCTUATION = re.compile(r"[*]{0,2}[:.,)]?[*]{0,2}(?: [-\u2013\u2014])?[ ]?[*]{0,2}[\"'\u201c]?")
