"""Tries on recipes, generated from the schema: every key with values that it must not have."""

from __future__ import annotations

import contextlib
import copy
import io
import math
import re
import sys
import tempfile
import types
import typing
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from unittest import mock

import yaml
from pydantic import BaseModel

from tests.faults.table import End, Try
from tsqa.cli import app as cli
from tsqa.errors import RecipeError, TsqaError
from tsqa.recipe import Recipe

TASK = """\
task: own_task
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/test.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: acc}}]
metadata: {{version: 1}}
"""
SIGNED = {"seed", "min_score"}
"""Keys that may be below zero."""
PATHS = {"path", "include", "recipe", "refresh", "taxonomy", "runs", "train_on", "elsewhere"}
PATHS |= {"decisions", "model"}


def full_recipe(folder: Path) -> dict[str, Any]:
    """A valid recipe in which every section is given; writes the files that it names."""
    (folder / "tasks").mkdir(exist_ok=True)
    (folder / "tasks" / "own.yaml").write_text(TASK.format(folder=folder / "tasks"))
    row = '{"question": "Is it so?", "choices": ["yes", "no"], "answer": 0}\n'
    (folder / "tasks" / "test.jsonl").write_text(row)
    (folder / "web.jsonl").write_text('{"text": "one two"}\n')
    (folder / "own.jsonl").write_text('{"q": "Why?", "a": "so"}\n')
    (folder / "taxonomy.yaml").write_text("{}\n")

    def teacher() -> dict[str, Any]:
        return {"engine": "openai", "model": {"path": "m"}, "urls": ["http://127.0.0.1:9/v1"]}

    return {
        "name": "full",
        "runs": str(folder / "runs"),
        "data": {"builder": "miniature"},
        "seeds": {
            "datasets": [
                {
                    "name": "own",
                    "path": str(folder / "own.jsonl"),
                    "columns": {"question": "q", "answer": "a"},
                    "licence": "cc0",
                    "capability": "math",
                }
            ],
            "documents": [
                {"name": "pages", "path": str(folder / "web.jsonl"), "capability": "math"}
            ],
            "taxonomy": str(folder / "taxonomy.yaml"),
            "budget": {"total": 10, "capabilities": {"math": 1.0}},
        },
        "generate": {
            "teacher": teacher(),
            "solvers": [{"teacher": teacher(), "answer": {}}],
            "cascade": {"teacher": teacher()},
            "canaries": 1,
            "question": {},
            "answer": {},
            "prompts": {},
        },
        "filter": {
            "triviality": {"teacher": teacher()},
            "judge": {"teacher": teacher()},
            "reward": {"model": "org/reward", "min_score": 0.5},
            "code": {},
            "dedup": {"semantic": {"model": "org/embedding"}},
            "decontaminate": {
                "semantic": {"model": "org/embedding", "judge": {"teacher": teacher()}}
            },
            "faithfulness": {},
            "difficulty": {"easy": 0.2, "medium": 0.5, "hard": 0.3},
            "review": {},
        },
        "audit": {"swaps": {}, "gradients": {"model": "org/small"}, "names": {"model": "org/ner"}},
        "model": {"config": {"model_type": "nemotron"}},
        "tokenizer": {"train_on": [str(folder / "web.jsonl")]},
        "mixture": {
            "sources": {
                "web": {"path": str(folder / "web.jsonl")},
                "synthetic": {"from": "filter"},
                "near": {"nearest": {"pool": "web"}, "size_of": "synthetic"},
            },
            "phases": [{"tokens": "1M", "ratios": {"web": 0.5, "synthetic": 0.5}}],
        },
        "train": {
            "sequence_length": 8,
            "global_batch_tokens": 64,
            "lr": 1e-3,
            "schedule": {},
            "router": {},
            "batch_ramp": [{"until": 0.5, "global_batch_tokens": 32}],
        },
        "eval": {
            "tasks": ["own_task"],
            "include": str(folder / "tasks"),
            "macros": {"all": ["own_task"]},
            "protocols": {"own_task": {"num_fewshot": 0}},
        },
        "ablation": {
            "axes": {"mixture.synthetic": [0, 0.5]},
            "control": {"mixture.synthetic": 0},
            "controls": ["nearest_human"],
            "nearest_human": {"pool": "web"},
            "seeds": [1, 2],
        },
        "generations": {"stop": {"loss": 0.5}},
        "tracking": {"mode": "disabled"},
        "launch": {},
    }


def validate(path: Path, *overrides: str) -> None:
    """`tsqa validate`, in this process; its exit code becomes the error that it stands for."""
    printed = io.StringIO()
    arguments = ["tsqa", "validate", str(path), *overrides]
    with (
        mock.patch.object(sys, "argv", arguments),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(printed),
    ):
        try:
            cli.main()
        except SystemExit as end:
            text = printed.getvalue()
            assert "Traceback" not in text
            if end.code == cli.USER_ERROR:
                raise RecipeError(text) from end
            if end.code:
                raise TsqaError(text) from end


def with_value(path: tuple[str | int, ...], value: Any) -> Callable[[Path], int]:
    """The full recipe, with one key set."""

    def act(folder: Path) -> int:
        tree = full_recipe(folder)
        place: Any = tree
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value
        return _try_tree(folder, tree)

    return act


def without(path: tuple[str | int, ...]) -> Callable[[Path], int]:
    def act(folder: Path) -> int:
        tree = full_recipe(folder)
        place: Any = tree
        for part in path[:-1]:
            place = place[part]
        del place[path[-1]]
        return _try_tree(folder, tree)

    return act


Place = tuple[str | int, ...]
_ALIKE: dict[tuple[str, int], dict[Place, Any]] = defaultdict(dict)
"""What is wrong in the same way, and at the same depth -> the places, and the value of each."""
_LEFT_OUT = object()


def among(how: str, path: Place, value: Any = _LEFT_OUT) -> Callable[[Path], int]:
    """The full recipe with this key wrong, and all others that are wrong alike.

    Refused is a key that a line of its own names: a recipe is read once for hundreds of them. One
    that gets no such line is tried alone.
    """
    group = (how, len(path))
    _ALIKE[group][path] = value

    def act(folder: Path) -> int:
        start = re.compile(rf"\S+: {re.escape(_shown(path))}( = .*)?: ", re.DOTALL)
        for problem in _problems(group):
            if start.match(problem):
                raise RecipeError(problem)
        return (without(path) if value is _LEFT_OUT else with_value(path, value))(folder)

    return act


@cache
def _problems(group: tuple[str, int]) -> list[str]:
    """What validation says of a recipe in which all of a group is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        tree = full_recipe(Path(folder))
        for path, value in _ALIKE[group].items():
            place: Any = tree
            for part in path[:-1]:
                place = place[part]
            if value is _LEFT_OUT:
                del place[path[-1]]
            else:
                place[path[-1]] = value
        try:
            _try_tree(Path(folder), tree)
        except RecipeError as error:
            return re.split(
                rf"\n(?={re.escape(folder)})", f"{error}".removeprefix("recipe error: ")
            )
    return []


def dump(tree: dict[str, Any]) -> str:
    """Its YAML; by the C library, which takes a fifth of the time of a try less."""
    try:
        return str(yaml.dump(tree, Dumper=yaml.CSafeDumper, sort_keys=False))
    except UnicodeEncodeError:  # a lone surrogate, which it cannot write
        return str(yaml.safe_dump(tree, sort_keys=False))


def _try_tree(folder: Path, tree: dict[str, Any]) -> int:
    path = folder / "recipe.yaml"
    path.write_text(dump(tree), encoding="utf-8")
    validate(path)
    assert not (folder / "runs" / "artifacts" / "seeds").exists()
    return 0


Leaf = tuple[tuple[str | int, ...], type[BaseModel], Any]


def leaves(model: type[BaseModel], tree: Any, prefix: tuple[str | int, ...] = ()) -> Iterator[Leaf]:
    """Every key of the schema below a tree that names every section: its section and annotation."""
    for name, declared in model.model_fields.items():
        key = declared.alias or name
        path = (*prefix, key)
        value = tree.get(key) if isinstance(tree, dict) else None
        inner = _section_in(declared.annotation)
        if inner is None or value is None:
            if inner is None:
                yield path, model, declared.annotation
        elif isinstance(value, list):
            for number, one in enumerate(value[:1]):
                yield from leaves(inner, one, (*path, number))
        elif _is_mapping(declared.annotation):
            for one in value:
                yield from leaves(inner, value[one], (*path, one))
        else:
            yield from leaves(inner, value, path)


def sections(
    model: type[BaseModel], tree: Any, prefix: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], type[BaseModel]]]:
    """Every section below a tree, itself included."""
    yield prefix, model
    for name, declared in model.model_fields.items():
        key = declared.alias or name
        value = tree.get(key) if isinstance(tree, dict) else None
        inner = _section_in(declared.annotation)
        if inner is None or value is None:
            continue
        if isinstance(value, list):
            yield from sections(inner, value[0], (*prefix, key, 0))
        elif _is_mapping(declared.annotation):
            for one in value:
                yield from sections(inner, value[one], (*prefix, key, one))
        else:
            yield from sections(inner, value, (*prefix, key))


def _parts(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is typing.Annotated:
        yield from _parts(get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation


def _section_in(annotation: Any) -> type[BaseModel] | None:
    for part in _parts(annotation):
        for one in (part, *get_args(part)):
            if isinstance(one, type) and issubclass(one, BaseModel):
                return one
    return None


def _is_mapping(annotation: Any) -> bool:
    return any(get_origin(part) is dict for part in _parts(annotation))


def _kind_of(annotation: Any) -> str:
    parts = list(_parts(annotation))
    if any(part in (int, float) for part in parts):
        return "number"
    if bool in parts:
        return "switch"
    if any(get_origin(part) is Literal for part in parts):
        return "choice"
    if str in parts:
        return "text"
    return "other"


def _may_be_null(annotation: Any) -> bool:
    return type(None) in list(_parts(annotation))


NUMBERS: dict[str, Any] = {
    "true": True,
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "text": "many",
    "the text nan": "nan",
    "the text inf": "inf",
    "too large": "1e999",
    "negative": -1,
    "null": None,
    "a list": [1],
}
SWITCHES: dict[str, Any] = {
    "text": "maybe",
    "2": 2,
    "null": None,
    "a list": [True],
    "nan": math.nan,
}
CHOICES: dict[str, Any] = {
    "another": "no-such-choice", "a number": 7.5, "a list": ["none"], "empty": "", "case": "NONE",
}  # fmt: skip
TEXTS: dict[str, Any] = {
    "a list": ["x", ["y"]],
    "a mapping": {"x": 1},
    "a number": 7,
    "a surrogate": "a\ud800b",
    "undecided": "???",
    "the environment": "${oc.env:HOME}",
    "another key": "${train.lr}",
    "nowhere": "${no.such.key}",
}


REFERENCES = ("the environment", "another key", "nowhere")


def key_tries() -> Iterator[Try]:
    """Every key of the schema x the values that keys of its kind must not have.

    A section that stands in several places (a teacher, a sampling) is one class: its keys get all
    values in the first place, and in the others one, which shows that they are checked there.
    """
    with tempfile.TemporaryDirectory() as folder:
        tree = full_recipe(Path(folder))
    tried: set[tuple[type[BaseModel], str | int]] = set()
    for path, model, annotation in leaves(Recipe, tree):
        key, kind = _shown(path), _kind_of(annotation)
        again = (model, path[-1]) in tried
        tried.add((model, path[-1]))
        values = {"number": NUMBERS, "switch": SWITCHES, "choice": CHOICES, "text": TEXTS}.get(kind)
        for how, value in (values or {}).items():
            if value is None and _may_be_null(annotation):
                continue
            if how == "negative" and path[-1] in SIGNED:
                continue
            if how == "text" and kind == "number" and str in list(_parts(annotation)):
                continue
            if how == "a list" and list in [get_origin(p) for p in _parts(annotation)]:
                continue
            if how == "a mapping" and _is_mapping(annotation):
                continue
            # A reference is named itself, and what is no YAML by its line.
            alone = how in ("a surrogate", "undecided", *REFERENCES)  # the first ends it
            act = with_value(path, value) if alone else among(how, path, value)
            names = () if how in ("a surrogate", *REFERENCES) else (str(path[-1]),)
            yield Try("recipe", key, how, End.BEFORE, act, names)
            if again:
                break
        if kind == "text" and path[-1] in PATHS:
            act = among("NUL", path, "a\x00b")
            yield Try("recipe", key, "NUL", End.BEFORE, act, (path[-1],))
            act = among("an address", path, "ftp://host/x")
            yield Try("recipe", key, "an address", End.BEFORE, act, (path[-1],))


def section_tries() -> Iterator[Try]:
    """Every section x an unknown key, another type, and each required key left out."""
    with tempfile.TemporaryDirectory() as folder:
        tree = full_recipe(Path(folder))
    for path, model in sections(Recipe, tree):
        key = _shown(path) or "recipe"
        act = among("unknown key", (*path, "no_such_key"), 1)
        yield Try("recipe", key, "unknown key", End.BEFORE, act, ("no_such_key",))
        for name, declared in model.model_fields.items():
            if declared.is_required():
                left = (*path, declared.alias or name)
                if _has(tree, left):
                    act = among("left out", left)
                    yield Try("recipe", _shown(left), "left out", End.BEFORE, act, (name,))
        if path:
            for how, value in {"text": "x", "a list": [[1]], "true": True, "number": 3}.items():
                how = f"{how} for a section"
                act = among(how, path, value)
                yield Try("recipe", key, how, End.BEFORE, act, (_last(path),))


def _has(tree: Any, path: tuple[str | int, ...]) -> bool:
    place = tree
    for part in path:
        if isinstance(place, dict) and part not in place:
            return False
        place = place[part]
    return True


def _shown(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))


def _last(path: tuple[str | int, ...]) -> str:
    return str([part for part in path if isinstance(part, str)][-1])


HOSTILE = {
    "empty": "",
    "blank": "  ",
    "dots": "..",
    "a dot": ".",
    "upwards": "../x",
    "absolute": "/abs/x",
    "a newline": "a\nb",
    "NUL": "a\x00b",
    "an escape": "a\x1b[31mb",
    "a surrogate": "a\ud800b",
    "right to left": "a\u202eb",
    "no width": "a\u200bb",
    "a line separator": "a\u2028b",
    "spaces around": " a ",
    "long": "a" * 5000,
    "tab": "a\tb",
}
"""Names that nothing may have."""


def name_tries() -> Iterator[Try]:
    """Every place for a name x hostile names, and names with a meaning of their own."""
    for how, name in HOSTILE.items():
        for what, act in {
            "name": with_value(("name",), name),
            "mixture.sources": _renamed_source(name),
            "eval.macros": with_value(("eval", "macros"), {name: ["own_task"]}),
            "eval.tasks": _task_named(name),
            "seeds.tasks": with_value(("seeds", "tasks"), [name]),
            "seeds.datasets.name": with_value(("seeds", "datasets", 0, "name"), name),
            "ablation.arms.name": _arm_named(name),
        }.items():
            if what == "ablation.arms.name" and how == "empty":
                continue  # no name: it is made from the settings
            yield Try("recipe", f"{what} (name)", how, End.BEFORE, act)
    for name in ("base", "x@25", "a - b", "a/b", "compare", "x,seed=1"):
        yield Try("recipe", "ablation.arms.name (name)", name, End.BEFORE, _arm_named(name))
    for name in ("macro", "macro:x", "own_task"):
        act = with_value(("eval", "macros"), {name: ["own_task"]})
        yield Try("recipe", "eval.macros (name)", name, End.BEFORE, act)
    for name in ("phases", "max_repetition", "a@b", "a,b", "a=b"):
        yield Try("recipe", "mixture.sources (name)", name, End.BEFORE, _renamed_source(name))
    for name in ("artifacts", "wandb", "a/b", "a b"):
        yield Try("recipe", "name (name)", name, End.BEFORE, with_value(("name",), name))
    for name in ("HuggingFaceFW/fineweb", "tokenizer", "manifest", "C++", "Größe", "Web"):
        yield Try("recipe", "mixture.sources (name)", name, End.FINE, _renamed_source(name))
    for name in ("one vote", "größer", "50%", "lr=1e-3"):
        yield Try("recipe", "ablation.arms.name (name)", name, End.FINE, _arm_named(name))


def _renamed_source(name: str) -> Callable[[Path], int]:
    def act(folder: Path) -> int:
        tree = full_recipe(folder)
        mixture = tree["mixture"]
        mixture["sources"][name] = mixture["sources"].pop("web")
        mixture["sources"]["near"]["nearest"]["pool"] = name
        tree["ablation"]["nearest_human"]["pool"] = name
        mixture["phases"][0]["ratios"] = {name: 0.5, "synthetic": 0.5}
        return _try_tree(folder, tree)

    return act


def _task_named(name: str) -> Callable[[Path], int]:
    def act(folder: Path) -> int:
        tree = full_recipe(folder)
        tree["eval"] |= {"tasks": [name, "own_task"]}
        return _try_tree(folder, tree)

    return act


def _arm_named(name: str) -> Callable[[Path], int]:
    def act(folder: Path) -> int:
        tree = full_recipe(folder)
        tree["ablation"] = {
            "arms": [{"name": "plain", "train.lr": 1e-4}, {"name": name, "train.lr": 1e-3}],
            "control": "plain",
        }
        return _try_tree(folder, tree)

    return act


def fit_tries() -> Iterator[Try]:
    """Keys that are right alone and wrong together; elements of lists and mappings."""
    ratios = ("mixture", "phases", 0, "ratios")
    values: dict[str, tuple[tuple[str | int, ...], Any]] = {
        "ratios above 1": (ratios, {"web": 0.9, "synthetic": 0.2}),
        "ratios below 1": (ratios, {"web": 0.3, "synthetic": 0.2}),
        "a ratio too fine": (ratios, {"web": 0.500005, "synthetic": 0.499995}),
        "a ratio of nan": (ratios, {"web": math.nan, "synthetic": 0.5}),
        "a ratio of inf": (ratios, {"web": math.inf, "synthetic": 0.5}),
        "a ratio of true": (ratios, {"web": True, "synthetic": False}),
        "an unknown source": (ratios, {"nowhere": 1.0}),
        "no ratio": (ratios, {}),
        "no phase": (("mixture", "phases"), []),
        "no source": (("mixture", "sources"), {}),
        "no tasks": (("eval", "tasks"), []),
        "tasks twice": (("eval", "tasks"), ["own_task", "own_task"]),
        "a task of null": (("eval", "tasks"), [None]),
        "a task that is a list": (("eval", "tasks"), [["own_task"]]),
        "an unknown task": (("eval", "tasks"), ["no_such_task"]),
        "a macro of nothing": (("eval", "macros"), {"x": []}),
        "a macro of an unknown task": (("eval", "macros"), {"x": ["nowhere"]}),
        "a batch of no whole rows": (("train", "global_batch_tokens"), 65),
        "a batch that does not divide": (("train", "micro_batch_size"), 3),
        "one beta": (("train", "betas"), [0.9]),
        "three betas": (("train", "betas"), [0.9, 0.9, 0.9]),
        "a beta of nan": (("train", "betas"), [math.nan, 0.9]),
        "a beta above 1": (("train", "betas"), [0.9, 1.5]),
        "a negative beta": (("train", "betas"), [-0.1, 0.9]),
        "a ramp that goes back": (
            ("train", "batch_ramp"),
            [{"until": u, "global_batch_tokens": 32} for u in (0.5, 0.2)],
        ),
        "a ramp of odd batches": (
            ("train", "batch_ramp"), [{"until": 0.5, "global_batch_tokens": 48}]
        ),
        "warmup and decay above 1": (("train", "schedule"), {"warmup": 0.9, "decay": 0.9}),
        "offload without its stage": (("train", "offload"), "parameters"),
        "a share of nan": (("seeds", "budget", "capabilities"), {"math": math.nan}),
        "min_words above max_words": (("filter", "min_words"), 4000),
        "runs at a shell's home": (("runs",), "~/runs"),
        "runs at a shell's variable": (("runs",), "$HOME/runs"),
        "votes at temperature 0": (("generate", "answer"), {"temperature": 0}),
        "votes at a temperature next to 0": (("generate", "answer"), {"temperature": 1e-6}),
        "votes at a top_p next to 0": (("generate", "answer"), {"top_p": 1e-6}),
        "votes at top_k 1": (("generate", "answer"), {"top_k": 1}),
        "votes at min_p 1": (("generate", "answer"), {"min_p": 1.0}),
        "tries at temperature 0": (
            ("generate",),
            {
                "teacher": {
                    "engine": "openai",
                    "model": {"path": "m"},
                    "urls": ["http://127.0.0.1:9/v1"],
                },
                "votes": 1,
                "answer": {"temperature": 0},
            },
        ),
        "an unknown language": (("filter", "languages"), ["klingon"]),
        "no language": (("filter", "languages"), []),
        "an unknown rendering": (("filter", "renderings"), ["no-such-rendering"]),
        "no rendering": (("filter", "renderings"), []),
        "unknown prompts": (("generate", "prompts", "question"), "no-such-prompts"),
        "an unknown enrichment": (("generate", "enrichment"), ["poetry"]),
        "a url with a bad port": (("generate", "teacher", "urls"), ["http://127.0.0.1:99999/v1"]),
        "a url without a scheme": (("generate", "teacher", "urls"), ["127.0.0.1/v1"]),
        "a url without a host": (("generate", "teacher", "urls"), ["http:///v1"]),
        "no urls": (("generate", "teacher", "urls"), []),
        "a url that is none": (("generate", "teacher", "urls"), ["not a url"]),
        "a url of a file": (("generate", "teacher", "urls"), ["file:///etc/passwd"]),
        "an empty url": (("generate", "teacher", "urls"), [""]),
        "two origins of a model": (("model",), {"path": "a", "config": {"model_type": "llama"}}),
        "a config without a type": (("model",), {"config": {}}),
        "two origins of a tokenizer": (("tokenizer",), {"path": "a", "train_on": ["b"]}),
        "new tokens for a trained model": (("model",), {"path": "some/model"}),
        "rows beyond the positions": (
            ("model",), {"config": {"model_type": "llama", "max_position_embeddings": 4}}
        ),
        "a source of two origins": (("mixture", "sources", "web", "from"), "filter"),
        "a source of none": (("mixture", "sources", "web"), {}),
        "an unknown subset": (
            ("mixture", "sources", "web"), {"subset_of": "nowhere", "size_of": "synthetic"}
        ),
        "an empty marker": (("mixture", "sources", "web", "answer_marker"), ""),
        "a file that is not there": (("mixture", "sources", "web", "path"), "/no/such.jsonl"),
        "an include that is not there": (("eval", "include"), "/no/such/folder"),
        "a taxonomy that is not there": (("seeds", "taxonomy"), "/no/such.yaml"),
        "a dataset that is not there": (("seeds", "datasets", 0, "path"), "/no/such.jsonl"),
        "a tokenizer's text that is not there": (("tokenizer", "train_on"), ["/no/such.jsonl"]),
        "a suite that is not there": (("eval", "suite"), "no-such-suite"),
        "two datasets of one name": (
            ("seeds", "datasets"),
            [{"name": "a", "path": "x.jsonl", "columns": {"question": "q", "answer": "a"}}] * 2,
        ),
        "a family to hold out that no source has": (
            ("seeds",), {"tasks": ["arc_easy"], "hold_out": ["nonesuch"]}
        ),
        "no seeds": (("seeds",), {"tasks": [], "datasets": [], "documents": []}),
        "no axes": (("ablation", "axes"), {}),
        "an axis without values": (("ablation", "axes"), {"train.lr": []}),
        "an axis of an unknown key": (("ablation", "axes"), {"train.learning_rate": [1, 2]}),
        "an axis of a wrong value": (
            ("ablation",), {"axes": {"train.lr": [1e-3, True]}, "control": {"train.lr": 1e-3}}
        ),
        "an axis of nan": (
            ("ablation",), {"axes": {"train.lr": [1e-3, math.nan]}, "control": {"train.lr": 1e-3}}
        ),
        "an axis twice the same": (
            ("ablation",), {"axes": {"train.lr": [1e-3, 1e-3]}, "control": {"train.lr": 1e-3}}
        ),
        "an axis that is text": (("ablation", "axes"), {"train.lr": "1e-3"}),
        "an axis of seeds": (("ablation", "axes"), {"seed": [1, 2]}),
        "an axis of a whole section": (
            ("ablation",),
            {"axes": {"train": [{"lr": 1}, {"lr": 2}]}, "control": {"train": {"lr": 1}}},
        ),
        "a control that is no arm": (("ablation", "control"), {"mixture.synthetic": 0.3}),
        "a control by no name": (("ablation", "control"), "nowhere"),
        "seeds twice": (("ablation", "seeds"), [1, 1]),
        "a seed of true": (("ablation", "seeds"), [True, 2]),
        "a seed of nan": (("ablation", "seeds"), [math.nan]),
        "points before the first step": (("eval", "every_tokens"), 8),
        "an instruction without a template": (("eval", "system_instruction"), "Be brief."),
    }  # fmt: skip
    for how, (path, value) in values.items():
        yield Try("recipe", _shown(path), how, End.BEFORE, with_value(path, copy.deepcopy(value)))
    for section in ("generate", "model", "mixture", "train", "eval", "seeds", "tokenizer"):
        yield Try("recipe", section, "the section left out", End.BEFORE, without((section,)))


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
)
FILES: dict[str, bytes] = {
    "empty": b"",
    "a comment": b"# nothing\n",
    "a list": b"- a\n- b\n",
    "text": b"hello\n",
    "a tab": b"name: x\n\ttrain: 1\n",
    "torn": b"name: x\ntrain: {lr: 1",
    "two documents": b"name: x\n---\nname: y\n",
    "a key twice": b"name: x\nname: y\n",
    "a key twice below": b"name: x\ntracking: {project: a, project: b}\n",
    "binary": bytes(range(256)),
    "NUL": b"name: a\x00b\n",
    "latin-1": "name: größe\n".encode("latin-1"),
    "utf-16": "name: x\n".encode("utf-16"),
    "a python tag": b"name: !!python/object/apply:os.system ['true']\n",
    "a tag of its own": b"name: !secret x\n",
    "an anchor without a place": b"name: *nowhere\n",
    "an anchor in itself": b"name: &a [*a]\n",
    "an alias bomb": BOMB.encode(),
    "deep": b"name: " + b"[" * 3000 + b"]" * 3000,
    "deep mappings": b"name: " + b"{a: " * 3000 + b"1" + b"}" * 3000,
    "keys that are numbers": b"1: x\n2: y\n",
    "keys that are lists": b"? [a, b]\n: x\n",
    "a key of null": b"null: x\n",
    "a merge of nothing": b"<<: 7\nname: x\n",
    "a long number": b"name: x\nseed: " + b"9" * 5000 + b"\n",
    "extends itself": b"extends: recipe.yaml\nname: x\n",
    "extends nothing": b"extends: nowhere.yaml\nname: x\n",
    "extends a list": b"extends: [a.yaml]\nname: x\n",
    "extends a number": b"extends: 7\nname: x\n",
    "extends a folder": b"extends: .\nname: x\n",
    "extends NUL": b'extends: "a\\0b.yaml"\nname: x\n',
    "extends the empty name": b'extends: ""\nname: x\n',
    "an interpolation in a circle": b"name: ${runs}\nruns: ${name}\n",
    "a resolver that is none": b"name: ${no_such:x}\n",
    "an open interpolation": b"name: ${runs\n",
    "the environment in a key": b'name: x\n"${oc.env:HOME}": 1\n',
    "an ablation of 3,000 arms": (
        b"extends: plain.yaml\nablation: {axes: {train.lr: ["
        + ",".join(f"{n}e-6" for n in range(1, 61)).encode() + b"], train.clip: ["
        + ",".join(str(n) for n in range(1, 51)).encode()
        + b"]}, control: {train.lr: 7, train.clip: 1}}\n"
    ),
}  # fmt: skip
OVERRIDES = [
    *("train.lr", "=1", "train..lr=1", ".=1", "train.=1", "no_such=1", "train.no_such=1"),
    *("train.lr=true", "train.lr=.nan", "train.lr=[1", "train.lr=", "train.lr=null"),
    *("mixture.web=2", "mixture.web=-1", "mixture.web=text", "mixture.web=true"),
    *("mixture.web=.nan", "mixture.nowhere=0.5", "name=", "name=../x", "name=a/b", "name=???"),
    *("runs=", "runs=a\x00b", "eval.tasks=x", "eval.tasks=[]", "eval.tasks.0.x=1", "train=1"),
    *("ablation.control=nowhere", "mixture.phases=[]", "mixture.phases.0.tokens=-5", "seed=.inf"),
    *("train.lr=${oc.env:HOME}", "name=${oc.env:HOME}", "name=!!python/name:os.system"),
]


def file_tries() -> Iterator[Try]:
    """A recipe's file that is none, and overrides that are none."""
    for how, content in FILES.items():
        yield Try("recipe", "the file", how, End.BEFORE, _file(content))
    yield Try("recipe", "the file", "missing", End.BEFORE, lambda f: _validated(f / "no.yaml"))
    yield Try("recipe", "the file", "a folder", End.BEFORE, _validated)
    for override in OVERRIDES:
        act = _overridden(override)
        how = override.replace("\x00", "NUL")
        yield Try("recipe", "an override", how, End.BEFORE, act)
    yield Try("recipe", "the full recipe", "as it is", End.FINE, _overridden("seed=0"))


def _validated(path: Path) -> int:
    validate(path)
    return 0


def _file(content: bytes) -> Callable[[Path], int]:
    def act(folder: Path) -> int:
        (folder / "plain.yaml").write_text(dump(full_recipe(folder)))
        (folder / "recipe.yaml").write_bytes(content)
        return _validated(folder / "recipe.yaml")

    return act


def _overridden(*overrides: str) -> Callable[[Path], int]:
    def act(folder: Path) -> int:
        path = folder / "recipe.yaml"
        path.write_text(dump(full_recipe(folder)))
        validate(path, *overrides)
        return 0

    return act


def tries() -> list[Try]:
    return [*key_tries(), *section_tries(), *name_tries(), *fit_tries(), *file_tries()]
