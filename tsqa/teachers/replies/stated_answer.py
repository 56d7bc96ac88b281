"""Where a text states its answer: `the answer is`, `答案是`, `La respuesta es`, `<answer>`.

Guarantees: the last statement counts; one that is only supposed or called wrong does not; the
answer may stand on the line below; what comes after an answer may take it back; work is linear in
the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice

from tsqa.text.normalise import normalise

TAKES_BACK = "takes its answer back"

_BY_THE_WAY = r"(?: also| thus| therefore| clearly| indeed| definitely| most likely| daher)?"
CUE = re.compile(
    r"(?P<en>\b(?:answer|option|choice|letter)(?: choice| here| to (?:this|the) question)?"
    rf" (?:is|would be|must be|should be|has to be){_BY_THE_WAY}\b"
    r"(?! (?:in)?correct\b| right\b| wrong\b):?|\bfinal answer ?[:\uff1a]"
    r"|(?P<label>(?<=[.!?] )[*_]{0,2}answer ?[:\uff1a]))"
    r"|(?P<de>\b(?:antwort|antwortm\u00f6glichkeit|l\u00f6sung|option) (?:ist|lautet|w\u00e4re)\b"
    r"(?: also| daher| somit)?:?)"
    r"|(?P<es>\b(?:respuesta|opci\u00f3n|alternativa|soluci\u00f3n)(?: correcta| final)?"
    r" (?:(?:es|ser\u00eda|debe ser)\b:?|(?=no es )))"
    r"|(?P<fr>\b(?:r\u00e9ponse|option|solution)(?: correcte| exacte| finale)?"
    r" (?:(?:est|serait|doit \u00eatre)\b ?:?|(?=n'est pas )))"
    r"|(?P<pt>\b(?:resposta|op\u00e7\u00e3o|alternativa)(?: corr?ecta| correta| certa| final)?"
    r" (?:\u00e9|seria|deve ser)\b ?:?)"
    r"|(?P<it>\b(?:risposta|opzione)(?: corretta| giusta| esatta| finale)?"
    r" (?:\u00e8|sarebbe)\b ?:?)"
    r"|(?P<nl>\bantwoord (?:is|luidt)\b:?)|(?P<sv>\bsvar(?:et)? \u00e4r\b:?)"
    r"|(?P<pl>\bodpowied\u017a (?:to|jest)\b:?)"
    r"|(?P<ru>\b(?:\u043e\u0442\u0432\u0435\u0442"
    r"|\u0432\u0456\u0434\u043f\u043e\u0432\u0456\u0434\u044c)"
    r" ?(?:[:\u2014\u2013-]|\u044d\u0442\u043e\b|\u0446\u0435\b)"
    r"|\b(?:\u0432\u0435\u0440\u043d\u044b\u0439|\u043f\u0440\u0430\u0432\u0438\u043b\u044c\u043d\u044b\u0439)"
    r" \u0432\u0430\u0440\u0438\u0430\u043d\u0442"
    r"(?: \u043e\u0442\u0432\u0435\u0442\u0430)? ?[:\u2014\u2013-])"
    r"|(?P<vi>\b\u0111\u00e1p \u00e1n(?: \u0111\u00fang| ch\u00ednh x\u00e1c)? l\u00e0\b:?)"
    r"|(?P<id>\bjawaban(?:nya)?(?: yang benar)? adalah\b:?)"
    r"|(?P<tr>\b(?:cevap|yan\u0131t)(?: ise)? ?:? )"
    r"|(?P<ar>(?:\u0627\u0644\u0625\u062c\u0627\u0628\u0629"
    r"|\u0627\u0644\u0627\u062c\u0627\u0628\u0629"
    r"|\u0627\u0644\u062c\u0648\u0627\u0628)(?: \u0627\u0644\u0635\u062d\u064a\u062d\u0629?"
    r"| \u0627\u0644\u0646\u0647\u0627\u0626\u064a\u0629?)? ?(?:\u0647\u064a|\u0647\u0648|:)\s?:?)"
    r"|(?P<hi>\u0909\u0924\u094d\u0924\u0930(?: \u0939\u0948)? ?:? )"
    r"|(?P<ko>(?:\uc815\ub2f5|\ud574\ub2f5|\b\ub2f5)(?:\uc740| ?[:\uff1a]) ?)"
    r"|(?P<ja>(?:\u6b63\u89e3|\u6b63\u7b54|\u7b54\u3048|\u89e3\u7b54"
    r"|\u56de\u7b54)\u306f[\u3001:\uff1a]? ?)"
    r"|(?P<zh>(?:\u7b54\u6848|\u6b63\u786e\u9009\u9879|\u6b63\u78ba\u9078\u9805)"
    r"(?:\u5e94\u8be5|\u61c9\u8a72|\u5e94|\u61c9)?(?:\u662f|\u4e3a|\u70ba|\u9009|\u9078"
    r"|[:\uff1a])[:\uff1a]? ?"
    r"|(?:[\u672c\u6b64]\u9898|\u6545|\u6240\u4ee5|\u56e0\u6b64|\u5e94\u8be5|\u5e94|\u61c9|[\uff0c\u3002,]|^)\u5e94?[\u9009\u9078]"
    r"\u62e9?[:\uff1a]? ?(?=[(\uff08]?[A-Z]))",
    re.IGNORECASE,
)
_OWN_QUESTION = re.compile(r"\s*(?:question ?: ?)?[^.!?\n]*\?", re.IGNORECASE)
_GIVEN_FIRST = re.compile(r"[\s*_(]*(?:[A-J]|\d[\d.,]{0,20})[*_)]{0,3}[.:)](?=\s)")
"""An answer at the beginning, which a later `Answer:` in its line is another than."""
_NEXT_QUESTION = re.compile(r"\?|\b(?:question|problem|Q)(?: ?\d{1,3})? ?:", re.IGNORECASE)
"""From which on `Answer:` within a line may be that of another question."""
_STEMS = (
    *(
        "answer",
        "option",
        "choice",
        "letter",
        "antwort",
        "l\u00f6sung",
        "respuesta",
        "opci\u00f3n",
        "alternativa",
    ),
    *(
        "soluci\u00f3n",
        "r\u00e9ponse",
        "solution",
        "resposta",
        "op\u00e7\u00e3o",
        "risposta",
        "opzione",
    ),
    *(
        "antwoord",
        "svar",
        "odpowied\u017a",
        "\u0432\u0430\u0440\u0438\u0430\u043d\u0442",
        "\u043e\u0442\u0432\u0435\u0442",
    ),
    *(
        "\u0432\u0456\u0434\u043f\u043e\u0432\u0456\u0434\u044c",
        "\u0111\u00e1p \u00e1n",
        "jawaban",
        "cevap",
    ),
    *(
        "yan\u0131t",
        "\u062c\u0627\u0628\u0629",
        "\u062c\u0648\u0627\u0628",
        "\u0909\u0924\u094d\u0924\u0930",
    ),
    *("\ub2f5", "\u6b63\u89e3", "\u7b54", "\u9009", "\u9078"),
)
"""Of which each cue holds one: most of a long text has none, and `CUE` is slow to say so."""
_NOT_MEANT = re.compile(
    r"(?:\b(?:wrong|incorrect|false|worst|bad|tempting|possible|plausible|least likely|unlikely"
    r"|first|second|third|fourth|fifth|last"
    r"|not the(?: \w+)?|not a|falsche"
    r"|incorrecta|mauvaise|if|whether"
    r"|unless|suppose|assuming|wenn|falls|(?:might|may|could|many|most|some|people|tempting to"
    r"|(?:wrong|incorrect|false|mistake|misleading) to)(?: \w+)?"
    r" (?:think|say|believe|assume)(?: that)?)(?: the| die| la)?(?: (?:correct|right|best))?"
    r"|\u9519\u8bef|\u5982\u679c|\u4e0d\u6b63\u786e\u7684?)\s*$",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(
    r"\b(?:if\b[^.!?\n]{0,120}\b(?:were|was|had|did|weren't|wasn't|hadn't|didn't|could)"
    r"|wenn\b[^.!?\n]{0,120}\b(?:w\u00e4ren?|h\u00e4tten?)"
    r"|si\b[^.!?\n]{0,120}\b(?:fuera|fuese|hubiera|tuviera|\u00e9tait|\u00e9taient|avait))\b"
    r"[^.!?\n]{0,80}$",
    re.IGNORECASE,
)
_ZH_IF = re.compile("(?:\u5982\u679c|\u5047\u5982|\u5047\u8bbe|\u82e5)[^\u3002\n]*$")
_WOULD_BE = re.compile(r"\b(?:would be|w\u00e4re|ser\u00eda|serait)\b", re.IGNORECASE)
"""`If it were cold, the answer would be B` gives none."""
_TAKEN_BACK = re.compile(
    r"(?:\A|[\n.!?\u2026\u3002])[\s*_>(\[-]{0,9}(?:"
    r"(?:wait|hold on|oops|sorry|apologies|my (?:mistake|apologies)|espera|attende[zs])"
    r"(?=\s*(?:[,.!:;\u2026\u2014\u2013-]|$))"
    r"|wait (?=(?:no|i|it|that|actually)\b)|scratch that\b|on second thoughts?\b"
    r"|(?:(?:self[- ])?correction|edit|update) ?:"
    r"|i (?:have |just )*(?:made (?:a|an|my) |see (?:a|an|my) |noticed? (?:a|an|my) )"
    r"(?:\w+ )?(?:mistake|error)(?! in (?:the|a|his|her|their)\b)"
    r"|let me correct\b|moment mal\b|korrektur ?:|correcci\u00f3n ?:"
    r"|or (?:maybe|perhaps|possibly)\b"
    r"|\u7b49\u7b49|\u7b49\u4e00\u4e0b|\u4e0d\u5bf9[\uff0c\u3002]|\u66f4\u6b63[\uff1a:])",
    re.IGNORECASE,
)
_RATHER = re.compile(
    r"(?:\A|\n)[\s*_>(-]{0,9}actually\b,?(?P<said>[^\n.!?]*)"
    r"|(?:\A|[\n.!?])[\s*_>(-]{0,9}let me (?:re-?(?:check|calculate|compute|consider|count|do"
    r"|evaluate|examine|read|think|verify|visit)|double[- ]check|check (?:it |that )?again)\b"
    r"(?P<again>.*)"
    r"|\b(?:but|however,?|yet) (?:the (?:question|problem|task|exercise)|it|we|they|you)"
    r"(?: only| actually| really| is| are| were)*"
    r" (?:asks?|asked|asking|wants?|needs?|looking)\b"
    r"(?P<asked>[^\n]*\b(?:so|thus|therefore|hence|which (?:is|gives|makes))\b[^\n]*\d[^\n]*)",
    re.IGNORECASE | re.DOTALL,
)
_NUMERAL = re.compile(r"(?:\d{1,3}(?:,\d{3})+|\d{1,30})(?:\.\d{1,30})?", re.ASCII)
_INSTEAD = re.compile(
    r"(?:(?P<pause>[.!?;\u2026\u3002]|\s[-\u2013\u2014]{1,2}|\u2014)|[,(])[\s*_>(-]{0,4}"
    r"(?:(?:oh|hm+|um+|uh|but|well)\b[,.\u2026]{0,3}\s{1,2}){0,2}"
    r"(?:actually|or rather|on second thoughts?|(?:self[- ])?correction ?:|scratch that|make that"
    r"|i mean|(?:(?:no, )?wait(?:,? no)?|sorry)(?:(?(pause)|(?![ \w]))|(?= no\b))"
    r"|no(?=[,:])(?(pause)|(?!)))(?![\w'])"
    r"[\s,:;.\u2026\u2013\u2014*_-]{0,5}(?P<said>[^\n]*)",
    re.IGNORECASE,
)
_NEXT_SENTENCE = re.compile(
    r"(?<=[.!]) (?=(?:This|That|It|Because|Since|The|So|Therefore|We|Let|Please|Here|Hope|If|Thus"
    r"|Hence|Note|You|There|He|She|They|I (?:hope|think|believe|am|have|will))\b)|(?<=\u3002)(?=.)"
)
_COPULA = {
    "ja": re.compile(
        "(?:\u3067\u3059|\u3067\u3057\u305f|\u3067\u3042\u308b|\u3060|\u306b\u306a\u308a\u307e\u3059)"
        r"[\u3002.!]?$"
    ),
    "ko": re.compile(
        "(?:\uc785\ub2c8\ub2e4|\uc774\ub2e4|\uc774\uc5d0\uc694|\uc608\uc694|\uc774\uba70.*)[.!]?$"
    ),
    "hi": re.compile(r" ?\u0939\u0948(?:\u0902)?[\u0964.!]?$"),
    "tr": re.compile(r"['\u2019]?[dt][\u0131iu\u00fc]r[.!]?$"),
}
_TAG = re.compile(r"<(?P<end>/?)(?:final_)?answer>", re.IGNORECASE)
_STATEMENTS = 8
_OTHER = re.compile(
    r"\b(?:first|second|third|fourth|one|another|other|next|tempting|common|obvious)\s*$", re.I
)
_OPENING_RULE = {r"\[", "$$", "```"}


def last_statement(text: str) -> str:
    """Return what a text states as its answer; empty where it states none."""
    cues = _cues(text)
    return _stated(text, cues[-1]) if cues else ""


def only_supposes(text: str) -> bool:
    """Whether a text speaks of answers that are wrong, possible or supposed, and of no other."""
    return next(_all_cues(text), None) is not None and not _cues(text)


def statements(text: str) -> list[str]:
    """The last that a text states as its answer, without what a later one corrects."""
    *earlier, last = _cues(text)[-_STATEMENTS:]
    is_other = (_OTHER.search(text, max(0, cue.start() - 20), cue.start()) for cue in earlier)
    cues = [*(cue for cue, other in zip(earlier, is_other, strict=True) if not other), last]
    ends = [cue.start() for cue in cues[1:]]
    kept = [n for n, end in enumerate(ends, 1) if _TAKEN_BACK.search(text, cues[n - 1].end(), end)]
    return [_stated(text, cue) for cue in cues[kept[-1] if kept else 0 :]]


def _cues(text: str) -> list[re.Match[str]]:
    return [
        cue
        for cue in _all_cues(text)
        if not (cue["zh"] and _ZH_IF.search(text, max(0, cue.start() - 60), cue.start()))
        and not _NOT_MEANT.search(text, max(0, cue.start() - 40), cue.start())
        and not (
            _WOULD_BE.search(cue[0])
            and _SUPPOSED.search(text[max(0, cue.start() - 250) : cue.start()])
        )
    ]


def _all_cues(text: str) -> Iterator[re.Match[str]]:
    folded = text.lower()
    if not any(stem in folded for stem in _STEMS):
        return iter(())
    own = _OWN_QUESTION.match(text)
    following = _NEXT_QUESTION.search(text, own.end() if own else 0)
    end = following.start() if following else len(text)
    return (cue for cue in CUE.finditer(text) if not cue["label"] or cue.start() < end)


def _stated(text: str, found: re.Match[str]) -> str:
    said = _line_after(text, found.end())
    copula = _COPULA.get(str(found.lastgroup))
    sentence = _NEXT_SENTENCE.split(said)[0]
    return (copula.sub("", sentence.strip()) if copula else sentence).strip()


def takes_back(after: str, *answer: str) -> bool:
    """Whether what follows an answer takes it back: `Wait, that is wrong`, `Actually, lead`.

    `answer`: as it may be said again, such as an option's letter and its words.

    Who takes an answer back and then gives it again has given two: which one holds, nobody knows.
    """
    if _TAKEN_BACK.search(after):
        return True
    own = [f" {normalise(text)} " for text in answer]
    values = numerals(" ".join(answer))
    for found in _RATHER.finditer(after):
        if found["asked"] is not None:  # of numbers alone: words conclude in words
            if values and values.isdisjoint(numerals(found["asked"])):
                return True
            continue
        said = f" {normalise(found[str(found.lastgroup)])} "
        if all(text not in said for text in own):
            return True
    return False


def numerals(text: str) -> set[Decimal]:
    """The numbers of a text, however they are written: 1200 of `$1,200` and of `1200.0`."""
    return {Decimal(found.replace(",", "")) for found in _NUMERAL.findall(text)}


def said_instead(text: str) -> Iterator[tuple[str, str]]:
    """What an answer says in place of itself: (before, after) of `Actually,`, `or rather`, `no,`.

    Whether it is another answer is the caller's to see: `No, actually.` says nothing instead.
    """
    for found in islice(_INSTEAD.finditer(text), _STATEMENTS):
        if any(map(str.isalnum, text[: found.start()])):
            yield text[: found.start()], found["said"]


def begins_again(text: str) -> bool:
    """Whether a sentence of a text says `wait`, `on second thought` or that there is a mistake."""
    return bool(_TAKEN_BACK.search(text))


def is_announced(line: str) -> bool:
    """Whether a line ends just before the answer: `The correct answer is:`."""
    bare = line.rstrip(" \t*_")
    cues = list(_all_cues(bare))
    return bool(cues) and not bare[cues[-1].end() :].strip(" \t*_:\uff1a")


def given_again(text: str) -> list[str]:
    """Split `A. It cuts. Answer: B` into its two answers; nothing where a text has not both."""
    cues = [cue for cue in _cues(text) if cue["label"]] if _GIVEN_FIRST.match(text) else []
    return [text[: cues[-1].start()], _stated(text, cues[-1])] if cues else []


def tagged_answers(text: str) -> tuple[list[str], str]:
    """Split into (the contents of `<answer>` tags, the text around them)."""
    inside, around, begin, done = [], [], None, 0
    for tag in _TAG.finditer(text):
        if not tag["end"]:
            begin = tag
        elif begin is not None:
            inside.append(text[begin.end() : tag.start()].strip())
            around.append(text[done : begin.start()])
            begin, done = None, tag.end()
    return inside, "\n".join(part.strip() for part in [*around, text[done:]] if part.strip())


def _line_after(text: str, start: int) -> str:
    """The rest of the line, or where that is empty the next line that is not."""
    for line in text[start:].split("\n"):
        said = line.strip().removeprefix(":").removeprefix("\uff1a").strip()
        if said.strip("*_ ") and said not in _OPENING_RULE:
            return said
    return ""
