"""Invented quizzes whose options or questions are code, signs and symbols.

    python -m tests.benchmarks.quizzes [--shapes tags commands] [--documents 60]

Tags of HTML, Markdown, commands, units, emoji, operators, molecules (SMILES) and country codes:
what a page may be dressed in, or what has few words. Half of what may be asked about is the test
split's, half the training split's. Each shape has an index of its own. Printed is what is found of
the training split, and of every test document, as a candidate and in the token stream.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from tests.benchmarks.template_tasks import both_shares
from tests.support.generation import make_seed
from tsqa.decontaminate.index import EvaluatedIndex
from tsqa.decontaminate.planted_leaks import KINDS
from tsqa.recipe import DecontaminateSection
from tsqa.records.candidate import seed_as_candidate
from tsqa.records.seed import Seed

_USES = {
    "b": "makes text bold", "i": "makes text italic", "em": "stresses text", "a": "makes a link",
    "u": "underlines text", "strong": "marks text as important", "p": "makes a paragraph",
    "br": "breaks a line", "hr": "draws a line", "img": "shows an image", "li": "is an item",
    "ul": "makes a list with bullets", "ol": "makes a numbered list", "table": "makes a table",
    "tr": "makes a row of a table", "td": "makes a cell", "h1": "makes the largest heading",
    "form": "makes a form", "input": "makes a field to type in", "div": "groups blocks",
    "span": "groups inline text", "title": "names the page", "script": "holds a program",
    "style": "holds style rules", "nav": "holds links for navigation", "footer": "ends a page",
    "sub": "lowers text", "sup": "raises text", "code": "shows a piece of code",
    "q": "quotes a short text", "option": "is a choice of a menu", "select": "makes a menu",
    "label": "names a field", "video": "shows a film", "canvas": "is drawn upon",
    "caption": "names a table", "blockquote": "quotes a long text", "pre": "keeps spaces",
}  # fmt: skip
_MARKS = ["**{}**", "*{}*", "# {}", "## {}", "`{}`", "> {}", "- {}", "1. {}", "[{}](url)"]
_MEANT = ["bold", "italic", "a heading", "a smaller heading", "inline code", "a quote", "a bullet",
          "a numbered item", "a link"]  # fmt: skip
_COMMANDS = ["ls -la", "rm -rf {}", "cp {} /tmp", "mv {} old", "grep -r {} .", "find . -name {}",
             "cat {} | wc -l", "chmod +x {}", "tar -xzf {}", "du -sh {}", "head -n 5 {}", "sort {}",
             "ln -s {} b", "touch {}", "mkdir -p {}", "kill -9 {}"]  # fmt: skip
_DONE = ["lists all files", "counts the lines", "removes a folder", "makes a file executable",
         "unpacks an archive", "finds a file by its name", "shows the first lines", "makes a link",
         "shows the size", "ends a process", "copies a file", "moves a file"]  # fmt: skip
_UNITS = "m kg s A K mol cd N J W Pa Hz V C F T lm kWh m/s m/s² kg/m³ J/K".split()  # noqa: SIM905
_SIZES = """force energy power pressure speed acceleration density charge voltage torque entropy
    mass length time current heat""".split()  # noqa: SIM905
_EMOJI = "😀😂😍😡😢😱🎉🔥🌧🌞🐶🐱🍕🍔🚗✈🏠📚⚽🎸"
_FELT = "joy anger grief fear party fire rain sunshine dogs cats food home reading sport".split()  # noqa: SIM905
_SIGNS = "+ - * / % ** // == != < > <= >= & | ^ ~ << >> && || = :=".split()  # noqa: SIM905
_OPERATED = ["adds", "divides", "raises to a power", "compares", "negates", "shifts bits",
             "assigns", "takes the remainder", "joins conditions", "is not equal"]  # fmt: skip
_PARTS = ["C", "N", "O", "S", "F", "Cl", "Br", "=O", "(C)", "(=O)", "(N)", "c1ccccc1", "c1ccncc1",
          "C(=O)O", "C#N", "(Cl)", "C=C", "C1CCCCC1"]  # fmt: skip
_LANDS = """Norway Chile Kenya Japan Spain Peru Egypt Iran Iraq Mali Chad Cuba Togo Oman Laos Fiji
    Nepal Malta Ghana Benin""".split()  # noqa: SIM905

_Item = tuple[str, str, list[str]]


class _Half(random.Random):
    """Draws subjects from one half of them."""

    def __init__(self, name: str, half: int) -> None:
        super().__init__(f"{name}{half}")
        self._half = half

    def pick(self, found: Sequence[str]) -> str:
        every = sorted(found)
        random.Random("split").shuffle(every)
        return self.choice(every[self._half :: 2])


def _tags(rng: _Half) -> _Item:
    """A tag, asked for by its use."""
    tag = rng.pick([*_USES])
    asked = rng.choice(("Which tag {}?", "Which HTML element {}?", "In HTML, which one {}?"))
    options = [f"<{one}>" for one in rng.sample([each for each in _USES if each != tag], 3)]
    return asked.format(_USES[tag]), f"<{tag}>", [*options, f"<{tag}>"]


def _odd_tags(rng: _Half) -> _Item:
    options = [f"<{one}>" for one in rng.sample([*_USES], 4)]
    return "Which of these tags is not like the others?", options[0], options


def _one_tag(rng: _Half) -> _Item:
    kind = rng.choice(("a block element", "an inline element"))
    return f"Is the <{rng.pick([*_USES])}> element {kind}?", "Yes", ["Yes", "No"]


def _attributes(rng: _Half) -> _Item:
    tag, file = rng.pick([*_USES]), rng.choice(("a.png", "b.gif", "page.html"))
    names = rng.sample("src href link url img name id class".split(), 4)  # noqa: SIM905
    options = [f'<{tag} {name}="{file}">' for name in names]
    return f"Which is right for the file {file} in a web page?", options[0], options


def _markdown(rng: _Half) -> _Item:
    meant = rng.pick(_MEANT)
    marks = [mark.format(rng.choice(("hello", "news"))) for mark in rng.sample(_MARKS, 4)]
    asked = rng.choice(("How is {} written in Markdown?", "Which line is shown as {} by a viewer?"))
    return asked.format(meant), marks[0], marks


def _commands(rng: _Half) -> _Item:
    file = rng.choice(("a.txt", "notes", "log.txt", "data", "b.csv"))
    options = [one.format(file) for one in rng.sample(_COMMANDS, 4)]
    asked = rng.choice(("Which command {}?", "Which shell command {} on Linux?"))
    return asked.format(rng.pick(_DONE)), options[0], options


def _four_of(
    options: Sequence[str], frames: Sequence[str], subjects: Sequence[str], rng: _Half
) -> _Item:
    drawn = rng.sample(options, 4)
    return rng.choice(frames).format(rng.pick(subjects)), drawn[0], drawn


def _emoji(rng: _Half) -> _Item:
    options = rng.sample(_EMOJI, 4)
    frames = ("Which emoji fits {}?", "What would {} best be shown by?", "Which one is {}?")
    asked = rng.choice(frames) + rng.choice(("", " Choose one."))
    return asked.format(rng.pick(_FELT)), options[0], options


def _molecules(rng: _Half) -> _Item:
    found = "".join(rng.choices(_PARTS, k=rng.randint(3, 10)))
    asked = rng.choice(("Is the molecule with the SMILES C{} toxic?", "Does C{} dissolve in fat?"))
    return asked.format(found), "Yes", ["Yes", "No"]


def _codes(rng: _Half) -> _Item:
    options = ["".join(rng.sample("ABCDEFGHIKLMNOPRSTUZ", 2)) for _ in range(4)]
    asked = rng.choice(("What is the ISO code of {}?", "Which two letters stand for {}?"))
    return asked.format(rng.pick(_LANDS)), options[0], options


QUIZZES: dict[str, Callable[[_Half], _Item]] = {
    "tags": _tags,
    "odd tags": _odd_tags,
    "one tag": _one_tag,
    "attributes": _attributes,
    "markdown": _markdown,
    "commands": _commands,
    "units": partial(
        _four_of, _UNITS, ("What is the unit of {}?", "In which SI unit is {} measured?"), _SIZES
    ),
    "emoji": _emoji,
    "operators": partial(
        _four_of, _SIGNS, ("Which operator {}?", "In C, which sign {}?"), _OPERATED
    ),
    "molecules": _molecules,
    "codes": _codes,
}


def load_quiz(name: str, count: int) -> tuple[list[Seed], list[Seed]]:
    """(test split, training split): at most so many documents each, of other subjects."""
    splits, seen = [], set[tuple[str, ...]]()
    for half in (0, 1):
        rng, made = _Half(name, half), list[Seed]()
        for _ in range(20 * count):
            question, answer, options = QUIZZES[name](rng)
            key = (question, *sorted(options))
            if len({*options}) == len(options) and key not in seen and len(made) < count:
                seen.add(key)
                seed = replace(make_seed(0, question, answer, name), choices=options)
                made.append(replace(seed, id=f"{name}-{half}-{len(made)}"))
        splits.append(made)
    return splits[0], splits[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--shapes", nargs="+", default=list(QUIZZES))
    arguments = parser.parse_args()
    for name in arguments.shapes:
        test, training = load_quiz(name, arguments.documents)
        index = EvaluatedIndex(test, DecontaminateSection())
        rows = [("training", [seed_as_candidate(seed) for seed in training])]
        for kind in ("verbatim", "html", "embedded", "options_reordered"):
            rows.append((kind, [leak for leak in map(KINDS[kind], test) if leak]))
        for kind, found in rows:
            print(f"{name}, {kind} (n = {len(found)}): {both_shares(index, found)}", flush=True)


if __name__ == "__main__":
    main()
