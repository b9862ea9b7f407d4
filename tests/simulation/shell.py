"""A process with a session: the SDK's two pure cores, and a shell around them like the SDK's own.

It moves messages between the cores and the network, tells the cores the time, and wakes up when they want to be. What
the process is there for is the application's business, which is in `tests.simulation.client`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final, Protocol

from tenure.contract import codec
from tenure.contract.errors import TenureError
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.messages import (
    BrokerMessage,
    ClientMessage,
    HeartbeatAck,
    Hello,
    ProcessIdentity,
    Registered,
    Resigned,
    RoleStatement,
    RoleStatements,
)
from tenure.contract.vocabulary import Channel
from tenure.sdk.requests import TICK_MS, RequestsCore
from tenure.sdk.session import Phase, SessionCore
from tests.simulation.machine import Machine
from tests.simulation.network import Link, Network, Weather
from tests.simulation.timeline import Process

TIMEOUT_MS: Final = 3_000.0
PAUSE_MS: Final = 100.0
"""How long an application waits before it asks again for what it did not get."""
_TICK_MS: Final = 5.0 * TICK_MS  # how often a busy event loop looks at requests that wait
_SOON_MS: Final = 1.0
_CONTROL_ID: Final = b"c"

type Outcome = BrokerMessage | TenureError
type Weathers = dict[Channel, tuple[Weather, Weather]]


class World(Protocol):
    """What a process with a session needs of the world around it."""

    network: Network
    chance: Random
    counts: Counter[str]
    session_type: Callable[..., SessionCore]

    def secret(self) -> str:
        """A new session's secret."""
        ...

    def trace(self, who: str, what: object) -> None:
        """Note what happens."""

    def client_heard(self, shell: Shell, ack: HeartbeatAck) -> None:
        """The answer to a heartbeat was taken in."""


class Shell(Process):
    """A process with a session, and those that take its place under the same name."""

    def __init__(self, world: World, name: str, machine: Machine, lease_ms: int) -> None:
        super().__init__(machine.timeline)
        self.world = world
        self.name = name
        self.machine = machine
        self.lease_ms = lease_ms
        self.is_local = world.chance.random() < 0.5
        """Whether it is on the broker's machine, whose kernel sees its exit. Its clocks are its own all the same."""
        latencies_ms = (0.01, 0.1) if self.is_local else (0.1, 4.0)
        self.weathers: Weathers = {
            channel: (Weather(world.chance.uniform(*latencies_ms)), Weather(world.chance.uniform(*latencies_ms)))
            for channel in Channel
        }
        """How each channel is doing, to the broker and back."""
        self.is_running = False
        self.run_number = 0
        self._control: Link | None = None
        self._channel: Link | None = None
        self._wakes_ms = -1.0
        """When it is to wake up next; -1 if it is not."""
        self.begin()

    @property
    def pid(self) -> int:
        """Which process this is, as the kernel knows it."""
        return self.run_number * 100 + ord(self.name)

    # --- its life -----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A new session, of this process or of the one that takes its place."""
        process = ProcessIdentity(pid=self.pid, start_ticks=1, pid_namespace=1) if self.is_local else None
        self.core = self.world.session_type(self.world.secret(), self.lease_ms, process=process)
        self.requests = RequestsCore(self._hello, ("ipc:///a",))
        for link in (self._control, self._channel):
            if link is not None:
                link.close()
        self._control = self._channel = None
        self._connection = 0
        self._then: dict[bytes, Callable[[Outcome], None]] = {}
        self._sent: set[bytes] = set()

    def start(self) -> None:
        """The process starts."""
        self.run_number += 1
        self.is_running = True
        self.begin()
        self.turn()

    def die(self) -> int:
        """The process is killed; which one it was. What it sent before may still arrive."""
        self.end()
        self._wakes_ms = -1.0
        self.is_running = False
        self.begin()
        return self.pid

    def turn(self) -> None:
        """The process runs for a moment: both its threads look at what there is to do."""
        now = self.machine.reading
        if self.core.phase is Phase.ENDED:
            self.begin()
        heartbeat = self.core.advance(now)
        if self.core.take_connect(now):
            self._control = self._connect(Channel.CONTROL, self._control)
            self._say(self.core.hello())
        elif heartbeat is not None:
            self._say(heartbeat)
        if self.requests.advance(now.raw_ms):
            self._channel = self._connect(Channel.REQUESTS, self._channel)
        if self.core.is_connected:
            self.act()
        self._flush()
        self._conclude()
        self._sleep()

    @abstractmethod
    def act(self) -> None:
        """The application may do something: the broker answers."""

    @abstractmethod
    def look_at_changes(self) -> None:
        """The application may have been told something."""

    def wake_in(self, wait_ms: float) -> None:
        """Have a turn in so many milliseconds, or before."""
        wakes_ms = self.timeline.now_ms + wait_ms
        if not self.timeline.now_ms <= self._wakes_ms <= wakes_ms:
            self._wakes_ms = wakes_ms
            self.later(wait_ms, partial(self._wake, wakes_ms))

    def _sleep(self) -> None:
        wait_ms = max(_SOON_MS, self.core.next_wake_ms(self.machine.reading))
        if not self.requests.is_idle:
            wait_ms = min(wait_ms, _TICK_MS)
        self.wake_in(wait_ms)

    def _wake(self, at_ms: float) -> None:
        if at_ms == self._wakes_ms:
            self._wakes_ms = -1.0
            self.turn()

    # --- messages -----------------------------------------------------------------------------------------------------

    def ask(self, message: ClientMessage, then: Callable[[Outcome], None]) -> None:
        """Submit a request; `then` is told what it has come to."""
        was_idle = self.requests.is_idle
        self._then[self.requests.submit(message, self.machine.reading.raw_ms, TIMEOUT_MS)] = then
        if was_idle:
            self.wake_in(_SOON_MS)
        self._flush()

    def reconnect(self) -> Hello:
        """Give the control connection up and make another one; what is said on it first."""
        self.core.lose_connection()
        self.turn()
        return self.core.hello()

    def forget_requests(self) -> None:
        """Nobody waits for what was asked so far."""
        self._then.clear()

    def _connect(self, channel: Channel, before: Link | None) -> Link:
        if before is not None:
            before.close()
        in_order = channel is Channel.REQUESTS
        return self.world.network.connect(self.weathers[channel], self._arrive, in_order=in_order)

    def _say(self, message: ClientMessage) -> None:
        if self._control is not None:
            self.world.trace(self.name, message)
            self._control.send(_CONTROL_ID, codec.encode(message))

    def _flush(self) -> None:
        if self._channel is not None:
            for request_id, body, _ in self.requests.sendable(self.machine.reading.raw_ms):
                self.world.trace(self.name, body)
                self._channel.send(request_id, body)
                if request_id in self._sent and request_id in self._then:
                    self.world.counts["requests repeated"] += 1
                self._sent.add(request_id)

    def _arrive(self, link: Link, request_id: bytes, message: BrokerMessage) -> None:
        self.run(partial(self._receive, link, request_id, message), self.incarnation)

    def _receive(self, link: Link, request_id: bytes, message: BrokerMessage) -> None:
        """A message has come; on a connection that was given up, nobody reads it."""
        if link.is_closed:
            return
        self.world.trace(f"{self.name} reads", message)
        self._note_overtaken(message)
        now = self.machine.reading
        if link is not self._control:
            self.requests.receive(request_id, message, now.raw_ms)
            self._conclude()
            self._flush()
            return
        again = self.core.receive(message, now)
        if again is not None:
            self._say(again)
        if isinstance(message, HeartbeatAck):
            self.world.client_heard(self, message)
        self.look_at_changes()
        self.turn()

    def _conclude(self) -> None:
        outcomes, self.requests.outcomes = self.requests.outcomes, []
        for request_id, outcome in outcomes:
            then = self._then.pop(request_id, None)
            if then is not None:
                then(outcome)

    def _note_overtaken(self, message: BrokerMessage) -> None:
        """Count what is told of a role later than something newer."""
        statements: tuple[RoleStatement | Registered, ...] = ()
        match message:
            case RoleStatements(statements=told) | HeartbeatAck(statements=told):
                statements = told
            case Resigned(statement=one):
                statements = (one,)
            case Registered():
                statements = (message,)
            case _:
                pass
        for statement in statements:
            held = self.core.registrations.get(statement.registration_id)
            if held is not None and held.standing.revision > statement.revision:
                self.world.counts["statements overtaken"] += 1

    def _hello(self) -> Hello:
        self._connection += 1
        return Hello(
            version=PROTOCOL_VERSION,
            session_id=self.core.session_id,
            resume=True,
            connection=self._connection,
            lease_ms=self.lease_ms,
            history_id=self.core.history_id,
            last_revision=self.core.last_revision,
        )
