"""Documents of the recipe's own sources that did not become seeds: what the privacy attack needs.

Which documents become seeds is decided by their hashes, so these differ from seeds by chance alone.
"""

from __future__ import annotations

import heapq
from collections import Counter
from pathlib import Path

from tsqa.errors import TsqaError
from tsqa.quality.privacy import UnusedDocuments
from tsqa.quality.sample import QualitySample, of_seed, rank
from tsqa.records.seed import Seed, read_seeds
from tsqa.seeds.sources import Source, open_sources
from tsqa.store.jsonl import read_jsonl
from tsqa.store.stage import StageContext
from tsqa.text.hashing import hash_text


def read_held_out(
    context: StageContext, seeds: Path, sample: QualitySample, seed: int
) -> UnusedDocuments:
    """As many of each task as there are seeds in the sample, where the sources hold so many.

    `context`: of the stage `seeds`, with its inputs.
    """
    try:
        sources = open_sources(context, {})
    except (TsqaError, OSError) as error:
        return UnusedDocuments([], f"the sources cannot be opened: {error}")
    wanted = Counter(each.task for each in sample.seeds.values())
    known: set[int] = set()
    for each in read_seeds(seeds / "seeds.jsonl"):
        known |= {hash_text(each.id), hash_text(each.content_hash)}
    # What seeds refused is no chance draw; it holds, such as copies, what an evaluated split does.
    known |= {hash_text(line["id"]) for line in read_jsonl(seeds / "rejected_seeds.jsonl")}
    found: list[Seed] = []
    for source in sources:
        if source.name in wanted:
            try:
                found += _draw(source, wanted[source.name], known, seed)
            except (TsqaError, OSError) as error:
                return UnusedDocuments([], f"{source.name} cannot be read: {error}")
    missing = (
        ""
        if found
        else ("every usable document is a seed; with seeds.budget or max_per_task some are not")
    )
    return UnusedDocuments([*map(of_seed, found)], missing)


def _draw(source: Source, count: int, known: set[int], seed: int) -> list[Seed]:
    unused = (
        each
        for each in source.documents()
        if isinstance(each, Seed)
        and known.isdisjoint((hash_text(each.id), hash_text(each.content_hash)))
    )
    return heapq.nsmallest(count, unused, key=lambda each: rank(seed, f"held/{each.id}"))
