"""`tsqa audit --against`: two datasets, or the seeds of two, side by side in one report.

Guarantees: no model is asked; the recipe's seed and the texts alone decide every figure, and the
report holds none of the texts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from tsqa.quality.drift.measures import measure_drift
from tsqa.quality.drift.sides import DriftSide
from tsqa.quality.report import print_measures, write_page
from tsqa.records.quality import QualityMeasure
from tsqa.store.jsonl import write_json

JSON, PAGE = "drift.json", "drift.html"
PERMUTATIONS = 99


@dataclass(frozen=True)
class DriftReport:
    """`drift.json`."""

    new: str
    old: str
    of: str
    """What is compared: `items`, or `seeds`."""
    seed: int
    new_texts: int
    old_texts: int
    drawn: tuple[int, int]
    """Seeds of each side that were looked at."""
    shared: int
    """Of these, in both."""
    measures: list[QualityMeasure]

    @property
    def scope(self) -> str:
        new, old = self.drawn
        return (
            f"{self.new_texts:,} {self.of} against {self.old_texts:,}; those of {new:,} and "
            f"{old:,} seeds were looked at, {self.shared:,} of them in both"
        )


def compare(new: DriftSide, old: DriftSide, of: str, seed: int) -> DriftReport:
    return DriftReport(
        new=new.title,
        old=old.title,
        of=of,
        seed=seed,
        new_texts=new.text_count,
        old_texts=old.text_count,
        drawn=(len(new.groups), len(old.groups)),
        shared=len(new.groups.keys() & old.groups.keys()),
        measures=measure_drift(new, old, seed, PERMUTATIONS),
    )


def write_drift(folder: Path, report: DriftReport) -> Path:
    """Write both files; return the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / JSON, asdict(report))
    intro = [
        f"{report.scope}. A value is the new less the old, with its 95% interval; a marked line "
        "changed by more than chance, at 5% for each line.",
        f"Drawn by seed {report.seed}.",
    ]
    title = f"{report.new} against {report.old}"
    return write_page(folder / PAGE, title, intro, report.measures)


def print_drift(report: DriftReport) -> None:
    print_measures(f"{report.new} against {report.old}: {report.scope}", report.measures)
