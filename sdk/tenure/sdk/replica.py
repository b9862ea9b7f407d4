"""A copy of the registry in memory, kept from a snapshot and the stream: pure, without I/O or clocks.

`begin`, then `load` every page of `list_services`, then `apply` events from the FIRST page's revision on. Pages are
taken at different revisions and each row carries its own, so that what a row already contains is passed over; the copy
is exact (`is_settled`) once the events have reached the last page's revision. Nothing is ever applied out of order: an
event that does not follow changes nothing. An event costs the same however much is registered.

A replica hears no heartbeats: its rows have the status that was reported and a full lease, until whoever reads says
with `presence` what the broker observes. Order of succession: as `tenure.domain.succession` decides it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping
from typing import Final

from msgspec import structs

from tenure.contract.events import (
    AnyEvent,
    DeregisteredEvent,
    RegisteredEvent,
    RegistrationUpdatedEvent,
    ResourcePausedEvent,
    ResourceResumedEvent,
    RoleChangedEvent,
    StatusChangedEvent,
)
from tenure.contract.limits import STANDBYS_LISTED_MAX
from tenure.contract.messages import ServicePage
from tenure.contract.views import Pause, Presence, ResourceView, ServiceInstance
from tenure.contract.vocabulary import ServiceRole, ServiceStatus

_NOBODY: Final[Mapping[int, Presence]] = {}


class _Session:
    """What is known of a session that holds registrations."""

    __slots__ = ("registration_count", "status")

    def __init__(self, status: ServiceStatus) -> None:
        self.status = status
        self.registration_count = 0


class _Resource:
    """Who is registered for a resource."""

    __slots__ = ("active", "last_epoch", "standbys")

    def __init__(self) -> None:
        self.active: int | None = None
        self.standbys: dict[int, None] = {}
        self.last_epoch = 0

    @property
    def is_abandoned(self) -> bool:
        return self.active is None and not self.standbys


class Replica:
    """All registrations of a history, or those of one resource, one service or both, as of a revision."""

    def __init__(self, *, service_name: str | None = None, resource_id: str | None = None) -> None:
        """Prepare an empty replica of everything, or of what matches; pages are to be asked for with the same filter.

        A replica of one service does not know who of other services competes for its resources.
        """
        self._service_name = service_name
        self._resource_id = resource_id
        self.begin("", 0)

    def begin(self, history_id: str, revision: int) -> None:
        """Forget everything; the next page of a snapshot is its first, taken at `revision`."""
        self.history_id = history_id
        """The history it is a copy of; empty before the first snapshot."""
        self.revision = revision
        """The revision of the newest event that was applied, or contained in the snapshot."""
        self._settled_revision = revision
        self._rows: dict[int, ServiceInstance] = {}
        self._sessions: dict[int, _Session] = {}
        self._resources: dict[str, _Resource] = {}
        self._services: dict[str, dict[int, None]] = {}
        self._pauses: dict[str, Pause] = {}
        self._rising_ids: list[int] | None = []
        self._rising_resource_ids: list[str] | None = []

    def load(self, page: ServicePage) -> None:
        """Take in a page of the snapshot."""
        assert page.history_id == self.history_id, "a snapshot is of one history"
        self._settled_revision = max(self._settled_revision, page.revision)
        for instance in page.instances:
            self._add(instance)
        self._pauses.update((pause.resource_id, pause) for pause in page.pauses)

    def apply(self, event: AnyEvent) -> bool:
        """Take in an event of this history; one that is known changes nothing.

        Returns False, and changes nothing, if events are missing before it: read those after `revision` first.
        """
        if event.revision <= self.revision:
            return True
        if event.revision > self.revision + 1:
            return False
        self.revision = event.revision
        if isinstance(event, RoleChangedEvent):  # also of registrations that are left out: the resource is the same one
            resource = self._resources.get(event.resource_id)
            if resource is not None:
                resource.last_epoch = max(resource.last_epoch, event.epoch)
        self._absorb(event)
        return True

    # --- what it knows ------------------------------------------------------------------------------------------------

    @property
    def is_settled(self) -> bool:
        """Whether the events have reached the last page's revision: before that the rows are of different times."""
        return self.revision >= self._settled_revision

    @property
    def settled_revision(self) -> int:
        """The revision from which on the copy is exact: that of the snapshot's last page."""
        return self._settled_revision

    @property
    def services(self) -> Collection[str]:
        """The names of the services that have an instance."""
        return self._services.keys()

    @property
    def resource_ids(self) -> Collection[str]:
        """The resources that somebody is registered for."""
        return self._resources.keys()

    @property
    def pauses(self) -> Mapping[str, Pause]:
        """The pauses by resource, also of resources that nobody is registered for."""
        return self._pauses

    def __len__(self) -> int:
        """How many registrations there are."""
        return len(self._rows)

    @property
    def rows(self) -> Mapping[int, ServiceInstance]:
        """The registrations as their own events left them, by id, for whoever looks through many of them.

        Status, lease and last epoch change without them: `reported` and `instance` say what those are.
        """
        return self._rows

    def reported(self, row: ServiceInstance) -> ServiceStatus:
        """What a row's session reported last; once it has no registrations any longer, what the row says itself."""
        known = self._sessions.get(row.session)
        return row.status if known is None else known.status

    def registrations_of(self, service_name: str) -> Collection[int]:
        """The registrations of a service; none if it has no instance."""
        return self._services.get(service_name, {}).keys()

    def registrations_for(self, resource_id: str) -> list[int]:
        """The registrations for a resource, the active one first; none if nobody is registered for it."""
        resource = self._resources.get(resource_id)
        if resource is None:
            return []
        return [*([] if resource.active is None else [resource.active]), *resource.standbys]

    def is_vacant(self, resource_id: str) -> bool:
        """Whether somebody is registered for a resource, and nobody is active."""
        resource = self._resources.get(resource_id)
        return resource is not None and resource.active is None

    def registrations_after(self, registration_id: int, limit: int) -> list[int]:
        """The first so many registrations with a greater id, by id."""
        rising = self._rising()
        start = bisect_right(rising, registration_id)
        return rising[start : start + limit]

    def resources_after(self, resource_id: str, limit: int) -> list[str]:
        """The first so many resources whose id comes later, by id."""
        if self._rising_resource_ids is None:
            self._rising_resource_ids = sorted(self._resources)
            # In order from now on, so that sorting it again takes little when little has changed.
            self._resources = {one: self._resources[one] for one in self._rising_resource_ids}
        start = bisect_right(self._rising_resource_ids, resource_id)
        return self._rising_resource_ids[start : start + limit]

    def instance(self, registration_id: int, presence: Mapping[int, Presence] = _NOBODY) -> ServiceInstance | None:
        """A registration; None if it is not there (any longer)."""
        row = self._rows.get(registration_id)
        return None if row is None else self._view(row, presence)

    def instances(
        self, after: int = 0, limit: int | None = None, presence: Mapping[int, Presence] = _NOBODY
    ) -> list[ServiceInstance]:
        """The first `limit` registrations with an id greater than `after`, by id; all of them without a limit."""
        wanted = self.registrations_after(after, len(self._rows) if limit is None else limit)
        return [self._view(self._rows[number], presence) for number in wanted]

    def resource(self, resource_id: str, presence: Mapping[int, Presence] = _NOBODY) -> ResourceView | None:
        """Who is active for a resource and who would be next; None if nobody is registered for it."""
        resource = self._resources.get(resource_id)
        if resource is None:
            return None
        active = None if resource.active is None else self._view(self._rows[resource.active], presence)
        standbys = [self._view(self._rows[number], presence) for number in resource.standbys]
        standbys.sort(key=_order)
        return ResourceView(
            resource_id=resource_id,
            last_epoch=resource.last_epoch,
            active=active,
            standbys=tuple(standbys[:STANDBYS_LISTED_MAX]),
            standby_count=len(standbys),
            pause=self._pauses.get(resource_id),
        )

    def resources_of(self, service_name: str) -> list[str]:
        """The resources that a service has instances for, by id; none if it has no instance."""
        return sorted({self._rows[number].resource_id for number in self._services.get(service_name, ())})

    # --- what events do -----------------------------------------------------------------------------------------------

    def _absorb(self, event: AnyEvent) -> None:
        match event:
            case RegisteredEvent():
                self._registered(event)
            case DeregisteredEvent():
                self._deregistered(event)
            case RoleChangedEvent():
                self._role_changed(event)
            case RegistrationUpdatedEvent():
                self._updated(event)
            case StatusChangedEvent():
                session = self._sessions.get(event.session)
                if session is not None:
                    session.status = event.new_status
            case ResourcePausedEvent():
                if self._resource_id in {None, event.resource_id}:
                    self._pauses[event.resource_id] = Pause(
                        resource_id=event.resource_id,
                        why=event.why,
                        paused_ms=event.at_ms,
                        until_ms=event.until_ms,
                        by=event.by,
                    )
            case ResourceResumedEvent():
                self._pauses.pop(event.resource_id, None)
            case _:
                pass  # a session without registrations is nobody's concern

    def _registered(self, event: RegisteredEvent) -> None:
        if event.registration_id in self._rows or not self._is_wanted(event):
            return
        assert event.new_role is not None, "a registration begins in a role"
        is_active = event.new_role is ServiceRole.ACTIVE
        self._add(
            ServiceInstance(
                registration_id=event.registration_id,
                service_name=event.service_name,
                instance_id=event.instance_id,
                resource_id=event.resource_id,
                role=event.new_role,
                epoch=event.epoch,
                role_revision=event.revision,
                revision=event.revision,
                since_ms=event.at_ms,
                priority=event.priority,
                candidate=event.candidate,
                hold_limit_ms=event.hold_limit_ms,
                last_epoch=event.epoch if is_active else event.last_epoch,
                metadata=event.metadata,
                session=event.session,
                status=event.status,
                reported_status=event.status,
                lease_ms=event.lease_ms,
                lease_left_ms=event.lease_ms,
            )
        )

    def _deregistered(self, event: DeregisteredEvent) -> None:
        row = self._rows.pop(event.registration_id, None)
        if row is None:
            return
        self._rising_ids = None
        resource = self._resources[row.resource_id]
        _leave(resource, row.registration_id)
        if resource.is_abandoned:
            del self._resources[row.resource_id]
            self._rising_resource_ids = None
        session = self._sessions[row.session]
        session.registration_count -= 1
        if not session.registration_count:
            del self._sessions[row.session]
        members = self._services[row.service_name]
        del members[row.registration_id]
        if not members:
            del self._services[row.service_name]

    def _role_changed(self, event: RoleChangedEvent) -> None:
        row = self._rows.get(event.registration_id)
        if row is None or event.revision <= row.revision:
            return
        assert event.new_role is not None, "whoever is gone is reported by another event"
        is_active = event.new_role is ServiceRole.ACTIVE
        resource = self._resources[row.resource_id]
        _leave(resource, row.registration_id)
        row = structs.replace(
            row,
            role=event.new_role,
            epoch=event.epoch if is_active else 0,
            role_revision=event.revision,
            revision=event.revision,
            since_ms=event.at_ms,
            declined_epoch=event.declined_epoch,
        )
        self._rows[row.registration_id] = row
        self._enter(resource, row)

    def _updated(self, event: RegistrationUpdatedEvent) -> None:
        row = self._rows.get(event.registration_id)
        if row is None or event.revision <= row.revision:
            return
        self._rows[row.registration_id] = structs.replace(
            row,
            revision=event.revision,
            priority=event.priority,
            candidate=event.candidate,
            hold_limit_ms=event.hold_limit_ms,
            declined_epoch=event.declined_epoch,
            metadata=event.metadata,
        )

    # --- inside -------------------------------------------------------------------------------------------------------

    def _rising(self) -> list[int]:
        if self._rising_ids is None:
            self._rising_ids = sorted(self._rows)
        return self._rising_ids

    def _is_wanted(self, event: RegisteredEvent) -> bool:
        return self._service_name in {None, event.service_name} and self._resource_id in {None, event.resource_id}

    def _add(self, row: ServiceInstance) -> None:
        number = row.registration_id
        session = self._sessions.get(row.session)
        if session is None:
            session = self._sessions[row.session] = _Session(row.reported_status)
        session.registration_count += 1
        resource = self._resources.get(row.resource_id)
        if resource is None:
            resource = self._resources[row.resource_id] = _Resource()
            self._rising_resource_ids = None
        self._rows[number] = row
        self._enter(resource, row)
        resource.last_epoch = max(resource.last_epoch, row.last_epoch)
        self._services.setdefault(row.service_name, {})[number] = None
        if self._rising_ids is not None:
            if self._rising_ids and number < self._rising_ids[-1]:
                self._rising_ids = None
            else:
                self._rising_ids.append(number)

    def _enter(self, resource: _Resource, row: ServiceInstance) -> None:
        """File a registration under its role.

        Until the copy is settled its rows are of different times, so that two may claim the role: the newer tenure
        counts, and the event that ended the older one is still to come.
        """
        if not row.is_active:
            resource.standbys[row.registration_id] = None
        elif resource.active is None or self._rows[resource.active].epoch < row.epoch:
            resource.active = row.registration_id

    def _view(self, row: ServiceInstance, presence: Mapping[int, Presence]) -> ServiceInstance:
        reported = self._sessions[row.session].status
        observed = presence.get(row.session)
        return structs.replace(
            row,
            last_epoch=self._resources[row.resource_id].last_epoch,
            status=reported if observed is None else observed.status,
            reported_status=reported,
            lease_left_ms=row.lease_ms if observed is None else observed.lease_left_ms,
            loop_lag_ms=None if observed is None else observed.loop_lag_ms,
            margin_ms=None if observed is None else observed.margin_ms,
        )


def _leave(resource: _Resource, number: int) -> None:
    if resource.active == number:
        resource.active = None
    else:
        resource.standbys.pop(number, None)


def _order(standby: ServiceInstance) -> tuple[bool, bool, int, int]:
    """Those that may succeed first; healthy before degraded, then priority, then whoever has stood by longest."""
    is_healthy = standby.status is ServiceStatus.HEALTHY
    return (not standby.may_succeed, not is_healthy, -standby.priority, standby.role_revision)
