"""All ranks of a job, before and beside their process group: they start alike, or end alike.

Guarantees: what fails on one rank before the first step ends every rank, with a message that names
the machine; machines with other code, another recipe, another clock or another `runs` folder are
found before the first step; where a machine is lost in a step, the others say which.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from tsqa.errors import EngineError, TsqaError, first_line
from tsqa.store.artifact import differences
from tsqa.store.process import installed

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

_T = TypeVar("_T")
_SEE_SECONDS = 30.0
"""How long another machine's file may take to appear: file systems remember what is not there."""
_LAST_WORDS_SECONDS = 10.0
_CLOCK_SECONDS = 60.0
_FOREVER = timedelta(days=30)
_SILENT = (
    *("gloo/transport", "connection closed by peer"),
    *("distbackenderror:", "distnetworkerror:", "diststoreerror:", "disterror:"),
)
"""In the words of who misses another rank, as an error of gloo or as what `_text` makes of one."""
_PACKAGES = ("torch", "deepspeed", "accelerate", "transformers")
"""Those that decide how ranks talk."""


@dataclass(frozen=True)
class _Report:
    """What a rank says at a step: where it is, and what is wrong there, if anything."""

    place: str
    problem: str = ""


class Ranks:
    """The ranks of this job. They talk through the store of the launcher, not a process group."""

    def __init__(
        self,
        rank: int,
        world: int,
        store: Store | None,
        place: str = "",
        patience: float = 600.0,
    ) -> None:
        """`patience`: seconds that rank 0 waits for each other one at each step of the start."""
        self.rank, self.world, self._store, self._patience = rank, world, store, patience
        self.place = place or f"rank {rank} ({socket.gethostname()})"
        self._places = [self.place] * world
        self._clock_error = 0.0

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def agree(self, step: str, make: Callable[[], _T]) -> _T:
        """Run `make` on every rank; where it fails on one, all of them end with its error."""
        if self._store is None:
            return make()
        try:
            made = make()
        except Exception as error:
            self._exchange(step, _Report(self.place, _text(error)))
            raise
        for report in self._exchange(step, _Report(self.place)):
            if report.problem:
                raise EngineError(_placed(report.place, report.problem))
        return made

    def from_first(self, step: str, make: Callable[[], str]) -> str:
        """Run `make` on rank 0; all get what it returned, or end with its error."""
        if self._store is None:
            return make()
        if not self.is_first:
            made, problem = json.loads(self._read(f"{step}/first"))
            if problem:
                raise EngineError(_placed(self._places[0], problem))
            return str(made)
        try:
            made = make()
        except Exception as error:
            self._write(f"{step}/first", json.dumps(["", _text(error)]))
            raise
        self._write(f"{step}/first", json.dumps([made, ""]))
        return made

    def check_alike(self, recipe: Mapping[str, object]) -> None:
        """Refuse machines with other code, packages, settings or clocks than machine 0."""
        self.check_same(
            "settings", {**installed(_PACKAGES), "processes": self.world, "recipe": recipe}
        )
        self.agree("clocks", self._check_clock)

    def check_same(self, step: str, here: Mapping[str, object]) -> None:
        """Refuse ranks for which this is something else than for rank 0."""
        there = json.loads(self.from_first(f"{step} there", lambda: json.dumps(here)))
        self.agree(step, lambda: self._compare(there, json.loads(json.dumps(here))))

    def check_folder(self, folder: Path) -> None:
        """Refuse a machine that does not see what rank 0 writes into this folder."""
        if self._store is None:
            return
        nonce = secrets.token_hex(8)
        written = folder / f".seen-{nonce}"

        def write() -> str:
            folder.mkdir(parents=True, exist_ok=True)
            written.write_text(nonce, encoding="utf-8")
            return json.dumps([str(folder.resolve()), nonce])

        try:
            there, nonce = json.loads(self.from_first("folder", write))
            self.agree("seen", lambda: self._look_for(folder, there, nonce))
        finally:
            if self.is_first:
                with suppress(OSError):  # what the write says counts
                    written.unlink()

    def say_last(self, error: BaseException) -> None:
        """Leave word of why this rank ends, for those that will miss it."""
        if self._store is not None:
            try:
                self._write(f"end/{self.rank}", _text(error))
            except RuntimeError:  # the store went with machine 0
                return

    def explain(self, error: RuntimeError) -> NoReturn:
        """Raise what ended another rank, where all that is wrong here is its silence."""
        self.say_last(error)
        if self._store is None or not _is_silence(error):
            raise error
        lost, reasons = self._missing()
        if reasons:
            raise EngineError(reasons[0]) from error
        if lost:
            raise EngineError(
                f"lost in a step: {', '.join(lost)}: its processes ended or are not reached "
                f"({first_line(error)})",
                "see the log there; the same command continues from the last checkpoint",
            ) from error
        raise error

    def _missing(self) -> tuple[list[str], list[str]]:
        """Where ranks left no word, and the words of those that failed by themselves."""
        deadline = time.monotonic() + _LAST_WORDS_SECONDS
        lost: list[str] = []
        reasons: list[str] = []
        for rank, place in enumerate(self._places):
            left = max(0.1, deadline - time.monotonic())
            try:
                word = self._read(f"end/{rank}", left)
            except TsqaError:
                return [*dict.fromkeys([*lost, self._places[0]])], reasons
            except TimeoutError:
                lost.append(place)
                continue
            if not _is_silence(word):
                reasons.append(_placed(place, word))
        return [*dict.fromkeys(lost)], reasons

    def _compare(self, there: Mapping[str, object], here: Mapping[str, object]) -> None:
        found = differences(there, here)
        if found:
            listed = "; ".join(f"{d.key}: {d.before!r} there, {d.after!r} here" for d in found[:5])
            raise EngineError(
                f"{self.place} differs from {self._places[0]}: {listed}",
                "install the same everywhere, and start every machine with the same command",
            )

    def _check_clock(self) -> None:
        if abs(self._clock_error) > _CLOCK_SECONDS:
            raise EngineError(
                f"the clock of {self.place} is {self._clock_error:+.0f} s off that of "
                f"{self._places[0]}",
                "set the clocks of the machines (chrony, ntpd)",
            )

    def _look_for(self, folder: Path, there: str, nonce: str) -> None:
        path, deadline = folder / f".seen-{nonce}", time.monotonic() + _SEE_SECONDS
        while True:
            try:
                if path.read_text(encoding="utf-8") == nonce:
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise EngineError(
                    f"{self.place} does not see in {folder.resolve()} what {self._places[0]} "
                    f"writes into {there}",
                    "mount one shared folder on all machines, and name it with runs=FOLDER",
                )
            time.sleep(0.2)

    def _exchange(self, step: str, mine: _Report) -> list[_Report]:
        """Tell rank 0, which waits for all, and read what all said."""
        if self.is_first:
            said = [mine, *(self._wait_for(step, rank) for rank in range(1, self.world))]
            clock = time.time()
            self._write(f"{step}/all", json.dumps([clock, [asdict(report) for report in said]]))
        else:
            self._write(f"{step}/{self.rank}", json.dumps(asdict(mine)))
            clock, listed = json.loads(self._read(f"{step}/all"))
            self._clock_error = time.time() - clock
            said = [_Report(**report) for report in listed]
        self._places = [report.place for report in said]
        return said

    def _wait_for(self, step: str, rank: int) -> _Report:
        try:
            return _Report(**json.loads(self._read(f"{step}/{rank}", self._patience)))
        except TimeoutError:
            known = self._places[rank] if self._places[rank] != self.place else f"rank {rank}"
            return _Report(
                known, f"did not answer within {self._patience:g} s\n  fix: see the log there"
            )

    def _write(self, key: str, text: str) -> None:
        assert self._store is not None
        self._store.set(f"tsqa/{key}", text)

    def _read(self, key: str, seconds: float | None = None) -> str:
        """Wait for a key; TimeoutError after `seconds`, TsqaError where the store is gone."""
        from torch.distributed import DistNetworkError, DistStoreError

        assert self._store is not None
        limit = _FOREVER if seconds is None else timedelta(seconds=seconds)
        try:
            self._store.wait([f"tsqa/{key}"], limit)
            return self._store.get(f"tsqa/{key}").decode()
        except DistNetworkError as error:
            raise EngineError(
                f"lost {self._places[0] if self._places[0] != self.place else 'machine 0'}, which "
                f"keeps the ranks together: {first_line(error)}",
                "see the log there; the same command continues",
            ) from error
        except DistStoreError as error:
            raise TimeoutError(key) from error


def join_ranks() -> Ranks:
    """The ranks of the job that the environment describes; without a launcher, this one alone."""
    if "RANK" not in os.environ or os.environ.get("WORLD_SIZE") == "1":
        return Ranks(0, 1, None)
    from torch.distributed.rendezvous import rendezvous

    store, rank, world = next(rendezvous("env://", timeout=_FOREVER))
    machine = os.environ.get("GROUP_RANK")
    host = socket.gethostname()
    several = world != int(os.environ.get("LOCAL_WORLD_SIZE", world))
    if several and (interface := interface_towards(os.environ["MASTER_ADDR"])):
        # gloo takes the one of the host's name, often the loopback: one machine fails, others wait.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    place = f"machine {machine} ({host}), rank {rank}" if machine and several else ""
    return Ranks(rank, world, store, place)


def interface_towards(host: str) -> str | None:
    """The network interface by which this machine reaches a host."""
    import psutil

    try:
        kind, _, _, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # sends nothing
            own = probe.getsockname()[0]
    except OSError:
        return None
    for name, addresses in psutil.net_if_addrs().items():
        if any(found.address.partition("%")[0] == own for found in addresses):
            return name
    return None


def _text(error: BaseException) -> str:
    return str(error) if isinstance(error, TsqaError) else f"{type(error).__name__}: {error}"


def _placed(place: str, text: str) -> str:
    return text if place in text.partition("\n")[0] else f"{place}: {text}"


def _is_silence(error: RuntimeError | str) -> bool:
    """Whether an error only says that another rank is not there any more."""
    from torch.distributed import DistError

    if isinstance(error, DistError):
        return True
    text = str(error).lower()
    return any(word in text for word in _SILENT)
