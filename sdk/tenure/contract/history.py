"""Messages about the history of a store: its events and tenures, a page at a time, and the stream of what is new."""

from __future__ import annotations

from tenure.contract.events import AnyEvent
from tenure.contract.limits import PAGE_ITEMS_MAX
from tenure.contract.message import Message
from tenure.contract.views import TenureView


class ReadEvents(Message, frozen=True, kw_only=True, omit_defaults=True, tag="read_events"):
    """Events from the store. Answer: `event_page`; `revision_compacted` if the first asked for is gone."""

    since: int = 0
    """Only events with a greater revision; None of the kept ones may be missing after it."""
    limit: int = PAGE_ITEMS_MAX


class EventPage(Message, frozen=True, kw_only=True, omit_defaults=True, tag="event_page"):
    """Events in order, without a gap after `since`. The page was the last one if its last revision is `revision`."""

    history_id: str
    events: tuple[AnyEvent, ...]
    revision: int
    """The newest committed revision."""


class ListTenures(Message, frozen=True, kw_only=True, omit_defaults=True, tag="list_tenures"):
    """The tenures of a resource from the store, the newest first, a page at a time. Answer: `tenure_page`."""

    resource_id: str
    before: int = 0
    """Only tenures with a lower epoch; 0: from the newest on."""
    limit: int = PAGE_ITEMS_MAX


class TenurePage(Message, frozen=True, kw_only=True, omit_defaults=True, tag="tenure_page"):
    """Tenures of a resource, the newest first. Ask again with `before` = `next_before` until that is None."""

    history_id: str
    tenures: tuple[TenureView, ...]
    next_before: int | None = None


class Events(Message, frozen=True, kw_only=True, omit_defaults=True, tag="events"):
    """The events of one or more commits, in order."""

    history_id: str
    events: tuple[AnyEvent, ...]


class Progress(Message, frozen=True, kw_only=True, omit_defaults=True, tag="progress"):
    """The newest committed revision, so that a lost tail is noticed; sent at start and every 500 ms."""

    history_id: str
    revision: int
