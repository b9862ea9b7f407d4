"""What the registry keeps and a store makes durable: immutable records, and the changes that carry them.

A change is a whole new state of one record, so that applying it needs no knowledge of the old one and applying the last
of several has the effect of all. The registry itself changes only by absorbing these. Encoded, a record is an array of
its fields, which is how a store reads and writes them by the thousand.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec import Struct, field

from tenure.contract.events import AnyEvent, RoleChangedEvent
from tenure.contract.views import Pause
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus

NO_METADATA: Final[dict[str, str]] = {}
"""What most registrations have, shared by all of them; nobody changes it."""


class Instant(Struct, frozen=True, gc=False):
    """The time of a decision."""

    now_ms: float
    """The broker's lease clock: it never jumps, and only differences mean anything."""
    unix_ms: int
    """Wall time, for people's eyes."""
    waited_ms: int = 0
    """For how long at most what is decided on may have waited to be read, because the broker stood still."""

    @property
    def came_unix_ms(self) -> int:
        """When what is decided on came, at the earliest."""
        return self.unix_ms - self.waited_ms


class Session(Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """The durable part of a client's presence."""

    number: int
    """The revision of the event that opened it: its public name."""
    session_id: str
    """The client's secret."""
    identity: str
    """Who opened it: `uid:N` over ipc, empty where the transport does not tell."""
    lease_ms: int
    status: ServiceStatus
    client: str
    opened_ms: int
    """Unix milliseconds."""


class Registration(Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """One instance for one resource, in one role."""

    registration_id: int
    session: int
    service_name: str
    instance_id: str
    resource_id: str
    role: ServiceRole
    epoch: int = 0
    """The tenure it is in; 0 while it stands by."""
    role_revision: int
    """The revision at which it took its role; among standbys of equal rank the lowest has stood by longest."""
    revision: int
    """The newest event about it."""
    since_ms: int
    """Unix milliseconds at which it took its role."""
    priority: int = 0
    candidate: bool = False
    """Whether it may fill any vacancy, also one that no active left behind."""
    declined_epoch: int = 0
    """The tenure it resigned from and whose vacancy it does not fill."""
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    hold_limit_ms: int = 0
    """How long its tenures last in silence, if longer than the lease."""

    def limit_ms(self, lease_ms: int) -> int:
        """How long a tenure of it lasts in silence, in a session with this lease."""
        return max(lease_ms, self.hold_limit_ms)


class Tenure(Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """One unbroken period of one instance being active for a resource.

    While it lasts, its active registration says all of it: it is kept from its end on, and the newest of a resource in
    memory.
    """

    epoch: int
    resource_id: str
    service_name: str
    instance_id: str
    began_ms: int
    ended_ms: int | None = None
    end_revision: int | None = None
    end_reason: ChangeReason | None = None


class KeptTenure(NamedTuple):
    """A tenure as a store has it."""

    tenure: Tenure
    end: RoleChangedEvent | None
    """What ended it; None while it lasts, or once that event is no longer kept."""


class PutSession(Struct, frozen=True, gc=False):
    """The session is new or has another status."""

    session: Session


class DropSession(Struct, frozen=True, gc=False):
    """The session is gone."""

    number: int


class PutRegistration(Struct, frozen=True, gc=False):
    """The registration is new or has changed."""

    registration: Registration


class DropRegistration(Struct, frozen=True, gc=False):
    """The registration is gone."""

    registration_id: int


class PutTenure(Struct, frozen=True, gc=False):
    """The tenure has ended."""

    tenure: Tenure


class ForgetResource(Struct, frozen=True, gc=False):
    """A resource without registrations is forgotten, and its tenures with it."""

    resource_id: str


class PutPause(Struct, frozen=True, gc=False):
    """The resource is paused, or its pause has changed."""

    pause: Pause


class DropPause(Struct, frozen=True, gc=False):
    """The resource is paused no more."""

    resource_id: str


type Change = (
    PutSession | DropSession | PutRegistration | DropRegistration | PutTenure | ForgetResource | PutPause | DropPause
)


class Batch(Struct, frozen=True, kw_only=True):
    """What one commit makes durable: all of it or nothing."""

    first_revision: int
    """The revision of the first event; the store refuses one that does not follow its newest."""
    changes: tuple[Change, ...]
    """In the order they were decided."""
    events: tuple[AnyEvent, ...]
    """Contiguous revisions from `first_revision` on."""
    encoded_events: tuple[bytes, ...]
    """The same events as bytes, which is what is kept and published."""


class StoredState(Struct, frozen=True, kw_only=True):
    """What a store hands back when a broker starts."""

    history_id: str
    revision: int
    """The newest revision, 0 in a new history."""
    sessions: tuple[Session, ...]
    registrations: tuple[Registration, ...]
    tenures: tuple[Tenure, ...]
    """The newest of each resource that has ended, in the order in which they did."""
    pauses: tuple[Pause, ...] = ()
    """In the order of resources."""
