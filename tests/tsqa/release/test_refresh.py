"""A run over grown sources asks only for what is new since a release."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.support.generation import FakeEngine, artifact, generate_section, make_context, opened
from tests.tsqa.generate.test_stage import teacher
from tsqa.errors import RecipeError
from tsqa.generate import stage as generate
from tsqa.recipe import SeedsSection
from tsqa.records.kept_seeds import KEPT, lineage_of
from tsqa.release.check import hash_files
from tsqa.release.outcomes import seed_lines
from tsqa.seeds import stage as seeds
from tsqa.store.jsonl import read_jsonl, write_jsonl

PER_SEED = 2


def write_source(folder: Path, numbers: list[int]) -> None:
    rows = ({"key": f"k{n}", "q": f"What is thing {n}?", "a": f"it is {n}"} for n in numbers)
    write_jsonl(folder / "own.jsonl", rows)


def make_seeds(folder: Path, name: str, refresh: str | None = None, **keys: Any) -> dict[str, Any]:
    columns = {"question": "q", "answer": "a", "id": "key"}
    own = {"name": "toy", "path": str(folder / "own.jsonl"), "columns": columns}
    section = SeedsSection.model_validate({"datasets": [own], "refresh": refresh, **keys})
    return seeds.run(make_context(folder / name, {}, seeds=section))


def write_manifest(release: Path) -> None:
    """What a manifest says of the files."""
    files = {name: asdict(found) for name, found in hash_files(release).items()}
    (release / "manifest.json").write_text(json.dumps({"files": files}))


def release(folder: Path, name: str) -> str:
    """The lineage of a release of these seeds."""
    lineage = folder / f"release-{name}" / "lineage"
    lineage.mkdir(parents=True)
    write_jsonl(lineage / "seeds.jsonl", map(asdict, seed_lines(artifact(folder / name))))
    if (folder / name / KEPT).is_file():
        shutil.copyfile(folder / name / KEPT, lineage / KEPT)
    write_manifest(lineage.parent)
    return str(lineage.parent)


def ask(folder: Path, name: str) -> int:
    """Generate from these seeds beside earlier artifacts; how many requests were asked."""
    out, engine = folder / "generate" / f"{name}.partial", FakeEngine()
    context = make_context(
        out,
        {"seeds": artifact(folder / name)},
        generate=generate_section(teacher=teacher("fake"), per_seed=PER_SEED),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tsqa.teachers.client.open_engine", lambda *_: opened(engine))
        generate.run(context)
    out.rename(out.with_suffix(""))
    return engine.asked


def candidates(folder: Path, name: str) -> dict[str, Any]:
    path = folder / "generate" / name / "candidates.jsonl"
    # `revision` is the hash of the grown file.
    return {each["id"]: {**each, "revision": ""} for each in read_jsonl(path)}


def expected(folder: Path, name: str, new: set[str]) -> int:
    """The requests that the candidates of these seeds took."""
    made = candidates(folder, name).values()
    return sum(1 + len(each["votes"]) for each in made if each["seed_id"] in new)


def test_only_new_seeds_are_asked_about_over_two_refreshes(tmp_path: Path) -> None:
    write_source(tmp_path, [*range(6)])
    make_seeds(tmp_path, "v1")
    ask(tmp_path, "v1")
    first = candidates(tmp_path, "v1")
    write_source(tmp_path, [20, *range(3), 21, *range(3, 6)])  # not at the end alone
    summary = make_seeds(tmp_path, "v2", release(tmp_path, "v1"))
    assert summary["taken_from_release"] == {"toy": 6} and summary["seeds"] == 8
    assert ask(tmp_path, "v2") == expected(tmp_path, "v2", {"toy-k20", "toy-k21"}) > 0
    second = candidates(tmp_path, "v2")
    assert {name: second[name] for name in first} == first
    write_source(tmp_path, [30, 20, *range(3), 21, *range(3, 6), 31])
    make_seeds(tmp_path, "v3", release(tmp_path, "v2"))
    assert json.loads((tmp_path / "v3" / KEPT).read_text()) == {"toy": [6, 8]}
    assert ask(tmp_path, "v3") == expected(tmp_path, "v3", {"toy-k30", "toy-k31"}) > 0
    third = candidates(tmp_path, "v3")
    assert {name: third[name] for name in second} == second


def test_without_a_refresh_grown_seeds_change_what_old_ones_show(tmp_path: Path) -> None:
    write_source(tmp_path, [*range(6)])
    make_seeds(tmp_path, "v1")
    ask(tmp_path, "v1")
    write_source(tmp_path, [*range(8)])
    make_seeds(tmp_path, "v2")
    assert ask(tmp_path, "v2") > expected(tmp_path, "v2", {"toy-k6", "toy-k7"})


def test_seeds_of_the_release_come_before_new_ones_where_a_bound_holds_few(tmp_path: Path) -> None:
    write_source(tmp_path, [*range(40)])
    make_seeds(tmp_path, "v1", max_per_task=10)
    old = [seed["id"] for seed in read_jsonl(tmp_path / "v1" / "seeds.jsonl")]
    write_source(tmp_path, [*range(200)])
    make_seeds(tmp_path, "v2", release(tmp_path, "v1"), max_per_task=15)
    new = [seed["id"] for seed in read_jsonl(tmp_path / "v2" / "seeds.jsonl")]
    assert new[:10] == old and len(new) == 15


def test_a_seed_that_is_gone_or_changed_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_source(tmp_path, [*range(6)])
    make_seeds(tmp_path, "v1")
    write_source(tmp_path, [0, 1, 2, 4, 5])
    summary = make_seeds(tmp_path, "v2", release(tmp_path, "v1"))
    assert summary["taken_from_release"] == {"toy": 5}
    told = " ".join(capsys.readouterr().err.split())
    assert "1 of 6 seeds of toy in the release are gone" in told


@pytest.mark.parametrize("damage", ["cut off", "without its levels", "without its manifest"])
def test_a_release_that_lost_a_part_is_not_taken_for_whole(tmp_path: Path, damage: str) -> None:
    write_source(tmp_path, [*range(6)])
    make_seeds(tmp_path, "v1")
    make_seeds(tmp_path, "v2", release(tmp_path, "v1"))
    made = Path(release(tmp_path, "v2"))
    if damage == "cut off":
        file = made / "lineage" / "seeds.jsonl"
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:4]))
    else:
        (made / ("lineage/kept.json" if "levels" in damage else "manifest.json")).unlink()
    with pytest.raises(RecipeError, match=r"lineage/\w+\.json.* is not as the release wrote it"):
        make_seeds(tmp_path, "v3", str(made))


def test_a_source_of_another_name_is_said_and_refused_where_it_is_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_source(tmp_path, [*range(6)])
    make_seeds(tmp_path, "v1")
    made = Path(release(tmp_path, "v1"))
    seeds = made / "lineage" / "seeds.jsonl"
    whole = seeds.read_text()
    renamed = whole.replace('"task": "toy"', '"task": "old"')
    seeds.write_text(whole + renamed)
    write_manifest(made)
    assert make_seeds(tmp_path, "v2", str(made))["taken_from_release"] == {"toy": 6}
    told = " ".join(capsys.readouterr().err.split())
    assert "6 seeds of old in the release are of no source now" in told
    seeds.write_text(renamed)
    write_manifest(made)
    with pytest.raises(RecipeError, match="it has seeds of old alone"):
        make_seeds(tmp_path, "v3", str(made))


def test_a_folder_that_is_no_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"seeds\.refresh = .*: no release"):
        lineage_of(str(tmp_path))
