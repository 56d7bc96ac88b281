"""The recipes and the launch file that come with the package.

`recipes` and `launch` in this folder link to those of the repository; a wheel holds copies.

Guarantees: a shipped file is found the same way in a checkout and in an installed package.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent
_FOLDER = _HERE if (_HERE / "recipes").is_dir() else _HERE.parents[1]  # a copy that lost its links
RECIPES = _FOLDER / "recipes"
SUITES = RECIPES / "suites"
SCHEMA = RECIPES / "recipe.schema.json"
LAUNCH_CONFIG = _FOLDER / "launch" / "accelerate" / "deepspeed.yaml"
MULTI_CONFIG = LAUNCH_CONFIG.with_name("multi.yaml")
SLURM_SCRIPT = _FOLDER / "launch" / "slurm" / "train.sbatch"
SKY_TASK = _FOLDER / "launch" / "sky" / "train.yaml"
K8S_JOB = _FOLDER / "launch" / "k8s" / "job.yaml"
