"""vLLM in its own process: blocks of requests in on stdin, completions out on a dedicated pipe.

Run as `python -m tsqa.teachers.vllm_worker <fd>`; the first line on stdin configures the engine.
Promises: dies with its parent; whatever vLLM prints goes to stdout and stderr, never into the
results; a block is scheduled alike every time (one process, no prefix cache, a seed per request).
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from tsqa.process import die_with_parent

_CPU_BATCHED_TOKENS = 4096


def main() -> None:
    die_with_parent()
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as results:
        engine = _start(json.loads(sys.stdin.readline()))
        _send(results, {"ready": True})
        for line in sys.stdin:
            _send(results, {"completions": _complete(engine, json.loads(line))})
    os._exit(0)  # vLLM's own shutdown can hang; everything has been sent


def _start(config: dict[str, Any]) -> Any:
    import torch
    from vllm import LLM

    on_cpu: dict[str, Any] = {}
    if not torch.cuda.is_available():
        # A partly prefilled request with a seed winds its generator back, which a CPU generator
        # cannot do; so prompts are prefilled whole.
        on_cpu = {
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(config["max_model_len"], _CPU_BATCHED_TOKENS),
        }
    return LLM(
        model=config["model"],
        dtype=config["dtype"],
        max_model_len=config["max_model_len"],
        max_num_seqs=config["max_num_seqs"],
        trust_remote_code=config["trust_remote_code"],
        seed=config["seed"],
        enforce_eager=True,
        enable_prefix_caching=False,
        async_scheduling=False,
        **on_cpu,
    )


def _complete(engine: Any, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from vllm import SamplingParams

    tokenizer = engine.get_tokenizer()
    limit = engine.llm_engine.model_config.max_model_len
    answers: list[dict[str, Any]] = []
    prompts, sampling, fitting = [], [], []
    for request in requests:
        tokens = tokenizer.encode(request["prompt"])
        answer = {
            "id": request["id"],
            "text": "",
            "prompt_tokens": len(tokens),
            "output_tokens": 0,
            "finish_reason": "prompt_too_long",
        }
        answers.append(answer)
        if len(tokens) >= limit:  # vLLM would refuse the whole block
            continue
        fitting.append(answer)
        prompts.append({"prompt_token_ids": tokens})
        sampling.append(
            SamplingParams(
                seed=request["seed"],
                temperature=request["temperature"],
                top_p=request["top_p"],
                max_tokens=min(request["max_tokens"], limit - len(tokens)),
                stop=request["stop"],
            )
        )
    outputs = engine.generate(prompts, sampling, use_tqdm=False) if prompts else []
    for answer, output in zip(fitting, outputs, strict=True):
        generated = output.outputs[0]
        answer["text"] = generated.text
        answer["output_tokens"] = len(generated.token_ids)
        answer["finish_reason"] = str(generated.finish_reason)
    return answers


def _send(results: Any, message: dict[str, Any]) -> None:
    results.write(json.dumps(message, ensure_ascii=False) + "\n")
    results.flush()


if __name__ == "__main__":
    main()
