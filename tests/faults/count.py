"""Count the tries by class and end, as Markdown: `python -m tests.faults.count`."""

from __future__ import annotations

from collections import Counter

from tests.faults import artifacts, data, endpoints, models, recipes, systems
from tests.faults.table import End, Try

KINDS = ("recipe", "data", "model", "tokenizer", "endpoint", "artifact", "system")


def all_tries() -> list[Try]:
    modules = (recipes, data, models, endpoints, artifacts, systems)
    return [attempt for module in modules for attempt in module.tries()]


def table(tries: list[Try]) -> str:
    counts = Counter((attempt.kind, attempt.end) for attempt in tries)
    lines = [f"| class | {' | '.join(End)} | all |", "| --- |" + " --- |" * (len(End) + 1)]
    for kind in KINDS:
        row = [counts[(kind, end)] for end in End]
        lines.append(f"| {kind} | {' | '.join(f'{n:,}' for n in row)} | {sum(row):,} |")
    sums = [sum(counts[(kind, end)] for kind in KINDS) for end in End]
    lines.append(f"| all | {' | '.join(f'{n:,}' for n in sums)} | {sum(sums):,} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(all_tries()))
