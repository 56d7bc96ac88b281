"""Diversity of gradients: a collapsed set moves it, halves of one real set do not, and the sketch
says what the whole gradients say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.quality_world import audited_dataset, real_text, sample_of
from tests.support.tiny_teacher import make_tiny_teacher
from tsqa.curated.card import with_audit
from tsqa.errors import EngineError
from tsqa.pipeline.auditing import audit_where_asked, audits_to_make, find_audit
from tsqa.pipeline.run import Pipeline
from tsqa.preview.dry_run import print_estimates
from tsqa.quality.diversity import GradientProxy, measure_gradients
from tsqa.quality.gradients import proxy
from tsqa.quality.gradients.proxy import text_gradients
from tsqa.quality.gradients.sketch import WIDTH, GradientSketch
from tsqa.quality.sample import AuditedText, QualitySample
from tsqa.recipe import load_recipe
from tsqa.records.quality import GRADIENTS, QualityMeasure

MORE = ["audit.gradients.items=25"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_tiny_teacher(tmp_path_factory.mktemp("proxy"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def measure(sample: QualitySample, model: str, folder: Path) -> QualityMeasure:
    asked = partial(text_gradients, model, folder)
    return measure_gradients(sample, GradientProxy(30, "tiny", asked, ""), 0)


def collapse(item: AuditedText, _: AuditedText, rng: np.random.Generator) -> AuditedText:
    """One of three questions, whatever the seed."""
    same = real_text(np.random.default_rng(int(rng.integers(3))), item.id, item.task)
    return replace(same, id=item.id)


def exact(model: str, text: str) -> NDArray[np.float64]:
    """Of all parameters, by the textbook."""
    found = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(model)(text, return_tensors="pt")["input_ids"]
    found(input_ids=ids, labels=ids).loss.backward()
    gradients = [each.grad.flatten() for each in found.parameters()]
    return torch.cat(gradients).double().numpy()


def cosines(vectors: list[NDArray[np.floating]]) -> NDArray[np.float64]:
    units = [vector / np.linalg.norm(vector) for vector in vectors]
    return np.array([[float(one @ other) for other in units] for one in units])


def fail(_: str) -> None:
    raise EngineError("no memory", "find some")


def test_two_halves_of_one_real_set_are_alike_and_a_collapsed_set_is_not(
    model: str, tmp_path: Path
) -> None:
    alike = measure(sample_of(count=40), model, tmp_path)
    assert alike.n == 30 and not alike.apart and alike.gap and alike.gap[1] < 0 < alike.gap[2]
    collapsed = measure(sample_of(collapse, count=40), model, tmp_path)
    assert collapsed.apart and collapsed.value is not None and collapsed.reference is not None
    assert 1 / 30 < collapsed.value < 3 / 30, "it is three questions"
    assert collapsed.value < 0.6 * collapsed.reference
    assert "tiny" in collapsed.limits and collapsed.n == 30


def test_sketches_say_what_whole_gradients_say(model: str, tmp_path: Path) -> None:
    texts = [pair.seed.text for pair in sample_of(count=12).pairs]
    texts += ["12 + 30 = 42", "12 + 30 = 43", texts[0]]
    found = text_gradients(model, tmp_path, texts)
    whole = [exact(model, text) for text in texts]
    kept = [sketch for sketch in found if sketch is not None]
    assert len(kept) == len(texts) and {sketch.shape for sketch in kept} == {(WIDTH,)}
    off = np.abs(cosines([*kept]) - cosines([*whole]))
    assert off.max() < 5 / np.sqrt(WIDTH), "5 standard deviations"
    assert np.array_equal(kept[0], kept[-1])
    assert 0.93 < np.linalg.norm(kept[0]) / np.linalg.norm(whole[0]) < 1.07


@pytest.mark.parametrize("columns", [WIDTH, 3 * WIDTH, 1000])
def test_a_sketch_keeps_lengths_where_few_columns_hold_all(columns: int) -> None:
    """A place in a row must not always add to the same number."""
    rng = np.random.default_rng(0)
    lengths = []
    for number in range(20):
        gradient = np.zeros((300, columns), np.float32)
        gradient[:, 7] = rng.normal(size=300)
        sketch = GradientSketch()
        sketch.add(number, gradient)
        lengths.append(np.linalg.norm(sketch.numbers) ** 2 / np.linalg.norm(gradient) ** 2)
    assert np.mean(lengths) == pytest.approx(1, abs=0.03) and np.std(lengths) < 0.1


def test_a_text_is_worked_on_once_and_what_nothing_is_predicted_of_is_left_out(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = text_gradients(model, tmp_path, ["one two", "a", "one two"])
    assert before[1] is None and before[0] is not None
    log = tmp_path / "gradients.jsonl"
    log.write_text(log.read_text() + '{"id": "torn')

    def refuse(*_: object) -> None:
        raise AssertionError("loaded again")

    monkeypatch.setattr(proxy, "ProxyModel", refuse)
    again = text_gradients(model, tmp_path, ["a", "one two"])
    assert again[0] is None and again[1] is not None and np.array_equal(again[1], before[0])


def test_pairs_without_a_gradient_are_counted_and_few_are_not_measured(tmp_path: Path) -> None:
    def some(texts: list[str]) -> list[NDArray[np.float32] | None]:
        rng = np.random.default_rng(0)
        return [None if n in (2, 30) else rng.normal(size=9).astype("f") for n in range(len(texts))]

    asked = GradientProxy(25, "tiny", some, "")  # type: ignore[arg-type]
    found = measure_gradients(sample_of(count=30), asked, 0)
    assert found.n == 23 and found.notes == ["2 left out, whose text is one token"]
    few = measure_gradients(sample_of(count=10), asked, 0)
    assert few.value is None and "10 seeds" in few.missing and "20 are needed" in few.missing


def test_a_model_that_cannot_be_loaded_or_has_no_number_is_refused(
    model: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(EngineError, match=r"audit\.gradients\.model = .*empty"):
        text_gradients(str(tmp_path / "empty"), tmp_path, ["one two"])
    broken = AutoModelForCausalLM.from_pretrained(model)
    broken.lm_head.weight.data[3] = torch.nan
    broken.save_pretrained(tmp_path / "broken")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "broken")
    with pytest.raises(EngineError, match="'one two' is zero, or holds no number"):
        text_gradients(str(tmp_path / "broken"), tmp_path, ["one two"])


def test_an_audit_measures_what_the_recipe_asks_and_the_dry_run_says_it(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tsqa.quality.run.PERMUTATIONS", 1)
    gradients = {"model": model, "items": 22}
    made = audited_dataset(tmp_path, audit={"gradients": gradients})
    node = next(each for each in made.pipeline.nodes if each.stage == "filter")
    made.pipeline.say_audits()
    print_estimates(made.pipeline)
    said = " ".join(capsys.readouterr().err.split())
    assert "gradients of up to 22 items and their seeds; not made yet" in said
    assert "audit of filter: gradients: speed assumed" in said and "not known" not in said
    audit_where_asked(made.pipeline, node)
    report = find_audit(made.pipeline, node)
    assert report and report.gradients.endswith(", 22 items")
    (line,) = [each for each in report.measures if each.name == GRADIENTS]
    assert line.n == 22 and line.value is not None and model not in with_audit("", report)
    assert f"gradients of {Path(model).name}" in with_audit("", report)
    assert audits_to_make(made.pipeline) == []
    more = Pipeline(load_recipe(made.recipe, MORE), made.recipe, MORE)
    (again,) = audits_to_make(more)
    monkeypatch.setattr(proxy, "ProxyModel", fail)
    audit_where_asked(more, again)
    report = find_audit(more, again)
    assert report and audits_to_make(more) == []
    (line,) = [each for each in report.measures if each.name == GRADIENTS]
    assert line.value is None and line.missing == "no memory"
