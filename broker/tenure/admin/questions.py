"""What has to be asked of the broker: once for all readers, remembered for a moment, and never in a flood.

However many ask here, the broker sees one question about presence each 500 ms at most, one about a resource each 500 ms
at most, one about what it measures each second at most, and pages of old events at a walking pace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final

from msgspec import Struct

from tenure.contract.history import EventPage, ReadEvents, TenurePage
from tenure.contract.messages import GetResource, Resource
from tenure.sdk import queries

PRESENCE_INTERVAL_MS: Final = 500
"""How old what is said about leases may be."""
RESOURCE_AGE_MS: Final = 500
"""How old what the broker said of one resource may be."""
FIGURES_AGE_MS: Final = 1_000
"""How old what is counted and measured may be: scrapes are seldom more frequent, and many scrapers cost as one."""
_RESOURCES_KEPT: Final = 1_000  # answers that are remembered, of some kilobytes each
_STORE_PAUSE_MS: Final = 50  # between two pages of old events, of all readers together
_TENURES_PAUSE_MS: Final = 10  # between two pages of tenures, of all readers together
_RESOURCE_PAUSE_MS: Final = 5  # between two questions about resources, of all readers together


class Poll[T]:
    """Asks the same question at most every so often, however many want to know."""

    def __init__(
        self,
        question: Callable[[], Awaitable[T]],
        interval_ms: float,
        now_ms: Callable[[], float],
        unix_ms: Callable[[], int],
    ) -> None:
        self._question = question
        self._interval_ms = interval_ms
        self._now_ms = now_ms
        self._unix_ms = unix_ms
        self._asked_ms = 0.0
        self._known: tuple[T, int] | None = None
        self._asking: asyncio.Task[tuple[T, int]] | None = None

    async def get(self) -> tuple[T, int]:
        """The newest answer, and when it was asked for (unix milliseconds).

        Raises:
            TenureError: There is none that is new enough, and it could not be asked for.
        """
        if self._known is not None and self._now_ms() - self._asked_ms < self._interval_ms:
            return self._known
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(_take_note)
        return await asyncio.shield(self._asking)  # whoever hangs up must not end it for the others

    async def _ask(self) -> tuple[T, int]:
        asked_ms, as_of_ms = self._now_ms(), self._unix_ms()
        try:
            self._known = (await self._question(), as_of_ms)
            self._asked_ms = asked_ms
            return self._known
        finally:
            self._asking = None


class Pace:
    """Lets questions pass one at a time, with a pause after each."""

    def __init__(self, pause_ms: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._pause_ms = pause_ms
        self._sleep = sleep
        self._turn = asyncio.Lock()
        self._free_ms = 0.0

    async def take[T](self, question: Callable[[], Awaitable[T]]) -> T:
        """Ask when it is one's turn, and give back what is answered or raised. May be cancelled."""
        async with self._turn:
            wait_ms = self._free_ms - monotonic() * 1_000
            if wait_ms > 0:
                await self._sleep(wait_ms / 1_000)
            try:
                return await question()
            finally:
                self._free_ms = monotonic() * 1_000 + self._pause_ms


class Answer(Struct, frozen=True, kw_only=True):
    """What the broker said of a resource."""

    found: Resource
    as_of_ms: int
    """Unix milliseconds at which it was asked."""


class ResourceAnswers:
    """What the broker said of resources, each asked for at most every 500 ms."""

    def __init__(self, asks: queries.Asks, now_ms: Callable[[], float], unix_ms: Callable[[], int]) -> None:
        self._asks = asks
        self._now_ms = now_ms
        self._unix_ms = unix_ms
        self._pace = Pace(_RESOURCE_PAUSE_MS)
        self._answers: dict[str, tuple[float, Answer]] = {}
        self._asking: dict[str, asyncio.Task[Answer]] = {}

    async def get(self, resource_id: str) -> Answer:
        """What the broker says of a resource, or said within the last 500 ms.

        Raises:
            TenureError: It was refused or not answered.
        """
        known = self._answers.get(resource_id)
        if known is not None and self._now_ms() - known[0] < RESOURCE_AGE_MS:
            return known[1]
        asking = self._asking.get(resource_id)
        if asking is None:
            asking = self._asking[resource_id] = asyncio.create_task(self._ask(resource_id))
            asking.add_done_callback(_take_note)
        return await asyncio.shield(asking)

    def forget(self, resource_id: str) -> None:
        """Something has changed about it: the next one asks anew, also while an answer of before is on its way."""
        self._answers.pop(resource_id, None)
        self._asking.pop(resource_id, None)

    async def _ask(self, resource_id: str) -> Answer:
        asking = asyncio.current_task()
        try:
            found, asked_ms, as_of_ms = await self._pace.take(lambda: self._put(resource_id))
        except BaseException:
            if self._asking.get(resource_id) is asking:
                del self._asking[resource_id]
            raise
        answer = Answer(found=found, as_of_ms=as_of_ms)
        if self._asking.get(resource_id) is asking:
            del self._asking[resource_id]
            self._answers.pop(resource_id, None)  # to the end of the order, where the newest are
            self._answers[resource_id] = (asked_ms, answer)
            if len(self._answers) > _RESOURCES_KEPT:
                del self._answers[next(iter(self._answers))]
        return answer

    async def _put(self, resource_id: str) -> tuple[Resource, float, int]:
        asked_ms, as_of_ms = self._now_ms(), self._unix_ms()
        return await self._asks.request(GetResource(resource_id=resource_id), Resource), asked_ms, as_of_ms


class OldEvents:
    """Pages of events and tenures from the broker's store."""

    def __init__(self, asks: queries.Asks, pause_ms: float = _STORE_PAUSE_MS) -> None:
        self._asks = asks
        self._pace = Pace(pause_ms)
        self._tenure_pace = Pace(min(pause_ms, _TENURES_PAUSE_MS))

    async def read(self, since: int, limit: int) -> EventPage:
        """The first events after a revision.

        Raises:
            RevisionCompactedError: They are not kept any more.
            TenureError: It was refused or not answered.
        """
        return await self._pace.take(lambda: self._asks.request(ReadEvents(since=since, limit=limit), EventPage))

    async def tenures(self, resource_id: str, before: int, limit: int) -> TenurePage:
        """The newest tenures of a resource, or those before an epoch.

        Raises:
            NotFoundError: The store knows no such resource.
            TenureError: It was refused or not answered.
        """
        return await self._tenure_pace.take(lambda: queries.tenures(self._asks, resource_id, before, limit))


def _take_note(asking: asyncio.Task[Any]) -> None:
    """Whoever asked may have hung up: a failure that nobody waited for is no concern of anybody."""
    if not asking.cancelled():
        asking.exception()
