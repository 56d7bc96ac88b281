"""Published tokenizers of real families that Python packages carry: are documents their own ids?

    pip download --no-deps llama-models dashscope      # Llama 3's and Qwen's vocabularies
    python -m tests.benchmarks.published_tokenizers llama3=FOLDER/tokenizer.model \
        qwen=FOLDER/qwen.tiktoken --texts books.jsonl.gz

Each vocabulary becomes a tokenizer of transformers, as its makers' folders have it. The ids of our
encoder are compared with those of tiktoken, which reads the published file itself, text by text:
hard texts, and the first documents of a file.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from train.data.encoder import TokenEncoder
from train.data.sources import SourceDocument, find_pieces, read_documents
from tsqa.hub.import_check import TEXTS
from tsqa.recipe import SourceSection

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Family:
    """What the makers' code says beside the vocabulary."""

    digits: str
    """How many digits go together, as a repetition in its pattern."""
    special: tuple[str, ...]
    end: str
    begin: str | None = None
    composes: bool = False
    """Texts are read in normal form C."""


FAMILIES = {
    "llama3": Family(
        "{1,3}",
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|eot_id|>"),
        end="<|end_of_text|>",
        begin="<|begin_of_text|>",
    ),
    "qwen": Family(
        "", ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), end="<|endoftext|>", composes=True
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("vocabularies", nargs="+", metavar="FAMILY=FILE")
    parser.add_argument("--texts", type=Path, help="JSONL, with its text in `text`")
    parser.add_argument("--documents", type=int, default=200)
    arguments = parser.parse_args()
    texts = [*TEXTS, *itertools.islice(_texts(arguments.texts), arguments.documents)]
    for given in arguments.vocabularies:
        name, _, file = given.partition("=")
        print(f"{name}: {compare(FAMILIES[name], Path(file), texts)}")


def compare(family: Family, file: Path, texts: list[str]) -> str:
    """How many texts have tiktoken's ids; beginning, end, and written-out marks are checked too."""
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe

    ours = _tokenizer(family, file)
    ranks = load_tiktoken_bpe(str(file))
    pattern = _WORDS.replace("DIGITS", family.digits)
    theirs = tiktoken.Encoding(file.name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    encoder = TokenEncoder(ours)
    begin = [ours.bos_token_id] if family.begin else []
    assert ours.encode("A prompt.")[: len(begin)] == begin, "prompts begin otherwise"
    marks = [f"It says {mark} here." for mark in family.special]  # text, and no marks
    same = tokens = 0
    started = time.perf_counter()
    for text in tqdm([*texts, *marks], delay=5):
        [found] = encoder.encode([text])
        expected = theirs.encode_ordinary(_composed(text) if family.composes else text)
        same += found.tolist() == [*begin, *expected, ours.eos_token_id]
        tokens += len(found)
    seconds = time.perf_counter() - started
    largest = len(ours) - 1
    assert encoder.dtype.type(largest) == largest, "ids do not fit"
    return (
        f"{same:,} of {len(texts) + len(marks):,} texts have the same ids, {tokens:,} tokens in "
        f"{seconds:.0f} s, {encoder.dtype} for {largest + 1:,} ids"
    )


def _tokenizer(family: Family, file: Path) -> Any:
    from tokenizers import normalizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    pattern = _WORDS.replace("DIGITS", family.digits)
    special = list(family.special)
    core = TikTokenConverter(str(file), pattern=pattern, extra_special_tokens=special).converted()
    if family.composes:
        core.normalizer = normalizers.NFC()
    if family.begin:
        marked = [(family.begin, core.token_to_id(family.begin))]
        core.post_processor = TemplateProcessing(f"{family.begin} $A", None, marked)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=family.begin,
        eos_token=family.end,  # neither family names a token for padding
        clean_up_tokenization_spaces=False,
    )


def _composed(text: str) -> str:
    import unicodedata

    return unicodedata.normalize("NFC", text)


def _texts(path: Path | None) -> Iterator[str]:
    if path is None:
        return
    section = SourceSection(path=str(path))
    for piece in find_pieces(section, path, "--texts"):
        for document in read_documents(piece, section, "--texts"):
            if isinstance(document, SourceDocument):
                yield document.text


if __name__ == "__main__":
    main()
