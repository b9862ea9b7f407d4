"""Keeps this process's replica of the registry, tells what happens to those who follow it, and asks the broker.

One listener follows the stream. What has to be asked goes through `tenure.admin.questions`, once for all readers, and
not at all while there are none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from time import monotonic, time
from typing import Final, Never, Protocol

import structlog

from tenure.admin.events import Events
from tenure.admin.figures import Figures, count
from tenure.admin.problems import BrokerAwayError
from tenure.admin.questions import (
    FIGURES_AGE_MS,
    PRESENCE_INTERVAL_MS,
    Answer,
    OldEvents,
    Poll,
    ResourceAnswers,
)
from tenure.admin.ring import EventRing
from tenure.admin.sse import Streams
from tenure.admin.table import LiveTable
from tenure.admin.views import Picture
from tenure.contract.errors import NotFoundError, TenureError
from tenure.contract.messages import BrokerMessage, ClientMessage
from tenure.contract.views import Presence
from tenure.sdk import queries
from tenure.sdk.listener import EventListener
from tenure.sdk.reader import Reader
from tenure.sdk.replica import Replica
from tenure.sdk.stream import StreamRestarted

_ASK_MS: Final = 1_000
_OPEN_MS: Final = 2_000  # how long the first answer waits for the broker
_RETRY_MS: Final = 1_000
_LOOK_MS: Final = 500  # how soon it is logged that the broker has gone or come back
_SILENT: Final = "it has fallen silent"


class Source(Protocol):
    """Where the application's answers come from."""

    @property
    def ring(self) -> EventRing:
        """The newest events."""
        ...

    @property
    def events(self) -> Events:
        """All events that are kept."""
        ...

    @property
    def table(self) -> LiveTable:
        """The rows of the page."""
        ...

    @property
    def streams(self) -> Streams:
        """Those who follow either."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether the registry is known and the broker is heard."""
        ...

    @property
    def heard_ms(self) -> int | None:
        """Unix milliseconds at which the broker was heard last; None if it never was."""
        ...

    async def picture(self, *, allow_stale: bool) -> Picture:
        """The registry as it is, or with `allow_stale` as it was last known.

        Raises:
            BrokerAwayError: The broker is away, and stale answers are not wanted or there is nothing to show.
        """
        ...

    async def resource(self, resource_id: str) -> Answer:
        """What the broker says of a resource.

        Raises:
            BrokerAwayError: It is not heard.
            TenureError: It refused, or could not be asked.
        """
        ...

    async def figures(self) -> Figures:
        """What is counted and measured.

        Raises:
            BrokerAwayError: The broker is not heard.
            TenureError: It could not be asked.
        """
        ...

    async def request[T: BrokerMessage](self, message: ClientMessage, answer: type[T]) -> T:
        """Ask the broker for anything else, or to change something.

        Raises:
            BrokerAwayError: It is not heard.
            TenureError: It refused, or could not be asked.
        """
        ...

    def changed(self, resource_id: str) -> None:
        """Something was changed about a resource: what was remembered of it is out of date."""
        ...

    def moving(self, registration_id: int, epoch: int) -> None:
        """A change of a registration's role was accepted, which waits for a tenure of its resource to end, or 0."""
        ...


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
        self._reader: Reader | None = None
        self._presence = Poll(partial(queries.presence, self), PRESENCE_INTERVAL_MS, _monotonic_ms, _unix_ms)
        self._figures = Poll(self._count, FIGURES_AGE_MS, _monotonic_ms, _unix_ms)
        self._answers = ResourceAnswers(self, _monotonic_ms, _unix_ms)
        self._was_tried = asyncio.Event()
        self._failure = _SILENT
        """Why the broker is not followed, when it is not."""
        self.ring = EventRing()
        """The newest events."""
        self.table = LiveTable(self)
        """The rows of the page."""
        self.streams = Streams((self.ring.bell, self.table.bell))
        """Those who follow either."""
        self.events = Events(self.ring, OldEvents(self), self.streams)
        """All events that are kept."""

    async def run(self) -> Never:
        """Follow for ever; a broker that is away is waited for."""
        telling = asyncio.create_task(self._tell())
        async with Reader(*self._endpoints, timeout_ms=_ASK_MS) as reader:
            self._reader = reader
            try:
                while True:
                    try:
                        await self._follow()
                    except TenureError as error:
                        self._failure = str(error)
                    self._was_tried.set()
                    await asyncio.sleep(_RETRY_MS / 1_000)
            finally:
                self._reader = None
                telling.cancel()

    @property
    def replica(self) -> Replica:
        """The registry as far as it is known."""
        return self._listener.replica

    @property
    def heard_ms(self) -> int | None:
        """Unix milliseconds at which the broker was heard last; None if it never was."""
        silent_ms = self._listener.silent_ms
        return None if silent_ms is None else _unix_ms() - round(silent_ms)

    @property
    def is_ready(self) -> bool:
        """Whether the registry is known and the broker is heard."""
        return self._listener.is_connected and bool(self.replica.history_id)

    async def picture(self, *, allow_stale: bool) -> Picture:
        """The registry as it is, or with `allow_stale` as it was last known; the first waits for the first try.

        Raises:
            BrokerAwayError: The broker is away, and stale answers are not wanted or there is nothing to show.
        """
        await self._was_tried.wait()
        try:
            presence, as_of_ms = await self.presence()
        except (BrokerAwayError, TenureError):  # the stream may not have fallen silent yet, but who is mute is away
            heard_ms, is_known = self.heard_ms, bool(self.replica.history_id)
            if heard_ms is None or not (allow_stale and is_known):
                raise BrokerAwayError(heard_ms, is_known=is_known) from None
            return Picture(
                replica=self.replica, lost=self.table.lost, presence={}, is_connected=False, as_of_ms=heard_ms
            )
        return Picture(
            replica=self.replica,
            lost=self.table.lost,
            presence=presence,
            is_connected=True,
            as_of_ms=as_of_ms,
        )

    async def presence(self) -> tuple[Mapping[int, Presence], int]:
        """What the broker observes of the sessions, and when.

        Raises:
            BrokerAwayError: It is not heard.
            TenureError: It could not be asked.
        """
        self._hear()
        return await self._presence.get()

    async def resource(self, resource_id: str) -> Answer:
        """What the broker says of a resource; whether a switchover is under way goes into the table.

        Raises:
            BrokerAwayError: It is not heard.
            TenureError: It refused, or could not be asked.
        """
        await self._was_tried.wait()
        self._hear()
        try:
            answer = await self._answers.get(resource_id)
        except NotFoundError:
            self.table.note_switchover(resource_id, 0)
            raise
        under_way = answer.found.resource.switchover
        self.table.note_switchover(resource_id, 0 if under_way is None else under_way.epoch)
        return answer

    async def figures(self) -> Figures:
        """What is counted here and measured by the broker; nobody asks for it more often than once in a second.

        Raises:
            BrokerAwayError: The broker is not heard.
            TenureError: It could not be asked.
        """
        await self._was_tried.wait()
        self._hear()
        figures, _ = await self._figures.get()
        return figures

    async def look_at(self, resource_id: str) -> None:
        """The same, for the table."""
        await self.resource(resource_id)

    async def request[T: BrokerMessage](self, message: ClientMessage, answer: type[T]) -> T:
        """Ask the broker.

        Raises:
            BrokerAwayError: It is not heard.
            TenureError: It refused, or could not be asked.
        """
        await self._was_tried.wait()
        return await self._hear().request(message, answer)

    def changed(self, resource_id: str) -> None:
        """Something was changed about a resource: what was remembered of it is out of date."""
        self._answers.forget(resource_id)

    def moving(self, registration_id: int, epoch: int) -> None:
        """A change of a registration's role was accepted, which waits for a tenure of its resource to end, or 0."""
        row = self.replica.rows.get(registration_id)
        if row is not None:
            self.changed(row.resource_id)
            if epoch:
                self.table.note_switchover(row.resource_id, epoch)

    async def _tell(self) -> Never:
        """Log whenever the broker goes, and comes back: the listener goes on by itself, and says nothing of either."""
        await self._was_tried.wait()
        told: str | None = None
        while True:
            failure = "" if self.is_ready else self._failure
            if failure != told:
                told = failure
                if failure:
                    self._log.warning("broker.unreachable", reason=failure, heard_ms=self.heard_ms)
                else:
                    replica = self.replica
                    self._log.info("broker.followed", revision=replica.revision, history_id=replica.history_id)
            await asyncio.sleep(_LOOK_MS / 1_000)

    def _hear(self) -> Reader:
        """The connection to the broker.

        Raises:
            BrokerAwayError: It is not heard.
        """
        if self._reader is None or not self._listener.is_connected:
            raise BrokerAwayError(self.heard_ms)
        return self._reader

    async def _count(self) -> Figures:
        measured = await queries.measurements(self)
        return await count(self.replica, self.table.lost.tenures, measured)

    async def _follow(self) -> None:
        """Follow until the listener cannot go on by itself."""
        async with EventListener(*self._endpoints, timeout_ms=_OPEN_MS) as listener:
            self._listener = listener  # from here on: until it has its snapshot, the one before is what is known
            self._begin()
            self._failure = _SILENT
            self._was_tried.set()
            async for event in listener:  # each event has gone into its replica by then
                if isinstance(event, StreamRestarted):
                    self._begin()
                else:
                    self.ring.append(event)
                    self.table.observe(event)
                    resource_id = getattr(event, "resource_id", None)
                    if resource_id is not None:
                        self.changed(resource_id)

    def _begin(self) -> None:
        """There is another replica."""
        self.ring.begin(self.replica.history_id, self.replica.revision)
        self.table.begin()


def _monotonic_ms() -> float:
    return monotonic() * 1_000


def _unix_ms() -> int:
    return int(time() * 1_000)
