"""Candidates -> curated documents, through a fixed and visible list of filters.

Promises: every candidate ends in exactly one of `curated.jsonl` and `rejected.jsonl`, with the
step, the reason and the score that rejected it; the funnel adds up; nothing is random.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tsqa.artifact import read_jsonl, write_jsonl
from tsqa.errors import DataError, TsqaError
from tsqa.filters import checks
from tsqa.filters.candidate import Candidate, Rejection, read_candidate
from tsqa.filters.decontaminate import EvaluatedIndex, measure_recall
from tsqa.filters.dedup import find_duplicates
from tsqa.filters.text import normalise, normalise_answer
from tsqa.lm_tasks import task_library
from tsqa.miniature import PREFIX, true_answer
from tsqa.progress import progress_bar
from tsqa.recipe import FilterSection
from tsqa.seeds import Seed, evaluated_tasks, load_split
from tsqa.stage import StageContext

Step = tuple[str, Callable[[Sequence[Candidate]], dict[str, Rejection]]]


def run(context: StageContext) -> dict[str, Any]:
    """Write curated.jsonl and rejected.jsonl."""
    section = context.recipe.filter
    if section is None:
        raise DataError("the recipe has no `filter` section", "add one")
    records = read_jsonl(context.inputs["generate"].path / "candidates.jsonl")
    candidates = [read_candidate(record) for record in records]
    evaluated = load_evaluated(context)
    steps = build_steps(section, load_seed_questions(context), evaluated)
    kept, rejected, funnel = run_steps(steps, candidates)
    rows = [_rejected_row(c, step, why) for c, step, why in rejected]
    write_jsonl(context.out / "rejected.jsonl", rows)
    if not kept:
        worst = max(funnel, key=lambda row: int(row["rejected"]))
        raise TsqaError(
            f"none of the {len(candidates)} candidates passed the filters; the step "
            f"`{worst['step']}` rejected {worst['rejected']} of {worst['entered']} "
            f"(see {context.out / 'rejected.jsonl'})",
            "use a better teacher or looser filters",
        )
    write_jsonl(context.out / "curated.jsonl", (_curated_row(c) for c in kept))
    summary = _summary(candidates, kept, rejected, funnel)
    summary["planted_leak_recall"] = measure_recall(evaluated, section.decontaminate)
    context.tracker.table("filter/funnel", list(funnel[0]), [list(r.values()) for r in funnel])
    return summary


def build_steps(
    section: FilterSection, seed_questions: Mapping[str, str], evaluated: Sequence[Seed]
) -> list[Step]:
    """The filters in the order in which they run, cheap ones first."""
    index = EvaluatedIndex(evaluated, section.decontaminate)
    return [
        ("format", _each(checks.check_format)),
        ("length", _each(lambda c: checks.check_length(c, section.max_words))),
        ("agreement", _each(lambda c: checks.check_agreement(c, section.agreement))),
        ("copy", _each(lambda c: checks.check_copy(c, seed_questions))),
        ("dedup", lambda candidates: find_duplicates(candidates, section.dedup)),
        ("decontamination", index.find_leaks),
    ]


def run_steps(
    steps: Sequence[Step], candidates: Sequence[Candidate]
) -> tuple[list[Candidate], list[tuple[Candidate, str, Rejection]], list[dict[str, Any]]]:
    """(kept, rejected with step and reason, funnel)."""
    kept = list(candidates)
    rejected: list[tuple[Candidate, str, Rejection]] = []
    funnel: list[dict[str, Any]] = []
    with progress_bar() as bar:
        row = bar.add_task("filter", total=len(steps), note="")
        for name, find in steps:
            bar.update(row, note=f"{name}: {len(kept)} candidates")
            found = find(kept)
            entered = len(kept)
            rejected += [(c, name, found[c.id]) for c in kept if c.id in found]
            kept = [candidate for candidate in kept if candidate.id not in found]
            funnel.append(
                {"step": name, "entered": entered, "left": len(kept), "rejected": len(found)}
            )
            bar.advance(row)
    return kept, rejected, funnel


def load_evaluated(context: StageContext) -> list[Seed]:
    """Every document of the evaluated split of every task in recipe.eval.tasks."""
    section = context.recipe.eval
    if section is None:
        raise DataError("`filter` needs `eval`: decontamination is against its tasks")
    include = context.task_folder(section)
    names = evaluated_tasks(context.recipe, include)
    return [document for name in names for document in load_split(name, include, "test")]


def load_seed_questions(context: StageContext) -> dict[str, str]:
    """Normalised question -> seed id, over the whole training splits, not only the seeds used."""
    section = context.recipe.seeds
    if section is None:
        raise DataError("`filter` needs `seeds`")
    include = context.task_folder(section)
    return {
        normalise(seed.question): seed.id
        for task in task_library(include).expand(section.tasks)
        for seed in load_split(task, include, "train")
    }


def _each(
    check: Callable[[Candidate], Rejection | None],
) -> Callable[[Sequence[Candidate]], dict[str, Rejection]]:
    def find(candidates: Sequence[Candidate]) -> dict[str, Rejection]:
        checked = ((candidate.id, check(candidate)) for candidate in candidates)
        return {name: rejection for name, rejection in checked if rejection}

    return find


def _curated_row(candidate: Candidate) -> dict[str, Any]:
    record = candidate.record
    return {
        "id": candidate.id,
        "task": candidate.task,
        "family": record["family"],
        "kind": record["kind"],
        "question": candidate.question,
        "answer": candidate.answer,
        "explanation": candidate.explanation,
        "text": candidate.text,
        "agreement": candidate.agreement,
        "seed_id": record["seed_id"],
        "lineage": {
            "winning_vote": candidate.winning_vote,
            "votes": [vote["id"] for vote in record["votes"]],
            **{key: record[key] for key in ("seed_ids", "prompt_hashes", "teacher", "sampling")},
        },
    }


def _rejected_row(candidate: Candidate, step: str, rejection: Rejection) -> dict[str, Any]:
    return {
        "id": candidate.id,
        "task": candidate.task,
        "question": candidate.question,
        "answer": candidate.answer,
        "step": step,
        **asdict(rejection),
    }


def _summary(
    candidates: Sequence[Candidate],
    kept: Sequence[Candidate],
    rejected: Sequence[tuple[Candidate, str, Rejection]],
    funnel: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    entered = Counter(candidate.task for candidate in candidates)
    left = Counter(candidate.task for candidate in kept)
    reasons = Counter(f"{step}: {why.reason}" for _, step, why in rejected)
    leaks: dict[str, Counter[str]] = {}
    for candidate, step, why in rejected:
        if step == "decontamination":
            leaks.setdefault(candidate.task, Counter())[why.reason] += 1
    return {
        "candidates": len(candidates),
        "curated": len(kept),
        "rejected": len(rejected),
        "funnel": list(funnel),
        "by_task": {task: {"candidates": entered[task], "curated": left[task]} for task in entered},
        "rejected_by_reason": dict(reasons.most_common()),
        "decontamination_by_task": {task: dict(counts) for task, counts in leaks.items()},
        "truth_by_task": measure_truth(kept),
    }


def measure_truth(candidates: Sequence[Candidate]) -> dict[str, dict[str, int]]:
    """For miniature tasks, whose right answers are known: how many well-formed, how many true."""
    found: dict[str, dict[str, int]] = {}
    for candidate in candidates:
        if not candidate.task.startswith(PREFIX):
            continue
        truth = true_answer(candidate.task, candidate.question)
        counts = found.setdefault(candidate.task, {"curated": 0, "well_formed": 0, "true": 0})
        counts["curated"] += 1
        counts["well_formed"] += truth is not None
        counts["true"] += truth is not None and normalise_answer(truth) == normalise_answer(
            candidate.answer
        )
    return found
