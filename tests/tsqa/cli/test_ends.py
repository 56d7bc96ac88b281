"""The command line's ends: what it says and returns when something goes wrong or stops it."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.support.paths import REPOSITORY
from tests.support.recipe_files import BASE, write
from tsqa.cli import app as cli
from tsqa.errors import PreemptedError, TsqaError, os_error_cause
from tsqa.outputs import check_outputs

AGAIN = "run the same command again to continue"


def run_main(
    monkeypatch: pytest.MonkeyPatch, body: Callable[..., Any], *arguments: str
) -> int | str | None:
    """The exit code of `tsqa` where the command `doctor` is `body`."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("doctor")(body)
    app.command("other")(lambda: None)
    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(sys, "argv", ["tsqa", "doctor", *arguments])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        signal.signal(signal.SIGTERM, before)
    return ended.value.code


def raiser(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def test_control_c_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, raiser(KeyboardInterrupt())) == 130
    assert f"interrupted; {AGAIN}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "code",
    [
        *(errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EEXIST),
        *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE),
        *(errno.ENOMEM, errno.EIO, errno.EDQUOT, errno.ELOOP, errno.EADDRINUSE, errno.EAGAIN),
    ],
)
def test_a_system_error_names_its_cause_and_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    error = OSError(code, os.strerror(code), "/some/file")
    assert run_main(monkeypatch, raiser(error)) == 1
    told = capsys.readouterr().err
    cause, fix = os_error_cause(error)
    assert cause in told and fix in told and "/some/file" in told and "Traceback" not in told
    assert ("free some" in fix) == (code in (errno.ENOSPC, errno.EDQUOT))


def test_an_unknown_system_error_is_told_as_it_is() -> None:
    assert os_error_cause(OSError("odd")) == ("odd", "")
    assert os_error_cause(OSError(errno.EDOM, "Domain error")) == ("Domain error", "")
    assert os_error_cause(OSError()) == ("OSError", "")


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), RecursionError("deep"), ValueError("\ud800 \x1b[31m"), MemoryError()],
    ids=str,
)
def test_a_bug_is_called_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    assert run_main(monkeypatch, raiser(error)) == 1
    told = capsys.readouterr().err
    assert type(error).__name__ in told and "--debug" in told and "Traceback" not in told
    assert "\x1b[31m" not in told.replace("\x1b[31merror", "")
    assert run_main(monkeypatch, raiser(error), "--debug") == 1
    assert "Traceback" in capsys.readouterr().err


def test_sigterm_is_told_and_ends_the_process() -> None:
    script = (
        "import os, signal, sys\nfrom tsqa.cli import app as cli\n"
        "cli._command = lambda app: lambda arguments: os.kill(os.getpid(), signal.SIGTERM)\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    assert done.returncode == -signal.SIGTERM
    assert AGAIN in done.stderr and "Traceback" not in done.stderr


def test_a_secret_of_the_environment_is_in_no_output(tmp_path: Path) -> None:
    secret = "planted-4a1f-secret"
    text = BASE + "tracking: {project: '${oc.env:SECRET}', mode: disabled}\n"
    environment = {**os.environ, "SECRET": secret, "OPENAI_API_KEY": secret, "HF_TOKEN": secret}
    for command in (["validate"], ["run", "--dry-run"], ["ablate", "--debug"], ["report"]):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tsqa.cli.app", command[0], str(write(tmp_path, text))),
                *(*command[1:], f"runs={tmp_path / 'runs'}"),
            ],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2 and secret not in done.stdout + done.stderr
    assert not (tmp_path / "runs").exists()


def test_an_output_is_not_replaced_unasked(tmp_path: Path) -> None:
    recipe = write(tmp_path, BASE)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    for path in (recipe, tmp_path, tmp_path / "none" / "x.csv", link, Path("a\0b")):
        with pytest.raises(TsqaError):
            check_outputs([None, path], force=False)
    with pytest.raises(TsqaError, match="named twice"):
        check_outputs([tmp_path / "new", tmp_path / "." / "new"], force=False)
    check_outputs([tmp_path / "new", None, tmp_path / "other"], force=False)
    check_outputs([recipe], force=True)


@pytest.mark.parametrize(
    "arguments",
    [
        *(["export", "RECIPE", "RECIPE"], ["ablate", "RECIPE", "--write-sweep", "RECIPE"]),
        *(["compare", "RECIPE", f"--{name}", "RECIPE"] for name in ("csv", "md", "json")),
    ],
    ids=lambda given: " ".join(given[:3]),
)
def test_no_command_replaces_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    recipe = write(tmp_path, BASE)
    given = [str(recipe) if word == "RECIPE" else word for word in arguments]
    monkeypatch.setattr(sys, "argv", ["tsqa", *given])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2 and recipe.read_text() == BASE


@pytest.mark.parametrize(
    "arguments",
    [
        *(["init", "nope"], ["init", "smoke", "."], ["verify", "nope"], ["gc", "nope"]),
        *(["view", "nope"], ["diff", "v1", "v2"], ["verify-export", "nope"]),
        *(["report", "r.yaml", "--no-rejected"], ["push", "r.yaml", "me/data"]),
    ],
    ids=" ".join,
)
def test_what_a_command_cannot_take_is_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tsqa", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.startswith("error: ") and "fix: " in said


@pytest.mark.parametrize("asked", ["schema", "--help"])
def test_a_reader_that_leaves_is_no_error_of_the_command(asked: str) -> None:
    command = [sys.executable, "-m", "tsqa.cli.app", asked]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_connection_that_breaks_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, raiser(BrokenPipeError(errno.EPIPE, "Broken pipe"))) == 1
    assert "error: Broken pipe" in capsys.readouterr().err


@pytest.mark.parametrize("confidence", ["0", "1", "nan", "inf", "0.5", "-1", "95"])
def test_a_confidence_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, confidence: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["tsqa", "compare", "x", "--confidence", confidence])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("options", "terminal", "answer", "private"),
    [
        (["--private"], False, "", True),
        (["--public"], False, "", False),
        ([], False, "", None),
        ([], True, "y\n", True),
        ([], True, "n\n", None),
        ([], True, "\n", None),
    ],
)
def test_a_push_is_private_or_asked_for(
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    terminal: bool,
    answer: str,
    private: bool | None,
) -> None:
    pushed: list[bool] = []

    def push(folder: Path, repo: str, private: bool, audit: None) -> str:
        pushed.append(private)
        return "url"

    stdin = io.StringIO(answer)
    stdin.isatty = lambda: terminal  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr("tsqa.curated.push.push", push)
    monkeypatch.setattr(
        "tsqa.cli.dataset.released_folder", lambda recipe, overrides, version: Path("folder")
    )
    named = ["r.yaml", "me/data", "--release", "v1"]
    monkeypatch.setattr(sys, "argv", ["tsqa", "push", *named, *options])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert pushed == ([] if private is None else [private])
    assert bool(ended.value.code) == (private is None)


@pytest.mark.parametrize("damage", ["{", "null", "[]", "\xff", "", json.dumps({"name": 5})])
def test_a_damaged_recipe_is_exit_code_2_for_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(damage.encode("latin-1"))
    for command in ("validate", "run", "ablate", "report", "inspect", "generate", "tokenize"):
        monkeypatch.setattr(sys, "argv", ["tsqa", command, str(path)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2


def test_a_training_that_was_asked_to_end_ends_with_its_own_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, raiser(PreemptedError("saved", "run it again"))) == 75
    assert capsys.readouterr().err == "saved\n  fix: run it again\n"


@pytest.mark.parametrize("argument", ["s3://bucket/runs", "--out=gs://bucket/x", "s3:/bucket"])
def test_an_address_is_no_path(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argument: str
) -> None:
    assert run_main(monkeypatch, lambda: None, argument) == 2
    said = capsys.readouterr().err
    assert argument.removeprefix("--out=") in said
    assert "an address, where a path of this machine is taken" in said
