"""Who made the text of each source of a mixture, and how many models stand between it and people.

Generation 0 is people's. What a model wrote is one more than the newest text that this model was
trained on. Guarantees: nothing counts as people's unless the recipe says so; a mixture below a
floor is refused with its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tsqa.errors import RecipeError
from tsqa.recipe.load import load_recipe
from tsqa.recipe.recipe import Recipe, needed
from tsqa.recipe.sections.generate import GenerateSection
from tsqa.recipe.sections.mixture import PEOPLE, MixtureSection, SourceSection
from tsqa.recipe.sections.models import ModelSection

UNDECLARED = "not declared"
_SLACK = 1e-9


@dataclass(frozen=True)
class SourceOrigin:
    """A source of the mixture, and who made it."""

    source: str
    made_by: str
    """`people`, the names of models, or empty where the recipe does not say."""
    generation: int | None
    """None where the recipe does not say."""
    family: str
    share: float
    """Of the stream's tokens, in the plan."""

    @property
    def shown(self) -> str:
        return self.made_by or UNDECLARED


def origins_of(recipe: Recipe) -> list[SourceOrigin]:
    """Every source of the mixture, with its share of the stream; empty without a mixture."""
    mixture = recipe.mixture
    if mixture is None:
        return []
    found = []
    for name, source in mixture.sources.items():
        text = _drawn_from(mixture, source)
        made_by, generation = _made_by(recipe, text, ())
        family = source.family or text.family or ""
        share = mixture.tokens_of(name) / mixture.tokens
        found.append(SourceOrigin(name, made_by, generation, family, share))
    return found


def generation_shares(origins: Sequence[SourceOrigin]) -> dict[str, float]:
    """`people`, `generation 1` ..., `not declared` -> share of the stream; in that order."""
    shares: dict[str, float] = {}
    drawn = [origin for origin in origins if origin.share]
    for origin in sorted(drawn, key=lambda o: (o.generation is None, o.generation or 0)):
        label = f"generation {origin.generation}" if origin.generation else origin.shown
        shares[label] = shares.get(label, 0.0) + origin.share
    return shares


def check_floors(recipe: Recipe, arm: str = "") -> None:
    """RecipeError where people's share of the stream, or of a family, is below its floor."""
    mixture = recipe.mixture
    if mixture is None or (mixture.human_floor is None and not mixture.human_floors):
        return
    drawn = [origin for origin in origins_of(recipe) if origin.share]
    unsaid = [origin.source for origin in drawn if not origin.made_by]
    of = f"arm {arm}: " if arm and arm != "main" else ""
    if unsaid:
        key = "human_floors" if mixture.human_floor is None else "human_floor"
        of_seeds = "; the control seeds_repeated cannot: leave it out"
        raise RecipeError(
            f"{of}mixture.{key}: who made {', '.join(unsaid)} is not declared",
            f"say it: mixture.sources.{unsaid[0]}.made_by: {PEOPLE}, or the name of a model with "
            f"its `generation`{of_seeds if mixture.sources[unsaid[0]].stage == 'seeds' else ''}",
        )
    floors: dict[str, tuple[float, Sequence[SourceOrigin]]] = {}
    if mixture.human_floor is not None:
        floors["mixture.human_floor"] = (mixture.human_floor, drawn)
    for family, floor in mixture.human_floors.items():
        own = [origin for origin in drawn if origin.family == family]
        floors[f"mixture.human_floors.{family}"] = (floor, own)
    for key, (floor, members) in floors.items():
        total = sum(origin.share for origin in members)
        human = sum(origin.share for origin in members if origin.generation == 0)
        if total and human / total < floor - _SLACK:
            most_first = sorted(members, key=lambda o: (-o.share, o.source))
            parts = ", ".join(f"{o.source} {o.share / total:.2%} ({o.made_by})" for o in most_first)
            raise RecipeError(
                f"{of}{key} is {floor:.2%}, but people wrote {human / total:.2%} of its tokens: "
                f"{parts}",
                f"raise the ratios of people's sources until they are {floor:.2%}, or lower {key}",
            )


def _drawn_from(mixture: MixtureSection, source: SourceSection) -> SourceSection:
    """The source whose text it is, where it is a part of another."""
    while name := source.subset_of or (source.nearest.pool if source.nearest else None):
        source = mixture.sources[name]
    return source


def _made_by(
    recipe: Recipe, source: SourceSection, above: tuple[Path, ...]
) -> tuple[str, int | None]:
    if source.stage != "filter":
        return source.made_by or "", 0 if source.made_by == PEOPLE else source.generation
    models = _writers(needed(recipe.generate, "generate"))
    newest = max(_trained_on(model, above) for model in models)
    return ", ".join(dict.fromkeys(model.called for model in models)), newest + 1


def _writers(section: GenerateSection) -> Sequence[ModelSection]:
    """The models whose text an item may hold; two may have one name."""
    return [section.writing[1].model, *(each.teacher.model for each in section.solving)]


def _trained_on(model: ModelSection, above: tuple[Path, ...]) -> int:
    """Generation of the newest text that a model was trained on, as far as recipes say."""
    if model.generation is not None:
        return model.generation
    if model.recipe is None or (path := Path(model.recipe).resolve()) in above:
        return 0
    recipe = load_recipe(path)
    mixture: MixtureSection | None = recipe.mixture
    drawn = [mixture.sources[name] for name in mixture.drawn] if mixture else []
    texts = [_drawn_from(mixture, source) for source in drawn] if mixture else []
    newest = [_made_by(recipe, text, (*above, path))[1] or 0 for text in texts]
    base = [_trained_on(recipe.model, (*above, path))] if recipe.model else []
    return max([*newest, *base], default=0)
