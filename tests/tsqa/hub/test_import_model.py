"""Promises of an import: the same model in a whole folder, or refused with nothing left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.support.tiny_gguf import SPECIAL, TEMPLATE, encode_by_hand, train_pairs, write_tiny_gguf
from tests.support.tiny_teacher import make_tiny_teacher
from tsqa.errors import CheckpointError, RecipeError, TsqaError
from tsqa.hub import import_model as module
from tsqa.hub.import_check import PROSE, ROUNDED, TEXTS
from tsqa.hub.import_model import import_model
from tsqa.hub.licence import REPORT
from tsqa.store.identity import folder_identity

Pairs = tuple[list[str], list[str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny_teacher(folder)
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Tiny\n")
    return folder


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return train_pairs([*TEXTS, *PROSE * 20])


def test_an_import_is_whole_checked_and_the_same_every_time(model: Path, tmp_path: Path) -> None:
    (tmp_path / ".one.importing").mkdir()
    (tmp_path / ".one.importing" / "of a killed import").touch()
    report = import_model(str(model), tmp_path / "one")
    import_model(str(model), tmp_path / "two")
    assert folder_identity(tmp_path / "one") == folder_identity(tmp_path / "two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    written = json.loads((tmp_path / "one" / REPORT).read_text())
    assert (written["licence"], written["eos"], written["pad"]) == ("apache-2.0", "<eos>", None)
    assert (report.vocabulary, report.embeddings, report.tied_embeddings) == (257, 257, False)
    assert (report.largest_difference, report.texts_unchanged) == (0.0, len(TEXTS))
    assert report.chat_template and report.scored_tokens > 500
    assert any("chance" in note for note in report.notes)  # its weights are random
    assert (tmp_path / "one" / "README.md").is_file()


def test_nothing_is_written_over_and_what_is_no_model_is_refused(
    model: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").touch()
    (tmp_path / "broken.gguf").write_bytes(b"GGUF\x03")
    for origin, target, said in (
        (str(model), tmp_path, "exists already"),
        (str(tmp_path / "text.txt"), tmp_path / "new", "no GGUF file"),
        (str(tmp_path / "nowhere"), tmp_path / "new", "no such file or folder"),
        (str(tmp_path / "nowhere.gguf"), tmp_path / "new", "no such file or folder"),
        (str(tmp_path / "broken.gguf"), tmp_path / "new", "needs the package|no GGUF that can"),
        ("someone/unknown-model", tmp_path / "new", "neither on this machine nor"),
    ):
        with pytest.raises(TsqaError, match=said):
            import_model(origin, target)
    with pytest.raises(RecipeError, match="no model of the hub"):
        import_model(str(model), tmp_path / "new", revision="main")
    assert not (tmp_path / "new").exists()


def test_rounded_weights_are_measured(model: Path, tmp_path: Path) -> None:
    report = import_model(str(model), tmp_path / "new", "bfloat16")
    assert 0 < report.largest_difference < ROUNDED
    saved = load_file(tmp_path / "new" / "model.safetensors")
    assert {str(tensor.dtype) for tensor in saved.values()} == {"torch.bfloat16"}
    # The rounded model itself comes through unchanged.
    again = import_model(str(tmp_path / "new"), tmp_path / "again")
    assert (again.dtype, again.largest_difference) == ("bfloat16", 0.0)
    assert again.tensors == {"BF16": len(saved)}


def test_a_model_of_the_hub_is_that_of_a_commit(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789" * 4
    monkeypatch.setattr(module.PINS, "pin", lambda kind, name, revision: commit)
    monkeypatch.setattr(module, "pinned_folder", lambda name, revision: str(model))
    report = import_model("someone/tiny", tmp_path / "new", revision="v1")
    assert report.origin == f"someone/tiny@{commit}"


def change_scores(after: int) -> Callable[..., Any]:
    calls = []

    def score(*arguments: Any) -> Any:
        calls.append(arguments)
        found = score_texts(*arguments)
        return found + 0.01 if len(calls) > after else found

    score_texts = module.score_texts
    return score


def test_a_model_that_scores_otherwise_is_refused_and_leaves_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "score_texts", change_scores(1))
    with pytest.raises(CheckpointError, match=r"differ by 0\.01 nats"):
        import_model(str(model), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_an_import_cannot_keep_is_noted_or_refused(model: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    shutil.copytree(model, odd)
    (odd / "chat_template.jinja").write_text("{% for turn in %}")
    (odd / "generation_config.json").write_text('{"temperature": 0.6, "do_sample": false}')
    notes = " ".join(import_model(str(odd), tmp_path / "one").notes)
    assert "its chat template cannot be used" in notes
    assert "generation_config.json contradicts itself" in notes
    tokenizer = json.loads((odd / "tokenizer.json").read_text())
    del tokenizer["model"]["vocab"]["z"]
    (odd / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(CheckpointError, match="its tokenizer turns 'fghijk"):
        import_model(str(odd), tmp_path / "two")


def test_a_gguf_splits_text_as_it_says_and_as_no_other_does(pairs: Pairs, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from transformers import AutoTokenizer

    tokens, merges = pairs
    file = write_tiny_gguf(tmp_path / "tiny.gguf", tokens, merges)
    report = import_model(str(file), tmp_path / "new")
    assert (report.licence, report.tensors) == ("apache-2.0", {"F32": 11})
    assert (report.bos, report.eos, report.pad) == (SPECIAL[1], SPECIAL[2], SPECIAL[2])
    assert (report.tied_embeddings, report.dtype, report.largest_difference) == (True, "float32", 0)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "new")
    assert tokenizer.chat_template == TEMPLATE
    for text in TEXTS:
        assert tokenizer.encode(text) == encode_by_hand(text, tokens, merges), text
    # What transformers alone would have made of it reads numbers after two spaces otherwise.
    alone = AutoTokenizer.from_pretrained(tmp_path, gguf_file=file.name)
    assert alone.encode("a  1") != tokenizer.encode("a  1")


def test_a_gguf_whose_prompts_begin_with_a_token_keeps_it(pairs: Pairs, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from transformers import AutoTokenizer

    file = write_tiny_gguf(tmp_path / "tiny.gguf", *pairs, adds_bos=True)
    assert import_model(str(file), tmp_path / "new").adds_bos
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "new")
    assert tokenizer.encode("a 1") == [1, *encode_by_hand("a 1", *pairs)]


def test_a_gguf_whose_tokenizer_is_not_known_needs_the_original(
    pairs: Pairs, tmp_path: Path
) -> None:
    pytest.importorskip("gguf")
    known = write_tiny_gguf(tmp_path / "known.gguf", *pairs)
    import_model(str(known), tmp_path / "original")
    other = write_tiny_gguf(tmp_path / "other.gguf", *pairs, splitting="llama-bpe")
    with pytest.raises(CheckpointError, match=r"'llama-bpe' .* not known here"):
        import_model(str(other), tmp_path / "new")
    report = import_model(str(other), tmp_path / "new", tokenizer=str(tmp_path / "original"))
    assert report.texts_unchanged == len(TEXTS)
    unlike = write_tiny_gguf(tmp_path / "unlike.gguf", *pairs, splitting="llama-bpe", eos=0)
    with pytest.raises(CheckpointError, match="eos_token_id is 0 in the file and 2"):
        import_model(str(unlike), tmp_path / "more", tokenizer=str(tmp_path / "original"))
