"""The one place for work on several processes: `map_ordered`, on this machine or on a Ray cluster.

Guarantees: results come in the order of the chunks, whatever ends first, so that what is written
from them does not depend on the number of processes, nor on where they run; few chunks are ahead
of the one that is waited for; no process outlives the command; one that dies is an error here,
costs its chunks on a cluster, and is never a wait.
"""

from __future__ import annotations

from pathlib import Path

from tsqa.parallel.local import ALONE, Workers, own_cores

__all__ = ["ALONE", "Workers", "open_workers", "own_cores"]


def open_workers(
    count: int | None, most: int, setting: str, folder: Path, cluster: str = ""
) -> Workers:
    """`count` processes, by default one for each core, but no more than `most`, which have work.

    `setting`: the key of the recipe that says how many. `cluster`: that of its Ray cluster, whose
    nodes all see `folder`; empty: this machine.
    """
    if not cluster or most <= 1:
        return Workers(min(count or own_cores(), most), setting)
    from tsqa.parallel.ray_tasks import RayWorkers

    return RayWorkers(min(count or 0, most), setting, cluster, folder)
