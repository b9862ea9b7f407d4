"""Which registrations somebody wants to see: what the parameters of a question mean.

Looked at row by row as the replica keeps them, so that a question that finds little costs little: views are made of
what is shown alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from litestar.params import QueryParameter
from msgspec import Meta, Struct

from tenure.contract.views import Presence, ServiceInstance, is_at_risk
from tenure.contract.vocabulary import ServiceRole, ServiceStatus
from tenure.sdk.lost import LostTenure
from tenure.sdk.replica import Replica


class Wanted(Struct, frozen=True, kw_only=True):
    """What a registration has to be like; None and nothing mean that it does not matter."""

    service_name: str | None = None
    resource_id: str | None = None
    role: ServiceRole | None = None
    status: ServiceStatus | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    at_risk: bool | None = None

    @property
    def is_everything(self) -> bool:
        """Whether every registration is wanted."""
        return self == EVERYTHING

    def includes(self, row: ServiceInstance, replica: Replica, presence: Mapping[int, Presence]) -> bool:
        """Whether a row of a replica is like that, given what the broker observes of the sessions."""
        if (
            self.service_name not in {None, row.service_name}
            or self.resource_id not in {None, row.resource_id}
            or self.role not in {None, row.role}
            or any(row.metadata.get(key) != value for key, value in self.metadata)
        ):
            return False
        if self.status is None and self.at_risk is None:
            return True
        status, risk = standing(row, replica, presence)
        return self.status in {None, status} and self.at_risk in {None, risk}

    def includes_lost(self, tenure: LostTenure) -> bool:
        """Whether a resource that everybody has left is wanted: no registration fits, but its service may."""
        return (
            self.service_name in {None, tenure.service_name}
            and Wanted(service_name=self.service_name, resource_id=self.resource_id) == self
        )


EVERYTHING = Wanted()


def standing(row: ServiceInstance, replica: Replica, presence: Mapping[int, Presence]) -> tuple[ServiceStatus, bool]:
    """The status of a row's session, and whether it may soon lose its roles."""
    observed = presence.get(row.session)
    if observed is None:
        status = replica.reported(row)
        return status, is_at_risk(status, row.lease_ms, None, None)
    return observed.status, is_at_risk(observed.status, row.lease_ms, observed.loop_lag_ms, observed.margin_ms)


def wanted_from(
    service_name: Annotated[str | None, QueryParameter(description="Of this service.")] = None,
    resource_id: Annotated[str | None, QueryParameter(description="For this resource.")] = None,
    role: Annotated[ServiceRole | None, QueryParameter(description="In this role.")] = None,
    status: Annotated[ServiceStatus | None, QueryParameter(description="In this status.")] = None,
    metadata: Annotated[
        list[Annotated[str, Meta(pattern="=")]] | None,
        QueryParameter(description="With this entry, as `key=value`; several have to be there all."),
    ] = None,
    at_risk: Annotated[bool | None, QueryParameter(description="Whether they may soon lose their role.")] = None,
) -> Wanted:
    """What a request's parameters ask for."""
    entries = [entry.partition("=") for entry in metadata or ()]
    return Wanted(
        service_name=service_name,
        resource_id=resource_id,
        role=role,
        status=status,
        metadata=tuple((key, value) for key, _, value in entries),
        at_risk=at_risk,
    )
