"""`python -m bench.loader ENDPOINT IN_FLIGHT`: clients that keep a broker and its store busy until they are ended.

Each claims the role of a resource, leaves it, and claims another: a commit at each step. It says how many it has made.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import signal
import sys

import structlog

from tenure.sdk import ServiceClient


async def _load(endpoint: str, in_flight: int) -> None:
    numbers = itertools.count()
    steps = 0

    async def claim_and_leave(client: ServiceClient) -> None:
        nonlocal steps
        while not is_over.is_set():
            resource_id = f"load-{next(numbers)}"
            registration = await client.register("load", instance_id="l", resource_id=resource_id, role="active")
            await registration.deregister()
            steps += 2

    is_over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, is_over.set)
    async with ServiceClient(endpoint) as client, asyncio.TaskGroup() as group:
        print("ready", flush=True)
        for _ in range(in_flight):
            group.create_task(claim_and_leave(client))
    print(f"made {steps}", flush=True)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(_load(sys.argv[1], int(sys.argv[2])))
