"""Trackio: runs in a database of this machine, with a dashboard of its own, without an account.

`TRACKIO_DIR=RUNS/trackio trackio show --project PROJECT` opens the dashboard. Guarantee: nothing is
sent to a hub or server, whatever the environment says.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tsqa.errors import TsqaError
from tsqa.secrets import redact_tree
from tsqa.trackers import Interval, TrackedRun

if TYPE_CHECKING:
    from trackio import Run

FOLDER = "trackio"
_REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID", "TRACKIO_WEBHOOK_URL")


def check_installed() -> None:
    """TsqaError where trackio, an optional extra, is missing."""
    if importlib.util.find_spec("trackio") is None:
        raise TsqaError(
            "tracking.backend=trackio: the package trackio is not installed",
            "pip install tsqa[trackio], or set tracking.backend=wandb",
        )


class TrackioSink:
    """A run of trackio; its summary is what was logged last."""

    def __init__(self, run: TrackedRun, *, project: str, directory: Path) -> None:
        folder = (directory / FOLDER).resolve()
        os.environ["TRACKIO_DIR"] = str(folder)  # read once, when trackio is imported
        for name in _REMOTE:
            os.environ.pop(name, None)
        with _quiet():
            import trackio

            if Path(trackio.TRACKIO_DIR).resolve() != folder:
                raise TsqaError(f"trackio of this process writes to {trackio.TRACKIO_DIR}")
            about = {"stage": run.stage, "tags": list(run.tags), "notes": run.notes}
            self._run: Run = trackio.init(
                project=project,
                name=run.name,
                group=run.experiment,
                config=redact_tree({**run.config, **about}),
                resume="allow",
                embed=False,
            )

    def log(self, metrics: Mapping[str, object]) -> None:
        self._run.log(dict(metrics))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        import trackio

        made = trackio.Table(columns=list(columns), data=[list(row) for row in rows])
        self._run.log({name: made})

    def plot(self, name: str, figure: Mapping[str, object]) -> None:
        """Nothing: trackio would load plotly from the network. The logged page has every figure."""

    def intervals(self, name: str, rows: Sequence[Interval]) -> None:
        columns = ["label", "low", "value", "high"]
        self.table(name, columns, [[row.label, row.low, row.value, row.high] for row in rows])

    def page(self, name: str, path: Path) -> None:
        import trackio

        self._run.log({name: trackio.Html(path.read_text(encoding="utf-8"))})

    def summary(self, values: Mapping[str, object]) -> None:
        self._run.log(dict(values))

    def artifact(self, path: Path, kind: str, fingerprint: str, inputs: Mapping[str, str]) -> None:
        self._run.log({"artifact": str(path.resolve()), "inputs": dict(inputs)})

    def finish(self, failed: bool) -> None:
        import trackio

        self._run.log({"failed": failed})
        with _quiet():
            trackio.finish()  # of the current run, which is this one; ends it for its exit hook too


@contextmanager
def _quiet() -> Iterator[None]:
    """Trackio prints its advice to the screen."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
