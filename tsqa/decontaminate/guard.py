"""The stage `guard`: what seeds and the recipe's benchmarks have in common.

Guarantees: a training split that a benchmark evaluates is refused, by its name, then by its
content, before a teacher is asked; a seed that is an evaluated document is named in
`dropped.jsonl`, and the filter rejects all that was made from it; what a recipe allows all the same
is recorded. A new benchmark changes neither seeds nor candidates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tsqa.errors import LeakError
from tsqa.recipe import needed
from tsqa.records.candidate import Candidate, Rejection
from tsqa.records.candidate_file import UnreadableLine
from tsqa.records.training_keys import read_training_keys
from tsqa.seeds.benchmarks import evaluated_tasks, read_evaluated
from tsqa.seeds.leaks import key_of, refuse_shared
from tsqa.seeds.sources import open_sources
from tsqa.seeds.stage import refuse_leaks
from tsqa.store.jsonl import read_jsonl, write_jsonl
from tsqa.store.stage import StageContext
from tsqa.tasks.identity import evaluated_split, split_identity
from tsqa.tasks.library import task_library
from tsqa.text.sameness import SameTexts

_DROPPED = "dropped.jsonl"


def run(context: StageContext) -> dict[str, Any]:
    """Compare every usable training document; write the dropped ones of the seeds."""
    section = needed(context.recipe.seeds, "seeds")
    sources = open_sources(context, _evaluated_splits(context))
    allowed = refuse_leaks(sources, section.allow_leaks)
    evaluated: SameTexts[str] = SameTexts()
    for document in read_evaluated(context):
        evaluated.add(key_of(document), document.id)
    seeds = context.inputs["seeds"].path
    chosen = {str(seed["id"]): str(seed["task"]) for seed in read_jsonl(seeds / "seeds.jsonl")}
    totals: Counter[str] = Counter()
    shared: Counter[str] = Counter()
    dropped = []
    for keys in read_training_keys(seeds):
        totals[keys.task] += 1
        match = evaluated.find(keys.whole)
        if match is None:
            continue
        shared[keys.task] += 1
        if keys.id in chosen and keys.task not in section.allow_leaks:
            dropped.append({"id": keys.id, "match": match})
    for task, count in shared.items():
        if task in section.allow_leaks:
            allowed.setdefault(task, f"{count:,} of its documents are evaluated")
        else:
            refuse_shared(task, count, totals[task])
    if dropped and len(dropped) == len(chosen):
        raise LeakError("seeds: every seed is a document of an evaluated split", "choose others")
    write_jsonl(context.out / _DROPPED, dropped)
    return {
        "seeds": len(chosen),
        "dropped": len(dropped),
        "by_task": dict(Counter(chosen[str(one["id"])] for one in dropped)),
        "allowed_leaks": [{"task": name, "reason": allowed[name]} for name in sorted(allowed)],
    }


def read_dropped_seeds(folder: Path) -> dict[str, str]:
    """Id of a seed that may not be one -> the evaluated document that it is."""
    return {str(one["id"]): str(one["match"]) for one in read_jsonl(folder / _DROPPED)}


def check_seeds(candidate: Candidate, dropped: Mapping[str, str]) -> Rejection | None:
    """Rejects what was made from a dropped seed, or shown one."""
    if isinstance(candidate.source, UnreadableLine):
        return None
    record = candidate.record
    for name in (record.seed_id, *record.seed_ids):
        if name in dropped:
            return Rejection("made from a document of an evaluated split", match=dropped[name])
    return None


def _evaluated_splits(context: StageContext) -> dict[tuple[str, ...], str]:
    """Split identity -> the task of this recipe that evaluates it."""
    include = context.task_folder(needed(context.recipe.eval, "eval"))
    library = task_library(include)
    found = {}
    for name in evaluated_tasks(context, include):
        config = library.config(name)
        split = evaluated_split(config)
        if split:
            found[split_identity(config, split)] = name
    return found
