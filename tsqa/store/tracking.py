"""One W&B run per stage; a W&B failure never stops a run, and manifests hold what W&B gets.

Guarantees: online when logged in, offline otherwise, disabled on request; a run id is a pure
function of the artifact, so that a resumed stage continues its own run; a server that cannot be
reached is waited for once, then the rest of the run is tracked offline, for `wandb sync`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tsqa.recipe import TrackingSection
from tsqa.secrets import redact, redact_tree

if TYPE_CHECKING:
    from wandb import Run

logger = logging.getLogger("tsqa.store.tracking")

OFFLINE = "TSQA_WANDB_OFFLINE"
"""Environment: set once the server could not be reached, for this process and its children."""
_START_SECONDS = 30
_FINISH_SECONDS = 60


class Tracker:
    """Logs one stage. Every method is safe to call whatever state W&B is in."""

    def __init__(
        self,
        section: TrackingSection,
        *,
        experiment: str,
        stage: str,
        arm: str | None,
        fingerprint: str,
        config: Mapping[str, object],
        directory: Path,
    ) -> None:
        self._run: Run | None = None
        self._directory = directory
        mode = resolve_mode(section.mode)
        if mode == "disabled":
            return
        options = {
            "project": section.project,
            "entity": section.entity,
            "group": experiment,
            "job_type": stage,
            "name": f"{stage}-{arm}" if arm else stage,
            "id": f"{stage}-{fingerprint}",
            "config": redact_tree(config),
        }
        try:
            if mode == "online":
                mode = self._try_online(options)
            if mode != "online":
                self._start_offline(options, mode)
        except Exception as error:  # noqa: BLE001 - tracking must never stop a run
            logger.warning("W&B is off for this stage: %s", error)
            self._run = None

    def _try_online(self, options: Mapping[str, object]) -> str:
        """Start the run online; return the mode in which it is to be tracked."""
        try:
            self._start(options, "online")
        except Exception as error:  # noqa: BLE001 - as above
            _forget_service()  # it holds the id of the run that it could not start
            self._go_offline(f"W&B cannot be reached ({redact(str(error))})")
            return "offline"
        return "online"

    def _start_offline(self, options: Mapping[str, object], mode: str) -> None:
        try:
            self._start(options, mode)
        except Exception:  # noqa: BLE001 - W&B's own process may have died; a new one may live
            _forget_service()
            self._start(options, mode)

    def _start(self, options: Mapping[str, Any], mode: str) -> None:
        import wandb

        self._directory.mkdir(parents=True, exist_ok=True)
        with _redacted_arguments():
            self._run = wandb.init(
                **options,
                resume="allow",
                dir=str(self._directory),
                mode=cast(Any, mode),
                settings=wandb.Settings(
                    silent=True,
                    console="off",
                    init_timeout=_START_SECONDS,
                    finish_timeout=_FINISH_SECONDS,
                    finish_timeout_raises=True,
                    x_disable_stats=True,
                ),
            )
        self._run.define_metric("train/tokens")
        self._run.define_metric("*", step_metric="train/tokens")

    def _go_offline(self, reason: str) -> None:
        os.environ[OFFLINE] = "1"
        folder = self._directory / "wandb"
        logger.warning(
            "%s: from here on this run is tracked offline; nothing is lost, send it later with "
            "`wandb sync %s/*run-*`",
            reason,
            folder,
        )

    @classmethod
    def silent(cls) -> Tracker:
        """A tracker that logs nothing: for all ranks but the first."""
        return cls(
            TrackingSection(mode="disabled"),
            experiment="",
            stage="",
            arm=None,
            fingerprint="",
            config={},
            directory=Path(),
        )

    def log(self, metrics: Mapping[str, object]) -> None:
        """Log scalars; put `train/tokens` among them for the x-axis of training curves."""
        self._try(lambda run: run.log(dict(metrics)))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        def send(run: Run) -> None:
            import wandb

            run.log({name: wandb.Table(columns=list(columns), data=[list(r) for r in rows])})

        self._try(send)

    def plot(self, name: str, figure: Mapping[str, object]) -> None:
        """Log a plotly figure from its JSON."""

        def send(run: Run) -> None:
            import plotly.graph_objects
            import wandb

            run.log({name: wandb.Plotly(plotly.graph_objects.Figure(dict(figure)))})

        self._try(send)

    def page(self, name: str, path: Path) -> None:
        """Log a self-contained HTML page."""

        def send(run: Run) -> None:
            import wandb

            run.log({name: wandb.Html(path.read_text(encoding="utf-8"), inject=False)})

        self._try(send)

    def summary(self, values: Mapping[str, object]) -> None:
        self._try(lambda run: run.summary.update(dict(values)))

    def artifact(self, path: Path, kind: str, fingerprint: str, inputs: Mapping[str, str]) -> None:
        """Log an artifact by reference: its manifest travels, its data stays where it is."""

        def send(run: Run) -> None:
            import wandb

            made = wandb.Artifact(
                f"{kind}-{fingerprint}", type=kind, metadata={"inputs": dict(inputs)}
            )
            made.add_file(str(path / "manifest.json"))
            made.add_reference(path.resolve().as_uri(), name="files", checksum=False)
            run.log_artifact(made)
            if not run.settings._offline:  # use_artifact raises when offline
                for upstream, mark in inputs.items():
                    run.use_artifact(f"{upstream.split(':')[0]}-{mark}:latest")

        self._try(send)

    def finish(self, failed: bool = False) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        try:
            run.finish(exit_code=int(failed))
        except Exception as error:  # noqa: BLE001 - tracking must never stop a run
            self._go_offline(f"W&B did not take the last of {run.id} ({error})")

    def _try(self, action: Callable[[Run], None]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:  # noqa: BLE001 - tracking must never stop a run
            logger.warning("W&B call failed, carrying on: %s", error)


@contextmanager
def _redacted_arguments() -> Iterator[None]:
    """W&B keeps the command line, and an override may hold a login."""
    original = sys.argv
    sys.argv = [redact(argument) for argument in original]
    try:
        yield
    finally:
        sys.argv = original


def _forget_service() -> None:
    """End W&B's own process, so that the next run starts another; a dead one cannot be ended."""
    import wandb

    with contextlib.suppress(Exception):
        wandb.teardown()


def resolve_mode(mode: str) -> str:
    """`auto` is online when W&B has a key, offline otherwise; WANDB_MODE wins over `auto`."""
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")
    return "offline" if mode == "online" and os.environ.get(OFFLINE) else mode


def logged_in() -> bool:
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        in_netrc = "api.wandb.ai" in netrc.read_text(encoding="utf-8")
    except OSError:
        in_netrc = False
    return bool(os.environ.get("WANDB_API_KEY")) or in_netrc
