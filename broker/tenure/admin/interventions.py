"""The routes by which people steer resources: pauses, and changes of many roles at once.

As in `tenure.admin.changes`, each is one request to the broker, which decides.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final

import structlog
from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from msgspec import Meta, Struct

from tenure.admin.changing import REVISION_MAX, By, asker, posting
from tenure.admin.description import decoded
from tenure.admin.follower import Source
from tenure.admin.reads import ResourceId
from tenure.admin.security import Guard
from tenure.contract.interventions import (
    ChangeRoles,
    Paused,
    PauseResource,
    Resumed,
    ResumeResource,
    RoleChange,
    RoleChangesAccepted,
)
from tenure.contract.limits import (
    BATCH_ITEMS_MAX,
    DRAIN_MS_MAX,
    PAUSE_MS_DEFAULT,
    PAUSE_MS_MAX,
    PAUSE_MS_MIN,
    WHY_BYTES_MAX,
)
from tenure.contract.views import Pause
from tenure.contract.vocabulary import ServiceRole

_MANY_BYTES_MAX: Final = 262_144  # room for 1,000 changes
_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger("tenure.admin")


class PauseRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a pause is to be like."""

    why: Annotated[str, Meta(min_length=1, max_length=WHY_BYTES_MAX, description="The reason, for people.")]
    for_ms: Annotated[int, Meta(ge=PAUSE_MS_MIN, le=PAUSE_MS_MAX, description="How long, from now on.")] = (
        PAUSE_MS_DEFAULT
    )
    by: By = ""


class ResumeRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who ends a pause."""

    by: By = ""


class OneRoleRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which role a registration is to have."""

    registration_id: Annotated[int, Meta(ge=1, le=REVISION_MAX)]
    role: ServiceRole
    epoch: Annotated[
        int, Meta(ge=0, le=REVISION_MAX, description="The tenure that ends for it; 0: none, the role is vacant.")
    ] = 0


class RolesRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which registrations are to have which role: all of this is accepted, or none."""

    changes: Annotated[list[OneRoleRequest], Meta(min_length=1, max_length=BATCH_ITEMS_MAX)]
    drain_ms: Annotated[
        int, Meta(ge=0, le=DRAIN_MS_MAX, description="How long the active ones may go on to finish their work.")
    ] = 0
    by: By = ""


class RoleResult(Struct, frozen=True, kw_only=True):
    """How far one change has come."""

    registration_id: int
    epoch: int
    """The registration's tenure at present; 0: it stands by."""
    awaited_epoch: int
    """The tenure whose holder has been asked to step down first; 0: the role is as it was asked for."""


class RolesAccepted(Struct, frozen=True, kw_only=True):
    """All changes are accepted; each held role moves when its holder has stepped down."""

    results: list[RoleResult]
    """One for each change, in order."""


def intervention_routes(source: Source, guard: Guard) -> list[HTTPRouteHandler]:
    """The routes by which `source` can be steered by whom `guard` lets."""
    return [_pause_resource(source, guard), _resume_resource(source, guard), _change_roles(source, guard)]


def _pause_resource(source: Source, guard: Guard) -> HTTPRouteHandler:
    path = "/resources/{resource_id:str}/pause"
    summary = "Promote nobody for a resource unless somebody asks for it"

    @posting(guard, path, PauseRequest, summary, "pause_resource")
    async def pause_resource(
        request: Request[Any, Any, Any], resource_id: ResourceId, data: JSONBody[PauseRequest]
    ) -> Pause:
        name, by = decoded(resource_id, "resource_id"), data.by or asker(request)
        asked = PauseResource(resource_id=name, why=data.why, for_ms=data.for_ms, by=by)
        paused = await source.request(asked, Paused)
        source.changed(name)
        _log.info("resource.paused", resource_id=name, until_ms=paused.pause.until_ms, why=data.why, by=by)
        return paused.pause

    return pause_resource


def _resume_resource(source: Source, guard: Guard) -> HTTPRouteHandler:
    @posting(guard, "/resources/{resource_id:str}/resume", ResumeRequest, "End a pause", "resume_resource")
    async def resume_resource(
        request: Request[Any, Any, Any], resource_id: ResourceId, data: JSONBody[ResumeRequest]
    ) -> Pause:
        name, by = decoded(resource_id, "resource_id"), data.by or asker(request)
        resumed = await source.request(ResumeResource(resource_id=name, by=by), Resumed)
        source.changed(name)
        _log.info("resource.resumed", resource_id=name, by=by)
        return resumed.pause

    return resume_resource


def _change_roles(source: Source, guard: Guard) -> HTTPRouteHandler:
    summary = "Change many roles at once, all or none"
    status, most = HTTPStatus.ACCEPTED, _MANY_BYTES_MAX

    @posting(guard, "/roles", RolesRequest, summary, "change_roles", status=status, body_bytes_max=most)
    async def change_roles(request: Request[Any, Any, Any], data: JSONBody[RolesRequest]) -> RolesAccepted:
        by = data.by or asker(request)
        changes = tuple(
            RoleChange(registration_id=one.registration_id, role=one.role, epoch=one.epoch) for one in data.changes
        )
        accepted = await source.request(
            ChangeRoles(changes=changes, drain_ms=data.drain_ms, by=by), RoleChangesAccepted
        )
        for one in accepted.results:
            source.moving(one.registration_id, one.awaited_epoch)
        _log.info("roles.asked", count=len(changes), by=by)
        return RolesAccepted(
            results=[
                RoleResult(registration_id=one.registration_id, epoch=one.epoch, awaited_epoch=one.awaited_epoch)
                for one in accepted.results
            ]
        )

    return change_roles
