"""`tenure switchover`: move a role as planned, and see who has it now and for how long nobody had it."""

from __future__ import annotations

import asyncio
import sys
from time import monotonic
from typing import Annotated

import typer

from tenure.cli.completion import resource_ids, service_names, successor_ids
from tenure.cli.exits import REFUSED, USAGE, complain, run_async
from tenure.cli.options import READ_TIMEOUT_MS, Endpoints
from tenure.cli.progress import shown_progress
from tenure.contract.errors import NotActiveError, RequestRefusedError, TenureError
from tenure.contract.limits import DRAIN_MS_MAX
from tenure.contract.vocabulary import ChangeReason
from tenure.sdk import queries
from tenure.sdk.reader import Reader
from tenure.sdk.switchover import SwitchoverResult, cancel_switchover
from tenure.sdk.switchover import switchover as ask_and_follow
from tenure.sdk.timeline import how_it_ended, how_long_nobody


def switchover(
    resource: Annotated[str, typer.Argument(autocompletion=resource_ids, help="The resource whose role is to move.")],
    to: Annotated[
        str | None,
        typer.Option(
            metavar="INSTANCE",
            autocompletion=successor_ids,
            help="Who is to take over.",
            show_default="whoever is next",
        ),
    ] = None,
    to_service: Annotated[
        str | None,
        typer.Option(
            autocompletion=service_names,
            help="Its service, if several have an instance of that name.",
            show_default=False,
        ),
    ] = None,
    drain_ms: Annotated[
        int, typer.Option(min=0, max=DRAIN_MS_MAX, help="How long the active may go on to finish its work.")
    ] = 0,
    wait_ms: Annotated[
        int | None,
        typer.Option(min=1, help="How long to wait for it.", show_default="the drain, the lease and 5,000"),
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Call off the one under way instead.")] = False,
    endpoint: Endpoints = None,
) -> None:
    """Move a role as planned: the active finishes its work and steps down, the next one takes over in the same moment.

    Refused before anything happens if whoever is to take over is gone or could not be promoted. An active that does
    not step down when the drain is over has its tenure renewed no more, and is followed when its lease has ended. It
    can be called off with --cancel until the active has stepped down.

    Exit code 1 if it is refused, 64 if an argument is wrong, 69 if no broker answers, 75 if the role has not moved in
    time or the switchover was called off.
    """
    if cancel:
        if to is not None or to_service is not None or drain_ms or wait_ms is not None:
            complain("--cancel takes a resource and nothing else: there is only one switchover of it to call off")
            sys.exit(USAGE)
        run_async(_cancel(tuple(endpoint or ()), resource))
        return
    if to_service is not None and to is None:
        complain("--to-service says whose instance --to means; name that too")
        sys.exit(USAGE)
    work = move(tuple(endpoint or ()), resource, to=to, to_service=to_service, drain_ms=drain_ms, wait_ms=wait_ms)
    for line in report(run_async(work)):
        print(line)


async def move(
    endpoints: tuple[str, ...],
    resource_id: str,
    *,
    to: str | None = None,
    to_service: str | None = None,
    drain_ms: int = 0,
    wait_ms: int | None = None,
    even_if_vacant: bool = False,
) -> SwitchoverResult:
    """Ask for a switchover and follow it, showing on a terminal how it stands.

    Raises:
        TenureError: It was refused, or has failed.
        SystemExit: It is under way still when the wait is over, as was said.
    """
    began_s = monotonic()
    async with Reader(*endpoints, timeout_ms=READ_TIMEOUT_MS) as reader:
        holder = (await queries.resource(reader, resource_id)).active
        if holder is None:
            raise NotActiveError(f"nobody is active for {resource_id!r}, so that nobody can step down")
        try:
            async with shown_progress(reader, resource_id, holder.epoch):
                return await ask_and_follow(
                    reader,
                    resource_id,
                    to=to,
                    to_service=to_service,
                    drain_ms=drain_ms,
                    epoch=holder.epoch,
                    even_if_vacant=even_if_vacant,
                    timeout_ms=wait_ms,
                )
        except asyncio.CancelledError:
            complain(
                f"the switchover of {resource_id} is not waited for any longer, but may be under way; to call it off: "
                f"tenure switchover {resource_id} --cancel"
            )
            raise
        except RequestRefusedError:
            raise
        except TenureError:
            if not await _is_under_way(reader, resource_id, holder.epoch):
                raise
            waited_ms = round((monotonic() - began_s) * 1_000)
            complain(
                f"after {waited_ms:,} ms the switchover of {resource_id} from {holder.instance_id} "
                f"(epoch {holder.epoch}) is under way still; to see how it stands: tenure status; to call it off: "
                f"tenure switchover {resource_id} --cancel"
            )
            sys.exit(REFUSED)


def report(result: SwitchoverResult, *, even_if_vacant: bool = False) -> list[str]:
    """Who stepped down, who is active now, for how long nobody was, and how long it took.

    With `even_if_vacant` a tenure may have ended with nobody to follow. Then whoever stepped down may ask again at any
    moment, and whether that came before or after the last look says nothing: it is told in the same way.
    """
    stepped_down = f"{result.old_instance_id} is not active with epoch {result.old_epoch} any more"
    if result.end_reason is ChangeReason.SWITCHOVER:
        stepped_down = f"{result.old_instance_id} stepped down from epoch {result.old_epoch}"
    elif result.end_reason is not None:
        stepped_down += f": {how_it_ended(result.end_reason)}"
    took = f"it took {result.duration_ms:,} ms in all"
    if even_if_vacant and result.new_instance_id in {"", result.old_instance_id}:
        back = f"whether {result.old_instance_id} is active again: tenure explain {result.resource_id}"
        return [stepped_down, f"nobody else has taken over; {back}", took]
    if result.new_instance_id == result.old_instance_id:
        now = f"nobody else could take over: {result.new_instance_id} is active again, epoch {result.new_epoch}"
    else:
        now = f"{result.new_instance_id} is active for {result.resource_id} now, epoch {result.new_epoch}"
    if result.gap_ms is not None:
        took = f"{how_long_nobody(result.gap_ms, result.gap_max_ms)}; {took}"
    return [stepped_down, now, took]


async def _cancel(endpoints: tuple[str, ...], resource_id: str) -> None:
    async with Reader(*endpoints, timeout_ms=READ_TIMEOUT_MS) as reader:
        await cancel_switchover(reader, resource_id)
        holder = (await queries.resource(reader, resource_id)).active
    stays = "" if holder is None else f"; {holder.instance_id} stays active, epoch {holder.epoch}"
    print(f"the switchover of {resource_id} is called off{stays}")


async def _is_under_way(reader: Reader, resource_id: str, epoch: int) -> bool:
    """Whether a switchover whose wait has ended without a result goes on all the same, as far as can be told."""
    try:
        under_way = (await queries.resource(reader, resource_id)).switchover
    except TenureError:
        return False
    return under_way is not None and under_way.epoch == epoch
