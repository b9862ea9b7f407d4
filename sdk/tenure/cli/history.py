"""The events of one resource's newest tenures, found in the store without reading all that lies between.

An epoch is the revision of the event that began the tenure, and that event names the tenure before it: so the way back
leads from tenure to tenure, and only the pages in which one ends and the next begins are read.
"""

from __future__ import annotations

from typing import Final

from tenure.contract.errors import RevisionCompactedError
from tenure.contract.events import RoleChangedEvent
from tenure.contract.history import EventPage, ReadEvents
from tenure.contract.limits import PAGE_ITEMS_MAX
from tenure.contract.vocabulary import ServiceRole
from tenure.sdk.queries import Asks
from tenure.sdk.timeline import StoryEvent, is_told

_PAGES_MAX: Final = 200  # 200,000 events, some seconds; a vacancy that lasted for more shows no beginning


async def newest_tenures(asks: Asks, resource_id: str, revision: int, count: int) -> list[StoryEvent]:
    """What began or ended the newest `count` tenures up to `revision`, and what ended the one before them, in order.

    Among them are the pauses in between. Fewer, if the store does not keep them any more, or if they are further apart
    than is worth reading.

    Raises:
        TenureError: No answer came.
    """
    found: list[StoryEvent] = []
    for _ in range(_PAGES_MAX):
        if revision <= 0:
            break
        since = max(0, revision - PAGE_ITEMS_MAX)
        page, is_oldest = await _between(asks, since, revision)
        found[:0] = [event for event in page if event.resource_id == resource_id]
        changes = [event for event in found if isinstance(event, RoleChangedEvent)]
        first = changes[0] if changes else None
        begun = sum(event.new_role is ServiceRole.ACTIVE for event in changes)
        if is_oldest or (first is not None and _is_enough(first, begun, count)):
            break
        revision = since
        if first is not None and first.new_role is not ServiceRole.ACTIVE:
            revision = min(revision, first.epoch)  # between a tenure's beginning and end no role of the resource moves
    return found


def _is_enough(first: RoleChangedEvent, begun: int, count: int) -> bool:
    if first.new_role is ServiceRole.ACTIVE:
        return first.previous_holder is None or begun > count
    return begun >= count


async def _between(asks: Asks, since: int, upto: int) -> tuple[list[StoryEvent], bool]:
    """What stories are told from after `since` up to `upto`, and whether the store keeps nothing before it."""
    events: list[StoryEvent] = []
    is_oldest = since == 0
    while since < upto:
        try:
            page = await asks.request(ReadEvents(since=since, limit=min(PAGE_ITEMS_MAX, upto - since)), EventPage)
        except RevisionCompactedError as compacted:
            first = compacted.info.revision or 0
            if not since < first <= upto:
                return events, True
            since, is_oldest = first - 1, True
            continue
        if not page.events:
            break
        events.extend(event for event in page.events if is_told(event))
        since = page.events[-1].revision
    return events, is_oldest
