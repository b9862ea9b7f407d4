"""The pure core of a listener: which event comes next, and what has to be read from the store before it can.

Without I/O or clocks. PUB is never the authority: what it delivers is handed out only where it follows on, everything
else is read from the store. Nothing is kept beyond the newest page or message, because a shell takes all events before
it brings more. What makes going on impossible is never passed over: `restart` says so, and nothing more is handed out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import StrEnum
from typing import assert_never

from msgspec import Struct

from tenure.contract.errors import InvalidRequestError, RequestRefusedError, RevisionCompactedError
from tenure.contract.events import AnyEvent
from tenure.contract.history import EventPage, Events, Progress
from tenure.contract.messages import StreamMessage


class RestartReason(StrEnum):
    """Why a listener cannot go on where it was."""

    COMPACTED = "compacted"  # the store no longer keeps the events that come next
    OTHER_HISTORY = "other_history"  # the store was made anew or restored: its revisions mean something else
    ROLLED_BACK = "rolled_back"  # the store is an old copy, which lacks revisions that were seen


class StreamRestarted(Struct, frozen=True, kw_only=True):
    """Not an event but a break: events are missing before the next one. The listener's replica is a new snapshot.

    It never travels. Whoever keeps state of his own from events has to take it from the replica anew.
    """

    reason: RestartReason
    revision: int
    """The snapshot's revision; the next event's is one more."""
    history_id: str
    """The snapshot's history."""
    last_revision: int
    """The newest revision that was reached before the break."""
    last_history_id: str
    """The history that revision belongs to."""


class StreamCore:
    """The order of one history's events from a revision on."""

    def __init__(self, history_id: str, revision: int) -> None:
        """Go on after `revision`."""
        self.history_id = history_id
        self.revision = revision
        """The revision of the newest event handed out."""
        self.restart: RestartReason | None = None
        """Why it cannot go on; None while it can."""
        self._ready: deque[AnyEvent] = deque()
        self._newest = revision
        """The newest revision there is, as far as is known."""
        self._published = 0
        """The newest revision that this subscription has spoken of."""
        self._is_doubtful = True

    def subscribed(self) -> None:
        """The subscription is a new one: what was published in between is known to the store alone."""
        self._published = 0
        self._is_doubtful = True

    @property
    def is_waiting(self) -> bool:
        """Whether it has no event to hand out and could go on with one."""
        return self.restart is None and not self._ready

    @property
    def missing_since(self) -> int | None:
        """After which revision to read events from the store now; None if there is no need to."""
        is_missing = self._is_doubtful or self._newest > self.revision
        return self.revision if is_missing and self.is_waiting else None

    def take(self) -> AnyEvent | None:
        """The next event, if it is there."""
        if self.restart is not None or not self._ready:
            return None
        event = self._ready.popleft()
        self.revision = event.revision
        return event

    def receive(self, message: StreamMessage) -> None:
        """Take in what was published."""
        match message:
            case Events(history_id=history_id, events=events):
                if events:
                    self._hear(history_id, events[0].revision - 1, events[-1].revision)
                    if history_id == self.history_id:
                        self._append(events)
            case Progress(history_id=history_id, revision=revision):
                self._hear(history_id, revision, revision)
            case _:
                assert_never(message)

    def fill(self, page: EventPage) -> None:
        """Take in what the store had after `missing_since`."""
        self.check(page.history_id, page.revision)
        if self.restart is None:
            self._append(page.events)
            if not self._ready:  # it has nothing to give, so asking at once again would be a busy loop
                self._newest = self.revision

    def check(self, history_id: str, revision: int) -> None:
        """Take in what a broker said of its store: it may be the wrong one, or behind."""
        self._is_doubtful = False
        if history_id != self.history_id:
            self.restart = RestartReason.OTHER_HISTORY
        elif revision < self.revision:
            self.restart = RestartReason.ROLLED_BACK
        else:
            self._newest = max(self._newest, revision)

    def refused(self, refusal: RequestRefusedError) -> bool:
        """Take in that the store was not read; returns False if the refusal says nothing about the stream."""
        match refusal:
            case RevisionCompactedError():
                self.restart = RestartReason.COMPACTED
            case InvalidRequestError():  # only a revision that the store has not reached is refused as invalid
                self.restart = RestartReason.ROLLED_BACK
            case _:
                return False
        return True

    def break_at(self, history_id: str, revision: int) -> StreamRestarted:
        """The word for its end, given the snapshot that the listener goes on from.

        A refusal does not say which history was meant, so the snapshot decides: nothing is compacted or rolled back in
        a history that is another one.
        """
        assert self.restart is not None, "it could have gone on"
        return StreamRestarted(
            reason=self.restart if history_id == self.history_id else RestartReason.OTHER_HISTORY,
            revision=revision,
            history_id=history_id,
            last_revision=self.revision,
            last_history_id=self.history_id,
        )

    def _hear(self, history_id: str, first: int, last: int) -> None:
        """Look at what a message says of the history: its events begin after `first`, and `last` is the newest.

        A stream never goes back, so one that does is another broker's, whose store lacks what was published. A message
        that is merely behind what was read, or of another history, may have waited here for long: unless a newer one
        shows that all is well, the store is asked.
        """
        if history_id != self.history_id:
            self._is_doubtful = True
        elif first < self._published:
            self.restart = RestartReason.ROLLED_BACK
        else:
            self._published = last
            self._newest = max(self._newest, last)
            self._is_doubtful = last < self.revision

    def _append(self, events: Iterable[AnyEvent]) -> None:
        """Make ready what follows on; what is known, or comes after a gap, is left out."""
        end = self._ready[-1].revision if self._ready else self.revision
        for event in events:
            if event.revision == end + 1:
                self._ready.append(event)
                end = event.revision
