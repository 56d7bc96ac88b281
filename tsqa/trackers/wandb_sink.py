"""Weights & Biases, online or into local files for `wandb sync`.

Guarantees: the x-axis of a job type is one of its own metrics, and no other job type has it; the
command line that W&B keeps holds no login.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tsqa.secrets import redact, redact_tree
from tsqa.trackers import Interval, TrackedRun

if TYPE_CHECKING:
    from wandb import Run

START_SECONDS = 30
FINISH_SECONDS = 60


class WandbSink:
    """A W&B run."""

    def __init__(
        self,
        run: TrackedRun,
        *,
        project: str,
        entity: str | None,
        directory: Path,
        mode: str,
    ) -> None:
        import wandb

        directory.mkdir(parents=True, exist_ok=True)
        with _redacted_arguments():
            self._run: Run = wandb.init(
                project=project,
                entity=entity,
                group=run.experiment,
                job_type=run.stage,
                name=run.name,
                id=run.id,
                tags=list(run.tags),
                notes=redact(run.notes) or None,
                config=redact_tree(run.config),
                resume="allow",
                dir=str(directory),
                mode=cast(Any, mode),
                settings=wandb.Settings(
                    silent=True,
                    console="off",
                    init_timeout=START_SECONDS,
                    finish_timeout=FINISH_SECONDS,
                    finish_timeout_raises=True,
                ),
            )
        for pattern, axis in _axes_of(run).items():
            self._run.define_metric(axis)
            self._run.define_metric(pattern, step_metric=axis)

    def log(self, metrics: Mapping[str, object]) -> None:
        self._run.log(dict(metrics))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        import wandb

        made = wandb.Table(columns=list(columns), data=[list(row) for row in rows])
        self._run.log({name: made})

    def plot(self, name: str, figure: Mapping[str, object]) -> None:
        import plotly.graph_objects
        import wandb

        self._run.log({name: wandb.Plotly(plotly.graph_objects.Figure(dict(figure)))})

    def intervals(self, name: str, rows: Sequence[Interval]) -> None:
        """A custom chart of W&B's own kind: a horizontal line from low to high for each row."""
        import wandb

        chart = wandb.plot.line_series(
            xs=[[row.low, row.value, row.high] for row in rows],
            ys=[[-number] * 3 for number in range(len(rows))],
            keys=[row.label for row in rows],
            title="Change against the control in points, with its interval",
            xname="change in points",
        )
        self._run.log({name: chart})

    def page(self, name: str, path: Path) -> None:
        import wandb

        self._run.log({name: wandb.Html(path.read_text(encoding="utf-8"), inject=False)})

    def summary(self, values: Mapping[str, object]) -> None:
        self._run.summary.update(dict(values))

    def artifact(self, path: Path, kind: str, fingerprint: str, inputs: Mapping[str, str]) -> None:
        import wandb

        made = wandb.Artifact(f"{kind}-{fingerprint}", type=kind, metadata={"inputs": dict(inputs)})
        made.add_file(str(path / "manifest.json"))
        made.add_reference(path.resolve().as_uri(), name="files", checksum=False)
        self._run.log_artifact(made)
        if not self._run.settings._offline:  # use_artifact raises when offline
            for upstream, mark in inputs.items():
                self._run.use_artifact(f"{upstream.split(':')[0]}-{mark}:latest")

    def finish(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


def forget_service() -> None:
    """End W&B's own process, so that the next run starts another; a dead one cannot be ended."""
    import wandb

    with contextlib.suppress(Exception):
        wandb.teardown()


def logged_in() -> bool:
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        in_netrc = "api.wandb.ai" in netrc.read_text(encoding="utf-8")
    except OSError:
        in_netrc = False
    return bool(os.environ.get("WANDB_API_KEY")) or in_netrc


def _axes_of(run: TrackedRun) -> dict[str, str]:
    """Pattern of metrics -> their x-axis."""
    if run.stage == "train":
        return {"*": "train/tokens"}
    if run.stage != "generate":
        return {}
    solvers = run.config.get("solvers")
    count = len(solvers) if isinstance(solvers, list) else 0
    writer = ["writer"] if "writer" in run.config else []
    roles = ["teacher", *writer, *(f"solver{number}" for number in range(count)), "cascade"]
    return {f"generate/{role}/*": f"generate/{role}/candidates" for role in roles}


@contextmanager
def _redacted_arguments() -> Iterator[None]:
    """W&B keeps the command line, and an override may hold a login."""
    original = sys.argv
    sys.argv = [redact(argument) for argument in original]
    try:
        yield
    finally:
        sys.argv = original
