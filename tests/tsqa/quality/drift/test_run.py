"""`tsqa audit --against`: what it takes for the older side, and what it writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.quality_world import AuditedDataset, audited_dataset
from tsqa.cli.app import app
from tsqa.errors import DataError, TsqaError
from tsqa.release.make import make_release


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> AuditedDataset:
    return audited_dataset(tmp_path_factory.mktemp("drifted"))


def against(dataset: AuditedDataset, *arguments: str) -> dict[str, object]:
    asked = ["audit", str(dataset.recipe), "--json", "--against", *arguments]
    done = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, object] = json.loads(done.output[done.output.index("{") :])
    return found


def test_a_release_a_folder_and_a_recipe_can_be_the_older_side(
    dataset: AuditedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsqa.quality.drift.run.PERMUTATIONS", 1)
    release = make_release(dataset.pipeline, "v1").folder
    artifact = dataset.pipeline.finished("filter").path
    shutil.copytree(artifact / "dataset" / "data", tmp_path / "own" / "data")
    older = ("v1", str(release), str(artifact), str(tmp_path / "own"), str(dataset.recipe))
    for named in older:
        found = against(dataset, named)
        assert (found["new_texts"], found["old_texts"], found["shared"]) == (27, 27, 25), named
        measures = found["measures"]
        assert isinstance(measures, list) and not any(each["apart"] for each in measures)
    folder = dataset.pipeline.folder / "audit"
    page = (folder / "drift.html").read_text()
    assert "toyset, as it is now against toyset (recipe.yaml)" in page
    assert (
        "27 items against 27; those of 25 and 25 seeds were looked at, 25 of them in both" in page
    )
    assert "How heavy" not in (folder / "drift.json").read_text() + page


def test_seeds_are_compared_where_their_text_is_at_hand(
    dataset: AuditedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsqa.quality.drift.run.PERMUTATIONS", 1)
    for named in (dataset.recipe, dataset.pipeline.finished("seeds").path):
        found = against(dataset, str(named), "--seeds")
        assert (found["of"], found["new_texts"], found["shared"]) == ("seeds", 30, 30)
    make_release(dataset.pipeline, "v1")
    with pytest.raises(DataError, match="a release keeps no text of its seeds"):
        against(dataset, "v1", "--seeds")


def test_what_is_no_dataset_is_refused(dataset: AuditedDataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no curated dataset"):
        against(dataset, str(tmp_path))
    with pytest.raises(TsqaError, match="no such release"):
        against(dataset, "v9")
    part = tmp_path / "filter" / dataset.pipeline.finished("filter").fingerprint
    shutil.copytree(dataset.pipeline.finished("filter").path, part)
    next((part / "dataset" / "data").glob("*.parquet")).unlink()
    with pytest.raises(DataError, match="missing"):
        against(dataset, str(part))
    (part / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"manifest\.json: unreadable"):
        against(dataset, str(part.rename(part.with_suffix(".partial"))))
    done = CliRunner().invoke(app, ["audit", str(dataset.recipe), "--seeds"])
    assert done.exit_code and "--against" in done.output
