"""Does our way of asking cost throughput? The same prompts through several roads, in one run.

    python -m tests.benchmarks.generate [--peer-python PYTHON]

In process: `LLM.generate` over all prompts at once (bare vLLM) against tsqa's worker process with
its continuous window and its log on disk. Through one `vllm serve`: distilabel 1.5.3's OpenAILLM
(its in-process class does not run on vLLM 0.32) against tsqa's endpoint teacher; PYTHON is an
environment with `distilabel[openai]==1.5.3`, without which this half is left out.

The model is a small random Nemotron, so that the engine is quick and overhead is visible. Every
round has prompts of its own, the same for both roads, which take turns; the first round warms up
and does not count. Printed: output tokens/s of each round, and the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tsqa.recipe import ModelSection, TeacherSection
from tsqa.teachers import Completion, Request
from tsqa.teachers.client import open_engine
from tsqa.teachers.scheduler import Job, Window

MAX_TOKENS, MAX_NUM_SEQS, MAX_MODEL_LEN = 48, 256, 512
Road = Callable[[int], float]
"""Number of a round -> output tokens/s."""
_TEMPLATE = "{% for turn in messages %}{{ turn.content }}\n{% endfor %}"

BARE = """
import json, os, sys, time
from vllm import LLM, SamplingParams
if __name__ == "__main__":
    model, rounds, max_num_seqs, max_model_len = sys.argv[1:]
    llm = LLM(model, dtype="float32", max_model_len=int(max_model_len), enforce_eager=True,
              max_num_seqs=int(max_num_seqs), enable_chunked_prefill=False,
              max_num_batched_tokens=4096)
    rounds = json.load(open(rounds))
    for line in sys.stdin:
        requests = rounds[int(line)]
        sampling = [SamplingParams(seed=r["seed"], temperature=1.0, max_tokens=r["max_tokens"])
                    for r in requests]
        started = time.monotonic()
        outputs = llm.generate([r["prompt"] for r in requests], sampling, use_tqdm=False)
        seconds = time.monotonic() - started
        tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
        print(json.dumps({"tokens": tokens, "seconds": seconds}), flush=True)
    os._exit(0)
"""

DISTILABEL = """
import json, sys, time
from distilabel.models.llms import OpenAILLM
if __name__ == "__main__":
    url, rounds = sys.argv[1:]
    rounds = json.load(open(rounds))
    llm = OpenAILLM(model="tiny", base_url=url, api_key="none")
    llm.load()
    for line in sys.stdin:
        requests = rounds[int(line)]
        inputs = [[{"role": "user", "content": r["prompt"]}] for r in requests]
        started = time.monotonic()
        outputs = llm.generate(inputs=inputs, max_new_tokens=requests[0]["max_tokens"],
                               temperature=1.0)
        seconds = time.monotonic() - started
        tokens = sum(sum(output["statistics"]["output_tokens"]) for output in outputs)
        print(json.dumps({"tokens": tokens, "seconds": seconds}), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1500, help="per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-python")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as our engine has it
    table = Table(title="output tokens/s per round")
    for column in ("road", "rounds", "median", "tsqa / it"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = build_model(folder / "model")
        rounds = make_rounds(arguments.requests, arguments.rounds + 1)
        (folder / "rounds.json").write_text(json.dumps(rounds))
        in_process = TeacherSection(
            model=ModelSection(path=model),
            dtype="float32",
            form="completion",
            max_model_len=MAX_MODEL_LEN,
            max_num_seqs=MAX_NUM_SEQS,
        )
        limits = [str(MAX_NUM_SEQS), str(MAX_MODEL_LEN)]
        with (
            scripted(
                BARE, [model, str(folder / "rounds.json"), *limits], sys.executable, folder
            ) as bare,
            through_window(in_process, model, rounds, folder / "window") as ours,
        ):
            compare(table, "bare LLM.generate", bare, "tsqa, vllm", ours, len(rounds))
        if arguments.peer_python:
            with served(model, folder / "serve.log") as url:
                endpoint = in_process.model_copy(
                    update={
                        "engine": "openai",
                        "urls": [url],
                        "form": "chat",
                        "model": ModelSection(path="tiny"),
                    }
                )
                script = [url, str(folder / "rounds.json")]
                with (
                    scripted(DISTILABEL, script, arguments.peer_python, folder) as peer,
                    through_window(endpoint, "tiny", rounds, folder / "endpoint") as ours,
                ):
                    names = ("distilabel, vllm serve", "tsqa, vllm serve")
                    compare(table, names[0], peer, names[1], ours, len(rounds))
    Console().print(table)


def compare(table: Table, peer: str, theirs: Road, own: str, ours: Road, rounds: int) -> None:
    """Take turns, the warm-up first; one row per road."""
    pairs = [(theirs(number), ours(number)) for number in range(rounds)][1:]
    ratio = statistics.median(mine / other for other, mine in pairs)
    for name, place, shown in ((peer, 0, f"{ratio:.2f}"), (own, 1, "")):
        found = [pair[place] for pair in pairs]
        each = ", ".join(f"{speed:,.0f}" for speed in found)
        table.add_row(name, each, f"{statistics.median(found):,.0f}", shown)


def make_rounds(requests: int, rounds: int) -> list[list[dict[str, Any]]]:
    text = "Question: in year {} the train of {} leaves {} minutes after noon; when? Answer:"
    return [
        [
            {"prompt": text.format(r, n, n % 60), "seed": n, "max_tokens": 8 + n % MAX_TOKENS}
            for n in range(requests)
        ]
        for r in range(rounds)
    ]


@contextmanager
def through_window(
    section: TeacherSection, model: str, rounds: list[list[dict[str, Any]]], folder: Path
) -> Iterator[Road]:
    """One engine and one window; a round lasts from its first request to its last completion."""
    folder.mkdir()

    def job(request: Request) -> Job[Completion]:
        (completion,) = yield [request]
        return completion

    def run(number: int) -> float:
        jobs = [job(to_request(section, number, n, r)) for n, r in enumerate(rounds[number])]
        started = time.monotonic()
        done = list(window.run(jobs))
        seconds = time.monotonic() - started
        assert all(c.finish_reason in ("stop", "length") for c in done), done[0]
        return sum(completion.output_tokens for completion in done) / seconds

    opener = lambda: open_engine(section, model, folder / "engine.log", 0)  # noqa: E731
    with Window(opener, folder / "log.jsonl") as window:
        yield run


def to_request(
    section: TeacherSection, round_number: int, number: int, values: dict[str, Any]
) -> Request:
    is_chat = section.form == "chat"
    return Request(
        id=f"{round_number}-{number}",
        prompt="" if is_chat else values["prompt"],
        messages=({"role": "user", "content": values["prompt"]},) if is_chat else (),
        seed=values["seed"],
        temperature=1.0,
        top_p=1.0,
        max_tokens=values["max_tokens"],
        stop=(),
    )


@contextmanager
def scripted(code: str, arguments: list[str], python: str, folder: Path) -> Iterator[Road]:
    """A script in its own process, told the number of a round on stdin."""
    script = folder / f"{abs(hash(code))}.py"
    script.write_text(code)
    log = script.with_suffix(".log")
    with log.open("w") as errors:
        process = subprocess.Popen(
            [python, str(script), *arguments],
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdin is not None and process.stdout is not None
    asked, answers = process.stdin, process.stdout

    def run(number: int) -> float:
        asked.write(f"{number}\n")
        asked.flush()
        for line in answers:
            if line.startswith('{"tokens"'):
                found = json.loads(line)
                return float(found["tokens"] / found["seconds"])
        raise SystemExit(log.read_text()[-3000:])

    try:
        yield run
    finally:
        process.kill()
        process.wait()


def _environment() -> dict[str, str]:
    return os.environ | {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_NO_USAGE_STATS": "1",
    }


@contextmanager
def served(model: str, log: Path) -> Iterator[str]:
    """`vllm serve` on a free port, for as long as the block lasts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model),
        *("--served-model-name", "tiny", "--port", str(port), "--dtype", "float32"),
        *("--max-model-len", str(MAX_MODEL_LEN), "--max-num-seqs", str(MAX_NUM_SEQS)),
        *("--enforce-eager", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "4096"),
    ]
    environment = {k: v for k, v in _environment().items() if "MULTIPROCESSING" not in k}
    with log.open("wb") as handle:
        process = subprocess.Popen(command, env=environment, stdout=handle, stderr=handle)
        try:
            for _ in range(240):
                if process.poll() is not None:
                    raise SystemExit(log.read_text()[-3000:])
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                    break
                except OSError:
                    time.sleep(1)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(60)


def build_model(folder: Path) -> str:
    """A random Nemotron of 2 M parameters with a byte-level tokenizer and a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import NemotronConfig, NemotronForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=["<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([json.dumps(make_rounds(500, 1))], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")
    tokenizer.chat_template = _TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = NemotronConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_MODEL_LEN,
        bos_token_id=None,
        eos_token_id=0,
    )
    NemotronForCausalLM(config).save_pretrained(folder)
    return str(folder)


if __name__ == "__main__":
    main()
