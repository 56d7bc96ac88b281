"""What an audit found: its measures, as in `runs/audits/FINGERPRINT.json`.

Guarantee: what is read is of the very data that it is asked for, or nothing is.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tsqa.records.summaries import LedgerRow
from tsqa.store.artifact import Artifact
from tsqa.store.jsonl import write_json

AUDITS = "audits"
"""Folder of the runs: one report for each filter artifact, whatever recipe audited it."""
PAGE = "quality.html"
"""In the folder of an audit."""
FLIPPED_VERDICTS, FLIPPED_ANSWERS = "verdicts changed by swaps", "answers changed by swaps"
"""How the names of these measures begin."""
TAIL, VENDI, GRADIENTS = "of those in the tail", "Vendi score, per item", "G-Vendi score, per item"
NAMED, SEED_NAMES = "items with a person's name", "items with a person's name of their seed"
"""Names of measures that others look up."""
_FORMAT = 4
"""Raise it when a measure means something else: reports from before then count no more."""


@dataclass(frozen=True)
class ShownExample:
    """An item, and the real one that is nearest to it."""

    why: str
    id: str
    text: str
    nearest_id: str
    nearest: str


@dataclass(frozen=True, kw_only=True)
class QualityMeasure:
    """A line of the audit."""

    dimension: str
    name: str
    limits: str
    """What it cannot show."""
    value: float | None = None
    """None where it cannot be measured."""
    low: float | None = None
    high: float | None = None
    """Of the 95% interval; None where the end is not bounded."""
    reference: float | None = None
    reference_is: str = ""
    p: float | None = None
    """Of no difference from the reference."""
    apart: bool | None = None
    """Whether it differs from the reference by more than chance; None where that is not tested."""
    n: int = 0
    gap: tuple[float, float, float] | None = None
    """Value less reference with the ends of its interval, where both are of the same seeds."""
    missing: str = ""
    """Why it was not measured."""
    notes: list[str] = field(default_factory=list)
    examples: list[ShownExample] = field(default_factory=list)


@dataclass(frozen=True)
class SwapsReport:
    """What models said of items in which somebody else appears."""

    measures: list[QualityMeasure]
    wanted: dict[str, int] = field(default_factory=dict)
    """Kind -> items; empty where no model was asked."""
    ledger: list[LedgerRow] = field(default_factory=list)


NOT_ASKED = SwapsReport(
    [
        QualityMeasure(
            dimension="bias", name=name, limits="", missing="no model is asked (audit.swaps)"
        )
        for name in (FLIPPED_VERDICTS, FLIPPED_ANSWERS)
    ]
)


@dataclass(frozen=True)
class QualityReport:
    """`quality.json`."""

    recipe: str
    filter: str
    """Fingerprint of the artifact, as of `seeds`."""
    seeds: str
    data: str
    """Hash of the files of both: a fingerprint whose data were made again may have others."""
    seed: int
    items: int
    audited_items: int
    audited_seeds: int
    without_real: list[str]
    measures: list[QualityMeasure]
    swaps: dict[str, int] = field(default_factory=dict)
    """Kind -> items that were wanted; empty where no model was asked."""
    gradients: str = ""
    """Of which model and how many items they were wanted; empty where of none."""
    names: str = ""
    """By which model names were looked for; empty where by none."""
    ledger: list[LedgerRow] = field(default_factory=list)
    """What models were asked, and what it cost."""
    format: int = _FORMAT


_REPORT = TypeAdapter(QualityReport)


def hash_of_data(filtered: Artifact, seeds: Artifact) -> str:
    """Of the content of all files of two artifacts, by their manifests."""
    files = [
        f"{made.manifest.stage}/{name} {record.blake3}"
        for made in (filtered, seeds)
        for name, record in sorted(made.manifest.files.items())
    ]
    return hashlib.sha256("\n".join(files).encode()).hexdigest()[:16]


def report_path(runs: Path, fingerprint: str) -> Path:
    """Of the audit of a filter artifact."""
    return runs / AUDITS / f"{fingerprint}.json"


def keep_report(runs: Path, report: QualityReport) -> Path:
    path = report_path(runs, report.filter)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**asdict(report), "measures": [_kept(each) for each in report.measures]})
    return path


def read_report(runs: Path, filtered: Artifact, seeds: Artifact) -> QualityReport | None:
    """The audit of these very data; None where there is none that this version can read."""
    path = report_path(runs, filtered.fingerprint)
    if not path.is_file():
        return None
    try:
        report = _REPORT.validate_json(path.read_bytes())
    except ValidationError:
        return None
    is_of_these = report.data == hash_of_data(filtered, seeds)
    return report if is_of_these and report.format == _FORMAT else None


def shown_value(measure: QualityMeasure) -> str:
    if measure.value is None:
        return f"not measured: {measure.missing}"
    low, high = (_number(end) for end in (measure.low, measure.high))
    return f"{_number(measure.value)} [{low}, {high}]"


def shown_reference(measure: QualityMeasure) -> str:
    if measure.reference is None:
        return measure.reference_is
    return f"{_number(measure.reference)}: {measure.reference_is}"


def shown_costs(report: QualityReport) -> list[str]:
    """What the audit had models do beside measuring, and for how much."""
    return [
        f"Swaps took {row.requests:,} requests to the {row.teacher}, {row.prompt_tokens:,} prompt "
        f"and {row.output_tokens:,} output tokens, ${row.dollars:.2f}."
        for row in report.ledger
    ]


def _kept(measure: QualityMeasure) -> dict[str, object]:
    """Without the examples: they are texts of items, which may hold personal data."""
    return {**asdict(measure), "examples": []}


def _number(value: float | None) -> str:
    if value is None:
        return "open"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
