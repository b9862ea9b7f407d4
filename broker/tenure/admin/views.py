"""What is answered, as JSON: pages of instances and of resources, each with how current it is.

Pages are bounded, also in how many instances they hold in all. Names and meanings are the wire's; see docs/protocol.md.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from tenure.contract.limits import PAGE_ITEMS_MAX
from tenure.contract.views import Presence, ResourceView, ServiceInstance
from tenure.contract.vocabulary import ServiceRole, ServiceStatus
from tenure.sdk.replica import Replica

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = PAGE_ITEMS_MAX


class Picture(Struct, frozen=True, kw_only=True):
    """The registry as far as it is known."""

    replica: Replica
    presence: Mapping[int, Presence]
    """What the broker observes of the sessions; empty if the broker is away."""
    is_connected: bool
    as_of_ms: int
    """Unix milliseconds: when the sessions were observed, or the broker was heard last if it is away."""


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


class RolePage(Page, frozen=True, kw_only=True):
    """A service's resources by id. Ask again with `after` = `next_after` until that is null."""

    service_name: str
    resources: list[Resource]
    next_after: str | None


def instance_page(picture: Picture, after: int, limit: int) -> InstancePage:
    """The first `limit` instances registered after a registration."""
    replica = picture.replica
    found = replica.instances(after, limit + 1, picture.presence)
    return InstancePage(
        history_id=replica.history_id,
        revision=replica.revision,
        connected=picture.is_connected,
        as_of_ms=picture.as_of_ms,
        instances=[_instance(one, picture.presence) for one in found[:limit]],
        next_after=found[limit - 1].registration_id if len(found) > limit else None,
    )


def role_page(picture: Picture, service_name: str, after: str, limit: int) -> RolePage | None:
    """The first `limit` of a service's resources that come after one; None if the service has no instance.

    A page ends early rather than hold many more instances than a page of instances would.
    """
    replica = picture.replica
    if service_name not in replica.services:
        return None
    resource_ids = replica.resources_of(service_name)
    resources: list[Resource] = []
    position, shown = bisect_right(resource_ids, after), 0
    while position < len(resource_ids) and len(resources) < limit and shown < LIMIT_MAX:
        view = replica.resource(resource_ids[position], picture.presence)
        assert view is not None, "one of its instances is of this service"
        resources.append(_resource(view, picture.presence))
        shown += 1 + len(view.standbys)
        position += 1
    return RolePage(
        history_id=replica.history_id,
        revision=replica.revision,
        connected=picture.is_connected,
        as_of_ms=picture.as_of_ms,
        service_name=service_name,
        resources=resources,
        next_after=resource_ids[position - 1] if position < len(resource_ids) else None,
    )


def _resource(view: ResourceView, presence: Mapping[int, Presence]) -> Resource:
    return Resource(
        resource_id=view.resource_id,
        last_epoch=view.last_epoch,
        active=None if view.active is None else _instance(view.active, presence),
        standbys=[_instance(standby, presence) for standby in view.standbys],
        standby_count=view.standby_count,
    )


def _instance(one: ServiceInstance, presence: Mapping[int, Presence]) -> Instance:
    return Instance(
        service_name=one.service_name,
        instance_id=one.instance_id,
        resource_id=one.resource_id,
        role=one.role,
        epoch=one.epoch,
        since_ms=one.since_ms,
        status=one.status,
        lease_left_ms=one.lease_left_ms if one.session in presence else None,
        lease_ms=one.lease_ms,
        hold_limit_ms=one.hold_limit_ms,
        loop_lag_ms=one.loop_lag_ms,
        margin_ms=one.margin_ms,
        priority=one.priority,
        candidate=one.candidate,
        metadata=one.metadata,
        session=one.session,
        registration_id=one.registration_id,
        revision=one.revision,
    )
