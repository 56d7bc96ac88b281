"""The recipe's mixture and the rows of each source -> the plan of the stream.

Guarantees: text that would be repeated beyond `max_repetition` is refused with the fix, before
training starts, also where several sources hold it; the order of the sources in the YAML decides
nothing.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from rich import box
from rich.table import Table

from train.data.plan import MixturePlan, Phase
from train.data.sources import is_saved, list_files
from tsqa.errors import DataError, RecipeError
from tsqa.recipe import BASIS_POINTS, MixtureSection, Recipe, SourceSection, TrainSection, needed
from tsqa.remote import data_path
from tsqa.store.digests import DIGESTS, state_of
from tsqa.store.identity import files_below

_WORTH_SAYING = 0.01
"""Share of a source that files must make up before their copies count: small ones may be alike."""
_Content = tuple[str, ...]


class _Text(NamedTuple):
    content: _Content
    """The same for the same bytes, read in the same way."""
    size: int


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
        if source.size_of is None:
            continue
        of = source.subset_of or name
        have, wanted = rows[of], rows[source.size_of]
        if wanted > have:
            raise RecipeError(
                f"mixture.sources.{name}: {source.size_of} has {wanted:,} rows, {of} "
                f"only {have:,}: no choice of its rows repeats as rarely",
                f"give {of} more text, or leave this source out",
            )
        counts[name] = wanted  # of a source with `nearest` the first, which are the nearest
        if source.subset_of:
            subsets.append((name, source.subset_of, have))
    return counts, tuple(subsets)


def plan_of(recipe: Recipe, rows: Mapping[str, int]) -> MixturePlan:
    """Lay out the stream of a recipe whose sources hold these rows."""
    mixture, train = needed(recipe.mixture, "mixture"), needed(recipe.train, "train")
    return plan(mixture, train, training_rows(rows, train.heldout_rows), recipe.seed)


def check_repeats(recipe: Recipe, rows: Mapping[str, int]) -> MixturePlan:
    """As `plan_of`; refused too where files that several sources hold, or one holds twice, are
    repeated beyond the largest `max_repetition` of these sources.

    Files are the same by their bytes. What is drawn or chosen from a source repeats it by
    intention; `chosen_twice` says so.
    """
    result, mixture = plan_of(recipe, rows), needed(recipe.mixture, "mixture")
    epochs = {draw.source: draw.epochs for draw in result.describe()}
    held = {name: _texts_of(mixture.sources[name]) for name in result.sources}
    copies: dict[_Content, Counter[str]] = defaultdict(Counter)
    for name, texts in held.items():
        for text in texts:
            copies[text.content][name] += 1
    shares: dict[tuple[tuple[str, int], ...], float] = defaultdict(float)
    for texts in held.values():
        size = sum(text.size for text in texts)
        for text in texts:
            shares[tuple(copies[text.content].items())] += text.size / size
    for holders, share in shares.items():
        times = sum(count for _, count in holders)
        total = sum(epochs[name] * count for name, count in holders)
        key, cap = max((_cap(mixture, name) for name, _ in holders), key=lambda one: one[1])
        if times > 1 and share >= _WORTH_SAYING and total > cap:
            names = ", ".join(f"{epochs[name] * count:.2f} of {name}" for name, count in holders)
            raise RecipeError(
                f"mixture.sources: {' and '.join(name for name, _ in holders)}: the same files are "
                f"there {times} times, so that they are read for {total:.2f} epochs ({names}), "
                f"{key} {cap:g}",
                "keep them once, lower the ratios, or raise "
                f"{key} to {math.ceil(100 * total) / 100:g}",
            )
    return result


def chosen_twice(recipe: Recipe) -> dict[str, list[str]]:
    """Drawn source with `nearest` -> the drawn sources that hold files that it chooses from."""
    mixture = needed(recipe.mixture, "mixture")
    held = {
        name: {text.content for text in _texts_of(mixture.sources[name])} for name in mixture.drawn
    }
    found = {}
    for name in mixture.drawn:
        near = mixture.sources[name].nearest
        pool = {text.content for text in _texts_of(mixture.sources[near.pool])} if near else set()
        if also := [other for other, texts in held.items() if texts & pool]:
            found[name] = also
    return found


def _texts_of(source: SourceSection) -> list[_Text]:
    """What a source reads by itself; a dataset of the hub, and the filter's, as one text."""
    if source.subset_of or source.nearest:
        return []
    read_as = (source.text_field, source.subset or "", source.split)
    path = data_path(str(source.path))
    if source.stage is not None or not path.exists():
        known = source.stage or f"{source.path}@{source.revision}"
        return [_Text((known, source.permute or "", *read_as), 1)]
    if not path.is_dir():
        files = [path]
    elif is_saved(path):
        files = [file for file in files_below(path) if file.suffix == ".arrow"]
    else:
        files = list_files(path)
    return [
        _Text((digest, *read_as), max(1, state_of(file).size))
        for file, digest in zip(files, DIGESTS.of_all(files), strict=True)
    ]


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
        key, cap = _cap(mixture, name)
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


def _cap(mixture: MixtureSection, name: str) -> tuple[str, float]:
    """(key, value) of the most epochs over a source."""
    own = mixture.sources[name].max_repetition
    if own is None:
        return "mixture.max_repetition", mixture.max_repetition
    return f"mixture.sources.{name}.max_repetition", own


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
    divisor = math.gcd(*points)
    return tuple(point // divisor for point in points)
