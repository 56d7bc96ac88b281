"""The stages `benchmarks`, evaluated splits -> documents, `seeds`, training splits -> seeds, and
`guard`, which keeps them apart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tsqa.errors import RecipeError
from tsqa.hub.identify import identify, identify_data, identify_model
from tsqa.hub.pins import PINS
from tsqa.recipe import OwnSection, Recipe, is_hub_id, needed, stream_check
from tsqa.records.kept_seeds import lineage_of
from tsqa.store.artifact import Artifact
from tsqa.store.identity import Json, file_identity
from tsqa.store.roles import Role
from tsqa.store.stage import Stage, resolve_path
from tsqa.tasks.fingerprint import evaluated_config, identify_tasks, pinned_datasets

_TAXONOMY = Path(__file__).with_name("taxonomy.yaml")
_MISSING = "no such file or folder"
_CUT_ANEW = frozenset({
    *("zh", "ja", "th", "lo", "my", "km"),
    *("hi", "bn", "mr", "ne", "pa", "or", "as", "sa", "ur", "ar", "fa"),
})  # fmt: skip
"""Languages of documents whose words were counted, or whose sentences ended, otherwise before."""


def _seeds_config(recipe: Recipe) -> dict[str, Json]:
    section = needed(recipe.seeds, "seeds")
    documents: list[Json] = [
        {
            **each.data_config(),
            "path": _identify_dataset(each),
            **({"cut": 2} if each.language in _CUT_ANEW else {}),
        }
        for each in section.documents
    ]
    return {
        **section.data_config(),
        **({"documents": documents} if documents else {}),
        **({"refresh": identify(str(lineage_of(section.refresh)))} if section.refresh else {}),
        "include": identify_tasks(section.include),
        **pinned_datasets("seeds.tasks", section.include, tuple(section.tasks)),
        "datasets": [
            {**dataset.data_config(), "path": _identify_dataset(dataset)}
            for dataset in section.datasets
        ],
        "taxonomy": [file_identity(_TAXONOMY), _identify_taxonomy(section.taxonomy)],
    }


def _guard_config(recipe: Recipe) -> dict[str, Json]:
    """The evaluated splits by their names; the documents on both sides are inputs."""
    section = needed(recipe.seeds, "seeds")
    meaning = recipe.filter.semantic_leaks if recipe.filter else None
    model = (
        {**meaning.measured_config(), "model": identify_model(meaning.model)} if meaning else None
    )
    return {
        "allow_leaks": sorted(section.allow_leaks),
        "evaluated": evaluated_config(recipe),
        **({"decontaminate": {"semantic": model}} if model else {}),
    }


def _identify_dataset(section: OwnSection) -> Json:
    if "://" in section.path:
        return identify_data(section.path, f"{section.place}: path")
    found = identify(section.path)
    if found != section.path or section.path.startswith("{data}"):
        return found
    if not is_hub_id(section.path):
        raise RecipeError(f"{section.place}: path = {section.path}: {_MISSING}", "correct the path")
    return {**PINS.identify("dataset", section.path, section.revision)}


def _identify_taxonomy(path: str | None) -> Json:
    found = identify(path)
    if path is not None and found == path and not path.startswith("{data}"):
        raise RecipeError(f"seeds.taxonomy = {path}: {_MISSING}", "correct the path")
    return found


def _needs_benchmarks(recipe: Recipe) -> bool:
    return recipe.eval is not None and bool(recipe.seeds or stream_check(recipe))


def _recheck_benchmarks(recipe: Recipe, made: Artifact, inputs: Mapping[Role, Artifact]) -> None:
    """Rules that came later, or of a recipe that trains; artifacts from before tell less."""
    from tsqa.seeds.benchmarks import refuse_groups, refuse_unscorable

    section = needed(recipe.eval, "eval")
    include = resolve_path(section.include, inputs.get("data")) if section.include else None
    refuse_groups(section, include, made.summary.get("fields", {}))
    refuse_unscorable(recipe, include, made.summary.get("unscorable", {}))


BENCHMARKS = Stage(
    "benchmarks",
    1,
    evaluated_config,
    "tsqa.seeds.benchmarks",
    sections=("eval",),
    inputs=lambda recipe: ("data",),
    wanted=_needs_benchmarks,
    reads_throughout=True,
    recheck=_recheck_benchmarks,
)
SEEDS = Stage(
    "seeds",
    6,
    _seeds_config,
    "tsqa.seeds.stage",
    sections=("seeds",),
    inputs=lambda recipe: ("data",),
    wanted=lambda recipe: recipe.seeds is not None,
    reads_throughout=True,
)
GUARD = Stage(
    "guard",
    14,
    _guard_config,
    "tsqa.decontaminate.guard",
    sections=("seeds", "filter"),
    inputs=lambda recipe: ("data", "benchmarks", "seeds"),
    wanted=lambda recipe: recipe.seeds is not None and recipe.eval is not None,
)
