"""Options that name other options: `all of the above`, `Both A and B`, `以上都是`.

Each vote, and every item of the dataset, shows options in an order and without the letters of the
teacher's, so that such an option would name others than it meant.

Guarantees: labels of the question's own statements (`I and II only`) are no options; nor are
`Both are soft`, `tower above the ground`, or letters that options hold as content (`vitamin A`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_QUANTITY = (
    r"(?:all|none|any|both|neither|either|each|every|every one|no|some|most|two|three|one|only one"
    r"|exactly one"
    r"|more than one|at least (?:one|two)|a combination|combination)"
)
_ENDS = (
    r"(?=$|,| (?:is|are|apply|applies|except|but|and|or|would|could|can|may|were|was|have|has)\b)"
)
_OPTION_NOUN = r"(?:options?|choices?|answers?|alternatives?)"
_OTHERS = (
    rf"(?:(?:(?:above|below|preceding|previous|foregoing|following|other|given|listed|mentioned"
    rf"|aforementioned|first|last)(?: \w+)? )?{_OPTION_NOUN}(?: (?:above|below|given|listed"
    r"|mentioned))?"
    rf"{_ENDS}|(?:above|below|preceding|previous|following) (?:statements?|ones)\b"
    r"|(?:above|below|preceding|previous|foregoing|following|aforementioned|others|mentioned"
    r"|listed)"
    rf"{_ENDS})"
)
_ENGLISH = re.compile(
    rf"(?:(?:it is |they are )?(?:not )?{_QUANTITY}(?: two| three| four)?(?: of)?(?: the| these"
    r"| those)?"
    rf" {_OTHERS}"
    rf"|(?:all|none|any|both|neither|either|two|some) of (?:these|those){_ENDS}"
    rf"|(?:the|any) (?:above|previous|preceding){_ENDS}"
    rf"|(?:the )?(?:first|last|other|previous|above) (?:two |three |four )?{_OPTION_NOUN}\b"
    r"|(?:none|nothing|all|everything) (?:above|listed|mentioned)$"
    r"|(?:all|none) (?:are|is) (?:correct|right|true|false|wrong|incorrect)$"
    r"|(?:the )?(?:first|last|other|previous) (?:two|three|four)$|(?:the )?(?:two|three) above$"
    r"|none (?:apply|applies|fits?)$|all (?:apply|fit)$|[na]ota$"
    r"|(?:same as|see) (?:above|the (?:above|previous|first|last)|option|choice)\b"
    r"|all the mentioned\b)"
)
_OTHER_LANGUAGES = re.compile(
    # German, Dutch, Swedish
    r"(?:alle|keine|keiner|keines|beide)\b.{0,12}\b(?:oben|oberen|obigen|genannten|vorherigen"
    r"|vorstehenden|aufgef\u00fchrten|antworten|antwortm\u00f6glichkeiten)|(?:alles|nichts) davon$"
    r"|(?:alle|geen)\b.{0,8}\bbovenstaande|(?:alla|inget|ingen|inga)\b.{0,4}\bovanst\u00e5ende"
    # Spanish, Portuguese, Italian, French
    r"|(?:tod[ao]s|ningun[ao]|ambas|ambos)\b.{0,12}\b(?:anteriores|opciones|respuestas"
    r"|alternativas)"
    r"|todas son (?:correctas|verdaderas)"
    r"|(?:tod[ao]s|nenhuma?|ambas)\b.{0,18}\b(?:anteriores|acima|alternativas|respostas"
    r"|op\u00e7\u00f5es)"
    r"|(?:tutt[ei]|nessun[ao]|entramb[ei])\b.{0,14}\b(?:precedenti|risposte|opzioni)"
    r"|(?:toutes|aucune|les deux)\b.{0,12}\b(?:r\u00e9ponses|propositions|options|ci-dessus"
    r"|pr\u00e9c\u00e9dentes)"
    r"|(?:tout|rien|aucun)\b.{0,14}\b(?:pr\u00e9c\u00e8de|ci-dessus|pr\u00e9c\u00e9dents)"
    # Polish, Russian, Ukrainian
    r"|(?:wszystkie|\u017cadn[ea]|oba)\b.{0,4}\b(?:powy\u017csz|odpowied)"
    r"|(?:\u0432\u0441\u0435|\u0432\u0441\u0451|\u043d\u0438 \u043e\u0434\u0438\u043d"
    r"|\u043d\u0438 \u043e\u0434\u043d\u043e|\u043d\u0438\u0447\u0435\u0433\u043e)\b.{0,6}"
    r"\b(?:\u0432\u044b\u0448\u0435|\u043f\u0435\u0440\u0435\u0447\u0438\u0441\u043b\u0435\u043d"
    r"|\u043e\u0442\u0432\u0435\u0442|\u0432\u0430\u0440\u0438\u0430\u043d\u0442"
    r"|\u0443\u043a\u0430\u0437\u0430\u043d)"
    r"|(?:\u0443\u0441\u0456|\u0432\u0441\u0456"
    r"|\u0436\u043e\u0434\u043d)\S*.{0,6}(?:\u0432\u0438\u0449\u0435"
    r"|\u043f\u0435\u0440\u0435\u043b\u0456\u0447\u0435\u043d"
    r"|\u0432\u0456\u0434\u043f\u043e\u0432\u0456\u0434)"
    # Turkish, Vietnamese, Indonesian
    r"|yukar\u0131dakiler|hepsi$|hi\u00e7biri$|t\u1ea5t c\u1ea3.{0,24}(?:tr\u00ean"
    r"|\u0111\u1ec1u \u0111\u00fang)"
    r"|kh\u00f4ng.{0,12}(?:\u0111\u00e1p \u00e1n|ph\u01b0\u01a1ng \u00e1n) n\u00e0o"
    r"|(?:semua|tidak ada).{0,16}(?:di atas|jawaban|pilihan|yang benar)"
    # Arabic, Hindi
    r"|(?:\u062c\u0645\u064a\u0639|\u0643\u0644) (?:\u0645\u0627"
    r"|\u0627\u0644)\s?(?:\u0633\u0628\u0642|\u0630\u0643\u0631|\u062a\u0642\u062f\u0645"
    r"|\u0625\u062c\u0627\u0628\u0627\u062a|\u062e\u064a\u0627\u0631\u0627\u062a)"
    r"|\u0644\u0627 \u0634\u064a\u0621 \u0645\u0645\u0627"
    r"|\u0644\u064a\u0633 \u0623\u064a\S* \u0645\u0645\u0627"
    r"|\u0909\u092a\u0930\u094b\u0915\u094d\u0924"
    r"|\u0909\u092a\u0930\u094d\u092f\u0941\u0915\u094d\u0924"
    r"|\u0907\u0928\u092e\u0947\u0902 \u0938\u0947 (?:\u0915\u094b\u0908|\u0938\u092d\u0940)"
    # Chinese, Japanese, Korean
    r"|[\u4ee5\u4e0a]\u4e0a?(?:\u9009\u9879|\u9078\u9805|\u7b54\u6848)?(?:\u90fd|\u7686|\u5747"
    r"|\u5168)|\u4e0a\u8ff0(?:\u90fd|\u7686|\u5747|\u5168|\u9009\u9879)"
    r"|\u4ee5\u4e0a.{0,4}(?:\u662f|\u5bf9|\u5c0d|\u975e|\u6b63\u786e|\u4efb\u4f55)"
    r"|\u90fd(?:\u4e0d\u662f|\u4e0d\u5bf9|\u662f|\u5bf9)$|\u7686(?:\u662f|\u975e)$"
    r"|\u5168\u90e8(?:\u90fd|\u6b63\u786e)"
    r"|(?:\u4e0a\u8a18|\u4ee5\u4e0a|\u4e0a)(?:\u306e)?(?:\u3059\u3079\u3066|\u5168\u3066"
    r"|\u3044\u305a\u308c|\u3069\u308c|\u4e21\u65b9)|\u3044\u305a\u308c\u3067\u3082\u306a\u3044"
    r"|\u3069\u308c\u3067\u3082\u306a\u3044"
    r"|\uc704(?:\uc758|\uc5d0).{0,6}(?:\ubaa8\ub450|\ubaa8\ub4e0|\uc5b4\ub290|\uac83)"
    r"|(?:\uc704 )?\ubaa8\ub450 (?:\uc815\ub2f5|\ud574\ub2f9|\ub9de|\uc62c)"
    r"|\ud574\ub2f9 ?\uc5c6\uc74c"
)
_NOUN = r"(?:(?:the )?(?:answers?|options?|choices?|alternatives?|antwort(?:en)?|opci\S{2,4}) )"
_BETWEEN = (
    r"(?: ?, ?(?:and |or |but not )?"
    r"| ?(?:&|/|\u548c|\u4e0e|\u3068|\u304a\u3088\u3073|\u6216|\u3001|\ubc0f"
    r"|\uc640|\uacfc) ?"
    r"| (?:and|or|nor|but not|und|oder|y|o|e|et|ou|en|of|i|\u0438|\u0438\u043b\u0438|ve|v\u00e0|dan"
    r"|\u0648|\ubc0f"
    r"|as well as|als auch|como|noch|ni) )"
)
_ITEM = r"(?:[(\[]?(?:[A-Za-z]|[IViv]{1,3}|\d)[)\]]?)"
_BEFORE = (
    r"(?:both|neither|either|only|just|not|same as|like|all(?: of the above)?(?: but| except)"
    r"|none(?: but| except)"
    r"|everything (?:but|except)|any(?:thing)? (?:but|except)|sowohl|weder|nur|beide|solo|s\u00f3lo"
    r"|solamente|ambas|tanto|apenas|seulement|les deux|ni|\u043e\u0431\u0430"
    r"|\u0442\u043e\u043b\u044c\u043a\u043e|\u0438"
    r"|todas (?:menos|excepto)|todas las anteriores excepto|alle au\u00dfer|tutte tranne"
    r"|toutes sauf)"
)
_LETTERED = re.compile(
    rf"(?:{_BEFORE} )?{_NOUN}?(?P<list>{_ITEM}(?:{_BETWEEN}{_NOUN}?{_ITEM}){{1,8}})"
    r"(?:,? (?:only|alone|both|together|but not [A-Z]|are (?:correct|right|true|wrong|false)"
    r"|nur|solamente|\u90fd\u5bf9))?|"
    rf"(?:{_BEFORE} )(?P<noun>{_NOUN})?(?P<single>{_ITEM})|(?P<alone>{_NOUN})(?P<named>{_ITEM})"
    r"|(?P<first>[A-Za-z]|[IV]{1,3}|\d) (?:only|alone)"
    r"|(?:\u53ea\u6709|\u4ec5|\u9009\u9879"
    r"|\u9078\u9805)(?P<zh>[A-Z](?:[\u548c\u4e0e\u3001]?[A-Z])*)"
    r"|(?P<zh_list>[A-Z](?:[\u548c\u4e0e\u3001\u53ca][A-Z])+)(?:\u90fd\S{0,3}|\u7686\S{0,2})?",
    re.IGNORECASE,
)
_GROUPS = ("list", "single", "named", "first", "zh", "zh_list")
_SIGN = re.compile(r"(?<![A-Za-z])(?:[A-Za-z]|[IViv]{1,3})(?![A-Za-z])|\d")
_BOTH_ALONE = {"both", "neither", "either", "both of them", "neither of them"}
_COUNTS = {"all", "none", "some", "most", "many", "few", "half", "one", "two", "three", "several"}
_MAX_CHARACTERS = 120
"""What is longer is a sentence, which names others by more than a list of letters."""


def names_others(choices: Sequence[str], question: str = "") -> bool:
    """Whether an option refers to others by position or letter; `question` is shown with them."""
    bare = [_bare(choice) for choice in choices]
    return any(
        _points(option) or _is_vague(option, bare) or _lists_letters(option, place, bare, question)
        for place, option in enumerate(bare)
    )


def _bare(option: str) -> str:
    return " ".join(option.split()).strip(" .\u3002!*\"'")[:_MAX_CHARACTERS]


def _points(option: str) -> bool:
    said = option.casefold()
    return bool(_ENGLISH.match(said) or _OTHER_LANGUAGES.match(said))


def _is_vague(option: str, options: Sequence[str]) -> bool:
    """`both` where there are not exactly two others to mean, `all` where no counts are asked."""
    said = option.casefold()
    others = [other for other in map(str.casefold, options) if other not in _BOTH_ALONE]
    if any(map(_LETTERED.fullmatch, options)):
        return False  # it means the same statements as `I and II`
    if said in _BOTH_ALONE:
        return len(others) != 2
    return said == "all" and not any(other in _COUNTS - {"all"} for other in others)


def _lists_letters(option: str, place: int, options: Sequence[str], question: str) -> bool:
    """Whether an option is a list of other options' letters or numbers."""
    match = _LETTERED.fullmatch(option)
    contents = [text for text in options if not _LETTERED.fullmatch(text)]
    if not match or not contents:
        return False
    written = next(match[group] for group in _GROUPS if match[group])
    marks = _SIGN.findall(written)
    # `A y B`, `A e B`: the word between is one letter too.
    named = [mark for mark in marks if mark not in ("e", "i", "o", "u", "y")] or marks
    if named == ["I"] and match["single"]:
        return False
    if not all(_place_of(mark) < len(options) for mark in named):
        return False
    shown = [question] if match["alone"] or match["noun"] else [question, *contents]
    return not any(_is_label(mark, text) for mark in named for text in shown)


def _place_of(mark: str) -> int:
    if mark.isdecimal():
        return int(mark) - 1
    romans = ("I", "II", "III", "IV", "V", "VI")
    if len(mark) > 1 or mark in "IV":
        return romans.index(mark.upper()) if mark.upper() in romans else 99
    return ord(mark.upper()) - ord("A")


def _is_label(mark: str, text: str) -> bool:
    """Whether a text has the mark as a whole word: `A` as the article does not count."""
    article = r"(?! (?!and\b|or\b|is\b|only\b)[a-z])" if mark in "Aa" else ""
    return bool(re.search(rf"(?<![\w\u00b0'.]){mark}(?![\w'])(?!\.\d){article}", text))
