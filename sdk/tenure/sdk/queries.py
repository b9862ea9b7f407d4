"""Questions about the registry, walked page by page; they need a connection but no session."""

from __future__ import annotations

import contextlib
from typing import Protocol

from tenure.contract.errors import NotFoundError
from tenure.contract.events import AnyEvent
from tenure.contract.history import EventPage, ListTenures, ReadEvents, TenurePage
from tenure.contract.limits import PAGE_ITEMS_MAX
from tenure.contract.measurements import GetMeasurements, Measurements
from tenure.contract.messages import (
    BrokerMessage,
    ClientMessage,
    GetResource,
    ListPresence,
    ListRoles,
    ListServices,
    PresencePage,
    Resource,
    RolePage,
    ServicePage,
)
from tenure.contract.views import Pause, Presence, ResourceView, ServiceInstance


class Asks(Protocol):
    """What can send a request and return the answer that belongs to it."""

    async def request[T: BrokerMessage](self, message: ClientMessage, answer: type[T]) -> T:
        """Send a request; raises `TenureError` if it is refused or not answered."""
        ...


async def services(
    asks: Asks, service_name: str | None = None, resource_id: str | None = None
) -> list[ServiceInstance]:
    """Every instance, or those of a service or a resource, oldest registration first."""
    instances: list[ServiceInstance] = []
    after: int | None = 0
    while after is not None:
        request = ListServices(service_name=service_name, resource_id=resource_id, after=after)
        page = await asks.request(request, ServicePage)
        instances.extend(page.instances)
        after = page.next_after
    return instances


async def roles(asks: Asks, service_name: str) -> list[ResourceView]:
    """The resources of a service by id."""
    views: dict[str, ResourceView] = {}
    after: int | None = 0
    while after is not None:
        page = await asks.request(ListRoles(service_name=service_name, after=after), RolePage)
        views.update((view.resource_id, view) for view in page.resources)
        after = page.next_after
    return [views[resource_id] for resource_id in sorted(views)]


async def resources(asks: Asks) -> list[ResourceView]:
    """Every resource that somebody is registered for, or that is paused, by id."""
    views: dict[str, ResourceView] = {}
    for service_name in sorted({instance.service_name for instance in await services(asks)}):
        with contextlib.suppress(NotFoundError):  # its last instance left in between
            views.update((view.resource_id, view) for view in await roles(asks, service_name))
    for pause in await pauses(asks):
        if pause.resource_id not in views:
            with contextlib.suppress(NotFoundError):  # it is over
                views[pause.resource_id] = await resource(asks, pause.resource_id)
    return [views[resource_id] for resource_id in sorted(views)]


async def resource(asks: Asks, resource_id: str) -> ResourceView:
    """One resource."""
    return (await asks.request(GetResource(resource_id=resource_id), Resource)).resource


async def presence(asks: Asks) -> dict[int, Presence]:
    """How the living sessions are doing, by their public number."""
    found: dict[int, Presence] = {}
    after: int | None = 0
    while after is not None:
        page = await asks.request(ListPresence(after=after), PresencePage)
        found.update((one.session, one) for one in page.presence)
        after = page.next_after
    return found


async def events(asks: Asks, since: int) -> tuple[tuple[AnyEvent, ...], int]:
    """The next events after `since`, at most a page, and the newest committed revision."""
    page = await asks.request(ReadEvents(since=since), EventPage)
    return page.events, page.revision


async def tenures(asks: Asks, resource_id: str, before: int = 0, limit: int = PAGE_ITEMS_MAX) -> TenurePage:
    """The newest tenures of a resource that the store keeps, at most `limit`; with `before`, those before that epoch.

    The page's `next_before` leads to the next one; None: there are no more. The end of one whose holder fell silent is
    an upper bound.
    """
    return await asks.request(ListTenures(resource_id=resource_id, before=before, limit=limit), TenurePage)


async def pauses(asks: Asks) -> list[Pause]:
    """Every pause, by resource."""
    page = await asks.request(ListServices(limit=1), ServicePage)
    return sorted(page.pauses, key=lambda pause: pause.resource_id)


async def measurements(asks: Asks) -> Measurements:
    """What the broker has counted and measured of itself since it started; it answers from memory, at once.

    Raises:
        InvalidRequestError: The broker is too old to measure anything.
        TenureError: It refused or did not answer.
    """
    return await asks.request(GetMeasurements(), Measurements)
