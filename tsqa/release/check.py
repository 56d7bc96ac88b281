"""Whether a release is still what was written: every file, by size and sha256.

Guarantees: every byte is read; nothing is changed; a file that is damaged, missing or foreign is
named.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from tsqa.console import console
from tsqa.curated.files import DATASET
from tsqa.errors import DataError
from tsqa.release.records import RELEASES, ReleasedFile, read_release
from tsqa.store.identity import files_below, sha256_of
from tsqa.store.manifest import MANIFEST, Damage


@dataclass(frozen=True)
class CheckedRelease:
    folder: Path
    damage: list[Damage]


def hash_files(folder: Path) -> dict[str, ReleasedFile]:
    """Path below the folder -> size and hash, of all but the manifest."""
    found = {}
    for file in files_below(folder):
        if file != folder / MANIFEST:
            name = file.relative_to(folder).as_posix()
            found[name] = ReleasedFile(file.stat().st_size, sha256_of(file))
    return found


def check_release(folder: Path) -> CheckedRelease:
    """Read every file of a release, and compare it with the manifest."""
    try:
        release = read_release(folder)
    except DataError as error:
        reason = str(error).splitlines()[0].removeprefix(f"{folder / MANIFEST}: ")
        return CheckedRelease(folder, [Damage(MANIFEST, "damaged", reason)])
    wanted, found = release.files, hash_files(folder)
    place = folder.resolve()
    if place.parent.parent.name == RELEASES and place.parts[-2:] != (release.name, release.version):
        reason = f"of another release: {release.name} {release.version}"
        return CheckedRelease(folder, [Damage(MANIFEST, "damaged", reason)])
    damage = [Damage(name, "missing", "missing") for name in wanted if name not in found]
    for name, file in found.items():
        is_hidden = Path(name).name.startswith(".") and not name.startswith(f"{DATASET}/")
        if name not in wanted and not is_hidden:  # all below `dataset` would be pushed
            damage.append(Damage(name, "extra", "no release wrote this file"))
        elif name in wanted and file.bytes != wanted[name].bytes:
            reason = f"{file.bytes:,} bytes, {wanted[name].bytes:,} were written"
            damage.append(Damage(name, "damaged", reason))
        elif name in wanted and file != wanted[name]:
            damage.append(Damage(name, "damaged", "changed since it was written"))
    return CheckedRelease(folder, damage)


def releases_below(runs: Path) -> list[Path]:
    """The folders of all releases of a folder of runs."""
    found = sorted(file.parent for file in (runs / RELEASES).glob(f"*/*/{MANIFEST}"))
    return [folder for folder in found if folder.suffix != ".partial"]


def print_checked(checked: list[CheckedRelease]) -> bool:
    """Print what is damaged; whether all is good."""
    bad = [one for one in checked if one.damage]
    for one in bad:
        console.print(Text(f"{one.folder}", style="bold red"))
        for damage in one.damage[:20]:
            console.print(Text(f"  {damage.kind}  {damage.file}: {damage.reason}"))
        console.print(Text("  fix: take it again from a copy; a version is never made anew"))
    console.print(Text(f"{len(checked) - len(bad)} releases good, {len(bad)} damaged"))
    return not bad


def require_good(folder: Path) -> Path:
    """The folder of a release that is as it was written; DataError names what is not."""
    damage = check_release(folder).damage
    if damage:
        raise DataError(
            f"{folder / damage[0].file}: {damage[0].reason}", "take the release from a copy"
        )
    return folder
