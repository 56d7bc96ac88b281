"""Swaps who appears in an English text: he and she, professions, countries.

Guarantees: the same word always becomes the same other word, so that the parts of an item stay
consistent; case, plurals and the article before a word follow it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from tsqa.plain_yaml import read_yaml
from tsqa.quality.bias import group_lists
from tsqa.recipe import SwapKind

_HER, _HIS = "her", "his"
_FUNCTION_WORDS = (
    "a an the to in on at for from with by of off out up down over about into onto through after "
    "before under during against between without within toward towards and or but nor so yet if "
    "when while because as than that who whom whose which what how why where whether is was are "
    "were be been will would can could should may might must do does did has have had not again "
    "back away home now then there here too also alone later today yesterday tomorrow every each "
    "some any this these those it he she they we you i"
)
"""After "her" they say that it is an object, and after "his" that its noun is left out."""
_NEXT = re.compile(r"[ \n]([A-Za-z]+)")
_ARTICLE = r"(?:(?<!\w)(?P<article>an?)(?P<gap>\s))?"


_SIDES: dict[SwapKind, tuple[str, str]] = {
    "pronouns": ("he", "she"),
    "professions": ("mostly men's", "mostly women's"),
}


@dataclass(frozen=True)
class SwapList:
    """Words that are swapped for each other, by kind in `swaps.yaml`."""

    ignore_case: bool
    pairs: list[tuple[str, str]]
    """Nouns and adjectives, with their plurals."""
    exact: list[tuple[str, str]] = field(default_factory=list)

    @property
    def words(self) -> dict[str, str]:
        plurals = [(f"{left}s", f"{right}s") for left, right in self.pairs]
        return dict(_both_ways([*self.exact, *self.pairs, *plurals]))


class Swapper:
    """Swaps the words of one kind, both ways at once."""

    def __init__(self, kind: SwapKind) -> None:
        listed = swap_lists()[kind]
        self._names = _names() if kind == "pronouns" else {}
        self._words = listed.words
        self._ignores_case = listed.ignore_case
        self.sides = _SIDES.get(kind)
        self._side_of = _sides(kind, [*self._words.items(), *self._names.items()])
        words = [*self._words, *((_HER, _HIS, "him", "hers") if kind == "pronouns" else ())]
        self._word = _pattern(words, re.IGNORECASE if listed.ignore_case else 0)
        self._name = _pattern([*self._names], 0) if self._names else None

    def swap(self, text: str) -> str:
        """The text with others in it; the same text where nobody of this kind appears."""
        swapped = self._word.sub(self._other, text)
        return self._name.sub(self._other_name, swapped) if self._name else swapped

    def side(self, text: str) -> str:
        """Who appears, where these are of one side; else nothing."""
        words = [match["word"] for match in self._word.finditer(text)]
        words = [word.lower() for word in words] if self._ignores_case else words
        if self._name:
            words += [match["word"] for match in self._name.finditer(text)]
        found = {self._side_of.get(word, "") for word in words}
        return found.pop() if len(found) == 1 else ""

    def _other_name(self, match: re.Match[str]) -> str:
        return _with_article(match, self._names[match["word"]])

    def _other(self, match: re.Match[str]) -> str:
        word = match["word"]
        low = word.lower() if self._ignores_case else word
        if low in self._words:
            other = self._words[low]
        else:
            other = _possessive(low, match.string[match.end() :])
        return _with_article(match, _in_case(other, word) if self._ignores_case else other)


@cache
def swapper(kind: SwapKind) -> Swapper:
    return Swapper(kind)


@cache
def swap_lists() -> dict[str, SwapList]:
    values = read_yaml(Path(__file__).with_name("swaps.yaml")).values
    return TypeAdapter(dict[str, SwapList]).validate_python(values)


def _names() -> dict[str, str]:
    men, women = group_lists()["first names"].groups.values()
    return dict(_both_ways([*zip(men, women, strict=True)]))


def _sides(kind: SwapKind, both_ways: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Word -> whose it is; each pair stands before its reverse."""
    if kind not in _SIDES:
        return {}
    one, other = _SIDES[kind]
    found: dict[str, str] = {}
    for left, right in both_ways:
        if right not in found:
            found |= {left: one, right: other}
    if kind == "pronouns":
        found |= {"him": one, _HIS: one, _HER: other, "hers": other}
    return found


def _both_ways(pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for left, right in pairs:
        yield left, right
        yield right, left


def _possessive(word: str, after: str) -> str:
    """Of "him", "hers", and of "her" and "his" by what follows."""
    if word in ("him", "hers"):
        return {"him": _HER, "hers": _HIS}[word]
    following = _NEXT.match(after)
    has_noun = following is not None and following[1].lower() not in _FUNCTION_WORDS.split()
    if word == _HER:
        return _HIS if has_noun else "him"
    return _HER if has_noun else "hers"


def _pattern(words: Sequence[str], flags: int) -> re.Pattern[str]:
    listed = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"{_ARTICLE}(?<!\w)(?<!New )(?P<word>{listed})(?!\w)", flags)


def _with_article(match: re.Match[str], word: str) -> str:
    article = match["article"]
    if article is None:
        return word
    wanted = "an" if word[0].lower() in "aeiou" else "a"
    return f"{_in_case(wanted, article)}{match['gap']}{word}"


def _in_case(word: str, like: str) -> str:
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word[0].upper() + word[1:] if like[0].isupper() else word
