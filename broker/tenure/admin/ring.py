"""The newest events, encoded once for everybody who follows them; each who does is only a number, how far he is.

Pure but for the bell: it is told every event in order. What is older than it keeps has to be read from the store.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final

import msgspec

from tenure.admin.sse import Bell, message
from tenure.contract.events import AnyEvent
from tenure.sdk.stream import RestartReason
from tenure.sdk.timeline import StoryEvent, is_told

EVENTS_KEPT: Final = 10_000  # some megabytes; a reader that was away for longer is served from the store
_TENURES_KEPT: Final = 2_000  # begins and ends of tenures and pauses, for the story of how a role moved

_encoder: Final = msgspec.json.Encoder()


def position(history_id: str, revision: int) -> str:
    """Where somebody is in the events, as `id` and `Last-Event-ID` say it."""
    return f"{history_id}:{revision}"


class EventRing:
    """The newest events of one history."""

    def __init__(self, kept: int = EVENTS_KEPT) -> None:
        """Prepare an empty ring that keeps so many events."""
        self.bell = Bell()
        """Rings when there are new events, or when the events begin anew."""
        self.history_id = ""
        self.newest = 0
        """The revision of the newest event."""
        self.oldest = 1
        """The revision of the oldest event that is kept; one more than the newest if none is."""
        self.breaks = 0
        """How often what came before has become void."""
        self.last_break = RestartReason.OTHER_HISTORY
        """Why it was, the last time."""
        self._frames: deque[bytes] = deque(maxlen=kept)
        self._tenures: deque[StoryEvent] = deque(maxlen=_TENURES_KEPT)

    def begin(self, history_id: str, revision: int) -> None:
        """Go on after a revision, of which a snapshot was taken; what happened before it may not be known here."""
        if history_id != self.history_id or revision < self.newest:
            is_other = history_id != self.history_id
            self.last_break = RestartReason.OTHER_HISTORY if is_other else RestartReason.ROLLED_BACK
            self.breaks += 1
        elif revision == self.newest:
            return
        self.history_id = history_id
        self.newest, self.oldest = revision, revision + 1
        self._frames.clear()
        self._tenures.clear()
        self.bell.ring()

    def append(self, event: AnyEvent) -> None:
        """Take in the next event; one that does not follow changes nothing."""
        if event.revision != self.newest + 1:
            return
        self._frames.append(message(_encoder.encode(event), identity=position(self.history_id, event.revision)))
        self.newest = event.revision
        self.oldest = self.newest - len(self._frames) + 1
        if is_told(event):
            self._tenures.append(event)
        self.bell.ring()

    def has_after(self, revision: int) -> bool:
        """Whether every event after a revision is here; there may be none."""
        return self.oldest - 1 <= revision <= self.newest

    def after(self, revision: int, limit: int) -> list[bytes]:
        """The first so many events after a revision that `has_after`, as they travel in a stream."""
        start = revision - self.oldest + 1
        return list(islice(self._frames, start, start + limit))

    def tenures_of(self, resource_id: str) -> list[StoryEvent]:
        """The newest events in which tenures or pauses of a resource began or ended, as far as kept, in order."""
        return [event for event in self._tenures if event.resource_id == resource_id]


def body_of(frame: bytes) -> bytes:
    """The event in what travels in a stream."""
    return frame[frame.index(b"data: ") + 6 : -2]
