"""Invented benchmarks in the shape of public ones that no rule was made for.

    python -m tests.benchmarks.puzzles [--shapes navigate brackets] [--documents 200]

Puzzles whose documents differ in the order of a few words, in numbers or in signs alone, pairs of
sentences that differ in a word, formulas, and problems in five other languages. Test and training
split are drawn alike and share no document. Printed is what is found of every fourth test document
in every disguise, and of the training split, as a candidate and in the token stream.
"""

from __future__ import annotations

import argparse
import random
import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise
from urllib.parse import quote

from tests.benchmarks.disguises import DISGUISES
from tests.benchmarks.template_tasks import both_shares
from tests.support.generation import make_seed
from tsqa.decontaminate.index import EvaluatedIndex
from tsqa.decontaminate.planted_leaks import KINDS, respell
from tsqa.recipe import DecontaminateSection
from tsqa.records.candidate import Candidate, seed_as_candidate
from tsqa.records.seed import Seed

_NAMES = [
    "Aino", "Basil", "Cora", "Dmitri", "Esme", "Felipe", "Greta", "Hamid", "Ines", "Jonas",
    "Kiara", "Lorenz", "Mirela", "Nadim", "Odette", "Pavel", "Renata", "Stig", "Tamar", "Viggo",
]  # fmt: skip
_COLOURS = [
    "red", "blue", "green", "gray", "white", "black", "yellow", "orange", "purple", "brown",
    "pink", "teal",
]  # fmt: skip
_THINGS = [
    "amber", "badge", "basin", "beacon", "brick", "canal", "cedar", "chalk", "cliff", "coral",
    "curve", "daisy", "ember", "fence", "ferry", "flint", "frost", "glade", "globe", "grain",
    "hedge", "latch", "ledge", "linen", "maple", "marsh", "medal", "mound", "olive", "otter",
    "panel", "pearl", "plank", "plume", "quilt", "ranch", "raven", "ridge", "saddle", "scarf",
    "shelf", "slate", "spark", "stump", "thorn", "torch", "tulip", "valve", "walnut", "wharf",
]  # fmt: skip
_TURNS = ("Turn around.", "Turn left.", "Turn right.")
_YES_NO = ("Yes", "No")
_SHAPES = [
    "circle", "heptagon", "hexagon", "kite", "line", "octagon", "pentagon", "rectangle", "sector",
    "triangle",
]  # fmt: skip
_PAIRS = ("[]", "{}", "()", "<>")


def load_puzzles(name: str, count: int) -> tuple[list[Seed], list[Seed]]:
    """(test split, training split) of one shape, of so many documents each."""
    rng = random.Random(name)
    found: dict[str, Seed] = {}
    while len(found) < 2 * count:
        seed = SHAPES[name](rng)
        key = seed.question if len(seed.question.split()) > 8 else f"{seed.question} {seed.choices}"
        found.setdefault(key, replace(seed, id=f"{name}-{len(found)}", task=name))
    documents = list(found.values())
    return documents[:count], documents[count:]


def _seed(question: str, answer: str, choices: tuple[str, ...] = ()) -> Seed:
    return replace(make_seed(0, question, answer), choices=list(choices))


def _swaps(rng: random.Random) -> Seed:
    """As BBH's tracking shuffled objects."""
    people, colours = rng.sample(_NAMES[:8], 3), rng.sample(_COLOURS, 3)
    thing = rng.choice(("ball", "present", "book", "cup", "kite", "lamp", "coin", "key"))
    held = ", ".join(f"{one} has a {own} {thing}" for one, own in zip(people, colours, strict=True))
    swaps = [
        f"{when}, {' and '.join(rng.sample(people, 2))} swap {thing}s."
        for when in ("First", "Then", "Finally")
    ]
    question = (
        f"{people[0]}, {people[1]}, and {people[2]} are playing a game. At the start of the game, "
        f"they are each holding a {thing}: {held}. As the game progresses, pairs of players trade "
        f"{thing}s. {' '.join(swaps)} At the end of the game, {rng.choice(people)} has the"
    )
    options = tuple(f"{own} {thing}" for own in colours)
    return _seed(question, options[0], options)


def _steps(rng: random.Random) -> Seed:
    """As BBH's navigate."""
    steps = [
        rng.choice((f"Take {rng.randint(1, 10)} steps.", rng.choice(_TURNS)))
        for _ in range(rng.randint(3, 7))
    ]
    asked = "If you follow these instructions, do you return to the starting point?"
    return _seed(f"{asked} {' '.join(steps)}", rng.choice(_YES_NO), _YES_NO)


def _logic(rng: random.Random) -> Seed:
    """As BBH's boolean expressions."""

    def write(depth: int) -> str:
        if not depth:
            return rng.choice(("True", "False"))
        kind = rng.random()
        if kind < 0.3:
            return f"not {write(depth - 1)}"
        if kind < 0.5:
            return f"( {write(depth - 1)} )"
        return f"{write(depth - 1)} {rng.choice(('and', 'or'))} {write(depth - 1)}"

    return _seed(f"{write(3)} is", rng.choice(("True", "False")))


def _sums(rng: random.Random) -> Seed:
    """As BBH's multistep arithmetic."""

    def write() -> str:
        parts = [f"{rng.randint(-9, 9)} {rng.choice('+-*')}" for _ in range(3)]
        return f"({' '.join(parts)} {rng.randint(-9, 9)})"

    return _seed(f"({write()} {rng.choice('+-*')} {write()}) =", str(rng.randint(-500, 500)))


def _sorted_words(rng: random.Random) -> Seed:
    found = rng.sample(_THINGS, rng.randint(3, 12))
    asked = f"Sort the following words alphabetically: List: {' '.join(found)}"
    return _seed(asked, " ".join(sorted(found)))


def _liars(rng: random.Random) -> Seed:
    """As BBH's web of lies."""
    people = rng.sample(_NAMES, 5)
    says = ("lies", "tells the truth")
    said = [f"{people[0]} {rng.choice(says)}."]
    said += [f"{two} says {one} {rng.choice(says)}." for one, two in pairwise(people)]
    asked = f"Question: {' '.join(said)} Does {people[-1]} tell the truth?"
    return _seed(asked, rng.choice(_YES_NO))


def _brackets(rng: random.Random) -> Seed:
    """As BBH's Dyck languages: only signs differ."""
    written, opened = [], ["()"]
    for _ in range(rng.randint(4, 24)):
        if opened and rng.random() < 0.45:
            written.append(opened.pop()[1])
        else:
            opened.append(rng.choice(_PAIRS))
            written.append(opened[-1][0])
    asked = (
        "Complete the rest of the sequence, making sure that the parentheses are closed properly. "
        f"Input: ( {' '.join(written)}"
    )
    return _seed(asked, " ".join(pair[1] for pair in reversed(opened or ["()"])))


def _drawings(rng: random.Random) -> Seed:
    """As BBH's geometric shapes: what tells is within a tag."""
    points = [
        f"{rng.randint(0, 99)}.{rng.randint(0, 99):02},{rng.randint(0, 99)}.{rng.randint(0, 99):02}"
        for _ in range(rng.randint(4, 9))
    ]
    lines = " ".join(f"L {point}" for point in points[1:])
    asked = f'This SVG path element <path d="M {points[0]} {lines}"/> draws a'
    return _seed(asked, rng.choice(_SHAPES), tuple(_SHAPES))


def _pronouns(rng: random.Random) -> Seed:
    """As WinoGrande."""
    first, second = rng.sample(_NAMES, 2)
    verb = rng.choice(("lent", "sold", "gave", "returned", "showed"))
    reason = rng.choice(
        ("was generous", "needed it", "was broke", "had two", "collected them", "was moving")
    )
    kind = rng.choice(("old", "spare", "broken", "favourite", "new"))
    asked = f"{first} {verb} {second} the {kind} {rng.choice(_THINGS)} because _ {reason}."
    return _seed(asked, first, (first, second))


def _minimal_pairs(rng: random.Random) -> Seed:
    """As BLiMP: the options are the item."""
    verb = rng.choice(("hug", "help", "warn", "greet", "praise", "visit", "blame", "call"))
    doing = rng.choice(("shocking", "meeting", "leaving", "thanking", "boring", "seeing"))
    one, other = rng.sample(_NAMES, 2)
    good = f"Who should {one} {verb} after {doing} {other}?"
    options = good, f"Who should {one} {verb} {other} after {doing}?"
    return _seed("Which sentence is acceptable?", good, options)


def _formulas(rng: random.Random) -> Seed:
    """As MATH."""
    a, b, c, d = (rng.randint(2, 20) for _ in range(4))
    x = rng.choice("xyznt")
    asked = rng.choice(
        (
            rf"Find the sum of all integers ${x}$ such that $|{a}{x} - {b}| \le {c}$.",
            rf"Let $f({x}) = {a}{x}^2 - {b}{x} + {c}$. Find the minimum value of $f({x})$.",
            rf"Compute $\sum_{{k=1}}^{{{a}}} \binom{{{a + b}}}{{k}} {c}^k$.",
            rf"Evaluate $\log_{{{a}}} {b}^{{{c}}} - \sqrt{{{d}}}$.",
            rf"How many positive divisors of ${a}! \cdot {b}^{{{c}}}$ are multiples of ${d}$?",
            rf"In triangle $ABC$, $AB = {a}$, $BC = {b}$, and $CA = {c}$. Find $\sin {d} A$.",
            rf"What is the remainder when ${a}^{{{b * 17}}}$ is divided by ${c + 20}$?",
        )
    )
    return _seed(asked, rf"\frac{{{rng.randint(1, 99)}}}{{{rng.randint(2, 99)}}}")


def _told(people: str, things: str, stories: tuple[str, ...], rng: random.Random) -> Seed:
    """As MGSM: a problem of a few stories, with {n} who, {t} what and {a}, {b}, {c} how many."""
    values = {letter: rng.randint(2, 99) for letter in "abc"}
    asked = rng.choice(stories).format(
        n=rng.choice(people.split()), t=rng.choice(things.split()), **values
    )
    return _seed(asked, str(sum(values.values())))


_GERMAN = (
    " ".join(_NAMES),
    "\u00c4pfel B\u00fccher Stifte N\u00fcsse Murmeln H\u00fcte Kn\u00f6pfe B\u00e4lle",
    (
        "{n} hat {a} {t} und kauft {b} weitere. Sp\u00e4ter verschenkt {n} {c} {t} an die "
        "gr\u00f6\u00dferen Geschwister. Wie viele {t} bleiben \u00fcbrig?",
        "F\u00fcr das Stra\u00dfenfest packt {n} je {a} {t} in {b} T\u00fcten; {c} {t} bleiben "
        "\u00fcbrig. Wie viele {t} waren es?",
        "Im Laden kosten {a} {t} {b} Euro. Wie viel bezahlt {n} f\u00fcr {c} {t}?",
    ),
)
_CHINESE = (
    "小明 小红 王老师 李华 张伟 刘洋 陈静 赵强",
    "苹果 铅笔 橘子 邮票 玻璃球 书 糖果 贝壳",
    (
        "{n}有{a}个{t}\uff0c又买了{b}个\uff0c送给朋友{c}个\uff0c还剩多少个{t}\uff1f",
        "每盒{t}有{a}个\uff0c{n}买了{b}盒\uff0c用掉了{c}个\uff0c{n}还有多少个{t}\uff1f",
        "{n}把{a}个{t}平均分给{b}个同学\uff0c每人再给{c}个\uff0c一共需要多少个{t}\uff1f",
    ),
)
_JAPANESE = (
    "太郎さん 花子さん 健太くん 美咲さん 田中さん 佐藤さん",
    "りんご えんぴつ みかん 切手 本 あめ",
    (
        "{n}は{t}を{a}個持っています。さらに{b}個買い、友達に{c}個あげました。{t}は何個残っていますか。",
        "1箱に{t}が{a}個入っています。{n}は{b}箱買って{c}個使いました。残りは何個ですか。",
        "{n}は{a}人の友達に{t}を{b}個ずつ配り、{c}個余りました。はじめに何個ありましたか。",
    ),
)
_ARABIC = (
    "أحمد فاطمة خالد مريم يوسف ليلى سعيد هدى",
    "تفاحة قلمًا كتابًا برتقالة كرة زهرة",
    (
        "لدى {n} {a} {t}، ثم اشترى {b} {t} أخرى وأعطى صديقه {c}. كم {t} بقيت مع {n}؟",
        "في كل صندوق {a} {t}، واشترى {n} {b} صناديق واستعمل {c}. كم بقي لديه؟",
    ),
)
_KOREAN = (
    "민수 지영 철수 영희 현우 수진",
    "사과 연필 귤 우표 책 사탕",
    (
        "{n}는 {t} {a}개를 가지고 있습니다. {b}개를 더 사고 친구에게 {c}개를 주었습니다. "
        "남은 {t}는 몇 개입니까?",
        "한 상자에 {t}가 {a}개 들어 있습니다. {n}는 {b}상자를 사서 {c}개를 썼습니다. "
        "몇 개가 남았습니까?",
    ),
)

SHAPES: dict[str, Callable[[random.Random], Seed]] = {
    "swaps": _swaps,
    "navigate": _steps,
    "logic": _logic,
    "arithmetic": _sums,
    "sorted_words": _sorted_words,
    "liars": _liars,
    "brackets": _brackets,
    "drawings": _drawings,
    "pronouns": _pronouns,
    "minimal_pairs": _minimal_pairs,
    "formulas": _formulas,
    "german": partial(_told, *_GERMAN),
    "chinese": partial(_told, *_CHINESE),
    "japanese": partial(_told, *_JAPANESE),
    "arabic": partial(_told, *_ARABIC),
    "korean": partial(_told, *_KOREAN),
}
_ALL_VOWELS = partial(re.sub, "([\u0628-\u064a])", "\\1\u064e")
_PLAIN_ARABIC = str.maketrans("\u0623\u0625\u0622\u0649\u0629", "\u0627\u0627\u0627\u064a\u0647")
_UMLAUTS = str.maketrans(
    {"\u00e4": "ae", "\u00f6": "oe", "\u00fc": "ue", "\u00c4": "Ae", "\u00df": "ss"}
)
_HAN = "\u4e00-\u9fff"
LANGUAGE_DRESS: dict[str, tuple[str, Callable[[str], str]]] = {
    "vowel marks": ("arabic", _ALL_VOWELS),
    "plain letters": ("arabic", lambda text: text.translate(_PLAIN_ARABIC)),
    "umlauts spelled out": ("german", lambda text: text.translate(_UMLAUTS)),
    "parts of letters": ("korean", partial(unicodedata.normalize, "NFD")),
    "spaces beside numbers": ("korean", partial(re.sub, r"(\d+)", r" \1 ")),
    "how words are read": (
        "chinese",
        partial(re.sub, f"([{_HAN}]+)", r"<ruby>\1<rp>(</rp><rt>ma</rt><rp>)</rp></ruby>"),
    ),
    "URL": ("chinese", quote),
    "lines of ten": ("japanese", partial(re.sub, "(.{10})", r"\1\n")),
}
"""Dress -> (the shape that it is for, how it writes a text)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES))
    arguments = parser.parse_args()
    splits = {name: load_puzzles(name, arguments.documents) for name in arguments.shapes}
    tests = [*chain.from_iterable(test for test, _ in splits.values())]
    index = EvaluatedIndex(tests, DecontaminateSection())
    kinds = {**KINDS, **DISGUISES}
    for name, (test, training) in splits.items():
        rows = [("training", [seed_as_candidate(seed) for seed in training])]
        rows += [(k, [p for p in map(plant, test[::4]) if p]) for k, plant in kinds.items()]
        rows += [
            (dress, _wear(test[::4], write))
            for dress, (shape, write) in LANGUAGE_DRESS.items()
            if shape == name
        ]
        for kind, found in rows:
            if found:
                print(f"{name}, {kind} (n = {len(found)}): {both_shares(index, found)}", flush=True)


def _wear(documents: list[Seed], write: Callable[[str], str]) -> list[Candidate]:
    return [respell(one, write) for one in documents]


if __name__ == "__main__":
    main()
