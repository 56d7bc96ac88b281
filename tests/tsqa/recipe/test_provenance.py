"""Nothing counts as people's text unless it is said; a mixture below a floor is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.sealed import seal_artifact
from tsqa.errors import RecipeError
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import check_floors, generation_shares, load_recipe, origins_of

HUMAN = {"path": "web.jsonl", "made_by": "people", "family": "web"}
THEIRS = {"path": "math.jsonl", "made_by": "big-70b", "generation": 2, "family": "math"}


def write_recipe(folder: Path, name: str, teacher: dict[str, Any], **mixture: Any) -> Path:
    served = {"engine": "openai", "urls": ["http://127.0.0.1:9"]} if "path" in teacher else {}
    sources = mixture.pop("sources", {"web": HUMAN, "own": {"from": "filter", "family": "math"}})
    ratios = mixture.pop("ratios", {"web": 0.75, "own": 0.25})
    (folder / "web.jsonl").write_text('{"text": "one"}\n')
    (folder / "math.jsonl").write_text('{"text": "two"}\n')
    tree = {
        "name": name,
        "runs": str(folder / "runs"),
        "seeds": {"tasks": ["gsm8k"]},
        "generate": {"teacher": {"model": teacher, **served}},
        "filter": {},
        "model": {"config": {"model_type": "nemotron"}},
        "tokenizer": {"train_on": [str(folder / "web.jsonl")]},
        "mixture": {
            "sources": {
                key: {**value, **({"path": str(folder / value["path"])} if "path" in value else {})}
                for key, value in sources.items()
            },
            "phases": [{"tokens": "1M", "ratios": ratios}],
            **mixture,
        },
        "train": {"sequence_length": 8, "global_batch_tokens": 64, "lr": 1e-3},
        "eval": {"tasks": ["gsm8k"]},
        "tracking": {"mode": "disabled"},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_each_generation_is_one_more_than_what_its_teacher_was_trained_on(tmp_path: Path) -> None:
    made_by, found = "outside", []
    path = write_recipe(tmp_path, "first", {"path": "outside"})
    for name in ("second", "third"):
        own = {origin.source: origin for origin in origins_of(load_recipe(path))}["own"]
        found.append((own.generation, own.made_by))
        path = write_recipe(tmp_path, name, {"recipe": str(path)})
    own = {origin.source: origin for origin in origins_of(load_recipe(path))}["own"]
    found.append((own.generation, own.made_by))
    assert found == [(1, made_by), (2, "first"), (3, "second")]


def test_a_model_from_elsewhere_may_say_what_it_was_trained_on(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "first", {"path": "outside", "generation": 3})
    found = {origin.source: origin.generation for origin in origins_of(load_recipe(path))}
    assert found == {"web": 0, "own": 4}


def test_shares_are_by_generation_over_all_phases(tmp_path: Path) -> None:
    sources = {"web": HUMAN, "math": THEIRS, "own": {"from": "filter"}, "x": {"path": "web.jsonl"}}
    ratios = {"web": 0.4, "math": 0.3, "own": 0.2, "x": 0.1}
    path = write_recipe(tmp_path, "mixed", {"path": "t"}, sources=sources, ratios=ratios)
    shares = generation_shares(origins_of(load_recipe(path)))
    assert list(shares) == ["people", "generation 1", "generation 2", "not declared"]
    assert list(shares.values()) == pytest.approx([0.4, 0.2, 0.3, 0.1])


def test_a_part_of_a_source_was_made_by_whoever_made_the_source(tmp_path: Path) -> None:
    parts: dict[str, Any] = {
        "near": {"nearest": {"pool": "math"}, "size_of": "own"},
        "some": {"subset_of": "math", "size_of": "own"},
    }
    sources = {"math": THEIRS, "own": {"from": "filter"}, **parts}
    ratios = {"near": 0.5, "some": 0.25, "own": 0.25}
    path = write_recipe(tmp_path, "parts", {"path": "t"}, sources=sources, ratios=ratios)
    found = {o.source: (o.made_by, o.generation, o.family) for o in origins_of(load_recipe(path))}
    assert found["near"] == found["some"] == found["math"] == ("big-70b", 2, "math")


def test_a_mixture_below_its_floor_is_refused_with_its_numbers(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "low", {"path": "t"}, human_floor=0.8)
    with pytest.raises(
        RecipeError,
        match=r"human_floor is 80\.00%, but people wrote 75\.00% of its tokens: web 75\.00% "
        r"\(people\), own 25\.00% \(t\)",
    ):
        check_floors(load_recipe(path))
    check_floors(load_recipe(path, ["mixture.human_floor=0.75"]))


def test_a_family_has_a_floor_of_its_own(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "math", {"path": "t"}, human_floors={"math": 0.1, "web": 1.0})
    with pytest.raises(RecipeError, match=r"floors\.math is 10\.00%, but people wrote 0\.00%"):
        check_floors(load_recipe(path))


def test_what_is_not_declared_cannot_pass_a_floor(tmp_path: Path) -> None:
    sources = {"web": {"path": "web.jsonl"}, "own": {"from": "filter"}}
    path = write_recipe(tmp_path, "silent", {"path": "t"}, sources=sources, human_floor=0.1)
    with pytest.raises(RecipeError, match=r"who made web is not declared\n.*made_by: people"):
        check_floors(load_recipe(path))


def test_every_arm_is_held_to_the_floor(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "arms", {"path": "t"}, human_floor=0.6)
    ablation = "ablation={axes: {mixture.own: [0, 0.5]}, control: {mixture.own: 0}}"
    pipeline = Pipeline(load_recipe(path, [ablation]), path, [ablation])
    with pytest.raises(RecipeError, match=r"arm own=0\.5: mixture\.human_floor is 60\.00%"):
        pipeline.check_floors()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"path": "web.jsonl", "made_by": "people", "generation": 1}, "go together"),
        ({"path": "web.jsonl", "made_by": "m"}, "go together"),
        ({"path": "web.jsonl", "generation": 1}, "go together"),
        ({"from": "filter", "made_by": "people"}, "is known of a source with `from: filter`"),
    ],
)
def test_what_contradicts_itself_is_refused(
    tmp_path: Path, source: dict[str, Any], said: str
) -> None:
    path = write_recipe(tmp_path, "wrong", {"path": "t"}, sources={"a": source}, ratios={"a": 1.0})
    with pytest.raises(RecipeError, match=said):
        load_recipe(path)


def test_a_floor_of_a_family_that_no_source_has_is_refused(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "typo", {"path": "t"}, human_floors={"maths": 0.1})
    with pytest.raises(RecipeError, match=r"maths, which is the `family` of no source \(math"):
        load_recipe(path)


def test_the_dry_run_shows_who_made_what_and_every_generation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tsqa.preview.dry_run import print_provenance

    sources = {"web": HUMAN, "math": THEIRS, "own": {"from": "filter"}}
    ratios = {"web": 0.5, "math": 0.25, "own": 0.25}
    path = write_recipe(tmp_path, "shown", {"path": "t"}, sources=sources, ratios=ratios)
    print_provenance(load_recipe(path))
    shown = capsys.readouterr().err
    assert "in the stream: people 50.00%, generation 1 25.00%, generation 2 25.00%" in shown
    assert [word for word in ("big-70b", "people", "web", "math") if word not in shown] == []


def test_the_manifest_of_a_training_says_who_made_its_stream(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "trained", {"path": "t"})
    pipeline = Pipeline(load_recipe(path), path, [])
    for node in pipeline.nodes:
        if node.stage == "train":
            break
        seal_artifact(pipeline.store.path_of(node.stage, node.fingerprint))
    with pipeline.open_stage(node) as (context, commit):
        assert context is not None
        commit({"tokens": 1_000_000})
    made = pipeline.find(node)
    assert made is not None
    told = {each["source"]: each for each in made.summary["provenance"]}
    assert (told["own"]["made_by"], told["own"]["generation"]) == ("t", 1)
    assert (told["web"]["made_by"], told["web"]["share"]) == ("people", 0.75)
