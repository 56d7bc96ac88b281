"""Deduplication: documents/s, planted duplicates found and memory, beside datatrove's MinHash.

    python -m tests.benchmarks.dedup --peer-python /path/to/datatrove/bin/python

Both read the same questions from memory, one process each, in their default configuration (ours:
128 hashes of 3-word shingles, threshold 0.8; datatrove: 14 x 8 hashes of 5-word shingles), and run
all their passes. A duplicate is found when it or its original is dropped.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.peers import peak_mib, run_peer
from tests.benchmarks.questions import load_questions
from tsqa.dedup.minhash import find_duplicates, jaccard, shingles
from tsqa.recipe import DedupSection
from tsqa.store.jsonl import write_jsonl
from tsqa.text.signs import tokens

KINDS = ("original", "verbatim", "case_and_punctuation", "one_word_changed")
_SECTION = DedupSection()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--peer-python", type=Path)
    arguments = parser.parse_args()
    items = list(stream_items(arguments.documents))
    ours, rate = _measure(items)
    with tempfile.TemporaryDirectory() as folder:
        rows = ({"id": name, "text": text} for name, text in items)
        write_jsonl(Path(folder) / "documents.jsonl", rows)
        peer = run_peer(arguments.peer_python, "dedup", Path(folder))
    table = Table(title=f"{len(items):,} questions, one process, one run")
    for column in ("", "ours", "datatrove"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("documents/s", f"{rate:,.0f}", f"{peer['rate']:,.0f}" if peer else "-")
    table.add_row("ratio", f"{rate / peer['rate']:.1f} x" if peer else "-", "")
    theirs = set(peer["dropped"]) if peer else None
    for kind in KINDS[1:]:
        table.add_row(f"found: {kind}", _found(items, ours, kind), _found(items, theirs, kind))
    label = f"dropped although nothing is as similar as {_SECTION.threshold}"
    table.add_row(label, _too_far(items, ours), _too_far(items, theirs))
    Console().print(table)
    _print_memory(arguments.documents)


def stream_items(count: int) -> Iterator[tuple[str, str]]:
    """(`number.kind`, question): each original at once followed by one of its duplicates."""
    questions = [seed.question for seed in load_questions("train")]
    rng = random.Random(0)
    for number in range(count // 2):
        text = questions[number % len(questions)]
        if number >= len(questions):
            text = " ".join(f"{word}{number // len(questions)}" for word in text.split())
        kind = KINDS[1 + number % 3]
        yield f"{number}.original", text
        yield f"{number}.{kind}", _disguise(text, kind, rng)


def _disguise(text: str, kind: str, rng: random.Random) -> str:
    if kind == "case_and_punctuation":
        return f"{text.upper().replace(',', ' ')} !"
    if kind == "one_word_changed":
        words = text.split()
        words[rng.randrange(len(words))] = "something"
        return " ".join(words)
    return text


def _measure(items: list[tuple[str, str]]) -> tuple[set[str], float]:
    """(ids dropped, documents/s)"""
    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        verdicts = list(find_duplicates(iter(items), _SECTION, Path(scratch)))
        seconds = time.perf_counter() - start
    dropped = {name for (name, _), verdict in zip(items, verdicts, strict=True) if verdict}
    return dropped, len(items) / seconds


def dedup_stream(count: int) -> None:
    """Deduplicate a stream that is never held."""
    with tempfile.TemporaryDirectory() as scratch:
        for _ in find_duplicates(stream_items(count), _SECTION, Path(scratch)):
            pass


def _found(items: list[tuple[str, str]], dropped: set[str] | None, kind: str) -> str:
    """Share of the duplicates at or above the threshold of which one side is dropped."""
    if dropped is None:
        return "-"
    texts = dict(items)
    pairs = [(f"{name.split('.')[0]}.original", name) for name in texts if name.endswith(kind)]
    alike = [
        pair
        for pair in pairs
        if jaccard(*(shingles(tokens(texts[name])) for name in pair)) >= _SECTION.threshold
    ]
    hits = sum(not dropped.isdisjoint(pair) for pair in alike)
    return f"{hits / len(alike):.1%} of {len(alike):,}"


def _too_far(items: list[tuple[str, str]], dropped: set[str] | None) -> str:
    """How many are dropped with no other question at or above the threshold."""
    if dropped is None:
        return "-"
    by_name = {name: shingles(tokens(text)) for name, text in items}
    holders = defaultdict(list)
    for name, mine in by_name.items():
        for shingle in mine:
            holders[shingle].append(name)
    far = 0
    for name in dropped:
        mine = by_name[name]
        others = {other for shingle in mine for other in holders[shingle]} - {name}
        best = max((jaccard(mine, by_name[other]) for other in others), default=0.0)
        far += best < _SECTION.threshold
    return f"{far:,} of {len(dropped):,}"


def _print_memory(documents: int) -> None:
    table = Table(title="peak resident memory of ours, a process each")
    for column in ("questions", "MiB"):
        table.add_column(column, justify="right")
    for count in (0, documents, 10 * documents):
        table.add_row(f"{count:,}", f"{peak_mib(dedup_stream, count):,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
