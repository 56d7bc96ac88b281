"""How much planted personal data the audit's patterns find, and what they take for it.

    python -m tests.benchmarks.personal_data [--texts FILE...] [--peer PYTHON] [--each 300]

`--texts`: JSONL, `.gz` as well, of real texts, of which the first hits are printed; `--peer`: a
Python with presidio-analyzer, see `presidio_peer.py`. Prints recall by kind of data and by how it
is written, then false alarms.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tsqa.quality.personal import KINDS, find_personal

CARRIERS = (
    *(
        "Write to {} before Friday.",
        "{} is what she gave us.",
        "Her record ({}) was never deleted.",
    ),
    *("Contact: {}\nSubject: delivery", 'He wrote "{}" on the wall, and 3 days later left.'),
    *("name;city;{};42", "What does {}, which Mr Brown noted, refer to?"),
)


class Planted(NamedTuple):
    kind: str
    form: str
    """How it is written; empty of what is no personal data."""
    text: str
    data: str


Draw = Callable[[random.Random], str]


def filled(pattern: str) -> Draw:
    """`#`: a digit; `N`: one from 2 to 9; `^`: a capital letter; `[..|..]`: one of these."""

    def draw(rng: random.Random) -> str:
        text = pattern
        while "[" in text:
            before, _, rest = text.partition("[")
            inside, _, after = rest.partition("]")
            text = before + rng.choice(inside.split("|")) + after
        drawn = {"#": "0123456789", "N": "23456789", "^": "ABCDEFGHJKLMPRSTUVW"}
        return "".join(rng.choice(drawn[c]) if c in drawn else c for c in text)

    return draw


def card(prefix: str, groups: tuple[int, ...], between: str, is_right: bool = True) -> Draw:
    """A number of that many digits with Luhn's check digit, or another one."""

    def draw(rng: random.Random) -> str:
        digits = [*map(int, prefix)]
        digits += [rng.randrange(10) for _ in range(sum(groups) - len(digits) - 1)]
        total = sum(sum(divmod(2 * d, 10)) for d in digits[::-2]) + sum(digits[-2::-2])
        digits.append((-total + (not is_right)) % 10)
        rest = iter(map(str, digits))
        return between.join("".join(next(rest) for _ in range(size)) for size in groups)

    return draw


def iban(country: str, account: str, is_grouped: bool, is_right: bool = True) -> Draw:
    """With ISO 13616's check digits, or others."""

    def draw(rng: random.Random) -> str:
        rest = filled(account)(rng)
        number = int("".join(str(int(c, 36)) for c in f"{rest}{country}00"))
        whole = f"{country}{98 - number % 97 if is_right else 10 + rng.randrange(80):02}{rest}"
        parts = [whole[i : i + 4] for i in range(0, len(whole), 4)]
        return (" " if is_grouped else "").join(parts)

    return draw


_AREA = "[212|415|312|617|206|713|303|404]"
PERSONAL: dict[tuple[str, str], list[Draw]] = {
    ("e-mail", "plain"): [
        filled("[ann|bob.lee|j_smith|maria-k|x##]@[mail.org|uni-bonn.de|bbc.co.uk|gmail.com]")
    ],
    ("e-mail", "tag, capitals"): [filled("[Ann.Lee+news|BOB|Maria+##]@[Mail.org|IT.Firma.com]")],
    ("e-mail", "in words"): [filled("[ann|bob|maria] at [mail|firma] dot org")],
    ("phone", "with +"): [
        filled(f"+1 {_AREA} NNN ####"),
        filled("+44 20 7### ####"),
        filled("+49 30 #######"),
        filled("+33 1 42 ## ## ##"),
        filled("+91 98### #####"),
        filled("+4917#########"),
    ],
    ("phone", "North America"): [
        filled(f"({_AREA}) N4#-####"),
        filled(f"{_AREA}-N4#-####"),
        filled(f"{_AREA}.N4#.####"),
    ],
    ("phone", "North America, spaces or none"): [
        filled(f"{_AREA} N4# ####"),
        filled(f"{_AREA}N4#####"),
    ],
    ("phone", "national, elsewhere"): [
        filled("020 7### ####"),
        filled("07[700|911|812] ######"),
        filled("030 #######"),
        filled("0171 #######"),
        filled("01 42 ## ## ##"),
        filled("03-3N##-####"),
        filled("98### #####"),
    ],
    ("credit card", "in groups"): [
        card(prefix, (4, 4, 4, 4), between) for prefix in ("4", "52") for between in " -"
    ]
    + [card("37", (4, 6, 5), " ")],
    ("credit card", "without groups"): [card("4", (16,), ""), card("52", (16,), "")],
    ("credit card", "other networks"): [
        card("6011", (4, 4, 4, 4), " "),
        card("3528", (16,), ""),
        card("36", (4, 6, 4), " "),
        card("2221", (4, 4, 4, 4), " "),
    ],
    ("IBAN", "in groups"): [iban("DE", "#" * 18, True), iban("GB", "^^^^" + "#" * 14, True)],
    ("IBAN", "without groups"): [iban("FR", "#" * 23, False), iban("NL", "^^^^" + "#" * 10, False)],
    ("IP address", "version 4"): [filled("[8|23|91|151|203].[1|44|98].N#.1##")],
    ("IP address", "version 6"): [filled("2a00:1450:4001:8##::2##e"), filled("2600:1f18:##b:#::1")],
    ("US SSN", "with hyphens"): [filled("[219|312|457|078]-N#-N###")],
    ("US SSN", "with spaces"): [filled("[219|312|457|078] N# N###")],
    ("name", "first and last"): [filled("[Ann|Maria|David|Wei] [Johnson|Garcia|Müller|Chen]")],
    ("address", "street and town"): [filled("N# [Elm|Mill] Street, [Leeds|Boston]")],
    ("birth", "a date"): [filled("born on [3|14] [May|June] 19N#")],
}
HARMLESS: dict[str, list[Draw]] = {
    "wrong check digit": [
        card("4", (4, 4, 4, 4), " ", is_right=False),
        iban("DE", "#" * 18, False, is_right=False),
    ],
    "for examples": [
        filled("[ann|bob]@example.[com|org]"),
        filled(f"{_AREA}-555-01##"),
        filled("[192.168.0|127.0.0|10.0.0].N"),
    ],
    "sums": [
        filled("N##### + N#### = ######"),
        filled("N## - N## - ####"),
        filled("N#.######## x N###"),
        filled("N###########"),
    ],
    "dates, ranges": [filled("1914-1918"), filled("20N#-01-1N"), filled("N-12-19N#")],
    "versions, sections": [filled("version N.#.#.#.N"), filled("section 1.N.#.2.1")],
    "ISBN, DOI, CAS": [
        filled("ISBN 978-0-306-N####-#"),
        filled("10.1000/N##.####"),
        filled("N##-N#-N"),
        filled("0-306-N####-#"),
    ],
    "times, scores, codes": [filled("10:N#:4#"), filled("N-#, N-#, 1N-#"), filled("AB12CD-N###")],
}


def planted(each: int) -> list[Planted]:
    rng = random.Random(7)
    cells = [(kind, form, draws) for (kind, form), draws in PERSONAL.items()]
    cells += [(name, "", draws) for name, draws in HARMLESS.items()]
    found = []
    for kind, form, draws in cells:
        for number in range(each):
            data = draws[number % len(draws)](rng)
            found.append(Planted(kind, form, rng.choice(CARRIERS).format(data), data))
    return found


def is_hit(each: Planted, hits: list[tuple[str, str]]) -> bool:
    """Found with most of what was planted; of what is harmless anything."""
    if not each.form:
        return bool(hits)
    return any(2 * len(text) >= len(each.data) and text in each.data for _, text in hits)


def real_texts(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
            for line in lines:
                yield "\n".join(_strings(json.loads(line)))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def ours(texts: list[str]) -> tuple[list[list[tuple[str, str]]], float]:
    start = time.process_time()
    found = [[*find_personal(text)] for text in texts]
    return found, time.process_time() - start


def peer(python: str, texts: list[str]) -> tuple[list[list[tuple[str, str]]], float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.json"
        path.write_text(json.dumps(texts))
        script = Path(__file__).with_name("presidio_peer.py")  # -P: beside it is a `tokenize.py`
        done = subprocess.run(
            [python, "-P", script, path], capture_output=True, text=True, check=True
        )
    answer = json.loads(done.stdout)
    return [[tuple(hit) for hit in hits] for hits in answer["hits"]], answer["seconds"]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--texts", nargs="*", type=Path, default=[])
    options.add_argument("--peer")
    options.add_argument("--each", type=int, default=300)
    chosen = options.parse_args()
    plants, real = planted(chosen.each), [*real_texts(chosen.texts)]
    texts = [each.text for each in plants]
    sides = {"ours": (ours(texts), ours(real))}
    if chosen.peer:
        sides["presidio"] = (peer(chosen.peer, texts), peer(chosen.peer, real))
    print(f"{chosen.each} of each; found by {' and '.join(sides)}")
    for cell in dict.fromkeys((each.kind, each.form) for each in plants):
        shares = []
        for (hits, _), _ in sides.values():
            pairs = zip(plants, hits, strict=True)
            chosen_hits = [is_hit(one, h) for one, h in pairs if (one.kind, one.form) == cell]
            shares.append(f"{sum(chosen_hits) / len(chosen_hits):6.1%}")
        print(*shares, f"{cell[0]}: {cell[1]}" if cell[1] else f"no personal data: {cell[0]}")
    megabytes = sum(map(len, real)) / 1e6
    for name, (_, (hits, seconds)) in sides.items():
        kinds = Counter(kind for each in hits for kind in {kind for kind, _ in each})
        some = sum(map(bool, hits))
        print(f"{name}: {some:,} of {len(real):,} real texts, {dict(kinds)}; ", end="")
        print(f"{megabytes / max(seconds, 1e-9):.2f} million characters a second of one core")
        print(*[text for each in hits for kind, text in each if kind in KINDS][:20], sep=" | ")


if __name__ == "__main__":
    main()
