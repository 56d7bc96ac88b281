"""Text files (.txt, .md), each of which is one document."""

from __future__ import annotations

from tsqa.errors import DataError
from tsqa.remote import DataPath

SUFFIXES = (".txt", ".md")
_POINTER = "version https://git-lfs"


def read_text_file(path: DataPath) -> str:
    """The text; DataError where it is no UTF-8, or only stands for a file that is elsewhere."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path}: unreadable: {error}", "convert it to UTF-8") from error
    if text.startswith(_POINTER):
        raise DataError(f"{path}: a Git LFS pointer, not the text", "download it: git lfs pull")
    if "\0" in text:
        raise DataError(
            f"{path}: holds NUL bytes, which no text does",
            "convert it to UTF-8, or leave it out",
        )
    return text
