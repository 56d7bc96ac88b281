"""Documents as seeds: passages that end where sentences do, with ids that lead back to them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.generation import make_context
from tsqa.errors import DataError, LeakError
from tsqa.readers.passages import cut_passages
from tsqa.recipe import DocumentsSection, SeedsSection
from tsqa.seeds import stage as seeds
from tsqa.seeds.definition import SEEDS
from tsqa.store.jsonl import read_jsonl


def run(folder: Path, lines: list[object], file: str = "web.jsonl", **changes: Any) -> list[Any]:
    """The seeds of a file with these lines."""
    path = folder / file
    path.write_text("".join("\n" if line is None else json.dumps(line) + "\n" for line in lines))
    values = {"name": "web", "path": str(path), "min_words": 4, "max_words": 12} | changes
    section = SeedsSection(documents=[DocumentsSection(**values)])
    seeds.run(make_context(folder / "out", {}, seeds=section))
    return list(read_jsonl(folder / "out" / "seeds.jsonl"))


def sentence(name: str, words: int = 6) -> str:
    return " ".join(["The", name, *["is"] * (words - 3), "here."])


def test_the_id_of_a_passage_names_file_line_and_place(tmp_path: Path) -> None:
    text = " ".join(sentence(name) for name in ("cat", "dog", "hen", "cow"))
    found = run(tmp_path, [{"text": sentence("fox")}, None, {"text": text}], licence="cc0")
    assert [(seed["id"], seed["context"]) for seed in found] == [
        ("web-web.jsonl:1.0", sentence("fox")),
        ("web-web.jsonl:3.0", f"{sentence('cat')} {sentence('dog')}"),
        ("web-web.jsonl:3.1", f"{sentence('hen')} {sentence('cow')}"),
    ]
    assert {(s["question"], s["answer"], s["kind"], s["licence"]) for s in found} == {
        ("", "", "short_text", "cc0")
    }


def test_lines_may_end_as_windows_or_an_old_mac_ends_them(tmp_path: Path) -> None:
    text = f"{sentence('cat')}\r\n{sentence('dog')}\r{sentence('hen')}"
    found = run(tmp_path, [{"text": text}], max_words=40)
    assert [seed["context"] for seed in found] == [
        f"{sentence('cat')}\n{sentence('dog')}\n{sentence('hen')}"
    ]


def test_a_file_of_which_no_line_can_be_read_says_why(tmp_path: Path) -> None:
    path = tmp_path / "web.jsonl"
    path.write_bytes('{"text": "\u00e9"}'.encode("latin-1"))
    section = SeedsSection(documents=[DocumentsSection(name="web", path=str(path))])
    with pytest.raises(DataError, match=r"no document in .* that can be read: broken unicode"):
        seeds.run(make_context(tmp_path / "out", {}, seeds=section))


def test_what_is_no_passage_is_counted_with_its_reason(tmp_path: Path) -> None:
    lines = [
        {"text": sentence("fox")},
        {"text": sentence("FOX")},
        {"text": "Too short."},
        {"text": sentence("long", 40)},
        {"text": f"<|im_start|> {sentence('mark')}"},
        {"text": ""},
        {"text": 5},
        {"other": "x"},
    ]
    assert [seed["id"] for seed in run(tmp_path, lines)] == ["web-web.jsonl:1.0"]
    rejected = read_jsonl(tmp_path / "out" / "rejected_seeds.jsonl")
    assert [(one["id"], one["reason"]) for one in rejected] == [
        ("web-web.jsonl:2.0", "passage again"),
        ("web-web.jsonl:3.0", "short passage"),
        ("web-web.jsonl:4.0", "no end of a sentence"),
        ("web-web.jsonl:5.0", "mark of a chat template"),
        ("web-web.jsonl:6", "no text"),
        ("web-web.jsonl:7", "no text"),
        ("web-web.jsonl:8", "no text"),
    ]


def test_what_a_mixture_reads_can_be_passages(tmp_path: Path) -> None:
    """Text files, each of which is a document, and compressed lines: for human_rephrased."""
    import pyarrow

    (tmp_path / "books").mkdir()
    for name in ("a.txt", "b.md"):
        (tmp_path / "books" / name).write_text(f"{sentence(name[0])} {sentence('second')}")
    lines = json.dumps({"text": sentence("fox")}).encode()
    with pyarrow.output_stream(str(tmp_path / "web.jsonl.zst"), compression="zstd") as stream:
        stream.write(lines)

    def ids(path: str) -> list[str]:
        section = DocumentsSection(name="web", path=path, min_words=4, max_words=12)
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        seeds.run(make_context(out, {}, seeds=SeedsSection(documents=[section])))
        return [seed["id"] for seed in read_jsonl(out / "seeds.jsonl")]

    assert ids(str(tmp_path / "books")) == ["web-a.txt:1.0", "web-b.md:1.0"]
    assert ids(str(tmp_path / "books" / "b.md")) == ["web-b.md:1.0"]
    assert ids(str(tmp_path / "web.jsonl.zst")) == ["web-web.jsonl.zst:1.0"]
    (tmp_path / "books" / "data.jsonl").write_bytes(lines)
    assert ids(str(tmp_path / "books")) == ["web-data.jsonl:1.0"], "a README beside data is none"


def test_many_passages_are_not_taken_for_one_answer(tmp_path: Path) -> None:
    assert len(run(tmp_path, [{"text": sentence(f"a{n}")} for n in range(30)])) == 30


def test_a_wrong_field_and_a_test_set_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"seeds\.documents: web: .*no field body"):
        run(tmp_path, [{"text": sentence("fox")}], text_field="body")
    with pytest.raises(LeakError, match="test set by its name"):
        run(tmp_path, [{"text": sentence("fox")}], "web.test.jsonl")


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(5, 40))
def test_passages_hold_all_words_in_order_and_no_more_than_fit(sizes: list[int], most: int) -> None:
    text = " ".join(" ".join(["Word", *["word"] * (n - 1)]) + "." for n in sizes)
    passages = cut_passages(text, most)
    assert " ".join(passages) == text
    for passage in passages:
        assert passage.endswith(".")
        assert len(passage.split()) <= most or passage.count(".") == 1


def test_passages_of_a_document_are_alike_in_length() -> None:
    text = " ".join(sentence(str(n), 10) for n in range(21))
    assert [len(passage.split()) for passage in cut_passages(text, 100)] == [70, 70, 70]


@pytest.mark.parametrize(
    ("text", "most", "passages"),
    [
        (
            "\u6211\u53bb\u4e86\u3002\u300c\u4f60\u5462\uff1f\u300d\u4ed6\u4e5f\u53bb\u3002",
            4,
            [
                "\u6211\u53bb\u4e86\u3002",
                "\u300c\u4f60\u5462\uff1f\u300d",
                "\u4ed6\u4e5f\u53bb\u3002",
            ],
        ),
        (
            "\u0e09\u0e31\u0e19\u0e44\u0e1b \u0e40\u0e02\u0e32\u0e21\u0e32",
            4,
            ["\u0e09\u0e31\u0e19\u0e44\u0e1b", "\u0e40\u0e02\u0e32\u0e21\u0e32"],
        ),
        (
            "\u0935\u0939 \u0917\u092f\u093e\u0964 \u092e\u0948\u0902 \u092d\u0940\u0964",
            2,
            ["\u0935\u0939 \u0917\u092f\u093e\u0964", "\u092e\u0948\u0902 \u092d\u0940\u0964"],
        ),
    ],
)
def test_other_scripts_are_cut_where_their_sentences_end(
    text: str, most: int, passages: list[str]
) -> None:
    assert cut_passages(text, most) == passages


def test_passages_without_spaces_are_as_long_as_their_letters(tmp_path: Path) -> None:
    """All of them were short before, as words between spaces."""
    whole, short = "\u6211\u4eec\u90fd\u53bb\u4e86\u3002", "\u53bb\u4e86\u3002"
    found = run(tmp_path, [{"text": whole * 3}, {"text": short}], language="zh")
    assert [seed["context"] for seed in found] == [whole, whole * 2]
    (rejected,) = read_jsonl(tmp_path / "out" / "rejected_seeds.jsonl")
    assert (rejected["reason"], rejected["id"]) == ("short passage", "web-web.jsonl:2.0")


def test_only_documents_that_are_cut_otherwise_are_read_again(tmp_path: Path) -> None:
    (tmp_path / "web.jsonl").write_text('{"text": "x"}')

    def fingerprinted(language: str) -> Any:
        section = DocumentsSection(name="web", path=str(tmp_path / "web.jsonl"), language=language)
        recipe: Any = SimpleNamespace(seeds=SeedsSection(documents=[section]))
        return SEEDS.config(recipe)["documents"]

    (english,), (chinese,) = fingerprinted("en"), fingerprinted("zh")
    assert "cut" not in english and chinese == {**english, "language": "zh", "cut": 2}


def test_initials_and_titles_end_no_sentence() -> None:
    assert cut_passages("Dr. Smith met J. Doe. They left.", 5) == [
        "Dr. Smith met J. Doe.",
        "They left.",
    ]
