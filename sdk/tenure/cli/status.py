"""`tenure status`: who is active for what, who would be next, and who is at risk before anything is lost."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from tenure.cli.completion import service_names
from tenure.cli.exits import USAGE, complain, run_async
from tenure.cli.options import READ_TIMEOUT_MS, AsJson, Endpoints
from tenure.cli.status_table import rendered
from tenure.cli.watch import watch as watched
from tenure.contract.codec import to_json
from tenure.contract.views import ResourceView
from tenure.sdk import queries
from tenure.sdk.reader import Reader

_WIDE = 1_000  # columns, where nothing says how many there are


def status(
    service: Annotated[
        str | None,
        typer.Argument(autocompletion=service_names, help="Only this service's resources.", show_default=False),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on with what changes, until Ctrl-C or q.")] = False,
    endpoint: Endpoints = None,
    as_json: AsJson = False,
) -> None:
    """Show who is active for each resource, under which epoch and since when, and who stands by in which order.

    Below all resources stands who is AT RISK to lose a role soon, with why: it is late, its lease is renewed late, or
    its event loop hardly turns. Switchovers under way and pauses stand there too.

    With --watch it stays live: on a terminal it is drawn in place, elsewhere a line is appended for each resource that
    changes. It says so when the broker is not heard any more. Switchovers under way are not shown then; see top.

    Exit code 69 if no broker answers.
    """
    if watch:
        if as_json:
            complain("--watch is for people; programs follow changes with: tenure events --follow --json")
            sys.exit(USAGE)
        sys.exit(run_async(watched(tuple(endpoint or ()), service)))
    views = run_async(_read(tuple(endpoint or ()), service))
    if as_json:
        sys.stdout.write(to_json(views) + "\n")
    elif views:
        # To a terminal as wide as that is; elsewhere one line a row, for grep and the like.
        sys.stdout.write(rendered(views, None if sys.stdout.isatty() else _WIDE))
    else:
        Console(stderr=True, soft_wrap=True).print(
            "Nobody is registered. To stand by for a resource: tenure run --service NAME -- CMD"
        )


async def _read(endpoints: tuple[str, ...], service: str | None) -> list[ResourceView]:
    async with Reader(*endpoints, timeout_ms=READ_TIMEOUT_MS) as reader:
        if service is not None:
            return await queries.roles(reader, service)
        return await queries.resources(reader)
