"""A process that follows events: the SDK's stream, replica and snapshot, in a shell like `tenure.sdk.listener`.

The stream reaches it over a pipe that loses and delays, into a queue that is short; the rest it reads from the broker.
The shell is one coroutine that is woken whenever something may have changed, as an event loop would.
"""

from __future__ import annotations

import types
from collections import Counter, deque
from collections.abc import Generator
from functools import partial
from random import Random
from typing import Final, Protocol

from tenure.contract import codec
from tenure.contract.errors import ProtocolError, RequestRefusedError, TenureError
from tenure.contract.events import AnyEvent
from tenure.contract.history import EventPage, ReadEvents
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.messages import BrokerMessage, ClientMessage, Hello, StreamMessage
from tenure.sdk.listener import SILENCE_MS
from tenure.sdk.replica import Replica
from tenure.sdk.requests import TICK_MS, RequestsCore
from tenure.sdk.snapshot import take_snapshot
from tenure.sdk.stream import StreamCore, StreamRestarted
from tests.simulation.machine import Machine
from tests.simulation.network import Link, Network, Pipe, Weather
from tests.simulation.shell import TIMEOUT_MS, Outcome
from tests.simulation.timeline import Process

_QUEUE_MAX: Final = 8
_RETRY_MS: Final = 500.0
_PAGE_MAX: Final = 40  # small, so that a listener that is behind reads several


class World(Protocol):
    """What a listener needs of the world around it."""

    network: Network
    chance: Random
    counts: Counter[str]
    stream_type: type[StreamCore]

    def listener_begins(self, history_id: str, revision: int) -> None:
        """The listener has its first snapshot."""

    def listener_is_told(self, told: AnyEvent | StreamRestarted) -> None:
        """The listener hands something out."""


@types.coroutine
def _turn() -> Generator[None]:
    """Let go until something may have changed."""
    yield


class Listener(Process):
    """One listener, from its start to the end of the run."""

    def __init__(self, world: World, machine: Machine) -> None:
        super().__init__(machine.timeline)
        self.machine = machine
        self.weathers = (Weather(1.0), Weather(1.0))
        self.stream_weather = Weather(1.0)
        self.subscription: Pipe[bytes] = Pipe(world.network, self.stream_weather, self._hear, in_order=True)
        self.replica = Replica()
        self.core: StreamCore | None = None
        """None until it has its first snapshot."""
        self._world = world
        self._requests = RequestsCore(_hello, ("ipc:///a",))
        self._link: Link | None = None
        self._outcomes: dict[bytes, Outcome] = {}
        self._heard: deque[StreamMessage] = deque()
        self._heard_ms = 0.0
        self._work = self._follow()

    def start(self) -> None:
        """The process starts."""
        self._beat()

    # --- the shell's event loop ---------------------------------------------------------------------------------------

    def _beat(self) -> None:
        """Look at the time, at least as often as waiting requests need it."""
        now_ms = self.machine.reading.raw_ms
        if self._requests.advance(now_ms):
            if self._link is not None:
                self._link.close()
            self._link = self._world.network.connect(self.weathers, self._arrive, in_order=True)
        self._go_on()
        self.later(_TICK_MS if self._requests.is_idle else TICK_MS, self._beat)

    def _go_on(self) -> None:
        self._flush()
        outcomes, self._requests.outcomes = self._requests.outcomes, []
        self._outcomes.update(outcomes)
        self._work.send(None)
        self._flush()

    def _flush(self) -> None:
        if self._link is not None:
            for request_id, body, _ in self._requests.sendable(self.machine.reading.raw_ms):
                self._link.send(request_id, body)

    def _arrive(self, link: Link, request_id: bytes, message: BrokerMessage) -> None:
        self.run(partial(self._receive, link, request_id, message), self.incarnation)

    def _receive(self, link: Link, request_id: bytes, message: BrokerMessage) -> None:
        if not link.is_closed:
            self._requests.receive(request_id, message, self.machine.reading.raw_ms)
            self._go_on()

    def _hear(self, body: bytes) -> None:
        """Something published has arrived; what the queue cannot hold is lost."""
        if len(self._heard) >= _QUEUE_MAX:
            self._world.counts["publications lost"] += 1
            return
        self._heard.append(codec.decode_stream(body))
        if not self.is_paused:
            self._go_on()

    # --- what `EventListener` does ------------------------------------------------------------------------------------

    async def request[T: BrokerMessage](self, message: ClientMessage, answer: type[T]) -> T:
        """Ask, as often as it takes until there is an answer or a refusal that counts."""
        while True:
            request_id = self._requests.submit(message, self.machine.reading.raw_ms, TIMEOUT_MS)
            while request_id not in self._outcomes:
                await _turn()
            outcome = self._outcomes.pop(request_id)
            if isinstance(outcome, RequestRefusedError):
                raise outcome
            if isinstance(outcome, answer):
                return outcome
            if not isinstance(outcome, TenureError):
                raise ProtocolError(f"{type(message).__name__} was answered with {type(outcome).__name__}")
            await self._sleep(_RETRY_MS)

    async def _sleep(self, ms: float) -> None:
        until_ms = self.machine.reading.raw_ms + ms
        while self.machine.reading.raw_ms < until_ms:
            await _turn()

    async def _follow(self) -> None:
        while not self._heard:
            await _turn()
        self.replica = await self._snapshot()
        self._world.listener_begins(self.replica.history_id, self.replica.revision)
        self.core = self._world.stream_type(self.replica.history_id, self.replica.revision)
        self.core.check(self.replica.history_id, self.replica.revision)
        while True:
            core = self.core
            event = core.take()
            if event is not None:
                self._world.listener_is_told(event)
                assert self.replica.apply(event), "the stream has left events out"
            elif core.restart is not None:
                replica = await self._snapshot()
                self._world.listener_is_told(core.break_at(replica.history_id, replica.revision))
                self.replica, self.core = replica, self._world.stream_type(replica.history_id, replica.revision)
            elif core.missing_since is not None:
                await self._fill(core, core.missing_since)
            else:
                await self._listen(core)

    async def _snapshot(self) -> Replica:
        while True:
            try:
                return await take_snapshot(self)
            except RequestRefusedError:
                await self._sleep(_RETRY_MS)

    async def _fill(self, core: StreamCore, since: int) -> None:
        try:
            page = await self.request(ReadEvents(since=since, limit=_PAGE_MAX), EventPage)
        except RequestRefusedError as refusal:
            if not core.refused(refusal):
                await self._sleep(_RETRY_MS)
            return
        self._world.counts["pages of events read"] += 1
        core.fill(page)

    async def _listen(self, core: StreamCore) -> None:
        self._heard_ms = self.machine.reading.raw_ms
        while not self._heard:
            if self.machine.reading.raw_ms - self._heard_ms > SILENCE_MS:
                core.subscribed()
                return
            await _turn()
        core.receive(self._heard.popleft())


_TICK_MS: Final = 100.0


def _hello() -> Hello:
    return Hello(version=PROTOCOL_VERSION)
