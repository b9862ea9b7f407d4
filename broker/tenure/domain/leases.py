"""Which session's lease ends next: a heap that is corrected only when an entry reaches its top.

A heartbeat moves a session's end without touching the heap; an entry that comes up early goes back in with its new end.
Entries of sessions that ended otherwise stay until they are half of the heap, so that it never outgrows the sessions.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from tenure.domain.state import Presence


class Leases:
    """The ends of all leases of the living sessions."""

    def __init__(self, sessions: Mapping[int, Presence]) -> None:
        self._sessions = sessions
        """The living sessions by number; kept by the registry's state."""
        self._heap = [_entry(presence) for presence in sessions.values()]
        heapq.heapify(self._heap)

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, presence: Presence) -> None:
        """Watch the lease of a session that has just begun. O(log n), amortised."""
        if len(self._heap) > 2 * len(self._sessions):
            # The session is among the living, so that this puts it in as well. Without it, whoever opens and ends
            # sessions with long leases in a loop would fill the memory.
            self._heap = [_entry(living) for living in self._sessions.values()]
            heapq.heapify(self._heap)
        else:
            heapq.heappush(self._heap, _entry(presence))

    def next_end_ms(self) -> float | None:
        """The earliest time at which a lease may have ended; None if there is none to watch."""
        return self._heap[0][0] if self._heap else None

    def pop_ended(self, now_ms: float) -> Presence | None:
        """A session whose lease has ended at `now_ms`, which is then no longer watched; None if there is none."""
        while self._heap and self._heap[0][0] <= now_ms:
            _, number = heapq.heappop(self._heap)
            presence = self._sessions.get(number)
            if presence is None:
                continue
            if presence.expires_at_ms <= now_ms:
                return presence
            heapq.heappush(self._heap, _entry(presence))
        return None


def _entry(presence: Presence) -> tuple[float, int]:
    return presence.expires_at_ms, presence.record.number
