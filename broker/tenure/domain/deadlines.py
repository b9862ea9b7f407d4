"""Who is due next: a heap that is corrected only when an entry reaches its top.

What is put off (a lease, by a heartbeat) moves without touching the heap; an entry that comes up early goes back in
with its new time. What is brought forward is added anew. Entries of what is gone, and those that are there twice, stay
until they are half of the heap, so that it never outgrows the living.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping


class Deadlines[Key: (int, str), Item]:
    """When each of the living is due."""

    def __init__(self, living: Mapping[Key, Item], due_ms: Callable[[Item], float]) -> None:
        self._living: Mapping[Key, Item] = living
        """Kept by whoever owns these; what is put into it has to be added here as well."""
        self._due_ms = due_ms
        self._heap: list[tuple[float, Key]] = self._entries()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, key: Key) -> None:
        """Watch one of the living that has just begun, or is due earlier than before. O(log n), amortised."""
        if len(self._heap) > 2 * len(self._living):
            # It is among the living, so that this puts it in as well. Without it, whoever begins and ends something
            # that is due much later, in a loop, would fill the memory.
            self._heap = self._entries()
        else:
            heapq.heappush(self._heap, (self._due_ms(self._living[key]), key))

    def next_ms(self) -> float | None:
        """The earliest time at which one may be due; None if there is none to watch."""
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now_ms: float) -> Item | None:
        """One that is due at `now_ms`, which is then no longer watched; None if there is none."""
        while self._heap and self._heap[0][0] <= now_ms:
            _, key = heapq.heappop(self._heap)
            item = self._living.get(key)
            if item is None:
                continue
            due_ms = self._due_ms(item)
            if due_ms <= now_ms:
                return item
            heapq.heappush(self._heap, (due_ms, key))
        return None

    def _entries(self) -> list[tuple[float, Key]]:
        entries = [(self._due_ms(item), key) for key, item in self._living.items()]
        heapq.heapify(entries)
        return entries
