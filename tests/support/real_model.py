"""Where a real pretrained model lies, for the tests that want one: `make real` fetches it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

REAL = Path(os.environ.get("TSQA_REAL_MODEL", REPOSITORY / "models" / "smollm2-135m"))
needs_real_model = pytest.mark.skipif(
    not (REAL / "import.json").is_file(),
    reason=f"no real model in {REAL.name}/: `make models/smollm2-135m`, or name one in "
    "TSQA_REAL_MODEL",
)
