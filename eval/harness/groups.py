"""Documents that share something, such as a passage or a story: one draw of the statistics.

Guarantees: where two documents of a task share a passage, every document has a group; a rule of
`eval.groups` that names a field which a document lacks is refused, one by which no two documents
share anything is named; so are stems that many documents share and no group holds, with the key
that would hold them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tsqa.errors import DataError, RecipeError
from tsqa.recipe import EvalSection
from tsqa.store.artifact import Artifact
from tsqa.tasks.library import TaskLibrary

SHARED_STEMS = "shared_stems"
"""In the summary of an evaluation: task -> what `propose_rule` says of it, or `ALONE`."""
ALONE = "no two documents share what eval.groups says"
NOWHERE = "no document has what eval.groups says"
ALONE_SO_FAR = "no two documents within eval.limit share what eval.groups says"
"""In the place of the counts, where a rule finds nothing in common: the last one may be right."""
_PASSAGES = ("passage", "article", "paragraph", "story", "context")
"""Fields of a document that several questions share."""
_BEFORE_LAST_SENTENCE = r"/^(.*[.!?])\s+\S/"
_LEAST_WORDS = 5
"""Of a stem; less is a label."""
_LEAST_SHARE, _MOST_SHARED = 0.2, 0.1
"""Documents that share a stem with another, from which stems count; and documents that may share
one: what more do is a template's, not an item's."""


def rules_of(section: EvalSection, library: TaskLibrary) -> dict[str, str]:
    """Leaf task -> its rule in `eval.groups`, under its own name or that of a group with it."""
    found: dict[str, tuple[str, str]] = {}
    for name, rule in section.groups.items():
        for leaf in library.expand([name]):
            before, known = found.setdefault(leaf, (name, rule))
            if known != rule:
                raise RecipeError(
                    f"eval.groups: {leaf} is in {before} and in {name}, which have other rules",
                    "give both one rule",
                )
    return {leaf: rule for leaf, (_, rule) in found.items()}


def group_of(document: Mapping[str, object], question: str, rule: str | None) -> str | None:
    """A hash of what the document shares with others; None where it has nothing such."""
    if rule is None:
        texts = [text for key in _PASSAGES if isinstance(text := document.get(key), str)]
        return _hash(texts[0]) if texts and texts[0] else None
    shared = _shared_by(document, question, rule)
    return _hash(shared) if shared else None


def propose_rule(documents: Sequence[Mapping[str, object]], questions: Sequence[str]) -> str:
    """`1,000 documents share 283 stems; eval.groups: {...}` for ungrouped ones; else empty."""
    fields = [key for key, value in documents[0].items() if isinstance(value, str)]
    n, best, found = len(documents), (0, 0), ""
    for rule in (*fields, _BEFORE_LAST_SENTENCE):
        try:
            stems = [_shared_by(d, q, rule) for d, q in zip(documents, questions, strict=True)]
        except DataError:  # not every document has the field
            continue
        counts = Counter(stem for stem in stems if len(stem.split()) >= _LEAST_WORDS)
        sharing = sum(count for count in counts.values() if count > 1)
        if sharing < _LEAST_SHARE * n or max(counts.values()) > max(2, _MOST_SHARED * n):
            continue
        if (sharing, -len(counts)) > best:
            best = (sharing, -len(counts))
            found = f"{sharing:,} of {n:,} documents share {len(counts):,} stems; {rule}"
    return found


def nothing_shared(groups: Sequence[str | None], rule: str, limit: int | None) -> str:
    """What stands in the place of `propose_rule` where no two of these groups are the same."""
    if not any(groups):
        return f"{NOWHERE}; {rule}"
    is_cut = limit is not None and len(groups) >= limit
    return f"{ALONE_SO_FAR if is_cut else ALONE}; {rule}"


def stems_note(task: str, found: str) -> str:
    """What to do about stems that documents share, or about a rule by which none do."""
    counts, _, rule = found.partition("; ")
    if counts in (ALONE, NOWHERE, ALONE_SO_FAR):
        remedy = "" if counts == ALONE_SO_FAR else ": correct the rule"
        return f"{task}: {counts} ({rule}), so each is a draw of its own{remedy}"
    return (
        f"{task}: {counts}, so its intervals are too narrow: set eval.groups: "
        f"{{{task}: {json.dumps(rule)}}}"
    )


def stems_notes(evaluations: Iterable[Artifact]) -> list[str]:
    """The same of every task of these evaluations, each once."""
    notes = [
        stems_note(task, found)
        for artifact in evaluations
        for task, found in artifact.summary.get(SHARED_STEMS, {}).items()
    ]
    return list(dict.fromkeys(f"{note}." for note in notes))


def _shared_by(document: Mapping[str, object], question: str, rule: str) -> str:
    """The text that a rule picks, without its letter case and numbers; empty where it has none."""
    if rule.startswith("/"):
        match = re.search(rule[1:-1], question, re.DOTALL)
        text = match[match.re.groups and 1] if match else ""
    else:
        value = document.get(rule)
        if not isinstance(value, str):
            known = ", ".join(key for key, one in document.items() if isinstance(one, str))
            raise DataError(f"eval.groups: a document has no text `{rule}`", f"use one of: {known}")
        text = value
    return " ".join(re.sub(r"\d+([.,]\d+)*", "0", text or "").casefold().split())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
