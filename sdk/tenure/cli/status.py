"""`tenure status`: who is active for what, who would be next, and who is at risk before anything is lost."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tenure.cli.exits import run_async
from tenure.cli.options import READ_TIMEOUT_MS, AsJson, Endpoints
from tenure.cli.pause import paused_until
from tenure.cli.progress import under_way
from tenure.contract.codec import to_json
from tenure.contract.views import ResourceView, ServiceInstance
from tenure.contract.vocabulary import ServiceStatus
from tenure.sdk import queries
from tenure.sdk.reader import Reader
from tenure.sdk.succession import why_at_risk

_WIDE = 1_000  # columns, where nothing says how many there are
_STATUS_STYLES = {
    ServiceStatus.HEALTHY: "green",
    ServiceStatus.DEGRADED: "yellow",
    ServiceStatus.STARTING: "cyan",
    ServiceStatus.DRAINING: "cyan",
    ServiceStatus.UNHEALTHY: "red",
    ServiceStatus.LATE: "red",
}


def status(
    service: Annotated[str | None, typer.Argument(help="Only this service's resources.", show_default=False)] = None,
    endpoint: Endpoints = None,
    as_json: AsJson = False,
) -> None:
    """Show who is active for each resource, under which epoch and since when, and who stands by in which order.

    Below all resources stands who is AT RISK to lose a role soon, with why: it is late, its lease is renewed late, or
    its event loop hardly turns. Switchovers under way and pauses stand there too.

    Exit code 69 if no broker answers.
    """
    views = run_async(_read(tuple(endpoint or ()), service))
    if as_json:
        sys.stdout.write(to_json(views) + "\n")
    elif views:
        # To a terminal as wide as that is; elsewhere one line a row, for grep and the like.
        sys.stdout.write(rendered(views, None if sys.stdout.isatty() else _WIDE))
    else:
        Console(stderr=True, soft_wrap=True).print(
            "Nobody is registered yet. To stand by for a resource: tenure run --service NAME -- CMD"
        )


async def _read(endpoints: tuple[str, ...], service: str | None) -> list[ResourceView]:
    async with Reader(*endpoints, timeout_ms=READ_TIMEOUT_MS) as reader:
        if service is not None:
            return await queries.roles(reader, service)
        return await queries.resources(reader)


def rendered(views: Sequence[ResourceView], width: int | None) -> str:
    """A row for each resource, and below them what needs a sentence: that would widen its column, and fold the rest.

    Args:
        views: The resources.
        width: In columns; None for the terminal's own.
    """
    console = Console(width=width)
    with console.capture() as capture:
        console.print(_table(views))
        for note in _notes(views):
            console.print(note)
    return "".join(line.rstrip() + "\n" for line in capture.get().splitlines())


def _table(views: Sequence[ResourceView]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("RESOURCE", overflow="fold")
    table.add_column("ACTIVE", overflow="fold")
    table.add_column("EPOCH", justify="right", no_wrap=True)
    table.add_column("SINCE", no_wrap=True)
    table.add_column("LEASE LEFT", justify="right", overflow="fold")
    table.add_column("NEXT IN LINE", overflow="fold")
    for view in views:
        active = view.active
        standbys = Text("\n").join(_named(standby) for standby in view.standbys)
        if view.standby_count > len(view.standbys):
            standbys.append(f"\n… and {view.standby_count - len(view.standbys)} more", style="dim")
        if active is None:
            table.add_row(view.resource_id, Text("nobody", style="bold red"), "", "", "", standbys)
        else:
            since = _ago(active.since_ms)
            table.add_row(view.resource_id, _named(active), str(active.epoch), since, _lease(active), standbys)
    return table


def _notes(views: Sequence[ResourceView]) -> Iterator[Text]:
    """Why who is at risk, switchovers under way, and pauses; each names its resource, for grep and the like."""
    for view in views:
        for instance in (*([] if view.active is None else [view.active]), *view.standbys):
            if why := why_at_risk(instance):
                note = f"{view.resource_id}: {instance.service_name}/{instance.instance_id} is AT RISK: {why}"
                yield Text(note, style="bold red")
        if view.switchover is not None:
            yield Text(f"{view.resource_id}: {under_way(view.switchover)}", style="cyan")
        if view.pause is not None:
            yield Text(f"{view.resource_id}: {paused_until(view.pause)}", style="yellow")


def _named(instance: ServiceInstance) -> Text:
    name = Text(f"{instance.service_name}/{instance.instance_id} ")
    name.append(instance.status.value, style="bold red" if instance.is_at_risk else _STATUS_STYLES[instance.status])
    return name


def _lease(active: ServiceInstance) -> str:
    """What is left of it, and for how long the role is held in silence if that is longer."""
    left = f"{active.lease_left_ms} ms"
    return f"{left}, held for {active.hold_limit_ms} ms" if active.hold_limit_ms else left


def _ago(unix_ms: int) -> str:
    """When something was, with how long ago that is."""
    seconds = max(0, round(time.time() - unix_ms / 1_000))
    clock = time.strftime("%H:%M:%S", time.localtime(unix_ms / 1_000))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{clock} ({seconds // size} {unit})"
    return f"{clock} ({seconds} s)"
