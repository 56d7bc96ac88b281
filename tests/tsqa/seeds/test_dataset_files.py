"""Own datasets: every format and answer form, and every kind of broken input."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.generation import make_context
from tsqa.errors import DataError, LeakError, RecipeError
from tsqa.recipe import DatasetSection, Recipe, SeedsSection
from tsqa.seeds import stage as seeds
from tsqa.seeds.choices import LabelledOptions, find_key
from tsqa.seeds.dataset_files import DatasetSource
from tsqa.seeds.definition import SEEDS
from tsqa.seeds.document import Unusable
from tsqa.seeds.taxonomy import load_taxonomy
from tsqa.store.jsonl import read_jsonl

COLUMNS = {"question": "q", "answer": "a", "choices": "options"}
OPTIONS = ["iron", "wood", "salt"]


def section(path: Path, columns: dict[str, Any] = COLUMNS, **changes: Any) -> DatasetSection:
    return DatasetSection(**{"name": "own", "path": str(path), "columns": columns} | changes)


def run(tmp_path: Path, *datasets: DatasetSection, **changes: Any) -> dict[str, Any]:
    recipe = SeedsSection(datasets=list(datasets), **changes)
    return seeds.run(make_context(tmp_path / "out", {}, seeds=recipe))


def chosen(tmp_path: Path) -> list[dict[str, Any]]:
    return list(read_jsonl(tmp_path / "out" / "seeds.jsonl"))


def rejected(tmp_path: Path) -> list[dict[str, Any]]:
    return list(read_jsonl(tmp_path / "out" / "rejected_seeds.jsonl"))


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def rows(count: int = 4) -> list[dict[str, Any]]:
    return [
        {"q": f"Which of these is metal number {i}?", "a": i % 3, "options": OPTIONS}
        for i in range(count)
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "json", "parquet", "csv"])
@pytest.mark.parametrize("in_folder", [False, True])
def test_every_format_gives_the_same_seeds(tmp_path: Path, suffix: str, in_folder: bool) -> None:
    path = tmp_path / "data" / f"part.{suffix}"
    path.parent.mkdir()
    if suffix == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows()), path)
    elif suffix == "json":
        path.write_text(json.dumps(rows()))
    elif suffix == "csv":
        with path.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, ["q", "a", "options"])
            writer.writeheader()
            for row in rows():
                writer.writerow(row | {"options": json.dumps(row["options"])})
    else:
        write(path, rows())
    summary = run(tmp_path, section(path.parent if in_folder else path, answer="index"))
    found = chosen(tmp_path)
    assert summary["seeds"] == 4
    assert [(s["question"], s["answer"], s["answer_index"]) for s in found] == [
        (row["q"], OPTIONS[row["a"]], row["a"]) for row in rows()
    ]
    assert {s["kind"] for s in found} == {"choice"}
    assert len({s["revision"] for s in found}) == 1 and found[0]["revision"]


@pytest.mark.parametrize(
    ("answer", "form", "index"),
    [
        (1, "auto", 1),
        ("wood", "auto", 1),
        ("B", "auto", 1),
        ("(b)", "letter", 1),
        ("2", "letter", 1),
        ("1", "index", 1),
        ("wood", "text", 1),
    ],
)
def test_answers_as_index_letter_or_text(
    tmp_path: Path, answer: Any, form: str, index: int
) -> None:
    path = write(tmp_path / "d.jsonl", [rows(1)[0] | {"a": answer}])
    run(tmp_path, section(path, answer=form))
    seed = chosen(tmp_path)[0]
    assert (seed["answer_index"], seed["answer"]) == (index, OPTIONS[index])


LABELLED = {"text": OPTIONS, "label": ["1", "2", "3"]}
SHAPES: dict[str, tuple[Any, Any]] = {
    "a list as JSON": ('["iron", "wood", "salt"]', "wood"),
    "a list as Python": ("['iron', 'wood', 'salt']", "wood"),
    "a Python list with quotes": ("""["iron", "cow's wood", 'salt']""", "cow's wood"),
    "a tuple as Python": ("('iron', 'wood', 'salt')", "B"),
    "as numpy prints": ("['iron' 'wood' 'salt']", "wood"),
    "as numpy prints, in lines": ("['iron'\n 'wood' 'salt']", "wood"),
    "as pandas prints arrays": ("array(['iron', 'wood', 'salt'], dtype=object)", "wood"),
    "ARC as it is": (LABELLED, "2"),
    "ARC in a CSV": (str(LABELLED), "2"),
    "ARC as pandas prints it": (
        "{'text': array(['iron', 'wood', 'salt'], dtype=object), "
        "'label': array(['A', 'B', 'C'], dtype=object)}",
        "B",
    ),
    "numbered labels that are integers": ({"text": OPTIONS, "label": [1, 2, 3]}, 2),
    "a mapping by letters": (dict(zip("ABC", OPTIONS, strict=True)), "B"),
    "a mapping with holes": ({"A": "iron", "B": "wood", "C": "salt", "D": None}, "B"),
    "records": ([{"label": x, "text": o} for x, o in zip("ABC", OPTIONS, strict=True)], "B"),
    "the key in other case": (OPTIONS, "Wood"),
    "the key with its letter": (OPTIONS, "B) wood"),
    "the key in a list": (OPTIONS, ["wood"]),
    "a float index": (OPTIONS, 1.0),
    "a float index as text, from 0": (OPTIONS, "0.0"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_options_and_keys_are_read_in_the_shapes_people_keep(tmp_path: Path, name: str) -> None:
    options, key = SHAPES[name]
    run(
        tmp_path,
        section(write(tmp_path / "d.jsonl", [rows(1)[0] | {"a": key, "options": options}])),
    )
    (seed,) = chosen(tmp_path)
    right = 0 if key == "0.0" else 1
    assert len(seed["choices"]) == 3
    assert (seed["answer_index"], seed["answer"]) == (right, seed["choices"][right])
    assert "wood" in seed["choices"][1]


@pytest.mark.parametrize(
    ("options", "key", "readings"),
    [
        (["10", "2", "3", "4"], 3, ["'3' (`answer: text`)", "'4' (`answer: index`)"]),
        (["10", "2", "3", "4"], "3", ["'3' (`answer: text`)", "'4' (`answer: index`)"]),
        (["D", "C", "B", "A"], "A", ["'A' (`answer: text`)", "'D' (`answer: letter`)"]),
        (OPTIONS, "1", ["'iron' (`answer: letter`)", "'wood' (`answer: index`)"]),
        (OPTIONS, "2.0", ["'wood' (`answer: letter`)", "'salt' (`answer: index`)"]),
        (OPTIONS, 3, ["counts from 1", "`answer: letter`"]),
    ],
)
def test_a_key_with_two_readings_is_refused_until_the_recipe_says_which(
    tmp_path: Path, options: list[str], key: Any, readings: list[str]
) -> None:
    path = write(tmp_path / "d.jsonl", [rows(1)[0] | {"a": key, "options": options}])
    with pytest.raises(DataError, match=r"seeds\.datasets: own: record 0") as caught:
        run(tmp_path, section(path))
    assert all(reading in str(caught.value) for reading in readings)


@pytest.mark.parametrize(
    ("answer", "options", "index"),
    [
        ("true", ["no", "yes"], 1),
        ("No", ["True", "False"], 1),
        (1, ["no", "yes"], 1),
        (True, ["no", "yes"], 1),
        (0, ["True", "False"], None),
        (1, ["yes", "no"], None),
    ],
)
def test_one_and_zero_are_truths_and_indices(
    answer: Any, options: list[str], index: int | None
) -> None:
    if index is None:
        with pytest.raises(DataError, match="may mean"):
            find_key(answer, LabelledOptions(options, []), "auto", "x")
        assert find_key(answer, LabelledOptions(options, []), "index", "x") == answer
    else:
        assert find_key(answer, LabelledOptions(options, []), "auto", "x") == index


def test_what_a_table_writes_for_no_value_is_none(tmp_path: Path) -> None:
    nan = float("nan")
    columns = {"question": "q", "answer": "a", "choices": ["b", "c", "d"]}
    asked = "Which of these three is the one that floats on water?"
    records = [
        {"q": asked, "a": "A", "b": "wood", "c": "iron", "d": nan},
        {"q": asked + " Say why.", "a": nan, "b": "wood", "c": "iron", "d": "salt"},
        {"q": nan, "a": "A", "b": "wood", "c": "iron", "d": "salt"},
    ]
    run(tmp_path, section(write(tmp_path / "own.jsonl", records), columns))
    assert [seed["choices"] for seed in chosen(tmp_path)] == [["wood", "iron"]]
    assert [one["reason"] for one in rejected(tmp_path)] == ["empty answer", "empty question"]


@given(
    options=st.lists(
        st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=3),
        min_size=2,
        max_size=6,
        unique=True,
    ),
    place=st.integers(0, 5),
    spelling=st.sampled_from(["text", "letter", "index"]),
)
def test_a_key_is_never_read_as_another_option_than_the_one_it_was_written_for(
    options: list[str], place: int, spelling: str
) -> None:
    right = place % len(options)
    keys = {"text": options[right], "letter": "ABCDEF"[right], "index": right}
    for form in ("auto", spelling):
        try:
            found = find_key(keys[spelling], LabelledOptions(options, []), form, "x")
        except (DataError, Unusable):
            assert form == "auto"
            continue
        assert found == right


@pytest.mark.parametrize("key", ["B", "wood"])
def test_options_may_have_a_column_each(tmp_path: Path, key: str) -> None:
    path = tmp_path / "d.csv"
    path.write_text(f"q,A,B,C,D,a\nWhich of these burns?,iron,wood,salt,,{key}\n")
    columns = {"question": "q", "answer": "a", "choices": ["A", "B", "C", "D"]}
    run(tmp_path, section(path, columns))
    (seed,) = chosen(tmp_path)
    assert (seed["choices"], seed["answer"]) == (OPTIONS, "wood")


def test_a_key_may_name_the_column_of_its_option(tmp_path: Path) -> None:
    row = {"q": "Which of these burns?", "opa": "iron", "opb": "wood", "key": "opb"}
    columns = {"question": "q", "answer": "key", "choices": ["opa", "opb"]}
    run(tmp_path, section(write(tmp_path / "d.jsonl", [row]), columns))
    assert chosen(tmp_path)[0]["answer"] == "wood"


def test_an_empty_column_between_options_is_rejected(tmp_path: Path) -> None:
    path = write(
        tmp_path / "d.jsonl", [rows(1)[0], {"q": "Which?", "a": 0, "options": ["x", "", "y"]}]
    )
    assert run(tmp_path, section(path))["rejected_by_reason"] == {"an empty choice": 1}


def test_choices_that_are_no_list_say_how_to_write_them(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [row | {"options": "iron; wood"} for row in rows()])
    with pytest.raises(DataError, match=r"write a JSON list, or (.|\n)*choices: \[A, B, C, D\]"):
        run(tmp_path, section(path))


@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.csv", "d.jsonl.gz"])
def test_a_byte_order_mark_is_read_over(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    row = {"q": "What is 1 plus 2?", "a": "3"}
    text = json.dumps([row] if name == "d.json" else row)
    raw = b"\xef\xbb\xbf" + ("q,a\nWhat is 1 plus 2?,3" if "csv" in name else text).encode()
    path.write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    run(tmp_path, section(path, {"question": "q", "answer": "a"}))
    assert chosen(tmp_path)[0]["answer"] == "3"


@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.csv"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_another_encoding_is_named(tmp_path: Path, name: str, encoding: str) -> None:
    path = tmp_path / name
    path.write_text('{"q": "What?", "a": "3"}\n', encoding=encoding)
    with pytest.raises(DataError, match="save the file as UTF-8"):
        run(tmp_path, section(path, {"question": "q", "answer": "a"}))


def test_a_row_with_more_fields_than_columns_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("q,a\nWhat is 1 plus 2?,3\nWhat is 1, plus 3?,4\n")
    summary = run(tmp_path, section(path, {"question": "q", "answer": "a"}))
    assert (summary["seeds"], summary["rejected_by_reason"]) == (1, {"more fields than columns": 1})


def test_a_row_with_fewer_fields_than_columns_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("q,a,why\nWhat is 1 plus 2?,3,sum\nWhat is 1 plus 3?,4\n\n")
    columns = {"question": "q", "answer": "a", "explanation": "why"}
    summary = run(tmp_path, section(path, columns))
    expected = {"fewer fields than columns": 1}
    assert (summary["seeds"], summary["rejected_by_reason"]) == (1, expected)


@pytest.mark.parametrize(
    ("broken", "lines", "left"),
    [
        ('"How many are 9?,9\n', "lines 12 to 22", 10),
        ('"How many" are 9?,9\n', "lines 12 to 12", 20),
        ('"How many are 9?,9\n"How many are 8?",8\n', "lines 12 to 13", 20),
    ],
)
def test_a_quote_that_does_not_close_is_rejected_with_its_lines(
    tmp_path: Path, broken: str, lines: str, left: int
) -> None:
    good = [f"How many are {n}?,{n}\n" for n in range(20)]
    path = tmp_path / "d.csv"
    path.write_text("q,a\n" + "".join(good[:10]) + broken + "".join(good[10:]))
    summary = run(tmp_path, section(path, {"question": "q", "answer": "a"}))
    assert (summary["seeds"], summary["rejected_by_reason"]) == (left, {"not CSV": 1})
    assert rejected(tmp_path)[0]["detail"].startswith(f"{lines}: ")


def test_columns_reach_into_records_and_carry_everything(tmp_path: Path) -> None:
    row = {
        "meta": {"uid": "x7", "area": "physics"},
        "item": {"stem": "Which falls faster?", "key": "B", "opts": [{"t": "iron"}, {"t": "wood"}]},
        "passage": "Two balls were dropped.",
        "why": "Both fall alike.",
    }
    columns = {
        "question": "item.stem",
        "answer": "item.key",
        "choices": "item.opts.t",
        "context": "passage",
        "explanation": "why",
        "subject": "meta.area",
        "id": "meta.uid",
    }
    path = write(tmp_path / "d.jsonl", [row])
    summary = run(
        tmp_path,
        section(path, columns, capability="logic", language="de", licence="cc-by-4.0"),
    )
    seed = chosen(tmp_path)[0]
    expected = {
        **{"id": "own-x7", "task": "own", "capability": "logic", "subject": "physics"},
        **{"language": "de", "licence": "cc-by-4.0", "context": "Two balls were dropped."},
        **{"explanation": "Both fall alike.", "answer": "wood", "choices": ["iron", "wood"]},
        **{"dataset": "d.jsonl", "split": "train", "doc_id": 0},
    }
    assert {key: seed[key] for key in expected} == expected
    assert summary["licences"] == {"cc-by-4.0": 1}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (18, "number"),
        ("$1,250", "number"),
        ("Paris", "short_text"),
        ("x" * 300, "long_text"),
        (True, "boolean"),
        ("false", "boolean"),
        ("2+2=4 eggs\n#### 4", "number"),
    ],
)
def test_the_kind_is_told_from_the_answer(tmp_path: Path, answer: Any, kind: str) -> None:
    path = write(tmp_path / "d.jsonl", [{"q": "What is it, then?", "a": answer}])
    run(tmp_path, section(path, {"question": "q", "answer": "a"}))
    assert chosen(tmp_path)[0]["kind"] == kind


def test_code_keeps_its_lines_and_its_tests(tmp_path: Path) -> None:
    code = "def add(a, b):\n    return a + b"
    row = {"q": "Write add.", "a": code, "t": "assert add(1, 2) == 3\nassert add(0, 0) == 0"}
    columns = {"question": "q", "answer": "a", "tests": "t"}
    path = write(tmp_path / "d.jsonl", [row])
    run(tmp_path, section(path, columns, kind="code"))
    seed = chosen(tmp_path)[0]
    assert (seed["kind"], seed["answer"], seed["tests"]) == ("code", code, row["t"])


BROKEN: dict[str, tuple[Any, str]] = {
    "empty question": ({"q": " ", "a": 0, "options": OPTIONS}, "empty question"),
    "empty choices": ({"q": "Which is it?", "a": 0, "options": []}, "empty choices"),
    "null choices": ({"q": "Which is it?", "a": 0, "options": None}, "empty choices"),
    "one choice": ({"q": "Which is it?", "a": 0, "options": ["a"]}, "fewer than two choices"),
    "blank choice": ({"q": "Which is it?", "a": 0, "options": ["x", " "]}, "an empty choice"),
    "equal choices": ({"q": "Which?", "a": 0, "options": ["x", "x"]}, "two choices are the same"),
    "index too large": (
        {"q": "Which is it?", "a": 4, "options": OPTIONS},
        "answer index out of range",
    ),
    "index negative": (
        {"q": "Which is it?", "a": -1, "options": OPTIONS},
        "answer index out of range",
    ),
    "letter too late": (
        {"q": "Which is it?", "a": "D", "options": OPTIONS},
        "the answer is none of the choices",
    ),
    "two answers": ({"q": "Which is it?", "a": ["A", "B"], "options": OPTIONS}, "several answers"),
    "unknown text": (
        {"q": "Which is it?", "a": "gold", "options": OPTIONS},
        "the answer is none of the choices",
    ),
    "question a number": ({"q": 7, "a": 0, "options": OPTIONS}, "mixed types"),
    "choices a text": ({"q": "Which?", "a": 0, "options": "iron"}, "mixed types"),
    "choice a list": ({"q": "Which?", "a": 0, "options": [["x"], "y"]}, "mixed types"),
    "answer a record": ({"q": "Which?", "a": {"x": 1}, "options": OPTIONS}, "mixed types"),
    "a list": ([1, 2], "mixed types"),
    "missing": ({"a": 0, "options": OPTIONS}, "missing column"),
    "lone surrogate": ({"q": "Which \ud800 is it?", "a": 0, "options": OPTIONS}, "broken unicode"),
    "replaced": ({"q": "Which \ufffd is it?", "a": 0, "options": OPTIONS}, "broken unicode"),
    "10 MB": ({"q": "long " * 2_000_000, "a": 0, "options": OPTIONS}, "too long"),
}


def test_every_broken_document_is_a_counted_rejection(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [*rows(3), *(row for row, _ in BROKEN.values())])
    with path.open("ab") as handle:
        handle.write(b'{"q": "caf\xe9 or tea?", "a": 0, "options": ["x", "y"]}\n')
    summary = run(tmp_path, section(path))
    expected = Counter([*(reason for _, reason in BROKEN.values()), "broken unicode"])
    assert Counter(row["reason"] for row in rejected(tmp_path)) == expected
    assert summary["rejected_by_reason"] == expected
    assert summary["seeds"] == 3
    assert summary["rejected_seeds"] == len(BROKEN) + 1
    assert (tmp_path / "out" / "rejected_seeds.jsonl").stat().st_size < 20_000


def test_a_10_mb_document_of_a_single_line_parquet_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    table = [{**rows(1)[0], "q": "x" * 10_000_000}, *rows(2)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), path)
    summary = run(tmp_path, section(path))
    assert (summary["seeds"], summary["rejected_by_reason"]) == (2, {"too long": 1})


def test_duplicate_ids_are_rejected_after_the_first(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [row | {"id": str(i // 2)} for i, row in enumerate(rows())])
    summary = run(tmp_path, section(path, {**COLUMNS, "id": "id"}))
    assert summary["rejected_by_reason"] == {"duplicate id": 2}
    assert [seed["id"] for seed in chosen(tmp_path)] == ["own-0", "own-1"]
    assert {row["id"] for row in rejected(tmp_path)} == {"own-1", "own-3"}


def test_two_sources_never_give_one_id(tmp_path: Path) -> None:
    """All that leads back from an item goes by ids: `b-1` of `a` would be `1` of `a-b`."""
    columns = COLUMNS | {"id": "id"}
    one = [row | {"id": f"b-{n}"} for n, row in enumerate(rows())]
    two = [row | {"id": n} for n, row in enumerate(rows())]
    sections = [
        section(write(tmp_path / f"{name}.jsonl", given), columns, name=name)
        for name, given in (("a", one), ("a-b", two))
    ]
    with pytest.raises(DataError, match="a-b: its seed a-b-0 has the id of another source's"):
        run(tmp_path, *sections)


def test_missing_columns_are_named_with_those_there_are(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", rows())
    with pytest.raises(DataError, match=r"answer: key, choices: opts\n  fix: there are: q, a, opt"):
        run(tmp_path, section(path, {"question": "q", "answer": "key", "choices": "opts"}))
    assert not (tmp_path / "out" / "seeds.jsonl").exists()


@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.csv", "d.parquet"])
def test_an_empty_split_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([]), path)
    else:
        path.write_text("[]" if name.endswith("json") else "")
    with pytest.raises(DataError, match="own: no document in"):
        run(tmp_path, section(path))


def test_a_split_of_only_broken_documents_is_an_error_with_its_reasons(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [row | {"a": 9} for row in rows()])
    with pytest.raises(
        DataError, match="own leaves no seed: 4 documents rejected; 4 of them: answ"
    ):
        run(tmp_path, section(path))
    assert len(rejected(tmp_path)) == 4


def test_a_column_that_is_not_the_answer_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [row | {"a": 0} for row in rows(30)])
    with pytest.raises(DataError, match="all 30 documents of own have one answer: 'iron'"):
        run(tmp_path, section(path))


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", rows(150))
    with path.open("a") as handle:
        handle.write('{"q": \n')
    with pytest.raises(DataError, match=r"d\.jsonl:151: not JSON"):
        run(tmp_path, section(path))


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        run(tmp_path, section(tmp_path / "absent.jsonl"))


def test_data_in_a_folder_within_the_folder_are_refused_not_left_out(tmp_path: Path) -> None:
    write(tmp_path / "data" / "a.jsonl", rows())
    (tmp_path / "data" / ".cache").mkdir()
    write(tmp_path / "data" / ".cache" / "b.jsonl", rows())
    (tmp_path / "data" / "about").mkdir()
    (tmp_path / "data" / "about" / "README.md").write_text("words")
    assert run(tmp_path, section(tmp_path / "data"))["seeds"] == 4
    (tmp_path / "data" / "more" / "deep").mkdir(parents=True)
    write(tmp_path / "data" / "more" / "deep" / "c.jsonl", rows())
    with pytest.raises(DataError, match=r"data in more, a folder in it, would not be read"):
        run(tmp_path, section(tmp_path / "data"))


def test_a_file_of_which_nothing_can_be_read_says_why(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"q": "Why?", "q": "How?", "a": "so"}\n')
    with pytest.raises(DataError, match=r"no document in .* that can be read: repeated key"):
        run(tmp_path, section(path))


def test_a_folder_of_two_formats_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "data" / "a.jsonl", rows())
    write(tmp_path / "data" / "b.json", rows(1))
    with pytest.raises(DataError, match=r"several formats: \.json, \.jsonl"):
        run(tmp_path, section(tmp_path / "data"))


def test_a_folder_of_splits_gives_only_the_one_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train-00000-of-00002.jsonl", rows(2))
    write(tmp_path / "data" / "train-00001-of-00002.jsonl", rows(2))
    write(tmp_path / "data" / "test.jsonl", rows(4))
    assert run(tmp_path, section(tmp_path / "data"))["seeds"] == 4
    with pytest.raises(DataError, match="no file of the split dev"):
        run(tmp_path, section(tmp_path / "data", split="dev"))


@pytest.mark.parametrize("name", ["test.jsonl", "own-test.jsonl", "test-00000-of-00001.jsonl"])
def test_a_test_set_by_its_name_is_refused_unless_allowed(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, rows())
    with pytest.raises(LeakError, match="is a test set by its name"):
        run(tmp_path, section(path))
    summary = run(tmp_path, section(path), allow_leaks=["own"])
    assert summary["seeds"] == 4
    assert summary["allowed_leaks"][0]["task"] == "own"


@pytest.mark.parametrize("split", ["test", "train+test[:50%]"])
def test_a_part_of_the_hub_that_is_a_test_set_is_refused(split: str) -> None:
    path = Path("owner/name")
    source = DatasetSource(section(path, split=split), path, load_taxonomy(), {})
    assert source.leak() == "test is a test set by its name"


def test_an_override_for_no_source_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", rows())
    with pytest.raises(RecipeError, match="allow_leaks names other"):
        run(tmp_path, section(path), allow_leaks=["other"])


def test_the_choice_does_not_depend_on_the_other_sources(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", rows(50))
    two = write(tmp_path / "two.jsonl", rows(40))
    first, second = section(one, name="one"), section(two, name="two")
    run(tmp_path, first, second, max_per_task=7)
    both = chosen(tmp_path)
    run(tmp_path, second, first, max_per_task=7)
    assert {s["id"] for s in chosen(tmp_path)} == {s["id"] for s in both}
    run(tmp_path, first, max_per_task=7)
    assert chosen(tmp_path) == [s for s in both if s["task"] == "one"]
    run(tmp_path, first, max_per_task=7, seed=1)
    assert chosen(tmp_path) != [s for s in both if s["task"] == "one"]


def test_a_budget_is_planned_and_met(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", rows(60))
    two = write(tmp_path / "two.jsonl", rows(20))
    summary = run(
        tmp_path,
        section(one, name="one", capability="math"),
        section(two, name="two", capability="logic"),
        budget={"total": 24, "capabilities": {"logic": 0.5}},
    )
    assert summary["coverage"] == [
        {"task": "one", "capability": "math", "available": 60, "planned": 12, "chosen": 12},
        {"task": "two", "capability": "logic", "available": 20, "planned": 12, "chosen": 12},
    ]
    assert summary["by_capability"] == {"math": 12, "logic": 12}
    assert summary["seeds"] == 24


def test_a_folder_that_is_not_all_there_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    write(folder / "a.jsonl", rows())
    (folder / ".#a.jsonl").symlink_to("user@host")  # an editor's lock
    assert run(tmp_path, section(folder))
    (folder / "b.jsonl").symlink_to(tmp_path / "annex")
    with pytest.raises(DataError, match=r"b\.jsonl: a link to nowhere"):
        run(tmp_path, section(folder))


def test_files_without_a_split_next_to_those_of_one_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("train.jsonl", "extra.jsonl"):
        write(folder / name, rows())
    with pytest.raises(DataError, match=r"extra\.jsonl: its name names no split, as train\.jsonl"):
        run(tmp_path, section(folder))


@pytest.mark.parametrize("path", ["a b/mine", "mine.csv", "mine.parquet", "a/b/c", "“mine.jsonl”"])
def test_a_dataset_that_can_be_nowhere_is_refused_before_any_stage(path: str) -> None:
    own = {"name": "own", "path": path, "columns": {"question": "q", "answer": "a"}}
    recipe = Recipe.model_validate({"name": "x", "seeds": {"datasets": [own]}})
    with pytest.raises(RecipeError, match=r"seeds.datasets: own: path = .*: no such file"):
        SEEDS.config(recipe)


def test_a_taxonomy_that_is_not_there_is_refused_before_any_stage(tmp_path: Path) -> None:
    own = section(write(tmp_path / "mine.jsonl", rows())).model_dump()
    recipe = Recipe.model_validate(
        {"name": "x", "seeds": {"datasets": [own], "taxonomy": "no.yaml"}}
    )
    with pytest.raises(RecipeError, match=r"seeds.taxonomy = no.yaml: no such file"):
        SEEDS.config(recipe)
