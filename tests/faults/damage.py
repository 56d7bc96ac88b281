"""Ways in which the bytes of a file are not what was written."""

from __future__ import annotations

from collections.abc import Callable

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 12345\n" % (b"0" * 64)
PAGE = b"<!DOCTYPE html>\n<html><head><title>404</title></head>\n<body>Not found</body></html>\n"


def flip_bit(content: bytes, share: float = 0.5) -> bytes:
    """One bit of the byte that lies so far into the file."""
    place = min(len(content) - 1, int(len(content) * share))
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


def zero_block(content: bytes) -> bytes:
    """What a crash leaves of blocks that were never written."""
    third = len(content) // 3
    return content[:third] + bytes(third) + content[2 * third :]


BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "torn": lambda content: content[: len(content) * 11 // 20],
    "short of 3 bytes": lambda content: content[:-3],
    "a block of zeros": zero_block,
    "noise": lambda content: bytes((n * 37 + 11) % 256 for n in range(len(content))),
    "a page of HTML": lambda content: PAGE,
    "an LFS pointer": lambda content: POINTER,
}
