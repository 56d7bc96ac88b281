"""A release is whole, never overwritten, read back by `tsqa verify`, and says what it lacks."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.released import accepted, build, rejected, seed, write_recipe
from tests.support.sealed import reseal
from tsqa.errors import DataError, RecipeError, TsqaError
from tsqa.recipe import load_recipe
from tsqa.release.check import check_release, require_good
from tsqa.release.data_sheet import SizesOfRelease, tasks_of_library
from tsqa.release.make import make_release
from tsqa.release.records import read_release
from tsqa.release.sides import find_release


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path)


def test_a_release_holds_the_dataset_hashes_recipe_lock_licences_and_lineage(
    recipe: Path,
) -> None:
    pipeline = build(recipe, [seed(0), seed(1)], [accepted(0)], [rejected(1)])
    made = make_release(pipeline, "v1")
    assert made.is_new and made.folder == recipe.parent / "runs" / "releases" / "toyset" / "v1"
    filtered = pipeline.finished("filter").path
    data = "dataset/data/train-00000.parquet"
    assert (made.folder / data).read_bytes() == (filtered / data).read_bytes()
    for name, file in made.release.files.items():
        content = (made.folder / name).read_bytes()
        assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    there = {p.relative_to(made.folder).as_posix() for p in made.folder.rglob("*") if p.is_file()}
    assert there == {*made.release.files, "manifest.json"}
    assert "pydantic==" in (made.folder / "packages.txt").read_text()
    assert "name: toyset" in (made.folder / "recipe.yaml").read_text()
    lines = (made.folder / "lineage" / "candidates.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == ["", "agreement"]
    assert read_release(made.folder) == made.release
    assert (made.release.seeds, made.release.candidates, made.release.items) == (2, 2, 1)


def test_the_same_content_is_already_released_and_another_is_refused(recipe: Path) -> None:
    first = make_release(build(recipe, [seed(0)], [accepted(0)]), "v1")
    again = make_release(build(recipe, [seed(0)], [accepted(0)]), "v1")
    assert not again.is_new and again.release == first.release
    other = build(
        recipe, [seed(0), seed(1)], [accepted(0), accepted(1)], overrides=["seeds.seed=1"]
    )
    with pytest.raises(DataError, match=r"(?s)other content: .*1 items of 1 seeds; now 2 of 2"):
        make_release(other, "v1")
    assert read_release(first.folder) == first.release
    assert [p.name for p in first.folder.parent.iterdir() if p.is_dir()] == ["v1"]


def test_another_licence_is_other_content(recipe: Path) -> None:
    pipeline = build(recipe, [seed(0)], [accepted(0)])
    make_release(pipeline, "v1")
    changed = build(
        recipe, [seed(0)], [accepted(0)], overrides=["generate.teacher.model.licence=llama3.1"]
    )
    with pytest.raises(DataError, match=r"other content: licences\.json \("):
        make_release(changed, "v1")


def test_what_a_killed_release_left_is_no_part_of_the_next(recipe: Path) -> None:
    left = recipe.parent / "runs" / "releases" / "toyset" / "v1.partial"
    (left / "dataset").mkdir(parents=True)
    (left / "dataset" / "half.parquet").write_text("torn")
    made = make_release(build(recipe, [seed(0)], [accepted(0)]), "v1")
    assert not left.exists() and not (made.folder / "dataset" / "half.parquet").exists()
    assert check_release(made.folder).damage == []


@pytest.mark.parametrize("damage", ["changed", "missing", "extra", "hidden", "manifest"])
def test_a_damaged_release_is_named_file_by_file(recipe: Path, damage: str) -> None:
    pipeline = build(recipe, [seed(0)], [accepted(0)])
    folder = make_release(pipeline, "v1").folder
    file = folder / "dataset" / "data" / "train-00000.parquet"
    if damage == "changed":
        content = bytearray(file.read_bytes())
        content[20] ^= 1
        file.chmod(0o644)
        file.write_bytes(content)
    elif damage == "missing":
        file.unlink()
    elif damage == "extra":
        (folder / "more.txt").write_text("x")
    elif damage == "hidden":
        (folder / ".nfs0").write_text("not pushed")
        (folder / "dataset" / ".more").write_text("x")
    else:
        (folder / "manifest.json").chmod(0o644)
        text = (folder / "manifest.json").read_text()
        (folder / "manifest.json").write_text(text.replace('"items": 1', '"items": 2'))
    named = {"extra": "more.txt", "hidden": ".more", "manifest": "manifest.json"}.get(
        damage, str(file.name)
    )
    (found,) = check_release(folder).damage
    assert found.file.endswith(named)
    with pytest.raises(DataError, match=named):
        require_good(folder)
    with pytest.raises(DataError, match=named):  # not "already released"
        make_release(pipeline, "v1")


def test_a_release_under_another_name_is_no_version_of_that_name(recipe: Path) -> None:
    import shutil

    folder = make_release(build(recipe, [seed(0)], [accepted(0)]), "v1").folder
    shutil.copytree(folder, folder.with_name("v2"))
    shutil.copytree(folder, recipe.parent / "elsewhere")
    (found,) = check_release(folder.with_name("v2")).damage
    assert found.reason == "of another release: toyset v1"
    assert check_release(recipe.parent / "elsewhere").damage == []


def test_verify_reads_releases_beside_artifacts_and_alone(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import typer

    from tsqa.cli.checks import verify

    folder = make_release(build(recipe, [seed(0)], [accepted(0)]), "v1").folder
    verify(recipe.parent / "runs")
    shown = capsys.readouterr()
    assert "3 artifacts good" in shown.err + shown.out
    assert "1 releases good, 0 damaged" in shown.err + shown.out
    (folder / "recipe.yaml").chmod(0o644)
    (folder / "recipe.yaml").write_text("name: another\n")
    with pytest.raises(typer.Exit):
        verify(folder)


def test_the_licences_of_seeds_and_teachers_are_stated_with_what_they_imply(recipe: Path) -> None:
    seeds = [seed(0), seed(1, licence=""), seed(2, licence="Terms of X")]
    release = make_release(build(recipe, seeds, [accepted(0), accepted(1)]), "v1").release
    found = {(part.kind, part.shown, part.items) for part in release.licences}
    assert found == {
        ("seeds", "CC-BY-SA-4.0", 1),
        ("seeds", "not stated", 1),
        ("seeds", "Terms of X", 0),
        ("teacher", "Apache-2.0", 2),
    }
    assert "not stated" in release.implied[0] and "Terms of X" in release.implied[0]
    assert any("the licence of toy (not stated), toy (Terms of X)" in gap for gap in release.gaps)


def test_the_recipe_states_a_licence_where_the_dataset_does_not(recipe: Path) -> None:
    seeds = [seed(0, licence=""), seed(1)]
    given = ["seeds.licences={'to*': mit}"]
    release = make_release(build(recipe, seeds, [accepted(0)], overrides=given), "v1").release
    assert [(part.id, part.said_by) for part in release.licences] == [
        ("MIT", "the recipe"),
        ("CC-BY-SA-4.0", "the dataset"),
        ("Apache-2.0", "the recipe"),
    ]


HEADINGS = [
    "1. General information",
    "1.1 Provider identification",
    "1.2 Model identification",
    "1.3 Modalities, overall training data size and other characteristics",
    "2. List of data sources",
    "2.1 Publicly available datasets",
    "2.2 Private non-publicly available datasets obtained from third parties",
    "2.2.1 Datasets commercially licensed by rightsholders or their representatives",
    "2.2.2 Private datasets obtained from other third parties",
    "2.3 Data crawled and scraped from online sources",
    "2.4 User data",
    "2.5 Synthetic data",
    "2.6 Other sources of data",
    "3. Data processing aspects",
    "3.1 Respect of reservation of rights from text and data mining exception or limitation",
    "3.2 Removal of illegal content",
    "3.3 Other information",
    "What else is not known",
]
"""Those of the EU's template, and one of our own."""


@pytest.mark.parametrize(
    ("words", "bytes_", "size"),
    [
        (10, 60, "less than 1 billion tokens"),
        (10**9, 6 * 10**9, "1 billion to 10 trillion tokens"),
        (10**8, 10**9, "less than 1 billion tokens or 1 billion to 10 trillion tokens"),
        (10**13 + 1, 10**14, "more than 10 trillion tokens"),
    ],
)
def test_the_size_is_told_by_the_ranges_of_the_template(words: int, bytes_: int, size: str) -> None:
    assert SizesOfRelease(spaced=words, bytes=bytes_).size == size


def test_the_data_sheet_says_what_is_known_and_what_is_missing(recipe: Path) -> None:
    made = make_release(build(recipe, [seed(0)], [accepted(0)]), "v1")
    sheet = (made.folder / "DATA_SHEET.md").read_text()
    assert [line.lstrip("# ") for line in sheet.splitlines() if line.startswith("##")] == HEADINGS
    assert "| teacher-7b | Apache-2.0 | the recipe | attribution |" in sheet
    assert "| toy | own dataset | org/toy | abc | train | cc-by-sa-4.0 | 1 |" in sheet
    assert "less than 1 billion tokens" in sheet and "CC-BY-SA-4.0" in sheet
    assert sheet.count("**Missing:**") >= 8
    assert str(recipe.parent) not in sheet


def test_only_tasks_of_the_library_are_known_to_be_public(tmp_path: Path) -> None:
    columns = {"question": "q", "answer": "a"}
    own = {"name": "toy", "path": str(tmp_path / "own.jsonl"), "columns": columns}
    given = {"tasks": ["gsm8k"], "datasets": [own]}
    recipe = load_recipe(write_recipe(tmp_path, seeds=given), [])
    assert tasks_of_library(recipe, ["gsm8k", "toy"]) == {"gsm8k"}
    given["include"] = str(tmp_path / "tasks")
    recipe = load_recipe(write_recipe(tmp_path, seeds=given), [])
    assert tasks_of_library(recipe, ["gsm8k", "toy"]) == set()


@pytest.mark.parametrize("name", ["", "a/b", "..", "v1.partial", "v1.lock", "v 1", "-v"])
def test_a_version_has_the_name_of_a_folder(recipe: Path, name: str) -> None:
    pipeline = build(recipe, [seed(0)], [accepted(0)])
    with pytest.raises(RecipeError, match="version"):
        make_release(pipeline, name)


def test_a_release_is_found_by_its_version_name_or_folder(recipe: Path) -> None:
    folder = make_release(build(recipe, [seed(0)], [accepted(0)]), "v1").folder
    runs = recipe.parent / "runs"
    for named in ("v1", "toyset/v1", str(folder)):
        assert find_release(runs, named) == folder
    with pytest.raises(TsqaError, match=r"v2: no such release .*\n  fix: there are: toyset/v1"):
        find_release(runs, "v2")


def test_a_dataset_whose_candidates_are_gone_is_not_released(recipe: Path) -> None:
    pipeline = build(recipe, [seed(0)], [accepted(0)])
    filtered = pipeline.finished("filter")
    reseal(filtered.path, inputs={**filtered.manifest.inputs, "generate": "0" * 16})
    with pytest.raises(DataError, match="its generate artifact 0000000000000000 is gone"):
        make_release(pipeline, "v1")


def test_tracking_gets_the_release_by_reference(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tsqa.release import make

    logged = []

    class Spy(make.Tracker):
        def artifact(self, *arguments: object) -> None:
            logged.append(arguments)

    monkeypatch.setattr(make, "Tracker", Spy)
    pipeline = build(recipe, [seed(0)], [accepted(0)])
    made = make_release(pipeline, "v1")
    ((path, kind, mark, inputs),) = logged
    assert (path, kind, mark) == (made.folder, "release", "toyset-v1")
    assert isinstance(inputs, dict) and set(inputs) == {"seeds", "generate", "filter"}
    make_release(pipeline, "v1")
    assert len(logged) == 1


def test_a_resolved_recipe_holds_no_secret(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-verysecretvalue1")
    pipeline = build(
        recipe,
        [seed(0)],
        [accepted(0)],
        overrides=["generate.teacher.urls=['http://u:sk-verysecretvalue1@127.0.0.1:9/v1']"],
    )
    made = make_release(pipeline, "v1")
    for file in made.folder.rglob("*"):
        if file.is_file():
            assert b"sk-verysecretvalue1" not in file.read_bytes(), file
    assert replace(made.release, seal="") != made.release


def test_a_release_is_pushed_as_it_was_made(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tsqa.cli import dataset
    from tsqa.curated import push

    pushed: list[object] = []
    monkeypatch.setattr(push, "push", lambda *arguments: pushed.append(arguments) or "url")
    folder = make_release(build(recipe, [seed(0)], [accepted(0)]), "v1").folder
    dataset.push(recipe, "me/toyset", private=True, version="v1")
    assert pushed == [(folder, "me/toyset", True, None)]
    (folder / "recipe.yaml").unlink()
    with pytest.raises(DataError, match=r"recipe\.yaml: missing"):
        dataset.push(recipe, "me/toyset", private=True, version="v1")
    assert len(pushed) == 1
