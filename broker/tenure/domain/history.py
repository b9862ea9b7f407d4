"""A stored history as a verification reads it, and what is known of its records while its events are replayed.

None stands for what the events that are kept do not tell: such a value is learnt later, and never compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from tenure.contract.events import RegistrationUpdatedEvent, RoleChangedEvent
from tenure.contract.views import Pause
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tenure.domain.records import Registration, Session, Tenure

UNKNOWN: Final = -1
NOBODY: Final = 0


class StoredHistory(NamedTuple):
    """All that a store keeps, at one moment."""

    history_id: str
    next_revision: int
    damage: str
    """What the database itself finds wrong with its pages and indices; empty if nothing."""
    has_unique_index: bool
    """Whether the index is there that has the last word on "at most one active"."""
    events: Iterable[tuple[int, bytes]]
    """Revisions and bodies, in the order of revisions."""
    sessions: Iterable[Session]
    registrations: Iterable[Registration]
    tenures: Iterable[Tenure]
    """All that are kept, and those that last, in the order of epochs."""
    pauses: Iterable[Pause] = ()
    begins_at: int = 1
    """The first revision there ever was; above all before it in a store that was restored."""


class TenureFacts:
    """What the history says of one tenure."""

    __slots__ = ("end_reason", "resource_id", "session")

    def __init__(self, resource_id: str, session: int | None, end_reason: ChangeReason | None) -> None:
        self.resource_id = resource_id
        self.session = session
        """Whose it is; None where the event that tells is no longer kept."""
        self.end_reason = end_reason


class KnownRegistration:
    """A registration as far as the events tell; None is what they do not. Named like the table's columns."""

    __slots__ = (
        "candidate", "declined_epoch", "epoch", "hold_limit_ms", "instance_id", "metadata", "priority", "resource_id",
        "revision", "role", "role_revision", "service_name", "session", "since_ms",
    )  # fmt: skip

    def __init__(self, event: RoleChangedEvent | RegistrationUpdatedEvent) -> None:
        self.service_name = event.service_name
        self.instance_id = event.instance_id
        self.resource_id = event.resource_id
        self.session: int | None = None
        self.role: ServiceRole | None = None
        self.epoch: int | None = None
        self.role_revision: int | None = None
        self.since_ms: int | None = None
        self.priority: int | None = None
        self.candidate: bool | None = None
        self.declined_epoch: int | None = None
        self.hold_limit_ms: int | None = None
        self.metadata: dict[str, str] | None = None
        self.revision = event.revision


class KnownSession:
    """A session as far as the events tell."""

    __slots__ = ("client", "lease_ms", "opened_ms", "status")

    def __init__(self) -> None:
        self.lease_ms: int | None = None
        self.status: ServiceStatus | None = None
        self.client: str | None = None
        self.opened_ms: int | None = None


class KnownResource:
    """Who is active, and the newest tenure."""

    __slots__ = ("active", "last_epoch", "row")

    def __init__(self, active: int) -> None:
        self.active = active
        """A registration, nobody, or unknown."""
        self.last_epoch = 0
        """0 if it is not known to have had a tenure."""
        self.row: Tenure | None = None
        """The newest tenure as the table has it, if it does."""
