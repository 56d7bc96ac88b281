"""The seeds stage: sources -> leaks -> budget -> seeds.jsonl and rejected_seeds.jsonl.

`training_keys.jsonl` holds the keys of every usable document, whether it becomes a seed or not.

Guarantees: one pass over each source, and memory for a key per chosen seed only; the choice is a
pure function of the recipe and the data (the documents with the smallest hashes), whatever the
order of the sources; nothing is dropped without a row that says why.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from tsqa.console import console, progress_bar
from tsqa.errors import DataError, LeakError, RecipeError
from tsqa.recipe import SeedsSection, needed
from tsqa.records.kept_seeds import KeptSeeds, read_kept, write_levels
from tsqa.records.seed import Seed
from tsqa.records.training_keys import TRAINING_KEYS
from tsqa.seeds.budget import Pool, check_shares, plan_seeds
from tsqa.seeds.dataset_files import find_files
from tsqa.seeds.document import Rejected
from tsqa.seeds.leaks import (
    EvaluatedKeys,
    Shared,
    allowed_leak,
    evaluated_identities,
    key_of,
    refuse_shared,
    refuse_unknown_leaks,
    training_keys,
)
from tsqa.seeds.sources import Source, held_out, load_evaluated, open_sources, task_names
from tsqa.store.jsonl import write_jsonl
from tsqa.store.stage import StageContext
from tsqa.tasks.identity import evaluated_split, is_local, split_identity
from tsqa.tasks.library import task_library
from tsqa.text.hashing import hash_text

LEAKED = "document of an evaluated split"
_NOTED = 1000
_TAKEN = 1
"""Above every negated hash."""
_SUSPICIOUS = 20
"""Documents of which not all can have one and the same answer."""


@dataclass
class _Pool:
    """What one source gave: its counts, and where its likely seeds stand in the spool."""

    available: int = 0
    rejected: int = 0
    shared: Shared = field(default_factory=Shared)
    answer: str | None = None
    """The answer of the first document, until another has another."""
    heap: list[tuple[int, int, int]] = field(default_factory=list)
    """(-hash, document number, offset in the spool); the first has the largest hash. A seed of the
    release has `_TAKEN` and its place there instead of the first two."""
    worst: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    """Reason -> the detail of its first document."""
    kept: KeptSeeds | None = None
    """Seeds of the release that is refreshed; they are taken first, in its order."""


def run(context: StageContext) -> dict[str, Any]:
    """Write seeds.jsonl, rejected_seeds.jsonl and training_keys.jsonl."""
    section = needed(context.recipe.seeds, "seeds")
    sources = open_sources(context, _identities(context, section))
    left_out = held_out(section, context.task_folder(section) if section.tasks else None)
    for name, family in left_out.items():
        console.print(f"seeds: {name} gives no seed: seeds.hold_out has its family {family}")
    allowed = refuse_leaks(sources, section.allow_leaks)
    for source in sources:
        source.check()
    if section.budget:
        check_shares({source.capability for source in sources}, section.budget)
    known, unread = _evaluated_keys(context, section)

    reasons: Counter[str] = Counter()
    spool = context.out / "chosen.spool"
    pools = _read_sources(context.out, sources, section, known, spool, reasons)
    for name in section.allow_leaks:
        if pools[name].shared.count:
            allowed.setdefault(name, f"{pools[name].shared.count:,} of its documents are evaluated")
    planned = plan_seeds(
        {
            source.name: Pool(
                source.capability, pools[source.name].available, len(pools[source.name].heap)
            )
            for source in sources
        },
        section.budget,
    )
    counts: dict[str, Counter[str]] = {
        key: Counter() for key in ("task", "kind", "capability", "licence")
    }
    written = write_jsonl(context.out / "seeds.jsonl", _chosen(spool, pools, planned, counts))
    spool.unlink()
    taken = _write_taken(context.out, pools, planned) if section.refresh else {}
    return {
        "seeds": written,
        "rejected_seeds": sum(reasons.values()),
        "rejected_by_reason": dict(reasons.most_common()),
        "by_task": dict(counts["task"]),
        "by_kind": dict(counts["kind"]),
        "by_capability": dict(counts["capability"]),
        "licences": dict(counts["licence"]),
        "coverage": [
            {
                "task": source.name,
                "capability": source.capability,
                "available": pools[source.name].available,
                "planned": planned[source.name],
                "chosen": counts["task"][source.name],
            }
            for source in sources
        ],
        "allowed_leaks": [
            allowed_leak(name, allowed[name], pools[name].shared) for name in sorted(allowed)
        ],
        "siblings_not_compared": unread,
        **({"held_out": left_out} if left_out else {}),
        **({"taken_from_release": taken} if section.refresh else {}),
    }


def _write_taken(
    out: Path, pools: Mapping[str, _Pool], planned: Mapping[str, int]
) -> dict[str, int]:
    """Write which seeds the release had; task -> how many. What is lost of it is said."""
    levels: dict[str, list[int]] = {}
    for name, pool in pools.items():
        if pool.kept is None:
            continue
        best = heapq.nlargest(planned[name], pool.heap)
        places = sorted(place for rank, place, _ in best if rank == _TAKEN)
        levels[name] = pool.kept.now(places)
        lost = len(pool.kept.places) - len(places)
        if lost:
            console.print(
                f"  seeds.refresh: {lost:,} of {len(pool.kept.places):,} seeds of {name} in the "
                "release are gone, changed, or beyond max_per_task or budget: other items of this "
                "task may be asked for again, as they showed these",
                style="yellow",
            )
    write_levels(out, levels)
    return {name: found[-1] if found else 0 for name, found in levels.items()}


def _kept(release: str, sources: Sequence[str]) -> dict[str, KeptSeeds]:
    """Task -> the seeds of a release. What is of no source now is said, and refused where that is
    all: then everything would be asked for again."""
    kept = read_kept(release)
    gone = {name: len(task.places) for name, task in kept.items() if name not in sources}
    if kept and len(gone) == len(kept):
        raise RecipeError(
            f"seeds.refresh = {release}: it has seeds of {', '.join(gone)} alone, which the recipe "
            "takes none from",
            "name a release of this recipe, or give a source its old name",
        )
    for name, count in gone.items():
        console.print(
            f"  seeds.refresh: {count:,} seeds of {name} in the release are of no source now; "
            "under another name its documents are new seeds, and are asked about again",
            style="yellow",
        )
    return kept


def refuse_leaks(sources: Sequence[Source], allow: Sequence[str]) -> dict[str, str]:
    """Raise LeakError where a source is an evaluated split by name; return the allowed ones."""
    refuse_unknown_leaks(allow, [source.name for source in sources])
    allowed: dict[str, str] = {}
    for source in sources:
        reason = source.leak()
        if reason and source.name not in allow:
            raise LeakError(
                f"seeds: {source.name}: {reason}",
                f"take {source.name} out of seeds, or name it in seeds.allow_leaks: that is "
                "recorded in every artifact downstream",
            )
        if reason:
            allowed[source.name] = reason
    return allowed


def _identities(context: StageContext, section: SeedsSection) -> dict[tuple[str, ...], str]:
    """Split identity -> a task of the library, or a sibling in the folder, that evaluates it.

    lm-eval's own 13,000 tasks are asked only where a source is on the hub.
    """
    include = context.task_folder(section)
    found: dict[tuple[str, ...], str] = {}
    on_hub = any(find_files(d, context.resolve_data(d.path)) is None for d in section.own)
    if section.tasks:
        library = task_library(include)
        found |= evaluated_identities(include)
        configs = [library.config(name) for name in task_names(context, section)]
        on_hub |= any(
            split_identity(config, str(config.get("training_split")))[0] == "dataset"
            for config in configs
        )
    if on_hub:
        found = {**evaluated_identities(None), **found}
    return found


def _evaluated_keys(
    context: StageContext, section: SeedsSection
) -> tuple[EvaluatedKeys, list[str]]:
    """(keys of evaluated documents, siblings that could not be read).

    The seed tasks' own scored splits, and the siblings in their folder whose data are local files;
    lm-eval's own are known by name only: they would be downloads. The stage `guard` compares with
    what the recipe evaluates.
    """
    include = context.task_folder(section)
    own = {(name, include) for name in task_names(context, section)}
    siblings = set()
    if include is not None and section.tasks:
        library = task_library(include)
        siblings = {
            (name, include)
            for name in library.leaf_tasks()
            if (split := evaluated_split(library.config(name)))
            and is_local(library.config(name), split)
        } - own
    keys = EvaluatedKeys()
    unread: list[str] = []
    for name, folder in sorted(own | siblings, key=str):
        try:
            for document in load_evaluated(name, folder):
                keys.add(key_of(document), document.id)
        except DataError:
            if (name, folder) in own:
                raise
            unread.append(name)
    return keys, unread


def _read_sources(
    out: Path,
    sources: Sequence[Source],
    section: SeedsSection,
    known: EvaluatedKeys,
    spool: Path,
    reasons: Counter[str],
) -> dict[str, _Pool]:
    """Read every source once: likely seeds into the spool, rejections into their file."""
    pools: dict[str, _Pool] = {}
    kept = _kept(section.refresh, [source.name for source in sources]) if section.refresh else {}
    rejected = out / "rejected_seeds.jsonl"
    with (
        progress_bar() as bar,
        spool.open("wb") as chosen,
        rejected.open("w", encoding="utf-8") as losers,
        (out / TRAINING_KEYS).open("w", encoding="ascii") as trained,
    ):
        row = bar.add_task("seeds", total=len(sources), note="")
        for source in sources:
            pool = pools[source.name] = _Pool(kept=kept.get(source.name))
            is_allowed = source.name in section.allow_leaks
            for number, document in enumerate(source.documents()):
                if number % _NOTED == 0:
                    bar.update(row, note=f"{source.name}: {number:,} documents")
                if isinstance(document, Seed):
                    keys = training_keys(document)
                    trained.write(keys.line())
                    if same := known.find(keys.whole):
                        pool.shared.add(document.id, same)
                        document = document if is_allowed else _leaked(document)
                if isinstance(document, Rejected):
                    pool.rejected += 1
                    reasons[document.reason] += 1
                    pool.worst[document.reason] += 1
                    pool.examples.setdefault(document.reason, document.detail)
                    losers.write(json.dumps(asdict(document), ensure_ascii=False) + "\n")
                else:
                    _offer(document, number, pool, section, chosen)
            _refuse_poor(source.name, pool, is_allowed, rejected)
            read = pool.available + pool.rejected
            bar.update(row, advance=1, note=f"{source.name}: {read:,} documents")
    return pools


def _offer(seed: Seed, number: int, pool: _Pool, section: SeedsSection, chosen: IO[bytes]) -> None:
    """Spool a document whose hash is among the smallest so far."""
    if pool.available == 0:
        pool.answer = seed.answer or None  # a passage has none
    elif seed.answer != pool.answer:
        pool.answer = None
    pool.available += 1
    digest = hashlib.blake2b(f"{section.seed}:{seed.task}:{seed.id}".encode(), digest_size=8)
    rank = -int.from_bytes(digest.digest(), "big")
    place = pool.kept.places.get((seed.id, seed.content_hash)) if pool.kept else None
    if place is not None:
        rank, number = _TAKEN, place
    is_full = len(pool.heap) == section.max_per_task
    if is_full and rank <= pool.heap[0][0]:
        return
    entry = (rank, number, chosen.tell())
    chosen.write(json.dumps(asdict(seed)).encode() + b"\n")
    if is_full:
        heapq.heapreplace(pool.heap, entry)
    else:
        heapq.heappush(pool.heap, entry)


def _leaked(seed: Seed) -> Rejected:
    return Rejected(
        seed.id, seed.task, seed.doc_id, LEAKED, "", (seed.question or seed.context)[:200]
    )


def _refuse_poor(name: str, pool: _Pool, is_allowed: bool, rejected: Path) -> None:
    """Raise where a source shares too many documents with evaluated splits, or leaves none."""
    total = pool.available if is_allowed else pool.available + pool.shared.count
    if not is_allowed:
        refuse_shared(name, pool.shared, total)
    if not pool.available:
        if not pool.rejected:
            raise DataError(f"seeds: {name} leaves no seed: it is empty", "correct the source")
        ((reason, count),) = pool.worst.most_common(1)
        raise DataError(
            f"seeds: {name} leaves no seed: {pool.rejected:,} documents rejected; {count:,} of "
            f"them: {reason}: {pool.examples[reason]}".rstrip(": "),
            f"correct the source or its columns; every rejected document is in {rejected}",
        )
    if pool.answer is not None and pool.available >= _SUSPICIOUS:
        raise DataError(
            f"seeds: all {pool.available:,} documents of {name} have one answer: "
            f"{pool.answer!r:.60}",
            "its target or column does not name the answer: take it out, or correct it",
        )


def _chosen(
    spool: Path,
    pools: Mapping[str, _Pool],
    planned: Mapping[str, int],
    counts: Mapping[str, Counter[str]],
) -> Iterator[dict[str, Any]]:
    """The planned number of each pool with the smallest hashes, in the order of the data; those of
    the release that is refreshed before them."""
    ids: set[int] = set()
    with spool.open("rb") as handle:
        for name, pool in pools.items():
            best = heapq.nlargest(planned[name], pool.heap)
            for _, _, offset in sorted(best, key=lambda entry: (entry[0] != _TAKEN, entry[1])):
                handle.seek(offset)
                row: dict[str, Any] = json.loads(handle.readline())
                # `b-1` of a dataset `a` would be `1` of `a-b`, and lineage goes by ids.
                if (known := hash_text(json.dumps(row["id"]))) in ids:
                    raise DataError(
                        f"seeds: {name}: its seed {row['id']} has the id of another source's",
                        "give one of the two another name",
                    )
                ids.add(known)
                for key, count in counts.items():
                    count[row[key]] += 1
                yield row
