"""Promises of the vLLM teacher: a request's text is its own, whatever runs beside it; bad requests
end alone; a death is explained; no orphan stays."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import psutil
import pytest

from tests.support.tiny_teacher import make_tiny_teacher, vllm_section
from tsqa.errors import EngineError, RecipeError
from tsqa.recipe import ModelSection, TeacherSection
from tsqa.store import process
from tsqa.teachers import Completion, Engine, Request, vllm_process, vllm_worker
from tsqa.teachers import vllm_engine as vllm
from tsqa.teachers.chat_form import (
    has_chat_template,
    merge_system,
    resolve_form,
    resolve_schema,
)
from tsqa.teachers.client import open_engine
from tsqa.teachers.vllm_engine import VllmEngine
from tsqa.teachers.vllm_process import likely_fix
from tsqa.teachers.vllm_worker import VllmModel

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "enum": ["red", "blue"]}},
    "required": ["answer"],
    "additionalProperties": False,
}
CHAT = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which colour?"})
TOOL_TURN = ({"role": "tool", "content": "?"},)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_tiny_teacher(tmp_path_factory.mktemp("model"))


def votes(start: int, stop: int) -> list[Request]:
    # More prompt tokens than one scheduler step takes; eight requests share each prompt.
    text = "Question: who finds a cup? " * 5
    return [
        Request(f"r{n}", f"{text}{n // 8}", n, 1.0, 0.95, 8, ("\n",)) for n in range(start, stop)
    ]


def special() -> list[Request]:
    """Chat, guided, too long, and three that no engine can serve."""
    bad = {"type": "object", "properties": {"a": {"type": "nonsense"}}}
    return [
        Request("chat", "", 1, 1.0, 1.0, 8, (), CHAT),
        Request("guided", "", 2, 1.0, 1.0, 200, (), CHAT, SCHEMA),
        Request("long", "x" * 400, 0, 1.0, 1.0, 8, ()),
        Request("bad schema", "", 3, 1.0, 1.0, 8, (), CHAT, bad),
        Request("broken unicode", "half a pair \ud800", 5, 1.0, 1.0, 8, ()),
        Request("bad role", "", 4, 1.0, 1.0, 8, (), TOOL_TURN),
    ]


def ask(engine: Engine, *groups: Sequence[Request]) -> dict[str, Completion]:
    for group in groups:
        engine.submit(group)
    done: dict[str, Completion] = {}
    while len(done) < sum(map(len, groups)):
        done |= {completion.id: completion for completion in engine.collect()}
    return done


@pytest.mark.engine
def test_a_request_gives_the_same_text_whatever_runs_beside_it(
    tiny_model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    section = vllm_section(tiny_model)
    with open_engine(section, tiny_model, tmp_path / "engine.log", 0) as engine:
        assert engine.capacity == 32
        first = ask(engine, votes(0, 40), special(), votes(40, 64))
        assert ask(engine, votes(30, 48), special()[:2]).items() <= first.items()
        assert isinstance(engine, VllmEngine)
        (pid,) = engine.pids
    assert not psutil.pid_exists(pid)
    assert len({first[f"r{n}"].text for n in range(64)}) > 32
    assert len({first[f"r{n}"].prompt_tokens for n in range(64)}) == 1

    assert first["chat"].prompt_tokens == len(
        "[system] Be brief.\n[user] Which colour?\n[assistant] "
    )
    assert json.loads(first["guided"].text)["answer"] in ("red", "blue")
    assert first["guided"].finish_reason == "stop"
    assert first["long"].finish_reason == "prompt_too_long"
    assert first["bad schema"].finish_reason.startswith("error: ")
    assert first["broken unicode"].finish_reason.startswith("error: ")
    assert first["bad role"].finish_reason == "error: no tools here"
    assert capfd.readouterr().out == ""

    section = vllm_section(tiny_model, replicas=2)
    with open_engine(section, tiny_model, tmp_path / "engine.log", 0) as engine:
        assert engine.capacity == 64
        again = ask(engine, *(votes(n, n + 8) for n in reversed(range(0, 64, 8))), special())
        assert again == first
        assert isinstance(engine, VllmEngine)
        pids = engine.pids
        os.kill(pids[1], signal.SIGKILL)
        with pytest.raises(EngineError, match=r"killed by signal 9.*engine\.1\.log"):
            ask(engine, votes(0, 8), votes(8, 16))
    assert not any(map(psutil.pid_exists, pids))
    if importlib.util.find_spec("ray") is not None:
        _compare_on_ray(first, tiny_model, tmp_path)


def _compare_on_ray(first: dict[str, Completion], model: str, folder: Path) -> None:
    """A replica on a Ray cluster of its own writes the same, and leaves no process."""
    section = vllm_section(model, cluster="ray")
    before = psutil.Process().children(recursive=True)
    with open_engine(section, model, folder / "ray.log", 0) as engine:
        assert engine.capacity == 32
        assert ask(engine, votes(40, 64), special(), votes(0, 40)) == first
        family = [*{*psutil.Process().children(recursive=True)} - {*before}]
        assert any("vllm_worker" in " ".join(process.cmdline()) for process in family)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive


@pytest.mark.engine
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("limit", "cause"),
    [
        ("-n 20", r"Too many open files(.|\n)*fix: raise the limit of open files: ulimit -n"),
        ("-v 3000000", r"Cannot allocate memory(.|\n)*fix: lower .*kv_cache_gib.*ulimit -v"),
    ],
)
def test_a_worker_short_of_files_or_memory_names_the_cause(
    limit: str, cause: str, tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = f"ulimit {limit}; exec {sys.executable} -m tsqa.teachers.vllm_worker"
    monkeypatch.setattr(
        vllm_process, "_command", lambda writer: ["bash", "-c", f"{start} {writer}"]
    )
    engine = open_engine(vllm_section(tiny_model), tiny_model, tmp_path / "engine.log", 0)
    with pytest.raises(EngineError, match=cause), engine:
        pass


REFUSES_SYSTEM = (
    "{% for message in messages %}{% if message.role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "[{{ message.role }}] {{ message.content }}\n{% endfor %}{{ mood }}"
)
DROPS_SYSTEM = (
    "{% for message in messages if message.role != 'system' %}"
    "[{{ message.role }}] {{ message.content }}\n{% endfor %}{{ mood }}"
)


class TemplateOnly:
    """As much of an LLM as the worker needs to fill a template."""

    def __init__(self, template: str) -> None:
        import jinja2

        self._template = jinja2.Environment().from_string(template)
        self.llm_engine = self
        self.model_config = SimpleNamespace(max_model_len=99)

    def get_tokenizer(self) -> TemplateOnly:
        return self

    def apply_chat_template(
        self, turns: list[dict[str, str]], tokenize: bool, add_generation_prompt: bool, **more: str
    ) -> str:
        def refuse(message: str) -> None:
            raise ValueError(message)

        return self._template.render(messages=turns, raise_exception=refuse, **more)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[str]:
        return [text]


@pytest.mark.parametrize("template", [REFUSES_SYSTEM, DROPS_SYSTEM])
def test_a_template_without_a_system_turn_gets_it_in_the_users(template: str) -> None:
    worker = VllmModel(TemplateOnly(template), {"mood": "gay"}, "auto")
    text = str(worker._encode("", json.dumps(CHAT))[0][0])
    assert text == "[user] Be brief.\n\nWhich colour?\ngay"


def test_a_template_with_a_system_turn_gets_it_as_it_is() -> None:
    template = (
        "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"
    )
    worker = VllmModel(TemplateOnly(template), {}, "auto")
    text = str(worker._encode("", json.dumps(CHAT))[0][0])
    assert text == "[system] Be brief.\n[user] Which colour?\n"
    with pytest.raises(ValueError, match="System role not supported"):
        VllmModel(TemplateOnly(REFUSES_SYSTEM), {}, "send")._encode("", json.dumps(CHAT))


class Thinker(TemplateOnly):
    """Replies to whatever it is asked, with or without thoughts before."""

    def __init__(self, reply: str) -> None:
        super().__init__(
            "{{ messages[-1].content }}\n<|im_start|>assistant\n"
            "{{ '<think>\\n' if enable_thinking else '<think>\\n\\n</think>\\n\\n' }}"
        )
        self._reply, self._ids = reply, list[str]()

    def add_request(self, request_id: str, prompt: object, params: object) -> None:
        self._ids.append(request_id)

    def has_unfinished_requests(self) -> bool:
        return bool(self._ids)

    def step(self) -> list[SimpleNamespace]:
        generated = SimpleNamespace(text=self._reply, finish_reason="length", token_ids=[1])
        more = {"outputs": [generated], "finished": True, "prompt_token_ids": [1]}
        return [SimpleNamespace(request_id=self._ids.pop(), **more)]


@pytest.mark.parametrize(
    ("thinks", "schema", "parser", "reply", "text"),
    [
        (True, None, False, "Answer: Paris", "<think>Answer: Paris"),
        (True, None, False, "<think>\nParis?", "<think>\nParis?"),
        (True, {}, True, 'Paris?</think>{"answer": "', '<think>Paris?</think>{"answer": "'),
        (True, {}, False, '{"answer": "Lyon"}', '{"answer": "Lyon"}'),
        (False, None, False, "Answer: Lyon", "Answer: Lyon"),
    ],
)
def test_a_text_begins_with_the_thoughts_that_its_prompt_opened(
    thinks: bool,
    schema: dict[str, object] | None,
    parser: bool,
    reply: str,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm_worker, "_sampling", lambda *_: None)
    worker = VllmModel(Thinker(reply), {"enable_thinking": thinks}, "send", parser)
    request = Request("r", "", 0, 1.0, 1.0, 9, (), messages=CHAT, schema=schema)
    assert worker.add([request]) == []
    assert [(done.id, done.text) for done in worker.step()] == [("r", text)]


def test_system_turns_are_merged_wherever_they_stand() -> None:
    user, system = {"role": "user", "content": "u"}, {"role": "system", "content": "s"}
    assert merge_system([system, user]) == ({"role": "user", "content": "s\n\nu"},)
    assert merge_system([user]) == (user,)
    assert merge_system([system]) == ({"role": "user", "content": "s"},)


def test_a_stopped_worker_is_named_and_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for vLLM that stops itself before it is ready."""
    monkeypatch.setattr(vllm, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(vllm, "_STOPPED_SECONDS", 0.5)
    monkeypatch.setattr(vllm_process, "_END_SECONDS", 0.2)
    stops = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
    monkeypatch.setattr(vllm_process, "_command", lambda writer: [sys.executable, "-c", stops])
    (tmp_path / "config.json").write_text("{}")
    engine = open_engine(vllm_section(str(tmp_path)), str(tmp_path), tmp_path / "engine.log", 0)
    with pytest.raises(EngineError, match=r"process \d+ was stopped for 0\.5 s"), engine:
        pass
    assert "is stopped (SIGSTOP): continue it with `kill -CONT" in capfd.readouterr().err


def test_a_worker_that_ends_while_its_children_hold_the_pipe_is_a_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(vllm_process, "_END_SECONDS", 0.2)
    forks = "import os, time; os.fork() or time.sleep(30); os._exit(3)"
    monkeypatch.setattr(vllm_process, "_command", lambda writer: [sys.executable, "-c", forks])
    (tmp_path / "config.json").write_text("{}")
    section = vllm_section(str(tmp_path), max_model_len=64)
    engine = vllm.VllmEngine(section, str(tmp_path), tmp_path / "engine.log", 0, "filter.x.teacher")
    begin = time.monotonic()
    with pytest.raises(EngineError, match=r"vLLM exited with 3(.|\n)*filter\.x\.teacher"), engine:
        pass
    assert time.monotonic() - begin < 25


def test_a_worker_that_cannot_be_started_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refuse)
    monkeypatch.setattr(vllm_process, "_command", lambda writer: ["sleep", "30"])
    (tmp_path / "config.json").write_text("{}")
    engine = open_engine(vllm_section(str(tmp_path)), str(tmp_path), tmp_path / "engine.log", 0)
    with pytest.raises(EngineError, match=r"could not be started: can't start new thread"), engine:
        pass


def test_a_bad_model_folder_is_refused_before_vllm_starts(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with (
            pytest.raises(EngineError, match=r"correct generate\.teacher\.model"),
            open_engine(vllm_section(str(folder)), str(folder), tmp_path / "engine.log", 0),
        ):
            pass
    assert not (tmp_path / "engine.log").exists()


def test_the_worker_dies_with_its_parent() -> None:
    worker = (
        "import sys; sys.argv = ['w', '1']; from tsqa.teachers import vllm_worker as w; w.main()"
    )
    parent = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen([sys.executable, '-c', {worker!r}], stdin=subprocess.PIPE)\n"
        "print(p.pid, flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    time.sleep(1.5)
    assert child.is_running()
    process.kill()
    process.wait()
    gone, _ = psutil.wait_procs([child], timeout=60)
    assert gone or child.status() == psutil.STATUS_ZOMBIE


def test_likely_fixes_name_the_limits_of_the_process() -> None:
    opened = ["OSError: [Errno 24] Too many open files: '/models/m/config.json'"]
    assert "ulimit -n" in likely_fix(opened, 1)
    assert "ulimit -v" in likely_fix(["ImportError: lib.so: failed to map segment from it"], 1)
    assert "ulimit -u" in likely_fix(["RuntimeError: can't start new thread"], 1)


def test_likely_fixes_name_recipe_keys() -> None:
    assert "kv_cache_gib" in likely_fix(["ValueError: No available memory for the cache blocks"], 1)
    assert "kv_cache_gib" in likely_fix(["nothing special"], -9)
    assert "max_model_len" in likely_fix(
        ["the user-specified x is greater than the derived max_model_len"], 1
    )


def test_replicas_get_gpus_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for visible, expected in ((["4", "5", "6", "7", "8"], ["4,5", "6,7"]), ([], [None, None])):
        monkeypatch.setattr(process, "_visible_gpus", lambda visible=visible: visible)
        shares = process.share_gpus(2, 2, "teacher.replicas")
        assert [share.get("CUDA_VISIBLE_DEVICES") for share in shares] == expected
    monkeypatch.setattr(process, "_visible_gpus", lambda: ["0", "1", "2"])
    with pytest.raises(EngineError, match=r"need 4 GPUs; 3 are visible\n  fix: lower teacher"):
        process.share_gpus(2, 2, "teacher.replicas")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, False),
        ({"tokenizer_config.json": "{}"}, False),
        ({"tokenizer_config.json": '{"chat_template": "{{ messages }}"}'}, True),
        ({"chat_template.jinja": "{{ messages }}", "tokenizer_config.json": "{}"}, True),
        ({"chat_template.json": "{}"}, True),
        ({"tokenizer_config.json": '{"chat_template": [{"name": "rag", "template": "x"}]}'}, True),
    ],
)
def test_the_form_follows_the_chat_template(
    tmp_path: Path, files: dict[str, str], expected: bool
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    model = str(tmp_path)
    assert has_chat_template(vllm_section(model), model) is expected
    assert resolve_form(vllm_section(model), model) == ("chat" if expected else "completion")
    assert resolve_form(vllm_section(model, form="completion"), model) == "completion"
    for changes in ({"form": "chat"}, {"structured": True}):
        if expected:
            assert resolve_form(vllm_section(model, **changes), model) == "chat"
            continue
        with pytest.raises(RecipeError, match="needs a chat template"):
            resolve_form(vllm_section(model, **changes), model)


@pytest.mark.parametrize(
    ("template", "changes", "expected"),
    [
        ("<|im_start|>{{ m.content }}", {}, True),
        ("<|im_start|>{{ m.content }}", {"structured": False}, False),
        ("{% if enable_thinking %}<think>{% endif %}", {}, False),
        ("<|start|>assistant<|channel|>final", {}, False),
        ("[THINK]{{ m.content }}[/THINK]", {}, False),
        ("{{ m.reasoning_content }}", {}, False),
        ("<think>", {"engine_args": {"reasoning_parser": "qwen3"}}, True),
        ("<think>", {"structured": True}, True),
    ],
)
def test_a_schema_binds_by_default_where_it_cuts_off_no_thoughts(
    tmp_path: Path, template: str, changes: dict[str, object], expected: bool
) -> None:
    several = [{"name": "default", "template": "x"}, {"name": "tools", "template": template}]
    for name, found in (("chat_template.jinja", template), ("tokenizer_config.json", several)):
        folder = tmp_path / name
        folder.mkdir()
        config = found if isinstance(found, str) else json.dumps({"chat_template": found})
        (folder / name).write_text(config, encoding="utf-8")
        assert resolve_schema(vllm_section(str(folder), **changes), str(folder)) is expected


def test_an_endpoint_gets_a_schema_where_the_recipe_says_so() -> None:
    values = {"engine": "openai", "model": ModelSection(path="m"), "urls": ["http://x/v1"]}
    for structured, expected in ((None, False), (True, True)):
        section = TeacherSection.model_validate({**values, "structured": structured})
        assert resolve_schema(section, "m") is expected


def test_an_endpoint_is_asked_by_chat_unless_the_recipe_says_otherwise() -> None:
    values = {"engine": "openai", "model": ModelSection(path="m"), "urls": ["http://x/v1"]}
    assert resolve_form(TeacherSection.model_validate(values), "m") == "chat"
    values["form"] = "completion"
    assert resolve_form(TeacherSection.model_validate(values), "m") == "completion"


def test_a_model_without_a_tokenizer_is_a_recipe_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no such model\nand more")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", refuse)
    with pytest.raises(RecipeError, match=r"teacher\.model\.path: owner/model: .*such model\n"):
        resolve_form(vllm_section("owner/model"), "owner/model")


def test_a_model_of_the_hub_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    loaded: list[str] = []

    def load(model: str, **_: object) -> SimpleNamespace:
        loaded.append(model)
        return SimpleNamespace(chat_template="<|im_start|>{{ m.content }}")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", load)
    section = vllm_section("owner/loaded-once")
    assert resolve_form(section, "owner/loaded-once") == "chat"
    assert resolve_schema(section, "owner/loaded-once")
    assert loaded == ["owner/loaded-once"]
