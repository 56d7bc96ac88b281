r"""LaTeX that was written into JSON with one backslash: `"\frac"`, `"\times"`, `"\nu"`.

JSON takes `\f`, `\t`, `\n`, `\r`, `\b` and `\u` for escapes, so that a decoder silently turns
`\times` into a tab and "imes". Guarantees: every command of LaTeX, amsmath, amssymb and the usual
packages survives; `\n` and `\t` before ordinary words stay escapes.
"""

from __future__ import annotations

import re

_N = (
    "abla|atural|ncong|cong|e|ear|earrow|eg|eq|eqq|eqslant|ewcommand|ewenvironment|ewline|ewpage"
    "|exists|geq|geqq|geqslant|gtr|i|leftarrow|Leftarrow|leftrightarrow|Leftrightarrow|leq|leqq"
    "|leqslant|less|mid|obreak|ocite|oindent|olimits|onumber|opagebreak|ormalfont|ormalsize|ot|otag"
    "|otin|otni|parallel|prec|preceq|rightarrow|Rightarrow|shortmid|shortparallel|sim|subset"
    "|subseteq|subseteqq|succ|succeq|supset|supseteq|supseteqq|triangleleft|trianglelefteq"
    "|triangleright|trianglerighteq|u|vdash|vDash|Vdash|VDash|warrow|orm|um|umrange|uclide|Pr|Cr"
    "|inf|earbar|icefrac|vartriangle|simeq|approx|asymp|equiv|in|gtrless|lessgtr|lless|ggtr|ll|gg|eqsim|vec"
)
_T = (
    "abcolsep|abular|ag|an|anh|au|binom|dplotsetup|ext[A-Za-z]*|frac|hanks|heta|hetasym|herefore"
    "|hickapprox|hicksim|hickspace|hinspace|hispagestyle|ilde|imes|iny|itle|o|oday|op|opsep|otal"
    "|r|race|ranspose|riangle|riangledown|riangleleft|rianglelefteq|riangleq|riangleright"
    "|rianglerighteq|t|tfamily|woheadleftarrow|woheadrightarrow|erm|ensor|hinmuskip|hickmuskip"
    "|operatorname|abbing|wocolumn"
)
_R = (
    "aisebox|ambda|angle|anglebar|ank|arrow|Bag|brace|brack|bag|ceil|e|edmapsto|ef|efstepcounter"
    "|elax|enewcommand|egular|floor|group|ho|ight|ightarrow|ightarrowtail|ightbarharpoon"
    "|ightharpoondown|ightharpoonup|ightleftarrows|ightleftharpoons|ightrightarrows|ightsquigarrow"
    "|ightthreetimes|ightarrowtriangle|ightleftarrow|isingdotseq|m|mfamily|moustache|oman|ot|otimes"
    "|Rightarrow|times|tri|ule|vert|Vert|Vvert|eal|es|mathrm|imath|hd|parenthesis|sect|aggedright|ange|estriction|estrictedto"
    "|brbrak|brbracket|rbracket|rparenthesis|ightturn|ightslice|ightrightharpoons|ound|ecip"
)
# As whole words at the start of a line, or behind a tab, these could be ordinary text.
_DOUBTFUL = {"\\ne", "\\ni", "\\nu", "\\nin", "\\nll", "\\ngg", "\\nless", "\\ninf", "\\num"}
_DOUBTFUL |= {"\\to", "\\tan", "\\tt", "\\tr", "\\top", "\\tag", "\\title", "\\today", "\\tau"}
_DOUBTFUL |= {"\\trace", "\\total", "\\term", "\\nor", "\\near", "\\not"}

_COMMAND = re.compile(rf"\\(?:n(?:{_N})|t(?:{_T})|r(?:{_R})|[bf][A-Za-z]+)(?![A-Za-z])")
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)
_MATH_AFTER = re.compile(r"\s?[\\^_{}$=<>+*/|()\[\],;.-]|\s?\d|\s[a-zA-Z](?![a-zA-Z])|\s*\Z")
_ROW_GOES_ON = re.compile(r"[ \t\n&\[]|\\[nh]|\Z")
_MATH_MARKS = {r"\(": True, r"\[": True, r"\)": False, r"\]": False}
_UNKNOWN_IN_MATH = re.compile(r"\\[tr][A-Za-z]{2,30}(?![A-Za-z])|\\[ntr][A-Za-z]{2,30}\{")
_NAMED_GROUP = re.compile(r"\\[ntr][A-Za-z]{2,30}\{")
# What is left of a command whose first letter was taken for an escape. Of those with a newline or
# a tab only such as no language has as words.
_REMAINS = re.compile(
    r"\x08(?=[a-zA-Z])|\x0c(?:rac|orall|lat|box|rown|box)(?![a-z])|\r(?=[a-zA-Z])"
    r"|\t(?:imes(?![a-z])|heta|ilde|herefore|riangle\w*|ext\w*\{|frac|binom|hickapprox|au(?=[\s_^$\\,)=])"
    r"|anh?(?=[\s]*[\\({^])|woheadrightarrow)"
    r"|\n(?:abla|otin|earrow|eq(?=[\s\\\d{$])|exists|subseteq|parallel|rightarrow|leftarrow"
    r"|u(?=_\{|\^\{)|mid\b)|(?<=[a-zA-Z])\nu(?![\w'])"
)


def keep_commands(json_text: str) -> str:
    r"""Double each backslash of JSON that begins a LaTeX command, or no escape.

    Where a teacher wrote a command with one backslash it wrote `\\`, the end of a row, with two.
    """
    fixed: list[str] = []
    row_ends: list[int] = []
    end, is_raw, in_math = 0, False, False
    for match in _ESCAPE.finditer(json_text):
        escape, between = match[0], json_text[end : match.start()]
        in_math = _is_in_math(in_math, between)
        is_command = _is_command(json_text, match.start(), in_math)
        is_raw |= is_command
        if escape == "\\\\" and _ROW_GOES_ON.match(json_text, match.end()):
            row_ends.append(len(fixed) + 1)
        if escape in _MATH_MARKS:
            in_math = _MATH_MARKS[escape]
        fixed += [between, "\\" + escape if is_command or _is_no_escape(escape) else escape]
        end = match.end()
    for place in row_ends if is_raw else []:
        fixed[place] *= 2
    return "".join([*fixed, json_text[end:]])


def keep_backslashes(json_text: str) -> str:
    """Double each backslash of JSON that begins no escape."""
    return _ESCAPE.sub(lambda m: "\\" + m[0] if _is_no_escape(m[0]) else m[0], json_text)


def has_remains(text: str) -> bool:
    r"""Whether a decoder took the beginning of a command for an escape: a tab and "imes"."""
    return bool(_REMAINS.search(text))


def _is_in_math(before: bool, text: str) -> bool:
    """Whether the end of a piece of JSON lies between dollars; each string begins outside."""
    _, quote, rest = text.rpartition('"')
    return (rest.count("$") + (0 if quote else before)) % 2 == 1


def _is_no_escape(escape: str) -> bool:
    return escape[1] not in '"\\/bfnrtu' or escape == "\\u"


def _is_command(text: str, start: int, in_math: bool) -> bool:
    match = _COMMAND.match(text, start)
    if match is None:
        return bool((_UNKNOWN_IN_MATH if in_math else _NAMED_GROUP).match(text, start))
    if match[0] not in _DOUBTFUL or in_math:
        return True
    before = text[start - 1 : start]
    return before in ("(", "{", "$", " ") and bool(_MATH_AFTER.match(text, match.end()))
