"""The stage `decontaminate`: which documents of a source hold evaluated ones.

Guarantees: every document is checked as `tokenize` reads it; a document is known by its text, so
that the same ones are left out wherever they stand; finished shards are not checked again.

`dropped.txt` is what is left out, a hash a line, sorted: where it stays, so do the tokens.
`dropped.jsonl` says why, for each, and names every evaluated document that it holds.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from train.data.shards import Shard, with_suffix
from train.data.sources import SourceDocument, read_documents
from train.tokens.shard_work import shards_of, work_on_shards
from tsqa.decontaminate.index import EvaluatedIndex
from tsqa.recipe import needed, stream_check
from tsqa.seeds.benchmarks import read_evaluated
from tsqa.store.digests import hash_bytes
from tsqa.store.jsonl import read_jsonl, write_json, write_jsonl
from tsqa.store.stage import StageContext

DROPPED = "dropped.jsonl"
_HASHES = "dropped.txt"
_BATCH = 512


def run(context: StageContext) -> dict[str, int]:
    """Check the documents of the source `context.part`."""
    section = needed(stream_check(context.recipe), "eval")
    shards = shards_of(context, context.part)
    task = _CheckTask(EvaluatedIndex(read_evaluated(context), section))
    mixture = needed(context.recipe.mixture, "mixture")
    work_on_shards(shards, mixture.tokenize_processes, task, cluster=mixture.tokenize_cluster)
    near = context.inputs.get("nearest")
    # What was found where the documents were chosen from was touched, and is not here.
    before = dropped_records(near.path) if near else {}
    found = dict(before)
    documents = 0
    for shard in shards:
        counted: dict[str, int] = json.loads(with_suffix(shard.stem, ".json").read_text("ascii"))
        documents += counted["documents"]
        for record in read_jsonl(with_suffix(shard.stem, ".jsonl")):
            found.setdefault(record["text"], record)
    hashes = sorted(found)
    write_jsonl(context.out / DROPPED, (found[name] for name in hashes))
    (context.out / _HASHES).write_text("".join(f"{name}\n" for name in hashes), encoding="ascii")
    shutil.rmtree(context.out / "permuted", ignore_errors=True)
    shutil.rmtree(context.out / "shards")  # last: until then a kill costs no check
    counts = {"documents": documents, "dropped": len(hashes) - len(before)}
    return counts | ({"dropped_before": len(before)} if near else {})


def read_dropped(folder: Path) -> Mapping[str, str]:
    """Hash of a text -> why it is dropped."""
    # Every process that tokenizes keeps this: not the documents, which may be most of a record.
    return {str(r["text"]): str(r["reason"]) for r in read_jsonl(folder / DROPPED)}


def dropped_records(folder: Path) -> dict[str, Mapping[str, object]]:
    """Hash of a text -> its line of `dropped.jsonl`."""
    return {str(record["text"]): record for record in read_jsonl(folder / DROPPED)}


@dataclass(frozen=True)
class DroppedCheck:
    """Per text why it is dropped; None if it is not."""

    dropped: Mapping[str, str]

    def __call__(self, texts: Sequence[str]) -> list[str | None]:
        if not self.dropped:
            return [None] * len(texts)
        return [self.dropped.get(hash_of(text)) for text in texts]


@dataclass(frozen=True)
class _CheckTask:
    index: EvaluatedIndex

    def write(self, shard: Shard) -> None:
        documents = 0
        with with_suffix(shard.stem, ".jsonl").open("w", encoding="utf-8") as out:
            texts = _texts(shard)
            while batch := list(itertools.islice(texts, _BATCH)):
                documents += len(batch)
                checked = zip(batch, self.index.check_texts(batch), strict=True)
                caught = [(text, match) for text, match in checked if match is not None]
                leaks = self.index.find_leaks([text for text, _ in caught])
                for (text, match), found in zip(caught, leaks, strict=True):
                    # A page may hold a whole test split, of several tasks.
                    held = {match.match: None, **{leak.document: None for leak in found}}
                    record = {
                        "text": hash_of(text),
                        "reason": f"{match.reason} of the evaluated {match.match}",
                        "documents": [*held],
                    }
                    out.write(json.dumps(record) + "\n")
        write_json(with_suffix(shard.stem, ".json"), {"documents": documents})


def _texts(shard: Shard) -> Iterator[str]:
    for piece in shard.pieces:
        for document in read_documents(piece, shard.section, shard.key):
            if isinstance(document, SourceDocument):
                yield document.text


def hash_of(text: str) -> str:
    """By which a document is known."""
    return hash_bytes(text.encode())
