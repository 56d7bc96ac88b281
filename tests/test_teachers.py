"""Promises of the vLLM teacher: same block, same texts; a death is explained; no orphan stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.sdg_helpers import generate_section
from tsqa.errors import EngineError
from tsqa.teachers import Request, open_engine
from tsqa.teachers.vllm import VllmEngine, likely_fix


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import NemotronConfig, NemotronForCausalLM, PreTrainedTokenizerFast

    folder = str(tmp_path_factory.mktemp("model"))
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=257, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(["a"], trainer)
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>").save_pretrained(folder)
    torch.manual_seed(0)
    config = NemotronConfig(
        vocab_size=257,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=0,
    )
    NemotronForCausalLM(config).save_pretrained(folder)
    return folder


def block(start: int, stop: int) -> list[Request]:
    # More prompt tokens than one scheduler step takes, so that prompts wait for their turn.
    text = "Question: who finds a cup? " * 5
    return [Request(f"r{n}", f"{text}{n}", n, 1.0, 0.95, 8, ("\n",)) for n in range(start, stop)]


@pytest.mark.engine
def test_a_block_gives_the_same_texts_whatever_came_before(
    tiny_model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    section = generate_section(tiny_model).teacher
    too_long = Request("long", "x" * 400, 0, 1.0, 1.0, 8, ())
    with open_engine(section, tiny_model, tmp_path / "engine.log", 0) as engine:
        first = engine.complete(block(0, 64))
        second = engine.complete([*block(64, 80), too_long])
        assert engine.complete(block(0, 64)) == first
        assert isinstance(engine, VllmEngine)
        pid = engine.pid
    with open_engine(section, tiny_model, tmp_path / "engine.log", 0) as engine:
        assert engine.complete([*block(64, 80), too_long]) == second
        assert isinstance(engine, VllmEngine)
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="killed by signal 9"):
            engine.complete(block(0, 2))
    assert [c.id for c in first] == [f"r{n}" for n in range(64)]
    assert second[-1].finish_reason == "prompt_too_long"
    assert not psutil.pid_exists(pid)
    assert capfd.readouterr().out == ""


def test_a_bad_model_folder_is_refused_before_vllm_starts(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        section = generate_section(str(folder)).teacher
        with (
            pytest.raises(EngineError, match=r"correct generate\.teacher\.model"),
            open_engine(section, str(folder), tmp_path / "engine.log", 0),
        ):
            pass
    assert not (tmp_path / "engine.log").exists()


def test_the_worker_dies_with_its_parent(tmp_path: Path) -> None:
    worker = (
        "import sys; sys.argv = ['w', '1']; from tsqa.teachers import vllm_worker as w; w.main()"
    )
    parent = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen([sys.executable, '-c', {worker!r}], stdin=subprocess.PIPE)\n"
        "print(p.pid, flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    time.sleep(1.5)
    assert child.is_running()
    process.kill()
    process.wait()
    gone, _ = psutil.wait_procs([child], timeout=5)
    assert gone or child.status() == psutil.STATUS_ZOMBIE


def test_likely_fixes_name_recipe_keys() -> None:
    assert "kv_cache_gib" in likely_fix(["ValueError: No available memory for the cache blocks"], 1)
    assert "kv_cache_gib" in likely_fix(["nothing special"], -9)
    assert "max_model_len" in likely_fix(
        ["the user-specified x is greater than the derived max_model_len"], 1
    )
