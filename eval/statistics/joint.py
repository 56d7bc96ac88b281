"""One correction of a whole table by what its rows share: step-down resampling.

Guarantees: the chance of any false finding is at most 1 - confidence, also where some rows have an
effect; no corrected p-value is below the row's own, and none depends on the order of the rows.
Where a row that is found leaves its share to others, the first is so by simulation
(tests/benchmarks/correction.py), and by Holm's rule exactly.

Westfall and Young, Resampling-Based Multiple Testing (1993), their step-down minP; Romano and Wolf,
Exact and approximate stepdown methods for multiple hypothesis testing (2005). Under the null
hypothesis a document's differences change sign in all arms and tasks at once (arms share their
control, tasks may share documents, a group flips whole). Several seeds: what the seeds' variance
may be (as in crossed.py) multiplies the flips, one draw for all rows that rest on the same
estimate: a variance that is taken for too small misleads all of its rows together, once. Each row
is judged by its own p-value, so exact ones stay exact; the flips say how rows go together, and so
how much of the one chance the macro rows' share leaves to the others (`_spend`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.statistics.crossed import MANY, Estimate, Floats
from eval.statistics.stats import Shares, holm

FLIPS = 20_000
_CELLS = 20_000_000
_SCATTER = 0.1
"""Over that of a chance of 1% and more, counted in so many flips."""


@dataclass(frozen=True)
class Noise:
    """What a row's delta is made of: what each cluster of documents adds, and its estimate."""

    name: str
    """Of this row alone in its table: what is drawn for a row goes by it."""
    clusters: Sequence[str]
    shares: Floats
    estimate: Estimate | None = None
    """None: one seed, whose spread is not part of the row."""


@dataclass(frozen=True)
class Corrected:
    """What a table's correction says."""

    p_values: list[float]
    """Step-down adjusted, in the order of the rows."""
    shares: Shares
    """Of the allowed chance: at that p-value a row alone is found, whatever the others are."""

    @classmethod
    def by_holm(cls, p_values: Sequence[float], shares: Shares) -> Corrected:
        return cls(holm(p_values, shares), shares)


def adjust(
    p_values: Sequence[float],
    shares: Shares,
    rows: Sequence[Noise],
    seed: int,
    confidence: float,
) -> Corrected:
    """Correct the rows of one table."""
    order = sorted(range(len(rows)), key=lambda row: rows[row].name)
    named = [rows[row] for row in order]
    found = _adjust([p_values[row] for row in order], shares.at(order), named, seed, confidence)
    back = sorted(range(len(order)), key=lambda place: order[place])
    return Corrected([found.p_values[place] for place in back], found.shares.at(back))


def _adjust(
    p_values: Sequence[float],
    shares: Shares,
    rows: Sequence[Noise],
    seed: int,
    confidence: float,
) -> Corrected:
    by_holm = Corrected.by_holm(p_values, shares)
    bounds = by_holm.p_values
    if len(rows) < 2:
        return by_holm
    rng = np.random.default_rng([seed, len(rows)])
    null = _null(rows, rng)
    reached = np.maximum(p_values, [_reached(*one) for one in zip(rows, null, strict=True)])
    chances = null
    for row, one in enumerate(rows):
        chances[row] = _chances(null[row])
        if one.estimate is None:
            # Few values occur, each with a chance of its own: counted, one may seem rarer than p.
            chances[row] -= 2 * np.sqrt(chances[row] / FLIPS)
    scatter = _SCATTER if any(row.estimate is None for row in rows) else 0.0
    spent = _spend(chances, shares, confidence, scatter)
    adjusted, last = list(bounds), 0.0
    found = np.zeros(len(rows), dtype=bool)
    while not found.all():
        now = spent.after(found)
        ratios = reached / now
        order = [row for row in np.argsort(ratios, kind="stable").tolist() if not found[row]]
        exceeded = _exceeded(chances, now, ratios, order)
        for row in order:
            # Never above Holm's bound, which says more beyond the last flip.
            stepped = min((1 + exceeded[row]) / (1 + FLIPS), bounds[row])
            last = max(last, stepped, p_values[row])
            adjusted[row] = float(min(1.0, last))
            found[row] = True
            if row in spent.passed:
                break
    return Corrected(adjusted, spent)


def _exceeded(
    chances: Floats, shares: Floats, ratios: Floats, order: Sequence[int]
) -> dict[int, int]:
    """In how many flips some row from each on is as extreme."""
    smallest = np.full(chances.shape[1], np.inf)
    exceeded = {}
    for row in reversed(order):
        smallest = np.minimum(smallest, chances[row] / shares[row])
        exceeded[row] = int(np.count_nonzero(smallest <= ratios[row] * (1 + 1e-9)))
    return exceeded


def spend(null: Floats, shares: Shares, confidence: float) -> Shares:
    """The same as `Corrected.shares`, of rows x draws under the null hypothesis."""
    return _spend(np.array([_chances(row) for row in null]), shares, confidence)


def _spend(chances: Floats, shares: Shares, confidence: float, scatter: float = 0.0) -> Shares:
    """The shares, raised to what the rows' chances (rows x draws) leave of the one allowed.

    Rows that pass theirs on spend theirs, however alike they are. What misleads these misleads the
    others too, most where few seeds show a spread that all rest on, and is paid for: the others
    have all that is then left. What the null hypothesis alone decides, whatever the p-values are,
    is as good as fixed beforehand.
    """
    first = np.isin(np.arange(len(chances)), [*shares.passed])
    allowed, times = 1 - confidence, np.ones(len(chances))
    is_spent = np.zeros(chances.shape[1], dtype=bool)
    for rows, share in ((first, float(np.sum(shares.own[first]))), (~first, 1.0)):
        if rows.any():
            smallest = np.min(chances[rows] / shares.own[rows, None], axis=0)
            count = int(allowed * share * (1 + len(smallest))) - int(np.sum(is_spent))
            edge = max(allowed, _edge(smallest[~is_spent], count, scatter))
            is_spent |= smallest <= edge
            times[rows] = edge / allowed
    passed = {row: one * times[row] for row, one in shares.passed.items()}
    return Shares(shares.own * times, passed)


def _edge(values: Floats, count: int, scatter: float) -> float:
    """Below or at what `count` of these values are, at most.

    Where few values occur, each of them is counted with this `scatter` (a share) from row to row:
    one that is reached too often is left out with all that are as large.
    """
    ordered = np.sort(values)
    below = np.searchsorted(ordered, ordered[max(0, count)] * (1 - scatter))
    return float(ordered[below - 1]) if below else 0.0


def _null(rows: Sequence[Noise], rng: np.random.Generator) -> Floats:
    """Rows x flips: what the deltas would be if nothing differed."""
    columns, counts = _alike(rows)
    null: Floats = np.empty((len(rows), FLIPS))
    size = max(1, _CELLS // len(counts))
    for start in range(0, FLIPS, size):
        count = min(size, FLIPS - start)
        signs = np.empty((len(counts), count), dtype=np.float32)
        alone = counts == 1
        signs[alone] = _coins(int(alone.sum()), count, rng)
        several = counts[~alone, None]
        signs[~alone] = rng.binomial(several, 0.5, (len(several), count))
        null[:, start : start + count] = columns @ (2 * signs - counts[:, None].astype(np.float32))
    drawn: dict[tuple[str, float], Floats] = {}
    for number, row in enumerate(rows):
        if row.estimate is not None:
            null[number] *= scales(row.estimate, row.name, drawn, rng, FLIPS)
    return null


def _coins(rows: int, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    drawn = rng.integers(0, 256, (rows, -(-count // 8)), dtype=np.uint8)
    return np.unpackbits(drawn, axis=1)[:, :count]


def _alike(rows: Sequence[Noise]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows x clusters, those that add alike to all rows as one, and how many each one is."""
    names = sorted({name for row in rows for name in row.clusters})
    place = {name: number for number, name in enumerate(names)}
    shares: Floats = np.zeros((len(names), len(rows)))
    for number, row in enumerate(rows):
        np.add.at(shares[:, number], [place[name] for name in row.clusters], row.shares)
    # Of one row all in its own unit: rounding must not tell equal documents apart.
    units = np.abs(shares).max(axis=0)
    units[units == 0] = 1.0
    alike, counts = np.unique(np.round(shares / units, 6), axis=0, return_counts=True)
    return (alike * units).T.astype(np.float32), counts


def scales(
    one: Estimate,
    row: str,
    drawn: dict[tuple[str, float], Floats],
    rng: np.random.Generator,
    count: int,
) -> Floats:
    """How much more than estimated the difference of a row of this name may vary, per draw.

    Rows whose estimates have one name share a draw, which `drawn` keeps.
    """

    def draw(name: str, df: float) -> Floats:
        if (name, df) not in drawn:
            drawn[name, df] = rng.chisquare(df, count) / df if df < MANY else np.ones(count)
        return drawn[name, df]

    shared = one.seeds / draw(one.name or f"row {row}", one.seeds_df)
    apart = one.apart / draw(f"{one.name or row} apart", one.apart_df)
    found: Floats = np.sqrt((shared + apart + one.documents) / max(one.stderr**2, 1e-300))
    return found


def _reached(row: Noise, null: Floats) -> float:
    """Share of flips as extreme as the row, which its exact p-value may miss by chance."""
    if row.estimate is not None:
        return 0.0
    delta = abs(float(np.sum(row.shares)))
    return float(np.mean(np.abs(null) >= delta * (1 - 1e-5)))


def _chances(null: Floats) -> Floats:
    """Of each flip, the share of flips that are as extreme."""
    sizes = np.abs(null)
    order = np.argsort(sizes)
    ordered = sizes[order]
    found: Floats = np.empty(len(null))
    below = np.searchsorted(ordered, ordered * (1 - 1e-5))
    found[order] = (len(null) - below) / len(null)
    return found
