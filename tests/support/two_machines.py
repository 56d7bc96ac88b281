"""Two machines on this one: network namespaces joined by a veth, each with its own mounts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import REPOSITORY
from tests.support.train_runs import ENVIRONMENT
from tsqa.shipped import MULTI_CONFIG

_PORT = 29500


@dataclass(frozen=True)
class Machine:
    """A network namespace and its address."""

    number: int
    namespace: str
    address: str
    first: str
    """Address of machine 0."""

    def start(
        self,
        arguments: Sequence[str],
        log: Path,
        hidden: Path | None = None,
        own: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Its part of a training job; the folder `hidden` is another one there: `own`, or empty."""
        command = [
            *(sys.executable, "-m", "train.launch", "--config_file", str(MULTI_CONFIG)),
            *("--num_machines", "2", "--num_processes", "2", "--machine_rank", str(self.number)),
            *("--main_process_ip", self.first, "--main_process_port", str(_PORT)),
            *("-m", "train", *arguments),
        ]
        if hidden is not None:
            other = own or Path(tempfile.mkdtemp(dir=log.parent))
            script = f'mount --bind {other} {hidden} && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
        with log.open("wb") as out:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, *command],
                cwd=REPOSITORY,
                env=ENVIRONMENT,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def can_make_machines() -> bool:
    return os.geteuid() == 0 and shutil.which("ip") is not None


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """Machines 0 and 1, which reach each other and nothing else."""
    names = [f"tsqa{os.getpid()}{side}" for side in "ab"]
    addresses = ["10.77.0.1", "10.77.0.2"]
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip("link", "add", "veth0", "netns", names[0], "type", "veth",
            "peer", "name", "veth0", "netns", names[1])  # fmt: skip
        for name, address in zip(names, addresses, strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "veth0")
            for device in ("lo", "veth0"):
                _ip("-n", name, "link", "set", device, "up")
        first, second = (
            Machine(number, name, address, addresses[0])
            for number, (name, address) in enumerate(zip(names, addresses, strict=True))
        )
        yield first, second
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
