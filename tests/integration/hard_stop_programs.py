"""A process that is active, and then stops its interpreter: `python -m tests.integration.hard_stop_programs ...`.

Its arguments are the broker's endpoint and the fence. Its exit is no proof of anything, so that the standby's turn
comes with the end of the lease and not before. It says `active` and then, in the middle of its work, calls C code that
keeps the interpreter's lock for years; with a third argument it does nothing instead, to be stopped from outside.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Final

from tenure.sdk import ServiceClient
from tenure.sdk.fence import FenceName

LEASE_MS: Final = 2_000
_FENCES: Final[dict[str, FenceName]] = {"none": "none", "exit": "exit"}


async def main(endpoint: str, fence: FenceName, *, waits: bool) -> None:
    """Be active, and let nothing else of this process run."""
    async with (
        ServiceClient(endpoint, lease_ms=LEASE_MS, exit_is_proof=False, fence=fence) as client,
        client.active("gw", instance_id="stuck", resource_id="acct") as tenure,
    ):
        print("active", tenure.ensure_active(), flush=True)
        if waits:
            await asyncio.Event().wait()
        re.match(r"(a+)+$", "a" * 64 + "b")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], _FENCES[sys.argv[2]], waits=len(sys.argv) > 3))
