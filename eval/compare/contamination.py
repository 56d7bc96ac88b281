"""Contamination status of every evaluated task, and its score on the clean documents.

A task is
  `allowed_leak`  if seeds came from a split that shares documents with its evaluated split;
  `trained_on`    if a source held some of its documents when a model was trained on it: a compared
                  model, or one that it was made from;
  `touched`       if something the teacher wrote, or a document of a source, holds some of its
                  documents: it was removed before training, as far as the rules find it;
  `not_checked`   if nothing was found, but nothing looked into some source for its documents;
  `clean`         if every tokenized source of every compared model and of its ancestors was looked
                  through, and holds none.
What a pretrained model read before is known to nobody here: it counts for nothing, and is said.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

from eval.deltas import Contamination
from eval.lineage.copies import Copies
from eval.lineage.sources import (
    Checks,
    TokenSource,
    dropped_by,
    is_pretrained,
    is_weak,
    sources_of,
    tasks_of,
)
from eval.results import DOCUMENTS, columns_of
from tsqa.curated.files import REJECTED, read_rows
from tsqa.recipe import Recipe, arms_of
from tsqa.records.summaries import AllowedLeak, merge_leaks
from tsqa.store.artifact import Artifact
from tsqa.store.jsonl import read_jsonl
from tsqa.store.own_tables import read_own_table
from tsqa.store.roles import BASE, ArmRole, CheckedRole, Role

_STEPS = frozenset({"guard", "meaning", "decontamination"})
"""Of the filter, that name the evaluated document that a candidate repeats, or was made from."""
_MARK = " of the evaluated "
"""Precedes the document in the reason for which a source's document was dropped."""
_MOST_NAMED = 3
"""Arms named for one source."""


def of_recipe(recipe: Recipe, inputs: Mapping[Role, Artifact]) -> dict[str, Contamination]:
    """The status of each task; `inputs` are those of the stage compare."""
    checks = [artifact for role, artifact in inputs.items() if isinstance(role, CheckedRole)]
    return contamination(conditions_of(recipe, inputs), checks)


def conditions_of(recipe: Recipe, inputs: Mapping[Role, Artifact]) -> dict[str, list[Artifact]]:
    """Condition -> its evaluations; `inputs` are those of the stage compare."""
    conditions: dict[str, list[Artifact]] = defaultdict(list)
    if BASE in inputs:
        conditions[BASE].append(inputs[BASE])
    for name, arm in arms_of(recipe).items():
        if ArmRole(name) in inputs:
            conditions[arm.condition].append(inputs[ArmRole(name)])
    return conditions


def unseen_notes(conditions: Mapping[str, Sequence[Artifact]]) -> list[str]:
    """Which of the compared models and their ancestors were trained elsewhere, unseen."""
    notes = []
    pretrained = [name for name, several in conditions.items() if any(map(is_pretrained, several))]
    if pretrained:
        whose = "All models" if len(pretrained) == len(conditions) else ", ".join(pretrained)
        notes.append(
            f"{whose}: begun from a pretrained model. What that one read before is not known, and "
            f"contamination says nothing of it."
        )
    named = {
        source.owner or condition: None
        for condition, evaluations in conditions.items()
        for evaluation in evaluations
        for source in sources_of(evaluation)
        if source.is_declared
    }
    if named:
        they, them = ("they", "them") if len(named) > 1 else ("it", "it")
        notes.append(
            f"Trained elsewhere: {', '.join(named)}. What {they} read is declared by the recipe, "
            f"not seen here; so is what contamination says of {them}."
        )
    return notes


def contamination(
    conditions: Mapping[str, Sequence[Artifact]], checks: Sequence[Artifact]
) -> dict[str, Contamination]:
    """Task -> its status, touched documents, and per condition the score on the others.

    `conditions` are the compared evaluations, `checks` the artifacts that may say what sources
    held. A `score_clean` is a mean over training seeds; None where nothing was found, or no
    document is clean.
    """
    scores = {name: [_read_scores(a) for a in several] for name, several in conditions.items()}
    looked = _look(conditions, checks)
    evaluations = [*chain.from_iterable(conditions.values())]
    _mark_copies(looked, evaluations, scores)
    # A store may hold checks of other models, whose seeds are none of these.
    made_of = [artifact for one in looked for artifact in one.artifacts]
    leaks = merge_leaks(artifact.summary for artifact in (*evaluations, *made_of))
    report: dict[str, Contamination] = {}
    for one in chain.from_iterable(scores.values()):
        for task in one.keys() - report.keys():
            report[task] = _of_task(task, looked, leaks, len(one[task]), scores)
    return {task: report[task] for task in sorted(report)}


_Scores = list[tuple[int, str, float]]
"""(doc_id, doc_hash, score) of one task."""


@dataclass
class _Looked:
    """A source, and what was found in it."""

    condition: str
    source: TokenSource
    tasks: Collection[str]
    """Whose documents were looked for."""
    strictly: set[str] = field(default_factory=set)
    """Of `tasks`, those that the default rules or stricter ones looked for."""
    removed: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Task -> documents that it held, and that were taken out before training."""
    kept: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Task -> documents that a model was trained on."""
    artifacts: list[Artifact] = field(default_factory=list)
    """Its tokens, and what looked into it."""

    @property
    def owner(self) -> str:
        return self.source.owner or (BASE if self.condition == BASE else "")

    @property
    def label(self) -> str:
        return f"{self.owner or self.condition}/{self.source.name}"


def _of_task(
    task: str,
    looked: Sequence[_Looked],
    leaks: Sequence[AllowedLeak],
    n: int,
    scores: Mapping[str, Sequence[Mapping[str, _Scores]]],
) -> Contamination:
    unchecked = [one for one in looked if task not in one.tasks]
    kept = [one for one in looked if one.kept.get(task)]
    found = {d for one in looked for d in (*one.removed.get(task, ()), *one.kept.get(task, ()))}
    status = _status(task, leaks, bool(kept), bool(found), bool(unchecked) or not looked)
    clean = {
        name: _mean([_mean(_clean(each.get(task, []), found)) for each in several])
        for name, several in scores.items()
    }
    every = next(each[task] for several in scores.values() for each in several if task in each)
    n_clean = len(_clean(every, found))
    is_known = status != "allowed_leak" and (bool(found) or status == "clean")
    return Contamination(
        status=status,
        checked=_named([one for one in looked if task in one.tasks], looked),
        unchecked=_named(unchecked, looked),
        trained_on={
            label: len({d for one in kept if one.label == label for d in one.kept[task]})
            for label in dict.fromkeys(one.label for one in kept)
        },
        documents=n - n_clean if is_known else None,
        n_clean=n_clean if is_known else None,
        score_clean=clean if is_known else dict.fromkeys(clean),
        weakly=_named([o for o in looked if task in o.tasks and task not in o.strictly], looked),
    )


def _look(
    conditions: Mapping[str, Sequence[Artifact]], artifacts: Sequence[Artifact]
) -> list[_Looked]:
    """The sources of every condition, and what the checks found in them."""
    checks, matches, found = Checks(artifacts), _Matches(), {}
    for condition, evaluations in conditions.items():
        for evaluation in evaluations:
            for source in sources_of(evaluation):
                one = _Looked(condition, source, ())
                key = (one.label, source.tokens.fingerprint if source.tokens else "")
                if key not in found:
                    found[key] = one
                    if source.tokens:
                        _look_into(one, source.tokens, checks, evaluation, matches)
    return list(found.values())


def _look_into(
    one: _Looked, tokens: Artifact, checks: Checks, evaluation: Artifact, matches: _Matches
) -> None:
    one.artifacts.append(tokens)
    dropped = dropped_by(tokens)
    gone = {text for text, _ in matches.of(dropped)} if dropped else set()
    for check in checks.of(tokens):
        is_filtered = check.manifest.stage == "filter"
        one.artifacts.append(check)
        tasks = tasks_of(check, evaluation)
        one.tasks = {*one.tasks, *tasks}
        one.strictly |= set() if is_weak(check) else tasks
        for text, document in matches.of(check):
            task, _, number = document.rpartition("-")
            if task in tasks:
                held = one.removed if is_filtered or text in gone else one.kept
                held[task].add(int(number))


def _mark_copies(
    looked: Sequence[_Looked],
    evaluations: Sequence[Artifact],
    scores: Mapping[str, Sequence[Mapping[str, _Scores]]],
) -> None:
    """Add to what was found the documents that are the same, in whichever task."""
    if not any(one.kept or one.removed for one in looked):
        return
    hashes = {
        (task, doc_id): doc_hash
        for each in chain.from_iterable(scores.values())
        for task, documents in each.items()
        for doc_id, doc_hash, _ in documents
    }
    copies = Copies(evaluations, hashes)
    for one in looked:
        for found in (one.kept, one.removed):
            keys = [(task, doc_id) for task, documents in found.items() for doc_id in documents]
            for task, doc_id in copies.of(keys):
                found[task].add(doc_id)


class _Matches:
    """What each check found, read once: (hash of a text, or nothing, and `<task>-<doc_id>`)."""

    def __init__(self) -> None:
        self._read: dict[str, list[tuple[str, str]]] = {}

    def of(self, check: Artifact) -> list[tuple[str, str]]:
        if check.fingerprint not in self._read:
            read = _of_filter if check.manifest.stage == "filter" else _of_sources
            self._read[check.fingerprint] = list(read(check))
        return self._read[check.fingerprint]


def _named(some: Sequence[_Looked], every: Sequence[_Looked]) -> list[str]:
    """Their labels; one of the arms alone where it is so in all arms that have the source."""
    labels: dict[str, None] = {}
    for one in some:
        same = {o.condition for o in every if not o.owner and o.source.name == one.source.name}
        here = [o.condition for o in some if not o.owner and o.source.name == one.source.name]
        if one.owner:
            labels[one.label] = None
        elif set(here) == same and len(same) > 1:
            labels[one.source.name] = None
        elif len(here) <= _MOST_NAMED or one.condition in here[:_MOST_NAMED]:
            labels[one.label] = None
        else:
            labels[f"{one.source.name} of {len(here) - _MOST_NAMED} more arms"] = None
    return list(labels)


@dataclass(frozen=True)
class _Match:
    step: str
    match: str


def _of_filter(artifact: Artifact) -> Iterator[tuple[str, str]]:
    """Evaluated documents that candidates matched."""
    for row in read_rows(artifact.path / REJECTED, _Match):
        if row.step in _STEPS:
            yield "", row.match


def _of_sources(artifact: Artifact) -> Iterator[tuple[str, str]]:
    """Evaluated documents that documents of a source held."""
    for record in read_jsonl(artifact.path / "dropped.jsonl"):
        first = str(record["reason"]).partition(_MARK)[2]
        for document in record.get("documents", [first]):  # the first alone, if made before
            yield str(record["text"]), str(document)


def _status(
    task: str,
    leaks: Sequence[AllowedLeak],
    is_kept: bool,
    is_found: bool,
    is_missing: bool,
) -> Literal["allowed_leak", "trained_on", "touched", "not_checked", "clean"]:
    named = re.compile(rf"(?<![\w-]){re.escape(task)}(?![\w-])")
    for leak in leaks:
        shared = {leak["task"], *leak.get("evaluated", ())}
        if task in shared or named.search(leak["reason"]):
            return "allowed_leak"
    if is_kept:
        return "trained_on"
    if is_found:
        return "touched"
    return "not_checked" if is_missing else "clean"


def _read_scores(evaluation: Artifact) -> dict[str, _Scores]:
    columns = columns_of("task", "doc_id", "doc_hash", "score")
    table = read_own_table(evaluation.path / DOCUMENTS, columns).to_pydict()
    scores: dict[str, _Scores] = defaultdict(list)
    for task, *document in zip(*(table[column] for column in columns.names), strict=True):
        scores[task].append((document[0], document[1], document[2]))
    return dict(scores)


def _clean(documents: _Scores, touched: set[int]) -> list[float]:
    """Scores of the documents that are not touched; a copy of a touched one is touched as well."""
    hashes = {doc_hash for doc_id, doc_hash, _ in documents if doc_id in touched}
    return [score for _, doc_hash, score in documents if doc_hash not in hashes]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
