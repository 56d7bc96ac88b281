"""What a model was trained on is what its training drew, not all that it read."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.lineage.sources import Checks, data_reader, is_pretrained, own_data, sources_of
from tests.support.sealed import seal_artifact
from tsqa.store.artifact import Store


@pytest.mark.parametrize(
    ("ratios", "subsets", "is_seeded"),
    [
        ({"docs": 0.5, "made": 0.5}, {}, True),
        ({"docs": 1.0}, {}, False),  # read for its held-out loss
        ({"docs": 1.0, "made": 0.0}, {}, False),
        ({"docs": 0.5, "made_as_docs": 0.5}, {"made_as_docs": ["docs", "made"]}, False),
        ({"some": 1.0}, {"some": ["made", "docs"]}, True),
    ],
)
def test_a_source_that_was_read_but_not_drawn_taught_nothing(
    ratios: dict[str, float], subsets: dict[str, list[str]], is_seeded: bool, tmp_path: Path
) -> None:
    inputs: dict[str, dict[str, str]] = {
        "seeds": {},
        "generate": {"seeds": "1"},
        "filter": {"generate": "1", "seeds": "1"},
        "tokenize": {"filter": "1"},
        "train": {"tokens:made": "1", "tokens:docs": "2"},
        "evaluate": {"model": "1"},
    }
    config = {"mixture": {"phases": [{"tokens": 8, "ratios": ratios}], "subsets": subsets}}
    for stage, own in inputs.items():
        named = {role: number.zfill(16) for role, number in own.items()}
        seal_artifact(tmp_path / stage / "1".zfill(16), config=config, inputs=named)
    seal_artifact(tmp_path / "tokenize" / "2".zfill(16))
    evaluation = Store(tmp_path).find("evaluate", "1".zfill(16))
    assert evaluation is not None
    data = own_data(evaluation)
    assert data.is_whole
    assert [bool(data.seeds), bool(data.filtered)] == [is_seeded, is_seeded]
    assert ("made" in {source.name for source in sources_of(evaluation)}) is is_seeded


def test_documents_near_the_seeds_are_seeded_though_no_teacher_was_asked(tmp_path: Path) -> None:
    inputs: dict[str, dict[str, str]] = {
        "seeds": {},
        "generate": {"seeds": "1"},
        "filter": {"generate": "1", "seeds": "1"},
        "tokenize": {"filter": "1"},
        "nearest": {"seeds": "1", "tokens:made": "1"},
        "train": {"tokens:made": "1", "tokens:near": "2"},
        "evaluate": {"model": "1"},
    }
    phases = [{"tokens": 8, "ratios": {"near": 1.0}}]
    config = {"mixture": {"phases": phases, "subsets": {}, "sizes": {"near": "made"}}}
    for stage, own in inputs.items():
        named = {role: number.zfill(16) for role, number in own.items()}
        seal_artifact(tmp_path / stage / "1".zfill(16), config=config, inputs=named)
    chosen = {"nearest": "1".zfill(16), "decontaminate": "3".zfill(16)}
    seal_artifact(tmp_path / "tokenize" / "2".zfill(16), inputs=chosen)
    for number, role in ("3", "nearest"), ("4", "other"):
        inputs_of = {role: "1".zfill(16)}
        seal_artifact(tmp_path / "decontaminate" / number.zfill(16), inputs=inputs_of)
    store = Store(tmp_path)
    evaluation = store.find("evaluate", "1".zfill(16))
    assert evaluation is not None
    data = own_data(evaluation)
    assert (data.is_whole, len(data.seeds), data.filtered) == (True, 1, [])
    (source,) = sources_of(evaluation)
    assert source.name == "near" and source.tokens
    checks = Checks([*store.finished("decontaminate")])
    assert [check.fingerprint for check in checks.of(source.tokens)] == ["3".zfill(16)]


def test_what_bases_were_made_from_counts_where_arms_started_from_different_ones(
    tmp_path: Path,
) -> None:
    """Else a gain that a base brings along would seem to be one in families nobody seeded."""
    one, two, arm, other, alone = (str(number).zfill(16) for number in range(1, 6))
    seal_artifact(tmp_path / "seeds" / one)
    seal_artifact(tmp_path / "tokenize" / one, inputs={"seeds": one})
    drawn = {"mixture": {"phases": [{"tokens": 8, "ratios": {"made": 1.0}}], "subsets": {}}}
    seal_artifact(tmp_path / "train" / one, config=drawn, inputs={"tokens:made": one})
    seal_artifact(tmp_path / "train" / two)
    for number, base in ((arm, one), (other, two), (alone, one)):
        seal_artifact(tmp_path / "train" / number, inputs={"model": base})
        seal_artifact(tmp_path / "evaluate" / number, inputs={"model": number})
    made = {one.fingerprint: one for one in Store(tmp_path).finished("evaluate")}

    def seeds(*compared: str) -> list[int]:
        conditions = {number: [made[number]] for number in compared}
        data = data_reader(conditions)
        return [len(data(made[number]).seeds) for number in compared]

    assert seeds(arm, alone) == [0, 0]
    assert seeds(arm, other) == [1, 0]


@pytest.mark.parametrize(
    ("base", "trained", "evaluated", "expected"),
    [
        (None, None, {"path": "org/model"}, True),  # the base itself
        (None, {"path": {"model.safetensors": "hash"}}, None, True),
        ({"path": "org/model"}, {"recipe": True, "path": None}, None, True),  # by its base
        ({"path": None, "config": {}}, {"recipe": True, "path": None}, None, False),
        (None, {"path": None, "config": {}}, None, False),
    ],
)
def test_a_model_is_pretrained_by_itself_or_by_its_base(
    base: dict[str, object] | None,
    trained: dict[str, object] | None,
    evaluated: dict[str, object] | None,
    expected: bool,
    tmp_path: Path,
) -> None:
    inputs: dict[str, str] = {}
    for number, model in (("1", base), ("2", trained)):
        if model:
            path = tmp_path / "train" / number.zfill(16)
            seal_artifact(path, config={"model": model}, inputs=inputs)
            inputs = {"model": path.name}
    seal_artifact(tmp_path / "evaluate" / "3".zfill(16), config={"model": evaluated}, inputs=inputs)
    evaluation = Store(tmp_path).find("evaluate", "3".zfill(16))
    assert evaluation is not None
    assert is_pretrained(evaluation) is expected
