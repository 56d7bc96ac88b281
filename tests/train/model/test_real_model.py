"""A real pretrained model: tokens, packed documents, loss and export are what they should be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.support.real_model import REAL, needs_real_model
from train.data.encoder import TokenEncoder
from train.data.stream import IGNORED, collate
from train.model.isolation import forward_arguments, isolate
from train.model.loss import TokenLosses
from tsqa.hub.import_check import PROSE, TEXTS

pytestmark = needs_real_model


class Engine:
    """What TokenLosses asks of DeepSpeed's engine."""

    def __init__(self, model: Any) -> None:
        self.module = model

    def __call__(self, **arguments: Any) -> Any:
        return self.module(**arguments)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(REAL)


@pytest.fixture(scope="module")
def model() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(REAL, dtype=torch.float32).eval()


def test_texts_become_the_prompts_own_ids_with_one_end(tokenizer: Any) -> None:
    encoder = TokenEncoder(tokenizer)
    for text, ids in zip(TEXTS, encoder.encode(TEXTS), strict=True):
        assert ids.tolist() == [*tokenizer.encode(text), tokenizer.eos_token_id], text


def test_packed_documents_score_as_if_alone(model: Any, tokenizer: Any) -> None:
    isolate(model, torch.device("cpu"))
    eos = tokenizer.eos_token_id
    documents = [torch.tensor([*tokenizer.encode(text), eos]) for text in PROSE]
    packed = collate([torch.cat(documents).numpy()], [0], eos)
    with torch.inference_mode():
        together = model(**forward_arguments(model.config, packed)).logits[0]
        start = 0
        for document in documents:
            alone = model(document[None], use_cache=False).logits[0]
            found = together[start : start + len(document)]
            torch.testing.assert_close(found, alone, atol=1e-3, rtol=1e-4)
            start += len(document)


def test_the_loss_by_chunks_is_that_of_torch(model: Any, tokenizer: Any) -> None:
    eos = tokenizer.eos_token_id
    rows = [torch.tensor([*tokenizer.encode(text), eos]).numpy() for text in PROSE[:1]]
    batch = collate(rows, [0], eos)
    with torch.inference_mode():
        logits = model(input_ids=batch.tokens, use_cache=False).logits[0]
        # This replaces the output layer, so it comes last.
        total, _ = TokenLosses(Engine(model), model.config, 16, 0.0)(batch)
    valid = batch.targets[0] != IGNORED
    expected = F.cross_entropy(logits[valid], batch.targets[0][valid], reduction="sum")
    torch.testing.assert_close(total, expected, atol=1e-2, rtol=1e-4)
    assert float(total) / int(valid.sum()) < 4  # nats a token: it knows English


@pytest.mark.engine
def test_it_is_the_same_in_transformers_and_in_vllm() -> None:
    from train.checkpoints.verify import TOLERANCE, verify_export

    report = verify_export(REAL)
    assert (report.rounded, report.largest_difference < TOLERANCE) == ((), True)
