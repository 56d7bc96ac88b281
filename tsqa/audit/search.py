"""One shard of a dataset -> the evaluated documents that its rows hold, in one process.

Guarantees: a row is compared as `tsqa decontaminate` compares it, then with each benchmark alone,
so that what two benchmarks share counts for both; a shard is finished when its `.json` exists.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TextIO

from train.data.shards import Shard, with_suffix
from train.data.sources import BadRecord, SourceDocument, read_documents
from tsqa.audit.marking import Marked, mark
from tsqa.audit.meaning import MeantDocuments
from tsqa.decontaminate.index import EvaluatedIndex, Leak
from tsqa.recipe import DecontaminateSection
from tsqa.records.candidate import Rejection
from tsqa.records.seed import Seed
from tsqa.store.jsonl import write_json

EXAMPLES = 3
"""Of each benchmark and rule, the first of the data."""
_BATCH = 256
_SHOWN_WORDS = 40


@dataclass(frozen=True)
class FoundLeak:
    """A line of `leaks.jsonl`: a row of the data that holds an evaluated document."""

    file: str
    line: int
    id: str
    benchmark: str
    rule: str
    document: str
    words: str
    """The first of the words that both have."""
    shown: Marked | None = None
    """Only for the examples."""
    run: str = ""
    """All words that both have; only for the examples."""
    similarity: float | None = None
    """Of the rule `semantic`."""


@dataclass(frozen=True)
class PieceCounts:
    """What a piece of the data held."""

    file: str
    lines: int
    documents: int
    empty: int
    bad: int


@dataclass(frozen=True)
class SearchedShard:
    """The `.json` of a finished shard."""

    pieces: list[PieceCounts]


class Benchmarks:
    """All evaluated documents, indexed together and by benchmark."""

    def __init__(
        self,
        documents: Sequence[Seed],
        members: Mapping[str, Sequence[str]],
        section: DecontaminateSection,
        meaning: MeantDocuments | None = None,
    ) -> None:
        """`meaning`: for rows in which no words are found; then this cannot be pickled."""
        self.meaning = meaning
        self._of_task = {
            task: [name for name, leaves in members.items() if task in leaves]
            for task in {document.task for document in documents}
        }
        self._task = {document.id: document.task for document in documents}
        self.all = EvaluatedIndex(documents, section)
        self._by_name = {
            name: EvaluatedIndex([d for d in documents if d.task in leaves], section)
            for name, leaves in members.items()
        }

    def mark(self, name: str, text: str, run: Sequence[str]) -> Marked:
        """Mark a run of words in a text as a benchmark's rules read it."""
        return mark(self._by_name[name].undress(text), run)

    def find(self, texts: Sequence[str]) -> list[list[tuple[str, Leak]]]:
        """List, per text, (benchmark, leak)."""
        found: list[list[tuple[str, Leak]]] = [[] for _ in texts]
        verdicts = self.all.check_texts(texts)
        caught = [number for number, verdict in enumerate(verdicts) if verdict is not None]
        for name, index in self._by_name.items():
            leaks = index.find_leaks([texts[number] for number in caught])
            for number, of_text in zip(caught, leaks, strict=True):
                found[number] += [(name, leak) for leak in of_text]
        for number, of_text in self._find_meant(texts, verdicts):
            found[number] = [
                (name, leak)
                for leak in of_text
                for name in self._of_task[self._task[leak.document]]
            ]
        return found

    def check(self, texts: Sequence[str]) -> list[Rejection | None]:
        """Find, per text, a document that it holds, by any rule."""
        verdicts = self.all.check_texts(texts)
        for number, leaks in self._find_meant(texts, verdicts):
            for leak in leaks[:1]:
                verdicts[number] = Rejection(leak.rule, leak.similarity, leak.document)
        return verdicts

    def _find_meant(
        self, texts: Sequence[str], verdicts: Sequence[Rejection | None]
    ) -> list[tuple[int, list[Leak]]]:
        """(text, what it asks in other words) of those in which no words were found."""
        if self.meaning is None:
            return []
        clean = [number for number, verdict in enumerate(verdicts) if verdict is None]
        plain = [self.all.undress(texts[number]) for number in clean]
        return list(zip(clean, self.meaning.find(plain), strict=True))


@dataclass(frozen=True)
class SearchTask:
    """Every process gets a copy, where there are several."""

    benchmarks: Benchmarks

    def write(self, shard: Shard) -> None:
        counts = []
        shown: Counter[tuple[str, str]] = Counter()
        with with_suffix(shard.stem, ".jsonl").open("w", encoding="ascii") as out:
            for number, piece in enumerate(shard.pieces):
                lines: Counter[str] = Counter()
                texts = _documents(shard, number, lines)
                while batch := list(itertools.islice(texts, _BATCH)):
                    self._write(batch, number, shown, out)
                counts.append(
                    PieceCounts(
                        piece.file, lines.total(), lines["documents"], lines["empty"], lines["bad"]
                    )
                )
        write_json(with_suffix(shard.stem, ".json"), asdict(SearchedShard(counts)))

    def _write(
        self,
        batch: Sequence[SourceDocument],
        piece: int,
        shown: Counter[tuple[str, str]],
        out: TextIO,
    ) -> None:
        leaks = self.benchmarks.find([document.text for document in batch])
        for document, of_text in zip(batch, leaks, strict=True):
            for name, leak in of_text:
                marked, run = None, ""
                shown[name, leak.rule] += 1
                if shown[name, leak.rule] <= EXAMPLES:
                    marked = self.benchmarks.mark(name, document.text, leak.words)
                    run = " ".join(leak.words)
                line = FoundLeak(
                    document.file,
                    document.line,
                    document.id,
                    name,
                    leak.rule,
                    leak.document,
                    " ".join(leak.words[:_SHOWN_WORDS]),
                    marked,
                    run,
                    leak.similarity,
                )
                out.write(json.dumps({"piece": piece, **asdict(line)}) + "\n")


def _documents(shard: Shard, number: int, lines: Counter[str]) -> Iterator[SourceDocument]:
    """Yield the documents of a piece; counts its lines by what they hold."""
    for found in read_documents(shard.pieces[number], shard.section, shard.key):
        if isinstance(found, SourceDocument):
            lines["documents"] += 1
            yield found
        else:
            lines["bad" if isinstance(found, BadRecord) else "empty"] += 1
