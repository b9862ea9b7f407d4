"""What the registry says: statements about roles, and pages of instances, resources and presence from its memory.

Reads change nothing. Pages are cut by id, so that a reader walks all of a large registry in bounded steps; each item
carries its own revision, and the stream from the first page's revision on makes the walk exact.
"""

from __future__ import annotations

from typing import Final

from tenure.contract.errors import InvalidRequestError, NotFoundError
from tenure.contract.limits import PAGE_ITEMS_MAX, STANDBYS_LISTED_MAX
from tenure.contract.messages import (
    GetResource,
    ListPresence,
    ListRoles,
    ListServices,
    PresencePage,
    RolePage,
    RoleStatement,
    ServicePage,
)
from tenure.contract.messages import Resource as ResourceReply
from tenure.contract.views import Pause, ResourceView, ServiceInstance, Switchover
from tenure.contract.views import Presence as PresenceView
from tenure.domain.records import Registration
from tenure.domain.state import Resource, State
from tenure.domain.succession import succession

_PAGE_METADATA_BYTES_MAX: Final = 65_536  # 16 registrations with all they may carry, or 1,000 with a little each


def statement_of(registration: Registration) -> RoleStatement:
    """What the registry says of a registration's role."""
    return RoleStatement(
        registration_id=registration.registration_id,
        role=registration.role,
        epoch=registration.epoch,
        revision=registration.role_revision,
        hold_limit_ms=registration.hold_limit_ms if registration.epoch else 0,
    )


def instance_view(state: State, registration: Registration, now_ms: float) -> ServiceInstance:
    """A registration as readers see it at `now_ms`."""
    presence = state.sessions[registration.session]
    return ServiceInstance(
        registration_id=registration.registration_id,
        service_name=registration.service_name,
        instance_id=registration.instance_id,
        resource_id=registration.resource_id,
        role=registration.role,
        epoch=registration.epoch,
        role_revision=registration.role_revision,
        revision=registration.revision,
        since_ms=registration.since_ms,
        priority=registration.priority,
        candidate=registration.candidate,
        declined_epoch=registration.declined_epoch,
        last_epoch=state.resources[registration.resource_id].last_epoch,
        metadata=registration.metadata,
        session=registration.session,
        status=presence.status(now_ms),
        reported_status=presence.record.status,
        lease_ms=presence.record.lease_ms,
        lease_left_ms=presence.lease_left_ms(now_ms),
        hold_limit_ms=registration.hold_limit_ms,
        loop_lag_ms=presence.loop_lag_ms,
        margin_ms=presence.margin_ms,
    )


def resource_view(state: State, resource_id: str, now_ms: float) -> ResourceView:
    """Who is active for a resource and who would be next."""
    resource = state.resources.get(resource_id) or Resource()  # a pause outlives whom it is about
    active = None if resource.active is None else state.registrations[resource.active]
    order = succession(state, resource, now_ms)
    return ResourceView(
        resource_id=resource_id,
        last_epoch=resource.last_epoch,
        active=None if active is None else instance_view(state, active, now_ms),
        standbys=tuple(instance_view(state, standby, now_ms) for standby in order[:STANDBYS_LISTED_MAX]),
        standby_count=len(order),
        switchover=_switchover_view(state, resource_id, now_ms),
        pause=state.pauses.get(resource_id),
    )


def _switchover_view(state: State, resource_id: str, now_ms: float) -> Switchover | None:
    under_way = state.switchovers.get(resource_id)
    if under_way is None:
        return None
    target = state.registrations.get(under_way.to_registration_id)
    return Switchover(
        epoch=under_way.epoch,
        asked_ms=under_way.asked.unix_ms,
        drain_left_ms=under_way.drain_left_ms(now_ms),
        to_registration_id=under_way.to_registration_id,
        to_instance_id="" if target is None else target.instance_id,
        by=under_way.by,
    )


def get_resource(state: State, request: GetResource, revision: int, now_ms: float) -> ResourceReply:
    """Answer `get_resource`.

    Raises:
        NotFoundError: Nobody is registered for it, and it is not paused.
    """
    resource = state.resources.get(request.resource_id)
    is_known = resource is not None and not resource.is_abandoned
    if not is_known and state.pauses.get(request.resource_id) is None:
        raise NotFoundError(f"nobody is registered for resource {request.resource_id!r}")
    view = resource_view(state, request.resource_id, now_ms)
    return ResourceReply(revision=revision, resource=view, moves=() if resource is None else resource.moves)


def list_services(state: State, request: ListServices, history_id: str, revision: int, now_ms: float) -> ServicePage:
    """Answer `list_services`.

    Raises:
        InvalidRequestError: The limit is out of its range.
    """
    limit = _checked(request.limit)
    matching = _matching(state, request, limit)
    numbers = matching[: _fitting(state, matching)]
    return ServicePage(
        history_id=history_id,
        revision=revision,
        instances=tuple(instance_view(state, state.registrations[number], now_ms) for number in numbers),
        next_after=numbers[-1] if len(numbers) == limit or len(numbers) < len(matching) else None,
        pauses=() if request.after else _pauses(state, request.resource_id),
    )


def _pauses(state: State, resource_id: str | None) -> tuple[Pause, ...]:
    """All pauses, or that of a resource."""
    if resource_id is None:
        return tuple(state.pauses.by_resource.values())
    pause = state.pauses.get(resource_id)
    return () if pause is None else (pause,)


def _fitting(state: State, numbers: list[int]) -> int:
    """How many of these go into one page, at least one: what a reader does not take waits in the broker's memory."""
    left = _PAGE_METADATA_BYTES_MAX
    for count, number in enumerate(numbers):
        left -= sum(len(key) + len(value) for key, value in state.registrations[number].metadata.items())
        if left < 0:
            return max(1, count)
    return len(numbers)


def _matching(state: State, request: ListServices, limit: int) -> list[int]:
    """The first `limit` registrations a request asks for, found by the narrowest index."""
    living = state.registrations
    if request.resource_id is not None:
        resource = state.resources.get(request.resource_id)
        if resource is None:
            return []
        members = [*resource.standbys, *([] if resource.active is None else [resource.active])]
        return sorted(
            number
            for number in members
            if number > request.after
            and (request.service_name is None or living[number].service_name == request.service_name)
        )[:limit]
    if request.service_name is not None:
        ids = state.services.get(request.service_name)
        return [] if ids is None else ids.page(request.after, limit, living)
    return state.registration_ids.page(request.after, limit, living)


def list_roles(state: State, request: ListRoles, revision: int, now_ms: float) -> RolePage:
    """Answer `list_roles`.

    Raises:
        NotFoundError: The service has no instances.
        InvalidRequestError: The limit is out of its range.
    """
    limit = _checked(request.limit)
    ids = state.services.get(request.service_name)
    if ids is None:
        raise NotFoundError(f"service {request.service_name!r} has no registered instance")
    views: dict[str, ResourceView] = {}
    listed = 0
    last = request.after
    for last in ids.page(request.after, limit, state.registrations):
        resource_id = state.registrations[last].resource_id
        if resource_id not in views:
            view = views[resource_id] = resource_view(state, resource_id, now_ms)
            listed += 1 + view.standby_count  # all of them were put in order, however few are shown
        if listed >= limit:
            break
    more = bool(ids.page(last, 1, state.registrations))
    return RolePage(revision=revision, resources=tuple(views.values()), next_after=last if more else None)


def list_presence(state: State, request: ListPresence, now_ms: float) -> PresencePage:
    """Answer `list_presence`.

    Raises:
        InvalidRequestError: The limit is out of its range.
    """
    limit = _checked(request.limit)
    numbers = state.session_ids.page(request.after, limit, state.sessions)
    presence = (state.sessions[number] for number in numbers)
    return PresencePage(
        presence=tuple(
            PresenceView(
                session=p.record.number,
                status=p.status(now_ms),
                lease_left_ms=p.lease_left_ms(now_ms),
                loop_lag_ms=p.loop_lag_ms,
                margin_ms=p.margin_ms,
            )
            for p in presence
        ),
        next_after=numbers[-1] if len(numbers) == limit else None,
    )


def _checked(limit: int) -> int:
    if not 1 <= limit <= PAGE_ITEMS_MAX:
        raise InvalidRequestError(f"limit is {limit}; a page has 1 to {PAGE_ITEMS_MAX} items")
    return limit
