"""`tenure resign`: have the active instance of a resource step down, and see who takes over."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from tenure.cli.exits import REFUSED, complain, run_async
from tenure.cli.options import READ_TIMEOUT_MS, Endpoints
from tenure.contract.errors import NotActiveError
from tenure.contract.messages import Switchover, SwitchoverStarted
from tenure.contract.views import ResourceView
from tenure.sdk import queries
from tenure.sdk.reader import Reader

_LOOK_AGAIN_MS = 20


def resign(
    resource: Annotated[str, typer.Argument(help="The resource whose active instance is to step down.")],
    wait_ms: Annotated[
        int, typer.Option(min=0, help="How long to wait for it to step down, in milliseconds.")
    ] = 30_000,
    endpoint: Endpoints = None,
) -> None:
    """Ask the active instance of a resource to step down; it stops its work first, then the next one takes over.

    Exit code 69 if no broker answers, 75 if the instance has not stepped down in time: it is active still.
    """
    run_async(_resign(tuple(endpoint or ()), resource, wait_ms))


async def _resign(endpoints: tuple[str, ...], resource_id: str, wait_ms: int) -> None:
    async with Reader(*endpoints, timeout_ms=READ_TIMEOUT_MS) as reader:
        before = await queries.resource(reader, resource_id)
        if before.active is None:
            raise NotActiveError(f"nobody is active for {resource_id!r}; there is nothing to resign from")
        holder = before.active
        request = Switchover(resource_id=resource_id, epoch=holder.epoch, even_if_vacant=True)
        await reader.request(request, SwitchoverStarted)
        try:
            async with asyncio.timeout(wait_ms / 1_000):
                after = await _changed(reader, resource_id, holder.epoch)
        except TimeoutError:
            complain(
                f"{holder.instance_id} was asked to resign but is active still after {wait_ms} ms; its work may take "
                "longer to stop, or it does not listen. Stop its process to move the role."
            )
            sys.exit(REFUSED)
    print(f"{holder.instance_id} resigned from epoch {holder.epoch}; {_whoever(after)}")


async def _changed(reader: Reader, resource_id: str, epoch: int) -> ResourceView:
    while True:
        view = await queries.resource(reader, resource_id)
        if view.active is None or view.active.epoch != epoch:
            return view
        await asyncio.sleep(_LOOK_AGAIN_MS / 1_000)


def _whoever(view: ResourceView) -> str:
    if view.active is None:
        return f"nobody is active for {view.resource_id} now: no standby may take over"
    return f"{view.active.instance_id} is active for {view.resource_id} now, epoch {view.active.epoch}"
