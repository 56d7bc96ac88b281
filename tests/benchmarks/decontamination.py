"""Decontamination: documents/s, recall on planted leaks and memory, beside datatrove's.

    python -m tests.benchmarks.decontamination --peer-python /path/to/datatrove/bin/python

Both check the same texts (training questions with options, answer and solution) against the same
evaluated documents, one process each, from memory. datatrove's index is built from question +
options as the query and the answer as the label, the very text of a verbatim leak.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.peers import peak_mib, run_peer
from tests.benchmarks.questions import load_questions, stream_candidates
from tsqa.artifact import write_jsonl
from tsqa.filters.candidate import Candidate
from tsqa.filters.decontaminate import EvaluatedIndex
from tsqa.filters.plants import KINDS, plant_leak
from tsqa.recipe import DecontaminateSection
from tsqa.seeds.seed import Seed

_BATCH = 1024
_SETTINGS = ("default", "with query n-grams")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--evaluated", type=int, default=2000)
    parser.add_argument("--peer-python", type=Path)
    arguments = parser.parse_args()
    evaluated = load_evaluated(arguments.evaluated)
    candidates = list(stream_candidates(load_questions("train"), arguments.documents))
    plants = {kind: [p for p in (plant_leak(d, kind) for d in evaluated) if p] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        _write_for_peer(Path(folder), evaluated, candidates, plants)
        peer = run_peer(arguments.peer_python, "decontaminate", Path(folder))
    ours = _measure(evaluated, candidates, plants)
    _print_rates(ours, peer, arguments.documents, len(evaluated))
    _print_recall(ours, peer, plants)
    _print_memory(arguments.documents, arguments.evaluated)


def load_evaluated(count: int) -> list[Seed]:
    """`count` test documents, evenly from all; beyond their number, again with a mark."""
    documents = load_questions("test")
    if count <= len(documents):
        return [documents[n * len(documents) // count] for n in range(count)]
    return list(islice(_marked(documents), count))


def _marked(documents: list[Seed]) -> Iterator[Seed]:
    for number in range(10**9):
        document = documents[number % len(documents)]
        mark = number // len(documents)
        words = (f"{word}{mark}" if mark else word for word in document.question.split())
        yield replace(document, id=f"{document.id}.{mark}", question=" ".join(words))


def _measure(
    evaluated: list[Seed], candidates: list[Candidate], plants: dict[str, list[Candidate]]
) -> dict[str, Any]:
    index = EvaluatedIndex(evaluated, DecontaminateSection())
    start = time.perf_counter()
    dropped = _count(index, candidates)
    seconds = time.perf_counter() - start
    return {
        "rate": len(candidates) / seconds,
        "dropped": dropped / len(candidates),
        "recall": {k: _count(index, found) / len(found) for k, found in plants.items() if found},
    }


def _count(index: EvaluatedIndex, candidates: list[Candidate]) -> int:
    batches = (candidates[start : start + _BATCH] for start in range(0, len(candidates), _BATCH))
    return sum(verdict is not None for batch in batches for verdict in index.check(batch))


def check_stream(documents: int, evaluated: int) -> None:
    """Check a stream of candidates that is never held."""
    index = EvaluatedIndex(load_evaluated(evaluated), DecontaminateSection())
    candidates = stream_candidates(load_questions("train"), documents)
    while batch := list(islice(candidates, _BATCH)):
        index.check(batch)


def _write_for_peer(
    folder: Path,
    evaluated: list[Seed],
    candidates: list[Candidate],
    plants: dict[str, list[Candidate]],
) -> None:
    write_jsonl(folder / "documents.jsonl", ({"id": c.id, "text": c.full_text} for c in candidates))
    queries = (
        {"query": "\n".join([d.question, *d.choices]), "answer": d.answer} for d in evaluated
    )
    write_jsonl(folder / "evaluated.jsonl", queries)
    rows = (
        {"id": plant.id, "text": plant.full_text, "kind": kind}
        for kind, found in plants.items()
        for plant in found
    )
    write_jsonl(folder / "plants.jsonl", rows)


def _print_rates(ours: dict[str, Any], peer: dict[str, Any], count: int, evaluated: int) -> None:
    table = Table(
        title=f"{count:,} documents against {evaluated:,} evaluated, one process, one run"
    )
    for column in ("", "documents/s", "ratio", "training documents rejected"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("ours", f"{ours['rate']:,.0f}", "", f"{ours['dropped']:.2%}")
    for name in _SETTINGS:
        found = peer.get(name)
        cells = (
            (
                f"{found['rate']:,.0f}",
                f"{ours['rate'] / found['rate']:.1f} x",
                f"{found['dropped']:.2%}",
            )
            if found
            else ("-", "-", "-")
        )
        table.add_row(f"datatrove, {name}", *cells)
    Console().print(table)


def _print_recall(
    ours: dict[str, Any], peer: dict[str, Any], plants: dict[str, list[Candidate]]
) -> None:
    table = Table(title="recall: share of planted leaks found")
    for column in ("disguise", "plants", "ours", *(f"datatrove, {name}" for name in _SETTINGS)):
        table.add_column(column, justify="left" if column == "disguise" else "right")
    for kind, share in ours["recall"].items():
        theirs = [peer[name]["recall"][kind] if peer else None for name in _SETTINGS]
        cells = ["-" if found is None else f"{found:.1%}" for found in theirs]
        table.add_row(kind, f"{len(plants[kind]):,}", f"{share:.1%}", *cells)
    Console().print(table)


def _print_memory(documents: int, evaluated: int) -> None:
    table = Table(title="peak resident memory of ours, a process each")
    for column in ("documents", "evaluated", "MiB"):
        table.add_column(column, justify="right")
    for many, of in ((0, 1), (documents, evaluated), (10 * documents, evaluated)):
        table.add_row(f"{many:,}", f"{of:,}", f"{peak_mib(check_stream, many, of):,.0f}")
    for factor in (10, 20):
        size = peak_mib(check_stream, documents, factor * evaluated)
        table.add_row(f"{documents:,}", f"{factor * evaluated:,}", f"{size:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
