"""The registry's memory: records and the indices over them. It changes only by absorbing a `Change`.

Because decisions, start-up and replay all go through `absorb`, replaying the changes rebuilds the same state by
construction. The invariant that a resource has at most one active registration is asserted where it could break.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from tenure.contract.views import Move
from tenure.contract.vocabulary import ServiceRole, ServiceStatus
from tenure.domain.deadlines import Deadlines
from tenure.domain.paused import Pauses
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
from tenure.domain.rising import RisingIds

type Key = tuple[str, str, str]
"""Service name, instance id, resource id: what no two registrations share."""


class InvariantError(AssertionError):
    """A change would break what must always hold. It is a defect, never a client's doing."""


class Presence:
    """A living session: its durable record, what it holds, and the volatile facts about its heartbeats."""

    __slots__ = (
        "asked",
        "changed_revision",
        "expires_at_ms",
        "has_lapsed",
        "heard",
        "heard_unix_ms",
        "last_heard_ms",
        "loop_lag_ms",
        "margin_ms",
        "record",
        "registrations",
        "tenures",
    )

    def __init__(self, record: Session) -> None:
        self.record = record
        self.registrations: dict[int, None] = {}
        """Registration ids in the order in which they took their roles."""
        self.tenures: dict[int, int] = {}
        """Epoch → registration id of every tenure it is in."""
        self.asked: dict[int, Switchover] = {}
        """By epoch, the switchovers of these that are under way."""
        self.changed_revision = record.number
        """The newest revision that touched the session or a registration of it."""
        self.expires_at_ms = 0.0
        self.last_heard_ms = 0.0
        self.heard_unix_ms = 0
        """The same by the time of day, for people: lease time stands still with the broker. 0: not since it began."""
        self.heard = False
        """Whether a heartbeat has come since it was opened or loaded: until then it is not promoted."""
        self.has_lapsed = False
        """Whether its lease ran out and it goes on for the sake of tenures that are held for longer."""
        self.loop_lag_ms: int | None = None
        self.margin_ms: int | None = None

    def heard_from(self, now_ms: float, unix_ms: int) -> None:
        """Its lease runs from now on; `unix_ms` is 0 if that is for a start of the broker."""
        self.last_heard_ms = now_ms
        self.heard_unix_ms = unix_ms
        self.expires_at_ms = now_ms + self.record.lease_ms
        self.has_lapsed = False

    def goes_on_from(self, known: Presence) -> None:
        """What another memory had heard of it stays true; the status it had reported counts if it was stored."""
        self.heard_from(known.last_heard_ms, known.heard_unix_ms)
        self.heard = known.heard and known.record.status is self.record.status

    def lease_left_ms(self, now_ms: float) -> int:
        """How long the broker waits for the next heartbeat, at least 0."""
        return max(0, int(self.expires_at_ms - now_ms))

    def is_overdue(self, silent_ms: float) -> bool:
        """Whether a silence of so long makes it late."""
        return silent_ms > self.record.lease_ms / 2

    def status(self, now_ms: float) -> ServiceStatus:
        """The status it reported, or `late` when its heartbeats are overdue by more than half the lease."""
        if self.is_overdue(now_ms - self.last_heard_ms):
            return ServiceStatus.LATE
        return self.record.status if self.heard else ServiceStatus.STARTING


class Switchover:
    """A tenure that was asked to end. It is known to this broker's memory alone: what is durable is the move itself."""

    __slots__ = (
        "asked",
        "by",
        "confirmed_ms",
        "drain_ends_ms",
        "epoch",
        "even_if_vacant",
        "is_revoking",
        "limit_ms",
        "presence",
        "registration_id",
        "resource_id",
        "to_registration_id",
    )

    def __init__(self, holder: Registration, presence: Presence, asked: Instant, drain_ms: int) -> None:
        self.resource_id = holder.resource_id
        self.registration_id = holder.registration_id
        self.presence = presence
        """That of the holder."""
        self.epoch = holder.epoch
        self.asked = asked
        self.drain_ends_ms = asked.now_ms + drain_ms
        self.limit_ms = holder.limit_ms(presence.record.lease_ms)
        self.confirmed_ms = presence.last_heard_ms
        """When the newest heartbeat came from which its holder may count the tenure."""
        self.is_revoking = False
        """Whether the drain is over and heartbeats do not renew the tenure any more."""
        self.to_registration_id = 0
        self.even_if_vacant = False
        self.by = ""

    @property
    def due_ms(self) -> float:
        """When the next step is due: to stop renewing the tenure, or to take it for ended."""
        return self.confirmed_ms + self.limit_ms if self.is_revoking else self.drain_ends_ms

    def drain_left_ms(self, now_ms: float) -> int:
        """How long the holder may go on with its work."""
        return max(0, int(self.drain_ends_ms - now_ms))


class Switchovers:
    """Those under way: by resource, by their holder's session, and which is due next.

    So a heartbeat looks at what is asked of its own session alone, and nobody at all of them.
    """

    def __init__(self) -> None:
        self.by_resource: dict[str, Switchover] = {}
        self._deadlines = Deadlines(self.by_resource, lambda switchover: switchover.due_ms)

    def __len__(self) -> int:
        return len(self.by_resource)

    def get(self, resource_id: str) -> Switchover | None:
        """The one of a resource."""
        return self.by_resource.get(resource_id)

    def begin(self, switchover: Switchover) -> None:
        """Take one in that has been asked for."""
        self.by_resource[switchover.resource_id] = switchover
        switchover.presence.asked[switchover.epoch] = switchover
        self.watch(switchover)

    def watch(self, switchover: Switchover) -> None:
        """Its next step is due at another time than before."""
        self._deadlines.add(switchover.resource_id)

    def end(self, resource_id: str) -> Switchover | None:
        """Forget the one of a resource; returns it, if there was one."""
        switchover = self.by_resource.pop(resource_id, None)
        if switchover is not None:
            del switchover.presence.asked[switchover.epoch]
        return switchover

    def next_due_ms(self) -> float | None:
        """The earliest time at which a step may be due; None if none is under way."""
        return self._deadlines.next_ms()

    def take_due(self, now_ms: float) -> list[Switchover]:
        """All whose next step is due, in the order of their times: each once, and no longer watched."""
        due: dict[Switchover, None] = {}
        while (switchover := self._deadlines.pop_due(now_ms)) is not None:
            due[switchover] = None
        return list(due)


class Resource:
    """Who is registered for a resource, its newest tenure, and how its role has moved since the broker started."""

    __slots__ = ("active", "last_epoch", "moves", "standbys", "tenure")

    def __init__(self) -> None:
        self.active: int | None = None
        self.standbys: dict[int, None] = {}
        self.last_epoch = 0
        """The epoch of its newest tenure, ended or not; 0 if it never had one."""
        self.tenure: Tenure | None = None
        """The newest tenure once it has ended; None while it lasts, since its active registration says the same."""
        self.moves: tuple[Move, ...] = ()

    @property
    def registration_count(self) -> int:
        """How many are registered for it, the active one included."""
        return len(self.standbys) + (self.active is not None)

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody is registered for it."""
        return self.active is None and not self.standbys


class State:
    """All records of one history, and the indices that find them."""

    def __init__(self) -> None:
        self.sessions: dict[int, Presence] = {}
        self.session_numbers: dict[str, int] = {}
        self.ended: dict[int, Presence] = {}
        """Sessions whose end may not be stored yet: should it never be, what was heard of them stays true."""
        self.registrations: dict[int, Registration] = {}
        self.keys: dict[Key, int] = {}
        self.resources: dict[str, Resource] = {}
        self.services: dict[str, RisingIds] = {}
        """Registration ids by the service's name."""
        self.registration_ids = RisingIds()
        self.session_ids = RisingIds()
        self.abandoned: dict[str, None] = {}
        """Resources that had a tenure and have no registration, the longest abandoned first."""
        self.switchovers = Switchovers()
        self.pauses = Pauses()

    def load(self, stored: StoredState) -> None:
        """Take in what a store kept. The state must be empty."""
        for session in sorted(stored.sessions, key=lambda session: session.number):
            self._put_session(session)
        for tenure in stored.tenures:
            self._put_tenure(tenure)
        for registration in sorted(stored.registrations, key=lambda registration: registration.registration_id):
            self._put_registration(registration)
        for presence in self.sessions.values():
            by_role = sorted(presence.registrations, key=lambda number: self.registrations[number].role_revision)
            presence.registrations = dict.fromkeys(by_role)
        for pause in stored.pauses:
            self.absorb(PutPause(pause))

    def ends_ms(self, presence: Presence) -> float:
        """When a session ends if it stays silent: with its lease, or with the last tenure that it holds for longer."""
        lease_ms = presence.record.lease_ms
        limits_ms = (self.registrations[number].limit_ms(lease_ms) for number in presence.tenures.values())
        return presence.last_heard_ms + max((lease_ms, *limits_ms))

    def absorb(self, change: Change) -> None:
        """Make a change true.

        Raises:
            InvariantError: It would leave a resource with two active registrations, or names what does not exist.
        """
        match change:
            case PutRegistration():
                self._put_registration(change.registration)
            case PutTenure():
                self._put_tenure(change.tenure)
            case DropRegistration(registration_id):
                self._drop_registration(registration_id)
            case PutSession(session):
                self._put_session(session)
            case DropSession(number):
                self._drop_session(number)
            case ForgetResource(resource_id):
                del self.abandoned[resource_id]
                del self.resources[resource_id]
            case PutPause(pause):
                self.pauses.put(pause)
            case DropPause(resource_id):
                self.pauses.drop(resource_id)
            case _:
                assert_never(change)

    def _put_session(self, session: Session) -> None:
        presence = self.sessions.get(session.number)
        if presence is None:
            self.sessions[session.number] = Presence(session)
            self.session_numbers[session.session_id] = session.number
            self.session_ids.add(session.number)
        else:
            presence.record = session

    def _drop_session(self, number: int) -> None:
        presence = self.sessions.pop(number)
        if presence.registrations:
            raise InvariantError(f"session {number} ends with {len(presence.registrations)} registrations")
        self.ended[number] = presence
        del self.session_numbers[presence.record.session_id]
        self.session_ids.removed_one(self.sessions)

    def _put_registration(self, registration: Registration) -> None:
        number = registration.registration_id
        before = self.registrations.get(number)
        resource = self.resources.get(registration.resource_id)
        if resource is None:
            resource = self.resources[registration.resource_id] = Resource()
        is_active = registration.role is ServiceRole.ACTIVE
        if is_active and resource.active is not None and resource.active != number:
            raise InvariantError(f"{registration.resource_id!r} would have two actives: {resource.active} and {number}")
        if is_active:
            _check_epoch(resource, registration.resource_id, registration.epoch)
        if before is None:
            self._index(registration)
        elif before.role is ServiceRole.ACTIVE:
            resource.active = None
            del self.sessions[before.session].tenures[before.epoch]
        else:
            resource.standbys.pop(number, None)
        self.registrations[number] = registration
        presence = self.sessions[registration.session]
        presence.changed_revision = max(presence.changed_revision, registration.revision)
        if before is not None and before.role_revision != registration.role_revision:
            del presence.registrations[number]
            presence.registrations[number] = None  # at the end: no other one took its role later
        if is_active:
            resource.active = number
            resource.last_epoch = registration.epoch
            resource.tenure = None
            presence.tenures[registration.epoch] = number
        else:
            resource.standbys[number] = None

    def _index(self, registration: Registration) -> None:
        number = registration.registration_id
        key = (registration.service_name, registration.instance_id, registration.resource_id)
        if key in self.keys:
            raise InvariantError(f"{key} is registered twice")
        self.keys[key] = number
        self.registration_ids.add(number)
        service = self.services.get(registration.service_name)
        if service is None:
            service = self.services[registration.service_name] = RisingIds()
        service.add(number)
        self.sessions[registration.session].registrations[number] = None
        self.abandoned.pop(registration.resource_id, None)

    def _drop_registration(self, number: int) -> None:
        registration = self.registrations.pop(number)
        del self.keys[registration.service_name, registration.instance_id, registration.resource_id]
        self.registration_ids.removed_one(self.registrations)
        service = self.services[registration.service_name]
        service.removed_one(self.registrations)
        if not service:
            del self.services[registration.service_name]
        presence = self.sessions[registration.session]
        del presence.registrations[number]
        resource = self.resources[registration.resource_id]
        if registration.role is ServiceRole.ACTIVE:
            resource.active = None
            del presence.tenures[registration.epoch]
        else:
            del resource.standbys[number]
        if resource.is_abandoned:
            if not resource.last_epoch:
                del self.resources[registration.resource_id]
            else:
                self.abandoned[registration.resource_id] = None
                resource.moves = ()

    def _put_tenure(self, tenure: Tenure) -> None:
        resource = self.resources.get(tenure.resource_id)
        if resource is None:
            resource = self.resources[tenure.resource_id] = Resource()
            self.abandoned[tenure.resource_id] = None
        _check_epoch(resource, tenure.resource_id, tenure.epoch)
        resource.last_epoch = tenure.epoch
        resource.tenure = tenure


def _check_epoch(resource: Resource, resource_id: str, epoch: int) -> None:
    if epoch < resource.last_epoch:
        raise InvariantError(f"{resource_id!r}: epoch {epoch} after {resource.last_epoch}")


def leases_of(sessions: Mapping[int, Presence]) -> Deadlines[int, Presence]:
    """The ends of the leases of all living sessions, those that go on for what they hold included."""
    return Deadlines(sessions, lambda presence: presence.expires_at_ms)
