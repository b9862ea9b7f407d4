"""`tenure ping`: whether the broker answers, and how fast; what it asks for is small, however many there are."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tenure.cli.exits import run_async
from tenure.cli.options import READ_TIMEOUT_MS, Endpoints
from tenure.contract.messages import ListServices, ServicePage
from tenure.sdk.reader import Reader


def ping(
    endpoint: Endpoints = None,
    timeout_ms: Annotated[
        int, typer.Option(min=1, metavar="MS", help="How long to look for a broker.")
    ] = READ_TIMEOUT_MS,
) -> None:
    """Ask the broker for an answer, as a health check does: exit code 0 if it comes, 69 if not."""
    run_async(_ping(tuple(endpoint or ()), timeout_ms))


async def _ping(endpoints: tuple[str, ...], timeout_ms: int) -> None:
    async with Reader(*endpoints, timeout_ms=timeout_ms) as reader:
        began_s = time.monotonic()
        page = await reader.request(ListServices(limit=1), ServicePage)
        took_ms = (time.monotonic() - began_s) * 1_000
    print(f"the broker answered in {took_ms:.1f} ms: history {page.history_id}, revision {page.revision:,}")
