"""Events for readers: a page of them, and the stream that goes on where its reader was.

From the ring while it has them, from the store where it does not. Nothing is ever passed over in silence: where events
are missing, or mean something else by now, the stream says `restarted` and why.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

import msgspec
from msgspec import Raw, Struct

from tenure.admin.problems import BrokerAwayError
from tenure.admin.questions import OldEvents
from tenure.admin.ring import EventRing, body_of, position
from tenure.admin.sse import KEEP_ALIVE, KEEP_ALIVE_S, Streams, message
from tenure.contract.errors import InvalidRequestError, RevisionCompactedError, TenureError
from tenure.contract.history import TenurePage
from tenure.sdk.stream import RestartReason

_CHUNK_EVENTS: Final = 200  # sent in one go: about what a socket takes
_RETRY_S: Final = 1.0  # before the store is asked again that could not be
_RETRY_MS: Final = 1_000  # what a browser waits before it connects again

_encoder: Final = msgspec.json.Encoder()


class Restarted(Struct, frozen=True, kw_only=True):
    """Events are missing before the next one: whoever keeps state of his own from them has to read it anew."""

    reason: RestartReason
    history_id: str
    revision: int
    """Events go on after this one."""
    last_history_id: str
    last_revision: int
    """How far the reader was."""


class Events:
    """The events of one broker, as readers get them."""

    def __init__(self, ring: EventRing, store: OldEvents, streams: Streams) -> None:
        self._ring = ring
        self._store = store
        self._streams = streams

    async def page(self, history_id: str, since: int, limit: int) -> tuple[list[Raw], int]:
        """The first events after a revision of a history, as JSON, and the newest revision there is.

        Raises:
            InvalidRequestError: There is no such revision yet.
            RevisionCompactedError: These events are not kept any more, or the history is another one by now.
            TenureError: The store could not be asked.
        """
        ring = self._ring
        if history_id != ring.history_id:
            raise RevisionCompactedError(
                f"history {history_id!r} is gone; the one there is now is {ring.history_id!r}, begin anew"
            )
        if since > ring.newest:
            raise InvalidRequestError(f"since is {since}, but the newest revision is {ring.newest}")
        if ring.has_after(since):
            return [Raw(body_of(frame)) for frame in ring.after(since, limit)], ring.newest
        page = await self._store.read(since, limit)
        return [Raw(_encoder.encode(event)) for event in page.events], page.revision

    async def tenures(self, resource_id: str, before: int, limit: int) -> TenurePage:
        """The newest tenures of a resource that the store keeps, or those before an epoch.

        Raises:
            TenureError: The store could not be asked.
        """
        return await self._store.tenures(resource_id, before, limit)

    async def follow(self, history_id: str, revision: int) -> AsyncGenerator[bytes]:
        """The stream of all events after a revision of a history, for as long as somebody reads it."""
        ring = self._ring
        yield b"retry: %d\nid: %s\n\n" % (_RETRY_MS, position(history_id, revision).encode())
        breaks = ring.breaks
        while not self._streams.is_closing:
            broken = self._why_broken(history_id, revision, breaks)
            if broken is not None:
                yield self._restarted(broken, history_id, revision)
                history_id, revision, breaks = ring.history_id, ring.newest, ring.breaks
            elif not ring.has_after(revision):
                frames, broken = await self._read(history_id, revision)
                if broken is not None:
                    yield self._restarted(broken, history_id, revision)
                    history_id, revision, breaks = ring.history_id, ring.newest, ring.breaks
                elif frames:
                    yield b"".join(frames)
                    revision += len(frames)
                else:
                    await ring.bell.wait(_RETRY_S)
            elif ring.newest > revision:
                frames = ring.after(revision, _CHUNK_EVENTS)
                revision += len(frames)
                yield b"".join(frames)
            elif not await ring.bell.wait(KEEP_ALIVE_S):
                yield KEEP_ALIVE

    def _why_broken(self, history_id: str, revision: int, breaks: int) -> RestartReason | None:
        """Why a reader cannot go on where he is; None if he can."""
        ring = self._ring
        if history_id != ring.history_id:
            return RestartReason.OTHER_HISTORY
        if breaks != ring.breaks:
            return ring.last_break
        return RestartReason.ROLLED_BACK if revision > ring.newest else None

    async def _read(self, history_id: str, revision: int) -> tuple[list[bytes], RestartReason | None]:
        """What comes next from the store: events, a reason why there are none, or neither while it cannot be asked."""
        try:
            page = await self._store.read(revision, _CHUNK_EVENTS)
        except RevisionCompactedError:
            return [], RestartReason.COMPACTED
        except (TenureError, BrokerAwayError):
            return [], None
        if page.history_id != history_id:
            return [], None  # the ring will hear of it
        encoded = [
            message(_encoder.encode(event), identity=position(history_id, event.revision)) for event in page.events
        ]
        return encoded, None

    def _restarted(self, reason: RestartReason, history_id: str, revision: int) -> bytes:
        ring = self._ring
        said = Restarted(
            reason=reason,
            history_id=ring.history_id,
            revision=ring.newest,
            last_history_id=history_id,
            last_revision=revision,
        )
        return message(_encoder.encode(said), event="restarted", identity=position(ring.history_id, ring.newest))
