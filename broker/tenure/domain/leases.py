"""Which session's lease ends next: a heap that is corrected only when an entry reaches its top.

A heartbeat moves a session's end without touching the heap; an entry that comes up early goes back in with its new end.
"""

from __future__ import annotations

import heapq

from tenure.domain.state import Presence


class Leases:
    """The ends of all leases. Holds one entry for each session that was added and has not been popped as ended."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []

    def add(self, presence: Presence) -> None:
        """Watch a session's lease from now on."""
        heapq.heappush(self._heap, (presence.expires_at_ms, presence.record.number))

    def next_end_ms(self) -> float | None:
        """The earliest time at which a lease may have ended; None if there is none to watch."""
        return self._heap[0][0] if self._heap else None

    def pop_ended(self, sessions: dict[int, Presence], now_ms: float) -> Presence | None:
        """A session whose lease has ended at `now_ms`, which is then no longer watched; None if there is none."""
        while self._heap and self._heap[0][0] <= now_ms:
            _, number = heapq.heappop(self._heap)
            presence = sessions.get(number)
            if presence is None:
                continue
            if presence.expires_at_ms <= now_ms:
                return presence
            self.add(presence)
        return None
