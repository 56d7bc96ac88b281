"""The seeds as documents: what a model sees that is trained on the training splits themselves.

Guarantees: one document a seed, in their order, in the templates of the generated items, a passage
as it is; nothing is asked of a model, and the same seeds give the same bytes.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from tsqa.curated.render import Renderer
from tsqa.recipe import Recipe, renderings_of
from tsqa.records.candidate import seed_as_candidate
from tsqa.records.seed import Seed, read_seeds
from tsqa.store.jsonl import write_jsonl


def write_seed_texts(
    seeds: Path, folder: Path, recipe: Recipe, dropped: Container[str] = ()
) -> Path:
    """Render the seeds of an artifact into a JSONL file in the folder; return its path.

    `dropped`: ids of those that are evaluated documents.
    """
    renderer = Renderer(renderings_of(recipe))
    path = folder / "seeds.jsonl"
    write_jsonl(
        path,
        (
            {"id": seed.id, "text": _text(seed, renderer)}
            for seed in read_seeds(seeds / "seeds.jsonl")
            if seed.id not in dropped
        ),
    )
    return path


def _text(seed: Seed, renderer: Renderer) -> str:
    return seed.context if seed.is_passage else renderer.render(seed_as_candidate(seed))[1]
