"""Which option an answer names: by its letter, by its words, or by both where they agree.

Guarantees: an answer in doubt names no option and says why: two options, a letter that an option's
text holds too, an option that is called wrong; for any order of the options the same words name
the same option.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tsqa.teachers.replies.judgement_reply import read_verdict
from tsqa.text.normalise import normalise
from tsqa.text.quantities import read_quantity

_DIFFERENT = "letter and words name different options"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ORDINALS = {
    name: place
    for place, name in enumerate(("first", "second", "third", "fourth", "fifth", "sixth"))
}
_OTHER_LETTERS = {
    **{chr(0xFF21 + place): letter for place, letter in enumerate(LETTERS)},
    **{chr(0xFF41 + place): letter for place, letter in enumerate(LETTERS)},
    **dict(zip("\u0623\u0628\u062c\u062f\u0647", LETTERS, strict=False)),
}
"""Full-width and Arabic; Cyrillic letters look like others of the alphabet, and are not read."""

_VERDICTS = {"yes": True, "true": True, "no": False, "false": False}

_L = "[A-Za-z" + "".join(_OTHER_LETTERS) + "]"
_NOUN = (
    r"(?:the )?(?:(?:correct|right|best) )?(?:(?:answer )?(?:option|choice|alternative)|answer"
    r"|letter"
    r"|opci\u00f3n|respuesta|r\u00e9ponse|antwort|op\u00e7\u00e3o|alternativa|resposta|opzione"
    r"|risposta"
    r"|\u0432\u0430\u0440\u0438\u0430\u043d\u0442|\u9009\u9879|\u9078\u9805"
    r"|\u9078\u629e\u80a2)[: ]{0,2}"
)
_LEAD_IN = re.compile(
    r"(?:(?:yes|no)[,.:] )?(?:(?:so|thus|therefore|hence|then|clearly|finally|probably"
    r"|(?:most )?likely"
    r"|i(?:'m| am) (?:not (?:entirely |completely )?sure|unsure),? but"
    r"|i think|i believe)\b,? ?){0,3}"
    r"(?:(?:(?:it|this|that|my answer)(?: therefore)?(?:'s| is| be| would be| must be| has to be)"
    r"|(?:i(?:'d| would| will|'ll|(?:'m| am)(?: going to)?)? |we (?:should )?|let's )?"
    r"(?:choose|pick|select|guess|go with|choosing|going with)|i(?:'d| would) say)(?: |: ?)){0,2}",
    re.IGNORECASE,
)
_LETTER = re.compile(
    rf"(?:(?:la|le|die|der|el|il|a|o"
    rf"|letra|a letra|la letra) )?(?:{_NOUN})?[(\[\uff08\u3010\u300c\u300e]?(?P<letter>{_L})"
    r"(?:[)\]\uff09\u3011\u300d\u300f][.:]?|[.:,;](?=\s|$)|[\u3002\uff0c\u3001\uff1a\uff0e]"
    r"|(?= [-\u2013\u2014=:] | \()|!(?=\s|$)"
    r"|(?= (?:is|was|because|since|as|due|seems|must|would|by|rather than)\b)"
    r"|(?=\u662f|\u6b63\u786e|\u6b63\u78ba|\u56e0|\u5bf9|\u9519|\u4e0d)"
    r"|(?:\u9009\u9879|\u9078\u9805|\u9879|\u9805|\ubc88)|$)(?P<rest>.*)",
    re.DOTALL | re.IGNORECASE,
)
_BEFORE = re.compile(r"\(?(?P<number>\d{1,2})[.)] +(?P<option>\S.*)", re.DOTALL)
_NUMBERED = re.compile(
    r"(?:the )?(?:answer )?(?:option|choice|alternative)(?: number)? #?(?P<number>\d{1,2})\b"
    r"(?P<rest>.*)",
    re.DOTALL | re.IGNORECASE,
)
_ORDINAL = re.compile(
    r"the (?P<nth>first|second|third|fourth|fifth|last)"
    r"(?: (?:answer )?(?:option|choice|alternative|one)\b|(?=[.]?$))(?P<rest>.*)",
    re.DOTALL | re.IGNORECASE,
)
_JOINS = (
    r"(?:\s?(?:and/or|&|/|\+|\u6216|\u548c|\u3068|\u307e\u305f\u306f|\u3001)\s?"
    r"|\s(?:and|or|nor|oder|und|ou|et|o|y|e)\s)"
)
_AND_OR = (
    r"(?:and/or|and|or|nor|&|/|\+|oder|und|ou|et|o|y|e"
    r"|\u6216|\u548c|\u3068|\u307e\u305f\u306f|\u3001)"
)
_SECOND = re.compile(
    rf"\W{{0,3}}{_AND_OR}\s*(?:{_NOUN})?[(\[]?{_L}(?:[)\].,:;\s]|$)"
    rf"|\s*,?\s*[(\[]?{_L}(?:[)\].,\uff0c\u3001]|$"
    rf"|\s+{_AND_OR}\s(?!\s*[(\[]?{_L}[)\]]?\s+(?:are|were|do|would|can|cannot|both|fail|have)\b)"
    rf"|[\u548c\u6216\u3068\u4e0e\u53ca](?!{_L}[\u90fd\u5747\u4e0d\u9519]))",
    re.IGNORECASE,
)
_PAIR = re.compile(
    rf"(?:either "
    rf"|both )?(?:{_NOUN})?[(\[]?{_L}[)\]]?{_JOINS}(?:{_NOUN})?[(\[]?{_L}(?![^\W_])",
    re.IGNORECASE,
)
_WAVERS = re.compile(
    r"\b(?:wait|actually|or (?:maybe|perhaps|possibly|even)|(?:could|might|may) (?:also )?be"
    r"|(?:is|are|would be|seems) (?:also|equally|just as|arguably)"
    r" (?:possible|correct|right|defensible|acceptable|plausible|valid|good|likely)"
    r"|(?:possible|correct|right|defensible|acceptable|plausible|valid),? (?:as well|too)\b"
    r"|alternatively|no, "
    r"|(?:maybe|perhaps|possibly|otherwise)\W{1,3}(?:option |choice )?(?-i:[B-HJ]|[AI](?! [a-z]))\b"
    r"|(?:however|but|though),? (?:some|others|many)\b)"
    r"|^(?:(?!because|since|as\b)[^,;\n]){0,30}\bor\b"
    r"|^(?!\W{0,3}(?-i:[A-Z]\w* [a-z]))"
    r"(?:(?!\b(?:because|since|as|for|due|given)\b|[.;:!] \w|[\u2013\u2014])[^\n])*?"
    r"\b(?:maybe|perhaps|possibly|unless|otherwise|only (?:if|when|for)|depend(?:s|ing))\b",
    re.IGNORECASE,
)
"""Behind a letter; conditions and doubts before any reason, which may tell of some itself."""
_DENIED = re.compile(
    r"(?:(?:definitely |certainly |surely )?not\b|neither\b|never\b|nicht\b|ne pas\b|no es\b"
    r"|anything but\b|all but\b|\u4e0d\u662f)",
    re.IGNORECASE,
)
_ONLY = (
    r"(?!(?:only|just|merely|simply|solely|nur|blo\u00df|allein|seulement|uniquement|s[o\u00f3]lo"
    r"|solamente|[u\u00fa]nicamente)\b)"
)
_NOT_BUT = re.compile(
    rf"(?:not {_ONLY}(?:{_NOUN})?[^,;.]{{1,80}}?"
    r"(?:,? but (?:rather |instead )?|[,;.] it(?:'s| is) )"
    rf"|nicht {_ONLY}(?:{_NOUN})?[^,;.]{{1,80}}?, sondern (?:vielmehr )?"
    rf"|(?:n'est )?pas {_ONLY}(?:{_NOUN})?(?:la |le )?"
    rf"[^,;.]{{1,80}}?,? mais (?:plut\u00f4t )?|no (?:es )?{_ONLY}(?:{_NOUN})?(?:la "
    rf"|el )?[^,;.]{{1,80}}?,? sino )"
    r"(?P<rest>.+)",
    re.DOTALL | re.IGNORECASE,
)
"""`Not only A but B` names both."""
_CALLED_WRONG = re.compile(
    r"\W{0,3}(?:(?:is|are|was|were|would be|seems|must be|ist|es|est)\b.{0,14}?"
    r"\b(?:not|wrong|incorrect|false|invalid|falsch|incorrecta|faux|fausse)\b"
    r"|(?:isn't|cannot|can't|(?:wrong|incorrect)(?! (?:answers?|options?|choices?)\b)"
    r"|not (?:correct|right)|false"
    r"|no(?! (?:doubt|question|matter)\b))\b|[\u274c\u2717\u2718]|\u9519|\u932f|\u4e0d)",
    re.IGNORECASE,
)
_CALLED_RIGHT = re.compile(
    r"(?<![\w'])[(\[]?(?P<letter>[A-Z])[)\]]?[*]{0,2}(?:"
    r"(?: is| must be| would be| seems| ist| es| est)(?: therefore| thus| clearly| the| only"
    r"| best| la| die)*"
    r" (?:correct|right|answer|best|choice|richtig|korrekt|correct[ao]|correcte"
    r"|bonne r\u00e9ponse)\b"
    r"|(?:\u9009\u9879|\u9879)?\u662f?(?:\u6b63\u786e|\u6b63\u89e3|\u5bf9\u7684)"
    r"|\u304c(?:\u6b63\u3057\u3044|\u6b63\u89e3)|\uac00 ?(?:\uc815\ub2f5|\ub9de))",
)
_SO = re.compile(
    r"(?:(?:\A|[.,;:!?)\u2026\u2013\u2014-] |\band )(?:[Ss]o|[Tt]hus|[Tt]herefore|[Hh]ence|leaving)"
    r"|\b(?:[Tt]his|[Tt]hat|which) leaves)[,:]? (?:only )?"
    r"(?:(?:option|choice|answer) )?[*(]{0,3}(?P<letter>[A-Z])[*).!]{0,4}\Z"
)
_SUPPOSED = re.compile(
    r"\b(?:if|either|would|might|people|many|students?"
    r"|not (?:\w+ )?(?:sure|certain)|unsure|no idea|(?:don't|do not) know|guess\w*)\b(?!.*\bbut\b)",
    re.DOTALL | re.IGNORECASE,
)
"""Before `so B`: that it holds only in a case, that others say so, or that it is a guess."""
_DESCRIBES = re.compile(
    r"\s?,?(?: (?:is|are|was|were|ist|sind|es|est)\b|\u662f)"
    r"(?! (?:(?:therefore|thus|clearly|definitely|indeed|then|the|my|la|le|die|der|only|single|most"
    r"|likely|best|correct|right|final|accurate|appropriate|suitable|complete|precise|logical"
    r"|plausible|reasonable) ){0,4}"
    r"(?:correct|right|true|answer|best|choice|option|one|it|accurate|appropriate|suitable|richtig"
    r"|korrekt|correct[ao]|correcte|bonne)\b)"
    r"(?!\u6b63|\u5bf9|\u5c0d|\u7b54)",
    re.IGNORECASE,
)
"""`A is iron`, `B is tempting`: what an option is, where `B is correct` chooses it."""
_WORD_GOES_ON = re.compile(r"[\w%+*#]|[-.,/:^]\w|\s?[-+*/\u00d7\u00f7^=<>\u2264\u2265]\s?[-(]?\d")
_GOES_ON_AS_SUBJECT = re.compile(r" (?!(?:because|since|as|for|due|given|not|rather|instead)\b)\w")
_SIGNS = re.compile(r"\d|[+*/=<>^%$#]|(?<!\w)-")
_LETTER_BEHIND = re.compile(r"\W{0,2}[(\[](?:(?:option|choice|answer) )?([A-Z])[)\]]", re.I)
_OF_ALL = re.compile(
    r"\W{0,4}(?:(?:none|neither)\b(?: [^\s.]+){0,4}|(?:all|both) of\b(?: [^\s.]+){0,2})\W*",
    re.IGNORECASE,
)
_REMARK = re.compile(r" \((?P<inner>[^()\n]*)\)(?P<after>.*)", re.DOTALL)
_IN_DOUBT = re.compile(
    r"\b(?:not|no|never|eliminated|excluded|ruled out|rejected|discarded|wrong|incorrect|false"
    r"|worst|poor|bad|unlikely|maybe|perhaps|possibly)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
"""Of a remark behind a letter, which may say that it is no answer."""
_OTHERS = r"(?:all )?(?:the )?(?:others?|rest|remaining)\b"
_OTHERS_ARE_WRONG = re.compile(rf"{_OTHERS}(?!.*\b(?:right|correct|true|better)\b)", re.IGNORECASE)
_REASONS = re.compile(
    rf"\W{{0,3}}(?:because|since|as|for|due|given|not|rather than)\b|\W{{1,4}}{_OTHERS}",
    re.IGNORECASE,
)
_NEXT_LABEL = re.compile(r"[,;.:]\s+[(\[]?(?P<letter>[A-J])(?:[)\]]|\s?[:=(]|\s[\u2013\u2014-]\s)")
_TURNS = re.compile(
    r"\W{0,3}(?:but|however|yet|although|though)\b(?! (?:not|never|no)\b)", re.IGNORECASE
)
_LISTED = re.compile(r"\s*[,;/|<>=\u2192\uff0c\u3001]\s*(?P<next>[^,;/|<>=\u2192\uff0c\u3001.\n]+)")
_AND = re.compile(rf" {_AND_OR} ")
_ASKED = re.compile(r"\W{0,2}[?\uff1f]")
_JOINED = re.compile(r"\W{0,3}(?:or|and|und|oder|et|ou|y|e)\b|\s?[&/+]\s?[^\W\d_]")


@dataclass(frozen=True)
class Choice:
    index: int | None = None
    error: str = ""
    is_bare: bool = False
    """The answer is the option's letter or words, and nothing else."""


def choose(whole: str, said: str, choices: Sequence[str]) -> Choice:
    """Find the option that an answer names, all texts cleaned; `said` is what `whole` concludes."""
    if _find_prefix(said, choices) is None:  # an option may begin with `It is`
        said = _LEAD_IN.sub("", said, count=1) or said
    worded = find_option(whole, choices)
    worded = find_option(said, choices) if worded is None else worded
    letter = _LETTER.match(said)
    if letter and letter["letter"].islower() and letter["rest"].startswith(" ("):
        letter = None  # an article, and a remark
    index = letter_index(letter["letter"]) if letter else len(choices)
    if letter is None or index >= len(choices):
        if worded is not None:
            return Choice(worded, is_bare=True)
        return _choose_by_words(said, choices)
    begun = _find_prefix(said, choices)
    if begun is not None and len(choices[begun[0]]) > 2:
        return _unless_wrong(*begun)
    return _choose_by_letter(index, worded, said, letter["rest"], choices)


def find_option(text: str, choices: Sequence[str]) -> int | None:
    """Find the one option that a text equals: as written, as a number, by words, by value."""
    for key in (_bare, _folded, _numeric, _worded, _without_article):
        keys = [key(choice) for choice in choices]
        wanted = key(text)
        if wanted and len(set(keys)) == len(keys) and wanted in keys:
            return keys.index(wanted)
    return _find_value(text, choices)


def letter_index(letter: str) -> int:
    """Return the index that a letter stands for, in any script whose option letters are read."""
    upper = _OTHER_LETTERS.get(letter, letter).upper()
    return LETTERS.find(upper) if upper in LETTERS else len(LETTERS)


def _choose_by_letter(
    index: int, worded: int | None, said: str, rest: str, choices: Sequence[str]
) -> Choice:
    """Of an answer that begins with a letter, which its words must not contradict."""
    worded = find_option(rest.strip(" ()"), choices) if worded is None else worded
    is_bare = worded is not None or not any(map(str.isalnum, rest))
    remark = _REMARK.fullmatch(rest)
    after = remark["after"] if remark else rest
    if remark and worded is None:
        worded = find_option(remark["inner"], choices)
        if worded is None and _doubts(remark["inner"], index, choices):
            return Choice(error="says what it is not")
    if (remark or rest.startswith(" :")) and _tells_of_another(index, after, choices):
        return Choice(error="names two options")
    begun = None if worded is not None else _find_prefix(rest, choices)
    if begun is not None:
        chosen = _unless_wrong(*begun)
        if chosen.error:
            return chosen
        worded = chosen.index
    rests = (rest, after) if worded is None else (after,) if remark else ()
    if any(_SECOND.match(text) or _WAVERS.search(text) for text in rests):
        return Choice(error="names two options")
    if any(map(_CALLED_WRONG.match, rests)) or _DESCRIBES.match(rest):
        return _choose_by_words(said, choices)
    is_otherwise = worded is None and _says_otherwise(rest, choices[index])
    if is_otherwise or worded not in (None, index):
        return Choice(error=_DIFFERENT)
    if worded is None and _is_held(index, choices):
        return Choice(error="a letter that an option holds too")
    return Choice(index, is_bare=is_bare)


def _says_otherwise(rest: str, choice: str) -> bool:
    """Whether the words behind a letter are another number than its option, or `none of these`.

    A number says nothing of an option in another unit, or of one that is neither number nor word.
    """
    if _OF_ALL.fullmatch(rest):
        return True
    said, own = read_quantity(rest.strip(" .:()-")), read_quantity(choice)
    if said is None or said.text in choice:
        return False
    if own is None:
        return not _SIGNS.search(choice) and bool(re.search("[A-Za-z]{2}", choice))
    is_near = 100 * abs(said.value - own.value) <= abs(own.value)  # `1/3 (0.333)`
    return said.unit in ("", own.unit) and not is_near


def _doubts(remark: str, index: int, choices: Sequence[str]) -> bool:
    """Whether a remark behind the letter of an option denies it, or names another option."""
    begun = _find_prefix(remark, choices)
    if begun is not None:
        return begun[0] != index
    is_doubted = _IN_DOUBT.search(remark) and not _OTHERS_ARE_WRONG.match(remark)
    return bool(is_doubted) or _names_another(index, remark, choices)


def _tells_of_another(index: int, after: str, choices: Sequence[str]) -> bool:
    """Whether what follows `A (iron)` tells of other options too, and gives no reason."""
    if _REASONS.match(after):
        return False
    labels = {letter_index(match["letter"]) for match in _NEXT_LABEL.finditer(after)}
    return bool(labels - {index}) or _names_another(index, after, choices)


def _choose_by_words(said: str, choices: Sequence[str]) -> Choice:
    """Of a sentence that neither is an option nor begins with an option's letter."""
    begun = _find_prefix(said, choices)
    so = _SO.search(said)
    concluded = letter_index(so["letter"]) if so else len(choices)
    if begun is not None:
        if begun[0] != concluded < len(choices):
            return Choice(error=_DIFFERENT)
        letter = _LETTER_BEHIND.match(begun[1])
        if _folded(choices[begun[0]]) in _VERDICTS and read_verdict(said)[0] is None:
            return Choice(error="names no option")
        if letter and begun[0] != letter_index(letter[1]) < len(choices):
            return Choice(error=_DIFFERENT)
        goes_on = begun[1][letter.end() if letter else 0 :]
        if _GOES_ON_AS_SUBJECT.match(goes_on) and _names_another(begun[0], goes_on, choices):
            return Choice(error="names two options")
        is_turned = _TURNS.match(begun[1]) and _names_another(*begun, choices)
        if is_turned or _lists_another(begun[1], choices):
            return Choice(error="names two options")
        return _unless_wrong(*begun)
    but = _NOT_BUT.match(said)
    if but and not _find_prefix(said, choices):
        return choose(but["rest"], but["rest"], choices)
    if _DENIED.match(said):
        return Choice(error="says what it is not")
    if _PAIR.match(said):
        return Choice(error="names two options")
    before = _BEFORE.fullmatch(said)
    if before and find_option(before["option"], choices) == int(before["number"]) - 1:
        return Choice(int(before["number"]) - 1, is_bare=True)
    numbered = _NUMBERED.match(said)
    if numbered:
        return _choose_by_number(int(numbered["number"]) - 1, numbered["rest"], choices)
    ordinal = _ORDINAL.match(said)
    if ordinal:
        place = ORDINALS.get(ordinal["nth"].lower(), len(choices) - 1)
        return _choose_by_number(place, ordinal["rest"], choices)
    verdicts = [_VERDICTS.get(_folded(one)) for one in choices]
    if {*verdicts} == {True, False} and len(verdicts) == 2:
        verdict, error = read_verdict(said)
        return Choice(error=error) if verdict is None else Choice(verdicts.index(verdict))
    right = _called_right(said)
    if len(right) > 1:
        return Choice(error="names two options")
    for index in right:
        if index < len(choices) and not _is_held(index, choices):
            return Choice(index)
    is_supposed = bool(so and _SUPPOSED.search(said, 0, so.start()))
    if concluded < len(choices) and not is_supposed and not _is_held(concluded, choices):
        named = [each for each in range(len(choices)) if is_named(each, said, choices)]
        is_other = len(named) == 1 and concluded not in named
        return Choice(error=_DIFFERENT) if is_other else Choice(concluded)
    return Choice(error="names no option")


def concluded_letter(sentence: str, choices: Sequence[str]) -> int | None:
    """The option whose letter a sentence calls right, or ends with: `so B`; None for any other."""
    so = _SO.search(sentence)
    found = {letter_index(so["letter"])} if so else _called_right(sentence)
    is_clear = len(found) == 1 and not _SUPPOSED.search(sentence)
    index = found.pop() if is_clear else len(choices)
    return index if index < len(choices) and not _is_held(index, choices) else None


def _called_right(said: str) -> set[int]:
    """The places of the letters that a text calls right."""
    return {letter_index(match["letter"]) for match in _CALLED_RIGHT.finditer(said)}


def _choose_by_number(index: int, rest: str, choices: Sequence[str]) -> Choice:
    """`option 3` is the third, unless another option is a 3."""
    held = find_option(str(index + 1), choices)
    worded = find_option(rest.lstrip(" .:)-"), choices)
    if not 0 <= index < len(choices):
        return Choice(error="names no option")
    if held not in (None, index) or worded not in (None, index):
        return Choice(error=_DIFFERENT)
    if _DESCRIBES.match(rest):
        return Choice(error="says what an option is")
    return _unless_wrong(index, rest)


def _unless_wrong(index: int, rest: str) -> Choice:
    if _JOINED.match(rest):
        return Choice(error="names two options")
    if _CALLED_WRONG.match(rest):
        return Choice(error="says what it is not")
    is_asked = _ASKED.match(rest) or rest.rstrip(" *_").endswith("?")
    if is_asked and any(map(str.isalnum, rest)):
        return Choice(error="asks whether it is an option")
    return Choice(index, is_bare=not any(map(str.isalnum, rest)))


def _is_held(index: int, choices: Sequence[str]) -> bool:
    """Whether the text of another option has the letter in it, as `vitamin C` has."""
    if any(len(text) == 1 and letter_index(text) < len(choices) for text in choices):
        return True
    letter = LETTERS[index]
    article = "(?! (?!and|or|is|only|alone|but)[a-z])" if letter == "A" else ""
    token = re.compile(rf"(?<![\w\u00b0'.-]){letter}(?![\w'.+#-]){article}")
    return any(token.search(text) for place, text in enumerate(choices) if place != index)


def _find_prefix(text: str, choices: Sequence[str]) -> tuple[int, str] | None:
    """(the longest option with which a text begins, the rest of the text, folded)."""
    # Case counts where it is all that tells two options apart, as in Ww and ww.
    fold = _folded if len(set(map(_folded, choices))) == len(choices) else _bare
    said = fold(text)
    found = [
        (len(option), index)
        for index, option in enumerate(map(fold, choices))
        if option and said.startswith(option) and not _WORD_GOES_ON.match(said, len(option))
    ]
    if not found:
        return None
    length, index = max(found)
    return index, said[length:]


def _lists_another(rest: str, choices: Sequence[str]) -> bool:
    """Whether the next in a list is another option, and not the subject of a sentence about it."""
    listed = _LISTED.match(rest)
    said = [listed["next"], _AND.split(listed["next"])[0]] if listed else []
    return any(find_option(one, choices) is not None for one in said)


def _names_another(index: int, rest: str, choices: Sequence[str]) -> bool:
    """Whether a sentence that goes on from an option holds another, as in `Ann met Bo`."""
    said = f" {normalise(rest)} "
    mine = normalise(choices[index])
    return any(
        place != index and words and words not in mine and f" {words} " in said
        for place, words in enumerate(map(normalise, choices))
    )


def is_named(index: int, said: str, choices: Sequence[str]) -> bool:
    """Whether a text holds the words of an option."""
    return f" {normalise(choices[index])} " in f" {normalise(said)} "


def _bare(text: str) -> str:
    text = text.strip(" \t\n*\"'\u201c\u201d`").removesuffix(".")
    return " ".join(text.replace("\u2212", "-").replace(r"\dfrac", r"\frac").split())


def _folded(text: str) -> str:
    return _bare(text).casefold()


def _worded(text: str) -> str:
    """The words alone; empty where signs tell more than words, as in -5, C++ and x < y."""
    return "" if _SIGNS.search(text) else normalise(text)


def _without_article(text: str) -> str:
    return re.sub(r"^(?:an?|the) (?=\w{2})", "", _worded(text))


def _find_value(text: str, choices: Sequence[str]) -> int | None:
    """The option that a bare number means where all are numbers of one unit: 14 of `14 meters`."""
    number = read_quantity(text)
    if number is None or number.unit:
        return None
    found = [read_quantity(choice) for choice in choices]
    values = [quantity.value for quantity in found if quantity is not None]
    units = {quantity.unit for quantity in found if quantity is not None}
    if len(set(values)) < len(choices) or len(units) > 1 or number.value not in values:
        return None
    return values.index(number.value)


def _numeric(text: str) -> str:
    found = read_quantity(text)
    return "" if found is None or found.unit not in ("", "%") else f"{found.value} {found.unit}"
