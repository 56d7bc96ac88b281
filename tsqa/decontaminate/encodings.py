"""A text without what files, mail and markup add to it: escapes, marks of lines, link targets.

Of JSON strings the escapes, also of one within another; of URLs the percent signs, and `+` for
spaces; of mail the codes and line ends of quoted-printable (RFC 2045); of source code and listings
the comment marks and line numbers; of subtitles the numbers and times (SubRip, WebVTT); of LaTeX
the marks of spaces and formulas; of Markdown, wikis and forums the targets of links and the tags.

Guarantee: what is taken off is no word of a sentence; where a mark may mean something (`\\nu`,
`=20`, `* 5`), it goes only where its surroundings show that it does not.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, unquote_plus

_COMMANDS = (
    "nabla|natural|ne|nearrow|neg|neq|newcommand|newline|nexists|ng|ngeq|ni|nleq|nmid|nocite|"
    "node|noindent|nolimits|nonumber|normalsize|not|notin|nparallel|nrightarrow|nsubseteq|nu|"
    "nwarrow|raggedright|raisebox|rangle|rbrace|rbrack|rceil|ref|renewcommand|rfloor|rho|right|"
    "rightarrow|rightharpoonup|rm|root|rule|rvert|rVert|table|tabular|tag|tan|tanh|tau|text|textbf|"
    "textcolor|textit|textrm|textstyle|textsuperscript|texttt|tfrac|theta|therefore|thicksim|"
    "thinspace|tilde|times|tiny|title|to|today|top|triangle|triangleleft|triangleright|tt"
)
"""Commands of LaTeX that begin like the escape of a line break or tab."""
# A run of backslashes is looked at once, from its first: a text may hold nothing else.
_RUN = r"\\(?<!\\\\)\\*+"
_UNICODE = re.compile(rf"{_RUN}u([0-9a-fA-F]{{4}})")
_BREAK = re.compile(rf"{_RUN}(?!(?:{_COMMANDS})(?![a-zA-Z]))[nrt]")
_STRETCH = re.compile(r"\S+")
# It begins with the mark itself: a search for a lookbehind is slow.
_FORM_SPACE = re.compile(r"\+(?:(?<=[a-zA-Z]{2}\+)(?=\w)|(?<=\w\+)(?=[a-zA-Z]{2}))")
_PERCENT = re.compile(r"%[0-9a-fA-F]{2}")
_SOFT_BREAK = re.compile(r"^(.{50,77})=\r?\n", re.MULTILINE)
_QUOTED = re.compile(r"=[C-F][0-9A-F](?:=\r?\n|=[89AB][0-9A-F])+")
_CODE = re.compile(r"=([0-9A-F]{2})")
_MAIL = re.compile(r"=(?:20$|3D|0A|0D)", re.MULTILINE)
_COMMENT = re.compile(
    r"^[ \t]*(\*|//+|#+|;+|--)(?:[ \t].*)?(?:\n[ \t]*\1(?:[ \t].*)?$)+", re.MULTILINE
)
_COMMENT_MARK = re.compile(r"^[ \t]*[*/#;-]+[ \t]*", re.MULTILINE)
_NUMBERED = re.compile(r"^[ \t]*(\d{1,6})([:|.]?)[ \t]+", re.MULTILINE)
_FEWEST_NUMBERED = 3
"""Lines with bare numbers: of two, the numbers may be text."""
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
    r"</?[a-zA-Z][\w.-]*(?P<prefixed>:[\w.-]+)?"
    r"(?:\s+[\w:.-]+=(?:\"[^\"<>]*\"|'[^'<>]*'))*\s*/?>"
)
_TIED = re.compile(r"(?<=[^\W\d]|[.,;:?!)])~(?=[\w(])|(?<=\w)~(?=[^\W\d])")
_FEWEST_TIED = 3
"""Marks in one stretch from which on all of them are spaces."""
_DISPLAY = re.compile(r"\\[\[\]()](?=\s|\\|\w|$)")


def decode(text: str) -> str:
    """Write a text as its file, mail or page means it."""
    if "\\" in text:
        text = _UNICODE.sub(_read_unicode, text)
        text = _BREAK.sub("\n", text).replace('\\"', '"')
        text = _DISPLAY.sub(" ", text)
    if "%" in text or "+" in text:
        text = _decode_address(text)
    if "=" in text:
        text = _decode_mail(text)
    if "~" in text:
        text = _TIED.sub(" ", _STRETCH.sub(_untie, text))
    if "<" in text:
        text = _XML.sub(lambda match: "" if match["prefixed"] else " ", text)
    if "[" in text:
        text = _LINK.sub(r"\1", _WIKI.sub(r"\1", text))
        text = _FOOTNOTE.sub("", _FORUM.sub("", text))
    return _take_off_lines(text) if "\n" in text else text


def _read_unicode(match: re.Match[str]) -> str:
    """The character; nothing for half of one, which no file can hold."""
    code = int(match[1], 16)
    return "" if 0xD800 <= code < 0xE000 else chr(code)


def _decode_address(text: str) -> str:
    if "+" in text:
        if _PERCENT.search(text):
            text = _STRETCH.sub(_decode_form, text)
        if _FORM_SPACE.search(text):
            text = _FORM_SPACE.sub(" ", _STRETCH.sub(_unjoin, text))
    return unquote(text) if "%20" in text else text


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
    text = _COMMENT.sub(lambda match: _COMMENT_MARK.sub("", match[0]), text)
    return _take_off_numbers(text)


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
