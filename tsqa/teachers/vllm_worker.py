"""vLLM in its own process: requests in on stdin, completions out on a dedicated pipe.

Run as `python -m tsqa.teachers.vllm_worker <fd>`; the first line on stdin configures the engine,
each further line is a list of requests, each line of results a list of completions.
Guarantees: dies with its parent, and ends when stdin does; a request joins the running batch at
once and leaves it as soon as it is done; a request that cannot be served becomes a completion
that says why; whatever vLLM prints goes to stdout and stderr, never into the results.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from queue import SimpleQueue
from threading import Thread
from typing import IO, TYPE_CHECKING, Any

from tsqa.errors import first_line
from tsqa.store.process import die_with_parent
from tsqa.teachers import Completion, Request
from tsqa.teachers.chat_form import merge_system
from tsqa.teachers.replies.visible_text import opened_thoughts

if TYPE_CHECKING:
    from vllm import LLM, RequestOutput, SamplingParams

_CPU_BATCHED_TOKENS = 4096
_PROMPTS_KEPT = 1024
"""Tokenised prompts; the votes of one question share theirs."""
_PROBE = "Answer in the language of the question."


def main() -> None:
    die_with_parent()
    inbox: SimpleQueue[str] = SimpleQueue()
    Thread(target=_read, args=(inbox,), daemon=True).start()
    try:
        with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as results:
            _serve(inbox, results)
    except BaseException:  # noqa: BLE001 - vLLM's own shutdown can hang
        traceback.print_exc()
        sys.stdout.flush()
        os._exit(1)


def _serve(inbox: SimpleQueue[str], results: IO[str]) -> None:
    config = json.loads(inbox.get())
    template, keeps_marks = config.pop("template"), config.pop("keeps_marks")
    llm = _start(config, config.pop("engine_args"))
    worker = VllmModel(llm, template["kwargs"], template["system"], keeps_marks)
    _send(results, [])  # it is ready
    while True:
        done: list[Completion] = []
        while not inbox.empty() or not (done or worker.is_busy):
            done += worker.add([Request(**request) for request in json.loads(inbox.get())])
        done += worker.step()
        if done:
            _send(results, done)


class VllmModel:
    """vLLM's engine and its tokenizer: requests in, completions out."""

    def __init__(
        self,
        llm: LLM,
        template_kwargs: Mapping[str, object],
        system: str,
        keeps_marks: bool = False,
    ) -> None:
        """`system`: send, or auto, which merges the system turn where the template has none.

        `keeps_marks`: special tokens stay in the texts, where some models mark their thoughts.
        """
        self._engine = llm.llm_engine
        self._keeps_marks = keeps_marks
        self._tokenizer = llm.get_tokenizer()
        self._template_kwargs = template_kwargs
        self._merges_system = system == "auto" and self._loses_system()
        if self._merges_system:
            print("The chat template takes no system turn: it begins the user's.", flush=True)
        self._limit = self._engine.model_config.max_model_len
        self._encode = lru_cache(_PROMPTS_KEPT)(self._tokenize)
        self._opened: dict[str, str] = {}
        """Request -> the mark with which its prompt opened the thoughts. Without a reasoning
        parser a schema binds the text from its first token on, so that there are none."""

    @property
    def is_busy(self) -> bool:
        return bool(self._engine.has_unfinished_requests())

    def add(self, requests: Sequence[Request]) -> list[Completion]:
        """Queue requests; return the completions of those that cannot be served."""
        return [refusal for request in requests if (refusal := self._admit(request))]

    def step(self) -> list[Completion]:
        """Advance every running request by a token; return the completions of the finished."""
        if not self.is_busy:
            return []
        done = [_read_output(output) for output in self._engine.step() if output.finished]
        return [self._with_mark(completion) for completion in done]

    def _admit(self, request: Request) -> Completion | None:
        tokens: tuple[int, ...] = ()
        try:
            tokens, opened = self._encode(request.prompt, json.dumps(request.messages))
            if len(tokens) >= self._limit:
                return Completion(request.id, "", len(tokens), 0, "prompt_too_long")
            prompt = {"prompt_token_ids": list(tokens)}
            params = _sampling(request, self._limit - len(tokens), self._keeps_marks)
            self._engine.add_request(request.id, prompt, params)
            if opened and (request.schema is None or self._keeps_marks):
                self._opened[request.id] = opened
        except Exception as error:  # noqa: BLE001 - a bad request must not stop the others
            self._engine.abort_request([request.id])  # it may be half queued
            return Completion(request.id, "", len(tokens), 0, f"error: {first_line(error)}")
        return None

    def _with_mark(self, completion: Completion) -> Completion:
        """A text that goes on with thoughts which its prompt opened begins with their mark."""
        opened = self._opened.pop(completion.id, "")
        if completion.text.lstrip().startswith(opened):
            return completion  # none, or the model wrote it again
        return replace(completion, text=opened + completion.text)

    def _tokenize(self, prompt: str, messages: str) -> tuple[tuple[int, ...], str]:
        """(tokens, the mark at the end of the prompt that opens thoughts)."""
        turns = json.loads(messages)
        if not turns:
            return tuple(self._tokenizer.encode(prompt)), ""
        text = self._fill_template(merge_system(turns) if self._merges_system else turns)
        # The template writes the special tokens itself.
        return tuple(self._tokenizer.encode(text, add_special_tokens=False)), opened_thoughts(text)

    def _fill_template(self, turns: Sequence[Mapping[str, str]]) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                list(turns), tokenize=False, add_generation_prompt=True, **self._template_kwargs
            )
        )

    def _loses_system(self) -> bool:
        """Whether the template refuses a system turn or drops it, and takes it in the user's."""
        turns = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "Hello."}]
        try:
            if _PROBE in self._fill_template(turns):
                return False
        except Exception:  # noqa: BLE001 - templates raise what they like
            pass
        try:
            return _PROBE in self._fill_template(merge_system(turns))
        except Exception:  # noqa: BLE001 - then each request says what is wrong
            return False


def _start(config: Mapping[str, Any], arguments: Mapping[str, Any]) -> LLM:
    """`arguments`: those of the recipe, which go before what suits a CPU."""
    import torch
    from vllm import LLM
    from vllm.engine.arg_utils import EngineArgs

    on_cpu: dict[str, Any] = {}
    if not torch.cuda.is_available():
        model = EngineArgs(
            model=config["model"], trust_remote_code=config["trust_remote_code"]
        ).create_model_config()
        # A partly prefilled request with a seed winds its generator back, which a CPU generator
        # cannot do; so prompts are prefilled whole. A hybrid's prefix cache needs the parts.
        on_cpu = {
            "enable_chunked_prefill": False,
            "enable_prefix_caching": model.attn_type == "decoder",
            "max_num_batched_tokens": max(config["max_model_len"], _CPU_BATCHED_TOKENS),
            "enforce_eager": True,
        }
    return LLM(**config, **{**on_cpu, **arguments})


def _sampling(request: Request, room: int, keeps_marks: bool) -> SamplingParams:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    schema = None
    if request.schema is not None:
        schema = StructuredOutputsParams(json=request.schema)
    return SamplingParams(
        seed=request.seed,
        temperature=request.temperature,
        top_p=request.top_p,
        max_tokens=min(request.max_tokens, room),
        stop=list(request.stop),
        structured_outputs=schema,
        skip_special_tokens=not keeps_marks,
        **request.more_sampling,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _read_output(output: RequestOutput) -> Completion:
    generated = output.outputs[0]
    reason = str(generated.finish_reason)
    if reason not in ("stop", "length"):
        reason = f"error: vLLM ended the request ({reason})"
    prompt_tokens, output_tokens = len(output.prompt_token_ids), len(generated.token_ids)
    return Completion(output.request_id, generated.text, prompt_tokens, output_tokens, reason)


def _read(inbox: SimpleQueue[str]) -> None:
    try:
        for line in sys.stdin:
            inbox.put(line)
    except BaseException:  # noqa: BLE001 - without requests the process would wait for ever
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # nobody waits for what is unfinished


def _send(results: IO[str], completions: Sequence[Completion]) -> None:
    results.write(json.dumps([vars(completion) for completion in completions]) + "\n")
    results.flush()


if __name__ == "__main__":
    main()
