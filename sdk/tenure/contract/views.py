"""What a reader sees of the registry: instances, resources, and the holder a refused claim is shown.

Views carry times as unix milliseconds for people's eyes; nothing is decided by them.
"""

from __future__ import annotations

from msgspec import Struct, field

from tenure.contract.vocabulary import ServiceRole, ServiceStatus


class Holder(Struct, frozen=True, kw_only=True):
    """Who is active for a resource, as a refused claim is told it."""

    service_name: str
    instance_id: str
    epoch: int
    since_ms: int
    """Unix milliseconds at which its tenure began."""


class ServiceInstance(Struct, frozen=True, kw_only=True):
    """One instance's registration for one resource."""

    registration_id: int
    """The revision of the event that created it; never used again in this history."""
    service_name: str
    instance_id: str
    resource_id: str
    role: ServiceRole
    epoch: int = 0
    """The fencing token of its tenure; 0 while it stands by."""
    role_revision: int
    """The revision at which it took this role: among standbys of equal rank the lowest has stood by longest."""
    revision: int
    """The revision of the newest event about this registration."""
    since_ms: int
    """Unix milliseconds at which it took this role."""
    priority: int = 0
    candidate: bool = False
    declined_epoch: int = 0
    """The tenure it resigned from: it does not fill the vacancy that this tenure left. 0 for none."""
    last_epoch: int = 0
    """The epoch of its resource's newest tenure, ended or not; 0 if it never had one."""
    metadata: dict[str, str] = field(default_factory=dict)
    session: int
    """The public number of its session (the revision that opened it)."""
    status: ServiceStatus
    """What the broker goes by: what its session reported, or `starting` or `late` while it is not heard."""
    reported_status: ServiceStatus
    """What its session reported last, which is what `status_changed` events move."""
    lease_ms: int
    lease_left_ms: int
    """How long the broker waits for the next heartbeat, at the time of the answer."""

    @property
    def is_active(self) -> bool:
        """Whether the broker had this instance as the active one when it answered."""
        return self.role is ServiceRole.ACTIVE


class ResourceView(Struct, frozen=True, kw_only=True):
    """Who is active for a resource and who would be next."""

    resource_id: str
    last_epoch: int
    """The epoch of its newest tenure, ended or not; 0 if it never had one."""
    active: ServiceInstance | None
    standbys: tuple[ServiceInstance, ...]
    """The first 100 in the order in which they would succeed; those that may not at present come last."""
    standby_count: int
    """How many stand by in all."""


class Presence(Struct, frozen=True, kw_only=True, array_like=True):
    """How a living session is doing, by its public number."""

    session: int
    status: ServiceStatus
    lease_left_ms: int
