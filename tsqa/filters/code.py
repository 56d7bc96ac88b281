"""Code answers are verified by running their tests; see `tsqa.sandbox` for what contains them.

Guarantees: nothing runs where this machine has no boundary for it, unless the recipe says so; every
program ends within its time, however busy the machine; tests that pass without the answer prove
nothing and are refused. Only the standard library can be imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

from tsqa.errors import first_line
from tsqa.parallel import own_cores
from tsqa.recipe import CodeSection
from tsqa.records.candidate import Candidate, Rejection, Verdict, with_winner
from tsqa.sandbox import BusyError
from tsqa.sandbox.code import run_tests

_BATCH = 128


def verify_code(candidates: Iterable[Candidate], section: CodeSection | None) -> Iterator[Verdict]:
    """Pass on what is not code; give code the first vote that its tests accept."""
    source = iter(candidates)
    with ThreadPoolExecutor(own_cores()) as pool:
        while batch := list(islice(source, _BATCH)):
            if any(candidate.kind == "code" for candidate in batch):
                yield from pool.map(partial(_verify, section=section), batch)
            else:
                yield from ((candidate, None) for candidate in batch)


def _verify(candidate: Candidate, section: CodeSection | None) -> Verdict:
    try:
        return _run_votes(candidate, section)
    except BusyError as error:  # whatever another vote would say: it is not the first that passes
        return candidate, Rejection("the machine was too busy", 0.0, first_line(error))


def _run_votes(candidate: Candidate, section: CodeSection | None) -> Verdict:
    if candidate.kind != "code":
        return candidate, None
    if section is None:
        return candidate, Rejection("code is not verified")
    if not candidate.tests.strip():
        return candidate, Rejection("code without tests")
    if not run_tests("", candidate.tests, section):
        return candidate, Rejection("tests pass without the answer")
    votes = candidate.record.deciding_votes
    programs = dict.fromkeys(vote.answer for vote in votes if vote.answer)
    errors = {program: run_tests(program, candidate.tests, section) for program in programs}
    passing = [vote for vote in votes if vote.answer and not errors[vote.answer]]
    if not passing:
        return candidate, Rejection("tests failed", 0.0, next(iter(errors.values()), ""))
    share = sum(vote.weight for vote in passing) / sum(vote.weight for vote in votes)
    return with_winner(candidate, passing[0], share), None
