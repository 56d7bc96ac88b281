"""Artifacts that a test writes by hand, sealed as a stage would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tsqa.store.artifact import Artifact
from tsqa.store.jsonl import write_json
from tsqa.store.manifest import MANIFEST, Manifest, plain_manifest, seal

CREATED = "2030-01-01T00:00:00Z"


def invented_artifact(folder: Path, **fields: Any) -> Artifact:
    """An artifact whose manifest is on no disk."""
    named = {"stage": folder.parent.name, "fingerprint": folder.name, "created": CREATED}
    return Artifact(
        folder, Manifest(**{"config": {}, "inputs": {}, "summary": {}, **named, **fields})
    )


def seal_artifact(folder: Path, **fields: Any) -> None:
    """Write the manifest of `<store>/<stage>/<fingerprint>`, as its files are now."""
    made: dict[str, Any] = {
        "config": {},
        "inputs": {},
        "summary": {},
        "created": CREATED,
        **fields,
        "stage": folder.parent.name,
        "fingerprint": folder.name,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MANIFEST, plain_manifest(seal(folder, Manifest(**made))))


def reseal(folder: Path, **fields: Any) -> None:
    """Change some fields of a manifest, and seal the files as they are now."""
    import json

    manifest = json.loads((folder / MANIFEST).read_text())
    kept = {key: manifest[key] for key in ("config", "inputs", "summary", "created")}
    seal_artifact(folder, **{**kept, **fields})
