"""A registry on a stage: clients that speak, a clock that is told the time, and a store that keeps what it is given.

Tests of the domain are written with it so that they read as transcripts. It never decides anything itself; a request
that is refused raises the exception its code stands for. Everything decided is committed at once unless a test says
otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from tenure.contract.errors import refusal_from
from tenure.contract.events import AnyEvent
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.messages import (
    BrokerMessage,
    ClientMessage,
    Deregister,
    Deregistered,
    Entered,
    ErrorReply,
    Farewell,
    GetResource,
    GivenUp,
    Goodbye,
    Heartbeat,
    HeartbeatAck,
    Hello,
    ListPresence,
    ListServices,
    PresencePage,
    Register,
    Registered,
    RegisteredMany,
    RegisterMany,
    Resign,
    Resigned,
    Resource,
    ServicePage,
    Welcome,
)
from tenure.contract.views import Move, Pause, Presence, ResourceView
from tenure.contract.vocabulary import ChangeReason, OnConflict, ServiceRole, ServiceStatus
from tenure.domain.limits import RegistryLimits
from tenure.domain.records import (
    Change,
    DropPause,
    DropRegistration,
    DropSession,
    ForgetResource,
    Instant,
    PutPause,
    PutRegistration,
    PutSession,
    PutTenure,
    Registration,
    Session,
    StoredState,
    Tenure,
)
from tenure.domain.registry import Decision, Origin, Registry

HISTORY = "history-of-the-scene"
LEASE_MS = 2_000
EMPTY = StoredState(history_id=HISTORY, revision=0, sessions=(), registrations=(), tenures=())


class Ledger:
    """The simplest store there is: dictionaries that take in changes."""

    def __init__(self) -> None:
        self.revision = 0
        self.sessions: dict[int, Session] = {}
        self.registrations: dict[int, Registration] = {}
        self.tenures: dict[str, Tenure] = {}
        self.pauses: dict[str, Pause] = {}

    def take(self, changes: Iterable[Change], revision: int) -> None:
        """Keep the changes, the newest event being `revision`."""
        self.revision = revision
        for change in changes:
            match change:
                case PutSession(session):
                    self.sessions[session.number] = session
                case DropSession(number):
                    del self.sessions[number]
                case PutRegistration(registration):
                    self.registrations[registration.registration_id] = registration
                case DropRegistration(registration_id):
                    del self.registrations[registration_id]
                case PutTenure(tenure):
                    self.tenures[tenure.resource_id] = tenure
                case ForgetResource(resource_id):
                    del self.tenures[resource_id]
                case PutPause(pause):
                    self.pauses[pause.resource_id] = pause
                case DropPause(resource_id):
                    del self.pauses[resource_id]

    def stored(self) -> StoredState:
        """What a store hands back at a start."""
        by_end = sorted(self.tenures.values(), key=lambda tenure: tenure.end_revision or 0)
        return StoredState(
            history_id=HISTORY,
            revision=self.revision,
            sessions=tuple(self.sessions.values()),
            registrations=tuple(self.registrations.values()),
            tenures=tuple(by_end),
            pauses=tuple(self.pauses.values()),
        )

    def all_tenures(self) -> list[Tenure]:
        """What a verification reads: those that have ended and those that last, by epoch."""
        lasting = [
            Tenure(
                epoch=one.epoch,
                resource_id=one.resource_id,
                service_name=one.service_name,
                instance_id=one.instance_id,
                began_ms=one.since_ms,
            )
            for one in self.registrations.values()
            if one.role is ServiceRole.ACTIVE
        ]
        return sorted((*self.tenures.values(), *lasting), key=lambda tenure: tenure.epoch)


class Scene:
    """A registry, its time and its store."""

    def __init__(self, limits: RegistryLimits | None = None, *, is_committing: bool = True) -> None:
        self.limits = limits
        self.now_ms = 1_000.0
        self.set_back_ms = 0
        """How far the time of day is behind what it was."""
        self.waited_ms = 0
        """For how long what is said now may have waited for the broker to read it."""
        self.is_committing = is_committing
        """Whether whatever is decided is committed at once."""
        self.ledger = Ledger()
        self.registry = Registry(EMPTY, self.now, limits)
        self.decisions: list[Decision] = []
        """Everything decided since the scene began, refusals and reads included."""
        self._uncommitted: list[Change] = []
        self._uncommitted_events: list[AnyEvent] = []

    @property
    def now(self) -> Instant:
        """The time of the next decision."""
        return Instant(self.now_ms, 1_700_000_000_000 + int(self.now_ms) - self.set_back_ms, self.waited_ms)

    @property
    def events(self) -> list[AnyEvent]:
        """All events so far, in order."""
        return [event for decision in self.decisions for event in decision.events]

    @property
    def last(self) -> Decision:
        """What was decided last."""
        return self.decisions[-1]

    def ask(self, request: ClientMessage, session: int = 0, identity: str = "") -> BrokerMessage:
        """Put a request to the registry. Raises the refusal, if it is one."""
        decision = self._note(self.registry.apply(request, Origin(session=session, identity=identity), self.now))
        assert decision.reply is not None
        if isinstance(decision.reply, ErrorReply):
            raise refusal_from(decision.reply.error)
        return decision.reply

    def client(
        self,
        name: str,
        *,
        lease_ms: int = LEASE_MS,
        status: ServiceStatus | None = ServiceStatus.HEALTHY,
        identity: str = "",
    ) -> Client:
        """A client that has opened a session and, unless `status` is None, sent its first heartbeat."""
        client = Client(self, name, identity)
        client.hello(lease_ms=lease_ms)
        if status is not None:
            client.beat(status)
        return client

    def pass_ms(self, ms: float, *beating: Client) -> None:
        """Let time go by; the clients named send a heartbeat each 100 ms, and what expires is ended."""
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            self.now_ms = min(end_ms, self.now_ms + 100)
            for client in beating:
                client.beat(client.status)
            self.expire()

    def expire(self, registrations_max: int = 1_000) -> Decision:
        """End what has expired by now."""
        return self._note(self.registry.expire(self.now, registrations_max))

    def end_session(self, client: Client, reason: ChangeReason = ChangeReason.DIED) -> Decision:
        """The kernel has reported the client's exit."""
        return self._note(self.registry.end_session(client.session, reason, self.now))

    def commit(self) -> None:
        """Make durable what was decided so far."""
        self.ledger.take(self._uncommitted, self.registry.revision)
        self._uncommitted.clear()
        if self._uncommitted_events:
            self.registry.committed(self._uncommitted_events, self.now.unix_ms)
            self._uncommitted_events.clear()

    def restart(self) -> None:
        """A new broker loads what was committed; what was not is lost."""
        self._uncommitted.clear()
        self._uncommitted_events.clear()
        self.registry = Registry(self.ledger.stored(), self.now, self.limits)

    def resource(self, resource_id: str) -> ResourceView:
        """A resource as readers see it."""
        reply = self.ask(GetResource(resource_id=resource_id))
        assert isinstance(reply, Resource)
        return reply.resource

    def moves(self, resource_id: str) -> tuple[Move, ...]:
        """How the role of a resource has moved."""
        reply = self.ask(GetResource(resource_id=resource_id))
        assert isinstance(reply, Resource)
        return reply.moves

    def presence(self) -> tuple[Presence, ...]:
        """How all sessions are doing."""
        reply = self.ask(ListPresence())
        assert isinstance(reply, PresencePage)
        return reply.presence

    def who(self, resource_id: str) -> str:
        """Who is active and who stands by, in succession order: `a | b c`; `-` for a vacancy."""
        view = self.resource(resource_id)
        standbys = " ".join(standby.instance_id for standby in view.standbys)
        return f"{'-' if view.active is None else view.active.instance_id} | {standbys}".rstrip()

    def page(self, request: ListServices) -> ServicePage:
        """A page of instances."""
        reply = self.ask(request)
        assert isinstance(reply, ServicePage)
        return reply

    def _note(self, decision: Decision) -> Decision:
        self.decisions.append(decision)
        self._uncommitted.extend(decision.changes)
        self._uncommitted_events.extend(decision.events)
        if self.is_committing:
            self.commit()
        return decision


class Client:
    """One session's side of the conversation. Its instances are called what it is called."""

    def __init__(self, scene: Scene, name: str, identity: str) -> None:
        self.scene = scene
        self.name = name
        self.identity = identity
        self.session = 0
        self.session_id = f"secret-of-{name}".ljust(16, "-")
        self.status = ServiceStatus.HEALTHY
        self.sequence = 0
        self.applied_revision = 0

    def ask(self, request: ClientMessage) -> BrokerMessage:
        """Put a request in this session's name. Raises the refusal, if it is one."""
        return self.scene.ask(request, self.session, self.identity)

    def hello(
        self,
        *,
        lease_ms: int = LEASE_MS,
        resume: bool = False,
        history_id: str | None = None,
        last_revision: int = 0,
    ) -> Welcome:
        """Open the session, or find it again."""
        reply = self.ask(
            Hello(
                version=PROTOCOL_VERSION,
                session_id=self.session_id,
                resume=resume,
                lease_ms=lease_ms,
                history_id=history_id,
                last_revision=last_revision,
                client="scene",
            )
        )
        assert isinstance(reply, Welcome)
        self.session = reply.session
        return reply

    def beat(
        self,
        status: ServiceStatus = ServiceStatus.HEALTHY,
        *given_up: GivenUp,
        last_revision: int = 0,
        entered: tuple[Entered, ...] = (),
        loop_lag_ms: int | None = None,
        margin_ms: int | None = None,
    ) -> HeartbeatAck:
        """Send a heartbeat and apply the answer's statements."""
        self.status = status
        self.sequence += 1
        reply = self.ask(
            Heartbeat(
                sequence=self.sequence,
                status=status,
                applied_revision=self.applied_revision,
                last_revision=last_revision,
                given_up=given_up,
                entered=entered,
                loop_lag_ms=loop_lag_ms,
                margin_ms=margin_ms,
            )
        )
        assert isinstance(reply, HeartbeatAck)
        assert (reply.session, reply.sequence) == (self.session, self.sequence)
        self.applied_revision = reply.revision
        return reply

    def register(self, request: Register) -> Registered:
        """Register as `request` says."""
        reply = self.ask(request)
        assert isinstance(reply, Registered)
        return reply

    def claim(
        self, resource_id: str, *, instance_id: str | None = None, priority: int = 0, hold_limit_ms: int = 0
    ) -> Registered:
        """Insist on the role: `role_conflict` if somebody has it."""
        request = self._request(resource_id, instance_id, priority, ServiceRole.ACTIVE, OnConflict.REJECT)
        return self.register(structs.replace(request, hold_limit_ms=hold_limit_ms))

    def compete(self, resource_id: str, *, instance_id: str | None = None, priority: int = 0) -> Registered:
        """Ask for the role, and be a candidate if it is taken."""
        return self.register(self._request(resource_id, instance_id, priority, ServiceRole.ACTIVE, OnConflict.STANDBY))

    def stand_by(self, resource_id: str, *, instance_id: str | None = None, priority: int = 0) -> Registered:
        """Be a plain standby."""
        return self.register(self._request(resource_id, instance_id, priority, ServiceRole.STANDBY, OnConflict.REJECT))

    def register_many(self, *items: Register) -> RegisteredMany:
        """Register a batch."""
        reply = self.ask(RegisterMany(items=items))
        assert isinstance(reply, RegisteredMany)
        return reply

    def resign(self, held: Registered, epoch: int | None = None) -> Resigned:
        """Step down from a tenure."""
        named = held.epoch if epoch is None else epoch
        reply = self.ask(Resign(registration_id=held.registration_id, epoch=named))
        assert isinstance(reply, Resigned)
        return reply

    def deregister(self, held: Registered, epoch: int | None = None) -> Deregistered:
        """End a registration."""
        named = held.epoch if epoch is None else epoch
        reply = self.ask(Deregister(registration_id=held.registration_id, epoch=named))
        assert isinstance(reply, Deregistered)
        return reply

    def goodbye(self) -> None:
        """End the session."""
        assert self.ask(Goodbye()) == Farewell()

    def _request(
        self, resource_id: str, instance_id: str | None, priority: int, role: ServiceRole, on_conflict: OnConflict
    ) -> Register:
        return Register(
            service_name="svc",
            instance_id=instance_id or self.name,
            resource_id=resource_id,
            role=role,
            on_conflict=on_conflict,
            priority=priority,
        )
