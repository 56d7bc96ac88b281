"""One machine's part of a training job: `accelerate launch` that ends well on SIGTERM.

    python -m train.launch --config_file CONFIG ... -m train RECIPE [KEY=VALUE]...

Takes the arguments of `accelerate launch`. Guarantees: SIGTERM reaches the ranks, which save,
however long that takes (torchrun kills them after 30 s); the exit code is 75 where the same command
continues; the environment, with its keys, is never written to a file.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

import psutil

from tsqa.errors import PREEMPTED

_asked: list[int] = []
"""The signals that asked this process to end."""


def main() -> int:
    """Run the job; return 0, or 75 where SIGTERM ended it. What fails is raised."""
    # torchrun would end the ranks by itself on SIGTERM, and hide their exit code.
    os.environ["PET_SIGNALS_TO_HANDLE"] = "SIGINT,SIGHUP,SIGQUIT"
    signal.signal(signal.SIGTERM, _pass_on)

    from accelerate.commands.launch import launch_command, launch_command_parser

    # With any other launcher accelerate writes all environment variables to ./.deepspeed_env.
    standard = ["--deepspeed_multinode_launcher", "standard"]
    arguments = launch_command_parser().parse_args([*standard, *sys.argv[1:]])
    arguments.deepspeed_multinode_launcher = "standard"
    try:
        launch_command(arguments)
    except Exception as error:
        failures = getattr(error, "failures", {})  # of torch's ChildFailedError
        if _is_preempted([failure.exitcode for failure in failures.values()]):
            return PREEMPTED
        raise
    return 0


def _is_preempted(codes: list[int]) -> bool:
    """Whether ranks with these exit codes saved, or were ended before they had anything to."""
    fine = {PREEMPTED, -signal.SIGTERM} if _asked else {PREEMPTED}
    return bool(codes) and fine.issuperset(codes)


def _pass_on(number: int, _: object) -> None:
    _asked.append(number)
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "RANK" in child.environ():
                child.send_signal(number)


if __name__ == "__main__":
    sys.exit(main())
