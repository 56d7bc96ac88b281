"""A text without what files, mail and markup add to it: escapes, marks of lines, link targets.

Of JSON strings the escapes, also of one within another; of URLs the percent signs, and `+` for
spaces; of mail the codes and line ends of quoted-printable (RFC 2045); of source code and listings
the comment marks and line numbers; of logs and chats the times; of subtitles and songs the numbers
and times (SubRip, WebVTT, ASS, LRC); of LaTeX the marks of spaces and formulas; of RTF the control
words; of Markdown, wikis and forums the targets of links and the tags; of corpora the word classes
and the marks of word pieces; of dumps the bytes. UTF-8 that was read as Windows-1252 is read again.

Tags that a text is about are its words: a quiz asks what `<b>` does, or gives `<b>`, `<i>` and
`<br>` to choose from. A tag is a word where a text holds nothing else, where it stands in a row of
three others, as options do, or in a line of prose by itself: bare, with nothing joined to it, and
never closed. What may stay open (`<br>`, `<p>`) is one only before what speaks of it (`a <p> tag`).

Guarantee: what is taken off is no word of a sentence; where a mark may mean something (`\\nu`,
`=20`, `* 5`), it goes only where its surroundings show that it does not.
"""

from __future__ import annotations

import html
import re
from itertools import groupby, pairwise
from urllib.parse import unquote, unquote_plus

_COMMANDS = (
    "nabla|natural|ne|nearrow|neg|neq|newcommand|newline|nexists|ng|ngeq|ni|nleq|nmid|nocite|"
    "node|noindent|nolimits|nonumber|normalsize|not|notin|nparallel|nrightarrow|nsubseteq|nu|"
    "nwarrow|raggedright|raisebox|rangle|rbrace|rbrack|rceil|ref|renewcommand|rfloor|rho|right|"
    "rightarrow|rightharpoonup|rm|root|rule|rvert|rVert|table|tabular|tag|tan|tanh|tau|text|textbf|"
    "textcolor|textit|textmd|textnormal|textrm|textsc|textsf|textsl|textstyle|textsuperscript|"
    "texttt|textup|tfrac|theta|therefore|thicksim|"
    "thinspace|tilde|times|tiny|title|to|today|top|triangle|triangleleft|triangleright|tt"
)
"""Commands of LaTeX that begin like the escape of a line break or tab."""
# A run of backslashes is looked at once, from its first: a text may hold nothing else.
_RUN = r"\\(?<!\\\\)\\*+"
_UNICODE = re.compile(
    rf"{_RUN}(?:u([0-9a-fA-F]{{4}})|u\{{([0-9a-fA-F]{{1,6}})\}}|U([0-9a-fA-F]{{8}})"
    r"|x([0-9a-fA-F]{2}))"
)
_SURROGATES = re.compile(
    rf"{_RUN}u([dD][89abAB][0-9a-fA-F]{{2}})\\+u([dD][c-fC-F][0-9a-fA-F]{{2}})"
)
"""Both halves of a character beyond 16 bits, as JSON has it."""
_OCTAL = re.compile(r"(?<!\\)\\([01][0-7]{2})(?!\d)")
_OFFICE = re.compile(r"_x([0-9A-Fa-f]{4})_")
_RTF = re.compile(r"\\'([0-9a-f]{2})|\\u(\d{1,5})\?|\\[a-z]{1,20}(?:-?\d{1,6})? ?|[{}]")
_BYTES = {bytes([n]).decode("cp1252", "ignore") or chr(n): n for n in range(0x80, 0x100)} | {
    chr(n): n for n in range(0x80, 0x100)
}
_LATER = "".join(re.escape(each) for each, byte in _BYTES.items() if byte < 0xC0)
_MISREAD = re.compile(
    f"[\u00c2-\u00c5\u00ce-\u00d1\u00d7-\u00d9][{_LATER}]"
    f"|[\u00e0-\u00ef](?!\u00a0[\u00bb\u2013\u2014\u2019\u201d\u2026])[{_LATER}]{{2}}"
)
"""UTF-8 that was read as Latin-1 or Windows-1252; not what French and German write so."""
_MOST_READ = 3
_MISREAD_SPACE = re.compile("(?<=[A-Za-z.,;:?!])\u00c2(?=\\s)")
_BREAK = re.compile(rf"{_RUN}(?!(?:{_COMMANDS})(?![a-zA-Z]))[nrt]")
_STRETCH = re.compile(r"\S+")
# It begins with the mark itself: a search for a lookbehind is slow.
_BEYOND_ASCII = re.compile(r"%[C-F][\dA-F]%[89AB][\dA-F]", re.IGNORECASE)
_FORM_SPACE = re.compile(r"\+(?:(?<=[a-zA-Z]{2}\+)(?=\w)|(?<=\w\+)(?=[a-zA-Z]{2}))")
_PERCENT = re.compile(r"%[0-9a-fA-F]{2}")
_SOFT_BREAK = re.compile(r"^(.{50,77})=\r?\n", re.MULTILINE)
_QUOTED = re.compile(r"=[C-F][0-9A-F](?:=\r?\n|=[89AB][0-9A-F])+")
_CODE = re.compile(r"=([0-9A-F]{2})")
_MAIL = re.compile(r"=(?:20$|3D|0A|0D)", re.MULTILINE)
_COMMENT = re.compile(
    r"^[ \t]*(\*|//+|#+|;+|--|%+|\||!+|\+(?=[ \t]+[^\W\d]{2}))(?:[ \t].*)?"
    r"(?:\n[ \t]*\1(?:[ \t].*)?$)+",
    re.MULTILINE,
)
_COMMENT_MARK = re.compile(r"^[ \t]*[*/#;%|!+-]+[ \t]*|[ \t]*\|[ \t]*$", re.MULTILINE)
_ADDED = re.compile(r"^\+.*(?:\n\+.*$)+", re.MULTILINE)
_ADDED_MARK = re.compile(r"^\+(?=[^\W\d]{2})", re.MULTILINE)
"""Of the lines of a patch."""
_FEWEST_ADDED = 2
_RULE = re.compile(r"^[ \t]*\+[-=+]{3,}[ \t]*$\n?", re.MULTILINE)
_NUMBERED = re.compile(r"^[ \t]*(\d{1,6})([:|.]?)[ \t]+", re.MULTILINE)
_FEWEST_NUMBERED = 3
"""Lines with bare numbers: of two, the numbers may be text."""
_TIME = r"(?:\d{1,2}:)?\d{1,2}:\d{2}[.,]\d{2,3}"
_SUNG = re.compile(rf"<{_TIME}>|</?c(?:\.[\w.]+)?>|^\[{_TIME}\]", re.MULTILINE)
"""Times of words and lines (WebVTT, LRC)."""
_STYLED = re.compile(r"^Dialogue: (?:[^,\n]*,){9}", re.MULTILINE)
_LOGGED = re.compile(
    r"^[ \t]*\[?(?:\d{4}-\d\d-\d\d[T ])?\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d{1,6})?\]?"
    r"(?:[ \t]+[A-Z]{4,8} [\w.]+(?::\d+)? -|[ \t]+<[\w.-]{1,20}>|[ \t]+[\w.-]{1,20}:)?[ \t]+"
    r"|^[\w./-]{1,60}\.\w{1,5}:\d+:",
    re.MULTILINE,
)
_FEWEST_LOGGED = 3
_DUMPED = re.compile(
    r"^0[0-9a-f]{5,7}:?[ \t]+(?:[0-9a-f]{2,4}[ \t]+){4,16}\|?(.{1,16}?)\|?$\n?", re.MULTILINE
)
_TABLED = re.compile(r"(?:^\S+(?:[ \t]\S+){1,12}(?:\n|$)){5,}", re.MULTILINE)
_FEWEST_ROWS = 5
_CLASS = re.compile(r"[A-Z]{2,5}\$?|[.,:$]|[BI]-\w+|O")
_CLASS_WORD = re.compile(r"[ \t](?:[A-Z]{2,5}\$?|[BI]-\w+)(?=\s|$)")
_TAGGED = re.compile(r"(?<=\S)[/_](?:[A-Z]{1,4}\$?|[.,:'`$#])(?!\S)")
_PARSED = re.compile(r"\((?:[A-Z]{1,5}\$?|[.,:])(?=[ (])")
_FEWEST_TAGGED = 6
_LEAST_TAGGED = 0.6
_LEAST_PARSED = 0.4
_FEWEST_SUBWORDS = 2
_SUBWORD = re.compile(r"(?<=\w)(?: ##|@@ )(?=\w)")
_SPACE_CODE = re.compile(r"\+AKA-")
_CUE = re.compile(r"^(?:\d+[ \t]*\r?\n)?[\d:]{5,9}[.,]\d{3} --> .*$", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\[\]\n]+)\]\((?:https?:|/|#|\w+\.\w)[^()\s]*\)")
_WIKI = re.compile(r"\[\[(?:[^\[\]|\n]*\|)*([^\[\]|\n]+)\]\]")
_FORUM = re.compile(
    r"\[/?(?:b|i|u|s|center|code|color|font|img|left|quote|right|size|spoiler|sub|sup|url)"
    r"(?:=[^\[\]\n]{1,80})?\]",
    re.IGNORECASE,
)
_FOOTNOTE = re.compile(r"(?:(?<=[a-z]{2})|(?<=[.,;)]))\[\d{1,3}\]")
_XML = re.compile(
    r"</?(?:(?P<shape>(?:circle|ellipse|line|path|poly(?:gon|line)|rect)(?=\s[^<>]*(?:/>|></)))"
    r"|[a-zA-Z][\w.-]*(?P<prefixed>:[\w.-]+)?)"
    r"(?:\s+[\w:.-]+=(?:\"[^\"<>]*\"|'[^'<>]*'))*\s*/?>"
)
_SAID = re.compile(r"\s(?!class=|style=)([\w:.-]+)=(?:\"([^\"<>]*)\"|'([^'<>]*)')")
_TELLS = re.compile(
    "(?i)answer|choice|content|correct|label|option|prompt|question|text|title|value"
)
"""Names of attributes that are text however short."""
_WITHIN_VALUE = re.compile(r"[\s,;]+")
_LEAST_SAID = 4
"""Words of an attribute that are text, or the line of a shape."""
_FEWEST_NUMBERS = 3
"""Attributes of a shape, from which on they place it."""
_TIED = re.compile(r"(?<=[^\W\d]|[.,;:?!)])~(?=[\w(])|(?<=\w)~(?=[^\W\d])")
_FEWEST_TIED = 3
"""Marks in one stretch from which on all of them are spaces."""
_DISPLAY = re.compile(r"\\[\[\]()](?=\s|\\|\w|$)")

_ANY_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]{0,15})((?:\s[^<>]{0,300})?)>")
_STAYS_OPEN = frozenset(
    """area base body br col dd dt embed head hr html img input li link meta option p param source
    tbody td tfoot th thead tr track wbr""".split()  # noqa: SIM905
)
_CLOSED = frozenset(
    """a abbr address article aside audio b blockquote button canvas caption center cite code del
    details div dl em fieldset figcaption figure font footer form h1 h2 h3 h4 h5 h6 header i iframe
    ins kbd label legend main map mark menu nav object ol pre q samp script section select small
    span strong style sub summary sup svg table template textarea time title u ul var
    video""".split()  # noqa: SIM905
)
"""Not `s`, which begins and ends the texts of language models."""
_BETWEEN_TAGS = re.compile(
    r"[\s,;/|\"'`]*(?:and|or)?\s*(?:[(\[]?[\w-][)\].:]|[-*\u2022])?[\s\"'`]*"
)
"""Options of a row."""
_SPOKEN_OF = re.compile(
    r"[\"'`)]*\s+(?:attributes?|does|do(?=\?)|elements?|means?|stands?|tags?)\b", re.IGNORECASE
)
_FEWEST_IN_ROW, _MOST_BETWEEN = 3, 20
_WRAPS = frozenset("code div label li option p pre span td".split())  # noqa: SIM905
"""Around a part of a page that is a tag."""
_NEAR_TAG = 80
"""Characters of its line before and after a tag among which there is prose."""
_HAS_WORD = re.compile(r"\w")
_BESIDE_TAG = re.compile(r"[A-Za-z\d<>]")


def decode(text: str) -> str:
    """Read the escapes of files, mail and addresses."""
    if "\\" in text:
        if "\\rtf" in text:
            text = _RTF.sub(_read_rtf, text)
        text = _UNICODE.sub(_read_unicode, _SURROGATES.sub(_read_surrogates, text))
        text = _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
        text = _BREAK.sub("\n", text).replace('\\"', '"')
        text = _DISPLAY.sub(" ", text)
    if "_x" in text:
        text = _OFFICE.sub(lambda match: _character(int(match[1], 16)), text)
    if "%" in text or "+" in text:
        text = _decode_address(_SPACE_CODE.sub(" ", text))
    return _decode_mail(text) if "=" in text else text


def read_again(text: str) -> str:
    """Read the UTF-8 that was read as Latin-1 or Windows-1252, once or more often."""
    for _ in range(_MOST_READ):
        before, text = text, _MISREAD.sub(_read_bytes, text)
        if text == before:
            break
    return _MISREAD_SPACE.sub("", text)


def take_off_marks(text: str) -> str:
    """A text without what files add to it: marks of spaces and lines, links, tags, classes."""
    if "~" in text:
        text = _TIED.sub(" ", _STRETCH.sub(_untie, text))
    if "<" in text or "[" in text:
        text = _SUNG.sub("", text)
    if "<" in text:
        text = _take_off_tags(text)
    if "[" in text:
        text = _LINK.sub(r"\1", _WIKI.sub(r"\1", text))
        text = _FOOTNOTE.sub("", _FORUM.sub("", text))
    if text.count("##") + text.count("@@") >= _FEWEST_SUBWORDS:
        text = _SUBWORD.sub("", text)
    text = _take_off_classes(text)
    return _take_off_lines(text) if "\n" in text else text


def _take_off_tags(text: str) -> str:
    """Without tags; what attributes say is kept, of a shape in its place, else behind the text.

    There a title, or where a word stands on a page, would part the words of a sentence.
    """
    behind: list[str] = []

    def replace_tag(match: re.Match[str]) -> str:
        if match["prefixed"]:
            return ""
        if match["shape"]:
            values = [double or single for _, double, single in _SAID.findall(match[0])]
            numbers = sum(value.strip("-").replace(".", "", 1).isdecimal() for value in values)
            told = [one for one in values if len(_WITHIN_VALUE.split(one)) >= _LEAST_SAID]
            return f" {' '.join(values if numbers >= _FEWEST_NUMBERS else told)} "
        behind.extend(said_in(match[0]))
        return " "

    plain = _XML.sub(replace_tag, text)
    return "\n".join([plain, *dict.fromkeys(behind)])


def said_in(tag: str) -> list[str]:
    """List the texts in the attributes of a tag."""
    found = ((name, double or single) for name, double, single in _SAID.findall(tag))
    return [
        value
        for name, value in found
        if len(_WITHIN_VALUE.split(value)) >= _LEAST_SAID or _TELLS.fullmatch(name)
        if any(map(str.isalpha, value))
    ]


def _character(code: int) -> str:
    """Nothing for half of one, which no file can hold, and for what is none."""
    return "" if 0xD800 <= code < 0xE000 or code > 0x10FFFF else chr(code)


def _read_surrogates(match: re.Match[str]) -> str:
    high, low = (int(half, 16) for half in match.groups())
    return chr(0x10000 + ((high - 0xD800) << 10) + low - 0xDC00)


def _read_unicode(match: re.Match[str]) -> str:
    return _character(int(match[1] or match[2] or match[3] or match[4], 16))


def _read_rtf(match: re.Match[str]) -> str:
    if match[1]:
        return bytes([int(match[1], 16)]).decode("cp1252", "ignore")
    return _character(int(match[2])) if match[2] else ""


def _read_bytes(match: re.Match[str]) -> str:
    """The character that was meant, where the bytes are one."""
    return bytes(map(_BYTES.__getitem__, match[0])).decode("utf-8", "ignore") or match[0]


def _take_off_classes(text: str) -> str:
    """Without the word classes of corpora, beside each word or around it."""
    if "/" in text or "_" in text:
        tagged = len(_TAGGED.findall(text))
        if tagged >= _FEWEST_TAGGED and tagged >= _LEAST_TAGGED * len(text.split()):
            text = _TAGGED.sub("", text)
    parsed = len(_PARSED.findall(text)) if text.count("(") >= _FEWEST_TAGGED else 0
    if parsed >= _FEWEST_TAGGED and parsed >= _LEAST_PARSED * len(text.split()):
        text = _PARSED.sub("", text).replace(")", "")
    return text


def _decode_address(text: str) -> str:
    if "+" in text:
        if _PERCENT.search(text):
            text = _STRETCH.sub(_decode_form, text)
        if _FORM_SPACE.search(text):
            text = _FORM_SPACE.sub(" ", _STRETCH.sub(_unjoin, text))
    is_address = "%20" in text or "%25" in text or "%3C" in text or _BEYOND_ASCII.search(text)
    return unquote(text) if is_address else text


def _decode_form(match: re.Match[str]) -> str:
    stretch = match[0]
    return unquote_plus(stretch) if "+" in stretch and _PERCENT.search(stretch) else stretch


def _unjoin(match: re.Match[str]) -> str:
    """Words that only `+` part."""
    joined = match[0].count("+") >= _FEWEST_TIED and _FORM_SPACE.search(match[0])
    return match[0].replace("+", " ") if joined else match[0]


def _untie(match: re.Match[str]) -> str:
    """Words that only marks of spaces part."""
    return match[0].replace("~", " ") if match[0].count("~") >= _FEWEST_TIED else match[0]


def _decode_mail(text: str) -> str:
    has_breaks = ("=\n" in text or "=\r" in text) and _SOFT_BREAK.search(text) is not None
    is_mail = has_breaks or _QUOTED.search(text) is not None
    if not is_mail:
        return text
    text = _QUOTED.sub(_read_codes, text)
    if has_breaks:
        text = _SOFT_BREAK.sub(r"\1", text)
    return _MAIL.sub(_read_codes, text)


def _read_codes(match: re.Match[str]) -> str:
    codes = bytes(int(code, 16) for code in _CODE.findall(match[0]))
    return codes.decode("utf-8", errors="ignore")


def _take_off_lines(text: str) -> str:
    """Without what stands at the beginning of every line."""
    if "-->" in text:
        text = _CUE.sub("", text)
    if "Dialogue: " in text:
        text = _STYLED.sub("", text)
    if text.count("\n") >= _FEWEST_LOGGED - 1:
        text = _DUMPED.sub(r"\1", text)
        if len(_CLASS_WORD.findall(text)) >= _FEWEST_ROWS:
            text = _TABLED.sub(_read_columns, text)
        if len(_LOGGED.findall(text)) >= _FEWEST_LOGGED:
            text = _LOGGED.sub("", text)
    if "+--" in text or "+==" in text:
        text = _RULE.sub("", text)
    if "\n+" in text:
        text = _ADDED.sub(_take_off_added, text)
    text = _COMMENT.sub(lambda match: _COMMENT_MARK.sub("", match[0]), text)
    return _take_off_numbers(text)


def _take_off_added(match: re.Match[str]) -> str:
    """Lines without their mark, where most go on with a word."""
    lines = match[0].count("\n") + 1
    added = len(_ADDED_MARK.findall(match[0]))
    if added < _FEWEST_ADDED or 2 * added < lines:
        return match[0]
    return re.sub(r"^\+", "", match[0], flags=re.MULTILINE)


def _read_columns(match: re.Match[str]) -> str:
    """The words of tables that have one in each line, beside its number, lemma and class."""
    rows = [line.split() for line in match[0].splitlines()]
    found = (_read_column([*table]) for _, table in groupby(rows, len))
    return "\n".join(found) + "\n"


def _read_column(rows: list[list[str]]) -> str:
    columns = [*zip(*rows, strict=True)]
    said: tuple[str, ...] = next((one for one in columns if not all(map(str.isdigit, one))), ())
    has_classes = any(_are_classes(one) for one in columns if one is not said)
    if len(rows) < _FEWEST_ROWS or not has_classes or not any(map(str.islower, said)):
        return "\n".join(map(" ".join, rows))
    return " ".join(said)


def _are_classes(column: tuple[str, ...]) -> bool:
    """Whether a column holds word classes: some come again, and not signs alone."""
    is_class = all(map(_CLASS.fullmatch, column)) and any(map(str.isalpha, column))
    return is_class and len({*column}) < len(column)


def _take_off_numbers(text: str) -> str:
    """Without line numbers: those with a mark where two neighbours count; of bare ones, runs."""
    runs: list[list[re.Match[str]]] = []
    for match in _NUMBERED.finditer(text):
        if runs and _follows(text, runs[-1][-1], match):
            runs[-1].append(match)
        else:
            runs.append([match])
    marks = {run[0][2] for run in runs if len(run) > 1} & {":", "|"}
    taken = [
        number.span()
        for run in runs
        if run[0][2] in marks or len(run) >= _FEWEST_NUMBERED
        for number in run
    ]
    starts, ends = [start for start, _ in taken], [end for _, end in taken]
    kept = zip([0, *ends], [*starts, len(text)], strict=True)
    return "".join(text[after:before] for after, before in kept)


def _follows(text: str, one: re.Match[str], other: re.Match[str]) -> bool:
    """Whether they number neighbouring lines."""
    is_next = int(other[1]) == int(one[1]) + 1 and other[2] == one[2]
    return is_next and text.count("\n", one.end(), other.start() + 1) == 1


def is_tag(text: str) -> bool:
    """Whether a text is one tag."""
    return _ANY_TAG.fullmatch(html.unescape(text).strip()) is not None


def spell_tags(text: str) -> str:
    """Write the tags that a text is about as words; those that it is dressed in stay."""
    found = [*_ANY_TAG.finditer(text)]
    if not found:
        return text
    partners = _match_up(found)
    ends = [0, *(tag.end() for tag in found)]
    between = zip(ends, [*(tag.start() for tag in found), len(text)], strict=True)
    is_alone = not any(_HAS_WORD.search(text, *bounds) for bounds in between)
    if is_alone and not any(said_in(tag[0]) for tag in found):
        first, last = 0, len(found) - 1
        while last - first > 1 and partners.get(first) == last and found[first][2] in _WRAPS:
            first, last = first + 1, last - 1
        return _ANY_TAG.sub(_spell_tag, text[found[first].start() : found[last].end()])
    spelled = _find_rows(text, found, partners)
    spelled |= {n for n, tag in enumerate(found) if n not in partners and _is_word(text, tag)}
    kept, at = [], 0
    for number in sorted(spelled):
        kept += [text[at : found[number].start()], _spell_tag(found[number])]
        at = found[number].end()
    return "".join([*kept, text[at:]])


def _spell_tag(tag: re.Match[str]) -> str:
    return f" {'untag' if tag[1] else 'tag'}{tag[2].lower()} {tag[3]} "


def _match_up(found: list[re.Match[str]]) -> dict[int, int]:
    """Opening tag -> the one that closes it, and the reverse."""
    partners: dict[int, int] = {}
    opened: dict[str, list[int]] = {}
    for number, tag in enumerate(found):
        waiting = opened.setdefault(tag[2].lower(), [])
        if not tag[1]:
            waiting.append(number)
        elif waiting:
            partners[number] = waiting.pop()
            partners[partners[number]] = number
    return partners


def _find_rows(text: str, found: list[re.Match[str]], partners: dict[int, int]) -> set[int]:
    """Find the tags in rows of different ones that enclose nothing else."""
    rows: list[list[int]] = []
    for number, tag in enumerate(found):
        before = found[number - 1].end() if number else 0
        is_near = number and 0 < tag.start() - before <= _MOST_BETWEEN
        if is_near and _BETWEEN_TAGS.fullmatch(text, before, tag.start()):
            rows[-1].append(number)
        else:
            rows.append([number])
    return {
        number
        for row in rows
        if len({found[n][0].lower() for n in row}) >= _FEWEST_IN_ROW
        and all(row[0] <= partners.get(n, n) <= row[-1] for n in row)
        and not _ends_elements(text, [found[n] for n in row])
        for number in row
    }


def _ends_elements(text: str, row: list[re.Match[str]]) -> bool:
    """Whether a page whose beginning is cut off is likely to hold the row."""
    between = "".join(text[one.end() : other.start()] for one, other in pairwise(row))
    return between.isspace() and any(tag[1] for tag in row)


def _is_word(text: str, tag: re.Match[str]) -> bool:
    """Whether an open tag stands by itself in a line of prose."""
    name, (start, end) = tag[2].lower(), tag.span()
    if tag[3].strip() or _BESIDE_TAG.search(text[start - 1 : start] + text[end : end + 1]):
        return False
    if name in _STAYS_OPEN or tag[1]:
        return _SPOKEN_OF.match(text, end) is not None
    if name not in _CLOSED:
        return False
    before = text[max(0, start - _NEAR_TAG) : start].rpartition("\n")[2]
    after = text[end : end + _NEAR_TAG].partition("\n")[0]
    return any(map(str.isalpha, before + after))
