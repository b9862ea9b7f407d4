"""A process that holds roles: the SDK's two cores, a shell like the SDK's, and an application that wants something.

What the application wants is kept in `wishes`: it registers again whenever it is not registered as it wishes to be, and
begins a new session whenever the old one has ended. What it believes is what `Registration.is_active` would tell it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Final, NamedTuple, Protocol

from tenure.contract import codec
from tenure.contract.errors import (
    DuplicateInstanceError,
    NotFoundError,
    RequestTimeoutError,
    StorageUnavailableError,
    TenureError,
)
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.messages import (
    BrokerMessage,
    CancelSwitchover,
    ClientMessage,
    Deregister,
    Deregistered,
    ExpireSession,
    GetResource,
    Goodbye,
    HeartbeatAck,
    Hello,
    ListServices,
    ProcessIdentity,
    Register,
    Registered,
    Resign,
    Resigned,
    Resource,
    RoleStatement,
    RoleStatements,
    ServicePage,
    Switchover,
)
from tenure.contract.vocabulary import Channel, OnConflict, ServiceRole, ServiceStatus
from tenure.sdk.requests import TICK_MS, RequestsCore
from tenure.sdk.session import Phase, SessionCore
from tenure.sdk.tenures import Held
from tests.simulation.machine import Machine
from tests.simulation.network import Link, Network, Weather
from tests.simulation.timeline import Process

TIMEOUT_MS: Final = 3_000.0
PAUSE_MS: Final = 100.0
"""How long an application waits before it asks again for what it did not get."""
_TICK_MS: Final = 5.0 * TICK_MS  # how often a busy event loop looks at requests that wait
_SOON_MS: Final = 1.0
_SERVICE: Final = "svc"
_OUTCOME_OPEN: Final = (RequestTimeoutError, StorageUnavailableError)
_CONTROL_ID: Final = b"c"

type Outcome = BrokerMessage | TenureError
type Weathers = dict[Channel, tuple[Weather, Weather]]


class Wish(NamedTuple):
    """What an application wants to be for a resource."""

    role: ServiceRole
    on_conflict: OnConflict
    priority: int = 0
    hold_limit_ms: int = 0

    @property
    def is_candidate(self) -> bool:
        """Whether it would fill any vacancy."""
        return self.role is ServiceRole.ACTIVE and self.on_conflict is OnConflict.STANDBY

    @property
    def is_claim(self) -> bool:
        """Whether it would rather not be registered than stand by."""
        return self.role is ServiceRole.ACTIVE and self.on_conflict is OnConflict.REJECT


class World(Protocol):
    """What a client needs of the world around it."""

    network: Network
    chance: Random
    counts: Counter[str]
    session_type: Callable[..., SessionCore]

    def secret(self) -> str:
        """A new session's secret."""
        ...

    def trace(self, who: str, what: object) -> None:
        """Note what happens."""

    def client_heard(self, client: Client, ack: HeartbeatAck) -> None:
        """A client has taken in the answer to a heartbeat."""


class Client(Process):
    """A process with a session, and those that take its place."""

    def __init__(self, world: World, name: str, machine: Machine, lease_ms: int, wishes: dict[str, Wish]) -> None:
        super().__init__(machine.timeline)
        self.name = name
        self.machine = machine
        self.lease_ms = lease_ms
        self.wishes = wishes
        self.status = ServiceStatus.HEALTHY
        self.weathers: Weathers = {
            channel: (Weather(world.chance.uniform(0.1, 4)), Weather(world.chance.uniform(0.1, 4)))
            for channel in Channel
        }
        self.is_local = world.chance.random() < 0.5
        """Whether the broker's kernel sees its exit."""
        self.is_scoped = world.chance.random() < 0.5
        """Whether its work runs in a scope, so that it resigns by itself when it is asked to; otherwise the SDK does."""
        self.never_ends = world.chance.random() < 0.7
        """Whether the work in its scope goes on although it is asked to end."""
        self.keeps_name = world.chance.random() < 0.5
        """Whether the process that takes its place has the same instance id."""
        self.run_number = 0
        self.control: Link | None = None
        self.channel: Link | None = None
        self.is_running = False
        self.limit_ms = lease_ms
        """The longest for which it may ever have believed to be active without a word from the broker."""
        self._wakes_ms = -1.0
        """When it is to wake up next; -1 if it is not."""
        self._world = world
        self._clear()

    def _clear(self) -> None:
        """A new session, of this process or of the one that takes its place."""
        self.core = self._world.session_type(self._world.secret(), self.lease_ms, process=self._process)
        self.core.status = self.status
        self.requests = RequestsCore(self._hello, ("ipc:///a",))
        self.held: dict[str, Held] = {}
        """The registrations that the application holds, by resource."""
        self.asked_for: dict[str, Wish] = {}
        """The newest wish that it has told, by resource."""
        self.resource_of: dict[int, str] = {}
        self._asking: set[str] = set()
        self._leaving: set[str] = set()
        for link in (self.control, self.channel):
            if link is not None:
                link.close()
        self.control = self.channel = None
        self._connection = 0
        self._then: dict[bytes, Callable[[Outcome], None]] = {}

    @property
    def _process(self) -> ProcessIdentity | None:
        return ProcessIdentity(pid=self.pid, start_ticks=1, pid_namespace=1) if self.is_local else None

    @property
    def pid(self) -> int:
        """Which process this is, as the kernel knows it."""
        return self.run_number * 100 + ord(self.name)

    @property
    def instance_id(self) -> str:
        """What its registrations are called."""
        return self.name if self.keeps_name else f"{self.name}{self.run_number}"

    def beliefs(self) -> Sequence[tuple[str, Held]]:
        """What it would act for at this moment: the resource, and the registration that it holds for it."""
        return [
            (self.resource_of[number], held)
            for number, held in self.core.registrations.items()
            if held.standing.epoch and held.standing.is_active(self.machine.reading)
        ]

    # --- its life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The process starts."""
        self.run_number += 1
        self.is_running = True
        self._clear()
        self.turn()

    def die(self) -> int:
        """The process is killed; which one it was. What it sent before may still arrive."""
        self.end()
        self._wakes_ms = -1.0
        self.is_running = False
        self._clear()
        return self.pid

    def turn(self) -> None:
        """The process runs for a moment: both its threads look at what there is to do."""
        now = self.machine.reading
        if self.core.phase is Phase.ENDED:
            self._clear()
        heartbeat = self.core.advance(now)
        if self.core.take_connect(now):
            self.control = self._connect(Channel.CONTROL, self.control)
            self._say(self.core.hello())
        elif heartbeat is not None:
            self._say(heartbeat)
        if self.requests.advance(now.raw_ms):
            self.channel = self._connect(Channel.REQUESTS, self.channel)
        if self.core.is_connected:
            for resource_id in self.wishes:
                self._want(resource_id)
        self._flush()
        self._conclude()
        self._sleep()

    def _sleep(self) -> None:
        """Wake up when there is something to do, at the latest."""
        wait_ms = max(_SOON_MS, self.core.next_wake_ms(self.machine.reading))
        if not self.requests.is_idle:
            wait_ms = min(wait_ms, _TICK_MS)
        self._wake_in(wait_ms)

    def _wake_in(self, wait_ms: float) -> None:
        wakes_ms = self.timeline.now_ms + wait_ms
        if not self.timeline.now_ms <= self._wakes_ms <= wakes_ms:
            self._wakes_ms = wakes_ms
            self.later(wait_ms, partial(self._wake, wakes_ms))

    def _wake(self, at_ms: float) -> None:
        if at_ms == self._wakes_ms:
            self._wakes_ms = -1.0
            self.turn()

    # --- the shell ----------------------------------------------------------------------------------------------------

    def _connect(self, channel: Channel, before: Link | None) -> Link:
        if before is not None:
            before.close()
        in_order = channel is Channel.REQUESTS
        return self._world.network.connect(self.weathers[channel], self._arrive, in_order=in_order)

    def _say(self, message: ClientMessage) -> None:
        if self.control is not None:
            self._world.trace(self.name, message)
            self.control.send(_CONTROL_ID, codec.encode(message))

    def _flush(self) -> None:
        if self.channel is not None:
            for request_id, body in self.requests.sendable(self.machine.reading.raw_ms):
                self._world.trace(self.name, body)
                self.channel.send(request_id, body)

    def _arrive(self, link: Link, request_id: bytes, message: BrokerMessage) -> None:
        self.run(partial(self._receive, link, request_id, message), self.incarnation)

    def _receive(self, link: Link, request_id: bytes, message: BrokerMessage) -> None:
        """A message has come; on a connection that was given up, nobody reads it."""
        if link.is_closed:
            return
        self._world.trace(f"{self.name} reads", message)
        now = self.machine.reading
        self._note_overtaken(message)
        if link is self.control:
            again = self.core.receive(message, now)
            if again is not None:
                self._say(again)
            if isinstance(message, HeartbeatAck):
                self._world.client_heard(self, message)
            self._look_at_changes()
            self.turn()
        else:
            self.requests.receive(request_id, message, now.raw_ms)
            self._conclude()
            self._flush()

    def _look_at_changes(self) -> None:
        """A scope is told of what has changed: it stops its work when it is asked to, and then resigns."""
        changed, self.core.changed = self.core.changed, []
        for held in changed:
            ask = held.ask
            if ask is not None and ask.epoch == held.standing.epoch and held.is_scoped and not self.never_ends:
                ms = self._world.chance.random() * max(0.0, self.machine.reading.until_ms(ask.until))
                self.later(ms, partial(self.resign, self.resource_of[held.registration_id]))

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
                self._world.counts["statements overtaken"] += 1

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

    def _ask(self, message: ClientMessage, then: Callable[[Outcome], None], timeout_ms: float = TIMEOUT_MS) -> None:
        was_idle = self.requests.is_idle
        now_ms = self.machine.reading.raw_ms
        self._then[self.requests.submit(message, now_ms, timeout_ms)] = then
        if was_idle:
            self._wake_in(_SOON_MS)
        self._flush()

    def _conclude(self) -> None:
        outcomes, self.requests.outcomes = self.requests.outcomes, []
        for request_id, outcome in outcomes:
            then = self._then.pop(request_id, None)
            if then is not None:
                then(outcome)

    # --- what the application does ------------------------------------------------------------------------------------

    def _want(self, resource_id: str) -> None:
        """Register for a resource, unless that is so, under way, or being undone."""
        held = self.held.get(resource_id)
        if held is None or held.standing.is_ended or self.asked_for[resource_id] != self.wishes[resource_id]:
            self.register(resource_id)

    def register(self, resource_id: str) -> None:
        """Ask for what it wishes to be; once more if it is registered already."""
        if resource_id in self._asking or resource_id in self._leaving or not self.core.session:
            return
        wish = self.asked_for[resource_id] = self.wishes[resource_id]
        self.limit_ms = max(self.limit_ms, wish.hold_limit_ms)
        item = Register(
            service_name=_SERVICE,
            instance_id=self.instance_id,
            resource_id=resource_id,
            role=wish.role,
            on_conflict=wish.on_conflict,
            priority=wish.priority,
            hold_limit_ms=wish.hold_limit_ms if wish.hold_limit_ms > self.core.lease_ms else 0,
        )
        self._asking.add(resource_id)
        self._ask(item, partial(self._registered, resource_id))

    def _registered(self, resource_id: str, outcome: Outcome) -> None:
        if isinstance(outcome, Registered):
            self._asking.discard(resource_id)
            self.resource_of[outcome.registration_id] = resource_id
            held = self.core.adopt(outcome, self.machine.reading)
            if not held.standing.is_ended:
                held.is_scoped = self.is_scoped
                self.held[resource_id] = held
            return
        pause_ms = PAUSE_MS
        if isinstance(outcome, DuplicateInstanceError):
            pause_ms = max(pause_ms, outcome.retry_after_ms)
        self.later(pause_ms, partial(self._asking.discard, resource_id))
        if isinstance(outcome, _OUTCOME_OPEN) and resource_id not in self.held:
            self._leaving.add(resource_id)
            self._find(resource_id)

    def _find(self, resource_id: str) -> None:
        """Nobody waits for this registration any more, but it may exist: find out, and end it if it does."""
        message = ListServices(service_name=_SERVICE, resource_id=resource_id)
        self._ask(message, partial(self._found, resource_id))

    def _found(self, resource_id: str, outcome: Outcome) -> None:
        if not isinstance(outcome, ServicePage):
            if self.core.phase is not Phase.ENDED:
                self._find(resource_id)
            return
        self._leaving.discard(resource_id)
        for one in outcome.instances:
            if (one.session, one.instance_id) == (self.core.session, self.instance_id):
                registered = Registered(
                    registration_id=one.registration_id,
                    resource_id=resource_id,
                    role=one.role,
                    epoch=one.epoch,
                    revision=one.role_revision,
                )
                self.resource_of[one.registration_id] = resource_id
                self.held[resource_id] = self.core.adopt(registered, self.machine.reading)
                self.deregister(resource_id)

    def resign(self, resource_id: str) -> None:
        """Step down first, then tell."""
        held = self.held.get(resource_id)
        if held is not None and (epoch := self.core.step_down(held, "it resigned", declined=True)):
            self._ask(Resign(registration_id=held.registration_id, epoch=epoch), self._resigned)

    def _resigned(self, outcome: Outcome) -> None:
        if isinstance(outcome, Resigned):
            self.core.apply(outcome.statement, self.machine.reading)

    def deregister(self, resource_id: str) -> None:
        """Leave first, then tell until it is answered."""
        held = self.held.pop(resource_id, None)
        if held is not None and not held.standing.is_ended:
            self._leaving.add(resource_id)
            self._tell_end(resource_id, held, self.core.end_registration(held, "it was deregistered"))

    def _tell_end(self, resource_id: str, held: Held, epoch: int) -> None:
        message = Deregister(registration_id=held.registration_id, epoch=epoch)
        self._ask(message, partial(self._deregistered, resource_id, held))

    def _deregistered(self, resource_id: str, held: Held, outcome: Outcome) -> None:
        if isinstance(outcome, (Deregistered, NotFoundError)):
            self.core.forget(held)
            self._leaving.discard(resource_id)
        elif self.core.phase is not Phase.ENDED:  # it may have been promoted meanwhile, or nobody may have answered
            self._ask(GetResource(resource_id=resource_id), partial(self._looked_up, resource_id, held))

    def _looked_up(self, resource_id: str, held: Held, outcome: Outcome) -> None:
        active = outcome.resource.active if isinstance(outcome, Resource) else None
        is_ours = active is not None and active.registration_id == held.registration_id
        self._tell_end(resource_id, held, active.epoch if active is not None and is_ours else 0)

    def leave(self) -> None:
        """Say goodbye: first nothing is active any more, then the broker is told; another session is begun later."""
        self.core.end("its client was closed")
        self._then.clear()
        self._ask(Goodbye(), lambda _: None)
        self._flush()
        self._wakes_ms = -1.0
        self._wake_in(PAUSE_MS)

    def operate(self, request: Switchover | CancelSwitchover | ExpireSession) -> None:
        """Send what an operator asks for, without caring for the answer."""
        self._ask(request, lambda _: None)

    def set_status(self, status: ServiceStatus) -> None:
        """Report another status from the next heartbeat on."""
        self.status = self.core.status = status

