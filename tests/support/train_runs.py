"""A tiny student over two tokenized sources, and training runs of it in processes of their own."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import yaml

from tests.support.forks import start_fork
from tests.support.paths import REPOSITORY
from train.__main__ import main
from tsqa.pipeline.run import Pipeline
from tsqa.recipe import load_recipe
from tsqa.shipped import LAUNCH_CONFIG
from tsqa.store.artifact import Artifact
from tsqa.store.manifest import read_manifest

ROOT = REPOSITORY
STEPS = 12
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "WANDB_MODE": "disabled",
    "PYTHONPATH": str(ROOT),
    "HF_HUB_OFFLINE": "1",
}
HYBRID = {
    "model_type": "nemotron_h",
    "hidden_size": 32,
    "layers_block_type": ["linear_attention", "full_attention", "mlp"],
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "intermediate_size": 64,
    "ssm_state_size": 16,
    "mamba_num_heads": 4,
    "mamba_head_dim": 16,
    "n_groups": 1,
    "chunk_size": 16,
    "max_position_embeddings": 64,
}
EXPERTS = {
    **HYBRID,
    "layers_block_type": ["linear_attention", "moe", "full_attention", "moe"],
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "moe_shared_expert_intermediate_size": 16,
}


def write_recipe(folder: Path, model: dict[str, Any]) -> Path:
    """Two sources of 60 documents, tokenized; 12 steps of 8 rows."""
    generator = random.Random(0)
    for name, words in (("web", 60), ("qa", 9)):
        with (folder / f"{name}.jsonl").open("w") as handle:
            for _ in range(60):
                count = generator.randint(1, words)
                text = " ".join(str(generator.randint(0, 99)) for _ in range(count))
                handle.write(json.dumps({"text": f"{name}: {text}"}) + "\n")
    recipe = {
        "name": "tiny",
        "runs": str(folder / "runs"),
        "model": {"config": model},
        "tokenizer": {"train_on": [str(folder / "web.jsonl")], "vocab_size": 320},
        "mixture": {
            "sources": {n: {"path": str(folder / f"{n}.jsonl")} for n in ("web", "qa")},
            "phases": [{"tokens": STEPS * 256, "ratios": {"web": 0.6, "qa": 0.4}}],
            "max_repetition": 50,
        },
        "train": {
            "sequence_length": 32,
            "global_batch_tokens": 256,
            "micro_batch_size": 4,
            "lr": 3e-3,
            "clip": 0.5,
            "precision": "fp32",
            "log_every": 1,
        },
        "tracking": {"mode": "disabled"},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    Pipeline(load_recipe(path), path, []).run(until="tokenize")
    return path


def command(path: Path, *overrides: str, processes: int = 0) -> list[str]:
    """`python -m train`, or with `processes` the same under our launcher."""
    launcher: list[str] = ["-m", "train"]
    if processes:
        config = str(LAUNCH_CONFIG)
        launcher = ["-m", "train.launch", "--config_file", config,
                    "--num_processes", str(processes), "-m", "train"]  # fmt: skip
    return [sys.executable, *launcher, str(path), *overrides]


def prepare(path: Path, runs: Path) -> None:
    """Give `runs` the recipe's tokens."""
    if not runs.exists():
        made = Path(load_recipe(path).runs) / "artifacts"
        for stage in ("tokenizer", "tokenize"):
            shutil.copytree(made / stage, runs / "artifacts" / stage)


def train(path: Path, runs: Path, *overrides: str, processes: int = 0) -> Artifact:
    """Train to the end in a fresh process; return the artifact."""
    assert _wait(_start(path, runs, overrides, processes)) == 0, _log(runs).read_text()[-4000:]
    return finished(runs)


def stop_after(path: Path, runs: Path, step: int, *overrides: str, processes: int = 0) -> Path:
    """Kill a run once the checkpoint of `step` is there; return its `.partial` folder."""
    ranks = _start(path, runs, (*overrides, f"train.checkpoint_every={step}"), processes)
    try:
        found = wait_for(runs, f"*.partial/checkpoints/step-{step:08d}", ranks[0].is_alive)
    finally:
        _kill(ranks)
    return found.parent.parent


def fail(path: Path, runs: Path, *overrides: str, processes: int = 0) -> str:
    """What a run that must fail prints, on one line."""
    ranks = _start(path, runs, overrides, processes)
    assert _wait(ranks) == 1, _log(runs).read_text()[-4000:]
    return " ".join(_log(runs).read_text().split())


def _log(runs: Path) -> Path:
    return runs.parent / f"{runs.name}.log"


def _start(path: Path, runs: Path, overrides: Sequence[str], processes: int) -> list[BaseProcess]:
    """`python -m train`, or with `processes` so many ranks, as `accelerate launch` starts them."""
    prepare(path, runs)
    _log(runs).unlink(missing_ok=True)
    port = str(free_port())
    ranks = [
        {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes),
         "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        for rank in range(processes)
    ]  # fmt: skip
    argv = ["train", str(path), *overrides, f"runs={runs}"]
    return [start_fork(main, argv, _log(runs), rank) for rank in ranks or [{}]]


def _wait(ranks: Sequence[BaseProcess]) -> int:
    """The exit code of the first that fails, which ends the others, or 0."""
    waiting = {rank.sentinel: rank for rank in ranks}
    try:
        while waiting:
            for sentinel in wait(list(waiting)):
                rank = waiting.pop(int(sentinel))  # type: ignore[call-overload]
                rank.join()
                if rank.exitcode:
                    return rank.exitcode
    finally:
        _kill(ranks)
    return 0


def _kill(ranks: Sequence[BaseProcess]) -> None:
    for rank in ranks:
        rank.kill()
    for rank in ranks:
        rank.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def finished(runs: Path) -> Artifact:
    (manifest,) = (runs / "artifacts" / "train").glob("*/manifest.json")
    return Artifact(manifest.parent, read_manifest(manifest.parent))


def metrics(artifact: Artifact) -> list[dict[str, Any]]:
    """The logged metrics but for what the machine decides."""
    measured = ("train/tokens_per_second", "throughput/", "memory/")
    return [{k: v for k, v in r.items() if not k.startswith(measured)} for r in records(artifact)]


def records(artifact: Artifact, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    lines = (artifact.path / name).read_text().splitlines()
    return [json.loads(line) for line in lines]


def wait_for(runs: Path, pattern: str, is_alive: Callable[[], bool]) -> Path:
    """The first path like this that a training process writes, however busy the machine is."""
    folder = runs / "artifacts" / "train"
    while True:
        ended = not is_alive()
        if folder.is_dir() and (found := next(folder.glob(pattern), None)):
            return found
        assert not ended, f"the run ended before {folder}/{pattern} was there"
        time.sleep(0.002)
