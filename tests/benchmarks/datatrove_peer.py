"""What datatrove does with the documents of the two benchmarks; run by its own Python.

    PEER_PYTHON tests/benchmarks/datatrove_peer.py {decontaminate,dedup} --folder F

Reads F/documents.jsonl (and F/evaluated.jsonl, F/plants.jsonl) and prints one JSON object. Needs
`pip install datatrove[processing]==0.10.0 spacy`; imports nothing of this project. One process, its
default configuration; documents are in memory before the clock starts.
"""

from __future__ import annotations

import argparse
import importlib.metadata  # noqa: F401 - datatrove 0.10 uses it without importing it
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import (
    NGramsDecontConfig,
    NGramsDecontFilter,
    NGramsDecontIndexer,
)
from datatrove.pipeline.dedup.minhash import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from loguru import logger

# The indexer loads tasks through lighteval whatever it is given; only its hashing is used here.
NGramsDecontIndexer._requires_dependencies = []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["decontaminate", "dedup"])
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    logger.remove()
    run = decontaminate if arguments.what == "decontaminate" else dedup
    print(json.dumps(run(arguments.folder)))


def decontaminate(folder: Path) -> dict[str, Any]:
    """Per setting: documents/s, and per kind the share dropped of the documents and the plants."""
    training, plants = (_by_kind(folder / f"{name}.jsonl") for name in ("documents", "plants"))
    results = {}
    for name, with_queries in (("default", False), ("with query n-grams", True)):
        config = NGramsDecontConfig(find_query_ngrams=with_queries)
        check = NGramsDecontFilter(_index(folder, config), config=config)
        check.filter(_document({"id": "warm", "text": "up"}))
        start = time.perf_counter()
        dropped = {kind: _dropped(check, found) for kind, found in training.items()}
        seconds = time.perf_counter() - start
        results[name] = {
            "rate": sum(map(len, training.values())) / seconds,
            "dropped": dropped,
            "recall": {kind: _dropped(check, found) for kind, found in plants.items()},
        }
    return results


def _by_kind(path: Path) -> dict[str, list[Document]]:
    found = defaultdict(list)
    for row in _rows(path):
        found[row["kind"]].append(_document(row))
    return found


def _dropped(check: NGramsDecontFilter, documents: list[Document]) -> float:
    return sum(check.filter(document) is not True for document in documents) / len(documents)


def _index(folder: Path, config: NGramsDecontConfig) -> str:
    """As NGramsDecontIndexer.run writes it, without its lighteval tasks."""
    target = folder / f"index-{config.find_query_ngrams}"
    target.mkdir()
    indexer = NGramsDecontIndexer(str(target), config=config)
    hashes = {
        value
        for row in _rows(folder / "evaluated.jsonl")
        for value in indexer.compute_hashes(row["answer"], row["query"])
    }
    array = np.array(list(hashes), dtype=config.hash_config.np_descr)
    array.tofile(target / "evaluated.index.hashes")
    return str(target)


def dedup(folder: Path) -> dict[str, Any]:
    """Documents/s through the four stages, and the ids that are dropped."""
    documents = [_document(row) for row in _rows(folder / "documents.jsonl")]
    with tempfile.TemporaryDirectory() as scratch:
        signatures, buckets, removed = (f"{scratch}/{name}" for name in ("a", "b", "c"))
        MinhashDedupSignature(signatures).get_shingles("warm up")
        start = time.perf_counter()
        MinhashDedupSignature(signatures).run(documents)
        step = MinhashDedupBuckets(signatures, buckets)
        for rank in range(step.config.num_buckets):
            step.run(None, rank, step.config.num_buckets)
        MinhashDedupCluster(buckets, removed).run(None, 0, 1)
        kept = {document.id for document in MinhashDedupFilter(removed).run(documents, 0, 1)}
        seconds = time.perf_counter() - start
    dropped = [document.id for document in documents if document.id not in kept]
    return {"rate": len(documents) / seconds, "dropped": dropped}


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _document(row: dict[str, Any]) -> Document:
    return Document(text=row["text"], id=row["id"])


if __name__ == "__main__":
    main()
