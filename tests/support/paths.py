"""Where the repository's own files and the shared inputs lie; the latter may be absent."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SHARED = REPOSITORY.parent / "shared"
DATA = REPOSITORY / "tests" / "data"
