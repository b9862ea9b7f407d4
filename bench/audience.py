"""`python -m bench.audience URL PAGES`: so many pages that are open, as far as a server knows of them, and a scraper.

Each asks for the page and follows the stream of resources that it is drawn from; the scraper takes /metrics once a
second. It says `ready` when all of them are live, and goes on until it is killed; a stream that ends, ends it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

import httpx

_NICENESS: Final = 19  # what it costs to look on belongs to other machines
_SCRAPE_INTERVAL_S: Final = 1.0
_PATIENCE_S: Final = 30.0


async def _look_on(url: str, pages: int) -> None:
    limits = httpx.Limits(max_connections=pages + 1)
    async with httpx.AsyncClient(base_url=url, timeout=_PATIENCE_S, limits=limits) as client:
        are_live = [asyncio.Event() for _ in range(pages)]
        async with asyncio.TaskGroup() as group:
            for is_live in are_live:
                group.create_task(_follow(client, is_live))
            group.create_task(_scrape(client))
            for is_live in are_live:
                await is_live.wait()
            print("ready", flush=True)


async def _follow(client: httpx.AsyncClient, is_live: asyncio.Event) -> None:
    """Open a page and take in whatever its stream brings."""
    (await client.get("/")).raise_for_status()
    async with client.stream("GET", "/resources", headers={"Accept": "text/event-stream"}) as stream:
        stream.raise_for_status()
        async for data in stream.aiter_raw():
            if b"event: live" in data:
                is_live.set()
    raise ConnectionError("the stream of resources has ended")


async def _scrape(client: httpx.AsyncClient) -> None:
    while True:
        (await client.get("/metrics")).raise_for_status()
        await asyncio.sleep(_SCRAPE_INTERVAL_S)


if __name__ == "__main__":
    os.nice(_NICENESS)
    asyncio.run(_look_on(sys.argv[1], int(sys.argv[2])))
