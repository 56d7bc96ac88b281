"""`python -m train.checkpoints.score FOLDER PROMPTS SCORES`: log-probabilities by vLLM.

PROMPTS is JSON, a list of lists of token ids of equal length; SCORES gets the log-probability of
each token but a prompt's first.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tsqa.store.jsonl import write_json


def main(folder: str, asked: Path, answered: Path) -> None:
    """Serve the model in float32 and write the scores whole or not at all."""
    from vllm import LLM, SamplingParams

    prompts = json.loads(asked.read_text(encoding="utf-8"))
    engine = LLM(
        folder,
        dtype="float32",
        max_model_len=len(prompts[0]) + 16,
        enforce_eager=True,
        skip_tokenizer_init=True,
    )
    outputs = engine.generate(
        [{"prompt_token_ids": tokens} for tokens in prompts],
        SamplingParams(max_tokens=1, prompt_logprobs=1),
    )
    scores = []
    for tokens, output in zip(prompts, outputs, strict=True):
        entries = zip(tokens[1:], output.prompt_logprobs[1:], strict=True)
        scores.append([entry[token].logprob for token, entry in entries])
    write_json(answered, scores)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    os._exit(0)  # vLLM's own shutdown can fail; the scores are written
