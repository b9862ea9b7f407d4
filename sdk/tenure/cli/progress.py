"""How a switchover stands, in words: for a terminal while it is waited for, and for whoever looks on."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator
from typing import Final

from rich.console import Console
from rich.status import Status
from rich.text import Text

from tenure.contract.errors import TenureError
from tenure.contract.messages import GetResource, Resource
from tenure.contract.views import Switchover
from tenure.sdk.queries import Asks

_LOOK_AGAIN_MS: Final = 100  # as often as an eye sees it


def under_way(switchover: Switchover) -> str:
    """A switchover under way, in one sentence."""
    to = f" to {switchover.to_instance_id}" if switchover.to_instance_id else ""
    by = f", asked for by {switchover.by}" if switchover.by else ""
    if switchover.drain_left_ms:
        how = f"its holder may go on with its work for {switchover.drain_left_ms:,} ms"
    else:
        how = "its holder is to stop now, and is renewed no more"
    return f"switchover{to} under way{by}: {how}"


def progress_of(found: Resource, epoch: int) -> str:
    """How the switchover of a tenure stands, in one line."""
    view = found.resource
    if view.switchover is not None and view.switchover.epoch == epoch:
        return under_way(view.switchover)
    move = next((move for move in found.moves if move.old_epoch == epoch), None)
    if move is None:
        return "asked"
    if not move.new_epoch:
        return f"{move.old_instance_id} has stepped down, and nobody may take over yet"
    if not move.entered_ms:
        return f"{move.new_instance_id} is promoted under epoch {move.new_epoch}, not yet known to be active"
    return f"{move.new_instance_id} is active under epoch {move.new_epoch}"


@contextlib.asynccontextmanager
async def shown_progress(asks: Asks, resource_id: str, epoch: int) -> AsyncGenerator[None]:
    """Show on standard error how a switchover stands, while the block lasts, if that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    with Console(stderr=True).status("asking") as status:
        showing = asyncio.create_task(_show(asks, resource_id, epoch, status))
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)


async def _show(asks: Asks, resource_id: str, epoch: int, status: Status) -> None:
    while True:
        with contextlib.suppress(TenureError):  # whoever waits for the switchover itself is told
            found = await asks.request(GetResource(resource_id=resource_id), Resource)
            status.update(Text(progress_of(found, epoch)))
        await asyncio.sleep(_LOOK_AGAIN_MS / 1_000)
