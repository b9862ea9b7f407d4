"""The history, told again from its events: G1, G3 and G5 hold of it, and what it comes to is what the tables say.

It shares nothing with the registry that made the events, so that a defect there shows here. Where the oldest events are
no longer kept it begins with a state it does not know and learns it from what the events say; what it does not know it
does not compare. At the first revision that is missing or cannot be read it stops, since nothing after it follows.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import assert_never

from tenure.contract.codec import decode_event
from tenure.contract.errors import ProtocolError
from tenure.contract.events import (
    AnyEvent,
    DeregisteredEvent,
    RegisteredEvent,
    RegistrationUpdatedEvent,
    ResourcePausedEvent,
    ResourceResumedEvent,
    RoleChangedEvent,
    SessionClosedEvent,
    SessionOpenedEvent,
    StatusChangedEvent,
)
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tenure.domain.history import (
    NOBODY,
    UNKNOWN,
    KnownRegistration,
    KnownResource,
    KnownSession,
    StoredHistory,
    TenureFacts,
)
from tenure.domain.records import Registration, Session, Tenure
from tenure.domain.replayed_pauses import ReplayedPauses
from tenure.domain.verdicts import Findings


class Replay:
    """One pass over a history."""

    def __init__(self, history: StoredHistory, epochs_wanted: Collection[int]) -> None:
        """`epochs_wanted`: the tenures to keep facts of."""
        self.one_active = Findings()
        self.rising_epochs = Findings()
        self.gapless = Findings()
        self.first_revision = history.next_revision
        """The oldest event that is kept; the store's next revision if there is none."""
        self.stopped_at = history.next_revision
        """The first revision that was not replayed."""
        self.events = 0
        self.tenures = 0
        self.facts: dict[int, TenureFacts] = {}
        self._history = history
        self._wanted = epochs_wanted
        self._rows = iter(history.tenures)
        self._next_row = next(self._rows, None)
        self._newest_rows: dict[str, Tenure] = {}
        self._ending: DeregisteredEvent | None = None
        """The event before, if what ended with it has to be followed by the end of its session."""
        self._sessions: dict[int, KnownSession] = {}
        self._registrations: dict[int, KnownRegistration] = {}
        self._resources: dict[str, KnownResource] = {}
        self._pauses = ReplayedPauses(self.one_active)

    @property
    def is_complete(self) -> bool:
        """Whether every event since the history began is kept."""
        return self.first_revision == self._history.begins_at

    def run(self) -> None:
        """Replay all events, then hold what they come to against the tables."""
        if self._history.damage:
            self.one_active.add(self._history.next_revision - 1, f"the database is damaged: {self._history.damage}")
        if not self._history.has_unique_index:
            self.one_active.add(self._history.next_revision - 1, "the index one_active_per_resource is not there")
        self._replay()
        if not self.gapless.count:
            self._take_rows(self._history.next_revision)
            self._compare_resources()
            self._pauses.compare(self._history, is_complete=self.is_complete)
        self._compare_registrations(self._compare_sessions())

    # --- the events ---------------------------------------------------------------------------------------------------

    def _replay(self) -> None:
        expected = 0
        for revision, body in self._history.events:
            if not expected:
                self.first_revision = expected = revision
                self._take_rows(revision)
            self.stopped_at = expected
            if revision != expected:
                self.gapless.add(expected, f"{_missing(expected, revision - 1)} before {revision}")
                return
            if revision >= self._history.next_revision:
                self.gapless.add(
                    revision, f"the store says that revision {self._history.next_revision} is the next one"
                )
                return
            try:
                event = decode_event(body)
            except ProtocolError as error:
                self.gapless.add(revision, f"the event cannot be read: {error}")
                return
            if event.revision != revision:
                self.gapless.add(revision, f"the event in its place says that it is revision {event.revision}")
                return
            self.events += 1
            self._take(event)
            expected += 1
        self.stopped_at = expected or self._history.begins_at
        newest = self._history.next_revision - 1
        if self.stopped_at <= newest:
            self.gapless.add(self.stopped_at, f"{_missing(self.stopped_at, newest)} at the end")

    def _take(self, event: AnyEvent) -> None:
        self._follow_end(event)
        match event:
            case RegisteredEvent():
                self._registered(event)
            case DeregisteredEvent():
                before = self._known(event)
                self._leave_role(event, before)
                self._registrations.pop(event.registration_id, None)
            case RoleChangedEvent():
                before = self._known(event)
                self._leave_role(event, before)
                self._enter_role(event, before)
            case RegistrationUpdatedEvent():
                known = self._known(event)
                known.revision = event.revision
                known.priority = event.priority
                known.candidate = event.candidate
                known.declined_epoch = event.declined_epoch
                known.hold_limit_ms = event.hold_limit_ms
                known.metadata = event.metadata
            case SessionOpenedEvent():
                session = self._sessions[event.revision] = KnownSession()
                session.lease_ms, session.client, session.opened_ms = event.lease_ms, event.client, event.at_ms
                session.status = ServiceStatus.STARTING
            case SessionClosedEvent():
                self._session(event.session, event.revision)
                self._sessions.pop(event.session, None)
            case StatusChangedEvent():
                session = self._session(event.session, event.revision)
                if session.status not in {None, event.old_status}:
                    self.one_active.add(event.revision, f"session {event.session} was {session.status} before it")
                session.status = event.new_status
            case ResourcePausedEvent() | ResourceResumedEvent():
                self._pauses.take(event, is_complete=self.is_complete)
            case _:
                assert_never(event)

    def _follow_end(self, event: AnyEvent) -> None:
        """What ends with its session is followed by that session's end: for the same reason, and on the same word."""
        ending, self._ending = self._ending, None
        if isinstance(event, DeregisteredEvent) and event.reason is not ChangeReason.DEREGISTERED:
            self._ending = event
        if ending is None:
            return
        is_alike = isinstance(event, (DeregisteredEvent, SessionClosedEvent)) and (
            (event.reason, event.by) == (ending.reason, ending.by)
        )
        if not is_alike:
            what = f"registration {ending.registration_id} ended with its session ({ending.reason}) just before it"
            self.one_active.add(event.revision, what)

    def _registered(self, event: RegisteredEvent) -> None:
        if event.registration_id != event.revision:
            self.one_active.add(event.revision, f"registration {event.registration_id} began at another revision")
        self._session(event.session, event.revision)
        known = self._registrations[event.registration_id] = KnownRegistration(event)
        known.session = event.session
        known.priority = event.priority
        known.candidate = event.candidate
        known.hold_limit_ms = event.hold_limit_ms
        known.metadata = event.metadata
        if event.last_epoch >= event.revision:
            self.rising_epochs.add(
                event.revision, f"it names an earlier epoch {event.last_epoch}, which is not earlier"
            )
        resource = self._resource(event.resource_id)
        if not event.last_epoch and event.previous_holder is None and resource.active <= NOBODY:
            resource.last_epoch, resource.row = 0, None  # it has been forgotten, which leaves no event
        elif event.last_epoch not in {0, resource.last_epoch} and (resource.last_epoch or self.is_complete):
            self.rising_epochs.add(
                event.revision,
                f"the newest epoch of {event.resource_id!r} is {event.last_epoch} by this event, and "
                f"{resource.last_epoch} by those before",
            )
        self._enter_role(event, known)

    def _leave_role(self, event: RoleChangedEvent, before: KnownRegistration) -> None:
        if before.role not in {None, event.old_role}:
            self.one_active.add(
                event.revision,
                f"registration {event.registration_id} was {before.role} before it, not {event.old_role}",
            )
        if event.old_role is not ServiceRole.ACTIVE:
            return
        resource = self._resource(event.resource_id)
        if resource.active not in {UNKNOWN, event.registration_id}:
            self.one_active.add(
                event.revision, f"registration {event.registration_id} was not active for {event.resource_id!r}"
            )
        if event.epoch >= event.revision or (resource.last_epoch and event.epoch != resource.last_epoch):
            self.rising_epochs.add(
                event.revision, f"it ends epoch {event.epoch} of {event.resource_id!r}, not {resource.last_epoch}"
            )
        resource.active = NOBODY
        resource.last_epoch = event.epoch
        row = resource.row
        if row is not None and row.epoch == event.epoch:
            self.one_active.compare(event.revision, f"tenure {row.epoch}", [
                ("ends at revision", event.revision, row.end_revision),
                ("ends because", event.reason, row.end_reason),
                ("ends at", event.at_ms, row.ended_ms),
            ])  # fmt: skip
        if event.epoch in self._wanted:
            facts = self.facts.setdefault(event.epoch, TenureFacts(event.resource_id, before.session, None))
            facts.end_reason = event.reason

    def _enter_role(self, event: RoleChangedEvent, known: KnownRegistration) -> None:
        known.role = event.new_role
        known.epoch = 0
        known.role_revision = known.revision = event.revision
        known.since_ms = event.at_ms
        known.declined_epoch = event.declined_epoch
        if event.new_role is not ServiceRole.ACTIVE:
            return
        known.epoch = event.epoch
        self._pauses.promoted(event, is_candidate=bool(known.candidate))
        self.tenures += 1
        resource = self._resource(event.resource_id)
        if resource.active > NOBODY:
            self.one_active.add(
                event.revision,
                f"registration {event.registration_id} becomes active for {event.resource_id!r} while "
                f"registration {resource.active} is, under epoch {resource.last_epoch}",
            )
        if event.epoch != event.revision:
            self.rising_epochs.add(event.revision, f"the tenure that begins has epoch {event.epoch}")
        previous = 0 if event.previous_holder is None else event.previous_holder.epoch
        if previous >= event.revision or (previous and resource.last_epoch and previous != resource.last_epoch):
            self.rising_epochs.add(
                event.revision,
                f"the tenure before it has epoch {previous} by this event, and {resource.last_epoch} by those before",
            )
        resource.active = event.registration_id
        resource.last_epoch = event.epoch
        self._take_rows(event.revision)
        resource.row = self._row_at(event.revision)
        if resource.row is not None:
            self.rising_epochs.compare(event.revision, f"tenure {event.revision}", [
                ("is of resource", event.resource_id, resource.row.resource_id),
                ("is of service", event.service_name, resource.row.service_name),
                ("is of instance", event.instance_id, resource.row.instance_id),
                ("began at", event.at_ms, resource.row.began_ms),
            ])  # fmt: skip
        if event.epoch in self._wanted:
            self.facts[event.epoch] = TenureFacts(event.resource_id, known.session, None)

    def _known(self, event: RoleChangedEvent | RegistrationUpdatedEvent) -> KnownRegistration:
        """The registration an event is about; one that began before the events that are kept is learnt from it."""
        known = self._registrations.get(event.registration_id)
        if known is None:
            if event.registration_id >= self.first_revision:
                self.one_active.add(
                    event.revision, f"registration {event.registration_id} does not exist at this point"
                )
            known = self._registrations[event.registration_id] = KnownRegistration(event)
        names = (event.resource_id, event.service_name, event.instance_id)
        if names != (known.resource_id, known.service_name, known.instance_id):
            self.one_active.add(event.revision, f"registration {event.registration_id} is somebody else's: {names}")
        return known

    def _session(self, number: int, revision: int) -> KnownSession:
        known = self._sessions.get(number)
        if known is None:
            if number >= self.first_revision:
                self.one_active.add(revision, f"session {number} does not exist at this point")
            known = self._sessions[number] = KnownSession()
        return known

    def _resource(self, resource_id: str) -> KnownResource:
        known = self._resources.get(resource_id)
        if known is None:
            known = self._resources[resource_id] = KnownResource(NOBODY if self.is_complete else UNKNOWN)
        return known

    # --- the tables ---------------------------------------------------------------------------------------------------

    def _take_rows(self, before: int) -> None:
        """Go on in the table of tenures up to an epoch; what is skipped is no event's, or began before the events."""
        while (row := self._next_row) is not None and row.epoch < before:
            if row.epoch >= self.first_revision:
                self.rising_epochs.add(row.epoch, f"the table has a tenure of {row.resource_id!r} that no event begins")
            else:
                resource = self._resource(row.resource_id)
                resource.row, resource.last_epoch = row, row.epoch
                if row.epoch in self._wanted:
                    self.facts[row.epoch] = TenureFacts(row.resource_id, None, row.end_reason)
            self._advance()

    def _row_at(self, epoch: int) -> Tenure | None:
        row = self._next_row
        if row is None or row.epoch != epoch:
            return None
        self._advance()
        return row

    def _advance(self) -> None:
        row = self._next_row
        assert row is not None
        before = self._newest_rows.get(row.resource_id)
        if before is not None and (before.end_revision is None or before.end_revision >= row.epoch):
            self.one_active.add(row.epoch, f"by the table tenure {before.epoch} of {row.resource_id!r} goes on")
        if row.end_revision is not None and not row.epoch < row.end_revision < self._history.next_revision:
            self.rising_epochs.add(row.epoch, f"the tenure ends at revision {row.end_revision}")
        self._newest_rows[row.resource_id] = row
        self._next_row = next(self._rows, None)

    def _compare_resources(self) -> None:
        """Every tenure that goes on by the events does so by the table, and the other way round."""
        for resource_id, resource in self._resources.items():
            row = resource.row
            if resource.active > NOBODY and row is None:
                self.one_active.add(resource.last_epoch, f"the table does not have this tenure of {resource_id!r}")
            elif row is not None and resource.active != UNKNOWN:
                goes_on = resource.active > NOBODY
                if goes_on is not (row.end_revision is None):
                    self.one_active.add(row.epoch, "only by the table, or only by the events, the tenure goes on")

    def _compare_sessions(self) -> set[int]:
        """Hold the table of sessions against the events; returns who is in it."""
        numbers: set[int] = set()
        for row in self._history.sessions:
            numbers.add(row.number)
            if not self.gapless.count:
                self._compare_session(row)
        if not self.gapless.count:
            for number in self._sessions:
                self.one_active.add(number, f"the table does not have session {number}")
        return numbers

    def _compare_session(self, row: Session) -> None:
        known = self._sessions.pop(row.number, None)
        if known is not None:
            values = [(name, getattr(known, name), getattr(row, name)) for name in KnownSession.__slots__]
            self.one_active.compare(row.number, f"session {row.number}", values)
        elif row.number >= self.first_revision:
            self.one_active.add(row.number, f"the table has session {row.number}, which by the events is over")

    def _compare_registrations(self, sessions: set[int]) -> None:
        """One active for each resource in the table too; and each row is what its events come to."""
        actives: dict[str, Registration] = {}
        for row in self._history.registrations:
            if row.role is ServiceRole.ACTIVE:
                other = actives.setdefault(row.resource_id, row)
                if other is not row:
                    self.one_active.add(
                        max(row.epoch, other.epoch),
                        f"registrations {other.registration_id} and {row.registration_id} are both active "
                        f"for {row.resource_id!r}",
                    )
            newest = max(row.registration_id, row.revision, row.role_revision, row.epoch, row.declined_epoch)
            if newest >= self._history.next_revision:
                self.rising_epochs.add(newest, f"the next revision is to be {self._history.next_revision}")
            if row.session not in sessions:
                self.one_active.add(row.revision, f"registration {row.registration_id} is of a session that is over")
            if not self.gapless.count:
                self._compare_registration(row)
        if not self.gapless.count:
            for number, known in self._registrations.items():
                self.one_active.add(known.revision, f"the table does not have registration {number}")

    def _compare_registration(self, row: Registration) -> None:
        known = self._registrations.pop(row.registration_id, None)
        if known is None:
            if row.revision >= self.first_revision:
                self.one_active.add(
                    row.revision, f"the table has registration {row.registration_id}, which no event leaves in it"
                )
            return
        what = f"registration {row.registration_id}"
        for name in KnownRegistration.__slots__:
            findings = self.rising_epochs if name == "epoch" else self.one_active
            findings.compare(known.revision, what, [(name, getattr(known, name), getattr(row, name))])


def _missing(first: int, last: int) -> str:
    return f"event {first} is missing" if first == last else f"events {first} to {last} are missing"
