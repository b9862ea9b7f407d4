"""Answers computed from a picture of the registry: without I/O, and bounded in how much one looks through in one go.

A page ends early rather than hold many more instances than a page of instances would, or look through more than it may:
it can be shorter than its limit, even empty, and still say where to go on.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Container, Sequence
from itertools import batched
from typing import Final

from tenure.admin.filters import EVERYTHING, Wanted, standing
from tenure.admin.questions import Answer
from tenure.admin.views import (
    LIMIT_MAX,
    Instance,
    InstancePage,
    Page,
    Picture,
    Resource,
    ResourceAnswer,
    ResourceDetail,
    ResourcePage,
    RolePage,
    ServiceSummary,
    TenurePage,
    TenureShown,
)
from tenure.contract.history import TenurePage as FoundTenures
from tenure.contract.views import ResourceView, ServiceInstance
from tenure.contract.vocabulary import ServiceRole, ServiceStatus
from tenure.sdk.lost import LostTenure
from tenure.sdk.succession import places, why_at_risk
from tenure.sdk.timeline import StoryEvent, stories

EXAMINED_MAX: Final = 20_000  # registrations looked through for one page: some ten milliseconds
_COUNTED_AT_ONCE: Final = 1_000  # registrations or resources between two turns of others: some milliseconds
_MOVES_TOLD: Final = 8  # as many as the broker remembers


def instance_page(picture: Picture, wanted: Wanted, after: int, limit: int) -> InstancePage:
    """The first `limit` wanted instances that were registered after a registration."""
    replica, presence = picture.replica, picture.presence
    if wanted.resource_id is None:
        numbers = replica.registrations_after(after, EXAMINED_MAX)
    else:
        numbers = sorted(number for number in replica.registrations_for(wanted.resource_id) if number > after)
    shown: list[Instance] = []
    next_after = numbers[-1] if len(numbers) >= EXAMINED_MAX else None
    for position, number in enumerate(numbers):
        if len(shown) >= limit:
            next_after = numbers[position - 1]
            break
        if wanted.includes(replica.rows[number], replica, presence):
            one = replica.instance(number, presence)
            assert one is not None, "it is one of the rows"
            shown.append(_instance(one, presence))
    return _page(InstancePage, picture, instances=shown, next_after=next_after)


async def service_summary(picture: Picture, service_name: str) -> ServiceSummary | None:
    """A service in numbers; None if it has no instance. While a large one is counted others have their turn."""
    replica = picture.replica
    revision = replica.revision
    rows = [replica.rows[number] for number in replica.registrations_of(service_name)]
    if not rows:
        return None
    instance_ids: set[str] = set()
    resource_ids: set[str] = set()
    roles: Counter[ServiceRole] = Counter()
    statuses: Counter[ServiceStatus] = Counter()
    at_risk_count = 0
    for some in batched(rows, _COUNTED_AT_ONCE, strict=False):
        instance_ids.update(row.instance_id for row in some)
        resource_ids.update(row.resource_id for row in some)
        roles.update(row.role for row in some)
        for status, is_at_risk in (standing(row, replica, picture.presence) for row in some):
            statuses[status] += 1
            at_risk_count += is_at_risk
        await asyncio.sleep(0)
    vacant_count = 0
    for ids in batched(resource_ids, _COUNTED_AT_ONCE, strict=False):
        vacant_count += sum(map(replica.is_vacant, ids))
        await asyncio.sleep(0)
    return _page(
        ServiceSummary,
        picture,
        revision=revision,
        service_name=service_name,
        instance_count=len(instance_ids),
        registration_count=len(rows),
        role_counts=dict(roles),
        status_counts=dict(statuses),
        at_risk_count=at_risk_count,
        resource_count=len(resource_ids),
        vacant_count=vacant_count,
    )


def role_page(picture: Picture, service_name: str, after: str, limit: int) -> RolePage | None:
    """The first `limit` of a service's resources that come after one; None if the service has no instance."""
    replica = picture.replica
    if service_name not in replica.services:
        return None
    if len(replica.registrations_of(service_name)) <= EXAMINED_MAX:
        resource_ids, wanted = replica.resources_of(service_name), EVERYTHING
        resource_ids = resource_ids[bisect_right(resource_ids, after) :]
    else:  # it has so many that most resources may well be its own, and sorting them would take too long
        resource_ids, wanted = replica.resources_after(after, EXAMINED_MAX), Wanted(service_name=service_name)
    resources, next_after = _resources(picture, resource_ids, limit, wanted, vacant=None)
    return _page(RolePage, picture, service_name=service_name, resources=resources, next_after=next_after)


def resource_page(picture: Picture, wanted: Wanted, after: str, limit: int, *, vacant: bool | None) -> ResourcePage:
    """The first `limit` resources after one that have a wanted registration; those that are vacant, held, or both."""
    replica = picture.replica
    if wanted.resource_id is None:
        left = [one for one in picture.lost.tenures if one > after and one not in replica.resource_ids]
        resource_ids = sorted([*replica.resources_after(after, EXAMINED_MAX), *left])[:EXAMINED_MAX]
    else:
        resource_ids = [wanted.resource_id] if wanted.resource_id > after else []
    resources, next_after = _resources(picture, resource_ids, limit, wanted, vacant=vacant)
    return _page(ResourcePage, picture, resources=resources, next_after=next_after)


def resource_answer(
    history_id: str, answer: Answer, tenures: Sequence[StoryEvent], lost: LostTenure | None, *, is_connected: bool
) -> ResourceAnswer:
    """All that is known of a resource, from what the broker said and the newest events about its tenures."""
    view = answer.found.resource
    shown = _resource(view, None if is_connected else (), lost)
    return ResourceAnswer(
        history_id=history_id,
        revision=answer.found.revision,
        connected=is_connected,
        as_of_ms=answer.as_of_ms,
        resource=ResourceDetail(
            resource_id=view.resource_id,
            last_epoch=view.last_epoch,
            active=shown.active,
            standbys=shown.standbys,
            standby_count=view.standby_count,
            pause=view.pause,
            lost=shown.lost,
            switchover=view.switchover,
        ),
        at_risk="" if view.active is None else why_at_risk(view.active),
        succession=places(view),
        moves=stories(answer.found.moves, tenures, _MOVES_TOLD),
    )


def tenure_page(found: FoundTenures, resource_id: str, revision: int, as_of_ms: int) -> TenurePage:
    """Tenures of a resource as the broker's store has them."""
    return TenurePage(
        history_id=found.history_id,
        revision=revision,
        connected=True,
        as_of_ms=as_of_ms,
        resource_id=resource_id,
        tenures=[
            TenureShown(
                epoch=one.epoch,
                service_name=one.service_name,
                instance_id=one.instance_id,
                began_ms=one.began_ms,
                ended_ms=one.ended_ms,
                certain_until_ms=one.certain_until_ms,
                possible_until_ms=one.possible_until_ms,
                duration_ms=one.duration_ms,
                reason=one.end_reason,
                end_revision=one.end_revision,
                by=one.by,
            )
            for one in found.tenures
        ],
        next_before=found.next_before,
    )


def _page[P: Page](kind: Callable[..., P], picture: Picture, **content: object) -> P:
    """A page of some kind, with how current it is."""
    current = {
        "history_id": picture.replica.history_id,
        "revision": picture.replica.revision,
        "connected": picture.is_connected,
        "as_of_ms": picture.as_of_ms,
    }
    return kind(**(current | content))


def _resources(
    picture: Picture, resource_ids: Sequence[str], limit: int, wanted: Wanted, *, vacant: bool | None
) -> tuple[list[Resource], str | None]:
    """The first `limit` resources of some that are wanted, and after which to go on; None if there are no more."""
    replica, presence = picture.replica, picture.presence
    shown: list[Resource] = []
    shown_count = examined = 0
    for position, resource_id in enumerate(resource_ids):
        if len(shown) >= limit or shown_count >= LIMIT_MAX or examined >= EXAMINED_MAX:
            return shown, resource_ids[position - 1]
        examined += 1
        lost = None if resource_id in replica.resource_ids else picture.lost.tenures.get(resource_id)
        if vacant not in {None, lost is not None or replica.is_vacant(resource_id)}:
            continue
        if not wanted.is_everything:
            numbers = replica.registrations_for(resource_id)
            examined += len(numbers)
            is_wanted = any(wanted.includes(replica.rows[number], replica, presence) for number in numbers)
            if not (is_wanted or (lost is not None and wanted.includes_lost(lost))):
                continue
        view = picture.resource(resource_id)
        if view is None:  # it is the one that was asked for by name, and nobody is registered for it
            continue
        shown.append(_resource(view, presence, lost))
        shown_count += 1 + len(view.standbys)
    return shown, resource_ids[-1] if len(resource_ids) >= EXAMINED_MAX else None


def _resource(view: ResourceView, observed: Container[int] | None, lost: LostTenure | None) -> Resource:
    """A resource as it is shown; `observed` are the sessions whose presence is known, None means all."""
    return Resource(
        resource_id=view.resource_id,
        last_epoch=view.last_epoch,
        active=None if view.active is None else _instance(view.active, observed),
        standbys=[_instance(standby, observed) for standby in view.standbys],
        standby_count=view.standby_count,
        pause=view.pause,
        lost=lost if view.active is None and not view.standbys else None,
    )


def _instance(one: ServiceInstance, observed: Container[int] | None) -> Instance:
    return Instance(
        service_name=one.service_name,
        instance_id=one.instance_id,
        resource_id=one.resource_id,
        role=one.role,
        epoch=one.epoch,
        since_ms=one.since_ms,
        status=one.status,
        at_risk=one.is_at_risk,
        may_succeed=one.may_succeed,
        lease_left_ms=one.lease_left_ms if observed is None or one.session in observed else None,
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
