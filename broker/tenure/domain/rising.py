"""An ordered set of numbers that only ever grow, for walking a large registry a page at a time.

Ids are revisions, so new members always come last: a list with a bisection is enough. Removed members stay in the list
until they are half of it; whoever walks it says which members still count.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container


class RisingIds:
    """Numbers in rising order. Adding is O(1), removing is O(1) amortised, a page costs its own length."""

    __slots__ = ("_ids", "_removed")

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._removed = 0

    def __len__(self) -> int:
        return len(self._ids) - self._removed

    def add(self, number: int) -> None:
        """Add a number greater than all before it."""
        assert not self._ids or number > self._ids[-1], "ids rise"
        self._ids.append(number)

    def removed_one(self, living: Container[int]) -> None:
        """Take note that a member has left `living`; that is all that removal needs."""
        self._removed += 1
        if self._removed * 2 > len(self._ids):
            self._ids = [number for number in self._ids if number in living]
            self._removed = 0

    def page(self, after: int, limit: int, living: Container[int]) -> list[int]:
        """The first `limit` members greater than `after`."""
        found: list[int] = []
        for position in range(bisect_right(self._ids, after), len(self._ids)):
            number = self._ids[position]
            if number in living:
                found.append(number)
                if len(found) == limit:
                    break
        return found
