"""What comparing by meaning adds to the rules that compare words, with a real embedding model.

    python -m tests.benchmarks.semantic_leaks --model FOLDER [--benchmarks real templates reading]

`paraphrased` are forty documents of the real benchmarks that were told again by hand
(`paraphrases.jsonl`), before anything was measured on them; the rule for thresholds was changed
after they had been. Thresholds are set on every second
training document; what is rejected without being a leak is counted on the others. Intervals are
Wilson's, at 95%.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from tests.benchmarks.disguises import DISGUISES
from tests.benchmarks.questions import TASKS, load_real
from tests.benchmarks.reading import load_reading
from tests.benchmarks.template_tasks import load_templates
from tsqa.decontaminate.index import EvaluatedIndex
from tsqa.decontaminate.planted_leaks import KINDS, as_candidate
from tsqa.decontaminate.semantic import Embedder, SemanticDocuments
from tsqa.dedup.semantic import load_model
from tsqa.recipe import DecontaminateSection
from tsqa.records.candidate import Candidate, seed_as_candidate
from tsqa.records.seed import Seed
from tsqa.store.jsonl import read_jsonl

Loader = Callable[[str, int], dict[str, list[Seed]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--benchmarks", nargs="+", default=["real", "templates", "reading"])
    parser.add_argument("--documents", type=int, default=500, help="evaluated, of each task")
    parser.add_argument("--training", type=int, default=400, help="documents of each task")
    parser.add_argument("--plants", type=int, default=100, help="of each task and disguise")
    parser.add_argument("--vectors", type=Path, help="a folder that keeps them between runs")
    parser.add_argument("--false-positives", type=float, default=0.01)
    parser.add_argument("--guard", action="store_true", help="thresholds as for seeds")
    parser.add_argument("--disguises", nargs="+", default=[*_PLANTS])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(str(arguments.model), "--model")
        kept = (arguments.vectors or Path(folder)) / "kept"
        kept.mkdir(parents=True, exist_ok=True)
        embedder = Embedder(model, str(arguments.model), kept)
        for name in arguments.benchmarks:
            _measure(name, embedder, arguments)


def _measure(name: str, embedder: Embedder, arguments: argparse.Namespace) -> None:
    load = _LOADERS[name]
    documents = load("test", arguments.documents)
    others = load("train", arguments.training)
    training = {task: [*map(seed_as_candidate, own)] for task, own in others.items()}
    evaluated = [*chain.from_iterable(documents.values())]
    index = EvaluatedIndex(evaluated, DecontaminateSection())
    passed = {task: _unseen(index, own) for task, own in training.items()}
    started = time.perf_counter()
    semantic = SemanticDocuments(
        embedder,
        [*map(seed_as_candidate, evaluated)],
        None if arguments.guard else [*chain.from_iterable(own[::2] for own in passed.values())],
        arguments.false_positives,
    )
    seconds = time.perf_counter() - started
    print(f"{name}: {len(evaluated):,} evaluated documents in {seconds:,.0f} s")
    for task in semantic.tasks:
        print(f"  {task}")
    table = Table(title=f"{name}: share found or rejected, by words / with meaning too")
    for column in ("", *documents):
        table.add_column(column, justify="left" if not column else "right")
    for kind in arguments.disguises:
        cells = []
        for own in documents.values():
            step = 1 if kind == "paraphrased" else max(1, len(own) // arguments.plants)
            planted = [p for p in map(_PLANTS[kind], own[::step]) if p]
            cells.append(_share(index, semantic, planted))
        table.add_row(kind, *cells)
    unused = {task: own if arguments.guard else own[1::2] for task, own in passed.items()}
    counted = [
        _count_rejected(semantic, len(training[task]) - len(passed[task]), unused[task])
        for task in documents
    ]
    table.add_row("training documents", *counted)
    Console(width=200).print(table)


@cache
def _paraphrases() -> dict[str, dict[str, Any]]:
    path = Path(__file__).with_name("paraphrases.jsonl")
    return {record["id"]: record for record in read_jsonl(path)}


def paraphrase(document: Seed) -> Candidate | None:
    """A document as it was told again by hand; None where it was not."""
    found = _paraphrases().get(document.id)
    if found is None:
        return None
    number = document.choices.index(document.answer) if document.choices else None
    answer = document.answer if number is None else found["choices"][number]
    return as_candidate(document, found["question"], found["choices"], answer)


def _unseen(index: EvaluatedIndex, own: Sequence[Candidate]) -> list[Candidate]:
    return [one for one, leak in zip(own, index.check(own), strict=True) if leak is None]


def _share(index: EvaluatedIndex, semantic: SemanticDocuments, planted: list[Candidate]) -> str:
    if not planted:
        return "-"
    left = _unseen(index, planted)
    missed = sum(leak is None for leak in semantic.check(left))
    return _cell(len(planted) - len(left), len(planted) - missed, len(planted))


def _count_rejected(semantic: SemanticDocuments, by_words: int, unused: list[Candidate]) -> str:
    """Of all by words; of those that set no threshold by meaning."""
    found = sum(leak is not None for leak in semantic.check(unused))
    low, high = wilson(found, len(unused))
    return (
        f"{by_words:,} + {found / max(1, len(unused)):.1%} [{low:.1%}, {high:.1%}] n={len(unused)}"
    )


def _cell(by_words: int, both: int, count: int) -> str:
    low, high = wilson(both, count)
    return f"{by_words / count:.0%} / {both / count:.1%} [{low:.0%}, {high:.0%}] n={count}"


def wilson(found: int, count: int) -> tuple[float, float]:
    """The interval of a share."""
    if not count:
        return 0.0, 1.0
    low, high = binomtest(found, count).proportion_ci(method="wilson")
    return float(low), float(high)


def load_real_seeds(split: str, count: int) -> dict[str, list[Seed]]:
    """Evenly from all, and those that were told again by hand."""
    found = {}
    for task in TASKS:
        every = load_real(task, split)
        told = [document for document in every if document.id in _paraphrases()]
        found[task] = [*{one.id: one for one in [*_spread(every, count), *told]}.values()]
    return found


def _load_reading(split: str, count: int) -> dict[str, list[Seed]]:
    return {k: v[:count] for k, v in load_reading(split, count).items()}


def _load_templates(split: str, _count: int) -> dict[str, list[Seed]]:
    return load_templates(split)  # of one size, or the splits share documents


def _spread(seeds: list[Seed], count: int) -> list[Seed]:
    return [seeds[n * len(seeds) // count] for n in range(min(count, len(seeds)))]


_PLANTS: dict[str, Callable[[Seed], Candidate | None]] = {
    "paraphrased": paraphrase,
    **DISGUISES,
    "passage_edited": KINDS["passage_edited"],
}
_LOADERS: dict[str, Loader] = {
    "real": load_real_seeds,
    "templates": _load_templates,
    "reading": _load_reading,
}

if __name__ == "__main__":
    main()
