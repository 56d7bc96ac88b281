"""A recipe's results as pandas frames, for scripts and notebooks: `from tsqa import run, deltas`.

Each function takes what its command takes: the path of a recipe, and overrides. `deltas` and
`dataset` read finished artifacts and start nothing.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from tsqa.curated.files import read_curated, read_rejected
from tsqa.errors import RecipeError
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe


def run(recipe: str | Path, *overrides: str) -> pd.DataFrame:
    """Run every stage that is not yet done, and write the report, as `tsqa run` does.

    A row for each stage, by its label: fingerprint, folder, when it was made, whether this call
    ran it, and its summary.
    """
    from tsqa.ablation.wandb_summary import report_run

    pipeline = _open(recipe, overrides)
    made = pipeline.run()
    report_run(pipeline)
    rows = {
        label: {
            "stage": artifact.manifest.stage,
            "fingerprint": artifact.fingerprint,
            "path": str(artifact.path),
            "created": pd.Timestamp(artifact.manifest.created),
            "ran": artifact.fingerprint in pipeline.ran,
            "summary": artifact.summary,
        }
        for label, artifact in made.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("label")


def deltas(recipe: str | Path, *overrides: str) -> pd.DataFrame:
    """The rows of `deltas.csv`: each comparison and task, then parts of the macro average.

    Scores are shares of 1.

    `attrs["conclusion"]` says it in words, and `attrs["control"]` names the control.
    """
    from eval.compare.stage import read_deltas

    table = read_deltas(_open(recipe, overrides).finished("compare"))
    frame = pd.DataFrame([asdict(row) for row in table.all_rows])
    frame.attrs = {"conclusion": table.conclusion, "control": table.control}
    return frame


def dataset(recipe: str | Path, *overrides: str, rejected: bool = False) -> pd.DataFrame:
    """The items that the filters kept, or those they dropped and why.

    `scores`, `lineage` and `record` are JSON texts.
    """
    folder = _open(recipe, overrides).finished("filter").path
    rows = read_rejected(folder) if rejected else read_curated(folder)
    return pd.DataFrame([vars(row) for row in rows])


def _open(recipe: str | Path, overrides: tuple[str, ...]) -> Pipeline:
    if not all(isinstance(one, (str, Path)) for one in (recipe, *overrides)):
        raise RecipeError(
            "expected the path of a recipe and overrides as texts",
            'write run("recipe.yaml", "train.lr=1e-3")',
        )
    path = Path(recipe)
    return Pipeline(load_recipe(path, overrides), path, list(overrides))
