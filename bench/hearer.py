"""`python -m bench.hearer ENDPOINT SERVICE`: follows the events of a service, and says when it heard of each.

It says `ready` when it follows, and after SIGTERM one line `heard RESOURCE NS RESOURCE NS …` with the time, by
CLOCK_BOOTTIME, at which the application was handed each tenure that began. Nothing is written while it measures.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import structlog

from bench.contender import now_ns
from tenure.sdk import EventListener, RoleChangedEvent, ServiceRole


async def _hear(endpoint: str, service_name: str) -> None:
    heard: list[tuple[str, int]] = []

    async def follow() -> None:
        async with EventListener(endpoint, service_name=service_name) as events:
            print("ready", flush=True)
            async for event in events:
                at_ns = now_ns()
                if isinstance(event, RoleChangedEvent) and event.new_role is ServiceRole.ACTIVE:
                    heard.append((event.resource_id, at_ns))

    following = asyncio.create_task(follow())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, following.cancel)
    await asyncio.gather(following, return_exceptions=True)
    if not following.cancelled():
        following.result()
    print("heard", *(f"{resource_id} {at_ns}" for resource_id, at_ns in heard), flush=True)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(_hear(*sys.argv[1:]))
