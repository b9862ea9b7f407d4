"""The routes that change something: a switchover, its end, and the end of an instance that is dead.

Each is one request to the broker, which decides and writes down on whose word; here it is only carried there. An
answer says that it was accepted. What becomes of it is seen in events and rows.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final

import structlog
from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, QueryParameter
from msgspec import Meta, Struct

from tenure.admin.changing import REVISION_MAX, By, asker, deleting, posting
from tenure.admin.description import decoded
from tenure.admin.follower import Source
from tenure.admin.reads import ResourceId, ServiceName
from tenure.admin.security import Guard
from tenure.contract.errors import InvalidRequestError, NotActiveError, NotFoundError
from tenure.contract.interventions import (
    CancelSwitchover,
    ExpireSession,
    SessionEnded,
    Switchover,
    SwitchoverCancelled,
    SwitchoverStarted,
)
from tenure.contract.limits import DRAIN_MS_MAX, NAME_BYTES_MAX
from tenure.contract.views import ServiceInstance
from tenure.sdk import queries

_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger("tenure.admin")


class SwitchoverRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a switchover is to be like."""

    epoch: Annotated[
        int,
        Meta(ge=1, le=REVISION_MAX, description="The tenure to end. GET /resources/{resource_id} has it, in `active`."),
    ]
    to: Annotated[str, Meta(description="The instance that is to take over; null: whoever is next.")] | None = None
    to_service: Annotated[str, Meta(description="Its service, if instances of several are called so.")] | None = None
    drain_ms: Annotated[
        int, Meta(ge=0, le=DRAIN_MS_MAX, description="How long the active one may go on to finish its work.")
    ] = 0
    by: By = ""


class SwitchoverAccepted(Struct, frozen=True, kw_only=True):
    """The active one is asked to step down."""

    resource_id: str
    epoch: int
    """The tenure that ends."""
    instance_id: str
    """Who steps down."""
    to_instance_id: str
    """Who takes over; empty: whoever is next then."""
    drain_ms: int


class SwitchoverCalledOff(Struct, frozen=True, kw_only=True):
    """The active one need not step down any more."""

    resource_id: str
    epoch: int
    """The tenure that goes on."""


class InstanceEnded(Struct, frozen=True, kw_only=True):
    """An instance was taken for dead: its session has ended."""

    session: int
    registration_count: int
    """How many registrations ended with it, of other services and instances of the same process too."""


def change_routes(source: Source, guard: Guard) -> list[HTTPRouteHandler]:
    """The routes by which `source` can be made to change something by whom `guard` lets."""
    return [_start_switchover(source, guard), _cancel_switchover(source, guard), _end_instance(source, guard)]


def _start_switchover(source: Source, guard: Guard) -> HTTPRouteHandler:
    path = "/resources/{resource_id:str}/switchover"
    status = HTTPStatus.ACCEPTED

    @posting(guard, path, SwitchoverRequest, "Move a role as planned", "start_switchover", status=status)
    async def start_switchover(
        request: Request[Any, Any, Any], resource_id: ResourceId, data: JSONBody[SwitchoverRequest]
    ) -> SwitchoverAccepted:
        name = decoded(resource_id, "resource_id")
        by = data.by or asker(request)
        accepted = await _switch(source, name, data, by)
        _log.info("switchover.asked", resource_id=name, epoch=accepted.epoch, by=by)
        return accepted

    return start_switchover


def _cancel_switchover(source: Source, guard: Guard) -> HTTPRouteHandler:
    path = "/resources/{resource_id:str}/switchover"

    @deleting(guard, path, "Call off the switchover under way", "cancel_switchover")
    async def cancel_switchover(
        request: Request[Any, Any, Any],
        resource_id: ResourceId,
        by: Annotated[str, QueryParameter(max_length=NAME_BYTES_MAX, description="Who asks for it, for the log.")] = "",
    ) -> SwitchoverCalledOff:
        name = decoded(resource_id, "resource_id")
        under_way = (await queries.resource(source, name)).switchover
        if under_way is None:
            raise NotFoundError(f"no switchover of {name!r} is under way; nothing was changed")
        by = by or asker(request)
        await source.request(CancelSwitchover(resource_id=name, epoch=under_way.epoch, by=by), SwitchoverCancelled)
        source.changed(name)
        source.table.note_switchover(name, 0)
        _log.info("switchover.cancelled", resource_id=name, epoch=under_way.epoch, by=by)
        return SwitchoverCalledOff(resource_id=name, epoch=under_way.epoch)

    return cancel_switchover


def _end_instance(source: Source, guard: Guard) -> HTTPRouteHandler:
    path = "/services/{service_name:str}/instances/{instance_id:str}"
    description = (
        "Its session ends at once, with all its registrations, and its roles move. If the process lives after all, "
        "two are active until it hears of it: refused while its heartbeats come."
    )

    @deleting(guard, path, "Vouch that an instance's process is dead", "end_instance", description)
    async def end_instance(
        request: Request[Any, Any, Any],
        service_name: ServiceName,
        instance_id: ServiceName,
        confirm_dead: Annotated[
            bool, QueryParameter(description="You know that its process is dead: it is your word that counts.")
        ] = False,
        resource_id: Annotated[
            str | None, QueryParameter(description="A resource it is registered for, to tell it from others.")
        ] = None,
        by: Annotated[str, QueryParameter(max_length=NAME_BYTES_MAX, description="Who vouches for it.")] = "",
    ) -> InstanceEnded:
        service, instance = decoded(service_name, "service_name"), decoded(instance_id, "instance_id")
        its = await _session_of(source, service, instance, resource_id)
        if not confirm_dead:
            raise InvalidRequestError(_what_it_means(its))
        vouches = by or asker(request)
        ended = await source.request(ExpireSession(session=its[0].session, by=vouches), SessionEnded)
        for one in its:
            source.changed(one.resource_id)
        _log.info("instance.ended", service_name=service, instance_id=instance, session=ended.session, by=vouches)
        return InstanceEnded(session=ended.session, registration_count=ended.registration_count)

    return end_instance


async def _switch(source: Source, resource_id: str, wanted: SwitchoverRequest, by: str) -> SwitchoverAccepted:
    """Ask the broker for a switchover.

    Raises:
        NotActiveError: Nobody is active, or not in the tenure named.
        NotFoundError: Nobody is registered for the resource, or not the instance named.
        TenureError: The broker refused it or did not answer.
    """
    if wanted.to_service is not None and wanted.to is None:
        raise InvalidRequestError("to_service says whose instance `to` means; name that too")
    holder = (await queries.resource(source, resource_id)).active
    if holder is None:
        raise NotActiveError(f"nobody is active for {resource_id!r} that could step down")
    to = None if wanted.to is None else await _standby(source, resource_id, wanted.to, wanted.to_service)
    request = Switchover(
        resource_id=resource_id,
        epoch=wanted.epoch,
        to_registration_id=0 if to is None else to.registration_id,
        drain_ms=wanted.drain_ms,
        by=by,
    )
    await source.request(request, SwitchoverStarted)
    source.changed(resource_id)
    source.table.note_switchover(resource_id, wanted.epoch)
    return SwitchoverAccepted(
        resource_id=resource_id,
        epoch=wanted.epoch,
        instance_id=holder.instance_id,
        to_instance_id="" if to is None else to.instance_id,
        drain_ms=wanted.drain_ms,
    )


async def _standby(source: Source, resource_id: str, instance_id: str, service: str | None) -> ServiceInstance:
    """The one registration for a resource that a name means.

    Raises:
        NotFoundError: There is none.
        InvalidRequestError: There are several.
    """
    found = [one for one in await queries.services(source, service, resource_id) if one.instance_id == instance_id]
    if not found:
        raise NotFoundError(f"no instance {instance_id!r} stands by for {resource_id!r}; nothing was asked of anybody")
    if len(found) > 1:
        services = ", ".join(sorted(one.service_name for one in found))
        raise InvalidRequestError(f"several services have an instance {instance_id!r} ({services}); add to_service")
    return found[0]


async def _session_of(
    source: Source, service_name: str, instance_id: str, resource_id: str | None
) -> list[ServiceInstance]:
    """The registrations of the one session that has such an instance.

    Raises:
        NotFoundError: There is none.
        InvalidRequestError: There are several.
    """
    everybody = await queries.services(source, service_name, resource_id)
    meant = [one for one in everybody if one.instance_id == instance_id]
    if not meant:
        raise NotFoundError(f"service {service_name!r} has no registered instance {instance_id!r}")
    if len({one.session for one in meant}) > 1:
        resources = ", ".join(sorted(one.resource_id for one in meant)[:10])
        raise InvalidRequestError(
            f"several processes have an instance {instance_id!r} of {service_name!r}; "
            f"say which with resource_id, one of {resources}"
        )
    return meant


def _what_it_means(its: list[ServiceInstance]) -> str:
    held = [one for one in its if one.is_active]
    said = (
        f"nothing was done. With confirm_dead=true the session of {its[0].instance_id!r} would end, with all its "
        f"registrations, {len(held)} of these active"
    )
    if not held:
        return said
    limit_ms = max(max(one.lease_ms, one.hold_limit_ms) for one in held)
    return (
        f"{said}. The next ones would be promoted at once: if its process lives, two are active until it hears of it, "
        f"for up to {limit_ms:,} ms. Make sure that it is dead"
    )
