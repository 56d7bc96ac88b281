"""Tokenizing: tokens/s beside bare `tokenizers.encode_batch` and datatrove, and memory.

    python -m tests.benchmarks.tokenize [--peer-python /path/to/datatrove/bin/python]

All read the same JSONL files on the same cores, in turns, several rounds; the median round counts.
Ours and datatrove's are whole runs: start of the processes, reading, encoding, writing. The bare
encode_batch has its texts in memory, gives 1,024 at a time, and only the encoding is timed.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import math
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from rich.console import Console
from rich.table import Table

from tests.benchmarks.peers import peak_mib, run_peer
from tests.benchmarks.questions import load_questions
from tests.support.paths import SHARED
from tests.support.token_context import token_context, tokenize_all
from train.data.shards import stem_of, with_suffix
from train.data.token_files import SourceCounts
from train.data.tokenizer import train_tokenizer
from tsqa.store.own_files import read_own

REAL = SHARED / "data" / "corpus"
_PEER = Path(__file__).with_name("datatrove_tokens.py")
_VOCABULARY = 32_000
_FILES = 4


@dataclass(frozen=True)
class Run:
    tokens: int
    seconds: float
    cpu_seconds: float | None = None

    def speed(self) -> float:
        return self.tokens / self.seconds

    def thrift(self) -> float:
        """Tokens per second of a busy core, which others on the machine change little."""
        return self.tokens / self.cpu_seconds if self.cpu_seconds else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-python", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_corpus(folder / "corpus", arguments.megabytes)
        trained = train_tokenizer([folder / "corpus" / "0.jsonl"], _VOCABULARY)
        trained.save_pretrained(folder)
        _import_transformers(folder)
        rounds = [measure(folder, n, arguments.peer_python) for n in range(arguments.rounds)]
        _print(rounds)
        _print_memory(folder, arguments.megabytes)


def _import_transformers(folder: Path) -> None:
    """Here, so that neither the first round nor a child process pays for it."""
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(folder)


def write_corpus(folder: Path, megabytes: int) -> None:
    """Public-domain books, over and over, in files of equal size; benchmark questions elsewhere."""
    if REAL.is_dir():
        with gzip.open(REAL / "books.jsonl.gz") as handle:
            texts = [json.loads(line)["text"] for line in handle]
    else:
        texts = [seed.question for seed in load_questions("train")]
    folder.mkdir()
    endless = itertools.cycle(texts)
    for number in range(_FILES):
        with (folder / f"{number}.jsonl").open("w") as out:
            while out.tell() < megabytes * 10**6 / _FILES:
                out.write(json.dumps({"text": next(endless)}) + "\n")


def measure(folder: Path, number: int, peer: Path | None) -> dict[str, Run]:
    """One round."""
    runs = {
        "ours": tokenize_folder(folder, folder / f"ours-{number}"),
        "encode_batch": encode_bare(folder),
    }
    found = run_peer(peer, "tokenize", folder, _PEER)
    return runs | ({"datatrove": Run(**found)} if found else {})


def tokenize_folder(folder: Path, target: Path, copies: int = 1) -> Run:
    """The whole stage, with a tokenizer that is there, over so many sources."""
    sources = {f"web{n}": {"path": str(folder / "corpus")} for n in range(copies)}
    words = target / "words" / "tokenizer"
    words.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (words / name).write_bytes((folder / name).read_bytes())
    cores = len(os.sched_getaffinity(0))
    context = token_context(
        target, sources, train_on=folder / "corpus", length=2048, processes=cores,
        tokenizer=words.parent,
    )  # fmt: skip
    begun, busy = time.perf_counter(), cpu_seconds()
    made = tokenize_all(context)
    counts = [with_suffix(stem_of(one.out, one.part), ".json") for one in made]
    tokens = sum(read_own(file, SourceCounts)["tokens"] for file in counts)
    return Run(tokens, time.perf_counter() - begun, cpu_seconds() - busy)


def encode_bare(folder: Path) -> Run:
    """encode_batch itself."""
    texts = [
        json.loads(line)["text"]
        for file in sorted((folder / "corpus").iterdir())
        for line in file.open()
    ]
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    seconds, busy, tokens = 0.0, 0.0, 0
    for first in range(0, len(texts), 1024):
        begun, idle = time.perf_counter(), cpu_seconds()
        encodings = tokenizer.encode_batch(texts[first : first + 1024], add_special_tokens=False)
        seconds += time.perf_counter() - begun
        busy += cpu_seconds() - idle
        tokens += sum(map(len, encodings))
    return Run(tokens, seconds, busy)


def cpu_seconds() -> float:
    """Of this process and its children that have ended."""
    return sum(os.times()[:4])


def _print(rounds: list[dict[str, Run]]) -> None:
    cores = len(os.sched_getaffinity(0))
    table = Table(title=f"{cores} cores, median of {len(rounds)} rounds (lowest to highest)")
    for column in ("", "tokens/s", "ours is", "tokens per core second", "ours is"):
        table.add_column(column, justify="right" if column else "left")
    for name in rounds[0]:
        cells = []
        for rate in (Run.speed, Run.thrift):
            rates = [rate(found[name]) for found in rounds]
            ratios = [rate(found["ours"]) / rate(found[name]) for found in rounds]
            spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
            shown = "" if name == "ours" else f"{statistics.median(ratios):.2f} x {spread}"
            known = not math.isnan(rates[0])
            cells += [f"{statistics.median(rates):,.0f}", shown] if known else ["-", ""]
        table.add_row(name, *cells)
    Console().print(table)


def tokenize_in_one_process(folder: Path, target: Path, copies: int) -> None:
    """For the memory: no child process does the work."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tokenize_folder(folder, target, copies)


def _print_memory(folder: Path, megabytes: int) -> None:
    table = Table(title="peak resident memory of one process")
    for column in ("MB of text", "MiB"):
        table.add_column(column, justify="right")
    for copies in (1, 4):
        peak = peak_mib(tokenize_in_one_process, folder, folder / f"memory-{copies}", copies)
        table.add_row(f"{megabytes * copies:,}", f"{peak:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
