"""What `tenure status` shows: a row for each resource, and below them what needs a sentence. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tenure.cli.looks import STATUS_STYLES, ago, clock
from tenure.cli.pause import paused_until
from tenure.cli.progress import under_way
from tenure.contract.views import ResourceView, ServiceInstance
from tenure.sdk.succession import why_at_risk


def rendered(views: Sequence[ResourceView], width: int | None, *, is_live: bool = True) -> str:
    """A row for each resource, and below them what needs a sentence: that would widen its column, and fold the rest.

    Args:
        views: The resources.
        width: In columns; None for the terminal's own.
        is_live: Whether they are so now; if they were, each status stands in brackets, and no lease has anything left.
    """
    console = Console(width=width)
    with console.capture() as capture:
        console.print(_table(views, is_live=is_live))
        for note in _notes(views):
            console.print(note)
    return "".join(line.rstrip() + "\n" for line in capture.get().splitlines())


def _table(views: Sequence[ResourceView], *, is_live: bool) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("RESOURCE", overflow="fold")
    table.add_column("ACTIVE", overflow="fold")
    table.add_column("EPOCH", justify="right", no_wrap=True)
    table.add_column("SINCE", no_wrap=True)
    table.add_column("LEASE LEFT", justify="right", overflow="fold")
    table.add_column("NEXT IN LINE", overflow="fold")
    for view in views:
        active = view.active
        standbys = Text("\n").join(_named(standby, is_live=is_live) for standby in view.standbys)
        if view.standby_count > len(view.standbys):
            standbys.append(f"\n… and {view.standby_count - len(view.standbys)} more", style="dim")
        if active is None:
            table.add_row(view.resource_id, Text("nobody", style="bold red"), "", "", "", standbys)
        else:
            since = f"{clock(active.since_ms, is_exact=False)} ({ago(active.since_ms)})"
            lease = _lease(active) if is_live else "?"
            holder = _named(active, is_live=is_live)
            table.add_row(view.resource_id, holder, str(active.epoch), since, lease, standbys)
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


def _named(instance: ServiceInstance, *, is_live: bool) -> Text:
    name = Text(f"{instance.service_name}/{instance.instance_id} ")
    if not is_live:
        return name.append(f"({instance.status})", style="dim")
    style = "bold red" if instance.is_at_risk else STATUS_STYLES[instance.status]
    return name.append(instance.status.value, style=style)


def _lease(active: ServiceInstance) -> str:
    """What is left of it, and for how long the role is held in silence if that is longer."""
    left = f"{active.lease_left_ms} ms"
    return f"{left}, held for {active.hold_limit_ms} ms" if active.hold_limit_ms else left
