"""The stage `nearest`: the documents of a source that are nearest to the seeds.

The same seeds without a teacher, after BETR (arXiv 2507.12466). There documents of a sample are
scored by their similarity to benchmark training examples, and a classifier carries the scores over
to a corpus; here every document is scored, by its cosine similarity to the nearest seed.

Guarantees: what holds an evaluated document, as `decontaminate` found it, is left out before
anything is counted, and so are seeds that are evaluated documents; a text that is there several
times is taken once; the nearest come first, as many as fill the rows of `size_of`, and too few are
refused; the same input gives the same bytes on any number of processes; finished shards are not
scored again. Memory grows by some 100 bytes for each document to choose from.

`nearest.jsonl`: documents, each with its origin, score and nearest seed. `dropped.jsonl`: what was
left out because of evaluated documents.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from train.data.encoder import TokenEncoder
from train.data.shards import Shard, in_batches, problem_of, with_suffix
from train.data.sources import SourceDocument, read_documents
from train.data.token_files import TOKENIZER_FOLDER, SourceCounts
from train.tokens.decontaminate import DROPPED, dropped_records, hash_of
from train.tokens.shard_work import CHOSEN, shards_of, work_on_shards
from train.tokens.similarity import Similarity, compare_with
from tsqa.decontaminate.guard import read_dropped_seeds
from tsqa.errors import DataError
from tsqa.recipe import SourceSection, needed
from tsqa.records.seed import Seed, read_seeds
from tsqa.store.atomic import fsync
from tsqa.store.jsonl import write_json, write_jsonl
from tsqa.store.own_files import read_own
from tsqa.store.roles import SourceRole
from tsqa.store.stage import StageContext

_SCORED = np.dtype([("score", "f4"), ("seed", "i4"), ("tokens", "i4"), ("text", "u8")])
"""A document; 0 tokens where it cannot be chosen. `text` is the begin of its hash."""
_SAMPLE = 10_000
"""Documents whose words are weighed."""
_Scored = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class NearDocument:
    """A line of `nearest.jsonl`."""

    id: str
    text: str
    score: float
    """Cosine similarity to the seed."""
    seed: str
    source: str
    file: str
    line: int
    tokens: int


class _ShardCounts(TypedDict):
    """`.json` of a finished shard."""

    dropped: int
    lines: list[int]
    """Of each piece."""


def run(context: StageContext) -> dict[str, float]:
    """Choose the documents of the source `context.part`."""
    from transformers import AutoTokenizer

    mixture, name = needed(context.recipe.mixture, "mixture"), context.part
    section = mixture.sources[name]
    near = needed(section.nearest, f"mixture.sources.{name}.nearest")
    length = needed(context.recipe.train, "train").sequence_length
    seeds, wanted = _seeds(context), _wanted(context, section)
    check = context.inputs.get("decontaminate")
    dropped = dropped_records(check.path) if check else {}
    shards = shards_of(context, near.pool)
    task = _ScoreTask(
        compare_with(seeds, _sample(shards), near.model, f"mixture.sources.{name}.nearest"),
        TokenEncoder(
            AutoTokenizer.from_pretrained(context.inputs["tokenizer"].path / TOKENIZER_FOLDER)
        ),
        section,
        length,
        frozenset(dropped),
    )
    work_on_shards(shards, mixture.tokenize_processes, task, cluster=mixture.tokenize_cluster)
    counts = [read_own(with_suffix(shard.stem, ".json"), _ShardCounts) for shard in shards]
    parts = [np.load(with_suffix(shard.stem, ".npy")) for shard in shards]
    scored = np.concatenate([np.empty(0, _SCORED), *parts])
    chosen, different = _choose(scored, wanted, name, section)
    ends = [int(end) for end in np.cumsum([len(part) for part in parts])]
    _Reader(near.pool, shards, counts, ends, scored, seeds).write(chosen, context.out)
    write_jsonl(context.out / DROPPED, (dropped[text] for text in sorted(dropped)))
    shutil.rmtree(context.out / "shards")  # last: until then a kill costs no scores
    found = scored[chosen]
    return {
        "documents": len(chosen),
        "tokens": int(found["tokens"].sum(dtype=np.int64)),
        "chosen_from": different,
        "lowest_score": round(float(found["score"][-1]), 4),
        "unlike_any_seed": int((found["score"] <= 0).sum()),
        "nearest_seeds": len(np.unique(found["seed"])),
        "seeds": len(seeds),
        "dropped": sum(count["dropped"] for count in counts),
    }


def _seeds(context: StageContext) -> list[Seed]:
    guard = context.inputs.get("guard")
    evaluated = read_dropped_seeds(guard.path) if guard else {}
    seeds = read_seeds(context.inputs["seeds"].path / "seeds.jsonl")
    return [seed for seed in seeds if seed.id not in evaluated]


def _sample(shards: Sequence[Shard]) -> Iterator[str]:
    """The first documents of each shard."""
    for shard in shards:
        documents = _documents(shard, 0, [0])
        yield from (one.text for one in islice(documents, -(-_SAMPLE // len(shards))))


def _wanted(context: StageContext, section: SourceSection) -> int:
    """The tokens of the rows of `size_of`."""
    sized = str(section.size_of)
    counts: SourceCounts = context.inputs[SourceRole(sized)].summary["sources"][sized]
    if not counts["rows"]:
        raise DataError(
            f"mixture.sources.{context.part}: its size is that of {sized}, which has no rows",
            f"give {sized} documents, or leave this source out",
        )
    return counts["rows"] * needed(context.recipe.train, "train").sequence_length


@dataclass(frozen=True)
class _ScoreTask:
    """How to score a shard; every process gets a copy."""

    nearness: Similarity
    encoder: TokenEncoder
    section: SourceSection
    """Of what is chosen."""
    length: int
    dropped: frozenset[str]

    def write(self, shard: Shard) -> None:
        parts, dropped = [np.empty(0, _SCORED)], 0
        lines: list[int] = []
        for place in range(len(shard.pieces)):
            read = [0]
            for documents in in_batches(_documents(shard, place, read)):
                hashes = [hash_of(document.text) for document in documents]
                dropped += sum(one in self.dropped for one in hashes)
                parts.append(self._score([document.text for document in documents], hashes))
            lines.append(read[0])
        with with_suffix(shard.stem, ".npy").open("wb") as out:
            np.save(out, np.concatenate(parts))
        counts: _ShardCounts = {"dropped": dropped, "lines": lines}
        write_json(with_suffix(shard.stem, ".json"), counts)

    def _score(self, texts: Sequence[str], hashes: Sequence[str]) -> _Scored:
        scored = np.zeros(len(texts), _SCORED)
        scored["score"], scored["seed"] = self.nearness(texts)
        scored["text"] = [int(one[:16], 16) for one in hashes]
        tokens = self.encoder.encode(texts)
        scored["tokens"] = [
            0
            if one in self.dropped
            or problem_of(ids, self.encoder, self.section, self.length) is not None
            else len(ids)
            for ids, one in zip(tokens, hashes, strict=True)
        ]
        return scored


def _documents(shard: Shard, piece: int, read: list[int]) -> Iterator[SourceDocument]:
    """The documents of a piece; counts into `read` the lines before the next one."""
    for document in read_documents(shard.pieces[piece], shard.section, shard.key):
        read[0] += 1
        if isinstance(document, SourceDocument):
            yield document


def _choose(
    scored: _Scored, wanted: int, name: str, section: SourceSection
) -> tuple[NDArray[np.int64], int]:
    """(numbers of the documents, the nearest first; how many different ones there were)."""
    usable = np.flatnonzero(scored["tokens"])
    order = usable[np.argsort(-scored["score"][usable], kind="stable")]
    _, first = np.unique(scored["text"][order], return_index=True)
    order = order[np.sort(first)]
    held = np.cumsum(scored["tokens"][order], dtype=np.int64)
    total = int(held[-1]) if len(held) else 0
    if total < wanted:
        pool = section.nearest.pool if section.nearest else name
        raise DataError(
            f"mixture.sources.{name}: {pool} holds {total:,} tokens in {len(order):,} different "
            f"documents, {section.size_of} {wanted:,}: short by {wanted - total:,} tokens",
            f"give {pool} more text, or leave this source out",
        )
    return order[: int(np.searchsorted(held, wanted)) + 1], len(order)


@dataclass(frozen=True)
class _Reader:
    """Reads what is chosen, in the order of its files, and writes it in that of nearness."""

    pool: str
    shards: Sequence[Shard]
    counts: Sequence[_ShardCounts]
    ends: Sequence[int]
    """Documents up to the end of each shard."""
    scored: _Scored
    seeds: Sequence[Seed]

    def write(self, chosen: NDArray[np.int64], out: Path) -> None:
        in_order = np.sort(chosen)
        begins = np.empty(len(chosen), np.int64)
        unordered = out / "unordered.jsonl"
        with unordered.open("wb") as file:
            for place, document in enumerate(self._chosen(in_order)):
                begins[place] = file.tell()
                record = json.dumps(asdict(document), ensure_ascii=False)
                file.write(record.encode() + b"\n")
        with unordered.open("rb") as file, (out / CHOSEN).open("wb") as written:
            for begin in begins[np.searchsorted(in_order, chosen)]:
                file.seek(begin)
                written.write(file.readline())
        unordered.unlink()
        fsync(out / CHOSEN)

    def _chosen(self, in_order: NDArray[np.int64]) -> Iterator[NearDocument]:
        file, before = "", 0
        bounds = zip([0, *self.ends], self.ends, strict=False)
        for shard, counts, (begin, end) in zip(self.shards, self.counts, bounds, strict=True):
            wanted = {
                *in_order[
                    np.searchsorted(in_order, begin) : np.searchsorted(in_order, end)
                ].tolist()
            }
            number = begin
            for place, piece in enumerate(shard.pieces):
                if piece.file != file:
                    file, before = piece.file, 0
                for document in _documents(shard, place, [0]) if wanted else ():
                    if number in wanted:
                        yield self._record(number, document, before)
                    number += 1
                before += counts["lines"][place]

    def _record(self, number: int, document: SourceDocument, before: int) -> NearDocument:
        scored = self.scored[number]
        line = before + document.line
        return NearDocument(
            id=document.id or f"{document.file}:{line}",
            text=document.text,
            score=round(float(scored["score"]), 4),
            seed=self.seeds[int(scored["seed"])].id,
            source=self.pool,
            file=document.file,
            line=line,
            tokens=int(scored["tokens"]),
        )
