"""What the page says of training data: planned shares, drawn tokens, tokens at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from eval.report.style import escape
from train.data.mixture import chosen_twice
from tsqa.recipe import Arm, Recipe, SourceOrigin, generation_shares, needed
from tsqa.store.artifact import Artifact


@dataclass(frozen=True)
class MixtureRow:
    """One source of one arm; what its training did not log is None."""

    arm: str
    source: str
    planned: float | None
    share: float
    """Of the drawn tokens."""
    heldout: float | None
    """Held-out loss in nats."""
    drawn: int | None
    padded: int | None
    loss: float | None
    epochs: float | None
    made_by: str | None = None
    generation: int | None = None


@dataclass(frozen=True)
class TokenizedSource:
    """One source of one tokenize artifact."""

    label: str
    source: str
    documents: int
    dropped: int
    """Documents left out as leaks."""
    tokens: int


def mixture_rows(arms: Mapping[str, Arm], train: Mapping[str, Artifact]) -> Iterator[MixtureRow]:
    """Planned share against drawn tokens, per arm and source."""
    for arm, artifact in train.items():
        sources = artifact.summary.get("sources", {})
        total = sum(source.get("drawn", 0) for source in sources.values())
        planned = _planned(arms[arm]) if arm in arms else {}
        heldout = artifact.summary.get("heldout") or {}
        origins = {each["source"]: each for each in artifact.summary.get("provenance", [])}
        for name in sorted(sources):
            source = sources[name]
            yield MixtureRow(
                arm=arm,
                source=name,
                planned=planned.get(name, 0.0) if planned else None,
                share=source.get("drawn", 0) / total if total else 0.0,
                heldout=heldout.get(name),
                drawn=source.get("drawn"),
                padded=source.get("padded"),
                loss=source.get("loss"),
                epochs=source.get("epochs"),
                made_by=(origin := origins.get(name, {})).get("made_by"),
                generation=origin.get("generation"),
            )


def generation_rows(train: Mapping[str, Artifact]) -> Iterator[tuple[str, dict[str, float]]]:
    """Arm, and the share of every generation in its stream; of trainings that say it."""
    for arm, artifact in train.items():
        told = artifact.summary.get("provenance")
        if told:
            yield arm, generation_shares([SourceOrigin(**each) for each in told])


def twice_drawn(arms: Mapping[str, Arm]) -> list[str]:
    """Which documents near the seeds an arm also reads as part of another source, in words."""
    found: dict[str, None] = {}
    for arm in arms.values():
        for name, others in (chosen_twice(arm.recipe) if arm.recipe.mixture else {}).items():
            found[
                f"{name} of {arm.condition}: its documents were chosen from text that is also "
                f"drawn as {', '.join(others)}, so that the arm reads them in both."
            ] = None
    return [*found]


def tokenized_sources(tokenized: Mapping[str, Artifact]) -> Iterator[TokenizedSource]:
    """Every source of every tokenize artifact."""
    for label, artifact in tokenized.items():
        for name, source in sorted(artifact.summary["sources"].items()):
            counts = (source[key] for key in ("documents", "dropped", "tokens"))
            yield TokenizedSource(label, name, *counts)


def planned_ratios(recipe: Recipe, arms: Mapping[str, Arm]) -> tuple[str, dict[str, float]]:
    """Title and condition -> planned share of what the ablation varies, or of the synthetic data.

    The varied source is that of the one axis `mixture.<source>`; otherwise all sources from the
    filter count. Shares are over the tokens of all phases.
    """
    if recipe.mixture is None or recipe.ablation is None:
        return "", {}
    sources = recipe.mixture.sources
    varied = [key.partition(".")[2] for key in recipe.ablation.axes if key.startswith("mixture.")]
    varied = [name for name in varied if name in sources]
    synthetic = [name for name, source in sources.items() if source.stage == "filter"]
    counted = varied if len(varied) == 1 else synthetic
    title = f"planned share of {', '.join(map(escape, counted))} in the mixture"
    shares = {}
    for arm in arms.values():
        planned = _planned(arm)
        shares[arm.condition] = sum(planned.get(name, 0.0) for name in counted)
    return title, shares if counted else {}


def _planned(arm: Arm) -> dict[str, float]:
    """Source -> its share of the tokens of all phases."""
    mixture = needed(arm.recipe.mixture, "mixture")
    names = dict.fromkeys(name for phase in mixture.phases for name in phase.ratios)
    return {name: mixture.tokens_of(name) / mixture.tokens for name in names}
