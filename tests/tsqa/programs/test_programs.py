"""Promises of programs in texts: one keeps what it needs, and nothing else is put before it."""

from __future__ import annotations

import pytest

from tsqa.programs.fences import fenced_code, mask_fences
from tsqa.programs.names import names_of

TABLE = "VOWELS = set('aeiou')"
COUNT = "def vowels(text):\n    return sum(c in VOWELS for c in text)"
PRIME = "def is_prime(n):\n    return n > 1 and all(n % d for d in range(2, n))"
PRIMES = "def primes(n):\n    return list(filter(is_prime, range(n)))"
RENDER = 'def render(code):\n    return f"""\n```python\n{code}\n```\n"""'


def in_fences(*programs: str) -> str:
    return "\nSo:\n".join(f"```python\n{program}\n```" for program in programs)


@pytest.mark.parametrize(
    ("blocks", "program"),
    [
        ([TABLE, COUNT], [TABLE, COUNT]),
        ([PRIME, PRIMES], [PRIME, PRIMES]),
        ([PRIMES, PRIME], [PRIMES, PRIME]),
        (["square = lambda x: x * x", "def f(x):\n    return square(x)"], None),
        (["LIMIT = 9", "def g(n):\n    return n % LIMIT", "def f(n):\n    return g(n)"], None),
        (["n = 7\nprint(n)", "def f(n):\n    return n"], ["def f(n):\n    return n"]),
        ([PRIME, "n = 7\nprint(is_prime(n))"], [PRIME]),
        ([PRIME, "def test_prime():\n    assert is_prime(7)"], [PRIME]),
        ([PRIME, "def main():\n    print(is_prime(7))"], [PRIME]),
        (["const LIMIT = 9;", "function f(n) { return n % LIMIT; }"], None),
        ([RENDER], [RENDER]),
    ],
)
def test_a_program_comes_with_what_it_needs(blocks: list[str], program: list[str] | None) -> None:
    wanted = "\n\n".join(blocks if program is None else program)
    assert fenced_code(in_fences(*blocks)) == (wanted, True)


def test_a_program_in_a_field_takes_what_it_needs_from_before_it() -> None:
    text = f"{in_fences(TABLE)}\nAnswer:\n{in_fences(COUNT)}\nTests:\n{in_fences(PRIME + PRIMES)}"
    begin, end = text.index("Answer"), text.index("Tests")
    assert fenced_code(text, begin, end) == (f"{TABLE}\n\n{COUNT}", True)


def test_what_is_no_fence_is_none() -> None:
    assert fenced_code(PRIME) is None
    assert fenced_code(RENDER) is None
    assert mask_fences(f"{in_fences(RENDER)}\nAnswer: 1").endswith("`\nAnswer: 1")
    assert fenced_code(in_fences(PRIME)[:-4]) == (PRIME, False)


def test_names_are_those_of_the_outermost_level() -> None:
    names = names_of(
        "import os.path as p\nA, B = 1, 2\ndef f(x: T):\n    y = x + A\n    return g(y)"
    )
    assert names.given == {"p", "A", "B", "f"}
    assert names.taken == {"T", "g"}
    assert not names_of("def f(").helps
    assert names_of("(" * 5_000).given == set()
    assert names_of("\0").given == set()
