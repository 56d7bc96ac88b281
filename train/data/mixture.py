"""The recipe's mixture and the rows of each source -> the plan of the stream.

Guarantees: a source that would be repeated beyond `max_repetition` is refused with the fix, before
training starts; the order of the sources in the YAML decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import gcd

from rich import box
from rich.table import Table

from train.data.plan import MixturePlan, Phase
from tsqa.errors import DataError, RecipeError
from tsqa.recipe import BASIS_POINTS, MixtureSection, Recipe, TrainSection, needed


def plan(
    mixture: MixtureSection, train: TrainSection, rows: Mapping[str, int], seed: int
) -> MixturePlan:
    """Lay out the stream; refuse a source that would be repeated beyond `max_repetition`."""
    # Neither the order in the YAML nor a source that is not drawn decides anything.
    names = tuple(mixture.drawn)
    length, batch = train.sequence_length, train.global_batch_rows
    requested = sum(phase.tokens for phase in mixture.phases) // length
    steps = requested // batch
    if not steps:
        raise RecipeError(
            f"mixture.phases hold {requested * length:,} tokens, less than one global batch",
            f"raise tokens to {batch * length:,} or lower train.global_batch_tokens",
        )
    phases: list[Phase] = []
    # Phases end at whole rows of the tokens summed from the start of the stream, so that rounding
    # does not accumulate; rows beyond the last whole batch are cut off the end.
    start, tokens = 0, 0
    for number, section in enumerate(mixture.phases):
        tokens += section.tokens
        end = min(tokens // length, steps * batch)
        if end == start:
            raise RecipeError(
                f"mixture.phases[{number}] draws no row: its {section.tokens:,} tokens are less "
                "than a row, or beyond the last whole global batch",
                f"raise its tokens to {batch * length:,}, a global batch, or leave the phase out",
            )
        phases.append(Phase(start, end - start, _weights(section.ratios, names)))
        start = end
    rows, subsets = _with_subsets(mixture, rows)
    result = MixturePlan(
        names,
        tuple(rows[n] for n in names),
        tuple(phases),
        seed,
        length,
        batch,
        steps,
        requested,
        subsets,
    )
    _check_supply(result, mixture)
    return result


def _with_subsets(
    mixture: MixtureSection, rows: Mapping[str, int]
) -> tuple[dict[str, int], tuple[tuple[str, str, int], ...]]:
    """Rows of every source, including drawn ones cut from another, and how these are cut."""
    counts, subsets = dict(rows), []
    for name in mixture.drawn:
        source = mixture.sources[name]
        if source.subset_of is None or source.size_of is None:
            continue
        have, wanted = rows[source.subset_of], rows[source.size_of]
        if wanted > have:
            raise RecipeError(
                f"mixture.sources.{name}: {source.size_of} has {wanted:,} rows, {source.subset_of} "
                f"only {have:,}: no choice of its rows repeats as rarely",
                f"give {source.subset_of} more text, or leave this source out",
            )
        counts[name] = wanted
        subsets.append((name, source.subset_of, have))
    return counts, tuple(subsets)


def plan_of(recipe: Recipe, rows: Mapping[str, int]) -> MixturePlan:
    """Lay out the stream of a recipe whose sources hold these rows."""
    mixture, train = needed(recipe.mixture, "mixture"), needed(recipe.train, "train")
    return plan(mixture, train, training_rows(rows, train.heldout_rows), recipe.seed)


def training_rows(rows: Mapping[str, int], heldout: int) -> dict[str, int]:
    """Return the rows of each source to train on: all but the last `heldout`."""
    for name, count in rows.items():
        if heldout > count:
            raise DataError(
                f"mixture.sources.{name} holds {count} rows, of which train.heldout_rows takes "
                f"{heldout}",
                f"lower train.heldout_rows to {count // 10}, or give the source more text",
            )
    return {name: count - heldout for name, count in rows.items()}


def plan_table(plan: MixturePlan, padding: Mapping[str, int]) -> Table:
    """Render the plan, to print before training; `padding` is tokens held per source."""
    shown = "; ".join(
        f"phase {number}: {phase.rows:,} rows of {_ratios(plan.sources, phase.weights)}"
        for number, phase in enumerate(plan.phases, 1)
    )
    table = Table(
        title=plan.note(),
        caption=shown,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("source", overflow="fold")
    for column in ("rows", "drawn", "tokens drawn", "share", "epochs", "padding"):
        table.add_column(column, justify="right", no_wrap=True)
    for entry in plan.describe():
        held = entry.rows * plan.sequence_length
        padded = padding.get(entry.source, 0) / held if held else 0.0
        table.add_row(
            entry.source,
            f"{entry.rows:,}",
            f"{entry.drawn_rows:,}",
            f"{entry.tokens:,}",
            f"{entry.share:.2%}",
            f"{entry.epochs:.3f}",
            f"{padded:.2%}",
        )
    return table


def _ratios(names: Sequence[str], weights: Sequence[int]) -> str:
    period = sum(weights)
    pairs = zip(names, weights, strict=True)
    return ", ".join(f"{name} {weight / period:g}" for name, weight in pairs if weight)


def _check_supply(plan: MixturePlan, mixture: MixtureSection) -> None:
    problems = []
    for (name, drawn), have in zip(plan.drawn.items(), plan.rows, strict=True):
        if drawn and not have:
            raise DataError(
                f"mixture.sources.{name} is empty, but a phase draws from it",
                "give it documents, or set its ratio to 0",
            )
        own = mixture.sources[name].max_repetition
        key = "mixture.max_repetition" if own is None else f"mixture.sources.{name}.max_repetition"
        cap = mixture.max_repetition if own is None else own
        # A cap is a decimal: 100 rows x 0.29 are 29, which floats would miss.
        allowed = int(have * Fraction(str(cap)))
        if drawn <= allowed:
            continue
        length = plan.sequence_length
        ratios = [phase.ratios.get(name, 0.0) for phase in mixture.phases]
        lower = " / ".join(f"{ratio:g}" for ratio in _affordable(plan, ratios, drawn, allowed))
        problems.append(
            f"mixture.sources.{name}: {drawn * length:,} tokens are drawn, it holds "
            f"{have * length:,} ({drawn / have:.2f} epochs, {key} {cap:g}): short by "
            f"{(drawn - allowed) * length:,} tokens\n"
            f"  fix: raise {key} to {-(-100 * drawn // have) / 100:g}, or lower "
            f"its ratio to {lower}"
        )
    if problems:
        raise RecipeError("\n".join(problems))


def _affordable(
    plan: MixturePlan, ratios: Sequence[float], drawn: int, allowed: int
) -> list[float]:
    """The ratios of a source, scaled until its rows suffice however the others are scaled."""
    points = [int(round(ratio * BASIS_POINTS) * allowed / drawn) for ratio in ratios]
    # A phase draws at most the next whole row.
    while sum(
        -(-point * phase.rows // BASIS_POINTS)
        for point, phase in zip(points, plan.phases, strict=True)
    ) > allowed:  # fmt: skip
        points[points.index(max(points))] -= 1
    return [point / BASIS_POINTS for point in points]


def _weights(ratios: Mapping[str, float], names: Sequence[str]) -> tuple[int, ...]:
    points = [round(ratios.get(name, 0.0) * BASIS_POINTS) for name in names]
    divisor = gcd(*points)
    return tuple(point // divisor for point in points)
