"""Connections that keep nobody else out: whoever has not sent the whole head of a request has limited time for it.

uvicorn lets a connection say nothing, or a byte now and then, for as long as it likes, and refuses everybody once there
are too many. Here such a one is hung up on after some seconds, and at once if its place is needed: the one that has
waited longest gives way, so that silence alone never takes a place from those who ask. A request that is being
answered, which a stream is all its life, is left alone.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import ClassVar, override

from uvicorn.protocols.http.h11_impl import H11Protocol


class Connection(H11Protocol):
    """One connection: uvicorn's, with an end to its patience."""

    head_s: ClassVar[float] = 10.0
    """How long the head of a request may take, from when the connection began or the answer before was complete."""

    _giving_up: asyncio.TimerHandle | None = None

    @property
    def waits_until_s(self) -> float:
        """When, by the event loop's clock, it is hung up on for want of a head; never while a request is answered."""
        return inf if self._giving_up is None else self._giving_up.when()

    def hang_up(self) -> None:
        """End it without a word, also if what was written is not read; it counts no more from here on."""
        self._stop_waiting()
        self.connections.discard(self)
        self.transport.abort()

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        self._make_room()
        super().connection_made(transport)
        self._await_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    @override
    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._stop_waiting()

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()  # which begins with the next request, if that is there already
        if self.cycle.response_complete:
            self._await_head()

    def _await_head(self) -> None:
        self._stop_waiting()
        self._giving_up = self.loop.call_later(self.head_s, self.hang_up)

    def _stop_waiting(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def _make_room(self) -> None:
        """Let the one that has waited longest give way if this one would be one too many."""
        if self.limit_concurrency is None or len(self.connections) + 1 < self.limit_concurrency:
            return
        others: list[Connection] = [one for one in self.connections if isinstance(one, Connection)]
        first = min(others, key=lambda one: one.waits_until_s, default=self)
        if first.waits_until_s < inf:
            first.hang_up()
