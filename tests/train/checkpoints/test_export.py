"""Models from checkpoints in which nothing is sharded: they hold all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.paths import REPOSITORY
from tests.support.tiny_teacher import make_tiny_teacher
from tests.train.checkpoints.test_checkpoint import list_files, write
from train.checkpoints.checkpoint import TAG, WHOLE
from train.checkpoints.export import export_checkpoint, save_description


def test_an_unsharded_checkpoint_gives_the_model_that_was_trained(tmp_path: Path) -> None:
    base = make_tiny_teacher(tmp_path / "base")
    trained = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter += 0.01 * torch.randn(parameter.shape)
    # Of the model that training began with: where its replies end, how it samples.
    trained.generation_config.update(eos_token_id=[0, 7], do_sample=True, temperature=0.6)
    run = tmp_path / "checkpoints"
    save_description(trained, AutoTokenizer.from_pretrained(base), run, torch.float32)
    saved = write(run, 10)
    (saved / TAG).mkdir()
    torch.save({"module": trained.state_dict()}, saved / TAG / WHOLE)
    list_files(saved)
    export_checkpoint(saved, tmp_path / "hf")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "hf").state_dict()
    assert again.keys() == trained.state_dict().keys()
    assert all(torch.equal(again[name], value) for name, value in trained.state_dict().items())
    configs = []
    for folder, model in ((tmp_path / "hf", None), (tmp_path / "plain", trained)):
        if model is not None:
            model.save_pretrained(folder)
        configs.append(json.loads((folder / "generation_config.json").read_text()))
    assert configs[0] == configs[1]


_CODE = """
from transformers import NemotronConfig, NemotronForCausalLM

class MineConfig(NemotronConfig):
    model_type = "mine"

class Mine(NemotronForCausalLM):
    config_class = MineConfig
"""
_EXPORT = """
import os, sys
from pathlib import Path
from train.checkpoints.export import export_checkpoint
from tsqa.errors import CheckpointError

saved, folder = map(Path, sys.argv[1:])
try:
    export_checkpoint(saved, folder)
except CheckpointError as error:
    assert "the model of the checkpoint" in str(error), error
    assert not os.path.exists(os.environ["HF_MODULES_CACHE"]), "its code was imported"
    export_checkpoint(saved, folder, trust_remote_code=True)
"""


def test_a_model_with_its_own_code_is_exported_where_that_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another process, which knows none of its classes."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "a"))
    base = Path(make_tiny_teacher(tmp_path / "base"))
    tokenizer = AutoTokenizer.from_pretrained(base)
    (base / "mine.py").write_text(_CODE)
    config = json.loads((base / "config.json").read_text())
    named = {"AutoConfig": "mine.MineConfig", "AutoModelForCausalLM": "mine.Mine"}
    (base / "config.json").write_text(
        json.dumps({**config, "model_type": "mine", "auto_map": named})
    )
    trained = AutoModelForCausalLM.from_pretrained(base, trust_remote_code=True)
    run = tmp_path / "checkpoints"
    save_description(trained, tokenizer, run, torch.float32)
    saved = write(run, 10)
    (saved / TAG).mkdir()
    torch.save({"module": trained.state_dict()}, saved / TAG / WHOLE)
    list_files(saved)
    command = [sys.executable, "-c", _EXPORT, str(saved), str(tmp_path / "hf")]
    cache = str(tmp_path / "modules")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_MODULES_CACHE": cache}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr[-2000:]
    exported = {path.name for path in (tmp_path / "hf").iterdir()}
    assert {"mine.py", "config.json", "model.safetensors"} <= exported
