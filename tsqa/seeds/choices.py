"""Options and keys of an own dataset, in the shapes in which people keep them.

Guarantees: a key is read in one way only: where two readings of it name different options, it is
refused until `answer` says which is meant; nothing is guessed from the other records; what cannot
be read is an `Unusable` whose detail says how to mend it.
"""

from __future__ import annotations

import ast
import io
import math
import re
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from tsqa.errors import DataError
from tsqa.plain_json import RepeatedKey, parse_json
from tsqa.seeds.document import Unusable
from tsqa.seeds.prompt_fields import letter_index, tidy
from tsqa.text.normalise import seen

AnswerForm = str
"""`auto`, `index`, `letter` or `text`; see DatasetSection.answer."""
_MAX_LITERAL = 100_000
_TEXT_FIELDS = ("text", "content", "value", "option", "choice", "answer")
_LABEL_FIELDS = ("label", "key", "letter", "id", "index", "name")
_TRUTH = {True: ("true", "yes"), False: ("false", "no")}
_TRUTH_WORDS = {truth: (*words, str(int(truth))) for truth, words in _TRUTH.items()}
_LETTERED = re.compile(r"\(?(?P<letter>[A-Z])[).:]\s+(?P<text>\S.*)", re.DOTALL)
_ARRAY = re.compile(r"\barray\(|,\s*dtype=[\w.'\"]+\s*\)")


@dataclass(frozen=True)
class LabelledOptions:
    texts: list[str]
    labels: list[str]
    """What the data call each option: a letter, a number, a column; empty where nothing does."""


def options_of_columns(values: Sequence[object], names: Sequence[str]) -> LabelledOptions:
    """Read options that have a column each; the last columns of a record may be empty."""
    texts = [_option_text(value) for value in values]
    while texts and not texts[-1]:
        texts.pop()
    return LabelledOptions(texts, [str(name) for name in names[: len(texts)]])


def read_options(value: object) -> LabelledOptions:
    """Read options of one value: a list or mapping, perhaps as JSON or Python; or Unusable."""
    if isinstance(value, str):
        value = _parse_literal(value) if value.strip() else None
    if value is None:
        return LabelledOptions([], [])
    if isinstance(value, Mapping):
        return _options_of_mapping(value)
    if not isinstance(value, (list, tuple)):
        raise Unusable("mixed types", f"the choices are {type(value).__name__}, not a list")
    if value and all(isinstance(one, Mapping) for one in value):
        return _options_of_records(value)
    return LabelledOptions([_option_text(one) for one in value], [])


def find_key(answer: object, options: LabelledOptions, form: AnswerForm, where: str) -> int:
    """Find the right option's index; `where` names dataset and record.

    Raises Unusable for a key that names none, DataError for one that could name two.
    """
    key = _key_text(answer, options.texts)
    is_counted = isinstance(answer, (int, float, Decimal)) and form != "letter"
    found = {
        "text": _by_text(key, options.texts),
        "letter": _by_letter(key, options, from_one=not is_counted),
        "index": None if key in options.labels else _by_index(key),
    }
    if form != "auto":
        found = {form: found[form]}
    inside = {
        how: index
        for how, index in found.items()
        if index is not None and 0 <= index < len(options.texts)
    }
    if not inside and form == "auto" and is_counted and found["index"] == len(options.texts):
        raise DataError(
            f"{where}: the answer {key} counts from 1, as there are {key} options",
            "set `answer: letter` of that dataset (A, B, C or 1, 2, 3); an index counts from 0",
        )
    if not inside and found.get("index") is not None:
        raise Unusable("answer index out of range", f"{key} of {len(options.texts)} choices")
    if not inside:
        shown = " / ".join(options.texts)
        raise Unusable("the answer is none of the choices", f"{key!r:.60} of {shown:.200}")
    if len(set(inside.values())) > 1:
        readings = " or ".join(
            f"{options.texts[index]!r:.40} (`answer: {how}`)" for how, index in inside.items()
        )
        raise DataError(
            f"{where}: the answer {key!r:.40} may mean {readings}",
            "say which in `answer` of that dataset: text is the option itself, letter its label, "
            "A, B, C or a number from 1, and index counts from 0",
        )
    return next(iter(inside.values()))


def _by_text(key: str, texts: Sequence[str]) -> int | None:
    """By the option's own words, a letter before them or not; case only where it decides."""
    lettered = _LETTERED.fullmatch(key)
    for wanted in (tidy(key), *([tidy(lettered["text"])] if lettered else [])):
        if wanted in texts:
            return list(texts).index(wanted)
        folded = [_folded(text) for text in texts]
        if folded.count(_folded(wanted)) == 1:
            return folded.index(_folded(wanted))
    return _by_truth(key, folded)


def _folded(text: str) -> str:
    return seen(text).casefold()


def _by_truth(key: str, folded: Sequence[str]) -> int | None:
    """Of yes and no, or true and false, the one that 1, 0, or the other pair's word means."""
    truth = next((one for one, words in _TRUTH_WORDS.items() if key.casefold() in words), None)
    if truth is None or set(folded) not in ({"yes", "no"}, {"true", "false"}):
        return None
    return next(place for place, text in enumerate(folded) if text in _TRUTH[truth])


def _by_letter(key: str, options: LabelledOptions, from_one: bool) -> int | None:
    """By the data's own label, else by a letter, else by a number from 1."""
    folded = [label.casefold() for label in options.labels]
    if folded.count(key.casefold()) == 1:
        return folded.index(key.casefold())
    lettered = _LETTERED.fullmatch(key)
    if lettered:
        return letter_index(lettered["letter"])
    if from_one and re.fullmatch(r"[0-9]{1,9}", key):
        return int(key) - 1
    return letter_index(key)


def _by_index(key: str) -> int | None:
    return int(key) if re.fullmatch(r"-?[0-9]{1,9}", key) else None


def _key_text(answer: object, texts: Sequence[str]) -> str:
    if isinstance(answer, (list, tuple)) and len(answer) == 1:
        answer = answer[0]
    if isinstance(answer, (list, tuple)):
        raise Unusable("several answers", f"{answer!r:.60}: one option must be right")
    if isinstance(answer, bool):
        folded = [text.casefold() for text in texts]
        return next((word for word in _TRUTH[answer] if word in folded), str(answer))
    if answer is None or answer != answer:  # NaN: no value
        raise Unusable("empty answer")
    if isinstance(answer, (float, Decimal)) and answer == answer // 1:
        answer = int(answer)
    if not isinstance(answer, (int, str, float, Decimal)):
        raise Unusable("mixed types", f"the answer is {type(answer).__name__}, not index or text")
    text = str(answer).strip()
    # Spreadsheets write whole numbers of a column with gaps as 2.0.
    return text.removesuffix(".0") if re.fullmatch(r"[0-9]+\.0", text) else text


def _options_of_mapping(value: Mapping[str, object]) -> LabelledOptions:
    """{text: [...], label: [...]} as ARC has it, or {A: ..., B: ...} as MedQA has it."""
    lists = {name: list(v) for name, v in value.items() if isinstance(v, (list, tuple))}
    texts = next((lists[name] for name in _TEXT_FIELDS if name in lists), None)
    if texts is not None:
        labels = next((lists[name] for name in _LABEL_FIELDS if name in lists), [])
        if len(labels) not in (0, len(texts)):
            raise Unusable("mixed types", f"{len(texts)} choices with {len(labels)} labels")
        return LabelledOptions(
            [_option_text(text) for text in texts], [str(label) for label in labels]
        )
    if lists:
        raise Unusable("mixed types", f"the choices have the fields {', '.join(value)}, no text")
    given = {str(name): one for name, one in value.items() if one is not None}
    return LabelledOptions([_option_text(one) for one in given.values()], list(given))


def _options_of_records(value: Sequence[Mapping[str, object]]) -> LabelledOptions:
    """[{label: A, text: ...}, ...]."""
    first = value[0]
    text = next((name for name in _TEXT_FIELDS if name in first), None)
    label = next((name for name in _LABEL_FIELDS if name in first), None)
    if text is None or any(text not in one for one in value):
        raise Unusable("mixed types", f"a choice has the fields {', '.join(map(str, first))}")
    labels = [str(one.get(label, "")) for one in value] if label else []
    return LabelledOptions([_option_text(one[text]) for one in value], labels)


def _option_text(value: object) -> str:
    if value is None or value != value:  # NaN: tables write it for no value
        return ""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and math.isinf(value):
        raise Unusable("no number", "a choice is infinite, or a number too large to be read")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (str, int, float, Decimal)):
        return tidy(str(value))
    raise Unusable("mixed types", f"a choice is {type(value).__name__}, not text")


def _parse_literal(text: str) -> object:
    """A list or mapping written as JSON or Python, numpy's own spelling included."""
    try:
        return parse_json(text)
    except RepeatedKey as error:
        raise Unusable("repeated key", f"the choices: {error}") from error
    except (ValueError, RecursionError):
        pass
    try:
        if len(text) > _MAX_LITERAL:
            raise ValueError("too long")
        tree = ast.parse(_separated(_ARRAY.sub(_without_array, text)), mode="eval")
        _check_keys(tree)
        return ast.literal_eval(tree)
    except (ValueError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError) as error:
        raise Unusable(
            "mixed types",
            f"the choices are text, not a list: {text!r:.60}; write a JSON list, or name the "
            "column of each option: columns.choices: [A, B, C, D]",
        ) from error


def _check_keys(tree: ast.AST) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            keys = [ast.dump(key) for key in node.keys if key]
            if len({*keys}) < len(keys):
                raise Unusable("repeated key", f"the choices: {ast.unparse(node):.60}")


def _without_array(match: re.Match[str]) -> str:
    return "(" if match[0].startswith("array") else ")"


def _separated(text: str) -> str:
    """Commas between texts side by side: numpy writes none, and Python would join them."""
    found: list[str] = []
    previous = None
    for token in tokenize.generate_tokens(io.StringIO(text.strip()).readline):
        if token.type in (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            continue
        if token.type in (tokenize.STRING, tokenize.NUMBER) and previous in (
            tokenize.STRING,
            tokenize.NUMBER,
        ):
            found.append(",")
        found.append(token.string)
        previous = token.type
    return " ".join(found)
