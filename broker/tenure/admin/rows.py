"""A resource in a line of the live table, as compact as the page needs it."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from tenure.contract.views import Pause, ResourceView
from tenure.contract.vocabulary import ServiceStatus
from tenure.sdk.lost import LostTenure

_STANDBYS_SHOWN: Final = 10


class ActiveShown(Struct, frozen=True, kw_only=True):
    """Who is active."""

    instance_id: str
    service_name: str
    status: ServiceStatus
    since_ms: int
    """Unix milliseconds at which its tenure began."""
    at_risk: bool
    """Whether it may soon lose the role."""


class StandbyShown(Struct, frozen=True, kw_only=True):
    """Who stands by."""

    instance_id: str
    service_name: str
    status: ServiceStatus
    at_risk: bool
    may_succeed: bool
    """Whether it could take over."""


class Row(Struct, frozen=True, kw_only=True):
    """Who is active for a resource, and who would be next."""

    resource_id: str
    service_names: list[str]
    epoch: int
    """That of its newest tenure, ended or not; 0 if it never had one."""
    active: ActiveShown | None
    standbys: list[StandbyShown]
    """The first ten in the order in which they would succeed."""
    standby_count: int
    vacant_since_ms: int | None
    """Unix milliseconds since when nobody is active; null if somebody is, or it is not known."""
    lost: LostTenure | None
    """Its newest tenure, if that was lost and everybody has left; null while somebody is registered."""
    pause: Pause | None
    """Who let nobody be promoted for it unless somebody asks, why and until when."""
    switchover: bool
    """Whether one is known to be under way."""


def row_of(view: ResourceView, vacant_since_ms: int | None, lost: LostTenure | None, *, is_moving: bool) -> Row:
    """A resource's row; `vacant_since_ms` is when its newest tenure ended, if that is known."""
    active = view.active
    services = {standby.service_name for standby in view.standbys}
    if lost is not None:
        services.add(lost.service_name)
    if active is not None:
        services.add(active.service_name)
    return Row(
        resource_id=view.resource_id,
        service_names=sorted(services),
        epoch=view.last_epoch,
        active=None
        if active is None
        else ActiveShown(
            instance_id=active.instance_id,
            service_name=active.service_name,
            status=active.status,
            since_ms=active.since_ms,
            at_risk=active.is_at_risk,
        ),
        standbys=[
            StandbyShown(
                instance_id=standby.instance_id,
                service_name=standby.service_name,
                status=standby.status,
                at_risk=standby.is_at_risk,
                may_succeed=standby.may_succeed,
            )
            for standby in view.standbys[:_STANDBYS_SHOWN]
        ],
        standby_count=view.standby_count,
        vacant_since_ms=vacant_since_ms if active is None else None,
        lost=lost,
        pause=view.pause,
        switchover=is_moving,
    )
