"""Training under accelerate + DeepSpeed: equal losses, exact resume, faithful export."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml

from train.isolation import forward_arguments, isolate
from train.mixture import plan
from train.model import build_model, parameter_groups
from train.schedule import learning_rate
from train.stream import IGNORED, TokenStore, micro_batches
from tsqa.artifact import Artifact
from tsqa.pipeline import Pipeline
from tsqa.recipe import Recipe, load_recipe
from tsqa.stage import StageContext
from tsqa.tracking import Tracker

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parent.parent
STEPS = 12
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "WANDB_MODE": "disabled",
    "PYTHONPATH": str(ROOT),
    "HF_HUB_OFFLINE": "1",
}


@pytest.fixture(scope="module")
def recipe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hybrid student over two sources, tokenized."""
    folder = tmp_path_factory.mktemp("train")
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
        "model": {
            "config": {
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
        },
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
    """`python -m train`, or with `processes` the same under `accelerate launch`."""
    launcher: list[str] = ["-m", "train"]
    if processes:
        config = str(ROOT / "launch" / "accelerate" / "cpu2.yaml")
        launcher = ["-m", "accelerate.commands.launch", "--config_file", config,
                    "--num_processes", str(processes), "-m", "train"]  # fmt: skip
    return [sys.executable, *launcher, str(path), *overrides]


def train(path: Path, runs: Path, *overrides: str, processes: int = 0) -> Artifact:
    tokenized = Path(load_recipe(path).runs) / "artifacts" / "tokenize"
    if not runs.exists():
        shutil.copytree(tokenized, runs / "artifacts" / "tokenize")
    values = (*overrides, f"runs={runs}")
    subprocess.run(command(path, *values, processes=processes), env=ENVIRONMENT, check=True)
    return finished(runs)


def finished(runs: Path) -> Artifact:
    (manifest,) = (runs / "artifacts" / "train").glob("*/manifest.json")
    return Artifact(manifest.parent, json.loads(manifest.read_text()))


def metrics(artifact: Artifact) -> list[dict[str, Any]]:
    lines = (artifact.path / "metrics.jsonl").read_text().splitlines()
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    for record in records:
        del record["train/tokens_per_second"]
    return records


def silent_context(recipe: Recipe) -> StageContext:
    (manifest,) = Path(recipe.runs).glob("artifacts/tokenize/*/manifest.json")
    tokens = Artifact(manifest.parent, json.loads(manifest.read_text()))
    return StageContext(recipe, {"tokenize": tokens}, tokens.path, Tracker.silent())


def plain_torch(recipe: Recipe) -> tuple[Any, list[float], list[float]]:
    """The same training without DeepSpeed: whole batches, one process."""
    from transformers import AutoTokenizer

    context = silent_context(recipe)
    folder = context.inputs["tokenize"].path
    model = build_model(context, AutoTokenizer.from_pretrained(folder / "tokenizer"))
    isolate(model, torch.device("cpu"))
    section = recipe.train
    optimizer = torch.optim.AdamW(
        parameter_groups(model, section.weight_decay), betas=section.betas, eps=section.eps
    )
    store = TokenStore(folder)
    made = plan(recipe.mixture, section, store.rows, recipe.seed)
    losses, norms = [], []
    for step in range(made.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(section, step, made.steps)
        (batch,) = micro_batches(store, made, step, 0, 1, made.batch_rows)
        logits = model(**forward_arguments("nemotron_h", batch)).logits
        loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), section.clip)))
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
    return model, losses, norms


@pytest.fixture(scope="module")
def reference(recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """One process, two micro-batches per step, ZeRO-1."""
    return train(recipe_path, tmp_path_factory.mktemp("one") / "runs")


def test_accumulated_losses_and_the_export_equal_plain_torch(
    recipe_path: Path, reference: Artifact
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, losses, norms = plain_torch(load_recipe(recipe_path))
    found = metrics(reference)
    assert [r["train/loss"] for r in found] == pytest.approx(losses, abs=1e-5)
    assert [r["train/grad_norm"] for r in found] == pytest.approx(norms, rel=1e-4)
    exported = AutoModelForCausalLM.from_pretrained(reference.path / "hf", dtype=torch.float32)
    tokens = torch.arange(40)[None]
    logits = [each.eval()(tokens).logits for each in (exported, model)]
    torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-3)
    tokenizer = AutoTokenizer.from_pretrained(reference.path / "hf")
    assert exported.config.eos_token_id == tokenizer.eos_token_id
    drawn = {name: s["drawn"] for name, s in reference.summary["sources"].items()}
    assert sum(drawn.values()) == reference.summary["tokens"] == STEPS * 256


def test_two_processes_with_sharded_weights_give_the_same_losses(
    recipe_path: Path, reference: Artifact, tmp_path: Path
) -> None:
    split = train(
        recipe_path, tmp_path / "runs", "train.micro_batch_size=2", "train.zero_stage=3",
        processes=2,
    )  # fmt: skip
    for key in ("train/loss", "train/loss/qa", "train/grad_norm"):
        expected = [record.get(key, 0.0) for record in metrics(reference)]
        found = [record.get(key, 0.0) for record in metrics(split)]
        assert found == pytest.approx(expected, abs=1e-5, rel=1e-4), key


def test_killed_and_terminated_runs_end_bit_for_bit_the_same(
    recipe_path: Path, reference: Artifact, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    tokenized = Path(load_recipe(recipe_path).runs) / "artifacts" / "tokenize"
    shutil.copytree(tokenized, runs / "artifacts" / "tokenize")
    values = (f"runs={runs}", "train.checkpoint_every=2")
    for number, (step, sign) in enumerate([(2, signal.SIGKILL), (6, signal.SIGTERM)]):
        process = subprocess.Popen(command(recipe_path, *values), env=ENVIRONMENT)
        try:
            wait_for(runs / "artifacts" / "train", f"*.partial/checkpoints/step-{step:08d}")
        finally:
            process.send_signal(sign)
        assert process.wait(60) == [-signal.SIGKILL, 75][number]
    resumed = train(recipe_path, runs, *values[1:])
    assert metrics(resumed) == metrics(reference)
    weights = [artifact.path / "hf" / "model.safetensors" for artifact in (resumed, reference)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert not (resumed.path / "checkpoints").exists()


SERVE = """
import json, os, sys
from vllm import LLM, SamplingParams
if __name__ == "__main__":
    folder, target = sys.argv[1:]
    llm = LLM(folder, dtype="float32", max_model_len=64, enforce_eager=True)
    prompt = {"prompt_token_ids": list(range(5, 45))}
    (out,) = llm.generate([prompt], SamplingParams(max_tokens=1, prompt_logprobs=1))
    scores = [entry[token].logprob
              for token, entry in zip(out.prompt_token_ids[1:], out.prompt_logprobs[1:])]
    with open(target, "w") as handle:
        json.dump(scores, handle)
    os._exit(0)  # vLLM's own shutdown can fail; the scores are written
"""


def test_vllm_scores_the_hybrid_export_as_transformers_does(
    reference: Artifact, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    script, target = tmp_path / "serve.py", tmp_path / "scores.json"
    script.write_text(SERVE)
    environment = {
        **ENVIRONMENT,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # as the teacher's worker: nothing to shut down
    }
    folder = str(reference.path / "hf")
    subprocess.run([sys.executable, str(script), folder, str(target)], env=environment, check=True)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = torch.arange(5, 45)[None]
    scores = model(tokens).logits.log_softmax(-1)[0, :-1].gather(1, tokens[0, 1:, None])[:, 0]
    assert json.loads(target.read_text()) == pytest.approx(scores.tolist(), abs=1e-3)


def wait_for(folder: Path, pattern: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not (folder.is_dir() and next(folder.glob(pattern), None)):
        assert time.monotonic() < deadline, f"{folder}/{pattern} did not appear"
        time.sleep(0.002)
