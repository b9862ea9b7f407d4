"""Every durable change, as the stream carries it: gapless revisions, in order, within one history.

A snapshot and the stream together rebuild the registry. `registered`, `role_changed` and `deregistered` are all
`RoleChangedEvent`s: whoever follows roles needs to look at one type only.
"""

from __future__ import annotations

from msgspec import Struct, field

from tenure.contract.vocabulary import ChangeReason, ResumeReason, ServiceRole, ServiceStatus


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type"):
    """What all events share."""

    revision: int
    """The number of this event; the next one's is one more."""
    at_ms: int
    """Unix milliseconds at which the broker decided it."""


class PreviousHolder(Struct, frozen=True, kw_only=True, gc=False):
    """Whose tenure ended last before this one began."""

    service_name: str
    instance_id: str
    epoch: int


class RoleChangedEvent(Event, frozen=True, kw_only=True, omit_defaults=True, tag="role_changed"):
    """The role of a registration changed. `epoch` is that of the tenure which began or ended with it, else 0."""

    registration_id: int
    resource_id: str
    service_name: str
    instance_id: str
    old_role: ServiceRole | None = None
    """None for a registration that is new."""
    new_role: ServiceRole | None = None
    """None for a registration that is gone."""
    epoch: int = 0
    reason: ChangeReason
    previous_holder: PreviousHolder | None = None
    declined_epoch: int = 0
    """With a resignation: the tenure left, whose vacancy this registration does not fill."""
    silent_ms: int | None = None
    """With the end of a tenure: for how long before it nothing is known of the holder.

    That is since its newest heartbeat came; or since it had stopped, if it told its end itself or its process was seen
    to end. None: it was not heard since the broker was started, or does not say when it stopped.
    """
    by: str = ""
    """With a switchover or a confirmed death: who asked for it or vouched for it."""


class RegisteredEvent(RoleChangedEvent, frozen=True, kw_only=True, omit_defaults=True, tag="registered"):
    """A registration began; it carries what a replica needs to know of it."""

    session: int
    lease_ms: int
    status: ServiceStatus
    """What its session had reported by then."""
    priority: int = 0
    candidate: bool = False
    hold_limit_ms: int = 0
    last_epoch: int = 0
    """With a standby: the epoch of its resource's newest tenure, ended or not; 0 if it never had one."""
    metadata: dict[str, str] = field(default_factory=dict)


class DeregisteredEvent(RoleChangedEvent, frozen=True, kw_only=True, omit_defaults=True, tag="deregistered"):
    """A registration ended, and with it the tenure it may have had."""


class RegistrationUpdatedEvent(Event, frozen=True, kw_only=True, omit_defaults=True, tag="registration_updated"):
    """A registration asked again, with other properties; its role did not change by this."""

    registration_id: int
    resource_id: str
    service_name: str
    instance_id: str
    priority: int = 0
    candidate: bool = False
    declined_epoch: int = 0
    hold_limit_ms: int = 0
    metadata: dict[str, str] = field(default_factory=dict)


class SessionOpenedEvent(Event, frozen=True, kw_only=True, omit_defaults=True, tag="session_opened"):
    """A client's session began; its public number is this event's revision."""

    lease_ms: int
    client: str = ""


class SessionClosedEvent(Event, frozen=True, kw_only=True, omit_defaults=True, tag="session_closed"):
    """A session ended; the events of its registrations came just before."""

    session: int
    reason: ChangeReason
    by: str = ""
    """With a confirmed death: who vouched for it."""


class StatusChangedEvent(Event, frozen=True, kw_only=True, omit_defaults=True, tag="status_changed"):
    """A session reported another status."""

    session: int
    old_status: ServiceStatus
    new_status: ServiceStatus


class ResourcePausedEvent(Event, frozen=True, kw_only=True, omit_defaults=True, tag="resource_paused"):
    """From here on nobody is promoted for the resource unless somebody asks for it; or who, why and until when anew."""

    resource_id: str
    why: str
    until_ms: int
    """Unix milliseconds at which it ends by itself, at the latest."""
    by: str = ""
    """Who asked for it."""


class ResourceResumedEvent(Event, frozen=True, kw_only=True, omit_defaults=True, tag="resource_resumed"):
    """The pause is over; what fills a vacancy comes just after."""

    resource_id: str
    reason: ResumeReason
    by: str = ""
    """Who asked for it."""
    why: str = ""
    """Why it had been paused."""
    paused_by: str = ""
    """Who had asked for that."""


type AnyEvent = (
    RoleChangedEvent
    | RegisteredEvent
    | DeregisteredEvent
    | RegistrationUpdatedEvent
    | SessionOpenedEvent
    | SessionClosedEvent
    | StatusChangedEvent
    | ResourcePausedEvent
    | ResourceResumedEvent
)
