"""Asks the judge and the models that answer about items, and about the same with others in them,
each twice, as the recipe has them asked.

Guarantees: a request that was answered is on disk, and is not asked again by a later audit; each
has a random seed of its own, and whoever answers sees other examples, and the options in another
order, each time, so that even at temperature 0 two answers may differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tsqa.filters.asking import SAMPLING, judge
from tsqa.generate.stage import SeedFile, Solver, open_team, solve
from tsqa.prompts import load_prompts
from tsqa.quality.swaps.draw import SwapPair
from tsqa.recipe import SwapKind, needed
from tsqa.records.candidate import Candidate
from tsqa.records.candidate_file import CandidateRecord
from tsqa.records.seed import SeedIndex
from tsqa.records.summaries import LedgerRow
from tsqa.records.votes import same_answer
from tsqa.store.stage import StageContext
from tsqa.teachers.client import open_asker
from tsqa.teachers.scheduler import Job

JUDGE = "judge"
_UNCOMPARED = ("code", "long_text")
_FAILED = "error: "
_TIMES = 2
Drawn = Mapping[SwapKind, Sequence[SwapPair]]


@dataclass(frozen=True)
class SwapReply:
    """What a model said of a pair: whether the item passes, or its answer is the dataset's."""

    pair: SwapPair
    own: tuple[bool, bool]
    """Of its own text, asked twice."""
    swapped: tuple[bool, bool]
    """With others in it, asked twice."""


@dataclass(frozen=True)
class AskedModel:
    """All that one model said of the items of one kind."""

    role: str
    kind: SwapKind
    replies: list[SwapReply]
    unanswered: int
    greedy: str
    """Why it says the same when it is asked again; empty where it need not."""


def ask_judge(context: StageContext, drawn: Drawn, ledger: list[LedgerRow]) -> list[AskedModel]:
    """`context`: of the stage filter, with a folder for what comes back; empty without a judge."""
    section = needed(context.recipe.filter, "filter").judge
    if section is None:
        return []
    asker = open_asker(
        *(context, section.teacher, JUDGE, needed(context.recipe.generate, "generate").seed),
        *(ledger, section.allow_failed, "filter.judge.allow_failed"),
    )
    rubric = load_prompts(section.prompt, "judge", "filter.judge.prompt")
    rubric.check_form(asker.form)
    asked = [replace(each, id=name) for name, each in _asked(drawn)]
    said = [
        None if rejection and rejection.match.startswith(_FAILED) else rejection is None
        for _, rejection in judge(asked, asker, rubric, section.min_score)
    ]
    return [*_by_kind(JUDGE, drawn, said, section.teacher.greedy(SAMPLING))]


def ask_solvers(context: StageContext, drawn: Drawn, ledger: list[LedgerRow]) -> list[AskedModel]:
    """`context`: of the stage generate, with a folder for what comes back."""
    comparable = {
        kind: [pair for pair in pairs if pair.item.kind not in _UNCOMPARED]
        for kind, pairs in drawn.items()
    }
    team = open_team(context, ledger)
    solvers = [*filter(None, [team.writer.solver]), *team.later]
    path = context.inputs["seeds"].path / "seeds.jsonl"
    found: list[AskedModel] = []
    with SeedIndex(path) as index:
        seeds = SeedFile(path)
        for solver in solvers:
            once = replace(solver, how=replace(solver.how, votes=1, below=None))
            jobs = (_ask(once, seeds, index, each, name) for name, each in _asked(comparable))
            said = [*solver.asker.run(jobs)]
            found += _by_kind(solver.how.role, comparable, said)
    return found


def _asked(drawn: Drawn) -> Iterator[tuple[str, Candidate]]:
    """Each request's name, and what it is about."""
    for kind, pairs in drawn.items():
        for pair in pairs:
            for way, each in (("own", pair.item), ("swapped", pair.swapped)):
                for number in range(_TIMES):
                    yield f"{pair.item.id}.{kind}.{way}{number}", each


def _ask(
    solver: Solver, seeds: SeedFile, index: SeedIndex, item: Candidate, name: str
) -> Job[bool | None]:
    """Whether the answer is the item's; None where there is no reply."""
    seed = index.find(item.record.seed_id)
    if seed is None:
        return None
    asked: CandidateRecord = replace(item.record, id=name, votes=[])
    answered = yield from solve(solver, seeds, seed, asked)
    (vote,) = answered.votes
    if vote.error.startswith(_FAILED):
        return None
    if item.choices:
        return vote.index == item.answer_index
    return vote.answer is not None and same_answer(vote.answer, item.answer, item.kind)


def _by_kind(
    role: str, drawn: Drawn, said: Sequence[bool | None], greedy: str = ""
) -> Iterator[AskedModel]:
    """`said`: of each pair in turn, as `_asked` names them."""
    whole = iter(said)
    for kind, pairs in drawn.items():
        kept = []
        for pair in pairs:
            first, second, third, fourth = (next(whole) for _ in range(2 * _TIMES))
            if first is None or second is None or third is None or fourth is None:
                continue
            kept.append(SwapReply(pair, (first, second), (third, fourth)))
        yield AskedModel(role, kind, kept, len(pairs) - len(kept), greedy)
