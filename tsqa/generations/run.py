"""`tsqa generations`: the generations of each arm in order, measured, and stopped at a limit.

Guarantees: finished stages are reused, and a kill loses what any run of a recipe loses; an arm that
stops or fails stops no other; no generation begins after one that passed a limit, unless asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.text import Text

from tsqa.console import console
from tsqa.errors import PreemptedError, TsqaError
from tsqa.generations.chain import chain_folder, write_chains
from tsqa.generations.measure import MeasuredGeneration, first_losses, measure_generation
from tsqa.generations.report import GenerationsReport, print_report, write_report
from tsqa.generations.stop import passed
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import Recipe, StopSection, load_recipe, needed


@dataclass
class GenerationsOutcome:
    """What a command came to."""

    page: Path | None = None
    stopped: dict[str, str] = field(default_factory=dict)
    """Arm -> why it did not begin its next generation, or did not finish one."""


def run_generations(recipe: Recipe, go_on: bool = False) -> GenerationsOutcome:
    """Run what is missing, and write the page after each generation.

    `go_on`: do not stop at limits; what is above them is marked.
    """
    limits = needed(recipe.generations, "generations").stop
    chains, outcome = write_chains(recipe), GenerationsOutcome()
    done: list[MeasuredGeneration] = []
    for arm, files in chains.items():
        try:
            _run_arm(recipe, arm, files, None if go_on else limits, done, outcome)
        except PreemptedError:
            raise
        except TsqaError as error:
            outcome.stopped[arm] = str(error)
    outcome.page = _report(recipe, done, outcome)
    if done:
        print_report(_report_of(recipe, done, outcome))
    for arm, why in outcome.stopped.items():
        console.print(Text.assemble(("stopped", "red"), f" {arm}: {why}"))
    return outcome


def _run_arm(
    recipe: Recipe,
    arm: str,
    files: Sequence[Path],
    limits: StopSection | None,
    done: list[MeasuredGeneration],
    outcome: GenerationsOutcome,
) -> None:
    first: list[float] = []
    for number, file in enumerate(files, 1):
        console.print(Text.assemble((f"{arm}, generation {number} of {len(files)}", "bold")))
        pipeline = Pipeline(load_recipe(file), file, [])
        pipeline.run(until="train")
        if number == 1:
            first = first_losses(pipeline)
        measured = measure_generation(pipeline, arm, number, first)
        done.append(measured)
        _report(recipe, done, outcome)
        if limits is not None and (reasons := passed(measured.measures, limits)):
            outcome.stopped[arm] = stop_message(number, reasons)
            return


def stop_message(number: int, reasons: Mapping[str, str]) -> str:
    """Why no generation follows that of this number, and what to do."""
    why = "; ".join(f"{name} {reason}" for name, reason in reasons.items())
    keys = ", ".join(f"generations.stop.{name}" for name in reasons)
    return (
        f"generation {number + 1} is not begun, as in generation {number} {why}\n  fix: give the "
        "arm more of people's text, or its items a stricter filter; --go-on runs it all the same, "
        f"and another limit ({keys}) allows it"
    )


def _report(
    recipe: Recipe, done: Sequence[MeasuredGeneration], outcome: GenerationsOutcome
) -> Path:
    return write_report(chain_folder(recipe), _report_of(recipe, done, outcome))


def _report_of(
    recipe: Recipe, done: Sequence[MeasuredGeneration], outcome: GenerationsOutcome
) -> GenerationsReport:
    section = needed(recipe.generations, "generations")
    return GenerationsReport(recipe.name, section.count, section.stop, [*done], outcome.stopped)
