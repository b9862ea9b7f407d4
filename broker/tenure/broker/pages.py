"""What only the store can answer: reads of events and of tenures, checked when they come, and the pages they become.

The store may show a batch before its commit is reported to the broker. Nothing of that is in a page: asked for what
follows on it, the broker would say that it never was.
"""

from __future__ import annotations

from msgspec import Struct

from tenure.broker.connections import Connection
from tenure.broker.measurements import Asked
from tenure.contract.errors import InvalidRequestError
from tenure.contract.events import AnyEvent
from tenure.contract.limits import PAGE_ITEMS_MAX
from tenure.contract.messages import EventPage, ListTenures, ReadEvents, TenurePage
from tenure.contract.views import TenureView
from tenure.domain.records import Tenure
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


def tenures_page(read: TenuresRead, tenures: tuple[Tenure, ...], history_id: str, committed: int) -> TenurePage:
    """The page of a read of tenures; one whose end is not known to be committed lasts."""
    return TenurePage(
        history_id=history_id,
        tenures=tuple(_view(tenure, committed) for tenure in tenures),
        next_before=tenures[-1].epoch if len(tenures) == read.limit else None,
    )


def _view(tenure: Tenure, committed: int) -> TenureView:
    has_ended = tenure.end_revision is not None and tenure.end_revision <= committed
    return TenureView(
        epoch=tenure.epoch,
        service_name=tenure.service_name,
        instance_id=tenure.instance_id,
        began_ms=tenure.began_ms,
        ended_ms=tenure.ended_ms if has_ended else None,
        end_revision=tenure.end_revision if has_ended else None,
        end_reason=tenure.end_reason if has_ended else None,
    )
