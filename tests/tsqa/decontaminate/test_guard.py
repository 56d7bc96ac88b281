"""The guard: what a recipe evaluates in another folder is refused or dropped all the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.embedding import BagOfWords
from tests.support.filter_records import candidate
from tests.support.generation import artifact, make_context, with_benchmarks
from tests.tsqa.seeds.test_stage import files, write_task
from tsqa.decontaminate.guard import check_seeds, read_dropped_seeds, run
from tsqa.errors import LeakError
from tsqa.recipe import EvalSection, FilterSection, SeedsSection
from tsqa.seeds import stage as seeds
from tsqa.store.jsonl import read_jsonl, write_jsonl


def guard(folder: Path, shared: int, **changes: Any) -> dict[str, Any]:
    """Six seeds, so many of which are documents of a benchmark that seeds knows nothing of."""
    own, other = folder / "own", folder / "other"
    for name in (own, other):
        name.mkdir(exist_ok=True)
    write_task(own, "seeded")
    write_task(other, "bench")
    # Another prompt over the same documents.
    write_task(other, "bench2", dataset_kwargs=files(other, "bench"))
    rows = list(read_jsonl(own / "seeded.train.jsonl"))[:shared]
    rest = list(read_jsonl(other / "bench.test.jsonl"))
    write_jsonl(other / "bench.test.jsonl", [*rows, *rest])
    return compare(folder, **changes)


def compare(folder: Path, filters: FilterSection | None = None, **changes: Any) -> dict[str, Any]:
    values = {"tasks": ["seeded"], "include": str(folder / "own")} | changes
    section = SeedsSection.model_validate(values)
    seeds.run(make_context(folder / "seeds", {}, seeds=section))
    tasks = [name for name in ("bench", "bench2") if (folder / "other" / f"{name}.yaml").is_file()]
    scored = EvalSection(tasks=tasks, include=str(folder / "other"))
    inputs = {"seeds": artifact(folder / "seeds")}
    inputs = with_benchmarks(folder / "benchmarks", inputs, scored)
    return run(make_context(folder / "out", inputs, seeds=section, eval=scored, filter=filters))


def test_nothing_in_common_drops_nothing(tmp_path: Path) -> None:
    summary = guard(tmp_path, 0)
    assert (summary["seeds"], summary["dropped"], summary["allowed_leaks"]) == (6, 0, [])


def test_a_task_that_gives_no_seed_is_compared_too(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    write_task(tmp_path / "own", "spare")
    summary = guard(tmp_path, 0, tasks=["seeded", "spare"], budget={"total": 1})
    assert (summary["seeds"], summary["dropped"]) == (1, 0)


def test_a_seed_that_is_evaluated_takes_all_with_it_that_was_made_from_it(tmp_path: Path) -> None:
    assert guard(tmp_path, 1)["by_task"] == {"seeded": 1}
    dropped = read_dropped_seeds(tmp_path / "out")
    assert dropped == {"seeded-0": "bench-0"}
    shown = candidate("Which?", seed_id="seeded-1", seed_ids=["seeded-0", "seeded-1"])
    rejection = check_seeds(shown, dropped)
    assert rejection is not None and rejection.match == "bench-0"
    assert check_seeds(candidate("Which?", seed_id="seeded-1", seed_ids=[]), dropped) is None


def test_a_split_with_too_many_evaluated_documents_is_refused_or_recorded(tmp_path: Path) -> None:
    with pytest.raises(LeakError, match="2 of the 6 documents of seeded are documents of an eval"):
        guard(tmp_path, 2)
    summary = guard(tmp_path, 2, allow_leaks=["seeded"])
    assert summary["dropped"] == 0
    assert summary["allowed_leaks"] == [
        {
            "task": "seeded",
            "reason": "2 of its documents are evaluated",
            "evaluated": ["bench", "bench2"],
        }
    ]


def test_a_training_file_that_a_benchmark_elsewhere_evaluates_is_refused(tmp_path: Path) -> None:
    for name in ("own", "other"):
        (tmp_path / name).mkdir()
    write_task(tmp_path / "own", "seeded")
    theirs = files(tmp_path / "own", "seeded", test="train")
    write_task(tmp_path / "other", "bench", dataset_kwargs=theirs)
    with pytest.raises(LeakError, match="is evaluated by bench"):
        compare(tmp_path)


_WORDS = ("crooked ladder", "copper kettle", "velvet curtain", "marble chess set", "woollen hat")
_PLACES = ("Lisbon", "Tromso", "Dakar", "Quito", "Hanoi")
_TRADES = ("glazier", "falconer", "cooper", "milliner")


_SYLLABLES = ("ba", "do", "fi", "gu", "ka", "le", "mo", "nu")


def _word(number: int) -> str:
    return "".join(_SYLLABLES[int(digit)] for digit in f"{number:o}") + "n"


def problem(number: int) -> dict[str, str]:
    """One of a hundred word problems that share no rare word but by chance."""
    thing, place = _WORDS[number % 5], _PLACES[number // 5 % 5]
    question = (
        f"In {place} the {_TRADES[number // 25]} mends a {thing} for {number + 3} coins, twice a "
        f"week, {_word(number)} in a ledger kept by the {_word(number + 100)}. How many a month?"
    )
    return {"question": question, "answer": str(8 * (number + 3))}


def mix(
    folder: Path, disguise: Callable[[str], str], count: int, section: FilterSection | None = None
) -> dict[str, Any]:
    """A hundred seeds; so many of the benchmark's documents are among them, in disguise."""
    for name in ("own", "other"):
        (folder / name).mkdir()
    write_task(folder / "own", "seeded")
    write_task(folder / "other", "bench")
    tested = [problem(number) for number in range(50)]
    mixed = [row | {"question": disguise(row["question"])} for row in tested[:count]]
    others = [problem(number) for number in range(50, 100)]
    write_jsonl(folder / "own" / "seeded.train.jsonl", [*others, *mixed])
    write_jsonl(folder / "other" / "bench.test.jsonl", tested)
    return compare(folder, section)


DISGUISES: dict[str, Callable[[str], str]] = {
    "a prefix": lambda text: f"Problem 7: {text}",
    "one word more": lambda text: f"{text} Explain.",
    "numbers + 1": lambda text: re.sub(r"\b\d+\b", lambda found: str(int(found[0]) + 1), text),
    "zero-width spaces": "\u200b".join,
    "options in the question": lambda text: f"{text}\nA. 3\nB. 5\nC. 8",
}


@pytest.mark.parametrize("name", DISGUISES)
def test_a_split_with_disguised_test_documents_is_refused_with_examples(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(LeakError, match=r"9 of the 59 .*seeded-50 is bench-0; seeded-51 is bench"):
        mix(tmp_path, DISGUISES[name], 9)


def test_a_few_disguised_test_documents_are_dropped(tmp_path: Path) -> None:
    summary = mix(tmp_path, DISGUISES["a prefix"], 2)
    assert summary["by_task"] == {"seeded": 2}
    assert read_dropped_seeds(tmp_path / "out") == {"seeded-50": "bench-0", "seeded-51": "bench-1"}


class Translator(BagOfWords):
    """Every word of the other language is one of this language, read backwards."""

    def encode(self, texts: list[str], *, normalize_embeddings: bool) -> NDArray[np.float32]:
        read = [re.sub(r"x(\w+)", lambda word: word[1][::-1], text) for text in texts]
        return super().encode(read, normalize_embeddings=normalize_embeddings)


def translate(text: str) -> str:
    return re.sub(r"[A-Za-z]+", lambda word: f"x{word[0].lower()[::-1]}", text)


def test_with_an_embedding_model_a_seed_that_is_told_again_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By thresholds that the seeds do not set, for nearly half of them may be leaks."""
    monkeypatch.setattr("tsqa.decontaminate.semantic.load_model", lambda *_: Translator(4096))
    monkeypatch.setattr("tsqa.decontaminate.semantic.identify_model", str)
    monkeypatch.setattr("tsqa.decontaminate.semantic._CEILING", 1.0)  # they share many words
    semantic = {"model": "m", "false_positives": 0.1}
    section = FilterSection.model_validate({"decontaminate": {"semantic": semantic}})
    for name in ("few", "many", "plain"):
        (tmp_path / name).mkdir()
    summary = mix(tmp_path / "few", translate, 2, section)
    assert summary["by_meaning"] == 2 and summary["by_task"] == {"seeded": 2}
    assert [one["set_on"] for one in summary["semantic_leaks"]] == ["evaluated documents"]
    with pytest.raises(LeakError, match="40 of the 90"):
        mix(tmp_path / "many", translate, 40, section)
    assert "by_meaning" not in mix(tmp_path / "plain", translate, 40)


def test_a_seed_that_quotes_a_benchmark_in_another_question_is_counted_and_kept(
    tmp_path: Path,
) -> None:
    start = "Before dawn she carries a wicker basket to the harbour and counts all the boats. "
    summary = mix(tmp_path, lambda text: start + " ".join(text.split()[:15]) + ". Who pays?", 2)
    assert (summary["dropped"], summary["resembling_by_task"]) == (0, {"seeded": 2})


def test_a_passage_that_a_benchmark_reads_is_no_seed(tmp_path: Path) -> None:
    """Whole, a part of it, lightly edited, or around a question; not one that shares a phrase."""
    passage = " ".join(f"river{n} flows by town{n} in spring." for n in range(40))
    parts = [
        {"text": f"Before it. {passage} After it."},
        {"text": " ".join(passage.split()[60:120])},
        {"text": re.sub("town(.)5", r"village\g<1>5", passage)},
        {"text": f"{_filler('a')} Which {_phrase()} is the longest of all? {_filler('b')}"},
        {"text": f"{_filler('c')} river3 flows by town3 in spring. {_filler('d')}"},
        *({"text": _filler(f"e{n}")} for n in range(100)),
    ]
    for name in ("own", "other"):
        (tmp_path / name).mkdir()
    write_jsonl(tmp_path / "web.jsonl", parts)
    write_task(tmp_path / "other", "bench", doc_to_text="Passage: {{context}}\nQ: {{question}}\nA:")
    rows = [
        {"context": passage, "question": "What flows by the fourth of the towns?", "answer": "it"},
        {"context": "", "question": f"Which {_phrase()} is the longest of all?", "answer": "it"},
    ]
    write_jsonl(tmp_path / "other" / "bench.test.jsonl", rows)
    documents = {"name": "web", "path": str(tmp_path / "web.jsonl"), "max_words": 2000}
    summary = compare(tmp_path, tasks=[], include=None, documents=[documents])
    dropped = read_dropped_seeds(tmp_path / "out")
    assert set(dropped) == {f"web-web.jsonl:{line}.0" for line in (1, 2, 3, 4)}
    assert summary["by_task"] == {"web": 4}


def _phrase() -> str:
    return " ".join(f"p{n}" for n in range(14))


def _filler(mark: str) -> str:
    return " ".join(f"{mark}{n}" for n in range(50)) + "."
