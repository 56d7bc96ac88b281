"""Whether an offline W&B folder is whole: its log must end with the run's exit."""

from __future__ import annotations

from pathlib import Path

from tsqa.errors import DataError


def check_whole(folder: Path, run_id: str) -> None:
    """Refuse an offline folder that was copied by half, or whose run was killed."""
    log = folder / f"run-{run_id}.wandb"
    if not log.is_file():
        raise DataError(f"{folder}: {log.name} is missing", "copy the folder again, whole")
    if not _ends_with_exit(log):
        raise DataError(
            f"{log}: ends before the run's exit: the folder is half copied, or the run was killed",
            "copy the folder again, whole; or give the artifact itself",
        )


def _ends_with_exit(log: Path) -> bool:
    """Whether an `exit` record is in the file and every record before it is whole.

    The format is LevelDB's log (blocks of 32 KiB; crc, length, type) after a header of 7 bytes.
    """
    from wandb.proto import wandb_internal_pb2

    data, position, parts = log.read_bytes(), 7, b""
    block = 32768
    while position + 7 <= len(data):
        if block - position % block < 7:
            position += block - position % block
            continue
        length = int.from_bytes(data[position + 4 : position + 6], "little")
        kind, position = data[position + 6], position + 7
        if position + length > len(data):
            return False
        parts += data[position : position + length]
        position += length
        if kind in (1, 4):  # full, or the last of several
            record = wandb_internal_pb2.Record.FromString(parts)
            parts = b""
            if record.WhichOneof("record_type") == "exit":
                return True
    return False
