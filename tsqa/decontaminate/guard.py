"""The stage `guard`: what seeds and the recipe's benchmarks have in common.

Guarantees: a training split that a benchmark evaluates is refused, by its name, then by its
content, before a teacher is asked; a seed that is an evaluated document, disguised or, where the
recipe gives an embedding model, told again, is named in `dropped.jsonl`, and the filter rejects all
that was made from it; a task with many of them is refused whole; what a recipe allows all the same
is recorded. A new benchmark changes neither seeds nor candidates.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tsqa.decontaminate.index import EvaluatedIndex
from tsqa.decontaminate.semantic import SemanticDocuments, open_embedder
from tsqa.errors import LeakError
from tsqa.recipe import DecontaminateSection, needed
from tsqa.records.candidate import Candidate, Rejection, seed_as_candidate
from tsqa.records.candidate_file import UnreadableLine
from tsqa.records.seed import Seed, read_seeds
from tsqa.records.training_keys import read_training_keys
from tsqa.seeds.benchmarks import evaluated_tasks, read_evaluated
from tsqa.seeds.leaks import EvaluatedKeys, Shared, allowed_leak, key_of, refuse_shared
from tsqa.seeds.sources import open_sources
from tsqa.seeds.stage import refuse_leaks
from tsqa.store.jsonl import read_jsonl, write_jsonl
from tsqa.store.stage import StageContext
from tsqa.tasks.identity import evaluated_split, split_identities
from tsqa.tasks.library import task_library

_DROPPED = "dropped.jsonl"
_NEARLY_WHOLE = 0.9
"""Share of an evaluated question, by the weights of `similarity`, that makes a seed the same one.

Of real training splits 0.1 to 0.7% reach it, of disguised test documents 88 to 100%."""


def run(context: StageContext) -> dict[str, Any]:
    """Compare every usable training document, and the seeds in any disguise; write the dropped."""
    section = needed(context.recipe.seeds, "seeds")
    sources = open_sources(context, _evaluated_splits(context))
    allowed = refuse_leaks(sources, section.allow_leaks)
    folder = context.inputs["seeds"].path
    seeds = [*read_seeds(folder / "seeds.jsonl")]
    equal, whole, totals = _find_equal(context, folder)
    resembling, disguised = _find_disguised(context, seeds)
    meant, semantic = _find_meant(context, [s for s in seeds if s.id not in {*equal, *disguised}])
    disguised |= meant
    chosen = Counter(seed.task for seed in seeds)
    found: defaultdict[str, Shared] = defaultdict(Shared)  # a task may give no seed
    dropped = []
    for seed in seeds:
        told = [disguised[seed.id]] if seed.id in disguised else []
        matches = equal.get(seed.id, told)
        if matches:
            found[seed.task].add(seed.id, matches)
            if seed.task not in section.allow_leaks:
                dropped.append({"id": seed.id, "match": matches[0]})
    for task in totals:
        if task not in section.allow_leaks:
            refuse_shared(task, whole[task], totals[task])
            refuse_shared(task, found[task], chosen[task])
        elif count := max(whole[task].count, found[task].count):
            allowed.setdefault(task, f"{count:,} of its documents are evaluated")
    if dropped and len(dropped) == len(seeds):
        raise LeakError("seeds: every seed is a document of an evaluated split", "choose others")
    write_jsonl(context.out / _DROPPED, dropped)
    tasks = {seed.id: seed.task for seed in seeds}
    return {
        "seeds": len(seeds),
        "dropped": len(dropped),
        "resembling": resembling.total(),
        "by_task": dict(Counter(tasks[one["id"]] for one in dropped)),
        "resembling_by_task": dict(resembling),
        **semantic,
        "allowed_leaks": [
            allowed_leak(name, allowed[name], whole[name], found[name]) for name in sorted(allowed)
        ],
    }


def _find_equal(
    context: StageContext, seeds: Path
) -> tuple[dict[str, Sequence[str]], dict[str, Shared], Counter[str]]:
    """Compare every training document, seed or not.

    Returns: id -> the evaluated documents that it is; task -> how many; task -> of how many.
    """
    evaluated = EvaluatedKeys()
    for document in read_evaluated(context):
        evaluated.add(key_of(document), document.id)
    totals: Counter[str] = Counter()
    shared: defaultdict[str, Shared] = defaultdict(Shared)
    equal: dict[str, Sequence[str]] = {}
    for keys in read_training_keys(seeds):
        totals[keys.task] += 1
        if same := evaluated.find(keys.whole):
            shared[keys.task].add(keys.id, same)
            equal[keys.id] = same
    return equal, shared, totals


def _find_disguised(
    context: StageContext, seeds: Sequence[Seed]
) -> tuple[Counter[str], dict[str, str]]:
    """(task -> its seeds that a candidate could not be; seed -> the evaluated document it is).

    A seed is an evaluated document where it asks nearly the whole question of one. Other seeds
    that the rules for candidates catch share a template or a passage with one: they are counted.
    """
    index = EvaluatedIndex(read_evaluated(context), DecontaminateSection())
    passages = [seed for seed in seeds if seed.is_passage]
    held = _find_held(index, passages)
    seeds = [seed for seed in seeds if not seed.is_passage]
    candidates = [seed_as_candidate(seed) for seed in seeds]
    caught = [
        candidate
        for candidate, verdict in zip(candidates, index.check(candidates), strict=True)
        if verdict is not None
    ]
    disguised = {
        candidate.id: verdict.match
        for candidate, verdict in zip(caught, index.check_questions(caught), strict=True)
        if verdict is not None and (verdict.score or 0) >= _NEARLY_WHOLE
    }
    others = Counter(candidate.task for candidate in caught if candidate.id not in disguised)
    return others, disguised | held


def _find_meant(
    context: StageContext, seeds: Sequence[Seed]
) -> tuple[dict[str, str], dict[str, Any]]:
    """(seed -> the evaluated document that it asks in other words, what to say of it).

    Nothing without a model. Thresholds are set on evaluated documents among each other: a split
    that leaked would set its own beyond itself.
    """
    section = context.recipe.filter
    if section is None or section.semantic_leaks is None:
        return {}, {}
    semantic = SemanticDocuments(
        open_embedder(section, context.out),
        [seed_as_candidate(document) for document in read_evaluated(context)],
        None,
        section.semantic_leaks.false_positives,
    )
    asked = [seed_as_candidate(seed) for seed in seeds if not seed.is_passage]
    found = zip(asked, semantic.check(asked), strict=True)
    meant = {seed.id: leak.match for seed, leak in found if leak is not None}
    told = {"by_meaning": len(meant), "semantic_leaks": [asdict(one) for one in semantic.tasks]}
    return meant, told


def _find_held(index: EvaluatedIndex, seeds: Sequence[Seed]) -> dict[str, str]:
    """Passage -> the evaluated document that it holds, or in whose passage it stands."""
    texts = [seed.context for seed in seeds]
    verdicts = zip(index.check_texts(texts), index.find_passages(texts), strict=True)
    found = ((seed.id, item or of) for seed, (item, of) in zip(seeds, verdicts, strict=True))
    return {name: verdict.match for name, verdict in found if verdict is not None}


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
    found: dict[tuple[str, ...], str] = {}
    for name in evaluated_tasks(context, include):
        config = library.config(name)
        split = evaluated_split(config)
        found |= dict.fromkeys(split_identities(config, split) if split else (), name)
    return found
