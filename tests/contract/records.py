"""Records and batches as the registry makes them, for tests of stores: short to write, complete to look at.

Nothing here is random. Most fields that a test does not name have a value that no other has, so that a mix-up shows.
"""

from __future__ import annotations

from msgspec import structs

from tenure.contract.codec import encode
from tenure.contract.events import AnyEvent, SessionOpenedEvent
from tenure.contract.views import Pause
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tenure.domain.records import (
    Batch,
    Change,
    DropPause,
    DropRegistration,
    DropSession,
    ForgetResource,
    PutPause,
    PutRegistration,
    PutSession,
    PutTenure,
    Registration,
    Session,
    Tenure,
)

LEASE_MS = 2_001
NOW_MS = 1_700_000_000_123


def session(number: int, *, status: ServiceStatus = ServiceStatus.HEALTHY) -> Session:
    """A client's presence, opened by the event of this number."""
    return Session(
        number=number,
        session_id=f"secret-{number}",
        identity="uid:1003",
        lease_ms=LEASE_MS,
        status=status,
        client="a client",
        opened_ms=NOW_MS + number,
    )


def standby(registration_id: int, resource_id: str, *, revision: int | None = None) -> Registration:
    """A registration that stands by; its newest event is its first unless told."""
    return Registration(
        registration_id=registration_id,
        session=1,
        service_name="order-gateway",
        instance_id=f"gw-{registration_id}",
        resource_id=resource_id,
        role=ServiceRole.STANDBY,
        role_revision=registration_id if revision is None else revision,
        revision=registration_id if revision is None else revision,
        since_ms=NOW_MS + 7,
        priority=-3,
    )


def active(registration_id: int, resource_id: str, *, epoch: int | None = None) -> Registration:
    """A registration that is active; since it began, unless another epoch is told."""
    epoch = registration_id if epoch is None else epoch
    return structs.replace(standby(registration_id, resource_id, revision=epoch), role=ServiceRole.ACTIVE, epoch=epoch)


def tenure(epoch: int, resource_id: str, *, ended: int | None = None) -> Tenure:
    """A tenure, which has ended with the event of this revision if one is told."""
    return Tenure(
        epoch=epoch,
        resource_id=resource_id,
        service_name="order-gateway",
        instance_id=f"gw-{epoch}",
        began_ms=NOW_MS + epoch,
        ended_ms=None if ended is None else NOW_MS + ended,
        end_revision=ended,
        end_reason=None if ended is None else ChangeReason.RESIGNED,
    )


def paused(resource_id: str, *, why: str = "work") -> Pause:
    """A pause."""
    return Pause(resource_id=resource_id, why=why, paused_ms=NOW_MS + 1, until_ms=NOW_MS + 2, by="ada")


def put(record: Session | Registration | Tenure | Pause) -> Change:
    """The change that makes a record true."""
    match record:
        case Session():
            return PutSession(record)
        case Registration():
            return PutRegistration(record)
        case Tenure():
            return PutTenure(record)
        case Pause():
            return PutPause(record)


def drop(record: Session | Registration | Pause) -> Change:
    """The change that takes a record away."""
    if isinstance(record, Pause):
        return DropPause(record.resource_id)
    return DropSession(record.number) if isinstance(record, Session) else DropRegistration(record.registration_id)


def forget(resource_id: str) -> Change:
    """The change that takes a resource's tenures away."""
    return ForgetResource(resource_id)


def event(revision: int) -> AnyEvent:
    """Some event of this revision, which has happened already, also where revisions are microseconds."""
    return SessionOpenedEvent(
        revision=revision, at_ms=NOW_MS + revision % 10**9, lease_ms=LEASE_MS, client=f"client {revision}"
    )


def batch(first_revision: int, *changes: Change, events: int = 1) -> Batch:
    """A batch of changes with as many events from this revision on."""
    return batch_of(tuple(event(first_revision + index) for index in range(events)), *changes, first=first_revision)


def batch_of(events: tuple[AnyEvent, ...], *changes: Change, first: int) -> Batch:
    """A batch of changes with these events, whatever their revisions are."""
    return Batch(
        first_revision=first,
        changes=changes,
        events=events,
        encoded_events=tuple(encode(event) for event in events),
    )
