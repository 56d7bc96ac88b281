"""Whole documents into rows of fixed length.

Guarantees: no document is cut; the same lengths give the same rows; padding is what best-fit
decreasing leaves (Ding et al., 2024, "Fewer Truncations Improve Language Modeling").
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Return the documents of each row by number, ascending; lengths are 1 to `capacity` tokens.

    Longest first, each into the row with the least room that it fits in; of equal ones the
    latest opened.
    """
    rows: list[list[int]] = []
    by_room: dict[int, list[int]] = {}
    """Room left -> rows that have it, in the order in which they came to it."""
    rooms: list[int] = []
    """The distinct sizes of room, ascending: the keys of `by_room`."""
    for number in sorted(range(len(lengths)), key=lambda n: (-lengths[n], n)):
        length = lengths[number]
        fit = bisect_left(rooms, length)
        if fit == len(rooms):
            row, room = len(rows), capacity
            rows.append([])
        else:
            room = rooms[fit]
            row = by_room[room].pop()
            if not by_room[room]:
                del by_room[room], rooms[fit]
        rows[row].append(number)
        left = room - length
        if left:
            if left not in by_room:
                by_room[left] = []
                insort(rooms, left)
            by_room[left].append(row)
    return [sorted(row) for row in rows]
