"""A listener in a process of its own: `python -m tests.chaos.follower ENDPOINT`.

Standard output has the revision of each event, in the order in which the listener handed them out, or `restarted` where
it said that some are missing; first of all `ready`, once it is open.
"""

from __future__ import annotations

import asyncio
import sys

from tenure.sdk import EventListener, StreamRestarted
from tests.integration.kill_broker_load import say


async def run(endpoint: str) -> None:
    """Follow all events from the first on, until the end of the process."""
    async with EventListener(endpoint, since=0) as listener:
        say("ready")
        async for event in listener:
            say("restarted" if isinstance(event, StreamRestarted) else str(event.revision))


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
