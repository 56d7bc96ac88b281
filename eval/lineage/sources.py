"""What a compared model was trained on, and what looked for evaluated documents in it.

Guarantees: every tokenized source of the model, and of all that it was made from (its base, the
teachers of its data, their bases), is listed; one whose artifact is not in the store is listed as
unchecked. A check counts for a source if it read the same data; for a task if it looked for the
documents that were evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tsqa.recipe import DecontaminateSection
from tsqa.store.artifact import Artifact, Store
from tsqa.store.roles import BASE, SourceRole, parse_role

_TEACH_NOTHING = frozenset({"tokenizer", "data", "benchmarks", "guard", "decontaminate"})
"""Inputs through which no document reaches a model's weights."""
_SAME_STAGE = frozenset({"filter", "generate", "seeds", "nearest"})
_DATA_KEYS = ("path", "subset", "split", "text_field", "renderings")
_DATA_INPUTS = ("data", "filter", "seeds", "guard", "nearest")
"""What the documents of a source are read from, beside its files."""


@dataclass(frozen=True)
class TokenSource:
    """Tokens that a model was trained on."""

    owner: str
    """Empty: the compared model itself; else `base`, a teacher's role, or a path of these."""
    name: str
    tokens: Artifact | None
    """None: it is not in the store."""
    is_declared: bool = False
    """Whether the model was trained elsewhere, so that nobody saw it read them."""


def store_of(artifact: Artifact) -> Store:
    return Store(artifact.path.parent.parent)


def sources_of(evaluation: Artifact) -> list[TokenSource]:
    """The sources of the evaluated model and of its ancestors, each once."""
    found = _walk(store_of(evaluation), evaluation, "")
    return list({(s.owner, s.name): s for s in found}.values())


def is_pretrained(evaluation: Artifact) -> bool:
    """Whether the model's first weights were made by no recipe: what they read is not known."""
    made: Artifact | None = evaluation
    while made and not (made.manifest.config.get("model") or {}).get("path"):
        trained = made.manifest.inputs.get("model")
        made = store_of(evaluation).find("train", trained) if trained else None
    return made is not None


def _walk(store: Store, artifact: Artifact, owner: str) -> Iterator[TokenSource]:
    """The sources that reach an artifact of `owner`."""
    undrawn = _undrawn(artifact)
    is_declared = "elsewhere" in (artifact.manifest.config.get("train") or ())
    for text, fingerprint in artifact.manifest.inputs.items():
        role = parse_role(text)
        if role in _TEACH_NOTHING or text in undrawn:
            continue
        if isinstance(role, SourceRole):
            tokens = store.find("tokenize", fingerprint)
            yield TokenSource(owner, role.source, tokens, is_declared)
            if tokens:
                yield from _walk(store, tokens, owner)
            continue
        stage = text if text in _SAME_STAGE else "train"
        made = store.find(stage, fingerprint)
        inner = owner
        if stage == "train" and artifact.manifest.stage != "evaluate":
            inner = "/".join(filter(None, [owner, BASE if text == "model" else text]))
        if made is None:
            yield TokenSource(inner, f"{stage} {fingerprint}, which is not here", None)
        else:
            yield from _walk(store, made, inner)


@dataclass(frozen=True)
class Match:
    """A document of the source that held an evaluated one, `<task>-<doc_id>`."""

    text: str
    document: str


class Checks:
    """The artifacts of `filter` and `decontaminate` that may count."""

    def __init__(self, artifacts: Sequence[Artifact]) -> None:
        self._artifacts = artifacts

    def of(self, tokens: Artifact) -> list[Artifact]:
        """Those that read what `tokens` were made from."""
        inputs, config = tokens.manifest.inputs, tokens.manifest.config
        filtered = [
            a
            for a in self._artifacts
            if a.manifest.stage == "filter" and a.identity == inputs.get("filter")
        ]
        read = [
            a
            for a in self._artifacts
            if a.manifest.stage == "decontaminate"
            and all(a.manifest.inputs.get(role) == inputs.get(role) for role in _DATA_INPUTS)
            and all(a.manifest.config.get(key) == config.get(key) for key in _DATA_KEYS)
        ]
        return [*filtered, *read]


def dropped_by(tokens: Artifact) -> Artifact | None:
    """The check whose findings these tokens lack."""
    fingerprint = tokens.manifest.inputs.get("decontaminate")
    return store_of(tokens).find("decontaminate", fingerprint) if fingerprint else None


def tasks_of(check: Artifact, evaluation: Artifact) -> frozenset[str]:
    """The tasks for whose documents it looked, where they are the documents that were evaluated."""
    fingerprint = check.manifest.inputs.get("benchmarks")
    return frozenset(
        task
        for benchmarks in benchmarks_of(store_of(check), evaluation)
        if fingerprint in (benchmarks.identity, benchmarks.fingerprint)
        for task in benchmarks.summary["by_task"]
    )


def is_weak(check: Artifact) -> bool:
    """Whether it finds less than the defaults of `filter.decontaminate` do."""
    config = check.manifest.config
    rules = config.get("decontaminate") or {} if check.manifest.stage == "filter" else config
    usual = DecontaminateSection()
    ngram, similarity = (
        float(rules.get(key, getattr(usual, key))) for key in ("ngram", "similarity")
    )
    return ngram > usual.ngram or similarity > usual.similarity


def benchmarks_of(store: Store, evaluation: Artifact) -> Iterator[Artifact]:
    """The artifacts of the store whose documents are those that were evaluated."""
    wanted = evaluation.manifest
    for benchmarks in store.finished("benchmarks"):
        config = benchmarks.manifest.config
        if (
            config.get("include") == wanted.config.get("include")
            and benchmarks.manifest.inputs.get("data") == wanted.inputs.get("data")
            and _agree(config.get("hub"), wanted.config.get("hub"))
        ):
            yield benchmarks


def evaluated_benchmarks(evaluations: Iterable[Artifact]) -> list[Artifact]:
    """The artifacts with the documents of these evaluations, each once."""
    made = {
        benchmarks.fingerprint: benchmarks
        for evaluation in evaluations
        for benchmarks in benchmarks_of(store_of(evaluation), evaluation)
    }
    return [*made.values()]


@dataclass(frozen=True)
class OwnData:
    """What the synthetic data in a model's own mixture was made from; a base's is not."""

    seeds: list[Artifact]
    filtered: list[Artifact]
    is_whole: bool
    """Whether all of it is in the store."""


def data_reader(conditions: Mapping[str, Sequence[Artifact]]) -> Callable[[Artifact], OwnData]:
    """What tells the data of each compared model: `own_data`, and that of their bases where arms
    started from different ones, which then may be what arms differ by."""
    bases = {
        tuple(_bases_of(evaluation))
        for condition, evaluations in conditions.items()
        for evaluation in evaluations
        if condition != BASE
    }
    return own_data if len(bases) < 2 else _data_with_bases


def own_data(evaluation: Artifact) -> OwnData:
    """Of the evaluated model."""
    return _data_of(store_of(evaluation), _models_of(evaluation))


def _data_with_bases(evaluation: Artifact) -> OwnData:
    return _data_of(store_of(evaluation), [*_models_of(evaluation), *_bases_of(evaluation)])


def _models_of(evaluation: Artifact) -> list[str]:
    return [v for k, v in evaluation.manifest.inputs.items() if _stage(k) == "train"]


def _bases_of(evaluation: Artifact) -> Iterator[str]:
    """The trained model that the evaluated one started from, and what that one started from."""
    store, todo = store_of(evaluation), _models_of(evaluation)
    while todo:
        made = store.find("train", todo.pop())
        if made and (base := made.manifest.inputs.get("model")):
            yield base
            todo.append(base)


def _data_of(store: Store, trained: Sequence[str]) -> OwnData:
    """Of trained models, their bases aside."""
    is_whole = True
    found: dict[str, dict[str, Artifact]] = {"seeds": {}, "filter": {}}
    todo, seen = [("train", fingerprint) for fingerprint in trained], set[tuple[str, str]]()
    while todo:
        stage, fingerprint = key = todo.pop()
        if key in seen:
            continue
        seen.add(key)
        made = store.find(stage, fingerprint)
        if made is None:
            is_whole = False
            continue
        if stage in found:
            found[stage][made.fingerprint] = made
        undrawn = _undrawn(made)
        inner = [(_stage(t), v) for t, v in made.manifest.inputs.items() if t not in undrawn]
        todo += [(one, value) for one, value in inner if one not in ("", "train")]
    return OwnData([*found["seeds"].values()], [*found["filter"].values()], is_whole)


def _undrawn(made: Artifact) -> set[str]:
    """The tokens that a stage read and no model learns from: to measure, or to count their rows."""
    roles = {text: parse_role(text) for text in made.manifest.inputs}
    read = {text: role.source for text, role in roles.items() if isinstance(role, SourceRole)}
    if made.manifest.stage == "nearest":
        return {*read}
    mixture = made.manifest.config.get("mixture") if made.manifest.stage == "train" else None
    if mixture is None:
        return set()
    subsets = {name: of for name, (of, _) in mixture["subsets"].items()}
    drawn = {
        subsets.get(n, n) for phase in mixture["phases"] for n, r in phase["ratios"].items() if r
    }
    return {text for text, source in read.items() if source not in drawn}


def _stage(text: str) -> str:
    """The stage behind an input's role; none for one that teaches nothing."""
    role = parse_role(text)
    if isinstance(role, SourceRole):
        return "tokenize"
    if role in _TEACH_NOTHING:
        return ""
    return text if text in _SAME_STAGE else "train"


def _agree(one: Mapping[str, Any] | None, two: Mapping[str, Any] | None) -> bool:
    """Whether they name the same commit of each hub dataset that both name."""
    one, two = one or {}, two or {}
    return all(one[name] == two[name] for name in one.keys() & two.keys())
