"""What to buy for a wanted effect: training seeds or documents, at least cost.

Guarantees: what no number of documents can find is said; a cost that is not known is not ranked as
if it were 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tsqa.pipeline.run import Pipeline
from tsqa.preview.asking import NOTHING, StageEstimate, times
from tsqa.preview.estimate import Estimates
from tsqa.preview.measured import Range

if TYPE_CHECKING:
    from eval.statistics.planned import Way, Ways

_TOKENS = "What more tokens would gain is not known here: see a curve (eval.every_tokens)."


@dataclass(frozen=True)
class _Prices:
    """Of one seed of every condition, in hours; None where not known."""

    train: Range | None
    evaluate: Range | None
    unit: str

    def of(self, way: Way, planned: Way) -> Range | None:
        """What a way costs beyond the plan."""
        if self.train is None or self.evaluate is None:
            return None
        runs, scored = way.seeds - planned.seeds, way.seeds * way.documents - planned.seeds
        return self.train * runs + self.evaluate * scored


def what_to_buy(pipeline: Pipeline, wanted: float, ways: Ways | None) -> str:
    """Seeds alone, documents alone, and what is cheaper than both; `wanted` in points."""
    head = f"To find {wanted:g} points on the macro average, in this table: "
    if ways is None:
        return f"{head}the documents of some task are not known."
    planned = ways.planned
    if planned in ways.found:
        return f"{head}as planned ({100 * ways.now:.1f} are found)."
    spread = f"Spread between seeds {ways.spread}."
    if not ways.found:
        return f"{head}not with {ways.most_seeds} seeds, nor with any number of documents. {spread}"
    prices = _prices(pipeline, planned.seeds)
    seeds = next((way for way in ways.found if way.documents == 1), None)
    documents = next((way for way in ways.found if way.seeds == planned.seeds), None)
    told = [_told(way, ways, prices) for way in (seeds, documents) if way]
    if seeds is None:
        told.append(f"seeds alone: more than {ways.most_seeds}")
    if documents is None:
        limit = "one seed gives no verdict"
        if ways.least is not None:
            least = f"{100 * ways.least:.1f}" if ways.least <= 1 else "not even 100"
            limit = f"with any number of them {least} points are found"
        told.append(f"documents alone cannot: {limit}")
    best = _cheapest(ways, prices)
    if best is not None:
        named = {seeds: "the seeds", documents: "the documents"}
        told.append(f"cheapest: {named.get(best) or _told(best, ways, prices)}")
    return f"{head}{'; '.join(told)}. {spread} {_TOKENS}"


def _told(way: Way, ways: Ways, prices: _Prices) -> str:
    planned, parts = ways.planned, []
    if way.seeds != planned.seeds:
        parts.append(f"{way.seeds} seeds an arm instead of {planned.seeds}")
    if way.documents > 1:
        more = round(ways.documents * way.documents)
        parts.append(f"{more:,} documents instead of {ways.documents:,}")
    cost = prices.of(way, planned)
    if cost is None:
        return f"{' and '.join(parts)} (cost not known)"
    low, high = (f"{v:,.0f}" if v >= 10 else f"{v:.2g}" for v in (cost.low, cost.high))
    return f"{' and '.join(parts)} (+{low} to {high} {prices.unit})"


def _cheapest(ways: Ways, prices: _Prices) -> Way | None:
    costs = [(prices.of(way, ways.planned), way) for way in ways.found]
    priced = [(cost.low + cost.high, way) for cost, way in costs if cost is not None]
    return min(priced, key=lambda pair: pair[0])[1] if priced else None


def _prices(pipeline: Pipeline, seeds: int) -> _Prices:
    """From the arms as planned, finished or not, with their points along the training."""
    estimates = Estimates(pipeline)
    whole = {"train": StageEstimate(), "evaluate": StageEstimate()}
    own = [n for n in pipeline.nodes if n.arm in pipeline.arms and n.stage in whole]
    for node in {node.fingerprint: node for node in own}.values():
        made = estimates.training(node) if node.stage == "train" else estimates.of(node)
        whole[node.stage] = whole[node.stage].then(made)
    train, evaluate = whole.values()
    if train.gpu_hours == NOTHING:
        by_second = 1 / seeds / 3600
        return _Prices(times(train.seconds, by_second), times(evaluate.seconds, by_second), "hours")
    by_hour = 1 / seeds
    return _Prices(times(train.gpu_hours, by_hour), times(evaluate.gpu_hours, by_hour), "GPU-hours")
