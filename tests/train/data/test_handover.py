"""Tokens for Megatron: its sampler keeps to our shares, and what it would lose is refused."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.support.sealed import invented_artifact
from tests.support.token_context import read_megatron, token_context, tokenize_all
from train.data.handover import hand_over, sampler_strays
from train.data.plan import period_table
from tsqa.errors import RecipeError, TsqaError
from tsqa.recipe import Recipe, needed
from tsqa.store.artifact import Artifact
from tsqa.store.roles import Role, SourceRole


def build_blending_indices(weights: list[float], size: int) -> list[int]:
    """The dataset of each sample, as megatron/core/datasets/helpers.cpp publishes the rule.

    Of the errors weight * max(sample, 1) - samples drawn, the first largest one.
    """
    total = sum(weights)
    shares = [weight / total for weight in weights]
    drawn, chosen = [0] * len(weights), []
    for sample in range(size):
        errors = [w * max(float(sample), 1.0) - n for w, n in zip(shares, drawn, strict=True)]
        largest = 0
        for dataset in range(1, len(errors)):
            if errors[dataset] > errors[largest]:
                largest = dataset
        chosen.append(largest)
        drawn[largest] += 1
    return chosen


def counts(chosen: list[int], sources: int) -> Any:
    return np.cumsum(np.eye(sources)[chosen], axis=0)


@pytest.mark.parametrize("synthetic", [1, 22, 100, 220, 1000, 3333, 5000, 9999])
def test_at_every_row_megatron_has_drawn_what_we_have_within_a_row(synthetic: int) -> None:
    weights, size = (10_000 - synthetic, synthetic), 30_000
    theirs = counts(build_blending_indices([w / 10_000 for w in weights], size), 2)
    table = period_table(weights)
    ours = counts([table[k % len(table)] for k in range(size)], 2)
    assert np.abs(theirs - ours).max() <= 1
    off = np.abs(theirs - np.outer(np.arange(1, size + 1), weights) / 10_000).max()
    assert float(sampler_strays(weights)) == pytest.approx(off, abs=1e-6)
    assert off <= 1


def test_with_three_sources_it_may_stray_more_than_a_row_which_is_counted() -> None:
    rng = np.random.default_rng(3)
    worst = Fraction(0)
    for _ in range(20):
        weights = [int(weight) for weight in rng.integers(1, 100, 3)]
        found = sampler_strays(weights)
        size = 20 * sum(weights)
        theirs = counts(build_blending_indices([w / sum(weights) for w in weights], size), 3)
        off = np.abs(theirs - np.outer(np.arange(1, size + 1), weights) / sum(weights)).max()
        assert off <= float(found) + 1e-6
        worst = max(worst, found)
    assert 1 < worst < 2


@pytest.fixture
def arm(tmp_path: Path) -> tuple[Recipe, Mapping[Role, Artifact]]:
    for name in ("web", "made"):
        lines = (json.dumps({"text": f"{name} {n} apples and pears " * 3}) for n in range(60))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    sources = {name: {"path": str(tmp_path / f"{name}.jsonl")} for name in ("web", "made")}
    context = token_context(tmp_path, sources, train_on=tmp_path / "web.jsonl")
    inputs: dict[Role, Artifact] = {"tokenizer": context.inputs["tokenizer"]}
    for name, made in zip(sources, tokenize_all(context), strict=True):
        inputs[SourceRole(name)] = invented_artifact(made.out)
    return changed(context.recipe), inputs


def changed(recipe: Recipe, **keys: Any) -> Recipe:
    tree = recipe.model_dump(mode="json", by_alias=True)
    tree["mixture"]["phases"] = [{"tokens": 1600, "ratios": {"web": 0.978, "made": 0.022}}]
    tree["train"] |= {"global_batch_tokens": 160, "lr": 2e-4,
                      "schedule": {"kind": "wsd", "warmup": 0.1, "decay": 0.2}}  # fmt: skip
    for key, value in keys.items():
        section, _, name = key.partition("__")
        tree[section][name] = value
    return Recipe.model_validate(tree)


def test_the_blend_is_the_plan_and_the_files_are_read_document_by_document(
    arm: tuple[Recipe, Mapping[Role, Artifact]], tmp_path: Path
) -> None:
    made = hand_over(*arm, tmp_path / "handed")
    blend = json.loads((tmp_path / "handed" / "blend.json").read_text())
    assert blend["valid"] == blend["test"] == []
    weights, stems = blend["train"][::2], blend["train"][1::2]
    assert dict(zip([Path(stem).name for stem in stems], weights, strict=True)) == {
        "made": "0.0220", "web": "0.9780"
    }  # fmt: skip
    for stem in map(Path, stems):
        spans = pq.read_table(f"{stem}.docs.parquet").to_pylist()
        tokens = np.fromfile(f"{stem}.bin", np.uint16)
        documents = read_megatron(stem)
        assert len(documents) == len(spans) == 60
        for document, span in zip(documents, spans, strict=True):
            assert (document == tokens[span["start"] : span["end"]]).all()
    assert made.strays < 1


def test_the_command_says_what_the_recipe_says(
    arm: tuple[Recipe, Mapping[Role, Artifact]], tmp_path: Path
) -> None:
    recipe, inputs = arm
    schedule = {"kind": "wsd", "warmup": 0.1, "decay": 0.2, "decay_shape": "sqrt"}
    recipe = changed(recipe, train__schedule=schedule)
    made = hand_over(recipe, inputs, tmp_path / "handed", "my_config")
    words = shlex.split(made.command.replace("\\\n", " "))
    assert words[:3] == ["torchrun", "--nproc_per_node=8", "scripts/training/run_recipe.py"]
    flags = {flag: words[words.index(flag) + 1] for flag in words if re.match(r"-+[a-z]", flag)
             and "=" not in flag}  # fmt: skip
    assert flags == {
        "--recipe": "my_config", "--mode": "pretrain", "--dataset": "megatron-indexed",
        "-sl": "16", "-gb": "10", "-mb": "1", "-ms": "10", "--lr": "0.0002", "--min_lr": "0.0",
        "--warmup_iters": "1", "--save_dir": "checkpoints", "--save_interval": "500",
    }  # fmt: skip
    keys = dict(word.split("=", 1) for word in words[1:] if re.match(r"[a-z_]+\.", word)
                and "=" in word)  # fmt: skip
    blend = json.loads((tmp_path / "handed" / "blend.json").read_text())["train"]
    assert keys["dataset.data_path"] == f'"{" ".join(blend)}"'
    assert keys["dataset.split"] == '"100,0,0"'
    assert (keys["scheduler.lr_decay_style"], keys["scheduler.lr_wsd_decay_iters"]) == ("WSD", "2")
    assert keys["scheduler.lr_wsd_decay_style"] == "minus_sqrt"
    tokenizer = Path(keys["tokenizer.tokenizer_model"].strip('"'))
    assert (tokenizer / "tokenizer.json").is_file()
    script = tmp_path / "handed" / "run.sh"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert made.command in script.read_text()


def test_what_that_training_does_otherwise_is_said(
    arm: tuple[Recipe, Mapping[Role, Artifact]], tmp_path: Path
) -> None:
    recipe, inputs = arm
    said = {
        "average_last": (3, "the mean of the last 3 models is not taken"),
        "decay_embeddings": (False, "weight decay reaches the embeddings there"),
        "fp32_parameters": (["A_log"], "train.fp32_parameters are not handed over"),
        "precision": ("fp32", "train.precision and"),
        "z_loss": (1e-4, "train.z_loss is not"),
    }
    plain = set(hand_over(changed(recipe, train__precision="bf16"), inputs, tmp_path).notes)
    for key, (value, expected) in said.items():
        section = needed(recipe.train, "train").model_copy(update={"precision": "bf16", key: value})
        found = hand_over(recipe.model_copy(update={"train": section}), inputs, tmp_path)
        [note] = {*found.notes} - plain
        assert expected in note


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"train__batch_ramp": [{"until": 0.5, "global_batch_tokens": 16}]}, "train.batch_ramp"),
        ({"mixture__phases": [{"tokens": 160, "ratios": {"web": 1}},
                              {"tokens": 160, "ratios": {"made": 1}}]}, "2 phases"),
    ],
)  # fmt: skip
def test_what_a_blend_cannot_say_is_refused(
    arm: tuple[Recipe, Mapping[Role, Artifact]], tmp_path: Path, keys: dict[str, Any], said: str
) -> None:
    recipe, inputs = arm
    with pytest.raises(RecipeError, match=said):
        hand_over(changed(recipe, **keys), inputs, tmp_path / "handed")
    assert not (tmp_path / "handed").exists()


@pytest.mark.parametrize("key", ["subset_of", "answer_marker"])
def test_sources_of_which_megatron_would_read_more_are_refused(
    arm: tuple[Recipe, Mapping[Role, Artifact]], tmp_path: Path, key: str
) -> None:
    recipe, inputs = arm
    sources = recipe.model_dump(mode="json", by_alias=True)["mixture"]["sources"]
    if key == "subset_of":
        sources["cut"] = {"subset_of": "web", "size_of": "made"}
        phases = [{"tokens": 1600, "ratios": {"web": 0.5, "cut": 0.5}}]
        recipe = changed(recipe, mixture__sources=sources, mixture__phases=phases)
    else:
        file = inputs[SourceRole("made")].path / "sources.json"
        file.write_text(file.read_text().replace('"answers_only": false', '"answers_only": true'))
    with pytest.raises(TsqaError, match=r"mixture\.sources\.(cut|made)"):
        hand_over(recipe, inputs, tmp_path / "handed")


def test_a_folder_with_a_space_is_refused_where_paths_are_split_at_spaces(
    arm: tuple[Recipe, Mapping[Role, Artifact]], tmp_path: Path
) -> None:
    recipe, inputs = arm
    moved = inputs[SourceRole("made")].path.rename(tmp_path / "a b")
    with pytest.raises(TsqaError, match="a b/made: holds a space"):
        hand_over(recipe, {**inputs, SourceRole("made"): invented_artifact(moved)}, tmp_path / "o")
