"""Names of inputs and stages: typed in code, as text on disk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsqa.store.roles import (
    ArmRole,
    CheckedRole,
    Label,
    PointRole,
    Role,
    SourceRole,
    format_role,
    parse_label,
    parse_role,
    trained_model,
)

_ARMS = st.from_regex(r"[a-z][a-z:/=,. ]*", fullmatch=True)
_COUNTS = st.integers(1, 10**12)
_ROLES = st.one_of(
    st.sampled_from(["base", "data", "seeds", "generate", "filter", "tokenize", "model", "judge"]),
    st.builds(ArmRole, _ARMS),
    st.builds(PointRole, _COUNTS),
    st.builds(CheckedRole, st.sampled_from(["filter", "decontaminate"]), st.integers(0, 99)),
    st.builds(SourceRole, _ARMS),
)
_LABELS = st.one_of(
    st.builds(Label, st.sampled_from(["train", "evaluate", "filter"]), _ARMS),
    st.builds(Label, st.just("evaluate"), _ARMS, _COUNTS),
    st.builds(Label, st.sampled_from(["tokenize", "compare"])),
    st.builds(Label, st.just("train"), recipe=st.from_regex(r"[a-z][a-z-]*", fullmatch=True)),
)


@given(_ROLES)
def test_a_role_is_read_as_it_was_written(role: Role) -> None:
    assert parse_role(format_role(role)) == role


@given(_LABELS)
def test_a_label_is_read_as_it_was_written(label: Label) -> None:
    assert parse_label(str(label)) == label


@pytest.mark.parametrize(
    ("role", "text"),
    [
        (ArmRole("synthetic=0.5,seed=1"), "arm:synthetic=0.5,seed=1"),
        (PointRole(150_000), "model@150000"),
        (CheckedRole("decontaminate", 3), "documents:3"),
        (CheckedRole("filter", 0), "filter:0"),
        (SourceRole("web:a"), "tokens:web:a"),
        ("filter", "filter"),
    ],
)
def test_manifests_hold_the_text_that_fingerprints_were_made_of(role: Role, text: str) -> None:
    assert format_role(role) == text


def test_an_evaluation_has_one_trained_model() -> None:
    assert trained_model(["data", PointRole(5)]) == PointRole(5)
    assert trained_model(["model", "data"]) == "model"
    assert trained_model(["data"]) is None
