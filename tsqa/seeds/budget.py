"""How many seeds each capability and task gives.

Guarantees: exact integers that sum to the total, or to all there is; no pool gives more than it
holds, and what it cannot give goes to the others; the order of the pools changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tsqa.errors import RecipeError
from tsqa.recipe import BudgetSection


@dataclass(frozen=True)
class Pool:
    """The usable documents of one task."""

    capability: str
    available: int
    bound: int
    """Most that may be chosen: `max_per_task`, and what is available."""


def plan_seeds(pools: Mapping[str, Pool], budget: BudgetSection | None) -> dict[str, int]:
    """Plan task -> seeds to choose: shared among capabilities, then among the tasks of each."""
    if budget is None:
        return {task: pool.bound for task, pool in pools.items()}
    by_capability: dict[str, list[str]] = {}
    for task, pool in pools.items():
        by_capability.setdefault(pool.capability, []).append(task)
    weights = capability_weights(
        {c: sum(pools[t].available for t in tasks) for c, tasks in by_capability.items()}, budget
    )
    bounds = {c: sum(pools[t].bound for t in tasks) for c, tasks in by_capability.items()}
    planned: dict[str, int] = {}
    for capability, amount in allocate(budget.total, weights, bounds).items():
        tasks = by_capability[capability]
        planned |= allocate(
            amount,
            {t: pools[t].available ** (1 / budget.temperature) for t in tasks},
            {t: pools[t].bound for t in tasks},
        )
    return {task: planned[task] for task in pools}


def capability_weights(available: Mapping[str, int], budget: BudgetSection) -> dict[str, float]:
    """Weigh named capabilities by their share, the others by n ** (1 / temperature).

    Raise RecipeError where the shares fit no plan.
    """
    check_shares(set(available), budget)
    named = budget.capabilities
    free = {
        c: n ** (1 / budget.temperature) for c, n in sorted(available.items()) if c not in named
    }
    rest, total = 1 - sum(named.values()), sum(free.values())
    shares = {c: rest * weight / total if total else 0.0 for c, weight in free.items()}
    return {c: named.get(c, shares.get(c, 0.0)) for c in available}


def check_shares(capabilities: set[str], budget: BudgetSection) -> None:
    """Raise RecipeError where `seeds.budget.capabilities` cannot be planned."""
    named = budget.capabilities
    unknown = sorted(set(named) - capabilities)
    if unknown:
        raise RecipeError(
            f"seeds.budget.capabilities: no task has the capability {', '.join(unknown)}",
            f"there are: {', '.join(sorted(capabilities))}",
        )
    total = sum(named.values())
    if set(named) == capabilities and total < 1 - 1e-9:
        raise RecipeError(
            f"seeds.budget.capabilities sum to {total:g}, and no other capability takes the rest",
            "raise them to 1 in all",
        )


def allocate(total: int, weights: Mapping[str, float], bounds: Mapping[str, int]) -> dict[str, int]:
    """Split `total` by weights, each at most its bound, by largest remainder.

    What a bounded pool cannot take is shared again among the others by their weights; a pool
    without weight gets nothing.
    """
    given = {name: 0 for name in weights if weights[name] <= 0}
    open_names = sorted(name for name in weights if weights[name] > 0)
    left = min(total, sum(bounds[name] for name in open_names))
    ideal: dict[str, float] = {}
    while open_names:
        scale = sum(weights[name] for name in open_names)
        ideal = {name: left * weights[name] / scale for name in open_names}
        full = [name for name in open_names if ideal[name] >= bounds[name]]
        if not full:
            break
        given |= {name: bounds[name] for name in full}
        left -= sum(bounds[name] for name in full)
        open_names = [name for name in open_names if name not in full]
    given |= {name: int(ideal[name]) for name in open_names}
    missing = left - sum(given[name] for name in open_names)
    for name in sorted(open_names, key=lambda n: (given[n] - ideal[n], n))[:missing]:
        given[name] += 1
    return given
