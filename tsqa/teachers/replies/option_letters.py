"""Letters in an explanation become the options that they stood for: each vote shows another order.

Guarantees: a letter that can be notation stays (`P(A) = 0.3`, `adenine (A)`, a label of
the question); a text that speaks of options in a way that cannot be resolved is given up as a
whole; work is linear in the text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

from tsqa.teachers.replies.choice import ORDINALS, letter_index
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
_MENTION = re.compile(
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
_LETTER = re.compile(
    rf"[*]{{0,2}}[(\[\u300c]?(?<![{_OTHER}])([A-Za-z\u0623\u0628\u062c\u062f\u0647])"
    rf"(?![{_OTHER}])[)\]\u300d]?[*]{{0,2}}"
)
_UNCLEAR = re.compile(
    r"\b(?:first|last) (?:two|three|four) (?:answer )?(?:options|choices|alternatives)\b",
    re.IGNORECASE,
)
_LIKE_A_WORD = re.compile(r"[*(\[]*(?:[a-z]|I\b)")
_BRACKETED = re.compile(r"(?P<before>[\w\u00b0']{0,30}[ ]?)\((?P<letter>[A-Za-z])\)")
_AS_NOTATION = re.compile(
    r"[$\\_^]{1,2}([A-Z])\b|\b([A-Z])(?:'|\s?[=+<>"
    r"|\u222a\u2229\u00d7\u2227\u2228\u2192\u21d2\u2208\u2264\u2265^_\\])"
    r"|[=+<>|\u222a\u2229\u00d7\u2227\u2228\u2192\u21d2\u00ac]\s?([A-Z])\b|\w\(([A-Z])\b"
    r"|\b([A-Z])\(|\(([A-Z]), ?[A-Z]"
)
_SUBJECT_BEFORE = re.compile(
    r"(?:^|[.!?;:,\n*\"\u201c\u2014-]\s*|\b(?:and|or|but|so|that|while|whereas|both|neither|nor"
    r"|either"
    r"|only|thus|hence|therefore|then|since|because|unlike|though|although|answer|is|are|be)\s+)"
    r"[*]{0,2}$",
    re.IGNORECASE,
)
_SUBJECT_AFTER = re.compile(
    r"[*]{0,2},? (?:is|are|was|were|has|have|does|do|did|can|cannot|could|would|will|may|might|must"
    r"|should|lies|says|states|describes|refers|names|gives|means|isn't|doesn't|and \(|or \()|\."
    r"(?:\s|$)|, and \(|, \("
)
_TALK = re.compile(
    r"\b(?:wrong|incorrect|correct|(?:option|choice)s?(?!\(s\)|(?-i: an? [a-z]))|eliminat\w+"
    r"|distractors?)\b",
    re.I,
)
_LABEL = re.compile(r"(?<![\w\u00b0'.])([A-Z])(?![\w'])")
_INITIAL = re.compile(r"[A-Z]\. [A-Z][a-z]|[A-Z]'")
_ARTICLE = re.compile(r"A (?!and\b|or\b|is\b|only\b)[a-z]")
_LEAD_LINE = re.compile(
    r"^[ \t]{0,8}(?:[-*+\u2022] )?[*]{0,2}[(\[]?([A-Z])[.):\]]\)?[*]{0,2}[ \t]", re.M
)
_NOUN_GROUPS = (
    *("of_noun", "of_foreign", "of_answer", "of_stated", "of_box"),
    *("of_item", "of_chosen", "of_zh"),
)
_ROMANS = ("i", "ii", "iii", "iv", "v", "vi")
_STATES = re.compile(r"(?:is|are|was|be):? $|: $")
_ENDED = re.compile(_ENDS)
_PUNCTUATION = re.compile(r"[*]{0,2}[:.,)]?[*]{0,2}(?: [-\u2013\u2014])?[ ]?[*]{0,2}[\"'\u201c]?")

_Named = tuple[str, int] | None
"""The replacement of a mention, and where it ends; None: it stays."""


class _Unresolved(Exception):
    """The text names options by letters that cannot be resolved."""


def name_options(
    text: str, choices: Sequence[str], question: str = "", is_of_options: bool = False
) -> str:
    """Write options instead of their letters; empty where some cannot be resolved.

    `question` is all that was shown with the options; its own labels are not options.
    `is_of_options` says that the text is about nothing else, as distractors are.
    """
    if _UNCLEAR.search(text):
        return ""
    mentions = _Mentions(text, choices, question, is_of_options)
    parts, spans, done = [], [], 0
    try:
        for match in _MENTION.finditer(text):
            named = mentions.name(match) if match.start() >= done else None
            if named is not None:
                parts += [text[done : match.start()], named[0]]
                done = named[1]
                if not (match["ordinal"] or match["numbers"]):
                    spans.append((match.start(), done))
    except _Unresolved:
        return ""
    if spans and mentions.has_left(spans):
        return ""
    return ("".join(parts) + text[done:]).strip()


class _Mentions:
    """What the whole text says about its letters, for each of its mentions."""

    def __init__(
        self, text: str, choices: Sequence[str], question: str, is_of_options: bool
    ) -> None:
        self._text = text
        self._choices = choices
        self._question = question.casefold()
        self._is_of_options = is_of_options
        self._labels = {
            match[1]
            for shown in (question, *choices)
            for match in _LABEL.finditer(shown)
            if not _ARTICLE.match(shown, match.start())
        }
        self._notation, self._has_foreign_brackets = self._find_notation()
        leads = {match[1] for match in _LEAD_LINE.finditer(text)}
        within = {letter for letter in leads if letter_index(letter) < len(choices)}
        self._is_listed = len(leads) == len(within) >= max(2, len(choices) - 1)
        self._talks = bool(_TALK.search(text)) or is_of_options
        self._subjects = self._find_subjects()

    def name(self, match: re.Match[str]) -> _Named:
        """Write a mention with its options, and where it ends; None where it may be notation."""
        if match["bracketed"]:
            return self._name_bracketed(match)
        if match["leading"]:
            return self._name_leading(match)
        if match["ordinal"]:
            return self._name_ordinal(match)
        if match["numbers"]:
            return self._name_numbered(match)
        if match["of_decision"] or match["of_verdict"] or match["of_both"]:
            return self._name_judged(match)
        return self._name_by_noun(match)

    def has_left(self, spans: Sequence[tuple[int, int]]) -> bool:
        """Whether a sentence or clause outside of the spans begins with an option's letter."""
        starts = [start for start, _ in spans]
        for place in self._subjects:
            before = bisect_right(starts, place) - 1
            if before < 0 or spans[before][1] <= place:
                return True
        return False

    def _find_subjects(self) -> list[int]:
        """Where a sentence or clause begins with an option's letter."""
        return [
            match.start()
            for match in _LABEL.finditer(self._text)
            if letter_index(match[1]) < len(self._choices)
            and match[1] not in self._labels
            and not _ARTICLE.match(self._text, match.start())
            and not _INITIAL.match(self._text, match.start())
            and self._is_subject_at(
                match.start() - self._text.startswith("(", max(0, match.start() - 1))
            )
        ]

    def _find_notation(self) -> tuple[set[str], bool]:
        """(letters that the text uses as signs, whether it brackets letters beyond the options)."""
        found = {next(filter(None, m.groups())) for m in _AS_NOTATION.finditer(self._text)}
        beyond = False
        for match in _BRACKETED.finditer(self._text):
            before, letter = match["before"].casefold(), match["letter"]
            if before[-1:].strip() and letter == "s":
                continue  # word(s)
            beyond |= letter_index(letter) >= len(self._choices)
            if before.strip() and (before[0] == letter.casefold() or before[-1] != " "):
                found.add(letter.upper())
        return found, beyond

    def _name_by_noun(self, match: re.Match[str]) -> _Named:
        group = next(g for g in _NOUN_GROUPS if match[g])
        letters = {letter.upper() for letter in _LETTER.findall(match[group])}
        is_beyond = any(letter_index(letter) >= len(self._choices) for letter in letters)
        if match[0].strip(" *").casefold() in self._question:
            return None
        if group == "of_noun":
            is_word = _LIKE_A_WORD.match(match[group]) and not _ENDED.match(self._text, match.end())
            if is_word:
                return None
            if is_beyond or match["range"]:
                raise _Unresolved
            return self._listed(match, group, "")
        if is_beyond:
            return None
        if group in ("of_chosen", "of_zh", "of_item") and letters & self._labels:
            return None
        if group == "of_box":
            return match["box"] + self._choices[letter_index(match["of_box"])], match.end()
        kept = match["foreign"] or match["chosen"] or match["answer"] or match["stated"] or ""
        is_stated = group == "of_answer" and _STATES.search(kept)
        if group == "of_answer" and not is_stated and letters & self._labels:
            return None
        return self._listed(match, group, kept)

    def _name_judged(self, match: re.Match[str]) -> _Named:
        """`A and C are wrong`, `so B.`: options, unless the letters are labels of something."""
        group = next(g for g in ("of_decision", "of_verdict", "of_both") if match[g])
        letters = set(_LETTER.findall(match[group]))
        if letters & self._labels or any(letter_index(x) >= len(self._choices) for x in letters):
            return None
        if group != "of_decision" and not self._is_subject_at(match.start(group)):
            return None
        is_sure = group == "of_verdict" or self._talks
        if not is_sure and (group == "of_both" or self.has_left([match.span()])):
            return None
        if letters & self._notation or ("(" in match[group] and self._has_foreign_brackets):
            if group == "of_verdict":
                raise _Unresolved
            return None
        return self._listed(match, group, match[0][: match.start(group) - match.start()])

    def _name_numbered(self, match: re.Match[str]) -> _Named:
        roman = match["numbers"].strip("()")
        places = [int(number) - 1 for number in re.findall(r"\d+", match["numbers"])]
        places = places or [_ROMANS.index(roman)]
        if match[0].casefold() in self._question:
            return None
        if not all(0 <= place < len(self._choices) for place in places):
            return None
        if any(str(place + 1) in self._choices for place in places):
            raise _Unresolved
        if len(places) == 1:
            return self._one(match.end(), places[0], "")
        named = re.sub(r"#?(\d+)", lambda m: self._quoted(int(m[1]) - 1), match["numbers"])
        return named, match.end()

    def _name_ordinal(self, match: re.Match[str]) -> _Named:
        place = ORDINALS.get(match["nth"].lower(), len(self._choices) - 1)
        if place >= len(self._choices) or match[0].casefold() in self._question:
            return None
        return self._one(match.end(), place, "")

    def _name_leading(self, match: re.Match[str]) -> _Named:
        """The letter before a line: of an option, or of a list of other things."""
        place = letter_index(match["leading"])
        if place >= len(self._choices):
            return None
        bullet, end = match["bullet"], match.end()
        said = self._end_of_said(end, place)
        if said is not None:
            return bullet, said
        line = self._text[end : end + 300].partition("\n")[0]
        is_option = self._is_of_options or self._is_listed or _TALK.match(line.lstrip("*_ "))
        is_subject = _SUBJECT_AFTER.match(f" {line}")
        if ")" in match[0] and self._talks and is_subject and not self._has_foreign_brackets:
            is_option = True
        if not is_option or match["leading"] in self._labels or line[:1].isdigit():
            return None
        return f"{bullet}{self._choices[place]}{'' if is_subject else ':'} ", end

    def _name_bracketed(self, match: re.Match[str]) -> _Named:
        letter, gap = match["bracketed"], match["gap"]
        place = letter_index(letter)
        if (
            place >= len(self._choices)
            or self._has_foreign_brackets
            or letter.upper() in self._notation | self._labels
            or f"({letter.casefold()})" in self._question
        ):
            return None
        start, end = match.span()
        option = self._choices[place].casefold()
        before = self._text[max(0, start - len(option) - 4) : start].rstrip(" *\"'\u201d")
        if gap and letter.isupper() and before.casefold().endswith(option):
            return "", end
        if not self._is_subject_at(start + len(gap)):
            return None
        said = self._end_of_said(end, place)
        if said is not None:
            return gap, said
        if self._talks and _SUBJECT_AFTER.match(self._text, end):
            return gap + self._quoted(place), end
        return None

    def _is_subject_at(self, start: int) -> bool:
        """Whether a sentence or a clause begins there, or a word that no sign follows."""
        return bool(_SUBJECT_BEFORE.search(self._text, max(0, start - 40), start))

    def _listed(self, match: re.Match[str], group: str, kept: str) -> tuple[str, int]:
        """The letters of a list replaced, behind what is kept of the mention."""
        places = [letter_index(letter) for letter in _LETTER.findall(match[group])]
        if len(places) == 1:
            return self._one(match.end(), places[0], kept)
        named = _LETTER.sub(lambda m: self._quoted(letter_index(m[1])), match[group])
        return kept + named, match.end()

    def _one(self, end: int, place: int, kept: str) -> tuple[str, int]:
        """One option for its mention; only its own words where they follow anyway."""
        said = self._end_of_said(end, place)
        if said is not None:
            return kept, said
        return kept + self._quoted(place), self._end_of_echo(end, place)

    def _end_of_said(self, end: int, place: int) -> int | None:
        """Where the option's own words begin, if they follow."""
        option = self._choices[place]
        begin = _PUNCTUATION.match(self._text, end)
        start = begin.end() if begin else end
        following = self._text[start : start + len(option)]
        return start if following.casefold() == option.casefold() else None

    def _end_of_echo(self, end: int, place: int) -> int:
        """Behind the option's words in brackets, if they follow; else where the mention ends."""
        echo = f" ({self._choices[place]})"
        following = self._text[end : end + len(echo)]
        return end + len(echo) if following.casefold() == echo.casefold() else end

    def _quoted(self, place: int) -> str:
        return f'"{self._choices[place]}"'
