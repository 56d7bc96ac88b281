"""`tsqa generations`: order, the stop rule, arms that fail, what is written; without engines."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import tsqa.generations.run as run_module
from tests.support.paths import REPOSITORY
from tsqa.cli.app import app
from tsqa.errors import EngineError
from tsqa.generations.measure import GenerationMeasure, MeasuredGeneration
from tsqa.generations.run import run_generations
from tsqa.quality.measure import Spanned
from tsqa.recipe import Recipe, load_recipe

RECIPE = REPOSITORY / "recipes" / "generations" / "recipe.yaml"
LIMITS = "generations.stop={errors: 0.3, tail: null, diversity: 0.3, loss: 0.5}"
ANCHORED, ALONE = "anchored", "unanchored"


class World:
    """Generations whose errors are planted: all of an arm's grow by its step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps = {ANCHORED: 0.0, ALONE: 0.2}
        self.begun: list[str] = []
        self.failing: set[str] = set()

    @property
    def recipe(self) -> Recipe:
        return load_recipe(RECIPE, [f"runs={self.folder}", LIMITS])

    def pipeline(self, recipe: Recipe, file: Path, overrides: list[str]) -> SimpleNamespace:
        def run(until: str) -> None:
            assert until == "train"
            self.begun.append(file.stem)
            if file.stem in self.failing:
                raise EngineError(f"{file.stem}: out of memory")

        return SimpleNamespace(run=run, origin=file)

    def measure(
        self, pipeline: SimpleNamespace, arm: str, number: int, first: list[float]
    ) -> MeasuredGeneration:
        assert first == [1.0], "that of the first generation"
        share = 0.05 + self.steps[arm] * number
        spans = {"errors": Spanned(share, share - 0.02, share + 0.02)}
        spans |= {name: Spanned(0.0, -0.1, 0.1) for name in ("tail", "diversity", "loss")}
        measures = [GenerationMeasure(name=n, span=span, n=100) for n, span in spans.items()]
        return MeasuredGeneration(arm, number, str(pipeline.origin), "f", "t", 120, 100, measures)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    world = World(tmp_path)
    monkeypatch.setattr(run_module, "Pipeline", world.pipeline)
    monkeypatch.setattr(run_module, "measure_generation", world.measure)
    monkeypatch.setattr(run_module, "first_losses", lambda pipeline: [1.0])
    return world


def test_a_collapsing_arm_stops_and_the_other_goes_on(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run_generations(world.recipe)
    assert world.begun == [f"{ANCHORED}-{n}" for n in (1, 2, 3)] + [f"{ALONE}-{n}" for n in (1, 2)]
    assert list(outcome.stopped) == [ALONE]
    why = outcome.stopped[ALONE]
    assert why.startswith(
        "generation 3 is not begun, as in generation 2 errors 0.450 [0.430, 0.470] is above its "
        "limit 0.3"
    )
    assert "--go-on" in why and "generations.stop.errors" in why
    assert outcome.page is not None
    report = json.loads((outcome.page.parent / "generations.json").read_text())
    assert [(g["arm"], g["number"]) for g in report["generations"]] == [
        *((ANCHORED, n) for n in (1, 2, 3)),
        *((ALONE, n) for n in (1, 2)),
    ]
    assert report["stopped"] == outcome.stopped and report["limits"]["errors"] == 0.3
    page = outcome.page.read_text()
    assert "generation 3 is not begun" in page and page.count('class="above"') == 1
    assert "0.450 [0.430, 0.470]" in page and "n = 100" in page


def test_it_runs_on_where_that_is_asked_and_marks_what_is_above(world: World) -> None:
    outcome = run_generations(world.recipe, go_on=True)
    assert len(world.begun) == 6 and outcome.stopped == {}
    assert outcome.page is not None and outcome.page.read_text().count('class="above"') == 2


def test_the_last_generation_says_that_no_other_should_follow(world: World) -> None:
    world.steps[ALONE] = 0.1
    assert "generation 4 is not begun" in run_generations(world.recipe).stopped[ALONE]


def test_a_stationary_chain_stops_nowhere(world: World) -> None:
    world.steps[ALONE] = 0.0
    assert run_generations(world.recipe).stopped == {} and len(world.begun) == 6


def test_an_arm_that_fails_stops_no_other(world: World) -> None:
    world.failing.add(f"{ANCHORED}-2")
    world.steps[ALONE] = 0.0
    outcome = run_generations(world.recipe)
    assert outcome.stopped == {ANCHORED: f"{ANCHORED}-2: out of memory"}
    assert world.begun[2:] == [f"{ALONE}-{n}" for n in (1, 2, 3)]


def test_the_command_ends_with_an_error_where_an_arm_stopped(world: World) -> None:
    asked = ["generations", str(RECIPE), f"runs={world.folder}", LIMITS]
    assert CliRunner().invoke(app, asked).exit_code == 1
    found = CliRunner().invoke(app, [*asked, "--go-on"])
    assert found.exit_code == 0 and "generations.html" in found.output
