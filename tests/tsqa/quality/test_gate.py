"""Limits on audits: what refuses training, what does not, and that no fingerprint knows of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.quality_world import AuditedDataset, audited_dataset
from tests.support.wandb_records import read_run
from tsqa.errors import TsqaError
from tsqa.pipeline.auditing import audit_folder, find_audit
from tsqa.pipeline.run import Pipeline
from tsqa.quality.gate import LIMITED, breaches, refuse_audited
from tsqa.recipe import AuditSection, load_recipe
from tsqa.records.quality import QualityMeasure, QualityReport, report_path
from tsqa.release.make import make_release

TRAINED: dict[str, Any] = {
    "model": {"path": "org/student"},
    "mixture": {
        "sources": {"synthetic": {"from": "filter"}},
        "phases": [{"tokens": 1000, "ratios": {"synthetic": 1.0}}],
    },
    "train": {"sequence_length": 8, "global_batch_tokens": 64, "lr": 1e-3},
}


def measure(key: str, **fields: Any) -> QualityMeasure:
    limited = LIMITED[key]
    name = "pronouns: she (log-odds)" if key == "max_group_log_odds" else limited.name
    return QualityMeasure(dimension=limited.dimension, name=name, limits="", **fields)


def report(*measures: QualityMeasure) -> QualityReport:
    return QualityReport("toy", "f", "s", "d", 0, 9, 9, 9, [], [*measures])


def said(found: QualityMeasure, **limits: Any) -> list[str]:
    return [*breaches(AuditSection(**limits), report(found))]


NEEDED: dict[str, dict[str, Any]] = {
    "max_seed_names": {"names": {"model": "x"}},
    "max_lost_gradients": {"gradients": {"model": "x"}},
    "max_flipped_verdicts": {"swaps": {}},
    "max_flipped_answers": {"swaps": {}},
}


@pytest.mark.parametrize("key", [*LIMITED])
def test_what_came_out_as_no_number_passes_no_limit(key: str) -> None:
    nan = float("nan")
    whole = {"value": 0.5, "low": 0.4, "high": 0.6, "reference": 0.5, "gap": (0.0, -0.1, 0.1)}
    for field in whole:
        broken = measure(key, **whole | {field: (0.0, nan, nan) if field == "gap" else nan})
        (line,) = said(broken, **{key: 0.9}, **NEEDED.get(key, {}))
        assert f"audit.{key} 0.9" in line and "was not measured: it came out as no number" in line


def test_a_limit_is_exceeded_by_the_whole_interval_alone() -> None:
    copied = measure("max_copied", value=0.2, low=0.1, high=0.3, reference=0.0)
    assert said(copied, max_copied=0.1) == []
    (line,) = said(copied, max_copied=0.09)
    assert "audit.max_copied 0.09" in line and "0.200 [0.100, 0.300], reference 0" in line
    hit = measure("min_coverage", value=0.2, low=0.1, high=0.3)
    assert said(hit, min_coverage=0.3) == [] and len(said(hit, min_coverage=0.31)) == 1
    for key in ("max_lost_tail", "max_lost_diversity"):
        lost = measure(key, value=0.6, low=0.5, high=0.7, reference=0.8, gap=(-0.2, -0.3, -0.1))
        assert said(lost, **{key: 0.125}) == [], "at least 0.1 of 0.8 is lost"
        (line,) = said(lost, **{key: 0.12})
        assert "0.600 [0.500, 0.700], reference 0.8" in line
        for nothing, why in (
            (replace(lost, reference=0.0), "its reference is 0"),
            (replace(lost, gap=None), "it has no difference"),
        ):
            assert f"was not measured: {why}" in "".join(said(nothing, **{key: 0.9}))
    position = measure("max_position", value=0.5, low=0.4, high=0.6, reference=0.25)
    assert said(position, max_position=0.15) == [] and len(said(position, max_position=0.14)) == 1
    for low, high in ((1.5, None), (None, -1.5)):
        she = measure("max_group_log_odds", value=2.0, low=low, high=high, apart=True)
        assert len(said(she, max_group_log_odds=1.4)) == 1
        assert said(she, max_group_log_odds=1.6) == []
        assert said(replace(she, apart=False), max_group_log_odds=1.4) == [], "by Holm"


def test_a_limit_on_gradients_is_one_on_what_seeds_have() -> None:
    gradients = {"model": "org/small"}
    section = AuditSection.model_validate({"gradients": gradients, "max_lost_gradients": 0.12})
    lost = measure("max_lost_gradients", value=0.6, low=0.5, high=0.7, reference=0.8)
    (line,) = breaches(section, report(replace(lost, gap=(-0.2, -0.3, -0.1))))
    assert "audit.max_lost_gradients 0.12: G-Vendi score, per item is 0.600" in line
    assert not [*breaches(section, report(replace(lost, gap=(-0.2, -0.4, 0.01))))]
    with pytest.raises(ValueError, match="needs `gradients`"):
        AuditSection(max_lost_gradients=0.1)


def test_what_could_not_be_measured_is_refused_with_the_reason() -> None:
    few = measure("max_longest", missing="3 pairs with options; 20 are needed")
    (line,) = said(few, max_longest=0.5)
    assert "was not measured: 3 pairs" in line
    whole = QualityMeasure(dimension="realism", name="all", limits="", missing="3 seeds")
    assert "3 seeds" in said(whole, max_told_apart=0.9)[0]
    assert said(few, max_group_log_odds=1.0) == [], "no group is mentioned at all"
    none = replace(few, dimension="bias", name="who appears")
    assert "3 pairs" in said(none, max_group_log_odds=1.0)[0]


def test_without_an_audit_a_limit_refuses_and_no_limit_does_not() -> None:
    refuse_audited(AuditSection(), None, "tsqa filter r.yaml", Path("page"))
    with pytest.raises(TsqaError, match=r"audit.max_copied 0.1: .*\n.*tsqa filter r.yaml"):
        refuse_audited(AuditSection(max_copied=0.1), None, "tsqa filter r.yaml", Path("page"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> AuditedDataset:
    return audited_dataset(tmp_path_factory.mktemp("gated"), **TRAINED)


def opened(dataset: AuditedDataset, *overrides: str) -> Pipeline:
    return Pipeline(load_recipe(dataset.recipe, overrides), dataset.recipe, [*overrides])


def node(pipeline: Pipeline, stage: str) -> Any:
    return next(each for each in pipeline.nodes if each.stage == stage)


def test_training_is_refused_by_the_audit_of_these_very_data(
    dataset: AuditedDataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tsqa.quality.run.PERMUTATIONS", 3)
    plain = opened(dataset)
    plain.refuse_unfit(node(plain, "train"))
    strict = opened(dataset, "audit.max_seeds_told=0.6")
    assert node(strict, "train").fingerprint == node(plain, "train").fingerprint
    train, filtered = node(strict, "train"), node(strict, "filter")
    with pytest.raises(TsqaError, match="is not audited, or other data were"):
        strict.refuse_unfit(train)
    strict.check()
    assert "audit of filter: max_seeds_told 0.6; not made yet" in capsys.readouterr().err
    assert find_audit(plain, node(plain, "filter")) is None
    strict.ensure(filtered)
    made = find_audit(plain, node(plain, "filter"))
    assert made is not None, "any recipe with these data finds it"
    for limited in LIMITED.values():
        assert any(limited.is_of(each) for each in made.measures) or limited.name == "who appears"
    with pytest.raises(TsqaError, match=r"(?s)max_seeds_told 0.6: seeds told .*quality\.html"):
        strict.refuse_unfit(train)
    strict.check()
    assert "max_seeds_told 0.6; refuses to train" in capsys.readouterr().err
    loose = opened(dataset, "audit.max_refused=0.9", "audit.max_copied=0.5")
    loose.refuse_unfit(node(loose, "train"))
    file = report_path(Path(plain.recipe.runs), filtered.fingerprint)
    whole = file.read_text()
    for other in (whole.replace(made.data, "0" * 16), whole[:-9], json.dumps({"recipe": "x"})):
        file.write_text(other)
        with pytest.raises(TsqaError, match="is not audited"):
            loose.refuse_unfit(node(loose, "train"))


def test_a_limit_on_canaries_needs_some(dataset: AuditedDataset) -> None:
    with pytest.raises(TsqaError, match=r"audit\.max_canary_rate needs generate\.canaries"):
        opened(dataset, "audit.max_canary_rate=0.1")
    planted = opened(dataset, "audit.max_canary_rate=0.1", "generate.canaries=20")
    assert node(planted, "seeds").fingerprint == node(opened(dataset), "seeds").fingerprint
    assert node(planted, "filter").fingerprint != node(opened(dataset), "filter").fingerprint


def test_arms_with_filters_of_their_own_have_audits_of_their_own(dataset: AuditedDataset) -> None:
    arms = "ablation={arms: [{filter.agreement: 0.6}, {filter.agreement: 0.9}], control: %s}"
    ablated = opened(dataset, arms % "{filter.agreement: 0.6}", "audit={}")
    filters = [each for each in ablated.nodes if each.stage == "filter"]
    folders = {audit_folder(each) for each in filters}
    assert len(filters) == len(folders) == 2
    assert {each.parent for each in folders} == {audit_folder(node(opened(dataset), "filter"))}


def test_an_audit_is_tracked_and_released_and_not_made_again(
    dataset: AuditedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsqa.quality.run.PERMUTATIONS", 3)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    first = opened(dataset, "audit={}", "tracking.mode=offline")
    card = "dataset/README.md"
    assert "## Audit" not in (make_release(first, "v1").folder / card).read_text()
    filtered = node(first, "filter")
    first.ensure(filtered)
    (run,) = (Path(first.recipe.runs) / "wandb").glob(f"*-audit-{filtered.fingerprint}")
    found = read_run(run)
    rows = {row[1]: row for row in found.table("measures")["data"]}
    assert rows["seeds told by nearest item (AUC)"][2] == "1.000 [0.858, 1.000]"
    assert "## Audit" in (make_release(first, "v2").folder / card).read_text()
    monkeypatch.setattr("tsqa.pipeline.auditing.make_audit", None)
    first.ensure(filtered)
