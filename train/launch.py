"""One machine's part of a training job: `accelerate launch` that ends well on SIGTERM.

    python -m train.launch --config_file CONFIG ... -m train RECIPE [KEY=VALUE]...

Takes the arguments of `accelerate launch`. Guarantees: SIGTERM reaches the ranks, which save,
however long that takes (torchrun kills them after 30 s), also where it comes before they begin; the
exit code is 75 where they saved, and 143 where it ended them before they had anything to; the
environment, with its keys, is never written to a file; with `--max_restarts` the ranks begin again
where one dies, from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from threading import Thread

import psutil

from tsqa.errors import PREEMPTED, TERMINATED
from tsqa.store.process import name_parent

_asked: list[int] = []
"""The signals that asked this process to end."""
_LOOK_SECONDS = 0.2


def main() -> int:
    """Run the job; return 0, or 75 or 143 where SIGTERM ended it. What fails is raised."""
    # torchrun would end the ranks by itself on SIGTERM, and hide their exit code.
    os.environ["PET_SIGNALS_TO_HANDLE"] = "SIGINT,SIGHUP,SIGQUIT"
    os.environ |= name_parent()
    signal.signal(signal.SIGTERM, _pass_on)

    from accelerate.commands.launch import launch_command, launch_command_parser

    # With any other launcher accelerate writes all environment variables to ./.deepspeed_env.
    standard = ["--deepspeed_multinode_launcher", "standard"]
    arguments = launch_command_parser().parse_args([*standard, *sys.argv[1:]])
    arguments.deepspeed_multinode_launcher = "standard"
    if arguments.max_restarts:
        # Any other store than rank 0's own outlives a restart, with the addresses of dead ranks.
        arguments.rdzv_backend = "c10d"
        os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    try:
        launch_command(arguments)
    except Exception as error:
        failures = getattr(error, "failures", {})  # of torch's ChildFailedError
        code = _code_of({failure.exitcode for failure in failures.values()})
        if code is None:
            raise
        return code
    return 0


def _code_of(codes: set[int]) -> int | None:
    """Of a job with ranks that ended so; None where one failed.

    Not 75 where none saved: on Slurm another machine's failure sends SIGTERM too, and a job that
    fails as it starts would be queued again for ever.
    """
    fine = {PREEMPTED, -signal.SIGTERM} if _asked else {PREEMPTED}
    if not codes or not fine.issuperset(codes):
        return None
    return PREEMPTED if PREEMPTED in codes else TERMINATED


def _pass_on(number: int, _: object) -> None:
    _asked.append(number)
    if not _signal_ranks(number):  # they have not begun, or have ended
        Thread(target=_signal_first, args=(number,), daemon=True).start()


def _signal_first(number: int) -> None:
    """Signal the ranks as soon as there are any."""
    while not _signal_ranks(number):
        time.sleep(_LOOK_SECONDS)


def _signal_ranks(number: int) -> bool:
    """Whether there are any."""
    found = False
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "RANK" in child.environ():
                child.send_signal(number)
                found = True
    return found


if __name__ == "__main__":
    sys.exit(main())
