"""Find the evaluations that `tsqa compare RUN...` names: folders, or W&B runs of this disk.

Guarantees: a run is what its artifact says, wherever its name came from; one without an evaluation
here is a named gap; a W&B folder that is not whole is refused.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval.compare.comparison import ALLOWABLE, ASKED_BY, TASK_FILES, compare
from eval.compare.contamination import contamination, unseen_notes
from eval.compare.scores import Evaluated, read
from eval.compare.stage import read_deltas
from eval.deltas import Contamination, DeltaTable, Gap
from eval.harness.groups import stems_notes
from eval.harness.stage import expand_macros
from eval.lineage.families import kinship
from eval.lineage.nearest import nearness
from eval.lineage.sources import store_of
from tsqa.errors import DataError, UsageError
from tsqa.names import task_problem
from tsqa.recipe import EvalSection, read_suite
from tsqa.store.artifact import Artifact, Store
from tsqa.store.manifest import MANIFEST, read_manifest
from tsqa.store.own_files import Stages, read_own
from tsqa.store.roles import BASE, ArmRole, parse_label, parse_role
from tsqa.trackers.wandb_folder import check_whole

WANDB = "wandb:"
_SEED = re.compile(r",seed=(-?\d+)$")
_RUN_ID = re.compile(r"(?P<stage>[a-z]+)-(?P<fingerprint>[0-9a-f]{16})$")
_OFFLINE = re.compile(r"(offline-)?run-\d{8}_\d{6}-(?P<id>.+)$")


@dataclass(frozen=True)
class Found:
    """One evaluation, or the reason why there is none."""

    name: str
    condition: str
    seed: int | None
    artifact: Artifact | None
    tokens: int | None
    """Training tokens; None: not trained here, or not known."""
    gap: str = ""
    recipe: str = ""
    """The argument that names the folder of its recipe, if one does."""


def find_runs(arguments: Sequence[str], runs: Path) -> list[Found]:
    """Every evaluation that the arguments name; `NAME=RUN` renames one.

    A RUN is an evaluate or train artifact, a folder `runs/RECIPE`, an offline W&B folder, or
    `wandb:ENTITY/PROJECT/RUN_ID` and `wandb:ENTITY/PROJECT/groups/NAME`, whose artifacts are looked
    up in `runs`.
    """
    found: list[Found] = []
    for argument in arguments:
        name, run = _split(argument)
        recipe = argument if (Path(run) / "stages.json").is_file() else ""
        some = [replace(one, recipe=recipe) for one in _find(run, runs)]
        if name and len(some) == 1:
            some = [_named(some[0], name)]
        elif name:
            raise DataError(f"{argument}: {len(some)} runs cannot all be called {name}")
        found += [
            one for one in some if len(some) == 1 or _is_base(one) or not _is_among(one, found)
        ]
    alone = [one for one in found if one.condition == BASE and not one.recipe]
    # Of recipes' bases one is chosen, but not against one that is given by itself.
    named = [one for one in found if not _is_base(one) or (alone and not _is_among(one, alone))]
    taken = [(one.condition, None if one.condition == BASE else one.seed) for one in named]
    twice = [one.name for place, one in enumerate(named) if taken[place] in taken[:place]]
    if twice:
        raise DataError(
            f"compare: two runs are called {min(twice)}",
            "name one of them: NAME=RUN, such as new=runs/artifacts/evaluate/FINGERPRINT",
        )
    return found


def _one_base(found: Sequence[Found], control: str) -> tuple[list[Found], list[str]]:
    """The runs with one base of a recipe, that of the control's, and a note on others."""
    bases = [one for one in found if _is_base(one)]
    if not bases:
        return [*found], []
    of = next((one.recipe for one in found if one.condition == control), "")
    kept = next((base for base in bases if base.recipe == of), bases[0])
    notes = [
        f"{base.recipe} starts from another base than {kept.recipe}: its base is not shown."
        if base.artifact
        else f"{base.recipe}: no result of its base ({base.gap})."
        for base in bases
        if base is not kept and not _is_among(base, [kept])
    ]
    return [one for one in found if one is kept or not _is_base(one)], notes


def _is_base(one: Found) -> bool:
    """Whether it is the base of a recipe's folder."""
    return one.condition == BASE and bool(one.recipe)


def _is_among(one: Found, others: Sequence[Found]) -> bool:
    """Whether two recipes have it in common."""
    return one.artifact is not None and any(
        (one.name, one.artifact.path) == (other.name, other.artifact.path)
        for other in others
        if other.artifact is not None
    )


def _split(argument: str) -> tuple[str, str]:
    """The new name, if one is given, and the run."""
    name, equals, run = argument.partition("=")
    is_renamed = bool(equals) and not Path(argument).exists() and "/" not in name
    return (name, run) if is_renamed else ("", argument)


def compare_runs(
    arguments: Sequence[str],
    runs: Path,
    *,
    control: str | None,
    allow: frozenset[str],
    bootstrap: int | None = None,
    confidence: float | None = None,
    suite: str | None = None,
) -> DeltaTable:
    """Compare runs named one by one.

    The control is `control`, or that of a recipe's folder, or the first run. Macro averages, their
    weights, `eval.seed_spread` and, if None, `bootstrap` and `confidence` are those of the first
    recipe's folder, as it compared last, or else the defaults of the section `eval`.
    `suite`: its macro averages are added. Only those of which all tasks were evaluated are shown.
    """
    unknown = sorted(allow - ALLOWABLE)
    if unknown:
        known = ", ".join(sorted(ALLOWABLE))
        raise DataError(f"--allow {', '.join(unknown)}: not something to allow", f"use: {known}")
    found = find_runs(arguments, runs)
    conditions = [one.condition for one in found if one.condition != BASE]
    if not conditions:
        raise DataError("compare: no run but the base was named", "name at least one arm")
    compared = _compared(arguments)
    control = control or _control_of(compared) or conditions[0]
    found, of_bases = _one_base(found, control)
    models, gaps = load(found, allow)
    rules, notes = _rules_of(compared)
    evaluations = [one.artifact for one in found if one.artifact is not None]
    named = {**rules.get("macros", {}), **(_suite_macros(suite) if suite else {})}
    spread = rules.get("seed_spread")
    notes += [*of_bases, *_allowed_notes(found, allow)]
    if "seeds" in allow:
        notes += _renumbering_notes(found)
    by_condition = _by_condition(found)
    limits = [n for one in evaluations if (n := one.manifest.config.get("limit"))]
    tasks = {task for model in models for task in model.tasks}
    return compare(
        models,
        control=control,
        bootstrap=bootstrap or rules.get("bootstrap", _default("bootstrap")),
        confidence=confidence or rules.get("confidence", _default("confidence")),
        seed=0,
        macros=_evaluated(expand_macros(named, evaluations), models),
        gaps=gaps,
        allow=allow,
        contamination=_contamination(by_condition),
        seed_spread=None if spread is None else spread / 100,
        by_documents=rules.get("macro") == "documents",
        limit=max(limits, default=None),
        notes=[*notes, *stems_notes(evaluations), *unseen_notes(by_condition)],
        kinship=kinship(by_condition, tasks, rules.get("families", {})),
        near=nearness(by_condition),
    )


def _compared(arguments: Sequence[str]) -> dict[str, Artifact]:
    """Folder of a recipe -> its comparison, of those that have compared."""
    found = {}
    for argument in arguments:
        folder = Path(_split(argument)[1])
        if (folder / "stages.json").is_file() and (made := _stages(folder).get("compare")):
            compared = Store(folder.parent / "artifacts").find("compare", made)
            if compared is not None:
                found[argument] = compared
    return found


_RULES = ("macros", "macro", "seed_spread", "families", "bootstrap", "confidence")


def _default(key: str) -> Any:
    """Of a key of the section `eval`."""
    return EvalSection.model_fields[key].default


def _rules_of(compared: Mapping[str, Artifact]) -> tuple[dict[str, Any], list[str]]:
    """How the first recipe among the runs compares, and notes on others that differ."""
    all_rules = {
        name: {key: value for key in _RULES if (value := one.manifest.config.get(key))}
        for name, one in compared.items()
    }
    (first, rules), *others = all_rules.items() or [("", {})]
    notes = []
    for name, own in others:
        if differing := [key for key in _RULES if own.get(key) != rules.get(key)]:
            keys = ", ".join(f"seeds.{k}" if k == "families" else f"eval.{k}" for k in differing)
            notes.append(f"{first} and {name} differ in {keys}: compared as {first}.")
    return rules, notes


def _by_condition(found: Sequence[Found]) -> dict[str, list[Artifact]]:
    conditions: dict[str, list[Artifact]] = {}
    for one in found:
        if one.artifact is not None:
            conditions.setdefault(one.condition, []).append(one.artifact)
    return conditions


def _contamination(conditions: Mapping[str, Sequence[Artifact]]) -> dict[str, Contamination]:
    """From the lineage of the runs, and every check that their stores hold."""
    stores = {a.path.parent.parent: store_of(a) for several in conditions.values() for a in several}
    checks = [
        check
        for store in stores.values()
        for stage in ("filter", "decontaminate")
        for check in store.finished(stage)
    ]
    return contamination(conditions, checks)


def load(found: Sequence[Found], allow: frozenset[str]) -> tuple[list[Evaluated], dict[str, Gap]]:
    """The evaluations and the gaps; other budgets or other prompts are refused unless allowed.

    `seeds` in `allow` pairs runs that share no seed: by the order of each arm's seeds.
    """
    models = [
        read(one.name, one.artifact, one.condition, one.seed)
        for one in found
        if one.artifact is not None
    ]
    if (shown := _other_budgets(found)) and "tokens" not in allow:
        raise DataError(f"compare: {shown}", "compare runs of one budget, or add --allow tokens")
    for name, key in ASKED_BY.items():
        _refuse_other_prompts(found, name, key, allow)
    if "seeds" in allow:
        models = _renumbered(models)
    gaps = {one.name: Gap(one.condition, one.gap) for one in found if one.artifact is None}
    return models, gaps


def _other_budgets(found: Sequence[Found]) -> str:
    budgets = {one.name: one.tokens for one in found if one.tokens is not None}
    if len(set(budgets.values())) < 2:
        return ""
    shown = ", ".join(f"{name} {tokens:,}" for name, tokens in budgets.items())
    return f"the runs were trained on different numbers of tokens: {shown}"


def _allowed_notes(found: Sequence[Found], allow: frozenset[str]) -> list[str]:
    """What differs between the runs, and was allowed to; tasks that differ are told by others."""
    notes = [f"{shown} (allowed)."] if (shown := _other_budgets(found)) else []
    for name, key in ASKED_BY.items():
        values = [one.artifact.manifest.config.get(key) for one in found if one.artifact]
        if name in allow and any(value != values[0] for value in values):
            notes.append(f"The runs were evaluated with different {name} (allowed).")
    return [note[0].upper() + note[1:] for note in notes]


def _refuse_other_prompts(
    found: Sequence[Found], name: str, key: str, allow: frozenset[str]
) -> None:
    values = {one.name: one.artifact.manifest.config.get(key) for one in found if one.artifact}
    (first, before), *others = values.items() or [("", None)]
    for other, after in others:
        if after != before and name not in allow:
            shown = "" if name == TASK_FILES else f": {before!r} and {after!r}"
            raise DataError(
                f"compare: {first} and {other} were evaluated with different {name}{shown}",
                f"evaluate both with the same recipe section `eval`, or add --allow {name}",
            )


def _suite_macros(suite: str) -> dict[str, list[str]]:
    macros: dict[str, list[str]] = read_suite(suite).get("macros", {})
    for name in macros:
        if problem := task_problem(name):
            raise DataError(f"suite {suite}: macros.{name}: {problem}")
    return macros


def _evaluated(
    macros: Mapping[str, Sequence[str]], models: Sequence[Evaluated]
) -> dict[str, list[str]]:
    """The macro averages of which every run has every task."""
    tasks = set.intersection(*(set(model.tasks) for model in models)) if models else set()
    return {name: [*own] for name, own in macros.items() if set(own) <= tasks}


def _renumbered(models: Sequence[Evaluated]) -> list[Evaluated]:
    counts: Counter[str] = Counter()
    renumbered = []
    for model in sorted(models, key=lambda one: one.seed or 0):
        renumbered.append(replace(model, seed=counts[model.condition]))
        counts[model.condition] += 1
    order = {model.name: number for number, model in enumerate(models)}
    return sorted(renumbered, key=lambda one: order[one.name])


def _renumbering_notes(found: Sequence[Found]) -> list[str]:
    """The seeds of arms that `_renumbered` calls otherwise."""
    seeds: dict[str, list[int]] = {}
    for one in found:
        if one.artifact is not None and one.seed is not None:
            seeds.setdefault(one.condition, []).append(one.seed)
    named = [
        f"{condition} {', '.join(map(str, sorted(own)))}"
        for condition, own in seeds.items()
        if sorted(own) != [*range(len(own))]
    ]
    if not named:
        return []
    return [
        f"Paired by order (allowed), so seeds are numbered from 0; they are: {'; '.join(named)}."
    ]


def _find(argument: str, runs: Path) -> Iterator[Found]:
    if argument.startswith(WANDB):
        yield from _of_wandb(argument, runs)
        return
    folder = Path(argument)
    if not folder.is_dir():
        raise _no_folder(argument, folder, runs)
    folder = folder.resolve()
    offline = _OFFLINE.match(folder.name)
    if offline:
        check_whole(folder, offline["id"])
        yield _of_run_id(offline["id"], runs, argument)
    elif (folder / "stages.json").is_file():
        yield from _of_recipe(folder)
    elif (folder / MANIFEST).is_file():
        store = Store(folder.parent.parent)
        yield _of_artifact(store, folder.parent.name, folder.name, argument)
    else:
        raise DataError(
            f"{folder}: neither an artifact ({MANIFEST}) nor the folder of a recipe (stages.json)",
            "correct the path",
        )


def _no_folder(argument: str, folder: Path, runs: Path) -> UsageError:
    """With the recipes' folders and artifacts of such a name, beside it or in `runs`."""
    marks = ("stages.json", MANIFEST)
    beside = [one for place in (folder.parent, runs) if place.is_dir() for one in place.iterdir()]
    known = {one.name: one for one in beside if any((one / mark).is_file() for mark in marks)}
    near = difflib.get_close_matches(folder.name, sorted(known), n=3, cutoff=0.5)
    fix = "give an artifact, runs/RECIPE, an offline W&B folder, or wandb:ENTITY/PROJECT/RUN_ID"
    if near:
        fix = f"there is {', '.join(str(known[name]) for name in near)}"
    return UsageError(f"{argument}: no such folder", fix)


def _of_recipe(folder: Path) -> Iterator[Found]:
    """The base and every arm that the recipe compared last, or else has evaluated.

    Arms without an evaluation are gaps: those of the comparison, or else what was trained.
    """
    store = Store(folder.parent / "artifacts")
    stages = _stages(folder)
    compared = store.find("compare", stages["compare"]) if "compare" in stages else None
    own: dict[str, str] = {}
    lacking = (
        {name: gap.reason for name, gap in read_deltas(compared).gaps.items()} if compared else {}
    )
    for text, fingerprint in (compared.manifest.inputs if compared else {}).items():
        role = parse_role(text)
        if role == BASE or isinstance(role, ArmRole):
            own[role.arm if isinstance(role, ArmRole) else BASE] = fingerprint
    for text, fingerprint in ({} if compared else stages).items():
        label = parse_label(text)
        if label.arm and label.point is None and not label.recipe:
            if label.stage == "evaluate":
                own[label.arm] = fingerprint
            elif label.stage == "train":
                lacking[label.arm] = "trained, but not evaluated"
    if not own:
        raise DataError(f"{folder}: its recipe has evaluated nothing", "tsqa eval RECIPE")
    for name, fingerprint in own.items():
        yield _describe(store, fingerprint, name)
    for name in sorted(lacking.keys() - own.keys()):
        yield _gap(name, lacking[name])


def _stages(folder: Path) -> dict[str, str]:
    return read_own(folder / "stages.json", Stages)


def _control_of(compared: Mapping[str, Artifact]) -> str | None:
    """The control of the first recipe that has compared."""
    return next((read_deltas(one).control for one in compared.values()), None)


def _of_artifact(store: Store, stage: str, fingerprint: str, where: str) -> Found:
    """An evaluate artifact, or the evaluation of a train artifact."""
    if stage == "evaluate":
        return _describe(store, fingerprint, _label_of(store, fingerprint))
    if stage != "train":
        raise DataError(
            f"{where}: a `{stage}` artifact has no scores", "give an evaluate or train artifact"
        )
    evaluations = [
        path.parent.name
        for path in sorted((store.root / "evaluate").glob(f"*/{MANIFEST}"))
        if read_manifest(path.parent).inputs.get("model") == fingerprint
    ]
    if len(evaluations) > 1:
        listed = ", ".join(str(store.path_of("evaluate", one)) for one in evaluations)
        raise DataError(f"{where}: evaluated more than once: {listed}", "give one of these")
    if not evaluations:
        name = _label_of(store, fingerprint)
        return _gap(name, "trained, but not evaluated")
    return _describe(store, evaluations[0], _label_of(store, evaluations[0]))


def _of_run_id(run_id: str, runs: Path, where: str) -> Found:
    """The artifact behind a W&B run of ours: its id is `<stage>-<fingerprint>`."""
    known = _RUN_ID.match(run_id)
    if known is None:
        raise DataError(f"{where}: {run_id} is not the id of a tsqa run (<stage>-<fingerprint>)")
    store = Store(runs / "artifacts")
    if store.find(known["stage"], known["fingerprint"]) is None:
        return _gap(run_id, f"its artifact is not in {store.root}")
    return _of_artifact(store, known["stage"], known["fingerprint"], where)


def _of_wandb(argument: str, runs: Path) -> Iterator[Found]:
    import wandb

    path = argument.removeprefix(WANDB)
    head, slash, group = path.partition("/groups/")
    try:
        api = wandb.Api()
        if slash:
            filters = {"group": group, "jobType": "evaluate"}
            ids = [str(run.id) for run in api.runs(head, filters=filters)]
        else:
            ids = [str(api.run(path).id)]
    except (wandb.errors.CommError, wandb.errors.UsageError, ValueError) as error:
        raise DataError(
            f"{argument}: W&B does not answer: {error}",
            "log in (wandb login), or give the folders under runs/",
        ) from error
    if not ids:
        raise DataError(f"{argument}: the group has no evaluate runs", "correct the name")
    for run_id in ids:
        yield _of_run_id(run_id, runs, argument)


def _describe(store: Store, fingerprint: str, name: str) -> Found:
    artifact = store.find("evaluate", fingerprint)
    if artifact is None:
        return _gap(name, f"its evaluation {fingerprint} is not in {store.root}")
    trained = artifact.manifest.inputs.get("model")
    model = store.find("train", trained) if trained else None
    if name == BASE:
        return Found(name, name, None, artifact, None)
    condition = _SEED.sub("", name)
    seed = model.manifest.config.get("seed") if model else _seed_of(name)
    tokens = model.summary.get("tokens") if model else None
    return Found(name, condition, seed, artifact, tokens)


def _label_of(store: Store, fingerprint: str) -> str:
    """What a recipe calls the artifact (the arm), else its fingerprint."""
    for stages in sorted(store.root.parent.glob("*/stages.json")):
        for label, value in _stages(stages.parent).items():
            if value == fingerprint and (detail := parse_label(label).detail):
                return detail
    return fingerprint


def _named(one: Found, name: str) -> Found:
    return Found(name, _SEED.sub("", name), one.seed, one.artifact, one.tokens, one.gap)


def _gap(name: str, reason: str) -> Found:
    return Found(name, _SEED.sub("", name), _seed_of(name), None, None, reason)


def _seed_of(name: str) -> int | None:
    found = _SEED.search(name)
    return int(found[1]) if found else None
