"""`tsqa preview --watch`: one seed again whenever a prompt file changes, with the engine up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from tsqa.console import console, make_console
from tsqa.errors import TsqaError
from tsqa.preview.run import Preview
from tsqa.preview.show import print_items, write_page
from tsqa.prompts.template_library import SHIPPED
from tsqa.recipe import Recipe, needed
from tsqa.records.seed import Seed

_LOOK_SECONDS = 0.5


def watch_prompts(preview: Preview, seed: Seed, page: Path | None) -> None:
    """Until Ctrl-C; a prompt that is broken meanwhile is told, and waited for."""
    recipe = preview.pipeline.recipe
    seen = _states(recipe)
    console.print(f"watching {len(seen)} prompt files of {recipe.name} (Ctrl-C ends it)")
    try:
        while True:
            time.sleep(_LOOK_SECONDS)
            now = _states(recipe)
            if now == seen:
                continue
            seen = now
            try:
                items = preview.run([seed])
            except (TsqaError, OSError) as error:
                console.print(str(error), style="red")
                continue
            print_items(items, make_console())
            if page is not None:
                write_page(items, recipe.name, page)
    except KeyboardInterrupt:
        console.print("ended")


def _states(recipe: Recipe) -> dict[Path, tuple[int, int]]:
    """Prompt file -> when it was written, and its size."""
    found = {}
    for file in _files(recipe):
        try:
            state = file.stat()
        except FileNotFoundError:  # an editor is replacing it
            continue
        found[file] = (state.st_mtime_ns, state.st_size)
    return found


def _files(recipe: Recipe) -> Iterator[Path]:
    section = needed(recipe.generate, "generate")
    names = [("question", section.prompts.question)]
    names += [("answer", each.prompt) for each in section.solving]
    if recipe.filter and recipe.filter.judge:
        names.append(("judge", recipe.filter.judge.prompt))
    if recipe.filter and recipe.filter.leak_judge:
        names.append(("leak", recipe.filter.leak_judge.prompt))
    if recipe.filter:
        names += [("document", name) for name in recipe.filter.renderings]
    for role, name in names:
        shipped = SHIPPED / role / name
        for path in (Path(name), shipped, shipped.with_suffix(".jinja")):
            if path.is_file():
                yield path
            elif path.is_dir():
                yield from sorted(path.glob("*.jinja"))
