"""`python -m bench.crowd ENDPOINT INSTANCE COUNT`: one process that is registered for many resources, as a candidate.

It says `ready` when it is, and when it is active for all of them `all NS NS …`: when each `wait_active()` returned, by
CLOCK_BOOTTIME. Then it holds them until it is killed.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from itertools import batched

import structlog

from bench.contender import now_ns
from tenure.contract.limits import BATCH_ITEMS_MAX
from tenure.sdk import Registration, ServiceClient, registration_request


async def _stand_by(endpoint: str, instance_id: str, count: int) -> None:
    async with ServiceClient(endpoint) as client:
        registrations = [
            registration
            for numbers in batched(range(count), BATCH_ITEMS_MAX, strict=False)
            for registration in await _register(client, instance_id, numbers)
        ]
        print("ready", flush=True)
        print("all", *await asyncio.gather(*map(_when_active, registrations)), flush=True)
        await asyncio.Event().wait()


async def _register(client: ServiceClient, instance_id: str, numbers: Sequence[int]) -> list[Registration]:
    registrations: list[Registration] = []
    items = [
        registration_request(
            "bench", instance_id=instance_id, resource_id=f"role-{number}", role="active", on_conflict="standby"
        )
        for number in numbers
    ]
    for outcome in await client.register_many(items):
        if not isinstance(outcome, Registration):
            raise outcome
        registrations.append(outcome)
    return registrations


async def _when_active(registration: Registration) -> int:
    await registration.wait_active()
    return now_ns()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(_stand_by(sys.argv[1], sys.argv[2], int(sys.argv[3])))
