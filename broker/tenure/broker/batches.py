"""Decisions on their way to the store: what has gathered for the next commits, what is under way, who waits for it.

Batches are stored in the order in which they were decided, one at a time. After one was refused each decision goes by
itself until one is stored: together with what the store has no room for, all others would be refused for as long as
somebody repeats that.
"""

from __future__ import annotations

from collections import deque

import msgspec

from tenure.broker.connections import Connection
from tenure.broker.measurements import Asked
from tenure.contract import codec
from tenure.contract.events import AnyEvent
from tenure.contract.limits import PAGE_ITEMS_MAX
from tenure.contract.message import Message
from tenure.contract.messages import RoleStatement
from tenure.domain.records import Batch, Change
from tenure.domain.registry import Decision


class Pending:
    """Decisions of one commit, and the answers that wait for it."""

    __slots__ = ("changes", "decisions", "encoded", "events", "replies", "statements")

    def __init__(self) -> None:
        self.decisions = 0
        self.changes: list[Change] = []
        self.events: list[AnyEvent] = []
        self.encoded: list[bytes] = []
        self.replies: list[tuple[Connection, Asked, bytes]] = []
        """To whom, as the answer to which request, and what."""
        self.statements: dict[int, list[RoleStatement]] = {}
        """For sessions that did not ask, by their number."""

    def published(self, history_id: str) -> list[bytes]:
        """The stream's messages with its events."""
        pages = (self.encoded[at : at + PAGE_ITEMS_MAX] for at in range(0, len(self.encoded), PAGE_ITEMS_MAX))
        return [
            codec.encode(_EncodedEvents(history_id=history_id, events=[msgspec.Raw(body) for body in page]))
            for page in pages
        ]


class _EncodedEvents(Message, frozen=True, kw_only=True, tag="events"):
    """`Events` with its events already encoded."""

    history_id: str
    events: list[msgspec.Raw]


class Batches:
    """All that is decided and not stored."""

    def __init__(self, decisions_max: int) -> None:
        """`decisions_max`: how many go into one commit."""
        self.unanswered = 0
        """Replies that wait for a commit."""
        self._decisions_max = decisions_max
        self._gathering = deque([Pending()])
        """A commit each; only the last one still grows, and it alone may have nothing to store."""
        self.under_way: Pending | None = None
        """What the store was given."""
        self._is_wary = False
        """Whether the newest batch was refused."""

    @property
    def has_next(self) -> bool:
        """Whether decisions wait to be taken."""
        return bool(self._gathering[0].events)

    @property
    def has_any(self) -> bool:
        """Whether anything is under way, or waits to be."""
        return self.under_way is not None or self.has_next

    def add(self, decision: Decision) -> None:
        """File what a decision changes for the last commit or for one after it."""
        pending = self._gathering[-1]
        if pending.decisions >= (1 if self._is_wary else self._decisions_max):
            pending = Pending()
            self._gathering.append(pending)
        pending.decisions += 1
        pending.changes.extend(decision.changes)
        pending.events.extend(decision.events)
        pending.encoded.extend(map(codec.encode, decision.events))
        for session, statement in decision.statements:
            pending.statements.setdefault(session, []).append(statement)

    def answer_later(self, connection: Connection, asked: Asked, body: bytes) -> bool:
        """File an answer behind all that it was computed from; False if that is stored, so that it may leave now."""
        pending = self._gathering[-1] if self._gathering[-1].events else self.under_way
        if pending is None:
            return False
        pending.replies.append((connection, asked, body))
        self.unanswered += 1
        return True

    def take(self) -> Batch | None:
        """What to store next, which is under way then; None if something is already, or nothing waits."""
        if self.under_way is not None or not self.has_next:
            return None
        pending = self.under_way = self._gathering.popleft()
        if not self._gathering:
            self._gathering.append(Pending())
        return Batch(
            first_revision=pending.events[0].revision,
            changes=tuple(pending.changes),
            events=tuple(pending.events),
            encoded_events=tuple(pending.encoded),
        )

    def committed(self) -> Pending:
        """What was under way is stored."""
        pending = self.under_way
        assert pending is not None, "no batch is under way"
        self.under_way = None
        self._is_wary = False
        self.unanswered -= len(pending.replies)
        return pending

    def drop(self) -> list[Pending]:
        """What was under way is not stored, so nothing decided since can be; returns all of it, in order."""
        dropped = [*([] if self.under_way is None else [self.under_way]), *self._gathering]
        self.under_way = None
        self._gathering = deque([Pending()])
        self._is_wary = True
        self.unanswered = 0
        return dropped
