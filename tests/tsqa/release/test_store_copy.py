"""What is pushed to a bucket is whole or not there, and what is pulled is what was pushed."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.buckets import Bucket, memory_bucket
from tests.support.released import accepted, build, rejected, seed, write_recipe
from tests.support.sealed import reseal
from tsqa.cli import dataset
from tsqa.errors import DataError, TsqaError
from tsqa.pipeline.garbage import find_garbage
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe
from tsqa.release import store_copy
from tsqa.release.make import make_release
from tsqa.release.store_copy import (
    FETCHED,
    pull_artifacts,
    pull_release,
    push_artifacts,
    push_release,
)


@pytest.fixture
def built(tmp_path: Path) -> Pipeline:
    folder = tmp_path / "here"
    folder.mkdir()
    return build(write_recipe(folder), [seed(0), seed(1)], [accepted(0)], [rejected(1)])


def other_machine(built: Pipeline, tmp_path: Path) -> Pipeline:
    """The recipe with nothing built."""
    runs = f"runs={tmp_path / 'there'}"
    return Pipeline(load_recipe(built.origin, [runs]), built.origin, [runs])


def contents(runs: Path) -> dict[str, bytes]:
    files = {p.relative_to(runs).as_posix(): p for p in runs.rglob("*") if p.is_file()}
    return {
        name: p.read_bytes()
        for name, p in files.items()
        if "artifacts/" in name and not name.endswith((".lock", ".jsonl.tmp", "digests.jsonl"))
    }


def prefix_of(bucket: Bucket) -> str:
    return f"{bucket.url}/team/tsqa"


def test_artifacts_go_and_come_back_byte_for_byte(
    built: Pipeline, tmp_path: Path, bucket: Bucket
) -> None:
    push_artifacts(built, prefix_of(bucket), [])
    there = other_machine(built, tmp_path)
    pull_artifacts(there, f"{prefix_of(bucket)}/", [])
    assert contents(tmp_path / "there") == contents(tmp_path / "here" / "runs")
    assert there.finished("filter").summary == built.finished("filter").summary
    again = other_machine(built, tmp_path)
    pull_artifacts(again, prefix_of(bucket), [])
    assert find_garbage(tmp_path / "there", []) == []


def test_only_the_stages_that_are_named(built: Pipeline, tmp_path: Path, bucket: Bucket) -> None:
    push_artifacts(built, prefix_of(bucket), ["seeds", "filter"])
    stages = {key.split("/")[3] for key in bucket.names()}
    assert stages == {"seeds", "filter"}
    there = other_machine(built, tmp_path)
    pull_artifacts(there, prefix_of(bucket), ["seeds"])
    assert [p.name for p in (tmp_path / "there" / "artifacts").iterdir() if p.name[0] != "."] == [
        "seeds"
    ]
    with pytest.raises(TsqaError, match=r"(?s)--stage none: .*use one of: .*seeds"):
        push_artifacts(built, prefix_of(bucket), ["none"])


def test_a_manifest_is_written_last_and_nothing_is_sent_twice(
    built: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    with memory_bucket(monkeypatch) as bucket:
        push_artifacts(built, prefix_of(bucket), ["filter"])
        assert bucket.written[-1].endswith("/manifest.json")
        assert sum(key.endswith("/manifest.json") for key in bucket.written) == 1
        bucket.written.clear()
        push_artifacts(built, prefix_of(bucket), ["filter"])
        assert bucket.written == []


def test_a_push_that_was_cut_off_is_not_there_and_continues(
    built: Pipeline, tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = store_copy._send
    sent: list[str] = []

    def cut(file: Path, target: Any, count: Any) -> None:
        if len(sent) == 2:
            raise OSError("the connection was lost")
        sent.append(target.url)
        whole(file, target, count)

    monkeypatch.setattr(store_copy, "_AT_ONCE", 1)
    monkeypatch.setattr(store_copy, "_send", cut)
    with pytest.raises(OSError, match="connection was lost"):
        push_artifacts(built, prefix_of(bucket), ["filter"])
    assert not [key for key in bucket.names() if key.endswith("manifest.json")]
    with pytest.raises(TsqaError, match=r"nothing of .* is there(?s:.*)written last"):
        pull_artifacts(other_machine(built, tmp_path), prefix_of(bucket), ["filter"])
    first, sent[:] = [*sent], []
    monkeypatch.setattr(store_copy, "_send", lambda f, t, c: (sent.append(t.url), whole(f, t, c)))
    # One of them arrived short: the process died as it wrote.
    bucket.put(first[0].removeprefix(f"{bucket.url}/"), b"")
    push_artifacts(built, prefix_of(bucket), ["filter"])
    assert first[0] in sent and first[1] not in sent
    pull_artifacts(other_machine(built, tmp_path), prefix_of(bucket), ["filter"])


def test_an_object_that_is_damaged_in_the_store_is_named_and_nothing_appears(
    built: Pipeline, tmp_path: Path, bucket: Bucket
) -> None:
    push_artifacts(built, prefix_of(bucket), ["filter"])
    key = next(key for key in bucket.names() if key.endswith(".parquet"))
    good = bucket.get(key)
    bucket.put(key, good[:-1] + b"?")
    there = other_machine(built, tmp_path)
    with pytest.raises(DataError, match=rf"(?s)/{key}: damaged: not what its manifest says.*push"):
        pull_artifacts(there, prefix_of(bucket), ["filter"])
    node = next(node for node in there.nodes if node.stage == "filter")
    assert there.find(node) is None
    bucket.put(key, good)
    pull_artifacts(there, prefix_of(bucket), ["filter"])
    assert there.find(node) is not None


def test_a_pull_that_was_cut_off_fetches_the_rest_alone(
    built: Pipeline, tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_artifacts(built, prefix_of(bucket), ["filter"])
    whole = store_copy._fetch
    fetched: list[str] = []

    def cut(source: Any, *rest: Any) -> None:
        if len(fetched) == 2:
            raise OSError("the connection was lost")
        whole(source, *rest)
        fetched.append(source.url)

    monkeypatch.setattr(store_copy, "_AT_ONCE", 1)
    monkeypatch.setattr(store_copy, "_fetch", cut)
    with pytest.raises(OSError, match="connection was lost"):
        pull_artifacts(other_machine(built, tmp_path), prefix_of(bucket), ["filter"])
    first, fetched[:] = [*fetched], []
    monkeypatch.setattr(
        store_copy, "_fetch", lambda s, *rest: (fetched.append(s.url), whole(s, *rest))
    )
    pull_artifacts(other_machine(built, tmp_path), prefix_of(bucket), ["filter"])
    assert fetched and not set(first) & set(fetched)
    left = tmp_path / "there" / "artifacts" / FETCHED / "filter"
    assert not [path for path in left.iterdir() if path.is_dir()]


def test_what_another_machine_pushed_first_stays(
    built: Pipeline, tmp_path: Path, bucket: Bucket
) -> None:
    push_artifacts(built, prefix_of(bucket), ["filter"])
    before = bucket.names()
    theirs = built.finished("filter").path
    (theirs / "funnel.md").write_text("made again, at another time\n")
    reseal(theirs)
    again = Pipeline(built.recipe, built.origin, [])
    push_artifacts(again, prefix_of(bucket), ["filter"])
    assert bucket.names() == before
    lost = next(key for key in before if key.endswith(".parquet"))
    bucket.delete(lost)  # what is not whole is replaced
    push_artifacts(again, prefix_of(bucket), ["filter"])
    there = other_machine(built, tmp_path)
    pull_artifacts(there, prefix_of(bucket), ["filter"])
    assert (there.finished("filter").path / "funnel.md").read_text().startswith("made again")


def test_two_pushes_and_two_pulls_at_once(built: Pipeline, tmp_path: Path, bucket: Bucket) -> None:
    failures: list[Exception] = []

    def run(work: Any, *given: Any) -> threading.Thread:
        def attempt() -> None:
            try:
                work(*given)
            except Exception as error:  # noqa: BLE001 - looked at below
                failures.append(error)

        thread = threading.Thread(target=attempt)
        thread.start()
        return thread

    for thread in [run(push_artifacts, built, prefix_of(bucket), ["filter"]) for _ in range(2)]:
        thread.join()
    two = [other_machine(built, tmp_path) for _ in range(2)]
    for thread in [run(pull_artifacts, one, prefix_of(bucket), ["filter"]) for one in two]:
        thread.join()
    assert failures == []
    assert two[0].finished("filter").manifest == built.finished("filter").manifest


def test_a_manifest_that_is_damaged_or_leads_elsewhere_is_refused(
    built: Pipeline, tmp_path: Path, bucket: Bucket
) -> None:
    push_artifacts(built, prefix_of(bucket), ["filter"])
    key = next(key for key in bucket.names() if key.endswith("/manifest.json"))
    good = bucket.get(key)
    for bad, said in [
        (b"{", "damaged"),
        (good.replace(b'"dataset/README.md"', b'"../../x.md"'), "leads out of its folder"),
        (good.replace(b'"curated": 1', b'"curated": 9'), "changed since it was written"),
    ]:
        assert bad != good
        bucket.put(key, bad)
        with pytest.raises(DataError, match=said):
            pull_artifacts(other_machine(built, tmp_path), prefix_of(bucket), ["filter"])
        shutil.rmtree(tmp_path / "there", ignore_errors=True)


def test_a_release_goes_and_comes_back(built: Pipeline, tmp_path: Path, bucket: Bucket) -> None:
    folder = make_release(built, "v1.0").folder
    push_release(folder, prefix_of(bucket))
    push_release(folder, prefix_of(bucket))
    runs = tmp_path / "there"
    for _ in range(2):
        pulled = pull_release(runs, "toyset", "v1.0", prefix_of(bucket))
        assert pulled == runs / "releases" / "toyset" / "v1.0"
    files = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.suffix}
    assert files == {
        p.relative_to(pulled): p.read_bytes() for p in pulled.rglob("*") if p.is_file()
    }
    with pytest.raises(TsqaError, match="v2: no such release"):
        pull_release(runs, "toyset", "v2", prefix_of(bucket))


def test_another_release_of_the_name_is_refused(
    built: Pipeline, tmp_path: Path, bucket: Bucket
) -> None:
    push_release(make_release(built, "v1").folder, prefix_of(bucket))
    shutil.rmtree(built.folder.parent / "releases")
    other = build(built.origin, [seed(3)], [accepted(3)], overrides=["seeds.seed=1"])
    folder = make_release(other, "v1").folder
    with pytest.raises(DataError, match="v1: another release of this name"):
        push_release(folder, prefix_of(bucket))
    with pytest.raises(DataError, match="v1: another release of this name"):
        pull_release(built.folder.parent, "toyset", "v1", prefix_of(bucket))


def test_the_commands_say_what_they_do_not_take(built: Pipeline, bucket: Bucket) -> None:
    recipe = built.origin
    with pytest.raises(TsqaError, match="--private and --public are of the hub"):
        dataset.push(recipe, prefix_of(bucket), private=True)
    with pytest.raises(TsqaError, match="--stage: the hub takes the dataset alone"):
        dataset.push(recipe, "me/data", stage=["filter"], private=True)
    dataset.push(recipe, prefix_of(bucket), stage=["filter"])
    dataset.pull(recipe, prefix_of(bucket), stage=["filter"])
    with pytest.raises(TsqaError, match=r"only s3:// and gs:// can be written to"):
        dataset.push(recipe, "https://127.0.0.1:9/x")


@pytest.mark.parametrize("url", ["s3", "bucket/prefix", "s3:/bucket/x", "s3://", "file:///x"])
def test_what_is_no_address_is_told_where_something_is_fetched(built: Pipeline, url: str) -> None:
    with pytest.raises(TsqaError, match="name a bucket, such as s3://"):
        pull_artifacts(built, url, [])
