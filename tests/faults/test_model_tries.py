"""A model or tokenizer that is not whole is refused by name before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.models import TENSORS, WEIGHTS, tries, whole_model
from tests.faults.table import Try, check, params


def test_every_tensor_is_tried() -> None:
    from safetensors.torch import load_file

    assert set(load_file(whole_model() / WEIGHTS)) == set(TENSORS)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("attempt", params(tries()))
def test_model(attempt: Try, tmp_path: Path) -> None:
    check(attempt, tmp_path)
