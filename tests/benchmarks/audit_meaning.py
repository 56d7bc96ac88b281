"""What `tsqa audit-leaks --semantic` finds: questions told again by hand, and what is no leak.

    python -m tests.benchmarks.audit_meaning --model FOLDER [--what alone prose training books]

`alone` and `prose` are the forty paraphrases (`paraphrases.jsonl`), as a row with options and
answer, and between two passages of a book; `training` are rows of the benchmarks' own training
splits, `books` passages of 60 words. What words find is counted apart. Intervals are Wilson's, 95%.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from tests.benchmarks.questions import TASKS
from tests.benchmarks.semantic_leaks import load_real_seeds, paraphrase, wilson
from tests.support.paths import SHARED
from tsqa.audit.meaning import MeantDocuments, split, window_sizes
from tsqa.audit.search import Benchmarks
from tsqa.decontaminate.semantic import Embedder
from tsqa.dedup.semantic import load_model
from tsqa.recipe import DecontaminateSection
from tsqa.records.candidate import seed_as_candidate
from tsqa.records.seed import Seed

_WORDS = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=100, help="evaluated, of each task")
    parser.add_argument("--rows", type=int, default=60, help="of each task's training, of books")
    parser.add_argument("--what", nargs="+", default=["alone", "prose", "training", "books"])
    parser.add_argument("--vectors", type=Path, required=True, help="a folder, kept between runs")
    parser.add_argument("--false-positives", type=float, default=0.01)
    arguments = parser.parse_args()
    (arguments.vectors / "kept").mkdir(parents=True, exist_ok=True)
    model = load_model(str(arguments.model), "--model")
    embedder = Embedder(model, str(arguments.model), arguments.vectors / "kept")
    tests = load_real_seeds("test", arguments.documents)
    documents = [*chain.from_iterable(tests.values())]
    meaning = MeantDocuments(embedder, documents, arguments.false_positives)
    section = DecontaminateSection()
    benchmarks = Benchmarks(documents, {task: [task] for task in TASKS}, section, meaning)
    for task in meaning.tasks:
        print(f"  {task}")
    print(f"  windows of {window_sizes(documents)} words")
    for what in arguments.what:
        for name, rows in _rows(what, tests, arguments.rows).items():
            _measure(benchmarks, f"{what} {name}", rows, window_sizes(documents))


def _rows(what: str, tests: dict[str, list[Seed]], count: int) -> dict[str, list[str]]:
    if what == "books":
        return {"": _passages(count)}
    if what == "training":
        found = load_real_seeds("train", count)
        return {t: [seed_as_candidate(s).full_text for s in own] for t, own in found.items()}
    told = [p.full_text for p in map(paraphrase, chain.from_iterable(tests.values())) if p]
    if what == "alone":
        return {"": told}
    around = _passages(2 * len(told))
    pairs = zip(told, around[::2], around[1::2], strict=True)
    return {"": [f"{before}.\n{text}\n{after}" for text, before, after in pairs]}


def _passages(count: int) -> list[str]:
    with gzip.open(SHARED / "data/corpus/books.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"].split() for line in lines]
    long = [text for text in texts if len(text) >= _WORDS]
    return [" ".join(long[n * len(long) // count][:_WORDS]) for n in range(count)]


def _measure(benchmarks: Benchmarks, name: str, rows: Sequence[str], sizes: Sequence[int]) -> None:
    started = time.process_time()
    verdicts = benchmarks.check(rows)
    seconds = time.process_time() - started
    meant = sum(verdict is not None and verdict.reason == "semantic" for verdict in verdicts)
    found = sum(verdict is not None for verdict in verdicts)
    low, high = wilson(found, len(rows))
    windows = sum(len(split(row, sizes)) for row in rows)
    print(
        f"{name}: {found} of {len(rows)} ({found / len(rows):.1%} [{low:.1%}, {high:.1%}]), of "
        f"which {meant} by meaning; {windows / len(rows):.1f} windows and "
        f"{seconds / len(rows):.3f} core-s a row",
        flush=True,
    )


if __name__ == "__main__":
    main()
