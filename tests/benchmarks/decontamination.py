"""Decontamination: documents/s, recall on planted leaks and memory, beside datatrove's.

    python -m tests.benchmarks.decontamination --peer-python /path/to/datatrove/bin/python

Both check the same texts (training questions with passage, options, answer and solution) against
the same evaluated documents, one process each, from memory: those of four real benchmarks, then
those of invented ones, of reading and of templates (`reading.py`, `template_tasks.py`), in every
disguise unless `--benchmarks` and `--disguises` name some. datatrove's index is built from passage
+ question + options as the query and the answer as the label, the very text of a verbatim leak.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.disguises import DISGUISES
from tests.benchmarks.dress import DRESSES
from tests.benchmarks.peers import peak_mib, run_peer
from tests.benchmarks.questions import load_questions, stream_candidates
from tests.benchmarks.reading import CORPUS, load_reading
from tests.benchmarks.template_tasks import load_templates
from tsqa.decontaminate.index import EvaluatedIndex
from tsqa.decontaminate.planted_leaks import KINDS, plant_leak
from tsqa.recipe import DecontaminateSection
from tsqa.records.candidate import Candidate
from tsqa.records.seed import Seed
from tsqa.store.jsonl import write_jsonl

_BATCH = 1024
_SETTINGS = ("default", "with query n-grams")
_PLANTS = {kind: partial(plant_leak, kind=kind) for kind in KINDS} | DISGUISES | DRESSES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--evaluated", type=int, default=2000)
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--passages", type=int, default=300, help="of each reading benchmark")
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--benchmarks", nargs="+", default=["real", "reading", "templates"])
    parser.add_argument("--disguises", nargs="+", default=[*_PLANTS], choices=[*_PLANTS])
    arguments = parser.parse_args()
    for name in arguments.benchmarks:
        evaluated, training = _load(name, arguments)
        _compare(evaluated, training, arguments)
    _print_memory(arguments.documents, arguments.evaluated)


def _load(
    name: str, arguments: argparse.Namespace
) -> tuple[list[Seed], dict[str, list[Candidate]]]:
    """(evaluated documents, training documents of each benchmark)."""
    if name == "real":
        candidates = stream_candidates(load_questions("train"), arguments.documents)
        return load_evaluated(arguments.evaluated), {"training documents": [*candidates]}
    tests, others = (
        load_templates(split)
        if name == "templates"
        else load_reading(split, arguments.passages, arguments.corpus)
        for split in ("test", "train")
    )
    training = {task: [*stream_candidates(own, len(own))] for task, own in others.items()}
    return [*chain.from_iterable(tests.values())], training


def _compare(
    evaluated: list[Seed], training: dict[str, list[Candidate]], arguments: argparse.Namespace
) -> None:
    """`training`: documents that are no leaks, by the name under which they are counted."""
    disguises = {kind: _PLANTS[kind] for kind in arguments.disguises}
    planted = {k: [p for p in map(plant, evaluated) if p] for k, plant in disguises.items()}
    plants = {kind: found for kind, found in planted.items() if found}
    with tempfile.TemporaryDirectory() as folder:
        _write_for_peer(Path(folder), evaluated, training, plants)
        peer = run_peer(arguments.peer_python, "decontaminate", Path(folder))
    ours = _measure(evaluated, training, plants)
    _print_rates(ours, peer, sum(map(len, training.values())), len(evaluated))
    _print_shares("recall: share of planted leaks found", ours, peer, plants, "recall")
    for kind, found in plants.items():
        share = ours["stream"][kind]
        print(f"by the rules of the token stream: {kind} ({len(found):,}) {share:.2%}")
    _print_shares("rejected, though no leak", ours, peer, training, "dropped")


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
    evaluated: list[Seed],
    training: dict[str, list[Candidate]],
    plants: dict[str, list[Candidate]],
) -> dict[str, Any]:
    index = EvaluatedIndex(evaluated, DecontaminateSection())
    start = time.perf_counter()
    dropped = {name: _count(index, found) / len(found) for name, found in training.items()}
    seconds = time.perf_counter() - start
    return {
        "rate": sum(map(len, training.values())) / seconds,
        "dropped": dropped,
        "recall": {k: _count(index, found) / len(found) for k, found in plants.items()},
        "stream": {k: _count_in_stream(index, found) / len(found) for k, found in plants.items()},
    }


def _count_in_stream(index: EvaluatedIndex, candidates: list[Candidate]) -> int:
    """By the rules of the token stream, each within other text."""
    texts = [f"It is known that: {found.full_text} So it is." for found in candidates]
    return sum(verdict is not None for verdict in index.check_texts(texts))


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
    training: dict[str, list[Candidate]],
    plants: dict[str, list[Candidate]],
) -> None:
    queries = (
        {"query": "\n".join(filter(None, [d.context, d.question, *d.choices])), "answer": d.answer}
        for d in evaluated
    )
    write_jsonl(folder / "evaluated.jsonl", queries)
    for name, groups in (("documents", training), ("plants", plants)):
        rows = (
            {"id": candidate.id, "text": candidate.full_text, "kind": kind}
            for kind, found in groups.items()
            for candidate in found
        )
        write_jsonl(folder / f"{name}.jsonl", rows)


def _print_rates(ours: dict[str, Any], peer: dict[str, Any], count: int, evaluated: int) -> None:
    table = Table(
        title=f"{count:,} documents against {evaluated:,} evaluated, one process, one run"
    )
    for column in ("", "documents/s", "ratio"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("ours", f"{ours['rate']:,.0f}", "")
    for name in _SETTINGS:
        rate = peer[name]["rate"] if peer else None
        cells = (f"{rate:,.0f}", f"{ours['rate'] / rate:.1f} x") if rate else ("-", "-")
        table.add_row(f"datatrove, {name}", *cells)
    Console().print(table)


def _print_shares(
    title: str,
    ours: dict[str, Any],
    peer: dict[str, Any],
    groups: dict[str, list[Candidate]],
    what: str,
) -> None:
    table = Table(title=title)
    for column in ("", "count", "ours", *(f"datatrove, {name}" for name in _SETTINGS)):
        table.add_column(column, justify="right" if column else "left")
    for kind, found in groups.items():
        theirs = [peer[name][what][kind] if peer else None for name in _SETTINGS]
        cells = ["-" if share is None else f"{share:.2%}" for share in theirs]
        table.add_row(kind, f"{len(found):,}", f"{ours[what][kind]:.2%}", *cells)
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
