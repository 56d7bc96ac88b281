"""Datasets of the Hugging Face hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsqa.errors import DataError

if TYPE_CHECKING:
    import datasets


def load_hub(
    path: str, subset: str | None, split: str, revision: str | None, streaming: bool, key: str = ""
) -> datasets.Dataset | datasets.IterableDataset:
    """Load a split, memory-mapped or streamed; `key` begins the error where it cannot be loaded."""
    import datasets

    datasets.disable_progress_bars()
    options = {"streaming": True} if streaming else {}
    try:
        return datasets.load_dataset(path, subset, split=split, revision=revision, **options)
    except Exception as error:
        raise DataError(
            f"{key}{path} cannot be loaded from the hub: {type(error).__name__}: {error}",
            "check path, subset, split and revision, and the network",
        ) from error
