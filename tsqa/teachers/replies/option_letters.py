"""Letters in an explanation become the options that they stood for: each vote shows another order.

Guarantees: a letter that can be notation stays as it is (`P(A) = 0.3`, `adenine (A)`, a label of
the question); a text that speaks of options in a way that cannot be resolved is given up as a
whole; work is linear in the text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

from tsqa.teachers.replies.choice import ORDINALS, letter_index
from tsqa.teachers.replies.option_mentions import (
    ARTICLE,
    AS_NOTATION,
    BRACKETED,
    ENDED,
    INITIAL,
    LABEL,
    LEAD_LINE,
    LETTER,
    LIKE_A_WORD,
    MENTION,
    NOUN_GROUPS,
    PUNCTUATION,
    ROMANS,
    STATES,
    SUBJECT_AFTER,
    SUBJECT_BEFORE,
    TALK,
    UNCLEAR,
)

_Named = tuple[str, int] | None
"""The replacement of a mention, and where it ends; None: it stays."""


class _Unresolved(Exception):
    """The text names options by letters that cannot be resolved."""


def name_options(
    text: str, choices: Sequence[str], question: str = "", is_of_options: bool = False
) -> str:
    """Write options instead of their letters; empty where some cannot be resolved.

    `question` is all that was shown beside the options; its labels are no options.
    `is_of_options` says that the text is about nothing else, as distractors are.
    """
    if UNCLEAR.search(text):
        return ""
    mentions = _Mentions(text, choices, question, is_of_options)
    parts, spans, done = [], [], 0
    try:
        for match in MENTION.finditer(text):
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
            for match in LABEL.finditer(shown)
            if not ARTICLE.match(shown, match.start())
        }
        self._notation, self._has_foreign_brackets = self._find_notation()
        leads = {match[1] for match in LEAD_LINE.finditer(text)}
        within = {letter for letter in leads if letter_index(letter) < len(choices)}
        self._is_listed = len(leads) == len(within) >= max(2, len(choices) - 1)
        self._talks = bool(TALK.search(text)) or is_of_options
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
            for match in LABEL.finditer(self._text)
            if letter_index(match[1]) < len(self._choices)
            and match[1] not in self._labels
            and not ARTICLE.match(self._text, match.start())
            and not INITIAL.match(self._text, match.start())
            and self._is_subject_at(
                match.start() - self._text.startswith("(", max(0, match.start() - 1))
            )
        ]

    def _find_notation(self) -> tuple[set[str], bool]:
        """(letters that the text uses as signs, whether it brackets letters beyond the options)."""
        found = {next(filter(None, m.groups())) for m in AS_NOTATION.finditer(self._text)}
        beyond = False
        for match in BRACKETED.finditer(self._text):
            before, letter = match["before"].casefold(), match["letter"]
            if before[-1:].strip() and letter == "s":
                continue  # word(s)
            beyond |= letter_index(letter) >= len(self._choices)
            if before.strip() and (before[0] == letter.casefold() or before[-1] != " "):
                found.add(letter.upper())
        return found, beyond

    def _name_by_noun(self, match: re.Match[str]) -> _Named:
        group = next(g for g in NOUN_GROUPS if match[g])
        letters = {letter.upper() for letter in LETTER.findall(match[group])}
        is_beyond = any(letter_index(letter) >= len(self._choices) for letter in letters)
        if match[0].strip(" *").casefold() in self._question:
            return None
        if group == "of_noun":
            is_word = LIKE_A_WORD.match(match[group]) and not ENDED.match(self._text, match.end())
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
        is_stated = group == "of_answer" and STATES.search(kept)
        if group == "of_answer" and not is_stated and letters & self._labels:
            return None
        return self._listed(match, group, kept)

    def _name_judged(self, match: re.Match[str]) -> _Named:
        """`A and C are wrong`, `so B.`: options, unless the letters are labels of something."""
        group = next(g for g in ("of_decision", "of_verdict", "of_both") if match[g])
        letters = set(LETTER.findall(match[group]))
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
        places = places or [ROMANS.index(roman)]
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
        is_option = self._is_of_options or self._is_listed or TALK.match(line.lstrip("*_ "))
        is_subject = SUBJECT_AFTER.match(f" {line}")
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
        if self._talks and SUBJECT_AFTER.match(self._text, end):
            return gap + self._quoted(place), end
        return None

    def _is_subject_at(self, start: int) -> bool:
        """Whether a sentence or a clause begins there, or a word that no sign follows."""
        return bool(SUBJECT_BEFORE.search(self._text, max(0, start - 40), start))

    def _listed(self, match: re.Match[str], group: str, kept: str) -> tuple[str, int]:
        """The letters of a list replaced, behind what is kept of the mention."""
        places = [letter_index(letter) for letter in LETTER.findall(match[group])]
        if len(places) == 1:
            return self._one(match.end(), places[0], kept)
        named = LETTER.sub(lambda m: self._quoted(letter_index(m[1])), match[group])
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
        begin = PUNCTUATION.match(self._text, end)
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
