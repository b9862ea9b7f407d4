"""One decision in the making: every step is absorbed by the state at once and remembered for the store.

The steps are the only ways in which sessions, registrations and tenures begin, change and end. Each takes the next
revision and leaves exactly one event; what ends a tenure comes before what begins the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from sys import intern

from msgspec import structs

from tenure.contract.events import (
    AnyEvent,
    DeregisteredEvent,
    PreviousHolder,
    RegisteredEvent,
    RegistrationUpdatedEvent,
    RoleChangedEvent,
    SessionClosedEvent,
    SessionOpenedEvent,
    StatusChangedEvent,
)
from tenure.contract.messages import Register, RoleStatement, StepDown
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tenure.domain.moves import begin_move, complete_move, previous_holder
from tenure.domain.reads import statement_of
from tenure.domain.records import (
    NO_METADATA,
    Change,
    DropRegistration,
    DropSession,
    ForgetResource,
    Instant,
    PutRegistration,
    PutSession,
    PutTenure,
    Registration,
    Session,
    Tenure,
)
from tenure.domain.state import Presence, State, Switchover
from tenure.domain.succession import is_acknowledged, planned_successor, successor, why_promoted


class Draft:
    """The changes and events of one decision, in order."""

    __slots__ = (
        "abandoned_max",
        "bereft",
        "changes",
        "events",
        "may_promote",
        "now",
        "planned",
        "revision",
        "state",
        "statements",
        "step_downs",
    )

    def __init__(self, state: State, revision: int, now: Instant, *, abandoned_max: int, may_promote: bool) -> None:
        self.state = state
        self.revision = revision
        """The newest revision taken."""
        self.now = now
        self.abandoned_max = abandoned_max
        self.may_promote = may_promote
        """False while the store is known to be an old copy: vacancies stay."""
        self.changes: list[Change] = []
        self.events: list[AnyEvent] = []
        self.statements: list[tuple[int, RoleStatement]] = []
        """What to tell sessions that did not ask: their public number, and the statement."""
        self.step_downs: list[tuple[int, StepDown]] = []
        """Which sessions to ask for which of their tenures."""
        self.bereft: dict[int, None] = {}
        """Sessions that went on for the sake of what they held, and have lost one of these."""
        self.planned: dict[str, Switchover] = {}
        """Switchovers whose tenure has ended in this decision, by resource."""

    def open_session(self, session_id: str, identity: str, lease_ms: int, client: str) -> Presence:
        """Begin a session whose lease runs from now."""
        revision = self._next()
        session = Session(
            number=revision,
            session_id=session_id,
            identity=identity,
            lease_ms=lease_ms,
            status=ServiceStatus.STARTING,
            client=client,
            opened_ms=self.now.unix_ms,
        )
        self._put(PutSession(session))
        self.events.append(
            SessionOpenedEvent(revision=revision, at_ms=self.now.unix_ms, lease_ms=lease_ms, client=client)
        )
        presence = self.state.sessions[revision]
        presence.heard_from(self.now.now_ms, self.now.came_unix_ms)
        return presence

    def change_status(self, presence: Presence, status: ServiceStatus) -> None:
        """Take note of what a session reports of itself."""
        before = presence.record
        revision = self._next()
        self._put(PutSession(structs.replace(before, status=status)))
        presence.changed_revision = revision
        self.events.append(
            StatusChangedEvent(
                revision=revision,
                at_ms=self.now.unix_ms,
                session=before.number,
                old_status=before.status,
                new_status=status,
            )
        )

    def close_session(self, presence: Presence, reason: ChangeReason, by: str = "") -> None:
        """End a session and its registrations, then fill the vacancies it leaves."""
        vacated: list[str] = []
        for number in list(presence.registrations):
            registration = self.state.registrations[number]
            self.end_registration(registration, reason, by)
            if registration.role is ServiceRole.ACTIVE:
                vacated.append(registration.resource_id)
        revision = self._next()
        number = presence.record.number
        self._put(DropSession(number))
        self.events.append(
            SessionClosedEvent(revision=revision, at_ms=self.now.unix_ms, session=number, reason=reason, by=by)
        )
        for resource_id in vacated:
            self.fill(resource_id)

    def lapse(self, presence: Presence) -> bool:
        """A session's time is up: end it, or, while tenures of it are held for longer, all its others.

        Returns whether it goes on, until `expires_at_ms`. Its standbys stay, and are late, so that none is promoted.
        """
        ends = {
            number: presence.last_heard_ms + self.state.registrations[number].limit_ms(presence.record.lease_ms)
            for number in presence.tenures.values()
        }
        lasting = [end for end in ends.values() if end > self.now.now_ms]
        if not lasting:
            self.close_session(presence, ChangeReason.EXPIRED)
            return False
        over = [self.state.registrations[number] for number, end in ends.items() if end <= self.now.now_ms]
        for registration in over:
            self.demote(registration, ChangeReason.EXPIRED, declined=False)
        presence.has_lapsed = True
        presence.expires_at_ms = min(lasting)
        for registration in over:
            self.fill(registration.resource_id)
        return True

    def close_bereft(self) -> None:
        """End the sessions whose lease is over and that hold nothing any more, however they came to lose it."""
        for number in self.bereft:
            presence = self.state.sessions.get(number)
            if presence is not None and presence.has_lapsed and not presence.tenures:
                self.close_session(presence, ChangeReason.EXPIRED)

    def begin_registration(
        self, presence: Presence, request: Register, resource_id: str, role: ServiceRole, *, candidate: bool
    ) -> Registration:
        """Register an instance in a role; as the active one it begins a tenure in the same event."""
        resource = self.state.resources.get(resource_id)
        previous = None if resource is None else resource.tenure
        last_epoch = 0 if resource is None else resource.last_epoch
        revision = self._next()
        registration = Registration(
            registration_id=revision,
            session=presence.record.number,
            service_name=intern(request.service_name),  # it stays in memory, once for all that have it
            instance_id=request.instance_id,
            resource_id=resource_id,
            role=role,
            epoch=revision if role is ServiceRole.ACTIVE else 0,
            role_revision=revision,
            revision=revision,
            since_ms=self.now.unix_ms,
            priority=request.priority,
            candidate=candidate,
            metadata=request.metadata or NO_METADATA,
            hold_limit_ms=request.hold_limit_ms,
        )
        self._put(PutRegistration(registration))
        if role is ServiceRole.ACTIVE:
            complete_move(self.state.resources[resource_id], registration, self.now.unix_ms)
        self.events.append(
            RegisteredEvent(
                revision=revision,
                at_ms=self.now.unix_ms,
                registration_id=revision,
                resource_id=resource_id,
                service_name=request.service_name,
                instance_id=request.instance_id,
                new_role=role,
                epoch=registration.epoch,
                reason=ChangeReason.REGISTERED,
                previous_holder=previous_holder(previous) if role is ServiceRole.ACTIVE else None,
                session=registration.session,
                lease_ms=presence.record.lease_ms,
                status=presence.record.status,
                priority=request.priority,
                candidate=candidate,
                hold_limit_ms=request.hold_limit_ms,
                last_epoch=0 if role is ServiceRole.ACTIVE else last_epoch,
                metadata=request.metadata,
            )
        )
        return registration

    def update_registration(self, updated: Registration) -> Registration:
        """Give a registration other properties than its role."""
        revision = self._next()
        updated = structs.replace(updated, revision=revision)
        self._put(PutRegistration(updated))
        self.events.append(
            RegistrationUpdatedEvent(
                revision=revision,
                at_ms=self.now.unix_ms,
                registration_id=updated.registration_id,
                resource_id=updated.resource_id,
                service_name=updated.service_name,
                instance_id=updated.instance_id,
                priority=updated.priority,
                candidate=updated.candidate,
                declined_epoch=updated.declined_epoch,
                hold_limit_ms=updated.hold_limit_ms,
                metadata=updated.metadata,
            )
        )
        return updated

    def promote(self, registration: Registration, reason: ChangeReason, by: str = "") -> Registration:
        """Begin a tenure of a standby; `by` is who asked for it, if nobody had to step down for that."""
        resource = self.state.resources[registration.resource_id]
        previous = resource.tenure
        revision = self._next()
        promoted = structs.replace(
            registration,
            role=ServiceRole.ACTIVE,
            epoch=revision,
            role_revision=revision,
            revision=revision,
            since_ms=self.now.unix_ms,
            declined_epoch=0,
        )
        self._put(PutRegistration(promoted))
        complete_move(resource, promoted, self.now.unix_ms)
        planned = self.planned.get(registration.resource_id)
        if planned is not None and reason is ChangeReason.SWITCHOVER:
            by = planned.by
        self._role_changed(registration, promoted, reason, previous_holder(previous), by=by)
        self.statements.append((registration.session, statement_of(promoted)))
        return promoted

    def demote(
        self,
        registration: Registration,
        reason: ChangeReason,
        *,
        declined: bool,
        by: str = "",
        ago_ms: int | None = None,
    ) -> Registration:
        """End a registration's tenure and let it stand by; `declined`: it does not want this vacancy either.

        `ago_ms` is how long ago it had stopped, if it says so itself.
        """
        revision = self._next()
        silent_ms = self._end_tenure(registration, reason, revision, ago_ms)
        demoted = structs.replace(
            registration,
            role=ServiceRole.STANDBY,
            epoch=0,
            role_revision=revision,
            revision=revision,
            since_ms=self.now.unix_ms,
            declined_epoch=registration.epoch if declined else 0,
        )
        self._put(PutRegistration(demoted))
        self._role_changed(registration, demoted, reason, None, silent_ms=silent_ms, by=by)
        return demoted

    def end_registration(self, registration: Registration, reason: ChangeReason, by: str = "") -> None:
        """End a registration and the tenure it may be in."""
        revision = self._next()
        silent_ms = None
        if registration.role is ServiceRole.ACTIVE:
            silent_ms = self._end_tenure(registration, reason, revision)
        self.state.sessions[registration.session].changed_revision = revision
        self._put(DropRegistration(registration.registration_id))
        self.events.append(
            DeregisteredEvent(
                revision=revision,
                at_ms=self.now.unix_ms,
                registration_id=registration.registration_id,
                resource_id=registration.resource_id,
                service_name=registration.service_name,
                instance_id=registration.instance_id,
                old_role=registration.role,
                epoch=registration.epoch,
                reason=reason,
                silent_ms=silent_ms,
                by=by,
            )
        )
        while len(self.state.abandoned) > self.abandoned_max:
            self._put(ForgetResource(next(iter(self.state.abandoned))))

    def fill(self, resource_id: str) -> None:
        """Promote the standby that was planned, else the best, if the resource is vacant and one may be promoted.

        While it is paused nobody is, unless a switchover was acknowledged.
        """
        resource = self.state.resources.get(resource_id)
        if resource is None or resource.active is not None or not self.may_promote:
            return
        planned = self.planned.get(resource_id)
        if resource_id in self.state.pauses and not is_acknowledged(resource, planned):
            return
        best = None
        if planned is not None:
            best = planned_successor(self.state, resource, planned, self.now.now_ms)
        if best is None:
            best = successor(self.state, resource, self.now.now_ms)
        if best is not None:
            self.promote(best, why_promoted(resource, planned))

    def _end_tenure(
        self, registration: Registration, reason: ChangeReason, revision: int, ago_ms: int | None = None
    ) -> int | None:
        """End its tenure, and a switchover of it; returns the `silent_ms` of the event."""
        resource = self.state.resources[registration.resource_id]
        self._put(
            PutTenure(
                Tenure(
                    epoch=registration.epoch,
                    resource_id=registration.resource_id,
                    service_name=registration.service_name,
                    instance_id=registration.instance_id,
                    began_ms=registration.since_ms,
                    ended_ms=self.now.unix_ms,
                    end_revision=revision,
                    end_reason=reason,
                )
            )
        )
        switchover = self.state.switchovers.end(registration.resource_id)
        if switchover is not None:
            self.planned[registration.resource_id] = switchover
        presence = self.state.sessions[registration.session]
        if presence.has_lapsed:
            self.bereft[registration.session] = None
        return begin_move(resource, registration, presence, reason, self.now, switchover, ago_ms)

    def _role_changed(
        self,
        before: Registration,
        after: Registration,
        reason: ChangeReason,
        previous: PreviousHolder | None,
        *,
        silent_ms: int | None = None,
        by: str = "",
    ) -> None:
        self.events.append(
            RoleChangedEvent(
                revision=after.revision,
                at_ms=self.now.unix_ms,
                registration_id=after.registration_id,
                resource_id=after.resource_id,
                service_name=after.service_name,
                instance_id=after.instance_id,
                old_role=before.role,
                new_role=after.role,
                epoch=max(before.epoch, after.epoch),
                reason=reason,
                previous_holder=previous,
                declined_epoch=after.declined_epoch,
                silent_ms=silent_ms,
                by=by,
            )
        )

    def step(self, change: Change, event: Callable[[int], AnyEvent]) -> None:
        """Take a step that touches no session, registration or tenure; `event` tells of it, by its revision."""
        self._put(change)
        self.events.append(event(self._next()))

    def _next(self) -> int:
        self.revision += 1
        return self.revision

    def _put(self, change: Change) -> None:
        self.state.absorb(change)
        self.changes.append(change)
