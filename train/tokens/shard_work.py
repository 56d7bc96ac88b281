"""A source as shards, and the processes that work on them; for `decontaminate` and `tokenize`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rich.text import Text

from train.data.shards import Shard, stem_of
from train.data.sources import SHARD_BYTES, find_pieces, group_pieces, is_saved, unread_files
from tsqa.console import console, progress_bar
from tsqa.curated.answer_shuffle import write_permuted
from tsqa.curated.files import CURATED
from tsqa.curated.seed_texts import write_seed_texts
from tsqa.decontaminate.guard import read_dropped_seeds
from tsqa.errors import DataError
from tsqa.parallel import open_workers
from tsqa.recipe import needed
from tsqa.remote import DataPath, place_below
from tsqa.store.stage import StageContext

CHOSEN = "nearest.jsonl"
"""In the artifact of the stage `nearest`."""
_MOST_NAMED = 8


class ShardTask(Protocol):
    """What to do with a shard; picklable, since every process gets a copy."""

    def write(self, shard: Shard) -> None: ...


def shards_of(context: StageContext, name: str) -> list[Shard]:
    """The shards of a source, the same each time; makes the folder for them."""
    section = needed(context.recipe.mixture, "mixture").sources[name]
    folder = stem_of(context.out / "shards", name)
    folder.mkdir(parents=True, exist_ok=True)
    path: DataPath
    if section.stage == "seeds":
        guard = context.inputs.get("guard")
        dropped = read_dropped_seeds(guard.path) if guard else {}
        path = write_seed_texts(context.inputs["seeds"].path, folder, context.recipe, dropped)
    elif section.nearest:
        path = context.inputs["nearest"].path / CHOSEN
    elif section.stage is not None:
        path = context.inputs[section.stage].path / CURATED
        if not path.is_dir():
            raise DataError(f"{path}: no such folder", "build it: tsqa filter RECIPE")
        if section.permute:
            out = stem_of(context.out / "permuted", name)
            path = write_permuted(context.inputs[section.stage].path, out, context.recipe)
    else:
        path = context.resolve_data(str(section.path))
        name_unread(name, path)
    pieces = find_pieces(section, path, f"mixture.sources.{name}")
    return [
        Shard(folder / f"{number:06d}", section, group, f"mixture.sources.{name}")
        for number, group in enumerate(group_pieces(pieces))
    ]


def work_on_shards(
    shards: Sequence[Shard],
    processes: int | None,
    task: ShardTask,
    setting: str = "mixture.tokenize_processes",
    cluster: str | None = None,
) -> None:
    """Do what is not done, on several processes; on this one if there is little to do.

    `setting` names the number of processes in errors; `cluster`: `mixture.tokenize_cluster`.
    """
    todo = [shard for shard in shards if not shard.done]
    if not todo:
        return
    total = sum(shard.size for shard in todo)
    useful = min(len(todo), -(-total // SHARD_BYTES))
    key = "mixture.tokenize_cluster" if cluster else ""
    with (
        progress_bar() as bar,
        open_workers(processes, useful, setting, todo[0].stem.parent, key) as workers,
    ):
        shown = bar.add_task("shards", total=len(todo), note="")
        for _ in workers.map_ordered(task.write, todo):
            bar.update(shown, advance=1)


def name_unread(source: str, path: DataPath) -> None:
    """Print which files of a folder are no part of a source: a format that is not read, mostly."""
    if not path.is_dir() or is_saved(path):
        return
    unread = [place_below(file, path) for file in unread_files(path)]
    if unread:
        shown = ", ".join(unread[:_MOST_NAMED]) + (", ..." if len(unread) > _MOST_NAMED else "")
        text = f" {len(unread):,} files of {path} are not read: {shown}"
        console.print(Text.assemble((f"  {source}:", "yellow"), text))
