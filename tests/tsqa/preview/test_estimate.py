"""Promises of the estimates: counts from the recipe, lengths as measured, scaled by size; and that
a limit of dollars stops a run, which then continues."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.generation import FakeEngine, opened
from tests.support.paths import REPOSITORY
from tests.support.sealed import reseal
from tests.tsqa.preview.test_preview import open_pipeline, preview
from tsqa.console import make_console
from tsqa.errors import RecipeError
from tsqa.pipeline.node import Node
from tsqa.pipeline.run import Pipeline
from tsqa.preview import dry_run, models
from tsqa.preview.asking import StageEstimate
from tsqa.preview.estimate import Estimates, limit_dollars
from tsqa.preview.measured import Range, write_record
from tsqa.recipe import ModelSection, load_recipe
from tsqa.spending import Spending, SpentError
from tsqa.store.jsonl import read_jsonl
from tsqa.teachers import Completion, Request


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 36 seeds and the evaluated documents."""
    folder = tmp_path_factory.mktemp("prepared")
    open_pipeline(folder).run(until="guard")
    return folder


def node_of(pipeline: Pipeline, stage: str) -> Node:
    return next(node for node in pipeline.nodes if node.stage == stage)


def test_requests_follow_from_the_recipe_and_tokens_from_max_tokens(prepared: Path) -> None:
    pipeline = open_pipeline(
        prepared,
        "generate.per_seed=2",
        "generate.teacher.dollars_per_million_output_tokens=10",
        "generate.question.max_tokens=100",
        "generate.answer.max_tokens=300",
    )
    found = Estimates(pipeline).of(node_of(pipeline, "generate"))
    assert found.requests == Range(36 * 2 * 4, 36 * 2 * 4)
    assert found.output_tokens.high == 72 * (100 + 3 * 300)
    assert found.dollars is not None and found.dollars.high == pytest.approx(72_000 * 10 / 1e6)
    assert any("from max_tokens" in basis for basis in found.basis)


def test_each_role_has_its_own_requests_lengths_and_price(prepared: Path) -> None:
    served = "engine: openai, urls: ['http://127.0.0.1:9/v1'], form: completion"
    price = "dollars_per_million_output_tokens: 10"
    pipeline = open_pipeline(
        prepared,
        "generate.teacher=null",
        f"generate.writer={{{served}, model: {{path: one}}}}",
        f"generate.solvers=[{{teacher: {{{served}, model: {{path: one}}}}, votes: 1}}, "
        f"{{teacher: {{{served}, {price}, model: {{path: two}}}}, votes: 2, "
        "answer: {max_tokens: 100, thinking_tokens: 900}}]",
        "generate.votes=5",
        "generate.question.max_tokens=100",
        "generate.answer.max_tokens=300",
    )
    found = Estimates(pipeline).of(node_of(pipeline, "generate"))
    assert found.requests == Range(36 * (1 + 0.5 + 1), 36 * (1 + 1 + 2))
    assert found.output_tokens.high == 36 * (100 + 300 + 2 * 1000)
    assert found.dollars is not None
    assert found.dollars.high == pytest.approx(36 * 2 * 1000 * 10 / 1e6)
    roles = ("writer", "solver0", "solver1")
    assert all(any(basis.startswith(f"{role}:") for basis in found.basis) for role in roles)


def test_a_preview_gives_the_lengths_and_other_prompts_forget_them(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsqa.teachers.client.open_engine", lambda *_: opened(FakeEngine()))
    pipeline = open_pipeline(prepared)
    _, record = preview(open_pipeline(prepared), 3)
    write_record(pipeline, record)
    found = Estimates(pipeline).of(node_of(pipeline, "generate"))
    assert found.output_tokens == Range(144 * 4.5, 144 * 5.5)  # each reply had 5 tokens
    assert any("measured here on 3 items" in basis for basis in found.basis)
    more = open_pipeline(prepared, "generate.votes=7")
    assert Estimates(more).of(node_of(more, "generate")).output_tokens.high == 288 * 5.5
    other = open_pipeline(prepared, "generate.answer.temperature=0.1")
    found = Estimates(other).of(node_of(other, "generate"))
    assert not any("measured" in basis for basis in found.basis)


def test_seeds_are_counted_for_each_task_of_a_group_that_is_not_held_out(tmp_path: Path) -> None:
    first = open_pipeline(tmp_path)
    assert Estimates(first).seeds(node_of(first, "seeds"))[0].high == 3 * 1000
    held = open_pipeline(tmp_path, "seeds.hold_out=[beta]")
    assert Estimates(held).seeds(node_of(held, "seeds"))[0].high == 2 * 1000
    own = (tmp_path / "tasks" / "own.yaml").read_text()
    for name in ("one", "two"):
        text = own.replace("task: own_task", f"task: own_{name}")
        (tmp_path / "tasks" / f"{name}.yaml").write_text(text)
    (tmp_path / "tasks" / "both.yaml").write_text("group: own_both\ntask: [own_one, own_two]\n")
    grouped = open_pipeline(
        tmp_path, "seeds.tasks=[own_both]", f"seeds.include={tmp_path / 'tasks'}"
    )
    assert Estimates(grouped).seeds(node_of(grouped, "seeds"))[0].high == 5 * 1000


def test_documents_are_counted_for_each_task_of_a_group(prepared: Path) -> None:
    own = (prepared / "tasks" / "own.yaml").read_text()
    (prepared / "groups").mkdir()
    for name in ("one", "two"):
        text = own.replace("task: own_task", f"task: own_{name}")
        (prepared / "groups" / f"{name}.yaml").write_text(text)
    (prepared / "groups" / "both.yaml").write_text("group: own_both\ntask: [own_one, own_two]\n")
    grouped = open_pipeline(
        prepared, "eval.tasks=[own_both]", f"eval.include={prepared / 'groups'}"
    )
    found = Estimates(grouped).of(node_of(grouped, "benchmarks"))
    assert found.seconds is not None
    assert found.basis == ("measured here on 1 items",)


def test_time_is_scaled_by_size_not_copied(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = open_pipeline(prepared)
    seeds = node_of(pipeline, "seeds")
    folder = pipeline.store.path_of("seeds", seeds.fingerprint)
    made = pipeline.find(seeds)
    assert made is not None
    reseal(folder, summary={**made.summary, "seconds": 10.0})
    larger = open_pipeline(prepared, "seeds.budget={total: 360}")
    seconds = Estimates(larger).of(node_of(larger, "seeds")).seconds
    assert seconds is not None and seconds.low < 100 < seconds.high
    assert seconds.low > 10


def training(folder: Path, *overrides: str) -> StageEstimate:
    """Of 15 steps of the smoke base."""
    recipe = REPOSITORY / "recipes" / "smoke" / "base.yaml"
    given = [f"runs={folder / 'none'}", "train.micro_batch_size=1", *overrides]
    pipeline = Pipeline(load_recipe(recipe, given), recipe, given)
    return Estimates(pipeline).training(node_of(pipeline, "train"))


def test_checkpoints_that_are_kept_for_good_take_disk(tmp_path: Path) -> None:
    few, every, ramp = (
        training(tmp_path, *given).disk_gib
        for given in (
            [],
            ["train.keep_every=4"],
            ["train.keep_every=4", "train.batch_ramp=[{until: 0.5, global_batch_tokens: 512}]"],
        )
    )
    assert few and every and ramp
    # Of each parameter 16 bytes in a checkpoint, 4 in the model: 2 are kept, 3 for good, 5 of 23.
    assert every.high / few.high == pytest.approx((5 * 16 + 4) / (2 * 16 + 4))
    assert ramp.high / few.high == pytest.approx((7 * 16 + 4) / (2 * 16 + 4))


def test_a_time_by_other_gpus_is_that_of_as_many_gpu_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = {"tokens": 16_000, "seconds": 1e5, "execution": {"processes": 8}}
    monkeypatch.setattr(Estimates, "latest", lambda *_: SimpleNamespace(summary=summary))
    for gpu in (True, False):
        monkeypatch.setattr(models, "has_gpu", lambda gpu=gpu: gpu)
        one, eight = (training(tmp_path, f"train.processes={count}") for count in (1, 8))
        assert one.seconds and eight.seconds and one.gpu_hours and eight.gpu_hours
        assert one.seconds.low / eight.seconds.low == pytest.approx(8 if gpu else 1, rel=0.01)
        assert one.gpu_hours.low == pytest.approx(eight.gpu_hours.low, rel=0.01)
    assert "by 8 processes" not in one.basis[0]


def test_what_cannot_be_known_is_unknown_and_never_nothing(prepared: Path) -> None:
    pipeline = open_pipeline(
        prepared,
        "generate.teacher={engine: vllm, urls: [], model: {path: nobody/knows}, form: completion}",
    )
    found = Estimates(pipeline).of(node_of(pipeline, "generate"))
    assert found.seconds is None and found.device_gib in (None, Range(0, 0))
    assert Estimates(pipeline).total(pipeline.nodes).seconds is None


def test_the_size_of_a_model_is_read_from_its_name(prepared: Path) -> None:
    pipeline = open_pipeline(prepared)
    node = pipeline.nodes[0]
    for name, total, active in (
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", 30e9, 3e9),
        ("org/Small-360M", 360e6, 360e6),
        ("meta/Llama-3.1-8B", 8e9, 8e9),
    ):
        size = models.size_of_model(pipeline, node, "teacher", ModelSection(path=name))
        assert size == models.ModelSize(total, active)


def test_the_plan_fits_eighty_columns(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    console = make_console(file=written, width=80)
    monkeypatch.setattr(dry_run, "console", console)
    recipe = REPOSITORY / "recipes" / "quickstart" / "recipe.yaml"
    given = [f"runs={prepared / 'none'}", "dollars_per_gpu_hour=3"]
    dry_run.print_estimates(Pipeline(load_recipe(recipe, given), recipe, given))
    lines = written.getvalue().splitlines()
    rows = [line for line in lines if "generate" in line or "sum" in line]
    assert all(len(line.rstrip()) <= 80 for line in lines if ":" not in line)
    assert any("14.4K" in line for line in rows)  # 1,200 seeds x 2 x (1 + 5)
    assert "\u2026" not in written.getvalue()


class Priced(FakeEngine):
    """A thousand tokens for each reply."""

    def complete(self, request: Request) -> Completion:
        done = super().complete(request)
        return Completion(done.id, done.text, 10, 1000, done.finish_reason)

    def submit(self, requests: Sequence[Request]) -> None:
        super().submit(requests)


PRICE = (
    "generate.teacher.dollars_per_million_output_tokens=1000",  # a dollar for each reply
    "generate.question.max_tokens=1000",
    "generate.answer.max_tokens=1000",
)


def test_a_run_stops_within_its_limit_and_continues_to_the_same(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Priced()
    monkeypatch.setattr("tsqa.teachers.client.open_engine", lambda *_: opened(engine))
    paid, attempts = 0.0, 0
    while True:
        pipeline = open_pipeline(prepared, *PRICE)
        limit_dollars(pipeline, 60)
        attempts += 1
        try:
            pipeline.run(until="generate")
        except SpentError as error:
            assert "--max-dollars 60.00" in str(error)
            assert 50 < pipeline.spending.dollars <= 60
            paid += pipeline.spending.dollars
            continue
        paid += pipeline.spending.dollars
        break
    made = pipeline.finished("generate")
    asked = len(list(read_jsonl(made.path / "teacher-completions.jsonl")))
    assert attempts == 3 and paid == asked == engine.asked
    assert made.summary["ledger"][0]["requests"] == asked


def test_a_limit_without_prices_is_refused(prepared: Path) -> None:
    with pytest.raises(RecipeError, match="nothing that would run has a price"):
        limit_dollars(open_pipeline(prepared, "generate.seed=9"), 5)
    limit_dollars(open_pipeline(prepared, "generate.seed=9"), 5, [])  # not all that is missing


def test_an_evaluation_that_costs_more_than_is_left_is_not_begun() -> None:
    spending = Spending(limit=10, dollars=8)
    assert spending.affords(2) and not spending.affords(2.01)
    assert "$8.00 are spent" in str(SpentError(spending, "evaluate"))
