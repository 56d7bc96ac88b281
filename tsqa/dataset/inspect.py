"""One item with all that is behind it; and a random look at what was accepted or rejected.

Promises: what is shown comes from the artifacts alone; text from data is never taken for markup;
what cannot be found any more is said to be missing, and the rest is shown.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from tsqa.console import make_console
from tsqa.dataset.files import draw_rows, read_curated, read_rejected
from tsqa.dataset.lineage import (
    Item,
    find_candidate,
    find_item,
    find_lines,
    find_upstream,
    rebuild_prompts,
)
from tsqa.errors import DataError
from tsqa.store.artifact import Artifact

_ORIGIN = ("task", "capability", "subject", "language", "kind", "dataset", "revision", "split")


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
    if candidate is None and found.accepted:
        console.print(_missing("the candidate", generate))
    elif candidate is None:
        console.print(Rule("record, as it came"), Text(found.row["record"]))
    else:
        shots = find_lines(seeds, "seeds.jsonl", candidate["seed_ids"])
        _print_seed(console, candidate, shots, seeds)
        _print_prompts(console, candidate, shots, generate)
        _print_teacher(console, candidate)
        _print_question(console, candidate)
        _print_votes(console, candidate)
    _print_filters(console, found)
    if found.accepted:
        _print_answer(console, found.row)
        console.print(Rule("text"), Text(found.row["text"]))


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
    rejected = rejected or step is not None or reason is not None
    read = read_rejected if rejected else read_curated

    def fits(row: Mapping[str, Any]) -> bool:
        return (
            (task is None or row["task"] == task)
            and (step is None or row["step"] == step)
            and (reason is None or reason.lower() in row["reason"].lower())
        )

    rows = draw_rows(filter(fits, read(folder)), n, str(seed))
    if not rows:
        columns = ["task", "step", "reason"] if rejected else ["task"]
        there = Counter(" / ".join(row.values()) for row in read(folder, columns))
        raise DataError(
            f"{folder}: nothing fits",
            f"there are: {', '.join(f'{k} ({v})' for k, v in there.most_common(20)) or 'no items'}",
        )
    # less shows colours as colours only when told, as git tells it.
    os.environ.setdefault("LESS", "FRX")
    with console.pager(styles=True) if console.is_terminal else nullcontext():
        for number, row in enumerate(rows, 1):
            console.print(Rule(Text(f"{number} of {len(rows)}  {row['id']}"), align="left"))
            _print_item(console, row, rejected)


def _missing(what: str, artifact: Artifact | None) -> Text:
    where = f"it is not in {artifact.path}" if artifact else "its artifact is gone"
    return Text(f"{what}: {where}", style="yellow")


def _fields(pairs: Iterable[tuple[str, Any]]) -> Table:
    """Names and values in two columns; what has no value is left out."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        if shown := _inline(value):
            table.add_row(name, Text(shown))
    return table


def _print_head(console: Console, found: Item) -> None:
    verdict = "accepted" if found.accepted else f"rejected at the step {found.row['step']}"
    title = Text.assemble(
        (found.row["id"], "bold"), "  ", (verdict, "green" if found.accepted else "red")
    )
    others = ", ".join(str(artifact.path) for artifact in found.others)
    console.print(
        title,
        _fields(
            [
                ("artifact", found.artifact.path),
                ("made", found.artifact.manifest.created),
                ("also in", others),
            ]
        ),
    )


def _print_seed(
    console: Console,
    candidate: Mapping[str, Any],
    shots: Mapping[str, Mapping[str, Any]],
    seeds: Artifact | None,
) -> None:
    console.print(Rule("seed"))
    seed = shots.get(candidate["seed_id"])
    shown_with = [name for name in candidate["seed_ids"] if name != candidate["seed_id"]]
    pairs = [("seed", candidate["seed_id"]), *((name, candidate[name]) for name in _ORIGIN)]
    pairs += [
        ("licence", candidate["licence"] or "not stated"),
        ("content hash", candidate["seed_hash"]),
        ("shown with", ", ".join(shown_with)),
    ]
    if seed is not None:
        pairs += [(name, seed[name]) for name in ("context", "question", "choices", "answer")]
    console.print(_fields(pairs))
    if seed is None:
        console.print(_missing("the seed", seeds))


def _print_prompts(
    console: Console,
    candidate: Mapping[str, Any],
    shots: Mapping[str, Mapping[str, Any]],
    generate: Artifact | None,
) -> None:
    enrichment = generate.manifest.config["enrichment"] if generate else []
    texts = rebuild_prompts(candidate, shots, enrichment)
    for role in texts:
        prompt = candidate["prompts"][role]
        console.print(Rule(f"prompt: {role}"))
        console.print(_fields((name, prompt[name]) for name in ("id", "version", "sha256")))
        text = texts[role]
        if text is None:
            text = "cannot be rebuilt: its file is not a shipped one, or a seed is missing"
            console.print(Text(text, style="yellow"))
        else:
            console.print(Text(text, style="dim"))


def _print_teacher(console: Console, candidate: Mapping[str, Any]) -> None:
    console.print(Rule("teacher"))
    pairs = [("teacher", candidate["teacher"]), ("cascade", candidate.get("cascade"))]
    pairs += [("form", candidate["form"])]
    pairs += [(f"sampling, {role}", values) for role, values in candidate["sampling"].items()]
    pairs += [(f"tokens, {name}", usage) for name, usage in candidate["usage"].items()]
    console.print(_fields(pairs))


def _inline(value: Any) -> str:
    """Names and values on one line, lists one item a line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_inline(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.3g}"
    return "" if value is None else str(value)


def _print_question(console: Console, candidate: Mapping[str, Any]) -> None:
    console.print(Rule("question"))
    names = ("context", "question", "choices", "tests", "parse_error")
    console.print(_fields((name.replace("_", " "), candidate[name]) for name in names))


def _print_votes(console: Console, candidate: Mapping[str, Any]) -> None:
    if not candidate["votes"]:
        return
    console.print(Rule("votes"))
    table = Table("vote", "by", "options shown", "answer", "reasoning", box=None)
    for vote in candidate["votes"]:
        order = " ".join(map(str, vote["order"])) if vote["order"] else ""
        answer = (
            Text(vote["answer"]) if vote["answer"] else Text(f"none: {vote['error']}", style="red")
        )
        table.add_row(
            Text(vote["id"]), vote["teacher"], order, answer, Text(vote["reasoning"], style="dim")
        )
    console.print(table)


def _print_filters(console: Console, found: Item) -> None:
    """Every step of the funnel, and what this item met there."""
    console.print(Rule("filters"))
    table = Table.grid(padding=(0, 2))
    row = found.row
    reached = True
    for step in (step["step"] for step in found.artifact.summary["funnel"]):
        rejected_here = not found.accepted and step == row["step"]
        if rejected_here:
            table.add_row(step, Text(_verdict(row), style="red"))
        else:
            table.add_row(step, Text("passed", "green") if reached else Text("not reached", "dim"))
        reached = reached and not rejected_here
    console.print(table)
    if found.accepted:
        scores = {"agreement": row["agreement"], **json.loads(row["scores"])}
        console.print(_fields([("scores", _inline(scores))]))


def _verdict(row: Mapping[str, Any]) -> str:
    score = "" if row["score"] is None else f", score {row['score']:.3g}"
    return f"{row['reason']}{score}" + (f", match: {row['match']}" if row["match"] else "")


def _print_answer(console: Console, row: Mapping[str, Any]) -> None:
    console.print(Rule("answer"))
    names = ("answer", "reasoning", "knowledge", "item_context", "distractors")
    console.print(_fields((name.replace("_", " "), row[name]) for name in names))


def _print_item(console: Console, row: Mapping[str, Any], rejected: bool) -> None:
    about = Text("  ".join((row["task"], row["capability"], row["kind"])), style="dim")
    if not rejected:
        agreement = Text(f"  agreement {row['agreement']:.3g}", style="dim")
        console.print(about, agreement, "\n", Text(row["text"]), "\n", sep="")
        return
    console.print(
        about,
        _fields(
            [
                ("rejected", f"{row['step']}: {_verdict(row)}"),
                ("question", row["question"]),
                ("answer", row["answer"]),
                ("votes", _tally(row["record"])),
            ]
        ),
        "",
    )


def _tally(record: str) -> str:
    """How many votes gave each answer; empty where the record is not a candidate's."""
    try:
        answers = Counter(vote["answer"] or "unreadable" for vote in json.loads(record)["votes"])
    except (ValueError, KeyError, TypeError):
        return ""
    return ", ".join(f"{answer} x {count}" for answer, count in answers.most_common())
