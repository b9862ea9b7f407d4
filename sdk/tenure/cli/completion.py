"""Names for a shell to complete, asked of the live broker: without one, in little time and in silence, there are none.

A name that a shell would take apart or evaluate is never offered: some shells put what is offered into their own
commands, and anybody may register under any name.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import Final

import typer

from tenure.contract.errors import TenureError
from tenure.contract.views import ServiceInstance
from tenure.sdk import queries
from tenure.sdk.reader import Reader

_WAIT_MS: Final = 1_000
_PLAIN: Final = re.compile(r"[\w.:/@%+=,-]+")


def resource_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """The resources that somebody is registered for."""
    return _offered(ctx, incomplete, lambda instance: instance.resource_id)


def service_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """The services that have an instance."""
    return _offered(ctx, incomplete, lambda instance: instance.service_name)


def instance_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """The instances, of the resource that the line names before, if it does."""
    return _offered(ctx, incomplete, lambda instance: instance.instance_id, ctx.params.get("resource"))


def successor_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """The instances of the resource that is the command's argument."""
    # An option that has no value yet leaves the arguments before it unparsed.
    resource_id = ctx.params.get("resource") or next(iter(ctx.args), None)
    return _offered(ctx, incomplete, lambda instance: instance.instance_id, resource_id)


def _offered(
    ctx: typer.Context, incomplete: str, name_of: Callable[[ServiceInstance], str], resource_id: str | None = None
) -> list[str]:
    endpoints: Iterable[str] = ctx.params.get("endpoint") or ()
    try:
        found = asyncio.run(_instances(tuple(endpoints), resource_id))
    except (TenureError, TimeoutError, OSError):
        return []
    names = {name_of(instance) for instance in found}
    return sorted(name for name in names if name.startswith(incomplete) and _PLAIN.fullmatch(name))


async def _instances(endpoints: tuple[str, ...], resource_id: str | None) -> list[ServiceInstance]:
    async with asyncio.timeout(_WAIT_MS / 1_000), Reader(*endpoints, timeout_ms=_WAIT_MS) as reader:
        return await queries.services(reader, None, resource_id)
