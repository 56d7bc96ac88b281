"""How much of what a small teacher makes is right: the quickstart's families, whose truth is known.

    python -m tests.benchmarks.right_items --model models/smollm2-135m --out FOLDER [--form chat]

The model writes questions after seeds of the six miniature families and votes on them (default
prompts without explanations, sampling of `recipes/real`), the filters drop what they drop, and
what is left is compared with the right answer that the family's code computes. A question that is
none of its family has no truth that is known. Intervals: 95%, Wilson. The run is kept in the folder
and goes on after an interrupt.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from tests.benchmarks.diversity import wilson
from tsqa.curated.files import read_curated
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe
from tsqa.records.candidate import read_candidate
from tsqa.records.candidate_file import read_records
from tsqa.records.votes import same_answer
from tsqa.tasks.toy import toy_tasks
from tsqa.tasks.toy_families import true_answer

STEPS = ("written", "readable", "answered", "kept")
"""Questions; those that can be read, have a winning answer, and pass the filters."""


def recipe(model: Path, form: str, seeds: int, folder: Path) -> Path:
    """Write the recipe; `seeds` of each family, two questions for each, three votes."""
    values = {
        "name": f"right-items-{form}",
        "runs": str(folder / "runs"),
        "data": {"builder": "miniature", "train_per_family": 100, "test_per_family": 50},
        "seeds": {"tasks": toy_tasks(), "include": "{data}/tasks", "max_per_task": seeds},
        "generate": {
            "teacher": {
                "model": {"path": str(model.resolve())},
                "dtype": "float32",
                "form": form,
                "max_model_len": 1024,
                "max_num_seqs": 32,
                "kv_cache_gib": 1,
            },
            "per_seed": 2,
            "votes": 3,
            "enrichment": [],
            "question": {"temperature": 0.7, "top_p": 0.9, "max_tokens": 96},
            "answer": {"temperature": 0.5, "top_p": 0.9, "max_tokens": 32},
        },
        "filter": {"agreement": 0.6},
        "eval": {"tasks": toy_tasks(), "include": "{data}/tasks"},
    }
    path = folder / f"{form}.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def verdict(task: str, question: str, answer: str) -> str:
    truth = true_answer(task, question)
    if truth is None:
        return "unknown"
    return "right" if same_answer(truth, answer, "short_text") else "wrong"


def count(generated: Path, filtered: Path) -> dict[str, Counter[str]]:
    """Kind -> how many reach each step, and the verdicts on those that are answered and kept."""
    counts: dict[str, Counter[str]] = {"choice": Counter(), "number": Counter()}
    for record in read_records(generated / "candidates.jsonl"):
        found = counts[record.kind]
        found["written"] += 1
        if record.parse_error:
            continue
        found["readable"] += 1
        one = read_candidate(record)
        if one.answer and not one.is_tie:
            found["answered"] += 1
            found[f"answered {verdict(one.task, one.question, one.answer)}"] += 1
    for row in read_curated(filtered):
        found = counts[row.kind]
        found["kept"] += 1
        found[f"kept {verdict(row.task, row.question, row.answer)}"] += 1
    return counts


def print_table(form: str, counts: Mapping[str, Counter[str]]) -> None:
    table = Table(title=f"items of the miniature families, {form} form")
    for column in ("kind", *STEPS, "kept: truth known", "right of these", "right before filters"):
        table.add_column(column)
    total = counts["choice"] + counts["number"]
    for kind, found in {**counts, "both": total}.items():
        rights = [_right(found, step) for step in ("kept", "answered")]
        known = found["kept right"] + found["kept wrong"]
        steps = (str(found[step]) for step in STEPS)
        table.add_row(kind, *steps, str(known), *rights)
    Console(width=150).print(table)


def _right(found: Counter[str], step: str) -> str:
    right = found[f"{step} right"]
    known = right + found[f"{step} wrong"]
    return str(wilson(right, known)) if known else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--form", choices=("completion", "chat"), default="completion")
    parser.add_argument("--seeds", type=int, default=15, help="of each of the six families")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = recipe(arguments.model, arguments.form, arguments.seeds, arguments.out)
    made = Pipeline(load_recipe(path, []), path, []).run(until="filter")
    print_table(arguments.form, count(made["generate"].path, made["filter"].path))


if __name__ == "__main__":
    main()
