"""`tenure status --watch`: the same picture, live: drawn in place on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import Final, Never

from rich.text import Text

from tenure.cli.drawing import drawn
from tenure.cli.first import first_of
from tenure.cli.following import Following
from tenure.cli.headlines import counts_line, state_line
from tenure.cli.looks import clock
from tenure.cli.pause import paused_until
from tenure.cli.screen import can_draw
from tenure.cli.status_table import rendered
from tenure.contract.views import ResourceView, ServiceInstance
from tenure.sdk.succession import why_at_risk

_IDLE_MS: Final = 500


async def watch(endpoints: tuple[str, ...], service_name: str | None) -> int:
    """Show what is the case, and each change of it, until somebody ends it; the exit code.

    Raises:
        TenureError: No broker answered at the start, or it cannot be followed.
    """
    following = Following(endpoints, service_name)
    if not can_draw():
        await first_of(following.run(), _append(following))
    is_over = asyncio.Event()

    def press(key: str) -> None:
        if key == "q":
            is_over.set()

    code = await first_of(following.run(), drawn(following, press, _Picture(following).lines, is_over.is_set))
    return code or 0


class _Picture:
    """The table of `tenure status`, as much of it as fits."""

    def __init__(self, following: Following) -> None:
        self._following = following

    def lines(self, width: int, height: int) -> list[Text]:
        """All lines of the screen, for one of this size."""
        following = self._following
        following.board.refresh()
        if not following.is_open:
            return [Text("Asking the broker what is the case …")]
        head = [state_line(following, width), counts_line(following), Text("")]
        ids = sorted(following.board.ids())
        views = [view for one in ids[:height] if (view := following.board.view(one)) is not None]
        if not views:
            return head
        table = [Text.from_ansi(line) for line in rendered(views, width, is_live=following.is_live).splitlines()]
        room = height - len(head)
        if len(table) > room or len(views) < len(ids):
            more = Text("… there is more than fits here; all of it, the troubled first: tenure top", style="dim")
            table = [*table[: room - 1], more]
        return [*head, *table]


async def _append(following: Following) -> Never:
    """A line for each resource, then one for each that changes, and whenever the broker is lost or heard again."""
    told: dict[str, str] = {}
    was_live = True
    while True:
        following.has_changed.clear()
        if following.is_open:
            if following.is_live != was_live:
                was_live = following.is_live
                now = round(time.time() * 1_000)
                heard = "is heard again" if was_live else f"is not heard since {clock(following.heard_ms)}"
                _write(now, f"the broker {heard}")
            for resource_id in following.board.refresh():
                _tell(following, resource_id, told)
            sys.stdout.flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_IDLE_MS / 1_000):
                await following.has_changed.wait()


def _tell(following: Following, resource_id: str, told: dict[str, str]) -> None:
    view = following.board.view(resource_id)
    state = "" if view is None else _state(view)
    if told.get(resource_id, "") == state:
        return
    now = round(time.time() * 1_000)
    if view is None:
        del told[resource_id]
        _write(now, f"{resource_id}: nobody is registered for it any more")
    else:
        told[resource_id] = state
        why = "" if view.active is None else why_at_risk(view.active)
        _write(now, f"{resource_id}: {state}{f' ({why})' if why else ''}")


def _state(view: ResourceView) -> str:
    """What of a resource is worth a line when it changes."""
    standbys = ", ".join(_standing(standby) for standby in view.standbys)
    if view.standby_count > len(view.standbys):
        standbys += f" and {view.standby_count - len(view.standbys)} more"
    behind = f"in line: {standbys}" if standbys else "nobody stands by"
    if view.pause is not None:
        behind = f"{paused_until(view.pause)}; {behind}"
    if view.active is None:
        return f"nobody is active; {behind}"
    risk = ", AT RISK" if view.active.is_at_risk else ""
    return f"{_standing(view.active)} is active with epoch {view.active.epoch}; {behind}{risk}"


def _standing(instance: ServiceInstance) -> str:
    return f"{instance.service_name}/{instance.instance_id} {instance.status}"


def _write(now: int, words: str) -> None:
    sys.stdout.write(f"{clock(now)}  {words}\n")
