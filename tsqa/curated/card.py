"""The dataset card: what the curated dataset holds, how it was made, what it may be used for.

Guarantees: counts of licences, languages, kinds and prompts are those of the rows on disk; a
licence that nobody states is called unknown; seeds that share documents with an evaluated split
are named at the top.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import DatasetCardData

from tsqa.curated.files import CURATED, DATASET, read_rows
from tsqa.recipe import Recipe
from tsqa.records.quality import QualityReport, shown_reference, shown_value
from tsqa.records.rows import read_lineage
from tsqa.records.summaries import FilterSummary, LedgerRow
from tsqa.store.atomic import write_text

CARD = "README.md"
_TEMPLATE = "card.md.jinja"
# https://huggingface.co/docs/hub/repositories-licenses
_HUB_LICENCES = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear
c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0
cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl
ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl
lgpl-2.1 lgpl-3.0 isc ms-pl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa
unlicense zlib pddl unknown other
"""
HUB_LICENCES = frozenset(_HUB_LICENCES.split())
_RESTRICTIONS = {
    "no derivatives": (r"-nd\b", "what is derived may not be shared at all"),
    "non-commercial": (r"-nc\b|non-?commercial|research-only", "no commercial use"),
    "share-alike": (
        r"-sa\b|gpl|gfdl|odbl|cdla-sharing",
        "what is derived must be shared under the same licence",
    ),
}
_PERMISSIVE = (
    r"apache|mit\b|bsd|cc0|cc-by\b|odc-by|cdla-permissive|pddl|unlicense|isc\b|wtfpl|zlib"
    "|public-domain"
)
_TASK_CATEGORIES = {
    "choice": ("question-answering", "multiple-choice"),
    "code": ("text-generation",),
}


@dataclass(frozen=True)
class _Counted:
    """The columns that the card counts."""

    task: str
    capability: str
    language: str
    kind: str
    licence: str
    dataset: str
    revision: str
    split: str
    context: str
    lineage: str


@dataclass
class Census:
    """What the rows on disk say about themselves."""

    rows: int = 0
    tasks: Counter[str] = field(default_factory=Counter)
    capabilities: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    sources: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    """(dataset, revision, split, licence)."""
    prompts: Counter[tuple[str, str, int, str]] = field(default_factory=Counter)
    """(role, id, version, sha256)."""
    quoting: int = 0
    """Rows whose context is a passage of a document."""


def write_card(
    folder: Path,
    *,
    recipe: Recipe,
    seeds_summary: Mapping[str, Any],
    generate_ledger: Sequence[LedgerRow],
    filter_summary: FilterSummary,
) -> Path:
    """Write the card next to the data that a DatasetWriter wrote below `folder`."""
    census = count_rows(folder)
    ledger = [*generate_ledger, *filter_summary.ledger]
    text = (
        markdown_environment(Path(__file__).parent)
        .get_template(_TEMPLATE)
        .render(
            front=_front_matter(recipe, census),
            recipe=recipe,
            census=census,
            conditions=[(name, *describe_licence(name)) for name in sorted(census.licences)],
            seeds=seeds_summary,
            filtered=filter_summary,
            leaks=allowed_leaks(seeds_summary),
            cost=cost_rows(ledger, filter_summary.curated),
            unanswered=[row for row in ledger if row.unanswered],
            served=[row for row in ledger if row.served],
            reused=sum(row.reused for row in ledger),
        )
    )
    path = folder / DATASET / CARD
    write_text(path, text)
    return path


def with_audit(card: str, report: QualityReport) -> str:
    """A card with what an audit of its dataset found. Why something was not measured stays out: it
    may name a folder of this machine."""
    section = (
        markdown_environment(Path(__file__).parent)
        .get_template("audited.md.jinja")
        .render(report=report, shown_value=shown_value, shown_reference=shown_reference)
    )
    before, coverage, after = card.partition("\n## Coverage\n")
    return f"{before.rstrip()}\n\n{section.rstrip()}\n{coverage}{after}"


def count_rows(folder: Path) -> Census:
    """Count the curated rows below a filter artifact, in one pass."""
    census = Census()
    for row in read_rows(folder / CURATED, _Counted):
        census.rows += 1
        census.tasks[row.task] += 1
        census.capabilities[row.capability] += 1
        census.languages[row.language] += 1
        census.kinds[row.kind] += 1
        census.licences[row.licence] += 1
        census.sources[row.dataset, row.revision, row.split, row.licence] += 1
        prompts = read_lineage(row.lineage).prompts
        census.quoting += bool(row.context) and "passage" in prompts
        for role, prompt in prompts.items():
            census.prompts[role, prompt.id, prompt.version, prompt.sha256] += 1
    return census


def describe_licence(licence: str) -> tuple[str, str]:
    """(condition, what it implies for items made from such seeds)."""
    name = _spelled_as_on_hub(licence)
    if name == "unknown":
        return "unknown", "nobody stated it: find out before publishing what is derived"
    found = {
        restriction: meaning
        for restriction, (pattern, meaning) in _RESTRICTIONS.items()
        if re.search(pattern, name)
    }
    if found:
        return ", ".join(found), "; ".join(found.values())
    if re.search(_PERMISSIVE, name):
        return "permissive", "free use; name the source, unless it is in the public domain"
    return "special", "particular terms: read them before publishing what is derived"


def allowed_leaks(seeds: Mapping[str, Any]) -> list[str]:
    """The tasks of a seeds summary that leak and were allowed, each with the reason."""
    return [f"{leak['task']} ({leak['reason']})" for leak in seeds.get("allowed_leaks", [])]


@dataclass(frozen=True, kw_only=True)
class CostRow(LedgerRow):
    """A ledger row with prices; None where the price or the number of items is not known."""

    dollars_per_million: float | None
    """Of accepted tokens."""
    dollars_per_thousand: float | None
    """Of accepted items."""


def cost_rows(
    ledger: Sequence[LedgerRow], curated: int, curated_tokens: int | None = None
) -> list[CostRow]:
    """A row per teacher, then their sum where there are several."""
    rows = list(ledger)
    if len(rows) > 1:
        total = LedgerRow(
            teacher="all",
            model="",
            requests=sum(row.requests for row in rows),
            prompt_tokens=sum(row.prompt_tokens for row in rows),
            output_tokens=sum(row.output_tokens for row in rows),
            engine_seconds=sum(row.engine_seconds for row in rows),
            dollars=sum(row.dollars for row in rows),
            reused=sum(row.reused for row in rows),
        )
        rows.append(total)
    return [
        CostRow(
            **vars(row),
            dollars_per_million=_per(row.dollars, curated_tokens, 10**6),
            dollars_per_thousand=_per(row.dollars, curated, 10**3),
        )
        for row in rows
    ]


def _per(dollars: float, count: int | None, unit: int) -> float | None:
    return unit * dollars / count if dollars and count else None


def _front_matter(recipe: Recipe, census: Census) -> str:
    """The YAML that the hub reads."""
    categories = {
        category
        for kind in census.kinds
        for category in _TASK_CATEGORIES.get(kind, ("question-answering",))
        if not (recipe.generate and recipe.generate.rephrase)
    }
    data = DatasetCardData(
        pretty_name=recipe.name,
        language=sorted(filter(None, census.languages)),
        license=sorted({hub_licence(licence) for licence in census.licences}) or ["unknown"],
        annotations_creators="machine-generated",
        language_creators="machine-generated",
        task_categories=sorted(categories | {"text-generation"}),
        size_categories=size_category(census.rows),
        tags=["synthetic"],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": "data/train-*.parquet"}],
            }
        ],
    )
    return data.to_yaml()


def hub_licence(licence: str) -> str:
    """The hub's identifier of a licence; `other` for one that it does not list."""
    name = _spelled_as_on_hub(licence)
    return name if name in HUB_LICENCES else "other"


def _spelled_as_on_hub(licence: str) -> str:
    """CC BY-SA 4.0 -> cc-by-sa-4.0."""
    return "-".join(licence.lower().replace("_", " ").split()) or "unknown"


def size_category(rows: int) -> str:
    """The hub's name for a number of rows."""
    if rows < 1000:
        return "n<1K"
    names = ["1K", "10K", "100K", "1M", "10M", "100M", "1B"]
    step = min(len(str(rows)) - 4, len(names) - 2)
    return f"{names[step]}<n<{names[step + 1]}"


def markdown_environment(folder: Path) -> jinja2.Environment:
    """Templates of Markdown in a folder, with filters for counts, shares and table cells."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        keep_trailing_newline=True,
    )
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}%"
    environment.filters["cell"] = _cell
    environment.filters["public"] = _without_folders
    return environment


def _cell(value: object) -> str:
    """Text that stays in its Markdown table cell."""
    return " ".join(str(value).split()).replace("\\", "\\\\").replace("|", "\\|") or "-"


def _without_folders(model: str) -> str:
    """A hub id whole; the last part of a local path, which says nothing about a machine."""
    return Path(model).name if model.startswith(("/", ".", "~", "{")) else model
