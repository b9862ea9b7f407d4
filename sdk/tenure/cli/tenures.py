"""`tenure history`: who was active for a resource, from when to when, and why no longer."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Annotated, Final

import typer

from tenure.cli.exits import run_async
from tenure.cli.options import READ_TIMEOUT_MS, AsJson, Endpoints
from tenure.contract.codec import to_json
from tenure.contract.errors import NotFoundError
from tenure.contract.limits import PAGE_ITEMS_MAX
from tenure.contract.views import TenureView
from tenure.sdk import queries
from tenure.sdk.reader import Reader
from tenure.sdk.timeline import how_it_ended, how_long

_COUNT: Final = 20
_EPOCH_MAX: Final = 2**63 - 1


def history(
    resource: Annotated[str, typer.Argument(help="The resource whose tenures to list.")],
    count: Annotated[int, typer.Option("--tenures", "-n", min=1, help="How many at most.")] = _COUNT,
    before: Annotated[
        int | None, typer.Option(min=1, max=_EPOCH_MAX, help="Only tenures before this epoch.", show_default=False)
    ] = None,
    endpoint: Endpoints = None,
    as_json: AsJson = False,
) -> None:
    """List who was active for a resource, the newest first: epoch, since when, for how long, and why it ended, by whom.

    Where nobody said so, the end is when the broker decided it: the holder was active for at most so long, and for
    certain until it was heard last.

    As far as the store keeps it: the newest tenure as long as the resource is known, older ones as long as the events
    of their end.

    Exit code 1 if there is no such tenure, 69 if no broker answers.
    """
    tenures = run_async(_read(tuple(endpoint or ()), resource, count, before or 0))
    sys.stdout.write(to_json(tenures) + "\n" if as_json else "".join(f"{line}\n" for line in lines(tenures)))


async def _read(endpoints: tuple[str, ...], resource_id: str, count: int, before: int) -> list[TenureView]:
    tenures: list[TenureView] = []
    async with Reader(*endpoints, timeout_ms=READ_TIMEOUT_MS) as reader:
        following: int | None = before
        while following is not None and len(tenures) < count:
            page = await queries.tenures(reader, resource_id, following, min(PAGE_ITEMS_MAX, count - len(tenures)))
            tenures.extend(page.tenures)
            following = page.next_before
    if not tenures:
        raise NotFoundError(f"nobody has been active for {resource_id!r}, as far as the store knows")
    return tenures


def lines(tenures: Iterable[TenureView]) -> list[str]:
    """A line for each tenure."""
    return [_line(tenure) for tenure in tenures]


def _line(tenure: TenureView) -> str:
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(tenure.began_ms / 1_000))
    began = f"{clock}.{tenure.began_ms % 1_000:03}"
    who = f"{tenure.service_name}/{tenure.instance_id}"
    if tenure.ended_ms is None or tenure.end_reason is None:
        how = "is active still"
    else:
        how = f"{how_long(tenure)}: {how_it_ended(tenure.end_reason, tenure.by)}"
        if tenure.possible_until_ms is not None and tenure.possible_until_ms < tenure.ended_ms:
            how += f"; that was told {tenure.ended_ms - tenure.possible_until_ms:,} ms later"
    return f"{tenure.epoch:>8}  {began}  {who}  {how}"
