"""datatrove's DocumentTokenizer on the files of the tokenize benchmark; run by its own Python.

    PEER_PYTHON tests/benchmarks/datatrove_tokens.py tokenize --folder F

Reads F/corpus/*.jsonl and F/tokenizer.json, prints one JSON object. Needs
`pip install datatrove[io]==0.10.0 tokenizers orjson`; imports nothing of this project. One task per
file, a process per core, no shuffle, its default batch.
"""

from __future__ import annotations

import argparse
import importlib.metadata  # noqa: F401 - datatrove 0.10 uses it without importing it
import json
import os
import shutil
import time
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens.tokenizer import DocumentTokenizer
from loguru import logger


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["tokenize"])
    parser.add_argument("--folder", type=Path, required=True)
    folder = parser.parse_args().folder
    logger.remove()
    out, logs = folder / "datatrove", folder / "datatrove-logs"
    for old in (out, logs):
        shutil.rmtree(old, ignore_errors=True)
    writer = DocumentTokenizer(
        str(out),
        str(folder / "tokenizer.json"),
        eos_token="<|endoftext|>",
        shuffle_documents=False,
    )
    begun = time.perf_counter()
    LocalPipelineExecutor(
        [JsonlReader(str(folder / "corpus")), writer],
        tasks=len(list((folder / "corpus").iterdir())),
        workers=len(os.sched_getaffinity(0)),
        logging_dir=str(logs),
    ).run()
    seconds = time.perf_counter() - begun
    tokens = sum(file.stat().st_size for file in out.glob("*.ds")) // 2
    print(json.dumps({"tokens": tokens, "seconds": seconds}))


if __name__ == "__main__":
    main()
