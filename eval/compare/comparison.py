"""The comparison itself: each arm against the control, and the control against the base model.

Guarantees: a comparison of different task versions, few-shot counts, metrics or documents is
refused by name; arms are paired seed by seed; the chance of any false finding in a table is at
most 1 - confidence (one step-down correction over all its rows, `stats.table_shares`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from eval.compare.conclusion import (
    Spreads,
    best_notes,
    conclude,
    group_notes,
    macro_notes,
    scale_notes,
    seed_notes,
    spreads_of,
)
from eval.compare.ratio_axis import RatioAxis, fit_axis
from eval.compare.scores import (
    Conditions,
    Evaluated,
    is_copy,
    scored_alike,
    scored_by,
    task_scores,
    weigh_macro,
)
from eval.compare.splits import (
    DISTANCES,
    all_parts,
    at_distance,
    distances_of,
    near_row,
    placebos_of,
    tested_parts,
)
from eval.deltas import (
    Comparison,
    Contamination,
    DeltaRow,
    DeltaTable,
    Gap,
    NearRow,
    TaskSetup,
)
from eval.lineage.families import Kinship
from eval.lineage.nearest import Nearness
from eval.statistics import stats
from eval.statistics.joint import Corrected, adjust
from eval.statistics.paired import Scored, Tested, compare_models
from eval.statistics.paired import pair as refuse_unpaired
from eval.statistics.power import Left, detectable
from eval.statistics.stats import Shares
from tsqa.errors import DataError, first_line
from tsqa.store.roles import BASE

TASK_FILES = "task_files"
ASKED_BY = {
    "chat_template": "chat_template",
    "system_instruction": "system_instruction",
    "max_length": "max_length",
    "fewshot_seed": "seed",
    "protocols": "protocols",
    TASK_FILES: "include",
}
"""What decides prompts, beside the version that a task states -> key of an evaluation's config."""
ALLOWABLE = frozenset({"backend", "tokens", "version", "num_fewshot", "seeds", *ASKED_BY})
"""What `tsqa compare RUN... --allow` may let differ."""
_PER_ROW = "An interval is its row's alone; a verdict is corrected for all rows of the table."
_MUST_MATCH = ("metric", "version", "num_fewshot", "kind", "n")


@dataclass(frozen=True, eq=False)
class _Pair:
    """An arm and its reference, seed by seed; `notes` belong in the caveat."""

    name: Comparison
    seeds: list[int]
    before: list[Evaluated]
    after: list[Evaluated]
    notes: list[str] = field(default_factory=list)


def compare(
    models: Sequence[Evaluated],
    *,
    control: str,
    bootstrap: int,
    confidence: float,
    seed: int,
    macros: Mapping[str, Sequence[str]] | None = None,
    gaps: Mapping[str, Gap] | None = None,
    axis: RatioAxis | None = None,
    allow: frozenset[str] = frozenset(),
    contamination: Mapping[str, Contamination] | None = None,
    seed_spread: float | None = None,
    by_documents: bool = False,
    limit: int | None = None,
    notes: Sequence[str] = (),
    kinship: Kinship | None = None,
    near: Nearness | None = None,
) -> DeltaTable:
    """Scores, a row per comparison and task, also by `kinship` and `near`, and the conclusion.

    Neither `gaps` nor copies are counted. `seed_spread`: a share, where no arm shows it.
    """
    averages = {n: [*tasks] for n, tasks in (macros or {}).items()}
    models, gaps = _comparable(models, gaps or {}, control, allow)
    base, conditions = _by_condition(models, by_documents)
    if control not in conditions:
        raise _no_control(control, models, gaps)
    pairs = _pairs(conditions, control, base, allow)
    spreads = spreads_of(conditions, averages, seed_spread, by_documents)
    rules = _Rules(bootstrap, confidence, seed, averages, by_documents, spreads, limit)
    placebos, apart = _placebo_pairs(conditions, control, allow)
    rows, split = _compare_pairs(pairs, placebos, conditions, kinship, rules)
    noise = spreads.of_run
    fit, unfitted = fit_axis(conditions, control, axis, confidence, seed, by_documents, noise)
    told = [*_notes(rows, pairs, gaps, notes, conditions, control, rules), *apart, *unfitted]
    scores, by_seed = _scores(conditions, base, averages, by_documents)
    table = DeltaTable(
        control=control,
        arms=[name for name in conditions if name != control],
        has_base=base is not None,
        comparisons=[pair.name.comparison for pair in pairs],
        confidence=confidence,
        bootstrap=bootstrap,
        tasks=_setups(next(iter(conditions[control].values()))),
        macros=averages,
        seeds={name: list(seeds_of) for name, seeds_of in conditions.items()},
        scores=scores,
        scores_by_seed=by_seed,
        rows=rows,
        gaps=gaps,
        fit=fit,
        caveat="\n".join(dict.fromkeys([*told, *_same_runs(models)])),
        conclusion="",
        contamination=dict(contamination or {}),
        split=split,
        by_documents=by_documents,
        nearness=_near(pairs, conditions, near or Nearness(), rules),
    )
    return _with_bits(replace(table, conclusion=conclude(table)), models, rules, allow)


def _comparable(
    models: Sequence[Evaluated], gaps: Mapping[str, Gap], control: str, allow: frozenset[str]
) -> tuple[list[Evaluated], dict[str, Gap]]:
    return _without_unpaired(*_without_copies(models, gaps, control), control, allow)


def _without_copies(
    models: Sequence[Evaluated], gaps: Mapping[str, Gap], control: str
) -> tuple[list[Evaluated], dict[str, Gap]]:
    """Without runs that answer as another seed of their condition does, which are gaps as well.

    They say nothing of the spread between seeds: counted, seeds would seem not to differ. The one
    kept is of a seed that the control has, where one is: else the two might share no seed.
    """
    kept: list[Evaluated] = []
    gaps = dict(gaps)
    paired = {model.seed for model in models if model.condition == control}
    for model in sorted(models, key=lambda one: (one.seed not in paired, one.seed or 0)):
        first = next((one for one in kept if is_copy(one, model)), None)
        if first is None:
            kept.append(model)
        else:
            reason = f"it answers every document as {first.name} does, so it is no further seed"
            gaps[model.name] = Gap(model.condition, reason)
    return [model for model in models if any(model is one for one in kept)], gaps


def _without_unpaired(
    models: Sequence[Evaluated], gaps: Mapping[str, Gap], control: str, allow: frozenset[str]
) -> tuple[list[Evaluated], dict[str, Gap]]:
    """Without runs that pair with none and would refuse the whole table; they are gaps as well.

    Those of an arm that shares no seed with the control, where another arm does, and of a seed that
    only one side has, where they were scored otherwise.
    """
    _, conditions = _by_condition(models, by_documents=False)
    reference = conditions.pop(control, {})
    paired = {name: own for name, own in conditions.items() if own.keys() & reference.keys()}
    if not paired:
        return [*models], {**gaps}
    seeds = {seed for own in paired.values() for seed in own}
    first = next(model for seed, model in reference.items() if seed in seeds)
    kept, gaps = [], dict(gaps)
    for model in models:
        name, seed = model.condition, model.seed or 0
        why = ""
        if name not in (control, BASE, *paired):
            why = f"{name} - {control}: {_no_common(conditions[name], reference)}"
        elif name != BASE and seed not in (seeds if name == control else reference):
            why = _scored_otherwise(first, model, allow)
        if why:
            gaps[model.name] = Gap(name, why)
        else:
            kept.append(model)
    return kept, gaps


def _scored_otherwise(first: Evaluated, model: Evaluated, allow: frozenset[str]) -> str:
    """Why the scores of two runs cannot be averaged, or nothing."""
    label = "no run across has its seed, and it was scored otherwise"
    try:
        _check_same_tasks(label, first, model, allow)
        for task in first.scores.keys() & model.scores.keys():
            refuse_unpaired(first.scores[task], model.scores[task], f"{label}: {task}")
    except DataError as error:
        return first_line(error)
    return ""


def _same_runs(models: Sequence[Evaluated]) -> Iterator[str]:
    """Runs that have several names."""
    names: dict[str, list[str]] = {}
    for model in models:
        names.setdefault(model.run, []).append(model.name)
    for run, several in names.items():
        if run and len(several) > 1:
            yield f"{' and '.join(several)} are the same run ({run}) under several names."


@dataclass(frozen=True)
class _Rules:
    """By which every pair is compared."""

    bootstrap: int
    confidence: float
    seed: int
    macros: Mapping[str, Sequence[str]]
    by_documents: bool
    spreads: Spreads
    limit: int | None


def _compare_pairs(
    pairs: Sequence[_Pair],
    placebos: Sequence[_Pair],
    conditions: Conditions,
    kinship: Kinship | None,
    rules: _Rules,
) -> tuple[list[DeltaRow], list[DeltaRow]]:
    """The rows of every pair, and its parts; their verdicts are corrected over all of them."""
    tasks, macros = list(pairs[0].after[0].tasks), rules.macros
    averages = {stats.MACRO: tasks, **{stats.macro_name(n): m for n, m in macros.items()}}
    known = [*averages.values(), *([task] for task in tasks)]
    splits, tested = {}, {}
    for pair in (*pairs, *placebos):
        split = kinship.split(pair.name.arm, pair.name.against) if kinship else {}
        splits[pair.name.comparison] = split
        tested[pair.name.comparison] = tested_parts(split, known if pair in pairs else known[:1])
    found: list[tuple[Comparison, Tested]] = []
    extra: list[tuple[Comparison, Tested]] = []
    for pair in pairs:
        for one in _tested(pair, tested[pair.name.comparison], conditions, rules):
            (extra if stats.is_part(one.delta.task) else found).append((pair.name, one))
    for pair in placebos:
        for one in _tested(pair, tested[pair.name.comparison], conditions, rules):
            if one.delta.task == stats.MACRO or stats.is_part(one.delta.task):
                extra.append((pair.name, one))
    rows = _with_verdicts([*found, *extra], rules, len(extra))
    main = rows[: len(found)]
    return main, all_parts(rows[len(found) :], main, splits, averages)


def _with_bits(
    table: DeltaTable, models: Sequence[Evaluated], rules: _Rules, allow: frozenset[str]
) -> DeltaTable:
    """The table and, beside it, the same of bits per byte and of the right choice."""
    saved = [
        {task: replace(one, values=-one.values) for task, one in model.bits.items()}
        for model in models
    ]
    bits, chosen = (
        _compare_by(metric, scores, models, table.control, rules, allow)
        for metric, scores in (
            ("bits per byte", saved),
            ("probability of the right choice", [model.right_choice for model in models]),
        )
    )
    caveat = table.caveat
    if bits and rules.spreads.stated is not None:
        caveat += "\nIntervals of bits and of the right choice cover documents alone."
    return replace(table, bits=[*map(_as_bits, bits)], right_choice=chosen, caveat=caveat)


def _compare_by(
    metric: str,
    scores: Sequence[Mapping[str, Scored]],
    models: Sequence[Evaluated],
    control: str,
    rules: _Rules,
    allow: frozenset[str],
) -> list[DeltaRow]:
    """The same by other scores of each model, on tasks where all have them of the same documents.

    A stated spread is one of the table's scores, and says nothing of others.
    """
    tasks = [task for task in sorted(models[0].tasks) if _all_have(scores, task)]
    if not tasks:
        return []
    macros = {name: own for name, own in rules.macros.items() if {*own} <= {*tasks}}
    rescored = [
        scored_by(model, {task: own[task] for task in tasks}, metric)
        for model, own in zip(models, scores, strict=True)
    ]
    base, conditions = _by_condition(rescored, rules.by_documents)
    pairs = _pairs(conditions, control, base, allow)
    spreads = spreads_of(conditions, macros, None, rules.by_documents)
    own = replace(rules, macros=macros, spreads=spreads)
    rows, _ = _compare_pairs(pairs, (), conditions, None, own)
    return rows


def _all_have(scores: Sequence[Mapping[str, Scored]], task: str) -> bool:
    first, *others = (one.get(task) for one in scores)
    return first is not None and all(one is not None and one.keys == first.keys for one in others)


def _as_bits(row: DeltaRow) -> DeltaRow:
    """Of what a model saves, what it costs; the verdict stays."""
    return replace(
        row,
        reference=-row.reference,
        score=-row.score,
        delta=-row.delta,
        low=-row.high,
        high=-row.low,
    )


def _near(
    pairs: Sequence[_Pair], conditions: Conditions, near: Nearness, rules: _Rules
) -> list[NearRow]:
    """Every pair on the documents at each distance; their mean weighs documents alike."""
    found = []
    for pair in pairs:
        for by, nearest in near.between(pair.name.arm, pair.name.against).items():
            distances = distances_of(nearest, by)
            for distance in DISTANCES:
                keep = partial(at_distance, distances=distances, distance=distance)
                label = distance if by == "words" else f"{by}, {distance}"
                rows = _kept_rows(pair, conditions, keep, label, rules)
                found += [near_row(pair.name, by, distance, row.delta) for row in rows]
    return found


def _kept_rows(
    pair: _Pair,
    conditions: Conditions,
    keep: Callable[[Evaluated], Evaluated],
    label: str,
    rules: _Rules,
) -> list[Tested]:
    """The rows of a pair on some documents of each model."""
    before, after = [*map(keep, pair.before)], [*map(keep, pair.after)]
    if not before[0].tasks:
        return []
    # Seeds differ more on fewer documents, so the spread is not that of all of them.
    own = {name: {s: keep(m) for s, m in seeds.items()} for name, seeds in conditions.items()}
    spreads = spreads_of(own, {}, rules.spreads.stated, by_documents=True)
    there = replace(rules, macros={}, by_documents=True, spreads=spreads)
    name = replace(pair.name, comparison=f"{pair.name.comparison}, {label}")
    return _tested(replace(pair, name=name, before=before, after=after), {}, own, there)


def _tested(
    pair: _Pair,
    parts: Mapping[str, Sequence[str]],
    conditions: Conditions,
    rules: _Rules,
) -> list[Tested]:
    """The rows of one pair, `parts` of its macro average among them."""
    macros, spreads = {**rules.macros, **parts}, rules.spreads
    if parts:
        spreads = spreads_of(conditions, macros, spreads.stated, rules.by_documents)
    return compare_models(
        [model.scores for model in pair.before],
        [model.scores for model in pair.after],
        label=pair.name.comparison,
        bootstrap=rules.bootstrap,
        confidence=rules.confidence,
        seed=rules.seed,
        macros=macros,
        pooled=spreads.of(pair.name.arm, pair.name.against),
        by_documents=rules.by_documents,
    )


def _notes(
    rows: Sequence[DeltaRow],
    pairs: Sequence[_Pair],
    gaps: Mapping[str, Gap],
    notes: Sequence[str],
    conditions: Conditions,
    control: str,
    rules: _Rules,
) -> Iterator[str]:
    """What a reader of the rows must know."""
    yield from seed_notes(rows, rules.spreads, max(map(len, conditions.values())))
    yield _PER_ROW
    if rules.by_documents:
        yield "Macro averages weigh tasks by their documents (eval.macro)."
    yield from notes
    for name, gap in gaps.items():
        yield f"{name}: no result ({gap.reason})."
    for pair in pairs:
        yield from pair.notes
    yield from scale_notes(conditions[control])
    yield from macro_notes(rows, rules.by_documents, rules.limit)
    yield from group_notes(conditions[control])
    yield from best_notes(conditions, control, rules.spreads, rules.by_documents)


def _scores(
    conditions: Conditions,
    base: Evaluated | None,
    macros: Mapping[str, Sequence[str]],
    by_documents: bool,
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, dict[str, float]]]]:
    """Condition -> its scores, means over seeds; and condition -> seed -> scores."""
    by_seed = {
        name: {str(s): task_scores(model, macros, by_documents) for s, model in seeds_of.items()}
        for name, seeds_of in conditions.items()
    }
    means = {name: _mean_scores(list(values.values())) for name, values in by_seed.items()}
    if base is None:
        return means, by_seed
    return {BASE: task_scores(base, macros, by_documents), **means}, by_seed


def _setups(model: Evaluated) -> dict[str, TaskSetup]:
    """How each task was scored, which is the same for every model of the table."""
    return {
        task: TaskSetup(**{key: getattr(result, key) for key in _MUST_MATCH})
        for task, result in sorted(model.tasks.items())
    }


def _no_control(control: str, models: Sequence[Evaluated], gaps: Mapping[str, Gap]) -> DataError:
    found = ", ".join(model.name for model in models) or "nothing"
    reasons = [f" ({gap.reason})" for gap in gaps.values() if gap.condition == control]
    return DataError(
        f"compare: the control arm `{control}` has no evaluation{''.join(reasons[:1])}; "
        f"found {found}",
        "evaluate it, or name another control",
    )


def _pairs(
    conditions: Conditions, control: str, base: Evaluated | None, allow: frozenset[str]
) -> list[_Pair]:
    """The control against the base model, then every arm against the control."""
    reference = conditions[control]
    pairs = []
    if base is not None:
        pairs.append(_pair(control, BASE, reference, dict.fromkeys(reference, base), allow))
    pairs += [
        _pair(arm, control, own, reference, allow)
        for arm, own in conditions.items()
        if arm != control
    ]
    if not pairs:
        raise DataError(
            f"compare: only `{control}` was evaluated, there is nothing to compare it with",
            "add an `ablation`, or start from a model that can be evaluated",
        )
    return pairs


def _placebo_pairs(
    conditions: Conditions, control: str, allow: frozenset[str]
) -> tuple[list[_Pair], list[str]]:
    """Arms against their placebos: the difference of the two differences from the control.

    And a note on those that share no seed.
    """
    pairs, notes = [], []
    for arm, placebo in placebos_of(list(conditions), control):
        own, other = conditions[arm], conditions[placebo]
        if own.keys() & other.keys():
            pairs.append(_pair(arm, placebo, own, other, allow))
        else:
            notes.append(f"{arm} - {placebo}: not compared: {_no_common(own, other)}.")
    return pairs, notes


def _no_common(ours: Collection[int], theirs: Collection[int]) -> str:
    return f"no seed in common ({_listed(ours)} and {_listed(theirs)})"


def _pair(
    arm: str,
    against: str,
    own: Mapping[int, Evaluated],
    reference: Mapping[int, Evaluated],
    allow: frozenset[str],
) -> _Pair:
    label = f"{arm} - {against}"
    notes: list[str] = []
    seeds = _common_seeds(arm, against, own, reference, notes)
    before, after = [reference[s] for s in seeds], [own[s] for s in seeds]
    for one, other in zip(before, after, strict=True):
        notes += _check_same_tasks(label, one, other, allow)
    # A seed that one side alone has counts in its mean score and in the spread between seeds.
    for other in (m for s, m in (*own.items(), *reference.items()) if s not in seeds):
        notes += _check_same_tasks(label, before[0], other, allow)
        for task in before[0].scores.keys() & other.scores.keys():
            refuse_unpaired(before[0].scores[task], other.scores[task], f"{other.name}: {task}")
    is_same = all(one.run and one.run == two.run for one, two in zip(before, after, strict=True))
    if against != BASE and not is_same and all(map(scored_alike, before, after)):
        notes.append(
            f"{arm} scores on every document exactly as {against} does: what it changes had "
            "no effect here."
        )
    return _Pair(Comparison(label, arm, against), seeds, before, after, notes)


def _by_condition(
    models: Sequence[Evaluated], by_documents: bool
) -> tuple[Evaluated | None, dict[str, dict[int, Evaluated]]]:
    """The base, and the arms by condition and seed; with the macro averages that are asked for."""
    base: Evaluated | None = None
    conditions: dict[str, dict[int, Evaluated]] = {}
    for given in models:
        model = weigh_macro(given) if by_documents else given
        if model.condition == BASE:
            base = base or model
            continue
        seeds = conditions.setdefault(model.condition, {})
        if (model.seed or 0) in seeds:
            raise DataError(
                f"compare: {seeds[model.seed or 0].name} and {model.name} are the same condition "
                f"`{model.condition}` under the same seed {model.seed}",
                "name each run once",
            )
        seeds[model.seed or 0] = model
    return base, {name: dict(sorted(seeds.items())) for name, seeds in conditions.items()}


def _common_seeds(
    arm: str,
    against: str,
    ours: Mapping[int, Evaluated],
    theirs: Mapping[int, Evaluated],
    notes: list[str],
) -> list[int]:
    """The seeds that an arm shares with its reference; what is left out goes into the notes."""
    common = [seed for seed in theirs if seed in ours]
    if not common:
        raise DataError(
            f"{arm} - {against}: {_no_common(ours, theirs)}",
            "train both under the same seeds: ablation.seeds; or `tsqa compare` the other runs, by "
            "name, or these with --allow seeds, which pairs them by their order",
        )
    if len(common) < max(len(ours), len(theirs)):
        notes.append(
            f"{arm} has {_seeds(ours)}, {against} has {_seeds(theirs)}: their difference is over "
            f"{_seeds(common)}."
        )
    return common


def _check_same_tasks(
    label: str, reference: Evaluated, model: Evaluated, allow: frozenset[str]
) -> list[str]:
    """Refuse what was scored differently; return what differs and is allowed to."""
    notes = []
    for task in sorted(reference.tasks.keys() & model.tasks.keys()):
        before, after = reference.tasks[task], model.tasks[task]
        for key in (*_MUST_MATCH, "backend"):
            one, other = getattr(before, key), getattr(after, key)
            if one == other:
                continue
            difference = (
                f"{label}: {task}: {key} is {one!r} for {reference.name} and "
                f"{other!r} for {model.name}"
            )
            if key not in allow:
                fix = "evaluate both with the same task files, limit, num_fewshot and backend"
                if key in ALLOWABLE:
                    fix += f"; `tsqa compare RUN... --allow {key}` compares nevertheless"
                raise DataError(difference, fix)
            notes.append(f"{difference} (allowed).")
    return notes


def _with_verdicts(
    found: Sequence[tuple[Comparison, Tested]], rules: _Rules, parts: int
) -> list[DeltaRow]:
    """The rows, their p-values corrected over the whole table; the last ones are its `parts`."""
    deltas = [row.delta for _, row in found]
    names = [name.comparison for name, _ in found]
    shares = stats.table_shares(names, [stats.is_macro(delta.task) for delta in deltas], parts)
    p_values = [delta.p for delta in deltas]
    tested = [row for _, row in found]
    if rules.spreads.noisy:
        # Such an arm is not always told: by what rows share, 6% of tables held a false finding.
        corrected = Corrected.by_holm(p_values, shares)
    else:
        noise = [row.noise for row in tested]
        corrected = adjust(p_values, shares, noise, rules.seed, rules.confidence)
    rows = []
    for number, (name, row) in enumerate(found):
        mde = _detectable(number, tested, corrected.shares, 1 - rules.confidence)
        delta, p = replace(row.delta, mde=mde), corrected.p_values[number]
        # The spread that other arms lend to one seed is not seen to be its own.
        is_known = delta.covers_seeds and (delta.seeds > 1 or rules.spreads.stated is not None)
        word = stats.verdict(delta.low, delta.high, p, rules.confidence, covers_seeds=is_known)
        rows.append(DeltaRow(**vars(name), **vars(delta), p_holm=p, verdict=word))
    return rows


def _detectable(number: int, rows: Sequence[Tested], shares: Shares, allowed: float) -> float:
    """By the row of this number, were it alone to have an effect: its macro averages move too."""
    row = rows[number]
    left = [
        Left(
            rows[other], allowed * float(shares.own[other]), moved, allowed * float(passed[number])
        )
        for other, passed in shares.passed.items()
        if passed[number] and (moved := row.moves(rows[other]))
    ]
    return detectable(row, allowed * float(shares.own[number]), left)


def _mean_scores(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {task: math.fsum(s[task] for s in scores) / len(scores) for task in scores[0]}


def _seeds(seeds: Collection[int]) -> str:
    """`seed 1`, or `seeds 0, 1`."""
    return f"seed{'' if len(seeds) == 1 else 's'} {_listed(seeds)}"


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
