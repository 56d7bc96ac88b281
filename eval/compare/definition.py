"""The stage `compare`: the evaluations of the arms -> deltas."""

from __future__ import annotations

from tsqa.hub.identify import identify_model
from tsqa.recipe import Recipe, needed
from tsqa.store.identity import Json
from tsqa.store.stage import Stage


def _config(recipe: Recipe) -> dict[str, Json]:
    section = needed(recipe.eval, "eval")
    meaning = recipe.filter.semantic_leaks if recipe.filter else None
    families = recipe.seeds.families if recipe.seeds else {}
    return {
        "bootstrap": section.bootstrap,
        "confidence": section.confidence,
        "macros": {name: [*tasks] for name, tasks in section.macros.items()},
        "ablation": recipe.ablation.data_config() if recipe.ablation else None,
        **({"macro": section.macro} if section.macro != "tasks" else {}),
        **({"every_tokens": section.every_tokens} if section.every_tokens else {}),
        **({"nearest": identify_model(meaning.model)} if meaning else {}),
        **({"families": {**families}} if families else {}),
        **({"seed_spread": section.seed_spread} if section.seed_spread is not None else {}),
    }


COMPARE = Stage("compare", 20, _config, "eval.compare.stage", sections=("eval", "seeds"))
