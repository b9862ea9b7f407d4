"""What only the store can answer: reads of events and of tenures, checked when they come, and the pages they become.

The store may show a batch before its commit is reported to the broker. Nothing of that is in a page: asked for what
follows on it, the broker would say that it never was.
"""

from __future__ import annotations

from msgspec import Struct, structs

from tenure.broker.connections import Connection
from tenure.broker.measurements import Asked
from tenure.contract.errors import InvalidRequestError
from tenure.contract.events import AnyEvent
from tenure.contract.history import EventPage, ListTenures, ReadEvents, TenurePage
from tenure.contract.limits import PAGE_ITEMS_MAX
from tenure.contract.views import TenureView
from tenure.contract.vocabulary import ChangeReason
from tenure.domain.moves import TOLD
from tenure.domain.records import KeptTenure
from tenure.domain.validation import check_list_tenures


class EventsRead(Struct, frozen=True, kw_only=True):
    """A read of events."""

    connection: Connection
    asked: Asked
    since: int
    limit: int


class TenuresRead(Struct, frozen=True, kw_only=True):
    """A read of a resource's tenures."""

    connection: Connection
    asked: Asked
    resource_id: str
    before: int
    """Only lower epochs."""
    limit: int


type StoreRead = EventsRead | TenuresRead


def store_read(request: ReadEvents | ListTenures, connection: Connection, asked: Asked, committed: int) -> StoreRead:
    """What to ask the store; `committed` is the newest revision that it has made durable.

    Raises:
        InvalidRequestError: A value is out of its range.
    """
    if not 1 <= request.limit <= PAGE_ITEMS_MAX:
        raise InvalidRequestError(f"limit is {request.limit}; a page has 1 to {PAGE_ITEMS_MAX} items")
    if isinstance(request, ListTenures):
        check_list_tenures(request)
        return TenuresRead(
            connection=connection,
            asked=asked,
            resource_id=request.resource_id,
            before=min(request.before or committed + 1, committed + 1),
            limit=request.limit,
        )
    if not 0 <= request.since <= committed:
        raise InvalidRequestError(f"since is {request.since}; this history has revisions 0 to {committed}")
    return EventsRead(connection=connection, asked=asked, since=request.since, limit=request.limit)


def events_page(read: EventsRead, events: tuple[AnyEvent, ...], history_id: str, committed: int) -> EventPage:
    """The page of a read of events, without what is not known to be committed."""
    known = events[: max(0, committed - read.since)]
    return EventPage(history_id=history_id, events=known, revision=committed)


def tenures_page(read: TenuresRead, tenures: tuple[KeptTenure, ...], history_id: str, committed: int) -> TenurePage:
    """The page of a read of tenures; one whose end is not known to be committed lasts."""
    return TenurePage(
        history_id=history_id,
        tenures=tuple(_view(kept, committed) for kept in tenures),
        next_before=tenures[-1].tenure.epoch if len(tenures) == read.limit else None,
    )


def _view(kept: KeptTenure, committed: int) -> TenureView:
    tenure = kept.tenure
    view = TenureView(
        epoch=tenure.epoch,
        service_name=tenure.service_name,
        instance_id=tenure.instance_id,
        began_ms=tenure.began_ms,
    )
    if tenure.ended_ms is None or tenure.end_revision is None or tenure.end_revision > committed:
        return view
    certain_until_ms, possible_until_ms = _bounds(kept, tenure.ended_ms)
    return structs.replace(
        view,
        ended_ms=tenure.ended_ms,
        end_revision=tenure.end_revision,
        end_reason=tenure.end_reason,
        certain_until_ms=certain_until_ms,
        possible_until_ms=possible_until_ms,
        by="" if kept.end is None else kept.end.by,
    )


def _bounds(kept: KeptTenure, ended_ms: int) -> tuple[int | None, int | None]:
    """Until when a tenure was active for certain, and until when at most."""
    reason = kept.tenure.end_reason
    if reason is ChangeReason.RESTORED:
        return ended_ms, None
    silent_ms = None if kept.end is None else kept.end.silent_ms
    if silent_ms is None:
        return None, ended_ms
    certain_until_ms = max(kept.tenure.began_ms, ended_ms - silent_ms)
    is_own_word = reason in TOLD or reason is ChangeReason.GIVEN_UP
    return certain_until_ms, certain_until_ms if is_own_word else ended_ms
