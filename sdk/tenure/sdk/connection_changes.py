"""How a client stands with its broker, for whoever follows it: each change once, in order, from the present state on.

Used on the application's event loop alone. A follower that does not read keeps its newest changes, not all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Self
from weakref import WeakSet

from tenure.sdk.heartbeats import ConnectionState

_KEPT_MAX: Final = 1_000  # at a few changes a second some minutes of a follower that hangs


class ConnectionFollower:
    """One who follows: an iterator that ends when the client is closed."""

    def __init__(self, present: ConnectionState) -> None:
        self._states = deque([present], maxlen=_KEPT_MAX)
        self._newest = present
        self._is_over = False
        self._changed = asyncio.Event()

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> ConnectionState:
        """The next state; waits for it."""
        while not self._states:
            if self._is_over:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._states.popleft()

    def tell(self, state: ConnectionState) -> None:
        """It is this state now."""
        if state is not self._newest:
            self._newest = state
            self._states.append(state)
            self._changed.set()

    def end(self) -> None:
        """No other change will come."""
        self._is_over = True
        self._changed.set()


class ConnectionChanges:
    """All who follow one client, over all its sessions."""

    def __init__(self) -> None:
        self._followers: WeakSet[ConnectionFollower] = WeakSet()

    def follow(self, present: ConnectionState) -> ConnectionFollower:
        """Follow from here on."""
        follower = ConnectionFollower(present)
        self._followers.add(follower)
        return follower

    def tell(self, state: ConnectionState) -> None:
        """It is this state now."""
        for follower in list(self._followers):
            follower.tell(state)

    def end(self) -> None:
        """The client is closed."""
        for follower in list(self._followers):
            follower.end()
        self._followers.clear()
