"""Promises of deduplication: first in order stays, exact Jaccard decides, memory is bounded."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.embedding import BagOfWords
from tsqa.dedup import disk as spill
from tsqa.dedup import minhash as dedup
from tsqa.dedup import semantic
from tsqa.dedup.minhash import choose_bands, find_duplicates, jaccard, shingles
from tsqa.errors import EngineError
from tsqa.recipe import DedupSection, SemanticSection
from tsqa.records.candidate import Rejection
from tsqa.text.hashing import expand_ranges, hash_runs, hash_text
from tsqa.text.signs import tokens

LONG = "the quick brown fox jumps over the lazy dog and then runs home to sleep in its den"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches and blocks so small that a few hundred items cross many of them."""
    monkeypatch.setattr(spill, "_BATCH", 64)
    monkeypatch.setattr(spill, "_RANGE", 32)
    monkeypatch.setattr(dedup, "_PACK", 48)
    monkeypatch.setattr(dedup, "_BLOCK", 50)
    monkeypatch.setattr(semantic, "_BLOCK", 16)


@pytest.fixture
def judge(tmp_path: Path) -> Callable[..., list[Rejection | None]]:
    def run(questions: Iterable[str], **section: Any) -> list[Rejection | None]:
        items = ((str(number), question) for number, question in enumerate(questions))
        return list(find_duplicates(items, DedupSection(**section), tmp_path))

    return run


def draw_questions(rng: random.Random, count: int) -> list[str]:
    """Word salads, templates, copies in other case, and rewordings of all of these."""
    found: list[str] = []
    for number in range(count):
        roll = rng.random()
        if roll < 0.3 or not found:
            found.append(" ".join(f"w{rng.randrange(400)}" for _ in range(rng.randint(1, 45))))
        elif roll < 0.5:
            found.append(
                f"What did person {number} put in the large red box near the door of shed?"
            )
        elif roll < 0.6:
            found.append(rng.choice(found).upper() + "?")
        else:
            words = rng.choice(found).split()
            words[rng.choice((0, -1, len(words) // 2))] = f"v{rng.randrange(50)}"
            found.append(" ".join(words))
    return found


def greedy(questions: Sequence[str], threshold: float) -> list[bool]:
    """All pairs: is each item dropped against an earlier one that is kept?"""
    kept: list[frozenset[str]] = []
    texts: set[str] = set()
    dropped = []
    for question in questions:
        mine, text = shingles(tokens(question)), " ".join(tokens(question))
        dropped.append(text in texts or any(jaccard(mine, other) >= threshold for other in kept))
        if not dropped[-1]:
            kept.append(mine)
            texts.add(text)
    return dropped


def test_the_first_in_order_stays_and_the_reason_names_it(tmp_path: Path) -> None:
    items = [("b", LONG), ("a", f"{LONG} again"), ("d", "Something else"), ("c", LONG.upper())]
    verdicts = list(find_duplicates(iter(items), DedupSection(), tmp_path))
    assert [v and (v.reason, v.match) for v in verdicts] == [
        None,
        ("near duplicate", "b"),
        None,
        ("exact duplicate", "b"),
    ]
    assert verdicts[1] is not None and verdicts[3] is not None
    assert verdicts[1].score == jaccard(shingles(LONG.split()), shingles(f"{LONG} again".split()))
    assert verdicts[3].score == 1.0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.9])
def test_verdicts_are_those_of_a_comparison_of_all_pairs(
    judge: Callable[..., list[Rejection | None]], threshold: float
) -> None:
    questions = draw_questions(random.Random(4), 800)
    verdicts = judge(questions, threshold=threshold)
    assert judge(questions, threshold=threshold) == verdicts
    wanted = greedy(questions, threshold)
    agree = sum((v is not None) == w for v, w in zip(verdicts, wanted, strict=True))
    near = [verdict for verdict in verdicts if verdict and verdict.reason == "near duplicate"]
    assert agree >= 0.99 * len(questions)
    assert 50 < len(near) < 500
    for number, verdict in enumerate(verdicts):
        if verdict is None:
            continue
        match = int(verdict.match)
        score = jaccard(*(shingles(tokens(questions[n])) for n in (number, match)))
        assert match < number and verdicts[match] is None
        assert verdict.score == score >= threshold


@pytest.mark.parametrize("method", ["exact", "minhash"])
def test_what_differs_in_signs_or_case_alone_is_no_duplicate(
    judge: Callable[..., list[Rejection | None]], method: str
) -> None:
    tail = "written out in words, as the pupils of the third form do it on the board every day"
    questions = [
        *[f"What is 8 {sign} 4?" for sign in "+-*/<>"],
        *[f"What is 8 {sign} 4 {tail}?" for sign in "+-"],
        f"Is the symbol Co the right one {tail}?",
        f"Is the symbol CO the right one {tail}?",
    ]
    again = [
        *("what is 8 \u2212 4", "WHAT IS 8 X 4", f"Is the symbol CO the right one, {tail}?"),
        questions[-2].lower(),
    ]
    verdicts = judge([*questions, *again], method=method)
    assert [v and (v.reason, v.match) for v in verdicts] == [None] * len(questions) + [
        ("exact duplicate", number) for number in ("1", "2", "9", "8")
    ]


def test_no_drop_against_a_dropped_one(judge: Callable[..., list[Rejection | None]]) -> None:
    words = [f"w{number}" for number in range(40)]
    first, second, third = (" ".join(words[n : n + 30]) for n in (0, 2, 4))
    assert jaccard(shingles(first.split()), shingles(third.split())) < 0.8
    verdicts = judge([first, second, third, second.upper()])
    assert [v and v.match for v in verdicts] == [None, "0", None, "0"]
    assert verdicts[3] == verdicts[1], "a copy of a dropped question shares its fate"


def test_a_hash_collision_drops_nothing(
    judge: Callable[..., list[Rejection | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dedup, "hash_text", lambda text: 7)
    questions = [" ".join(f"{a}{b}" for b in range(12)) for a in "abcdefgh"]
    assert judge(questions) == [None] * 8
    assert judge(questions, method="exact") == [None] * 8


def test_exact_method_and_threshold_one_leave_near_duplicates(
    judge: Callable[..., list[Rejection | None]],
) -> None:
    questions = [LONG, f"{LONG} again", LONG]
    for section in ({"method": "exact"}, {"threshold": 1.0}):
        reasons = [v and v.reason for v in judge(questions, **section)]
        assert reasons == [None, None, "exact duplicate"]


def test_odd_input_gets_a_verdict_each(judge: Callable[..., list[Rejection | None]]) -> None:
    questions = ["", "?!", "a", "a b", "\ud800", "x" * 2_000_000, "中文的问题", "line\nbreak"]
    reasons = [v and v.reason for v in judge(questions)]
    assert reasons == [None, "exact duplicate", None, None, "exact duplicate", None, None, None]
    assert judge([]) == []


def test_an_abandoned_run_leaves_no_scratch(tmp_path: Path) -> None:
    verdicts = find_duplicates([("a", "Why?"), ("b", "How?")], DedupSection(), tmp_path)
    next(verdicts)
    assert list(tmp_path.iterdir()) != []
    verdicts.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small")
def test_memory_does_not_grow_with_the_items(tmp_path: Path) -> None:
    peaks = []
    # The first only warms up; of the last two one may pay for the interpreter's table of names.
    for count in (400, 400, 4000, 4000):
        rng = random.Random(1)
        items = ((str(n), " ".join(rng.choices("abcdefghijkl", k=20))) for n in range(count))
        tracemalloc.start()
        assert sum(v is None for v in find_duplicates(items, DedupSection(), tmp_path)) > 300
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert min(peaks[2:]) < 1.2 * peaks[1], peaks


@given(st.floats(0.05, 0.99))
def test_bands_propose_a_pair_at_the_threshold(threshold: float) -> None:
    bands, rows = choose_bands(threshold)
    assert 1 <= bands * rows <= 128
    assert rows == 1 or 1 - (1 - threshold**rows) ** bands >= 0.995


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 6))
def test_equal_runs_have_equal_hashes_and_others_do_not(numbers: list[int], size: int) -> None:
    hashes = np.array([hash_text(str(number)) for number in numbers], dtype=np.uint64)
    found = dict(enumerate(hash_runs(hashes, size), start=1))
    assert set(found) == set(range(1, min(size, len(numbers)) + 1))
    for length, runs in found.items():
        windows = [tuple(numbers[n : n + length]) for n in range(len(numbers) - length + 1)]
        pairs = set(zip(windows, runs.tolist(), strict=True))
        assert len(pairs) == len(set(windows)) == len(set(runs.tolist()))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=20))
def test_ranges_expand_end_to_end(ranges: list[tuple[int, int]]) -> None:
    starts, counts = np.array(ranges, dtype=np.int64).reshape(-1, 2).T
    expected = [n for start, count in ranges for n in range(start, start + count)]
    assert expand_ranges(starts, counts).tolist() == expected


@pytest.mark.usefixtures("small")
def test_semantic_search_is_that_of_all_pairs(
    judge: Callable[..., list[Rejection | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dedup, "load_model", lambda *_: BagOfWords())
    rng = random.Random(2)
    questions = [" ".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(150)]
    found = judge(questions, method="exact", semantic={"model": "x", "threshold": 0.87})
    vectors = BagOfWords().encode(questions, normalize_embeddings=True)
    kept: list[int] = []
    for number, question in enumerate(questions):
        scores = vectors[kept] @ vectors[number]
        verdict = found[number]
        if len(kept) and scores.max() >= 0.87:
            assert verdict is not None and verdict.score == pytest.approx(scores.max())
            is_copy = question == questions[int(verdict.match)]
            assert verdict.reason == ("exact duplicate" if is_copy else "semantic duplicate")
            assert int(verdict.match) in kept
        else:
            assert verdict is None
            kept.append(number)
    assert 20 < len(kept) < 140


def test_spread_is_the_mean_distance_over_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic, "_BLOCK", 7)
    rng = random.Random(3)
    questions = [" ".join(rng.choices("abcdef", k=4)) for _ in range(40)]
    vectors = BagOfWords().encode(questions, normalize_embeddings=True)
    pairs = [1 - vectors[a] @ vectors[b] for a in range(40) for b in range(a)]
    found = semantic.measure_spread(BagOfWords(), questions)
    assert found == pytest.approx(float(np.mean(pairs)), abs=1e-6)
    assert semantic.measure_spread(BagOfWords(), questions[:1]) == 0


def test_a_vector_without_numbers_is_an_error_that_names_model_and_text() -> None:
    class Overflow(BagOfWords):
        def encode(self, texts: list[str], *, normalize_embeddings: bool) -> NDArray[np.float32]:
            vectors = super().encode(texts, normalize_embeddings=normalize_embeddings)
            vectors[["long" in text for text in texts], 1] = np.nan
            return vectors

    model = semantic.FiniteEncoder(Overflow(), "key.model = 'm'")
    assert model.encode(["a", "b"], normalize_embeddings=True).shape == (2, 64)
    with pytest.raises(EngineError, match=r"key\.model = 'm': its vector of 'too long' holds no"):
        model.encode(["a", "too long"], normalize_embeddings=True)


@pytest.mark.engine
def test_a_sentence_transformers_folder_is_used_and_a_broken_one_named(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer, models

    vocabulary = ["cat", "dog", "sits", "mat", "runs", "park"]
    SentenceTransformer(modules=[models.BoW(vocab=vocabulary)]).save(str(tmp_path / "model"))
    section = DedupSection(semantic=SemanticSection(model=str(tmp_path / "model"), threshold=0.9))
    items = [("a", "cat sits mat"), ("b", "a mat on which sits a cat"), ("c", "dog runs in park")]
    verdicts = list(find_duplicates(items, section, tmp_path))
    assert verdicts[0] is None and verdicts[2] is None
    assert verdicts[1] is not None and verdicts[1].reason == "semantic duplicate"

    (tmp_path / "empty").mkdir()
    broken = DedupSection(semantic=SemanticSection(model=str(tmp_path / "empty")))
    with pytest.raises(EngineError, match=r"filter\.dedup\.semantic\.model"):
        next(find_duplicates(items, broken, tmp_path))
