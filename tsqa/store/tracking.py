"""One tracked run per stage; its failure never stops a stage, and manifests hold what it gets.

Guarantees: W&B is online when logged in, offline otherwise, disabled on request; a run id is a pure
function of the artifact, so that a resumed stage continues its own run; a server that cannot be
reached is waited for once, then the rest of the run is tracked offline, for `wandb sync`.
"""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tsqa.recipe import TrackingSection
from tsqa.secrets import redact
from tsqa.trackers import Interval, Sink, TrackedRun
from tsqa.trackers.trackio_sink import TrackioSink, check_installed
from tsqa.trackers.wandb_sink import WandbSink, forget_service, logged_in

logger = logging.getLogger("tsqa.store.tracking")

OFFLINE = "TSQA_WANDB_OFFLINE"
"""Environment: set once the server could not be reached, for this process and its children."""


class Tracker:
    """Logs one stage. Every method is safe to call whatever state the service is in."""

    def __init__(self, section: TrackingSection, run: TrackedRun | None, directory: Path) -> None:
        """`run`: None logs nothing."""
        self._sink: Sink | None = None
        self._section = section
        self._directory = directory
        mode = resolve_mode(section.mode)
        if run is None or mode == "disabled":
            return
        self._id = run.id
        if section.backend == "trackio":
            check_installed()
        try:
            if section.backend == "trackio":
                self._sink = TrackioSink(run, project=section.project, directory=directory)
            else:
                self._sink = self._open_wandb(run, mode)
        except Exception as error:  # noqa: BLE001 - tracking must never stop a run
            logger.warning("%s is off for this stage: %s", section.service, redact(str(error)))

    @classmethod
    def silent(cls) -> Tracker:
        """A tracker that logs nothing: for all ranks but the first."""
        return cls(TrackingSection(mode="disabled"), None, Path())

    @property
    def is_on(self) -> bool:
        return self._sink is not None

    def log(self, metrics: Mapping[str, object]) -> None:
        """Log scalars; put `train/tokens` among them for the x-axis of training curves."""
        self._try(lambda sink: sink.log(metrics))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        self._try(lambda sink: sink.table(name, columns, rows))

    def plot(self, name: str, figure: Mapping[str, object]) -> None:
        """Log a plotly figure from its JSON."""
        self._try(lambda sink: sink.plot(name, figure))

    def intervals(self, name: str, rows: Sequence[Interval]) -> None:
        """Log changes with their intervals as a chart."""
        self._try(lambda sink: sink.intervals(name, rows))

    def page(self, name: str, path: Path) -> None:
        """Log a self-contained HTML page."""
        self._try(lambda sink: sink.page(name, path))

    def summary(self, values: Mapping[str, object]) -> None:
        self._try(lambda sink: sink.summary(values))

    def artifact(self, path: Path, kind: str, fingerprint: str, inputs: Mapping[str, str]) -> None:
        """Log an artifact by reference: its manifest travels, its data stays where it is."""
        self._try(lambda sink: sink.artifact(path, kind, fingerprint, inputs))

    def finish(self, failed: bool = False) -> None:
        sink, self._sink = self._sink, None
        if sink is None:
            return
        try:
            sink.finish(failed)
        except Exception as error:  # noqa: BLE001 - tracking must never stop a run
            lost = f"{self._section.service} did not take the last of {self._id} ({error})"
            if self._section.backend == "wandb":
                # Without the option W&B passes over runs that began online.
                self._go_offline(lost, f"--include-online {self._folder}/*run-*-{self._id}")
            else:
                logger.warning("%s", lost)

    def _open_wandb(self, run: TrackedRun, mode: str) -> WandbSink:
        def start(mode: str) -> WandbSink:
            return WandbSink(
                run,
                project=self._section.project,
                entity=self._section.entity,
                directory=self._directory,
                mode=mode,
            )

        if mode == "online":
            try:
                return start("online")
            except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on
                forget_service()  # it holds the id of the run that it could not start
                self._go_offline(f"W&B cannot be reached ({redact(str(error))})")
                mode = "offline"
        try:
            return start(mode)
        except Exception:  # noqa: BLE001 - W&B's own process may have died; a new one may live
            forget_service()
            return start(mode)

    @property
    def _folder(self) -> str:
        """Of W&B's runs, for a shell."""
        return shlex.quote(str(self._directory / "wandb"))

    def _go_offline(self, reason: str, *also: str) -> None:
        """`also`: the arguments of a second `wandb sync`."""
        os.environ[OFFLINE] = "1"
        commands = [f"`wandb sync {which}`" for which in (self._folder, *also)]
        logger.warning(
            "%s: from here on this run is tracked offline; nothing is lost, send it later with %s",
            reason,
            " and ".join(commands),
        )

    def _try(self, action: Callable[[Sink], None]) -> None:
        if self._sink is None:
            return
        try:
            action(self._sink)
        except Exception as error:  # noqa: BLE001 - tracking must never stop a run
            logger.warning("%s call failed, carrying on: %s", self._section.service, error)


def resolve_mode(mode: str) -> str:
    """`auto` is online when W&B has a key, offline otherwise; WANDB_MODE wins over `auto`."""
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")
    return "offline" if mode == "online" and os.environ.get(OFFLINE) else mode
