"""A consistent copy of the registry at one revision, from pages that were taken at several.

Rows are read page by page, then the events between the first and the last page are applied, so that what comes out is
exact. It never reads further than that, and needs no subscription.
"""

from __future__ import annotations

from typing import Final

from tenure.contract.errors import RevisionCompactedError
from tenure.contract.history import EventPage, ReadEvents
from tenure.contract.limits import PAGE_ITEMS_MAX
from tenure.contract.messages import ListServices, ServicePage
from tenure.sdk.queries import Asks
from tenure.sdk.replica import Replica

_ATTEMPTS_MAX: Final = 10  # each fails only if the store is replaced, or forgets its newest events, at that moment


async def take_snapshot(asks: Asks, *, service_name: str | None = None, resource_id: str | None = None) -> Replica:
    """A settled replica of everything, or of one service, one resource or both.

    Raises:
        RevisionCompactedError: The store keeps fewer events than happen while a snapshot is taken.
        TenureError: A question was refused or not answered.
    """
    refusal = RevisionCompactedError("the store was replaced while a snapshot was taken; take it again")
    for _ in range(_ATTEMPTS_MAX):
        replica = Replica(service_name=service_name, resource_id=resource_id)
        try:
            if await _load(asks, replica, service_name, resource_id) and await _settle(asks, replica):
                return replica
        except RevisionCompactedError as error:
            refusal = error
    raise refusal


async def _load(asks: Asks, replica: Replica, service_name: str | None, resource_id: str | None) -> bool:
    """Read all pages; False if they are not of one history."""
    after: int | None = 0
    while after is not None:
        request = ListServices(service_name=service_name, resource_id=resource_id, after=after)
        page = await asks.request(request, ServicePage)
        if not after:
            replica.begin(page.history_id, page.revision)
        if page.history_id != replica.history_id:
            return False
        replica.load(page)
        after = page.next_after
    return True


async def _settle(asks: Asks, replica: Replica) -> bool:
    """Apply what happened between the first page and the last; False if the store does not have it."""
    while not replica.is_settled:
        limit = min(PAGE_ITEMS_MAX, replica.settled_revision - replica.revision)
        page = await asks.request(ReadEvents(since=replica.revision, limit=limit), EventPage)
        if page.history_id != replica.history_id or not page.events:
            return False
        for event in page.events:
            replica.apply(event)
    return True
