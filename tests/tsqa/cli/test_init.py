"""`tsqa init`, from a checkout and from an installed wheel: what it copies runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY
from tsqa.cli.init import SETS, copy_recipes
from tsqa.errors import TsqaError
from tsqa.recipe import load_recipe
from tsqa.shipped import LAUNCH_CONFIG, RECIPES


def test_every_folder_of_recipes_can_be_copied() -> None:
    assert set(SETS) == {path.name for path in RECIPES.iterdir() if path.is_dir()} - {"suites"}


@pytest.mark.parametrize("name", SETS)
def test_a_copy_loads_without_the_originals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    main = copy_recipes(name, Path("my recipes"))
    assert main.is_file()
    for path in (tmp_path / "my recipes" / name).glob("*.yaml"):
        copy, original = load_recipe(path), load_recipe(RECIPES / name / path.name)
        assert copy.name == original.name
        prompts = copy.generate.prompts if copy.generate else None
        for prompt in (prompts.question, prompts.answer) if prompts else ():
            assert not prompt.endswith(".jinja") or Path(prompt).is_file()
        for section in (copy.seeds, copy.eval):
            if section and section.include and "{data}" not in section.include:
                assert Path(section.include).is_dir()


def test_a_copy_replaces_nothing(tmp_path: Path) -> None:
    copy_recipes("smoke", tmp_path)
    with pytest.raises(TsqaError, match="is not empty"):
        copy_recipes("quickstart", tmp_path)
    with pytest.raises(TsqaError, match="is not empty"):
        copy_recipes("quickstart", tmp_path / "recipe.schema.json")
    with pytest.raises(TsqaError, match="choose one of quickstart"):
        copy_recipes("quickstar", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_installed_wheel_has_its_files_and_starts_an_experiment(tmp_path: Path) -> None:
    source, site, work = (tmp_path / name for name in ("source", "site", "work"))
    work.mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("tsqa", "train", "eval", "recipes", "launch"):
        shutil.copytree(REPOSITORY / name, source / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    wheel = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp_path)]
    subprocess.run([*pip, *wheel, str(source)], check=True)
    (built,) = tmp_path.glob("*.whl")
    target = ["install", "--no-deps", "--no-index", "--no-compile", "--target", str(site)]
    subprocess.run([*pip, *target, str(built)], check=True)
    shutil.rmtree(source)
    assert (site / "tsqa/shipped/recipes/real/tasks/likelihood.py").is_file()

    environment = {**os.environ, "PYTHONPATH": str(site), "WANDB_MODE": "disabled"}
    run_main = (
        "import json, sys\n"
        "from tsqa.cli.app import main\n"
        "try: main()\n"
        "finally:\n"
        "    roots = ('tsqa', 'train', 'eval')\n"
        "    print(json.dumps([m.__file__ for n, m in sys.modules.items()\n"
        "                      if n.split('.')[0] in roots and m.__file__]))\n"
    )

    def tsqa(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", run_main, *arguments],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        loaded = json.loads(done.stdout.splitlines()[-1])
        assert loaded and all(Path(file).is_relative_to(site) for file in loaded)
        return done

    assert "quickstart" in tsqa("init").stdout
    assert (
        "next: tsqa run recipes/quickstart/recipe.yaml --dry-run"
        in tsqa("init", "quickstart").stderr
    )
    plan = tsqa("run", "recipes/quickstart/recipe.yaml", "--dry-run").stderr
    assert "450,000" in plan and "to run" in plan
    assert (
        "social_iqa"
        in tsqa("validate", "recipes/quickstart/base.yaml", "eval.suite=published").stdout
    )
    assert "1 run" in tsqa("data", "recipes/quickstart/recipe.yaml").stderr
    show = "import tsqa; print(tsqa.Recipe.load('recipes/quickstart/recipe.yaml').name)"
    command = [sys.executable, "-c", show]
    assert subprocess.check_output(command, cwd=work, env=environment) == b"quickstart\n"
    launch = site / "tsqa" / "shipped" / LAUNCH_CONFIG.relative_to(LAUNCH_CONFIG.parents[2])
    assert launch.read_text() == LAUNCH_CONFIG.read_text()
