"""GET /events: a page of what has happened, or everything from some point on as it happens."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final, cast

from litestar import Request, Response, get
from litestar.exceptions import ValidationException
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from tenure.admin import sse
from tenure.admin.description import STREAMED, refusals
from tenure.admin.follower import Source
from tenure.admin.problems import BrokerAwayError
from tenure.admin.reads import Limit, Stale, answer_page, streamed
from tenure.admin.views import LIMIT_DEFAULT, EventPage
from tenure.contract.events import AnyEvent

_REVISION_MAX: Final = 2**63 - 1
_LAST_EVENT_ID: Final = "last-event-id"
_STREAM: Final = (
    "Each event as it is committed, its `id` being `<history_id>:<revision>`: whoever sends it back as `Last-Event-ID` "
    "goes on without a gap. `restarted` says that this is impossible, why, and where events go on. Without a position "
    "it begins now."
)


def event_routes(source: Source) -> list[HTTPRouteHandler]:
    """The routes that answer from the events of `source`."""

    @get(
        "/events",
        summary="What has happened, in order",
        operation_id="list_events",
        responses=refusals(HTTPStatus.GONE, HTTPStatus.UNPROCESSABLE_CONTENT, HTTPStatus.SERVICE_UNAVAILABLE),
        opt={STREAMED: _STREAM},
    )
    async def list_events(
        request: Request[Any, Any, Any],
        since: Annotated[
            int | None,
            QueryParameter(ge=0, le=_REVISION_MAX, description="Only later ones; by default the newest `limit`."),
        ] = None,
        history_id: Annotated[
            str | None, QueryParameter(description="The history `since` belongs to, if that is known.")
        ] = None,
        limit: Limit = LIMIT_DEFAULT,
        stale: Stale = False,
    ) -> Response[EventPage]:
        if sse.is_wanted(request.headers.get("accept", "")):
            history_id, revision = _position(request, source, history_id, since)
            return streamed(source.streams.respond(source.events.follow(history_id, revision)))
        picture = await source.picture(allow_stale=stale)
        newest = source.ring.newest
        first = max(0, newest - limit) if since is None else since
        events, newest = await source.events.page(history_id or source.ring.history_id, first, limit)
        page = EventPage(
            history_id=source.ring.history_id,
            revision=newest,
            connected=picture.is_connected,
            as_of_ms=picture.as_of_ms,
            events=cast("list[AnyEvent]", events),  # encoded already, once for everybody
            next_since=min(newest, first + len(events)),
        )
        return answer_page(page)

    return [list_events]


def _position(
    request: Request[Any, Any, Any], source: Source, history_id: str | None, since: int | None
) -> tuple[str, int]:
    """Where a stream is to begin: where its reader was, as he says, or now.

    Raises:
        BrokerAwayError: No events are known yet.
        ValidationException: His position is none.
    """
    if not source.ring.history_id:
        raise BrokerAwayError(None)
    last = request.headers.get(_LAST_EVENT_ID)
    if last is not None:  # a browser that connects again sends it, and its first parameters too
        history_id, _, revision = last.rpartition(":")
        if not (history_id and revision.isascii() and revision.isdecimal() and int(revision) <= _REVISION_MAX):
            raise ValidationException(f"Last-Event-ID {last[:80]!r} is none that was given out here")
        return history_id, int(revision)
    return history_id or source.ring.history_id, source.ring.newest if since is None else since
