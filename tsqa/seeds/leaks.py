"""What may be a seed: no split that anything evaluates, by name before any data, then by content.

Guarantees: every refusal says which task evaluates the split; what a recipe allows all the same is
reported, never silent; a document that is also an evaluated one is dropped, and a task with many
such documents is refused whole.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import jinja2.meta

from tsqa.errors import LeakError, RecipeError
from tsqa.records.seed import Seed
from tsqa.records.summaries import AllowedLeak
from tsqa.records.training_keys import TrainingKeys
from tsqa.seeds.document import content_key
from tsqa.tasks.identity import evaluated_split, same_documents, split_identities
from tsqa.tasks.library import TaskLibrary, task_library
from tsqa.text.sameness import Hashed, SameTexts

MAX_SHARED = 0.05
"""Share of a training split that may be evaluated documents; more (and more than one), and the
split is refused: who mixed in some of a test split may have mixed in more, in another dress."""
_EXAMPLES = 3
_EVALUATION_SPLIT = re.compile(r"(?:^|[._-])test(?:[._-]|$)")
_WRONG_TARGETS = {
    "drop": "lm-eval renders the names of its answer's fields, not the answer",
    "multirc": "lm-eval renders its labels the wrong way round (1, true, becomes `no`)",
}
"""Found by rendering documents of the real schema, lm-eval 0.4.13."""
_ROLLING = "loglikelihood_rolling"


@lru_cache(maxsize=4)
def evaluated_identities(include: Path | None) -> Mapping[tuple[str, ...], str]:
    """Map split identity -> the first task of the library that evaluates it."""
    library = task_library(include)
    found: dict[tuple[str, ...], str] = {}
    for name in library.leaf_tasks():
        config = library.config(name)
        split = evaluated_split(config)
        for identity in split_identities(config, split) if split else ():
            found.setdefault(identity, name)
    return found


def find_leak(
    name: str, library: TaskLibrary, siblings: Mapping[tuple[str, ...], str]
) -> str | None:
    """Say why a task's training split is an evaluated one, by name; None when it is not."""
    config = library.config(name)
    training = config.get("training_split")
    if not training:
        return None
    identities = split_identities(config, str(training))
    own = evaluated_split(config)
    if own and any(same_documents(identities, split_identities(config, own))):
        return (
            f"its training split ({training}) is the split it is evaluated on; seeding from it "
            "would train on the test"
        )
    other = next((siblings[known] for _, known in same_documents(identities, siblings)), None)
    return f"its training split ({training}) is evaluated by {other}" if other else None


def find_obstacle(name: str, library: TaskLibrary) -> str | None:
    """Say why a task's training split gives no question, leaks aside; None when it does."""
    config = library.config(name)
    if "unknown" in config:
        return f"the Python class cannot be asked without its data: {config['unknown']}"
    if not config.get("training_split"):
        return "it has no training split, and nothing else may be a seed"
    if name in _WRONG_TARGETS and library.is_own:
        return _WRONG_TARGETS[name]
    if config.get("output_type") == _ROLLING:
        return "it scores running text, and asks no question"
    for key in ("doc_to_image", "doc_to_audio"):
        if config.get(key):
            return f"its questions are about {key.removeprefix('doc_to_')}s"
    if config.get("use_prompt"):
        return "its text is a promptsource prompt"
    if "class" not in config and _is_constant(config):
        return "its answer does not depend on the document"
    return None


def looks_evaluated(split: str) -> bool:
    """Whether a split or a file is a test set by its name."""
    return bool(_EVALUATION_SPLIT.search(split.casefold()))


def key_of(seed: Seed) -> Hashed:
    return content_key(seed.context, seed.question, seed.choices)


def training_keys(seed: Seed) -> TrainingKeys:
    """The keys under which a candidate may copy a training document."""
    return TrainingKeys(
        seed.id, seed.task, key_of(seed), content_key(seed.context, seed.question, [])
    )


@dataclass
class Shared:
    """The documents of one source that are evaluated ones."""

    count: int = 0
    examples: list[str] = field(default_factory=list)
    tasks: set[str] = field(default_factory=set)
    """That evaluate them."""

    def add(self, own: str, evaluated: Sequence[str]) -> None:
        """Count a document, which is each of these evaluated ones (ids `<task>-<number>`)."""
        self.count += 1
        self.tasks |= {name.rpartition("-")[0] for name in evaluated}
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{own} is {evaluated[0]}")


class EvaluatedKeys:
    """Evaluated documents by what they ask; one that several tasks have is found with all."""

    def __init__(self) -> None:
        self._same: SameTexts[list[str]] = SameTexts()

    def add(self, key: Hashed, name: str) -> None:
        known = self._same.find(key)
        if known is None:
            self._same.add(key, [name])
        else:
            known.append(name)

    def find(self, key: Hashed) -> Sequence[str]:
        """The ids of the documents that are the same."""
        return self._same.find(key) or []


def allowed_leak(task: str, reason: str, *shared: Shared) -> AllowedLeak:
    """What a stage's summary says of a source that was let in."""
    evaluated = sorted({name for one in shared for name in one.tasks})
    leak: AllowedLeak = {"task": task, "reason": reason}
    return {**leak, "evaluated": evaluated} if evaluated else leak


def refuse_unknown_leaks(allow: Sequence[str], names: Sequence[str]) -> None:
    """Raise RecipeError where `seeds.allow_leaks` holds what is none of the sources' names."""
    if unknown := sorted(set(allow) - set(names)):
        raise RecipeError(
            f"seeds.allow_leaks names {', '.join(unknown)}, which is no source of this recipe",
            f"use leaf names: {', '.join(names[:20])}",
        )


def refuse_shared(name: str, shared: Shared, total: int) -> None:
    """Raise LeakError where too many of a source's `total` documents are evaluated ones."""
    if shared.count > max(1, MAX_SHARED * total):
        raise LeakError(
            f"seeds: {shared.count:,} of the {total:,} documents of {name} are documents of an "
            f"evaluated split (up to {MAX_SHARED:.0%} are dropped): {'; '.join(shared.examples)}",
            f"take {name} out of seeds, or name it in seeds.allow_leaks: that is recorded in "
            "every artifact downstream",
        )


def _is_constant(config: Mapping[str, object]) -> bool:
    """Neither the target nor, for an index into them, the choices name a field."""
    target, choices = config.get("doc_to_target"), config.get("doc_to_choice")
    if isinstance(target, int):
        return isinstance(choices, list)
    if not isinstance(target, str) or not ("{{" in target or "{%" in target or not target):
        return False
    return not _names(target) and not (isinstance(choices, str) and target.strip())


def _names(template: str) -> Collection[str]:
    return jinja2.meta.find_undeclared_variables(jinja2.Environment().parse(template))
