"""A text without what changes its characters and not its reading: the daily dress of web text.

HTML entities and tags, escapes and marks (`encodings.py`), each within another too; emphasis in
LaTeX, roff and Markdown, quoted lines, zeros after the point of a whole number, what terminals and
printers add, marks between all words or letters, words that nothing parts, repeated letters,
invisible characters, accents and other marks, digits of other scripts, and letters of other scripts
that look like Latin ones (Unicode Technical Standard 39, Unicode Security Mechanisms, section 4).
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Container, Sequence
from functools import cache, lru_cache
from itertools import chain, groupby, product

import regex

from tsqa.decontaminate.encodings import (
    decode,
    read_again,
    said_in,
    spell_tags,
    take_off_marks,
)

_INLINE = (
    "abbr|bdi|big|cite|code|em|font|hi|kbd|mark|mi|mn|mtext|small|span|strong|sub|tspan|tt|var|wbr"
)
_INLINE_LETTER = "[abiqsu]"
"""Without an attribute that has a value, what follows may be prose: `a<b and c>d`."""
_BLOCK = (
    "article|blockquote|body|br|center|dd|details|div|dl|dt|figure|footer|form|h[1-6]|head|header|"
    "hr|html|img|input|label|li|link|main|meta|nav|ol|option|pre|section|select|summary|table|"
    "tbody|td|tfoot|th|thead|title|tr|ul"
)
_TAG = re.compile(
    rf"</?(?:(?P<raised>sup)|(?P<inline>{_INLINE})|{_BLOCK})(?:\s[^<>]*)?/?>"
    rf"|</?(?:(?P<letter>{_INLINE_LETTER})|p)(?:\s[^<>]*=[^<>]*)?\s*/?>",
    re.IGNORECASE,
)
_FORMAT = re.compile(
    r"\\(?:emph|hl|mathbf|mathit|mathrm|mathsf|mathtt|mbox|operatorname\*?|st|text(?:color\{\w+\})?"
    r"|text(?:bf|it|md|normal|rm|sc|sf|sl|tt|up)|ul|uline|underline)\{([^{}]*)\}"
    r"|\{\\(?:bf|em|it|rm|sc|sf|sl|tt)(?:series|shape|family)?\s([^{}]*)\}"
    r"|\\f[BIPR]"
)
_TEX_ACCENT = re.compile(
    r"\\(?:['`^~=.]|[cvHkubdr](?=\{))"
    r"(?:\{\\?([a-zA-Z])\}|(?!(?<=\w\\')[^aeiouyAEIOUY\\])\\?([a-zA-Z]))"
)
"""Within a word, `\\'` stands for an accent on a vowel alone: `don\\'t` is a string of code."""
_TEX_UMLAUT = re.compile(r"(?<=[a-zA-Z])\\\"(?:\{\\?([a-zA-Z])\}|([a-zA-Z]))")
"""Within a word: before one it is the quote mark of a JSON string."""
_EMPHASIS = re.compile(
    r"(?<![\w*'~=])(\*{1,3}|'{2,3}|~~|==)(?=[^\W\d_])([^*'~=\n]{1,80}?)\1"
    r"|(?<=[^\W\d_])(\*\*|'{3}|~~)([^\W\d_]{1,40})\3(?!\w)"
    r"|(?<!\S)/([^\W\d_]{1,40})/(?!\w)"
)
_ZEROS = re.compile(r"(?<=\d)\.0+(?!\.?\d)")
_UNDERSCORE = re.compile(r"(?<=\w)_|_(?=\w)")
_AT_LINE_END = re.compile(r"[,;](?=\r?\n)")
"""Brackets around a list are told by its commas, and these by the space after them."""
_QUOTED_LINE = re.compile(r"^[ \t]*>+", re.MULTILINE)
_LETTER = re.compile(
    r"(?:(?:NEGATIVE )?(?:CIRCLED |SQUARED ))?"
    r"(?:LATIN (?:(?:CAPITAL|SMALL) LETTER|LETTER SMALL CAPITAL|SMALL LETTER DOTLESS)"
    r"|REGIONAL INDICATOR SYMBOL LETTER) ([A-Z])( WITH .+)?"
)
"""Names of the letters that are one of ASCII with something added."""
_INVISIBLE = regex.compile(
    r"[\p{Cf}\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]+"
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f]+")
_OVERSTRUCK = re.compile("[^\n\b]\b(?=[^\n])")
_ESCAPE = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\))")
"""Colours of a terminal (ECMA-48)."""
_LONG_STRETCH = re.compile(r"\S{20,}")
_LEAST_STRETCH = 20
_BACKWARDS = re.compile("\u202e([^\u202c\n]*)")
_MARK = regex.compile(r"\p{M}")
_MARKED = regex.compile(r"(?<=[\x00-\x7f])\p{M}+")
_VOWELS = re.compile(
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed]"
)
"""Marks of Hebrew and Arabic, which most texts leave out."""
_ARABIC = str.maketrans(
    "\u0622\u0623\u0625\u0671\u0649\u06cc\u0629\u06a9",
    "\u0627\u0627\u0627\u0627\u064a\u064a\u0647\u0643",
)
"""Letters that are typed for one another."""
_BESIDE_HANGUL = re.compile("(?<=\\d)(?=[\uac00-\ud7a3])|(?<=[\uac00-\ud7a3])(?=\\d)")
_UNSPACED = re.compile("[\u3041-\u30ff\u3400-\u9fff]")
_JAMO = re.compile("[\u1100-\u11ff]")
"""Parts of the letters of Hangul."""
_HAS_MARKS_OF_SCRIPTS = re.compile("[\u0591-\u06ed\u1100-\u11ff\uac00-\ud7a3]")
"""What of Hebrew, Arabic and Hangul is written otherwise."""
_READING = re.compile(r"<(r[tp])>[^<>]*</\1>", re.IGNORECASE)
"""How a word is read, above it."""
_ASCII = frozenset(map(chr, range(128)))
_HYPHENATED = re.compile(
    r"(?<!\w)(\w+)(?:[-\u2010\u2011\u2013\u00ac][ \t]*\n\s*(?:\d{1,4}\s*\n\s*)?|[-\u00ac][ ])(\w+)"
)
_MAY_BE_CUT = re.compile("[-\u2010\u2011\u2013\u00ac][ \t\n]")
_ENDS = re.compile(r"[^\W\d_]{1,20}\Z")
_BEGINS = re.compile(r"[^\W\d_]{1,20}")
_MARK_WITHIN = re.compile(r"[-'*|_\u00b7\u2027\u02bc](?<=[^\W\d_].)(?=[^\W\d_])")
_WORDS_PER_MARK = 8
_PIECES = re.compile(r"[^\W\d_]+(?:([-\'*|_\u00b7\u2027\u02bc])[^\W\d_]+)(?:\1[^\W\d_]+)*")
"""Of a word that something parts, as dictionaries do with syllables."""
_DOUBLED = re.compile(r"([A-Za-z])\1")
_SPACES_PER_DOUBLED = 3
"""From which on this is the dress of the text; prose has six."""
_STRETCHED = re.compile(r"(?<![^\W_])[A-Za-z]{3,60}(?![^\W_])")
_MOST_STRETCHED = 8
"""Letters of a word that may stand once or twice."""
_FEWEST_STRETCHED = 3
"""Words of a text: one alone may be another word (`Henry III`, `dessert`)."""
_LEET = re.compile(r"[A-Za-z][013457]|[013457][A-Za-z]")
_MIXED = re.compile(r"(?<![^\W_])[A-Za-z013457]{2,40}(?![^\W_])")
_DIGITS = {"0": "o", "1": "il", "3": "e", "4": "a", "5": "s", "7": "t"}
_MOST_ONES = 4
_FEWEST_MIXED = 4
"""Distinct words; fewer may be names of parts or chemicals."""
_BESIDE_NUMBER = re.compile(r"(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")
_JOINED = re.compile(r"[A-Za-z]{5,}")
_UNPARTED = re.compile(r"[A-Za-z\d]{5,}")
_LEAST_JOINED = 20
_LETTERS_PER_SPACE = 12
"""From which on a text lacks spaces; prose has five or six."""
_LONGEST_WORD = 20
_SPACED = re.compile(
    r"(?<![^\W_])[^\W\d_](?:(?P<by>[ .*\n-])[^\W\d_])(?:(?P=by)[^\W\d_])*(?![^\W_])"
)
_FOUR_SPACED = re.compile(r"\b[^\W\d_]([ .*\n-])[^\W\d_]\1[^\W\d_]\1[^\W\d_]\b")
_LEAST_SPACED = 5
"""Characters of three letters and what parts them."""
_NEAR_SPACED = 24
"""Characters, at most, between such words; words of few letters may stand there whole."""
_FEWEST_SPACED = 4
"""Words whose letters something parts, from which on this is the dress of the text."""
_WORD_BORDER = re.compile(r"(?<=[a-z])(?=[A-Z])")
_FEWEST_BORDERS = 4
_SEPARATORS = "/|*=&+~_-:;"
_HASHED = re.compile(r"(?<![\w#])#[^\s#]+#?(?:[ \t]+#[^\s#]+#?){5,}(?!\S)")
"""Words of one line in a row: such reads alike alone and within another text."""
_FEWEST_SEPARATED = 6
_LEAST_SEPARATED = 0.4
"""Of the spaces of a text, as many as marks between words from which on these are spaces too."""
_BRACKET = r"[()\[\]{}<>]"
_BRACKETS = re.compile(
    rf"(?<![^\s\"'`])(?!(?:\( ?\)|\[ ?\]|\{{ ?\}}|< ?>)(?!\S))"
    rf"(?:{_BRACKET}(?: {_BRACKET})+|{_BRACKET}{{2,}})(?![^\s\"'`.,;:?!])"
    rf"|{_BRACKET}{{12,}}|\A\s*{_BRACKET}\s*\Z"
)
"""A row of them, as formal languages have, is told by nothing else. It reads alike as an answer
and within a text; one alone is a mark there, and an empty pair a box to be ticked."""
_PICTURES = re.compile("[\u2600-\u27bf\U0001f300-\U0001faff]{2,}")
"""A row of different ones is told by nothing else; one alone stands beside words."""
_PIPES = re.compile(r"(?<!\S)\|(?:[ \t]*:?-+:?[ \t]*\|)*(?!\S)")
"""Of the cells of a table."""
_UNDERSCORED = re.compile(r"(?<![^\W_])[^\W\d_](?:_[^\W\d_]){2,}(?![^\W_])")
_UNDERSCORED_TWO = re.compile(r"(?<![^\W_])([^\W\d_])_([^\W\d_])(?![^\W_])")
_LOGIC = re.compile(
    r"(?:[()]|\b(?:true|false|not|and|or)\b)(?:\s*(?:[()]|\b(?:true|false|not|and|or)\b)){4,}",
    re.IGNORECASE,
)
"""Its brackets make another expression of the same words."""
_TRUTH = re.compile("[()]|[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]")
_TRUE_OR_FALSE = re.compile(r"\(\s*\w+\s+\w+\s+\w+\s*\)")
"""Beside what is to be judged."""
_SPOKEN_BRACKETS = {
    ord(mark): f" {name} "
    for mark, name in zip(
        "()[]{}<>",
        ("opround", "clround", "opsquare", "clsquare", "opbrace", "clbrace", "opangle", "clangle"),
        strict=True,
    )
}
_FEWEST_PARTED, _MEAN_PARTED = 3, 3.5
_FEWEST_GS = 5
_WORD_OF_PIECES = re.compile("\u2581[^\u2581\n]{1,60}(?=\u2581)")
"""As SentencePiece has it: the mark begins a word, whose pieces spaces part."""
_WITHIN_WORD = re.compile(r"(?<=[a-z.,;:!?\d])\u0120(?=[A-Za-z\d])")
"""As a letter it is a capital."""
_PRINTABLE = {0xFF01 + n: 0x21 + n for n in range(0x5E)} | {0xA0: 0x20, 0x3000: 0x20}
"""Full width, and spaces that do not break."""
_ANY_PRINTABLE = re.compile("[\u00a0\u3000\uff01-\uff5e]")
_LETTERS = re.compile(r"[^\W\d_]+")
_ASCII_LETTER = re.compile("[A-Za-z]")
_LATIN_SHARE = 0.3
"""Of all words; below it a text is one of another script that has Latin words in it."""
_MORE_LIKE = str.maketrans(
    "\u03b5\u03b7\u03c4\u03ba\u03c7\u03bc\u0432\u043a\u043c\u043d\u043f\u0442\u0433\u044f\u0438"
    "\u044c\u0442\u03c9\u03b8\u0131",
    "entkxubkmhntrrubtw0i",
)
"""Letters that look like Latin ones less closely: they count within a word of Latin ones."""
_MORE_ALIKE = frozenset(map(chr, _MORE_LIKE))
_MOST_LAYERS = 4
_MAY_HIDE_MORE = re.compile(r"[&<\\%]")


def undress(text: str) -> str:
    """Write a text in plain letters, so that both sides of a comparison are dressed alike."""
    for _ in range(_MOST_LAYERS):
        before, text = text, _take_off(text)
        if text == before or not _MAY_HIDE_MORE.search(text):
            break
    text = text.replace("`", "")
    if "_" in text:
        text = _UNDERSCORE.sub(" ", _join_underscored(text))
    if "|" in text:
        text = _PIPES.sub(" ", text)
    text = _BRACKETS.sub(_spell_brackets, text)
    if ">" in text:
        text = _QUOTED_LINE.sub("", text)
    text = _take_off_separators(text)
    if "\n" in text:
        text = _AT_LINE_END.sub(r"\g<0> ", text)
    if not text.isascii():
        text = _plain_letters(_PICTURES.sub(_spell_pictures, text))
    return _LOGIC.sub(_spell_logic, text) if _TRUTH.search(text) else text


def _join_underscored(text: str) -> str:
    """Words whose letters underscores part; of two letters, where there are longer ones."""
    text, count = _UNDERSCORED.subn(lambda match: match[0].replace("_", ""), text)
    return _UNDERSCORED_TWO.sub(r"\1\2", text) if count >= _FEWEST_SPACED else text


def _spell_brackets(match: re.Match[str]) -> str:
    row = match[0]
    is_quote_or_line = len({*row}) < 3 and len(row) > 1 and (row[0] == ">" or " " not in row)
    return row if is_quote_or_line else row.translate(_SPOKEN_BRACKETS)


def _spell_pictures(match: re.Match[str]) -> str:
    row = match[0]
    return "".join(f" u{ord(one):x} " for one in row) if len({*row}) > 1 else row


def _spell_logic(match: re.Match[str]) -> str:
    is_choice = _TRUE_OR_FALSE.fullmatch(match[0]) is not None
    return match[0] if is_choice else match[0].translate(_SPOKEN_BRACKETS)


def _take_off(text: str) -> str:
    """One layer of what files, pages and terminals add."""
    if "&" in text:
        text = _unescape(text)
    if _CONTROL.search(text):
        text = _take_off_controls(text)
    if not text.isascii():  # first, for the marks of lines and escapes are looked for in ASCII
        text = _take_off_invisible(read_again(text))
    if "\\" in text:
        text = _TEX_UMLAUT.sub(lambda match: match[1] or match[2], text)
    text = decode(text)
    if not text.isascii():  # escapes of bytes may be UTF-8
        text = read_again(text)
    if "<" in text:
        text = _READING.sub("", spell_tags(_without_comments(text)))
        told = (said_in(tag[0]) for tag in _TAG.finditer(text)) if "=" in text else ()
        text = _TAG.sub(_replace_tag, text)
        text = "\n".join([text, *dict.fromkeys(chain.from_iterable(told))])
    text = take_off_marks(text)
    if "\\" in text:
        text = _FORMAT.sub(lambda match: match[1] or match[2] or "", text)
        text = _TEX_ACCENT.sub(lambda match: match[1] or match[2], text)
    if ".0" in text:
        text = _ZEROS.sub("", text)
    if any(mark in text for mark in ("*", "''", "~~", "==", "/")):
        text = _EMPHASIS.sub(lambda match: match[2] or match[4] or match[5], text)
    return text


def _unescape(text: str) -> str:
    for _ in range(_MOST_LAYERS):  # an escaped page is often escaped again
        before, text = text, html.unescape(text)
        if text == before:
            break
    return text


def _take_off_controls(text: str) -> str:
    if "\x1b" in text:
        text = _ESCAPE.sub("", text)
    if "\b" in text:
        text = _OVERSTRUCK.sub("", text)
    return _CONTROL.sub("", text)


def _take_off_invisible(text: str) -> str:
    if "\u202e" in text:
        text = _BACKWARDS.sub(lambda match: match[1][::-1], text)
    others = _beyond_ascii(text)
    if _INVISIBLE.search(others):
        text = text.replace("\u00ad\n", "-\n")
        text = _LONG_STRETCH.sub(_part_by_invisible, text)
        text = _INVISIBLE.sub("", text)
    if "\u0120" in text:  # how a tokenizer writes a space
        is_mark = text.count("\u0120") >= _FEWEST_GS and "\u0121" not in text
        text = text.replace("\u0120", " ") if is_mark else _WITHIN_WORD.sub(" ", text)
    if text.count("\u2581") >= _FEWEST_GS:
        text = _WORD_OF_PIECES.sub(lambda match: " " + match[0][1:].replace(" ", ""), text)
        text = text.replace("\u2581", " ")
    return text.translate(_PRINTABLE) if _ANY_PRINTABLE.search(others) else text


def _beyond_ascii(text: str) -> str:
    """The distinct characters beyond ASCII: a search among these is short."""
    return "".join({*text} - _ASCII)


def _part_by_invisible(match: re.Match[str]) -> str:
    """Words that only invisible characters part."""
    parts = [part for part in _INVISIBLE.split(match[0]) if part]
    parted = len(parts) >= _FEWEST_PARTED and sum(map(len, parts)) >= _MEAN_PARTED * len(parts)
    parted = parted and not _UNSPACED.search(match[0])
    return " ".join(parts) if parted else match[0]


def _take_off_separators(text: str) -> str:
    """Spaces where marks part all words, letters, or nothing does."""
    spaces = text.count(" ")
    for mark in _SEPARATORS:
        count = text.count(mark)
        if count < _FEWEST_SEPARATED or count < _LEAST_SEPARATED * spaces:
            continue
        gap = rf"\s{re.escape(mark)}\s" if count < 3 * spaces else re.escape(mark)
        between = rf"(?<=[^\W\d_][^\W\d_])[.,?!]?{gap}(?=[^\W\d_])"
        if len(re.findall(between, text)) >= _LEAST_SEPARATED * count:
            own = re.escape(mark)  # between two numbers it may be a fraction or a date
            text = re.sub(rf"(?<!\d){own}|{own}(?!\d)", " ", text)
    if text.count("#") >= _FEWEST_SEPARATED:
        text = _HASHED.sub(lambda match: re.sub(r"(?<!\S)#", "", match[0]), text)
    return _LONG_STRETCH.sub(_part_by_capitals, text) if _longest(text) >= _LEAST_STRETCH else text


def _part_by_capitals(match: re.Match[str]) -> str:
    parted, count = _WORD_BORDER.subn(" ", match[0])
    return parted if count >= _FEWEST_BORDERS else match[0]


def _plain_letters(text: str) -> str:
    if _HAS_MARKS_OF_SCRIPTS.search(_beyond_ascii(text)):
        text = unicodedata.normalize("NFC", text) if _JAMO.search(text) else text
        text = _BESIDE_HANGUL.sub(" ", _VOWELS.sub("", text)).translate(_ARABIC)
    others = set(text) - _ASCII
    for character in others:
        plain = _plain(character)
        if plain != character:
            text = text.replace(character, plain)
    if _MARK.search("".join(others)):
        text = _MARKED.sub("", text)
    likes = [like for like in others if like in _look_alikes()]
    if likes and _is_latin(text):
        for like in likes:
            text = text.replace(like, _look_alikes()[like])
    if not others.isdisjoint(_MORE_ALIKE):
        text = _LETTERS.sub(_read_more_like, text)
    return text


def _read_more_like(match: re.Match[str]) -> str:
    is_mixed = _ASCII_LETTER.search(match[0]) is not None
    return match[0].translate(_MORE_LIKE) if is_mixed else match[0]


def join_hyphenated(text: str, known: Container[str]) -> str:
    """Join what a line break or marks cut (`infor-` / `mation`), where the whole is a known word;
    and part words that nothing parts, where they are all known."""

    def is_known(word: str) -> bool:
        return word.casefold() in known

    def join(match: re.Match[str]) -> str:
        whole = match[1] + match[2]
        return whole if is_known(whole) else match[0]

    def join_pieces(match: re.Match[str]) -> str:
        parts = match[0].split(match[1])
        return "".join(parts) if _is_one(parts, is_known) else match[0]

    if _FOUR_SPACED.search(text):
        text = _join_spaced(text, is_known)
    if _LEET.search(text):
        text = _read_digits(text, is_known)
    if _MAY_BE_CUT.search(text):
        text = _HYPHENATED.sub(join, text)
    if "\n" in text:
        text = _join_lines(text.split("\n"), is_known)
    if _WORDS_PER_MARK * len(_MARK_WITHIN.findall(text)) >= 1 + text.count(" "):
        text = _PIECES.sub(join_pieces, text)
    if _SPACES_PER_DOUBLED * len(_DOUBLED.findall(text)) >= 1 + text.count(" "):
        text = _shorten_all(text, is_known)
    if _longest(text) < _LEAST_JOINED:
        return text

    def part(match: re.Match[str]) -> str:
        if is_known(match[0]):
            return match[0]
        apart = _BESIDE_NUMBER.sub(" ", match[0])
        return _JOINED.sub(lambda one: _part_into_known(one[0], is_known), apart)

    if _LETTERS_PER_SPACE * len(text.split()) <= len(text):
        return _UNPARTED.sub(part, text)
    return _LONG_STRETCH.sub(lambda match: _if_words(match[0], _UNPARTED.sub(part, match[0])), text)


def _if_words(stretch: str, parted: str) -> str:
    """A stretch of other text, parted where it is words and not the letters of a sequence."""
    letters, count = sum(map(str.isalpha, stretch)), len(parted.split())
    return parted if count >= _FEWEST_PARTED and letters >= _MEAN_PARTED * count else stretch


def _join_spaced(text: str, is_known: Callable[[str], bool]) -> str:
    """Words whose letters something parts, where several stand near: by their form alone, so that
    a document and a text with it read alike whatever words were known."""
    runs: list[list[re.Match[str]]] = []
    for match in _SPACED.finditer(text):
        if match["by"] == "." and match[0].isupper():
            continue  # U.S.A.
        if not runs or match.start() - runs[-1][-1].end() > _NEAR_SPACED:
            runs.append([])
        runs[-1].append(match)
    kept, at = [], 0
    for run in runs:
        if sum(len(match[0]) >= _LEAST_SPACED for match in run) < _FEWEST_SPACED:
            continue
        for match in run:
            word = match[0].replace(match["by"], "")
            kept += [text[at : match.start()], _part_into_known(word, is_known)]
            at = match.end()
    return "".join([*kept, text[at:]])


def _read_digits(text: str, is_known: Callable[[str], bool]) -> str:
    """Words that have digits for letters (`wh1ch`), where several are known."""
    plain = {word: _spell_digits(word, is_known) for word in {*_MIXED.findall(text)}}
    if sum(word != found and len(word) > 2 for word, found in plain.items()) < _FEWEST_MIXED:
        return text
    return _MIXED.sub(lambda match: plain[match[0]], text)


def _spell_digits(word: str, is_known: Callable[[str], bool]) -> str:
    """The known word that a word with digits for letters is; else the word."""
    if is_known(word) or word.isdigit() or word.count("1") > _MOST_ONES:
        return word
    choices = [_DIGITS.get(letter, letter) for letter in word]
    return next(filter(is_known, map("".join, product(*choices))), word)


def _is_one(parts: Sequence[str], is_known: Callable[[str], bool]) -> bool:
    """Whether parts are a known word, and not words which may stand so."""
    return is_known("".join(parts)) and not all(map(is_known, parts))


def _shorten_all(text: str, is_known: Callable[[str], bool]) -> str:
    """A text whose letters are repeated, in known words; any other unchanged."""
    plain = {word: _shorten(word, is_known) for word in {*_STRETCHED.findall(text)}}
    if sum(word != short for word, short in plain.items()) < _FEWEST_STRETCHED:
        return text
    return _STRETCHED.sub(lambda match: plain[match[0]], text)


def _shorten(word: str, is_known: Callable[[str], bool]) -> str:
    """A known word, where the letters of one that is not are repeated too often (`lliittle`)."""
    runs = [(letter, len(list(run))) for letter, run in groupby(word.lower())]
    many = sum(size > 1 for _, size in runs)
    if not 0 < many <= _MOST_STRETCHED or is_known(word):
        return word
    choices = [(letter, 2 * letter)[: min(size, 2)] for letter, size in runs]
    return next(filter(is_known, map("".join, product(*choices))), word)


def _join_lines(lines: Sequence[str], is_known: Callable[[str], bool]) -> str:
    """Lines that were cut within words, too."""
    joined = lines[0]
    for line in lines[1:]:
        ends, begins = _ENDS.search(joined[-_LONGEST_WORD:]), _BEGINS.match(line)
        is_cut = ends and begins and _is_one([ends[0], begins[0]], is_known)
        joined += line if is_cut else f"\n{line}"
    return joined


def _longest(text: str) -> int:
    return max(map(len, text.split()), default=0)


def _part_into_known(text: str, is_known: Callable[[str], bool]) -> str:
    """Words that nothing parts, the fewest; the text itself where it is not made of known ones."""
    never = len(text) + 1
    fewest, begins = [0], [0]  # of the words up to each letter, and where the last of them begins
    for end in range(1, len(text) + 1):
        least, at = never, 0
        for start in range(max(0, end - _LONGEST_WORD), end):
            if fewest[start] + 1 < least and is_known(text[start:end]):
                least, at = fewest[start] + 1, start
        fewest.append(least)
        begins.append(at)
    if fewest[-1] >= never:
        return text
    found, end = [], len(text)
    while end:
        found.append(text[begins[end] : end])
        end = begins[end]
    return " ".join(reversed(found))


def _replace_tag(match: re.Match[str]) -> str:
    if match["raised"]:
        return "" if match[0].startswith("</") else "^"
    return "" if match["inline"] or match["letter"] else " "


def _without_comments(text: str) -> str:
    """No pattern: of comments without an end each would be followed to the end of the text."""
    kept, at = [], 0
    while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start + 4)) >= 0:
        kept.append(text[at:start])
        at = end + 3
    return "".join([*kept, text[at:]])


def _is_latin(text: str) -> bool:
    """Whether many words have a letter of ASCII."""
    found = _LETTERS.findall(text)
    return sum(_ASCII_LETTER.search(one) is not None for one in found) >= _LATIN_SHARE * len(found)


@lru_cache(maxsize=2**16)
def _plain(character: str) -> str:
    """A letter without its accents and strokes; nothing for an invisible character."""
    if _INVISIBLE.fullmatch(character):
        return ""
    base = unicodedata.normalize("NFD", character)[0]
    if base.isascii() and base.isalpha():
        return base
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.digit(character))
    named = _LETTER.fullmatch(unicodedata.name(character, ""))
    if named is None:
        return character
    return named[1] if character.isupper() else named[1].lower()


@cache
def _look_alikes() -> dict[str, str]:
    """Letter -> the one of ASCII that it looks like, of the same case where there is one."""
    from confusable_homoglyphs.confusables import confusables_data

    found: dict[str, str] = {}
    for letter in filter(str.isalpha, map(chr, range(128))):
        for like in (entry["c"] for entry in confusables_data.get(letter, ())):
            if len(like) == 1 and like.isalpha() and not like.isascii():
                plain = "I" if letter == "l" and like.isupper() else letter
                if like not in found or plain.isupper() == like.isupper():
                    found[like] = plain
    return found
