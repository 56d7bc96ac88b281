"""`tsqa`: one command per stage, and `run` for all of them. Heavy imports are lazy."""

from __future__ import annotations

import errno
import os
import re
import select
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from tsqa import __version__
from tsqa.cli import audit, checks, dataset, experiments, models, preview, review, stages
from tsqa.cli.common import RUN_ERROR

USER_ERROR = 2
INTERRUPTED = 130
UNREAD = 141
"""Nobody reads the rest, as in `tsqa ... | head`; as shells have it, 128 + SIGPIPE."""
_DASHED_KEY = re.compile(r"--[a-z_]+(\.\w+)+(=|$)")
_TAKE_DATA = ("audit-leaks", "push", "pull")
"""Commands with an argument that may be an address."""
_AGAIN = "run the same command again to continue"


class _PipelineOrder(TyperGroup):
    """Lists `seeds`, which has commands below it, among the stages and not after all others."""

    def list_commands(self, ctx: Any) -> list[str]:
        names = [name for name in super().list_commands(ctx) if name != "seeds"]
        return ["data", "benchmarks", "seeds", *names[2:]]


app = typer.Typer(
    cls=_PipelineOrder,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
for _group in (stages, experiments, preview, dataset, review, checks, audit, models):
    _group.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tsqa {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it and end."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; allowed anywhere.")
    ] = False,
) -> None:
    """Task-seeded synthetic Q&A, continued pretraining, and deltas that can be believed.

    Example: [bold]tsqa init quickstart[/] writes the recipe, and
    [bold]tsqa run recipes/quickstart/recipe.yaml[/] runs it.

    Exit codes: 0 done, 1 failed, 2 wrong recipe or argument, 75 saved on SIGTERM,
    130 interrupted, 141 nobody read the output, 143 ended by SIGTERM with nothing to save.
    """


@cache
def _command(of: typer.Typer) -> Callable[[list[str]], object]:
    """All commands of an app, built once; calling the app builds them at each call."""
    return typer.main.get_command(of)


def main() -> None:
    """Run the app; what goes wrong is a message and an exit code, not a traceback."""
    from tsqa.errors import (
        PREEMPTED,
        PreemptedError,
        RecipeError,
        TsqaError,
        UsageError,
        os_error_cause,
    )

    debug = "--debug" in sys.argv
    outputs = _kept_outputs()
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    signal.signal(signal.SIGTERM, _end)
    if dashed := next(filter(_DASHED_KEY.match, arguments), None):
        fix = f"drop the dashes: {dashed.lstrip('-')}"
        _say(f"error: {dashed}: a key of the recipe is no option\n  fix: {fix}", fg="red")
        sys.exit(USER_ERROR)
    _refuse_addresses(arguments)
    try:
        _command(app)(arguments)
    except SystemExit as end:  # of typer, which ends so on Ctrl-C, and where nobody reads on
        if end.code == INTERRUPTED:
            _say(f"interrupted; {_AGAIN}")
        broken = end.__context__
        if isinstance(broken, OSError) and broken.errno == errno.EPIPE:
            if any(map(_is_unread, outputs)):
                sys.exit(UNREAD)
            _fail(f"error: {os_error_cause(broken)[0]}\n  fix: {_AGAIN}", debug)
        raise
    except KeyboardInterrupt:
        _say(f"interrupted; {_AGAIN}")
        sys.exit(INTERRUPTED)
    except PreemptedError as error:
        _say(str(error))
        sys.exit(PREEMPTED)
    except TsqaError as error:
        kind = "recipe error" if isinstance(error, RecipeError) else "error"
        _fail(f"{kind}: {error}", debug, isinstance(error, (RecipeError, UsageError)))
    except OSError as error:
        cause, fix = os_error_cause(error)
        _fail(f"error: {cause}\n  fix: {fix + '; then ' if fix else ''}{_AGAIN}", debug)
    except Exception as error:  # noqa: BLE001 - the last resort
        message = f"error: {type(error).__name__}: {error}"
        _fail(f"{message}\n  fix: this is a bug in tsqa; --debug shows the traceback", debug)


def _refuse_addresses(arguments: list[str]) -> None:
    """End where an argument, or the value of an option, is `s3://bucket` and no data is taken."""
    if not any(":/" in argument for argument in arguments):
        return
    from tsqa.names import data_problem, path_problem

    takes_data = next((one for one in arguments if one[:1] != "-"), "") in _TAKE_DATA
    for argument in arguments:
        is_option = argument.startswith("--")
        given = argument.partition("=")[2] if is_option else argument
        find = data_problem if takes_data and not is_option else path_problem
        if problem := find(given):
            _say(f"error: {given}: {problem}", fg="red")
            sys.exit(USER_ERROR)


def _kept_outputs() -> list[int]:
    """Descriptors of stdout and stderr that stay: rich replaces one that nobody reads."""
    kept = []
    for descriptor in (1, 2):
        with suppress(OSError):  # closed from the beginning
            kept.append(os.dup(descriptor))
    return kept


def _is_unread(descriptor: int) -> bool:
    """Whether a descriptor is a pipe that nobody reads."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _fail(message: str, debug: bool, is_users: bool = False) -> NoReturn:
    """Show what went wrong, and end with the exit code of its kind."""
    _say(traceback.format_exc() if debug else message, fg="red")
    sys.exit(USER_ERROR if is_users else RUN_ERROR)


def _say(text: str, fg: str | None = None) -> None:
    from tsqa.printable import printable
    from tsqa.secrets import redact

    typer.secho(printable(redact(text)), fg=fg, err=True)


def _end(number: int, frame: object) -> None:
    """On SIGTERM: say so, then end by the signal's default action."""
    os.write(2, f"ended by signal {number}; {_AGAIN}\n".encode())
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    main()
