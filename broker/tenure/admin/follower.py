"""Keeps this process's replica of the registry, and asks how the sessions are doing while somebody wants to know.

One listener follows the stream. Presence (what is left of leases, who is late) is no event and has to be asked for: at
most every 500 ms, once for all readers, and not at all while there are none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from time import monotonic, time
from typing import Final, Never, Protocol

import structlog

from tenure.admin.problems import BrokerAwayError
from tenure.admin.views import Picture
from tenure.contract.errors import TenureError
from tenure.contract.views import Presence
from tenure.sdk import queries
from tenure.sdk.listener import EventListener
from tenure.sdk.reader import Reader

PRESENCE_INTERVAL_MS: Final = 500
"""How old what is said about leases may be."""
_ASK_MS: Final = 1_000
_OPEN_MS: Final = 2_000  # how long the first answer waits for the broker
_RETRY_MS: Final = 1_000


class PictureSource(Protocol):
    """Where answers come from."""

    async def picture(self, *, allow_stale: bool) -> Picture:
        """The registry as it is, or with `allow_stale` as it was last known.

        Raises:
            BrokerAwayError: The broker is away, and stale answers are not wanted or there is nothing to show.
        """
        ...


class PresencePoll:
    """Asks for presence at most every 500 ms, however many want to know."""

    def __init__(self, asks: queries.Asks, now_ms: Callable[[], float], unix_ms: Callable[[], int]) -> None:
        self._asks = asks
        self._now_ms = now_ms
        self._unix_ms = unix_ms
        self._presence: Mapping[int, Presence] = {}
        self._asked_ms: float | None = None
        self._as_of_ms = 0
        self._asking: asyncio.Task[None] | None = None

    async def get(self) -> tuple[Mapping[int, Presence], int]:
        """What the broker observes of the sessions, and when (unix milliseconds).

        Raises:
            TenureError: It could not be asked.
        """
        if self._asked_ms is None or self._now_ms() - self._asked_ms >= PRESENCE_INTERVAL_MS:
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask())
                self._asking.add_done_callback(_take_note)
            await asyncio.shield(self._asking)  # whoever hangs up must not end it for the others
        return self._presence, self._as_of_ms

    async def _ask(self) -> None:
        asked_ms, as_of_ms = self._now_ms(), self._unix_ms()
        try:
            self._presence = await queries.presence(self._asks)
            self._asked_ms, self._as_of_ms = asked_ms, as_of_ms
        finally:
            self._asking = None


class Follower:
    """The registry of the broker at some endpoints, as a client sees it."""

    def __init__(self, endpoints: tuple[str, ...]) -> None:
        """Prepare to follow; nothing is connected before `run`.

        Raises:
            InvalidEndpointError: An endpoint is not of a form that can be connected to.
        """
        self._endpoints = endpoints
        self._listener = EventListener(*endpoints)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("tenure.admin")
        self._poll: PresencePoll | None = None
        self._was_tried = asyncio.Event()

    async def run(self) -> Never:
        """Follow for ever; a broker that is away is waited for."""
        async with Reader(*self._endpoints, timeout_ms=_ASK_MS) as reader:
            self._poll = PresencePoll(reader, _monotonic_ms, _unix_ms)
            try:
                while True:
                    try:
                        await self._follow()
                    except TenureError as error:
                        self._log.warning("broker.unreachable", reason=str(error))
                    self._was_tried.set()
                    await asyncio.sleep(_RETRY_MS / 1_000)
            finally:
                self._poll = None

    async def picture(self, *, allow_stale: bool) -> Picture:
        """The registry as it is, or with `allow_stale` as it was last known; the first waits for the first try.

        Raises:
            BrokerAwayError: The broker is away, and stale answers are not wanted or there is nothing to show.
        """
        await self._was_tried.wait()
        listener = self._listener
        if listener.is_connected and self._poll is not None:
            try:
                presence, as_of_ms = await self._poll.get()
            except TenureError:
                pass  # the stream has not fallen silent yet, but whoever does not answer is away
            else:
                return Picture(replica=listener.replica, presence=presence, is_connected=True, as_of_ms=as_of_ms)
        silent_ms = listener.silent_ms
        heard_ms = None if silent_ms is None else _unix_ms() - round(silent_ms)
        if heard_ms is None or not allow_stale or not listener.replica.history_id:
            raise BrokerAwayError(heard_ms)
        return Picture(replica=listener.replica, presence={}, is_connected=False, as_of_ms=heard_ms)

    async def _follow(self) -> None:
        """Follow until the listener cannot go on by itself."""
        async with EventListener(*self._endpoints, timeout_ms=_OPEN_MS) as listener:
            self._listener = listener  # from here on: until it has its snapshot, the one before is what is known
            self._was_tried.set()
            self._log.info("broker.followed", revision=listener.revision, history_id=listener.history_id)
            async for _ in listener:  # each event has gone into its replica by then
                pass


def _take_note(asking: asyncio.Task[None]) -> None:
    """Whoever asked may have hung up: a failure that nobody waited for is no concern of anybody."""
    if not asking.cancelled():
        asking.exception()


def _monotonic_ms() -> float:
    return monotonic() * 1_000


def _unix_ms() -> int:
    return int(time() * 1_000)
