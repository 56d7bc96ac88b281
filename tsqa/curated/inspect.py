"""Shows one item with its whole lineage, or a random choice of accepted or rejected items.

Guarantees: what is shown comes from the artifacts alone; text from data is never taken for markup;
what can no longer be found is reported as missing, and the rest is shown.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from tsqa.console import make_console
from tsqa.curated.files import draw_rows, read_curated, read_rejected
from tsqa.curated.lineage import (
    FoundItem,
    find_candidate,
    find_item,
    find_seeds,
    find_upstream,
    rebuild_prompts,
)
from tsqa.errors import DataError
from tsqa.records.canaries import plant_all, read_canaries
from tsqa.records.candidate_file import CandidateRecord, as_json, parse_record
from tsqa.records.rows import CuratedRow, RejectedRow, read_lineage
from tsqa.records.seed import Seed
from tsqa.store.artifact import Artifact

T = TypeVar("T", CuratedRow, RejectedRow)


def show(runs: Path, item_id: str, console: Console | None = None) -> None:
    """Print the lineage of an item of any filter artifact below `runs`, the newest that has it.

    Raises DataError, with the nearest ids, when none has it.
    """
    console = console or make_console()
    found = find_item(runs, item_id)
    generate = find_upstream(runs, found.artifact, "generate")
    seeds = find_upstream(runs, found.artifact, "seeds")
    candidate = find_candidate(found, generate)
    _print_head(console, found)
    if candidate is not None:
        shots = find_seeds(seeds, candidate.seed_ids)
        _print_seed(console, candidate, shots, seeds)
        _print_prompts(console, candidate, _as_shown(shots, candidate, generate), generate)
        _print_teacher(console, candidate)
        _print_question(console, candidate)
        _print_votes(console, candidate)
    elif isinstance(found.row, RejectedRow):
        console.print(Rule("record, as it came"), Text(found.row.record))
    else:
        console.print(_missing("the candidate", generate))
    _print_filters(console, found)
    if isinstance(found.row, CuratedRow):
        _print_answer(console, found.row)
        console.print(Rule("text"), Text(found.row.text))


def _as_shown(
    shots: Mapping[str, Seed], candidate: CandidateRecord, generate: Artifact | None
) -> Mapping[str, Seed]:
    """With their canaries; without those seeds whose canary is gone."""
    if not candidate.canaries:
        return shots
    canaries = read_canaries(generate.path) if generate else []
    lost = {*candidate.canaries} - {each.seed_id for each in canaries}
    return plant_all({name: shots[name] for name in shots.keys() - lost}, canaries)


def inspect(
    folder: Path,
    *,
    rejected: bool = False,
    step: str | None = None,
    reason: str | None = None,
    task: str | None = None,
    n: int = 10,
    seed: int = 0,
    console: Console | None = None,
) -> None:
    """Page through a random choice of `n` items of a filter artifact.

    `step` or `reason` (any part of it, in any case) mean the rejected. Raises DataError, saying
    what there is, when nothing fits.
    """
    console = console or make_console()
    # less needs these options to show colours; git sets the same ones.
    os.environ.setdefault("LESS", "FRX")
    if rejected or step is not None or reason is not None:

        def fits(row: RejectedRow) -> bool:
            return (
                (task is None or row.task == task)
                and (step is None or row.step == step)
                and (reason is None or reason.lower() in row.reason.lower())
            )

        losers = draw_rows(filter(fits, read_rejected(folder)), n, str(seed))
        if not losers:
            rows = read_rejected(folder)
            raise _nothing_fits(folder, (f"{r.task} / {r.step} / {r.reason}" for r in rows))
        _page(console, losers, _print_rejected)
    else:
        curated = (row for row in read_curated(folder) if task is None or row.task == task)
        drawn = draw_rows(curated, n, str(seed))
        if not drawn:
            raise _nothing_fits(folder, (row.task for row in read_curated(folder)))
        _page(console, drawn, _print_curated)


def _nothing_fits(folder: Path, labels: Iterable[str]) -> DataError:
    there = Counter(labels).most_common(20)
    return DataError(
        f"{folder}: nothing fits",
        f"there are: {', '.join(f'{name} ({count})' for name, count in there) or 'no items'}",
    )


def _page(console: Console, rows: list[T], show_row: Callable[[Console, T], None]) -> None:
    with console.pager(styles=True) if console.is_terminal else nullcontext():
        for number, row in enumerate(rows, 1):
            console.print(Rule(Text(f"{number} of {len(rows)}  {row.id}"), align="left"))
            show_row(console, row)


def _missing(what: str, artifact: Artifact | None) -> Text:
    where = f"it is not in {artifact.path}" if artifact else "its artifact is gone"
    return Text(f"{what}: {where}", style="yellow")


def _fields(pairs: Iterable[tuple[str, object]]) -> Table:
    """Names and values in two columns; empty values are left out."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        if shown := _inline(value):
            table.add_row(name, Text(shown))
    return table


def _print_head(console: Console, found: FoundItem) -> None:
    verdict = ("accepted", "green")
    if isinstance(found.row, RejectedRow):
        verdict = (f"rejected at the step {found.row.step}", "red")
    title = Text.assemble((found.row.id, "bold"), "  ", verdict)
    others = ", ".join(str(artifact.path) for artifact in found.others)
    console.print(
        title,
        _fields(
            [
                ("artifact", found.artifact.path),
                ("created", found.artifact.manifest.created),
                ("also in", others),
            ]
        ),
    )


def _print_seed(
    console: Console, candidate: CandidateRecord, shots: Mapping[str, Seed], seeds: Artifact | None
) -> None:
    console.print(Rule("seed"))
    seed = shots.get(candidate.seed_id)
    pairs: list[tuple[str, object]] = [
        ("seed", candidate.seed_id),
        ("task", candidate.task),
        ("capability", candidate.capability),
        ("subject", candidate.subject),
        ("language", candidate.language),
        ("kind", candidate.kind),
        ("dataset", candidate.dataset),
        ("revision", candidate.revision),
        ("split", candidate.split),
        ("licence", candidate.licence or "not stated"),
        ("content hash", candidate.seed_hash),
        ("shown with", ", ".join(n for n in candidate.seed_ids if n != candidate.seed_id)),
        ("with a canary", ", ".join(candidate.canaries)),
        ("asked to be", candidate.attributes),
    ]
    if seed is not None:
        pairs += [
            ("context", seed.context),
            ("question", seed.question),
            ("choices", seed.choices),
            ("answer", seed.answer),
        ]
    console.print(_fields(pairs))
    if seed is None:
        console.print(_missing("the seed", seeds))


def _print_prompts(
    console: Console,
    candidate: CandidateRecord,
    shots: Mapping[str, Seed],
    generate: Artifact | None,
) -> None:
    enrichment = generate.manifest.config["enrichment"] if generate else []
    for role, text in rebuild_prompts(candidate, shots, enrichment).items():
        console.print(Rule(f"prompt: {role}"))
        console.print(_fields(asdict(candidate.prompts[role]).items()))
        if text is None:
            text = "cannot be rebuilt: its file is no shipped one, or a seed or canary is missing"
            console.print(Text(text, style="yellow"))
        else:
            console.print(Text(text, style="dim"))


def _print_teacher(console: Console, candidate: CandidateRecord) -> None:
    console.print(Rule("teacher"))
    written = as_json(candidate)
    pairs = [(name, written.get(name)) for name in ("teacher", "solvers", "cascade", "form")]
    sampling = [(f"sampling, {role}", asdict(s)) for role, s in candidate.sampling.items()]
    usage = [(f"tokens, {role}", asdict(tokens)) for role, tokens in candidate.usage.items()]
    console.print(_fields([*pairs, *sampling, *usage]))


def _inline(value: object) -> str:
    """A mapping on one line, a list with one item a line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_inline(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.3g}"
    return "" if value is None else str(value)


def _print_question(console: Console, candidate: CandidateRecord) -> None:
    console.print(Rule("question"))
    pairs = [
        ("context", candidate.context),
        ("ground", candidate.ground),
        ("question", candidate.question),
        ("choices", candidate.choices),
        ("tests", candidate.tests),
        ("rephrasing", candidate.rephrasing),
        ("parse error", candidate.parse_error),
    ]
    console.print(_fields(pairs))


def _print_votes(console: Console, candidate: CandidateRecord) -> None:
    if not candidate.votes:
        return
    console.print(Rule("votes"))
    table = Table("vote", "by", "options shown", "answer", "reasoning", box=None)
    for vote in candidate.votes:
        by = vote.teacher if vote.weight == 1 else f"{vote.teacher} x {vote.weight:g}"
        order = " ".join(map(str, vote.order or []))
        answer = Text(vote.answer) if vote.answer else Text(f"none: {vote.error}", style="red")
        table.add_row(Text(vote.id), by, order, answer, Text(vote.reasoning, style="dim"))
    console.print(table)
    for vote in candidate.votes:
        if vote.trace:
            console.print(Text(f"{vote.id} thought: {vote.trace}", style="dim"))


def _print_filters(console: Console, found: FoundItem) -> None:
    """Every step of the funnel, and what this item met there."""
    console.print(Rule("filters"))
    table = Table.grid(padding=(0, 2))
    row = found.row
    reached = True
    for step in (step["step"] for step in found.artifact.summary["funnel"]):
        if isinstance(row, RejectedRow) and step == row.step:
            table.add_row(step, Text(_verdict(row), style="red"))
            reached = False
        else:
            table.add_row(step, Text("passed", "green") if reached else Text("not reached", "dim"))
    console.print(table)
    if isinstance(row, CuratedRow):
        voted = {} if row.agreement is None else {"agreement": row.agreement}
        scores = voted | json.loads(row.scores)
        console.print(_fields([("scores", scores)]))


def _verdict(row: RejectedRow) -> str:
    score = "" if row.score is None else f", score {row.score:.3g}"
    return f"{row.reason}{score}" + (f", match: {row.match}" if row.match else "")


def _print_answer(console: Console, row: CuratedRow) -> None:
    console.print(Rule("answer"))
    pairs = [
        ("answer", row.answer),
        ("reasoning", row.reasoning),
        ("knowledge", row.knowledge),
        ("item context", row.item_context),
        ("distractors", row.distractors),
    ]
    console.print(_fields(pairs))


def _print_curated(console: Console, row: CuratedRow) -> None:
    scores = json.loads(row.scores)
    lineage = read_lineage(row.lineage)
    told = [f"agreement {row.agreement:.3g}" if row.agreement is not None else ""]
    told += [str(scores.get("difficulty") or ""), _inline(lineage.attributes)]
    line = Text("".join(f"  {part}" for part in told if part), style="dim")
    console.print(_about(row), line, "\n", Text(row.text), "\n", sep="")


def _print_rejected(console: Console, row: RejectedRow) -> None:
    pairs = [
        ("rejected", f"{row.step}: {_verdict(row)}"),
        ("question", row.question),
        ("answer", row.answer),
        ("votes", _tally(row.record)),
        ("asked to be", _asked_to_be(row.record)),
    ]
    console.print(_about(row), _fields(pairs), "")


def _about(row: CuratedRow | RejectedRow) -> Text:
    return Text("  ".join((row.task, row.capability, row.kind)), style="dim")


def _tally(record: str) -> str:
    """How many votes gave each answer; empty where the record is not a candidate's."""
    try:
        answers = Counter(vote.answer or "unreadable" for vote in parse_record(record).votes)
    except ValueError:
        return ""
    return ", ".join(f"{answer} x {count}" for answer, count in answers.most_common())


def _asked_to_be(record: str) -> Mapping[str, str]:
    """The attributes of a record; none where it is not a candidate's."""
    try:
        return parse_record(record).attributes
    except ValueError:
        return {}
