"""Names of persons, by a model that was trained on a few of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForTokenClassification,
    BertModel,
    PreTrainedTokenizerFast,
)

from tests.support.quality_world import Change, audited_dataset, sample_of
from tsqa.curated.card import with_audit
from tsqa.errors import EngineError, RecipeError
from tsqa.hub.model_folder import load_tokenizer
from tsqa.pipeline.auditing import audit_where_asked, audits_to_make, find_audit
from tsqa.pipeline.run import Pipeline
from tsqa.quality.gate import breaches
from tsqa.quality.names import tagger
from tsqa.quality.names.tagger import NameTagger, names_in, plain_name
from tsqa.quality.privacy import NameFinder, measure_names
from tsqa.quality.sample import AuditedText
from tsqa.recipe import AuditSection
from tsqa.records.quality import NAMED, SEED_NAMES, QualityMeasure

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
FIRST, LAST = ("Maria", "Bob", "Chen"), ("Ivanova", "Lee", "Okoro")
OTHERS = ("has", "the", "apples", "seed", "What", "does", "thing", "weigh", "How", "heavy", "is")
WORDS = (*MARKS, *FIRST, *LAST, *OTHERS)
LABELS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC"}
POSITIONS = 24


def make_model(folder: Path, labels: dict[int, str]) -> str:
    """A tiny model that learns that first names begin a name, and last names go on with it."""
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    ends = [("[CLS]", WORDS.index("[CLS]")), ("[SEP]", WORDS.index("[SEP]"))]
    words.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        model_max_length=POSITIONS,
        **dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), MARKS, strict=True)),
    )
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(
        vocab_size=len(WORDS),
        intermediate_size=16,
        max_position_embeddings=POSITIONS,
        id2label=labels,
        label2id={label: number for number, label in labels.items()},
        hidden_dropout_prob=0.0,
        **shape,
    )
    model = BertForTokenClassification(config)
    truth = torch.tensor([1 if w in FIRST else 2 if w in LAST else 0 for w in WORDS])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        ids = torch.randint(len(WORDS), (16, POSITIONS))
        loss = model(input_ids=ids, labels=truth[ids]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_model(tmp_path_factory.mktemp("names") / "tiny", LABELS)


def test_names_are_whole_wherever_they_stand(model: str) -> None:
    found = NameTagger(model)
    assert found.names("Maria Ivanova has the apples, Bob has.") == {"maria ivanova", "bob"}
    assert found.names("Maria\nIvanova Chen") == {"maria ivanova", "chen"}
    assert found.names("the apples") == found.names(" \n") == set()
    for before in range(60):  # parts are of 22 tokens: a cut may fall between the two
        text = "the " * before + "Maria Ivanova" + " has" * 40
        assert found.names(text) == {"maria ivanova"}, before


@pytest.mark.parametrize(
    "text", ["Ann  Lee", "(Ann\nLee)", "ann lee's,", "Ann Lee\u2019s", " Ann Lee. "]
)
def test_a_name_is_told_without_what_stands_around_it(text: str) -> None:
    assert plain_name(text) == ("ann lee" if "nn" in text else "lee")


def names(model: str, change: Change) -> dict[str, QualityMeasure]:
    finder = NameFinder("tiny", lambda texts: names_in(model, texts), "")
    return {each.name: each for each in measure_names(sample_of(change, count=60), finder, 0)}


def test_a_teacher_that_keeps_names_of_seeds_is_told_from_one_that_invents(model: str) -> None:
    """No seed holds a name, but for those of the first."""

    def invented(item: AuditedText, seed: AuditedText, rng: np.random.Generator) -> AuditedText:
        return replace(item, explanations="Bob Lee has the apples") if rng.random() < 0.5 else item

    found = names(model, invented)
    assert found[NAMED].apart and found[NAMED].reference == 0
    assert found[SEED_NAMES].value == 0 and found[SEED_NAMES].apart is False

    sample = sample_of(count=60)
    people = [f"{first} {last}" for first in FIRST for last in LAST]

    def planted(text: AuditedText, number: int) -> AuditedText:
        return replace(text, explanations=f"{people[number % len(people)]} has the apples")

    pairs = [
        replace(pair, seed=planted(pair.seed, n), item=planted(pair.item, n + n % 2))
        for n, pair in enumerate(sample.pairs)
    ]
    kept = replace(
        sample,
        pairs=pairs,
        items=[(pair.seed.id, pair.item) for pair in pairs],
        seeds={pair.seed.id: pair.seed for pair in pairs},
    )
    finder = NameFinder("tiny", lambda texts: names_in(model, texts), "")
    every, own = measure_names(kept, finder, 0)
    assert (every.value, every.reference, every.apart) == (1, 1, False)
    assert own.value == 0.5 and own.apart and own.reference is not None and own.reference < 0.3
    limited = AuditSection.model_validate({"names": {"model": "x"}, "max_seed_names": 0.2})
    assert limited.max_seed_names == 0.2 and own.low is not None and own.low > 0.2
    with pytest.raises(ValueError, match="needs `names`"):
        AuditSection(max_seed_names=0.1)


def test_a_model_that_marks_nobody_is_refused(model: str, tmp_path: Path) -> None:
    other = make_model(tmp_path / "places", {0: "O", 1: "B-LOC", 2: "I-LOC", 3: "B-MISC"})
    with pytest.raises(EngineError, match=r"none of its labels is that of a person: B-LOC, B-MISC"):
        NameTagger(other)
    (tmp_path / "empty").mkdir()
    with pytest.raises(EngineError, match=r"audit\.names\.model = .*cannot be loaded"):
        NameTagger(str(tmp_path / "empty"))


def test_a_model_that_cannot_mark_names_is_told_before_any_work(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the dataset is finished and its audit alone is to be made."""

    def pipeline(path: str, folder: str) -> Pipeline:
        (tmp_path / folder).mkdir()
        return audited_dataset(tmp_path / folder, audit={"names": {"model": path}}).pipeline

    pipeline(model, "whole").check()
    assert "audit.names.model" not in capsys.readouterr().err
    nowhere = pipeline("models/nowhere", "nowhere")
    nowhere.check()
    assert "audit.names.model = models/nowhere: not on this machine" in capsys.readouterr().err
    with pytest.raises(RecipeError, match=r"audit\.names\.model = models/nowhere: no such folder"):
        nowhere.run()
    wrong = make_model(tmp_path / "places", {0: "O", 1: "B-LOC", 2: "I-LOC", 3: "B-MISC"})
    with pytest.raises(EngineError, match="none of its labels is that of a person"):
        pipeline(wrong, "wrong").check()
    BertModel(BertConfig.from_pretrained(model)).save_pretrained(tmp_path / "other")
    load_tokenizer(model, "").save_pretrained(tmp_path / "other")
    with pytest.raises(EngineError, match="no trained weights that classify tokens"):
        pipeline(str(tmp_path / "other"), "untrained").check()


def test_an_audit_looks_for_names_where_the_recipe_says_so(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tsqa.quality.run.PERMUTATIONS", 1)
    made = audited_dataset(tmp_path, audit={"names": {"model": model}, "max_seed_names": 0.1})
    node = next(each for each in made.pipeline.nodes if each.stage == "filter")
    made.pipeline.say_audits()
    assert "names of persons in items and seeds; not made" in " ".join(
        capsys.readouterr().err.split()
    )
    audit_where_asked(made.pipeline, node)
    report = find_audit(made.pipeline, node)
    assert report and report.names and audits_to_make(made.pipeline) == []
    lines = [each for each in report.measures if each.name in (NAMED, SEED_NAMES)]
    assert [each.value for each in lines] == [0, 0] and lines[0].n == 27
    section = made.pipeline.recipe.audit
    assert section and [*breaches(section, report)] == []
    assert model not in with_audit("", report) and "by tiny, whose errors" in with_audit("", report)
    monkeypatch.setattr(tagger, "NameTagger", fail)
    Path(made.pipeline.recipe.runs, "audits", f"{node.fingerprint}.json").unlink()
    audit_where_asked(made.pipeline, node)
    report = find_audit(made.pipeline, node)
    assert report and [*breaches(section, report)] == [
        f"audit.max_seed_names 0.1: {SEED_NAMES} was not measured: no memory"
    ]


def fail(_: str) -> None:
    raise EngineError("no memory", "find some")
