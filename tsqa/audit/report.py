"""The report of an audit: `report.json`, `report.html`, and every leak in `leaks.jsonl`.

Guarantee: it holds nothing of the machine, the time or the number of processes.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from train.data.shards import Shard, with_suffix
from tsqa.audit.benchmarks import Against
from tsqa.audit.marking import Marked
from tsqa.audit.search import EXAMPLES, Benchmarks, FoundLeak, PieceCounts, SearchedShard
from tsqa.decontaminate.index import measure_recall
from tsqa.errors import DataError
from tsqa.pages import page_environment
from tsqa.recipe import DecontaminateSection
from tsqa.records.seed import Seed, read_seeds
from tsqa.records.summaries import SemanticTask
from tsqa.store.atomic import atomic_writer, write_text
from tsqa.store.jsonl import write_json
from tsqa.store.own_files import read_own

SCRATCH = "scratch"
_OTHER_WORDS = ("options", "retold", "semantic", "slots")
"""Rules by which the evaluated document has other words than the row, or in another order; it is
shown whole."""
_LINE = TypeAdapter(FoundLeak)


@dataclass(frozen=True)
class AuditedData:
    """What was read."""

    path: str
    subset: str | None
    split: str | None
    revision: str | None
    text_field: str
    files: int


@dataclass(frozen=True)
class RowCounts:
    """Rows of the data; `share` is of its documents."""

    documents: int
    empty: int
    bad: int
    leaking: int
    share: float


@dataclass(frozen=True)
class RuleCounts:
    """What one rule found of a benchmark."""

    rule: str
    rows: int
    share: float
    """Of the rows of the data."""
    found: int
    """Evaluated documents."""


@dataclass(frozen=True)
class LeakExample:
    """A row and the evaluated document that it holds, side by side."""

    file: str
    line: int
    id: str
    rule: str
    document: str
    row: Marked
    evaluated: Marked


@dataclass(frozen=True)
class BenchmarkReport:
    """A benchmark; its found documents are counted once, whatever rules find them."""

    name: str
    evaluated: int
    found: int
    found_share: float
    rows: int
    share: float
    rules: list[RuleCounts]
    examples: list[LeakExample]


@dataclass(frozen=True)
class SemanticAudit:
    """How meaning was compared, where it was."""

    model: str
    false_positives: float
    tasks: list[SemanticTask]


@dataclass(frozen=True)
class AuditReport:
    """`report.json`."""

    data: AuditedData
    against: str
    ngram: int
    rows: RowCounts
    benchmarks: list[BenchmarkReport]
    planted_leak_recall: dict[str, float]
    """Disguise -> share found of leaks planted from these benchmarks, by the same rules."""
    semantic: SemanticAudit | None = None


class _Tally:
    """Counts leaks row by row, and keeps the first few of each benchmark and rule."""

    def __init__(self) -> None:
        self.leaking = 0
        self.rows: Counter[str] = Counter()
        self.rule_rows: Counter[tuple[str, str]] = Counter()
        self.found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self.examples: defaultdict[tuple[str, str], list[FoundLeak]] = defaultdict(list)

    def add(self, row: Sequence[FoundLeak]) -> None:
        """Count the leaks of one row."""
        self.leaking += 1
        self.rows.update({leak.benchmark for leak in row})
        self.rule_rows.update({(leak.benchmark, leak.rule) for leak in row})
        for leak in row:
            key = leak.benchmark, leak.rule
            self.found[key].add(leak.document)
            if leak.shown is not None and len(self.examples[key]) < EXAMPLES:
                self.examples[key].append(leak)


def write_report(
    folder: Path,
    data: AuditedData,
    against: Against,
    benchmarks: Benchmarks,
    shards: Sequence[Shard],
    semantic: SemanticAudit | None,
) -> AuditReport:
    """Join the finished shards, in their order."""
    found = [read_own(with_suffix(s.stem, ".json"), SearchedShard).pieces for s in shards]
    counts = [piece for pieces in found for piece in pieces]
    documents = sum(piece.documents for piece in counts)
    bad, empty = (sum(getattr(piece, key) for piece in counts) for key in ("bad", "empty"))
    if not documents:
        raise DataError(
            f"{data.path}: holds no text ({bad:,} bad records, {empty:,} without text)",
            "name the field that holds it: --text-field NAME",
        )
    tally = _Tally()
    with atomic_writer(folder / "leaks.jsonl") as out:
        leaks = _read_leaks(shards, found)
        for _, row in itertools.groupby(leaks, lambda leak: (leak.file, leak.line)):
            tally.add(of_row := list(row))
            for leak in of_row:
                line = {k: v for k, v in asdict(leak).items() if k not in ("shown", "run")}
                if leak.similarity is None:
                    del line["similarity"]
                out.write(json.dumps(line, ensure_ascii=False) + "\n")
    evaluated = list(read_seeds(folder / SCRATCH / "benchmarks.jsonl"))
    report = AuditReport(
        data=data,
        against=against.name,
        ngram=DecontaminateSection().ngram,
        rows=RowCounts(documents, empty, bad, tally.leaking, _share(tally.leaking, documents)),
        benchmarks=_of_benchmarks(tally, against.members, evaluated, benchmarks, documents),
        planted_leak_recall=measure_recall(
            lambda leaks: benchmarks.check([leak.full_text for leak in leaks]), evaluated
        ),
        semantic=semantic,
    )
    write_text(folder / "report.html", _page(report))
    write_json(folder / "report.json", asdict(report))
    return report


def _of_benchmarks(
    tally: _Tally,
    members: Mapping[str, Sequence[str]],
    evaluated: Sequence[Seed],
    benchmarks: Benchmarks,
    documents: int,
) -> list[BenchmarkReport]:
    of_task = Counter(seed.task for seed in evaluated)
    wanted = {leak.document for leaks in tally.examples.values() for leak in leaks}
    shown = {seed.id: seed for seed in evaluated if seed.id in wanted}
    reports = []
    for name, leaves in members.items():
        rules = sorted(rule for benchmark, rule in tally.rule_rows if benchmark == name)
        total = sum(of_task[leaf] for leaf in leaves)
        found = len(set().union(*(tally.found[name, rule] for rule in rules)))
        reports.append(
            BenchmarkReport(
                name=name,
                evaluated=total,
                found=found,
                found_share=_share(found, total),
                rows=tally.rows[name],
                share=_share(tally.rows[name], documents),
                rules=[
                    RuleCounts(
                        rule,
                        tally.rule_rows[name, rule],
                        _share(tally.rule_rows[name, rule], documents),
                        len(tally.found[name, rule]),
                    )
                    for rule in rules
                ],
                examples=[
                    _example(leak, shown[leak.document], benchmarks)
                    for rule in rules
                    for leak in tally.examples[name, rule]
                ],
            )
        )
    return reports


def _example(leak: FoundLeak, seed: Seed, benchmarks: Benchmarks) -> LeakExample:
    parts = (seed.context, seed.question, *seed.choices, seed.answer)
    text = "\n".join(part for part in parts if part)
    if leak.rule in _OTHER_WORDS:
        evaluated = Marked("", text, "")
    else:
        evaluated = benchmarks.mark(leak.benchmark, text, leak.run.split(" "))
    assert leak.shown is not None
    return LeakExample(
        leak.file, leak.line, leak.id, leak.rule, leak.document, leak.shown, evaluated
    )


def _read_leaks(
    shards: Sequence[Shard], found: Sequence[Sequence[PieceCounts]]
) -> Iterator[FoundLeak]:
    """Yield all leaks, lines counted over the file instead of the piece."""
    file, before = "", 0
    for shard, pieces in zip(shards, found, strict=True):
        offsets = []
        for piece in pieces:
            before = before if piece.file == file else 0
            file = piece.file
            offsets.append(before)
            before += piece.lines
        with with_suffix(shard.stem, ".jsonl").open("rb") as lines:
            for line in lines:
                leak = _LINE.validate_json(line)
                yield replace(leak, line=leak.line + offsets[json.loads(line)["piece"]])


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _page(report: AuditReport) -> str:
    page = page_environment(Path(__file__).parent).get_template("page.html.jinja")
    return page.render(report=report)
