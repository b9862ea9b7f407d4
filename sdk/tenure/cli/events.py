"""`tenure events`: what changed, from the store and then as it happens."""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from tenure.cli.completion import resource_ids
from tenure.cli.exits import complain, run_async
from tenure.cli.looks import clock
from tenure.cli.options import READ_TIMEOUT_MS, AsJson, Endpoints
from tenure.cli.telling import Sessions, sentence
from tenure.contract.codec import to_json
from tenure.contract.errors import InvalidRequestError, RevisionCompactedError
from tenure.contract.events import AnyEvent
from tenure.contract.history import EventPage, ReadEvents
from tenure.contract.messages import ListServices, ServicePage
from tenure.sdk import EventListener, StreamRestarted, queries
from tenure.sdk.reader import Reader

_REVISION_MAX: Final = 2**63 - 1  # what the store can count to


def events(
    since: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=_REVISION_MAX,
            help="Only events with a greater revision. Default: all that are kept.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")] = False,
    resource: Annotated[
        str | None, typer.Option(autocompletion=resource_ids, help="Only this resource's events.", show_default=False)
    ] = None,
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


async def _show(endpoints: tuple[str, ...], given: int | None, resource: str | None, as_json: bool) -> None:
    async with Reader(*endpoints, timeout_ms=READ_TIMEOUT_MS) as reader:
        since = await _since(reader, given)
        sessions = await _sessions(reader, as_json)
        output = _Output(sessions, as_json=as_json)
        more = True
        while more:
            page, newest = await queries.events(reader, since)
            sessions.foresee(page)
            for event in page:
                since = event.revision
                sessions.learn(event)
                if resource is None or getattr(event, "resource_id", None) == resource:
                    output.write(event)
            more = bool(page) and since < newest


async def _follow(endpoints: tuple[str, ...], given: int | None, resource: str | None, as_json: bool) -> None:
    async with Reader(*endpoints, timeout_ms=READ_TIMEOUT_MS) as reader:
        since = await _since(reader, given)
        sessions = await _sessions(reader, as_json)
        with contextlib.suppress(RevisionCompactedError):  # the listener says that
            sessions.foresee((await queries.events(reader, since))[0])
    output = _Output(sessions, as_json=as_json)
    async with EventListener(*endpoints, resource_id=resource, since=since, timeout_ms=READ_TIMEOUT_MS) as listener:
        async for event in listener:
            if isinstance(event, StreamRestarted):
                complain(f"the stream starts again at revision {event.revision}: {event.reason}")
            else:
                sessions.learn(event)
                output.write(event)


async def _sessions(reader: Reader, as_json: bool) -> Sessions:
    return Sessions([] if as_json else await queries.services(reader))


async def _since(reader: Reader, given: int | None) -> int:
    """The revision to begin after: the one that was given, else that before the oldest event that is kept.

    Raises:
        InvalidRequestError: The one that was given is beyond the newest.
    """
    if given is not None:
        await _check_reached(reader, given)
        return given
    try:
        await reader.request(ReadEvents(since=0, limit=1), EventPage)
    except RevisionCompactedError as compacted:
        return max(0, (compacted.info.revision or 1) - 1)
    return 0


async def _check_reached(reader: Reader, since: int) -> None:
    """See that a revision exists: to a listener it would look as if the store had lost it.

    Raises:
        InvalidRequestError: It does not.
    """
    newest = (await reader.request(ListServices(limit=1), ServicePage)).revision
    if since > newest:
        raise InvalidRequestError(f"revision {since} is beyond the newest, {newest}; is it another store's?")


class _Output:
    """Where events are written: in colours on a terminal, else one plain line each, or one JSON object each."""

    def __init__(self, sessions: Sessions, *, as_json: bool) -> None:
        self._sessions = sessions
        self._as_json = as_json
        console = Console(highlight=False, soft_wrap=True)
        self._console = console if console.is_terminal else None

    def write(self, event: AnyEvent) -> None:
        """Write an event that was learned."""
        if self._as_json:
            sys.stdout.write(to_json(event) + "\n")
        else:
            moment = f"{event.revision:>8}  {clock(event.at_ms)}  "
            told = sentence(event, self._sessions)
            if self._console is None:
                sys.stdout.write(f"{moment}{''.join(words for words, _ in told)}\n")
            else:
                self._console.print(Text.assemble((moment, "dim"), *told))
        sys.stdout.flush()
