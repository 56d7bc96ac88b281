"""`tsqa init`: a copy of shipped recipes to start from.

Guarantees: nothing is overwritten; a copy has every file that its recipes extend, and runs from the
current folder.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from tsqa.errors import UsageError
from tsqa.shipped import RECIPES, SCHEMA

SETS = {
    "quickstart": "the whole experiment in miniature: 2 CPU cores, 9 minutes",
    "smoke": "every stage as small as it gets, to check an installation: 2 minutes",
    "dataset": "a dataset from nine benchmarks with a 30B teacher: 1 GPU, or an endpoint",
    "local": "real benchmarks and books from a folder `benchmarks`, toy models: 4 minutes",
    "documents": "questions about passages of documents, their facts, rephrasings: an endpoint",
    "real": "a real 135M model as teacher and student, on real benchmarks: 2 CPU cores",
    "generations": "models that learn from models, with people's text and without: 2 CPU cores",
    "ablations": "experiments on the quickstart: ratio, votes, filters and others",
    "nemotron3_nano": "the published run, for a cluster, and its rehearsal on 2 CPU cores",
}
"""Folder of recipes -> its purpose."""
_MAIN = {"ablations": "quickstart_ratio.yaml", "documents": "rqa.yaml"}
_EXTENDS = re.compile(r"^extends: \.\./(\w+)/", re.MULTILINE)
_BESIDE = re.compile(r"recipes/(\w+)/((?:tasks|prompts)\b[\w./-]*)")
"""What recipes name beside them, as seen from the folder where the command runs."""
_ENDS = ("yaml", "py", "json", "jinja")


def copy_recipes(name: str, target: Path) -> Path:
    """Copy a folder of recipes, and those that it extends, into a new folder.

    Returns:
        The copy of its main recipe.

    Raises:
        UsageError: There are no such recipes, or the target exists and is not an empty folder.
    """
    if name not in SETS:
        raise UsageError(f"no recipes `{name}`", f"choose one of {', '.join(SETS)}")
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{target}: exists and is not empty", "choose a new folder")
    for file in (SCHEMA, *_files(name)):
        copy = target / file.relative_to(RECIPES)
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text(encoding="utf-8")
        # In quotes, which YAML reads alike.
        text = _BESIDE.sub(lambda found: json.dumps(str(target / found[1] / found[2])), text)
        copy.write_text(text, encoding="utf-8")
    return target / name / _MAIN.get(name, "recipe.yaml")


def _files(name: str) -> list[Path]:
    files = sorted(f for end in _ENDS for f in (RECIPES / name).rglob(f"*.{end}"))
    texts = [file.read_text(encoding="utf-8") for file in files]
    named = [found for text in texts for how in (_EXTENDS, _BESIDE) for found in how.finditer(text)]
    others = {found[1] for found in named}
    return files + [file for other in sorted(others - {name}) for file in _files(other)]
