"""Many registrations from one process, at once: `python -m tests.chaos.crowd ENDPOINT NAME FIRST COUNT LEASE_MS HOW`.

`HOW` is `each` (several clients, a request for each registration, none of which waits for another) or `together` (one
request). All are candidates for resources of the same numbers. Standard output says `answered MS` once every one was,
and then `active AT_NS` once every one holds its role; its end comes with that of standard input.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import Final

from tenure.contract.errors import TenureError
from tenure.contract.vocabulary import OnConflict, ServiceRole
from tenure.sdk import Register, Registration, ServiceClient, registration_request
from tests.chaos.ledger import now_ns
from tests.integration.kill_broker_load import commands, say

SERVICE: Final = "crowd"
_CLIENTS: Final = 10
_TIMEOUT_MS: Final = 60_000


async def run(endpoint: str, name: str, numbers: range, lease_ms: int, how: str) -> None:
    """Register all, wait until all are active, and stay."""
    items = [
        registration_request(
            SERVICE,
            instance_id=f"{name}-{number}",
            resource_id=f"{SERVICE}-{number}",
            role=ServiceRole.ACTIVE,
            on_conflict=OnConflict.STANDBY,
        )
        for number in numbers
    ]
    clients = [ServiceClient(endpoint, lease_ms=lease_ms, timeout_ms=_TIMEOUT_MS) for _ in range(_CLIENTS)]
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(client) for client in clients))
        began_ns = now_ns()
        held = await (_each(clients, items) if how == "each" else _together(clients[0], items))
        say(f"answered {(now_ns() - began_ns) / 1e6:.1f}")
        await asyncio.gather(*(registration.wait_active() for registration in held))
        say(f"active {now_ns()}")
        async for _ in commands():
            pass


async def _each(clients: list[ServiceClient], items: list[Register]) -> list[Registration]:
    return await asyncio.gather(
        *(
            clients[number % len(clients)].register(
                item.service_name,
                instance_id=item.instance_id,
                resource_id=item.resource_id,
                role=item.role,
                on_conflict=item.on_conflict,
            )
            for number, item in enumerate(items)
        )
    )


async def _together(client: ServiceClient, items: list[Register]) -> list[Registration]:
    held: list[Registration] = []
    for outcome in await client.register_many(items):
        if isinstance(outcome, TenureError):
            raise outcome
        held.append(outcome)
    return held


if __name__ == "__main__":
    first, count, lease_ms = map(int, sys.argv[3:6])
    asyncio.run(run(sys.argv[1], sys.argv[2], range(first, first + count), lease_ms, sys.argv[6]))
