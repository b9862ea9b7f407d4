"""`tenure events`: what changed, from the store and then as it happens."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Final

import typer

from tenure.cli.exits import run_async
from tenure.cli.options import READ_TIMEOUT_MS, AsJson, Endpoints
from tenure.contract.codec import to_json
from tenure.contract.errors import InvalidRequestError
from tenure.contract.events import (
    AnyEvent,
    RegistrationUpdatedEvent,
    RoleChangedEvent,
    SessionClosedEvent,
    SessionOpenedEvent,
    StatusChangedEvent,
)
from tenure.contract.messages import ListServices, ServicePage
from tenure.sdk import EventListener, StreamRestarted, queries
from tenure.sdk.reader import Reader

_REVISION_MAX: Final = 2**63 - 1  # what the store can count to


def events(
    since: Annotated[int, typer.Option(min=0, max=_REVISION_MAX, help="Only events with a greater revision.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")] = False,
    resource: Annotated[str | None, typer.Option(help="Only this resource's events.", show_default=False)] = None,
    endpoint: Endpoints = None,
    as_json: AsJson = False,
) -> None:
    """Show what changed: one line an event, or one JSON object a line with --json.

    Exit code 1 if --since is beyond the newest revision, or the store keeps no events so old; 69 if no broker answers.
    """
    endpoints = tuple(endpoint or ())
    if follow:
        run_async(_follow(endpoints, since, resource, as_json))
    else:
        run_async(_show(endpoints, since, resource, as_json))


async def _show(endpoints: tuple[str, ...], since: int, resource: str | None, as_json: bool) -> None:
    async with Reader(*endpoints, timeout_ms=READ_TIMEOUT_MS) as reader:
        await _check_reached(reader, since)
        more = True
        while more:
            page, newest = await queries.events(reader, since)
            for event in page:
                since = event.revision
                if resource is None or getattr(event, "resource_id", None) == resource:
                    _write(event, as_json)
            more = bool(page) and since < newest


async def _follow(endpoints: tuple[str, ...], since: int, resource: str | None, as_json: bool) -> None:
    async with Reader(*endpoints, timeout_ms=READ_TIMEOUT_MS) as reader:
        await _check_reached(reader, since)
    async with EventListener(*endpoints, resource_id=resource, since=since, timeout_ms=READ_TIMEOUT_MS) as listener:
        async for event in listener:
            if isinstance(event, StreamRestarted):
                print(f"tenure: the stream starts again at revision {event.revision}: {event.reason}", file=sys.stderr)
            else:
                _write(event, as_json)


async def _check_reached(reader: Reader, since: int) -> None:
    """See that a revision exists: to a listener it would look as if the store had lost it.

    Raises:
        InvalidRequestError: It does not.
    """
    newest = (await reader.request(ListServices(limit=1), ServicePage)).revision
    if since > newest:
        raise InvalidRequestError(f"revision {since} is beyond the newest, {newest}; is it another store's?")


def _write(event: AnyEvent, as_json: bool) -> None:
    sys.stdout.write((to_json(event) if as_json else _line(event)) + "\n")
    sys.stdout.flush()


def _line(event: AnyEvent) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(event.at_ms / 1_000))
    return f"{event.revision:>8}  {clock}.{event.at_ms % 1_000:03}  {_sentence(event)}"


def _sentence(event: AnyEvent) -> str:
    match event:
        case RoleChangedEvent():
            old, new = event.old_role or "new", event.new_role or "gone"
            epoch = f", epoch {event.epoch}" if event.epoch else ""
            after = ""
            if event.previous_holder is not None:
                after = f", after {event.previous_holder.instance_id} (epoch {event.previous_holder.epoch})"
            who = f"{event.service_name}/{event.instance_id}"
            silent = "" if event.silent_ms is None else f", silent for {event.silent_ms:,} ms"
            return f"{event.resource_id}: {who} {old} → {new} ({event.reason}{epoch}{after}{silent}{_by(event.by)})"
        case RegistrationUpdatedEvent():
            who = f"{event.service_name}/{event.instance_id}"
            kind = "candidate" if event.candidate else "plain standby"
            return f"{event.resource_id}: {who} asked again (priority {event.priority}, {kind})"
        case SessionOpenedEvent():
            return f"session {event.revision} opened by {event.client or 'a client'}, lease {event.lease_ms} ms"
        case SessionClosedEvent():
            return f"session {event.session} ended ({event.reason}{_by(event.by)})"
        case StatusChangedEvent():
            return f"session {event.session} is {event.new_status} (was {event.old_status})"


def _by(who: str) -> str:
    return f", by {who}" if who else ""
