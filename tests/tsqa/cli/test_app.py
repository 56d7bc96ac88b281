"""The command line: exit codes, no traceback for a user's mistake, quick help."""

from __future__ import annotations

import re
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tests.support.paths import REPOSITORY
from tsqa import __version__
from tsqa.cli.app import app
from tsqa.cli.common import STAGES, words
from tsqa.pipeline.graph import build_graph
from tsqa.recipe import load_recipe

RECIPE = "recipes/quickstart/recipe.yaml"


def tsqa(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tsqa.cli.app", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_imports_no_engine_and_shows_an_example() -> None:
    script = (
        "import sys; sys.argv = ['tsqa', '--help']\n"
        "from tsqa.cli.app import main\n"
        "try: main()\n"
        "finally: print(sorted({'torch', 'transformers', 'vllm', 'lm_eval'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    assert "tsqa run recipes/quickstart/recipe.yaml" in done.stdout
    assert done.stdout.strip().endswith("[]")


def test_help_lists_the_groups_in_order_and_the_stages_as_they_run() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = tsqa("--help").stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = ["debug", "Stages", "data", "benchmarks", "seeds", "generate", "filter", "tokenize"]
    words += ["train"]
    words += ["eval", "Experiments", "init", "run", "Dataset", "inspect", "Checks", "validate"]
    firsts = [match[1] for match in re.finditer(r"^\W*([\w-]+)", shown, re.MULTILINE)]
    assert [word for word in firsts if word in words] == words
    assert "--install-completion" in shown
    # 0.4 s alone; CPU time, because other work on the machine delays the rest.
    assert after.ru_utime - before.ru_utime < 1


def test_the_version_is_the_packages() -> None:
    assert tsqa("--version").stdout == f"tsqa {__version__}\n"


def test_an_unknown_key_is_exit_code_2_with_the_nearest_name_and_no_traceback() -> None:
    done = tsqa("run", RECIPE, "train.learning_rate=1e-3", "filter.agrement=0.5")
    assert done.returncode == 2
    assert "did you mean `agreement`?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("dashed", ["--train.lr=1e-3", "--mixture.phases.0.tokens"])
def test_an_override_with_dashes_is_told_to_drop_them(dashed: str) -> None:
    done = tsqa("run", RECIPE, dashed)
    assert done.returncode == 2
    assert f"fix: drop the dashes: {dashed[2:]}" in done.stderr


def test_a_budget_for_a_capability_that_no_task_has_is_refused_by_validate() -> None:
    done = tsqa("validate", "recipes/dataset/recipe.yaml", "seeds.budget.capabilities={maths: 0.3}")
    assert done.returncode == 2
    assert "no task has the capability maths" in done.stderr and "math," in done.stderr


def test_debug_shows_the_traceback() -> None:
    done = tsqa("validate", RECIPE, "filter.agrement=0.5", "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_validate_prints_the_resolved_recipe_on_stdout() -> None:
    done = tsqa("validate", RECIPE)
    assert done.returncode == 0, done.stderr
    assert "name: quickstart\n" in done.stdout


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    done = tsqa("run", RECIPE, "--dry-run", f"runs={tmp_path / 'runs'}")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "runs").exists()
    assert "450,000" in done.stderr
    assert "to run" in done.stderr


def test_a_dry_run_refuses_a_model_that_transformers_refuses(tmp_path: Path) -> None:
    base, runs = "recipes/quickstart/base.yaml", f"runs={tmp_path / 'runs'}"
    done = tsqa("run", base, "--dry-run", "model.config.num_attention_heads=0", runs)
    assert done.returncode == 2
    assert "model.config: transformers refuses nemotron_h: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stage_that_the_recipe_lacks_is_a_clear_error() -> None:
    done = tsqa("generate", "recipes/quickstart/base.yaml")
    assert done.returncode == 1
    assert "no stage `generate`" in done.stderr


def test_a_command_that_is_printed_can_be_typed() -> None:
    given = ["my recipes/it's.yaml", "filter={agreement: 0.6}"]
    assert shlex.split(words(Path(given[0]), given[1:])) == given


def test_the_example_of_each_stage_names_a_recipe_that_has_it() -> None:
    stages_of: dict[str, set[str]] = {}
    seen = set()
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        if getattr(command, "rich_help_panel", "") != STAGES or name == "seeds":
            continue
        file = command.help.split("Example: ")[1].split()[2]
        if file not in stages_of:
            path = REPOSITORY / file
            stages_of[file] = {node.stage for node in build_graph(load_recipe(path, []), path)}
        assert {"eval": "evaluate"}.get(name, name) in stages_of[file]
        seen.add(name)
    assert {"nearest", "train", "eval"} <= seen
