"""Models from checkpoints in which nothing is sharded: they hold all of it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

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
