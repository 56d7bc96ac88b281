"""`tsqa verify`: whether every artifact below a folder of runs is still what was written.

Guarantees: every byte is read, whatever is remembered of it; nothing is changed; what is damaged is
named with the stage to build again and all that was made from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from tsqa.console import console
from tsqa.errors import DataError, UsageError
from tsqa.store.manifest import MANIFEST, Damage, Manifest, damages, read_manifest

_MOST_SHOWN = 20
"""Damaged files of one artifact that are named one by one."""


@dataclass(frozen=True)
class Verdict:
    """One artifact and what is wrong with it."""

    folder: Path
    manifest: Manifest | None
    """None where it cannot be read; then `damage` says why."""
    damage: list[Damage]

    @property
    def name(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"


def verify_runs(runs: Path) -> list[Verdict]:
    """Read every artifact below `runs/artifacts`; UsageError where there is no such folder."""
    store = runs / "artifacts"
    if not store.is_dir():
        raise UsageError(
            f"{store}: no such folder", "name the folder of the runs: tsqa verify runs"
        )
    return [_verify(folder) for folder in sorted(_artifacts(store))]


def print_verdicts(verdicts: list[Verdict]) -> bool:
    """Print what is damaged, and what depends on it; whether all is good."""
    bad = [verdict for verdict in verdicts if verdict.damage]
    for verdict in bad:
        console.print(Text(verdict.name, style="bold red"))
        for damage in verdict.damage[:_MOST_SHOWN]:
            console.print(Text(f"  {damage.kind}  {damage.file}: {damage.reason}"))
        if len(verdict.damage) > _MOST_SHOWN:
            console.print(Text(f"  and {len(verdict.damage) - _MOST_SHOWN} more files"))
        console.print(Text(f"  fix: {_fix(verdict)}"))
        later = made_from(verdict.folder.name, verdicts)
        if later:
            console.print(Text(f"  made from it: {', '.join(later)}"))
    files = sum(len(verdict.manifest.files) for verdict in verdicts if verdict.manifest)
    good = len(verdicts) - len(bad)
    console.print(Text(f"{good} artifacts good, {len(bad)} damaged; {files:,} files"))
    return not bad


def made_from(fingerprint: str, verdicts: list[Verdict]) -> list[str]:
    """The artifacts that a fingerprint went into, directly or not."""
    inputs: Mapping[str, set[str]] = {
        verdict.name: set(verdict.manifest.inputs.values())
        for verdict in verdicts
        if verdict.manifest
    }
    found: dict[str, None] = {}
    todo = [fingerprint]
    while todo:
        wanted = todo.pop()
        for name, given in inputs.items():
            if wanted in given and name not in found:
                found[name] = None
                todo.append(name.partition("/")[2])
    return list(found)


def _artifacts(store: Path) -> Iterator[Path]:
    for stage in store.iterdir():
        if stage.is_dir() and not stage.name.startswith("."):
            for folder in stage.iterdir():
                if folder.is_dir() and folder.suffix != ".partial":
                    yield folder


def _verify(folder: Path) -> Verdict:
    try:
        manifest = read_manifest(folder)
    except DataError as error:
        reason = str(error).splitlines()[0].removeprefix(f"{folder / MANIFEST}: ")
        there = (folder / MANIFEST).is_file()
        return Verdict(folder, None, [Damage(MANIFEST, "damaged" if there else "missing", reason)])
    return Verdict(folder, manifest, damages(folder, manifest, content=True, fresh=True))


def _fix(verdict: Verdict) -> str:
    if verdict.manifest and all(damage.kind == "extra" for damage in verdict.damage):
        return "move these files elsewhere"
    stage = verdict.folder.parent.name
    return f"delete {verdict.folder}; the stage `{stage}` makes it again when the recipe is run"
