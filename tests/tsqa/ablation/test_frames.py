"""Results as frames: `from tsqa import ...`, and the notebook that uses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from eval.deltas import DELTAS, DeltaTable
from eval.statistics import stats
from tests.support.curated_rows import curated_row, rejected_row
from tests.support.invented_arms import deltas_of, evaluated
from tests.support.paths import REPOSITORY
from tests.support.sealed import seal_artifact
from tsqa import Recipe, dataset, deltas, run
from tsqa.curated.files import DatasetWriter
from tsqa.errors import RecipeError, TsqaError
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe
from tsqa.store.jsonl import write_json

RECIPE = "recipes/quickstart/recipe.yaml"
NOTEBOOK = REPOSITORY / "recipes" / "quickstart" / "explore.ipynb"
RATES = {"day": 0.2, "unit": 0.2}


@pytest.fixture(scope="module")
def table() -> DeltaTable:
    found = deltas_of(
        evaluated("base", RATES),
        evaluated("synthetic=0", RATES),
        evaluated("synthetic=0.5", {"day": 0.5, "unit": 0.2}),
        control="synthetic=0",
    )
    part = replace(found.rows[-1], task=stats.macro_name(stats.SEEDED))
    return replace(found, split=[part])


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: DeltaTable) -> DeltaTable:
    """A folder with the quickstart's last artifacts, as if it had run there."""
    (tmp_path / "recipes").symlink_to(REPOSITORY / "recipes")
    monkeypatch.chdir(tmp_path)
    pipeline = Pipeline(load_recipe(Path(RECIPE)), Path(RECIPE), [])
    for node in pipeline.nodes:
        folder = Path("runs", "artifacts", node.stage, node.fingerprint)
        if node.stage == "filter" and node.recipe.name == "quickstart":
            with DatasetWriter(folder) as writer:
                writer.curated(curated_row(1))
                writer.curated(curated_row(2))
                writer.rejected(rejected_row(3))
        elif node.stage == "compare":
            folder.mkdir(parents=True)
            write_json(folder / DELTAS, table.to_json())
        else:
            continue
        seal_artifact(folder)
    return table


def test_deltas_are_a_row_for_each_comparison_and_task_and_part(finished: DeltaTable) -> None:
    frame = deltas(RECIPE)
    assert list(frame.columns) == list(vars(finished.rows[0]))
    rows = [{**vars(row), "p_mcnemar": 0} for row in (*finished.rows, *finished.split)]
    assert frame.assign(p_mcnemar=0).to_dict("records") == rows
    missing = [row.p_mcnemar is None for row in finished.all_rows]
    assert list(frame["p_mcnemar"].isna()) == missing
    assert frame.attrs == {"conclusion": finished.conclusion, "control": "synthetic=0"}


def test_the_dataset_is_a_row_for_each_item(finished: DeltaTable) -> None:
    assert dataset(RECIPE).to_dict("records") == [vars(curated_row(n)) for n in (1, 2)]
    assert list(dataset(RECIPE, rejected=True)["id"]) == [rejected_row(3).id]


def test_what_is_not_built_names_the_command(finished: DeltaTable) -> None:
    with pytest.raises(TsqaError, match=r"compare is not built\n  fix: tsqa compare recipes/"):
        deltas(RECIPE, "eval.bootstrap=200")


def test_run_gives_a_row_for_each_stage(tmp_path: Path) -> None:
    text = "name: small\ndata: {builder: miniature, train_per_family: 4, test_per_family: 4}\n"
    runs = json.dumps(str(tmp_path / "runs"))
    (tmp_path / "recipe.yaml").write_text(f"{text}runs: {runs}\ntracking: {{mode: disabled}}\n")
    first = run(tmp_path / "recipe.yaml")
    assert list(first.index) == ["data"] and list(first["ran"]) == [True]
    assert Path(first.loc["data", "path"], "manifest.json").is_file()
    again = run(tmp_path / "recipe.yaml")
    assert list(again["ran"]) == [False]
    assert again.loc["data", "fingerprint"] == first.loc["data", "fingerprint"]


def test_a_recipe_is_read_as_the_commands_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    recipe = Recipe.load(RECIPE, "train.lr=1e-3")
    assert recipe == load_recipe(Path(RECIPE), ["train.lr=1e-3"])
    with pytest.raises(RecipeError, match=r"did you mean `train\.lr`"):
        Recipe.load(RECIPE, "lr=1e-3")
    with pytest.raises(RecipeError, match="expected the path of a recipe"):
        run(recipe)  # type: ignore[arg-type]


def test_importing_tsqa_loads_nothing_else() -> None:
    code = "import sys, tsqa; print(sorted({'pandas', 'torch', 'pydantic'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_notebook_runs(finished: DeltaTable, capsys: pytest.CaptureFixture[str]) -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") for cell in cells), "committed without results"
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)  # as Jupyter would, but for what a cell shows
    printed = capsys.readouterr().out
    assert finished.conclusion in printed and "2 items kept, 1 dropped" in printed
    figure = names["figure"]
    drawn = {trace.name: list(trace.y) for trace in figure.data}  # type: ignore[attr-defined]
    assert drawn.keys() == {"synthetic=0.5"}
    expected = [100 * row.delta for row in finished.all_rows if row.against == "synthetic=0"]
    assert drawn["synthetic=0.5"] == pytest.approx(expected)
