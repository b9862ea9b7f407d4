"""What is answered, as JSON: pages of instances, resources and events, each with how current it is.

Names and meanings are the wire's; see docs/protocol.md. Computing them is `tenure.admin.pages`' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from tenure.contract.events import AnyEvent
from tenure.contract.limits import PAGE_ITEMS_MAX
from tenure.contract.views import Pause, Presence, ResourceView, Switchover
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tenure.sdk.lost import LostResources, LostTenure
from tenure.sdk.replica import Replica
from tenure.sdk.succession import Place
from tenure.sdk.timeline import Story

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = PAGE_ITEMS_MAX


class Picture(Struct, frozen=True, kw_only=True):
    """The registry as far as it is known."""

    replica: Replica
    lost: LostResources
    presence: Mapping[int, Presence]
    """What the broker observes of the sessions; empty if the broker is away."""
    is_connected: bool
    as_of_ms: int
    """Unix milliseconds: when the sessions were observed, or the broker was heard last if it is away."""

    def resource(self, resource_id: str) -> ResourceView | None:
        """Who is active for a resource and who would be next; None if nobody is registered and no tenure was lost."""
        return self.lost.view(resource_id, self.replica, self.presence)


class Instance(Struct, frozen=True, kw_only=True):
    """One instance's registration for one resource."""

    service_name: str
    instance_id: str
    resource_id: str
    role: ServiceRole
    epoch: int
    """The fencing token of its tenure; 0 while it stands by."""
    since_ms: int
    """Unix milliseconds at which it took this role."""
    status: ServiceStatus
    """What the broker observes; while it is away, what the instance reported last."""
    at_risk: bool
    """Whether it may soon lose its role: it is late, its lease is renewed late, or its event loop hardly turns."""
    may_succeed: bool
    """Whether it stands by and could fill the vacancy that the resource's newest tenure left, or would leave."""
    lease_left_ms: int | None
    """How long the broker waited for the next heartbeat, at `as_of_ms`; null if that is not known."""
    lease_ms: int
    hold_limit_ms: int
    """How long its tenures last in silence, if longer than the lease; 0 if not."""
    loop_lag_ms: int | None
    """How late its event loop has been, as its newest heartbeat said; null if that is not known."""
    margin_ms: int | None
    """How much of the lease was left when it was last renewed; null if that is not known."""
    priority: int
    candidate: bool
    """Whether it may fill any vacancy, also one that no active left."""
    metadata: dict[str, str]
    session: int
    registration_id: int
    revision: int
    """The revision of the newest event about it."""


class Resource(Struct, frozen=True, kw_only=True):
    """Who is active for a resource, and who would be next."""

    resource_id: str
    last_epoch: int
    """The epoch of its newest tenure, ended or not; 0 if it never had one."""
    active: Instance | None
    standbys: list[Instance]
    """The first 100 in the order in which they would succeed; those that may not at present come last."""
    standby_count: int
    """How many stand by in all."""
    pause: Pause | None
    """Who let nobody be promoted for it unless somebody asks, why and until when; null if nobody did."""
    lost: LostTenure | None
    """Its newest tenure, if that was lost and nobody has been registered since its last registration ended; or null."""


class ResourceDetail(Resource, frozen=True, kw_only=True):
    """The same, and what only the broker knows."""

    switchover: Switchover | None
    """The one under way; null if none is, or the broker is away."""


class Page(Struct, frozen=True, kw_only=True):
    """How current an answer is."""

    history_id: str
    revision: int
    """The revision the answer was computed at."""
    connected: bool
    """False: the broker is away, and this is what was known at `as_of_ms`."""
    as_of_ms: int
    """Unix milliseconds at which the broker was last asked, or heard."""


class InstancePage(Page, frozen=True, kw_only=True):
    """Instances by registration id. Ask again with `after` = `next_after` until that is null."""

    instances: list[Instance]
    next_after: int | None


class ServiceSummary(Page, frozen=True, kw_only=True):
    """A service in numbers."""

    service_name: str
    instance_count: int
    """How many instances it has, each counted once."""
    registration_count: int
    """How many registrations these have: an instance has one for each of its resources."""
    role_counts: dict[ServiceRole, int]
    """Registrations by role; a role that nobody has is left out."""
    status_counts: dict[ServiceStatus, int]
    """Registrations by status; a status that nobody is in is left out."""
    at_risk_count: int
    """Registrations that may soon lose their role."""
    resource_count: int
    """How many resources it has instances for."""
    vacant_count: int
    """For how many of them nobody is active, of this service or another."""


class RolePage(Page, frozen=True, kw_only=True):
    """A service's resources by id. Ask again with `after` = `next_after` until that is null."""

    service_name: str
    resources: list[Resource]
    next_after: str | None


class ResourcePage(Page, frozen=True, kw_only=True):
    """Resources by id. Ask again with `after` = `next_after` until that is null."""

    resources: list[Resource]
    next_after: str | None


class ResourceAnswer(Page, frozen=True, kw_only=True):
    """All that is known of one resource."""

    resource: ResourceDetail
    at_risk: str
    """Why the active instance may soon lose the role; empty if nothing says so."""
    succession: list[Place]
    """For each standby that is listed, why it is next, why it comes after the one before it, or why it may not be."""
    moves: list[Story]
    """How the role moved the last times, the newest last, as far as the broker remembers it."""


class TenureShown(Struct, frozen=True, kw_only=True):
    """One tenure of a resource."""

    epoch: int
    service_name: str
    instance_id: str
    began_ms: int
    ended_ms: int | None
    """When its end was decided; null while it lasts, as are the next five."""
    certain_until_ms: int | None
    """Until when it was active for certain: its own word or a proof in time, or its newest heartbeat; null: unknown."""
    possible_until_ms: int | None
    """From when on it cannot have been active, if a word on its death was right; null also after a restore."""
    duration_ms: int | None
    """How long it lasted at most."""
    reason: ChangeReason | None
    """Why it ended."""
    end_revision: int | None
    """The revision of the event that ended it."""
    by: str
    """Who asked for its end or vouched for it, as far as its event is kept."""


class TenurePage(Page, frozen=True, kw_only=True):
    """Tenures of a resource, the newest first. Ask again with `before` = `next_before` until that is null."""

    resource_id: str
    tenures: list[TenureShown]
    next_before: int | None


class EventPage(Page, frozen=True, kw_only=True):
    """Events in order, without a gap after `since`. Ask again with `since` = `next_since`."""

    events: list[AnyEvent]
    next_since: int
    """The revision of the last one; there are more if it is less than `revision`."""
