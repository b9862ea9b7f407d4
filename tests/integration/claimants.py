"""A process that is active, or whose fork would like to be: `python -m tests.integration.claimants ENDPOINT HOW`.

`HOW` is `proof` or `no-proof` (whether its exit is one), with `-fork` behind it if a child is to outlive it. It says
`active EPOCH DEADLINE_NS`, and the child `child PID` and what the SDK tells it; both stay until standard input ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

from tenure.contract.errors import RoleLostError
from tenure.sdk import Registration, ServiceClient, ServiceRole
from tests.integration.racers import say

LEASE_MS: Final = 1_000
RESOURCE: Final = "acct"


async def claim(endpoint: str, how: str) -> None:
    """Be active, and say so."""
    async with ServiceClient(endpoint, lease_ms=LEASE_MS, exit_is_proof=how.startswith("proof")) as client:
        held = await client.register("gw", instance_id="first", resource_id=RESOURCE, role=ServiceRole.ACTIVE)
        await held.wait_active()
        if how.endswith("-fork") and os.fork() == 0:
            go_on_as_child(held)
        say(f"active {held.epoch} {int(held.standing.valid_until.boottime_ms * 1e6)}")
        await asyncio.to_thread(sys.stdin.read)


def go_on_as_child(held: Registration) -> None:
    """What the copy of a process that was active is told; it never returns to what its parent was doing."""
    try:
        held.ensure_active()
        told = "active"
    except RoleLostError as error:
        told = str(error)
    say(f"child {os.getpid()} {held.is_active} {told}")
    os.read(0, 1)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(claim(sys.argv[1], sys.argv[2]))
