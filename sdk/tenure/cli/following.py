"""The registry as a broker has it, live in this process: its events as they come, and how its sessions are doing.

Presence is no event and has to be asked for: every 500 ms, and less often where the answer is so long that it would
cost more than a twentieth of the time. Nothing is ever called live that may be out of date: the stream and the presence
must both have been heard just now.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from time import monotonic
from typing import Final, NamedTuple

from tenure.cli.board import Board
from tenure.cli.first import first_of
from tenure.cli.options import READ_TIMEOUT_MS
from tenure.cli.telling import Part, Sessions, names_in, sentence
from tenure.contract.errors import TenureError
from tenure.contract.events import AnyEvent
from tenure.contract.history import EventPage, ReadEvents
from tenure.sdk import EventListener, StreamRestarted, queries
from tenure.sdk.listener import SILENCE_MS
from tenure.sdk.reader import Reader

PRESENCE_INTERVAL_MS: Final = 500
_ASK_MS: Final = 1_000
_COST_MAX: Final = 1 / 20  # of the time may go into asking for presence
_INTERVAL_MS_MAX: Final = 5_000  # one slow answer is no reason to look away for long
_NEWS_MAX: Final = 200
_PAST_EVENTS: Final = 20  # shown at the start, so that the newest changes are there although nothing changes


class News(NamedTuple):
    """An event in words, as they were when it came: afterwards nobody knows whose session it was."""

    at_ms: int
    told: list[Part]
    names: str | None = None
    """Whom it is about, in lower case, for a filter; None if it is about all."""

    def is_about(self, letters: str) -> bool:
        """Whether a name that it is about contains these letters, which are in lower case."""
        return self.names is None or letters in self.names


class Following:
    """A board that follows a broker, and the newest events; `run` it beside what shows them."""

    def __init__(self, endpoints: tuple[str, ...], service_name: str | None = None) -> None:
        """Prepare to follow.

        Raises:
            InvalidEndpointError: An endpoint is not of a form that can be connected to.
        """
        self.board = Board(service_name)
        self._sessions = Sessions([])
        self.news: deque[News] = deque(maxlen=_NEWS_MAX)
        self.has_changed = asyncio.Event()
        """Set when there is something new to be shown; whoever shows it clears it."""
        self.is_open = False
        """Whether there has been a snapshot; before that there is nothing to show."""
        self.reader = Reader(*endpoints, timeout_ms=_ASK_MS)
        """For further questions to the same broker."""
        self._listener = EventListener(*endpoints, timeout_ms=READ_TIMEOUT_MS)
        self._observed_ms: float | None = None
        self._interval_ms: float = PRESENCE_INTERVAL_MS

    @property
    def is_live(self) -> bool:
        """Whether what is shown is the case now, as far as the broker knows."""
        if not self._listener.is_connected or self._observed_ms is None:
            return False
        return monotonic() * 1_000 - self._observed_ms <= self._interval_ms + SILENCE_MS

    @property
    def heard_ms(self) -> int:
        """Unix milliseconds at which the broker was last heard."""
        return round(time.time() * 1_000 - (self._listener.silent_ms or 0))

    async def run(self) -> None:
        """Follow for ever; a broker that goes away is waited for.

        Raises:
            BrokerUnavailableError: There was none at the start.
            TenureError: Going on is impossible, such as with a broker that speaks another version.
        """
        async with self.reader, self._listener as listener:
            self._begin(listener)
            await self._look_back()
            await first_of(self._follow(listener), self._watch_presence())

    async def _follow(self, listener: EventListener) -> None:
        async for event in listener:
            if isinstance(event, StreamRestarted):
                self._begin(listener)
                why = f"events are missing, all is read anew at revision {event.revision}: {event.reason}"
                self.news.append(News(round(time.time() * 1_000), [(why, "bold yellow")]))
            else:
                self.board.apply(event)
                self._tell(event)
            self.has_changed.set()

    async def _watch_presence(self) -> None:
        while True:
            began = monotonic()
            try:
                presence = await queries.presence(self.reader)
            except TenureError:
                pass  # the broker is away; the listener knows whether it can come back
            else:
                self._observed_ms = monotonic() * 1_000
                took_ms = self._observed_ms - began * 1_000
                self._interval_ms = min(max(PRESENCE_INTERVAL_MS, took_ms / _COST_MAX), _INTERVAL_MS_MAX)
                self.board.observe(presence)
                self.is_open = True
                self.has_changed.set()
            await asyncio.sleep(self._interval_ms / 1_000)

    def _begin(self, listener: EventListener) -> None:
        self._sessions = Sessions(listener.replica.instances())
        self.board.begin(listener.replica)

    async def _look_back(self) -> None:
        """Take in the newest events from before the snapshot, as many as the store still has of them."""
        newest = self.board.replica.revision
        since = max(0, newest - _PAST_EVENTS)
        if since == newest:
            return
        try:
            page = await self.reader.request(ReadEvents(since=since, limit=newest - since), EventPage)
        except TenureError:
            return
        for event in page.events:
            self._tell(event)

    def _tell(self, event: AnyEvent) -> None:
        self._sessions.learn(event)
        names = "\n".join(names_in(event, self._sessions)).lower()
        self.news.append(News(event.at_ms, sentence(event, self._sessions), names))
