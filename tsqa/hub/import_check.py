"""What is checked of an imported model: its tokenizer on hard texts, its scores, its special ids.

Guarantees: a model that scores text otherwise than its original, or whose tokenizer loses text,
is refused; what only should be known is noted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from string import ascii_lowercase, ascii_uppercase, digits
from typing import TYPE_CHECKING

from tsqa.errors import CheckpointError, first_line
from tsqa.hub.model_folder import beginning

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PROSE = (
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, "
    "must be in want of a wife.",
    "The heart pumps blood through the body. The blood carries oxygen from the lungs to every "
    "part of it, and takes away what the body does not need.",
    "When water is heated to 100 degrees, it boils and becomes steam.",
)
"""Plain English, on which a model that was trained on English is better than chance."""
_WHOLE = (*PROSE, f"{ascii_lowercase} {ascii_uppercase} {digits}")
"""What every tokenizer gives back as it was."""
TEXTS = (
    *_WHOLE,
    "",
    " one space before, two  within, three   more, and one after ",
    "  12  345 a1b2 3.14 -7 1,000,000 2024\u00bd \u0663",
    "\ttabs\tand\n\nempty lines\r\n  \n and a form\u00a0with a hard space",
    "na\u00efve caf\u00e9, e\u0301 in two characters, \u00fcber, \u0130stanbul, \ufb01n",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002 \u3053\u3093\u306b\u3061\u306f \uc548\ub155",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd \u0928\u092e\u0938\u094d\u0924\u0947",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \u200b|\ufeff|",
    "def f(x):\n    return x ** 2  # it's a square\n\n\nprint(f(3))",
    '$\\frac{3}{4} \\ge \\sqrt{x_1}$ <b>&amp;</b> {"key": [1, 2.0, null]}',
    "a" * 300 + " " * 40 + "0123456789" * 10 + "!?" * 20,
)
"""What tokenizers lose or change: spaces, digits, accents, scripts, code, long runs."""
EXACT = 1e-3
"""Nats by which a token's log-probability may differ where no weight was rounded."""
ROUNDED = 1.0
"""The same where weights were rounded to 16 bits."""
_NO_BETTER = 0.9


def count_round_trips(tokenizer: PreTrainedTokenizerBase, where: str) -> int:
    """How many of TEXTS come back as they were; CheckpointError if plain English does not."""
    whole = 0
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False)
        back = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        whole += back == text
        if text in _WHOLE and back != text:
            place = next(n for n, pair in enumerate(zip_longest(text, back)) if len({*pair}) > 1)
            start = max(0, place - 20)
            raise CheckpointError(
                f"{where}: its tokenizer turns {text[start : start + 40]!r} into "
                f"{back[start : start + 40]!r}",
                "give the original tokenizer: --tokenizer FOLDER_OR_HUB_ID",
            )
    return whole


def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a prompt begins with the token for the beginning of a sequence."""
    return tokenizer.bos_token_id is not None and tokenizer.bos_token_id in beginning(tokenizer)


def template_problem(tokenizer: PreTrainedTokenizerBase) -> str:
    """Why a chat template cannot be filled with a user's turn; empty where it can, or is none."""
    if not tokenizer.chat_template:
        return ""
    turns = [{"role": "user", "content": PROSE[0]}]
    try:
        filled = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # noqa: BLE001 - whatever a template of somebody raises
        return first_line(error)
    return "" if PROSE[0] in str(filled) else "it leaves out what the user says"


def score_texts(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> Tensor:
    """The log-probability of every token of each prompt but the first, in nats, in one row."""
    import torch

    rows = []
    with torch.inference_mode():
        for text in texts:
            ids = torch.tensor([tokenizer.encode(text)])
            if ids.shape[1] > 1:
                scores = model(ids, use_cache=False).logits.float().log_softmax(-1)[0, :-1]
                rows.append(scores.gather(1, ids[0, 1:, None])[:, 0])
    return torch.cat(rows)


def largest_difference(before: Tensor, after: Tensor, is_rounded: bool, where: str) -> float:
    """Between two models' scores of the same tokens; CheckpointError if it is too large."""
    difference = float((before - after).abs().max())
    bound = ROUNDED if is_rounded else EXACT
    if not difference <= bound:  # also of NaN
        raise CheckpointError(
            f"{where}: the saved model and its original differ by {difference:.3g} nats on a "
            f"token, more than {bound:g}",
            "import it in float32 (--dtype float32); if it differs there too, do not use it",
        )
    return difference


def knows_no_better(nats_per_token: float, vocabulary: int) -> bool:
    """Whether a model reads plain English hardly better than chance: untrained, or broken."""
    return nats_per_token > _NO_BETTER * math.log(vocabulary)
