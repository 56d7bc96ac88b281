"""The arguments of vLLM that a recipe may pass on by name: those of the version that is installed.

Guarantees: vLLM is not imported, which takes seconds; its source says which arguments it has. Where
it is not installed nothing is known, and the engine does not start either.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

_OWN = {
    "model": "model.path",
    "model_weights": "model.path",
    "tokenizer": "model.path",
    "dtype": "dtype",
    "max_model_len": "max_model_len",
    "max_num_seqs": "max_num_seqs",
    "tensor_parallel_size": "tensor_parallel",
    "data_parallel_size": "replicas",
    "trust_remote_code": "model.trust_remote_code",
    "seed": "generate.seed",
    "revision": "model.path, which is pinned",
    "tokenizer_revision": "model.path, which is pinned",
    "code_revision": "model.path, which is pinned",
}
"""Argument -> the key that decides it."""
_REFUSED = {
    "generation_config": "it would change the sampling that the recipe states",
    "override_generation_config": "it would change the sampling that the recipe states",
    "skip_tokenizer_init": "requests are texts",
    "hf_config_path": "it names a file that would not identify the data; put it into model.path",
    "reasoning_parser_plugin": "it names a file that would not identify the data; install it as a "
    "plugin of vLLM",
    "hf_token": "it is a secret, which would be written into every manifest; set HF_TOKEN",
}
"""Argument -> why it is not passed on."""


def check_engine_args(given: Mapping[str, object]) -> None:
    """Raise ValueError where vLLM has no such argument, or another key decides it."""
    for name in given:
        if name in _OWN:
            raise ValueError(f"engine_args may not hold {name}: that is {_OWN[name]}")
        if name in _REFUSED:
            raise ValueError(f"engine_args may not hold {name}: {_REFUSED[name]}")
    known = known_arguments()
    for name in sorted(given.keys() - known) if known else ():
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"engine_args: this version of vLLM has no argument {name}{hint}")


@cache
def known_arguments() -> frozenset[str]:
    """The fields of vLLM's EngineArgs; empty where it is not installed."""
    spec = importlib.util.find_spec("vllm")
    folders = (spec.submodule_search_locations if spec else None) or []
    source = next(
        (f for f in (Path(f, "engine/arg_utils.py") for f in folders) if f.is_file()), None
    )
    if source is None:
        return frozenset()
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return frozenset(_fields(tree.body))


def _fields(body: Iterable[ast.stmt]) -> Iterable[str]:
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == "EngineArgs":
            for inner in node.body:
                if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
                    yield inner.target.id
