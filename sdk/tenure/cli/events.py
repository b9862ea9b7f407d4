"""`tenure events`: what changed, from the store and then as it happens."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Annotated, Final

import typer

from tenure.cli.exits import complain, run_async
from tenure.cli.options import READ_TIMEOUT_MS, AsJson, Endpoints
from tenure.contract.codec import to_json
from tenure.contract.errors import InvalidRequestError
from tenure.contract.events import (
    AnyEvent,
    RegisteredEvent,
    RegistrationUpdatedEvent,
    ResourcePausedEvent,
    ResourceResumedEvent,
    RoleChangedEvent,
    SessionClosedEvent,
    SessionOpenedEvent,
    StatusChangedEvent,
)
from tenure.contract.messages import ListServices, ServicePage
from tenure.contract.views import ServiceInstance
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
        sessions = await _sessions(reader, as_json)
        more = True
        while more:
            page, newest = await queries.events(reader, since)
            for event in page:
                since = event.revision
                sessions.learn(event)
                if resource is None or getattr(event, "resource_id", None) == resource:
                    _write(event, sessions, as_json)
            more = bool(page) and since < newest


async def _follow(endpoints: tuple[str, ...], since: int, resource: str | None, as_json: bool) -> None:
    async with Reader(*endpoints, timeout_ms=READ_TIMEOUT_MS) as reader:
        await _check_reached(reader, since)
        sessions = await _sessions(reader, as_json)
    async with EventListener(*endpoints, resource_id=resource, since=since, timeout_ms=READ_TIMEOUT_MS) as listener:
        async for event in listener:
            if isinstance(event, StreamRestarted):
                complain(f"the stream starts again at revision {event.revision}: {event.reason}")
            else:
                sessions.learn(event)
                _write(event, sessions, as_json)


class _Sessions:
    """Whose sessions they are: people know instances by their names, and the events of a session have its number."""

    def __init__(self, living: Iterable[ServiceInstance]) -> None:
        self._names: dict[int, str] = {}
        for instance in living:
            self._names.setdefault(instance.session, f"{instance.service_name}/{instance.instance_id}")
        self._is_over = 0
        """The session that the newest event has ended: it has a name for that event only."""

    def learn(self, event: AnyEvent) -> None:
        """Take in an event, before it is told."""
        self._names.pop(self._is_over, None)
        match event:
            case RegisteredEvent():
                self._names.setdefault(event.session, f"{event.service_name}/{event.instance_id}")
            case SessionClosedEvent():
                self._is_over = event.session
            case _:
                pass

    def told(self, session: int) -> str:
        """A session, with the first of its instances if it is known."""
        name = self._names.get(session)
        return f"session {session}" if name is None else f"session {session} of {name}"


async def _sessions(reader: Reader, as_json: bool) -> _Sessions:
    return _Sessions([] if as_json else await queries.services(reader))


async def _check_reached(reader: Reader, since: int) -> None:
    """See that a revision exists: to a listener it would look as if the store had lost it.

    Raises:
        InvalidRequestError: It does not.
    """
    newest = (await reader.request(ListServices(limit=1), ServicePage)).revision
    if since > newest:
        raise InvalidRequestError(f"revision {since} is beyond the newest, {newest}; is it another store's?")


def _write(event: AnyEvent, sessions: _Sessions, as_json: bool) -> None:
    sys.stdout.write((to_json(event) if as_json else _line(event, sessions)) + "\n")
    sys.stdout.flush()


def _line(event: AnyEvent, sessions: _Sessions) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(event.at_ms / 1_000))
    return f"{event.revision:>8}  {clock}.{event.at_ms % 1_000:03}  {_sentence(event, sessions)}"


def _sentence(event: AnyEvent, sessions: _Sessions) -> str:
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
            who = sessions.told(event.revision)
            return f"{who} opened by {event.client or 'a client'}, lease {event.lease_ms:,} ms"
        case SessionClosedEvent():
            return f"{sessions.told(event.session)} ended ({event.reason}{_by(event.by)})"
        case StatusChangedEvent():
            return f"{sessions.told(event.session)} is {event.new_status} (was {event.old_status})"
        case ResourcePausedEvent():
            until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.until_ms / 1_000))
            return f"{event.resource_id}: paused until {until}{_by(event.by)}: {event.why}"
        case ResourceResumedEvent():
            return f"{event.resource_id}: paused no more ({event.reason}{_by(event.by)})"


def _by(who: str) -> str:
    return f", by {who}" if who else ""
